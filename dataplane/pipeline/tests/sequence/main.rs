//! Sequence numbers: what is refused no stack would have believed, and what a stack would believe
//! is not refused. The judges are two small stacks of RFC 9293 with numbers that do not wrap.

use portcullis_pipeline::{
    conntrack::{self, CLOSED, Event, FIN, INITIATOR, KNOCKED, NONE, OPEN, SYN_SENT, Step},
    sequence::{self, SLACK, Segment, Sent, View},
};

/// A connection as the tracker knows it: the initiator's side first.
#[derive(Clone, Copy, Debug)]
struct Tracker {
    sides: [View; 2],
    known: bool,
    /// Is it a second or more since the last packet?
    idle: bool,
}

/// What becomes of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Passes,
    NoConnection,
    BadState,
    BadSequence,
}

const NOTHING: View = View { half: NONE, sent: Sent(0) };

impl Tracker {
    const fn new() -> Self {
        Self { sides: [NOTHING; 2], known: false, idle: false }
    }

    /// A segment of one side, the only state between it and the other.
    fn pass(&mut self, from: usize, event: Event, s: Segment) -> Fate {
        let (own, peer) = (self.sides[from], self.sides[1 - from]);
        if self.known {
            let initiator = own.half & INITIATOR != 0;
            match conntrack::step(own.state(), peer.state(), event, initiator) {
                Step::To(state) => {
                    let next = sequence::follow(own, peer, state, event, s);
                    if next == View::REFUSED {
                        return Fate::BadSequence;
                    }
                    self.sides[from] = next;
                    self.idle = false;
                    return Fate::Passes;
                }
                Step::Bad => return Fate::BadState,
                Step::Restart if !self.idle && sequence::is_old_syn(own, peer, s) => {
                    return Fate::BadSequence;
                }
                Step::Restart => {}
            }
        }
        if event != Event::Syn {
            return Fate::NoConnection;
        }
        self.known = true;
        self.sides = [NOTHING; 2];
        self.sides[from] = View { half: INITIATOR | SYN_SENT, sent: Sent::of_syn(s) };
        Fate::Passes
    }

    /// An open connection: 1000 and 5000 were the initial numbers.
    fn open() -> Self {
        let mut t = Self::new();
        assert_eq!(t.pass(A, Event::Syn, seg(1000, 1001, 0)), Fate::Passes);
        assert_eq!(t.pass(B, Event::SynAck, seg(5000, 5001, 1001)), Fate::Passes);
        assert_eq!(t.pass(A, Event::Ack, seg(1001, 1001, 5001)), Fate::Passes);
        t
    }

    fn states(&self) -> (u64, u64) {
        (self.sides[A].state(), self.sides[B].state())
    }
}

const A: usize = 0;
const B: usize = 1;

const fn seg(seq: u32, end: u32, ack: u32) -> Segment {
    Segment { seq, end, ack }
}

#[test]
fn a_syn_ack_answers_the_syn() {
    let mut t = Tracker::new();
    // With 10 bytes of data (RFC 7413), of which the answer takes none, or all.
    t.pass(A, Event::Syn, seg(1000, 1011, 0));
    for ack in [1000, 1012, 0, 0x8000_0000] {
        assert_eq!(t.pass(B, Event::SynAck, seg(5000, 5001, ack)), Fate::BadSequence, "{ack}");
    }
    for ack in [1001, 1011] {
        let mut t = t;
        assert_eq!(t.pass(B, Event::SynAck, seg(5000, 5001, ack)), Fate::Passes, "{ack}");
        // And the third packet both of them.
        for (seq, ack) in [(1000, 5001), (1001, 5002), (1001, 9_000_000), (900_000, 5001)] {
            assert_eq!(t.pass(A, Event::Ack, seg(seq, seq, ack)), Fate::BadSequence, "{seq} {ack}");
        }
        assert_eq!(t.pass(A, Event::Ack, seg(1011, 1011, 5001)), Fate::Passes);
        assert_eq!(t.states(), (OPEN, OPEN));
    }
    // Without the data again, while the answer to the first is on its way.
    assert_eq!(t.pass(A, Event::Syn, seg(1000, 1001, 0)), Fate::Passes);
    assert_eq!(t.pass(B, Event::SynAck, seg(5000, 5001, 1011)), Fate::Passes);
}

#[test]
fn a_refusal_answers_the_syn() {
    for ack in [1000, 1002, 0] {
        let mut t = Tracker::new();
        t.pass(A, Event::Syn, seg(1000, 1001, 0));
        assert_eq!(t.pass(B, Event::Refusal, seg(0, 0, ack)), Fate::BadSequence, "{ack}");
        assert_eq!(t.pass(B, Event::Rst, seg(0, 0, 1001)), Fate::BadSequence);
        assert_eq!(t.pass(B, Event::Refusal, seg(0, 0, 1001)), Fate::Passes);
        assert_eq!(t.states(), (SYN_SENT, CLOSED));
        assert_eq!(t.pass(A, Event::Syn, seg(77, 78, 0)), Fate::Passes);
        assert_eq!(t.states(), (SYN_SENT, NONE));
    }
}

