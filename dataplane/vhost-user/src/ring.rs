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

use portcullis_engine::memory;
use virtio_bindings::virtio_ring::{VRING_AVAIL_F_NO_INTERRUPT, VRING_USED_F_NO_NOTIFY};
use vm_memory::{Bytes, GuestMemoryMmap, VolatileSlice};

use crate::{
    ahead::{AHEAD, Ahead},
    bell::Bell,
    descriptor::{DESCRIPTOR, Descriptor},
    dirty::Log,
    fault::Watch,
    flight::Flight,
    map::Map,
};

/// The memory of a guest, as its front end has shared it.
pub type Memory = GuestMemoryMmap<()>;

/// Most descriptors of a queue, also of one chain.
pub const SIZE_MAX: u16 = 1024;
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
    /// What is noted as in flight is not what was taken.
    #[error("chains in flight that are not the next ones")]
    Flight,
    /// A page that was written and has no place in the log.
    #[error("page {page}, which is not in the log of written ones")]
    Log {
        /// Its number.
        page: u64,
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
    memory: Map,
    watches: Arc<[Watch]>,
    state: State,
    /// Kicked by the driver.
    pub kick: File,
    /// Calls the driver; `None`: it polls.
    pub call: Option<Bell>,
}

/// How far a queue is.
struct State {
    shape: Shape,
    direction: Direction,
    next_available: Wrapping<u16>,
    /// Behind what was given back, published or not.
    next_used: Wrapping<u16>,
    /// What was published when the driver was last asked whether it wants a call.
    asked: Wrapping<u16>,
    ahead: Ahead,
    /// `None` for most.
    notes: Option<Box<Notes>>,
}

/// What a queue notes for whoever goes on with its guest.
pub struct Notes {
    /// What is in flight, if the front end keeps that.
    pub flight: Option<Flight>,
    /// Which pages were written, while somebody wants to know.
    pub log: Option<Log>,
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
        let state = State {
            shape,
            direction,
            next_available: Wrapping(base),
            next_used: Wrapping(0),
            asked: Wrapping(0),
            ahead: Ahead::EMPTY,
            notes: None,
        };
        let mut ring = Self { memory: Map::new(memory), watches, state, kick, call };
        let used = ring.open()?.used.load::<u16>(INDEX, Ordering::Acquire);
        let used = Wrapping(used.map_err(|_| Lie::Ring { address: shape.used })?);
        (ring.state.next_used, ring.state.asked) = (used, used);
        Ok(ring)
    }

    /// Notes this from now on. What was in flight when that was noted last is next.
    pub fn noting(mut self, mut notes: Notes) -> Result<Self, Lie> {
        if let Some(flight) = &mut notes.flight {
            let used = self.state.next_used;
            let open = self.open()?;
            flight.recover(
                open.state.shape.size,
                used.0,
                |at| open.seen(at),
                |at| open.offered(at),
            )?;
            self.state.next_available = used;
        }
        self.state.notes = Some(Box::new(notes));
        Ok(self)
    }

    /// Was some of the memory taken back?
    pub fn is_lost(&self) -> bool {
        let notes = self.state.notes.as_deref();
        let lost = |notes: &Notes| {
            notes.flight.as_ref().is_some_and(Flight::is_lost)
                || notes.log.as_ref().is_some_and(Log::is_lost)
        };
        self.watches.iter().any(Watch::is_lost) || notes.is_some_and(lost)
    }

    /// Chains that were taken so far, modulo 65,536.
    pub fn next_available(&self) -> u16 {
        self.state.next_available.0
    }

    /// Was something given back since its driver was asked whether it wants a call?
    pub fn is_to_ask(&self) -> bool {
        self.state.next_used != self.state.asked
    }

    /// As [`Open::fetch`].
    #[inline(always)]
    pub fn fetch(&mut self) -> bool {
        self.state.ahead.fetch(&self.memory, self.state.direction)
    }

    /// Finds its parts in the memory: once for a burst.
    pub fn open(&mut self) -> Result<Open<'_>, Lie> {
        let Self { memory, state, call, .. } = self;
        let memory: &Map = memory;
        let size = usize::from(state.shape.size);
        let part = |address: u64, bytes: usize, align: u64| {
            let slice = memory.slice(address, bytes);
            slice.filter(|_| address.is_multiple_of(align)).ok_or(Lie::Ring { address })
        };
        Ok(Open {
            memory,
            table: part(state.shape.table, size * DESCRIPTOR, 16)?,
            // Behind the entries stands the index at which the other side wants to be told.
            available: part(state.shape.available, HEAD + size * 2 + 2, 2)?,
            used: part(state.shape.used, HEAD + size * USED + 2, 4)?,
            state,
            call: call.as_ref(),
        })
    }
}

