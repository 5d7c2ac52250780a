//! The path of a packet: port, headers, connection. What only first packets need is in
//! [`crate::query`], how a frame is rewritten on its way out in [`crate::send`].

use crate::{
    account,
    addr::{Addr, Mac},
    conntrack::{self, Event, Step},
    expiry, flow,
    frame::Frame,
    layout::{FlowEntry, FlowSide, PortEntry, notice, port_flag, port_kind},
    limit, link,
    outcome::Outcome,
    packet::{Packet, Scratch, op},
    parse::{self, Fragment, Ip, Kind, Transport},
    policy::{self, Cell},
    query,
    reason::DropReason,
    route::{self, Ingress, Moment},
    send,
    sequence::{self, Sent, View},
    shared,
    subport::{self, is_subport},
    tables::{NOTHING, TICKS_PER_SECOND, Tables},
    verdict::{Flood, Verdict},
    wire::{ethernet, icmp, protocol, udp},
};

/// Decides about a frame that came in at port `ingress`. The frame is rewritten where the
/// verdict forwards it; a tag of an uplink or a trunk is taken off even if it is dropped after all.
/// What `scratch` holds before does not matter; [`Scratch::port`] is the port that was judged.
#[inline(always)]
pub fn decide<F: Frame, T: Tables>(
    f: &mut F,
    t: &T,
    ingress: u32,
    scratch: &mut Scratch,
) -> Verdict {
    scratch.came = f.length();
    scratch.port = ingress;
    let mut done = judge_frame(f, t, ingress, scratch);
    let s = t.forget(scratch);
    let outcome = &s.outcome;
    let vlan = outcome.egress_vlan();
    if done.is_ok() && vlan != 0 && !f.push_tag(vlan) {
        done = Err(DropReason::Fault);
    }
    let own = account::arrived(t, s.port, s.came);
    match done {
        Ok(()) => {
            if outcome.leaves() {
                account::forwarded(t, own, outcome.port(), f.length());
                if outcome.far() != account::far::NETWORK {
                    t.went_far(s, f.length());
                }
            }
            outcome.verdict()
        }
        Err(reason) => {
            account::dropped(t, own, s.port, reason);
            Verdict::Drop(reason)
        }
    }
}

#[inline(always)]
fn judge_frame<F: Frame, T: Tables>(
    f: &mut F,
    t: &T,
    ingress: u32,
    scratch: &mut Scratch,
) -> Result<(), DropReason> {
    let m = Moment::new(t.generation(), t.now());
    let Some(port) = t.port(m.slot, ingress) else { return Err(DropReason::PortClosed) };
    if port.kind == port_kind::CLOSED || m.generation == 0 {
        return Err(DropReason::PortClosed);
    }
    let header = parse::link(f)?;
    let port = subport::enter(t, m.slot, port, &header)?;
    let ingress = port.ifindex;
    scratch.port = ingress;
    let id = admit_link(t, &m, port, &header)?;
    if header.tagged && !f.pop_tag() {
        return Err(DropReason::Fault);
    }
    let Some(network) = t.network(m.slot, id) else { return Err(DropReason::Fault) };
    if port.kind == port_kind::UPLINK && network.uplink_port != ingress {
        // The network of another uplink.
        return Err(DropReason::UnknownVlan);
    }
    let i = Ingress {
        m,
        port: ingress,
        kind: port.kind,
        id,
        network,
        src: header.src,
        dst: header.dst,
    };
    if header.ethertype == ethernet::ARP {
        return link::arp(f, t, &i, scratch);
    }
    let v6 = header.ethertype == ethernet::IPV6;
    if !v6 && header.ethertype != ethernet::IPV4 {
        scratch.outcome = Outcome::flood(bare(&i, header.ethertype)?);
        return Ok(());
    }
    judge_ip(f, t, &i, port, v6, scratch)
}

/// Checks tag and source MAC; the id of the network that the frame belongs to.
#[inline(always)]
pub fn admit_link<T: Tables>(
    t: &T,
    m: &Moment,
    port: &PortEntry,
    header: &parse::Link,
) -> Result<u32, DropReason> {
    if port.kind == port_kind::UPLINK {
        let id = if header.vlan == 0 { port.network } else { t.vlan(m.slot, header.vlan) };
        if header.src.is_group() {
            return Err(DropReason::SpoofedMac);
        }
        if id == 0 { Err(DropReason::UnknownVlan) } else { Ok(id) }
    } else if header.tagged && !is_subport(port.ifindex) {
        Err(DropReason::TaggedFrame)
    } else if header.src.0 != port.mac && !shared::may_use(t, m.slot, port, header.src) {
        Err(DropReason::SpoofedMac)
    } else {
        Ok(port.network)
    }
}

