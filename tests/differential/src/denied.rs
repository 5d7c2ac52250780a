//! Denied sets: the look-up that the programs make finds what the ranges say, at every boundary.

use portcullis_engine::{Slot, Tables};
use portcullis_image::Denied;
use portcullis_pipeline::{
    addr::Addr,
    denied::{NUMBER_BITS, bank_of, covers, key, part},
};
use portcullis_policy::generate::Random;

/// Tables with these sets in a bank, and nothing else.
fn tables(denied: &Denied, bank: u32) -> Tables {
    let mut tables = Tables::new(1, 0);
    let denied = denied.chunks(bank).into_iter().collect();
    tables.load(0, Slot { denied, ..Slot::default() });
    tables
}

fn v4(number: u32) -> Addr {
    Addr::v4(number.to_be_bytes())
}

fn v6(number: u128) -> Addr {
    Addr { hi: (number >> 64) as u64, lo: number as u64 }
}

/// Places, ascending, made to ranges of every second gap.
fn ranges<T: Ord + Copy>(mut places: Vec<T>, before: impl Fn(T) -> T) -> Vec<(T, T)> {
    places.sort_unstable();
    places.dedup();
    places.chunks_exact(2).map(|ends| (ends[0], before(ends[1]))).collect()
}

#[test]
fn the_look_up_agrees_with_the_ranges() {
    let mut r = Random::new(4);
    for round in 0..40 {
        // From a few ranges to more chunks than one fence holds.
        let count = [3, 40, 700, 150_000][round % 4];
        let narrow = |r: &mut Random| (r.next() as u32 & 0x3_ffff) << (r.below(3) * 6);
        let low: Vec<u32> = (0..count).map(|_| narrow(&mut r)).collect();
        // What comes in IPv6 beside IPv4's place.
        let base = 0x2001_0db8_u128 << 96;
        let high: Vec<u128> =
            (0..count).map(|_| base | u128::from(r.next()) << (r.below(2) * 20)).collect();
        let denied = Denied { v4: ranges(low, |n| n - 1), v6: ranges(high, |n| n - 1) };
        let tables = tables(&denied, 2);
        let near4 = denied.v4.iter().step_by(1 + count / 500).flat_map(|&(first, last)| {
            [first.wrapping_sub(1), first, last, last.wrapping_add(1)].map(v4)
        });
        let near6 = denied.v6.iter().step_by(1 + count / 500).flat_map(|&(first, last)| {
            [first.wrapping_sub(1), first, last, last + 1, first / 2 + last / 2].map(v6)
        });
        let ends = [v4(0), v4(u32::MAX), v6(1 << 64), v6(u128::MAX >> 1)];
        for addr in near4.chain(near6).chain(ends) {
            assert_eq!(covers(&tables, 2, addr), denied.contains(addr), "{addr} in round {round}");
            assert!(!covers(&tables, 1, addr), "{addr} in the other bank");
        }
    }
}

#[test]
fn comparing_without_branches_is_comparing() {
    // Edges that differ in one half, in both, and in the highest bits.
    let halves = [0, 1, 2, 1 << 31, 1 << 62, (1 << 63) - 1, 1 << 63, (1 << 63) + 1, u64::MAX - 1];
    let all = || halves.iter().flat_map(|hi| halves.iter().map(move |lo| (*hi, *lo)));
    let number = |(hi, lo): (u64, u64)| u128::from(hi) << 64 | u128::from(lo);
    for edge in all().map(number).filter(|n| *n > 0) {
        let denied = Denied { v4: Vec::new(), v6: vec![(edge, edge + 1)] };
        let tables = tables(&denied, 1);
        for addr in all().map(number).map(v6).filter(|addr| !addr.is_v4()) {
            assert_eq!(covers(&tables, 1, addr), denied.contains(addr), "{addr} and {edge:x}");
        }
    }
}

#[test]
fn keys_keep_their_parts_apart() {
    let last = (1 << NUMBER_BITS) - 1;
    assert!(key(1, part::ROOT, last) < key(2, part::GROUPS, 0));
    assert!(key(2, part::GROUPS, last) < key(2, part::LEAVES, 0));
    assert_eq!((bank_of(key(1, part::ROOT, 7)), bank_of(key(2, 0, 0))), (1, 2));
}
