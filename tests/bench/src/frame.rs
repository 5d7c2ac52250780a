//! The frames of the generator: 64-byte UDP, SYNs that never repeat, one 64 KB TCP super-packet.
//!
//! A connection is a number. Its client port is [`CLIENT_PORTS`]' and its server port
//! [`SERVER_PORTS`]' share of it, so every number below [`CONNECTIONS`] is another 5-tuple and
//! every server port is one that the rules of all peers name.

use std::net::{Ipv4Addr, Ipv6Addr};

/// Client ports: 32768..65535.
pub const CLIENT_PORTS: u32 = 32_768;
/// First server port.
pub const FIRST_SERVER_PORT: u16 = 8_000;
/// Server ports from [`FIRST_SERVER_PORT`].
pub const SERVER_PORTS: u32 = 64;
/// Different connections between two ends.
pub const CONNECTIONS: u32 = CLIENT_PORTS * SERVER_PORTS;

/// Bytes of the virtio-net header with `num_buffers` (virtio 1.2, section 5.1.6).
pub const VNET_HEADER: usize = 12;
/// Bytes of a small frame, as written to the tap (no FCS).
pub const SMALL: usize = 64;
/// Payload of one wire segment of the super-packet.
const SEGMENT: usize = 1460;
/// Segments of the super-packet: the most that the IPv4 length allows.
const SEGMENTS: usize = 44;

const ETHERNET: usize = 14;
const IPV4: usize = 20;
const IPV6: usize = 40;
const TCP: usize = 20;
const UDP: usize = 8;
/// Offset of the ports in an IPv4 frame: source, then destination.
pub const PORTS_AT: usize = ETHERNET + IPV4;
/// Offset of the ports in an IPv6 frame.
pub const PORTS_AT_V6: usize = ETHERNET + IPV6;
const PROTOCOL_TCP: u8 = 6;
const PROTOCOL_UDP: u8 = 17;
const SYN: u8 = 0x02;
const ACK: u8 = 0x10;

/// An Ethernet address in wire order.
pub type Mac = [u8; 6];

/// One side of a measured path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// MAC of its NIC.
    pub mac: Mac,
    /// Its address.
    pub ip: Ipv4Addr,
    /// Its other address.
    pub ip6: Ipv6Addr,
    /// MAC that its frames go to: the other end's, or the router's.
    pub next_hop: Mac,
}

/// The ports of connection `number`: client, server.
pub fn ports(number: u32) -> (u16, u16) {
    let client = 0x8000 | (number % CLIENT_PORTS) as u16;
    let server = FIRST_SERVER_PORT + (number / CLIENT_PORTS % SERVER_PORTS) as u16;
    (client, server)
}

/// Which way a frame goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the client to the server.
    Forward,
    /// From the server to the client.
    Reply,
}

/// The segments that a connection needs before and while it is established.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Segment {
    /// The first of a handshake.
    Syn,
    /// The second.
    SynAck,
    /// The third, and any later one of an idle connection.
    Ack,
}

impl Segment {
    /// A handshake.
    pub const HANDSHAKE: [Self; 3] = [Self::Syn, Self::SynAck, Self::Ack];

    /// Which way it goes.
    pub const fn direction(self) -> Direction {
        match self {
            Self::Syn | Self::Ack => Direction::Forward,
            Self::SynAck => Direction::Reply,
        }
    }

    /// Sender and receiver.
    fn ends(self, client: End, server: End) -> (End, End) {
        match self.direction() {
            Direction::Forward => (client, server),
            Direction::Reply => (server, client),
        }
    }

    /// The TCP header with zero ports and checksum (RFC 9293, section 3.1).
    fn header(self) -> [u8; TCP] {
        let (flags, seq, ack): (u8, u32, u32) = match self {
            Self::Syn => (SYN, 1000, 0),
            Self::SynAck => (SYN | ACK, 5000, 1001),
            Self::Ack => (ACK, 1001, 5001),
        };
        let mut header = [0; TCP];
        header[4..8].copy_from_slice(&seq.to_be_bytes());
        header[8..12].copy_from_slice(&ack.to_be_bytes());
        header[12..16].copy_from_slice(&[(TCP as u8 / 4) << 4, flags, 0xff, 0xff]);
        header
    }