#[test]
fn a_scanner_takes_its_syn_back() {
    let mut t = Tracker::new();
    t.pass(A, Event::Syn, seg(1000, 1001, 0));
    assert_eq!(t.pass(A, Event::Rst, seg(0, 0, 0)), Fate::BadSequence);
    t.pass(B, Event::SynAck, seg(5000, 5001, 1001));
    assert_eq!(t.pass(A, Event::Rst, seg(1002, 1002, 0)), Fate::BadSequence);
    assert_eq!(t.pass(A, Event::Rst, seg(1001, 1001, 0)), Fate::Passes);
    assert_eq!(t.states(), (CLOSED, OPEN));
}

#[test]
fn a_challenge_is_answered_by_rst() {
    // RFC 9293, figure 10: the other end holds an old connection.
    let mut t = Tracker::new();
    t.pass(A, Event::Syn, seg(1000, 1001, 0));
    assert_eq!(t.pass(B, Event::Ack, seg(300, 300, 100)), Fate::Passes);
    assert_eq!(t.pass(A, Event::Rst, seg(101, 101, 0)), Fate::BadSequence);
    assert_eq!(t.pass(A, Event::Rst, seg(100, 100, 0)), Fate::Passes);
    assert_eq!(t.pass(A, Event::Syn, seg(1000, 1001, 0)), Fate::Passes);
    assert_eq!(t.pass(B, Event::SynAck, seg(9, 10, 1001)), Fate::Passes);
}

#[test]
fn a_rst_lies_between_what_is_acknowledged_and_what_is_sent() {
    let mut t = Tracker::open();
    t.pass(A, Event::Ack, seg(1001, 3001, 5001));
    t.pass(B, Event::Ack, seg(5001, 5001, 2001));
    for (seq, fate, state) in [
        (2001, Fate::Passes, CLOSED),
        (3001, Fate::Passes, CLOSED),
        // The receiver doubts these: nothing is over.
        (2000, Fate::Passes, OPEN),
        (2500, Fate::Passes, OPEN),
        (3001 + SLACK, Fate::Passes, OPEN),
        (3002 + SLACK, Fate::BadSequence, OPEN),
        (1999, Fate::BadSequence, OPEN),
        (0, Fate::BadSequence, OPEN),
        (3001 + (1 << 31), Fate::BadSequence, OPEN),
    ] {
        for event in [Event::Rst, Event::Refusal] {
            let mut t = t;
            assert_eq!(t.pass(A, event, seg(seq, seq, 5001)), fate, "{seq}");
            assert_eq!(t.states(), (state, OPEN), "{seq}");
        }
    }
}

#[test]
fn a_fin_follows_what_is_sent() {
    let mut t = Tracker::open();
    t.pass(A, Event::Ack, seg(1001, 3001, 5001));
    t.pass(B, Event::Ack, seg(5001, 5001, 2001));
    for (seq, fate) in [
        (3001, Fate::Passes),
        (2500, Fate::Passes),
        (2000, Fate::Passes),
        (3000 + SLACK, Fate::Passes),
        (3001 + SLACK, Fate::BadSequence),
        (1999, Fate::BadSequence),
    ] {
        let mut t = t;
        assert_eq!(t.pass(A, Event::Fin, seg(seq, seq + 1, 5001)), fate, "{seq}");
    }
    // Again, because the acknowledgement was lost behind us.
    t.pass(A, Event::Fin, seg(3001, 3002, 5001));
    t.pass(B, Event::Ack, seg(5001, 5001, 3002));
    assert_eq!(t.pass(A, Event::Fin, seg(3001, 3002, 5001)), Fate::Passes);
    assert_eq!(t.states(), (FIN, OPEN));
}

#[test]
fn numbers_go_round() {
    let start = u32::MAX - 3;
    let mut t = Tracker::new();
    t.pass(A, Event::Syn, seg(start, start + 1, 0));
    t.pass(B, Event::SynAck, seg(start, start + 1, start + 1));
    assert_eq!(t.pass(A, Event::Ack, seg(start + 1, 100, start + 1)), Fate::Passes);
    assert_eq!(t.pass(B, Event::Ack, seg(start + 1, start + 1, 100)), Fate::Passes);
    assert_eq!(t.sides[A].sent.end(), 100);
    let mut dead = t;
    assert_eq!(dead.pass(A, Event::Rst, seg(100, 100, 0)), Fate::Passes);
    assert_eq!(dead.states(), (CLOSED, OPEN));
    assert_eq!(t.pass(A, Event::Rst, seg(start, start, 0)), Fate::BadSequence);
    assert_eq!(t.pass(A, Event::Fin, seg(100, 101, start + 1)), Fate::Passes);
}

