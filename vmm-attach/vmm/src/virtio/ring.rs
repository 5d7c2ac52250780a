//! A queue of a device that works.

use std::sync::atomic::Ordering;

use virtio_queue::{DescriptorChain, Queue, QueueOwnedT, QueueT};
use vm_memory::{
    Bytes, GuestAddress, GuestMemoryBackend, VolatileSlice,
    bitmap::{AtomicBitmap, BS},
};
use vmm_sys_util::eventfd::EventFd;

use super::Interrupt;
use crate::memory::Memory;

/// A chain of buffers.
pub type Chain<'a> = DescriptorChain<&'a Memory>;
/// A buffer in the guest's memory.
pub type Buffer<'a> = VolatileSlice<'a, BS<'a, AtomicBitmap>>;

/// Bytes of the used ring in front of its elements: flags and index (section 2.7.8).
const USED_HEADER: u64 = 4;
/// Bytes of an element: head and length.
const USED_ELEMENT: u64 = 8;

/// A queue, and the bell that its driver rings.
pub struct Ring {
    /// The queue.
    pub queue: Queue,
    /// Rung when there are new buffers.
    pub bell: EventFd,
    /// The driver's index when there was nothing more to take.
    seen: u16,
    /// Several chains were given back at once since the driver was last told.
    together: bool,
}

impl Ring {
    /// A queue at which nobody has looked.
    pub fn new(queue: Queue, bell: EventFd) -> Self {
        let seen = queue.next_avail();
        Self { queue, bell, seen, together: false }
    }

    /// The next chain that the driver offers.
    pub fn next<'a>(&mut self, memory: &'a Memory) -> Option<Chain<'a>> {
        let index = self.index(memory);
        let chain = self.queue.pop_descriptor_chain(memory);
        if chain.is_none() {
            self.seen = index;
        }
        chain
    }

    /// The next chain is of no use, and so is all behind it.
    pub fn stuck(&mut self, memory: &Memory) {
        self.seen = self.index(memory);
    }

    /// Where the driver is.
    fn index(&self, memory: &Memory) -> u16 {
        self.queue.avail_idx(memory, Ordering::Acquire).map_or(self.seen, |index| index.0)
    }

    /// The last chain was not needed: it is the next one again.
    pub fn take_back(&mut self) {
        self.queue.go_to_previous_position();
    }

    /// Gives a chain back, with so many bytes written into it.
    pub fn give_back(&mut self, memory: &Memory, head: u16, bytes: u32) {
        // Fails where the ring is outside the memory: that driver waits for ever.
        let _ = self.queue.add_used(memory, head, bytes);
    }

    /// Gives chains back in one moment: of a frame in several of them, a driver that polls must not
    /// find some and miss the others (section 5.1.6.4).
    pub fn give_back_together(&mut self, memory: &Memory, chains: &[(u16, u32)]) {
        let Some(((last, bytes), others)) = chains.split_last() else { return };
        let first = self.queue.next_used();
        for (number, (head, bytes)) in (0..).zip(others) {
            let place = u64::from(first.wrapping_add(number) % self.queue.size());
            let element = [u32::from(*head), *bytes].map(u32::to_le_bytes).concat();
            let at = self.queue.used_ring().checked_add(USED_HEADER + USED_ELEMENT * place);
            // Where this fails, so does the last one, which would show it.
            let _ = at.map(|at| memory.write_slice(&element, GuestAddress(at)));
        }
        self.queue.set_next_used(first.wrapping_add(others.len() as u16));
        self.together |= !others.is_empty();
        self.give_back(memory, *last, *bytes);
    }

    /// Calls the driver if it wants to be called. The queue has counted one chain for those that were
    /// given back together, and may take one too few for what the driver waits for.
    pub fn tell(&mut self, memory: &Memory, interrupt: &Interrupt) {
        let wanted = self.queue.needs_notification(memory).unwrap_or(true);
        if std::mem::take(&mut self.together) || wanted {
            interrupt.used();
        }
    }

    /// Asks for the bell; true: something came meanwhile, and there is no need to wait for it. What
    /// was there already and was not taken (too little room, or an index that makes no sense) is no
    /// reason to look again: a device would do nothing else any more.
    pub fn listen(&mut self, memory: &Memory) -> bool {
        let here = self.queue.next_avail();
        // The event index, too, must be what comes next, or the bell would never be rung.
        self.queue.set_next_avail(self.seen);
        let more = self.queue.enable_notification(memory).unwrap_or(false);
        self.queue.set_next_avail(here);
        more
    }

    /// Wants no bell while it looks by itself.
    pub fn look(&mut self, memory: &Memory) {
        let _ = self.queue.disable_notification(memory);
    }
}

/// The buffers of a chain that the device reads, or those that it writes. `None`: one of them is
/// not in the memory.
pub fn buffers<'a>(
    memory: &'a Memory,
    chain: Chain<'a>,
    writable: bool,
) -> Option<impl Iterator<Item = Buffer<'a>>> {
    let wanted = chain.filter(move |descriptor| descriptor.is_write_only() == writable);
    let buffers: Option<Vec<_>> = wanted
        .map(|descriptor| memory.get_slice(descriptor.addr(), descriptor.len() as usize).ok())
        .collect();
    buffers.map(Vec::into_iter)
}

#[cfg(test)]
mod tests {
    use vmm_sys_util::eventfd::EFD_NONBLOCK;

    use super::*;

    #[test]
    fn chains_of_a_frame_are_seen_together() {
        let memory = Memory::from_ranges(&[(GuestAddress(0), 0x4000)]).unwrap();
        let mut queue = Queue::new(4).unwrap();
        queue.set_used_ring_address(Some(0x2000), None);
        queue.set_next_used(3);
        let mut ring = Ring::new(queue, EventFd::new(EFD_NONBLOCK).unwrap());
        ring.give_back_together(&memory, &[(2, 10), (0, 20), (1, 30)]);
        let index: u16 = memory.read_obj(GuestAddress(0x2002)).unwrap();
        let element = |at: u64| -> [u32; 2] {
            let address = 0x2000 + USED_HEADER + USED_ELEMENT * at;
            [0, 4].map(|word| memory.read_obj(GuestAddress(address + word)).unwrap())
        };
        assert_eq!((index, element(3), element(0), element(1)), (6, [2, 10], [0, 20], [1, 30]));
        ring.give_back_together(&memory, &[]);
        assert_eq!(ring.queue.next_used(), 6);
    }
}
