//! The space of all connections, cut where anything in the source or in the policy's names cuts
//! it: address classes and service classes. On these, sets are [`Bits`] and algebra is exact.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use portcullis_policy::model::{Ports, Protocol, Purpose, Sources16};

use crate::{bits::Bits, ranges::Ranges};

/// IP protocols that have tables of their own, and so do not count among the bare numbers.
pub const OWN_TABLES: [u16; 5] = [1, 6, 17, 58, 132];

/// All that is told apart.
pub struct Grid {
    addresses: Vec<Ranges>,
    services: Vec<Vec<Ports>>,
}

/// A set of connections: from some, to some, for some services.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Classes of who opens it.
    pub from: Bits,
    /// Classes of whom it is for.
    pub to: Bits,
    /// Classes of what it is for.
    pub services: Bits,
}

impl Shape {
    /// Is there no such connection?
    pub fn is_empty(&self) -> bool {
        self.from.is_empty() || self.to.is_empty() || self.services.is_empty()
    }

    /// Connections in both.
    pub fn and(&self, other: &Self) -> Self {
        Self {
            from: self.from.and(&other.from),
            to: self.to.and(&other.to),
            services: self.services.and(&other.services),
        }
    }

    /// Is there a connection in both?
    pub fn meets(&self, other: &Self) -> bool {
        self.from.meets(&other.from)
            && self.to.meets(&other.to)
            && self.services.meets(&other.services)
    }

    /// Is every connection of this one in the other?
    pub fn is_within(&self, other: &Self) -> bool {
        self.is_empty()
            || self.from.is_within(&other.from)
                && self.to.is_within(&other.to)
                && self.services.is_within(&other.services)
    }

    /// What is in this one only, as at most three disjoint shapes.
    pub fn minus(&self, other: &Self) -> Vec<Self> {
        if !self.meets(other) {
            return vec![self.clone()];
        }
        let both = self.and(other);
        let from = Self { from: self.from.minus(&other.from), ..self.clone() };
        let to = Self { from: both.from.clone(), to: self.to.minus(&other.to), ..self.clone() };
        let services = Self { services: self.services.minus(&other.services), ..both };
        [from, to, services].into_iter().filter(|shape| !shape.is_empty()).collect()
    }

    /// What is in this one and in none of the others; `None` if that takes too many shapes.
    pub fn minus_all<'a>(&self, others: impl Iterator<Item = &'a Self>) -> Option<Vec<Self>> {
        let mut left = vec![self.clone()];
        for other in others {
            left = left.iter().flat_map(|shape| shape.minus(other)).collect();
            if left.len() > SHAPES_MAX {
                return None;
            }
        }
        Some(left)
    }
}

/// What no connection can be: between the families, within one machine, ICMP of the other
/// family.
pub struct Possible {
    v4: Bits,
    v6: Bits,
    icmp: Bits,
    icmpv6: Bits,
    machines: Vec<Bits>,
}

impl Possible {
    /// On a grid that keeps the machines whole.
    pub fn new(grid: &Grid, machines: &[Ranges]) -> Self {
        let v4 = grid.classes(&Ranges::v4());
        Self {
            v6: grid.any().minus(&v4),
            v4,
            icmp: grid.service_classes(&[Ports::all(Protocol::Icmp)]),
            icmpv6: grid.service_classes(&[Ports::all(Protocol::Icmpv6)]),
            machines: machines.iter().map(|m| grid.classes(m)).collect(),
        }
    }

    /// The possible connections of a shape, still as one shape.
    pub fn trim(&self, shape: &Shape) -> Shape {
        let mut shape = shape.clone();
        for (family, icmp) in [(&self.v4, &self.icmp), (&self.v6, &self.icmpv6)] {
            if !shape.from.meets(family) || !shape.to.meets(family) {
                shape.from = shape.from.minus(family);
                shape.to = shape.to.minus(family);
                shape.services = shape.services.minus(icmp);
            }
        }
        // ICMP of one family says the family.
        for (icmp, other) in [(&self.icmp, &self.v6), (&self.icmpv6, &self.v4)] {
            if shape.services.is_within(icmp) {
                shape.from = shape.from.minus(other);
                shape.to = shape.to.minus(other);
            }
        }
        let inside = |m: &Bits| shape.from.is_within(m) && shape.to.is_within(m);
        if self.machines.iter().any(inside) {
            shape.from = shape.from.minus(&shape.from);
        }
        shape
    }

