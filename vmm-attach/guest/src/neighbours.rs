//! Who is where. The stack asks for one neighbour a second at most, learns nothing from frames,
//! and drops what it would answer to somebody it does not know: the first echo request of
//! everybody would be lost. So it is told what frames tell, and questions are asked for it; it
//! believes every answer that is for us.

use smoltcp::{
    iface::Interface,
    time::{Duration, Instant},
    wire::{
        ArpOperation, EthernetAddress, EthernetFrame, EthernetProtocol, HardwareAddress, IpAddress,
        IpCidr, Ipv4Packet, Ipv6Address, Ipv6Packet, NdiscNeighborFlags, NdiscRepr,
    },
};

use crate::frames::Frame;

/// So many are remembered: as many as the stack has room for.
const MOST: usize = 8;
/// The stack forgets after a minute.
const LONG: Duration = Duration::from_secs(30);

/// Those whom the stack was told of.
pub struct Neighbours {
    told: [Option<(IpAddress, Instant)>; MOST],
    next: usize,
}

impl Neighbours {
    /// Nobody yet.
    pub fn new() -> Self {
        Self { told: [None; MOST], next: 0 }
    }

    /// Who has sent this frame, as an answer to a question of ours, unless the stack knows.
    pub fn learn(&mut self, frame: &[u8], stack: &Interface, now: Instant) -> Option<Frame> {
        let frame = EthernetFrame::new_checked(frame).ok()?;
        let source: IpAddress = match frame.ethertype() {
            EthernetProtocol::Ipv4 => {
                Ipv4Packet::new_checked(frame.payload()).ok()?.src_addr().into()
            }
            EthernetProtocol::Ipv6 => {
                Ipv6Packet::new_checked(frame.payload()).ok()?.src_addr().into()
            }
            _ => return None,
        };
        let hop = next_hop(stack, source)?;
        let knows = |(told, at): &(IpAddress, Instant)| *told == hop && now < *at + LONG;
        if self.told.iter().flatten().any(knows) {
            return None;
        }
        self.told[self.next % MOST] = Some((hop, now));
        self.next += 1;
        let HardwareAddress::Ethernet(own) = stack.hardware_addr();
        answer(stack, (frame.src_addr(), hop), own)
    }
}

/// At this MAC is this address: as an answer to us.
fn answer(
    stack: &Interface,
    (mac, hop): (EthernetAddress, IpAddress),
    own: EthernetAddress,
) -> Option<Frame> {
    match hop {
        IpAddress::Ipv4(hop) => {
            let to = stack.get_source_address_ipv4(&hop)?;
            Some(Frame::arp(ArpOperation::Reply, (mac, hop), (own, to)))
        }
        IpAddress::Ipv6(hop) => {
            let to = stack.get_source_address_ipv6(&hop);
            let what = NdiscRepr::NeighborAdvert {
                flags: NdiscNeighborFlags::SOLICITED,
                target_addr: hop,
                lladdr: Some(mac.into()),
            };
            Some(Frame::neighbour([mac, own], [hop, to], what))
        }
    }
}

/// A question for whoever leads to this address.
pub fn question(stack: &Interface, to: IpAddress) -> Option<Frame> {
    let HardwareAddress::Ethernet(own) = stack.hardware_addr();
    match next_hop(stack, to)? {
        IpAddress::Ipv4(hop) => {
            let from = stack.get_source_address_ipv4(&hop)?;
            let everybody = EthernetAddress::BROADCAST;
            Some(Frame::arp(ArpOperation::Request, (own, from), (everybody, hop)))
        }
        IpAddress::Ipv6(hop) => {
            let from = stack.get_source_address_ipv6(&hop);
            let [.., a, b, c] = hop.octets();
            let low = [u16::from(a) | 0xff00, u16::from_be_bytes([b, c])];
            // The solicited-node address, and its MAC (RFC 4291, section 2.7.1; RFC 2464, section 7).
            let group = Ipv6Address::new(0xff02, 0, 0, 0, 0, 1, low[0], low[1]);
            let mac = EthernetAddress([0x33, 0x33, 0xff, a, b, c]);
            let what = NdiscRepr::NeighborSolicit { target_addr: hop, lladdr: Some(own.into()) };
            Some(Frame::neighbour([own, mac], [from, group], what))
        }
    }
}

/// Whom a packet to this address is given: itself, or a gateway.
fn next_hop(stack: &Interface, to: IpAddress) -> Option<IpAddress> {
    let is_near = |own: &IpCidr| own.contains_addr(&to);
    let is_local = |to: &IpAddress| matches!(to, IpAddress::Ipv6(to) if to.is_unicast_link_local());
    if !to.is_unicast() || to.is_unspecified() || is_local(&to) {
        return None;
    }
    if stack.ip_addrs().iter().any(is_near) {
        return Some(to);
    }
    let route = match to {
        IpAddress::Ipv4(_) => stack.routes().get_default_ipv4_route(),
        IpAddress::Ipv6(_) => stack.routes().get_default_ipv6_route(),
    };
    Some(route?.via_router)
}