    /// The segment as an IPv6 frame of connection 0, with a right checksum.
    pub fn frame_v6(self, client: End, server: End) -> Vec<u8> {
        let (from, to) = self.ends(client, server);
        let mut tcp = self.header();
        let (client_port, server_port) = ports(0);
        let (source, destination) = match self.direction() {
            Direction::Forward => (client_port, server_port),
            Direction::Reply => (server_port, client_port),
        };
        tcp[0..2].copy_from_slice(&source.to_be_bytes());
        tcp[2..4].copy_from_slice(&destination.to_be_bytes());
        let addresses = [from.ip6.octets(), to.ip6.octets()].concat();
        let sum = word_sum(&addresses) + u32::from(PROTOCOL_TCP) + TCP as u32 + word_sum(&tcp);
        tcp[16..18].copy_from_slice(&(!fold(sum)).to_be_bytes());
        let ethernet = [&from.next_hop[..], &from.mac, &[0x86, 0xdd]].concat();
        let fixed = [0x60, 0, 0, 0, 0, TCP as u8, PROTOCOL_TCP, 64];
        [&ethernet[..], &fixed, &addresses, &tcp].concat()
    }
}

/// A frame with its virtio-net header, whose connection can be changed in place.
#[derive(Clone, Debug)]
pub struct Template {
    bytes: Vec<u8>,
    direction: Direction,
    /// Sum of everything the TCP checksum covers but the ports; `None` where none is written.
    sum: Option<u32>,
}

impl Template {
    /// A UDP datagram in a small frame, without checksum (RFC 768 allows 0).
    pub fn udp(from: End, to: End, direction: Direction) -> Self {
        Self::udp_of(SMALL, from, to, direction)
    }

    /// The same in a frame of so many bytes.
    pub fn udp_of(length: usize, from: End, to: End, direction: Direction) -> Self {
        let mut bytes = headers(from, to, PROTOCOL_UDP, length - ETHERNET - IPV4);
        bytes.resize(VNET_HEADER + length, 0);
        let udp_len = (length - PORTS_AT) as u16;
        put(&mut bytes, PORTS_AT + 4, &udp_len.to_be_bytes());
        let mut template = Self { bytes, direction, sum: None };
        template.set_connection(0);
        template
    }

    /// A TCP segment without payload in a small frame.
    pub fn tcp(client: End, server: End, segment: Segment) -> Self {
        let (from, to) = segment.ends(client, server);
        let header = segment.header();
        let mut bytes = headers(from, to, PROTOCOL_TCP, TCP);
        bytes.extend(header);
        let sum = pseudo_sum(from.ip, to.ip, PROTOCOL_TCP, TCP) + word_sum(&header);
        bytes.resize(VNET_HEADER + SMALL, 0);
        let mut template = Self { bytes, direction: segment.direction(), sum: Some(sum) };
        template.set_connection(0);
        template
    }

    /// A TCP super-packet of 64 KB as a guest with segmentation offload hands it over: partial
    /// checksum, to be cut into segments of 1,460 bytes by whoever must.
    pub fn super_packet(client: End, server: End) -> Self {
        let payload = SEGMENT * SEGMENTS;
        let mut bytes = headers(client, server, PROTOCOL_TCP, TCP + payload);
        bytes.extend(Segment::Ack.header());
        bytes.resize(VNET_HEADER + PORTS_AT + TCP + payload, 0x5a);
        let partial = fold(pseudo_sum(client.ip, server.ip, PROTOCOL_TCP, TCP + payload));
        put(&mut bytes, PORTS_AT + 16, &partial.to_be_bytes());
        put_gso_header(&mut bytes);
        let mut template = Self { bytes, direction: Direction::Forward, sum: None };
        template.set_connection(0);
        template
    }

    /// Makes this a frame of connection `number`.
    pub fn set_connection(&mut self, number: u32) {
        let (client, server) = ports(number);
        self.set_ports(client, server);
    }

    /// Makes this a frame between these ports.
    pub fn set_ports(&mut self, client: u16, server: u16) {
        self.set_wire_ports(match self.direction {
            Direction::Forward => (client, server),
            Direction::Reply => (server, client),
        });
    }

    /// Gives it these ports, in the order in which they stand in it.
    pub fn set_wire_ports(&mut self, (source, destination): (u16, u16)) {
        put(&mut self.bytes, PORTS_AT, &source.to_be_bytes());
        put(&mut self.bytes, PORTS_AT + 2, &destination.to_be_bytes());
        if let Some(sum) = self.sum {
            let checksum = !fold(sum + u32::from(source) + u32::from(destination));
            put(&mut self.bytes, PORTS_AT + 16, &checksum.to_be_bytes());
        }
    }

