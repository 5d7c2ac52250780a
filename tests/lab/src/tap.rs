//! A guest on a tap, played by a second tap inside the guest's namespace and a pump between the
//! two, which is what a virtual machine monitor is to a switch: it reads frames with their
//! virtio-net header from one side and writes them to the other, offloads and all.

use std::{
    fs::File,
    io::{Read, Write},
    os::fd::AsFd,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::{Error, Result, Space, capture::Capture, sys};

/// A frame of 64 KiB, its headers, and the virtio-net header.
const BUFFER: usize = 70_000;
/// Frames that wait for the pump at most, on the guest's side.
const QUEUE: usize = 10_000;
/// Frames over this are super-packets: 1,500 bytes and an Ethernet header.
const ORDINARY: usize = 1514;

/// What went through a pump.
#[derive(Debug, Default)]
pub struct Counts {
    /// Frames from the switch to the guest.
    pub to_guest: AtomicU64,
    /// Those over 1,514 bytes: super-packets that kept their segmentation for later.
    pub super_to_guest: AtomicU64,
    /// Frames from the guest to the switch.
    pub from_guest: AtomicU64,
}

/// The pump of one guest. Dropping it takes the guest's interface away, as the end of a virtual
/// machine does.
#[derive(Debug)]
pub struct Pump {
    stop: Arc<AtomicBool>,
    counts: Arc<Counts>,
    threads: Vec<JoinHandle<()>>,
}

impl Pump {
    /// Connects the port `tap` of the switch in `host` with a new interface of `guest`, which
    /// gets this MAC. The interface is left down.
    pub fn start(
        host: &Space,
        tap: &str,
        guest: &Space,
        interface: &str,
        mac: &str,
    ) -> Result<Self> {
        let open = |space: &Space, name: &str| {
            space.enter(|| {
                let file = sys::open_tap(name)?;
                sys::accept_offloads(&file)?;
                Ok(Arc::new(file))
            })
        };
        let (port, nic) = (open(host, tap)?, open(guest, interface)?);
        // A pump that waits for a processor loses nothing of what its guest has sent.
        guest.ip(&format!("link set {interface} address {mac} txqueuelen {QUEUE}"))?;
        let stop = Arc::new(AtomicBool::new(false));
        let counts = Arc::new(Counts::default());
        let into = {
            let (port, nic) = (port.clone(), nic.clone());
            let (stop, counts) = (stop.clone(), counts.clone());
            thread::spawn(move || {
                pump(&port, &nic, &stop, |length| {
                    counts.to_guest.fetch_add(1, Ordering::Relaxed);
                    if length > ORDINARY {
                        counts.super_to_guest.fetch_add(1, Ordering::Relaxed);
                    }
                });
            })
        };
        let out = {
            let (stop, counts) = (stop.clone(), counts.clone());
            thread::spawn(move || {
                pump(&nic, &port, &stop, |_| {
                    counts.from_guest.fetch_add(1, Ordering::Relaxed);
                });
            })
        };
        Ok(Self { stop, counts, threads: vec![into, out] })
    }

    /// What went through.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }
}

impl Drop for Pump {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// A cable with a tap at the host's end: what goes in and out shows VLAN tags as they are, while
/// every socket hides them.
#[derive(Debug)]
pub struct Wire {
    tap: Arc<File>,
    /// What the host sent.
    pub seen: Capture,
}

impl Wire {
    /// A new interface of `host`, up.
    pub fn new(host: &Space, interface: &str) -> Result<Self> {
        let tap = Arc::new(host.enter(|| sys::open_tap(interface))?);
        host.ip(&format!("link set {interface} up"))?;
        let from = tap.clone();
        let seen = Capture::of(move |buffer| {
            let mut ready = [PollFd::new(from.as_fd(), PollFlags::POLLIN)];
            if !poll(&mut ready, PollTimeout::from(100u8)).is_ok_and(|n| n > 0) {
                return None;
            }
            let length = (&*from).read(buffer).ok()?;
            Some(buffer.get(sys::VNET_HEADER..length)?.to_vec())
        });
        Ok(Self { tap, seen })
    }

    /// Sends a frame to the host.
    pub fn send(&self, frame: &[u8]) -> Result<()> {
        let whole = [&[0; sys::VNET_HEADER], frame].concat();
        (&*self.tap).write(&whole).map(drop).map_err(Error::system("writing to a tap"))
    }
}

/// Copies frames one to one, until told to stop.
fn pump(mut from: &File, mut to: &File, stop: &AtomicBool, count: impl Fn(usize)) {
    let mut buffer = vec![0; BUFFER];
    while !stop.load(Ordering::Relaxed) {
        let mut ready = [PollFd::new(from.as_fd(), PollFlags::POLLIN)];
        if !poll(&mut ready, PollTimeout::from(100u8)).is_ok_and(|n| n > 0) {
            continue;
        }
        match from.read(&mut buffer) {
            Ok(length) => {
                count(length.saturating_sub(sys::VNET_HEADER));
                // An interface that is down takes nothing, like a guest that is off.
                let _ = to.write(&buffer[..length]);
            }
            // The other side's end: the interface was taken away.
            Err(error) if error.kind() != std::io::ErrorKind::WouldBlock => {
                thread::sleep(std::time::Duration::from_millis(20));
            }
            Err(_) => {}
        }
    }
}
