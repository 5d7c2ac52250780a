//! Network cards (section 5.1): what the guest finds of each, whoever carries its frames. That is
//! either a tap of the switch, or a vhost-user port of it.

mod carrier;
mod control;
mod tap;
#[cfg(test)]
mod tests;
mod vhost;

use std::{
    fs::File,
    io,
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering},
    },
};

use virtio_bindings::{
    virtio_ids::VIRTIO_ID_NET,
    virtio_net::{
        VIRTIO_NET_F_CSUM, VIRTIO_NET_F_CTRL_VQ, VIRTIO_NET_F_GUEST_CSUM, VIRTIO_NET_F_GUEST_ECN,
        VIRTIO_NET_F_GUEST_TSO4, VIRTIO_NET_F_GUEST_TSO6, VIRTIO_NET_F_GUEST_USO4,
        VIRTIO_NET_F_GUEST_USO6, VIRTIO_NET_F_HOST_ECN, VIRTIO_NET_F_HOST_TSO4,
        VIRTIO_NET_F_HOST_TSO6, VIRTIO_NET_F_HOST_USO, VIRTIO_NET_F_MAC, VIRTIO_NET_F_MQ,
        VIRTIO_NET_F_MRG_RXBUF, VIRTIO_NET_F_MTU,
    },
};

pub use self::vhost::VhostNet;
use self::{carrier::Carrier, control::Control};
use super::{Device, Ready, Ring, read_from, worker::Worker};
use crate::config::PAIRS_MAX;

/// Entries of a queue for frames, and of the one for orders.
const FRAMES: u16 = 256;
const ORDERS: u16 = 16;
/// Queues of a pair: what the guest receives, and what it sends.
const PAIR: usize = 2;

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

/// `struct virtio_net_config` up to the MTU (section 5.1.4).
type Registers = [u8; 12];

fn registers(mac: [u8; 6], mtu: u16, pairs: usize) -> Registers {
    let mut config = [0; 12];
    config[..6].copy_from_slice(&mac);
    config[8..10].copy_from_slice(&(pairs as u16).to_le_bytes());
    config[10..].copy_from_slice(&mtu.to_le_bytes());
    config
}

/// A network card on a tap: each queue of the tap is a pair of queues of the guest's, with a thread
/// of its own.
pub struct Net {
    taps: Vec<File>,
    config: Registers,
    features: u64,
    mtu: u16,
    /// Pairs that the driver uses.
    used: Arc<AtomicU16>,
    carriers: Vec<Worker<Carrier>>,
    control: Option<Worker<Control>>,
}

impl Net {
    /// Takes the tap over, by all its queues.
    pub fn new(taps: Vec<File>, mac: [u8; 6], mtu: u16) -> io::Result<Self> {
        let Some(first) = taps.first() else { return Err(io::ErrorKind::InvalidInput.into()) };
        taps.iter().try_for_each(tap::set_nonblocking)?;
        let mut features = 1 << VIRTIO_NET_F_MAC | 1 << VIRTIO_NET_F_MTU;
        features |= 1 << VIRTIO_NET_F_MRG_RXBUF;
        if taps.len() > 1 {
            features |= 1 << VIRTIO_NET_F_MQ | 1 << VIRTIO_NET_F_CTRL_VQ;
        }
        SENDS.iter().for_each(|bit| features |= 1 << bit);
        // Datagrams to be cut can be left to somebody since Linux 6.2.
        let all = TAKES.iter().fold(0, |flags, (_, flag)| flags | flag);
        let some = TAKES[..4].iter().fold(0, |flags, (_, flag)| flags | flag);
        let known = if tap::set_offloads(first, all).is_ok() { &TAKES[..] } else { &TAKES[..4] };
        if known.len() < TAKES.len() {
            tap::set_offloads(first, some)?;
            features &= !(1 << VIRTIO_NET_F_HOST_USO);
        }
        known.iter().for_each(|(bit, _)| features |= 1 << bit);
        tap::set_offloads(first, 0)?;
        Ok(Self {
            config: registers(mac, mtu, taps.len()),
            mtu,
            taps,
            features,
            used: Arc::new(AtomicU16::new(1)),
            carriers: Vec::new(),
            control: None,
        })
    }

