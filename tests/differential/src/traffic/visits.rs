//! Datagrams from behind the uplink to guests of the network that it carries untagged: again and again
//! of the same few connections, so that the gate knows some of them and sends them straight.

use std::net::IpAddr;

use portcullis_policy::model::Protocol;

use super::{Traffic, connections};
use crate::{
    fact::{Fact, Role, Sent},
    frames::Tcp,
    world::{Kind, World},
};

/// Connections at a time.
const VISITS: usize = 6;
/// How often a random end is looked for that fits.
const TRIES: usize = 60;

impl Traffic<'_> {
    /// The next datagram of one of the visitors, or the first one of another.
    pub(super) fn visit(&mut self) -> Sent {
        let full = self.visits.len() == VISITS;
        if full && !self.r.once_in(20) {
            let fact = self.r.pick(&self.visits).clone();
            return self.send(Fact { role: Role::Later, ..fact }, Tcp::default(), false);
        }
        let Some(fact) = self.visitor() else { return self.go_on() };
        if full {
            let old = self.r.below(VISITS);
            self.visits.swap_remove(old);
        }
        self.visits.push(fact.clone());
        self.send(fact, Tcp::default(), true)
    }

    /// Somebody out there with a question to a guest.
    fn visitor(&mut self) -> Option<Fact> {
        let port = self.world.ports.iter().position(|port| port.kind == Kind::Uplink)?;
        let network = self.world.ports[port].network;
        let hosts: Vec<IpAddr> = visited(self.world, network).collect();
        if hosts.is_empty() {
            return None;
        }
        let dst = *self.r.pick(&hosts);
        for _ in 0..TRIES {
            let asked = self.connections.next_connection();
            let src = if self.r.once_in(2) { asked.src } else { beside(dst, self.r.next() as u8) };
            let declared = self.world.guest_of(src).is_some() || self.world.is_host(src);
            let fits = asked.service.0 == Protocol::Udp && src.is_ipv4() == dst.is_ipv4();
            if !fits || declared {
                continue;
            }
            self.serial = self.serial.wrapping_add(1);
            let sport = 1024 + self.serial % 60_000;
            let (service, protocol, numbers) =
                connections::service(asked.service, src.is_ipv4(), sport);
            let (role, ends, fragment) = (Role::Fresh, (src, dst), false);
            return Some(Fact { port, network, ends, numbers, service, protocol, role, fragment });
        }
        None
    }
}

/// Addresses of guests that are in this network without a tag.
fn visited(world: &World, network: u32) -> impl Iterator<Item = IpAddr> + '_ {
    let here = world
        .ports
        .iter()
        .filter(move |port| port.kind == Kind::Guest && port.network == network && port.vlan == 0);
    here.flat_map(|port| port.addrs.iter().copied())
}

/// Another address of the same subnet, most likely.
fn beside(addr: IpAddr, last: u8) -> IpAddr {
    match addr {
        IpAddr::V4(addr) => {
            let [a, b, c, _] = addr.octets();
            [a, b, c, last].into()
        }
        IpAddr::V6(addr) => {
            let mut octets = addr.octets();
            octets[15] = last;
            octets.into()
        }
    }
}
