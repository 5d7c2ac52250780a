//! Waiting until no packet is on its way with an old pointer into the tables.

use rustix::{
    io::Errno,
    thread::{MembarrierCommand, membarrier},
};

use crate::error::{Error, Result};

/// Returns when every packet that was being judged at the call is through: programs run inside
/// RCU read sections, and MEMBARRIER_CMD_GLOBAL is `synchronize_rcu()` (membarrier(2)).
pub fn wait() -> Result<()> {
    loop {
        match membarrier(MembarrierCommand::Global) {
            Err(Errno::INTR) => {}
            other => return other.map_err(|e| Error::NoGracePeriod { source: e.into() }),
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn this_kernel_has_grace_periods() {
        super::wait().unwrap();
    }
}
