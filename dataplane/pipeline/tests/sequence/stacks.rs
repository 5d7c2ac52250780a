//! Two stacks with the tracker between them, over a network that loses, repeats and reorders, and
//! an attacker who guesses. The stacks follow RFC 9293, section 3.10, and RFC 5961, with numbers of
//! 64 bits that do not wrap; only what is on the wire does.

use portcullis_pipeline::{
    conntrack::{self, Event, KNOCKED},
    sequence::{FLIGHT_MAX, SLACK, Segment},
};

use crate::{A, B, Fate, Tracker};

/// A window without scaling.
const WINDOW: u64 = 65_535;

/// xorshift64*.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, n: u64) -> u64 {
        (self.next() >> 11) % n
    }

    fn once_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing here; the second stack listens.
    Closed,
    SynSent,
    SynReceived,
    /// Established, and all that comes after it, told apart by the FINs.
    Open,
}

/// An end. Numbers are absolute; `received` in the other end's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stack {
    listens: bool,
    state: State,
    /// Which connection it is: every new one has another number.
    life: u64,
    /// The first number of the next connection.
    fresh: u64,
    una: u64,
    next: u64,
    received: u64,
    fin_sent: bool,
    fin_received: bool,
}

/// A segment on the wire.
#[derive(Clone, Copy, Debug)]
struct Wire {
    from: usize,
    event: Event,
    segment: Segment,
    life: u64,
}

impl Stack {
    const fn new(listens: bool, fresh: u64) -> Self {
        let (state, life) = (State::Closed, 0);
        let (una, next, received) = (0, 0, 0);
        let (fin_sent, fin_received) = (false, false);
        Self { listens, state, life, fresh, una, next, received, fin_sent, fin_received }
    }

    fn close(&mut self) {
        self.fresh = self.fresh.max(self.next) + 1000;
        *self = Self { life: self.life + 1, ..Self::new(self.listens, self.fresh) };
    }

    /// The nearest number to `near` with these low 32 bits.
    fn absolute(near: u64, wire: u32) -> u64 {
        near.wrapping_add_signed(i64::from(wire.wrapping_sub(near as u32) as i32))
    }

    fn say(&self, event: Event, seq: u64, len: u64) -> Option<(Event, Segment)> {
        let end = seq + len;
        Some((event, Segment { seq: seq as u32, end: end as u32, ack: self.received as u32 }))
    }

    fn acknowledge(&self) -> Option<(Event, Segment)> {
        self.say(Event::Ack, self.next, 0)
    }

    /// Begins a connection.
    fn connect(&mut self) -> Option<(Event, Segment)> {
        (self.una, self.next, self.state) = (self.fresh, self.fresh + 1, State::SynSent);
        self.repeat()
    }

    /// Sends the first of what is not acknowledged again.
    fn repeat(&self) -> Option<(Event, Segment)> {
        match self.state {
            State::Closed => None,
            State::SynSent => {
                let seq = self.una as u32;
                Some((Event::Syn, Segment { seq, end: seq.wrapping_add(1), ack: 0 }))
            }
            State::SynReceived => self.say(Event::SynAck, self.una, 1),
            State::Open if self.una == self.next => None,
            State::Open => {
                let event = if self.fin_sent { Event::Fin } else { Event::Ack };
                self.say(event, self.una, self.next - self.una)
            }
        }
    }

    /// One thing that a program or a timer does.
    fn act(&mut self, r: &mut Random) -> Option<(Event, Segment)> {
        if self.state != State::Open {
            // Who listens waits for the third packet for longer than the tracker.
            let gives_up = !self.listens && r.once_in(40);
            return if gives_up { self.crash() } else { self.repeat() };
        }
        let at = self.next;
        match r.below(60) {
            0..=19 if !self.fin_sent && at - self.una < 40_000 => {
                self.next += 1 + r.below(2_000);
                self.say(Event::Ack, at, self.next - at)
            }
            20..=34 => self.acknowledge(),
            35..=48 => self.repeat(),
            // A keep-alive (RFC 9293, section 3.8.4).
            49..=50 => self.say(Event::Ack, self.una - 1, 0),
            51..=53 if !self.fin_sent => {
                self.fin_sent = true;
                self.next += 1;
                self.say(Event::Fin, at, 1)
            }
            54 => {
                let reset = self.say(Event::Refusal, at, 0);
                self.close();
                reset
            }
            55 if self.is_over() || r.once_in(4) => self.crash(),
            _ => None,
        }
    }