    fn start_carriers(&mut self, rings: Vec<Ring>, ready: &Ready) -> io::Result<()> {
        let taken = TAKES.iter().filter(|(bit, _)| ready.has(*bit));
        let flags = taken.fold(0, |flags, (_, flag)| flags | flag);
        tap::set_offloads(&self.taps[0], flags)?;
        let large = flags & !libc::TUN_F_CSUM != 0;
        let mut rings = rings.into_iter();
        for tap in &self.taps {
            let pair: Vec<Ring> = rings.by_ref().take(PAIR).collect();
            if pair.len() < PAIR {
                break;
            }
            let ready = ready.with(pair)?;
            let carrier = Carrier::new(tap.try_clone()?, ready, large, self.mtu);
            self.carriers.push(Worker::start("net", carrier)?);
        }
        Ok(())
    }

    fn start_all(&mut self, mut ready: Ready) -> io::Result<()> {
        let mut rings = std::mem::take(&mut ready.rings);
        let has_control = ready.has(VIRTIO_NET_F_CTRL_VQ);
        let control = if has_control { rings.pop() } else { None };
        // A thread can only wait for a queue that is part of its tap.
        tap::use_queues(&self.taps, self.taps.len())?;
        self.start_carriers(rings, &ready)?;
        tap::use_queues(&self.taps, self.used.load(Ordering::SeqCst).into())?;
        if let Some(control) = control {
            let taps = self.taps.iter().map(File::try_clone).collect::<io::Result<_>>()?;
            let ready = ready.with(vec![control])?;
            let control = Control { ready, taps, used: Arc::clone(&self.used) };
            self.control = Some(Worker::start("net-control", control)?);
        }
        Ok(())
    }
}

impl Device for Net {
    fn kind(&self) -> u32 {
        VIRTIO_ID_NET
    }

    fn features(&self) -> u64 {
        self.features
    }

    /// Section 5.1.2: pairs, and behind them the queue for orders.
    fn queue_sizes(&self) -> Vec<u16> {
        let mut sizes = vec![FRAMES; PAIR * self.taps.len()];
        if self.taps.len() > 1 {
            sizes.push(ORDERS);
        }
        sizes
    }

    /// Without multi-queue there is one pair, and orders come behind that.
    fn queues_used(&self, features: u64) -> usize {
        let has = |bit: u32| features >> bit & 1 == 1;
        let pairs = if has(VIRTIO_NET_F_MQ) { self.taps.len() } else { 1 };
        PAIR * pairs + usize::from(has(VIRTIO_NET_F_CTRL_VQ))
    }

    fn read_config(&self, offset: u64, data: &mut [u8]) {
        read_from(&self.config, offset, data);
    }

    fn start(&mut self, ready: Ready) -> io::Result<()> {
        let started = self.start_all(ready);
        if started.is_err() {
            self.stop();
        }
        started
    }

    fn stop(&mut self) -> Vec<Ring> {
        let control = self.control.take().map(Worker::stop);
        let carriers: Vec<_> = self.carriers.drain(..).map(Worker::stop).collect();
        let carriers = carriers.into_iter().map(|work| Some(work?.into_rings()));
        let control = control.into_iter().map(|work| Some(work?.ready.rings));
        let rings: Option<Vec<_>> = carriers.chain(control).collect();
        rings.unwrap_or_default().into_iter().flatten().collect()
    }

    fn reset(&mut self) {
        self.used.store(1, Ordering::SeqCst);
    }

    fn own(&self) -> u64 {
        self.used.load(Ordering::SeqCst).into()
    }

    fn restore(&mut self, own: u64) -> bool {
        let fits = (1..=self.taps.len() as u64).contains(&own);
        if fits {
            self.used.store(own as u16, Ordering::SeqCst);
        }
        fits
    }
}

const _: () = assert!(PAIRS_MAX <= 256, "the tap has no more queues");
