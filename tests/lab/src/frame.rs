//! Frames for attackers: what a well-behaved stack would not send.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use etherparse::PacketBuilder;

/// A MAC.
pub type Mac = [u8; 6];

/// Everybody.
pub const BROADCAST: Mac = [0xff; 6];

/// Reads `02:00:00:00:00:01`.
pub fn parse_mac(text: &str) -> Option<Mac> {
    let mut mac = [0; 6];
    let mut parts = text.split(':');
    for byte in &mut mac {
        *byte = u8::from_str_radix(parts.next()?, 16).ok()?;
    }
    parts.next().is_none().then_some(mac)
}

/// Source port of what is made here.
const SOURCE_PORT: u16 = 50_001;

/// Where a datagram comes from and goes to.
#[derive(Clone, Copy, Debug)]
pub struct Udp {
    /// Source MAC.
    pub from_mac: Mac,
    /// Destination MAC.
    pub to_mac: Mac,
    /// Source address.
    pub from: IpAddr,
    /// Destination address, of the same family.
    pub to: IpAddr,
    /// Destination port; the source port is one above 50,000.
    pub port: u16,
    /// Time to live or hop limit.
    pub ttl: u8,
}

impl Udp {
    /// The frame with this payload.
    pub fn frame(&self, payload: &[u8]) -> Vec<u8> {
        self.build(None, payload)
    }

    /// The frame with a VLAN tag.
    pub fn tagged(&self, vlan: u16, payload: &[u8]) -> Vec<u8> {
        self.build(Some(vlan), payload)
    }

    /// The SYN of a TCP connection between the same ends.
    pub fn syn(&self) -> Vec<u8> {
        let mut frame = Vec::new();
        let ethernet = PacketBuilder::ethernet2(self.from_mac, self.to_mac);
        let ip = match (self.from, self.to) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                ethernet.ipv4(from.octets(), to.octets(), self.ttl)
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                ethernet.ipv6(from.octets(), to.octets(), self.ttl)
            }
            _ => panic!("{} and {} are of different families", self.from, self.to),
        };
        let tcp = ip.tcp(SOURCE_PORT, self.port, 1, 64_000).syn();
        tcp.write(&mut frame, &[]).expect("a vector takes every frame");
        frame
    }

    fn build(&self, vlan: Option<u16>, payload: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        let ethernet = PacketBuilder::ethernet2(self.from_mac, self.to_mac);
        let id = vlan.and_then(|vlan| etherparse::VlanId::try_new(vlan).ok());
        let built = match (self.from, self.to, id) {
            (IpAddr::V4(from), IpAddr::V4(to), None) => ethernet
                .ipv4(from.octets(), to.octets(), self.ttl)
                .udp(SOURCE_PORT, self.port)
                .write(&mut frame, payload),
            (IpAddr::V4(from), IpAddr::V4(to), Some(id)) => ethernet
                .single_vlan(id)
                .ipv4(from.octets(), to.octets(), self.ttl)
                .udp(SOURCE_PORT, self.port)
                .write(&mut frame, payload),
            (IpAddr::V6(from), IpAddr::V6(to), None) => ethernet
                .ipv6(from.octets(), to.octets(), self.ttl)
                .udp(SOURCE_PORT, self.port)
                .write(&mut frame, payload),
            (IpAddr::V6(from), IpAddr::V6(to), Some(id)) => ethernet
                .single_vlan(id)
                .ipv6(from.octets(), to.octets(), self.ttl)
                .udp(SOURCE_PORT, self.port)
                .write(&mut frame, payload),
            _ => panic!("{} and {} are of different families", self.from, self.to),
        };
        built.expect("a vector takes every frame");
        frame
    }
}

/// An ARP packet (RFC 826). `ethernet_from` is the frame's source MAC, `sender` what the packet
/// claims.
pub fn arp(
    operation: u16,
    ethernet_from: Mac,
    to: Mac,
    sender: (Mac, Ipv4Addr),
    target: (Mac, Ipv4Addr),
) -> Vec<u8> {
    let mut frame = Vec::with_capacity(42);
    frame.extend(to);
    frame.extend(ethernet_from);
    frame.extend([0x08, 0x06, 0, 1, 0x08, 0, 6, 4]);
    frame.extend(operation.to_be_bytes());
    frame.extend(sender.0);
    frame.extend(sender.1.octets());
    frame.extend(target.0);
    frame.extend(target.1.octets());
    frame
}

/// An ICMPv6 message of this type: `body` is what follows the checksum, the first four bytes of it
/// are the header's own.
pub fn icmp6(
    macs: (Mac, Mac),
    addresses: (Ipv6Addr, Ipv6Addr),
    hops: u8,
    kind: u8,
    body: &[u8],
) -> Vec<u8> {
    let (head, rest) = body.split_at(4);
    let mut own = [0; 4];
    own.copy_from_slice(head);
    let mut frame = Vec::new();
    PacketBuilder::ethernet2(macs.0, macs.1)
        .ipv6(addresses.0.octets(), addresses.1.octets(), hops)
        .icmpv6_raw(kind, 0, own)
        .write(&mut frame, rest)
        .expect("a vector takes every frame");
    frame
}

/// A neighbour advertisement (RFC 4861, section 4.4), sent to all nodes, that claims `target` for
/// the sender's MAC.
pub fn advertisement(mac: Mac, from: Ipv6Addr, target: Ipv6Addr) -> Vec<u8> {
    const OVERRIDE: u8 = 0x20;
    const TARGET_OPTION: [u8; 2] = [2, 1];
    let mut body = vec![OVERRIDE, 0, 0, 0];
    body.extend(target.octets());
    body.extend(TARGET_OPTION);
    body.extend(mac);
    icmp6((mac, [0x33, 0x33, 0, 0, 0, 1]), (from, ALL_NODES), 255, 136, &body)
}

/// `ff02::1`.
pub const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// A frame with this EtherType and nothing that anybody understands.
pub fn strange(from: Mac, to: Mac, ethertype: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    frame.extend(to);
    frame.extend(from);
    frame.extend(ethertype.to_be_bytes());
    frame.extend(payload);
    frame.resize(frame.len().max(60), 0);
    frame
}

/// Does `haystack` hold `needle`? Payloads are marked with words that nothing else sends.
pub fn holds(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn macs_are_read() {
        assert_eq!(parse_mac("02:00:00:0a:ff:01"), Some([2, 0, 0, 10, 255, 1]));
        assert_eq!(parse_mac("02:00:00:0a:ff"), None);
        assert_eq!(parse_mac("02:00:00:0a:ff:01:02"), None);
    }

    #[test]
    fn frames_have_their_lengths() {
        let udp = Udp {
            from_mac: [2, 0, 0, 0, 0, 1],
            to_mac: BROADCAST,
            from: "10.0.0.1".parse().unwrap(),
            to: "10.0.0.2".parse().unwrap(),
            port: 9,
            ttl: 64,
        };
        assert_eq!(udp.frame(b"mark").len(), 14 + 20 + 8 + 4);
        assert_eq!(udp.tagged(10, b"mark").len(), 14 + 4 + 20 + 8 + 4);
        assert!(holds(&udp.frame(b"mark"), b"mark"));
        let nobody = (BROADCAST, Ipv4Addr::UNSPECIFIED);
        assert_eq!(arp(1, [2; 6], BROADCAST, nobody, nobody).len(), 42);
    }
}
