//! What the switch tells its guests, as it stands on the wire: the options of DHCP and DHCPv6 and
//! whole router advertisements, from an image. Pure.

use portcullis_image::{Network, Nic};
use portcullis_pipeline::{
    addr::Addr,
    layout::{NOTICE_PIECE, NOTICE_PIECES, NoticeEntry, notice},
    wire::{dhcp, dhcp6, icmpv6},
};
use zerocopy::FromZeros;

use crate::slot::{Tables, covers};

/// Bytes that the text of a notice holds.
const TEXT: usize = NOTICE_PIECE * NOTICE_PIECES;
/// Server identifier where the network has no gateway: link-local (RFC 3927), and nobody's.
const NOBODY: Addr = Addr::v4([169, 254, 0, 1]);
/// Longest time a host may use a router for, seconds (RFC 8319): who answers questions only tells
/// it rarely.
const ROUTER_LIFETIME_S: u16 = u16::MAX;
/// For ever (RFC 4861, section 4.6.2; RFC 8106, section 5.1).
const FOREVER: [u8; 4] = [0xff; 4];
/// Hop limit that hosts are told.
const HOP_LIMIT: u8 = 64;
/// Flags of an advertisement: addresses come from DHCPv6; of a prefix: on link, and no host makes
/// itself an address in it.
const MANAGED: u8 = 0x80;
const ON_LINK: u8 = 0x80;

/// What a network's guests are told, whatever their port.
pub fn of_network(tables: &mut Tables, network: &Network, id: u32) {
    if let Some(entry) = advertisement(network) {
        tables.notices.insert((notice::ADVERTISEMENT, id, 0), entry);
    }
}

/// What a port is told of a NIC's addresses.
pub fn of_nic(tables: &mut Tables, network: &Network, nic: &Nic, port: u32) {
    if !network.offer.dhcp {
        return;
    }
    let first = |v4: bool| nic.addrs.iter().copied().find(|a| a.is_v4() == v4);
    if let Some(addr) = first(true) {
        tables.notices.insert((notice::DHCP, nic.network, port), lease(network, addr));
    }
    if let Some(addr) = first(false) {
        let entry = NoticeEntry { addr, ..with_text(network, &options6(network)) };
        tables.notices.insert((notice::DHCP6, nic.network, port), entry);
    }
}

/// An entry with this text, from the network's own link-local address.
fn with_text(network: &Network, text: &[u8]) -> NoticeEntry {
    let mut entry = NoticeEntry::new_zeroed();
    entry.server = Addr::link_local_of(network.gateway_mac);
    entry.mac = network.gateway_mac.0;
    entry.lease_s = network.offer.lease_s;
    entry.len = text.len() as u32;
    entry.text.as_flattened_mut()[..text.len()].copy_from_slice(text);
    let words = text.chunks(2).map(|w| u32::from(w[0]) << 8 | u32::from(*w.get(1).unwrap_or(&0)));
    entry.sum = words.sum();
    entry
}

/// DHCP for a NIC with this IPv4 address. The first piece is the lease alone, which INFORM is not
/// told; all that is left of the pieces is padding.
fn lease(network: &Network, addr: Addr) -> NoticeEntry {
    let subnet = network.subnets.iter().find(|(first, len)| covers(*first, *len, addr));
    let len = subnet.map_or(32, |(_, len)| len.saturating_sub(96));
    let near = |(gateway, _): &&(Addr, u8)| covers(addr, 96 + len, *gateway);
    let router = network.gateway.iter().find(near).map(|(gateway, _)| *gateway);
    let elsewhere = network.gateway.iter().map(|(gateway, _)| *gateway).find(|g| g.is_v4());
    let server = router.or(elsewhere).unwrap_or(NOBODY);
    let text = options4(network, addr, len, router);
    NoticeEntry { addr, server, ..with_text(network, &text) }
}

