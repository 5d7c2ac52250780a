//! Which pages were written, for a front end that moves its guest elsewhere (QEMU's "Vhost-user
//! Protocol", section "Migration").

use std::sync::{
    Arc,
    atomic::{AtomicU8, Ordering},
};

use vm_memory::{VolatileMemory, VolatileSlice};

use crate::{
    ring::{Lie, Part},
    shared::Shared,
};

/// Bytes of a page of the log (`VHOST_LOG_PAGE`): one bit of it.
const PAGE: u64 = 4096;

/// The log of a queue.
#[derive(Clone)]
pub struct Log {
    shared: Arc<Shared>,
    /// Guest address under which the used ring is logged; `None`: it is not.
    pub used: Option<u64>,
}

impl Log {
    /// In this memory.
    pub const fn new(shared: Arc<Shared>, used: Option<u64>) -> Self {
        Self { shared, used }
    }

    /// So many bytes of the guest's memory were written, from `address` on. After the writing: who
    /// reads the log copies the page then.
    pub fn mark(&self, address: u64, bytes: u64) -> Result<(), Lie> {
        let (first, last) = (address / PAGE, (address + bytes.max(1) - 1) / PAGE);
        let log = self.shared.bytes();
        (first..=last).try_for_each(|page| set(&log, page).ok_or(Lie::Log { page }))
    }

    /// So many bytes were written into a row of buffers.
    pub fn mark_parts(&self, parts: &[Part], bytes: usize) -> Result<(), Lie> {
        let mut left = bytes as u64;
        for part in parts {
            let own = left.min(part.length.into());
            if own > 0 {
                self.mark(part.address, own)?;
            }
            left -= own;
        }
        Ok(())
    }

    /// Was it taken back?
    pub fn is_lost(&self) -> bool {
        self.shared.is_lost()
    }
}

fn set(log: &VolatileSlice<'_>, page: u64) -> Option<()> {
    let byte = usize::try_from(page / 8).ok()?;
    let bits = log.get_atomic_ref::<AtomicU8>(byte).ok()?;
    let bit = 1 << (page % 8);
    bits.fetch_or(bit, Ordering::SeqCst);
    Some(())
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use rustix::fs::{MemfdFlags, ftruncate, memfd_create};

    use super::*;

    fn log(bytes: u64) -> Log {
        let file = memfd_create("log", MemfdFlags::CLOEXEC).unwrap();
        ftruncate(&file, bytes).unwrap();
        Log::new(Arc::new(Shared::map(File::from(file), 0, bytes).unwrap()), None)
    }

    fn pages(log: &Log) -> Vec<u64> {
        let mut bytes = vec![0_u8; log.shared.bytes().len()];
        log.shared.bytes().copy_to(&mut bytes[..]);
        let is_set = |page: &u64| bytes[*page as usize / 8] >> (page % 8) & 1 == 1;
        (0..bytes.len() as u64 * 8).filter(is_set).collect()
    }

    #[test]
    fn every_page_that_was_written_is_in_it() {
        let log = log(8);
        log.mark(PAGE * 3 - 1, 2).unwrap();
        log.mark(PAGE * 9, PAGE).unwrap();
        assert_eq!(pages(&log), [2, 3, 9]);
        let parts = [
            Part { address: PAGE * 20, length: 10 },
            Part { address: PAGE * 30, length: 100 },
            Part { address: PAGE * 40, length: 100 },
        ];
        log.mark_parts(&parts, 11).unwrap();
        assert_eq!(pages(&log), [2, 3, 9, 20, 30], "no byte came into the last one");
    }

    #[test]
    fn a_page_that_it_has_no_bit_for_is_a_lie() {
        let log = log(8);
        assert_eq!(log.mark(PAGE * 64, 1), Err(Lie::Log { page: 64 }));
        assert_eq!(log.mark(u64::MAX - 1, 1), Err(Lie::Log { page: u64::MAX / PAGE }));
        assert!(!log.is_lost());
    }
}
