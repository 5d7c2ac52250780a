//! A split queue in the guest's memory (virtio 1.3, section 2.7), from the device's side.
//!
//! Its own and not `virtio_queue::Queue`, for one reason: a frame in several buffers has to be
//! published by one store of the used index, or a driver that polls takes the first buffers for a
//! frame that lacks the others. Every number that the driver wrote is checked before it is used; a
//! driver that breaks the rules has its queue stopped, see [`Lie`].

use std::{
    fs::File,
    num::Wrapping,
    sync::{
        Arc,
        atomic::{Ordering, fence},
    },
};

use virtio_bindings::virtio_ring::{
    VRING_AVAIL_F_NO_INTERRUPT, VRING_DESC_F_INDIRECT, VRING_DESC_F_NEXT, VRING_DESC_F_WRITE,
    VRING_USED_F_NO_NOTIFY,
};
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryMmap, VolatileSlice};

use crate::{bell::Bell, fault::Watch};

/// The memory of a guest, as its front end has shared it.
pub type Memory = GuestMemoryMmap<()>;

/// Most descriptors of a queue, also of one chain.
pub const SIZE_MAX: u16 = 1024;
/// Bytes of a descriptor.
const DESCRIPTOR: usize = 16;
/// Bytes in front of the entries of the available and of the used ring: flags and index.
const HEAD: usize = 4;
/// Offset of the index in both.
const INDEX: usize = 2;
/// Bytes of an entry of the used ring.
const USED: usize = 8;

/// What a driver, or its front end, does against the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Lie {
    /// A part of the ring is not in the memory, or not aligned.
    #[error("a ring at {address:#x} that is not in the guest's memory")]
    Ring {
        /// Where it should be.
        address: u64,
    },
    /// More descriptors are available than there are.
    #[error("{waiting} chains available in a queue of {size}")]
    Jump {
        /// What the index says.
        waiting: u16,
        /// Descriptors of the queue.
        size: u16,
    },
    /// A descriptor that does not exist.
    #[error("descriptor {index} of a table of {size}")]
    Descriptor {
        /// Its number.
        index: u16,
        /// Descriptors of the table.
        size: u32,
    },
    /// More descriptors in a chain than in the queue.
    #[error("a chain that does not end")]
    Endless,
    /// A buffer outside.
    #[error("a buffer of {length} bytes at {address:#x}, which is not in the guest's memory")]
    Buffer {
        /// Where it begins.
        address: u64,
        /// Its bytes.
        length: u32,
    },
    /// An indirect table where none may be, or of a strange size.
    #[error("an indirect table of {length} bytes that may not be there")]
    Indirect {
        /// Its bytes.
        length: u32,
    },
    /// Its file was made shorter.
    #[error("memory that was taken back")]
    TakenBack,
    /// A buffer to be written where one is to be read, or the other way round.
    #[error("a buffer for the wrong direction")]
    Direction,
}

/// Which way a queue's buffers go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// The device reads them: what the guest sends.
    Read,
    /// The device writes them: what the guest receives.
    Write,
}

/// A buffer of a chain: all of it is in the memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Guest address.
    pub address: u64,
    /// Bytes.
    pub length: u32,
}

impl Part {
    /// Its bytes.
    pub fn slice<'a>(&self, memory: &'a Memory) -> Option<VolatileSlice<'a>> {
        memory.get_slice(GuestAddress(self.address), self.length as usize).ok()
    }
}

/// Where a queue is, and what was negotiated about it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shape {
    /// Descriptors.
    pub size: u16,
    /// Guest address of the descriptor table.
    pub table: u64,
    /// Of the available ring.
    pub available: u64,
    /// Of the used ring.
    pub used: u64,
    /// Are calls and kicks asked for by index (`VIRTIO_F_EVENT_IDX`)?
    pub event_index: bool,
    /// May descriptors be elsewhere (`VIRTIO_F_INDIRECT_DESC`)?
    pub indirect: bool,
}

/// A running queue.
pub struct Ring {
    memory: Arc<Memory>,
    watches: Arc<[Watch]>,
    shape: Shape,
    direction: Direction,
    next_available: Wrapping<u16>,
    /// Behind what was given back, published or not.
    next_used: Wrapping<u16>,
    /// What was published when the driver was last asked whether it wants a call.
    asked: Wrapping<u16>,
    /// Kicked by the driver.
    pub kick: File,
    /// Calls the driver; `None`: it polls.
    pub call: Option<Bell>,
}

