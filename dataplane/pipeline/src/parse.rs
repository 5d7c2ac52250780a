//! From bytes to scalars. Anything not understood is an error with a name.
//!
//! One load per header, of a constant size; nothing is kept that points into the frame.

use crate::{
    addr::{Addr, Mac},
    conntrack::Event,
    frame::Frame,
    reason::DropReason,
    sequence::Segment,
    wire::{ethernet, icmp, icmpv6, ipv4, ipv6, protocol, sctp, tcp, udp},
};

/// The Ethernet header, tag included.
#[derive(Clone, Copy, Debug)]
pub struct Link {
    /// Destination.
    pub dst: Mac,
    /// Source.
    pub src: Mac,
    /// EtherType behind the tag.
    pub ethertype: u16,
    /// Is there a tag, in the bytes or in the metadata?
    pub tagged: bool,
    /// VLAN id of the tag; 0 without one or with a priority tag.
    pub vlan: u16,
}

/// Reads the Ethernet header and at most one 802.1Q tag.
#[inline(always)]
pub fn link<F: Frame>(f: &F) -> Result<Link, DropReason> {
    let Some(b) = f.fixed::<0, 14>() else { return Err(DropReason::Truncated) };
    let dst = Mac::new([b[0], b[1], b[2], b[3], b[4], b[5]]);
    let src = Mac::new([b[6], b[7], b[8], b[9], b[10], b[11]]);
    let mut ethertype = u16::from_be_bytes([b[12], b[13]]);
    let mut tagged = false;
    let mut vlan = 0;
    if let Some(tag) = f.tag() {
        if tag.protocol != ethernet::VLAN || is_tag(ethertype) {
            return Err(DropReason::DoubleTag);
        }
        tagged = true;
        vlan = tag.tci & ethernet::VLAN_ID;
    } else if ethertype == ethernet::VLAN {
        let Some(b) = f.fixed::<{ ethernet::LEN }, 4>() else { return Err(DropReason::Truncated) };
        ethertype = u16::from_be_bytes([b[2], b[3]]);
        tagged = true;
        vlan = u16::from_be_bytes([b[0], b[1]]) & ethernet::VLAN_ID;
    }
    if is_tag(ethertype) {
        return Err(DropReason::DoubleTag);
    }
    Ok(Link { dst, src, ethertype, tagged, vlan })
}

#[inline(always)]
fn is_tag(ethertype: u16) -> bool {
    ethertype == ethernet::VLAN
        || ethertype == ethernet::SERVICE_VLAN
        || ethertype == ethernet::OLD_SERVICE_VLAN
}

// The results below are made of whole words, not of smaller fields: where LLVM keeps one on the
// stack it would copy neighbouring fields as one word, at addresses that the verifier of eBPF
// refuses ("misaligned stack access off 0+0+-67 size 2").

/// Which part of a datagram a packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Fragment {
    /// All of it.
    Whole,
    /// The first of several.
    First,
    /// A later one: no transport header.
    Later,
}

/// Which octets of a datagram a packet brings: whether there are more << 31 | offset in units of
/// 8 << 16 | octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct Piece(u32);

impl Piece {
    /// Nothing yet.
    pub const NONE: Self = Self(0);

    /// From the offset in units of 8 octets, whether more is to come, and the octets.
    #[inline(always)]
    const fn new(offset: u16, more: bool, octets: u32) -> Self {
        Self((more as u32) << 31 | (offset as u32 & 0x1fff) << 16 | octets & 0xffff)
    }

    /// Where it begins, octets.
    #[inline(always)]
    pub const fn start(self) -> u32 {
        (self.0 >> 16 & 0x1fff) << 3
    }

    /// How long it is, octets.
    #[inline(always)]
    pub const fn octets(self) -> u32 {
        self.0 & 0xffff
    }

    /// Where it ends, octets.
    #[inline(always)]
    pub const fn end(self) -> u32 {
        self.start() + self.octets()
    }

    /// Is nothing behind it?
    #[inline(always)]
    pub const fn is_last(self) -> bool {
        self.0 >> 31 == 0
    }
}

/// The IP header, options or extension headers walked.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Ip {
    /// Source address.
    pub src: Addr,
    /// Destination address.
    pub dst: Addr,
    /// Offset of the transport header, bytes.
    pub l4: u32,
    /// Bytes from the transport header to the end of the packet.
    pub rest: u32,
    /// Fragment identification.
    pub fragment_id: u32,
    /// Time to live or hop limit.
    pub ttl: u32,
    /// Bits of [`ip_flag`].
    flags: u32,
    /// Transport protocol.
    protocol: u32,
    /// Which octets of it it brings, behind the headers that every fragment has.
    pub piece: Piece,
    /// Which part of a datagram it is.
    pub fragment: Fragment,
}

