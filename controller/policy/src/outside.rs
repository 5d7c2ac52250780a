//! What a policy allows across the host's stack: between its networks and the outside, and
//! between them and the host. Not all of it: examples, which somebody can look for in the rules of
//! another firewall.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    net::IpAddr,
};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use portcullis_image::{Image, PrefixClass};

use crate::{
    Compiled,
    lookup::{cell_of, class_of},
    model::{Protocol, Purpose},
};

/// Examples for one network, way and address family: more say nothing new.
const EXAMPLES: usize = 16;

/// Between whom a connection is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// A member to the outside.
    Out,
    /// The outside to a member.
    In,
    /// A member to the host.
    ToHost,
    /// The host to a member.
    FromHost,
}

/// A connection that the policy allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crossing {
    /// Index of the network.
    pub network: usize,
    /// Between whom.
    pub way: Way,
    /// A member of it.
    pub member: IpAddr,
    /// The other side, if it is not just anybody outside, or just the host.
    pub peer: Option<IpNet>,
    /// For what.
    pub purpose: Purpose,
}

/// Examples of what is allowed for every network with a gateway.
pub fn crossings(image: &Image) -> Vec<Crossing> {
    let mut rows = Rows { image, purposes: purposes(image), known: HashMap::new() };
    let world = outside(image);
    let host = [(image.host, None)];
    let mut found = Vec::new();
    for (network, n) in image.networks.iter().enumerate() {
        if n.gateway.is_empty() || n.external {
            continue;
        }
        let members = members(image, network);
        for (way, peers) in [
            (Way::Out, &world[..]),
            (Way::In, &world[..]),
            (Way::ToHost, &host[..]),
            (Way::FromHost, &host[..]),
        ] {
            found.extend(rows.allowed(network, way, &members, peers));
        }
    }
    found
}

/// Does the policy let anybody outside open one of these connections?
pub(crate) fn is_reached(
    compiled: &Compiled,
    member: IpAddr,
    purposes: impl Iterator<Item = Purpose>,
) -> bool {
    let to = class_of(&compiled.image, 0, member.into());
    let world = outside(&compiled.image);
    let mut purposes = purposes;
    purposes.any(|p| world.iter().any(|(from, _)| cell_of(&compiled.image, *from, to, p).allows()))
}

/// Rows of the verdict table: many pairs of classes share one.
struct Rows<'a> {
    image: &'a Image,
    purposes: Vec<Purpose>,
    /// What each row that was asked about allows.
    known: HashMap<u32, Vec<Purpose>>,
}

impl Rows<'_> {
    fn allowed(
        &mut self,
        network: usize,
        way: Way,
        members: &BTreeMap<(bool, u32), IpAddr>,
        peers: &[(u32, Option<IpNet>)],
    ) -> Vec<Crossing> {
        let mut found = Vec::new();
        let mut seen: BTreeSet<(bool, Purpose, Option<IpNet>)> = BTreeSet::new();
        for ((v6, class), member) in members {
            let family = |peer: &IpNet| matches!(peer, IpNet::V6(_)) == *v6;
            for (other, peer) in peers.iter().filter(|(_, peer)| peer.as_ref().is_none_or(family)) {
                let (from, to) = match way {
                    Way::Out | Way::ToHost => (*class, *other),
                    Way::In | Way::FromHost => (*other, *class),
                };
                for purpose in self.of(from, to).iter().filter(|p| fits(p.protocol, *v6)) {
                    let full = seen.iter().filter(|(family, ..)| family == v6).count() >= EXAMPLES;
                    if !full && seen.insert((*v6, *purpose, *peer)) {
                        let (member, peer, purpose) = (*member, *peer, *purpose);
                        found.push(Crossing { network, way, member, peer, purpose });
                    }
                }
            }
        }
        found
    }

    fn of(&mut self, from: u32, to: u32) -> &[Purpose] {
        let (image, purposes) = (self.image, &self.purposes);
        let row = image.rows[(from * image.classes + to) as usize];
        self.known.entry(row).or_insert_with(|| {
            let allows = |p: &&Purpose| cell_of(image, from, to, **p).allows();
            purposes.iter().filter(allows).copied().collect()
        })
    }
}

