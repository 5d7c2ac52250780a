//! What is known of the packet under judgement.
//!
//! It lies in memory that the caller of [`crate::decide()`] lends, not on the stack: the stack of
//! an eBPF program has 512 bytes, and what is written to memory and read back
//! ([`crate::Tables::forget`]) joins the paths through the headers for the verifier.

use crate::{
    addr::{Addr, Mac},
    conntrack::{self, Event},
    flow,
    layout::{EventEntry, FlowKey, NetworkEntry, port_kind},
    link::Claim,
    notice::Question,
    outcome::Outcome,
    parse::{Fragment, Ip, Kind, Piece, Transport},
    route::{BEYOND, Ingress, Moment, POLICED, READDRESSED},
    sequence::Segment,
    subport::SUBPORT,
    wire::ethernet,
};

/// Memory for one decision.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Scratch {
    /// The IP packet.
    pub packet: Packet,
    /// The IP header that is being read: the packet's, then a quoted one.
    pub ip: Ip,
    /// The ARP or neighbour discovery message.
    pub claim: Claim,
    /// What is to be done, if it is not dropped.
    pub outcome: Outcome,
    /// What the log is told.
    pub event: EventEntry,
    /// Bytes of the frame as it came in.
    pub came: u32,
    /// The port that it is judged at and counted for: of a trunk maybe a subport.
    pub port: u32,
    /// Copies made of a broadcast. Not on the stack of the loop over the members: the verifier
    /// would follow every number ("The sequence of 8193 jumps is too complex").
    pub copies: u64,
    /// The DHCP or DHCPv6 question that is being answered.
    pub question: Question,
}

impl Scratch {
    /// Empty memory.
    pub const NEW: Self = Self {
        packet: Packet::NEW,
        ip: Ip::NEW,
        claim: Claim::NEW,
        outcome: Outcome::NONE,
        event: EventEntry::EMPTY,
        came: 0,
        port: 0,
        copies: 0,
        question: Question::NEW,
    };
}

/// What [`crate::Tables::resolve`] is asked.
pub mod op {
    /// Judge a new connection and remember it.
    pub const OPEN: u32 = 0;
    /// A known connection: judge it in this generation, find its way.
    pub const CONTINUE: u32 = 1;
    /// An ICMP error about a known connection, whose key is the quoted packet's.
    pub const ERROR: u32 = 2;
    /// A packet that starts no connection and belongs to none.
    pub const SINGLE: u32 = 3;
    /// A broadcast or multicast: who sends it, for which service?
    pub const GROUP: u32 = 4;
    /// Nothing that its connection has room for: may its sender be where it comes from at all?
    pub const STRAY: u32 = 5;
}

mod flag {
    pub const V6: u32 = 1;
    pub const KEEP_WHOLE: u32 = 2;
    pub const FIRST_FRAGMENT: u32 = 4;
    pub const LATER_FRAGMENT: u32 = 8;
    pub const ERROR: u32 = 16;
    pub const FLOW: u32 = 32;
    pub const POLICED: u32 = 64;
}

/// An IP packet: where it came from, what its headers say, and which way it goes.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Packet {
    /// Key of its connection; for an ICMP error, of the quoted packet's.
    pub key: FlowKey,
    /// Source.
    pub src: Addr,
    /// Destination.
    pub dst: Addr,
    /// Source MAC.
    pub link_src: u64,
    /// Destination MAC.
    pub link_dst: u64,
    /// Ticks.
    pub now: u64,
    /// Answer: egress port (interface index) with [`POLICED`], [`BEYOND`] and [`READDRESSED`]; of a
    /// broadcast the sender's class << 32 | service.
    pub port: u64,
    /// What the sender has sent with it, see [`crate::sequence::Sent`].
    pub sent: u64,
    /// The state of the sender's half going in; with the way's MAC and network coming out, as in
    /// [`crate::layout::FlowSide::half`].
    pub half: u64,
    /// The generation that judges it.
    pub generation: u32,
    /// Interface index of the ingress port.
    pub ingress: u32,
    /// One of [`crate::layout::port_kind`], of the ingress port.
    pub kind: u32,
    /// Id of the ingress network.
    pub network: u32,
    /// One of [`op`].
    pub op: u32,
    /// Is the sender (of the quoted packet, for an error) the key's `a`? 0 or 1.
    pub from_a: u32,
    /// Offset of the transport header, bytes.
    pub l4: u32,
    /// Bytes from there to the end of the packet.
    pub rest: u32,
    /// Time to live or hop limit.
    pub ttl: u32,
    /// Fragment identification.
    pub fragment_id: u32,
    /// Which octets of its datagram it brings.
    pub piece: Piece,
    /// Source port << 16 | destination port.
    ports: u32,
    /// ICMP type and code << 16 | IP protocol, or EtherType.
    transport: u32,
    /// Bits of [`flag`].
    flags: u32,
    /// What it means to a connection.
    pub event: Event,
    /// TCP: its numbers.
    pub segment: Segment,
}

