//! The way of a frame that a guest sends: to another port of the engine, as the pipeline says, or to
//! the kernel's half, which decides about all others.

use portcullis_engine::Buffer;
use portcullis_pipeline::{
    Addr, Frame as _, Tables as _, Verdict,
    verdict::Answer,
    wire::{ethernet, protocol},
};

use crate::{
    carrier::Carrier,
    delivery::Frame,
    head::{Head, LONGEST},
    header::{Header, LENGTH},
    port::{FRAME_MAX, RECEIVE, Seat},
    ring::Memory,
};

impl Carrier {
    /// Forwards the frame in hand, which lies in `memory` and comes from the port at `at`.
    pub(crate) fn forward(&mut self, at: usize, memory: &Memory) {
        let port = &mut self.ports[at];
        let Some(features) = port.features else { return };
        if !self.stage.read(memory, features.header(), FRAME_MAX) {
            port.losses.malformed += 1;
            return;
        }
        if self.is_for_here(at) { self.judge(at, memory) } else { self.pass_on(at, memory) }
    }

    /// Is the frame for a guest that is here too, and can take it as it is?
    fn is_for_here(&self, at: usize) -> bool {
        let port = &self.ports[at];
        let target = port.seat.and_then(|seat| self.target(&seat)).and_then(|to| self.at(to));
        let Some(other) = target.map(|other| &self.ports[other]) else { return false };
        let (Some(own), Some(_)) = (port.features, other.seat) else { return false };
        // Who has no front end gets nothing, and sends nothing back.
        other.features.is_none_or(|other| {
            own.sends().within(other.takes()) && other.sends().within(own.takes())
        })
    }

    /// The port that the frame in hand seems to be for, if it is one of those with a seat. What the
    /// switch answers by itself is none of them.
    fn target(&self, seat: &Seat) -> Option<u32> {
        let head = &self.stage.head;
        let ethertype = u16::from_be_bytes(head.load::<2>(12)?);
        let v6 = ethertype == ethernet::IPV6;
        if !v6 && ethertype != ethernet::IPV4 || is_discovery(head, v6) {
            return None;
        }
        let b = head.load::<6>(0)?;
        let mac = u64::from_be_bytes([0, 0, b[0], b[1], b[2], b[3], b[4], b[5]]);
        if mac != seat.gateway {
            return self.neighbours.get(&(seat.network, mac)).copied();
        }
        let to = if v6 { Addr::v6(head.load::<16>(38)?) } else { Addr::v4(head.load::<4>(30)?) };
        let tables = &self.engine.tables;
        tables.address(tables.generation() & 1, 0, to).map(|entry| entry.port)
    }

    /// Has the pipeline decide about the frame in hand, and does what it says.
    fn judge(&mut self, at: usize, memory: &Memory) {
        if !self.stage.head.is_plain() {
            self.stage.read_on(memory);
        }
        let stage = &mut self.stage;
        let Ok(header) = Header::read(&stage.header, stage.head.bytes(), stage.length) else {
            self.ports[at].losses.malformed += 1;
            return;
        };
        stage.head.set_segment_size(header.segment_size());
        let ingress = self.ports[at].ifindex;
        match self.engine.decide(&mut stage.head, ingress) {
            Verdict::Forward(port) => match self.at(port) {
                Some(to) => self.hand_over(to, &header, memory),
                // The kernel's half decides anew.
                None => self.pass_on(at, memory),
            },
            Verdict::Answer(wanted) => self.answer(at, &wanted, memory),
            Verdict::Drop(_) | Verdict::Flood(_) => {}
        }
    }

    /// Gives the frame in hand to the port at `to`.
    fn hand_over(&mut self, to: usize, header: &Header, memory: &Memory) {
        let Self { stage, ports, chains, .. } = self;
        let head = stage.head.bytes();
        let rest = stage.length - head.len();
        let tail = (rest > 0).then(|| (stage.cursor(memory, head.len()), rest));
        let frame = Frame { header: header.write(1), head, tail };
        if let Err(lie) = ports[to].deliver(frame, chains) {
            self.stop(to, RECEIVE, lie);
        }
    }

    /// Turns the frame in hand into an answer for the guest that has sent it.
    fn answer(&mut self, at: usize, wanted: &Answer, memory: &Memory) {
        self.stage.read_on(memory);
        self.answer.fill(&self.stage.head.bytes()[..self.stage.length.min(LONGEST)]);
        let mut answer: Buffer = std::mem::take(&mut self.answer);
        if self.engine.answer(&mut answer, wanted) {
            let header = Header::default().write(1);
            let frame = Frame { header, head: answer.bytes(), tail: None };
            if let Err(lie) = self.ports[at].deliver(frame, &mut self.chains) {
                self.stop(at, RECEIVE, lie);
            }
        }
        self.answer = answer;
    }

    /// Hands the frame in hand to the kernel's half.
    fn pass_on(&mut self, at: usize, memory: &Memory) {
        let Self { stage, ports, copy, .. } = self;
        copy[..LENGTH].copy_from_slice(&stage.header);
        let frame = &mut copy[LENGTH..LENGTH + stage.length];
        stage.cursor(memory, 0).read(frame);
        ports[at].send_to_tap(&copy[..LENGTH + stage.length]);
    }
}

/// Neighbour discovery (RFC 4861, section 4) is answered by the kernel's half.
fn is_discovery(head: &Head, v6: bool) -> bool {
    const NEXT_HEADER: u32 = ethernet::LEN + 6;
    const TYPE: u32 = ethernet::LEN + 40;
    let next = head.load::<2>(NEXT_HEADER).map(|b| b[0]);
    let kind = head.load::<2>(TYPE).map(|b| b[0]);
    v6 && next == Some(protocol::ICMPV6) && matches!(kind, Some(133..=137))
}
