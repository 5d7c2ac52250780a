//! What a policy allows across the host's stack: between its networks and the outside, and
//! between them and the host. Not all of it: examples, which somebody can look for in the rules of
//! another firewall.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use portcullis_image::{Image, PrefixClass};

use crate::{
    Compiled,
    lookup::{cell_of, class_of},
    model::{Kind, Protocol, Purpose},
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
pub fn crossings(compiled: &Compiled) -> Vec<Crossing> {
    let image = &compiled.image;
    let purposes = purposes(image);
    let world = outside(compiled);
    let mut found = Vec::new();
    for (network, n) in compiled.model.networks.iter().enumerate() {
        if n.gateway.is_empty() || n.kind == Kind::External {
            continue;
        }
        let members = members(image, network);
        for (way, peers) in [
            (Way::Out, &world[..]),
            (Way::In, &world[..]),
            (Way::ToHost, &[(image.host, None)]),
            (Way::FromHost, &[(image.host, None)]),
        ] {
            let all = allowed(image, network, way, &members, peers, &purposes);
            found.extend(all);
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
    let world = outside(compiled);
    let mut purposes = purposes;
    purposes.any(|p| world.iter().any(|(from, _)| cell_of(&compiled.image, *from, to, p).allows()))
}

fn allowed(
    image: &Image,
    network: usize,
    way: Way,
    members: &BTreeMap<(bool, u32), IpAddr>,
    peers: &[(u32, Option<IpNet>)],
    purposes: &[Purpose],
) -> Vec<Crossing> {
    let mut found = Vec::new();
    for v6 in [false, true] {
        let mut seen = BTreeSet::new();
        let own = members.iter().filter(|((family, _), _)| *family == v6);
        for ((_, class), member) in own {
            for (other, peer) in peers {
                if peer.is_some_and(|net| matches!(net, IpNet::V6(_)) != v6) {
                    continue;
                }
                let (from, to) = match way {
                    Way::Out | Way::ToHost => (*class, *other),
                    Way::In | Way::FromHost => (*other, *class),
                };
                let fits = purposes.iter().filter(|p| fits(p.protocol, v6));
                for purpose in fits.filter(|p| cell_of(image, from, to, **p).allows()) {
                    if seen.len() < EXAMPLES && seen.insert((*purpose, *peer)) {
                        let (member, peer, purpose) = (*member, *peer, *purpose);
                        found.push(Crossing { network, way, member, peer, purpose });
                    }
                }
            }
        }
    }
    found
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
fn outside(compiled: &Compiled) -> Vec<(u32, Option<IpNet>)> {
    let image = &compiled.image;
    let external = |id: u32| {
        let network = (id as usize).checked_sub(1);
        network.is_none_or(|n| compiled.model.networks[n].kind == Kind::External)
    };
    let named = image.prefixes.iter().filter(|p| external(p.network));
    let mut classes = vec![(image.world, None)];
    for prefix in named {
        if classes.iter().all(|(class, _)| *class != prefix.class) {
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
        let mut seen = BTreeSet::new();
        for number in (1..=u16::MAX).chain([0]) {
            if seen.insert(table[usize::from(number)]) {
                found.push(Purpose::new(protocol, number));
            }
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
        let told: BTreeSet<String> = crossings(&compiled)
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
