//! A guest's memory.

use kvm_bindings::kvm_userspace_memory_region;
use kvm_ioctls::VmFd;
use vm_memory::{
    Address, GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion, GuestRegionMmap,
    bitmap::AtomicBitmap,
};

use crate::{
    error::{Error, Result},
    layout::{GAP, GAP_END},
};

/// Memory that knows which of its pages our own devices have written.
pub type Memory = GuestMemoryMmap<AtomicBitmap>;

/// Where memory of so many MiB is: below the gap for devices, and the rest above it.
pub fn ranges(mib: u32) -> Vec<(GuestAddress, usize)> {
    let (size, low) = (u64::from(mib) << 20, GAP.raw_value());
    if size <= low {
        return vec![(GuestAddress(0), size as usize)];
    }
    vec![(GuestAddress(0), low as usize), (GAP_END, (size - low) as usize)]
}

/// Makes the memory and gives it to the machine.
pub fn create(vm: &VmFd, mib: u32) -> Result<Memory> {
    let memory = Memory::from_ranges(&ranges(mib)).map_err(Error::memory("making it"))?;
    for (slot, region) in memory.iter().enumerate() {
        register(vm, slot as u32, region)?;
    }
    Ok(memory)
}

#[allow(unsafe_code)]
fn register(vm: &VmFd, slot: u32, region: &GuestRegionMmap<AtomicBitmap>) -> Result<()> {
    let host = region.get_host_address(vm_memory::MemoryRegionAddress(0));
    let region = kvm_userspace_memory_region {
        slot,
        guest_phys_addr: region.start_addr().raw_value(),
        memory_size: region.len(),
        userspace_addr: host.map_err(Error::memory("its address"))? as u64,
        flags: 0,
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
