//! The way of a frame that a guest sends: to another port of the engine, as the pipeline says, or to
//! the kernel's half, which decides about all others.

use portcullis_engine::Buffer;
use portcullis_pipeline::{
    Addr, Frame as _, Tables as _, Verdict,
    verdict::Answer,
    wire::{ethernet, protocol},
};

use crate::{
    carrier::{Carrier, neighbour},
    delivery::Frame,
    head::Head,
    header::{Header, LENGTH},
    map::Map,
    port::{FRAME_MAX, RECEIVE, Seat},
    ring::{Open, Part},
    stage::{Fate, Stage, Staged},
};

/// Where a frame's bytes are.
type Buffers<'a> = (&'a Map, &'a [Part]);

impl Carrier {
    /// Forwards the frames in hand, which come from this ring of the port at `at`.
    pub(crate) fn forward(&mut self, at: usize, ring: &mut Open<'_>) {
        if self.ports[at].features.is_none() {
            return;
        }
        let memory = ring.memory;
        let mut stage = std::mem::take(&mut self.stage);
        for frame in stage.frames() {
            frame.expected = self.engine.fetch(&frame.head);
        }
        ring.foresee();
        for number in 0..stage.frames().len() {
            // A few lines at a time: more than the processor can wait for would stop it.
            ring.fetch();
            let (frame, parts) = stage.frame(number);
            let fate = self.fate(at, frame, (memory, parts));
            frame.fate = fate;
            if let Fate::To(to) = fate
                && let Some(ring) = &mut self.ports[to].rings[RECEIVE]
            {
                ring.fetch();
            }
        }
        while ring.fetch() {}
        self.hand_over(&mut stage, memory);
        self.stage = stage;
    }

    /// What is to become of a frame. What is not for a guest that is here is done with at once.
    fn fate(&mut self, at: usize, frame: &mut Staged, buffers: Buffers<'_>) -> Fate {
        if !(14..=FRAME_MAX).contains(&frame.length) {
            self.ports[at].losses.malformed += 1;
            return Fate::Done;
        }
        match self.target(at, &frame.head) {
            Some(to) => self.judge((at, to), frame, buffers),
            None => self.pass_on(at, frame, buffers),
        }
    }

    /// The port that a frame seems to be for, if it has a seat as the sender has, and can take the
    /// frame as it is.
    fn target(&self, at: usize, head: &Head) -> Option<usize> {
        let port = &self.ports[at];
        let to = self.addressed(&port.seat?, head)?;
        let other = &self.ports[to];
        let ((sends, takes), _) = port.work.zip(other.seat)?;
        // Who has no front end gets nothing, and sends nothing back.
        let fits = other.work.is_none_or(|(other_sends, other_takes)| {
            sends.within(other_takes) && other_sends.within(takes)
        });
        fits.then_some(to)
    }

    /// Where the port stands that a frame is addressed to. What the switch answers by itself is for
    /// none of them.
    fn addressed(&self, seat: &Seat, head: &Head) -> Option<usize> {
        let ethertype = u16::from_be_bytes(head.load::<2>(12)?);
        let v6 = ethertype == ethernet::IPV6;
        if !v6 && ethertype != ethernet::IPV4 || is_discovery(head, v6) {
            return None;
        }
        let b = head.load::<6>(0)?;
        let mac = u64::from_be_bytes([0, 0, b[0], b[1], b[2], b[3], b[4], b[5]]);
        if mac != seat.gateway {
            return self.neighbours.get(neighbour(seat.network, mac)).copied();
        }
        let to = if v6 { Addr::v6(head.load::<16>(38)?) } else { Addr::v4(head.load::<4>(30)?) };
        let tables = &self.engine.tables;
        let port = tables.address(tables.generation() & 1, 0, to)?.port;
        self.at(port)
    }

    /// Has the pipeline decide about a frame, which is probably for the port at `likely`.
    fn judge(
        &mut self,
        (at, likely): (usize, usize),
        frame: &mut Staged,
        buffers: Buffers<'_>,
    ) -> Fate {
        let (memory, parts) = buffers;
        if !frame.head.is_plain() {
            frame.read_on(memory, parts);
        }
        let Ok(header) = Header::read(&frame.header(), frame.head.bytes(), frame.length) else {
            self.ports[at].losses.malformed += 1;
            return Fate::Done;
        };
        frame.head.set_segment_size(header.segment_size());
        let ingress = self.ports[at].ifindex;
        self.engine.expect(frame.expected);
        match self.engine.decide(&mut frame.head, ingress) {
            Verdict::Forward(port) => {
                let is_likely = self.ports[likely].ifindex == port;
                match if is_likely { Some(likely) } else { self.at(port) } {
                    Some(to) => {
                        frame.head.with_header()[..LENGTH].copy_from_slice(&header.write(1));
                        Fate::To(to)
                    }
                    // The kernel's half decides anew.
                    None => self.pass_on(at, frame, buffers),
                }
            }
            Verdict::Answer(wanted) => {
                frame.read_on(memory, parts);
                self.answer(at, &frame.head, &wanted);
                Fate::Done
            }
            Verdict::Drop(_) | Verdict::Flood(_) => Fate::Done,
        }
    }

    /// Gives the frames in hand to the ports that they are for: to each all that it gets at once.
    fn hand_over(&mut self, stage: &mut Stage, memory: &Map) {
        for number in 0..stage.frames().len() {
            let Fate::To(to) = stage.frame(number).0.fate else { continue };
            let Self { ports, chains, .. } = self;
            let frames = stage.rest(number, Fate::To(to));
            let frames = frames.map(|(frame, parts)| {
                frame.fate = Fate::Done;
                let held = frame.head.bytes().len();
                let rest = frame.length - held;
                let tail = (rest > 0).then(|| (frame.cursor(memory, parts, held), rest));
                Frame { bytes: frame.head.with_header(), tail }
            });
            if let Err(lie) = ports[to].deliver(frames, chains) {
                self.stop(to, RECEIVE, lie);
            }
        }
    }

    /// Turns a frame into an answer for the guest that has sent it.
    fn answer(&mut self, at: usize, frame: &Head, wanted: &Answer) {
        let mut answer: Buffer = std::mem::take(&mut self.answer);
        answer.fill(frame.bytes());
        if self.engine.answer(&mut answer, wanted) {
            let bytes = &mut self.copy[..LENGTH + answer.bytes().len()];
            bytes[..LENGTH].copy_from_slice(&Header::default().write(1));
            bytes[LENGTH..].copy_from_slice(answer.bytes());
            let frame = std::iter::once(Frame { bytes, tail: None });
            if let Err(lie) = self.ports[at].deliver(frame, &mut self.chains) {
                self.stop(at, RECEIVE, lie);
            }
        }
        self.answer = answer;
    }

    /// Hands a frame to the kernel's half.
    fn pass_on(&mut self, at: usize, frame: &Staged, (memory, parts): Buffers<'_>) -> Fate {
        let Self { ports, copy, .. } = self;
        copy[..LENGTH].copy_from_slice(&frame.header());
        let held = frame.head.bytes();
        let bytes = &mut copy[LENGTH..LENGTH + frame.length];
        bytes[..held.len()].copy_from_slice(held);
        frame.cursor(memory, parts, held.len()).read(&mut bytes[held.len()..]);
        ports[at].send_to_tap(&copy[..LENGTH + frame.length]);
        Fate::Done
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
