//! What is in flight: chains that were taken and not given back, noted where the front end keeps it when
//! this process dies (QEMU's "Vhost-user Protocol", section "Inflight I/O tracking").
//!
//! Chains are given back in the order in which they were taken. So those in flight are the next ones
//! behind what was given back, and who comes after us begins there. What is noted has to say the same,
//! or somebody else was at work here, whose order we do not know.

use std::{
    collections::VecDeque,
    fs::File,
    io,
    sync::{Arc, atomic::Ordering},
};

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};
use vm_memory::{Bytes, VolatileSlice};

use crate::{
    ring::{Lie, SIZE_MAX},
    shared::Shared,
};

/// `QueueRegionSplit`: features, version, descriptors, head of the last batch, used index; then an
/// entry for each descriptor.
const VERSION: usize = 8;
const DESCRIPTORS: usize = 10;
const LAST_HEAD: usize = 12;
const USED: usize = 14;
const HEAD: usize = 16;
/// `DescStateSplit`: is it in flight, the one before it in its batch, when it was taken.
const ENTRY: usize = 16;
const NEXT: usize = 6;
const COUNTER: usize = 8;
/// Each queue's part begins at a multiple of this.
const ALIGN: usize = 64;
/// The only version.
const ONE: u16 = 1;

/// Bytes of the part of a queue.
const fn part(size: u16) -> usize {
    (HEAD + ENTRY * size as usize).next_multiple_of(ALIGN)
}

/// The area of a port, as its front end has shared it.
pub struct Area {
    shared: Shared,
    queues: u16,
    size: u16,
}

impl Area {
    /// Bytes for so many queues of so many descriptors.
    pub const fn bytes(queues: u16, size: u16) -> u64 {
        part(size) as u64 * queues as u64
    }

    /// An empty one for a front end to keep. It cannot become shorter.
    pub fn create(queues: u16, size: u16) -> io::Result<File> {
        let file = memfd_create("inflight", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        ftruncate(&file, Self::bytes(queues, size))?;
        fcntl_add_seals(&file, SealFlags::SHRINK)?;
        Ok(file.into())
    }

    /// The one that a front end has kept.
    pub fn open(file: File, offset: u64, queues: u16, size: u16) -> io::Result<Self> {
        if size > SIZE_MAX {
            return Err(io::Error::other(format!("what is in flight of {size} descriptors")));
        }
        let shared = Shared::map(file, offset, Self::bytes(queues, size))?;
        Ok(Self { shared, queues, size })
    }
}

/// What is in flight of one queue.
pub struct Flight {
    area: Arc<Area>,
    at: usize,
    counter: u64,
    /// Taken, and not yet given back.
    taken: VecDeque<u16>,
    /// Given back, and not yet seen by the driver.
    batch: Vec<u16>,
}

impl Flight {
    /// That of the queue of this number, if the area has room for it.
    pub fn new(area: &Arc<Area>, queue: usize, size: u16) -> Option<Self> {
        let fits = queue < area.queues.into() && size <= area.size;
        let at = queue * part(area.size);
        let room = usize::from(size);
        fits.then(|| Self {
            area: Arc::clone(area),
            at,
            counter: 1,
            taken: VecDeque::with_capacity(room),
            batch: Vec::with_capacity(room),
        })
    }

    fn entry(&self, head: u16) -> usize {
        self.at + HEAD + ENTRY * usize::from(head)
    }

    fn bytes(&self) -> VolatileSlice<'_> {
        self.area.shared.bytes()
    }

    /// Every place was checked when the area was mapped: nothing is out of it.
    fn put(&self, at: usize, value: u16) {
        let _ = self.bytes().store(value, at, Ordering::Release);
    }

    fn get(&self, at: usize) -> u16 {
        self.bytes().load(at, Ordering::Acquire).unwrap_or_default()
    }

    /// A chain is taken.
    pub fn take(&mut self, head: u16) {
        let entry = self.entry(head);
        let _ = self.bytes().store(self.counter, entry + COUNTER, Ordering::Relaxed);
        self.counter += 1;
        let _ = self.bytes().store(1_u8, entry, Ordering::Release);
        self.taken.push_back(head);
    }

    /// The last `count` chains were not needed.
    pub fn put_back(&mut self, count: u16) {
        for _ in 0..count {
            let head = self.taken.pop_back();
            head.into_iter().for_each(|head| self.landed(head));
        }
    }

    /// It does not fly any more.
    fn landed(&self, head: u16) {
        let _ = self.bytes().store(0_u8, self.entry(head), Ordering::Release);
    }

    /// The one that was taken first is given back; the driver will see it with the others of its batch.
    pub fn give(&mut self, head: u16) {
        self.put(self.entry(head) + NEXT, self.get(self.at + LAST_HEAD));
        self.put(self.at + LAST_HEAD, head);
        self.taken.pop_front();
        self.batch.push(head);
    }

    /// The driver has seen all that was given back, up to this index.
    pub fn publish(&mut self, used: u16) {
        for at in 0..self.batch.len() {
            self.landed(self.batch[at]);
        }
        self.batch.clear();
        self.put(self.at + USED, used);
    }

