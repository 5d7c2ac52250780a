//! ARP (RFC 826) and neighbour discovery (RFC 4861). The switch answers for every declared
//! address itself; nobody's claim about an address is passed on to a guest.
//!
//! Both protocols become a [`Claim`], which is judged once, without the frame.

use crate::{
    account::far,
    addr::{Addr, Mac},
    event,
    frame::Frame,
    layout::{network_flag, notice, port_kind},
    limit,
    outcome::Outcome,
    packet::Scratch,
    parse::{Ip, Transport},
    reason::DropReason,
    route::{self, Ingress, Moment},
    shared,
    subport::{self, is_subport},
    tables::Tables,
    wire::{arp, ethernet, icmpv6, ipv6, protocol},
};

/// Bits of [`Claim::flags`].
mod claim_flag {
    /// Neighbour discovery, not ARP.
    pub const V6: u32 = 1;
    /// An answer, not a question.
    pub const ANSWER: u32 = 2;
}

/// Somebody says that it has an address, and asks for another one or answers.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Claim {
    /// The address that the sender claims; `::` for none.
    pub claimed: Addr,
    /// The address asked for; of an answer the address that it is meant for.
    pub wanted: Addr,
    /// Source MAC of the frame.
    pub link_src: u64,
    /// Destination MAC of the frame.
    pub link_dst: u64,
    /// Ticks.
    pub now: u64,
    /// The generation that judges it.
    pub generation: u32,
    /// Interface index of the ingress port.
    pub ingress: u32,
    /// One of [`port_kind`].
    pub kind: u32,
    /// Id of the ingress network.
    pub network: u32,
    /// Bits of [`claim_flag`].
    flags: u32,
    /// Zero.
    reserved: u32,
}

impl Claim {
    /// None yet.
    pub const NEW: Self = Self {
        claimed: Addr::UNSPECIFIED,
        wanted: Addr::UNSPECIFIED,
        link_src: 0,
        link_dst: 0,
        now: 0,
        generation: 0,
        ingress: 0,
        kind: 0,
        network: 0,
        flags: 0,
        reserved: 0,
    };

    #[inline(always)]
    fn set(&mut self, i: &Ingress<'_>, claimed: Addr, wanted: Addr, flags: u32) {
        *self = Self {
            claimed,
            wanted,
            link_src: i.src.0,
            link_dst: i.dst.0,
            now: i.m.now,
            generation: i.m.generation,
            ingress: i.port,
            kind: i.kind as u32,
            network: i.id,
            flags,
            reserved: 0,
        };
    }

    /// Generation slot.
    #[inline(always)]
    pub const fn slot(&self) -> u32 {
        self.generation & 1
    }

    /// What it is among the protocols of an event: the EtherType of ARP, or ICMPv6 with the message's
    /// type << 24.
    #[inline(always)]
    pub const fn transport(&self) -> u32 {
        let kind = match self.flags {
            claim_flag::V6 => icmpv6::SOLICITATION,
            flags if flags & claim_flag::V6 != 0 => icmpv6::ADVERTISEMENT,
            _ => return ethernet::ARP as u32,
        };
        (kind as u32) << 24 | protocol::ICMPV6 as u32
    }

    /// Does it announce the claimed address to everybody, unasked: gratuitous ARP (RFC 5227,
    /// section 3), an unsolicited neighbour advertisement (RFC 4861, section 7.2.6)?
    #[inline(always)]
    pub const fn announces(&self) -> bool {
        if self.flags & claim_flag::V6 == 0 {
            return self.claimed.hi == self.wanted.hi && self.claimed.lo == self.wanted.lo;
        }
        self.flags & claim_flag::ANSWER != 0 && self.wanted.is_multicast()
    }
}

/// Judges an ARP packet.
#[inline(always)]
pub fn arp<F: Frame, T: Tables>(
    f: &mut F,
    t: &T,
    i: &Ingress<'_>,
    scratch: &mut Scratch,
) -> Result<(), DropReason> {
    read_arp(f, ethernet::LEN, i, &mut scratch.claim)?;
    t.judge_claim(scratch)
}

/// Reads what the ARP packet at `at` claims, and checks that it may be one.
#[inline(always)]
pub fn read_arp<F: Frame>(
    f: &F,
    at: u32,
    i: &Ingress<'_>,
    claim: &mut Claim,
) -> Result<(), DropReason> {
    let Some(b) = f.load::<28>(at) else { return Err(DropReason::Truncated) };
    if [b[0], b[1], b[2], b[3], b[4], b[5]] != arp::PREAMBLE {
        return Err(DropReason::BadArp);
    }
    if Mac::new([b[8], b[9], b[10], b[11], b[12], b[13]]) != i.src {
        return Err(DropReason::SpoofedNeighbour);
    }
    let flags = match u16::from_be_bytes([b[6], b[7]]) {
        arp::REQUEST => 0,
        arp::REPLY => claim_flag::ANSWER,
        _ => return Err(DropReason::BadArp),
    };
    let sender = Addr::v4([b[14], b[15], b[16], b[17]]);
    let target = Addr::v4([b[24], b[25], b[26], b[27]]);
    claim.set(i, sender, target, flags);
    Ok(())
}

