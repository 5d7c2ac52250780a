//! A network card of virtio's (Virtual I/O Device 1.2, section 5.1), as the stack's device.

use smoltcp::{
    phy::{self, DeviceCapabilities, Medium, RxToken, TxToken},
    time::Instant,
};

use crate::{
    cpu,
    frames::Frame,
    room::Room,
    virtio::{Area, Device, Queue, SIZE},
};

/// Its kind.
const KIND: u32 = 1;
/// It tells its MAC, and its MTU.
const FEATURES: u64 = 1 << 5 | 1 << 3;
/// Bytes of the header in front of a frame (section 5.1.6.1): all zero in what we send.
const HEADER: usize = 12;
/// What a frame has beside its packet: addresses, type, and a tag.
const ETHERNET: usize = 18;
/// The same without a tag.
const UNTAGGED: usize = 14;
/// Offset of the word of the configuration whose upper half is the MTU.
const MTU: usize = 8;
/// Bytes for the buffers of each queue.
const POOL: usize = 80 << 10;

type Pool = [u8; POOL];
static RECEIVED: Room<Pool> = Room::new([0; POOL]);
static SENT: Room<Pool> = Room::new([0; POOL]);
static RECEIVE_AREA: Room<Area> = Room::new(Area::new());
static SEND_AREA: Room<Area> = Room::new(Area::new());

/// A network card.
pub struct Nic {
    device: Device,
    /// Its address.
    pub mac: [u8; 6],
    mtu: usize,
    /// It hears nothing, and what it says is heard by nobody.
    silent: bool,
    receiver: Receiver,
    sender: Sender,
    /// What the stack hears before it hears anything else.
    news: Frame,
}

/// Takes frames from the device.
pub struct Receiver {
    queue: Queue,
    pool: &'static mut Pool,
    /// Bytes of a buffer.
    size: usize,
    /// The next frame: its descriptor, and its bytes with the header.
    next: Option<(u16, usize)>,
    frames: u64,
}

/// Gives frames to the device.
pub struct Sender {
    queue: Queue,
    pool: &'static mut Pool,
    size: usize,
    /// Descriptors whose buffers are ours.
    free: [u16; SIZE],
    free_count: usize,
    silent: bool,
    frames: u64,
}

impl Nic {
    /// The network card at this address, if it is one, with its interrupt's line.
    pub fn find(at: usize, line: u8) -> Option<Self> {
        let device = Device::find(at, KIND)?;
        device.begin(FEATURES);
        let ([a, b, c, d], [e, f, ..]) = (device.config(0), device.config(4));
        let [.., low, high] = device.config(MTU);
        let mtu = usize::from(u16::from_le_bytes([low, high]));
        let size = (HEADER + ETHERNET + mtu).next_multiple_of(64);
        let count = (POOL / size).min(SIZE);
        assert!(count > 0, "packets too large for this guest");
        let mut receiver = Receiver {
            queue: Queue::new(device, 0, RECEIVE_AREA.take(), true),
            pool: RECEIVED.take(),
            size,
            next: None,
            frames: 0,
        };
        let mut sender = Sender {
            queue: Queue::new(device, 1, SEND_AREA.take(), false),
            pool: SENT.take(),
            size,
            free: [0; SIZE],
            free_count: count,
            silent: false,
            frames: 0,
        };
        (0..).zip(&mut sender.free).for_each(|(number, slot)| *slot = number);
        cpu::listen(line);
        device.go();
        (0..count as u16).for_each(|descriptor| receiver.offer(descriptor));
        receiver.queue.ring();
        let (mac, news) = ([a, b, c, d, e, f], Frame::NONE);
        Some(Self { device, mac, mtu, silent: false, receiver, sender, news })
    }

    /// The next frame, unless nothing is to be heard.
    pub fn next(&mut self) -> Option<&[u8]> {
        let receiver = &mut self.receiver;
        while receiver.next.is_none() {
            let (descriptor, bytes) = receiver.queue.take()?;
            receiver.frames += 1;
            if self.silent || !(HEADER..=receiver.size).contains(&bytes) {
                receiver.offer(descriptor);
            } else {
                receiver.next = Some((descriptor, bytes));
            }
        }
        let (descriptor, bytes) = receiver.next?;
        Some(receiver.frame(descriptor, bytes))
    }