/// A queue whose parts are found.
pub struct Open<'r> {
    /// The memory that it is in.
    pub memory: &'r Map,
    table: VolatileSlice<'r>,
    available: VolatileSlice<'r>,
    used: VolatileSlice<'r>,
    state: &'r mut State,
    call: Option<&'r Bell>,
}

impl<'r> Open<'r> {
    /// The number of the chain at this index of the available ring.
    fn offered(&self, index: u16) -> Option<u16> {
        let at = HEAD + usize::from(index & (self.state.shape.size - 1)) * 2;
        self.available.load(at, Ordering::Relaxed).ok()
    }

    /// The same of the used ring.
    fn seen(&self, index: u16) -> Option<u16> {
        let at = HEAD + usize::from(index & (self.state.shape.size - 1)) * USED;
        self.used.load::<u32>(at, Ordering::Relaxed).ok()?.try_into().ok()
    }

    fn flight(&mut self) -> Option<&mut Flight> {
        self.state.notes.as_deref_mut()?.flight.as_mut()
    }

    /// So many bytes were written into these buffers.
    pub fn wrote(&self, parts: &[Part], bytes: usize) -> Result<(), Lie> {
        let log = self.state.notes.as_deref().and_then(|notes| notes.log.as_ref());
        log.map_or(Ok(()), |log| log.mark_parts(parts, bytes))
    }

    /// Something was written into the used ring.
    fn wrote_used(&self) -> Result<(), Lie> {
        let log = self.state.notes.as_deref().and_then(|notes| notes.log.as_ref());
        let place = log.and_then(|log| Some((log, log.used?)));
        let bytes = HEAD + usize::from(self.state.shape.size) * USED + 2;
        place.map_or(Ok(()), |(log, address)| log.mark(address, bytes as u64))
    }

    /// Chains that wait to be taken.
    fn waiting(&self) -> Result<u16, Lie> {
        let Shape { available: address, size, .. } = self.state.shape;
        let available = self.available.load::<u16>(INDEX, Ordering::Acquire);
        let available = available.map_err(|_| Lie::Ring { address })?;
        let waiting = (Wrapping(available) - self.state.next_available).0;
        if waiting > size { Err(Lie::Jump { waiting, size }) } else { Ok(waiting) }
    }

    /// Reads the beginnings of the chains that wait, as many as there is room for.
    fn look_ahead(&mut self) -> Result<(), Lie> {
        let waiting = usize::from(self.waiting()?);
        let Self { table, available, used, state, .. } = self;
        let State { shape, next_available, next_used, ahead, .. } = &mut **state;
        let known = ahead.known();
        let next = *next_available + Wrapping(known as u16);
        let head = |number| {
            let place = (next + Wrapping(number)).0 & (shape.size - 1);
            let head = available.load(HEAD + usize::from(place) * 2, Ordering::Relaxed);
            head.map_err(|_| Lie::Ring { address: shape.available })
        };
        let descriptor = |head| Descriptor::read(table, head, shape.size.into());
        let count = ahead.extend(waiting.saturating_sub(known), head, descriptor)?;
        // The entries by which they will be given back.
        let behind = next_used.0.wrapping_add(known as u16) & (shape.size - 1);
        if let Ok(used) = used.offset(HEAD + usize::from(behind) * USED) {
            memory::fetch_to_write(used.ptr_guard().as_ptr(), (count * USED).min(used.len()));
        }
        Ok(())
    }

