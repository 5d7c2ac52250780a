//! The state of a connection: one half for each side.
//!
//! ```text
//!            SYN                ACK, data             FIN
//!  NONE ───────────▶ SYN_SENT ───────────▶ OPEN ───────────▶ FIN
//!    │  SYN-ACK                              ▲                 │
//!    └───────────────────────────────────────┘      RST (any) ─▶ CLOSED
//! ```
//!
//! Only a side's own packets move its half, so no two sides ever write one word. Datagram
//! protocols use `NONE` (has sent nothing yet) and `OPEN`. Whether the sequence numbers allow a step
//! is [`crate::sequence`]'s.

use crate::{
    layout::{FlowEntry, FlowSide},
    tables::TICKS_PER_SECOND,
    wire::{protocol, tcp},
};

/// What a packet means to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Event {
    /// TCP: a SYN without ACK.
    Syn,
    /// TCP: SYN and ACK.
    SynAck,
    /// TCP: FIN.
    Fin,
    /// TCP: RST without ACK.
    Rst,
    /// TCP: RST and ACK.
    Refusal,
    /// TCP: anything else with an ACK.
    Ack,
    /// Any packet of a protocol without handshake; may start a connection.
    Datagram,
    /// An answer by its type; cannot start a connection.
    Reply,
    /// A later fragment: belongs to a packet that has passed, and moves nothing.
    Part,
}

impl Event {
    /// The event of TCP flags; `None` for combinations that no stack sends (RFC 9293, 3.10.7).
    #[inline(always)]
    pub const fn of_tcp(flags: u8) -> Option<Self> {
        let syn = flags & tcp::SYN != 0;
        let fin = flags & tcp::FIN != 0;
        let rst = flags & tcp::RST != 0;
        let ack = flags & tcp::ACK != 0;
        if (syn && (fin || rst)) || (fin && rst) {
            None
        } else if syn {
            Some(if ack { Self::SynAck } else { Self::Syn })
        } else if rst {
            Some(if ack { Self::Refusal } else { Self::Rst })
        } else if !ack {
            None
        } else if fin {
            Some(Self::Fin)
        } else {
            Some(Self::Ack)
        }
    }

    /// May this packet start a connection?
    #[inline(always)]
    pub const fn starts(self) -> bool {
        matches!(self, Self::Syn | Self::Datagram)
    }
}

/// Has sent nothing.
pub const NONE: u64 = 0;
/// TCP: has sent a SYN.
pub const SYN_SENT: u64 = 1;
/// Has sent, and (TCP) knows the other side's SYN.
pub const OPEN: u64 = 2;
/// TCP: has sent a FIN.
pub const FIN: u64 = 3;
/// TCP: has sent a RST.
pub const CLOSED: u64 = 4;
/// Mask of the values above in [`FlowSide::half`].
pub const STATE: u64 = 0x7;
/// This side sent the first packet.
pub const INITIATOR: u64 = 0x8;
/// TCP: this side has sent a SYN though the connection is open: one of the ends has forgotten it.
pub const KNOCKED: u64 = 0x20;
/// Its packets leave through an uplink.
pub const UPLINK: u64 = 0x10;
/// Where the id of the network that its packets leave to stands in [`FlowSide::half`].
pub const NETWORK_SHIFT: u32 = 6;
const NETWORK_MASK: u64 = 0x3ff;
/// Where the MAC of its packets' receiver stands.
pub const MAC_SHIFT: u32 = 16;
/// Bits that belong to the state, not to the path.
pub const STATE_BITS: u64 = STATE | INITIATOR | KNOCKED;

/// What a packet does to its side's half.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The half becomes this.
    To(u64),
    /// A new connection on the addresses of an old one.
    Restart,
    /// It does not fit.
    Bad,
}

