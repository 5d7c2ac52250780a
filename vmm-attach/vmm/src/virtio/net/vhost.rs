//! A network card whose queues somebody else serves: the front end of vhost-user. That one finds the
//! guest's memory, its bells and its interrupt by their descriptors, so nothing of a frame comes
//! through this process.

use std::{
    io,
    os::{fd::AsFd, unix::net::UnixStream},
    sync::{Arc, atomic::Ordering},
    thread::{self, JoinHandle},
};

use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::eventfd::EventFd as StopFd,
};
use vhost::{
    VhostBackend, VhostUserMemoryRegionInfo, VringConfigData,
    vhost_user::{
        Frontend, VhostUserFrontend,
        message::{VhostUserHeaderFlag, VhostUserProtocolFeatures, VhostUserVirtioFeatures},
    },
};
use virtio_bindings::{
    virtio_ids::VIRTIO_ID_NET,
    virtio_net::{VIRTIO_NET_F_MAC, VIRTIO_NET_F_MRG_RXBUF, VIRTIO_NET_F_MTU},
};
use virtio_queue::QueueT;
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend};
use vmm_sys_util::eventfd::EventFd;

use super::{FRAMES, PAIR, Registers, SENDS, TAKES, registers};
use crate::{
    config::Connect,
    memory::Memory,
    virtio::{Device, Ready, Ring, mmio, read_from},
};

/// Between two attempts to connect, milliseconds.
const PATIENCE_MS: u16 = 100;
/// Attempts at the start: a port has just been made.
const FIRST_ATTEMPTS: usize = 50;
/// Bytes of the used ring in front of its index (section 2.7.8).
const USED_INDEX: u64 = 2;
/// "Feature negotiation of the protocol": its rings are enabled one by one.
const PROTOCOL: u64 = VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits();

/// A network card on a vhost-user port.
pub struct VhostNet {
    connect: Arc<dyn Connect>,
    config: Registers,
    features: u64,
    /// With nothing to do.
    idle: Option<Connection>,
    keeper: Option<Keeper>,
}

impl VhostNet {
    /// Connects, and asks what the other side can.
    pub fn new(connect: Arc<dyn Connect>, mac: [u8; 6], mtu: u16) -> io::Result<Self> {
        let connection = Connection::first(&*connect)?;
        let offered = SENDS.iter().chain(TAKES.iter().map(|(bit, _)| bit));
        let mask = offered.fold(1 << VIRTIO_NET_F_MRG_RXBUF, |mask, bit| mask | 1 << bit);
        let own = 1 << VIRTIO_NET_F_MAC | 1 << VIRTIO_NET_F_MTU;
        if connection.features & mmio::FEATURES != mmio::FEATURES {
            let what = "the other side knows no virtio 1, event index, or indirect descriptors";
            return Err(io::Error::new(io::ErrorKind::Unsupported, what));
        }
        Ok(Self {
            connect,
            config: registers(mac, mtu, 1),
            features: connection.features & mask | own,
            idle: Some(connection),
            keeper: None,
        })
    }
}

impl Device for VhostNet {
    fn kind(&self) -> u32 {
        VIRTIO_ID_NET
    }

    fn features(&self) -> u64 {
        self.features
    }

    fn queue_sizes(&self) -> Vec<u16> {
        vec![FRAMES; PAIR]
    }

    fn read_config(&self, offset: u64, data: &mut [u8]) {
        read_from(&self.config, offset, data);
    }

    fn start(&mut self, ready: Ready) -> io::Result<()> {
        let line = ready.interrupt.given_away()?;
        let (connect, connection) = (Arc::clone(&self.connect), self.idle.take());
        let link = Link { connect, connection, ready, line };
        self.keeper = Some(Keeper::start(link)?);
        Ok(())
    }

    fn stop(&mut self) -> Vec<Ring> {
        let Some(link) = self.keeper.take().and_then(Keeper::stop) else { return Vec::new() };
        self.idle = link.connection;
        link.ready.rings
    }

