//! The path of a packet: port, headers, connection, and for its first packet the policy.

use crate::{
    addr::{Addr, Mac},
    conntrack::{self, Event, Step},
    flow::{self, Directed},
    frame::Frame,
    layout::{
        FlowEntry, FlowKey, FlowSide, NetworkEntry, PortEntry, network_flag, port_flag, port_kind,
        service_table,
    },
    link,
    parse::{self, Fragment, Ip, Kind, Transport},
    policy::{self, Cell},
    reason::DropReason,
    route::{self, Ingress, Route},
    tables::{Inserted, TICKS_PER_SECOND, Tables},
    verdict::{Answer, Flood, IcmpError, Verdict},
    wire::{ethernet, icmp, icmpv6, protocol, udp},
    word::Word,
};

/// What the packet knows while it is judged: read once, passed on.
#[derive(Clone, Copy)]
pub struct Moment {
    /// The one generation that judges this packet.
    pub generation: u32,
    /// Its slot.
    pub slot: u32,
    /// Ticks.
    pub now: u64,
}

/// Decides about a frame that came in at port `ingress`. The frame is rewritten where the
/// verdict forwards it; a tag of an uplink is taken off even if it is dropped after all.
#[inline(always)]
pub fn decide<F: Frame, T: Tables>(f: &mut F, t: &T, ingress: u32) -> Verdict {
    match judge_frame(f, t, ingress) {
        Ok(verdict) => verdict,
        Err(reason) => {
            t.count_drop(reason);
            Verdict::Drop(reason)
        }
    }
}

#[inline(always)]
fn judge_frame<F: Frame, T: Tables>(f: &mut F, t: &T, ingress: u32) -> Result<Verdict, DropReason> {
    let generation = t.generation();
    let m = Moment { generation, slot: generation & 1, now: t.now() };
    let Some(port) = t.port(m.slot, ingress) else { return Err(DropReason::PortClosed) };
    if port.kind == port_kind::CLOSED || generation == 0 {
        return Err(DropReason::PortClosed);
    }
    let header = parse::link(f)?;
    let id = admit_link(t, &m, port, &header)?;
    if header.tagged && !f.pop_tag() {
        return Err(DropReason::Fault);
    }
    let Some(network) = t.network(m.slot, id) else { return Err(DropReason::Fault) };
    let i =
        Ingress { port: ingress, kind: port.kind, id, network, src: header.src, dst: header.dst };
    match header.ethertype {
        ethernet::IPV4 => judge_ip(f, t, &m, &i, port, false),
        ethernet::IPV6 => judge_ip(f, t, &m, &i, port, true),
        ethernet::ARP => link::arp(f, t, &m, &i, port),
        _ => Err(DropReason::EtherType),
    }
}

/// Checks tag and source MAC; the id of the network that the frame belongs to.
#[inline(always)]
fn admit_link<T: Tables>(
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
    } else if header.tagged {
        Err(DropReason::TaggedFrame)
    } else if header.src.0 != port.mac {
        Err(DropReason::SpoofedMac)
    } else {
        Ok(port.network)
    }
}

#[inline(always)]
fn judge_ip<F: Frame, T: Tables>(
    f: &mut F,
    t: &T,
    m: &Moment,
    i: &Ingress<'_>,
    port: &PortEntry,
    v6: bool,
) -> Result<Verdict, DropReason> {
    let ip = parse::ip(f, ethernet::LEN, v6, false)?;
    let transport = match ip.fragment {
        Fragment::Later => recall_fragment(t, m, i, &ip)?,
        _ => parse::transport(f, &ip)?,
    };
    if transport.kind == Kind::Membership {
        return Err(DropReason::Absorbed);
    }
    if transport.kind == Kind::Discovery {
        return link::discovery(f, t, m, i, port, &ip, &transport);
    }
    admit_source(t, m, i, port, &ip, &transport)?;
    if i.dst.is_group() {
        return judge_group(t, m, i, port, &ip, &transport);
    }
    if ip.dst.is_never_on_wire() || ip.dst.is_multicast() || ip.dst.is_limited_broadcast() {
        return Err(DropReason::Martian);
    }
    match transport.kind {
        Kind::Flow => judge_flow(f, t, m, i, port, &ip, &transport),
        Kind::Error => judge_error(f, t, m, i, &ip),
        _ => judge_single(f, t, m, i, &ip, &transport),
    }
}

