//! How other threads have something done by the one that carries frames, between two bursts.

use std::{
    io,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
};

use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

/// Something to be done.
type Errand<T> = Box<dyn FnOnce(&mut T) + Send>;

/// Errands for a `T` on a thread of its own.
pub struct Mailbox<T> {
    waiting: AtomicBool,
    errands: Mutex<Vec<Errand<T>>>,
    /// Rung when there is one.
    pub bell: EventFd,
}

/// The thread has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the thread that carries frames has ended")]
pub struct Ended;

impl<T> Mailbox<T> {
    /// An empty one.
    pub fn new() -> io::Result<Self> {
        let bell = EventFd::new(EFD_NONBLOCK)?;
        Ok(Self { waiting: AtomicBool::new(false), errands: Mutex::default(), bell })
    }

    /// Has something done, and waits for what comes of it.
    pub fn ask<R: Send + 'static>(
        &self,
        errand: impl FnOnce(&mut T) -> R + Send + 'static,
    ) -> Result<R, Ended> {
        let (send, receive) = mpsc::sync_channel(1);
        let errand: Errand<T> = Box::new(move |owner| drop(send.send(errand(owner))));
        self.errands.lock().unwrap_or_else(PoisonError::into_inner).push(errand);
        self.waiting.store(true, Ordering::Release);
        // Its counter is never full.
        let _ = self.bell.write(1);
        receive.recv().map_err(|_| Ended)
    }

    /// What there is to be done. Costs one load where there is nothing.
    pub fn take(&self) -> Vec<Errand<T>> {
        if !self.waiting.load(Ordering::Relaxed) {
            return Vec::new();
        }
        self.waiting.store(false, Ordering::Relaxed);
        let _ = self.bell.read();
        std::mem::take(&mut *self.errands.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