/// One step of the state table: the sender's half, the other side's half, the event.
/// `initiator`: did the sender start the connection?
#[inline(always)]
pub const fn step(own: u64, peer: u64, event: Event, initiator: bool) -> Step {
    match (own, peer, event) {
        (_, _, Event::Datagram | Event::Reply) => Step::To(OPEN),
        (NONE, _, Event::Part) => Step::Bad,
        (_, _, Event::Part) => Step::To(own),
        (_, _, Event::Rst | Event::Refusal) => Step::To(CLOSED),
        // A connection that has closed gives its addresses to a new one.
        (FIN, FIN, Event::Syn) | (CLOSED, _, Event::Syn) | (_, CLOSED, Event::Syn) => Step::Restart,
        // Again, because nothing came back; or what came back was lost.
        (SYN_SENT, NONE | SYN_SENT | OPEN, Event::Syn) => Step::To(SYN_SENT),
        // Both at once (RFC 9293, figure 8).
        (NONE, SYN_SENT, Event::Syn) => Step::To(SYN_SENT),
        // The initiator knocks again on what it takes for new: the other side answers with a
        // challenge (RFC 5961, section 4).
        (OPEN | FIN, _, Event::Syn) if initiator => Step::To(own),
        (_, _, Event::Syn) => Step::Bad,
        // From FIN: of an end that has forgotten the connection, see `KNOCKED`.
        (NONE | SYN_SENT | OPEN | FIN, SYN_SENT | OPEN | FIN, Event::SynAck) => Step::To(OPEN),
        (_, _, Event::SynAck) => Step::Bad,
        // The answer to a SYN that the receiver takes for an old connection's.
        (NONE, SYN_SENT, Event::Ack) => Step::To(NONE),
        (NONE, _, _) | (SYN_SENT, NONE, _) => Step::Bad,
        (CLOSED, _, _) => Step::To(CLOSED),
        (FIN, _, _) | (_, _, Event::Fin) => Step::To(FIN),
        _ => Step::To(OPEN),
    }
}

/// Is this the half of the initiator of a TCP connection that is not established yet?
#[inline(always)]
pub const fn is_half_open(half: u64) -> bool {
    half & (STATE | INITIATOR) == SYN_SENT | INITIATOR
}

impl FlowSide {
    /// The state of this half.
    #[inline(always)]
    pub fn state(&self) -> u64 {
        self.half.get() & STATE
    }

    /// Did this side send the first packet?
    #[inline(always)]
    pub fn is_initiator(&self) -> bool {
        self.half.get() & INITIATOR != 0
    }
}

/// The network id in a half word.
#[inline(always)]
pub const fn network_of(half: u64) -> u32 {
    ((half >> NETWORK_SHIFT) & NETWORK_MASK) as u32
}

/// A half word from its parts.
#[inline(always)]
pub const fn half(state: u64, mac: u64, network: u32, uplink: bool) -> u64 {
    state
        | (mac << MAC_SHIFT)
        | ((network as u64 & NETWORK_MASK) << NETWORK_SHIFT)
        | if uplink { UPLINK } else { 0 }
}

const SECOND: u64 = TICKS_PER_SECOND;

/// An entry is taken away this many ticks after it has expired, and not before: its memory is used
/// again at once, and by then no packet that still took it for a live one is on its way. A packet
/// that opens the connection anew writes into the entry for half of that time, and puts another one
/// in its place afterwards; so nobody writes into what is being taken away.
pub const GRACE: u64 = SECOND;

/// How long a connection may be idle, in ticks, by protocol and the states of both halves.
#[inline(always)]
pub const fn idle_max(protocol: u16, a: u64, b: u64) -> u64 {
    let answered = a != NONE && b != NONE;
    if protocol == protocol::TCP as u16 {
        if a == CLOSED || b == CLOSED || (a == FIN && b == FIN) {
            10 * SECOND
        } else if a == FIN || b == FIN {
            120 * SECOND
        } else if a == OPEN && b == OPEN {
            // RFC 5382, REQ-5 asks for at least 2 h 4 min.
            24 * 3600 * SECOND
        } else {
            30 * SECOND
        }
    } else if protocol == protocol::ICMP as u16 || protocol == protocol::ICMPV6 as u16 {
        30 * SECOND
    } else if protocol == protocol::UDP as u16 {
        // RFC 4787, REQ-5: two minutes and more once there are answers.
        if answered { 180 * SECOND } else { 30 * SECOND }
    } else if answered {
        600 * SECOND
    } else {
        60 * SECOND
    }
}

impl FlowEntry {
    /// Has the connection been idle for too long? Its addresses are free then.
    #[inline(always)]
    pub fn is_expired(&self, protocol: u16, now: u64) -> bool {
        self.is_expired_by(protocol, now, 0)
    }

    /// Has it been so for more than `ticks`?
    #[inline(always)]
    pub fn is_expired_by(&self, protocol: u16, now: u64, ticks: u64) -> bool {
        let last = self.last.get();
        // Another processor may have written a later time than ours.
        now > last && now - last > idle_max(protocol, self.a.state(), self.b.state()) + ticks
    }
}
