//! The driver of a guest's two queues, on a core of its own: it never waits, and never asks to be
//! called. It is to be faster than every switch, or it is the driver that is measured: it writes of
//! a frame its ports, reads of what comes its header and its ports, has both fetched for a burst
//! before it needs them, and leaves alone the descriptors that stand in its rings already.

use std::{
    num::Wrapping,
    os::unix::net::UnixStream,
    sync::{
        Arc,
        atomic::{Ordering, fence},
    },
};

use anyhow::{Context, ensure};
use portcullis_engine::memory;
use portcullis_lab::front::{Front, Layout, Memory, Queue, ReceiveQueue, SendQueue};
use vm_memory::{AtomicAccess, Bytes, GuestAddress, GuestMemoryBackend, VolatileSlice};

use super::card::Card;
use crate::frame::{PORTS_AT, SERVER_PORTS, VNET_HEADER};

/// Features that are wanted: version 1, frames in several buffers, and that checksums and segments
/// of TCP may be left to the other side, both ways (virtio 1.3, section 5.1.3); protocol features.
const WANTED: u64 = 1 << 32 | 1 << 15 | 1 << 0 | 1 << 1 | 1 << 7 | 1 << 11 | 1 << 30;
/// Of them, what a guest needs that sends super-packets: `CSUM`, `GUEST_CSUM`, `GUEST_TSO4`,
/// `HOST_TSO4`.
const OFFLOADS: u64 = 1 << 0 | 1 << 1 | 1 << 7 | 1 << 11;
const VERSION_1: u64 = 1 << 32;

/// Receive, send (virtio 1.3, section 5.1.2).
const RECEIVE: usize = 0;
const SEND: usize = 1;
/// Offset of the number of buffers in the header of a frame.
const BUFFERS: usize = 10;
/// Flag of a descriptor whose buffer the device writes.
const WRITE: u64 = 2;
/// Flag of the available ring: nobody wants to be called; of the used ring: nor kicked.
const POLLS: u16 = 1;
/// Buffers that are fetched before they are needed.
const AHEAD: u16 = 32;
const INDEX: usize = 2;
const ENTRIES: usize = 4;

/// A guest's card.
pub struct Nic {
    memory: Arc<Memory>,
    layout: Layout,
    receive: Ring,
    send: Ring,
    /// Buffers for what is sent that are free, the one that was used last on top.
    free: Vec<u16>,
    front: Front,
}

/// What a driver knows of a queue.
struct Ring {
    queue: Queue,
    places: [u64; 3],
    next: Wrapping<u16>,
    seen: Wrapping<u16>,
}

impl Ring {
    fn new(queue: Queue, index: usize, layout: Layout, next: u16) -> Self {
        Self { queue, places: layout.parts(index), next: Wrapping(next), seen: Wrapping(0) }
    }
}

impl Nic {
    fn new(stream: UnixStream, layout: Layout) -> anyhow::Result<Self> {
        let mut front = Front::over(stream, WANTED, layout)?;
        ensure!(front.features & VERSION_1 != 0, "the other side does not speak virtio 1");
        let SendQueue(send) = front.send.take().context("a queue to send by")?;
        let ReceiveQueue(receive) = front.receive.take().context("a queue to receive by")?;
        let nic = Self {
            memory: Arc::clone(&front.memory),
            layout,
            receive: Ring::new(receive, RECEIVE, layout, layout.size),
            send: Ring::new(send, SEND, layout, 0),
            free: (0..layout.size).rev().collect(),
            front,
        };
        for ring in [&nic.receive, &nic.send] {
            nic.memory.store(POLLS, GuestAddress(ring.places[1]), Ordering::Release)?;
        }
        Ok(nic)
    }

    /// Connects with whoever is on the other side.
    pub fn card(stream: UnixStream, layout: Layout) -> anyhow::Result<Card> {
        Ok(Card::Rings(Box::new(Self::new(stream, layout)?)))
    }

    /// May super-packets be sent to it and by it?
    pub fn takes_super_packets(&self) -> bool {
        self.front.features & OFFLOADS == OFFLOADS
    }

    /// Fills every buffer with the frame that is sent from now on, with its header in front.
    pub fn prepare(&mut self, frame: &[u8]) {
        for slot in 0..self.layout.size {
            let place = GuestAddress(self.layout.sent(slot));
            self.memory.write_slice(frame, place).expect(OWN);
        }
    }

