//! Random packets in random order: new connections at the boundaries of the policy, their
//! answers, errors about them, questions of ARP, neighbour discovery and DHCP, broadcasts, and damage.

use std::net::IpAddr;

use portcullis_pipeline::addr::Addr;
use portcullis_policy::{
    generate::{Connections, Random},
    model::Protocol,
};

use crate::{
    fact::{Fact, Role, Sent},
    frames::{self, Frame, Tcp},
    questions,
    world::{Kind, Policy, Port, SharedAddress, World},
};

/// A connection that was tried.
#[derive(Clone, Debug)]
struct Tried {
    fact: Fact,
    /// Where the other end sits, if it has a port.
    peer: Option<usize>,
    /// TCP: the next sequence number of each side, who opened it first; as far as all passes.
    next: [u32; 2],
}

/// The source of packets.
pub struct Traffic<'a> {
    r: Random,
    world: &'a World,
    connections: Connections,
    tried: Vec<Tried>,
    /// Makes every fresh connection one of its own.
    serial: u16,
    /// Fragments that are still to be sent, in any order.
    pieces: Vec<Sent>,
}

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;
const FLAGS: &[u8] =
    &[SYN, SYN | ACK, ACK, ACK, ACK, ACK | 8, FIN | ACK, RST, RST | ACK, FIN, 0, SYN | FIN, 0xff];

impl<'a> Traffic<'a> {
    /// Traffic in a world, from a seed.
    pub fn new(world: &'a World, seed: u64) -> Self {
        let connections = Connections::new(&world.policies[0].model, seed ^ 0x5eed);
        Self {
            r: Random::new(seed),
            world,
            connections,
            tried: Vec::new(),
            serial: 0,
            pieces: Vec::new(),
        }
    }

    /// The next packet.
    pub fn next_packet(&mut self) -> Sent {
        let mut sent = match self.r.below(20) {
            _ if !self.pieces.is_empty() && self.r.once_in(2) => self.next_piece(),
            0..=6 => self.open(),
            7..=13 => self.go_on(),
            14 => self.error(),
            15 | 16 if !self.world.shared.is_empty() && self.r.once_in(3) => self.announce(),
            15 => self.arp(),
            16 => self.discovery(),
            17 => self.broadcast(),
            18 if self.r.once_in(4) => self.bare(),
            18 => self.question(),
            _ => self.go_on(),
        };
        self.tag(&mut sent);
        if self.r.once_in(8) {
            frames::damage(&mut self.r, &mut sent.bytes);
            sent.damaged = true;
        }
        if self.r.once_in(40) {
            sent.port = self.r.below(self.world.ports.len());
            sent.damaged = true;
        }
        sent
    }

    /// Gives a frame the tag of its port, now and then another one or none.
    fn tag(&mut self, sent: &mut Sent) {
        let port = &self.world.ports[sent.port];
        let trunk = self.world.ports.iter().filter(|p| p.ifindex == port.ifindex);
        let tags: Vec<u16> = trunk.map(|p| p.vlan).collect();
        let mut vlan = port.vlan;
        if tags.iter().any(|vlan| *vlan != 0) && self.r.once_in(24) {
            let strange = [0, 4094, self.r.below(4096) as u16];
            vlan = if self.r.once_in(2) { *self.r.pick(&tags) } else { *self.r.pick(&strange) };
            sent.damaged |= vlan != port.vlan;
            // Zero is a priority tag where it is not "none".
            if vlan == 0 && self.r.once_in(2) {
                sent.damaged = true;
                return frames::put_tag(&mut sent.bytes, 7 << 13);
            }
        }
        if vlan != 0 {
            let priority = self.r.below(8) as u16;
            frames::put_tag(&mut sent.bytes, priority << 13 | vlan);
        }
    }

    /// Something that the switch answers itself.
    fn question(&mut self) -> Sent {
        let (port, bytes) = questions::question(&mut self.r, self.world);
        Sent { bytes, port, fact: None, announced: None, damaged: false }
    }

    /// A frame without ARP and IP, of a type that some networks declare, or of none.
    fn bare(&mut self) -> Sent {
        let at = self.port();
        let own = self.world.ports[at].mac.octets();
        let peer = self.r.below(self.world.ports.len());
        let peer = self.world.ports[peer].mac.octets();
        let to = *self.r.pick(&[
            [0xff; 6],
            peer,
            [1, 0x80, 0xc2, 0, 0, 0x0e],
            [1, 0, 0x0c, 0xcc, 0xcc, 0xcc],
        ]);
        let ethertype: u16 = *self.r.pick(&[0x88b5, 0x88b5, 0x9000, 0x88cc, 0x88b6, 0x0026]);
        let mut bytes = [to, own].concat();
        bytes.extend(ethertype.to_be_bytes());
        bytes.resize(60, 0x42);
        Sent { bytes, port: at, fact: None, announced: None, damaged: false }
    }

    fn port(&mut self) -> usize {
        // Guests talk most.
        loop {
            let at = self.r.below(self.world.ports.len());
            if self.world.ports[at].kind == Kind::Guest || self.r.once_in(3) {
                return at;
            }
        }
    }

