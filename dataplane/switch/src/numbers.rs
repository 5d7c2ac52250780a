//! Numbers of subports: which port of the table a tagged network of a trunk is. Pure.
//!
//! A number stays as long as the trunk's interface does, also while the trunk does not carry the
//! network: the counters that stand there are a part of what has passed the interface.

use std::collections::{BTreeMap, BTreeSet};

use portcullis_pipeline::{layout::PORTS, subport};

use crate::place::table_index;

/// Numbers of subports by interface index of the trunk and VLAN id, or VLAN id and [`PAST`].
pub type Numbers = BTreeMap<(u32, u16), u32>;

/// Beyond all VLAN ids, so no frame asks for it: of a network that the trunk carries no more.
const PAST: u16 = 1 << 12;

/// The number that a subport has already.
pub fn of(known: &Numbers, (device, vlan): (u32, u16)) -> Option<u32> {
    known.get(&(device, vlan)).or_else(|| known.get(&(device, vlan | PAST))).copied()
}

/// The numbers of networks that the trunk at this interface carries no more.
pub fn past(numbers: &Numbers, device: u32) -> impl Iterator<Item = u32> + '_ {
    numbers.range((device, PAST)..=(device, u16::MAX)).map(|(_, number)| *number)
}

/// Those of `known` that nobody has in `live`, for as long as their place is free and their interface
/// is among these.
pub fn left(known: &Numbers, live: &Numbers, interfaces: &BTreeSet<u32>) -> Numbers {
    let used = live.values().chain(interfaces).map(|number| table_index(*number));
    let used: BTreeSet<u32> = used.collect();
    let free = |number: u32| !used.contains(&table_index(number));
    let kept = known.iter().filter(|((device, _), n)| interfaces.contains(device) && free(**n));
    kept.map(|((device, vlan), number)| ((*device, vlan | PAST), *number)).collect()
}

/// Numbers that are given for the first time, so that what stands at their places is of others.
pub fn new<'a>(known: &'a Numbers, wanted: &'a Numbers) -> impl Iterator<Item = u32> + 'a {
    let is_new = |((device, vlan), number): &(&(u32, u16), &u32)| {
        of(known, (*device, vlan & !PAST)) != Some(**number)
    };
    wanted.iter().filter(is_new).map(|(_, number)| *number)
}

/// The number of a free place; of one that is kept for the `past` where there is no other. From the
/// end of the table: interface indexes count from its beginning.
pub fn free(used: &BTreeSet<u32>, past: &BTreeSet<u32>) -> Option<u32> {
    let mut free = (0..PORTS).rev().filter(|place| !used.contains(place));
    let other = free.clone().next();
    free.find(|place| !past.contains(place)).or(other).map(subport::number)
}

#[cfg(test)]
mod tests {
    use super::*;

    const N: [u32; 3] =
        [subport::number(PORTS - 1), subport::number(PORTS - 2), subport::number(PORTS - 3)];

    #[test]
    fn a_number_outlives_its_network() {
        let known = Numbers::from([((7, 20), N[0]), ((7, 30), N[1]), ((8, 20), N[2])]);
        let live = Numbers::from([((7, 30), N[1])]);
        let kept = left(&known, &live, &BTreeSet::from([7]));
        assert_eq!(kept, Numbers::from([((7, 20 | PAST), N[0])]), "8 is gone");
        assert_eq!(past(&kept, 7).collect::<Vec<_>>(), [N[0]]);
        assert_eq!(past(&kept, 8).count(), 0);
        assert_eq!(of(&kept, (7, 20)), Some(N[0]), "for when it comes back");
        let wanted = live.into_iter().chain(kept).collect();
        assert_eq!(new(&known, &wanted).count(), 0);
        let back = Numbers::from([((7, 20), N[0]), ((7, 40), N[2])]);
        assert_eq!(new(&wanted, &back).collect::<Vec<_>>(), [N[2]]);
        assert!(left(&wanted, &back, &BTreeSet::from([7, 8])).contains_key(&(7, 30 | PAST)));
    }

    #[test]
    fn an_interface_that_takes_the_place_ends_it() {
        let known = Numbers::from([((7, 20), N[0])]);
        assert!(left(&known, &Numbers::new(), &BTreeSet::from([7, PORTS - 1])).is_empty());
    }

    #[test]
    fn places_of_the_past_are_given_last() {
        let used: BTreeSet<u32> = (0..PORTS - 2).collect();
        let past = BTreeSet::from([PORTS - 1]);
        assert_eq!(free(&used, &past), Some(N[1]));
        let used = (0..PORTS - 1).collect();
        assert_eq!(free(&used, &past), Some(N[0]));
        assert_eq!(free(&(0..PORTS).collect(), &past), None);
    }
}