/// Bits of [`Ip::flags`].
mod ip_flag {
    /// It is IPv6.
    pub const V6: u32 = 1;
    /// It may not be fragmented on its way.
    pub const KEEP_WHOLE: u32 = 2;
}

impl Ip {
    /// None yet.
    pub const NEW: Self = Self {
        src: Addr::UNSPECIFIED,
        dst: Addr::UNSPECIFIED,
        l4: 0,
        rest: 0,
        fragment_id: 0,
        ttl: 0,
        flags: 0,
        protocol: 0,
        piece: Piece::NONE,
        fragment: Fragment::Whole,
    };

    /// Is it IPv6?
    #[inline(always)]
    pub const fn v6(&self) -> bool {
        self.flags & ip_flag::V6 != 0
    }

    /// May it not be fragmented on its way? Always true for IPv6.
    #[inline(always)]
    pub const fn keep_whole(&self) -> bool {
        self.flags & ip_flag::KEEP_WHOLE != 0
    }

    /// Transport protocol.
    #[inline(always)]
    pub const fn protocol(&self) -> u8 {
        self.protocol as u8
    }
}

/// Reads the IP header at `l3`. `quoted`: it stands inside an ICMP error, so the packet that it
/// announces need not be there (RFC 792: header and 64 bits; RFC 4443: as much as fits).
#[inline(always)]
pub fn ip<F: Frame>(f: &F, l3: u32, v6: bool, quoted: bool) -> Result<Ip, DropReason> {
    if v6 { ip6(f, l3, quoted) } else { ip4(f, l3, quoted) }
}

#[inline(always)]
fn ip4<F: Frame>(f: &F, l3: u32, quoted: bool) -> Result<Ip, DropReason> {
    let Some(b) = f.load::<20>(l3) else { return Err(DropReason::Truncated) };
    let header = ((b[0] & 0xf) as u32) << 2;
    let total = u16::from_be_bytes([b[2], b[3]]) as u32;
    if b[0] >> 4 != 4 || header < ipv4::LEN || total < header {
        return Err(DropReason::BadIp);
    }
    if !quoted && l3 + total > f.length() {
        return Err(DropReason::Truncated);
    }
    if header > ipv4::LEN {
        ip4_options(f, l3 + ipv4::LEN, header - ipv4::LEN)?;
    }
    let bits = u16::from_be_bytes([b[6], b[7]]);
    let more = bits & ipv4::MORE_FRAGMENTS != 0;
    let piece = Piece::new(bits & ipv4::OFFSET, more, total - header);
    Ok(Ip {
        src: Addr::v4([b[12], b[13], b[14], b[15]]),
        dst: Addr::v4([b[16], b[17], b[18], b[19]]),
        l4: l3 + header,
        rest: total - header,
        fragment_id: u16::from_be_bytes([b[4], b[5]]) as u32,
        protocol: b[9] as u32,
        ttl: b[8] as u32,
        flags: if bits & ipv4::DONT_FRAGMENT != 0 { ip_flag::KEEP_WHOLE } else { 0 },
        piece,
        fragment: fragment(piece)?,
    })
}

/// The smallest first fragment, octets: the headers up to TCP's without options fit, behind
/// extension headers too. No link has so small an MTU that one in the middle is smaller
/// (RFC 791, section 3.2: 68 octets).
const FRAGMENT_MIN: u32 = 40;

/// Tells the parts of a datagram apart and refuses those made to hide a header: a first fragment
/// too short for one, a later one that reaches back into it (RFC 1858, RFC 3128, RFC 5722).
#[inline(always)]
fn fragment(piece: Piece) -> Result<Fragment, DropReason> {
    let (start, octets, last) = (piece.start(), piece.octets(), piece.is_last());
    if start == 0 && last {
        // An atomic fragment has nothing to do with others of its number (RFC 6946).
        return Ok(Fragment::Whole);
    }
    if octets == 0 || (!last && octets & 7 != 0) {
        return Err(DropReason::Fragment);
    }
    if !last && octets < FRAGMENT_MIN {
        return Err(DropReason::FragmentTiny);
    }
    if start == 0 {
        return Ok(Fragment::First);
    }
    if start < FRAGMENT_MIN {
        return Err(DropReason::FragmentOverlap);
    }
    if piece.end() > 65_535 {
        return Err(DropReason::FragmentEndless);
    }
    Ok(Fragment::Later)
}

