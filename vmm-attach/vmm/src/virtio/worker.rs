//! Threads in which devices work.

use std::{
    io,
    os::fd::{AsRawFd, RawFd},
    thread::{self, JoinHandle},
};

use vmm_sys_util::{
    epoll::{ControlOperation, Epoll, EpollEvent, EventSet},
    eventfd::{EFD_NONBLOCK, EventFd},
};

/// Names the descriptor that ends a thread.
const STOP: u64 = u64::MAX;
/// Events that are taken at once.
const EVENTS: usize = 8;

/// What a device does when something happens.
pub trait Work: Send + 'static {
    /// What it waits for: each edge of these is [handled](Self::handle) under its number.
    fn sources(&self) -> Vec<(RawFd, u64)>;
    /// Something came. At the start, each source is handled once.
    fn handle(&mut self, source: u64);
}

/// A thread that works.
pub struct Worker<W> {
    thread: JoinHandle<W>,
    stop: EventFd,
}

impl<W: Work> Worker<W> {
    /// Starts it.
    pub fn start(name: &str, mut work: W) -> io::Result<Self> {
        let stop = EventFd::new(EFD_NONBLOCK)?;
        let epoll = Epoll::new()?;
        let add =
            |fd, number, set| epoll.ctl(ControlOperation::Add, fd, EpollEvent::new(set, number));
        add(stop.as_raw_fd(), STOP, EventSet::IN)?;
        let sources = work.sources();
        for (fd, number) in &sources {
            add(*fd, *number, EventSet::IN | EventSet::EDGE_TRIGGERED)?;
        }
        let thread = thread::Builder::new().name(name.to_owned()).spawn(move || {
            sources.iter().for_each(|(_, number)| work.handle(*number));
            run(&epoll, &mut work);
            work
        })?;
        Ok(Self { thread, stop })
    }

    /// Ends it; what it worked with, unless it panicked.
    pub fn stop(self) -> Option<W> {
        // Its counter is never full.
        let _ = self.stop.write(1);
        self.thread.join().ok()
    }
}

fn run(epoll: &Epoll, work: &mut impl Work) {
    let mut events = [EpollEvent::default(); EVENTS];
    loop {
        let count = match epoll.wait(-1, &mut events) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            // Only of descriptors that are none, and these are held.
            Err(_) => return,
        };
        for event in &events[..count] {
            if event.data() == STOP {
                return;
            }
            work.handle(event.data());
        }
    }
}