/// Checks the source address of a guest, and what no port may send as source.
#[inline(always)]
fn admit_source<T: Tables>(
    t: &T,
    m: &Moment,
    i: &Ingress<'_>,
    port: &PortEntry,
    ip: &Ip,
    transport: &Transport,
) -> Result<(), DropReason> {
    if port.kind == port_kind::GUEST {
        if owns(t, m, i, port, ip.src) {
            return dhcp(ip, transport);
        }
        // DHCP clients have no address yet.
        let asks = ip.src.is_unspecified() && ip.protocol == protocol::UDP;
        return Err(if asks { DropReason::Unanswered } else { DropReason::SpoofedAddress });
    }
    if ip.src.is_never_on_wire() || ip.src.is_multicast() || ip.src.is_limited_broadcast() {
        return Err(DropReason::Martian);
    }
    Ok(())
}

/// No guest answers DHCP; its questions are for the switch.
#[inline(always)]
fn dhcp(ip: &Ip, t: &Transport) -> Result<(), DropReason> {
    if ip.protocol != protocol::UDP {
        return Ok(());
    }
    match (t.sport, t.dport) {
        (udp::DHCP_SERVER, udp::DHCP_CLIENT) | (udp::DHCP6_SERVER, udp::DHCP6_CLIENT) => {
            Err(DropReason::NotForGuests)
        }
        (udp::DHCP_CLIENT, udp::DHCP_SERVER) | (udp::DHCP6_CLIENT, udp::DHCP6_SERVER) => {
            Err(DropReason::Unanswered)
        }
        _ => Ok(()),
    }
}

/// Is this one of the guest port's addresses?
#[inline(always)]
pub fn owns<T: Tables>(t: &T, m: &Moment, i: &Ingress<'_>, port: &PortEntry, addr: Addr) -> bool {
    if addr.is_unspecified() {
        return false;
    }
    let a = &port.addrs;
    if addr == a[0] || addr == a[1] || addr == a[2] || addr == a[3] {
        return true;
    }
    if addr.is_link_local_v6() {
        return addr == Addr::link_local_of(Mac(port.mac));
    }
    port.flags & port_flag::MORE_ADDRESSES != 0
        && route::declared(t, m.slot, i.id, addr).is_some_and(|e| e.port == i.port)
}

/// Later fragments have the ports of the first one.
#[inline(always)]
fn recall_fragment<T: Tables>(
    t: &T,
    m: &Moment,
    i: &Ingress<'_>,
    ip: &Ip,
) -> Result<Transport, DropReason> {
    let key = flow::fragment_key(ip.src, ip.dst, ip.fragment_id, ip.protocol, i.id);
    match t.fragment(&key) {
        Some(v) if ((m.now >> FRAGMENT_TICKS) as u32).wrapping_sub((v >> 32) as u32) <= 1 => {
            Ok(Transport {
                sport: (v >> 16) as u16,
                dport: v as u16,
                icmp: 0,
                event: if ip.protocol == protocol::TCP { Event::Ack } else { Event::Reply },
                kind: Kind::Flow,
            })
        }
        _ => Err(DropReason::Fragment),
    }
}

/// A fragment's ports are remembered for 32 to 65 seconds (RFC 8200, section 4.5: 60 seconds).
const FRAGMENT_TICKS: u32 = 15;

/// Remembers the ports of a first fragment that passed.
#[inline(always)]
fn keep_fragment<T: Tables>(t: &T, m: &Moment, i: &Ingress<'_>, ip: &Ip, tr: &Transport) {
    if ip.fragment == Fragment::First {
        let key = flow::fragment_key(ip.src, ip.dst, ip.fragment_id, ip.protocol, i.id);
        let ports = (tr.sport as u64) << 16 | tr.dport as u64;
        t.fragment_insert(&key, (m.now >> FRAGMENT_TICKS) << 32 | ports);
    }
}