    /// Its queue to send frames of so many bytes by, header included.
    pub fn sender(&mut self, length: usize) -> Sender<'_> {
        let view = View::new(&self.memory, &self.send.places, self.layout.size);
        let buffers = bytes(&self.memory, self.layout.sent(0), self.layout.received(0));
        let Self { layout, send: ring, free, .. } = self;
        Sender { view, buffers, ring, free, layout: *layout, length: length as u64 }
    }

    /// Its queue to receive by.
    pub fn receiver(&mut self) -> Receiver<'_> {
        let view = View::new(&self.memory, &self.receive.places, self.layout.size);
        let (first, end) = (self.layout.received(0), self.layout.received(self.layout.size));
        let buffers = bytes(&self.memory, first, end);
        Receiver { view, buffers, ring: &mut self.receive, layout: self.layout }
    }
}

fn bytes(memory: &Memory, from: u64, to: u64) -> VolatileSlice<'_> {
    memory.get_slice(GuestAddress(from), (to - from) as usize).expect(OWN)
}

/// The parts of a queue, found once.
struct View<'m> {
    table: VolatileSlice<'m>,
    available: VolatileSlice<'m>,
    used: VolatileSlice<'m>,
    mask: u16,
}

/// What a driver asks of its own memory is there.
const OWN: &str = "in the guest's own memory";

impl<'m> View<'m> {
    fn new(memory: &'m Memory, places: &[u64; 3], size: u16) -> Self {
        let [table, available, used] = *places;
        let entries = u64::from(size);
        Self {
            table: bytes(memory, table, table + 16 * entries),
            available: bytes(memory, available, available + 6 + 2 * entries),
            used: bytes(memory, used, used + 6 + 8 * entries),
            mask: size - 1,
        }
    }

    /// Writes a descriptor of one buffer, and makes it available without saying so.
    fn offer(&self, ring: &mut Ring, slot: u16, address: u64, length_and_flags: u64) {
        let at = usize::from(slot) * 16;
        put(&self.table, address, at);
        put(&self.table, length_and_flags, at + 8);
        let entry = ENTRIES + usize::from(ring.next.0 & self.mask) * 2;
        put(&self.available, slot, entry);
        ring.next += 1;
    }

    /// Says how many are available.
    fn publish(&self, ring: &Ring) {
        self.available.store(ring.next.0, INDEX, Ordering::Release).expect(OWN);
    }

    /// Kicks a device that does not look.
    fn kick(&self, ring: &Ring) {
        fence(Ordering::SeqCst);
        if self.used.load::<u16>(0, Ordering::Relaxed).expect(OWN) & POLLS == 0 {
            ring.queue.insist();
        }
    }

    /// How many came back and were not looked at.
    fn back(&self, ring: &Ring) -> u16 {
        (Wrapping(self.used.load::<u16>(INDEX, Ordering::Acquire).expect(OWN)) - ring.seen).0
    }

    /// The next one that came back, and the bytes in it.
    fn take(&self, ring: &mut Ring) -> (u16, u32) {
        let next = self.look(ring, 0);
        ring.seen += 1;
        next
    }

    /// The one that is so many behind the next.
    fn look(&self, ring: &Ring, behind: u16) -> (u16, u32) {
        let at = ENTRIES + usize::from((ring.seen + Wrapping(behind)).0 & self.mask) * 8;
        let slot: u32 = self.used.load(at, Ordering::Relaxed).expect(OWN);
        (slot as u16, self.used.load(at + 4, Ordering::Relaxed).expect(OWN))
    }
}

/// Writes what does not stand there already: what is only read stays in the caches of both cores.
fn put<T: AtomicAccess + PartialEq>(to: &VolatileSlice<'_>, value: T, at: usize) {
    if to.load::<T>(at, Ordering::Relaxed).expect(OWN) != value {
        to.store(value, at, Ordering::Relaxed).expect(OWN);
    }
}

/// A queue to send by.
pub struct Sender<'m> {
    view: View<'m>,
    buffers: VolatileSlice<'m>,
    ring: &'m mut Ring,
    free: &'m mut Vec<u16>,
    layout: Layout,
    length: u64,
}

