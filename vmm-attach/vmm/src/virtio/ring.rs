//! A queue of a device that works.

use std::sync::atomic::Ordering;

use virtio_queue::{DescriptorChain, Queue, QueueOwnedT, QueueT};
use vm_memory::{
    GuestMemoryBackend, VolatileSlice,
    bitmap::{AtomicBitmap, BS},
};
use vmm_sys_util::eventfd::EventFd;

use super::Interrupt;
use crate::memory::Memory;

/// A chain of buffers.
pub type Chain<'a> = DescriptorChain<&'a Memory>;
/// A buffer in the guest's memory.
pub type Buffer<'a> = VolatileSlice<'a, BS<'a, AtomicBitmap>>;

/// A queue, and the bell that its driver rings.
pub struct Ring {
    /// The queue.
    pub queue: Queue,
    /// Rung when there are new buffers.
    pub bell: EventFd,
    /// The driver's index when there was nothing more to take.
    seen: u16,
}

impl Ring {
    /// A queue at which nobody has looked.
    pub fn new(queue: Queue, bell: EventFd) -> Self {
        let seen = queue.next_avail();
        Self { queue, bell, seen }
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

    /// Calls the driver if it wants to be called.
    pub fn tell(&mut self, memory: &Memory, interrupt: &Interrupt) {
        if self.queue.needs_notification(memory).unwrap_or(true) {
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
