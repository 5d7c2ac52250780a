//! Connections: opened, gone on with, damaged, cut to pieces, and refused.

use portcullis_policy::model::Protocol;

use super::{Traffic, Tried};
use crate::{
    fact::{Fact, Role, Sent},
    frames::{self, Frame, Tcp},
};

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;
const FLAGS: &[u8] =
    &[SYN, SYN | ACK, ACK, ACK, ACK, ACK | 8, FIN | ACK, RST, RST | ACK, FIN, 0, SYN | FIN, 0xff];

impl Traffic<'_> {
    /// A new connection.
    pub(super) fn open(&mut self) -> Sent {
        let at = self.port();
        let port = self.world.ports[at].clone();
        let network = self.network_of(&port);
        let src = self.source(&port);
        let dst = self.destination(src, network);
        let asked = self.connections.next_connection();
        self.serial = self.serial.wrapping_add(1);
        // Source ports that rules tell apart, or one that no other connection has.
        let sport = if self.r.once_in(3) { asked.source } else { 1024 + self.serial % 60_000 };
        let (service, protocol, numbers) = service(asked.service, src.is_ipv4(), sport);
        let (role, ends, fragment) = (Role::Fresh, (src, dst), false);
        let fact = Fact { port: at, network, ends, numbers, service, protocol, role, fragment };
        let peer = self.world.ports.iter().position(|p| p.addrs.contains(&dst));
        if self.tried.len() > 400 {
            let old = self.r.below(self.tried.len());
            self.tried.swap_remove(old);
        }
        self.tried.push(Tried { fact: fact.clone(), peer, next: [0; 2] });
        let flags = if self.r.once_in(12) { *self.r.pick(FLAGS) } else { SYN };
        let says = self.segment(self.tried.len() - 1, 0, flags);
        self.send(fact, says, true)
    }

    /// A packet of a connection that was tried, from either side.
    pub(super) fn go_on(&mut self) -> Sent {
        if self.tried.is_empty() {
            return self.open();
        }
        let at = self.r.below(self.tried.len());
        let Tried { fact, peer, .. } = self.tried[at].clone();
        let mut fact = Fact { role: Role::Later, ..fact };
        let mut side = 0;
        if let Some(peer) = peer
            && self.r.once_in(2)
        {
            let port = &self.world.ports[peer];
            side = 1;
            fact.port = peer;
            fact.network = port.network;
            fact.ends = (fact.ends.1, fact.ends.0);
            fact.numbers = (fact.numbers.1, fact.numbers.0);
            if fact.service.0.has_ports() {
                fact.service.1 = fact.numbers.1;
            }
        }
        let flags = *self.r.pick(FLAGS);
        let says = self.segment(at, side, flags);
        self.send(fact, says, false)
    }

    /// What one side's next segment says; sometimes its numbers are about right, or wild.
    pub(super) fn segment(&mut self, at: usize, side: usize, flags: u8) -> Tcp {
        let data = if self.r.once_in(4) { self.r.below(1400) } else { 0 };
        let fresh = flags & SYN != 0 && self.r.once_in(2);
        let next = &mut self.tried[at].next;
        if fresh || next[side] == 0 {
            next[side] = self.r.next() as u32;
        }
        let (mut seq, mut ack) = (next[side], next[1 - side]);
        if flags & RST == 0 {
            let numbers = u32::from(flags & SYN != 0) + u32::from(flags & FIN != 0);
            next[side] = seq.wrapping_add(data as u32 + numbers);
        }
        match self.r.below(16) {
            0 => seq = self.r.next() as u32,
            1 => ack = self.r.next() as u32,
            2 => seq = seq.wrapping_add(self.r.below(200_000) as u32).wrapping_sub(100_000),
            3 => ack = ack.wrapping_sub(self.r.below(3_000) as u32),
            4 => (seq, ack) = (0, ack.wrapping_add(1)),
            _ => {}
        }
        Tcp { flags, seq, ack, data, sum: self.r.next() as u16 }
    }

    /// The frame of a fact. `first`: it opens the connection.
    pub(super) fn send(&mut self, mut fact: Fact, says: Tcp, first: bool) -> Sent {
        let port = self.world.ports[fact.port].clone();
        let (dst_mac, tags) = self.link(&port, fact.network, fact.ends.1);
        if dst_mac != self.mac_of(fact.network, fact.ends.1) {
            fact.role = Role::Later;
        }
        let (sport, dport) = fact.numbers;
        let id = sport.to_be_bytes();
        let echo = [id[0], id[1], 0, 1];
        let v4 = fact.ends.0.is_ipv4();
        let payload = match fact.service {
            (Protocol::Tcp, _) => frames::tcp(sport, dport, says),
            (Protocol::Udp, _) => frames::udp(sport, dport, self.r.below(1400)),
            (Protocol::Sctp, _) => frames::sctp(sport, dport),
            (Protocol::Icmp | Protocol::Icmpv6, number) => {
                let [kind, code] = number.to_be_bytes();
                let reply = if v4 { 0 } else { 129 };
                let echoed = number == if v4 { 8 << 8 } else { 128 << 8 };
                let kind = if echoed && !first && self.r.once_in(2) { reply } else { kind };
                frames::icmp(kind, code, echo, &[0x63; 24])
            }
            (Protocol::Proto, _) => vec![0x64; 24],
        };
        if fact.service.0 == Protocol::Tcp && says.flags != SYN {
            fact.role = Role::Later;
        }
        let mut frame = Frame {
            dst_mac,
            src_mac: port.mac.octets(),
            tags,
            src: fact.ends.0,
            dst: fact.ends.1,
            ttl: 64,
            options: Vec::new(),
            extensions: Vec::new(),
            fragment: None,
            keep_whole: self.r.once_in(2),
            protocol: fact.protocol,
            payload,
        };
        self.vary(&mut frame, &mut fact);
        if frame.fragment.is_none() && frame.payload.len() >= 160 && self.r.once_in(20) {
            return self.cut(&frame, fact);
        }
        Sent {
            bytes: frame.bytes(),
            port: fact.port,
            fact: Some(fact),
            announced: None,
            damaged: false,
        }
    }

    /// Rarer forms: options, extension headers, fragments, other times to live and sizes.
    pub(super) fn vary(&mut self, frame: &mut Frame, fact: &mut Fact) {
        if self.r.once_in(8) {
            if frame.src.is_ipv4() {
                frame.options = self.r.pick(OPTIONS).to_vec();
            } else {
                frame.extensions =
                    self.r.pick(EXTENSIONS).iter().map(|(t, b)| (*t, b.to_vec())).collect();
            }
            fact.role = Role::Later;
        }
        if self.r.once_in(12) {
            let offset = *self.r.pick(&[0, 0, 0, 1, 4, 5, 8, 100, 8191]);
            let id = 1 + self.r.below(4) as u32;
            frame.fragment = Some((offset, self.r.once_in(2), id));
            let padded = frame.payload.len() & !7;
            frame.payload.truncate(padded);
            fact.role = Role::Later;
            fact.fragment = true;
        }
        if self.r.once_in(20) {
            frame.ttl = *self.r.pick(&[0, 1, 2, 255]);
            fact.role = Role::Later;
        }
        if self.r.once_in(25) {
            frame.payload.resize(frame.payload.len() + 1480, 0);
            fact.role = Role::Later;
        }
        if self.r.once_in(60) {
            frame.tags.push((*self.r.pick(&[0x8100, 0x88a8, 0x9100]), self.r.below(4096) as u16));
            fact.role = Role::Later;
        }
    }

    /// Sends a packet as fragments; one of them first, the others later.
    pub(super) fn cut(&mut self, whole: &Frame, fact: Fact) -> Sent {
        let fact = Fact { role: Role::Later, fragment: true, ..fact };
        let (id, size) = (self.r.next() as u32, 8 * (5 + self.r.below(40)));
        let count = whole.payload.len().div_ceil(size);
        for (at, octets) in whole.payload.chunks(size).enumerate() {
            let fragment = Some(((at * size / 8) as u16, at + 1 < count, id));
            let keep_whole = false;
            let piece = Frame { fragment, keep_whole, payload: octets.to_vec(), ..whole.clone() };
            let (bytes, port) = (piece.bytes(), fact.port);
            self.pieces.push(Sent {
                bytes,
                port,
                fact: Some(fact.clone()),
                announced: None,
                damaged: false,
            });
        }
        self.next_piece()
    }

    pub(super) fn next_piece(&mut self) -> Sent {
        let at = self.r.below(self.pieces.len());
        self.pieces.swap_remove(at)
    }

    /// An ICMP error about a connection that was tried.
    pub(super) fn error(&mut self) -> Sent {
        if self.tried.is_empty() {
            return self.open();
        }
        let at = self.r.below(self.tried.len());
        let Tried { fact, peer, next } = self.tried[at].clone();
        let from = peer.unwrap_or_else(|| self.r.below(self.world.ports.len()));
        let port = self.world.ports[from].clone();
        let v4 = fact.ends.0.is_ipv4();
        let (sport, dport) = fact.numbers;
        let quoted = Frame {
            dst_mac: [0; 6],
            src_mac: [0; 6],
            tags: Vec::new(),
            src: fact.ends.0,
            dst: fact.ends.1,
            ttl: 60,
            options: if self.r.once_in(6) { OPTIONS[1].to_vec() } else { Vec::new() },
            extensions: Vec::new(),
            fragment: None,
            keep_whole: true,
            protocol: fact.protocol,
            payload: match fact.service.0 {
                Protocol::Icmp | Protocol::Icmpv6 => {
                    let id = sport.to_be_bytes();
                    let kind = if v4 { 8 } else { 128 };
                    frames::icmp(kind, 0, [id[0], id[1], 0, 1], &[])
                }
                _ => {
                    let behind = self.r.below(3) as u32 * 700;
                    let seq = next[0].wrapping_sub(behind);
                    frames::tcp(sport, dport, Tcp { flags: ACK, seq, ..Tcp::default() })
                }
            },
        };
        let (kind, code) = if v4 {
            *self.r.pick(&[(3, 1), (3, 4), (11, 0), (12, 0), (4, 0), (5, 1)])
        } else {
            *self.r.pick(&[(1, 4), (2, 0), (3, 0), (4, 1)])
        };
        let payload = frames::icmp(kind, code, [0, 0, 5, 0], &quoted.bytes()[14..]);
        let (dst_mac, tags) = self.link(&port, port.network, fact.ends.0);
        let src = if self.r.once_in(3) { self.source(&port) } else { fact.ends.1 };
        if src.is_ipv4() != v4 {
            return self.open();
        }
        let frame = Frame {
            dst_mac,
            src_mac: port.mac.octets(),
            tags,
            src,
            dst: fact.ends.0,
            ttl: 64,
            options: Vec::new(),
            extensions: Vec::new(),
            protocol: if v4 { 1 } else { 58 },
            payload,
            ..quoted
        };
        Sent { bytes: frame.bytes(), port: from, fact: None, announced: None, damaged: false }
    }
}