/// A packet of a connection, known or new.
#[inline(always)]
fn judge_flow<F: Frame, T: Tables>(
    f: &mut F,
    t: &T,
    m: &Moment,
    i: &Ingress<'_>,
    port: &PortEntry,
    ip: &Ip,
    tr: &Transport,
) -> Result<Verdict, DropReason> {
    let d = flow::key(ip.src, ip.dst, tr.sport, tr.dport, ip.protocol, i.id);
    if let Some(e) = t.flow(&d.key)
        && !e.is_expired(d.key.protocol, m.now)
    {
        let (own, peer) = if d.from_a { (&e.a, &e.b) } else { (&e.b, &e.a) };
        let half = own.half.get();
        match conntrack::step(
            half & conntrack::STATE,
            peer.state(),
            tr.event,
            half & conntrack::INITIATOR != 0,
        ) {
            Step::To(state) => {
                check_judged(t, m, e, &d)?;
                let way = way(t, m, i, port, ip, own, state)?;
                if m.now.wrapping_sub(e.last.get()) >= TICKS_PER_SECOND {
                    e.last.set(m.now);
                }
                keep_fragment(t, m, i, ip, tr);
                return send(f, t, m, i, ip, way);
            }
            Step::Bad => return Err(DropReason::BadState),
            Step::Restart => {}
        }
    }
    if !tr.event.starts() {
        return Err(DropReason::NoConnection);
    }
    let way = open(t, m, i, ip, tr, &d)?;
    keep_fragment(t, m, i, ip, tr);
    send(f, t, m, i, ip, way)
}

/// Port and half of an established side: what `send` needs.
#[derive(Clone, Copy)]
struct Way {
    port: u32,
    half: u64,
    /// May an ICMP error be sent about the packet?
    errors: bool,
}

impl Way {
    #[inline(always)]
    fn of(r: &Route, state: u64) -> Self {
        Self {
            port: r.port,
            half: conntrack::half(state, r.mac, r.network, r.uplink),
            errors: true,
        }
    }
}

/// The connection's verdict in this generation: as stored, or judged again.
#[inline(always)]
fn check_judged<T: Tables>(
    t: &T,
    m: &Moment,
    e: &FlowEntry,
    d: &Directed,
) -> Result<(), DropReason> {
    let judged = e.judged.get();
    if (judged >> 32) as u32 == m.generation {
        return refuse(Cell(judged as u32));
    }
    let k = &d.key;
    let (src, dst, number) =
        if e.a.is_initiator() { (k.a, k.b, k.b_port) } else { (k.b, k.a, k.a_port) };
    let cell = judge_pair(t, m, k.scope as u32, src, dst, k.protocol, number)?;
    e.judged.set((m.generation as u64) << 32 | cell.0 as u64);
    refuse(cell)
}

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

/// Judges a connection from scratch. `number`: its destination port; of ICMP only echoes are
/// connections.
#[inline(always)]
fn judge_pair<T: Tables>(
    t: &T,
    m: &Moment,
    scope: u32,
    src: Addr,
    dst: Addr,
    protocol: u16,
    number: u16,
) -> Result<Cell, DropReason> {
    let src = route::class(t, m.slot, scope, src)?;
    let dst = route::class(t, m.slot, scope, dst)?;
    let service = service(t, m, protocol as u8, number, echo(protocol as u8))?;
    judge_classes(t, m, src, dst, service)
}

#[inline(always)]
fn judge_classes<T: Tables>(
    t: &T,
    m: &Moment,
    src: u32,
    dst: u32,
    service: u32,
) -> Result<Cell, DropReason> {
    let Some(cell) = policy::judge(t, m.slot, src, dst, service) else {
        return Err(DropReason::Fault);
    };
    t.count_rule(m.slot, cell.rule());
    Ok(cell)
}

/// Type << 8 | code of the echo request of this protocol.
#[inline(always)]
const fn echo(protocol: u8) -> u16 {
    if protocol == protocol::ICMPV6 { (icmpv6::ECHO as u16) << 8 } else { (icmp::ECHO as u16) << 8 }
}

/// Service class of a destination port, or of an ICMP type and code.
#[inline(always)]
fn service<T: Tables>(
    t: &T,
    m: &Moment,
    protocol: u8,
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
    match t.service(m.slot, table, number) {
        Some(class) => Ok(class),
        None => Err(DropReason::Fault),
    }
}

