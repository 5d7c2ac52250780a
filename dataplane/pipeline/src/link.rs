//! ARP (RFC 826) and neighbour discovery (RFC 4861). The switch answers for every declared
//! address itself; nobody's claim about an address is passed on to a guest.

use crate::{
    addr::{Addr, Mac},
    decide::{Moment, owns},
    frame::Frame,
    layout::{PortEntry, network_flag, port_kind},
    parse::{Ip, Transport},
    reason::DropReason,
    route::{self, Ingress},
    tables::Tables,
    verdict::{Answer, Verdict},
    wire::{arp, ethernet, icmpv6, ipv6},
};

/// Judges an ARP packet.
#[inline(always)]
pub fn arp<F: Frame, T: Tables>(
    f: &mut F,
    t: &T,
    m: &Moment,
    i: &Ingress<'_>,
    port: &PortEntry,
) -> Result<Verdict, DropReason> {
    let Some(b) = f.fixed::<{ ethernet::LEN }, 28>() else { return Err(DropReason::Truncated) };
    if [b[0], b[1], b[2], b[3], b[4], b[5]] != arp::PREAMBLE {
        return Err(DropReason::BadArp);
    }
    let sender = Addr::v4([b[14], b[15], b[16], b[17]]);
    let target = Addr::v4([b[24], b[25], b[26], b[27]]);
    if Mac::new([b[8], b[9], b[10], b[11], b[12], b[13]]) != i.src {
        return Err(DropReason::SpoofedNeighbour);
    }
    admit_claim(t, m, i, port, sender)?;
    match u16::from_be_bytes([b[6], b[7]]) {
        arp::REQUEST => ask(f, t, m, i, sender, target, false),
        arp::REPLY => told(t, m, i, target),
        _ => Err(DropReason::BadArp),
    }
}

/// Judges a router or neighbour discovery packet.
#[inline(always)]
pub fn discovery<F: Frame, T: Tables>(
    f: &mut F,
    t: &T,
    m: &Moment,
    i: &Ingress<'_>,
    port: &PortEntry,
    ip: &Ip,
    tr: &Transport,
) -> Result<Verdict, DropReason> {
    let kind = (tr.icmp >> 8) as u8;
    if kind == icmpv6::ROUTER_ADVERTISEMENT || kind == icmpv6::REDIRECT {
        return Err(DropReason::NotForGuests);
    }
    // RFC 4861, sections 6.1 and 7.1; RFC 6980 forbids fragments, and nothing needs extensions.
    if ip.ttl != 255 || tr.icmp & 0xff != 0 || ip.l4 != ethernet::LEN + ipv6::LEN {
        return Err(DropReason::BadTransport);
    }
    if kind == icmpv6::ROUTER_SOLICITATION {
        return Err(DropReason::Unanswered);
    }
    if ip.rest < icmpv6::NEIGHBOUR_LEN {
        return Err(DropReason::BadTransport);
    }
    let Some(b) = f.load::<16>(ip.l4 + 8) else { return Err(DropReason::Truncated) };
    let target = Addr::v6(b);
    let claimed = link_option(f, i, ip, kind)?;
    if target.is_multicast() {
        return Err(DropReason::BadTransport);
    }
    if kind == icmpv6::ADVERTISEMENT {
        admit_claim(t, m, i, port, target)?;
        return told(t, m, i, ip.dst);
    }
    admit_claim(t, m, i, port, ip.src)?;
    if ip.src.is_unspecified() {
        return Err(DropReason::Absorbed);
    }
    // Without the option only a unicast question can be answered (section 7.2.4).
    if !claimed && ip.dst.is_multicast() {
        return Err(DropReason::BadTransport);
    }
    ask(f, t, m, i, ip.src, target, true)
}

/// The link-layer address option, if the message has one: it must be the sender's own MAC.
/// Messages with more than one option are for nobody here.
#[inline(always)]
fn link_option<F: Frame>(f: &F, i: &Ingress<'_>, ip: &Ip, kind: u8) -> Result<bool, DropReason> {
    if ip.rest == icmpv6::NEIGHBOUR_LEN {
        return Ok(false);
    }
    if ip.rest < icmpv6::NEIGHBOUR_LEN + icmpv6::LINK_OPTION_LEN {
        return Err(DropReason::BadTransport);
    }
    let Some(b) = f.load::<8>(ip.l4 + icmpv6::NEIGHBOUR_LEN) else {
        return Err(DropReason::Truncated);
    };
    let option =
        if kind == icmpv6::SOLICITATION { icmpv6::OPTION_SOURCE } else { icmpv6::OPTION_TARGET };
    if b[0] != option || b[1] != 1 {
        // Duplicate address detection carries a nonce here (RFC 7527).
        return Ok(false);
    }
    if Mac::new([b[2], b[3], b[4], b[5], b[6], b[7]]) != i.src {
        return Err(DropReason::SpoofedNeighbour);
    }
    Ok(ip.rest == icmpv6::NEIGHBOUR_LEN + icmpv6::LINK_OPTION_LEN)
}