/// The three parts of a queue.
struct View<'a> {
    table: VolatileSlice<'a>,
    available: VolatileSlice<'a>,
    used: VolatileSlice<'a>,
}

impl Ring {
    /// A queue whose driver has used `base` chains so far.
    pub fn new(
        (memory, watches): (Arc<Memory>, Arc<[Watch]>),
        shape: Shape,
        direction: Direction,
        base: u16,
        kick: File,
        call: Option<Bell>,
    ) -> Result<Self, Lie> {
        let mut ring = Self {
            memory,
            watches,
            shape,
            direction,
            next_available: Wrapping(base),
            next_used: Wrapping(0),
            asked: Wrapping(0),
            kick,
            call,
        };
        let view = ring.view()?;
        let used = view.used.load::<u16>(INDEX, Ordering::Acquire);
        let used = used.map_err(|_| Lie::Ring { address: shape.used })?;
        (ring.next_used, ring.asked) = (Wrapping(used), Wrapping(used));
        Ok(ring)
    }

    /// The memory that it is in.
    pub fn memory(&self) -> &Arc<Memory> {
        &self.memory
    }

    /// Was some of the memory taken back?
    pub fn is_lost(&self) -> bool {
        self.watches.iter().any(Watch::is_lost)
    }

    /// Chains that were taken so far, modulo 65,536.
    pub fn next_available(&self) -> u16 {
        self.next_available.0
    }

