//! Packets as they are on a wire: made with their checksums, cut, tagged, and read again by
//! arithmetic of their own.

use std::net::IpAddr;

use etherparse::PacketBuilder;
use portcullis_lab::{
    end::{Offered, Offload},
    frame::Mac,
};

pub const ETHERNET: usize = 14;
const IPV4: usize = 20;
const IPV6: usize = 40;
const TCP: u8 = 6;
const UDP: u8 = 17;
const FRAGMENT: u8 = 44;
/// Source port of everything here.
const SOURCE: u16 = 50_002;

/// Who talks to whom, on which port.
#[derive(Clone, Copy, Debug)]
pub struct Talk {
    pub from: (Mac, IpAddr),
    pub to: (Mac, IpAddr),
    pub ports: (u16, u16),
}

impl Talk {
    pub fn new(from: (Mac, IpAddr), to: (Mac, IpAddr), port: u16) -> Self {
        Self { from, to, ports: (SOURCE, port) }
    }

    pub fn back(&self) -> Self {
        Self { from: self.to, to: self.from, ports: (self.ports.1, self.ports.0) }
    }

    pub fn udp(&self, payload: &[u8]) -> Vec<u8> {
        let (frame, mut whole) = (PacketBuilder::ethernet2(self.from.0, self.to.0), Vec::new());
        match (self.from.1, self.to.1) {
            (IpAddr::V4(a), IpAddr::V4(b)) => frame
                .ipv4(a.octets(), b.octets(), 64)
                .udp(self.ports.0, self.ports.1)
                .write(&mut whole, payload),
            (IpAddr::V6(a), IpAddr::V6(b)) => frame
                .ipv6(a.octets(), b.octets(), 64)
                .udp(self.ports.0, self.ports.1)
                .write(&mut whole, payload),
            _ => panic!("two families"),
        }
        .unwrap();
        whole
    }

    /// A segment of the connection: what its sender has sent before, what it has got.
    pub fn tcp(&self, syn: bool, sent: u32, got: Option<u32>, payload: &[u8]) -> Vec<u8> {
        let frame = PacketBuilder::ethernet2(self.from.0, self.to.0);
        let ip = match (self.from.1, self.to.1) {
            (IpAddr::V4(a), IpAddr::V4(b)) => frame.ipv4(a.octets(), b.octets(), 64),
            (IpAddr::V6(a), IpAddr::V6(b)) => frame.ipv6(a.octets(), b.octets(), 64),
            _ => panic!("two families"),
        };
        let mut tcp = ip.tcp(self.ports.0, self.ports.1, sent, 60_000);
        if syn {
            tcp = tcp.syn();
        }
        if let Some(got) = got {
            tcp = tcp.ack(got);
        }
        let mut whole = Vec::new();
        tcp.write(&mut whole, payload).unwrap();
        whole
    }
}

/// A frame without a tag.
pub struct View<'a> {
    frame: &'a [u8],
    v6: bool,
    pub protocol: u8,
    /// Offset of the fragment's payload in the datagram, and whether more follow.
    pub fragment: Option<(usize, bool)>,
    /// Where the transport header (or the fragment's payload) begins.
    pub transport: usize,
}

impl<'a> View<'a> {
    /// None if it is neither IPv4 nor IPv6; an error if its headers are not right.
    pub fn new(frame: &'a [u8]) -> Option<Result<Self, String>> {
        let v6 = match frame.get(12..14)? {
            [0x08, 0x00] => false,
            [0x86, 0xdd] => true,
            _ => return None,
        };
        Some(if v6 { Self::v6(frame) } else { Self::v4(frame) })
    }

    fn v4(frame: &'a [u8]) -> Result<Self, String> {
        let ip = frame.get(ETHERNET..ETHERNET + IPV4).ok_or("a short IPv4 header")?;
        if sum(ip) != 0xffff {
            return Err("the checksum of the IPv4 header is wrong".into());
        }
        length(frame, ETHERNET + word(ip, 2) as usize)?;
        let field = word(ip, 6);
        let (offset, more) = (usize::from(field & 0x1fff) * 8, field & 0x2000 != 0);
        let fragment = (offset > 0 || more).then_some((offset, more));
        let transport = ETHERNET + IPV4;
        Ok(Self { frame, v6: false, protocol: ip[9], fragment, transport })
    }

    fn v6(frame: &'a [u8]) -> Result<Self, String> {
        let ip = frame.get(ETHERNET..ETHERNET + IPV6).ok_or("a short IPv6 header")?;
        length(frame, ETHERNET + IPV6 + word(ip, 4) as usize)?;
        let transport = ETHERNET + IPV6;
        let Some(header) = frame.get(transport..transport + 8).filter(|_| ip[6] == FRAGMENT) else {
            return Ok(Self { frame, v6: true, protocol: ip[6], fragment: None, transport });
        };
        let field = word(header, 2);
        let fragment = Some((usize::from(field & 0xfff8), field & 1 != 0));
        Ok(Self { frame, v6: true, protocol: header[0], fragment, transport: transport + 8 })
    }

    /// Where the checksum lies in the transport header.
    fn checksum_at(&self) -> usize {
        if self.protocol == TCP { 16 } else { 6 }
    }

