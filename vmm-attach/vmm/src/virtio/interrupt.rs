//! How a device calls its driver.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use vmm_sys_util::eventfd::EventFd;

/// A used buffer (section 4.2.2, `InterruptStatus`).
const USED: u32 = 1;

/// An interrupt line, and why it was raised.
pub struct Interrupt {
    status: Arc<AtomicU32>,
    line: EventFd,
}

impl Interrupt {
    /// One that raises `line`.
    pub fn new(line: EventFd) -> Self {
        Self { status: Arc::default(), line }
    }

    /// The same one for another thread.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { status: Arc::clone(&self.status), line: self.line.try_clone()? })
    }

    /// Buffers were used.
    pub fn used(&self) {
        self.status.fetch_or(USED, Ordering::SeqCst);
        // Its counter is never full: the kernel takes it at once.
        let _ = self.line.write(1);
    }

    /// It was raised for these reasons, somewhere else.
    pub fn restore(&self, status: u32) {
        self.status.store(status, Ordering::SeqCst);
    }

    /// Why it was raised.
    pub fn status(&self) -> u32 {
        self.status.load(Ordering::SeqCst)
    }

    /// The driver has seen these.
    pub fn seen(&self, bits: u32) {
        self.status.fetch_and(!bits, Ordering::SeqCst);
    }
}