    fn is_foreign(&self) -> bool {
        true
    }
}

/// A connection that has agreed on what the protocol can.
struct Connection {
    frontend: Frontend,
    watch: UnixStream,
    /// What the other side offers.
    features: u64,
}

impl Connection {
    fn first(connect: &dyn Connect) -> io::Result<Self> {
        let mut attempt = Self::new(connect);
        for _ in 1..FIRST_ATTEMPTS {
            if attempt.is_ok() {
                break;
            }
            thread::sleep(std::time::Duration::from_millis(PATIENCE_MS.into()));
            attempt = Self::new(connect);
        }
        attempt
    }

    fn new(connect: &dyn Connect) -> io::Result<Self> {
        let stream = connect.connect()?;
        let watch = stream.try_clone()?;
        let mut frontend = Frontend::from_stream(stream, PAIR as u64);
        let features = agree(&mut frontend).map_err(io::Error::other)?;
        Ok(Self { frontend, watch, features })
    }

    /// Has the other side gone? It says nothing that it was not asked for.
    fn is_cut(&self) -> bool {
        let mut ends = [PollFd::new(self.watch.as_fd(), PollFlags::POLLIN)];
        poll(&mut ends, PollTimeout::ZERO) != Ok(0)
    }

    /// Has the other side serve these queues.
    fn serve(&mut self, ready: &Ready, line: &EventFd, bases: &[u16]) -> vhost::Result<()> {
        let Ready { memory, rings, features, .. } = ready;
        // The MAC and the MTU are between the guest and its machine.
        let theirs = features & self.features;
        if features & mmio::FEATURES & !theirs != 0 {
            return Err(vhost::Error::InvalidOperation);
        }
        self.frontend.set_features(theirs | self.features & PROTOCOL)?;
        let regions = memory.iter().map(VhostUserMemoryRegionInfo::from_guest_region);
        self.frontend.set_mem_table(&regions.collect::<vhost::Result<Vec<_>>>()?)?;
        for ((index, ring), base) in rings.iter().enumerate().zip(bases) {
            self.frontend.set_vring_num(index, ring.queue.size())?;
            self.frontend.set_vring_addr(index, &places(memory, ring)?)?;
            self.frontend.set_vring_base(index, *base)?;
            self.frontend.set_vring_call(index, line)?;
            self.frontend.set_vring_kick(index, &ring.bell)?;
            if self.features & PROTOCOL != 0 {
                self.frontend.set_vring_enable(index, true)?;
            }
            // Whatever came while nobody looked, on either side.
            let _ = (ring.bell.write(1), line.write(1));
        }
        Ok(())
    }

    /// Ends that; where each queue stands now.
    fn stop(&mut self) -> vhost::Result<Vec<u16>> {
        let base = |index| Ok(self.frontend.get_vring_base(index)? as u16);
        (0..PAIR).map(base).collect()
    }
}

fn agree(frontend: &mut Frontend) -> vhost::Result<u64> {
    frontend.set_owner()?;
    let features = frontend.get_features()?;
    if features & PROTOCOL != 0 {
        // Asked for with the first features that are set (QEMU's docs/interop/vhost-user.rst).
        let own = VhostUserProtocolFeatures::REPLY_ACK;
        let both = frontend.get_protocol_features()? & own;
        frontend.set_protocol_features(both)?;
        if both.contains(own) {
            frontend.set_hdr_flags(VhostUserHeaderFlag::NEED_REPLY);
        }
    }
    Ok(features)
}

/// Where the parts of a queue are in this process: the protocol wants no other addresses.
fn places(memory: &Memory, ring: &Ring) -> vhost::Result<VringConfigData> {
    let here = |address| {
        let place = memory.get_host_address(GuestAddress(address));
        place.map(|place| place as u64).map_err(|_| vhost::Error::DescriptorTableAddress)
    };
    let queue = &ring.queue;
    Ok(VringConfigData {
        queue_max_size: queue.max_size(),
        queue_size: queue.size(),
        flags: 0,
        desc_table_addr: here(queue.desc_table())?,
        used_ring_addr: here(queue.used_ring())?,
        avail_ring_addr: here(queue.avail_ring())?,
        log_addr: None,
    })
}

