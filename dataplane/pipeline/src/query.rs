//! The slow half of a decision: what a connection's first packet needs, and its first one after
//! a change. It sees a [`Packet`], no frame, so that eBPF can verify it apart, as a function of
//! its own behind [`Tables::resolve`]; inlined it would multiply with every path through the
//! headers ("BPF program is too large. Processed 1000001 insn").

use crate::{
    conntrack, event, expiry,
    layout::{FlowEntry, FlowSide, PORTS, SOURCE_TABLES, port_kind, service_table},
    limit,
    packet::{Packet, op},
    policy::{self, Cell, Judged},
    reason::DropReason,
    route::{self, READDRESSED, Route},
    shared,
    tables::{Inserted, NOTHING, Tables},
    wire::{icmp, icmpv6, protocol},
    word::Word,
};

/// Bits of a place in the port table.
const PORT_BITS: u32 = PORTS.trailing_zeros();
const _: () = assert!(PORTS.is_power_of_two());

/// Where a sender sits, as in the high half of [`FlowSide::way`]: the port by its place in the table,
/// which no two live ports share, and the network, since an uplink has many.
#[inline(always)]
pub const fn from(generation: u32, network: u32, ingress: u32) -> u32 {
    generation << 24 | network << PORT_BITS | ingress & (PORTS - 1)
}

impl Packet {
    /// This generation in the high half of a word.
    #[inline(always)]
    const fn stamp(&self) -> u64 {
        (self.generation as u64) << 32
    }

    /// [`from`] of this packet's sender.
    #[inline(always)]
    pub const fn from(&self) -> u32 {
        from(self.generation, self.network, self.ingress)
    }

    #[inline(always)]
    fn lead(&mut self, r: &Route) {
        self.port = r.port() | if r.readdressed() { READDRESSED } else { 0 };
        self.half = conntrack::half(self.half, r.mac, r.network(), r.uplink());
    }
}

/// Answers a question. This is the meaning behind [`Tables::resolve`].
#[inline(always)]
pub fn resolve<T: Tables>(t: &T, q: &mut Packet) -> Result<(), DropReason> {
    let answer = answer(t, q);
    if let Err(reason) = answer {
        event::limited(t, q, reason);
    }
    answer
}

