//! Random packets in random order: new connections at the boundaries of the policy, their
//! answers, errors about them, questions of ARP, neighbour discovery and DHCP, broadcasts, and damage.

mod connections;
mod neighbours;
mod visits;

use std::net::IpAddr;

use portcullis_pipeline::addr::Addr;
use portcullis_policy::generate::{Connections, Random};

use crate::{
    fact::{Fact, Sent},
    frames, questions,
    world::{Kind, Policy, Port, SharedAddress, World},
};

/// A connection that was tried.
#[derive(Clone, Debug)]
struct Tried {
    fact: Fact,
    /// Where the other end sits, if it has a port.
    peer: Option<usize>,
    /// TCP: the next sequence number of each side, who opened it first; as far as all passes.
    next: [u32; 2],
}

/// The source of packets.
pub struct Traffic<'a> {
    r: Random,
    world: &'a World,
    connections: Connections,
    tried: Vec<Tried>,
    /// Connections from behind the uplink, as they were opened.
    visits: Vec<Fact>,
    /// Makes every fresh connection one of its own.
    serial: u16,
    /// Fragments that are still to be sent, in any order.
    pieces: Vec<Sent>,
}

impl<'a> Traffic<'a> {
    /// Traffic in a world, from a seed.
    pub fn new(world: &'a World, seed: u64) -> Self {
        let connections = Connections::new(&world.policies[0].model, seed ^ 0x5eed);
        Self {
            r: Random::new(seed),
            world,
            connections,
            tried: Vec::new(),
            visits: Vec::new(),
            serial: 0,
            pieces: Vec::new(),
        }
    }

    /// The next packet.
    pub fn next_packet(&mut self) -> Sent {
        let mut sent = match self.r.below(20) {
            _ if !self.pieces.is_empty() && self.r.once_in(2) => self.next_piece(),
            0..=6 => self.open(),
            7..=12 => self.go_on(),
            14 => self.error(),
            15 | 16 if !self.world.shared.is_empty() && self.r.once_in(3) => self.announce(),
            15 => self.arp(),
            16 => self.discovery(),
            17 => self.broadcast(),
            18 if self.r.once_in(4) => self.bare(),
            18 => self.question(),
            _ => self.visit(),
        };
        self.tag(&mut sent);
        if self.r.once_in(8) {
            frames::damage(&mut self.r, &mut sent.bytes);
            sent.damaged = true;
        }
        if self.r.once_in(40) {
            sent.port = self.r.below(self.world.ports.len());
            sent.damaged = true;
        }
        sent
    }

    /// Gives a frame the tag of its port, now and then another one or none.
    fn tag(&mut self, sent: &mut Sent) {
        let port = &self.world.ports[sent.port];
        let trunk = self.world.ports.iter().filter(|p| p.ifindex == port.ifindex);
        let tags: Vec<u16> = trunk.map(|p| p.vlan).collect();
        let mut vlan = port.vlan;
        if tags.iter().any(|vlan| *vlan != 0) && self.r.once_in(24) {
            let strange = [0, 4094, self.r.below(4096) as u16];
            vlan = if self.r.once_in(2) { *self.r.pick(&tags) } else { *self.r.pick(&strange) };
            sent.damaged |= vlan != port.vlan;
            // Zero is a priority tag where it is not "none".
            if vlan == 0 && self.r.once_in(2) {
                sent.damaged = true;
                return frames::put_tag(&mut sent.bytes, 7 << 13);
            }
        }
        if vlan != 0 {
            let priority = self.r.below(8) as u16;
            frames::put_tag(&mut sent.bytes, priority << 13 | vlan);
        }
    }

    /// Something that the switch answers itself.
    fn question(&mut self) -> Sent {
        let (port, bytes) = questions::question(&mut self.r, self.world);
        Sent { bytes, port, fact: None, announced: None, damaged: false }
    }

