//! What is told to the log about new connections: a record for each whose rule asks for it, as
//! many a second as the rule allows on each processor. What is left out is counted.

use crate::{
    layout::{EVENT_VERSION, EventEntry, NO_REASON, event_verdict, generation_flag},
    limit,
    packet::Packet,
    policy::Judged,
    reason::DropReason,
    route::Moment,
    tables::{TICKS_PER_SECOND, Tables},
    wire::ethernet,
};

/// Events of one rule on one processor in the second that it is about: the generation's low 16
/// bits << 48 | the second's low 24 bits << 24 | how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget(pub u64);

const COUNT_BITS: u32 = 24;
const COUNT_MAX: u64 = (1 << COUNT_BITS) - 1;
const SECOND_MAX: u64 = (1 << 24) - 1;
const GENERATION_SHIFT: u32 = 48;

impl Budget {
    /// With one event more.
    #[inline(always)]
    pub const fn next(self, generation: u32, now: u64) -> Self {
        let second = (now / TICKS_PER_SECOND) & SECOND_MAX;
        let first = (generation as u64) << GENERATION_SHIFT | second << COUNT_BITS | 1;
        if self.0 >> COUNT_BITS != first >> COUNT_BITS {
            Self(first)
        } else if self.count() < COUNT_MAX {
            Self(self.0 + 1)
        } else {
            self
        }
    }

    /// Events of its second.
    #[inline(always)]
    pub const fn count(self) -> u64 {
        self.0 & COUNT_MAX
    }

    /// How many of them were left out at this rate. Those are told with the rule's next event, or
    /// by whoever reads the budget of a second that is over.
    #[inline(always)]
    pub const fn suppressed(self, per_s: u32) -> u32 {
        self.count().saturating_sub(per_s as u64) as u32
    }

    /// Is it about rules of this generation?
    #[inline(always)]
    pub const fn is_of(self, generation: u32) -> bool {
        self.0 >> GENERATION_SHIFT == generation as u64 & 0xffff
    }
}

/// What an event says, as one word: verdict << 16 | reason.
#[inline(always)]
const fn note(verdict: u16, reason: u16) -> u32 {
    (verdict as u32) << 16 | reason as u32
}

/// Tells about a new connection: by the rule that decided, and by the one that observes.
#[inline(always)]
pub fn report<T: Tables>(
    t: &T,
    q: &mut Packet,
    judged: Judged,
    verdict: Result<(), DropReason>,
) -> Result<(), DropReason> {
    let Some(shape) = t.generation_entry(q.slot()) else { return Err(DropReason::Fault) };
    if shape.flags & generation_flag::LOGS == 0 {
        return verdict;
    }
    let decided = match verdict {
        Ok(()) => note(event_verdict::ALLOWED, NO_REASON),
        Err(reason) => note(event_verdict::DENIED, reason as u16),
    };
    t.tell(q, judged.cell().rule(), decided);
    let shadow = judged.shadow();
    if shadow != judged.cell() {
        let would =
            if shadow.allows() { event_verdict::WOULD_ALLOW } else { event_verdict::WOULD_DENY };
        t.tell(q, shadow.rule(), note(would, NO_REASON));
    }
    verdict
}

/// Tells that a limit of the sender's port refused something, if that is why it is dropped: as often
/// as those are told about which no rule speaks, whatever a rule would say. Of limits that not only new
/// connections hit, once a second.
#[inline(always)]
pub fn limited<T: Tables>(t: &T, q: &mut Packet, reason: DropReason) {
    let often = match reason {
        DropReason::LimitFlows | DropReason::LimitHalfOpen | DropReason::LimitNew => false,
        DropReason::LimitBroadcast | DropReason::LimitNeighbour | DropReason::LimitBandwidth => {
            true
        }
        _ => return,
    };
    let logs = t.generation_entry(q.slot()).is_some_and(|s| s.flags & generation_flag::LOGS != 0);
    if logs && (!often || limit::is_news(t, q.ingress, q.now, reason)) {
        t.tell(q, 0, note(event_verdict::DENIED, reason as u16));
    }
}

/// Would the log hear of a refusal for this reason, as [`limited`] tells it? What it would not hear of is
/// counted as that.
#[inline(always)]
pub fn hears<T: Tables>(t: &T, m: &Moment, port: u32, reason: DropReason) -> bool {
    let Some(shape) = t.generation_entry(m.slot) else { return false };
    if shape.flags & generation_flag::LOGS == 0 {
        return false;
    }
    let (Some(entry), Some(word)) = (t.rule(m.slot, 0), t.event_budget(m.slot, 0)) else {
        return false;
    };
    let often = reason != DropReason::LimitNew;
    let budget = Budget(word.get()).next(m.generation, m.now);
    if budget.count() <= entry.log_per_s as u64 {
        return !often || limit::would_be_news(t, port, m.now, reason);
    }
    if !often || limit::is_news(t, port, m.now, reason) {
        word.set(budget.0);
    }
    false
}

/// Hands an event about a packet over, if its rule is logged and has not had its share of this
/// second. This is the meaning behind [`Tables::tell`]; `event` is memory to build it in.
#[inline(always)]
pub fn tell<T: Tables>(t: &T, q: &Packet, rule: u32, note: u32, event: &mut EventEntry) {
    let Some(entry) = t.rule(q.slot(), rule) else { return };
    if entry.log_per_s == 0 {
        return;
    }
    let Some(word) = t.event_budget(q.slot(), rule) else { return };
    let before = Budget(word.get());
    let budget = before.next(q.generation, q.now);
    word.set(budget.0);
    if budget.count() > entry.log_per_s as u64 {
        return;
    }
    let told = budget.count() > 1 || !before.is_of(q.generation);
    *event = EventEntry {
        version: EVENT_VERSION,
        generation: q.generation,
        time: 0,
        src: q.src,
        dst: q.dst,
        rule,
        suppressed: if told { 0 } else { before.suppressed(entry.log_per_s) },
        ingress: q.ingress,
        egress: q.egress(),
        network: q.network,
        length: q.l4 - ethernet::LEN + q.rest,
        sport: q.sport(),
        dport: q.dport(),
        icmp: q.icmp(),
        protocol: q.protocol_or_type(),
        verdict: (note >> 16) as u16,
        reason: note as u16,
        reserved: 0,
    };
    t.emit(event);
}