/// Walks IPv4 options: `len` bytes from `at`.
#[inline(always)]
fn ip4_options<F: Frame>(f: &F, at: u32, len: u32) -> Result<(), DropReason> {
    let mut done = 0;
    for _ in 0..ipv4::OPTIONS_MAX {
        if done >= len {
            return Ok(());
        }
        let Some(b) = f.load::<2>(at + done) else { return Err(DropReason::Truncated) };
        match b[0] {
            ipv4::OPTION_END => return Ok(()),
            ipv4::OPTION_NOP => done += 1,
            ipv4::OPTION_LOOSE_ROUTE | ipv4::OPTION_STRICT_ROUTE => {
                return Err(DropReason::IpOption);
            }
            _ => {
                if b[1] < 2 || done + b[1] as u32 > len {
                    return Err(DropReason::IpOption);
                }
                done += b[1] as u32;
            }
        }
    }
    if done >= len { Ok(()) } else { Err(DropReason::IpOption) }
}

#[inline(always)]
fn ip6<F: Frame>(f: &F, l3: u32, quoted: bool) -> Result<Ip, DropReason> {
    let Some(b) = f.load::<40>(l3) else { return Err(DropReason::Truncated) };
    let payload = u16::from_be_bytes([b[4], b[5]]) as u32;
    if b[0] >> 4 != 6 {
        return Err(DropReason::BadIp);
    }
    if !quoted && l3 + ipv6::LEN + payload > f.length() {
        return Err(DropReason::Truncated);
    }
    let src = Addr::v6([
        b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15], b[16], b[17], b[18], b[19], b[20],
        b[21], b[22], b[23],
    ]);
    let dst = Addr::v6([
        b[24], b[25], b[26], b[27], b[28], b[29], b[30], b[31], b[32], b[33], b[34], b[35], b[36],
        b[37], b[38], b[39],
    ]);
    let chain = ip6_chain(f, l3 + ipv6::LEN, b[6], payload)?;
    Ok(Ip {
        src,
        dst,
        l4: chain.at,
        rest: payload - chain.used,
        fragment_id: chain.fragment_id,
        protocol: chain.next as u32,
        ttl: b[7] as u32,
        flags: ip_flag::V6 | ip_flag::KEEP_WHOLE,
        piece: chain.piece,
        fragment: chain.fragment,
    })
}

/// Where an extension header chain ends.
#[derive(Clone, Copy)]
struct Chain {
    at: u32,
    used: u32,
    fragment_id: u32,
    next: u8,
    piece: Piece,
    fragment: Fragment,
}

/// Walks the extension headers from `at` (RFC 8200, section 4): hop-by-hop options first only,
/// no routing header that still has segments to visit (RFC 5095), one fragment header.
#[inline(always)]
fn ip6_chain<F: Frame>(f: &F, start: u32, first: u8, payload: u32) -> Result<Chain, DropReason> {
    let mut c = Chain {
        at: start,
        used: 0,
        fragment_id: 0,
        next: first,
        piece: Piece::NONE,
        fragment: Fragment::Whole,
    };
    let mut fragmented = false;
    for step in 0..=ipv6::EXTENSIONS_MAX {
        let is_fragment = c.next == protocol::FRAGMENT;
        let known = match c.next {
            protocol::HOP_BY_HOP if step > 0 => return Err(DropReason::ExtensionHeader),
            protocol::HOP_BY_HOP | protocol::ROUTING | protocol::DESTINATION => true,
            protocol::AUTHENTICATION => true,
            _ => is_fragment,
        };
        if !known {
            return Ok(c);
        }
        if step == ipv6::EXTENSIONS_MAX || c.used + 8 > payload || (is_fragment && fragmented) {
            return Err(DropReason::ExtensionHeader);
        }
        let Some(b) = f.load::<8>(c.at) else { return Err(DropReason::Truncated) };
        if c.next == protocol::ROUTING && b[3] != 0 {
            return Err(DropReason::ExtensionHeader);
        }
        let len = if is_fragment {
            8
        } else if c.next == protocol::AUTHENTICATION {
            (b[1] as u32 + 2) << 2
        } else {
            (b[1] as u32 + 1) << 3
        };
        if c.used + len > payload {
            return Err(DropReason::ExtensionHeader);
        }
        c.next = b[0];
        c.at += len;
        c.used += len;
        if is_fragment {
            fragmented = true;
            let bits = u16::from_be_bytes([b[2], b[3]]);
            c.fragment_id = u32::from_be_bytes([b[4], b[5], b[6], b[7]]);
            c.piece = Piece::new(bits >> 3, bits & 1 != 0, payload - c.used);
            c.fragment = fragment(c.piece)?;
            if c.fragment == Fragment::Later {
                return Ok(c);
            }
        }
    }
    Err(DropReason::ExtensionHeader)
}

