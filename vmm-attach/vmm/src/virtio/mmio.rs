//! The transport: registers in memory (section 4.2.2) in front of a device.

mod state;

use std::io;

use kvm_ioctls::{IoEventAddress, VmFd};
use virtio_bindings::{
    virtio_config::{
        VIRTIO_CONFIG_S_DRIVER_OK, VIRTIO_CONFIG_S_FAILED, VIRTIO_CONFIG_S_FEATURES_OK,
        VIRTIO_CONFIG_S_NEEDS_RESET, VIRTIO_F_VERSION_1,
    },
    virtio_ring::{VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC},
};
use virtio_queue::{Queue, QueueT};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

pub use self::state::State;
use super::{Device, Interrupt, Ready, Ring};
use crate::{bus, memory::Memory};

/// "virt", little-endian.
const MAGIC: u32 = 0x7472_6976;
/// Of this transport.
const VERSION: u32 = 2;
/// "PCVM".
const VENDOR: u32 = 0x4d56_4350;
/// What every device here can.
pub const FEATURES: u64 =
    1 << VIRTIO_F_VERSION_1 | 1 << VIRTIO_RING_F_EVENT_IDX | 1 << VIRTIO_RING_F_INDIRECT_DESC;

/// Offsets of the registers.
mod register {
    pub const MAGIC: u64 = 0x00;
    pub const VERSION: u64 = 0x04;
    pub const DEVICE: u64 = 0x08;
    pub const VENDOR: u64 = 0x0c;
    pub const DEVICE_FEATURES: u64 = 0x10;
    pub const DEVICE_FEATURES_SELECT: u64 = 0x14;
    pub const DRIVER_FEATURES: u64 = 0x20;
    pub const DRIVER_FEATURES_SELECT: u64 = 0x24;
    pub const QUEUE_SELECT: u64 = 0x30;
    pub const QUEUE_SIZE_MAX: u64 = 0x34;
    pub const QUEUE_SIZE: u64 = 0x38;
    pub const QUEUE_READY: u64 = 0x44;
    pub const QUEUE_NOTIFY: u64 = 0x50;
    pub const INTERRUPT_STATUS: u64 = 0x60;
    pub const INTERRUPT_ACK: u64 = 0x64;
    pub const STATUS: u64 = 0x70;
    pub const QUEUE_DESCRIPTORS: u64 = 0x80;
    pub const QUEUE_DRIVER: u64 = 0x90;
    pub const QUEUE_DEVICE: u64 = 0xa0;
    pub const CONFIG_GENERATION: u64 = 0xfc;
    pub const CONFIG: u64 = 0x100;
}

/// A device and its registers.
pub struct Transport {
    device: Box<dyn Device>,
    memory: Memory,
    interrupt: Interrupt,
    queues: Vec<Queue>,
    bells: Vec<EventFd>,
    status: u32,
    driver_features: u64,
    /// Which half of the features is shown, and which is written.
    device_select: u32,
    driver_select: u32,
    queue_select: u32,
    /// It does no work, whatever its driver thinks.
    still: bool,
}

impl Transport {
    /// A device that nobody drives yet; `line` raises its interrupt.
    pub fn new(device: Box<dyn Device>, memory: Memory, line: EventFd) -> io::Result<Self> {
        let queues = new_queues(&*device);
        let bells = queues.iter().map(|_| EventFd::new(EFD_NONBLOCK));
        let bells = bells.collect::<io::Result<_>>()?;
        Ok(Self {
            device,
            memory,
            interrupt: Interrupt::new(line),
            queues,
            bells,
            status: 0,
            driver_features: 0,
            device_select: 0,
            driver_select: 0,
            queue_select: 0,
            still: false,
        })
    }

    /// Lets the kernel ring the bells: the guest's write to `QueueNotify` comes to nobody else.
    pub fn register(&self, vm: &VmFd, start: u64) -> Result<(), kvm_ioctls::Error> {
        let address = IoEventAddress::Mmio(start + register::QUEUE_NOTIFY);
        let mut bells = (0_u32..).zip(&self.bells);
        bells.try_for_each(|(queue, bell)| vm.register_ioevent(bell, &address, queue))
    }

    /// What the kernel does for a guest's write to `QueueNotify`, for every queue.
    #[cfg(test)]
    pub fn ring_bells(&self) {
        self.bells.iter().for_each(|bell| bell.write(1).expect("a counter that is never full"));
    }

    fn read_register(&self, offset: u64) -> u32 {
        let queue = self.queues.get(self.queue_select as usize);
        match offset {
            register::MAGIC => MAGIC,
            register::VERSION => VERSION,
            register::DEVICE => self.device.kind(),
            register::VENDOR => VENDOR,
            register::DEVICE_FEATURES => half(self.offered(), self.device_select),
            register::QUEUE_SIZE_MAX => queue.map_or(0, |queue| queue.max_size().into()),
            register::QUEUE_READY => queue.map_or(0, |queue| queue.ready().into()),
            register::INTERRUPT_STATUS => self.interrupt.status(),
            register::STATUS => self.status,
            // Configurations here never change.
            register::CONFIG_GENERATION => 0,
            _ => 0,
        }
    }