    /// Have both said that there is no more? Then its time is up some day.
    fn is_over(&self) -> bool {
        self.fin_sent && self.fin_received && self.una == self.next
    }

    fn crash(&mut self) -> Option<(Event, Segment)> {
        self.close();
        None
    }

    /// A segment comes: RFC 9293, section 3.10.7.
    fn receive(&mut self, event: Event, s: Segment) -> Option<(Event, Segment)> {
        match self.state {
            State::Closed => self.receive_closed(event, s),
            State::SynSent => self.receive_syn_sent(event, s),
            State::SynReceived | State::Open => self.receive_open(event, s),
        }
    }

    fn receive_closed(&mut self, event: Event, s: Segment) -> Option<(Event, Segment)> {
        match event {
            Event::Rst | Event::Refusal => None,
            Event::Syn if self.listens => {
                (self.una, self.next) = (self.fresh, self.fresh + 1);
                self.received = u64::from(s.seq) + 1 + (7 << 32);
                self.state = State::SynReceived;
                self.repeat()
            }
            Event::Syn => Some((Event::Refusal, Segment { seq: 0, end: 0, ack: s.end })),
            _ => Some((Event::Rst, Segment { seq: s.ack, end: s.ack, ack: 0 })),
        }
    }

    fn receive_syn_sent(&mut self, event: Event, s: Segment) -> Option<(Event, Segment)> {
        let acks = !matches!(event, Event::Syn | Event::Rst);
        if acks && s.ack != self.next as u32 {
            let reset = Some((Event::Rst, Segment { seq: s.ack, end: s.ack, ack: 0 }));
            return if event == Event::Refusal { None } else { reset };
        }
        match event {
            Event::Refusal => self.crash(),
            Event::Syn | Event::SynAck => {
                self.received = u64::from(s.seq) + 1 + (7 << 32);
                if event == Event::Syn {
                    self.state = State::SynReceived;
                    return self.repeat();
                }
                (self.state, self.una) = (State::Open, self.next);
                self.acknowledge()
            }
            _ => None,
        }
    }

    fn receive_open(&mut self, event: Event, s: Segment) -> Option<(Event, Segment)> {
        let seq = Self::absolute(self.received, s.seq);
        let end = seq + u64::from(s.end.wrapping_sub(s.seq));
        match event {
            Event::Rst | Event::Refusal => {
                let inside = seq >= self.received && seq < self.received + WINDOW;
                return match seq == self.received {
                    true => self.crash(),
                    false if inside => self.acknowledge(),
                    false => None,
                };
            }
            // Its time is not up yet, but the addresses are asked for again.
            Event::Syn if self.is_over() && self.listens && seq >= self.received => {
                self.close();
                return self.receive_closed(event, s);
            }
            Event::Syn if self.state == State::SynReceived && end == self.received => {
                return self.repeat();
            }
            Event::Syn => return self.acknowledge(),
            Event::SynAck if self.state == State::Open => return self.acknowledge(),
            Event::SynAck if end != self.received => return self.acknowledge(),
            _ => {}
        }
        // What is not in order is not kept here; what is old is not acceptable.
        let old = end <= self.received && seq != self.received;
        if seq > self.received || old {
            return self.acknowledge();
        }
        let ack = Self::absolute(self.una, s.ack);
        if ack > self.next || (self.state == State::SynReceived && ack != self.next) {
            return match self.state {
                State::Open => self.acknowledge(),
                _ => Some((Event::Rst, Segment { seq: s.ack, end: s.ack, ack: 0 })),
            };
        }
        (self.state, self.una) = (State::Open, self.una.max(ack));
        self.take(event, end)
    }