/// The way of a known connection's packet: as stored for this generation, or found again. Moves
/// the side's half to `state`.
#[inline(always)]
fn way<T: Tables>(
    t: &T,
    m: &Moment,
    i: &Ingress<'_>,
    port: &PortEntry,
    ip: &Ip,
    own: &FlowSide,
    state: u64,
) -> Result<Way, DropReason> {
    let half = own.half.get();
    let state = state | (half & conntrack::INITIATOR);
    let from = (m.generation as u64) << 32 | i.port as u64;
    if port.kind != port_kind::GUEST && own.from.get() != from {
        route::check_source(t, m.slot, i, ip.src, true)?;
        own.from.set(from);
    }
    let path = own.path.get();
    if (path >> 32) as u32 == m.generation {
        let moved = (half & conntrack::PATH_BITS) | state;
        if moved != half {
            own.half.set(moved);
        }
        return Ok(Way { port: path as u32, half: moved, errors: true });
    }
    let found = route::find(t, m.slot, i, ip.dst)?;
    let way = Way::of(&found, state);
    own.half.set(way.half);
    own.path.set(path_word(m, &found));
    Ok(way)
}

/// The path word that a route leaves behind: none where the next packet has to look again.
#[inline(always)]
fn path_word(m: &Moment, r: &Route) -> u64 {
    if r.lasting { (m.generation as u64) << 32 | r.port as u64 } else { 0 }
}

/// The first packet of a connection: judge it, and remember it if it may pass.
#[inline(always)]
fn open<T: Tables>(
    t: &T,
    m: &Moment,
    i: &Ingress<'_>,
    ip: &Ip,
    tr: &Transport,
    d: &Directed,
) -> Result<Way, DropReason> {
    if i.kind != port_kind::GUEST {
        route::check_source(t, m.slot, i, ip.src, false)?;
    }
    let found = route::find(t, m.slot, i, ip.dst)?;
    let src = route::class(t, m.slot, i.id, ip.src)?;
    let service = service(t, m, ip.protocol, tr.dport, tr.icmp)?;
    let cell = judge_classes(t, m, src, found.class, service)?;
    refuse(cell)?;
    let state = conntrack::INITIATOR
        | if tr.event == Event::Syn { conntrack::SYN_SENT } else { conntrack::OPEN };
    let way = Way::of(&found, state);
    let own = side((m.generation as u64) << 32 | i.port as u64, path_word(m, &found), way.half);
    let peer = side(0, 0, conntrack::NONE);
    let (a, b) = if d.from_a { (own, peer) } else { (peer, own) };
    let judged = Word::new((m.generation as u64) << 32 | cell.0 as u64);
    remember(t, m, &d.key, &FlowEntry { judged, last: Word::new(m.now), a, b })?;
    Ok(way)
}

#[inline(always)]
fn side(from: u64, path: u64, half: u64) -> FlowSide {
    FlowSide { from: Word::new(from), path: Word::new(path), half: Word::new(half) }
}

/// Inserts a connection. What was left of an old one on the same addresses is overwritten; of
/// two processors that see the first packets of one connection, the later writes the same again.
#[inline(always)]
fn remember<T: Tables>(
    t: &T,
    m: &Moment,
    key: &FlowKey,
    new: &FlowEntry,
) -> Result<(), DropReason> {
    match t.flow_insert(key, new) {
        Inserted::New => return Ok(()),
        Inserted::Full => return Err(DropReason::FlowTableFull),
        Inserted::Exists => {}
    }
    // Removed between the two calls: its next packet will open it again.
    let Some(e) = t.flow(key) else { return Ok(()) };
    e.a.from.set(new.a.from.get());
    e.a.path.set(new.a.path.get());
    e.a.half.set(new.a.half.get());
    e.b.from.set(new.b.from.get());
    e.b.path.set(new.b.path.get());
    e.b.half.set(new.b.half.get());
    e.judged.set(new.judged.get());
    e.last.set(m.now);
    Ok(())
}