/// What the transport header makes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Kind {
    /// A packet of a connection.
    Flow,
    /// An ICMP or ICMPv6 error: belongs to the connection that it quotes.
    Error,
    /// Neighbour or router discovery.
    Discovery,
    /// Ends at the switch: group membership.
    Membership,
    /// Judged alone, starts no connection (other ICMP types).
    Single,
}

/// The transport header.
#[derive(Clone, Copy, Debug)]
pub struct Transport {
    /// Source port, or identifier of an echo.
    sport: u32,
    /// Destination port, or identifier of an echo.
    dport: u32,
    /// ICMP type << 8 | code.
    icmp: u32,
    /// TCP: its numbers.
    pub segment: Segment,
    /// What it means to the connection's state.
    pub event: Event,
    /// What it is.
    pub kind: Kind,
}

impl Transport {
    /// A packet of a connection between these ports.
    #[inline(always)]
    pub const fn ports(sport: u16, dport: u16, event: Event) -> Self {
        let segment = Segment::NONE;
        Self { sport: sport as u32, dport: dport as u32, icmp: 0, segment, event, kind: Kind::Flow }
    }

    /// Source port, or identifier of an echo.
    #[inline(always)]
    pub const fn sport(&self) -> u16 {
        self.sport as u16
    }

    /// Destination port, or identifier of an echo.
    #[inline(always)]
    pub const fn dport(&self) -> u16 {
        self.dport as u16
    }

    /// ICMP type << 8 | code.
    #[inline(always)]
    pub const fn icmp(&self) -> u16 {
        self.icmp as u16
    }
}

/// Reads the transport header of a whole packet or a first fragment.
#[inline(always)]
pub fn transport<F: Frame>(f: &F, ip: &Ip) -> Result<Transport, DropReason> {
    match ip.protocol() {
        protocol::TCP => tcp(f, ip),
        protocol::UDP => udp(f, ip),
        protocol::SCTP => sctp(f, ip),
        protocol::ICMP if !ip.v6() => icmp(f, ip),
        protocol::ICMPV6 if ip.v6() => icmp(f, ip),
        // The other family's ICMP means nothing here.
        protocol::ICMP | protocol::ICMPV6 => Err(DropReason::BadTransport),
        protocol::IGMP => {
            Ok(Transport { kind: Kind::Membership, ..Transport::ports(0, 0, Event::Datagram) })
        }
        _ => Ok(Transport::ports(0, 0, Event::Datagram)),
    }
}

#[inline(always)]
fn tcp<F: Frame>(f: &F, ip: &Ip) -> Result<Transport, DropReason> {
    if ip.rest < tcp::LEN {
        return Err(DropReason::BadTransport);
    }
    let Some(b) = f.load::<20>(ip.l4) else { return Err(DropReason::Truncated) };
    let header = ((b[12] >> 4) as u32) << 2;
    if header < tcp::LEN || header > ip.rest {
        return Err(DropReason::BadTransport);
    }
    let Some(event) = Event::of_tcp(b[13]) else { return Err(DropReason::BadTransport) };
    let ports =
        Transport::ports(u16::from_be_bytes([b[0], b[1]]), u16::from_be_bytes([b[2], b[3]]), event);
    let seq = u32::from_be_bytes([b[4], b[5], b[6], b[7]]);
    let ack = u32::from_be_bytes([b[8], b[9], b[10], b[11]]);
    // SYN and FIN take a number each; of a frame still to be segmented it is the end of all.
    let flags = ((b[13] & tcp::FIN != 0) | (b[13] & tcp::SYN != 0)) as u32;
    let end = seq.wrapping_add(ip.rest - header).wrapping_add(flags);
    Ok(Transport { segment: Segment { seq, end, ack }, ..ports })
}

