//! Virtio devices on MMIO, and their queues (Virtual I/O Device, version 1.2).

use core::sync::atomic::{AtomicU16, Ordering, fence};

use crate::cpu;

/// Descriptors of each queue here.
pub const SIZE: usize = 32;
/// "virt", little-endian.
const MAGIC: u32 = 0x7472_6976;
/// The device must be of this version, and so must we.
const VERSION_1: u64 = 1 << 32;

/// Offsets of the registers (section 4.2.2).
mod register {
    pub const MAGIC: usize = 0x00;
    pub const KIND: usize = 0x08;
    pub const DEVICE_FEATURES: usize = 0x10;
    pub const DEVICE_FEATURES_SELECT: usize = 0x14;
    pub const DRIVER_FEATURES: usize = 0x20;
    pub const DRIVER_FEATURES_SELECT: usize = 0x24;
    pub const QUEUE_SELECT: usize = 0x30;
    pub const QUEUE_SIZE: usize = 0x38;
    pub const QUEUE_READY: usize = 0x44;
    pub const QUEUE_NOTIFY: usize = 0x50;
    pub const INTERRUPT_ACK: usize = 0x64;
    pub const STATUS: usize = 0x70;
    pub const DESCRIPTORS: usize = 0x80;
    pub const DRIVER: usize = 0x90;
    pub const DEVICE: usize = 0xa0;
    pub const CONFIG: usize = 0x100;
}

/// Bits of the status (section 2.1).
mod status {
    pub const ACKNOWLEDGE: u32 = 1;
    pub const DRIVER: u32 = 2;
    pub const DRIVER_OK: u32 = 4;
    pub const FEATURES_OK: u32 = 8;
}

/// A device at an address.
#[derive(Clone, Copy)]
pub struct Device(usize);

impl Device {
    /// The device there, if it is of this kind.
    pub fn find(at: usize, kind: u32) -> Option<Self> {
        let is = cpu::read(at + register::MAGIC) == MAGIC && cpu::read(at + register::KIND) == kind;
        is.then_some(Self(at))
    }

    fn write(self, register: usize, value: u32) {
        cpu::write(self.0 + register, value);
    }

    /// Begins with it: it is told who we are, and which of its features we want. They must be
    /// offered.
    pub fn begin(self, wanted: u64) {
        self.write(register::STATUS, 0);
        self.write(register::STATUS, status::ACKNOWLEDGE | status::DRIVER);
        for half in 0..2 {
            let wanted = ((wanted | VERSION_1) >> (32 * half)) as u32;
            self.write(register::DEVICE_FEATURES_SELECT, half);
            let offered = cpu::read(self.0 + register::DEVICE_FEATURES);
            assert!(offered & wanted == wanted, "a device without what every one has");
            self.write(register::DRIVER_FEATURES_SELECT, half);
            self.write(register::DRIVER_FEATURES, wanted);
        }
        self.write(register::STATUS, status::ACKNOWLEDGE | status::DRIVER | status::FEATURES_OK);
    }

    /// Lets it work.
    pub fn go(self) {
        let all = status::ACKNOWLEDGE | status::DRIVER | status::FEATURES_OK | status::DRIVER_OK;
        self.write(register::STATUS, all);
        assert!(cpu::read(self.0 + register::STATUS) == all, "a device that does not start");
    }

    /// Its configuration from this offset on: four bytes.
    pub fn config(self, offset: usize) -> [u8; 4] {
        cpu::read(self.0 + register::CONFIG + offset).to_le_bytes()
    }

    /// Its interrupt was seen.
    pub fn acknowledge(self) {
        self.write(register::INTERRUPT_ACK, u32::MAX);
    }
}

/// Memory of a queue (section 2.7).
#[repr(C, align(16))]
pub struct Area {
    descriptors: [Descriptor; SIZE],
    available: Available,
    used: Used,
}

#[repr(C)]
struct Descriptor {
    address: u64,
    length: u32,
    flags: u16,
    next: u16,
}

#[repr(C)]
struct Available {
    flags: u16,
    index: AtomicU16,
    ring: [u16; SIZE],
}

#[repr(C, align(4))]
struct Used {
    _flags: u16,
    index: AtomicU16,
    ring: [[u32; 2]; SIZE],
}

/// The device writes to this buffer.
const WRITE: u16 = 2;
/// Of the available ring: no interrupts.
const NO_INTERRUPT: u16 = 1;

impl Area {
    /// Memory for a queue.
    pub const fn new() -> Self {
        Self {
            descriptors: [const { Descriptor { address: 0, length: 0, flags: 0, next: 0 } }; SIZE],
            available: Available { flags: 0, index: AtomicU16::new(0), ring: [0; SIZE] },
            used: Used { _flags: 0, index: AtomicU16::new(0), ring: [[0; 2]; SIZE] },
        }
    }
}

/// A queue, each of whose descriptors has a buffer of its own.
pub struct Queue {
    device: Device,
    number: u32,
    area: &'static mut Area,
    /// The next entry of the used ring.
    next: u16,
    /// Descriptors given since the bell was rung last.
    given: bool,
}

impl Queue {
    /// The queue of this number. `writes`: the device writes to its buffers, and interrupts.
    pub fn new(device: Device, number: u32, area: &'static mut Area, writes: bool) -> Self {
        for descriptor in &mut area.descriptors {
            descriptor.flags = if writes { WRITE } else { 0 };
        }
        area.available.flags = if writes { 0 } else { NO_INTERRUPT };
        device.write(register::QUEUE_SELECT, number);
        device.write(register::QUEUE_SIZE, SIZE as u32);
        let places = [
            (register::DESCRIPTORS, &raw const area.descriptors as u64),
            (register::DRIVER, &raw const area.available as u64),
            (register::DEVICE, &raw const area.used as u64),
        ];
        for (register, at) in places {
            device.write(register, at as u32);
            device.write(register + 4, (at >> 32) as u32);
        }
        device.write(register::QUEUE_READY, 1);
        Self { device, number, area, next: 0, given: false }
    }

    /// Gives the device the buffer of a descriptor.
    pub fn give(&mut self, descriptor: u16, address: u64, length: usize) {
        let entry = &mut self.area.descriptors[usize::from(descriptor) % SIZE];
        (entry.address, entry.length) = (address, length as u32);
        let index = self.area.available.index.load(Ordering::Relaxed);
        self.area.available.ring[usize::from(index) % SIZE] = descriptor;
        // The device sees the entry before the index (section 2.7.13.2).
        self.area.available.index.store(index.wrapping_add(1), Ordering::Release);
        self.given = true;
    }

    /// Tells the device what was given.
    pub fn ring(&mut self) {
        if core::mem::take(&mut self.given) {
            fence(Ordering::SeqCst);
            self.device.write(register::QUEUE_NOTIFY, self.number);
        }
    }

    /// Has the device given something back?
    pub fn has_used(&self) -> bool {
        self.area.used.index.load(Ordering::Acquire) != self.next
    }

    /// A descriptor that the device gives back, and the bytes it wrote.
    pub fn take(&mut self) -> Option<(u16, usize)> {
        if !self.has_used() {
            return None;
        }
        let entry = &raw const self.area.used.ring[usize::from(self.next) % SIZE];
        // SAFETY: the entry is in the area; the device, which may write there at any time, has
        // written this one.
        let [descriptor, bytes] = unsafe { entry.read_volatile() };
        self.next = self.next.wrapping_add(1);
        Some((descriptor as u16, bytes as usize))
    }
}