/// An ICMP error: goes to the sender of the packet that it quotes, if that packet belongs to a
/// known connection which the policy allows.
#[inline(always)]
fn judge_error<F: Frame, T: Tables>(
    f: &mut F,
    t: &T,
    m: &Moment,
    i: &Ingress<'_>,
    ip: &Ip,
) -> Result<Verdict, DropReason> {
    let quote = parse::ip(f, ip.l4 + icmp::LEN, ip.v6, true)?;
    if quote.src != ip.dst || quote.fragment == Fragment::Later {
        return Err(DropReason::UnrelatedError);
    }
    let (sport, dport) = parse::quoted_ports(f, &quote)?;
    let d = flow::key(quote.src, quote.dst, sport, dport, quote.protocol, i.id);
    let Some(e) = t.flow(&d.key) else { return Err(DropReason::UnrelatedError) };
    if e.is_expired(d.key.protocol, m.now) {
        return Err(DropReason::UnrelatedError);
    }
    let quoted = if d.from_a { e.a.state() } else { e.b.state() };
    if quoted == conntrack::NONE {
        return Err(DropReason::UnrelatedError);
    }
    check_judged(t, m, e, &d)?;
    if i.kind != port_kind::GUEST {
        route::check_source(t, m.slot, i, ip.src, true)?;
    }
    let found = route::find(t, m.slot, i, ip.dst)?;
    send(f, t, m, i, ip, Way { errors: false, ..Way::of(&found, conntrack::NONE) })
}

/// A packet that starts no connection and belongs to none.
#[inline(always)]
fn judge_single<F: Frame, T: Tables>(
    f: &mut F,
    t: &T,
    m: &Moment,
    i: &Ingress<'_>,
    ip: &Ip,
    tr: &Transport,
) -> Result<Verdict, DropReason> {
    if i.kind != port_kind::GUEST {
        route::check_source(t, m.slot, i, ip.src, false)?;
    }
    let found = route::find(t, m.slot, i, ip.dst)?;
    let src = route::class(t, m.slot, i.id, ip.src)?;
    let service = service(t, m, ip.protocol, tr.dport, tr.icmp)?;
    refuse(judge_classes(t, m, src, found.class, service)?)?;
    send(f, t, m, i, ip, Way::of(&found, conntrack::NONE))
}

/// Broadcast and multicast: every member is judged for itself when the copies are made.
#[inline(always)]
fn judge_group<T: Tables>(
    t: &T,
    m: &Moment,
    i: &Ingress<'_>,
    port: &PortEntry,
    ip: &Ip,
    tr: &Transport,
) -> Result<Verdict, DropReason> {
    if ip.fragment == Fragment::Later || tr.kind == Kind::Error {
        return Err(DropReason::Martian);
    }
    if port.kind != port_kind::GUEST {
        route::check_source(t, m.slot, i, ip.src, false)?;
    }
    if !ip.dst.is_multicast() && !ip.dst.is_limited_broadcast() {
        // A directed broadcast is no declared address and lies in the network's own subnet.
        match t.prefix(m.slot, ip.dst) {
            Some(p) if p.network == i.id && !ip.v6 => {}
            _ => return Err(DropReason::WrongMac),
        }
        if route::declared(t, m.slot, i.id, ip.dst).is_some() {
            return Err(DropReason::WrongMac);
        }
    }
    Ok(Verdict::Flood(Flood {
        network: i.id,
        ingress: i.port,
        class: route::class(t, m.slot, i.id, ip.src)?,
        service: service(t, m, ip.protocol, tr.dport, tr.icmp)?,
        generation: m.generation,
    }))
}

/// May this member of the network have a copy?
#[inline(always)]
pub fn flood<T: Tables>(t: &T, flood: &Flood, member: u32) -> bool {
    let slot = flood.generation & 1;
    if member == flood.ingress {
        return false;
    }
    match t.port(slot, member) {
        Some(p) if p.kind != port_kind::CLOSED && p.network == flood.network => {
            match policy::judge(t, slot, flood.class, p.class, flood.service) {
                Some(cell) => cell.allows(),
                None => false,
            }
        }
        _ => false,
    }
}

