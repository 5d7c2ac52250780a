//! What a port may take, so that one guest does not eat the host: connections, and rates of what
//! goes the slow way, are counted at the port that a packet came from; bytes at both ports.
//!
//! A rate is the generic cell rate algorithm (ITU-T I.371, annex A) with one word of state: the
//! time at which everything that was admitted would be done at exactly that rate. Something is
//! admitted while that time is at most a burst ahead of now. The word is added to in one step, so
//! two processors that admit at once overshoot by one event each and pay for it afterwards; only
//! when a port was idle the word is replaced, and then of as many events as there are processors
//! all but one may go unnoticed, once. Time advances with the kernel's jiffies: 1 to 10 ms.

use crate::{
    conntrack, event,
    layout::{FlowEntry, FlowSide, PORTS, PortLimits, PortState, Rate, port_flag},
    packet::Packet,
    reason::DropReason,
    route::Moment,
    tables::{TICKS_PER_SECOND, Tables},
    word::Word,
};

/// Units of a rate in a tick: fine enough for a byte at 100 Gbit/s.
const FRACTION: u32 = 32;
/// No word is further ahead than so many bursts, as one event or frame takes less than all but
/// one of them.
const BURSTS: u64 = 8;

impl Rate {
    /// No limit.
    pub const NONE: Self = Self { cost: 0, burst: 0 };

    /// So many in a second, and at once as many as in `burst_ticks`, but `least` in any case: at
    /// least a seventh of the largest `amount` that is asked for.
    #[inline(always)]
    pub const fn new(per_s: u64, burst_ticks: u64, least: u64) -> Self {
        if per_s == 0 {
            return Self::NONE;
        }
        let cost = (TICKS_PER_SECOND << FRACTION) / per_s;
        let (cost, burst) = (if cost == 0 { 1 } else { cost }, burst_ticks << FRACTION);
        let least = cost * least;
        Self { cost, burst: if burst < least { least } else { burst } }
    }

    /// May `amount` more be? `word`: the state, see the module.
    #[inline(always)]
    pub fn admits(&self, word: &Word, now: u64, amount: u64) -> bool {
        if self.cost == 0 {
            return true;
        }
        let ahead = ahead(word, now);
        if self.is_past(ahead) {
            return false;
        }
        if ahead <= self.burst {
            word.add_shared(self.cost * amount);
        } else {
            word.set((now << FRACTION).wrapping_add(self.cost * amount));
        }
        true
    }

    /// Would it refuse one more? Takes nothing.
    #[inline(always)]
    pub fn is_used_up(&self, word: &Word, now: u64) -> bool {
        self.cost != 0 && self.is_past(ahead(word, now))
    }

    /// Is this too far ahead? What is even further is of long ago: the clock has wrapped since.
    #[inline(always)]
    const fn is_past(&self, ahead: u64) -> bool {
        ahead > self.burst && ahead <= self.burst.wrapping_mul(BURSTS)
    }
}

/// How far a word is ahead of now. Below zero it is a very large number: the port was idle.
#[inline(always)]
fn ahead(word: &Word, now: u64) -> u64 {
    word.get().wrapping_sub(now << FRACTION)
}

/// How many there are: what was taken less what was given back. Between the two words another
/// processor may have been; a number below zero is none.
#[inline(always)]
const fn count(taken: u64, returned: u64) -> u64 {
    let n = taken.wrapping_sub(returned);
    if n > u64::MAX / 2 { 0 } else { n }
}

/// Where the port of a side stands in the port table, see [`FlowSide::way`].
#[inline(always)]
const fn place_of(way: u64) -> u32 {
    (way >> 32) as u32 & (PORTS - 1)
}

/// May the sender's port have a packet more that wants to open a connection?
#[inline(always)]
pub fn knocks<T: Tables>(t: &T, p: &Packet) -> Result<(), DropReason> {
    let (Some(l), Some(s)) = of(t, p.slot(), p.ingress) else { return Err(DropReason::Fault) };
    if l.new.admits(&s.new, p.now, 1) { Ok(()) } else { Err(DropReason::LimitNew) }
}

