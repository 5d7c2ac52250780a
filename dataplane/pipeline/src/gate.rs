//! The gate of an uplink: what can never be allowed, dropped by an XDP hook before the frame
//! becomes a packet buffer. Frames of VLANs that no network of the uplink has, sources that cannot
//! come from there, ends in a denied set, headers that mean nothing. And floods: packets in the middle
//! of connections that nobody knows, and whatever a limit of the uplink that is used up would refuse.
//!
//! What the gate drops [`crate::decide()`] would drop, for the same reason: it asks the same
//! functions in the same order, as far as they need no more than the frame, the generation and the
//! connections. Of a limit it looks whether there is anything left, and takes nothing. Everything
//! else it leaves to `decide`, and it changes nothing but counters. So a port is as closed without
//! it; what it does is cheaper.
//!
//! And it sends datagrams of known connections straight to their guests, as the fast lane of a guest
//! would ([`crate::lane`]). Not TCP: the kernel puts its segments together behind the driver (GRO), and
//! one that does not wait for the others would overtake them.

use crate::{
    account,
    conntrack::Event,
    decide::admit_link,
    denied,
    flow::{self, Directed},
    frame::Frame,
    lane::{self, NOT_HERE},
    layout::{FlowEntry, NetworkEntry, port_flag, port_kind},
    limit, link,
    outcome::Outcome,
    packet::Scratch,
    parse::{self, Fragment, Ip, Kind},
    query,
    reason::DropReason,
    route::{self, Ingress, Moment},
    tables::Tables,
    wire::ethernet,
};

/// Judges a frame from port `ingress`. An error is the reason for which it is to be dropped, and it
/// has been counted. Otherwise the port by which it may leave as it is, see [`sent`], or [`NOT_HERE`]:
/// it is for [`crate::decide()`].
#[inline(always)]
pub fn gate<F: Frame, T: Tables>(
    f: &F,
    t: &T,
    ingress: u32,
    scratch: &mut Scratch,
) -> Result<u32, DropReason> {
    match judge(f, t, ingress, scratch) {
        Ok(out) => Ok(out),
        // The hook may see less of the frame than there is.
        Err(DropReason::Truncated) => Ok(NOT_HERE),
        Err(reason) => {
            let own = account::arrived(t, ingress, f.length() - tag_len(f));
            account::dropped(t, own, ingress, reason);
            Err(reason)
        }
    }
}

/// Counts a frame of so many bytes from port `ingress` that was sent by port `out`.
#[inline(always)]
pub fn sent<T: Tables>(t: &T, ingress: u32, out: u32, bytes: u32, scratch: &mut Scratch) {
    account::forwarded(t, account::arrived(t, ingress, bytes), out, bytes);
    scratch.port = ingress;
    scratch.came = bytes;
    scratch.outcome = Outcome::forward(out, 0, account::far::OUTSIDE);
    t.went_far(scratch, bytes);
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
) -> Result<u32, DropReason> {
    let m = Moment::new(t.generation(), t.now());
    let Some(port) = t.port(m.slot, ingress) else { return Err(DropReason::PortClosed) };
    if port.kind == port_kind::CLOSED || m.generation == 0 {
        return Err(DropReason::PortClosed);
    }
    if port.kind != port_kind::UPLINK {
        return Ok(NOT_HERE);
    }
    let header = parse::link(f)?;
    if !header.tagged && port.flags & port_flag::HIDES_TAGS != 0 {
        return Ok(NOT_HERE);
    }
    let id = admit_link(t, &m, port, &header)?;
    let Some(network) = t.network(m.slot, id) else { return Err(DropReason::Fault) };
    if network.uplink_port != ingress {
        return Err(DropReason::UnknownVlan);
    }
    let i = ingress_of(m, ingress, id, network, &header);
    let at = if header.tagged { ethernet::LEN + ethernet::TAG_LEN } else { ethernet::LEN };
    let v6 = header.ethertype == ethernet::IPV6;
    if !v6 && header.ethertype != ethernet::IPV4 {
        // Nothing else comes from outside.
        if header.ethertype != ethernet::ARP {
            return Err(DropReason::EtherType);
        }
        link::read_arp(f, at, &i, &mut scratch.claim)?;
        // Who may say so is for the whole way.
        limit::foresee(t, &m, ingress, DropReason::LimitNeighbour)?;
        return Ok(NOT_HERE);
    }
    scratch.ip = parse::ip(f, at, v6, false)?;
    let fits = f.length() - ethernet::LEN <= port.mtu;
    // A tag has to come off, and bandwidth is held against its limit by the whole way.
    let straight = !header.tagged && fits && port.flags & port_flag::LIMIT_OUT == 0;
    judge_ip(f, t, &i, at, t.forget(scratch), straight)
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

/// `at`: where the IP header is; `straight`: may the frame leave as it came?
#[inline(always)]
fn judge_ip<F: Frame, T: Tables>(
    f: &F,
    t: &T,
    i: &Ingress<'_>,
    at: u32,
    scratch: &mut Scratch,
    straight: bool,
) -> Result<u32, DropReason> {
    let Scratch { ip, claim, .. } = scratch;
    let group = i.dst.is_group();
    let martian = !ip.src.is_unicast() || (!group && !ip.dst.is_unicast());
    let mut alone = ip.fragment == Fragment::Later;
    let mut meets = Meets::Nobody;
    if !alone {
        let tr = parse::transport(f, ip)?;
        match tr.kind {
            Kind::Membership => return Err(DropReason::Absorbed),
            Kind::Discovery => {
                link::read_discovery(f, at, i, (ip, &tr), claim)?;
                limit::foresee(t, &i.m, i.port, DropReason::LimitNeighbour)?;
                return Ok(NOT_HERE);
            }
            Kind::Flow if martian => return Err(DropReason::Martian),
            Kind::Flow => {
                let d = flow::key(ip.src, ip.dst, tr.sport(), tr.dport(), ip.protocol(), i.id);
                if let Some(e) = t.flow(&d.key) {
                    // Its ends were asked about when it got its way.
                    let way = has_way(i, &d, e);
                    let steady = straight && !group && ip.fragment == Fragment::Whole;
                    let goes = way && steady && tr.event == Event::Datagram;
                    if goes && lane::is_complete(f, t, ip) {
                        let from = query::from(i.m.generation, i.id, i.port);
                        return Ok(lane::way_of(t, &i.m, from, i.dst.0, &d, e, &tr));
                    }
                    if way {
                        return Ok(NOT_HERE);
                    }
                    meets = Meets::Somebody;
                } else if !tr.event.starts() {
                    meets = Meets::NobodyBelated;
                }
            }
            Kind::Error => alone = true,
            Kind::Single => {}
        }
    }
    if martian || (group && alone) {
        return Err(DropReason::Martian);
    }
    admit_ends(t, i, ip)?;
    if group {
        limit::foresee(t, &i.m, i.port, DropReason::LimitBroadcast)?;
    } else if meets == Meets::NobodyBelated {
        return Err(DropReason::NoConnection);
    } else if meets == Meets::Nobody && !alone {
        limit::foresee(t, &i.m, i.port, DropReason::LimitNew)?;
    }
    Ok(NOT_HERE)
}

/// Whom a packet finds.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Meets {
    /// No connection, and it may open one or need none.
    Nobody,
    /// No connection, and it cannot open one.
    NobodyBelated,
    /// A connection.
    Somebody,
}

/// Has the connection a way from here in this generation?
#[inline(always)]
fn has_way(i: &Ingress<'_>, d: &Directed, e: &FlowEntry) -> bool {
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
