//! The switch's own answers, read by somebody else's parser.

use etherparse::{NetSlice, SlicedPacket, TransportSlice};

/// Is this frame well formed, its checksums right? The error says what is wrong.
pub fn check(frame: &[u8]) -> Result<(), String> {
    let packet = SlicedPacket::from_ethernet(frame).map_err(|e| format!("malformed: {e}"))?;
    if let Some(NetSlice::Arp(arp)) = &packet.net {
        return if arp.operation().0 == 2 { Ok(()) } else { Err("not an ARP reply".into()) };
    }
    let ends = match &packet.net {
        Some(NetSlice::Ipv4(ip)) => {
            let header = ip.header().to_header();
            if header.calc_header_checksum() != header.header_checksum {
                return Err("wrong IPv4 header checksum".into());
            }
            None
        }
        Some(NetSlice::Ipv6(ip)) => Some((ip.header().source(), ip.header().destination())),
        _ => return Err("neither ARP nor IP".into()),
    };
    match (packet.transport, ends) {
        (Some(TransportSlice::Icmpv4(icmp)), None) => {
            let sum = icmp.slice();
            if crate::frames::checksum(sum, 0) == 0 {
                Ok(())
            } else {
                Err("wrong ICMP checksum".into())
            }
        }
        (Some(TransportSlice::Icmpv6(icmp)), Some((src, dst))) => {
            if icmp.is_checksum_valid(src, dst) {
                Ok(())
            } else {
                Err("wrong ICMPv6 checksum".into())
            }
        }
        (Some(TransportSlice::Udp(udp)), ends) => {
            let header = udp.to_header();
            let sum = match (ends, &packet.net) {
                (Some((src, dst)), _) => header.calc_checksum_ipv6_raw(src, dst, udp.payload()),
                (None, Some(NetSlice::Ipv4(ip))) => {
                    let ends = (ip.header().source(), ip.header().destination());
                    header.calc_checksum_ipv4_raw(ends.0, ends.1, udp.payload())
                }
                _ => return Err("UDP over neither".into()),
            };
            if sum == Ok(header.checksum) { Ok(()) } else { Err("wrong UDP checksum".into()) }
        }
        _ => Err("neither ICMP nor UDP".into()),
    }
}
