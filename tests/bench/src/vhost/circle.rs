//! A closed loop between two cards on one thread: never more than a window of frames under way.

use std::time::{Duration, Instant};

use portcullis_lab::front::Layout;

use super::{
    card::{Card, Receiving, Sending},
    nic::Arrived,
};
use crate::{
    error::Error,
    frame::{Direction, Segment, Template, VNET_HEADER, ports},
    generator::{Limit, Reading, thread_cpu},
    interrupt::Interrupt,
    world::Ends,
};

/// Buffers of 2 KiB, as network drivers have them. The odd lines spread them over a cache's sets.
pub const ORDINARY: Layout = Layout { size: 512, sent_each: 2048 + 128, received_each: 2048 + 128 };
/// Buffers for super-packets: whole where they are sent, in pages where they arrive.
pub const BULK: Layout = Layout { size: 256, sent_each: 65_536 + 192, received_each: 4096 + 64 };
/// Ordinary frames under way at most.
const WINDOW: u64 = 256;
/// Super-packets under way at most: their pages are half of those that the other end has.
const BULK_WINDOW: u64 = 8;
/// Frames sent before the other end is looked at.
const BURST: u64 = 32;
/// Bursts between two looks at the clock.
const LOOK: u32 = 16;
/// How long nothing may arrive.
const PATIENCE: Duration = Duration::from_secs(2);

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// Bytes of a frame; 0: super-packets.
    pub bytes: usize,
    /// Connections, in turn.
    pub flows: u32,
}

impl Load {
    fn is_bulk(self) -> bool {
        self.bytes == 0
    }

    fn template(self, ends: &Ends) -> Template {
        let Ends { client, server } = *ends;
        match self.bytes {
            0 => Template::super_packet(client, server),
            bytes => Template::udp_of(bytes, client, server, Direction::Forward),
        }
    }

    /// Frames under way at most.
    fn window(self) -> u64 {
        if self.is_bulk() { BULK_WINDOW } else { WINDOW }
    }
}

/// Two cards with a switch between them.
pub struct Circle {
    /// Of the one that opens connections.
    pub client: Card,
    /// Of the one that answers.
    pub server: Card,
    /// Their addresses.
    pub ends: Ends,
}

impl Circle {
    /// Do both ends take super-packets, and send them?
    pub fn takes_super_packets(&self) -> bool {
        self.client.takes_super_packets() && self.server.takes_super_packets()
    }

    /// Opens all connections of a load: each is answered once, or has shaken hands.
    pub fn open(&mut self, load: Load, interrupt: &Interrupt) -> Result<(), Error> {
        let Ends { client, server } = self.ends;
        let steps = if load.is_bulk() {
            Segment::HANDSHAKE.map(|segment| Template::tcp(client, server, segment)).to_vec()
        } else {
            let reply = Template::udp_of(load.bytes, server, client, Direction::Reply);
            vec![load.template(&self.ends), reply]
        };
        for template in steps {
            let once = Limit::Frames(load.flows.into());
            self.turn(&template, load, once, interrupt)?.checked("first frames")?;
        }
        Ok(())
    }

    /// Sends until `limit`. Its connections must be open.
    pub fn run(
        &mut self,
        load: Load,
        limit: Limit,
        interrupt: &Interrupt,
    ) -> Result<Reading, Error> {
        let template = load.template(&self.ends);
        self.turn(&template, load, limit, interrupt)?.checked("measured frames")
    }

    fn turn(
        &mut self,
        template: &Template,
        load: Load,
        limit: Limit,
        interrupt: &Interrupt,
    ) -> Result<Reading, Error> {
        let Self { client, server, .. } = self;
        let (from, to) = match template.direction() {
            Direction::Forward => (client, server),
            Direction::Reply => (server, client),
        };
        let mut turn = Turn {
            flows: Flows::of(load, template),
            sending: from.sending(template),
            receiving: to.receiving(),
            expected: Arrived::read(template.with_vnet_header()).expect("a frame with ports"),
            window: load.window(),
            reading: Reading::default(),
            foreign: 0,
        };
        turn.all(limit, interrupt)?;
        let Reading { sent, received, .. } = turn.reading;
        match turn.foreign {
            0 => Ok(turn.reading),
            _ => Err(Error::Lost { what: "frames as they were sent", sent, received }),
        }
    }
}

/// Ports of a load's connections, one after the other.
struct Flows {
    ports: Vec<(u16, u16)>,
    at: usize,
}

impl Flows {
    fn of(load: Load, template: &Template) -> Self {
        let ports = (0..load.flows).map(|number| match (ports(number), template.direction()) {
            ((client, server), Direction::Forward) => (client, server),
            ((client, server), Direction::Reply) => (server, client),
        });
        Self { ports: ports.collect(), at: 0 }
    }

    fn next(&mut self) -> (u16, u16) {
        let ports = self.ports[self.at];
        self.at = if self.at + 1 == self.ports.len() { 0 } else { self.at + 1 };
        ports
    }
}

/// One way, for a while.
struct Turn<'a> {
    flows: Flows,
    sending: Sending<'a>,
    receiving: Receiving<'a>,
    expected: Arrived,
    window: u64,
    reading: Reading,
    /// Frames that are not what was sent.
    foreign: u64,
}

impl Turn<'_> {
    fn all(&mut self, limit: Limit, interrupt: &Interrupt) -> Result<(), Error> {
        let (start, cpu) = (Instant::now(), thread_cpu()?);
        let (mut moved, mut moved_at) = (0, start);
        while moved_at.elapsed() < PATIENCE && self.some(limit, start.elapsed())? {
            interrupt.check()?;
            if moved != self.reading.received {
                (moved, moved_at) = (self.reading.received, Instant::now());
            }
        }
        self.reading.elapsed = start.elapsed();
        self.reading.cpu = thread_cpu()? - cpu;
        Ok(())
    }

    /// A few bursts; false when all was sent and all has come.
    fn some(&mut self, limit: Limit, elapsed: Duration) -> Result<bool, Error> {
        for _ in 0..LOOK {
            let under_way = self.reading.sent - self.reading.received - self.foreign;
            let room = limit.room(self.reading.sent, elapsed);
            if room == 0 && under_way == 0 {
                return Ok(false);
            }
            let most = room.min(self.window.saturating_sub(under_way)).min(BURST);
            let before = (self.reading.sent, self.reading.received);
            self.reading.sent += self.sending.send(most, || self.flows.next())?;
            self.receive()?;
            if before == (self.reading.sent, self.reading.received) {
                // Nothing goes on: only now somebody can be asleep.
                self.sending.wake();
                self.receiving.wake();
            }
        }
        Ok(true)
    }

    fn receive(&mut self) -> Result<(), Error> {
        let Self { receiving, reading, foreign, expected, .. } = self;
        receiving.receive(|frame| {
            // A frame that is cut, or will never be, is not the one that was sent.
            if !frame.is_like(expected) {
                *foreign += 1;
                return;
            }
            let length = frame.bytes - VNET_HEADER;
            reading.received += 1;
            reading.bytes += length as u64;
            reading.longest = reading.longest.max(length);
        })
    }
}
