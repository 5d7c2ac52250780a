//! A set of connections as few rectangles: sources times destinations times services.

use std::collections::{BTreeMap, BTreeSet};

use super::bits::Bits;

/// What is to be covered, and what may be.
pub struct Task<'a> {
    /// Services by pair of classes that must be covered.
    pub must: BTreeMap<(usize, usize), Bits>,
    /// Services of a pair that may be covered: all that must be, and connections that cannot be.
    pub may: &'a dyn Fn(usize, usize) -> Bits,
}

/// Sources times destinations times services: all of it may be covered.
pub struct Rectangle {
    /// Sources with something that must be covered.
    pub from: BTreeSet<usize>,
    /// Destinations likewise.
    pub to: BTreeSet<usize>,
    /// Services likewise.
    pub services: Bits,
}

/// What a pair may be covered with, remembered.
struct May<'a> {
    ask: &'a dyn Fn(usize, usize) -> Bits,
    known: BTreeMap<(usize, usize), Bits>,
}

impl May<'_> {
    fn allows(&mut self, pair: (usize, usize), services: &Bits) -> bool {
        let ask = self.ask;
        let may = self.known.entry(pair).or_insert_with(|| ask(pair.0, pair.1));
        services.is_within(may)
    }
}

/// Starting points that are tried for each rectangle.
const SEEDS: usize = 6;

/// Covers a task, greedily: the rectangle that covers most, until nothing is left.
pub fn cover(task: Task<'_>) -> Vec<Rectangle> {
    let mut may = May { ask: task.may, known: BTreeMap::new() };
    let mut left = task.must;
    let mut found = Vec::new();
    while !left.is_empty() {
        let Some(best) = best(&left, &mut may) else { break };
        left.retain(|&(src, dst), bits| {
            if best.from.contains(&src) && best.to.contains(&dst) {
                *bits = bits.without(&best.services);
            }
            !bits.is_empty()
        });
        found.push(best);
    }
    found
}

fn best(left: &BTreeMap<(usize, usize), Bits>, may: &mut May<'_>) -> Option<Rectangle> {
    let mut tried: Vec<&Bits> = Vec::new();
    let mut best: Option<(usize, Rectangle)> = None;
    for (&seed, services) in left {
        if tried.contains(&services) {
            continue;
        }
        tried.push(services);
        for to_first in [true, false] {
            let rectangle = grow(left, may, seed, services, to_first);
            let size = volume(left, &rectangle);
            if best.as_ref().is_none_or(|b| size > b.0) {
                best = Some((size, rectangle));
            }
        }
        if tried.len() == SEEDS {
            break;
        }
    }
    best.map(|b| b.1)
}

/// As far as it goes from a pair: one way, then the other, then the first again, because what the
/// seed's own row did not need may fit once there are more.
fn grow(
    left: &BTreeMap<(usize, usize), Bits>,
    may: &mut May<'_>,
    seed: (usize, usize),
    services: &Bits,
    to_first: bool,
) -> Rectangle {
    let (mut from, mut to) = (BTreeSet::from([seed.0]), BTreeSet::from([seed.1]));
    let wanted: Vec<(usize, usize)> =
        left.iter().filter(|(_, bits)| bits.meets(services)).map(|(&pair, _)| pair).collect();
    for to_now in [to_first, !to_first, to_first] {
        for &(src, dst) in &wanted {
            if to_now && from.contains(&src) && !to.contains(&dst) {
                let fits = from.iter().all(|&f| may.allows((f, dst), services));
                to.extend(fits.then_some(dst));
            }
            if !to_now && to.contains(&dst) && !from.contains(&src) {
                let fits = to.iter().all(|&t| may.allows((src, t), services));
                from.extend(fits.then_some(src));
            }
        }
    }
    Rectangle { from, to, services: services.clone() }
}

/// How much it covers of what is left.
fn volume(left: &BTreeMap<(usize, usize), Bits>, rectangle: &Rectangle) -> usize {
    let inside =
        left.iter().filter(|((s, d), _)| rectangle.from.contains(s) && rectangle.to.contains(d));
    inside.map(|(_, bits)| bits.and(&rectangle.services).count()).sum()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const N: usize = 5;
    const S: usize = 4;

    fn bits(number: u8) -> Bits {
        Bits::which(S, |i| number >> i & 1 == 1)
    }

    proptest! {
        #[test]
        fn everything_is_covered_and_nothing_forbidden(
            must in prop::collection::vec(0u8..16, N * N), also in prop::collection::vec(0u8..16, N * N)
        ) {
            let may = |s: usize, d: usize| bits(must[s * N + d] | also[s * N + d]);
            let wanted = |s: usize, d: usize| bits(must[s * N + d]);
            let pairs = (0..N).flat_map(|s| (0..N).map(move |d| (s, d)));
            let task = pairs.clone().map(|(s, d)| ((s, d), wanted(s, d)));
            let task = task.filter(|(_, b)| !b.is_empty()).collect();
            let found = cover(Task { must: task, may: &may });
            for (s, d) in pairs {
                let mut covered = bits(0);
                for r in found.iter().filter(|r| r.from.contains(&s) && r.to.contains(&d)) {
                    covered.add(&r.services);
                }
                prop_assert!(wanted(s, d).without(&covered).is_empty());
                prop_assert!(covered.without(&may(s, d)).is_empty());
            }
        }
    }

    #[test]
    fn one_rectangle_is_one() {
        let all: BTreeMap<_, _> =
            (0..4).flat_map(|s| (0..4).map(move |d| ((s, d), bits(6)))).collect();
        // The diagonal cannot be: it does not cut the rectangle.
        let must = all.into_iter().filter(|((s, d), _)| s != d).collect();
        let may = |s: usize, d: usize| if s == d { bits(15) } else { bits(6) };
        let found = cover(Task { must, may: &may });
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].from.len(), found[0].to.len()), (4, 4));
    }
}