impl Sender<'_> {
    /// Takes back what was sent; how many more can be.
    pub fn reclaim(&mut self) -> usize {
        for _ in 0..self.view.back(self.ring) {
            let (slot, _) = self.view.take(self.ring);
            self.free.push(slot);
            memory::fetch_to_write(
                self.buffers.ptr_guard().as_ptr().wrapping_add(self.ports(slot)),
                1,
            );
        }
        self.free.len()
    }

    /// Has a frame with these ports ready, both in the order of the wire. There must be room.
    pub fn send(&mut self, (source, destination): (u16, u16)) {
        let slot = self.free.pop().expect("room");
        let ports = self.ports(slot);
        self.buffers.store(source.to_be(), ports, Ordering::Relaxed).expect(OWN);
        self.buffers.store(destination.to_be(), ports + 2, Ordering::Relaxed).expect(OWN);
        self.view.offer(self.ring, slot, self.layout.sent(slot), self.length);
    }

    /// Where the ports of the frame in a buffer are.
    fn ports(&self, slot: u16) -> usize {
        (self.layout.sent(slot) - self.layout.sent(0)) as usize + VNET_HEADER + PORTS_AT
    }

    /// Hands over what is ready.
    pub fn flush(&mut self) {
        self.view.publish(self.ring);
    }

    /// Wakes who sleeps.
    pub fn wake(&mut self) {
        self.view.kick(self.ring);
    }
}

/// A queue to receive by.
pub struct Receiver<'m> {
    view: View<'m>,
    buffers: VolatileSlice<'m>,
    ring: &'m mut Ring,
    layout: Layout,
}

/// A frame that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrived {
    /// Its bytes, with its header.
    pub bytes: usize,
    /// How it is to be cut: 0, not at all.
    pub segments: u8,
    /// Its port of destination.
    pub port: u16,
}

impl Arrived {
    /// What a frame with its header in front of it is, if it has ports.
    pub fn read(whole: &[u8]) -> Option<Self> {
        let at = VNET_HEADER + PORTS_AT + 2;
        let port = u16::from_be_bytes(whole.get(at..at + 2)?.try_into().ok()?);
        Some(Self { bytes: whole.len(), segments: whole[1], port })
    }

    /// Is it the same but for the connection, whose ports are neighbours of that one's?
    pub fn is_like(&self, other: &Self) -> bool {
        let near = match other.port {
            0x8000.. => self.port >= 0x8000,
            first => u32::from(self.port.wrapping_sub(first)) < SERVER_PORTS,
        };
        self.bytes == other.bytes && self.segments == other.segments && near
    }
}

impl Receiver<'_> {
    /// Wakes who sleeps.
    pub fn wake(&mut self) {
        self.view.kick(self.ring);
    }

    /// Everything that has come; every buffer is given back.
    pub fn receive(&mut self, mut each: impl FnMut(Arrived)) {
        let mut left = self.view.back(self.ring);
        if left == 0 {
            return;
        }
        let mut fetched = 0;
        while left > 0 {
            if fetched == 0 {
                fetched = left.min(AHEAD);
                self.fetch(fetched);
            }
            fetched -= 1;
            let (slot, bytes) = self.view.take(self.ring);
            let at = self.at(slot);
            let word = |at: usize| self.buffers.load::<u16>(at, Ordering::Relaxed).expect(OWN);
            let more = word(at + BUFFERS).saturating_sub(1).min(left - 1);
            let [_, segments] = word(at).to_le_bytes();
            let port = u16::from_be(word(at + VNET_HEADER + PORTS_AT + 2));
            let mut arrived = Arrived { bytes: bytes as usize, segments, port };
            self.offer(slot);
            for _ in 0..more {
                let (slot, bytes) = self.view.take(self.ring);
                arrived.bytes += bytes as usize;
                self.offer(slot);
            }
            left -= 1 + more;
            each(arrived);
        }
        self.view.publish(self.ring);
    }

    /// Where a buffer is.
    fn at(&self, slot: u16) -> usize {
        usize::from(slot) * self.layout.received_each as usize
    }

    /// Has the beginnings of so many buffers fetched that have come.
    fn fetch(&self, count: u16) {
        for behind in 0..count {
            let (slot, _) = self.view.look(self.ring, behind);
            memory::fetch(self.buffers.ptr_guard().as_ptr().wrapping_add(self.at(slot)), 1);
        }
    }

    fn offer(&mut self, slot: u16) {
        let length = self.layout.received_each;
        self.view.offer(self.ring, slot, self.layout.received(slot), length | WRITE << 32);
    }
}
