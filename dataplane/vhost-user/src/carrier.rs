//! The thread that carries frames: looks at all rings and taps in turn as long as there is work,
//! and sleeps when there is none. What others want done it does between two bursts, so nothing
//! that it works with is locked.

use std::{
    io,
    os::fd::AsRawFd,
    sync::{
        Arc,
        atomic::{Ordering, fence},
    },
    thread::{self, JoinHandle},
};

use portcullis_engine::{Buffer, Engine, Numbered, Slot, Tables};
use portcullis_pipeline::{
    Tables as _,
    layout::{port_flag, port_kind},
};
use vmm_sys_util::epoll::{ControlOperation, Epoll, EpollEvent, EventSet};

use crate::{
    clock::{Clock, monotonic_ns},
    delivery::Chains,
    fault,
    features::Features,
    header::LENGTH,
    mailbox::Mailbox,
    port::{FRAME_MAX, Port, RECEIVE, SEND, Seat},
    ring::{Lie, Ring},
    stage::{BURST, Stage},
};

/// How long it goes on looking after the last frame, ns.
const LINGER_NS: u64 = 30_000;
/// Rounds without work between two looks at the clock and at the taps.
const ROUNDS: u32 = 16;
/// Events that are taken at once.
const EVENTS: usize = 32;
/// Names the mailbox among them.
const MAILBOX: u64 = u64::MAX;
/// How long it sleeps at most: idle connections are swept by then.
const SLEEP_MS: i32 = 1000;
/// Places of the connection table that are looked at in one go, and how often, ns.
const SWEEP: usize = 4096;
const SWEEP_EVERY_NS: u64 = 100_000_000;
/// ICMP errors in a second, as the kernel's half has them for each processor.
const ERRORS_PER_SECOND: u64 = 500;

/// Everything that carries frames.
pub struct Carrier {
    /// What decides.
    pub engine: Engine,
    /// The ports.
    pub ports: Vec<Port>,
    by_index: Numbered<usize>,
    /// Where ports with a [`Seat`] stand, by what [`neighbour`] makes of network and MAC.
    pub neighbours: Numbered<usize>,
    /// The packets' clock.
    pub clock: Clock,
    /// What rings and taps wake.
    pub epoll: Epoll,
    /// The frames in hand.
    pub stage: Stage,
    pub(crate) chains: Chains,
    pub(crate) answer: Buffer,
    /// A frame for a tap, with its header.
    pub(crate) copy: Vec<u8>,
    sweep_from: usize,
    /// When that was, by the monotonic clock, ns.
    swept_ns: u64,
    /// What that clock said after the last round with work.
    busy_ns: u64,
    /// Faults that were looked into.
    faults: u64,
    ending: bool,
}

/// The number of who has a MAC (48 bits) in a network.
pub const fn neighbour(network: u32, mac: u64) -> u64 {
    (network as u64) << 48 | mac
}

/// The way to the thread.
pub type Desk = Arc<Mailbox<Carrier>>;

/// Starts it, with room for so many connections.
pub fn start(flows: usize) -> io::Result<(Desk, JoinHandle<()>)> {
    let desk = Arc::new(Mailbox::new()?);
    let epoll = Epoll::new()?;
    let event = EpollEvent::new(EventSet::IN, MAILBOX);
    epoll.ctl(ControlOperation::Add, desk.bell.as_raw_fd(), event)?;
    let mailbox = Arc::clone(&desk);
    let thread = thread::Builder::new().name("carrier".to_owned()).spawn(move || {
        Carrier::new(flows, epoll).run(&mailbox);
    })?;
    Ok((desk, thread))
}