const fn fits(protocol: Protocol, v6: bool) -> bool {
    match protocol {
        Protocol::Icmp => !v6,
        Protocol::Icmpv6 => v6,
        _ => true,
    }
}

/// One member of each class, by address family.
fn members(image: &Image, network: usize) -> BTreeMap<(bool, u32), IpAddr> {
    let id = network as u32 + 1;
    let addrs = image.nics.iter().filter(|nic| nic.network == id).flat_map(|nic| &nic.addrs);
    let mut members = BTreeMap::new();
    for addr in addrs {
        let ip = IpAddr::from(*addr);
        members.entry((ip.is_ipv6(), class_of(image, id, *addr))).or_insert(ip);
    }
    members
}

/// Classes of the outside; the one of nobody in particular comes first.
fn outside(image: &Image) -> Vec<(u32, Option<IpNet>)> {
    let is_outside = |id: u32| id == 0 || image.network(id).is_some_and(|n| n.external);
    let mut seen = HashSet::from([image.world]);
    let mut classes = vec![(image.world, None)];
    for prefix in image.prefixes.iter().filter(|p| is_outside(p.network)) {
        if seen.insert(prefix.class) {
            classes.push((prefix.class, Some(net(prefix))));
        }
    }
    classes
}

/// As people write it; an IPv4 prefix has its 96 bits of the mapped form taken off.
fn net(prefix: &PrefixClass) -> IpNet {
    match IpAddr::from(prefix.addr) {
        IpAddr::V4(v4) => Ipv4Net::new_assert(v4, prefix.len.saturating_sub(96)).into(),
        IpAddr::V6(v6) => Ipv6Net::new_assert(v6, prefix.len).into(),
    }
}

/// One number of each class of services, none of them 0 where there is another one.
fn purposes(image: &Image) -> Vec<Purpose> {
    let mut found = Vec::new();
    for protocol in Protocol::ALL {
        let table = &image.service_tables[protocol.table() as usize].class;
        let mut seen = HashSet::new();
        let mut last = None;
        for number in (1..=u16::MAX).chain([0]) {
            // Most numbers have the class of their neighbour.
            let class = Some(table[usize::from(number)]);
            if class != last && seen.insert(class) {
                found.push(Purpose::new(protocol, number));
            }
            last = class;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Sources, compile};

    const POLICY: &str = "networks:\n  lan: { vlan: 10, subnets: [10.1.0.0/24, 'fd01::/64'], \
        gateway: true }\n  closed: { vlan: 11, subnets: [10.2.0.0/24], gateway: true }\nguests:\n  \
        pc: { network: lan }\n  web: { network: lan }\n  safe: { network: closed }\nrules:\n  \
        - { name: out, allow: { from: pc, to: world, for: https } }\n  \
        - { name: office, allow: { from: 198.51.100.0/24, to: web, for: ssh } }\n  \
        - { name: checks, allow: { from: host, to: lan, for: icmp/8 } }\n";

    #[test]
    fn examples_are_what_the_rules_say() {
        let compiled = compile(&Sources::new([("p.yaml", POLICY)])).expect("a policy");
        let told: BTreeSet<String> = crossings(&compiled.image)
            .iter()
            .map(|c| {
                let peer = c.peer.map_or_else(|| "-".to_owned(), |p| p.to_string());
                let v6 = if c.member.is_ipv6() { 6 } else { 4 };
                let Purpose { protocol, number, .. } = c.purpose;
                format!("{} {:?} {v6} {peer} {}/{number}", c.network, c.way, protocol.name())
            })
            .collect();
        let expected = [
            "0 FromHost 4 - icmp/2048",
            "0 In 4 198.51.100.0/24 tcp/22",
            "0 Out 4 - tcp/443",
            "0 Out 4 198.51.100.0/24 tcp/443",
            "0 Out 6 - tcp/443",
        ];
        assert_eq!(told.iter().map(String::as_str).collect::<Vec<_>>(), expected);
    }
}
