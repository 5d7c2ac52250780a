//! What a front end hands over: pieces of its guest's memory, and eventfds.

use std::{fs::File, io, os::fd::AsRawFd, sync::Arc};

use vhost::vhost_user::{Error, Result, message::VhostUserMemoryRegion};
use vm_memory::{GuestAddress, GuestMemoryRegion, GuestRegionMmap};

use crate::{fault::Watch, ring::Memory, shared};

/// Memory that a front end has shared.
pub struct Region {
    /// Where it is for the front end, which names the places of queues so.
    pub user: u64,
    /// Where it is for its guest.
    pub guest: u64,
    /// Bytes.
    pub bytes: u64,
    map: Arc<GuestRegionMmap<()>>,
}

impl Region {
    /// That of a message, with the descriptor beside it.
    pub fn new(said: &VhostUserMemoryRegion, file: File) -> Result<Self> {
        let (guest, bytes, user) = (said.guest_phys_addr, said.memory_size, said.user_addr);
        if guest.checked_add(bytes).is_none() || user.checked_add(bytes).is_none() {
            return Err(refused("memory that goes beyond the end of all addresses"));
        }
        shared::check(&file).map_err(Error::ReqHandlerError)?;
        let map = GuestRegionMmap::new(said.mmap_region(file)?, GuestAddress(guest));
        let map = Arc::new(map.ok_or_else(|| refused("memory of no address"))?);
        Ok(Self { user, guest, bytes, map })
    }
}

/// All memory of a guest, and who watches it.
pub fn together(regions: &[Region]) -> Result<(Memory, Arc<[Watch]>)> {
    let mut sorted: Vec<_> = regions.iter().map(|region| Arc::clone(&region.map)).collect();
    sorted.sort_by_key(|map| map.start_addr());
    let memory = match sorted.as_slice() {
        [] => Memory::new(),
        _ => Memory::from_arc_regions(sorted).map_err(refused)?,
    };
    let watch = |region: &Region| Watch::new(region.map.as_ptr(), region.bytes as usize);
    let watches: Option<Arc<[Watch]>> = regions.iter().map(watch).collect();
    Ok((memory, watches.ok_or_else(|| refused("too many regions of memory"))?))
}

/// A descriptor by which somebody is rung. An eventfd, and nothing else: what a file of another kind
/// does when somebody waits for it is its maker's choice.
pub fn eventfd(file: Option<File>) -> Result<Option<File>> {
    let Some(file) = file else { return Ok(None) };
    let kind = std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()));
    if !kind.is_ok_and(|kind| kind.as_os_str() == "anon_inode:[eventfd]") {
        return Err(refused("a descriptor that is no eventfd"));
    }
    Ok(Some(file))
}

/// The answer no, with the reason for the log.
pub fn refused(reason: impl std::fmt::Display) -> Error {
    Error::ReqHandlerError(io::Error::other(reason.to_string()))
}
