//! A guest's memory.

use std::{fs::File, io, os::unix::fs::FileExt};

use kvm_bindings::{KVM_MEM_LOG_DIRTY_PAGES, kvm_userspace_memory_region};
use kvm_ioctls::VmFd;
use nix::{
    errno::Errno,
    sys::memfd::{MFdFlags, memfd_create},
    unistd::{Whence, lseek},
};
use vm_memory::{
    Address, Bytes, FileOffset, GuestAddress, GuestMemoryBackend, GuestMemoryMmap,
    GuestMemoryRegion, GuestRegionMmap, MemoryRegionAddress, MmapRegion, bitmap::AtomicBitmap,
};

use crate::{
    error::{Error, Result},
    layout::{GAP, GAP_END},
};

/// What is written, tracked and sent at once, bytes.
pub const PAGE: usize = 4096;

/// Memory that knows which of its pages our own devices have written.
pub type Memory = GuestMemoryMmap<AtomicBitmap>;

/// Where memory of so many MiB is: below the gap for devices, and the rest above it.
pub fn ranges(mib: u32) -> Vec<(GuestAddress, usize)> {
    let (size, low) = (bytes(mib), GAP.raw_value());
    if size <= low {
        return vec![(GuestAddress(0), size as usize)];
    }
    vec![(GuestAddress(0), low as usize), (GAP_END, (size - low) as usize)]
}

/// Bytes of memory of so many MiB.
pub fn bytes(mib: u32) -> u64 {
    u64::from(mib) << 20
}

/// Makes the memory and gives it to the machine; other processes may be given what is shared.
pub fn create(vm: &VmFd, mib: u32, shared: bool) -> Result<Memory> {
    let memory = if shared {
        Memory::from_ranges_with_files(files(&ranges(mib))?)
    } else {
        Memory::from_ranges(&ranges(mib))
    };
    let memory = memory.map_err(Error::memory("making it"))?;
    for (slot, region) in memory.iter().enumerate() {
        register(vm, slot as u32, region, 0)?;
    }
    Ok(memory)
}

/// A file in memory for each range.
fn files(
    ranges: &[(GuestAddress, usize)],
) -> Result<Vec<(GuestAddress, usize, Option<FileOffset>)>> {
    let file = |size: usize| -> io::Result<_> {
        let file = File::from(memfd_create("guest", MFdFlags::MFD_CLOEXEC)?);
        file.set_len(size as u64)?;
        Ok(Some(FileOffset::new(file, 0)))
    };
    let all = ranges.iter().map(|(start, size)| Ok((*start, *size, file(*size)?)));
    all.collect::<io::Result<_>>().map_err(Error::system("a file for the guest's memory"))
}

/// Writes what is in it, one region behind the other; pages of zeros become holes.
pub fn save(memory: &Memory, file: &File) -> io::Result<()> {
    let (mut at, mut page) = (0, vec![0; PAGE]);
    for region in memory.iter() {
        for offset in (0..region.len()).step_by(PAGE) {
            let place = MemoryRegionAddress(offset);
            region.read_slice(&mut page, place).map_err(io::Error::other)?;
            if page.iter().any(|byte| *byte != 0) {
                file.write_all_at(&page, at + offset)?;
            }
        }
        at += region.len();
    }
    file.set_len(at)
}

/// Fills fresh memory with what [`save`] has written; holes stay untouched.
pub fn restore(memory: &Memory, file: &File) -> io::Result<()> {
    let (mut at, mut page) = (0, vec![0; PAGE]);
    for region in memory.iter() {
        let mut offset = 0;
        while let Some(data) =
            next_data(file, at + offset)?.filter(|data| *data < at + region.len())
        {
            offset = data - at;
            file.read_exact_at(&mut page, data)?;
            let place = MemoryRegionAddress(offset);
            region.write_slice(&page, place).map_err(io::Error::other)?;
            offset += PAGE as u64;
        }
        at += region.len();
    }
    Ok(())
}

/// The first page from `at` on that is not in a hole.
fn next_data(file: &File, at: u64) -> io::Result<Option<u64>> {
    match lseek(file, at as i64, Whence::SeekData) {
        Ok(data) => Ok(Some(data as u64 / PAGE as u64 * PAGE as u64)),
        Err(Errno::ENXIO) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// From now on the kernel knows which pages the guest writes, and so do we of our devices.
pub fn track(vm: &VmFd, memory: &Memory) -> Result<()> {
    for (slot, region) in memory.iter().enumerate() {
        register(vm, slot as u32, region, KVM_MEM_LOG_DIRTY_PAGES)?;
    }
    written(vm, memory).map(drop)
}

/// Numbers of the pages that were written since the last time, by address.
pub fn written(vm: &VmFd, memory: &Memory) -> Result<Vec<u64>> {
    let mut pages = Vec::new();
    for (slot, region) in memory.iter().enumerate() {
        let guest = vm.get_dirty_log(slot as u32, region.len() as usize);
        let guest = guest.map_err(Error::kvm("asking which pages were written"))?;
        let devices = MmapRegion::bitmap(region).get_and_reset();
        let first = region.start_addr().raw_value() / PAGE as u64;
        for (word, (guest, device)) in guest.iter().zip(devices).enumerate() {
            let bits = guest | device;
            let set = (0..64).filter(|bit| bits >> bit & 1 == 1);
            pages.extend(set.map(|bit| first + 64 * word as u64 + bit));
        }
    }
    Ok(pages)
}

#[allow(unsafe_code)]
fn register(
    vm: &VmFd,
    slot: u32,
    region: &GuestRegionMmap<AtomicBitmap>,
    flags: u32,
) -> Result<()> {
    let host = region.get_host_address(vm_memory::MemoryRegionAddress(0));
    let region = kvm_userspace_memory_region {
        slot,
        guest_phys_addr: region.start_addr().raw_value(),
        memory_size: region.len(),
        userspace_addr: host.map_err(Error::memory("its address"))? as u64,
        flags,
    };
    // SAFETY: the mapping is the region's and lives as long as the machine, which holds both.
    unsafe { vm.set_user_memory_region(region) }.map_err(Error::kvm("giving it memory"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_leaves_the_devices_their_place() {
        assert_eq!(ranges(64), [(GuestAddress(0), 64 << 20)]);
        assert_eq!(ranges(3072), [(GuestAddress(0), 3 << 30)]);
        assert_eq!(ranges(4096), [(GuestAddress(0), 3 << 30), (GAP_END, 1 << 30)]);
    }
}