impl Carrier {
    fn new(flows: usize, epoll: Epoll) -> Self {
        Self {
            engine: Engine::new(Tables::new(flows, ERRORS_PER_SECOND)),
            ports: Vec::new(),
            by_index: Numbered::default(),
            neighbours: Numbered::default(),
            clock: Clock::default(),
            epoll,
            stage: Stage::new(),
            chains: Chains::default(),
            answer: Buffer::default(),
            copy: vec![0; LENGTH + FRAME_MAX],
            sweep_from: 0,
            swept_ns: monotonic_ns(),
            busy_ns: 0,
            faults: 0,
            ending: false,
        }
    }

    fn run(mut self, mailbox: &Mailbox<Self>) {
        let (mut rounds, mut listening) = (0_u32, false);
        while !self.ending {
            for errand in mailbox.take() {
                errand(&mut self);
                (rounds, listening) = (0, false);
            }
            if self.round() {
                if listening {
                    self.each(Port::look);
                    listening = false;
                }
                rounds = 0;
                continue;
            }
            rounds += 1;
            if rounds % ROUNDS != 0 && !listening {
                std::hint::spin_loop();
                continue;
            }
            if monotonic_ns() - self.busy_ns < LINGER_NS {
                self.wait(0);
                continue;
            }
            if !listening {
                // One more look, for what came before anybody was asked to say so.
                self.each(Port::listen);
                listening = true;
                continue;
            }
            self.wait(SLEEP_MS);
            self.stop_lost();
            self.sweep(monotonic_ns());
        }
    }

    /// Looks at everything once. True: there was work.
    fn round(&mut self) -> bool {
        let mut any = false;
        for at in 0..self.ports.len() {
            any |= self.send(at);
            any |= self.receive(at);
        }
        if any {
            self.call();
            self.stop_lost();
            let now_ns = monotonic_ns();
            self.busy_ns = now_ns;
            self.engine.tables.set_now(self.clock.at(now_ns));
            if now_ns - self.swept_ns > SWEEP_EVERY_NS {
                self.sweep(now_ns);
                self.wait(0);
            }
        }
        any
    }

    /// Everything that a guest wants to send, up to a burst.
    fn send(&mut self, at: usize) -> bool {
        let Some(mut ring) = self.ports[at].rings[SEND].take() else { return false };
        let carried = self.carry(at, &mut ring);
        self.ports[at].rings[SEND] = Some(ring);
        match carried {
            Ok(any) => any,
            Err(lie) => {
                self.stop(at, SEND, lie);
                true
            }
        }
    }

    fn carry(&mut self, at: usize, ring: &mut Ring) -> Result<bool, Lie> {
        let mut ring = ring.open()?;
        let header = self.ports[at].features.map_or(0, Features::header);
        if self.stage.take(&mut ring, header)? == 0 {
            return Ok(false);
        }
        self.forward(at, &mut ring);
        for frame in self.stage.frames() {
            ring.give(frame.chain, 0)?;
        }
        ring.publish()?;
        Ok(true)
    }

    /// Everything that its tap has for a guest, up to a burst.
    fn receive(&mut self, at: usize) -> bool {
        match self.ports[at].receive(BURST, &mut self.chains) {
            Ok(any) => any || self.ports[at].touched,
            Err(lie) => {
                self.stop(at, RECEIVE, lie);
                true
            }
        }
    }

    /// Calls the guests to whom something was given, or given back.
    fn call(&mut self) {
        fence(Ordering::SeqCst);
        for at in 0..self.ports.len() {
            self.ports[at].touched = false;
            for queue in [RECEIVE, SEND] {
                if let Some(ring) = &mut self.ports[at].rings[queue]
                    && ring.is_to_ask()
                    && let Err(lie) = ring.open().and_then(|mut ring| ring.call())
                {
                    self.stop(at, queue, lie);
                }
            }
        }
    }

    /// Stops the queues whose memory was taken back.
    fn stop_lost(&mut self) {
        let faults = fault::count();
        if std::mem::replace(&mut self.faults, faults) == faults {
            return;
        }
        for at in 0..self.ports.len() {
            for queue in [RECEIVE, SEND] {
                if self.ports[at].rings[queue].as_ref().is_some_and(Ring::is_lost) {
                    self.stop(at, queue, Lie::TakenBack);
                }
            }
        }
    }