fn options4(network: &Network, addr: Addr, len: u8, router: Option<Addr>) -> Vec<u8> {
    let mask = u32::MAX.checked_shl(32 - u32::from(len)).unwrap_or(0);
    let seconds = network.offer.lease_s;
    let mut text = Vec::new();
    let mut option = |code: u8, value: &[u8]| {
        text.extend([code, value.len() as u8]);
        text.extend(value);
    };
    option(dhcp::LEASE, &seconds.to_be_bytes());
    option(dhcp::RENEWAL, &(seconds / 2).to_be_bytes());
    option(dhcp::REBINDING, &(seconds - seconds / 8).to_be_bytes());
    text.resize(NOTICE_PIECE, dhcp::PAD);
    let mut option = |code: u8, value: &[u8]| {
        text.extend([code, value.len() as u8]);
        text.extend(value);
    };
    option(dhcp::MASK, &mask.to_be_bytes());
    if let Some(router) = router {
        option(dhcp::ROUTER, &router.low32().to_be_bytes());
    }
    // RFC 3021: two addresses have no broadcast.
    if len < 31 {
        option(dhcp::BROADCAST_ADDRESS, &(addr.low32() | !mask).to_be_bytes());
    }
    let mtu = u16::try_from(network.mtu).unwrap_or(u16::MAX);
    option(dhcp::MTU, &mtu.to_be_bytes());
    let dns: Vec<u8> = dns(network, true).flat_map(|a| a.low32().to_be_bytes()).collect();
    if !dns.is_empty() {
        option(dhcp::DNS, &dns);
    }
    if !network.offer.domain.is_empty() {
        option(dhcp::DOMAIN, network.offer.domain.as_bytes());
    }
    text.push(dhcp::END);
    text
}

/// Name servers and domain for DHCPv6 (RFC 3646).
fn options6(network: &Network) -> Vec<u8> {
    let mut text = Vec::new();
    let mut option = |code: u16, value: &[u8]| {
        if !value.is_empty() {
            text.extend(code.to_be_bytes());
            text.extend((value.len() as u16).to_be_bytes());
            text.extend(value);
        }
    };
    let dns: Vec<u8> = dns(network, false).flat_map(Addr::octets).collect();
    option(dhcp6::DNS, &dns);
    option(dhcp6::DOMAINS, &labels(&network.offer.domain));
    text
}

/// The advertisement of a network with an IPv6 gateway (RFC 4861, section 4.2). Prefixes come
/// last: those that do not fit are reached through the gateway, too.
fn advertisement(network: &Network) -> Option<NoticeEntry> {
    network.gateway.iter().find(|(a, _)| !a.is_v4())?;
    let managed = if network.offer.dhcp { MANAGED } else { 0 };
    let [hi, lo] = ROUTER_LIFETIME_S.to_be_bytes();
    let mut text = vec![icmpv6::ROUTER_ADVERTISEMENT, 0, 0, 0, HOP_LIMIT, managed, hi, lo];
    text.extend([0; 8]);
    text.extend([icmpv6::OPTION_SOURCE, 1]);
    text.extend(network.gateway_mac.octets());
    text.extend([icmpv6::OPTION_MTU, 1, 0, 0]);
    text.extend(network.mtu.to_be_bytes());
    let dns: Vec<u8> = dns(network, false).flat_map(Addr::octets).collect();
    timed(&mut text, icmpv6::OPTION_DNS, &dns);
    timed(&mut text, icmpv6::OPTION_DOMAINS, &labels(&network.offer.domain));
    for (addr, len) in network.subnets.iter().filter(|(a, _)| !a.is_v4()) {
        if text.len() + 32 > TEXT {
            break;
        }
        text.extend([icmpv6::OPTION_PREFIX, 4, *len, ON_LINK]);
        text.extend([FOREVER, FOREVER, [0; 4]].as_flattened());
        text.extend(addr.octets());
    }
    Some(with_text(network, &text))
}

/// An option of RFC 8106: a lifetime, the value, zeros to a multiple of eight bytes.
fn timed(text: &mut Vec<u8>, code: u8, value: &[u8]) {
    if value.is_empty() {
        return;
    }
    let len = (8 + value.len()).next_multiple_of(8);
    let end = text.len() + len;
    text.extend([code, (len / 8) as u8, 0, 0]);
    text.extend(FOREVER);
    text.extend(value);
    text.resize(end, 0);
}