#[inline(always)]
fn udp<F: Frame>(f: &F, ip: &Ip) -> Result<Transport, DropReason> {
    if ip.rest < udp::LEN {
        return Err(DropReason::BadTransport);
    }
    let Some(b) = f.load::<8>(ip.l4) else { return Err(DropReason::Truncated) };
    let len = u16::from_be_bytes([b[4], b[5]]) as u32;
    // A first fragment announces the whole datagram.
    if len < udp::LEN || (len > ip.rest && ip.fragment == Fragment::Whole) {
        return Err(DropReason::BadTransport);
    }
    Ok(Transport::ports(
        u16::from_be_bytes([b[0], b[1]]),
        u16::from_be_bytes([b[2], b[3]]),
        Event::Datagram,
    ))
}

#[inline(always)]
fn sctp<F: Frame>(f: &F, ip: &Ip) -> Result<Transport, DropReason> {
    if ip.rest < sctp::LEN {
        return Err(DropReason::BadTransport);
    }
    let Some(b) = f.load::<12>(ip.l4) else { return Err(DropReason::Truncated) };
    Ok(Transport::ports(
        u16::from_be_bytes([b[0], b[1]]),
        u16::from_be_bytes([b[2], b[3]]),
        Event::Datagram,
    ))
}

#[inline(always)]
fn icmp<F: Frame>(f: &F, ip: &Ip) -> Result<Transport, DropReason> {
    if ip.rest < icmp::LEN {
        return Err(DropReason::BadTransport);
    }
    let Some(b) = f.load::<8>(ip.l4) else { return Err(DropReason::Truncated) };
    let id = u16::from_be_bytes([b[4], b[5]]);
    let (kind, event) = if ip.v6() { icmp6_kind(b[0]) } else { icmp4_kind(b[0])? };
    // Echoes have one code; with another one it is something else, judged by its own number.
    let kind = if kind == Kind::Flow && b[1] != 0 { Kind::Single } else { kind };
    let icmp = u16::from_be_bytes([b[0], b[1]]) as u32;
    Ok(Transport { icmp, kind, ..Transport::ports(id, id, event) })
}

#[inline(always)]
fn icmp4_kind(kind: u8) -> Result<(Kind, Event), DropReason> {
    Ok(match kind {
        icmp::ECHO => (Kind::Flow, Event::Datagram),
        icmp::ECHO_REPLY => (Kind::Flow, Event::Reply),
        icmp::UNREACHABLE | icmp::TIME_EXCEEDED | icmp::PARAMETER_PROBLEM => {
            (Kind::Error, Event::Datagram)
        }
        icmp::SOURCE_QUENCH | icmp::REDIRECT | icmp::ROUTER_ADVERTISEMENT => {
            return Err(DropReason::NotForGuests);
        }
        _ => (Kind::Single, Event::Datagram),
    })
}

#[inline(always)]
fn icmp6_kind(kind: u8) -> (Kind, Event) {
    match kind {
        icmpv6::ECHO => (Kind::Flow, Event::Datagram),
        icmpv6::ECHO_REPLY => (Kind::Flow, Event::Reply),
        icmpv6::UNREACHABLE..=icmpv6::PARAMETER_PROBLEM => (Kind::Error, Event::Datagram),
        icmpv6::LISTENER_QUERY..=icmpv6::LISTENER_DONE | icmpv6::LISTENER_REPORT => {
            (Kind::Membership, Event::Datagram)
        }
        icmpv6::ROUTER_SOLICITATION..=icmpv6::REDIRECT => (Kind::Discovery, Event::Datagram),
        _ => (Kind::Single, Event::Datagram),
    }
}

/// Ports of the packet that an ICMP error quotes, and of TCP its sequence number: only the first
/// 8 bytes of its transport header are sure to be there. Echo requests and replies have their
/// identifier on both sides.
#[inline(always)]
pub fn quoted<F: Frame>(f: &F, ip: &Ip) -> Result<Transport, DropReason> {
    let Some(b) = f.load::<8>(ip.l4) else { return Err(DropReason::UnrelatedError) };
    let ports = (u16::from_be_bytes([b[0], b[1]]), u16::from_be_bytes([b[2], b[3]]));
    let word = u32::from_be_bytes([b[4], b[5], b[6], b[7]]);
    let (sport, dport) = match ip.protocol() {
        protocol::TCP | protocol::UDP | protocol::SCTP => ports,
        protocol::ICMP | protocol::ICMPV6 => ((word >> 16) as u16, (word >> 16) as u16),
        _ => (0, 0),
    };
    let segment = Segment { seq: word, ..Segment::NONE };
    Ok(Transport { segment, ..Transport::ports(sport, dport, Event::Part) })
}