    /// Data and FIN, in order.
    fn take(&mut self, event: Event, end: u64) -> Option<(Event, Segment)> {
        if end <= self.received || self.fin_received {
            return (event == Event::Fin).then(|| self.acknowledge()).flatten();
        }
        self.received = end;
        self.fin_received = event == Event::Fin;
        self.acknowledge()
    }

    /// Would the segment change anything here?
    fn believes(&self, event: Event, s: Segment) -> bool {
        let mut after = *self;
        after.receive(event, s);
        after != *self
    }
}

/// The two, what is between them, and the attacker.
struct Bed {
    r: Random,
    stacks: [Stack; 2],
    tracker: Tracker,
    on_its_way: Vec<Wire>,
    passed: u64,
    refused: u64,
    opened: u64,
    lives: [u64; 2],
    attacks: [u64; 2],
    resets: u64,
    forged: usize,
}

impl Bed {
    fn new(seed: u64) -> Self {
        let mut r = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        // Near the end of the numbers often, so that they wrap.
        let mut fresh =
            || if r.once_in(2) { (1 << 32) - r.below(50_000) } else { r.below(1 << 32) };
        let stacks =
            [Stack::new(false, fresh() + (1 << 33)), Stack::new(true, fresh() + (1 << 33))];
        let (passed, refused, opened, attacks) = (0, 0, 0, [0; 2]);
        let (tracker, on_its_way) = (Tracker::new(), Vec::new());
        let (resets, forged) = (0, (seed % 2) as usize);
        Self {
            r,
            stacks,
            tracker,
            on_its_way,
            passed,
            refused,
            opened,
            lives: [0; 2],
            attacks,
            resets,
            forged,
        }
    }

    fn send(&mut self, from: usize, said: Option<(Event, Segment)>) {
        // Who begins anew keeps quiet until the old is gone (RFC 9293, section 3.4.3).
        let lives = self.stacks.map(|s| s.life);
        if lives != self.lives {
            self.on_its_way.clear();
            self.lives = lives;
        }
        let Some((event, segment)) = said else { return };
        // A RST belongs to the connection that it ends.
        let life = self.stacks[from].life;
        self.on_its_way.push(Wire { from, event, segment, life });
        if self.r.once_in(20) {
            self.on_its_way.push(Wire { from, event, segment, life });
        }
    }

    /// One packet comes to the tracker, or is lost before.
    fn arrive(&mut self) {
        if self.on_its_way.is_empty() {
            return;
        }
        let late = self.r.once_in(6);
        let at = if late { self.r.below(self.on_its_way.len() as u64) as usize } else { 0 };
        let w = self.on_its_way.remove(at);
        if self.r.once_in(12) {
            return;
        }
        let to = 1 - w.from;
        match self.tracker.pass(w.from, w.event, w.segment) {
            Fate::Passes if self.r.once_in(12) => self.passed += 1,
            Fate::Passes => {
                self.passed += 1;
                let said = self.stacks[to].receive(w.event, w.segment);
                self.send(to, said);
            }
            fate => self.refuse(w, fate),
        }
    }

    /// What is refused must be what the receiver would not believe. But for ghosts of an earlier
    /// connection; and what opens one comes again until it is understood, which `opened` counts.
    fn refuse(&mut self, w: Wire, fate: Fate) {
        self.refused += 1;
        let opens = matches!(w.event, Event::Syn | Event::SynAck);
        let now = self.stacks[w.from].life;
        let resets = matches!(w.event, Event::Rst | Event::Refusal);
        let ghost = w.life != now && !(resets && w.life + 1 == now);
        // For the rest of a connection that has made room for a new one: the receiver challenges
        // the new SYN, and the answer to that passes.
        let late = resets && self.tracker.sides[1 - w.from].state() == conntrack::NONE;
        let to = self.stacks[1 - w.from];
        assert!(
            opens || ghost || late || !to.believes(w.event, w.segment),
            "{fate:?} {w:x?}\nto {to:x?}\n{:x?}",
            self.tracker
        );
    }

