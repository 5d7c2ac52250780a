//! Rates: how much passes, whenever it comes.

use portcullis_pipeline::{
    DropReason, layout::Rate, limit::with_told, tables::TICKS_PER_SECOND, word::Word,
};

/// Packets of `size` every `every` ticks from `start`, for `ticks`: how much was admitted.
fn offered(rate: &Rate, start: u64, ticks: u64, every: u64, size: u64) -> u64 {
    let word = Word::new(0);
    let times = (0..ticks).step_by(every as usize);
    let admitted = times.filter(|t| rate.admits(&word, start.wrapping_add(*t), size));
    admitted.count() as u64 * size
}

#[test]
fn what_is_below_the_rate_passes_whole() {
    let rate = Rate::new(100, TICKS_PER_SECOND, 1);
    assert_eq!(offered(&rate, 5, 60_000, 10, 1), 6000);
}

#[test]
fn what_is_above_is_cut_to_the_rate_and_one_burst() {
    for per_s in [1, 3, 100, 999] {
        let rate = Rate::new(per_s, TICKS_PER_SECOND, 1);
        let got = offered(&rate, 5, 60_000, 1, 1);
        assert!((60 * per_s..=61 * per_s + 1).contains(&got), "{got} of {per_s}/s");
    }
}

#[test]
fn bytes_are_exact_at_every_speed() {
    // Bytes a second, and frames large enough to offer more than that.
    for (per_s, size) in
        [(8000, 1514), (125_000, 1514), (12_500_000, 65_550), (125_000_000, 262_144)]
    {
        let rate = Rate::new(per_s, TICKS_PER_SECOND / 10, 131_100);
        let got = offered(&rate, 77, 100_000, 1, size);
        let most = 100 * per_s + per_s / 10 + 131_100 + size;
        assert!(got <= most && got + size >= 100 * per_s, "{got} at {per_s} B/s");
    }
}

#[test]
fn a_burst_passes_at_once_and_no_more() {
    let rate = Rate::new(50, TICKS_PER_SECOND, 1);
    let word = Word::new(0);
    let at_once = (0..500).filter(|_| rate.admits(&word, 1_000_000, 1)).count();
    assert_eq!(at_once, 51);
    // Time that passes is worth what the rate says, and silence is not saved up.
    assert_eq!((0..500).filter(|_| rate.admits(&word, 1_000_100, 1)).count(), 5);
    assert_eq!((0..500).filter(|_| rate.admits(&word, 9_000_000, 1)).count(), 51);
}

#[test]
fn no_limit_admits_everything() {
    assert_eq!(offered(&Rate::NONE, 0, 1000, 1, 1 << 19), 1000 << 19);
}

/// The state counts in parts of a tick, so the clock wraps in it every 50 days: whatever stands in
/// the word, nobody is shut out for longer than a few bursts.
#[test]
fn old_words_do_not_shut_a_port() {
    let rate = Rate::new(1000, TICKS_PER_SECOND, 1);
    for old in (0..64).map(|bit| 1_u64 << bit).chain([0, u64::MAX]) {
        for now in [1, 1 << 31, (1 << 32) - 1, 1 << 32, (1 << 40) + 12_345] {
            let word = Word::new(old);
            let later = (0..8 * TICKS_PER_SECOND).any(|t| rate.admits(&word, now + t, 1));
            assert!(later, "{old:#x} at {now}");
        }
    }
}

#[test]
fn each_reason_is_news_once_a_second() {
    let reasons =
        [DropReason::LimitBroadcast, DropReason::LimitNeighbour, DropReason::LimitBandwidth];
    let mut told = 0;
    let mut news = [0; 3];
    for now in 0..10 * TICKS_PER_SECOND {
        for (reason, news) in reasons.iter().zip(&mut news) {
            let telling = with_told(told, now, *reason);
            *news += u32::from(telling != told);
            told = telling;
        }
    }
    assert_eq!(news, [10; 3]);
}