    /// A frame without ARP and IP, of a type that some networks declare, or of none.
    fn bare(&mut self) -> Sent {
        let at = self.port();
        let own = self.world.ports[at].mac.octets();
        let peer = self.r.below(self.world.ports.len());
        let peer = self.world.ports[peer].mac.octets();
        let to = *self.r.pick(&[
            [0xff; 6],
            peer,
            [1, 0x80, 0xc2, 0, 0, 0x0e],
            [1, 0, 0x0c, 0xcc, 0xcc, 0xcc],
        ]);
        let ethertype: u16 = *self.r.pick(&[0x88b5, 0x88b5, 0x9000, 0x88cc, 0x88b6, 0x0026]);
        let mut bytes = [to, own].concat();
        bytes.extend(ethertype.to_be_bytes());
        bytes.resize(60, 0x42);
        Sent { bytes, port: at, fact: None, announced: None, damaged: false }
    }

    fn port(&mut self) -> usize {
        // Guests talk most.
        loop {
            let at = self.r.below(self.world.ports.len());
            if self.world.ports[at].kind == Kind::Guest || self.r.once_in(3) {
                return at;
            }
        }
    }

    /// A source for a port: one of its own addresses, seldom somebody else's.
    fn source(&mut self, port: &Port) -> IpAddr {
        if port.kind == Kind::Uplink || port.addrs.is_empty() || self.r.once_in(20) {
            return self.connections.next_connection().src;
        }
        if port.kind == Kind::Guest && self.r.once_in(12) {
            return Policy::link_local(port);
        }
        let may = |s: &&SharedAddress| s.ports.iter().any(|&p| self.world.ports[p].mac == port.mac);
        let shared: Vec<_> = self.world.shared.iter().filter(may).map(|s| s.addr).collect();
        if !shared.is_empty() && self.r.once_in(8) {
            return *self.r.pick(&shared);
        }
        *self.r.pick(&port.addrs)
    }

    /// A destination of the source's family.
    fn destination(&mut self, src: IpAddr, network: u32) -> IpAddr {
        let local = is_link_local(src);
        for _ in 0..60 {
            let dst = if self.r.once_in(2) {
                let at = self.r.below(self.world.ports.len());
                let port = &self.world.ports[at];
                if local && port.network == network {
                    Policy::link_local(port)
                } else if port.addrs.is_empty() {
                    continue;
                } else {
                    *self.r.pick(&port.addrs)
                }
            } else {
                self.connections.next_connection().dst
            };
            if dst.is_ipv4() == src.is_ipv4() && dst != src && is_link_local(dst) == local {
                return dst;
            }
        }
        src
    }

    /// MAC and tags with which a port reaches a destination in its network.
    fn link(&mut self, port: &Port, network: u32, dst: IpAddr) -> ([u8; 6], Vec<(u16, u16)>) {
        let tags = match (port.kind, self.world.network(network)) {
            (Kind::Uplink, Some(n)) if network != 1 => vec![(0x8100, n.vlan)],
            _ => Vec::new(),
        };
        let mac = if self.r.once_in(30) { [2, 9, 9, 9, 9, 9] } else { self.mac_of(network, dst) };
        (mac, tags)
    }

    fn mac_of(&self, network: u32, dst: IpAddr) -> [u8; 6] {
        if let Some(shared) = self.world.shared(dst).filter(|s| s.network == network) {
            return shared.mac.octets();
        }
        let near = self.world.ports.iter().find(|p| {
            p.network == network
                && p.kind == Kind::Guest
                && (p.addrs.contains(&dst) || Policy::link_local(p) == dst)
        });
        match (near, self.world.network(network)) {
            (Some(port), _) => port.mac.octets(),
            (None, Some(n)) => n.gateway_mac.octets(),
            (None, None) => [2, 8, 8, 8, 8, 8],
        }
    }

    fn network_of(&mut self, port: &Port) -> u32 {
        match port.kind {
            Kind::Uplink => 1 + self.r.below(self.world.policies[0].image.networks.len()) as u32,
            _ => port.network,
        }
    }
}

fn is_link_local(addr: IpAddr) -> bool {
    Addr::from(addr).is_link_local_v6()
}