/// Rewrites the frame for its way out.
#[inline(always)]
fn send<F: Frame, T: Tables>(
    f: &mut F,
    t: &T,
    m: &Moment,
    i: &Ingress<'_>,
    ip: &Ip,
    way: Way,
) -> Result<Verdict, DropReason> {
    let mac = way.half >> conntrack::MAC_SHIFT;
    let uplink = way.half & conntrack::UPLINK != 0;
    let routed = mac != i.dst.0;
    if !routed && !uplink {
        return Ok(Verdict::Forward(way.port));
    }
    let id = conntrack::network_of(way.half);
    let Some(network) = t.network(m.slot, id) else { return Err(DropReason::Fault) };
    if routed {
        if !i.to_gateway() {
            return Err(DropReason::WrongMac);
        }
        if let Some(answer) = hop(f, t, m, i, ip, network, way)? {
            return Ok(answer);
        }
    }
    if uplink
        && network.flags & network_flag::UPLINK_TAGGED != 0
        && !f.push_tag(network.vlan as u16)
    {
        return Err(DropReason::Fault);
    }
    Ok(Verdict::Forward(way.port))
}

/// One hop of routing: time to live, size, addresses of the link (RFC 1812, section 5.2).
#[inline(always)]
fn hop<F: Frame, T: Tables>(
    f: &mut F,
    t: &T,
    m: &Moment,
    i: &Ingress<'_>,
    ip: &Ip,
    network: &NetworkEntry,
    way: Way,
) -> Result<Option<Verdict>, DropReason> {
    if ip.ttl <= 1 {
        return error(t, m, i, ip, way, IcmpError::TimeExceeded, DropReason::TimeToLive);
    }
    if packet_len(f, ip)? > network.mtu {
        if !ip.keep_whole {
            return Err(DropReason::TooBig);
        }
        return error(t, m, i, ip, way, IcmpError::TooBig(network.mtu), DropReason::TooBig);
    }
    let to = Mac(way.half >> conntrack::MAC_SHIFT).octets();
    let from = Mac(network.gateway_mac).octets();
    let link = [
        to[0], to[1], to[2], to[3], to[4], to[5], from[0], from[1], from[2], from[3], from[4],
        from[5],
    ];
    if lower_ttl(f, ip.v6) && f.store::<12>(0, link, false) {
        Ok(None)
    } else {
        Err(DropReason::Fault)
    }
}

/// Length of the largest packet on the wire that this frame becomes, from the IP header on,
/// bytes.
#[inline(always)]
fn packet_len<F: Frame>(f: &F, ip: &Ip) -> Result<u32, DropReason> {
    let segment = f.segment_size();
    let header = ip.l4 - ethernet::LEN;
    if segment == 0 {
        return Ok(header + ip.rest);
    }
    let transport = if ip.protocol == protocol::TCP {
        let Some(b) = f.load::<2>(ip.l4 + 12) else { return Err(DropReason::Truncated) };
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
        let at = ethernet::LEN + 6;
        let Some(b) = f.load::<2>(at) else { return false };
        return f.store::<2>(at, [b[0], b[1].wrapping_sub(1)], true);
    }
    let at = ethernet::LEN + 8;
    let Some(b) = f.load::<4>(at) else { return false };
    let sum = u16::from_be_bytes([b[2], b[3]]) as u32 + 0x100;
    let sum = ((sum & 0xffff) + (sum >> 16)) as u16;
    let s = sum.to_be_bytes();
    // The header's sum stays what it was, so hardware checksums over it stay right.
    f.store::<4>(at, [b[0].wrapping_sub(1), b[1], s[0], s[1]], false)
}

/// Answers with an ICMP error, if one may be sent about this packet (RFC 1812, section 4.3.2.7).
#[inline(always)]
fn error<T: Tables>(
    t: &T,
    m: &Moment,
    i: &Ingress<'_>,
    ip: &Ip,
    way: Way,
    error: IcmpError,
    reason: DropReason,
) -> Result<Option<Verdict>, DropReason> {
    let source = if ip.v6 { i.network.gateway_v6 } else { i.network.gateway_v4 };
    if source.is_unspecified() || ip.fragment == Fragment::Later || !way.errors {
        return Err(reason);
    }
    if !t.error_budget() {
        return Err(DropReason::RateLimit);
    }
    t.count_drop(reason);
    Ok(Some(Verdict::Answer(Answer::Error {
        error,
        network: i.id,
        generation: m.generation,
        v6: ip.v6,
        vlan: link::answer_tag(i),
    })))
}
