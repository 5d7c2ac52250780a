//! The present as the daemon knows it: the wall's clock, which may jump, and the time since the
//! machine was booted, which does not but begins anew with every boot.

use std::{fs, time::Duration};

use nix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use super::log::unix_millis;

/// The kernel's name for one boot of this machine (random(4)).
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// How far the two clocks may part before it counts as a jump: adjustments in small steps stay
/// far below it.
const JUMP_MS: u64 = 500;

/// One moment on both clocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds since 1970.
    pub unix_ms: u64,
    /// Milliseconds since the boot, suspended ones included.
    pub boot_ms: u64,
    /// Which boot; empty if the kernel does not tell, and then no two moments share one.
    pub boot: String,
}

impl Now {
    /// Reads both clocks.
    pub fn read() -> Self {
        // CLOCK_BOOTTIME cannot fail on a kernel that runs this program.
        let boot_ms = clock_gettime(ClockId::CLOCK_BOOTTIME)
            .map_or(0, |t| t.tv_sec() as u64 * 1000 + t.tv_nsec() as u64 / 1_000_000);
        let boot = fs::read_to_string(BOOT_ID).unwrap_or_default().trim().to_owned();
        Self { unix_ms: unix_millis(), boot_ms, boot }
    }

    /// Seconds since 1970.
    pub const fn unix_s(&self) -> u64 {
        self.unix_ms / 1000
    }

    /// Did somebody set the wall's clock between an earlier moment of this process and now?
    pub fn jumped_since(&self, earlier: &Self) -> bool {
        let expected = earlier.unix_ms + self.boot_ms.saturating_sub(earlier.boot_ms);
        self.unix_ms.abs_diff(expected) > JUMP_MS
    }
}

/// A moment to come, as it can be stored: exact while the machine runs, whatever happens to the
/// wall's clock; after a reboot as good as that clock is, and never later than its own length.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deadline {
    /// When it was set it was so far away, milliseconds.
    pub length_ms: u64,
    /// Milliseconds since 1970.
    pub unix_ms: u64,
    /// Milliseconds since `boot`.
    pub boot_ms: u64,
    /// The boot in which it was set.
    pub boot: String,
}

impl Deadline {
    /// So long after a moment.
    pub fn after(length: Duration, now: &Now) -> Self {
        let length_ms = u64::try_from(length.as_millis()).unwrap_or(u64::MAX);
        Self {
            length_ms,
            unix_ms: now.unix_ms.saturating_add(length_ms),
            boot_ms: now.boot_ms.saturating_add(length_ms),
            boot: now.boot.clone(),
        }
    }

    /// How long until then; zero from then on.
    pub fn left(&self, now: &Now) -> Duration {
        let same_boot = !self.boot.is_empty() && self.boot == now.boot;
        let left_ms = if same_boot {
            self.boot_ms.saturating_sub(now.boot_ms)
        } else {
            self.unix_ms.saturating_sub(now.unix_ms)
        };
        Duration::from_millis(left_ms.min(self.length_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now(unix_ms: u64, boot_ms: u64, boot: &str) -> Now {
        Now { unix_ms, boot_ms, boot: boot.into() }
    }

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn a_deadline_does_not_care_for_the_walls_clock_until_a_reboot() {
        let deadline = Deadline::after(MINUTE, &now(1_000_000, 5000, "a"));
        assert_eq!(deadline.left(&now(9_000_000, 6000, "a")), Duration::from_secs(59));
        assert_eq!(deadline.left(&now(0, 64_999, "a")), Duration::from_millis(1));
        assert_eq!(deadline.left(&now(0, 65_000, "a")), Duration::ZERO);
        assert_eq!(deadline.left(&now(1_050_000, 10, "b")), Duration::from_secs(10));
        assert_eq!(deadline.left(&now(1_060_000, 10, "b")), Duration::ZERO);
        // A clock without a battery starts in 1970: the whole minute again, and no more.
        assert_eq!(deadline.left(&now(0, 10, "b")), MINUTE);
        let nameless = Deadline::after(MINUTE, &now(1_000_000, 5000, ""));
        assert_eq!(nameless.left(&now(1_030_000, 5000, "")), MINUTE / 2);
    }

    #[test]
    fn a_jump_is_told_from_the_passing_of_time() {
        let before = now(1_000_000, 5000, "a");
        assert!(!now(1_010_000, 15_000, "a").jumped_since(&before));
        assert!(!now(1_010_400, 15_000, "a").jumped_since(&before));
        assert!(now(1_010_000, 5_100, "a").jumped_since(&before));
        assert!(now(990_000, 15_000, "a").jumped_since(&before));
    }

    #[test]
    fn both_clocks_run() {
        let before = Now::read();
        std::thread::sleep(Duration::from_millis(5));
        let after = Now::read();
        assert!(after.boot_ms > before.boot_ms && !after.boot.is_empty());
        assert_eq!(after.boot, before.boot);
    }
}
