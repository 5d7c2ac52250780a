//! A port, as the thread that carries frames has it.

use std::{
    fs::File,
    io,
    os::fd::{AsRawFd, OwnedFd},
};

use portcullis_ports::tap;
use rustix::io as kernel;
use vmm_sys_util::epoll::{ControlOperation, Epoll, EpollEvent, EventSet};

use crate::{
    delivery::{Chains, Delivered, Frame},
    features::{Features, Offloads},
    header::LENGTH,
    ring::{Lie, Ring},
};

/// The queue by which the guest receives (virtio 1.3, section 5.1.2).
pub const RECEIVE: usize = 0;
/// The one by which it sends.
pub const SEND: usize = 1;
/// Queues of a port.
pub const QUEUES: usize = 2;
/// The tap, as a source of events beside the queues.
const TAP: usize = 2;

/// Longest frame: 64 KiB of IP and an Ethernet header with a tag.
pub const FRAME_MAX: usize = 65_536 + 18;

/// Where a port sits, if the engine may hand its frames to other such ports itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seat {
    /// Id of its network.
    pub network: u32,
    /// MAC of its network's gateway; 0: there is none.
    pub gateway: u64,
}

/// What the port's rings and tap had to do besides what the pipeline counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    /// Frames for the guest for which it had no buffers.
    pub no_room: u64,
    /// Frames of the guest that are none, or say of themselves what is not true.
    pub malformed: u64,
}

/// A port.
pub struct Port {
    /// Name of the port and of its tap.
    pub name: String,
    /// Index of its tap.
    pub ifindex: u32,
    tap: File,
    tap_ready: bool,
    /// A frame from the tap, with its header.
    buffer: Vec<u8>,
    /// How much of it the guest has not got for want of buffers.
    pending: usize,
    /// Its queues, as far as they run.
    pub rings: [Option<Ring>; QUEUES],
    /// Has the guest been given something that it may want to be called for?
    pub touched: bool,
    /// What its front end has negotiated; `None`: there is none.
    pub features: Option<Features>,
    /// What follows from that: the work that its guest leaves to others, and takes from them.
    pub work: Option<(Offloads, Offloads)>,
    /// The queue that was stopped, and why.
    pub stopped: Option<(usize, Lie)>,
    /// See [`Seat`].
    pub seat: Option<Seat>,
    /// See [`Losses`].
    pub losses: Losses,
}

impl Port {
    /// A port without a front end.
    pub fn new(name: String, ifindex: u32, tap: OwnedFd) -> io::Result<Self> {
        let tap = File::from(tap);
        kernel::ioctl_fionbio(&tap, true)?;
        tap::set_offloads(&tap, 0)?;
        Ok(Self {
            name,
            ifindex,
            tap,
            tap_ready: true,
            buffer: vec![0; LENGTH + FRAME_MAX],
            pending: 0,
            rings: [None, None],
            touched: false,
            features: None,
            work: None,
            stopped: None,
            seat: None,
            losses: Losses::default(),
        })
    }

    /// What its sources are called in `epoll`.
    fn token(ifindex: u32, source: usize) -> u64 {
        u64::from(ifindex) << 2 | source as u64
    }

    /// The port's index, and whether it was the tap that something came from.
    pub const fn of_token(token: u64) -> (u32, bool) {
        ((token >> 2) as u32, token & 3 == TAP as u64)
    }

    /// Begins to look at its tap.
    pub fn watch(&self, epoll: &Epoll) -> io::Result<()> {
        let set = EventSet::IN | EventSet::EDGE_TRIGGERED;
        let event = EpollEvent::new(set, Self::token(self.ifindex, TAP));
        epoll.ctl(ControlOperation::Add, self.tap.as_raw_fd(), event)
    }

    /// Ends it.
    pub fn forget(&mut self, epoll: &Epoll) {
        let _ = epoll.ctl(ControlOperation::Delete, self.tap.as_raw_fd(), EpollEvent::default());
        (0..QUEUES).for_each(|queue| drop(self.take_ring(queue, epoll)));
    }

    /// Runs a queue. Its kicks are edges, so nobody has to read them.
    pub fn run_ring(&mut self, queue: usize, ring: Ring, epoll: &Epoll) -> io::Result<()> {
        let set = EventSet::IN | EventSet::EDGE_TRIGGERED;
        let event = EpollEvent::new(set, Self::token(self.ifindex, queue));
        epoll.ctl(ControlOperation::Add, ring.kick.as_raw_fd(), event)?;
        self.rings[queue] = Some(ring);
        if self.stopped.is_some_and(|(stopped, _)| stopped == queue) {
            self.stopped = None;
        }
        Ok(())
    }

