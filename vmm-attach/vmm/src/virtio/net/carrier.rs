//! A pair of queues and a queue of a tap: frames go between the tap and the guest's buffers without
//! a copy in between, with checksums and segmentation left to do.

use std::{
    fs::File,
    os::fd::{AsRawFd, RawFd},
};

use virtio_bindings::virtio_net::VIRTIO_NET_F_MRG_RXBUF;

use super::tap;
use crate::virtio::{
    Ready, Ring,
    ring::{Buffer, buffers},
    worker::Work,
};

/// Bytes of the header in front of a frame (section 5.1.6.1, `struct virtio_net_hdr`).
const HEADER: usize = 12;
/// Offset of the number of buffers in it.
const BUFFERS: usize = 10;
/// Longest frame whose segmentation is left to do: 64 KiB and an Ethernet header with a tag.
const LONGEST_SUPER: usize = HEADER + 65_536 + 18;
/// What a frame has beside its packet.
const ETHERNET: usize = 18;
/// Most buffers for one frame: what `readv` takes.
const PARTS_MAX: usize = 1024;

const RECEIVE: usize = 0;
const SEND: usize = 1;
/// The tap, as a source of work; the others are numbers of queues.
const TAP: u64 = 2;

/// Carries frames between a tap and a guest.
pub struct Carrier {
    tap: File,
    ready: Ready,
    /// Bytes of the longest frame that may come from the tap, with its header.
    longest: usize,
    /// May a frame be in several chains?
    mergeable: bool,
}

/// What became of an attempt to hand the guest a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Received {
    /// It has it.
    Frame,
    /// The tap is empty.
    Nothing,
    /// There is no room in the guest's buffers.
    NoRoom,
}

impl Work for Carrier {
    fn sources(&self) -> Vec<(RawFd, u64)> {
        let bell = |ring: usize| (self.ready.rings[ring].bell.as_raw_fd(), ring as u64);
        vec![bell(RECEIVE), bell(SEND), (self.tap.as_raw_fd(), TAP)]
    }

    fn handle(&mut self, source: u64) {
        if source != TAP {
            let _ = self.ready.rings[source as usize].bell.read();
        }
        if source == SEND as u64 { self.send() } else { self.receive() }
    }
}

impl Carrier {
    /// One for a pair, which is all that `ready` has. `large`: the tap may leave segmentation to the
    /// guest; packets are of `mtu` bytes at most otherwise.
    pub fn new(tap: File, ready: Ready, large: bool, mtu: u16) -> Self {
        let longest = if large { LONGEST_SUPER } else { HEADER + ETHERNET + usize::from(mtu) };
        Self { tap, longest, mergeable: ready.has(VIRTIO_NET_F_MRG_RXBUF), ready }
    }

    /// The pair, where it stands.
    pub fn into_rings(self) -> Vec<Ring> {
        self.ready.rings
    }

    /// Everything from the tap for which there is room.
    fn receive(&mut self) {
        let mut any = false;
        loop {
            match self.receive_one() {
                Received::Frame => any = true,
                Received::Nothing => break,
                Received::NoRoom => {
                    let Ready { memory, rings, .. } = &mut self.ready;
                    if !rings[RECEIVE].listen(memory) {
                        break;
                    }
                }
            }
        }
        if any {
            let Ready { memory, rings, interrupt, .. } = &mut self.ready;
            rings[RECEIVE].tell(memory, interrupt);
        }
    }

    fn receive_one(&mut self) -> Received {
        let Ready { memory, rings, .. } = &mut self.ready;
        let ring = &mut rings[RECEIVE];
        let (mut parts, mut chains, mut room) = (Vec::<Buffer<'_>>::new(), Vec::new(), 0);
        while room < self.longest && (self.mergeable || chains.is_empty()) {
            let Some(chain) = ring.next(memory) else { break };
            let head = chain.head_index();
            let before = parts.len();
            parts.extend(buffers(memory, chain, true).into_iter().flatten());
            let bytes: usize = parts[before..].iter().map(Buffer::len).sum();
            let first = parts.get(before).map_or(0, Buffer::len);
            if bytes == 0 || first < HEADER {
                // No place for a header: no buffer at all.
                parts.truncate(before);
                ring.give_back(memory, head, 0);
                continue;
            }
            chains.push((head, bytes));
            room += bytes;
        }
        let length = if room < self.longest || parts.len() > PARTS_MAX {
            None
        } else {
            Some(tap::read(&self.tap, &parts))
        };
        let Some(Ok(length)) = length else {
            chains.iter().for_each(|_| ring.take_back());
            if parts.len() > PARTS_MAX || !self.mergeable && !chains.is_empty() {
                ring.stuck(memory);
            }
            return if length.is_none() { Received::NoRoom } else { Received::Nothing };
        };
        let (mut left, mut used) = (length, Vec::with_capacity(chains.len()));
        for (head, bytes) in chains {
            if left == 0 {
                ring.take_back();
                continue;
            }
            let written = left.min(bytes);
            used.push((head, written as u32));
            left -= written;
        }
        // The first part has room for the header, which is whole before the driver may look.
        if let Ok(at) = parts[0].offset(BUFFERS) {
            at.copy_from(&u16::to_le_bytes(used.len() as u16));
        }
        ring.give_back_together(memory, &used);
        Received::Frame
    }

    /// Everything that the guest wants to send.
    fn send(&mut self) {
        let Self { tap, ready, .. } = self;
        ready.serve(SEND, |memory, chain| {
            let parts: Vec<_> = buffers(memory, chain, false).into_iter().flatten().collect();
            if (1..=PARTS_MAX).contains(&parts.len()) {
                // A frame that the tap does not take is lost, as on a wire.
                let _ = tap::write(tap, &parts);
            }
            0
        });
    }
}