/// A frame that is neither ARP nor IP: passes only with an EtherType that its network declares,
/// from guest to guests. What bridges keep to themselves (IEEE 802.1Q, table 8-1) never does.
#[inline(always)]
fn bare(i: &Ingress<'_>, ethertype: u16) -> Result<Flood, DropReason> {
    let e = &i.network.ethertypes;
    let declared = ethertype == e[0]
        || ethertype == e[1]
        || ethertype == e[2]
        || ethertype == e[3]
        || ethertype == e[4]
        || ethertype == e[5]
        || ethertype == e[6]
        || ethertype == e[7];
    let kept = i.dst.0 >> 4 == ethernet::BRIDGES >> 4;
    // Below are lengths (IEEE 802.3, section 3.2.6): spanning tree, CDP and their like.
    if i.kind != port_kind::GUEST || ethertype < ethernet::TYPE_MIN || !declared || kept {
        return Err(DropReason::EtherType);
    }
    Ok(Flood::bare(i.dst, i.port, i.id, i.m.generation))
}

#[inline(always)]
fn judge_ip<F: Frame, T: Tables>(
    f: &mut F,
    t: &T,
    i: &Ingress<'_>,
    port: &PortEntry,
    v6: bool,
    scratch: &mut Scratch,
) -> Result<(), DropReason> {
    scratch.ip = parse::ip(f, ethernet::LEN, v6, false)?;
    // However long the walk through options and extension headers was, it ends here.
    let ip = t.forget(&mut scratch.ip);
    // Before anything else is read: a flood of forged addresses shall cost little.
    let owned = port.kind != port_kind::GUEST || owns(t, i, port, ip.src);
    let discovers = ip.src.is_unspecified() || (ip.v6() && ip.src.is_link_local_v6());
    if !owned && !discovers {
        let reason = shared::not_owned(t, i.m.slot, port, ip.src);
        // Who announces a shared IPv6 address may do so from this address.
        if reason != DropReason::NotHolder || ip.protocol() != protocol::ICMPV6 {
            return Err(reason);
        }
    }
    let tr = match ip.fragment {
        // Its ports are found when it is clear that it is for somebody.
        Fragment::Later => Transport::ports(0, 0, Event::Part),
        _ => parse::transport(f, ip)?,
    };
    if tr.kind == Kind::Membership {
        return Err(DropReason::Absorbed);
    }
    if tr.kind == Kind::Discovery {
        let ip = *ip;
        return link::discovery(f, t, i, &ip, &tr, scratch);
    }
    let asked = asked(port, ip, &tr);
    if asked != NOTHING {
        scratch.outcome = Outcome::notice(i.asks(asked));
        return Ok(());
    }
    admit_source(t, i, port, owned, ip, &tr)?;
    scratch.packet.set(i, ip, &tr);
    if port.flags & port_flag::LIMIT_OUT != 0 {
        scratch.packet.police();
    }
    judge_packet(f, t, t.forget(scratch))
}

/// From here on the packet is what [`Packet`] says.
#[inline(always)]
fn judge_packet<F: Frame, T: Tables>(
    f: &mut F,
    t: &T,
    scratch: &mut Scratch,
) -> Result<(), DropReason> {
    let p = &mut scratch.packet;
    let group = Mac(p.link_dst).is_group();
    if group {
        // Every member is judged for itself when the copies are made.
        if p.is_later_fragment() || p.is_error() {
            return Err(DropReason::Martian);
        }
        p.op = op::GROUP;
    } else if !p.dst.is_unicast() {
        return Err(DropReason::Martian);
    } else if p.is_error() {
        if let Err(reason) = quoted(f, t, p, &mut scratch.ip) {
            return Err(stray(t, p, reason));
        }
    } else if p.is_later_fragment()
        && let Err(reason) = t.recall_fragment(p)
    {
        return Err(stray(t, p, reason));
    }
    let p = t.forget(p);
    if p.op == op::GROUP {
        t.refuse_denied(p)?;
        t.resolve(t.forget(p))?;
        let p = t.forget(p);
        if p.is_policed() {
            // A service class has no bit of a policed port; the copies have their own ports.
            t.police(p, f.length())?;
        }
        let p = t.forget(p);
        scratch.outcome = Outcome::flood(Flood {
            network: p.network,
            ingress: p.ingress,
            class: (p.port >> 32) as u32,
            service: p.port as u32,
            generation: p.generation,
        });
        return Ok(());
    }
    let known = if p.is_flow() { judge_flow(t, p) } else { Ok(false) };
    match known {
        Ok(true) => {}
        Ok(false) => {
            t.refuse_denied(p)?;
            t.resolve(t.forget(p))?;
        }
        Err(reason) => return Err(stray(t, p, reason)),
    }
    let p = t.forget(p);
    if p.is_policed() || p.egress_is_policed() {
        t.police(p, f.length())?;
    }
    let p = t.forget(p);
    if p.is_first_fragment() || p.is_later_fragment() {
        t.keep_fragment(p)?;
    }
    let p = t.forget(p);
    if send::is_plain(p) {
        scratch.outcome = Outcome::forward(p.egress(), 0, account::far::NETWORK);
        return Ok(());
    }
    f.send(t, scratch)
}

