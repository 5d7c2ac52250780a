//! Waiting until a link that was let go is gone. The kernel takes it off its interface some time
//! after its last holder has closed it: a pin's inode is freed behind a grace period of RCU, the link
//! behind that by a worker. Until then the interface takes no other one, and the program runs.

use std::{
    thread,
    time::{Duration, Instant},
};

use crate::error::Result;

/// After this somebody else must be holding it.
const LINGER_MAX: Duration = Duration::from_secs(1);
/// Time between two looks.
const LOOK: Duration = Duration::from_millis(2);

/// Returns when `there` says no, or after a second.
pub fn wait(there: impl Fn() -> Result<bool>) -> Result<()> {
    let end = Instant::now() + LINGER_MAX;
    while there()? && Instant::now() < end {
        thread::sleep(LOOK);
    }
    Ok(())
}