    /// Addresses that cannot speak with any of these by any of these services.
    pub fn apart_from(&self, side: &Bits, services: &Bits) -> Bits {
        let mut apart = side.minus(side);
        for (icmp, other) in [(&self.icmp, &self.v6), (&self.icmpv6, &self.v4)] {
            if services.is_within(icmp) {
                apart = apart.or(other);
            }
        }
        for family in [&self.v4, &self.v6].into_iter().filter(|f| !side.meets(f)) {
            apart = apart.or(family);
        }
        for machine in self.machines.iter().filter(|m| side.is_within(m)) {
            apart = apart.or(machine);
        }
        apart
    }

    /// Services that nobody can use between these.
    pub fn unused_services(&self, from: &Bits, to: &Bits) -> Bits {
        let mut unused = self.icmp.minus(&self.icmp);
        for (family, icmp) in [(&self.v4, &self.icmp), (&self.v6, &self.icmpv6)] {
            if !from.meets(family) || !to.meets(family) {
                unused = unused.or(icmp);
            }
        }
        unused
    }
}

/// More than anybody would read.
const SHAPES_MAX: usize = 4096;

impl Grid {
    /// The coarsest grid on which all of these are whole.
    pub fn new(addresses: &[Ranges], services: &[Vec<Ports>]) -> Self {
        Self { addresses: address_classes(addresses), services: service_classes(services) }
    }

    /// The classes of some addresses that the grid was made of.
    pub fn classes(&self, set: &Ranges) -> Bits {
        Bits::of(self.addresses.len(), |i| self.first(i).is_some_and(|n| set.has(n)))
    }

    /// The classes of some services that the grid was made of.
    pub fn service_classes(&self, set: &[Ports]) -> Bits {
        Bits::of(self.services.len(), |i| {
            self.services[i].first().is_some_and(|p| covers(set, corner(p)))
        })
    }

    /// The addresses of some classes.
    pub fn ranges(&self, classes: &Bits) -> Ranges {
        classes.iter().map(|i| self.addresses[i].clone()).collect()
    }

    /// The services of some classes, as disjoint rectangles.
    pub fn ports(&self, classes: &Bits) -> Vec<Ports> {
        classes.iter().flat_map(|i| self.services[i].iter().copied()).collect()
    }

    /// Every address class.
    pub fn any(&self) -> Bits {
        Bits::of(self.addresses.len(), |_| true)
    }

    /// Every service class.
    pub fn any_service(&self) -> Bits {
        Bits::of(self.services.len(), |_| true)
    }

    fn first(&self, class: usize) -> Option<u128> {
        self.addresses[class].iter().next().map(|(first, _)| first)
    }
}

/// Does a set of services cover a connection?
pub fn covers(set: &[Ports], purpose: Purpose) -> bool {
    set.iter().any(|p| {
        p.protocol == purpose.protocol
            && (p.first..=p.last).contains(&purpose.number)
            && (p.source.first..=p.source.last).contains(&purpose.source)
    })
}

fn corner(p: &Ports) -> Purpose {
    Purpose { protocol: p.protocol, number: p.first, source: p.source.first }
}

fn address_classes(sets: &[Ranges]) -> Vec<Ranges> {
    let unicast = Ranges::unicast();
    let families = [Ranges::v4()];
    let all: Vec<&Ranges> = sets.iter().chain(&families).collect();
    let mut cuts: BTreeSet<u128> = unicast.iter().flat_map(both_ends).collect();
    cuts.extend(all.iter().flat_map(|set| set.iter().flat_map(both_ends)));
    let starts: Vec<u128> = cuts.into_iter().collect();
    let mut classes: HashMap<Vec<bool>, usize> = HashMap::new();
    let mut members: Vec<Vec<Ranges>> = Vec::new();
    for (i, &start) in starts.iter().enumerate().filter(|&(_, &start)| unicast.has(start)) {
        let last = starts.get(i + 1).map_or(u128::MAX, |next| next - 1);
        let key: Vec<bool> = all.iter().map(|set| set.has(start)).collect();
        let class = *classes.entry(key).or_insert(members.len());
        if class == members.len() {
            members.push(Vec::new());
        }
        members[class].push(Ranges::of_numbers(start, last));
    }
    members.into_iter().map(|parts| parts.into_iter().collect()).collect()
}

