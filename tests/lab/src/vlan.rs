//! VLAN interfaces of a guest, as `ip link add link eth0 type vlan` makes them, also on kernels that
//! were built without: a tap for each, and a pump that puts the tag on and takes it off, offloads
//! and all.

use std::{
    fs::File,
    io::{Read, Write},
    os::fd::{AsFd, AsRawFd, OwnedFd},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::socket::{MsgFlags, send},
};

use crate::{Result, Space, sys};

/// A frame of 64 KiB, its headers, its tag, and the virtio-net header.
const BUFFER: usize = 70_000;
/// What a packet socket has of the virtio-net header: all but `num_buffers`.
const SHORT_HEADER: usize = 10;
/// Where the tag stands, and how long it is.
const TAG_AT: usize = 12;
const TAG: usize = 4;
/// Flag of the virtio-net header: there is a checksum to be finished (virtio 1.2, section 5.1.6).
const NEEDS_CHECKSUM: u8 = 1;
/// Its fields `hdr_len` and `csum_start`, both counted from the beginning of the frame.
const FROM_BEGINNING: [usize; 2] = [2, 6];

/// A VLAN interface. Dropping it takes it away.
#[derive(Debug)]
pub struct Vlan {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Vlan {
    /// Makes `eth0.ID` on top of a guest's `eth0`, with this MAC, up.
    pub fn new(guest: &Space, id: u16, mac: &str) -> Result<Self> {
        let (below, name) = ("eth0", format!("eth0.{id}"));
        let socket = guest.enter(|| {
            let socket = sys::packet_socket(below)?;
            sys::show_offloads(&socket)?;
            sys::show_tags(&socket)?;
            Ok(Arc::new(socket))
        })?;
        let tap = Arc::new(guest.enter(|| {
            let tap = sys::open_tap(&name)?;
            sys::accept_offloads(&tap)?;
            Ok(tap)
        })?);
        guest.ip(&format!("link set {name} address {mac} txqueuelen 10000"))?;
        guest.ip(&format!("link set {name} up"))?;
        let stop = Arc::new(AtomicBool::new(false));
        let into = {
            let (socket, tap, stop) = (socket.clone(), tap.clone(), stop.clone());
            thread::spawn(move || take_off(&socket, &tap, id, &stop))
        };
        let out = {
            let stop = stop.clone();
            thread::spawn(move || put_on(&tap, &socket, id, &stop))
        };
        Ok(Self { stop, threads: vec![into, out] })
    }
}

impl Drop for Vlan {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// Hands on what comes in with the tag, without it.
fn take_off(from: &OwnedFd, mut to: &File, id: u16, stop: &AtomicBool) {
    let mut buffer = vec![0; BUFFER];
    while !stop.load(Ordering::Relaxed) {
        let Some((length, tag)) = sys::receive_tagged(from, &mut buffer) else { continue };
        if tag != Some(id) || length < SHORT_HEADER {
            continue;
        }
        let (header, frame) = buffer[..length].split_at(SHORT_HEADER);
        // An interface that is down takes nothing.
        let _ = to.write(&[header, &[0; sys::VNET_HEADER - SHORT_HEADER], frame].concat());
    }
}

/// Hands on what goes out, with the tag.
fn put_on(mut from: &File, to: &OwnedFd, id: u16, stop: &AtomicBool) {
    let mut buffer = vec![0; BUFFER];
    while !stop.load(Ordering::Relaxed) {
        let mut ready = [PollFd::new(from.as_fd(), PollFlags::POLLIN)];
        if !poll(&mut ready, PollTimeout::from(100u8)).is_ok_and(|n| n > 0) {
            continue;
        }
        let Ok(length) = from.read(&mut buffer) else { continue };
        if length >= sys::VNET_HEADER + TAG_AT {
            let _ = send(to.as_raw_fd(), &tagged(&buffer[..length], id), MsgFlags::empty());
        }
    }
}

/// A frame behind the header of a tap, as a packet socket takes it with a tag.
fn tagged(whole: &[u8], id: u16) -> Vec<u8> {
    let (header, frame) = whole.split_at(sys::VNET_HEADER);
    let mut header = header[..SHORT_HEADER].to_vec();
    let partial = header[0] & NEEDS_CHECKSUM != 0;
    for at in FROM_BEGINNING {
        let old = u16::from_le_bytes([header[at], header[at + 1]]);
        let new = if partial && old != 0 { old + TAG as u16 } else { old };
        header[at..at + 2].copy_from_slice(&new.to_le_bytes());
    }
    let (addresses, rest) = frame.split_at(TAG_AT);
    let [high, low] = id.to_be_bytes();
    [&header, addresses, &[0x81, 0, high, low], rest].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_counts_from_the_beginning_moves_with_the_tag() {
        let mut whole = vec![0; sys::VNET_HEADER + 60];
        whole[0] = NEEDS_CHECKSUM;
        whole[2] = 54;
        whole[6] = 34;
        let sent = tagged(&whole, 0x123);
        assert_eq!(sent.len(), SHORT_HEADER + 60 + TAG);
        assert_eq!((sent[2], sent[6]), (58, 38));
        assert_eq!(sent[SHORT_HEADER + 12..][..4], [0x81, 0, 1, 0x23]);
        whole[0] = 0;
        assert_eq!(tagged(&whole, 1)[6], 34);
    }
}