    /// Gives a datagram another IPv4 source.
    pub fn set_source(&mut self, source: Ipv4Addr) {
        put(&mut self.bytes, ETHERNET + 12, &source.octets());
        put(&mut self.bytes, ETHERNET + 10, &[0, 0]);
        let header = VNET_HEADER + ETHERNET..VNET_HEADER + ETHERNET + IPV4;
        let checksum = !fold(word_sum(&self.bytes[header]));
        put(&mut self.bytes, ETHERNET + 10, &checksum.to_be_bytes());
    }

    /// Which way it goes.
    pub fn direction(&self) -> Direction {
        self.direction
    }

    /// What is written to a tap: virtio-net header and frame.
    pub fn with_vnet_header(&self) -> &[u8] {
        &self.bytes
    }

    /// The frame alone.
    pub fn frame(&self) -> &[u8] {
        &self.bytes[VNET_HEADER..]
    }

    /// The frame alone, with another IPv4 source address that is not this end's.
    pub fn spoofed(&self, source: Ipv4Addr) -> Vec<u8> {
        let mut frame = self.frame().to_vec();
        frame[ETHERNET + 12..ETHERNET + 16].copy_from_slice(&source.octets());
        frame
    }
}

/// Is this frame, without its virtio-net header, one that a generator sent to `to`?
pub fn is_for(frame: &[u8], to: Ipv4Addr) -> bool {
    frame.len() >= PORTS_AT + UDP
        && frame[12..14] == [0x08, 0x00]
        && frame[ETHERNET + 16..ETHERNET + 20] == to.octets()
}

/// Virtio-net, Ethernet and IPv4 headers in front of `payload` bytes.
fn headers(from: End, to: End, protocol: u8, payload: usize) -> Vec<u8> {
    let mut bytes = vec![0; VNET_HEADER + PORTS_AT];
    put(&mut bytes, 0, &from.next_hop);
    put(&mut bytes, 6, &from.mac);
    put(&mut bytes, 12, &[0x08, 0x00]);
    put(&mut bytes, ETHERNET, &[0x45, 0]);
    put(&mut bytes, ETHERNET + 2, &((IPV4 + payload) as u16).to_be_bytes());
    put(&mut bytes, ETHERNET + 6, &[0x40, 0, 64, protocol]);
    put(&mut bytes, ETHERNET + 12, &from.ip.octets());
    put(&mut bytes, ETHERNET + 16, &to.ip.octets());
    let checksum = !fold(word_sum(&bytes[VNET_HEADER + ETHERNET..]));
    put(&mut bytes, ETHERNET + 10, &checksum.to_be_bytes());
    bytes
}

/// Fills the virtio-net header for TCP over IPv4 (virtio 1.2, section 5.1.6; little-endian).
fn put_gso_header(bytes: &mut [u8]) {
    const NEEDS_CSUM: u8 = 1;
    const GSO_TCPV4: u8 = 1;
    bytes[0] = NEEDS_CSUM;
    bytes[1] = GSO_TCPV4;
    bytes[2..4].copy_from_slice(&((PORTS_AT + TCP) as u16).to_le_bytes());
    bytes[4..6].copy_from_slice(&(SEGMENT as u16).to_le_bytes());
    bytes[6..8].copy_from_slice(&(PORTS_AT as u16).to_le_bytes());
    bytes[8..10].copy_from_slice(&16u16.to_le_bytes());
}

/// Writes at an offset of the frame.
fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[VNET_HEADER + at..VNET_HEADER + at + value.len()].copy_from_slice(value);
}

/// Sum of 16-bit words in wire order (RFC 1071).
pub fn word_sum(bytes: &[u8]) -> u32 {
    bytes
        .chunks(2)
        .map(|w| u32::from(w[0]) << 8 | u32::from(w.get(1).copied().unwrap_or_default()))
        .sum()
}

/// Sum of the pseudo-header (RFC 9293, section 3.1).
fn pseudo_sum(from: Ipv4Addr, to: Ipv4Addr, protocol: u8, len: usize) -> u32 {
    word_sum(&from.octets()) + word_sum(&to.octets()) + u32::from(protocol) + len as u32
}