impl Packet {
    /// None yet.
    pub const NEW: Self = Self {
        key: FlowKey {
            a: Addr::UNSPECIFIED,
            b: Addr::UNSPECIFIED,
            a_port: 0,
            b_port: 0,
            protocol: 0,
            scope: 0,
        },
        src: Addr::UNSPECIFIED,
        dst: Addr::UNSPECIFIED,
        link_src: 0,
        link_dst: 0,
        now: 0,
        port: 0,
        sent: 0,
        half: 0,
        generation: 0,
        ingress: 0,
        kind: 0,
        network: 0,
        op: op::OPEN,
        from_a: 0,
        l4: 0,
        rest: 0,
        ttl: 0,
        fragment_id: 0,
        piece: Piece::NONE,
        ports: 0,
        transport: 0,
        flags: 0,
        event: Event::Datagram,
        segment: Segment::NONE,
    };

    /// From the headers.
    #[inline(always)]
    pub fn set(&mut self, i: &Ingress<'_>, ip: &Ip, tr: &Transport) {
        let d = flow::key(ip.src, ip.dst, tr.sport(), tr.dport(), ip.protocol(), i.id);
        *self = Self {
            key: d.key,
            src: ip.src,
            dst: ip.dst,
            link_src: i.src.0,
            link_dst: i.dst.0,
            now: i.m.now,
            port: 0,
            sent: 0,
            half: 0,
            generation: i.m.generation,
            ingress: i.port,
            kind: i.kind as u32,
            network: i.id,
            op: op::SINGLE,
            from_a: d.from_a as u32,
            l4: ip.l4,
            rest: ip.rest,
            ttl: ip.ttl,
            fragment_id: ip.fragment_id,
            piece: ip.piece,
            ports: ports(tr),
            transport: transport(ip, tr),
            flags: flags(ip, tr),
            event: tr.event,
            segment: tr.segment,
        };
    }

    /// From the headers of a packet that nobody sends, asked about in a slot.
    #[inline(always)]
    pub fn set_probe(&mut self, slot: u32, network: u32, ip: &Ip, tr: &Transport) {
        *self = Self {
            src: ip.src,
            dst: ip.dst,
            generation: slot,
            network,
            ports: ports(tr),
            transport: transport(ip, tr),
            flags: flags(ip, tr),
            event: tr.event,
            ..Self::NEW
        };
    }

    /// From a claim about a neighbour in a frame of so many bytes, for the log.
    #[inline(always)]
    pub fn set_claim(&mut self, c: &Claim, bytes: u32) {
        *self = Self {
            src: c.claimed,
            dst: c.wanted,
            now: c.now,
            generation: c.generation,
            ingress: c.ingress,
            network: c.network,
            l4: ethernet::LEN,
            rest: bytes.saturating_sub(ethernet::LEN),
            transport: c.transport(),
            ..Self::NEW
        };
    }

    /// Gives a later fragment the ports of a first one: source port << 16 | destination port.
    #[inline(always)]
    pub fn set_ports(&mut self, ports: u32) {
        let (sport, dport) = ((ports >> 16) as u16, ports as u16);
        let d = flow::key(self.src, self.dst, sport, dport, self.protocol(), self.network);
        self.ports = ports;
        self.key = d.key;
        self.from_a = d.from_a as u32;
    }

