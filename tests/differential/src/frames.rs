//! Frames from a description, and damage to them.

use std::net::IpAddr;

use portcullis_policy::generate::Random;

/// An IP packet in an Ethernet frame.
#[derive(Clone, Debug)]
pub struct Frame {
    /// Destination MAC.
    pub dst_mac: [u8; 6],
    /// Source MAC.
    pub src_mac: [u8; 6],
    /// Tags, outer first: protocol and control information.
    pub tags: Vec<(u16, u16)>,
    /// Source address.
    pub src: IpAddr,
    /// Destination address, of the same family.
    pub dst: IpAddr,
    /// Time to live or hop limit.
    pub ttl: u8,
    /// IPv4 options, padded; IPv6 extension headers with their type.
    pub options: Vec<u8>,
    /// IPv6 extension headers: type and body, whose first byte will name the next header.
    pub extensions: Vec<(u8, Vec<u8>)>,
    /// Offset in units of 8 bytes, more to come, identification.
    pub fragment: Option<(u16, bool, u32)>,
    /// May it not be fragmented (IPv4)?
    pub keep_whole: bool,
    /// Transport protocol.
    pub protocol: u8,
    /// Transport header and payload.
    pub payload: Vec<u8>,
}

impl Frame {
    /// The bytes.
    pub fn bytes(&self) -> Vec<u8> {
        let mut b = Vec::with_capacity(128);
        b.extend(self.dst_mac);
        b.extend(self.src_mac);
        for (protocol, tci) in &self.tags {
            b.extend(protocol.to_be_bytes());
            b.extend(tci.to_be_bytes());
        }
        match (self.src, self.dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => self.ipv4(&mut b, src.octets(), dst.octets()),
            (IpAddr::V6(src), IpAddr::V6(dst)) => self.ipv6(&mut b, src.octets(), dst.octets()),
            _ => {}
        }
        b.extend(&self.payload);
        b
    }

    fn ipv4(&self, b: &mut Vec<u8>, src: [u8; 4], dst: [u8; 4]) {
        b.extend([0x08, 0x00]);
        let start = b.len();
        let header = 20 + self.options.len();
        let total = (header + self.payload.len()) as u16;
        let (offset, more, id) = self.fragment.unwrap_or((0, false, 0));
        let bits = offset & 0x1fff
            | if more { 0x2000 } else { 0 }
            | if self.keep_whole { 0x4000 } else { 0 };
        b.extend([0x40 | (header / 4) as u8, 0]);
        b.extend(total.to_be_bytes());
        b.extend((id as u16).to_be_bytes());
        b.extend(bits.to_be_bytes());
        b.extend([self.ttl, self.protocol, 0, 0]);
        b.extend(src);
        b.extend(dst);
        b.extend(&self.options);
        let sum = checksum(&b[start..], 0);
        b[start + 10..start + 12].copy_from_slice(&sum.to_be_bytes());
    }

    fn ipv6(&self, b: &mut Vec<u8>, src: [u8; 16], dst: [u8; 16]) {
        let mut chain: Vec<(u8, Vec<u8>)> = self.extensions.clone();
        if let Some((offset, more, id)) = self.fragment {
            let mut body = vec![0, 0];
            body.extend((offset << 3 | u16::from(more)).to_be_bytes());
            body.extend(id.to_be_bytes());
            chain.push((44, body));
        }
        b.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
        let extra: usize = chain.iter().map(|(_, body)| body.len()).sum();
        b.extend(((extra + self.payload.len()) as u16).to_be_bytes());
        b.extend([chain.first().map_or(self.protocol, |c| c.0), self.ttl]);
        b.extend(src);
        b.extend(dst);
        for at in 0..chain.len() {
            let next = chain.get(at + 1).map_or(self.protocol, |c| c.0);
            let mut body = chain[at].1.clone();
            body[0] = next;
            b.extend(body);
        }
    }
}