/// Why a packet is dropped for which its connection has no room, or which has none. What comes from
/// an uplink and cannot come from there is that in the first place.
#[inline(always)]
fn stray<T: Tables>(t: &T, p: &mut Packet, reason: DropReason) -> DropReason {
    if p.kind != port_kind::UPLINK as u32 {
        return reason;
    }
    if let Err(first) = t.refuse_denied(p) {
        return first;
    }
    let p = t.forget(p);
    p.op = op::STRAY;
    match t.resolve(p) {
        Ok(()) => reason,
        Err(first) => first,
    }
}

/// The notice that a guest asks for by DHCP or DHCPv6, maybe before it has an address; or
/// [`NOTHING`].
#[inline(always)]
fn asked(port: &PortEntry, ip: &Ip, tr: &Transport) -> u32 {
    let udp = ip.protocol() == protocol::UDP && ip.fragment == Fragment::Whole;
    if port.kind != port_kind::GUEST || !udp {
        return NOTHING;
    }
    match (ip.v6(), tr.sport(), tr.dport()) {
        (false, udp::DHCP_CLIENT, udp::DHCP_SERVER) => notice::DHCP,
        (true, udp::DHCP6_CLIENT, udp::DHCP6_SERVER) => notice::DHCP6,
        _ => NOTHING,
    }
}

/// What no port may send as source, and what DHCP may not do.
#[inline(always)]
fn admit_source<T: Tables>(
    t: &T,
    i: &Ingress<'_>,
    port: &PortEntry,
    owned: bool,
    ip: &Ip,
    tr: &Transport,
) -> Result<(), DropReason> {
    let dhcp = ip.protocol() == protocol::UDP;
    if port.kind == port_kind::GUEST {
        if dhcp {
            match (tr.sport(), tr.dport()) {
                (udp::DHCP_SERVER, udp::DHCP_CLIENT) | (udp::DHCP6_SERVER, udp::DHCP6_CLIENT) => {
                    return Err(DropReason::NotForGuests);
                }
                // In fragments, or by the other family.
                (udp::DHCP_CLIENT, udp::DHCP_SERVER) | (udp::DHCP6_CLIENT, udp::DHCP6_SERVER) => {
                    return Err(DropReason::Unanswered);
                }
                _ => {}
            }
        }
        return if owned { Ok(()) } else { Err(shared::not_owned(t, i.m.slot, port, ip.src)) };
    }
    if !ip.src.is_unicast() {
        return Err(DropReason::Martian);
    }
    Ok(())
}

/// Is this one of the guest port's addresses?
#[inline(always)]
fn owns<T: Tables>(t: &T, i: &Ingress<'_>, port: &PortEntry, addr: Addr) -> bool {
    if addr.is_unspecified() {
        return false;
    }
    if lists(port, addr) {
        return true;
    }
    if addr.is_link_local_v6() && addr == Addr::link_local_of(Mac(port.mac)) {
        return true;
    }
    if port.flags & (port_flag::MORE_ADDRESSES | port_flag::SHARES) == 0 {
        return false;
    }
    match route::declared(t, i.m.slot, i.id, addr) {
        Some(a) => shared::seat(t, i.m.slot, a, addr).port == i.port as u64,
        None => false,
    }
}

/// Is this one of the addresses that the guest port's own entry holds? It may have more.
#[inline(always)]
pub fn lists(port: &PortEntry, addr: Addr) -> bool {
    let a = &port.addrs;
    !addr.is_unspecified() && (addr == a[0] || addr == a[1] || addr == a[2] || addr == a[3])
}