    fn offered(&self) -> u64 {
        FEATURES | self.device.features()
    }

    fn write_register(&mut self, offset: u64, value: u32) {
        match offset {
            register::DEVICE_FEATURES_SELECT => self.device_select = value,
            register::DRIVER_FEATURES_SELECT => self.driver_select = value,
            register::DRIVER_FEATURES => self.accept(value),
            register::QUEUE_SELECT => self.queue_select = value,
            register::INTERRUPT_ACK => self.interrupt.seen(value),
            register::STATUS => self.set_status(value),
            _ => self.write_queue(offset, value),
        }
    }

    /// Features may be chosen until the driver has said that they are.
    fn accept(&mut self, value: u32) {
        if self.status & VIRTIO_CONFIG_S_FEATURES_OK != 0 || self.driver_select > 1 {
            return;
        }
        let shift = 32 * self.driver_select;
        let others = self.driver_features & !(0xffff_ffff << shift);
        self.driver_features = others | u64::from(value) << shift;
    }

    /// Queues may be set up until the driver is ready.
    fn write_queue(&mut self, offset: u64, value: u32) {
        let settled = self.status & VIRTIO_CONFIG_S_DRIVER_OK != 0;
        let Some(queue) = self.queues.get_mut(self.queue_select as usize) else { return };
        if settled {
            return;
        }
        let (low, high) = (Some(value), Some(value));
        match offset {
            register::QUEUE_SIZE => queue.set_size(value as u16),
            register::QUEUE_READY => queue.set_ready(value == 1),
            register::QUEUE_DESCRIPTORS => queue.set_desc_table_address(low, None),
            0x84 => queue.set_desc_table_address(None, high),
            register::QUEUE_DRIVER => queue.set_avail_ring_address(low, None),
            0x94 => queue.set_avail_ring_address(None, high),
            register::QUEUE_DEVICE => queue.set_used_ring_address(low, None),
            0xa4 => queue.set_used_ring_address(None, high),
            _ => {}
        }
    }

    fn set_status(&mut self, value: u32) {
        if value == 0 {
            return self.reset();
        }
        let new = value & !self.status;
        self.status |= value;
        // What was never offered cannot be had (section 3.1.1, step 5).
        let strange = self.driver_features & !self.offered() != 0;
        let modern = self.driver_features >> VIRTIO_F_VERSION_1 & 1 == 1;
        if new & VIRTIO_CONFIG_S_FEATURES_OK != 0 && (strange || !modern) {
            self.status &= !VIRTIO_CONFIG_S_FEATURES_OK;
        }
        if new & VIRTIO_CONFIG_S_FAILED != 0 {
            self.device.stop();
        } else if new & VIRTIO_CONFIG_S_DRIVER_OK != 0 && self.start().is_err() {
            self.status |= VIRTIO_CONFIG_S_NEEDS_RESET;
        }
    }

    fn start(&mut self) -> io::Result<()> {
        let broken = || io::Error::from(io::ErrorKind::InvalidData);
        if self.status & VIRTIO_CONFIG_S_FEATURES_OK == 0 {
            return Err(broken());
        }
        let event_idx = self.driver_features >> VIRTIO_RING_F_EVENT_IDX & 1 == 1;
        let mut rings = Vec::with_capacity(self.queues.len());
        let used = self.device.queues_used(self.driver_features);
        for (queue, bell) in self.queues.iter_mut().zip(&self.bells).take(used) {
            queue.set_event_idx(event_idx);
            if !queue.ready() || !queue.is_valid(&self.memory) {
                return Err(broken());
            }
            let queue = Queue::try_from(queue.state()).map_err(|_| broken())?;
            rings.push(Ring::new(queue, bell.try_clone()?));
        }
        self.device.start(Ready {
            memory: self.memory.clone(),
            rings,
            features: self.driver_features,
            interrupt: self.interrupt.try_clone()?,
        })
    }

    fn reset(&mut self) {
        self.device.stop();
        self.device.reset();
        self.interrupt.seen(u32::MAX);
        self.queues = new_queues(&*self.device);
        (self.status, self.driver_features) = (0, 0);
        (self.device_select, self.driver_select, self.queue_select) = (0, 0, 0);
    }
}

impl Drop for Transport {
    fn drop(&mut self) {
        self.device.stop();
    }
}

fn new_queues(device: &dyn Device) -> Vec<Queue> {
    let new = |size: &u16| Queue::new(*size).expect("powers of two");
    device.queue_sizes().iter().map(new).collect()
}

/// The upper or the lower half.
fn half(word: u64, select: u32) -> u32 {
    match select {
        0 => word as u32,
        1 => (word >> 32) as u32,
        _ => 0,
    }
}

impl bus::Device for Transport {
    fn read(&mut self, offset: u64, data: &mut [u8]) {
        if offset >= register::CONFIG {
            self.device.read_config(offset - register::CONFIG, data);
        } else if let Ok(word) = <&mut [u8; 4]>::try_from(data) {
            *word = self.read_register(offset).to_le_bytes();
        }
    }

    fn write(&mut self, offset: u64, data: &[u8]) {
        if let Ok(word) = <[u8; 4]>::try_from(data) {
            self.write_register(offset, u32::from_le_bytes(word));
        }
    }
}
