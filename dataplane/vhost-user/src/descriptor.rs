//! A descriptor of a split queue (virtio 1.3, section 2.7.5).

use std::sync::atomic::Ordering;

use virtio_bindings::virtio_ring::{VRING_DESC_F_INDIRECT, VRING_DESC_F_NEXT, VRING_DESC_F_WRITE};
use vm_memory::{Bytes, VolatileSlice};

use crate::ring::Lie;

/// Bytes of a descriptor.
pub const DESCRIPTOR: usize = 16;

/// A descriptor, as it was at one moment: the two words that it is. Taken apart in memory it could
/// not be loaded as a whole before everything that was stored earlier has left for the cache.
#[derive(Clone, Copy)]
pub struct Descriptor {
    address: u64,
    rest: u64,
}

impl Descriptor {
    /// Of an empty buffer.
    pub const NONE: Self = Self { address: 0, rest: 0 };

    /// The one with this number in a table of so many.
    #[inline(always)]
    pub fn read(table: &VolatileSlice<'_>, index: u16, size: u32) -> Result<Self, Lie> {
        if u32::from(index) >= size {
            return Err(Lie::Descriptor { index, size });
        }
        let at = usize::from(index) * DESCRIPTOR;
        let half = |at: usize| table.load::<u64>(at, Ordering::Relaxed);
        match (half(at), half(at + 8)) {
            (Ok(low), Ok(high)) => {
                Ok(Self { address: u64::from_le(low), rest: u64::from_le(high) })
            }
            _ => Self::read_unaligned(table, at).ok_or(Lie::Descriptor { index, size }),
        }
    }

    /// Of a table elsewhere, and nobody has said that it must be aligned there.
    #[cold]
    fn read_unaligned(table: &VolatileSlice<'_>, at: usize) -> Option<Self> {
        let mut bytes = [0; DESCRIPTOR];
        table.subslice(at, DESCRIPTOR).ok()?.copy_to(&mut bytes[..]);
        let whole = u128::from_le_bytes(bytes);
        Some(Self { address: whole as u64, rest: (whole >> 64) as u64 })
    }

    /// Guest address of the buffer.
    #[inline(always)]
    pub const fn address(self) -> u64 {
        self.address
    }

    /// Its bytes.
    #[inline(always)]
    pub const fn length(self) -> u32 {
        self.rest as u32
    }

    /// The number of the next one, if it has one.
    #[inline(always)]
    pub const fn next(self) -> u16 {
        (self.rest >> 48) as u16
    }

    /// Has it one of these flags?
    #[inline(always)]
    const fn is(self, flag: u32) -> bool {
        (self.rest >> 32) as u32 & flag & 0xffff != 0
    }

    /// Is there one behind it?
    #[inline(always)]
    pub const fn has_next(self) -> bool {
        self.is(VRING_DESC_F_NEXT)
    }

    /// Is its buffer a table of others?
    #[inline(always)]
    pub const fn is_indirect(self) -> bool {
        self.is(VRING_DESC_F_INDIRECT)
    }

    /// Is its buffer all of its chain?
    #[inline(always)]
    pub const fn is_alone(self) -> bool {
        !self.is(VRING_DESC_F_INDIRECT | VRING_DESC_F_NEXT)
    }

    /// Does the device write its buffer?
    #[inline(always)]
    pub const fn is_written(self) -> bool {
        self.is(VRING_DESC_F_WRITE)
    }
}
