//! Sets of addresses as sorted ranges. An IPv4 address stands at its place among the mapped
//! ones (`::ffff:a.b.c.d`), as everywhere in the data plane.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// First mapped IPv4 address.
const V4_FIRST: u128 = 0xffff_0000_0000;
/// Last mapped IPv4 address.
const V4_LAST: u128 = 0xffff_ffff_ffff;
/// Addresses that no connection of one host with another has: loopback, multicast, reserved
/// blocks; link-local ones mean something inside one network only and follow from the MAC.
const NOT_UNICAST: &[&str] =
    &["0.0.0.0/8", "127.0.0.0/8", "224.0.0.0/4", "240.0.0.0/4", "::/96", "fe80::/10", "ff00::/8"];

/// A set of addresses: ascending, disjoint, not adjacent, both ends included.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ranges(Vec<(u128, u128)>);

/// An address as a number.
pub fn number(addr: IpAddr) -> u128 {
    match addr {
        IpAddr::V4(a) => V4_FIRST | u128::from(u32::from(a)),
        IpAddr::V6(a) => a.into(),
    }
}

/// The address of a number.
pub fn address(n: u128) -> IpAddr {
    match n {
        V4_FIRST..=V4_LAST => Ipv4Addr::from(n as u32).into(),
        _ => Ipv6Addr::from(n).into(),
    }
}

impl Ranges {
    /// Every address.
    pub fn all() -> Self {
        Self(vec![(0, u128::MAX)])
    }

    /// Every IPv4 address.
    pub fn v4() -> Self {
        Self(vec![(V4_FIRST, V4_LAST)])
    }

    /// Every IPv6 address.
    pub fn v6() -> Self {
        Self::all().minus(&Self::v4())
    }

    /// Every address that a connection between two hosts can have.
    pub fn unicast() -> Self {
        let blocks = NOT_UNICAST.iter().filter_map(|text| text.parse::<IpNet>().ok());
        Self::all().minus(&blocks.map(Self::from).collect())
    }

    /// The addresses of a family that a connection between two hosts can have.
    pub fn unicast_of(v4: bool) -> Self {
        Self::unicast().and(&if v4 { Self::v4() } else { Self::v6() })
    }

    /// Can anybody have one of these addresses?
    pub fn is_somebody(&self) -> bool {
        !self.and(&Self::unicast()).is_empty()
    }

    /// From one address to another of its family, both included.
    pub fn between(first: IpAddr, last: IpAddr) -> Self {
        let (is_v4, first, last) = (first.is_ipv4(), number(first), number(last));
        if first > last {
            return Self::default();
        }
        let all = Self(vec![(first, last)]);
        // `::/0` does not mean the addresses that stand for IPv4 here.
        if is_v4 { all } else { all.minus(&Self::v4()) }
    }

    /// From one number to another, both included.
    pub fn of_numbers(first: u128, last: u128) -> Self {
        Self(vec![(first, last)])
    }

    /// Is it empty?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Is this address in it?
    pub fn has(&self, n: u128) -> bool {
        let after = self.0.partition_point(|r| r.0 <= n);
        after > 0 && n <= self.0[after - 1].1
    }

    /// The ranges.
    pub fn iter(&self) -> impl Iterator<Item = (u128, u128)> + '_ {
        self.0.iter().copied()
    }

    /// What is in neither set's complement.
    pub fn and(&self, other: &Self) -> Self {
        let mut both = Vec::new();
        let (mut a, mut b) = (self.0.iter().peekable(), other.0.iter().peekable());
        while let (Some(&&x), Some(&&y)) = (a.peek(), b.peek()) {
            let (first, last) = (x.0.max(y.0), x.1.min(y.1));
            if first <= last {
                both.push((first, last));
            }
            if x.1 <= y.1 {
                a.next()
            } else {
                b.next()
            };
        }
        Self(both)
    }

    /// What is in either.
    pub fn or(&self, other: &Self) -> Self {
        let mut all: Vec<(u128, u128)> = self.0.iter().chain(&other.0).copied().collect();
        all.sort_unstable();
        let mut merged: Vec<(u128, u128)> = Vec::new();
        for (first, last) in all {
            match merged.last_mut() {
                Some(open) if first <= open.1.saturating_add(1) => open.1 = open.1.max(last),
                _ => merged.push((first, last)),
            }
        }
        Self(merged)
    }

    /// What is not in it.
    pub fn complement(&self) -> Self {
        let mut gaps = Vec::new();
        let mut next = Some(0u128);
        for &(first, last) in &self.0 {
            if let Some(start) = next.filter(|&start| start < first) {
                gaps.push((start, first - 1));
            }
            next = last.checked_add(1);
        }
        gaps.extend(next.map(|start| (start, u128::MAX)));
        Self(gaps)
    }

    /// What is in this one only.
    pub fn minus(&self, other: &Self) -> Self {
        self.and(&other.complement())
    }

    /// As few prefixes as cover exactly this.
    pub fn prefixes(&self) -> Vec<IpNet> {
        self.and(&Self::v4()).iter().chain(self.minus(&Self::v4()).iter()).flat_map(cut).collect()
    }
}

