//! The state table, as stories: who sends what, and what becomes of the two halves.

use portcullis_pipeline::{
    conntrack::{CLOSED, Event, FIN, GRACE, NONE, OPEN, SYN_SENT, Step, idle_max, step},
    layout::{FlowEntry, FlowSide},
    word::Word,
};

/// The side that opened the connection, and the other one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    A,
    B,
}
use Event::{Ack, Datagram, Fin as EFin, Part, Refusal, Reply, Rst, Syn, SynAck};
use Side::{A, B};

/// Plays a story from after the first SYN; the halves at the end, or the step that did not fit.
fn play(story: &[(Side, Event)]) -> Result<(u64, u64), usize> {
    let (mut a, mut b) = (SYN_SENT, NONE);
    for (at, (side, event)) in story.iter().enumerate() {
        let (own, peer) = if *side == A { (a, b) } else { (b, a) };
        match step(own, peer, *event, *side == A) {
            Step::To(state) if *side == A => a = state,
            Step::To(state) => b = state,
            Step::Restart | Step::Bad => return Err(at),
        }
    }
    Ok((a, b))
}

#[test]
fn a_connection_opens_talks_and_closes() {
    let hands = [(B, SynAck), (A, Ack)];
    assert_eq!(play(&hands), Ok((OPEN, OPEN)));
    let talk = [(B, SynAck), (A, Ack), (A, Ack), (B, Ack), (A, EFin), (B, Ack), (B, Ack)];
    assert_eq!(play(&talk), Ok((FIN, OPEN)));
    let close = [(B, SynAck), (A, Ack), (A, EFin), (B, EFin), (A, Ack), (B, Ack)];
    assert_eq!(play(&close), Ok((FIN, FIN)));
}

#[test]
fn both_sides_may_open_at_once() {
    let story = [(B, Syn), (A, SynAck), (B, SynAck), (A, Ack), (B, Ack)];
    assert_eq!(play(&story), Ok((OPEN, OPEN)));
}

#[test]
fn packets_are_repeated_when_they_are_lost() {
    let story = [(A, Syn), (B, SynAck), (A, Syn), (B, SynAck), (A, Ack)];
    // The first answer was lost: the initiator knocks again, the other side answers again.
    assert_eq!(play(&story), Ok((OPEN, OPEN)));
}

#[test]
fn a_side_that_was_not_asked_does_not_talk() {
    assert_eq!(play(&[(A, Ack)]), Err(0));
    assert_eq!(play(&[(A, EFin)]), Err(0));
    assert_eq!(play(&[(A, SynAck)]), Err(0));
    assert_eq!(play(&[(B, EFin)]), Err(0));
    // The other side may doubt a SYN (RFC 5961): that opens nothing.
    assert_eq!(play(&[(B, Ack)]), Ok((SYN_SENT, NONE)));
    assert_eq!(play(&[(B, Ack), (A, Ack)]), Err(1));
}

#[test]
fn the_answering_side_cannot_open_backwards() {
    assert_eq!(play(&[(B, SynAck), (A, Ack), (B, Syn)]), Err(2));
    assert_eq!(step(OPEN, OPEN, Syn, false), Step::Bad);
    assert_eq!(step(OPEN, OPEN, Syn, true), Step::To(OPEN));
}

#[test]
fn what_is_closing_can_be_opened_anew() {
    for (own, peer) in [(FIN, FIN), (CLOSED, OPEN), (OPEN, CLOSED), (SYN_SENT, CLOSED)] {
        assert_eq!(step(own, peer, Syn, true), Step::Restart, "{own} {peer}");
    }
    // Half closed, the other side's data still comes.
    assert_eq!(step(FIN, OPEN, Syn, true), Step::To(FIN));
    assert_eq!(step(FIN, OPEN, Syn, false), Step::Bad);
    assert_eq!(play(&[(B, Rst)]), Ok((SYN_SENT, CLOSED)));
}

#[test]
fn no_state_is_left_by_going_back() {
    let events = [Syn, SynAck, Ack, EFin, Rst, Refusal, Part];
    for own in [NONE, SYN_SENT, OPEN, FIN, CLOSED] {
        for peer in [NONE, SYN_SENT, OPEN, FIN, CLOSED] {
            for event in events {
                for initiator in [false, true] {
                    if let Step::To(next) = step(own, peer, event, initiator) {
                        // But for the answer to who knocks, which only certain numbers are.
                        let back = next < own && !(own == FIN && event == SynAck);
                        assert!(!back, "{own} {peer} {event:?} -> {next}");
                    }
                }
            }
        }
    }
}

#[test]
fn datagrams_have_no_handshake() {
    assert_eq!(step(NONE, OPEN, Datagram, false), Step::To(OPEN));
    assert_eq!(step(NONE, OPEN, Reply, false), Step::To(OPEN));
    assert!(Datagram.starts() && Syn.starts());
    assert!(![SynAck, EFin, Rst, Refusal, Ack, Reply, Part].iter().any(|e| e.starts()));
    // A later fragment moves nothing, and nobody begins with one.
    assert_eq!(step(NONE, OPEN, Part, false), Step::Bad);
    assert_eq!(step(FIN, OPEN, Part, true), Step::To(FIN));
}

#[test]
fn flags_that_no_stack_sends_are_no_event() {
    for flags in [0x00, 0x01, 0x03, 0x06, 0x07, 0x05, 0x29, 0xff] {
        assert_eq!(Event::of_tcp(flags), None, "{flags:#x}");
    }
    assert_eq!(Event::of_tcp(0x02), Some(Syn));
    assert_eq!(Event::of_tcp(0xc2), Some(Syn), "with ECN");
    assert_eq!(Event::of_tcp(0x12), Some(SynAck));
    assert_eq!(Event::of_tcp(0x14), Some(Refusal));
    assert_eq!(Event::of_tcp(0x04), Some(Rst));
    assert_eq!(Event::of_tcp(0x18), Some(Ack));
}

#[test]
fn idle_times_follow_the_state() {
    let (tcp, udp) = (6, 17);
    assert!(idle_max(tcp, OPEN, OPEN) >= (2 * 3600 + 4 * 60) * 1000, "RFC 5382, REQ-5");
    assert!(idle_max(tcp, OPEN, FIN) < idle_max(tcp, OPEN, OPEN));
    assert!(idle_max(tcp, CLOSED, OPEN) < idle_max(tcp, FIN, OPEN));
    assert!(idle_max(udp, OPEN, OPEN) >= 120_000, "RFC 4787, REQ-5");
    assert!(idle_max(udp, OPEN, NONE) < idle_max(udp, OPEN, OPEN));
}

#[test]
fn what_is_taken_away_no_packet_uses_any_more() {
    let side = || FlowSide { way: Word::new(0), half: Word::new(NONE), sent: Word::new(0) };
    let judged = Word::new(0);
    let entry = FlowEntry { judged, last: Word::new(1_000), a: side(), b: side() };
    let end = 1_000 + idle_max(17, NONE, NONE);
    assert!(!entry.is_expired(17, end) && entry.is_expired(17, end + 1));
    assert!(!entry.is_expired_by(17, end + GRACE, GRACE));
    assert!(entry.is_expired_by(17, end + GRACE + 1, GRACE));
    // Another processor's later time, and the latest there is.
    assert!(!entry.is_expired(17, 999) && entry.is_expired_by(17, u64::MAX, GRACE));
}
