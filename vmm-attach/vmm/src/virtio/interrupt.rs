//! How a device calls its driver.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
};

use vmm_sys_util::eventfd::EventFd;

/// A used buffer (section 4.2.2, `InterruptStatus`).
const USED: u32 = 1;

/// An interrupt line, and why it was raised.
pub struct Interrupt {
    status: Arc<AtomicU32>,
    /// Somebody else raises the line, and does not say why: buffers are all that it knows of.
    foreign: Arc<AtomicBool>,
    line: EventFd,
}

impl Interrupt {
    /// One that raises `line`.
    pub fn new(line: EventFd) -> Self {
        Self { status: Arc::default(), foreign: Arc::default(), line }
    }

    /// The same one for another thread.
    pub fn try_clone(&self) -> io::Result<Self> {
        let (status, foreign) = (Arc::clone(&self.status), Arc::clone(&self.foreign));
        Ok(Self { status, foreign, line: self.line.try_clone()? })
    }

    /// The line, for somebody outside of this process who uses buffers.
    pub fn given_away(&self) -> io::Result<EventFd> {
        self.foreign.store(true, Ordering::SeqCst);
        self.line.try_clone()
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
        let foreign = self.foreign.load(Ordering::SeqCst);
        self.status.load(Ordering::SeqCst) | if foreign { USED } else { 0 }
    }

    /// The driver has seen these.
    pub fn seen(&self, bits: u32) {
        self.status.fetch_and(!bits, Ordering::SeqCst);
    }
}