/// Where a range begins, and where what follows it begins.
fn both_ends((first, last): (u128, u128)) -> impl Iterator<Item = u128> {
    [Some(first), last.checked_add(1)].into_iter().flatten()
}

fn service_classes(sets: &[Vec<Ports>]) -> Vec<Vec<Ports>> {
    let mut classes: BTreeMap<Vec<bool>, Vec<Ports>> = BTreeMap::new();
    for protocol in Protocol::ALL {
        for cell in cells(protocol, sets) {
            let key = sets.iter().map(|set| covers(set, corner(&cell))).collect();
            classes.entry(key).or_default().push(cell);
        }
    }
    classes.into_values().collect()
}

/// The rectangles into which some services cut a protocol.
fn cells(protocol: Protocol, sets: &[Vec<Ports>]) -> Vec<Ports> {
    let own = || sets.iter().flatten().filter(|p| p.protocol == protocol);
    let top = if protocol == Protocol::Proto { 255 } else { u16::MAX };
    let mut numbers = pieces(own().map(|p| (p.first, p.last)), top);
    if protocol == Protocol::Proto {
        let bare = OWN_TABLES.map(|n| (n, n)).into_iter();
        numbers = pieces(own().map(|p| (p.first, p.last)).chain(bare), top);
        numbers.retain(|(first, _)| !OWN_TABLES.contains(first));
    }
    let sources = match protocol.has_ports() {
        true => pieces(own().map(|p| (p.source.first, p.source.last)), u16::MAX),
        false => vec![(0, u16::MAX)],
    };
    let cell = |(first, last), (a, b)| Ports {
        protocol,
        first,
        last,
        source: Sources16 { first: a, last: b },
    };
    numbers.iter().flat_map(|&n| sources.iter().map(move |&s| cell(n, s))).collect()
}

/// The pieces of `0..=top` that some ranges leave whole.
pub fn pieces(ranges: impl Iterator<Item = (u16, u16)>, top: u16) -> Vec<(u16, u16)> {
    let ends = ranges.flat_map(|(first, last)| [Some(first), last.checked_add(1)]);
    let starts: BTreeSet<u16> = ends.flatten().chain([0]).filter(|&s| s <= top).collect();
    let starts: Vec<u16> = starts.into_iter().collect();
    let next = |i: usize| starts.get(i + 1).map_or(top, |next| next - 1);
    starts.iter().enumerate().map(|(i, &start)| (start, next(i))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grid_keeps_what_it_was_made_of_whole() {
        let nets: Vec<Ranges> = ["10.0.0.0/8", "10.1.0.0/16", "fd00::/8"]
            .iter()
            .map(|t| Ranges::from(t.parse::<ipnet::IpNet>().unwrap()))
            .collect();
        let tcp = vec![Ports::range(Protocol::Tcp, 80, 90)];
        let grid = Grid::new(&nets, &[tcp.clone(), vec![Ports::all(Protocol::Icmp)]]);
        // Outside (IPv4, IPv6), 10/8 without 10.1/16, 10.1/16, fd00::/8.
        assert_eq!(grid.any().len(), 5);
        for net in &nets {
            assert_eq!(grid.ranges(&grid.classes(net)), *net);
        }
        assert_eq!(grid.ports(&grid.service_classes(&tcp)), tcp);
    }

    #[test]
    fn a_difference_is_disjoint_and_whole() {
        let of = |n: u64| Bits::of(4, |i| n >> i & 1 == 1);
        let shape = |f, t, s| Shape { from: of(f), to: of(t), services: of(s) };
        let (a, b) = (shape(0b0111, 0b0011, 0b1111), shape(0b0110, 0b0110, 0b0001));
        let left = a.minus(&b);
        let cells = |s: &Shape| s.from.len() * s.to.len() * s.services.len();
        assert_eq!(left.iter().map(cells).sum::<usize>(), cells(&a) - cells(&a.and(&b)));
        assert!(left.iter().all(|s| !s.meets(&b) && s.is_within(&a)));
    }
}
