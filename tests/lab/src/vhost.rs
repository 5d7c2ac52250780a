//! A guest on a vhost-user port, played by a front end and a tap inside the guest's namespace, with
//! frames carried between the two, offloads and all. It connects anew whenever it is cut off, as
//! QEMU does with `reconnect=`.

use std::{
    fs::File,
    io::{Read, Write},
    os::fd::AsFd,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::{
    Result, Space,
    front::{Front, ReceiveQueue, SendQueue},
    sys,
};

/// A frame of 64 KiB, its headers, and the virtio-net header.
const BUFFER: usize = 70_000;
/// Frames over this are super-packets.
const ORDINARY: usize = 1514;
/// How long nobody looks whether there is an end.
const LOOK_MS: u8 = 50;

/// What a monitor has seen.
#[derive(Debug, Default)]
pub struct Seen {
    /// How often it has connected.
    pub connections: AtomicU64,
    /// Super-packets that came to the guest whole.
    pub super_to_guest: AtomicU64,
}

/// The monitor of one guest. Dropping it ends the guest.
#[derive(Debug)]
pub struct Monitor {
    stop: Arc<AtomicBool>,
    seen: Arc<Seen>,
    thread: Option<JoinHandle<()>>,
}

impl Monitor {
    /// Connects a socket with a new interface of `guest`, which gets this MAC. The interface is left
    /// down.
    pub fn start(socket: PathBuf, guest: &Space, interface: &str, mac: &str) -> Result<Self> {
        let tap = guest.enter(|| {
            let tap = sys::open_tap(interface)?;
            sys::accept_all_offloads(&tap)?;
            Ok(Arc::new(tap))
        })?;
        guest.ip(&format!("link set {interface} address {mac}"))?;
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::new(Seen::default());
        let thread = thread::spawn({
            let (stop, seen) = (stop.clone(), seen.clone());
            move || {
                while !stop.load(Ordering::Relaxed) {
                    match Front::connect(&socket, 0) {
                        Ok(front) => run(front, &tap, &stop, &seen),
                        Err(_) => thread::sleep(Duration::from_millis(LOOK_MS.into())),
                    }
                }
            }
        });
        Ok(Self { stop, seen, thread: Some(thread) })
    }

    /// What it has seen.
    pub fn seen(&self) -> &Seen {
        &self.seen
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Carries frames until the other side is gone, or somebody says stop.
fn run(mut front: Front, tap: &File, stop: &AtomicBool, seen: &Seen) {
    seen.connections.fetch_add(1, Ordering::Relaxed);
    let (send, receive) = (front.send.take(), front.receive.take());
    let (Some(mut send), Some(mut receive)) = (send, receive) else { return };
    let cut = AtomicBool::new(false);
    let ended = || stop.load(Ordering::Relaxed) || cut.load(Ordering::Relaxed);
    thread::scope(|scope| {
        scope.spawn(|| out(tap, &mut send, ended));
        scope.spawn(|| into(&mut receive, tap, seen, ended));
        while !stop.load(Ordering::Relaxed) && !front.is_cut(LOOK_MS) {}
        cut.store(true, Ordering::Relaxed);
    });
}

fn out(mut tap: &File, queue: &mut SendQueue, ended: impl Fn() -> bool) {
    let mut buffer = vec![0; BUFFER];
    while !ended() {
        let mut ready = [PollFd::new(tap.as_fd(), PollFlags::POLLIN)];
        if !poll(&mut ready, PollTimeout::from(LOOK_MS)).is_ok_and(|n| n > 0) {
            continue;
        }
        while let Ok(length) = tap.read(&mut buffer) {
            // As a guest, it waits until there is room.
            while !queue.send(&buffer[..length]) && !ended() {
                thread::yield_now();
            }
        }
    }
}

fn into(queue: &mut ReceiveQueue, mut tap: &File, seen: &Seen, ended: impl Fn() -> bool) {
    while !ended() {
        match queue.receive() {
            Some(frame) => {
                if frame.len() - sys::VNET_HEADER > ORDINARY {
                    seen.super_to_guest.fetch_add(1, Ordering::Relaxed);
                }
                // An interface that is down takes nothing, like a guest that is off.
                let _ = tap.write(&frame);
            }
            None => queue.wait(LOOK_MS),
        }
    }
}
