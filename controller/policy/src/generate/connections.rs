//! Random connections, at the places where answers may change.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use portcullis_pipeline::addr::Addr;

use super::Random;
use crate::model::{Endpoint, Model, Ports, Protocol, Purpose, Sources16};

/// A connection to ask about.
#[derive(Clone, Copy, Debug)]
pub struct Connection {
    /// Id of the network in which link-local addresses stand.
    pub network: u32,
    /// Who opens it.
    pub src: IpAddr,
    /// To whom; of the same family.
    pub dst: IpAddr,
    /// For what.
    pub service: (Protocol, u16),
    /// From which source port; 0 where the protocol has none.
    pub source: u16,
}

impl Connection {
    /// For what, with the source port.
    pub fn purpose(&self) -> Purpose {
        let (protocol, number) = self.service;
        Purpose { protocol, number, source: self.source }
    }
}

/// Addresses and numbers of a model at which answers may change.
pub struct Connections {
    r: Random,
    v4: Vec<IpAddr>,
    v6: Vec<IpAddr>,
    /// Link-local addresses by network id.
    link_local: Vec<(u32, IpAddr)>,
    services: Vec<(Protocol, u16)>,
    sources: Vec<u16>,
}

impl Connections {
    /// Every declared address, both sides of every boundary of every prefix, both sides of every
    /// range of ports and of source ports.
    pub fn new(model: &Model, seed: u64) -> Self {
        let mut addrs: Vec<IpAddr> = Vec::new();
        let nics = model.guests.iter().flat_map(|g| &g.nics);
        addrs.extend(nics.clone().flat_map(|n| n.addrs.iter().copied()));
        addrs.extend(model.networks.iter().flat_map(|n| n.gateway.iter().map(|g| g.0)));
        addrs.extend(model.host.iter().map(|h| h.addr));
        let subnets = model.networks.iter().flat_map(|n| n.subnets.iter().copied());
        subnets.chain(prefixes(model)).for_each(|net| addrs.extend(boundaries(net)));
        // Denied sets may be long, and nothing that they name has a rule: the edge of one prefix.
        let denied = model.denied.iter().filter_map(|set| set.prefixes().next());
        addrs.extend(denied.flat_map(|p| boundaries(p.net).into_iter().take(2)));
        let outside = ["8.8.8.8", "2600::1"];
        addrs.extend(outside.into_iter().filter_map(|text| text.parse::<IpAddr>().ok()));
        let (v4, v6) = addrs.into_iter().partition(IpAddr::is_ipv4);
        let macs = nics.map(|n| (n.network as u32 + 1, n.mac));
        let gateways = (1..).zip(&model.networks).map(|(id, n)| (id, n.gateway_mac));
        let link_local =
            macs.chain(gateways).map(|(id, mac)| (id, Addr::link_local_of(mac).into()));
        let stray = "fe80::1".parse().ok().map(|addr| (1, addr));
        let link_local = link_local.chain(stray).collect();
        let (services, sources) = (numbers(model), sources(model));
        Self { r: Random::new(seed), v4, v6, link_local, services, sources }
    }

    /// The addresses, but not the link-local ones.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.v4.iter().chain(&self.v6).copied()
    }

    /// The next random connection.
    pub fn next_connection(&mut self) -> Connection {
        let service = *self.r.pick(&self.services);
        let source = if service.0.has_ports() { *self.r.pick(&self.sources) } else { 0 };
        if self.r.once_in(10) {
            let (network, src) = *self.r.pick(&self.link_local);
            let same: Vec<_> = self.link_local.iter().filter(|l| l.0 == network).collect();
            let dst = self.r.pick(&same).1;
            return Connection { network, src, dst, service, source };
        }
        let family = if self.r.once_in(2) { &self.v6 } else { &self.v4 };
        let (src, dst) = (*self.r.pick(family), *self.r.pick(family));
        Connection { network: 1, src, dst, service, source }
    }
}

fn prefixes(model: &Model) -> impl Iterator<Item = IpNet> + '_ {
    let rules = model.rules.iter().flat_map(|r| r.from.iter().chain(&r.to));
    let invariants = model.invariants.iter().flat_map(|i| i.from.iter().chain(&i.to));
    let sets = model.sets.iter().flat_map(|s| s.members.iter().chain(&s.except));
    let selectors = model.selectors.iter().flat_map(|s| &s.terms);
    rules.chain(invariants).chain(sets).chain(selectors).filter_map(|t| match t.endpoint {
        Endpoint::Prefix(net) => Some(net),
        _ => None,
    })
}

/// First, last, and their neighbours on both sides.
fn boundaries(net: IpNet) -> Vec<IpAddr> {
    match net {
        IpNet::V4(n) => {
            let (first, last) = (u32::from(n.network()), u32::from(n.broadcast()));
            let near = [first.wrapping_sub(1), first, first | 1, last, last.wrapping_add(1)];
            near.into_iter().map(|a| Ipv4Addr::from(a).into()).collect()
        }
        IpNet::V6(n) => {
            let (first, last) = (u128::from(n.network()), u128::from(n.broadcast()));
            let near = [first.wrapping_sub(1), first, first | 1, last, last.wrapping_add(1)];
            // The mapped addresses are IPv4's place.
            let v6 = near.into_iter().filter(|a| a >> 32 != 0xffff);
            v6.map(|a| Ipv6Addr::from(a).into()).collect()
        }
    }
}

fn ports(model: &Model) -> impl Iterator<Item = Ports> + '_ {
    let rules = model.rules.iter().flat_map(|r| &r.services);
    let services = rules.chain(model.invariants.iter().flat_map(|i| &i.services));
    services.flat_map(|s| s.ports.iter().copied())
}

/// First, last, and their neighbours.
fn edges(first: u16, last: u16) -> [u16; 4] {
    [first.wrapping_sub(1), first, last, last.wrapping_add(1)]
}

fn numbers(model: &Model) -> Vec<(Protocol, u16)> {
    let near = ports(model).flat_map(|p| edges(p.first, p.last).map(|n| (p.protocol, n)));
    let mut numbers: Vec<_> = near.chain(Protocol::ALL.map(|p| (p, 7))).collect();
    // There are 256 IP protocols.
    numbers.retain(|&(p, n)| p != Protocol::Proto || n <= 255);
    numbers.sort_unstable();
    numbers.dedup();
    numbers
}

/// Source ports as clients have them, and those that rules tell apart.
fn sources(model: &Model) -> Vec<u16> {
    let narrow = ports(model).map(|p| p.source).filter(|s| *s != Sources16::ALL);
    let near = narrow.flat_map(|s| edges(s.first, s.last));
    let usual = Purpose::new(Protocol::Tcp, 0).source;
    let mut sources: Vec<u16> = near.chain([usual]).collect();
    sources.sort_unstable();
    sources.dedup();
    sources
}