#[inline(always)]
fn answer<T: Tables>(t: &T, q: &mut Packet) -> Result<(), DropReason> {
    let Some(network) = t.network(q.slot(), q.network) else { return Err(DropReason::Fault) };
    let i = q.ingress(network);
    let known = if q.op == op::CONTINUE || q.op == op::ERROR {
        match t.flow(&q.key) {
            None => return Err(DropReason::NoConnection),
            known => known,
        }
    } else {
        None
    };
    if i.kind != port_kind::GUEST {
        // First: who cannot come from here changes nothing of a connection.
        route::check_source(t, q.slot(), &i, q.src, known.is_some())?;
    }
    if let Some(e) = known {
        rejudge(t, q, e)?;
    }
    if q.op == op::STRAY {
        return Ok(());
    }
    if q.op == op::GROUP {
        limit::broadcasts(t, q)?;
        return group(t, q);
    }
    if known.is_none() {
        limit::knocks(t, q)?;
    }
    let mut found = Route::NONE;
    route::find(t, q.slot(), &i, q.dst, &mut found)?;
    if limit::has_receive_limit(t, q.slot(), found.interface()) {
        found.police();
    }
    if i.kind == port_kind::UPLINK && shared::is_shared_source(t, q) {
        // Its next packet may be somebody else's here.
        found.unsettle();
    }
    q.lead(&found);
    let cell = if known.is_none() { judge_new(t, q, found.class())? } else { Cell::DEFAULT };
    match q.op {
        op::OPEN => {
            limit::has_room(t, q)?;
            remember(t, q, cell, way(q, &found))
        }
        op::CONTINUE => {
            let Some(e) = known else { return Err(DropReason::Fault) };
            let own = if q.from_a != 0 { &e.a } else { &e.b };
            limit::step(t, own, q.half);
            own.sent.set(q.sent);
            limit::follow(t, own, way(q, &found));
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Who sends a broadcast or multicast, for which service.
#[inline(always)]
fn group<T: Tables>(t: &T, q: &mut Packet) -> Result<(), DropReason> {
    if !q.dst.is_multicast() && !q.dst.is_limited_broadcast() {
        // A directed broadcast is no declared address and lies in the network's own subnet.
        match t.prefix(q.slot(), q.dst) {
            Some(n) if n.network == q.network && !q.v6() => {}
            _ => return Err(DropReason::WrongMac),
        }
        if route::declared(t, q.slot(), q.network, q.dst).is_some() {
            return Err(DropReason::WrongMac);
        }
    }
    let class = route::class(t, q.slot(), q.network, q.src)?;
    let service = service(t, q.slot(), q.protocol(), q.sport(), q.dport(), q.icmp())?;
    q.port = (class as u64) << 32 | service as u64;
    Ok(())
}

/// The way that a route leaves behind: only the sender's place where the next packet has to look
/// again.
#[inline(always)]
fn way(q: &Packet, r: &Route) -> u64 {
    let way = (q.from() as u64) << 32 | r.port();
    if r.lasting() { way } else { way & WAY_PLACE }
}

/// The sender's place in [`FlowSide::way`]: it outlives the rest, because connections are charged to
/// it. Without a network, whose ids start at 1, it is no way of any packet.
const WAY_PLACE: u64 = (PORTS as u64 - 1) << 32;

/// The next packet of this side has to look again.
#[inline(always)]
fn forget_way(side: &FlowSide) {
    side.way.set(side.way.get() & WAY_PLACE);
}

/// Judges a packet without a known connection, to a destination of class `dst`.
#[inline(always)]
fn judge_new<T: Tables>(t: &T, q: &mut Packet, dst: u32) -> Result<Cell, DropReason> {
    let judged = look_up(t, q, dst)?;
    let judged = count(t, q, judged)?;
    let verdict = admit(t, q, judged.cell());
    event::report(t, q, judged, verdict)?;
    Ok(judged.cell())
}

/// What the policy says about a packet that starts a connection, to a destination of class `dst`.
#[inline(always)]
pub fn look_up<T: Tables>(t: &T, q: &Packet, dst: u32) -> Result<Judged, DropReason> {
    let src = route::class(t, q.slot(), q.network, q.src)?;
    let service = service(t, q.slot(), q.protocol(), q.sport(), q.dport(), q.icmp())?;
    Ok(policy::judge_observed(t, q.slot(), src, dst, service))
}

/// Makes sure that the connection is judged in this generation, and allowed.
#[inline(always)]
fn rejudge<T: Tables>(t: &T, q: &Packet, e: &FlowEntry) -> Result<(), DropReason> {
    let judged = e.judged.get();
    if judged >> 32 == q.generation as u64 {
        return admit(t, q, Cell(judged as u32));
    }
    let k = &q.key;
    let (src, dst, source, number) = if e.a.is_initiator() {
        (k.a, k.b, k.a_port, k.b_port)
    } else {
        (k.b, k.a, k.b_port, k.a_port)
    };
    let src = route::class(t, q.slot(), k.scope as u32, src)?;
    let dst = route::class(t, q.slot(), k.scope as u32, dst)?;
    let protocol = k.protocol as u8;
    let service = service(t, q.slot(), protocol, source, number, echo(protocol))?;
    let judged = policy::judge_observed(t, q.slot(), src, dst, service);
    let cell = count(t, q, judged)?.cell();
    // Ways of 256 generations ago look like this one's.
    forget_way(&e.a);
    forget_way(&e.b);
    e.judged.set(q.stamp() | cell.0 as u64);
    admit(t, q, cell)
}

/// Refuses what the cell does not allow.
#[inline(always)]
fn refuse(cell: Cell) -> Result<(), DropReason> {
    if cell.allows() {
        Ok(())
    } else if cell.rule() == 0 {
        Err(DropReason::NoRule)
    } else {
        Err(DropReason::Denied)
    }
}

/// As [`refuse`], and what a rule allows that has ended.
#[inline(always)]
pub fn admit<T: Tables>(t: &T, q: &Packet, cell: Cell) -> Result<(), DropReason> {
    refuse(cell)?;
    if expiry::has_ended(t, q.slot(), cell.rule(), q.now) {
        return Err(DropReason::Expired);
    }
    Ok(())
}

/// Counts a judgement by the rule that decides, and by one that observes and has not ended: of
/// that which it would not change, or not any more, the shadow becomes the cell.
#[inline(always)]
fn count<T: Tables>(t: &T, q: &Packet, judged: Judged) -> Result<Judged, DropReason> {
    let (cell, shadow) = (judged.cell(), judged.shadow());
    if cell == Cell::BROKEN {
        return Err(DropReason::Fault);
    }
    t.count_rule(q.slot(), cell.rule());
    if shadow == cell || expiry::has_ended(t, q.slot(), shadow.rule(), q.now) {
        return Ok(Judged::new(cell, cell));
    }
    t.count_rule(q.slot(), shadow.rule());
    Ok(judged)
}

/// Type << 8 | code of the echo request of this protocol: of ICMP only echoes are connections.
#[inline(always)]
const fn echo(protocol: u8) -> u16 {
    if protocol == protocol::ICMPV6 { (icmpv6::ECHO as u16) << 8 } else { (icmp::ECHO as u16) << 8 }
}

/// Service class of a destination port and a source port, or of an ICMP type and code.
#[inline(always)]
fn service<T: Tables>(
    t: &T,
    slot: u32,
    protocol: u8,
    source: u16,
    port: u16,
    icmp: u16,
) -> Result<u32, DropReason> {
    let (table, number) = match protocol {
        protocol::TCP => (service_table::TCP, port),
        protocol::UDP => (service_table::UDP, port),
        protocol::SCTP => (service_table::SCTP, port),
        protocol::ICMP => (service_table::ICMP, icmp),
        protocol::ICMPV6 => (service_table::ICMPV6, icmp),
        _ => (service_table::PROTOCOL, protocol as u16),
    };
    let class = t.service(slot, table, number);
    let Some(shape) = t.generation_entry(slot) else { return Err(DropReason::Fault) };
    if class == NOTHING {
        return Err(DropReason::Fault);
    }
    if shape.sources <= 1 {
        return Ok(class);
    }
    let source = if table < SOURCE_TABLES { t.source(slot, table, source) } else { 0 };
    // A missing table is a class that no verdict has.
    Ok(class.wrapping_mul(shape.sources).saturating_add(source))
}

#[inline(always)]
fn side(way: u64, half: u64, sent: u64) -> FlowSide {
    FlowSide { way: Word::new(way), half: Word::new(half), sent: Word::new(sent) }
}

/// Inserts a connection. What was left of an old one on the same addresses is overwritten; of
/// two processors that see the first packets of one connection, the later writes the same again.
#[inline(always)]
fn remember<T: Tables>(t: &T, q: &Packet, cell: Cell, way: u64) -> Result<(), DropReason> {
    let own = side(way, q.half, q.sent);
    let peer = side(0, conntrack::NONE, 0);
    let (a, b) = if q.from_a != 0 { (own, peer) } else { (peer, own) };
    let judged = Word::new(q.stamp() | cell.0 as u64);
    let new = FlowEntry { judged, last: Word::new(q.now), a, b };
    match t.flow_insert(&q.key, &new) {
        Inserted::New => {
            limit::charge(t, q.ingress, q.half);
            return Ok(());
        }
        Inserted::Full => return Err(DropReason::FlowTableFull),
        Inserted::Exists => {}
    }
    // Removed between the two calls: its next packet will open it again.
    let Some(e) = t.flow(&q.key) else { return Ok(()) };
    limit::release(t, e);
    limit::charge(t, q.ingress, q.half);
    if e.is_expired_by(q.key.protocol, q.now, conntrack::GRACE / 2) {
        return match t.flow_replace(&q.key, &new) {
            Inserted::Full => Err(DropReason::FlowTableFull),
            _ => Ok(()),
        };
    }
    copy(&new.a, &e.a);
    copy(&new.b, &e.b);
    e.judged.set(new.judged.get());
    e.last.set(q.now);
    Ok(())
}

#[inline(always)]
fn copy(from: &FlowSide, to: &FlowSide) {
    to.way.set(from.way.get());
    to.half.set(from.half.get());
    to.sent.set(from.sent.get());
}
