//! The fast lane: a frame of a connection that is known and judged in this generation, that
//! leaves as it came, to a port here. An XDP hook asks before the frame becomes a packet buffer;
//! whatever is not for the lane goes the whole way through [`crate::decide()`], which decides the
//! same about it and changes nothing that it would not have changed.
//!
//! A frame that crosses XDP loses what its sender said about checksums and segments. So only
//! complete frames are for the lane: a checksum that is still to be finished holds the sum of the
//! pseudo header (virtio 1.2, section 5.1.6.2), which is compared.

use crate::{
    conntrack::{self, Event},
    decide::lists,
    expiry,
    flow::{self, Directed},
    frame::Frame,
    layout::{FlowEntry, FlowSide, port_flag, port_kind},
    packet::Scratch,
    parse::{self, Fragment, Ip, Kind, Transport},
    policy::Cell,
    query,
    route::{BEYOND, Moment, POLICED},
    sequence::{self, View},
    subport::SUBPORT,
    tables::{TICKS_PER_SECOND, Tables},
    wire::{ethernet, protocol, tcp, udp},
};

/// "Not for the lane", in place of a port.
pub const NOT_HERE: u32 = 0;

/// The port (interface index) by which the frame leaves, or [`NOT_HERE`].
#[inline(always)]
pub fn lane<F: Frame, T: Tables>(f: &F, t: &T, ingress: u32, scratch: &mut Scratch) -> u32 {
    let m = Moment::new(t.generation(), t.now());
    let Some(port) = t.port(m.slot, ingress) else { return NOT_HERE };
    if port.kind != port_kind::GUEST || m.generation == 0 {
        return NOT_HERE;
    }
    let Ok(link) = parse::link(f) else { return NOT_HERE };
    let v6 = link.ethertype == ethernet::IPV6;
    let is_ip = v6 || link.ethertype == ethernet::IPV4;
    if link.tagged || !is_ip || link.src.0 != port.mac || link.dst.is_group() {
        return NOT_HERE;
    }
    // Bandwidth is held against its limit by the whole way.
    if f.length() - ethernet::LEN > port.mtu || port.flags & port_flag::LIMIT_OUT != 0 {
        return NOT_HERE;
    }
    let Ok(ip) = parse::ip(f, ethernet::LEN, v6, false) else { return NOT_HERE };
    scratch.ip = ip;
    let ip = t.forget(&mut scratch.ip);
    if ip.fragment != Fragment::Whole || !lists(port, ip.src) {
        return NOT_HERE;
    }
    let Ok(tr) = parse::transport(f, ip) else { return NOT_HERE };
    let steady = tr.kind == Kind::Flow && matches!(tr.event, Event::Ack | Event::Datagram);
    if !steady || !is_complete(f, t, ip) {
        return NOT_HERE;
    }
    let from = query::from(m.generation, port.network, ingress);
    known_way(t, &m, from, link.dst.0, ip, &tr)
}

/// Is the checksum finished, as far as can be seen? One complete frame in 65,536 looks as if it
/// were not, and takes the whole way.
#[inline(always)]
pub fn is_complete<F: Frame, T: Tables>(f: &F, t: &T, ip: &Ip) -> bool {
    let at = match ip.protocol() {
        protocol::TCP => tcp::CHECKSUM_AT,
        protocol::UDP => udp::CHECKSUM_AT,
        _ => return false,
    };
    let Some(mut b) = f.load::<2>(ip.l4 + at) else { return false };
    let seed = pseudo_sum(ip);
    // Out of the registers: LLVM would assemble the number before it knows that there is one,
    // from what a packet pointer has left ("32-bit pointer arithmetic prohibited").
    let sum = u16::from_be_bytes(*t.forget(&mut b)) as u32;
    // Both zeros of ones' complement.
    sum % 0xffff != seed % 0xffff
}

/// Sum of the pseudo header (RFC 9293, section 3.1; RFC 8200, section 8.1), modulo 65,535. The
/// prefix of a mapped IPv4 address adds 65,535, which is nothing.
#[inline(always)]
fn pseudo_sum(ip: &Ip) -> u32 {
    let sum = halves(ip.src.hi) + halves(ip.src.lo) + halves(ip.dst.hi) + halves(ip.dst.lo);
    ((sum + ip.rest as u64 + ip.protocol() as u64) % 0xffff) as u32
}

#[inline(always)]
const fn halves(word: u64) -> u64 {
    // 65,536 is 1 modulo 65,535, so a half of 32 bits counts as its two parts.
    (word >> 32) + (word & 0xffff_ffff)
}

/// The stored way of a connection of which this packet moves nothing but the numbers. `from`: where
/// its sender sits.
#[inline(always)]
fn known_way<T: Tables>(t: &T, m: &Moment, from: u32, dst: u64, ip: &Ip, tr: &Transport) -> u32 {
    let d = flow::key(ip.src, ip.dst, tr.sport(), tr.dport(), ip.protocol(), 0);
    match t.flow(&d.key) {
        Some(e) => way_of(t, m, from, dst, &d, e, tr),
        None => NOT_HERE,
    }
}

/// The same of the connection with this key and entry, to a MAC.
#[inline(always)]
pub fn way_of<T: Tables>(
    t: &T,
    m: &Moment,
    from: u32,
    dst: u64,
    d: &Directed,
    e: &FlowEntry,
    tr: &Transport,
) -> u32 {
    let (own, peer) = if d.from_a { (&e.a, &e.b) } else { (&e.b, &e.a) };
    let way = own.way.get();
    if (way >> 32) as u32 != from || !is_steady(e, own, m, dst, d.key.protocol) {
        return NOT_HERE;
    }
    let cell = Cell(e.judged.get() as u32);
    if !cell.allows() || expiry::has_ended(t, m.slot, cell.rule(), m.now) {
        return NOT_HERE;
    }
    let known = View::of(own);
    let next = sequence::follow(known, View::of(peer), conntrack::OPEN, tr.event, tr.segment);
    if next.half != known.half & conntrack::STATE_BITS {
        return NOT_HERE;
    }
    if next.sent != known.sent {
        own.sent.set(next.sent.0);
    }
    if m.now.wrapping_sub(e.last.get()) >= TICKS_PER_SECOND {
        e.last.set(m.now);
    }
    way as u32
}

/// Is the connection open and judged in this generation, and does the frame leave as it came?
#[inline(always)]
fn is_steady(e: &FlowEntry, own: &FlowSide, m: &Moment, dst: u64, protocol: u16) -> bool {
    let half = own.half.get();
    let plain = half >> conntrack::MAC_SHIFT == dst && half & conntrack::UPLINK == 0;
    let judged = (e.judged.get() >> 32) as u32 == m.generation;
    let open = half & conntrack::STATE == conntrack::OPEN;
    let special = own.way.get() & (POLICED | BEYOND | SUBPORT as u64) != 0;
    plain && judged && open && !special && !e.is_expired(protocol, m.now)
}