    pub fn bytes(&self) -> &'a [u8] {
        &self.frame[self.transport..]
    }

    /// Source and destination port; none in a fragment, which may have none.
    pub fn ports(&self) -> Option<(u16, u16)> {
        let has = self.fragment.is_none() && [TCP, UDP].contains(&self.protocol);
        (has && self.bytes().len() >= 8).then(|| (word(self.bytes(), 0), word(self.bytes(), 2)))
    }

    /// The sequence number of a segment.
    pub fn sequence(&self) -> Option<u32> {
        let b = self.bytes().get(4..8).filter(|_| self.protocol == TCP)?;
        Some(u32::from_be_bytes([b[0], b[1], b[2], b[3]]))
    }

    /// What the transport carries. Nothing here sends options.
    pub fn payload(&self) -> &'a [u8] {
        let header = if self.protocol == TCP { 20 } else { 8 };
        self.bytes().get(header..).unwrap_or_default()
    }

    /// The sum of addresses, length and protocol (RFC 9293, section 3.1; RFC 8200, section 8.1).
    pub fn pseudo(&self, length: usize) -> u16 {
        let addresses =
            if self.v6 { ETHERNET + 8..ETHERNET + 40 } else { ETHERNET + 12..ETHERNET + 20 };
        let mut words = self.frame[addresses].to_vec();
        words.extend((length as u32).to_be_bytes());
        words.extend([0, self.protocol]);
        sum(&words)
    }

    /// Is the checksum right, or left to be finished in the right way?
    pub fn check(&self, partial: Option<(u16, u16)>) -> Result<(), String> {
        let pseudo = self.pseudo(self.bytes().len());
        if let Some((start, offset)) = partial {
            let right = (self.transport as u16, self.checksum_at() as u16);
            let seed = word(self.bytes(), self.checksum_at());
            if (start, offset) != right || seed != pseudo {
                return Err(format!(
                    "to be finished at {start}+{offset} from {seed:#x}, right is {right:?} from {pseudo:#x}"
                ));
            }
            return Ok(());
        }
        match fold(u32::from(sum(self.bytes())) + u32::from(pseudo)) {
            0xffff => Ok(()),
            wrong => Err(format!("the checksum is wrong: {wrong:#x}")),
        }
    }
}

/// The frame with its checksum left to the receiver.
pub fn partial(mut frame: Vec<u8>) -> Offered {
    let view = View::new(&frame).unwrap().unwrap();
    let (start, at) = (view.transport, view.checksum_at());
    let pseudo = view.pseudo(view.bytes().len());
    frame[start + at..start + at + 2].copy_from_slice(&pseudo.to_be_bytes());
    let partial = Some((start as u16, at as u16));
    Offered { offload: Offload { partial, ..Offload::default() }, frame }
}

/// The frame as it is.
pub fn complete(frame: Vec<u8>) -> Offered {
    Offered { offload: Offload::default(), frame }
}

/// The frame with a tag; what is said of it moves by as much.
pub fn tagged(mut one: Offered, vlan: u16) -> Offered {
    let [high, low] = vlan.to_be_bytes();
    one.frame.splice(12..12, [0x81, 0, high, low]);
    one.offload.partial = one.offload.partial.map(|(start, at)| (start + 4, at));
    one.offload.headers += if one.offload.headers > 0 { 4 } else { 0 };
    one
}

/// The frame without its tag, and the tag.
pub fn untagged(mut one: Offered) -> (Offered, Option<u16>) {
    if one.frame.get(12..14) != Some(&[0x81, 0]) {
        return (one, None);
    }
    let vlan = word(&one.frame, 14) & 0xfff;
    one.frame.drain(12..16);
    one.offload.partial = one.offload.partial.map(|(start, at)| (start.saturating_sub(4), at));
    (one, Some(vlan))
}

/// The datagram of a frame in fragments of `size` bytes, a multiple of 8.
pub fn fragments(frame: &[u8], size: usize) -> Vec<Vec<u8>> {
    let view = View::new(frame).unwrap().unwrap();
    let pieces: Vec<&[u8]> = view.bytes().chunks(size).collect();
    let last = pieces.len() - 1;
    let cut = |(n, piece): (usize, &&[u8])| {
        let (offset, more) = ((n * size) as u16, n < last);
        let mut one = frame[..view.transport].to_vec();
        if view.v6 {
            one[ETHERNET + 6] = FRAGMENT;
            one[ETHERNET + 4..ETHERNET + 6]
                .copy_from_slice(&(piece.len() as u16 + 8).to_be_bytes());
            let field = (offset | u16::from(more)).to_be_bytes();
            one.extend([view.protocol, 0, field[0], field[1], 0, 0, 0, 77]);
        } else {
            let ip = &mut one[ETHERNET..];
            ip[2..4].copy_from_slice(&((IPV4 + piece.len()) as u16).to_be_bytes());
            ip[4..6].copy_from_slice(&77_u16.to_be_bytes());
            let field = (offset / 8) | if more { 0x2000 } else { 0 };
            ip[6..8].copy_from_slice(&field.to_be_bytes());
            ip[10..12].copy_from_slice(&[0, 0]);
            let checksum = !sum(ip);
            ip[10..12].copy_from_slice(&checksum.to_be_bytes());
        }
        one.extend_from_slice(piece);
        one
    };
    pieces.iter().enumerate().map(cut).collect()
}

fn length(frame: &[u8], told: usize) -> Result<(), String> {
    if frame.len() == told {
        return Ok(());
    }
    Err(format!("{} bytes arrived, the IP header tells of {told}", frame.len()))
}

pub fn word(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

/// The Internet checksum's sum (RFC 1071), not complemented.
pub fn sum(bytes: &[u8]) -> u16 {
    let pairs = bytes
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |b| u32::from(*b)));
    fold(pairs.sum())
}

fn fold(mut sum: u32) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}