    /// A source for a port: one of its own addresses, seldom somebody else's.
    fn source(&mut self, port: &Port) -> IpAddr {
        if port.kind == Kind::Uplink || port.addrs.is_empty() || self.r.once_in(20) {
            return self.connections.next_connection().src;
        }
        if port.kind == Kind::Guest && self.r.once_in(12) {
            return Policy::link_local(port);
        }
        let may = |s: &&SharedAddress| s.ports.iter().any(|&p| self.world.ports[p].mac == port.mac);
        let shared: Vec<_> = self.world.shared.iter().filter(may).map(|s| s.addr).collect();
        if !shared.is_empty() && self.r.once_in(8) {
            return *self.r.pick(&shared);
        }
        *self.r.pick(&port.addrs)
    }

    /// Somebody takes a shared address, mostly who may.
    fn announce(&mut self) -> Sent {
        let shared = self.r.pick(&self.world.shared).clone();
        let at = if self.r.once_in(10) { self.port() } else { *self.r.pick(&shared.ports) };
        let port = self.world.ports[at].clone();
        let may = shared.ports.contains(&at);
        // A claim from outside is another story, of guests who are not here.
        if port.kind != Kind::Guest {
            return self.arp();
        }
        let by_its_mac = may && self.r.once_in(2);
        let mac = if by_its_mac { shared.mac } else { port.mac }.octets();
        let bytes = match shared.addr {
            IpAddr::V4(addr) => {
                let op = *self.r.pick(&[1, 2]);
                let claim = (mac, addr.octets());
                frames::arp([0xff; 6], mac, op, claim, claim, &[])
            }
            IpAddr::V6(addr) => {
                let mut rest = addr.octets().to_vec();
                rest.extend([2, 1]);
                rest.extend(mac);
                // keepalived sends it from the address itself.
                let own = if self.r.once_in(2) { Policy::link_local(&port) } else { addr.into() };
                let frame = Frame {
                    dst_mac: [0x33, 0x33, 0, 0, 0, 1],
                    src_mac: mac,
                    tags: Vec::new(),
                    src: own,
                    dst: IpAddr::V6([0xff02, 0, 0, 0, 0, 0, 0, 1].into()),
                    ttl: 255,
                    options: Vec::new(),
                    extensions: Vec::new(),
                    fragment: None,
                    keep_whole: true,
                    protocol: 58,
                    payload: frames::icmp(136, 0, [0x20, 0, 0, 0], &rest),
                };
                frame.bytes()
            }
        };
        Sent { bytes, port: at, fact: None, announced: Some(shared.addr), damaged: false }
    }

    /// A destination of the source's family.
    fn destination(&mut self, src: IpAddr, network: u32) -> IpAddr {
        let local = is_link_local(src);
        for _ in 0..60 {
            let dst = if self.r.once_in(2) {
                let at = self.r.below(self.world.ports.len());
                let port = &self.world.ports[at];
                if local && port.network == network {
                    Policy::link_local(port)
                } else if port.addrs.is_empty() {
                    continue;
                } else {
                    *self.r.pick(&port.addrs)
                }
            } else {
                self.connections.next_connection().dst
            };
            if dst.is_ipv4() == src.is_ipv4() && dst != src && is_link_local(dst) == local {
                return dst;
            }
        }
        src
    }

    /// MAC and tags with which a port reaches a destination in its network.
    fn link(&mut self, port: &Port, network: u32, dst: IpAddr) -> ([u8; 6], Vec<(u16, u16)>) {
        let tags = match (port.kind, self.world.network(network)) {
            (Kind::Uplink, Some(n)) if network != 1 => vec![(0x8100, n.vlan)],
            _ => Vec::new(),
        };
        let mac = if self.r.once_in(30) { [2, 9, 9, 9, 9, 9] } else { self.mac_of(network, dst) };
        (mac, tags)
    }

    fn mac_of(&self, network: u32, dst: IpAddr) -> [u8; 6] {
        if let Some(shared) = self.world.shared(dst).filter(|s| s.network == network) {
            return shared.mac.octets();
        }
        let near = self.world.ports.iter().find(|p| {
            p.network == network
                && p.kind == Kind::Guest
                && (p.addrs.contains(&dst) || Policy::link_local(p) == dst)
        });
        match (near, self.world.network(network)) {
            (Some(port), _) => port.mac.octets(),
            (None, Some(n)) => n.gateway_mac.octets(),
            (None, None) => [2, 8, 8, 8, 8, 8],
        }
    }

    fn network_of(&mut self, port: &Port) -> u32 {
        match port.kind {
            Kind::Uplink => 1 + self.r.below(self.world.policies[0].image.networks.len()) as u32,
            _ => port.network,
        }
    }