/// May it have a broadcast or multicast more?
#[inline(always)]
pub fn broadcasts<T: Tables>(t: &T, p: &Packet) -> Result<(), DropReason> {
    let (Some(l), Some(s)) = of(t, p.slot(), p.ingress) else { return Err(DropReason::Fault) };
    if l.broadcast.admits(&s.broadcast, p.now, 1) {
        Ok(())
    } else {
        Err(DropReason::LimitBroadcast)
    }
}

/// May a port say or ask once more about a neighbour?
#[inline(always)]
pub fn asks<T: Tables>(t: &T, slot: u32, port: u32, now: u64) -> Result<(), DropReason> {
    let (Some(l), Some(s)) = of(t, slot, port) else { return Err(DropReason::Fault) };
    if l.neighbours.admits(&s.neighbours, now, 1) {
        Ok(())
    } else {
        Err(DropReason::LimitNeighbour)
    }
}

/// Refuses what a limit of the sender's port would refuse for `reason`, unless the log would hear of
/// it. Takes nothing: for who looks before [`crate::decide()`] does.
#[inline(always)]
pub fn foresee<T: Tables>(
    t: &T,
    m: &Moment,
    port: u32,
    reason: DropReason,
) -> Result<(), DropReason> {
    let (Some(l), Some(s)) = of(t, m.slot, port) else { return Ok(()) };
    let (rate, word) = match reason {
        DropReason::LimitNew => (&l.new, &s.new),
        DropReason::LimitBroadcast => (&l.broadcast, &s.broadcast),
        DropReason::LimitNeighbour => (&l.neighbours, &s.neighbours),
        _ => return Ok(()),
    };
    if rate.is_used_up(word, m.now) && !event::hears(t, m, port, reason) {
        Err(reason)
    } else {
        Ok(())
    }
}

#[inline(always)]
fn of<T: Tables>(t: &T, slot: u32, port: u32) -> (Option<&PortLimits>, Option<&PortState>) {
    (t.port(slot, port).map(|p| &p.limits), t.port_state(port))
}

/// Is there room for one more connection of the sender's port? Two processors that ask at once
/// may both be told so.
#[inline(always)]
pub fn has_room<T: Tables>(t: &T, p: &Packet) -> Result<(), DropReason> {
    let (Some(l), Some(s)) = of(t, p.slot(), p.ingress) else { return Err(DropReason::Fault) };
    let Some(r) = t.port_returns(p.ingress) else { return Err(DropReason::Fault) };
    if l.flows != 0 && count(s.flows.get(), r.flows.get()) >= l.flows as u64 {
        return Err(DropReason::LimitFlows);
    }
    if l.half_open != 0
        && conntrack::is_half_open(p.half)
        && count(s.half_open.get(), r.half_open.get()) >= l.half_open as u64
    {
        return Err(DropReason::LimitHalfOpen);
    }
    Ok(())
}

/// Charges a connection to the port at this place.
#[inline(always)]
pub fn charge<T: Tables>(t: &T, place: u32, half: u64) {
    add(t, place, half, 1);
}

/// Gives back what was charged for a connection whose place another one takes.
#[inline(always)]
pub fn release<T: Tables>(t: &T, e: &FlowEntry) {
    let (place, half) = owner(e);
    add(t, place, half, u64::MAX);
}

/// The place of the port that a connection is charged to, and the half of its side: its
/// initiator's.
#[inline(always)]
pub fn owner(e: &FlowEntry) -> (u32, u64) {
    let side = if e.a.is_initiator() { &e.a } else { &e.b };
    (place_of(side.way.get()), side.half.get())
}

/// `n`: 1, or -1 by its two's complement.
#[inline(always)]
fn add<T: Tables>(t: &T, place: u32, half: u64, n: u64) {
    let Some(s) = t.port_state(place) else { return };
    s.flows.add_shared(n);
    if conntrack::is_half_open(half) {
        s.half_open.add_shared(n);
    }
}

/// A packet from this side moves its half: who was half open may be no more.
#[inline(always)]
pub fn step<T: Tables>(t: &T, own: &FlowSide, half: u64) {
    if conntrack::is_half_open(own.half.get())
        && !conntrack::is_half_open(half)
        && let Some(s) = t.port_state(place_of(own.way.get()))
    {
        s.half_open.add_shared(u64::MAX);
    }
    own.half.set(half);
}

