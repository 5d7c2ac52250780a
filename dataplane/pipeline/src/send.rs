//! A frame on its way out: one hop of routing where it is routed, a tag where it leaves by an
//! uplink or a subport.

use crate::{
    account::{self, far},
    addr::Mac,
    conntrack,
    frame::Frame,
    layout::{NetworkEntry, network_flag},
    link,
    outcome::Outcome,
    packet::Packet,
    reason::DropReason,
    route::Ingress,
    subport,
    tables::Tables,
    verdict::IcmpError,
    wire::{ethernet, protocol, udp},
};

/// Does the frame leave as it came: from a guest to a guest here, inside their network, untagged?
#[inline(always)]
pub fn is_plain(p: &Packet) -> bool {
    p.half >> conntrack::MAC_SHIFT == p.link_dst && p.stays_among_guests() && !p.leaves_by_subport()
}

/// Rewrites a frame that is not plain for its way out. This is the meaning behind
/// [`Frame::send`].
#[inline(always)]
pub fn send<F: Frame, T: Tables>(
    f: &mut F,
    t: &T,
    p: &Packet,
    o: &mut Outcome,
) -> Result<(), DropReason> {
    let Some(network) = t.network(p.slot(), conntrack::network_of(p.half)) else {
        return Err(DropReason::Fault);
    };
    let tagged = network.flags & network_flag::UPLINK_TAGGED != 0;
    let vlan = if p.half & conntrack::UPLINK != 0 && tagged { network.vlan } else { 0 };
    let same_mac = p.half >> conntrack::MAC_SHIFT == p.link_dst;
    let far = if !p.stays_among_guests() {
        far::OUTSIDE
    } else if same_mac || p.is_readdressed() {
        // Not addressed to the gateway.
        far::NETWORK
    } else {
        far::ROUTED
    };
    if p.leaves_by_subport() {
        subport::forward(t, p.slot(), p.egress(), network, far, o)?;
    } else {
        *o = Outcome::forward(p.egress(), vlan, far);
    }
    if same_mac {
        return Ok(());
    }
    if p.is_readdressed() {
        let to = Mac(p.half >> conntrack::MAC_SHIFT).octets();
        return if f.store::<6>(0, to, false) { Ok(()) } else { Err(DropReason::Fault) };
    }
    let Some(from) = t.network(p.slot(), p.network) else { return Err(DropReason::Fault) };
    let i = p.ingress(from);
    if !i.to_gateway() {
        return Err(DropReason::WrongMac);
    }
    hop(f, t, &i, p, network, o)
}

/// One hop of routing: time to live, size, addresses of the link (RFC 1812, section 5.2).
#[inline(always)]
fn hop<F: Frame, T: Tables>(
    f: &mut F,
    t: &T,
    i: &Ingress<'_>,
    p: &Packet,
    network: &NetworkEntry,
    o: &mut Outcome,
) -> Result<(), DropReason> {
    let (error, reason) = if p.ttl <= 1 {
        (IcmpError::TimeExceeded, DropReason::TimeToLive)
    } else if packet_len(f, p)? > network.mtu {
        (IcmpError::TooBig(network.mtu), DropReason::TooBig)
    } else {
        return rewrite(f, p, network);
    };
    let source = if p.v6() { i.network.gateway_v6 } else { i.network.gateway_v4 };
    // RFC 1812, section 4.3.2.7; what may be fragmented is not answered, and dropped.
    let answered = !source.is_unspecified()
        && !p.is_later_fragment()
        && !p.is_error()
        && (reason == DropReason::TimeToLive || p.keep_whole());
    if !answered {
        return Err(reason);
    }
    if !t.error_budget() {
        return Err(DropReason::RateLimit);
    }
    // The packet ends here; what leaves is a new one.
    account::dropped(t, t.traffic(i.port), i.port, reason);
    *o = Outcome::error(error, p.generation, i.id, p.v6(), link::answer_tag(i));
    Ok(())
}

#[inline(always)]
fn rewrite<F: Frame>(f: &mut F, p: &Packet, network: &NetworkEntry) -> Result<(), DropReason> {
    let to = Mac(p.half >> conntrack::MAC_SHIFT).octets();
    let from = Mac(network.gateway_mac).octets();
    let link = [
        to[0], to[1], to[2], to[3], to[4], to[5], from[0], from[1], from[2], from[3], from[4],
        from[5],
    ];
    if lower_ttl(f, p.v6()) && f.store::<12>(0, link, false) {
        Ok(())
    } else {
        Err(DropReason::Fault)
    }
}

/// Length of the largest packet on the wire that this frame becomes, from the IP header on,
/// bytes.
#[inline(always)]
fn packet_len<F: Frame>(f: &F, p: &Packet) -> Result<u32, DropReason> {
    let segment = f.segment_size();
    let header = p.l4 - ethernet::LEN;
    if segment == 0 {
        return Ok(header + p.rest);
    }
    let transport = if p.protocol() == protocol::TCP {
        let Some(b) = f.load::<2>(p.l4 + 12) else { return Err(DropReason::Truncated) };
        ((b[0] >> 4) as u32) << 2
    } else {
        udp::LEN
    };
    Ok(header + transport + segment)
}

/// Takes one from the time to live, with the IPv4 header checksum (RFC 1624, equation 3).
#[inline(always)]
fn lower_ttl<F: Frame>(f: &mut F, v6: bool) -> bool {
    if v6 {
        // Next header and hop limit.
        const AT: u32 = ethernet::LEN + 6;
        let Some(b) = f.fixed::<AT, 2>() else { return false };
        return f.store::<2>(AT, [b[0], b[1].wrapping_sub(1)], true);
    }
    const AT: u32 = ethernet::LEN + 8;
    let Some(b) = f.fixed::<AT, 4>() else { return false };
    let sum = u16::from_be_bytes([b[2], b[3]]) as u32 + 0x100;
    let sum = ((sum & 0xffff) + (sum >> 16)) as u16;
    let s = sum.to_be_bytes();
    // The header's sum stays what it was, so hardware checksums over it stay right.
    f.store::<4>(AT, [b[0].wrapping_sub(1), b[1], s[0], s[1]], false)
}
