//! The sequence numbers of a TCP connection: what each side has sent, and what it has acknowledged.
//!
//! A side's [`Sent`] is written by its own packets only, so what the other side may say about it is
//! known without asking anybody. Where a stack would believe a RST, a FIN, a SYN-ACK or the first
//! ACK, the numbers are checked; a plain segment always passes, and moves what is known only as far
//! as they are plausible. What is refused here the receiver itself would ignore or answer with a
//! challenge (RFC 9293, section 3.10.7; RFC 5961, sections 3 to 5), so a stack that plays by the
//! rules loses nothing.

use crate::{
    conntrack::{CLOSED, Event, FIN, INITIATOR, KNOCKED, NONE, OPEN, STATE, STATE_BITS, SYN_SENT},
    layout::FlowSide,
};

/// Numbers this far beyond what was seen may be right: segments can be lost before they come here,
/// and two processors that write one side's word at once can lose a step. The largest window
/// without scaling (RFC 9293, section 3.1).
pub const SLACK: u32 = 0xffff;
/// A RST is believed at the end of what its side has sent if so little is under way, and passes for
/// the receiver to decide if it is [`FLIGHT_MAX`]: who sees nothing can forge a segment that moves
/// the end, and then name it.
pub const FLIGHT_SURE: u32 = 1 << 20;
/// See [`FLIGHT_SURE`].
pub const FLIGHT_MAX: u32 = 1 << 24;
/// The largest window (RFC 7323, section 2.3): nothing is sent further ahead of an acknowledgement.
pub const WINDOW_MAX: u32 = 1 << 30;

/// What a side has sent, as one word: the highest sequence number behind it << 32 | the latest
/// acknowledgement; in [`SYN_SENT`], which acknowledges nothing, its initial sequence number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent(pub u64);

impl Sent {
    /// The number behind the last octet, and the acknowledgement.
    #[inline(always)]
    pub const fn new(end: u32, ack: u32) -> Self {
        Self((end as u64) << 32 | ack as u64)
    }

    /// A SYN.
    #[inline(always)]
    pub const fn of_syn(s: Segment) -> Self {
        Self::new(s.end, s.seq)
    }

    /// The number behind its last octet, SYN and FIN counted.
    #[inline(always)]
    pub const fn end(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// Its latest acknowledgement; in [`SYN_SENT`] its initial sequence number.
    #[inline(always)]
    pub const fn ack(self) -> u32 {
        self.0 as u32
    }

    /// Does this acknowledge its SYN, with or without the data behind it (RFC 7413)?
    #[inline(always)]
    const fn syn_is_acked_by(self, ack: u32) -> bool {
        let isn = self.ack();
        ack.wrapping_sub(isn).wrapping_sub(1) < self.end().wrapping_sub(isn)
    }
}

/// The numbers of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Segment {
    /// Sequence number of its first octet.
    pub seq: u32,
    /// The number behind its last one, SYN and FIN counted.
    pub end: u32,
    /// Acknowledgement.
    pub ack: u32,
}

impl Segment {
    /// Of what is no TCP segment.
    pub const NONE: Self = Self { seq: 0, end: 0, ack: 0 };
}

/// One side as the check sees it: its half and its numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    /// Its half; only [`STATE_BITS`] matter.
    pub half: u64,
    /// What it has sent.
    pub sent: Sent,
}

impl View {
    /// None: what [`follow`] says of numbers that do not fit. No half has these bits.
    pub const REFUSED: Self = Self { half: u64::MAX, sent: Sent(0) };

    /// Of a side.
    #[inline(always)]
    pub fn of(side: &FlowSide) -> Self {
        Self { half: side.half.get(), sent: Sent(side.sent.get()) }
    }

    /// The state of its half.
    #[inline(always)]
    pub const fn state(self) -> u64 {
        self.half & STATE
    }

    #[inline(always)]
    const fn knocked(self) -> bool {
        self.half & KNOCKED != 0
    }

    /// Does its word hold an acknowledgement?
    #[inline(always)]
    const fn acknowledges(self) -> bool {
        let state = self.state();
        state == OPEN || state == FIN || state == CLOSED
    }
}

/// Do the numbers fit?
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fit {
    /// They do.
    Yes,
    /// Perhaps; the receiver knows. The packet passes and moves no state.
    Perhaps,
    /// They do not.
    No,
}

