//! Somebody for every identity class: an address of it, in each family that has one.

use std::net::IpAddr;

use portcullis_image::Image;
use portcullis_pipeline::addr::Addr;

/// Addresses of a prefix that are tried, from each end: the first ones may belong to somebody.
const TRIES: u64 = 16;

/// Addresses out there, one of which no policy is likely to speak about.
const OUTSIDE: [&str; 8] = [
    "192.0.2.1",
    "198.51.100.1",
    "203.0.113.254",
    "9.9.9.9",
    "2001:db8::1",
    "2001:db8:ffff::1",
    "2620:fe::fe",
    "3fff::1",
];

/// An address, and the network in which it means something (link-local ones; 0 otherwise).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Person {
    /// The address.
    pub addr: Addr,
    /// The network.
    pub scope: u32,
}

/// One family's people, by class.
pub type Family = Vec<Option<Person>>;

/// People of both families by class, IPv4 first.
pub fn find(image: &Image, host_addrs: &[IpAddr]) -> [Family; 2] {
    let mut people = [vec![None; image.classes as usize], vec![None; image.classes as usize]];
    let mut add = |class: u32, addr: Addr, scope: u32| {
        let family = &mut people[usize::from(!addr.is_v4())];
        let place = family.get_mut(class as usize);
        let better = |old: &Option<Person>| old.is_none_or(|p| p.scope != 0 && scope == 0);
        if let Some(place) = place.filter(|place| better(place)) {
            *place = Some(Person { addr, scope });
        }
    };
    for known in &image.addresses {
        add(known.class, known.addr, known.scope);
    }
    let host: Vec<Addr> = host_addrs.iter().map(|addr| Addr::from(*addr)).collect();
    let declared = |addr: Addr| {
        image.addresses.binary_search_by_key(&(addr, 0), |a| (a.addr, a.scope)).is_ok()
    };
    for addr in host.iter().filter(|addr| !declared(**addr) && !addr.is_link_local_v6()) {
        add(image.host, *addr, 0);
    }
    let taken = |addr: Addr| declared(addr) || host.contains(&addr) || addr.is_link_local_v6();
    for prefix in &image.prefixes {
        let own = candidates(prefix.addr, prefix.len).find(|addr| {
            !taken(*addr) && longest(image, *addr).is_some_and(|(_, len)| len == prefix.len)
        });
        if let Some(addr) = own {
            add(prefix.class, addr, 0);
        }
    }
    let outside = OUTSIDE.iter().filter_map(|text| text.parse::<IpAddr>().ok()).map(Addr::from);
    for addr in outside.filter(|addr| !taken(*addr) && longest(image, *addr).is_none()) {
        add(image.world, addr, 0);
    }
    people
}

/// The first and the last addresses of a prefix.
fn candidates(first: Addr, len: u8) -> impl Iterator<Item = Addr> {
    let free = u32::from(128 - len);
    let first = u128::from_be_bytes(first.octets());
    let last = first | u128::MAX.checked_shr(128 - free).unwrap_or(0);
    let room = last - first;
    let tries = u128::from(TRIES).min(room / 2);
    let low = (0..=tries).map(move |i| first + i);
    let high = (0..=tries).map(move |i| last - i);
    low.chain(high).map(|bits| Addr::v6(bits.to_be_bytes()))
}

/// The longest prefix that covers an address: class and length.
fn longest(image: &Image, addr: Addr) -> Option<(u32, u8)> {
    let bits = u128::from_be_bytes(addr.octets());
    (0..=128_u8).rev().find_map(|len| {
        let mask = u128::MAX.checked_shl(128 - u32::from(len)).unwrap_or(0);
        let first = Addr::v6((bits & mask).to_be_bytes());
        let found = image.prefixes.binary_search_by_key(&(first, len), |p| (p.addr, p.len)).ok()?;
        Some((image.prefixes[found].class, len))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn everybody_is_somebody() {
        let image = testing::image();
        let [v4, v6] = find(&image, &["192.0.2.9".parse().unwrap()]);
        assert!(v4.iter().all(Option::is_some), "{v4:?}");
        assert_eq!(v6[1..], [None; 5], "no IPv6 in that image, but for the world");
        assert!(v6[image.world as usize].is_some());
        for (class, person) in v4.iter().enumerate() {
            let addr = person.unwrap().addr;
            let declared = image.addresses.iter().find(|a| a.addr == addr).map(|a| a.class);
            let class = u32::try_from(class).unwrap();
            let own = declared.or(longest(&image, addr).map(|(class, _)| class));
            assert_eq!(own.unwrap_or(image.world), class);
        }
    }

    #[test]
    fn both_ends_of_a_prefix_are_tried() {
        let all = |text: &str, len| -> Vec<String> {
            let first = Addr::from(text.parse::<IpAddr>().unwrap());
            candidates(first, len).map(|a| IpAddr::from(a).to_string()).collect()
        };
        assert_eq!(all("10.0.0.7", 128), ["10.0.0.7", "10.0.0.7"]);
        assert_eq!(all("10.0.0.0", 127), ["10.0.0.0", "10.0.0.1"]);
        let many = all("10.0.0.0", 104);
        assert_eq!(
            (many.len(), many[16].as_str(), many[17].as_str()),
            (34, "10.0.0.16", "10.255.255.255")
        );
        assert_eq!(all("::", 0).len(), 34);
    }
}
