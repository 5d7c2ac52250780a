//! The proof: the compiled policy decides every connection as the source does.
//!
//! Both decide by comparing addresses and ports with fixed bounds, so between two neighbouring
//! bounds of either nothing changes: one connection for each combination of what lies between
//! is the whole space. The judge of the source walks the source's own lists, packet by packet,
//! and shares nothing with the translation.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use portcullis_image::Image;
use portcullis_pipeline::{addr::Addr, policy::Cell};
use portcullis_policy::{
    lookup::class_of,
    model::{Protocol, Purpose, Sources16},
};

use crate::{
    grid::{OWN_TABLES, pieces},
    ranges::{Ranges, address, number},
};

/// A source format's own opinion.
pub trait Judge {
    /// May this connection be?
    fn allows(&self, from: IpAddr, to: IpAddr, purpose: Purpose) -> bool;

    /// First and last address of everything that it compares addresses with.
    fn address_bounds(&self) -> Vec<(IpAddr, IpAddr)>;

    /// What it can tell about an address: two with the same answer are the same to it.
    fn address_marks(&self, addr: IpAddr) -> Vec<bool>;

    /// Everything that it compares ports, ICMP types and protocols with.
    fn port_bounds(&self) -> Vec<Bound>;
}

/// The IP protocol of a connection.
pub fn ip_protocol(purpose: Purpose) -> u16 {
    match purpose.protocol {
        Protocol::Icmp => 1,
        Protocol::Tcp => 6,
        Protocol::Udp => 17,
        Protocol::Icmpv6 => 58,
        Protocol::Sctp => 132,
        Protocol::Proto => purpose.number,
    }
}

/// Numbers that a judge compares with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bound {
    /// Of which protocol.
    pub protocol: Protocol,
    /// Destination ports, ICMP types and codes, or protocol numbers.
    pub number: (u16, u16),
    /// Source ports.
    pub source: (u16, u16),
}

/// A connection that one allows and the other does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Who opens it.
    pub from: IpAddr,
    /// For whom.
    pub to: IpAddr,
    /// For what.
    pub purpose: Purpose,
    /// Does the source allow it (and the policy not)?
    pub source_allows: bool,
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Purpose { protocol, number, source } = self.purpose;
        let ports = portcullis_policy::model::Ports {
            protocol,
            first: number,
            last: number,
            source: Sources16 { first: source, last: source },
        };
        let (yes, no) = match self.source_allows {
            true => ("the source", "the policy"),
            false => ("the policy", "the source"),
        };
        write!(f, "{} -> {} {ports}: {yes} allows it, {no} does not", self.from, self.to)
    }
}

/// Compares everything. How many connections that were, or the first one that differs. A machine
/// has no wire to itself.
pub fn compare(image: &Image, judge: &dyn Judge, machines: &[Ranges]) -> Result<u64, Difference> {
    let addresses = address_points(image, judge, machines);
    let purposes = purpose_points(image, judge);
    let mut count = 0;
    for from in &addresses {
        for to in addresses.iter().filter(|to| from.meets(to)) {
            let row = image.rows[(from.class * image.classes + to.class) as usize];
            for purpose in purposes.iter().filter(|p| from.speaks(p.purpose.protocol)) {
                let cell = Cell(image.cells[(row * image.services + purpose.class) as usize]);
                let source_allows = judge.allows(from.addr, to.addr, purpose.purpose);
                if cell.allows() != source_allows {
                    let purpose = purpose.purpose;
                    return Err(Difference {
                        from: from.addr,
                        to: to.addr,
                        purpose,
                        source_allows,
                    });
                }
                count += 1;
            }
        }
    }
    Ok(count)
}

struct AddressPoint {
    addr: IpAddr,
    class: u32,
    machine: Option<usize>,
}

impl AddressPoint {
    /// Can a packet go from here to there?
    fn meets(&self, to: &Self) -> bool {
        let one_machine = self.machine.is_some() && self.machine == to.machine;
        self.addr.is_ipv4() == to.addr.is_ipv4() && !one_machine
    }

