//! Frames that are made without the stack.

use smoltcp::{
    phy::ChecksumCapabilities,
    wire::{
        ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol,
        EthernetRepr, Icmpv6Packet, Icmpv6Repr, IpAddress, IpProtocol, IpRepr, Ipv4Address,
        Ipv6Address, NdiscRepr, UdpPacket, UdpRepr,
    },
};

/// Bytes of the longest of them.
pub const LONGEST: usize = 128;
/// Of neighbour discovery (RFC 4861, section 7.1).
const NEIGHBOUR_HOPS: u8 = 255;
const HOPS: u8 = 64;
/// The port of what is thrown away (RFC 863).
const DISCARD: u16 = 9;

/// A frame.
pub struct Frame {
    bytes: [u8; LONGEST],
    length: usize,
}

impl Frame {
    /// No frame.
    pub const NONE: Self = Self { bytes: [0; LONGEST], length: 0 };

    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    /// One of so many bytes behind its Ethernet header, which `write` fills.
    fn new(
        [src_addr, dst_addr]: [EthernetAddress; 2],
        ethertype: EthernetProtocol,
        length: usize,
        write: impl FnOnce(&mut [u8]),
    ) -> Self {
        let mut frame = Self::NONE;
        frame.length = EthernetFrame::<&[u8]>::buffer_len(length);
        let mut view = EthernetFrame::new_unchecked(&mut frame.bytes[..frame.length]);
        EthernetRepr { src_addr, dst_addr, ethertype }.emit(&mut view);
        write(view.payload_mut());
        frame
    }

    /// An ARP packet of whoever is first, to whoever is second.
    pub fn arp(
        operation: ArpOperation,
        from: (EthernetAddress, Ipv4Address),
        to: (EthernetAddress, Ipv4Address),
    ) -> Self {
        let arp = ArpRepr::EthernetIpv4 {
            operation,
            source_hardware_addr: from.0,
            source_protocol_addr: from.1,
            target_hardware_addr: to.0,
            target_protocol_addr: to.1,
        };
        Self::new([from.0, to.0], EthernetProtocol::Arp, arp.buffer_len(), |packet| {
            arp.emit(&mut ArpPacket::new_unchecked(packet));
        })
    }

    /// A packet of neighbour discovery.
    pub fn neighbour(
        macs: [EthernetAddress; 2],
        [from, to]: [Ipv6Address; 2],
        what: NdiscRepr<'_>,
    ) -> Self {
        let all = ChecksumCapabilities::default();
        let icmp = Icmpv6Repr::Ndisc(what);
        let length = icmp.buffer_len();
        let ip = IpRepr::new(from.into(), to.into(), IpProtocol::Icmpv6, length, NEIGHBOUR_HOPS);
        let head = ip.header_len();
        Self::new(macs, EthernetProtocol::Ipv6, head + length, |packet| {
            let (header, payload) = packet.split_at_mut(head);
            ip.emit(header, &all);
            icmp.emit(&from, &to, &mut Icmpv6Packet::new_unchecked(payload), &all);
        })
    }

    /// A datagram with this text. Both addresses are of one family.
    pub fn datagram(macs: [EthernetAddress; 2], [from, to]: [IpAddress; 2], text: &[u8]) -> Self {
        let all = ChecksumCapabilities::default();
        let udp = UdpRepr { src_port: DISCARD, dst_port: DISCARD };
        let length = udp.header_len() + text.len();
        let ip = IpRepr::new(from, to, IpProtocol::Udp, length, HOPS);
        let (head, kind) = match ip {
            IpRepr::Ipv4(_) => (ip.header_len(), EthernetProtocol::Ipv4),
            IpRepr::Ipv6(_) => (ip.header_len(), EthernetProtocol::Ipv6),
        };
        Self::new(macs, kind, head + length, |packet| {
            let (header, payload) = packet.split_at_mut(head);
            ip.emit(header, &all);
            let mut packet = UdpPacket::new_unchecked(payload);
            udp.emit(&mut packet, &from, &to, text.len(), |room| room.copy_from_slice(text), &all);
        })
    }
}