/// Judges a router or neighbour discovery packet.
#[inline(always)]
pub fn discovery<F: Frame, T: Tables>(
    f: &mut F,
    t: &T,
    i: &Ingress<'_>,
    ip: &Ip,
    tr: &Transport,
    scratch: &mut Scratch,
) -> Result<(), DropReason> {
    if read_discovery(f, ethernet::LEN, i, (ip, tr), &mut scratch.claim)? {
        return t.judge_claim(scratch);
    }
    scratch.outcome = Outcome::notice(i.asks(notice::ADVERTISEMENT));
    Ok(())
}

/// Reads what a neighbour discovery packet claims whose IPv6 header is at `at`, and checks that it may
/// be one. False: it claims nothing, but asks for a router, and may.
#[inline(always)]
pub fn read_discovery<F: Frame>(
    f: &F,
    at: u32,
    i: &Ingress<'_>,
    (ip, tr): (&Ip, &Transport),
    claim: &mut Claim,
) -> Result<bool, DropReason> {
    let kind = (tr.icmp() >> 8) as u8;
    if kind == icmpv6::ROUTER_ADVERTISEMENT || kind == icmpv6::REDIRECT {
        return Err(DropReason::NotForGuests);
    }
    // RFC 4861, sections 6.1 and 7.1; RFC 6980 forbids fragments, and nothing needs extensions.
    if ip.ttl != 255 || tr.icmp() & 0xff != 0 || ip.l4 != at + ipv6::LEN {
        return Err(DropReason::BadTransport);
    }
    if kind == icmpv6::ROUTER_SOLICITATION {
        if i.kind != port_kind::GUEST || i.network.gateway_v6.is_unspecified() {
            return Err(DropReason::Unanswered);
        }
        return Ok(false);
    }
    if ip.rest < icmpv6::NEIGHBOUR_LEN {
        return Err(DropReason::BadTransport);
    }
    let Some(b) = f.load::<16>(at + ipv6::LEN + 8) else { return Err(DropReason::Truncated) };
    let target = Addr::v6(b);
    if target.is_multicast() {
        return Err(DropReason::BadTransport);
    }
    let has_link = link_option(f, at, i, ip, kind)?;
    if kind == icmpv6::ADVERTISEMENT {
        claim.set(i, target, ip.dst, claim_flag::V6 | claim_flag::ANSWER);
    } else if !has_link && !ip.src.is_unspecified() && !is_bare_unicast(ip) {
        return Err(DropReason::BadTransport);
    } else {
        claim.set(i, ip.src, target, claim_flag::V6);
    }
    Ok(true)
}

/// Without the option, and with no other one, a unicast question can be answered all the same
/// (RFC 4861, section 7.2.4).
#[inline(always)]
fn is_bare_unicast(ip: &Ip) -> bool {
    !ip.dst.is_multicast() && ip.rest == icmpv6::NEIGHBOUR_LEN
}

