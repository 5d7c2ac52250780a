//! How many events of a rule are told, and how many are left out.

use portcullis_pipeline::{event::Budget, tables::TICKS_PER_SECOND};

const GENERATION: u32 = 7;
const EMPTY: Budget = Budget(0);

/// Spends events at these ticks; how many of them were within the rate, and what is left.
fn spend(mut budget: Budget, ticks: impl IntoIterator<Item = u64>, per_s: u32) -> (u64, Budget) {
    let mut told = 0;
    for now in ticks {
        budget = budget.next(GENERATION, now);
        told += u64::from(budget.count() <= u64::from(per_s));
    }
    (told, budget)
}

#[test]
fn a_second_has_its_share_and_the_rest_is_counted() {
    let (told, budget) = spend(EMPTY, (0..130).map(|n| 5_000 + n), 10);
    assert_eq!((told, budget.suppressed(10)), (10, 120));
    assert_eq!((budget.suppressed(130), budget.suppressed(u32::MAX)), (0, 0));
}

#[test]
fn the_next_second_begins_anew() {
    let (told, budget) = spend(EMPTY, [5_000, 5_500, 5_999, 6_000, 6_001, 7_100], 1);
    assert_eq!((told, budget.count()), (3, 1));
    // Whenever it comes, the first event of a second tells what the one before left out.
    let (_, full) = spend(EMPTY, [5_000, 5_001, 5_002], 1);
    let next = full.next(GENERATION, 900 * TICKS_PER_SECOND);
    assert_eq!((full.suppressed(1), next.count(), next.suppressed(1)), (2, 1, 0));
}

#[test]
fn another_generation_has_other_rules() {
    let (_, full) = spend(EMPTY, [5_000; 40], 1);
    assert!(full.is_of(GENERATION) && !full.is_of(GENERATION + 1));
    let other = full.next(GENERATION + 2, 5_000);
    assert_eq!(other.count(), 1);
    assert!(other.is_of(GENERATION + 2));
    // The low half is enough to tell neighbours apart.
    assert!(EMPTY.next(0x1_0003, 0).is_of(0x0003));
}

#[test]
fn a_flood_does_not_run_over() {
    let (_, almost) = spend(EMPTY, [1_000], 1);
    let full = Budget(almost.0 | 0xff_ffff);
    assert_eq!(full.next(GENERATION, 1_999), full);
    assert_eq!(full.next(GENERATION, 2_000).count(), 1);
    // The hour after 194 days.
    let late = (1_u64 << 24) * TICKS_PER_SECOND;
    assert_eq!(EMPTY.next(GENERATION, late).count(), 1);
}