/// Queues, and the connection over which they are served: made anew whenever it breaks.
struct Link {
    connect: Arc<dyn Connect>,
    connection: Option<Connection>,
    ready: Ready,
    line: EventFd,
}

impl Link {
    /// Until `stop` is written to.
    fn keep(&mut self, stop: &StopFd) {
        loop {
            let cut = self.connection.as_ref().is_none_or(Connection::is_cut);
            if cut {
                self.again();
            }
            if self.wait(stop) {
                break;
            }
        }
        self.note_where_they_stand();
    }

    /// A new connection. What the other side has given back it does not take again.
    fn again(&mut self) {
        self.connection = Connection::new(&*self.connect).ok();
        self.serve(self.used());
    }

    fn serve(&mut self, bases: Vec<u16>) {
        let Self { connection, ready, line, .. } = self;
        // One that cannot serve is as good as one that is not there.
        connection.take_if(|connection| connection.serve(ready, line, &bases).is_err());
    }

    /// Waits for the end of the connection, or for the next attempt; true: it is to stop.
    fn wait(&self, stop: &StopFd) -> bool {
        let mut sources = vec![PollFd::new(stop.as_fd(), PollFlags::POLLIN)];
        let watch = self.connection.as_ref().map(|connection| connection.watch.as_fd());
        sources.extend(watch.map(|watch| PollFd::new(watch, PollFlags::POLLIN)));
        let limit = if watch.is_some() { PollTimeout::NONE } else { PATIENCE_MS.into() };
        // An interruption is no reason for anything.
        let _ = poll(&mut sources, limit);
        sources[0].any().unwrap_or(false)
    }

    /// Where each queue was when somebody served it last.
    fn bases(&self) -> Vec<u16> {
        self.ready.rings.iter().map(|ring| ring.queue.next_avail()).collect()
    }

    /// How much of each queue was given back, as its driver sees it.
    fn used(&self) -> Vec<u16> {
        let Ready { memory, rings, .. } = &self.ready;
        let used = |ring: &Ring| {
            let at = GuestAddress(ring.queue.used_ring().wrapping_add(USED_INDEX));
            // It was there when the queue was looked at, and memory does not go away.
            memory.load(at, Ordering::Acquire).map_or(0, u16::from_le)
        };
        rings.iter().map(used).collect()
    }

    fn note_where_they_stand(&mut self) {
        let stopped = self.connection.as_mut().map(Connection::stop);
        let used = self.used();
        let bases = match stopped {
            Some(Ok(bases)) => bases,
            _ => {
                self.connection = None;
                used.clone()
            }
        };
        for (ring, (base, used)) in self.ready.rings.iter_mut().zip(bases.into_iter().zip(used)) {
            ring.queue.set_next_avail(base);
            ring.queue.set_next_used(used);
        }
    }
}

/// The thread that keeps a connection.
struct Keeper {
    thread: JoinHandle<Link>,
    stop: Arc<StopFd>,
}

impl Keeper {
    fn start(mut link: Link) -> io::Result<Self> {
        let stop = Arc::new(StopFd::new()?);
        let ended = Arc::clone(&stop);
        // Now: who is told that the guest goes on may send it something at once.
        link.serve(link.bases());
        let keep = move || {
            link.keep(&ended);
            link
        };
        let thread = thread::Builder::new().name("vhost-user".into()).spawn(keep)?;
        Ok(Self { thread, stop })
    }

    fn stop(self) -> Option<Link> {
        // Its counter is never full.
        let _ = self.stop.write(1);
        self.thread.join().ok()
    }
}