fn dns(network: &Network, v4: bool) -> impl Iterator<Item = Addr> + '_ {
    network.offer.dns.iter().copied().filter(move |a| a.is_v4() == v4)
}

/// A domain as DNS writes it (RFC 1035, section 3.1); nothing for none.
fn labels(domain: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for label in domain.split('.').filter(|label| !label.is_empty()) {
        bytes.push(label.len() as u8);
        bytes.extend(label.as_bytes());
    }
    if !bytes.is_empty() {
        bytes.push(0);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use portcullis_image::{DNS_MAX, DOMAIN_MAX, Offer};

    use super::*;
    use crate::testing;

    fn network() -> Network {
        let mut network = testing::image().networks[0].clone();
        network.subnets.push((Addr { hi: 0xfd00_0010_0000_0000, lo: 0 }, 64));
        network.gateway.push((Addr { hi: 0xfd00_0010_0000_0000, lo: 1 }, 64));
        network.offer = Offer {
            dhcp: true,
            dns: vec![Addr::v4([10, 10, 0, 53]), Addr { hi: 0xfd00_0010_0000_0000, lo: 0x53 }],
            domain: "lan.example".into(),
            lease_s: 7200,
        };
        network
    }

    #[test]
    fn a_lease_says_what_was_declared() {
        let entry = lease(&network(), Addr::v4([10, 10, 0, 11]));
        assert_eq!(entry.server, Addr::v4([10, 10, 0, 1]));
        let text = entry.text.as_flattened();
        assert_eq!(text[..18], [51, 4, 0, 0, 28, 32, 58, 4, 0, 0, 14, 16, 59, 4, 0, 0, 24, 156]);
        let rest = [
            &[1, 4, 255, 255, 255, 0, 3, 4, 10, 10, 0, 1, 28, 4, 10, 10, 0, 255, 26, 2, 5, 220][..],
            &[6, 4, 10, 10, 0, 53, 15, 11],
            b"lan.example",
            &[255],
        ]
        .concat();
        assert_eq!(text[32..32 + rest.len()], rest);
        assert_eq!(entry.len as usize, 32 + rest.len());
    }

    #[test]
    fn without_a_gateway_there_is_no_router() {
        let mut network = network();
        network.gateway.clear();
        let entry = lease(&network, Addr::v4([10, 10, 0, 11]));
        assert_eq!(entry.server, NOBODY);
        assert_eq!(entry.text[1][6], dhcp::BROADCAST_ADDRESS);
        assert_eq!(advertisement(&network), None);
    }

    #[test]
    fn an_advertisement_has_whole_options() {
        let entry = advertisement(&network()).unwrap();
        let text = &entry.text.as_flattened()[..entry.len as usize];
        let mut at = 16;
        let mut codes = Vec::new();
        while at < text.len() {
            codes.push(text[at]);
            at += usize::from(text[at + 1]) * 8;
        }
        assert_eq!((at, codes), (text.len(), vec![1, 5, 25, 31, 3]));
        assert_eq!(text[5], MANAGED);
        let sum: u32 = text.chunks(2).map(|w| u32::from(w[0]) * 256 + u32::from(w[1])).sum();
        assert_eq!(entry.sum, sum);
    }

    #[test]
    fn the_longest_of_everything_fits() {
        let mut network = network();
        network.offer.dns = (1..=DNS_MAX as u64)
            .flat_map(|i| [Addr::v4_bits(i as u32), Addr { hi: 1 << 60, lo: i }])
            .collect();
        network.offer.domain = [["a"; 59].concat(), ["b"; 60].concat()].join(".");
        assert_eq!(network.offer.domain.len(), DOMAIN_MAX);
        network.subnets.extend((1..9).map(|i| (Addr { hi: 0xfd00 << 48 | i, lo: 0 }, 64)));
        let entry = advertisement(&network).unwrap();
        assert_eq!(entry.len as usize % 8, 0);
        // The answer to DHCP has room for seven pieces.
        let most = 7 * NOTICE_PIECE as u32;
        assert!(lease(&network, Addr::v4([10, 10, 0, 11])).len <= most);
        assert!(with_text(&network, &options6(&network)).len <= most);
    }
}