    /// Lets the stack hear a frame before the next one.
    pub fn tell(&mut self, news: Frame) {
        self.news = news;
    }

    /// Before it is waited for: the device knows all that it may, and its interrupt is over.
    pub fn settle(&mut self) {
        self.receiver.queue.ring();
        self.sender.queue.ring();
        self.device.acknowledge();
    }

    /// Is it to be silent?
    pub fn be_silent(&mut self, silent: bool) {
        (self.silent, self.sender.silent) = (silent, silent);
    }

    /// Sends a frame past the stack; false if there is no room.
    pub fn send(&mut self, frame: &Frame) -> bool {
        let has_room = self.sender.has_room();
        if has_room {
            self.sender.send(frame.bytes().len(), |room| room.copy_from_slice(frame.bytes()));
        }
        has_room
    }

    /// Frames received, and sent.
    pub fn frames(&self) -> [u64; 2] {
        [self.receiver.frames, self.sender.frames]
    }
}

impl Receiver {
    /// Lets the device write to the buffer of a descriptor.
    fn offer(&mut self, descriptor: u16) {
        let at = &raw const self.pool[usize::from(descriptor) * self.size];
        self.queue.give(descriptor, at as u64, self.size);
    }

    fn frame(&self, descriptor: u16, bytes: usize) -> &[u8] {
        let start = usize::from(descriptor) * self.size;
        &self.pool[start + HEADER..start + bytes]
    }
}

impl Sender {
    fn has_room(&mut self) -> bool {
        if self.free_count == 0 {
            self.queue.ring();
            while let Some((descriptor, _)) = self.queue.take() {
                self.free[self.free_count] = descriptor;
                self.free_count += 1;
            }
        }
        self.free_count > 0
    }

    /// There is room.
    fn send<R>(&mut self, length: usize, write: impl FnOnce(&mut [u8]) -> R) -> R {
        let descriptor = self.free[self.free_count - 1];
        let start = usize::from(descriptor) * self.size;
        let buffer = &mut self.pool[start..start + self.size];
        let made = write(&mut buffer[HEADER..HEADER + length]);
        if !self.silent {
            self.free_count -= 1;
            self.queue.give(descriptor, buffer.as_ptr() as u64, HEADER + length);
            self.frames += 1;
        }
        made
    }
}

impl phy::Device for Nic {
    type RxToken<'a> = Received<'a>;
    type TxToken<'a> = Free<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Received<'_>, Free<'_>)> {
        // Each frame may be answered.
        if !self.sender.has_room() {
            return None;
        }
        let what = if self.news.bytes().is_empty() {
            self.next()?;
            let (descriptor, bytes) = self.receiver.next.take()?;
            Received::Frame(&mut self.receiver, descriptor, bytes)
        } else {
            Received::News(core::mem::replace(&mut self.news, Frame::NONE))
        };
        Some((what, Free(&mut self.sender)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Free<'_>> {
        self.sender.has_room().then_some(Free(&mut self.sender))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut all = DeviceCapabilities::default();
        all.medium = Medium::Ethernet;
        all.max_transmission_unit = self.mtu + UNTAGGED;
        all
    }
}

/// A frame that the stack hears.
pub enum Received<'a> {
    /// One that came: its descriptor, and its bytes with the header.
    Frame(&'a mut Receiver, u16, usize),
    /// One that we have made.
    News(Frame),
}

impl RxToken for Received<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, read: F) -> R {
        match self {
            Self::News(frame) => read(frame.bytes()),
            Self::Frame(receiver, descriptor, bytes) => {
                let answer = read(receiver.frame(descriptor, bytes));
                receiver.offer(descriptor);
                answer
            }
        }
    }
}

/// Room for a frame.
pub struct Free<'a>(&'a mut Sender);

impl TxToken for Free<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, write: F) -> R {
        self.0.send(length, write)
    }
}
