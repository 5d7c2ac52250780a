//! The packets' clock, as the switch reads it from the kernel, carried on.

use portcullis_pipeline::tables::TICKS_PER_SECOND;
use rustix::time::{ClockId, Timespec, clock_gettime};

const SECOND_NS: u64 = 1_000_000_000;

/// Ticks at a moment.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clock {
    ticks: u64,
    at_ns: u64,
}

impl Clock {
    /// It was `ticks` when the monotonic clock said `at_ns`.
    pub const fn new(ticks: u64, at_ns: u64) -> Self {
        Self { ticks, at_ns }
    }

    /// Ticks now.
    pub fn now(&self) -> u64 {
        self.at(monotonic_ns())
    }

    /// Ticks when the monotonic clock says `now_ns`.
    pub fn at(&self, now_ns: u64) -> u64 {
        let since = now_ns.saturating_sub(self.at_ns);
        self.ticks + since / (SECOND_NS / TICKS_PER_SECOND)
    }
}

/// The monotonic clock, nanoseconds.
pub fn monotonic_ns() -> u64 {
    nanoseconds(clock_gettime(ClockId::Monotonic))
}

/// How long the host has run, nanoseconds: what events carry.
pub fn since_boot_ns() -> u64 {
    nanoseconds(clock_gettime(ClockId::Boottime))
}

const fn nanoseconds(time: Timespec) -> u64 {
    time.tv_sec as u64 * SECOND_NS + time.tv_nsec as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_go_on_and_never_back() {
        let clock = Clock::new(7000, 5 * SECOND_NS);
        assert_eq!(clock.at(6 * SECOND_NS + 999_999), 7000 + TICKS_PER_SECOND);
        assert_eq!(clock.at(SECOND_NS), 7000);
    }
}