/// What a service asked for becomes on the wire: its own, protocol number, ports.
pub(super) fn service(
    (protocol, number): (Protocol, u16),
    v4: bool,
    sport: u16,
) -> ((Protocol, u16), u8, (u16, u16)) {
    let echo = if v4 { (Protocol::Icmp, 8 << 8) } else { (Protocol::Icmpv6, 128 << 8) };
    match protocol {
        Protocol::Tcp => ((protocol, number), 6, (sport, number)),
        Protocol::Udp if number == 67 || number == 547 => ((protocol, 53), 17, (sport, 53)),
        Protocol::Udp => ((protocol, number), 17, (sport, number)),
        Protocol::Sctp => ((protocol, number), 132, (sport, number)),
        // Those that carry their own headers or are extension headers are tried as damage.
        Protocol::Proto if ![0, 1, 2, 6, 17, 43, 44, 51, 58, 60, 132].contains(&number) => {
            ((protocol, number), number as u8, (0, 0))
        }
        Protocol::Proto => ((protocol, 47), 47, (0, 0)),
        Protocol::Icmp | Protocol::Icmpv6 => (echo, if v4 { 1 } else { 58 }, (sport, sport)),
    }
}

const OPTIONS: &[&[u8]] = &[
    &[1, 1, 1, 0],
    &[0x94, 4, 0, 0],
    &[7, 7, 4, 0, 0, 0, 0, 1],
    &[131, 7, 4, 1, 2, 3, 4, 0],
    &[137, 3, 4, 0],
    &[7, 1, 0, 0],
    &[68, 40, 5, 0],
    &[1; 40],
];

type Extension = (u8, &'static [u8]);
const EXTENSIONS: &[&[Extension]] = &[
    &[(0, &[0, 0, 1, 4, 0, 0, 0, 0])],
    &[(60, &[0, 0, 1, 4, 0, 0, 0, 0]), (60, &[0, 1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])],
    &[(60, &[0, 0, 1, 4, 0, 0, 0, 0]), (0, &[0, 0, 1, 4, 0, 0, 0, 0])],
    &[(43, &[0, 2, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1])],
    &[(43, &[0, 0, 0, 0, 0, 0, 0, 0])],
    &[(51, &[0, 4, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])],
    &[
        (60, &[0, 0, 1, 4, 0, 0, 0, 0]),
        (60, &[0, 0, 1, 4, 0, 0, 0, 0]),
        (60, &[0, 0, 1, 4, 0, 0, 0, 0]),
        (60, &[0, 0, 1, 4, 0, 0, 0, 0]),
        (60, &[0, 0, 1, 4, 0, 0, 0, 0]),
        (60, &[0, 0, 1, 4, 0, 0, 0, 0]),
        (60, &[0, 0, 1, 4, 0, 0, 0, 0]),
    ],
    &[(60, &[0, 0xff, 1, 4, 0, 0, 0, 0])],
];