    /// Where it came in; `network` is the entry of its network.
    #[inline(always)]
    pub const fn ingress<'a>(&self, network: &'a NetworkEntry) -> Ingress<'a> {
        Ingress {
            m: Moment::new(self.generation, self.now),
            port: self.ingress,
            kind: self.kind as u16,
            id: self.network,
            network,
            src: Mac(self.link_src),
            dst: Mac(self.link_dst),
        }
    }

    /// Does it go from a guest to a guest here? Its way has been found.
    #[inline(always)]
    pub const fn stays_among_guests(&self) -> bool {
        self.kind == port_kind::GUEST as u32
            && self.half & conntrack::UPLINK == 0
            && self.port & BEYOND == 0
    }

    /// Does it leave by a subport, and so with a tag?
    #[inline(always)]
    pub const fn leaves_by_subport(&self) -> bool {
        self.port & SUBPORT as u64 != 0
    }

    /// The port that it came from has a bandwidth limit.
    #[inline(always)]
    pub const fn police(&mut self) {
        self.flags |= flag::POLICED;
    }

    /// Has the port that it came from a bandwidth limit?
    #[inline(always)]
    pub const fn is_policed(&self) -> bool {
        self.flags & flag::POLICED != 0
    }

    /// Has the port that it leaves by one?
    #[inline(always)]
    pub const fn egress_is_policed(&self) -> bool {
        self.port & POLICED != 0
    }

    /// The port that it leaves by.
    #[inline(always)]
    pub const fn egress(&self) -> u32 {
        (self.port & (READDRESSED - 1)) as u32
    }

    /// Does it get its receiver's MAC though nobody routes it?
    #[inline(always)]
    pub const fn is_readdressed(&self) -> bool {
        self.port & READDRESSED != 0
    }

    /// Generation slot.
    #[inline(always)]
    pub const fn slot(&self) -> u32 {
        self.generation & 1
    }

    /// Source port, or identifier of an echo.
    #[inline(always)]
    pub const fn sport(&self) -> u16 {
        (self.ports >> 16) as u16
    }

    /// Destination port, or identifier of an echo.
    #[inline(always)]
    pub const fn dport(&self) -> u16 {
        self.ports as u16
    }

    /// ICMP type << 8 | code.
    #[inline(always)]
    pub const fn icmp(&self) -> u16 {
        (self.transport >> 16) as u16
    }

    /// IP protocol.
    #[inline(always)]
    pub const fn protocol(&self) -> u8 {
        self.transport as u8
    }

    /// As [`EventEntry::protocol`].
    #[inline(always)]
    pub const fn protocol_or_type(&self) -> u16 {
        self.transport as u16
    }

    /// Is it IPv6?
    #[inline(always)]
    pub const fn v6(&self) -> bool {
        self.flags & flag::V6 != 0
    }

    /// May it not be fragmented on its way?
    #[inline(always)]
    pub const fn keep_whole(&self) -> bool {
        self.flags & flag::KEEP_WHOLE != 0
    }

    /// Is it the first of several fragments?
    #[inline(always)]
    pub const fn is_first_fragment(&self) -> bool {
        self.flags & flag::FIRST_FRAGMENT != 0
    }

    /// Is it a later fragment?
    #[inline(always)]
    pub const fn is_later_fragment(&self) -> bool {
        self.flags & flag::LATER_FRAGMENT != 0
    }

    /// Is it an ICMP error?
    #[inline(always)]
    pub const fn is_error(&self) -> bool {
        self.flags & flag::ERROR != 0
    }

    /// Does it belong to a connection by its kind?
    #[inline(always)]
    pub const fn is_flow(&self) -> bool {
        self.flags & flag::FLOW != 0
    }
}

#[inline(always)]
const fn ports(tr: &Transport) -> u32 {
    (tr.sport() as u32) << 16 | tr.dport() as u32
}

#[inline(always)]
const fn transport(ip: &Ip, tr: &Transport) -> u32 {
    (tr.icmp() as u32) << 16 | ip.protocol() as u32
}

#[inline(always)]
fn flags(ip: &Ip, tr: &Transport) -> u32 {
    let v6 = if ip.v6() { flag::V6 } else { 0 };
    let whole = if ip.keep_whole() { flag::KEEP_WHOLE } else { 0 };
    let fragment = match ip.fragment {
        Fragment::Whole => 0,
        Fragment::First => flag::FIRST_FRAGMENT,
        Fragment::Later => flag::LATER_FRAGMENT,
    };
    let kind = match tr.kind {
        Kind::Error => flag::ERROR,
        Kind::Flow => flag::FLOW,
        _ => 0,
    };
    v6 | whole | fragment | kind
}
