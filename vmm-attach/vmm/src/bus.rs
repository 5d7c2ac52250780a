//! Devices by address: what a virtual processor reads and writes that is not memory.

use std::sync::{Arc, Mutex, PoisonError};

/// What answers to a range of addresses.
pub trait Device: Send {
    /// Reads from `offset` bytes behind its beginning. What it does not know reads as it was:
    /// all bits set.
    fn read(&mut self, offset: u64, data: &mut [u8]);
    /// Writes there. What it does not know changes nothing.
    fn write(&mut self, offset: u64, data: &[u8]);
}

/// A device that several buses and threads may hold.
pub type Shared = Arc<Mutex<dyn Device>>;

/// One address space: ports, or memory.
#[derive(Default)]
pub struct Bus(Vec<(u64, u64, Shared)>);

impl Bus {
    /// Puts a device at `size` bytes from `start` on.
    pub fn add(&mut self, start: u64, size: u64, device: Shared) {
        self.0.push((start, size, device));
    }

    /// A guest's read. Where nobody answers, all bits are set.
    pub fn read(&self, address: u64, data: &mut [u8]) {
        data.fill(0xff);
        self.at(address, |device, offset| device.read(offset, data));
    }

    /// A guest's write. Where nobody is, nothing happens.
    pub fn write(&self, address: u64, data: &[u8]) {
        self.at(address, |device, offset| device.write(offset, data));
    }

    fn at(&self, address: u64, work: impl FnOnce(&mut dyn Device, u64)) {
        let found = self.0.iter().find(|(start, size, _)| address.wrapping_sub(*start) < *size);
        if let Some((start, _, device)) = found {
            // A device that panicked is as good as one that was switched off.
            let mut device = device.lock().unwrap_or_else(PoisonError::into_inner);
            work(&mut *device, address - start);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Cell([u8; 4]);

    impl Device for Cell {
        fn read(&mut self, offset: u64, data: &mut [u8]) {
            data[0] = self.0[offset as usize];
        }

        fn write(&mut self, offset: u64, data: &[u8]) {
            self.0[offset as usize] = data[0];
        }
    }

    #[test]
    fn everybody_answers_for_its_own_addresses() {
        let mut bus = Bus::default();
        bus.add(0x100, 4, Arc::new(Mutex::new(Cell([1, 2, 3, 4]))));
        bus.add(0x104, 4, Arc::new(Mutex::new(Cell([5, 6, 7, 8]))));
        bus.write(0x103, &[9]);
        let read = |address| {
            let mut data = [0];
            bus.read(address, &mut data);
            data[0]
        };
        assert_eq!([0xff, 0x100, 0x103, 0x104, 0x108].map(read), [0xff, 1, 9, 5, 0xff]);
    }
}