/// The Internet checksum (RFC 1071).
pub fn checksum(bytes: &[u8], start: u32) -> u16 {
    let mut sum = start;
    for pair in bytes.chunks(2) {
        sum += u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |b| u32::from(*b));
    }
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// What a TCP segment says.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tcp {
    /// Flags.
    pub flags: u8,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgement.
    pub ack: u32,
    /// Bytes of data.
    pub data: usize,
    /// Checksum, as it happens to be.
    pub sum: u16,
}

/// A TCP segment.
pub fn tcp(sport: u16, dport: u16, says: Tcp) -> Vec<u8> {
    let mut b = Vec::from(sport.to_be_bytes());
    b.extend(dport.to_be_bytes());
    b.extend(says.seq.to_be_bytes());
    b.extend(says.ack.to_be_bytes());
    b.extend([0x50, says.flags, 0xff, 0xff]);
    b.extend(says.sum.to_be_bytes());
    b.extend([0, 0]);
    b.resize(b.len() + says.data, 0x61);
    b
}

/// A UDP datagram.
pub fn udp(sport: u16, dport: u16, data: usize) -> Vec<u8> {
    let mut b = Vec::from(sport.to_be_bytes());
    b.extend(dport.to_be_bytes());
    b.extend(((8 + data) as u16).to_be_bytes());
    b.extend([0, 0]);
    b.resize(b.len() + data, 0x62);
    b
}

/// An SCTP packet with the beginning of a chunk.
pub fn sctp(sport: u16, dport: u16) -> Vec<u8> {
    let mut b = Vec::from(sport.to_be_bytes());
    b.extend(dport.to_be_bytes());
    b.extend([0; 16]);
    b
}

/// An ICMP or ICMPv6 message.
pub fn icmp(kind: u8, code: u8, word: [u8; 4], rest: &[u8]) -> Vec<u8> {
    let mut b = vec![kind, code, 0, 0];
    b.extend(word);
    b.extend(rest);
    b
}

/// An ARP packet in a frame.
pub fn arp(
    dst_mac: [u8; 6],
    src_mac: [u8; 6],
    op: u16,
    claim: ([u8; 6], [u8; 4]),
    target: ([u8; 6], [u8; 4]),
    tags: &[(u16, u16)],
) -> Vec<u8> {
    let mut b = Vec::from(dst_mac);
    b.extend(src_mac);
    for (protocol, tci) in tags {
        b.extend(protocol.to_be_bytes());
        b.extend(tci.to_be_bytes());
    }
    b.extend([0x08, 0x06, 0, 1, 8, 0, 6, 4]);
    b.extend(op.to_be_bytes());
    b.extend(claim.0);
    b.extend(claim.1);
    b.extend(target.0);
    b.extend(target.1);
    b.resize(b.len().max(60), 0);
    b
}

/// Puts an 802.1Q tag into a frame that is made already.
pub fn put_tag(bytes: &mut Vec<u8>, tci: u16) {
    let [a, b] = tci.to_be_bytes();
    bytes.splice(12..12, [0x81, 0, a, b]);
}

/// Damages a frame: cut, longer, other bytes, other header fields.
pub fn damage(r: &mut Random, bytes: &mut Vec<u8>) {
    for _ in 0..1 + r.below(3) {
        match r.below(6) {
            0 => {
                let keep = 14 + r.below(bytes.len().max(15) - 14);
                bytes.truncate(keep);
            }
            1 => bytes.resize(bytes.len() + r.below(64), 0),
            2 | 3 => {
                // The headers are where it hurts.
                let at = r.below(bytes.len().min(80));
                bytes[at] ^= 1 << r.below(8);
            }
            4 => {
                let at = r.below(bytes.len().min(80));
                bytes[at] = *r.pick(&[0, 1, 4, 5, 6, 17, 41, 43, 44, 51, 58, 59, 60, 0x80, 0xff]);
            }
            _ => {
                let at = 12 + r.below(bytes.len().max(13) - 12);
                let piece: Vec<u8> = (0..r.below(8)).map(|_| r.next() as u8).collect();
                let at = at.min(bytes.len());
                bytes.splice(at..at, piece);
            }
        }
    }
    bytes.truncate(9000);
    bytes.resize(bytes.len().max(14), 0);
}