/// Ones' complement sum in 16 bits.
pub fn fold(mut sum: u32) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const CLIENT: End = End {
        mac: [2, 0, 0, 0, 0, 1],
        ip: Ipv4Addr::new(10, 77, 0, 2),
        ip6: Ipv6Addr::new(0xfd00, 0x77, 0, 0, 0, 0, 0, 2),
        next_hop: [2, 0, 0, 0, 0, 2],
    };
    const SERVER: End = End {
        mac: [2, 0, 0, 0, 0, 2],
        ip: Ipv4Addr::new(10, 77, 0, 3),
        ip6: Ipv6Addr::new(0xfd00, 0x77, 0, 0, 0, 0, 0, 3),
        next_hop: [2, 0, 0, 0, 0, 1],
    };

    /// RFC 1071: the sum over a packet with its checksum in place is all ones.
    fn tcp_sum(frame: &[u8], from: End, to: End, len: usize) -> u16 {
        fold(
            pseudo_sum(from.ip, to.ip, PROTOCOL_TCP, len)
                + word_sum(&frame[PORTS_AT..PORTS_AT + len]),
        )
    }

    #[test]
    fn connections_do_not_repeat() {
        let all: HashSet<_> = (0..CONNECTIONS).map(ports).collect();
        assert_eq!(all.len(), CONNECTIONS as usize);
        assert!(all.iter().all(|&(client, server)| {
            client >= 0x8000
                && (FIRST_SERVER_PORT..FIRST_SERVER_PORT + SERVER_PORTS as u16).contains(&server)
        }));
    }

    #[test]
    fn every_handshake_segment_has_a_right_checksum() {
        for number in [0, 1, 32_767, 32_768, CONNECTIONS - 1] {
            for segment in Segment::HANDSHAKE {
                let mut template = Template::tcp(CLIENT, SERVER, segment);
                let (from, to) = segment.ends(CLIENT, SERVER);
                template.set_connection(number);
                assert_eq!(template.frame().len(), SMALL);
                assert_eq!(tcp_sum(template.frame(), from, to, TCP), 0xffff, "{number}");
                assert_eq!(fold(word_sum(&template.frame()[ETHERNET..PORTS_AT])), 0xffff);
            }
        }
    }

    #[test]
    fn an_ipv6_segment_has_a_right_checksum_and_length() {
        for segment in Segment::HANDSHAKE {
            let frame = segment.frame_v6(CLIENT, SERVER);
            assert_eq!(frame.len(), PORTS_AT_V6 + TCP);
            // Addresses and TCP stand side by side; next header and length complete the sum.
            let sum = word_sum(&frame[22..]) + u32::from(PROTOCOL_TCP) + TCP as u32;
            assert_eq!(fold(sum), 0xffff, "{segment:?}");
            assert_eq!(usize::from(frame[19]), frame.len() - PORTS_AT_V6);
        }
    }

    #[test]
    fn a_reply_has_the_ports_and_addresses_of_its_connection_swapped() {
        let mut there = Template::udp(CLIENT, SERVER, Direction::Forward);
        let mut back = Template::udp(SERVER, CLIENT, Direction::Reply);
        there.set_connection(70_000);
        back.set_connection(70_000);
        let (there, back) = (there.frame(), back.frame());
        assert_eq!(there[PORTS_AT..PORTS_AT + 2], back[PORTS_AT + 2..PORTS_AT + 4]);
        assert_eq!(there[PORTS_AT + 2..PORTS_AT + 4], back[PORTS_AT..PORTS_AT + 2]);
        assert_eq!(there[26..30], back[30..34]);
        assert!(is_for(there, SERVER.ip) && is_for(back, CLIENT.ip));
        assert!(!is_for(there, CLIENT.ip) && !is_for(&there[..41], SERVER.ip));
    }

    #[test]
    fn a_super_packet_carries_the_pseudo_header_sum_and_says_how_to_cut_it() {
        let packet = Template::super_packet(CLIENT, SERVER);
        let payload = SEGMENT * SEGMENTS;
        let frame = packet.frame();
        assert_eq!(frame.len(), PORTS_AT + TCP + payload);
        assert_eq!(u16::from_be_bytes([frame[16], frame[17]]) as usize, frame.len() - ETHERNET);
        let seed = fold(pseudo_sum(CLIENT.ip, SERVER.ip, PROTOCOL_TCP, TCP + payload));
        assert_eq!(frame[PORTS_AT + 16..PORTS_AT + 18], seed.to_be_bytes());
        let header = &packet.with_vnet_header()[..VNET_HEADER];
        assert_eq!(header, [1, 1, 54, 0, 0xb4, 5, 34, 0, 16, 0, 0, 0]);
    }

    #[test]
    fn a_spoofed_frame_differs_in_its_source_only() {
        let syn = Template::tcp(CLIENT, SERVER, Segment::Syn);
        let spoofed = syn.spoofed(Ipv4Addr::new(10, 77, 0, 99));
        let differ: Vec<_> = (0..SMALL).filter(|&i| spoofed[i] != syn.frame()[i]).collect();
        assert_eq!(differ, [29]);
    }
}
