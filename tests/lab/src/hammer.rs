//! An attacker who sends from the first instant at which there is an interface to send on.

use std::{
    fs::File,
    io::Write,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use crate::{Error, Result, Space, capture::Injector, sys};

/// Time between two rounds of frames.
const PACE: Duration = Duration::from_micros(200);

/// Sends the same frames over and over until it is dropped.
#[derive(Debug)]
pub struct Hammer {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    tried: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

/// Where the frames go in.
enum Way {
    /// On an interface of a guest.
    Nic(Injector),
    /// Into a queue of a tap, as a virtual machine monitor writes them.
    Tap(File),
}

impl Way {
    fn send(&mut self, frame: &[u8]) -> bool {
        match self {
            Self::Nic(injector) => injector.send(frame).is_ok(),
            Self::Tap(file) => {
                let mut whole = vec![0; sys::VNET_HEADER];
                whole.extend(frame);
                file.write(&whole).is_ok()
            }
        }
    }
}

impl Hammer {
    /// From inside a guest, on an interface that may not exist yet.
    pub fn on_nic(space: &Space, interface: &str, frames: Vec<Vec<u8>>) -> Self {
        Self::at_pace(PACE, space, interface, frames)
    }

    /// The same with another time between two rounds: where traffic that must not be lost waits in
    /// the same short queue.
    pub fn at_pace(pace: Duration, space: &Space, interface: &str, frames: Vec<Vec<u8>>) -> Self {
        let (space, interface) = (space.clone(), interface.to_owned());
        Self::start(pace, frames, move || Ok(Way::Nic(Injector::new(&space, &interface)?)))
    }

    /// Through a tap that may not exist yet.
    pub fn on_tap(host: &Space, tap: &str, frames: Vec<Vec<u8>>) -> Self {
        let (host, tap) = (host.clone(), tap.to_owned());
        Self::start(PACE, frames, move || {
            host.enter(|| {
                // To open a tap that is not there would make one.
                nix::net::if_::if_nametoindex(tap.as_str())
                    .map_err(Error::system("looking up a tap"))?;
                sys::open_tap(&tap).map(Way::Tap)
            })
        })
    }

    fn start(
        pace: Duration,
        frames: Vec<Vec<u8>>,
        open: impl Fn() -> Result<Way> + Send + 'static,
    ) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (sent, tried) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let thread = thread::spawn({
            let (stop, sent, tried) = (stop.clone(), sent.clone(), tried.clone());
            move || {
                let mut way = None;
                while !stop.load(Ordering::Relaxed) {
                    tried.fetch_add(1, Ordering::Relaxed);
                    if way.is_none() {
                        way = open().ok();
                    }
                    if let Some(way) = &mut way {
                        for frame in &frames {
                            sent.fetch_add(way.send(frame).into(), Ordering::Relaxed);
                        }
                    }
                    thread::sleep(pace);
                }
            }
        });
        Self { stop, sent, tried, thread: Some(thread) }
    }

    /// Frames that the kernel took so far.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Rounds so far, those without an interface to send on included.
    pub fn tried(&self) -> u64 {
        self.tried.load(Ordering::Relaxed)
    }
}

impl Drop for Hammer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
