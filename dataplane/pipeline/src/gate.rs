//! The gate of an uplink: what can never be allowed, dropped by an XDP hook before the frame
//! becomes a packet buffer. Frames of VLANs that no network of the uplink has, sources that cannot
//! come from there, ends in a denied set, headers that mean nothing.
//!
//! What the gate drops [`crate::decide()`] would drop, for the same reason: it asks the same
//! functions in the same order, as far as they depend on nothing but the frame and the generation.
//! Everything else it leaves to `decide`, and it changes nothing but counters. So a port is as
//! closed without it; what it does is cheaper.

use crate::{
    account,
    decide::admit_link,
    denied, flow,
    frame::Frame,
    layout::{NetworkEntry, port_flag, port_kind},
    packet::Scratch,
    parse::{self, Fragment, Ip, Kind, Transport},
    query,
    reason::DropReason,
    route::{self, Ingress, Moment},
    tables::Tables,
    wire::ethernet,
};

/// Judges a frame from port `ingress`. An error is the reason for which it is to be dropped, and it
/// has been counted; the rest is for [`crate::decide()`].
#[inline(always)]
pub fn gate<F: Frame, T: Tables>(
    f: &F,
    t: &T,
    ingress: u32,
    scratch: &mut Scratch,
) -> Result<(), DropReason> {
    match judge(f, t, ingress, scratch) {
        // The hook may see less of the frame than there is.
        Ok(()) | Err(DropReason::Truncated) => Ok(()),
        Err(reason) => {
            let own = account::arrived(t, ingress, f.length() - tag_len(f));
            account::dropped(t, own, ingress, reason);
            Err(reason)
        }
    }
}

/// Bytes of the tag among the bytes of a frame: the kernel takes it out before it counts.
#[inline(always)]
fn tag_len<F: Frame>(f: &F) -> u32 {
    let Some(b) = f.fixed::<{ ethernet::LEN - 2 }, 2>() else { return 0 };
    let outer = u16::from_be_bytes(b);
    let tagged = outer == ethernet::VLAN || outer == ethernet::SERVICE_VLAN;
    if tagged { ethernet::TAG_LEN } else { 0 }
}

#[inline(always)]
fn judge<F: Frame, T: Tables>(
    f: &F,
    t: &T,
    ingress: u32,
    scratch: &mut Scratch,
) -> Result<(), DropReason> {
    let m = Moment::new(t.generation(), t.now());
    let Some(port) = t.port(m.slot, ingress) else { return Err(DropReason::PortClosed) };
    if port.kind == port_kind::CLOSED || m.generation == 0 {
        return Err(DropReason::PortClosed);
    }
    if port.kind != port_kind::UPLINK {
        return Ok(());
    }
    let header = parse::link(f)?;
    if !header.tagged && port.flags & port_flag::HIDES_TAGS != 0 {
        return Ok(());
    }
    let id = admit_link(t, &m, port, &header)?;
    let Some(network) = t.network(m.slot, id) else { return Err(DropReason::Fault) };
    if network.uplink_port != ingress {
        return Err(DropReason::UnknownVlan);
    }
    let v6 = header.ethertype == ethernet::IPV6;
    if !v6 && header.ethertype != ethernet::IPV4 {
        // What ARP claims is for the whole way; nothing else comes from outside.
        return if header.ethertype == ethernet::ARP { Ok(()) } else { Err(DropReason::EtherType) };
    }
    let at = if header.tagged { ethernet::LEN + ethernet::TAG_LEN } else { ethernet::LEN };
    scratch.ip = parse::ip(f, at, v6, false)?;
    let i = ingress_of(m, ingress, id, network, &header);
    judge_ip(f, t, &i, t.forget(&mut scratch.ip))
}

#[inline(always)]
const fn ingress_of<'a>(
    m: Moment,
    port: u32,
    id: u32,
    network: &'a NetworkEntry,
    header: &parse::Link,
) -> Ingress<'a> {
    Ingress { m, port, kind: port_kind::UPLINK, id, network, src: header.src, dst: header.dst }
}

#[inline(always)]
fn judge_ip<F: Frame, T: Tables>(f: &F, t: &T, i: &Ingress<'_>, ip: &Ip) -> Result<(), DropReason> {
    let later = ip.fragment == Fragment::Later;
    let mut known = false;
    let mut error = false;
    if !later {
        let tr = parse::transport(f, ip)?;
        match tr.kind {
            Kind::Membership => return Err(DropReason::Absorbed),
            Kind::Discovery => return Ok(()),
            Kind::Flow => known = has_way(t, i, ip, &tr),
            Kind::Error => error = true,
            Kind::Single => {}
        }
    }
    let group = i.dst.is_group();
    if !ip.src.is_unicast() || (group && (later || error)) || (!group && !ip.dst.is_unicast()) {
        return Err(DropReason::Martian);
    }
    if known {
        return Ok(());
    }
    admit_ends(t, i, ip)
}

/// Has the connection a way from here in this generation? Then its ends were asked about.
#[inline(always)]
fn has_way<T: Tables>(t: &T, i: &Ingress<'_>, ip: &Ip, tr: &Transport) -> bool {
    let d = flow::key(ip.src, ip.dst, tr.sport(), tr.dport(), ip.protocol(), i.id);
    let Some(e) = t.flow(&d.key) else { return false };
    let way = if d.from_a { e.a.way.get() } else { e.b.way.get() };
    (e.judged.get() >> 32) as u32 == i.m.generation
        && (way >> 32) as u32 == query::from(i.m.generation, i.id, i.port)
        && way as u32 != 0
}

/// Refuses ends that are denied, and a source that cannot come from here.
#[inline(always)]
fn admit_ends<T: Tables>(t: &T, i: &Ingress<'_>, ip: &Ip) -> Result<(), DropReason> {
    let Some(shape) = t.generation_entry(i.m.slot) else { return Err(DropReason::Fault) };
    let bank = shape.denied;
    if bank != 0
        && (denied::denies(t, bank, i.m.slot, i.id, ip.src)
            || denied::denies(t, bank, i.m.slot, i.id, ip.dst))
    {
        return Err(DropReason::DeniedSet);
    }
    route::check_source(t, i.m.slot, i, ip.src, false)
}
