//! A guest's memory, by its addresses, for every buffer of every frame: a comparison and a sum.
//! What comes out is [`VolatileSlice`], as from the `vm-memory` crate itself, whose own look-up is
//! a row of calls that hand each other results by memory. A result that was stored in pieces and is
//! loaded whole has to wait until everything before it has left for the cache, also what was
//! written into lines of another core: that was two thirds of all time.
#![allow(unsafe_code)]

use std::{cell::Cell, sync::Arc};

use vm_memory::{GuestMemoryBackend, GuestMemoryRegion, VolatileSlice};

use crate::ring::Memory;

/// A region: where the guest has it, how long it is, where it is here.
struct Region {
    guest: u64,
    length: u64,
    host: *mut u8,
}

/// All regions.
pub struct Map {
    regions: Box<[Region]>,
    /// The one in which something was found last.
    near: Cell<usize>,
    /// Keeps them mapped.
    _memory: Arc<Memory>,
}

// SAFETY: the pointers are to memory that stays mapped, for every thread, as long as `_memory` lives.
unsafe impl Send for Map {}

impl Map {
    /// The regions of a guest's memory.
    pub fn new(memory: Arc<Memory>) -> Self {
        let region = |region: &vm_memory::GuestRegionMmap<()>| Region {
            guest: region.start_addr().0,
            length: region.len(),
            host: region.as_ptr(),
        };
        let regions = memory.iter().map(region).collect();
        Self { regions, near: Cell::new(0), _memory: memory }
    }

    /// So many bytes at an address of the guest, if they are there, in one region.
    #[inline(always)]
    pub fn slice(&self, address: u64, length: usize) -> Option<VolatileSlice<'_>> {
        let near =
            self.regions.get(self.near.get()).and_then(|region| region.slice(address, length));
        if near.is_some() { near } else { self.look(address, length) }
    }

    /// The same, wherever it is.
    #[cold]
    fn look(&self, address: u64, length: usize) -> Option<VolatileSlice<'_>> {
        let all = self.regions.iter().enumerate();
        let mut found = all.filter_map(|(at, region)| Some((at, region.slice(address, length)?)));
        let (at, slice) = found.next()?;
        self.near.set(at);
        Some(slice)
    }
}

impl Region {
    #[inline(always)]
    fn slice(&self, address: u64, length: usize) -> Option<VolatileSlice<'_>> {
        let offset = address.wrapping_sub(self.guest);
        // An empty buffer has to be somewhere, too.
        if offset >= self.length || length as u64 > self.length - offset {
            return None;
        }
        // SAFETY: so many bytes from there on are in the region, which is mapped for as long as the
        // map lives that the slice borrows from; nobody has a Rust reference into it.
        Some(unsafe { VolatileSlice::new(self.host.add(offset as usize), length) })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use vm_memory::GuestAddress;

    use super::*;

    const REGIONS: [(u64, usize); 3] = [(0, 0x2000), (0x2000, 0x1000), (0x10_0000, 0x3000)];

    proptest! {
        /// It finds what the crate itself finds, in the same place.
        #[test]
        fn it_finds_what_is_there(
            all in proptest::collection::vec(
                (prop_oneof![0_u64..0x4000, 0xf_f000_u64..0x10_4000, any::<u64>()],
                 prop_oneof![0_usize..0x1800, any::<usize>()]), 1..20),
        ) {
            let regions = REGIONS.map(|(start, bytes)| (GuestAddress(start), bytes));
            let memory = Arc::new(Memory::from_ranges(&regions).unwrap());
            let map = Map::new(Arc::clone(&memory));
            for (address, length) in all {
                let place = |slice: VolatileSlice<'_>| (slice.ptr_guard().as_ptr(), slice.len());
                let expected = memory.get_slice(GuestAddress(address), length).ok().map(place);
                prop_assert_eq!(map.slice(address, length).map(place), expected);
            }
        }
    }
}