    /// A segment of somebody who sees nothing, in the name of the end whose addresses can be forged.
    fn attack(&mut self) {
        let from = self.forged;
        let (own, peer) = (self.stacks[from], self.stacks[1 - from]);
        // What both have closed is opened anew by anybody's SYN.
        let closing = own.fin_sent || peer.fin_sent;
        if own.state != State::Open || peer.state != State::Open || closing {
            return;
        }
        let kinds = [Event::Rst, Event::Refusal, Event::Syn, Event::SynAck, Event::Ack, Event::Fin];
        let event = kinds[self.r.below(6) as usize];
        if event == Event::SynAck && self.tracker.sides[A].half & KNOCKED != 0 {
            // Who has asked is answered, by whomever.
            return;
        }
        let near = matches!(event, Event::Rst | Event::Refusal) && self.r.once_in(2);
        let seq = match near {
            true => (own.next + self.r.below(400_000)).wrapping_sub(200_000) as u32,
            false => self.r.next() as u32,
        };
        let s = Segment { seq, end: seq, ack: self.r.next() as u32 };
        let fate = self.tracker.pass(from, event, s);
        self.attacks[usize::from(fate == Fate::Passes)] += 1;
        if matches!(event, Event::Rst | Event::Refusal) && fate == Fate::Passes {
            // At the sequence numbers under way, as far as those were not forged before.
            let behind = own.next - own.una.min(peer.received) + u64::from(SLACK) + 1;
            let first = own.next.wrapping_sub(behind) as u32;
            let passing = behind + u64::from(FLIGHT_MAX + SLACK) + 1;
            assert!(u64::from(seq.wrapping_sub(first)) <= passing, "{seq:x} passes, {own:x?}");
            self.resets += u64::from(self.tracker.sides[from].state() == conntrack::CLOSED);
        }
    }

    fn step(&mut self) {
        match self.r.below(12) {
            0..=3 => {
                let who = self.r.below(2) as usize;
                let was = self.stacks[who].state;
                let said = match (who, was) {
                    (A, State::Closed) => self.stacks[A].connect(),
                    // Both at once, sometimes.
                    (B, State::Closed)
                        if self.stacks[A].state == State::SynSent && self.r.once_in(20) =>
                    {
                        self.stacks[B].connect()
                    }
                    _ => self.stacks[who].act(&mut self.r),
                };
                self.send(who, said);
                self.tracker.idle = self.r.once_in(30);
            }
            4 => self.attack(),
            _ => self.arrive(),
        }
        let open = self.stacks.iter().all(|s| s.state == State::Open);
        self.opened += u64::from(open && self.stacks.iter().all(|s| s.fin_sent && s.fin_received));
    }
}

#[test]
fn no_stack_misses_what_is_refused() {
    let (mut passed, mut refused, mut closed, mut attacks, mut resets) = (0, 0, 0, [0, 0], 0);
    for seed in 1..=300 {
        let mut bed = Bed::new(seed);
        (0..4_000).for_each(|_| bed.step());
        passed += bed.passed;
        refused += bed.refused;
        closed += bed.opened;
        resets += bed.resets;
        attacks = [attacks[0] + bed.attacks[0], attacks[1] + bed.attacks[1]];
    }
    println!(
        "{passed} passed, {refused} refused, {closed} closing; attacks {attacks:?}, {resets} resets"
    );
    assert!(resets <= 3, "{resets} of {attacks:?} guesses closed a connection");
    assert!(passed > 200_000 && refused > 500 && closed > 1_000 && attacks[0] > 10_000);
}
