//! How long a test waits. The times in the tests are for a processor that runs them itself; on one
//! that is only simulated (`cargo xtask test --kernels`) everything takes some ten to twenty times
//! as long, and `PORTCULLIS_TEST_SLACK` says so. What a test asserts stays the same.

use std::{env, sync::LazyLock, time::Duration};

static SLACK: LazyLock<u32> = LazyLock::new(|| {
    let text = env::var("PORTCULLIS_TEST_SLACK").ok();
    text.and_then(|text| text.parse().ok()).unwrap_or(1).max(1)
});

/// By what a machine that does other things beside the tests may be slower.
const BUSY: u32 = 4;

/// By what a silence is stretched at most: it is waited for in full each time.
const SILENCE_MAX: u32 = 4;

/// How often a test does the same again, if once or often makes no difference but to luck: a
/// twentieth of the rounds of a fast machine finds as much on a machine twenty times as slow.
pub fn rounds(native: usize) -> usize {
    native.div_ceil(*SLACK as usize)
}

/// Does somebody want the long form of a test: more rounds of the same (`cargo xtask test --long`)?
pub fn is_long() -> bool {
    env::var_os("PORTCULLIS_TEST_LONG").is_some()
}

/// Is this a machine on which things take longer than on those that the times are for?
pub fn is_stretched() -> bool {
    *SLACK > 1
}

/// How long something goes on that needs as long to do its work.
pub fn stretched(native: Duration) -> Duration {
    native * *SLACK
}

/// A limit for something that comes about: nobody waits that long when all is well.
pub fn limit(native: Duration) -> Duration {
    stretched(native) * BUSY
}

/// The same in seconds.
pub fn limit_seconds(native: u64) -> u64 {
    limit(Duration::from_secs(native)).as_secs()
}

/// A silence that tells that nothing comes any more. A packet needs much less than any of those
/// in the tests, so these grow less.
pub fn silence(native: Duration) -> Duration {
    native * (*SLACK).min(SILENCE_MAX)
}