impl From<IpNet> for Ranges {
    fn from(net: IpNet) -> Self {
        Self::between(net.network(), net.broadcast())
    }
}

impl From<IpAddr> for Ranges {
    fn from(addr: IpAddr) -> Self {
        Self(vec![(number(addr), number(addr))])
    }
}

impl FromIterator<Ranges> for Ranges {
    fn from_iter<I: IntoIterator<Item = Ranges>>(parts: I) -> Self {
        let all = parts.into_iter().flat_map(|part| part.0).collect();
        Self(all).or(&Self::default())
    }
}

/// One range, of one family, as prefixes.
fn cut((first, last): (u128, u128)) -> Vec<IpNet> {
    let v4 = (V4_FIRST..=V4_LAST).contains(&first);
    let mut nets = Vec::new();
    let mut next = Some(first);
    while let Some(start) = next.filter(|&start| start <= last) {
        let widest = if v4 { 32 } else { 128 };
        let fits = |bits: &u32| {
            let size = 1u128.checked_shl(*bits).map_or(u128::MAX, |size| size - 1);
            // The mapped place of IPv4 begins at a multiple of 2^32.
            start & size == 0 && start.checked_add(size).is_some_and(|end| end <= last)
        };
        let bits = (0..=widest).rev().find(fits).unwrap_or(0);
        nets.push(net_of(start, bits));
        next = 1u128.checked_shl(bits).and_then(|size| start.checked_add(size));
    }
    nets
}

fn net_of(start: u128, host_bits: u32) -> IpNet {
    match address(start) {
        // `host_bits` is at most 32 here: a larger block does not fit into the mapped place.
        IpAddr::V4(a) => Ipv4Net::new_assert(a, (32 - host_bits) as u8).into(),
        IpAddr::V6(a) => Ipv6Net::new_assert(a, (128 - host_bits) as u8).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(texts: &[&str]) -> Ranges {
        texts.iter().map(|t| Ranges::from(t.parse::<IpNet>().unwrap())).collect()
    }

    #[test]
    fn the_algebra_is_one_of_sets() {
        let (a, b) = (set(&["10.0.0.0/8", "fd00::/8"]), set(&["10.1.0.0/16", "192.0.2.0/24"]));
        assert_eq!(a.and(&b), set(&["10.1.0.0/16"]));
        assert_eq!(a.minus(&b).or(&a.and(&b)), a);
        assert_eq!(a.complement().complement(), a);
        assert!(Ranges::all().complement().is_empty());
        assert!(Ranges::v4().and(&Ranges::v6()).is_empty());
        assert_eq!(set(&["::/0"]), Ranges::v6());
        assert!(a.has(number("10.255.255.255".parse().unwrap())));
        assert!(!a.has(number("11.0.0.0".parse().unwrap())));
    }

    #[test]
    fn prefixes_cover_exactly() {
        for set in [
            set(&["10.0.0.0/8"]).minus(&set(&["10.3.0.0/16", "10.0.0.7/32"])),
            set(&["0.0.0.0/0"]),
            Ranges::v6(),
            Ranges::all(),
            Ranges::unicast(),
        ] {
            let back: Ranges = set.prefixes().into_iter().map(Ranges::from).collect();
            assert_eq!(back, set);
        }
        assert_eq!(set(&["10.0.0.0/9", "10.128.0.0/9"]).prefixes().len(), 1);
    }
}
