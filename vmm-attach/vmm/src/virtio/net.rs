//! Network cards (section 5.1), each a tap of the switch: frames go between the tap and the
//! guest's buffers without a copy in between, with checksums and segmentation left to do.

use std::{
    fs::File,
    io,
    os::fd::{AsRawFd, RawFd},
};

use virtio_bindings::{
    virtio_ids::VIRTIO_ID_NET,
    virtio_net::{
        VIRTIO_NET_F_CSUM, VIRTIO_NET_F_GUEST_CSUM, VIRTIO_NET_F_GUEST_ECN,
        VIRTIO_NET_F_GUEST_TSO4, VIRTIO_NET_F_GUEST_TSO6, VIRTIO_NET_F_GUEST_USO4,
        VIRTIO_NET_F_GUEST_USO6, VIRTIO_NET_F_HOST_ECN, VIRTIO_NET_F_HOST_TSO4,
        VIRTIO_NET_F_HOST_TSO6, VIRTIO_NET_F_HOST_USO, VIRTIO_NET_F_MAC, VIRTIO_NET_F_MRG_RXBUF,
        VIRTIO_NET_F_MTU,
    },
};

use super::{
    Device, Ready, Ring, read_from,
    ring::{Buffer, buffers},
    tap,
    worker::{Work, Worker},
};
use crate::config::Nic;

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

const QUEUES: &[u16] = &[256, 256];
const RECEIVE: usize = 0;
const SEND: usize = 1;
/// The tap, as a source of work; the others are numbers of queues.
const TAP: u64 = 2;

/// What the guest may leave to us.
const SENDS: [u32; 5] = [
    VIRTIO_NET_F_CSUM,
    VIRTIO_NET_F_HOST_TSO4,
    VIRTIO_NET_F_HOST_TSO6,
    VIRTIO_NET_F_HOST_ECN,
    VIRTIO_NET_F_HOST_USO,
];
/// What we may leave to the guest, and how the tap is told.
const TAKES: [(u32, libc::c_uint); 6] = [
    (VIRTIO_NET_F_GUEST_CSUM, libc::TUN_F_CSUM),
    (VIRTIO_NET_F_GUEST_TSO4, libc::TUN_F_TSO4),
    (VIRTIO_NET_F_GUEST_TSO6, libc::TUN_F_TSO6),
    (VIRTIO_NET_F_GUEST_ECN, libc::TUN_F_TSO_ECN),
    (VIRTIO_NET_F_GUEST_USO4, libc::TUN_F_USO4),
    (VIRTIO_NET_F_GUEST_USO6, libc::TUN_F_USO6),
];

/// A network card.
pub struct Net {
    tap: File,
    /// `struct virtio_net_config` up to the MTU (section 5.1.4).
    config: [u8; 12],
    features: u64,
    mtu: u16,
    worker: Option<Worker<Carrier>>,
}

impl Net {
    /// Takes the tap over.
    pub fn new(nic: Nic) -> io::Result<Self> {
        let Nic { tap, mac, mtu } = nic;
        tap::set_nonblocking(&tap)?;
        let mut config = [0; 12];
        config[..6].copy_from_slice(&mac);
        config[10..].copy_from_slice(&mtu.to_le_bytes());
        let mut features = 1 << VIRTIO_NET_F_MAC | 1 << VIRTIO_NET_F_MTU;
        features |= 1 << VIRTIO_NET_F_MRG_RXBUF;
        SENDS.iter().for_each(|bit| features |= 1 << bit);
        // Datagrams to be cut can be left to somebody since Linux 6.2.
        let all = TAKES.iter().fold(0, |flags, (_, flag)| flags | flag);
        let some = TAKES[..4].iter().fold(0, |flags, (_, flag)| flags | flag);
        let known = if tap::set_offloads(&tap, all).is_ok() { &TAKES[..] } else { &TAKES[..4] };
        if known.len() < TAKES.len() {
            tap::set_offloads(&tap, some)?;
            features &= !(1 << VIRTIO_NET_F_HOST_USO);
        }
        known.iter().for_each(|(bit, _)| features |= 1 << bit);
        tap::set_offloads(&tap, 0)?;
        Ok(Self { tap, config, features, mtu, worker: None })
    }
}

impl Device for Net {
    fn kind(&self) -> u32 {
        VIRTIO_ID_NET
    }

    fn features(&self) -> u64 {
        self.features
    }

    fn queue_sizes(&self) -> &'static [u16] {
        QUEUES
    }

    fn read_config(&self, offset: u64, data: &mut [u8]) {
        read_from(&self.config, offset, data);
    }

    fn start(&mut self, ready: Ready) -> io::Result<()> {
        let has = |bit: u32| ready.features >> bit & 1 == 1;
        let taken = TAKES.iter().filter(|(bit, _)| has(*bit));
        let flags = taken.fold(0, |flags, (_, flag)| flags | flag);
        tap::set_offloads(&self.tap, flags)?;
        let large = flags & !libc::TUN_F_CSUM != 0;
        let longest = if large { LONGEST_SUPER } else { HEADER + ETHERNET + usize::from(self.mtu) };
        let carrier = Carrier {
            tap: self.tap.try_clone()?,
            longest,
            mergeable: has(VIRTIO_NET_F_MRG_RXBUF),
            ready,
        };
        self.worker = Some(Worker::start("net", carrier)?);
        Ok(())
    }

    fn stop(&mut self) -> Vec<Ring> {
        let work = self.worker.take().and_then(Worker::stop);
        work.map(|work| work.ready.rings).unwrap_or_default()
    }
}

/// Carries frames between a tap and a guest.
struct Carrier {
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