    fn speaks(&self, protocol: Protocol) -> bool {
        match protocol {
            Protocol::Icmp => self.addr.is_ipv4(),
            Protocol::Icmpv6 => self.addr.is_ipv6(),
            _ => true,
        }
    }
}

/// One address for each thing that the image and the judge tell apart.
fn address_points(image: &Image, judge: &dyn Judge, machines: &[Ranges]) -> Vec<AddressPoint> {
    let unicast = Ranges::unicast();
    let mut starts: BTreeSet<u128> = unicast.iter().map(|(first, _)| first).collect();
    let mut bound = |first: u128, last: u128| {
        starts.insert(first);
        starts.extend(last.checked_add(1));
    };
    for entry in &image.addresses {
        let at = number(IpAddr::from(entry.addr));
        bound(at, at);
    }
    for entry in &image.prefixes {
        let first = number(IpAddr::from(entry.addr));
        let size = 1u128.checked_shl(128 - u32::from(entry.len)).map_or(u128::MAX, |s| s - 1);
        bound(first, first | size);
    }
    for (first, last) in judge.address_bounds() {
        bound(number(first), number(last));
    }
    machines.iter().flat_map(Ranges::iter).for_each(|(first, last)| bound(first, last));
    Ranges::v4().iter().for_each(|(first, last)| bound(first, last));
    let mut points = BTreeMap::new();
    for n in starts.into_iter().filter(|&n| unicast.has(n)) {
        let addr = address(n);
        let class = class_of(image, 0, Addr::from(addr));
        let machine = machines.iter().position(|m| m.has(n));
        let key = (class, machine, addr.is_ipv4(), judge.address_marks(addr));
        points.entry(key).or_insert(AddressPoint { addr, class, machine });
    }
    points.into_values().collect()
}

struct PurposePoint {
    purpose: Purpose,
    class: u32,
}

/// One service for each thing that the image and the judge tell apart.
fn purpose_points(image: &Image, judge: &dyn Judge) -> Vec<PurposePoint> {
    let bounds = judge.port_bounds();
    let mut points = BTreeMap::new();
    for protocol in Protocol::ALL {
        let own: Vec<&Bound> = bounds.iter().filter(|b| b.protocol == protocol).collect();
        let numbers = protocol_numbers(image, protocol, &own);
        let sources = source_ports(image, protocol, &own);
        for &number in &numbers {
            for &source in &sources {
                let purpose = Purpose { protocol, number, source };
                let class = service_class(image, purpose);
                let inside = |b: &&Bound| {
                    (b.number.0..=b.number.1).contains(&number)
                        && (b.source.0..=b.source.1).contains(&source)
                };
                let marks: Vec<bool> = own.iter().map(inside).collect();
                points.entry((protocol, class, marks)).or_insert(PurposePoint { purpose, class });
            }
        }
    }
    points.into_values().collect()
}

fn protocol_numbers(image: &Image, protocol: Protocol, bounds: &[&Bound]) -> Vec<u16> {
    let top = if protocol == Protocol::Proto { 255 } else { u16::MAX };
    let table = &image.service_tables[protocol.table() as usize].class[..];
    let changes = (1..=top).filter(|&n| table[usize::from(n)] != table[usize::from(n) - 1]);
    let mut starts: BTreeSet<u16> = changes.chain([0]).collect();
    starts.extend(pieces(bounds.iter().map(|b| b.number), top).iter().map(|p| p.0));
    if protocol == Protocol::Proto {
        // What has a table of its own is never looked up here.
        starts.extend(OWN_TABLES.map(|n| n + 1));
        starts.retain(|n| !OWN_TABLES.contains(n));
    }
    starts.into_iter().collect()
}