#[test]
fn wild_numbers_teach_nothing() {
    let t = Tracker::open();
    for (seq, ack) in [(1002 + (1 << 30), 5001), (500, 5001), (1001, 5002), (1001, 4000), (7, 9)] {
        let mut t = t;
        let before = t.sides[A].sent;
        assert_eq!(t.pass(A, Event::Ack, seg(seq, seq, ack)), Fate::Passes);
        assert_eq!(t.sides[A].sent, before, "{seq} {ack}");
    }
    // However often: nobody sends further ahead of an acknowledgement than a window.
    let mut t = t;
    for n in 1..100_u32 {
        let seq = 1001_u32.wrapping_add(n.wrapping_mul(1 << 29));
        t.pass(A, Event::Ack, seg(seq, seq.wrapping_add(1), 5001));
    }
    assert!(t.sides[A].sent.end().wrapping_sub(1001) <= 1 << 30);
    assert_eq!(t.pass(A, Event::Rst, seg(1001, 1001, 0)), Fate::Passes);
    assert_eq!(t.states(), (CLOSED, OPEN));
}

#[test]
fn a_closing_connection_is_opened_anew_beyond() {
    let mut t = Tracker::open();
    t.pass(A, Event::Fin, seg(1001, 1002, 5001));
    // Half closed: the other end doubts it (RFC 5961, section 4), and what goes on is not cut.
    assert_eq!(t.pass(A, Event::Syn, seg(90_000, 90_001, 0)), Fate::Passes);
    assert_eq!(t.pass(B, Event::Ack, seg(5001, 6001, 1002)), Fate::Passes);
    assert_eq!(t.pass(A, Event::Ack, seg(1002, 1002, 6001)), Fate::Passes);
    t.pass(B, Event::Fin, seg(6001, 6002, 1002));
    t.pass(A, Event::Ack, seg(1002, 1002, 6002));
    assert_eq!(t.states(), (FIN, FIN));
    assert_eq!(t.pass(A, Event::Syn, seg(1000, 1001, 0)), Fate::BadSequence, "an old duplicate");
    let mut late = Tracker { idle: true, ..t };
    assert_eq!(late.pass(A, Event::Syn, seg(1000, 1001, 0)), Fate::Passes);
    assert_eq!(t.pass(A, Event::Syn, seg(1002, 1003, 0)), Fate::Passes);
    assert_eq!(t.states(), (SYN_SENT, NONE));
}

#[test]
fn who_is_forgotten_may_knock() {
    // The initiator has started anew with the same ports.
    let mut t = Tracker::open();
    assert_eq!(t.pass(A, Event::Syn, seg(70_000, 70_001, 0)), Fate::Passes);
    assert!(t.sides[A].half & KNOCKED != 0 && t.states() == (OPEN, OPEN));
    // The other end remembers.
    let mut held = t;
    held.pass(B, Event::Ack, seg(5001, 5001, 1001));
    assert_eq!(held.pass(A, Event::Rst, seg(1001, 1001, 0)), Fate::Passes);
    assert_eq!(held.pass(A, Event::Syn, seg(70_000, 70_001, 0)), Fate::Passes);
    assert_eq!(held.states(), (SYN_SENT, NONE));
    // It has started anew too, with or without somebody who listens.
    let mut refused = t;
    assert_eq!(refused.pass(B, Event::Refusal, seg(0, 0, 70_001)), Fate::Passes);
    assert_eq!(refused.states(), (OPEN, CLOSED));
    let mut anew = t;
    assert_eq!(anew.pass(B, Event::SynAck, seg(900, 901, 70_001)), Fate::Passes);
    assert_eq!(anew.pass(A, Event::Ack, seg(70_001, 70_001, 901)), Fate::Passes);
    assert_eq!(anew.sides[A], View { half: INITIATOR | OPEN, sent: Sent::new(70_001, 901) });
    assert_eq!(anew.pass(B, Event::Fin, seg(901, 902, 70_001)), Fate::Passes);
    assert_eq!(anew.pass(A, Event::Fin, seg(70_001, 70_002, 902)), Fate::Passes);
    // It was somebody else's SYN: nothing has changed.
    assert_eq!(t.pass(A, Event::Ack, seg(1001, 1002, 5001)), Fate::Passes);
    assert_eq!(t.sides[A], View { half: INITIATOR | OPEN, sent: Sent::new(1002, 5001) });
    // Without a knock nobody begins anew.
    let mut t = Tracker::open();
    assert_eq!(t.pass(B, Event::SynAck, seg(90_900, 90_901, 1001)), Fate::BadSequence);
    assert_eq!(t.pass(B, Event::SynAck, seg(5000, 5001, 1001)), Fate::Passes, "again");
    assert_eq!(t.sides[B].sent, Sent::new(5001, 1001));
}

#[test]
fn an_error_is_about_what_is_under_way() {
    let mut t = Tracker::new();
    t.pass(A, Event::Syn, seg(1000, 1001, 0));
    let [own, peer] = t.sides;
    assert!(sequence::is_under_way(own, peer, 1000) && !sequence::is_under_way(own, peer, 999));
    let mut t = Tracker::open();
    t.pass(A, Event::Ack, seg(1001, 3001, 5001));
    t.pass(B, Event::Ack, seg(5001, 5001, 2001));
    let [own, peer] = t.sides;
    for (seq, under_way) in
        [(2000, true), (2001, true), (3001, true), (1999, false), (3002, false), (0, false)]
    {
        assert_eq!(sequence::is_under_way(own, peer, seq), under_way, "{seq}");
    }
}

mod stacks;