/// May this port say that it has `addr`? What an uplink says of a neighbour is remembered.
#[inline(always)]
fn admit_claim<T: Tables>(
    t: &T,
    m: &Moment,
    i: &Ingress<'_>,
    port: &PortEntry,
    addr: Addr,
) -> Result<(), DropReason> {
    if addr.is_unspecified() {
        return Ok(());
    }
    let declared = route::declared(t, m.slot, i.id, addr);
    let ok = if port.kind == port_kind::GUEST {
        // A guest may form its link-local address as it likes (RFC 7217); it reaches nobody.
        owns(t, m, i, port, addr) || (addr.is_link_local_v6() && declared.is_none())
    } else if port.kind == port_kind::HOST {
        declared.is_some_and(|a| a.kind == port_kind::HOST)
    } else {
        match declared {
            Some(a) => a.kind == port_kind::CLOSED && a.network == i.id,
            None => learn(t, m, i, addr),
        }
    };
    if ok { Ok(()) } else { Err(DropReason::SpoofedNeighbour) }
}

/// Learns an undeclared neighbour of an uplink's network. False if it cannot be one.
#[inline(always)]
fn learn<T: Tables>(t: &T, m: &Moment, i: &Ingress<'_>, addr: Addr) -> bool {
    if addr.is_link_local_v6() {
        return true;
    }
    match t.prefix(m.slot, addr) {
        Some(p) if p.network == i.id => {
            t.neighbour_insert(i.id, addr, i.src.0, m.now);
            true
        }
        _ => false,
    }
}

/// Somebody asks for `target`: the switch answers for what is plugged in here; questions for
/// the rest of the network leave by its uplink.
#[inline(always)]
fn ask<F: Frame, T: Tables>(
    f: &mut F,
    t: &T,
    m: &Moment,
    i: &Ingress<'_>,
    sender: Addr,
    target: Addr,
    v6: bool,
) -> Result<Verdict, DropReason> {
    if sender == target {
        return Err(DropReason::Absorbed);
    }
    let Some(a) = route::declared(t, m.slot, i.id, target) else {
        return beyond(f, t, m, i, target);
    };
    let host = a.kind == port_kind::HOST;
    let gateway = host && is_gateway(i, target);
    if (host && i.kind == port_kind::HOST) || (a.port == i.port && a.port != 0) {
        return Err(DropReason::Absorbed);
    }
    if gateway {
        return Ok(answer(i, i.network.gateway_mac, v6, true));
    }
    if host || a.network != i.id {
        return Err(DropReason::Unanswered);
    }
    if a.port == 0 {
        return out(f, i);
    }
    Ok(answer(i, a.mac, v6, false))
}

/// Is this address one of the network's gateway addresses?
#[inline(always)]
fn is_gateway(i: &Ingress<'_>, addr: Addr) -> bool {
    let n = i.network;
    n.flags & network_flag::GATEWAY != 0
        && (addr == n.gateway_v4
            || addr == n.gateway_v6
            || addr == Addr::link_local_of(Mac(n.gateway_mac)))
}

#[inline(always)]
fn answer(i: &Ingress<'_>, mac: u64, v6: bool, router: bool) -> Verdict {
    Verdict::Answer(Answer::Neighbour { mac, v6, router, vlan: answer_tag(i) })
}

/// VLAN id that an answer to this port carries; 0 for none.
#[inline(always)]
pub fn answer_tag(i: &Ingress<'_>) -> u32 {
    if i.kind == port_kind::UPLINK && i.network.flags & network_flag::UPLINK_TAGGED != 0 {
        i.network.vlan
    } else {
        0
    }
}

/// A question for an address that nobody has declared.
#[inline(always)]
fn beyond<F: Frame, T: Tables>(
    f: &mut F,
    t: &T,
    m: &Moment,
    i: &Ingress<'_>,
    target: Addr,
) -> Result<Verdict, DropReason> {
    match t.prefix(m.slot, target) {
        Some(p) if p.network == i.id => out(f, i),
        _ if target.is_link_local_v6() => out(f, i),
        _ => Err(DropReason::Unanswered),
    }
}

/// Out by the network's uplink.
#[inline(always)]
fn out<F: Frame>(f: &mut F, i: &Ingress<'_>) -> Result<Verdict, DropReason> {
    let uplink = i.network.uplink_port;
    if uplink == 0 || i.kind == port_kind::UPLINK {
        return Err(DropReason::Unanswered);
    }
    if i.network.flags & network_flag::UPLINK_TAGGED != 0 && !f.push_tag(i.network.vlan as u16) {
        return Err(DropReason::Fault);
    }
    Ok(Verdict::Forward(uplink))
}

/// An answer for `asker`: passed on only from the uplink, and only to whom it is addressed.
#[inline(always)]
fn told<T: Tables>(t: &T, m: &Moment, i: &Ingress<'_>, asker: Addr) -> Result<Verdict, DropReason> {
    if i.kind != port_kind::UPLINK {
        return Err(DropReason::Absorbed);
    }
    match route::declared(t, m.slot, i.id, asker) {
        Some(a) if a.port != 0 && a.mac == i.dst.0 && a.network == i.id => {
            Ok(Verdict::Forward(a.port))
        }
        _ => Err(DropReason::Absorbed),
    }
}