/// This side goes another way than before, maybe from another port: takes what was charged along.
/// The half must have made its [`step`] already.
#[inline(always)]
pub fn follow<T: Tables>(t: &T, own: &FlowSide, way: u64) {
    let (before, half) = (own.way.get(), own.half.get());
    if half & conntrack::INITIATOR != 0 && place_of(before) != place_of(way) {
        add(t, place_of(before), half, u64::MAX);
        add(t, place_of(way), half, 1);
    }
    own.way.set(way);
}

/// Bits of a second in [`PortState::told`].
const TOLD_BITS: u32 = 20;
const TOLD_MASK: u64 = (1 << TOLD_BITS) - 1;

/// Is it the first time in this second that a limit of this port refuses something for this reason?
/// For limits that packet after packet hits: to tell of each would leave no room for anything else. Of
/// two processors that ask at once both may be told so, or be told so once more.
#[inline(always)]
pub fn is_news<T: Tables>(t: &T, port: u32, now: u64, reason: DropReason) -> bool {
    let Some(s) = t.port_state(port) else { return false };
    let told = s.told.get();
    let telling = with_told(told, now, reason);
    if telling != told {
        s.told.set(telling);
    }
    telling != told
}

/// Would it be so? Nobody is told yet.
#[inline(always)]
pub fn would_be_news<T: Tables>(t: &T, port: u32, now: u64, reason: DropReason) -> bool {
    t.port_state(port).is_some_and(|s| with_told(s.told.get(), now, reason) != s.told.get())
}

/// [`PortState::told`] after something is told of now: the second for each reason, in a part of the word.
#[inline(always)]
pub const fn with_told(told: u64, now: u64, reason: DropReason) -> u64 {
    let shift = match reason {
        DropReason::LimitBroadcast => 0,
        DropReason::LimitNeighbour => TOLD_BITS,
        _ => 2 * TOLD_BITS,
    };
    // One more, so that a word never written is of no second.
    let second = (now / TICKS_PER_SECOND + 1) & TOLD_MASK;
    told & !(TOLD_MASK << shift) | second << shift
}

/// Holds a packet of so many bytes against the bandwidth of the port that it came from and of
/// the one that it leaves by. This is the meaning behind [`Tables::police`].
#[inline(always)]
pub fn police<T: Tables>(t: &T, p: &mut Packet, bytes: u32) -> Result<(), DropReason> {
    let held = hold(t, p, bytes);
    if let Err(reason) = held {
        event::limited(t, p, reason);
    }
    held
}

#[inline(always)]
fn hold<T: Tables>(t: &T, p: &Packet, bytes: u32) -> Result<(), DropReason> {
    if p.is_policed() {
        let (Some(l), Some(s)) = of(t, p.slot(), p.ingress) else { return Err(DropReason::Fault) };
        if !l.send.admits(&s.send, p.now, bytes as u64) {
            return Err(DropReason::LimitBandwidth);
        }
    }
    if p.egress_is_policed() && !receives(t, p.slot(), p.egress(), p.now, bytes) {
        return Err(DropReason::LimitBandwidth);
    }
    Ok(())
}

/// May so many bytes leave by this port?
#[inline(always)]
pub fn receives<T: Tables>(t: &T, slot: u32, port: u32, now: u64, bytes: u32) -> bool {
    match of(t, slot, port) {
        (Some(l), Some(s)) => l.receive.admits(&s.receive, now, bytes as u64),
        _ => false,
    }
}

/// Does this port have a limit for what leaves by it?
#[inline(always)]
pub fn has_receive_limit<T: Tables>(t: &T, slot: u32, port: u32) -> bool {
    t.port(slot, port).is_some_and(|p| p.flags & port_flag::LIMIT_IN != 0)
}

impl PortLimits {
    /// No limit at all.
    pub const NONE: Self = Self {
        flows: 0,
        half_open: 0,
        new: Rate::NONE,
        broadcast: Rate::NONE,
        neighbours: Rate::NONE,
        receive: Rate::NONE,
        send: Rate::NONE,
        reserved: 0,
    };
}