/// A packet of a connection, known or new. True if its way is known already.
#[inline(always)]
fn judge_flow<T: Tables>(t: &T, p: &mut Packet) -> Result<bool, DropReason> {
    if let Some(e) = t.flow(&p.key)
        && !e.is_expired(p.key.protocol, p.now)
    {
        let (own, peer) = if p.from_a != 0 { (&e.a, &e.b) } else { (&e.b, &e.a) };
        let (own_view, peer_view) = (View::of(own), View::of(peer));
        let half = own_view.half;
        let initiator = half & conntrack::INITIATOR;
        match conntrack::step(own_view.state(), peer_view.state(), p.event, initiator != 0) {
            Step::To(state) => {
                p.op = op::CONTINUE;
                let next = sequence::follow(own_view, peer_view, state, p.event, p.segment);
                if next.half == View::REFUSED.half {
                    return Err(DropReason::BadSequence);
                }
                p.half = next.half;
                p.sent = next.sent.0;
                return known_way(t, p, e, own, half);
            }
            Step::Bad => return Err(DropReason::BadState),
            Step::Restart => {
                let idle = p.now.wrapping_sub(e.last.get()) >= TICKS_PER_SECOND;
                if !idle && sequence::is_old_syn(own_view, peer_view, p.segment) {
                    return Err(DropReason::BadSequence);
                }
            }
        }
    }
    if !p.event.starts() {
        return Err(DropReason::NoConnection);
    }
    p.half = conntrack::INITIATOR | conntrack::OPEN;
    if p.event == Event::Syn {
        p.half = conntrack::INITIATOR | conntrack::SYN_SENT;
        p.sent = Sent::of_syn(p.segment).0;
    }
    p.op = op::OPEN;
    Ok(false)
}

/// The way stored for this generation, if there is one.
#[inline(always)]
fn known_way<T: Tables>(
    t: &T,
    p: &mut Packet,
    e: &FlowEntry,
    own: &FlowSide,
    half: u64,
) -> Result<bool, DropReason> {
    let judged = e.judged.get();
    let way = own.way.get();
    let current = (judged >> 32) as u32 == p.generation;
    let known = (way >> 32) as u32 == p.from() && way as u32 != 0;
    // Not for every packet: the word is shared by all processors. And not for who only knocks:
    // what both ends have forgotten must end some day.
    if p.now.wrapping_sub(e.last.get()) >= TICKS_PER_SECOND && p.event != Event::Syn {
        e.last.set(p.now);
    }
    if !current || !known {
        return Ok(false);
    }
    query::admit(t, p, Cell(judged as u32))?;
    p.half |= half & !conntrack::STATE_BITS;
    p.port = way & 0xffff_ffff;
    if p.half != half {
        limit::step(t, own, p.half);
    }
    if p.sent != own.sent.get() {
        own.sent.set(p.sent);
    }
    Ok(true)
}

/// An ICMP error goes to the sender of the packet that it quotes, if that packet belongs to a
/// known connection: takes over its key.
#[inline(always)]
fn quoted<F: Frame, T: Tables>(
    f: &F,
    t: &T,
    p: &mut Packet,
    quote: &mut Ip,
) -> Result<(), DropReason> {
    *quote = parse::ip(f, p.l4 + icmp::LEN, p.v6(), true)?;
    let quote = t.forget(quote);
    if quote.src != p.dst || quote.fragment == Fragment::Later {
        return Err(DropReason::UnrelatedError);
    }
    let tr = parse::quoted(f, quote)?;
    let (src, dst) = (quote.src, quote.dst);
    let d = flow::key(src, dst, tr.sport(), tr.dport(), quote.protocol(), p.network);
    p.segment = tr.segment;
    p.key = d.key;
    p.from_a = d.from_a as u32;
    p.op = op::ERROR;
    let p = t.forget(p);
    let Some(e) = t.flow(&p.key) else { return Err(DropReason::UnrelatedError) };
    let (own, peer) = if p.from_a != 0 { (&e.a, &e.b) } else { (&e.b, &e.a) };
    if own.state() == conntrack::NONE || e.is_expired(p.key.protocol, p.now) {
        return Err(DropReason::UnrelatedError);
    }
    let seq = p.segment.seq;
    let tcp = p.key.protocol == protocol::TCP as u16;
    if tcp && !sequence::is_under_way(View::of(own), View::of(peer), seq) {
        return Err(DropReason::UnrelatedError);
    }
    Ok(())
}

/// May this member of the network have a copy of so many bytes?
#[inline(always)]
pub fn flood<T: Tables>(t: &T, flood: &Flood, member: u32, bytes: u32) -> bool {
    let slot = flood.generation & 1;
    if member == flood.ingress {
        return false;
    }
    match t.port(slot, member) {
        Some(p) if p.kind == port_kind::GUEST && p.network == flood.network && flood.is_bare() => {
            flood.is_for(Mac(p.mac))
        }
        Some(p) if p.kind != port_kind::CLOSED && p.network == flood.network => {
            if flood.is_bare() {
                return false;
            }
            let cell = policy::judge(t, slot, flood.class, p.class, flood.service);
            let now = t.now();
            cell.allows()
                && !expiry::has_ended(t, slot, cell.rule(), now)
                && (p.flags & port_flag::LIMIT_IN == 0
                    || limit::receives(t, slot, member, now, bytes))
        }
        _ => false,
    }
}
