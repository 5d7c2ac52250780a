//! The packets' clock: jiffies, which eBPF reads for nothing, and user space not at all. A
//! program tells their low half.

use std::{
    thread,
    time::{Duration, Instant},
};

use aya::programs::{SchedClassifier, TestRun, TestRunOptions};
use portcullis_pipeline::{layout::Settings, tables::TICKS_PER_SECOND};
use rustix::time::{ClockId, clock_gettime};

use crate::error::{Error, Result};

/// Rates that kernels are built with (`kernel/Kconfig.hz`).
const RATES_HZ: [u64; 4] = [100, 250, 300, 1000];

/// How long the rate is measured: 10 jiffies at the lowest rate, so the rates are told apart.
const MEASURE: Duration = Duration::from_millis(100);

/// ICMP errors that the switch may send in a second, per processor (Linux: icmp_msgs_per_sec is
/// 1000 for the whole host).
const ERRORS_PER_SECOND: u64 = 500;

/// Smallest frame that BPF_PROG_TEST_RUN takes.
const FRAME: [u8; 14] = [0; 14];

/// The settings for a kernel with this many jiffies a second.
pub fn settings(hz: u64) -> Settings {
    Settings {
        tick_scale: (TICKS_PER_SECOND << 16) / hz,
        tick_offset: 0,
        errors_per_second: ERRORS_PER_SECOND,
        ends: [0; 2],
    }
}

/// Jiffies in a second, as a settings entry says; `None` for one that was never written.
pub fn rate_of(settings: &Settings) -> Option<u64> {
    RATES_HZ.into_iter().find(|hz| (TICKS_PER_SECOND << 16) / hz == settings.tick_scale)
}

/// Measures how many jiffies a second has.
pub fn measure(clock: &SchedClassifier) -> Result<u64> {
    let (begin, first) = (Instant::now(), low_half(clock)?);
    thread::sleep(MEASURE);
    let (waited, last) = (begin.elapsed(), low_half(clock)?);
    let ticks = u64::from(last.wrapping_sub(first));
    let waited_ms = waited.as_millis() as u64;
    nearest_rate(ticks, waited_ms).ok_or(Error::Clock { ticks, waited_ms })
}

/// The rate that explains `ticks` in `waited_ms` best; `None` if none is within a fifth.
fn nearest_rate(ticks: u64, waited_ms: u64) -> Option<u64> {
    let got = ticks * 1000 / waited_ms.max(1);
    let best = RATES_HZ.into_iter().min_by_key(|hz| hz.abs_diff(got))?;
    (best.abs_diff(got) * 5 <= best).then_some(best)
}

/// Ticks now, as the programs count them.
pub fn now(clock: &SchedClassifier, settings: &Settings) -> Result<u64> {
    let hz = rate_of(settings).unwrap_or(RATES_HZ[1]);
    let jiffies = widen(low_half(clock)?, estimate(hz));
    Ok((jiffies.wrapping_mul(settings.tick_scale) >> 16).wrapping_add(settings.tick_offset))
}

/// One moment on the wall's clock and on the packets'.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Milliseconds since 1970.
    pub unix_ms: u64,
    /// Ticks.
    pub ticks: u64,
}

impl Moment {
    /// The present.
    pub fn read(clock: &SchedClassifier, settings: &Settings) -> Result<Self> {
        let ticks = now(clock, settings)?;
        let unix = clock_gettime(ClockId::Realtime);
        let unix_ms = unix.tv_sec.max(0) as u64 * 1000 + unix.tv_nsec as u64 / 1_000_000;
        Ok(Self { unix_ms, ticks })
    }

    /// The tick of a moment to come, seconds since 1970; the first one for all that is over. 0,
    /// which is never, stays 0.
    pub fn tick_of(&self, unix_s: u64) -> u64 {
        if unix_s == 0 {
            return 0;
        }
        let ticks = |ms: u64| ms.saturating_mul(TICKS_PER_SECOND) / 1000;
        let at_ms = unix_s.saturating_mul(1000);
        let tick = if at_ms >= self.unix_ms {
            self.ticks.saturating_add(ticks(at_ms - self.unix_ms))
        } else {
            self.ticks.saturating_sub(ticks(self.unix_ms - at_ms))
        };
        tick.max(1)
    }
}

/// About how many jiffies there were: they start at minus five minutes in 32 bits
/// (INITIAL_JIFFIES) and follow the monotonic clock.
fn estimate(hz: u64) -> u64 {
    let start = u64::from((300 * hz as u32).wrapping_neg());
    start + clock_gettime(ClockId::Monotonic).tv_sec as u64 * hz
}

/// The number with this low half that is nearest to an estimate.
fn widen(low: u32, estimate: u64) -> u64 {
    let ahead = low.wrapping_sub(estimate as u32) as i32;
    estimate.wrapping_add_signed(ahead.into())
}

fn low_half(clock: &SchedClassifier) -> Result<u32> {
    let options = TestRunOptions { data_in: Some(&FRAME), ..TestRunOptions::new() };
    let run = clock.test_run(options).map_err(Error::program("read the kernel's clock"))?;
    Ok(run.return_value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_told_apart() {
        for (ticks, hz) in [(10, 100), (11, 100), (25, 250), (24, 250), (30, 300), (100, 1000)] {
            assert_eq!(nearest_rate(ticks, 100), Some(hz), "{ticks}");
        }
        assert_eq!(nearest_rate(0, 100), None);
        assert_eq!(nearest_rate(55, 100), None);
    }

    #[test]
    fn settings_know_their_rate() {
        for hz in RATES_HZ {
            assert_eq!(rate_of(&settings(hz)), Some(hz));
        }
        let unwritten =
            Settings { tick_scale: 0, tick_offset: 0, errors_per_second: 0, ends: [0; 2] };
        assert_eq!(rate_of(&unwritten), None);
    }

    #[test]
    fn ends_are_counted_in_ticks() {
        let now = Moment { unix_ms: 1_000_500, ticks: 70_000 };
        assert_eq!(now.tick_of(0), 0, "never");
        assert_eq!((now.tick_of(1001), now.tick_of(1000)), (70_500, 69_500));
        assert_eq!(now.tick_of(1), 1, "long ago");
        assert!(now.tick_of(u64::MAX) > u64::MAX / 2000, "nobody lives to see it");
    }

    #[test]
    fn the_low_half_finds_its_high_half() {
        assert_eq!(widen(5, 0x1_0000_0000), 0x1_0000_0005);
        assert_eq!(widen(0xffff_fff0, 0x1_0000_0000), 0xffff_fff0);
        assert_eq!(widen(3, 0x2_ffff_fff0), 0x3_0000_0003);
    }
}
