//! The serial console.

use std::io::{self, Write};

use vm_superio::{Serial as Uart, Trigger, serial::NoEvents};
use vmm_sys_util::eventfd::EventFd;

use crate::bus::Device;

/// Raises the console's interrupt.
pub struct Interrupt(pub EventFd);

impl Trigger for Interrupt {
    type E = io::Error;

    fn trigger(&self) -> io::Result<()> {
        self.0.write(1)
    }
}

/// What a console writes to.
pub type Output = Box<dyn Write + Send>;

/// A 16550A: eight ports.
pub struct Serial(Uart<Interrupt, NoEvents, Output>);

impl Serial {
    /// A console whose guest writes to `output`.
    pub fn new(interrupt: EventFd, output: Output) -> Self {
        Self(Uart::new(Interrupt(interrupt), output))
    }

    /// Room for bytes to the guest.
    pub fn room(&self) -> usize {
        self.0.fifo_capacity()
    }

    /// Bytes to the guest, at most as many as there is [`room`](Self::room) for.
    pub fn type_in(&mut self, bytes: &[u8]) {
        // It refuses only what there is no room for, and an interrupt that cannot be raised is
        // one of a machine that ends.
        let _ = self.0.enqueue_raw_bytes(bytes);
    }
}

impl Device for Serial {
    fn read(&mut self, offset: u64, data: &mut [u8]) {
        if let [byte] = data {
            *byte = self.0.read(offset as u8);
        }
    }

    fn write(&mut self, offset: u64, data: &[u8]) {
        if let [byte] = data {
            // An output that is closed takes nothing away from the guest.
            let _ = self.0.write(offset as u8, *byte);
        }
    }
}