    /// Stops a queue.
    pub fn take_ring(&mut self, queue: usize, epoll: &Epoll) -> Option<Ring> {
        let ring = self.rings[queue].take()?;
        if queue == RECEIVE {
            self.pending = 0;
        }
        let event = EpollEvent::default();
        let _ = epoll.ctl(ControlOperation::Delete, ring.kick.as_raw_fd(), event);
        Some(ring)
    }

    /// Its front end has negotiated this, or is gone.
    pub fn negotiated(&mut self, features: Option<Features>) {
        self.features = features;
        self.work = features.map(|features| (features.sends(), features.takes()));
        let taken = features.map_or(0, Features::of_tap);
        // A tap that knows no datagrams to be cut leaves all but them.
        if tap::set_offloads(&self.tap, taken).is_err() {
            let _ = tap::set_offloads(&self.tap, taken & !(libc::TUN_F_USO4 | libc::TUN_F_USO6));
        }
    }

    /// There is something in the tap.
    pub fn tap_is_ready(&mut self) {
        self.tap_ready = true;
    }

    /// Hands a frame, with a header of the longest form in front of it, to the kernel's half.
    pub fn send_to_tap(&self, frame: &[u8]) {
        // A frame that the tap does not take is lost, as on a wire.
        let _ = kernel::write(&self.tap, frame);
    }

    /// Gives the guest what comes from the tap, at most so many frames. True: there may be more, and
    /// room for it.
    pub fn receive(&mut self, most: usize, chains: &mut Chains) -> Result<bool, Lie> {
        if self.pending == 0 && !self.tap_ready {
            return Ok(false);
        }
        let Self { tap, tap_ready, buffer, pending, rings, touched, features, .. } = self;
        let mut guest = features.zip(rings[RECEIVE].as_mut());
        let mut guest = match &mut guest {
            Some((features, ring)) => Some((*features, ring.open()?)),
            None => None,
        };
        let mut more = true;
        for _ in 0..most {
            if *pending == 0 {
                match kernel::read(&*tap, &mut *buffer) {
                    Ok(bytes) if bytes > LENGTH => *pending = bytes,
                    Ok(_) => continue,
                    Err(_) => {
                        (*tap_ready, more) = (false, false);
                        break;
                    }
                }
            }
            // Nobody is there: unplugged.
            let bytes = std::mem::take(pending);
            let Some((features, ring)) = &mut guest else { continue };
            let frame = Frame { bytes: &mut buffer[..bytes], tail: None };
            match chains.deliver(ring, frame, features.header(), features.mergeable())? {
                Delivered::Yes => *touched = true,
                Delivered::NoRoom => {
                    (*pending, more) = (bytes, false);
                    break;
                }
            }
        }
        match guest {
            Some((_, mut ring)) if *touched => ring.publish().map(|()| more),
            _ => Ok(more),
        }
    }

    /// Gives the guest frames of another one, or of the switch; one without room is lost.
    pub fn deliver<'f>(
        &mut self,
        frames: impl Iterator<Item = Frame<'f>>,
        chains: &mut Chains,
    ) -> Result<(), Lie> {
        let (Some(features), Some(ring)) = (self.features, &mut self.rings[RECEIVE]) else {
            self.losses.no_room += frames.count() as u64;
            return Ok(());
        };
        let (header, mergeable) = (features.header(), features.mergeable());
        let mut ring = ring.open()?;
        for frame in frames {
            match chains.deliver(&mut ring, frame, header, mergeable)? {
                Delivered::Yes => self.touched = true,
                Delivered::NoRoom => self.losses.no_room += 1,
            }
        }
        ring.publish()?;
        ring.foresee();
        Ok(())
    }

    /// Asks to be kicked where there is something to wait for. What came before that is found by
    /// looking once more.
    pub fn listen(&mut self) -> Result<(), (usize, Lie)> {
        if let Some(ring) = &mut self.rings[SEND] {
            ring.open().and_then(|mut ring| ring.listen()).map_err(|lie| (SEND, lie))?;
        }
        if let (Some(ring), true) = (&mut self.rings[RECEIVE], self.pending > 0) {
            ring.open().and_then(|mut ring| ring.listen()).map_err(|lie| (RECEIVE, lie))?;
        }
        Ok(())
    }

    /// Wants no kicks.
    pub fn look(&mut self) -> Result<(), (usize, Lie)> {
        for (queue, ring) in self.rings.iter_mut().enumerate() {
            if let Some(ring) = ring {
                ring.open().and_then(|mut ring| ring.look()).map_err(|lie| (queue, lie))?;
            }
        }
        Ok(())
    }
}