    /// Goes on where somebody was before, whose driver has seen chains up to `used`. `seen` has the
    /// numbers of those that came back, `available` of those to be taken, both by index. A batch that
    /// the driver has seen and of which this was not noted any more is noted now.
    pub fn recover(
        &mut self,
        size: u16,
        used: u16,
        seen: impl Fn(u16) -> Option<u16>,
        available: impl Fn(u16) -> Option<u16>,
    ) -> Result<(), Lie> {
        if self.get(self.at + VERSION) == 0 {
            self.put(self.at + DESCRIPTORS, size);
            self.put(self.at + USED, used);
            self.put(self.at + VERSION, ONE);
            return Ok(());
        }
        if (self.get(self.at + VERSION), self.get(self.at + DESCRIPTORS)) != (ONE, size) {
            return Err(Lie::Flight);
        }
        let noted = self.get(self.at + USED);
        let behind = used.wrapping_sub(noted);
        if behind > size {
            return Err(Lie::Flight);
        }
        for index in 0..behind {
            let head = seen(noted.wrapping_add(index)).filter(|head| *head < size);
            self.landed(head.ok_or(Lie::Flight)?);
        }
        self.put(self.at + USED, used);
        let flying = self.flying(size);
        self.counter = flying.last().map_or(1, |(counter, _)| counter.wrapping_add(1));
        for ((_, head), index) in flying.into_iter().zip(0..) {
            if available(used.wrapping_add(index)) != Some(head) {
                return Err(Lie::Flight);
            }
        }
        Ok(())
    }

    /// What is noted as in flight, in the order in which it was taken.
    fn flying(&self, size: u16) -> Vec<(u64, u16)> {
        let bytes = self.bytes();
        let flies = |head: &u16| {
            bytes.load::<u8>(self.entry(*head), Ordering::Acquire).is_ok_and(|flies| flies == 1)
        };
        let counter = |head: u16| {
            let counter = bytes.load(self.entry(head) + COUNTER, Ordering::Relaxed);
            (counter.unwrap_or_default(), head)
        };
        let mut flying: Vec<_> = (0..size).filter(flies).map(counter).collect();
        flying.sort_unstable();
        flying
    }

    /// Was the area taken back?
    pub fn is_lost(&self) -> bool {
        self.area.shared.is_lost()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: u16 = 8;

    fn area() -> (File, Arc<Area>) {
        let file = Area::create(2, SIZE).unwrap();
        let open = Area::open(file.try_clone().unwrap(), 0, 2, SIZE).unwrap();
        (file, Arc::new(open))
    }

    /// A queue whose driver has made chains available in this order, again and again.
    const ORDER: [u16; 8] = [3, 1, 4, 0, 5, 2, 6, 7];

    fn order(index: u16) -> Option<u16> {
        Some(ORDER[usize::from(index % SIZE)])
    }

    #[test]
    fn what_flies_is_found_again_and_nothing_else() {
        let (file, area) = area();
        let mut first = Flight::new(&area, 1, SIZE).unwrap();
        first.recover(SIZE, 0, order, order).unwrap();
        ORDER[..5].iter().for_each(|head| first.take(*head));
        ORDER[..2].iter().for_each(|head| first.give(*head));
        first.publish(2);
        // A batch that the driver has seen, and that was not noted any more.
        first.give(ORDER[2]);
        drop((first, area));
        let area = Arc::new(Area::open(file, 0, 2, SIZE).unwrap());
        let mut second = Flight::new(&area, 1, SIZE).unwrap();
        second.recover(SIZE, 3, order, order).unwrap();
        let flying: Vec<u16> = second.flying(SIZE).into_iter().map(|(_, head)| head).collect();
        assert_eq!(flying, ORDER[3..5]);
        assert!(second.counter > 5, "those that are taken now are later");
        assert!(Flight::new(&area, 0, SIZE).unwrap().flying(SIZE).is_empty());
    }

    #[test]
    fn what_cannot_be_is_a_lie() {
        let (_file, area) = area();
        let mut flight = Flight::new(&area, 0, SIZE).unwrap();
        flight.recover(SIZE, 0, order, order).unwrap();
        flight.take(ORDER[1]);
        let wrong_order = flight.recover(SIZE, 0, order, order);
        assert_eq!(wrong_order, Err(Lie::Flight));
        flight.put_back(1);
        assert_eq!(flight.recover(SIZE, 0, order, order), Ok(()));
        assert_eq!(flight.recover(SIZE, SIZE + 1, order, order), Err(Lie::Flight));
        assert_eq!(flight.recover(SIZE, 1, |_| Some(SIZE), order), Err(Lie::Flight));
        assert_eq!(flight.recover(SIZE / 2, 0, order, order), Err(Lie::Flight));
        assert!(Flight::new(&area, 2, SIZE).is_none());
        assert!(Flight::new(&area, 0, SIZE * 2).is_none());
    }
}