    /// A new connection.
    fn open(&mut self) -> Sent {
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
    fn go_on(&mut self) -> Sent {
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
    fn segment(&mut self, at: usize, side: usize, flags: u8) -> Tcp {
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
    fn send(&mut self, mut fact: Fact, says: Tcp, first: bool) -> Sent {
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
    fn vary(&mut self, frame: &mut Frame, fact: &mut Fact) {
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
    fn cut(&mut self, whole: &Frame, fact: Fact) -> Sent {
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

    fn next_piece(&mut self) -> Sent {
        let at = self.r.below(self.pieces.len());
        self.pieces.swap_remove(at)
    }

    /// An ICMP error about a connection that was tried.
    fn error(&mut self) -> Sent {
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

    fn arp(&mut self) -> Sent {
        let at = self.port();
        let port = self.world.ports[at].clone();
        let network = self.network_of(&port);
        let claimed = self.v4(&port);
        let wanted = match self.destination(IpAddr::V4(claimed.into()), network) {
            IpAddr::V4(a) if !self.r.once_in(10) => a.octets(),
            _ => claimed,
        };
        let (mac, tags) = self.link(&port, network, IpAddr::V4(wanted.into()));
        let op = *self.r.pick(&[1, 1, 1, 2, 2, 3]);
        let dst = if op == 1 { [0xff; 6] } else { mac };
        let own = port.mac.octets();
        let said = if self.r.once_in(10) { [2, 7, 7, 7, 7, 7] } else { own };
        let bytes = frames::arp(dst, own, op, (said, claimed), (mac, wanted), &tags);
        Sent { bytes, port: at, fact: None, announced: None, damaged: false }
    }

    fn v4(&mut self, port: &Port) -> [u8; 4] {
        if self.r.once_in(10) {
            return [0; 4];
        }
        for _ in 0..20 {
            if let IpAddr::V4(a) = self.source(port) {
                return a.octets();
            }
        }
        [10, 1, 0, 200]
    }

    fn discovery(&mut self) -> Sent {
        let at = self.port();
        let port = self.world.ports[at].clone();
        let network = self.network_of(&port);
        let src = if self.r.once_in(8) {
            IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED)
        } else if self.r.once_in(3) {
            Policy::link_local(&port)
        } else {
            self.source(&port)
        };
        let src = if src.is_ipv6() { src } else { Policy::link_local(&port) };
        let target = self.destination(src, network);
        let IpAddr::V6(wanted) = target else { return self.open() };
        let kind = *self.r.pick(&[135, 135, 135, 136, 136, 133, 134, 137, 143]);
        let mut rest = wanted.octets().to_vec();
        let own = port.mac.octets();
        let said = if self.r.once_in(10) { [2, 7, 7, 7, 7, 7] } else { own };
        match self.r.below(5) {
            0 => {}
            1 => rest.extend([14, 1, 1, 2, 3, 4, 5, 6]),
            _ => {
                rest.extend([if kind == 135 { 1 } else { 2 }, 1]);
                rest.extend(said);
            }
        }
        let mut group = [0; 16];
        group[..2].copy_from_slice(&[0xff, 2]);
        group[11..14].copy_from_slice(&[1, 0xff, wanted.octets()[13]]);
        let multicast = self.r.once_in(2);
        let dst = if multicast { IpAddr::V6(group.into()) } else { target };
        let (mac, tags) = self.link(&port, network, target);
        let dst_mac = if multicast { [0x33, 0x33, 0xff, 0, 0, 1] } else { mac };
        let frame = Frame {
            dst_mac,
            src_mac: own,
            tags,
            src,
            dst,
            ttl: if self.r.once_in(12) { 64 } else { 255 },
            options: Vec::new(),
            extensions: Vec::new(),
            fragment: None,
            keep_whole: true,
            protocol: 58,
            payload: frames::icmp(kind, 0, [0; 4], &rest),
        };
        Sent { bytes: frame.bytes(), port: at, fact: None, announced: None, damaged: false }
    }

    fn broadcast(&mut self) -> Sent {
        let at = self.port();
        let port = self.world.ports[at].clone();
        let network = self.network_of(&port);
        let src = self.source(&port);
        let groups: &[&str] = if src.is_ipv4() {
            &["255.255.255.255", "224.0.0.251", "10.1.0.255", "10.2.0.255", "10.1.0.7"]
        } else {
            &["ff02::1", "ff02::fb", "ff05::1:3"]
        };
        let Ok(dst) = self.r.pick(groups).parse::<IpAddr>() else { return self.open() };
        let (_, tags) = self.link(&port, network, dst);
        let asked = self.connections.next_connection().service;
        let dport = asked.1;
        let frame = Frame {
            dst_mac: *self.r.pick(&[[0xff; 6], [1, 0, 0x5e, 0, 0, 0xfb], [0x33, 0x33, 0, 0, 0, 1]]),
            src_mac: port.mac.octets(),
            tags,
            src,
            dst,
            ttl: 1,
            options: Vec::new(),
            extensions: Vec::new(),
            fragment: None,
            keep_whole: false,
            protocol: 17,
            payload: frames::udp(*self.r.pick(&[68, 5353, 4000]), dport, 40),
        };
        Sent { bytes: frame.bytes(), port: at, fact: None, announced: None, damaged: false }
    }
}

/// What a service asked for becomes on the wire: its own, protocol number, ports.
fn service(
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

fn is_link_local(addr: IpAddr) -> bool {
    Addr::from(addr).is_link_local_v6()
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