/// The link-layer address option, if the message has one: it must be the sender's own MAC.
/// Messages with more than one option are for nobody here.
#[inline(always)]
fn link_option<F: Frame>(
    f: &F,
    at: u32,
    i: &Ingress<'_>,
    ip: &Ip,
    kind: u8,
) -> Result<bool, DropReason> {
    let at = at + ipv6::LEN + icmpv6::NEIGHBOUR_LEN;
    if ip.rest == icmpv6::NEIGHBOUR_LEN {
        return Ok(false);
    }
    if ip.rest < icmpv6::NEIGHBOUR_LEN + icmpv6::LINK_OPTION_LEN {
        return Err(DropReason::BadTransport);
    }
    let Some(b) = f.load::<8>(at) else { return Err(DropReason::Truncated) };
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

/// Judges the claim in `scratch`. This is the meaning behind [`Tables::judge_claim`].
#[inline(always)]
pub fn judge<T: Tables>(t: &T, scratch: &mut Scratch) -> Result<(), DropReason> {
    let Scratch { claim, packet, outcome, .. } = scratch;
    if let Err(reason) = limit::asks(t, claim.slot(), claim.ingress, claim.now) {
        packet.set_claim(claim, scratch.came);
        event::limited(t, packet, reason);
        return Err(reason);
    }
    settle(t, claim, outcome)
}

#[inline(always)]
fn settle<T: Tables>(t: &T, c: &Claim, o: &mut Outcome) -> Result<(), DropReason> {
    let Some(network) = t.network(c.slot(), c.network) else { return Err(DropReason::Fault) };
    let i = Ingress {
        m: Moment::new(c.generation, c.now),
        port: c.ingress,
        kind: c.kind as u16,
        id: c.network,
        network,
        src: Mac(c.link_src),
        dst: Mac(c.link_dst),
    };
    if !c.claimed.is_unspecified() {
        admit(t, c, &i)?;
    }
    if c.flags & claim_flag::ANSWER != 0 { told(t, c, &i, o) } else { asked(t, c, &i, o) }
}

/// May this port say that it has the address? What an uplink says of a neighbour is remembered.
#[inline(always)]
fn admit<T: Tables>(t: &T, c: &Claim, i: &Ingress<'_>) -> Result<(), DropReason> {
    let local = c.claimed.is_link_local_v6();
    let ok = match route::declared(t, c.slot(), i.id, c.claimed) {
        Some(a) if shared::is_shared(a) => return shared::claim(t, c, i, a),
        Some(a) if i.kind == port_kind::GUEST => a.port == i.port,
        Some(a) if i.kind == port_kind::HOST => a.kind == port_kind::HOST,
        Some(a) => a.kind == port_kind::CLOSED && a.network == i.id,
        // A guest may form its link-local address as it likes (RFC 7217); it reaches nobody.
        None if i.kind == port_kind::GUEST => local,
        None if i.kind == port_kind::HOST => false,
        None => local || learn(t, c, i),
    };
    if ok { Ok(()) } else { Err(DropReason::SpoofedNeighbour) }
}

/// Learns an undeclared neighbour of an uplink's network. False if it cannot be one.
#[inline(always)]
fn learn<T: Tables>(t: &T, c: &Claim, i: &Ingress<'_>) -> bool {
    match t.prefix(c.slot(), c.claimed) {
        Some(p) if p.network == i.id => {
            t.neighbour_insert(i.id, c.claimed, c.link_src, c.now);
            true
        }
        _ => false,
    }
}

/// A question: the switch answers for what is plugged in here; questions for the rest of the
/// network leave by its uplink.
#[inline(always)]
fn asked<T: Tables>(t: &T, c: &Claim, i: &Ingress<'_>, o: &mut Outcome) -> Result<(), DropReason> {
    let v6 = c.flags & claim_flag::V6 != 0;
    // Announcements, and duplicate address detection of IPv6.
    if c.claimed == c.wanted || (v6 && c.claimed.is_unspecified()) {
        return Err(DropReason::Absorbed);
    }
    let Some(a) = route::declared(t, c.slot(), i.id, c.wanted) else {
        let inside = match t.prefix(c.slot(), c.wanted) {
            Some(p) => p.network == i.id,
            None => false,
        };
        return if inside || c.wanted.is_link_local_v6() {
            beyond(i, o)
        } else {
            Err(DropReason::Unanswered)
        };
    };
    let host = a.kind == port_kind::HOST;
    let port = shared::seat(t, c.slot(), a, c.wanted).port as u32;
    if (host && i.kind == port_kind::HOST) || (port == i.port && port != 0) {
        return Err(DropReason::Absorbed);
    }
    if host && is_gateway(i, c.wanted) {
        *o = Outcome::neighbour(i.network.gateway_mac, v6, true, answer_tag(i));
        return Ok(());
    }
    if host || a.network != i.id {
        return Err(DropReason::Unanswered);
    }
    if shared::is_vacant(a) && port == 0 {
        return Err(DropReason::NoHolder);
    }
    if port == 0 {
        return beyond(i, o);
    }
    *o = Outcome::neighbour(a.mac, v6, false, answer_tag(i));
    Ok(())
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

/// VLAN id that an answer to this port carries; 0 for none.
#[inline(always)]
pub fn answer_tag(i: &Ingress<'_>) -> u32 {
    if i.kind == port_kind::UPLINK {
        egress_tag(i)
    } else if is_subport(i.port) {
        i.network.vlan
    } else {
        0
    }
}

/// VLAN id of the network on its uplink; 0 where it is untagged.
#[inline(always)]
fn egress_tag(i: &Ingress<'_>) -> u32 {
    if i.network.flags & network_flag::UPLINK_TAGGED != 0 { i.network.vlan } else { 0 }
}

/// Out by the network's uplink.
#[inline(always)]
fn beyond(i: &Ingress<'_>, o: &mut Outcome) -> Result<(), DropReason> {
    let uplink = i.network.uplink_port;
    if uplink == 0 || i.kind == port_kind::UPLINK {
        return Err(DropReason::Unanswered);
    }
    *o = Outcome::forward(uplink, egress_tag(i), far::OUTSIDE);
    Ok(())
}

/// An answer: passed on only from the uplink, and only to whom it is addressed.
#[inline(always)]
fn told<T: Tables>(t: &T, c: &Claim, i: &Ingress<'_>, o: &mut Outcome) -> Result<(), DropReason> {
    if i.kind != port_kind::UPLINK {
        return Err(DropReason::Absorbed);
    }
    match route::declared(t, c.slot(), i.id, c.wanted) {
        Some(a) if a.network == i.id => {
            let seat = shared::seat(t, c.slot(), a, c.wanted);
            // Who holds a shared address may ask by its own MAC or by the address's.
            if seat.port == 0 || (seat.mac != i.dst.0 && a.mac != i.dst.0) {
                return Err(DropReason::Absorbed);
            }
            subport::forward(t, c.slot(), seat.port as u32, i.network, far::OUTSIDE, o)
        }
        _ => Err(DropReason::Absorbed),
    }
}