fn source_ports(image: &Image, protocol: Protocol, bounds: &[&Bound]) -> Vec<u16> {
    if !protocol.has_ports() {
        return vec![0];
    }
    let mut starts: BTreeSet<u16> = [0].into();
    if let Some(table) = image.source_tables.get(protocol.table() as usize) {
        let class = |n: u16| table.class[usize::from(n)];
        starts.extend((1..=u16::MAX).filter(|&n| class(n) != class(n - 1)));
    }
    starts.extend(pieces(bounds.iter().map(|b| b.source), u16::MAX).iter().map(|p| p.0));
    starts.into_iter().collect()
}

fn service_class(image: &Image, purpose: Purpose) -> u32 {
    let table = purpose.protocol.table() as usize;
    let number = image.service_tables[table].class[usize::from(purpose.number)];
    let source = image.source_tables.get(table).map_or(0, |t| t.class[usize::from(purpose.source)]);
    u32::from(number) * image.sources + u32::from(source)
}

#[cfg(test)]
mod tests {
    use ipnet::IpNet;
    use portcullis_policy::{Sources, compile};

    use super::*;

    /// Lets a prefix reach anybody by TCP, to some ports and from some.
    struct One {
        from: IpNet,
        bound: Bound,
    }

    impl Judge for One {
        fn allows(&self, from: IpAddr, _: IpAddr, purpose: Purpose) -> bool {
            let within = |(first, last): (u16, u16), n: u16| first <= n && n <= last;
            self.from.contains(&from)
                && purpose.protocol == self.bound.protocol
                && within(self.bound.number, purpose.number)
                && within(self.bound.source, purpose.source)
        }

        fn address_bounds(&self) -> Vec<(IpAddr, IpAddr)> {
            vec![(self.from.network(), self.from.broadcast())]
        }

        fn address_marks(&self, addr: IpAddr) -> Vec<bool> {
            vec![self.from.contains(&addr)]
        }

        fn port_bounds(&self) -> Vec<Bound> {
            vec![self.bound]
        }
    }

    fn compared(rules: &str) -> Result<u64, Difference> {
        let text =
            format!("networks:\n  lan: {{ vlan: 1, subnets: [10.0.0.0/24] }}\nrules:\n{rules}");
        let compiled = compile(&Sources::new([("p", text.as_str())])).map_err(|d| d.to_string());
        let bound = Bound { protocol: Protocol::Tcp, number: (22, 25), source: (1024, u16::MAX) };
        let judge = One { from: "10.0.0.0/8".parse().unwrap(), bound };
        compare(&compiled.unwrap().image, &judge, &[])
    }

    fn rule(from: &str, service: &str) -> String {
        format!("  - {{ name: r, allow: {{ from: {from}, to: any, for: {service} }} }}\n")
    }

    #[test]
    fn what_is_equal_is_equal() {
        let count = compared(&rule("10.0.0.0/8", "tcp/22-25 from 1024-65535")).unwrap();
        assert!(count > 20, "{count}");
    }

    #[test]
    fn the_smallest_difference_is_found() {
        for (from, service, source_allows) in [
            ("10.0.0.0/8", "tcp/22-26 from 1024-65535", false),
            ("10.0.0.0/8", "tcp/22-24 from 1024-65535", true),
            ("10.0.0.0/8", "tcp/22-25 from 1023-65535", false),
            ("10.0.0.0/8", "tcp/22-25 from 1024-65534", true),
            ("[10.0.0.0/8, 11.0.0.0]", "tcp/22-25 from 1024-65535", false),
            ("{ all of: [10.0.0.0/8, { not: 10.7.7.7 }] }", "tcp/22-25 from 1024-65535", true),
            ("[10.0.0.0/8, \"2001:db8::1\"]", "tcp/22-25 from 1024-65535", false),
            ("10.0.0.0/8", "[tcp/22-25 from 1024-65535, icmp/8]", false),
            ("10.0.0.0/8", "[tcp/22-25 from 1024-65535, proto/47]", false),
        ] {
            let difference = compared(&rule(from, service)).unwrap_err();
            assert_eq!(difference.source_allows, source_allows, "{from} {service}: {difference}");
        }
    }
}