    /// The next chain, if its beginning is known or one waits.
    #[inline(always)]
    fn next(&mut self) -> Result<Option<(u16, Descriptor)>, Lie> {
        if self.state.ahead.known() == 0 {
            self.look_ahead()?;
            // All are with another core, and come side by side.
            while self.fetch() {}
        }
        Ok(self.state.ahead.next())
    }

    /// Reads the beginnings of the next chains, if there are any, while something else is to be done:
    /// they can be [fetched](Self::fetch). A lie is found when it is their turn.
    pub fn foresee(&mut self) {
        if self.state.ahead.known() < AHEAD {
            let _ = self.look_ahead();
        }
    }

    /// Has the next buffer fetched that is foreseen and was not fetched yet. False: there is none.
    #[inline(always)]
    pub fn fetch(&mut self) -> bool {
        self.state.ahead.fetch(self.memory, self.state.direction)
    }

    /// Takes the next chain: its parts are added to `parts`, its number comes back. `None`: there
    /// is none.
    pub fn take(&mut self, parts: &mut Vec<Part>) -> Result<Option<u16>, Lie> {
        let Some((head, first)) = self.next()? else { return Ok(None) };
        self.walk(first, parts)?;
        if let Some(flight) = self.flight() {
            flight.take(head);
        }
        self.state.ahead.advance();
        self.state.next_available += 1;
        Ok(Some(head))
    }

    /// Takes the next chain if it is one buffer with room for so many bytes: its number, where it is,
    /// and its bytes. `None`: it is not, or there is none.
    #[inline(always)]
    pub fn take_one(
        &mut self,
        bytes: usize,
    ) -> Result<Option<(u16, Part, VolatileSlice<'r>)>, Lie> {
        let Some((head, entry)) = self.next()? else { return Ok(None) };
        let (address, length) = (entry.address(), entry.length());
        if !entry.is_alone() || (length as usize) < bytes || !self.is_right(&entry) {
            return Ok(None);
        }
        let slice = self.memory.slice(address, length as usize);
        let slice = slice.ok_or(Lie::Buffer { address, length })?;
        if let Some(flight) = self.flight() {
            flight.take(head);
        }
        self.state.ahead.advance();
        self.state.next_available += 1;
        Ok(Some((head, Part { address, length }, slice)))
    }

    /// Is it for the queue's direction?
    #[inline(always)]
    fn is_right(&self, entry: &Descriptor) -> bool {
        entry.is_written() == (self.state.direction == Direction::Write)
    }

    /// The last `count` chains were not needed: they are the next ones again.
    pub fn put_back(&mut self, count: u16) {
        self.state.next_available -= count;
        self.state.ahead.put_back(count);
        if let Some(flight) = self.flight() {
            flight.put_back(count);
        }
    }

    /// Goes along a chain that begins with this descriptor.
    #[inline]
    fn walk(&self, first: Descriptor, parts: &mut Vec<Part>) -> Result<(), Lie> {
        if !first.is_alone() {
            return self.walk_on(first, parts);
        }
        parts.push(self.part(&first)?);
        Ok(())
    }

    fn walk_on(&self, first: Descriptor, parts: &mut Vec<Part>) -> Result<(), Lie> {
        let (mut table, mut size) = (self.table, u32::from(self.state.shape.size));
        let (mut entry, mut indirect) = (first, false);
        for _ in 0..SIZE_MAX {
            let mut index = entry.next();
            if entry.is_indirect() {
                let length = entry.length();
                let strange = length == 0 || !(length as usize).is_multiple_of(DESCRIPTOR);
                let allowed = self.state.shape.indirect;
                if !allowed || indirect || entry.has_next() || strange {
                    return Err(Lie::Indirect { length });
                }
                (table, size) = (self.bytes(&entry)?, length / DESCRIPTOR as u32);
                (index, indirect) = (0, true);
            } else {
                parts.push(self.part(&entry)?);
                if !entry.has_next() {
                    return Ok(());
                }
            }
            entry = Descriptor::read(&table, index, size)?;
        }
        Err(Lie::Endless)
    }

