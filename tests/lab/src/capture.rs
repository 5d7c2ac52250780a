//! Whole frames on an interface: seen as they come, sent as they are.

use std::{
    os::fd::{AsRawFd, OwnedFd},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use nix::sys::socket::{LinkAddr, MsgFlags, recvfrom, send};

use crate::{Error, Result, Space, patience, process, sys};

/// Bytes of a frame that are kept.
const KEPT: usize = 256;
/// Room for a super-packet and its headers.
const BUFFER: usize = 80_000;

/// A frame that was seen coming in.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Its length on the wire (of a super-packet: all of it), bytes.
    pub length: usize,
    /// Its first [`KEPT`] bytes.
    pub head: Vec<u8>,
}

/// Collects the frames that come in on an interface.
#[derive(Debug)]
pub struct Capture {
    stop: Arc<AtomicBool>,
    frames: Arc<Mutex<Vec<Seen>>>,
    thread: Option<JoinHandle<()>>,
}

impl Capture {
    /// Starts; frames that come in from now on are seen.
    pub fn start(space: &Space, interface: &str) -> Result<Self> {
        let socket = space.enter(|| sys::packet_socket(interface))?;
        Ok(Self::of(move |buffer| {
            let (length, from) = recvfrom::<LinkAddr>(socket.as_raw_fd(), buffer).ok()?;
            let outgoing = from.is_some_and(|from| from.pkttype() == libc::PACKET_OUTGOING);
            (!outgoing).then(|| buffer[..length].to_vec())
        }))
    }

    /// Collects what `read` hands out; it must come back every now and then, frame or not.
    pub fn of(mut read: impl FnMut(&mut [u8]) -> Option<Vec<u8>> + Send + 'static) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let frames = Arc::new(Mutex::new(Vec::new()));
        let thread = thread::spawn({
            let (stop, frames) = (stop.clone(), frames.clone());
            move || {
                let mut buffer = vec![0; BUFFER];
                while !stop.load(Ordering::Relaxed) {
                    let Some(mut head) = read(&mut buffer) else { continue };
                    let length = head.len();
                    head.truncate(KEPT);
                    if let Ok(mut frames) = frames.lock() {
                        frames.push(Seen { length, head });
                    }
                }
            }
        });
        Self { stop, frames, thread: Some(thread) }
    }

    /// The frames so far.
    pub fn frames(&self) -> Vec<Seen> {
        self.frames.lock().map(|frames| frames.clone()).unwrap_or_default()
    }

    /// Waits up to two seconds for a frame that fits.
    pub fn wait_for(&self, fits: impl Fn(&Seen) -> bool) -> Option<Seen> {
        let mut found = None;
        let _ = process::wait_for("a frame", 2, || {
            found = self.frames().into_iter().find(|seen| fits(seen));
            found.is_some()
        });
        found
    }

    /// Lets frames that are on their way arrive, then tells whether one fits.
    pub fn saw(&self, fits: impl Fn(&Seen) -> bool) -> bool {
        thread::sleep(patience::silence(Duration::from_millis(300)));
        self.frames().iter().any(fits)
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Sends whole frames on an interface.
#[derive(Debug)]
pub struct Injector {
    socket: OwnedFd,
}

impl Injector {
    /// A sender on an interface of a namespace.
    pub fn new(space: &Space, interface: &str) -> Result<Self> {
        Ok(Self { socket: space.enter(|| sys::packet_socket(interface))? })
    }

    /// Sends one frame.
    pub fn send(&self, frame: &[u8]) -> Result<()> {
        send(self.socket.as_raw_fd(), frame, MsgFlags::empty())
            .map(drop)
            .map_err(Error::system("sending a frame"))
    }
}
