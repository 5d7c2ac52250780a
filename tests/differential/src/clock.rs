//! The clock of a run: ticks that the run moves by hand, and the Unix time that they stand for.
//!
//! Random policies have rules that end seconds, hours and weeks after they were compiled. A run is
//! short, so time runs faster the later it is: every [`STEP`] ticks take as long as all before.

use portcullis_policy::generate::NOW_UNIX_S;

/// When a run begins.
pub const START: u64 = 100_000;
const STEP: u64 = 10_000;

/// The tick in which that which ends at a Unix time has ended; 0 for what never does.
pub fn end(until_unix_s: u64) -> u64 {
    match until_unix_s.checked_sub(NOW_UNIX_S) {
        Some(after) if until_unix_s > 0 => START + STEP * u64::from((after + 1).ilog2()),
        _ => 0,
    }
}

/// The Unix time of a tick: everything up to it has ended.
pub fn unix(now: u64) -> u64 {
    let steps = now.saturating_sub(START) / STEP;
    NOW_UNIX_S + (2_u64 << steps.min(40)) - 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_agree() {
        for after in [1, 2, 3, 4, 59, 60, 5_400, 28_800, 1_000_000, 100_000_000] {
            let until = NOW_UNIX_S + after;
            let tick = end(until);
            assert!(unix(tick) >= until, "{after}: ended at {tick}");
            assert!(unix(tick - 1) < until, "{after}: not ended before {tick}");
        }
        assert_eq!(end(0), 0);
        assert_eq!(unix(START), NOW_UNIX_S);
    }
}