#[inline(always)]
const fn fit(fits: bool) -> Fit {
    if fits { Fit::Yes } else { Fit::No }
}

/// What becomes of `own` by its segment: of its state bits, which the state table would make
/// `state`, and of what it has sent. [`View::REFUSED`] if the numbers do not fit.
#[inline(always)]
pub const fn follow(own: View, peer: View, state: u64, event: Event, s: Segment) -> View {
    let kept = own.half & (INITIATOR | KNOCKED);
    let half = match check(own, peer, event, s) {
        Fit::No => return View::REFUSED,
        // No step: the receiver knows better.
        Fit::Perhaps => own.half & STATE_BITS,
        Fit::Yes if matches!(event, Event::Syn) && own.state() >= OPEN => state | kept | KNOCKED,
        Fit::Yes if !has_begun_anew(own, peer, event, s) => state | kept,
        Fit::Yes if is_near(own, s) => state | kept & !KNOCKED,
        Fit::Yes => OPEN | kept & !KNOCKED,
    };
    View { half, sent: advance(own, peer, event, s) }
}

/// Do the numbers of a segment from `own` fit what both sides have sent? `event` is what the state
/// table has let through.
#[inline(always)]
const fn check(own: View, peer: View, event: Event, s: Segment) -> Fit {
    match event {
        Event::Ack => fit(own.state() != SYN_SENT || begins(own, peer, s)),
        Event::Fin => fit(fin_fits(own, peer, s)),
        Event::Rst | Event::Refusal => rst_fits(own, peer, event, s),
        Event::SynAck => fit(syn_ack_fits(own, peer, s)),
        _ => Fit::Yes,
    }
}

/// Is `b` `a`, or behind it (RFC 9293, section 3.4: arithmetic modulo 2^32)?
#[inline(always)]
const fn is_behind(a: u32, b: u32) -> bool {
    b.wrapping_sub(a) < 1 << 31
}

/// The first segment of a side whose SYN was answered.
#[inline(always)]
const fn begins(own: View, peer: View, s: Segment) -> bool {
    let (isn, end) = (own.sent.ack(), own.sent.end());
    let follows = s.seq.wrapping_sub(isn).wrapping_sub(1) < end.wrapping_sub(isn) + SLACK;
    follows && acknowledges_some_of(peer, s.ack)
}

/// Is it an acknowledgement of what this side has sent lately?
#[inline(always)]
const fn acknowledges_some_of(peer: View, ack: u32) -> bool {
    if peer.state() == SYN_SENT {
        peer.sent.syn_is_acked_by(ack)
    } else {
        peer.sent.end().wrapping_sub(ack) <= SLACK
    }
}

#[inline(always)]
const fn fin_fits(own: View, peer: View, s: Segment) -> bool {
    if own.state() == SYN_SENT {
        return begins(own, peer, s);
    }
    let early = peer.acknowledges() && !peer.knocked() && !is_behind(peer.sent.ack(), s.end);
    !early && is_behind(s.end, own.sent.end().wrapping_add(SLACK))
}

#[inline(always)]
const fn syn_ack_fits(own: View, peer: View, s: Segment) -> bool {
    if peer.state() == SYN_SENT {
        peer.sent.syn_is_acked_by(s.ack)
    } else if own.state() == OPEN || own.state() == FIN {
        // Again, because the answer was lost; or the answer to who knocked, from an end that has
        // forgotten the connection.
        peer.knocked() || own.sent.end().wrapping_sub(s.end) <= SLACK
    } else {
        s.seq == own.sent.ack() && peer.sent.end().wrapping_sub(s.ack) <= SLACK
    }
}

