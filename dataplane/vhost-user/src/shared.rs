//! Memory that a front end shares besides its guest's: for what is in flight, for which pages were
//! written.

use std::{fs::File, io};

use rustix::fs::fstatfs;
use vm_memory::{FileOffset, MmapRegion, VolatileMemory, VolatileSlice};

use crate::fault::Watch;

/// File systems whose files are in memory (`linux/magic.h`): tmpfs, to which a memfd belongs, and
/// hugetlbfs. For a file elsewhere somebody may have to answer before a page is there, and he may not.
const IN_MEMORY: [u64; 2] = [0x0102_1994, 0x9584_58f6];

/// A piece of such memory.
pub struct Shared {
    // Before the memory, which is watched for as long as it is mapped.
    watch: Watch,
    map: MmapRegion<()>,
}

impl Shared {
    /// So many bytes of a file, from `offset` on.
    ///
    /// # Errors
    /// The file is shorter, or not in memory.
    pub fn map(file: File, offset: u64, bytes: u64) -> io::Result<Self> {
        check(&file)?;
        let long = usize::try_from(bytes).map_err(io::Error::other)?;
        let map = MmapRegion::from_file(FileOffset::new(file, offset), long);
        let map = map.map_err(io::Error::other)?;
        let watch = Watch::new(map.as_ptr(), long);
        let watch = watch.ok_or_else(|| io::Error::other("too many regions of memory"))?;
        Ok(Self { watch, map })
    }

    /// Its bytes; another process may write them at any time.
    pub fn bytes(&self) -> VolatileSlice<'_> {
        self.map.as_volatile_slice()
    }

    /// Was it taken back?
    pub fn is_lost(&self) -> bool {
        self.watch.is_lost()
    }
}

/// Refuses a file that is not in memory.
pub fn check(file: &File) -> io::Result<()> {
    if IN_MEMORY.contains(&(fstatfs(file)?.f_type as u64)) {
        return Ok(());
    }
    Err(io::Error::other(
        "a file that is not in memory: share a memfd, or one of tmpfs or hugetlbfs",
    ))
}