    fn part(&self, entry: &Descriptor) -> Result<Part, Lie> {
        if !self.is_right(entry) {
            return Err(Lie::Direction);
        }
        self.bytes(entry)?;
        Ok(Part { address: entry.address(), length: entry.length() })
    }

    fn bytes(&self, entry: &Descriptor) -> Result<VolatileSlice<'_>, Lie> {
        let (address, length) = (entry.address(), entry.length());
        self.memory.slice(address, length as usize).ok_or(Lie::Buffer { address, length })
    }

    /// Gives a chain back with so many bytes written into it; the driver sees it when it is
    /// [published](Self::publish).
    pub fn give(&mut self, head: u16, bytes: u32) -> Result<(), Lie> {
        let State { shape, next_used, .. } = &mut *self.state;
        let at = HEAD + usize::from(next_used.0 & (shape.size - 1)) * USED;
        let lost = |_| Lie::Ring { address: shape.used };
        self.used.store(u32::from(head), at, Ordering::Relaxed).map_err(lost)?;
        self.used.store(bytes, at + 4, Ordering::Relaxed).map_err(lost)?;
        *next_used += 1;
        if let Some(flight) = self.flight() {
            flight.give(head);
        }
        Ok(())
    }

    /// Shows the driver all that was given back.
    pub fn publish(&mut self) -> Result<(), Lie> {
        let used = self.state.next_used.0;
        let stored = self.used.store(used, INDEX, Ordering::Release);
        stored.map_err(|_| Lie::Ring { address: self.state.shape.used })?;
        if let Some(flight) = self.flight() {
            flight.publish(used);
        }
        self.wrote_used()
    }

    /// Calls the driver if something was published since the last time and it wants to be called.
    /// Between the two there has to be a full fence, one for all queues: the index before the
    /// driver's wish (section 2.7.7).
    pub fn call(&mut self) -> Result<(), Lie> {
        let (new, old) = (self.state.next_used, self.state.asked);
        if new == old {
            return Ok(());
        }
        self.state.asked = new;
        let shape = self.state.shape;
        let lost = |_| Lie::Ring { address: shape.available };
        let wanted = if shape.event_index {
            let at = HEAD + usize::from(shape.size) * 2;
            let event = self.available.load::<u16>(at, Ordering::Relaxed).map_err(lost)?;
            new - Wrapping(event) - Wrapping(1) < new - old
        } else {
            let flags = self.available.load::<u16>(0, Ordering::Relaxed).map_err(lost)?;
            u32::from(flags) & VRING_AVAIL_F_NO_INTERRUPT == 0
        };
        if let (true, Some(call)) = (wanted, self.call) {
            call.ring();
        }
        Ok(())
    }

    /// Asks to be kicked. Whoever does looks once more, for what came meanwhile.
    pub fn listen(&mut self) -> Result<(), Lie> {
        let shape = self.state.shape;
        let lost = |_| Lie::Ring { address: shape.used };
        if shape.event_index {
            let at = HEAD + usize::from(shape.size) * USED;
            // More than there is now: what is left of that is too little.
            let seen = self.available.load::<u16>(INDEX, Ordering::Relaxed).map_err(lost)?;
            self.used.store(seen, at, Ordering::Relaxed).map_err(lost)?;
        } else {
            self.used.store(0_u16, 0, Ordering::Relaxed).map_err(lost)?;
        }
        // The wish before the look (section 2.7.10).
        fence(Ordering::SeqCst);
        self.wrote_used()
    }

    /// Wants no kick while it looks by itself. With event indexes the one that stands there is of
    /// the past already.
    pub fn look(&mut self) -> Result<(), Lie> {
        let shape = self.state.shape;
        if shape.event_index {
            return Ok(());
        }
        let flags = VRING_USED_F_NO_NOTIFY as u16;
        let stored = self.used.store(flags, 0, Ordering::Relaxed);
        stored.map_err(|_| Lie::Ring { address: shape.used })?;
        self.wrote_used()
    }
}

#[cfg(test)]
mod tests;