    fn view(&self) -> Result<View<'_>, Lie> {
        let size = usize::from(self.shape.size);
        let part = |address: u64, bytes: usize, align: u64| {
            let slice = self.memory.get_slice(GuestAddress(address), bytes);
            slice.ok().filter(|_| address.is_multiple_of(align)).ok_or(Lie::Ring { address })
        };
        Ok(View {
            table: part(self.shape.table, size * DESCRIPTOR, 16)?,
            // Behind the entries stands the index at which the other side wants to be told.
            available: part(self.shape.available, HEAD + size * 2 + 2, 2)?,
            used: part(self.shape.used, HEAD + size * USED + 2, 4)?,
        })
    }

    /// Chains that wait to be taken.
    pub fn waiting(&self) -> Result<u16, Lie> {
        let address = self.shape.available;
        let available = self.view()?.available.load::<u16>(INDEX, Ordering::Acquire);
        let available = available.map_err(|_| Lie::Ring { address })?;
        let waiting = (Wrapping(available) - self.next_available).0;
        let size = self.shape.size;
        if waiting > size { Err(Lie::Jump { waiting, size }) } else { Ok(waiting) }
    }

    /// Takes the next chain: its parts are added to `parts`, its number comes back. `None`: there
    /// is none.
    pub fn take(&mut self, parts: &mut Vec<Part>) -> Result<Option<u16>, Lie> {
        if self.waiting()? == 0 {
            return Ok(None);
        }
        let view = self.view()?;
        let at = HEAD + usize::from(self.next_available.0 & (self.shape.size - 1)) * 2;
        let head = view.available.load::<u16>(at, Ordering::Relaxed);
        let head = head.map_err(|_| Lie::Ring { address: self.shape.available })?;
        self.walk(&view, head, parts)?;
        self.next_available += 1;
        Ok(Some(head))
    }

    /// The last `count` chains were not needed: they are the next ones again.
    pub fn put_back(&mut self, count: u16) {
        self.next_available -= count;
    }

    fn walk(&self, view: &View<'_>, head: u16, parts: &mut Vec<Part>) -> Result<(), Lie> {
        let (mut table, mut size) = (view.table, u32::from(self.shape.size));
        let (mut index, mut indirect) = (head, false);
        for _ in 0..SIZE_MAX {
            let entry = Descriptor::read(&table, index, size)?;
            if entry.is(VRING_DESC_F_INDIRECT) {
                let length = entry.length;
                let strange = length == 0 || !(length as usize).is_multiple_of(DESCRIPTOR);
                if !self.shape.indirect || indirect || entry.is(VRING_DESC_F_NEXT) || strange {
                    return Err(Lie::Indirect { length });
                }
                (table, size) = (self.bytes(&entry)?, length / DESCRIPTOR as u32);
                (index, indirect) = (0, true);
                continue;
            }
            if entry.is(VRING_DESC_F_WRITE) != (self.direction == Direction::Write) {
                return Err(Lie::Direction);
            }
            self.bytes(&entry)?;
            parts.push(Part { address: entry.address, length: entry.length });
            if !entry.is(VRING_DESC_F_NEXT) {
                return Ok(());
            }
            index = entry.next;
        }
        Err(Lie::Endless)
    }

    fn bytes(&self, entry: &Descriptor) -> Result<VolatileSlice<'_>, Lie> {
        let Descriptor { address, length, .. } = *entry;
        let slice = self.memory.get_slice(GuestAddress(address), length as usize);
        slice.map_err(|_| Lie::Buffer { address, length })
    }

    /// Gives a chain back with so many bytes written into it; the driver sees it when it is
    /// [published](Self::publish).
    pub fn give(&mut self, head: u16, bytes: u32) -> Result<(), Lie> {
        let at = HEAD + usize::from(self.next_used.0 & (self.shape.size - 1)) * USED;
        let lost = |_| Lie::Ring { address: self.shape.used };
        let view = self.view()?;
        view.used.store(u32::from(head), at, Ordering::Relaxed).map_err(lost)?;
        view.used.store(bytes, at + 4, Ordering::Relaxed).map_err(lost)?;
        self.next_used += 1;
        Ok(())
    }

    /// Shows the driver all that was given back.
    pub fn publish(&mut self) -> Result<(), Lie> {
        let stored = self.view()?.used.store(self.next_used.0, INDEX, Ordering::Release);
        stored.map_err(|_| Lie::Ring { address: self.shape.used })
    }

    /// Calls the driver if something was published since the last time and it wants to be called.
    pub fn call(&mut self) -> Result<(), Lie> {
        let (new, old) = (self.next_used, self.asked);
        if new == old {
            return Ok(());
        }
        self.asked = new;
        // The index before the driver's wish (section 2.7.7).
        fence(Ordering::SeqCst);
        let lost = |_| Lie::Ring { address: self.shape.available };
        let view = self.view()?;
        let wanted = if self.shape.event_index {
            let at = HEAD + usize::from(self.shape.size) * 2;
            let event = view.available.load::<u16>(at, Ordering::Relaxed).map_err(lost)?;
            new - Wrapping(event) - Wrapping(1) < new - old
        } else {
            let flags = view.available.load::<u16>(0, Ordering::Relaxed).map_err(lost)?;
            u32::from(flags) & VRING_AVAIL_F_NO_INTERRUPT == 0
        };
        if let (true, Some(call)) = (wanted, &self.call) {
            call.ring();
        }
        Ok(())
    }

    /// Asks to be kicked. Whoever does looks once more, for what came meanwhile.
    pub fn listen(&mut self) -> Result<(), Lie> {
        let lost = |_| Lie::Ring { address: self.shape.used };
        let view = self.view()?;
        if self.shape.event_index {
            let at = HEAD + usize::from(self.shape.size) * USED;
            view.used.store(self.next_available.0, at, Ordering::Relaxed).map_err(lost)?;
        } else {
            view.used.store(0_u16, 0, Ordering::Relaxed).map_err(lost)?;
        }
        // The wish before the look (section 2.7.10).
        fence(Ordering::SeqCst);
        Ok(())
    }

    /// Wants no kick while it looks by itself. With event indexes the one that stands there is of
    /// the past already.
    pub fn look(&mut self) -> Result<(), Lie> {
        if self.shape.event_index {
            return Ok(());
        }
        let flags = VRING_USED_F_NO_NOTIFY as u16;
        let stored = self.view()?.used.store(flags, 0, Ordering::Relaxed);
        stored.map_err(|_| Lie::Ring { address: self.shape.used })
    }
}

/// A descriptor, as it was at one moment.
struct Descriptor {
    address: u64,
    length: u32,
    flags: u16,
    next: u16,
}

impl Descriptor {
    fn read(table: &VolatileSlice<'_>, index: u16, size: u32) -> Result<Self, Lie> {
        let lie = Lie::Descriptor { index, size };
        if u32::from(index) >= size {
            return Err(lie);
        }
        let entry = table.subslice(usize::from(index) * DESCRIPTOR, DESCRIPTOR);
        let mut b = [0_u8; DESCRIPTOR];
        entry.map_err(|_| lie)?.copy_to(&mut b[..]);
        Ok(Self {
            address: u64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]),
            length: u32::from_le_bytes([b[8], b[9], b[10], b[11]]),
            flags: u16::from_le_bytes([b[12], b[13]]),
            next: u16::from_le_bytes([b[14], b[15]]),
        })
    }

    const fn is(&self, flag: u32) -> bool {
        self.flags as u32 & flag != 0
    }
}

#[cfg(test)]
mod tests;