    fn each(&mut self, act: impl Fn(&mut Port) -> Result<(), (usize, Lie)>) {
        for at in 0..self.ports.len() {
            if let Err((queue, lie)) = act(&mut self.ports[at]) {
                self.stop(at, queue, lie);
            }
        }
    }

    /// A queue of a driver that breaks the rules is not looked at any more.
    pub(crate) fn stop(&mut self, at: usize, queue: usize, lie: Lie) {
        let port = &mut self.ports[at];
        drop(port.take_ring(queue, &self.epoll));
        port.stopped = Some((queue, lie));
        eprintln!("port {}: queue {queue} stopped: {lie}", port.name);
    }

    fn wait(&mut self, timeout_ms: i32) {
        let mut events = [EpollEvent::default(); EVENTS];
        // Interrupted by a signal, it has waited for long enough.
        let count = self.epoll.wait(timeout_ms, &mut events).unwrap_or(0);
        for event in events[..count].iter().filter(|event| event.data() != MAILBOX) {
            let (ifindex, of_tap) = Port::of_token(event.data());
            if let (true, Some(at)) = (of_tap, self.at(ifindex)) {
                self.ports[at].tap_is_ready();
            }
        }
    }

    fn sweep(&mut self, now_ns: u64) {
        self.swept_ns = now_ns;
        self.engine.tables.set_now(self.clock.at(now_ns));
        self.sweep_from = self.engine.tables.sweep(self.sweep_from, SWEEP);
    }

    /// Where a port stands.
    pub fn at(&self, ifindex: u32) -> Option<usize> {
        self.by_index.get(ifindex).copied()
    }

    /// Takes a port in.
    pub fn add(&mut self, port: Port) -> io::Result<()> {
        port.watch(&self.epoll)?;
        self.ports.push(port);
        self.find_seats();
        Ok(())
    }

    /// Gives a port up.
    pub fn remove(&mut self, ifindex: u32) {
        let Some(at) = self.at(ifindex) else { return };
        let mut port = self.ports.remove(at);
        port.forget(&self.epoll);
        self.engine.tables.retire(ifindex);
        self.find_seats();
    }

    /// Puts a generation in force; the tables of before come back, for somebody else to free.
    pub fn install(&mut self, generation: u32, slot: Slot, clock: Clock) -> Slot {
        self.clock = clock;
        self.engine.tables.set_now(self.clock.now());
        let old = self.engine.tables.exchange(generation, slot);
        self.find_seats();
        old
    }

    /// Ends the thread.
    pub fn end(&mut self) {
        self.ending = true;
    }

    /// Which ports may reach each other without the kernel's half: those of guests with one network,
    /// whose state is all here. Shared addresses have their holders in the kernel, bandwidth is held
    /// against one limit only where one half sees all bytes, and tags are the kernel's.
    fn find_seats(&mut self) {
        const ELSEWHERE: u16 =
            port_flag::LIMIT_IN | port_flag::LIMIT_OUT | port_flag::SHARES | port_flag::TRUNK;
        self.by_index = self.ports.iter().map(|port| port.ifindex).zip(0..).collect();
        self.neighbours = Numbered::default();
        let tables = &self.engine.tables;
        let slot = tables.generation() & 1;
        for (at, port) in self.ports.iter_mut().enumerate() {
            let entry = tables
                .port(slot, port.ifindex)
                .filter(|entry| entry.kind == port_kind::GUEST && entry.flags & ELSEWHERE == 0);
            port.seat = entry.and_then(|entry| {
                let network = tables.network(slot, entry.network)?;
                self.neighbours.insert(neighbour(entry.network, entry.mac), at);
                Some(Seat { network: entry.network, gateway: network.gateway_mac })
            });
        }
    }
}