#[inline(always)]
const fn rst_fits(own: View, peer: View, event: Event, s: Segment) -> Fit {
    let refuses = matches!(event, Event::Refusal);
    if peer.state() == SYN_SENT || own.state() == NONE {
        // The answer to a SYN (RFC 9293, section 3.10.7.3), or to an acknowledgement of ours.
        let answers = refuses && peer.sent.syn_is_acked_by(s.ack);
        let takes_back = own.acknowledges() && s.seq == own.sent.end();
        return fit(answers || takes_back);
    }
    let acked = peer.sent.ack();
    if own.state() == SYN_SENT {
        if s.seq != acked || peer.sent.0 == 0 {
            return Fit::No;
        }
        // The answer to a challenge: the SYN comes again (RFC 9293, figure 10).
        return if peer.state() == NONE { Fit::Perhaps } else { Fit::Yes };
    }
    let end = own.sent.end();
    let ends = s.seq == end && end.wrapping_sub(acked) <= FLIGHT_SURE;
    if s.seq == acked || ends || (peer.knocked() && refuses && s.seq == 0) {
        return Fit::Yes;
    }
    // One before: as some stacks do behind their FIN.
    let first = acked.wrapping_sub(1);
    let span = end.wrapping_sub(first);
    let span = if span >= 1 << 31 {
        0
    } else if span > FLIGHT_MAX {
        FLIGHT_MAX
    } else {
        span
    };
    if s.seq.wrapping_sub(first) <= span + SLACK { Fit::Perhaps } else { Fit::No }
}

/// What `own` has sent after a segment that fits.
#[inline(always)]
const fn advance(own: View, peer: View, event: Event, s: Segment) -> Sent {
    let known = own.sent;
    match event {
        Event::Syn if own.state() >= OPEN || peer.state() == OPEN => known,
        // The same again, without the data that nobody acknowledged (RFC 7413, section 4.1.3).
        Event::Syn if own.state() == SYN_SENT && known.ack() == s.seq => {
            Sent::new(if is_behind(s.end, known.end()) { known.end() } else { s.end }, s.seq)
        }
        Event::Syn => Sent::of_syn(s),
        Event::SynAck if own.state() >= OPEN && peer.state() != SYN_SENT && !peer.knocked() => {
            known
        }
        Event::SynAck => Sent::new(s.end, s.ack),
        Event::Rst | Event::Refusal | Event::Datagram | Event::Reply | Event::Part => known,
        _ if own.state() < OPEN || has_begun_anew(own, peer, event, s) => Sent::new(s.end, s.ack),
        _ => {
            let ahead = s.end.wrapping_sub(known.end()).wrapping_sub(1) < WINDOW_MAX
                && (!peer.acknowledges() || s.end.wrapping_sub(peer.sent.ack()) <= WINDOW_MAX);
            let possible = peer.sent.end().wrapping_sub(known.ack());
            let news = possible < 1 << 31 && s.ack.wrapping_sub(known.ack()) <= possible;
            let end = if ahead { s.end } else { known.end() };
            Sent::new(end, if news { s.ack } else { known.ack() })
        }
    }
}

/// Has a side that knocked on an open connection been let in by one that has forgotten it? Or was
/// it somebody else's SYN, and the side goes on where it [`is_near`].
#[inline(always)]
const fn has_begun_anew(own: View, peer: View, event: Event, s: Segment) -> bool {
    let talks = matches!(event, Event::Ack | Event::Fin);
    talks && own.knocked() && peer.sent.end().wrapping_sub(s.ack) <= SLACK
}

/// Is a segment about where its side was?
#[inline(always)]
const fn is_near(own: View, s: Segment) -> bool {
    s.end.wrapping_sub(own.sent.end()).wrapping_add(SLACK) <= 2 * SLACK
}

/// Is a SYN for a connection that both sides have closed an old duplicate? One that is beyond what
/// its side has sent is not (RFC 9293, section 3.10.7.4). With time stamps a new one need not be
/// beyond (RFC 6191), but duplicates come soon: it may come again a second later.
#[inline(always)]
pub const fn is_old_syn(own: View, peer: View, s: Segment) -> bool {
    own.state() == FIN && peer.state() == FIN && !is_behind(own.sent.end(), s.seq)
}

/// Can a packet of `own` with this sequence number be on its way still, so that an ICMP error is
/// about it (RFC 5927, section 4.1)?
#[inline(always)]
pub const fn is_under_way(own: View, peer: View, seq: u32) -> bool {
    let end = own.sent.end();
    let first = if own.state() == SYN_SENT {
        own.sent.ack()
    } else if peer.acknowledges() {
        peer.sent.ack().wrapping_sub(1)
    } else {
        end.wrapping_sub(SLACK)
    };
    seq.wrapping_sub(first) <= end.wrapping_sub(first)
}
