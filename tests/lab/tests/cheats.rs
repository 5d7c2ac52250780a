//! A guest that cheats gets nothing through, and every frame of it is counted under its reason.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use portcullis_lab::{
    capture::{Capture, Injector},
    frame::{self, BROADCAST, Udp, holds},
    small::{Small, neighbour},
    world::Nic,
};

/// r1 is the liar; it may talk to r2, which listens. r3 is the one it would like to be.
const RULES: &[&str] = &[
    "{ name: liar, allow: { from: r1, to: [r2, b1], for: any } }",
    "{ name: third, allow: { from: r3, to: r2, for: any } }",
];
const GUESTS: &[(&str, Nic)] =
    &[("r1", Nic::Veth), ("r2", Nic::Veth), ("r3", Nic::Veth), ("b1", Nic::Veth)];

const MARK: &[u8] = b"CHEATING-FRAME";
/// Frames of each kind.
const TIMES: u64 = 5;

fn v4(address: IpAddr) -> Ipv4Addr {
    match address {
        IpAddr::V4(v4) => v4,
        IpAddr::V6(v6) => panic!("{v6} is not IPv4"),
    }
}

fn v6(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V6(v6) => v6,
        IpAddr::V4(v4) => panic!("{v4} is not IPv6"),
    }
}

/// Frames that r1 must not send, with the reason that counts them.
fn cheats(small: &Small) -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let honest = small.datagram("r1", "r2", false, 7);
    let honest6 = small.datagram("r1", "r2", true, 7);
    let other = small.mac("r3");
    let tagged = honest.tagged(10, MARK);
    let mut twice = tagged[..12].to_vec();
    twice.extend([0x88, 0xa8, 0, 20]);
    twice.extend(&tagged[12..]);
    let third = small.address("r3", false);
    vec![
        ("another's MAC", "spoofed-mac", Udp { from_mac: other, ..honest }.frame(MARK)),
        ("a group MAC", "spoofed-mac", Udp { from_mac: BROADCAST, ..honest }.frame(MARK)),
        ("another's IPv4", "spoofed-address", Udp { from: third, ..honest }.frame(MARK)),
        (
            "another's IPv6",
            "spoofed-address",
            Udp { from: small.address("r3", true), ..honest6 }.frame(MARK),
        ),
        (
            "an address of the world",
            "spoofed-address",
            Udp { from: "8.8.8.8".parse().unwrap(), ..honest }.frame(MARK),
        ),
        ("its own VLAN tag", "tagged-frame", tagged),
        ("two tags", "double-tag", twice),
        (
            "a MAC that is not the destination's",
            "wrong-mac",
            Udp { to_mac: other, ..honest }.frame(MARK),
        ),
        (
            "another network without the gateway",
            "wrong-mac",
            Udp { to: small.address("b1", false), ..honest }.frame(MARK),
        ),
        (
            "a strange EtherType",
            "ether-type",
            frame::strange(honest.from_mac, BROADCAST, 0x88b5, MARK),
        ),
        ("a DHCP offer", "not-for-guests", dhcp_offer(small)),
        ("a DHCPv6 answer", "not-for-guests", dhcp6_answer(small)),
        (
            "LLDP",
            "ether-type",
            frame::strange(honest.from_mac, [1, 0x80, 0xc2, 0, 0, 0x0e], 0x88cc, MARK),
        ),
        (
            "spanning tree",
            "ether-type",
            frame::strange(honest.from_mac, [1, 0x80, 0xc2, 0, 0, 0], 38, MARK),
        ),
        (
            "CDP",
            "ether-type",
            frame::strange(honest.from_mac, [1, 0, 0x0c, 0xcc, 0xcc, 0xcc], 100, MARK),
        ),
        ("a membership report", "absorbed", membership(small)),
        ("a DHCP question in another's name", "spoofed-mac", dhcp_question(small)),
    ]
}

/// IGMPv2: the guest joins a group. It ends at the switch, whatever the rules say.
fn membership(small: &Small) -> Vec<u8> {
    let group = Ipv4Addr::new(239, 1, 2, 3);
    let to_mac = [1, 0, 0x5e, 1, 2, 3];
    let honest = small.datagram("r1", "r2", false, 7);
    let mut frame = Udp { to_mac, to: group.into(), ttl: 1, ..honest }.frame(MARK);
    // Protocol 2 in place of 17: fifteen less, which the header's checksum gains.
    frame[23] = 2;
    let sum = u32::from(u16::from_be_bytes([frame[24], frame[25]])) + 15;
    frame[24..26].copy_from_slice(&((sum & 0xffff) as u16 + (sum >> 16) as u16).to_be_bytes());
    frame
}

/// From the DHCPv6 server's port to the client's.
fn dhcp6_answer(small: &Small) -> Vec<u8> {
    let mut answer = Udp { port: 546, ..small.datagram("r1", "r2", true, 546) }.frame(MARK);
    answer[54..56].copy_from_slice(&547u16.to_be_bytes());
    answer
}

/// A DHCP discovery for the hardware address of another guest.
fn dhcp_question(small: &Small) -> Vec<u8> {
    let mut message = vec![1, 1, 6, 0];
    message.resize(28, 0);
    message.extend(small.mac("r3"));
    message.resize(236, 0);
    message.extend([99, 130, 83, 99, 53, 1, 1, 255]);
    message.extend(MARK);
    let honest = small.datagram("r1", "r2", false, 67);
    let to = Ipv4Addr::BROADCAST.into();
    let mut frame = Udp { to_mac: BROADCAST, to, ..honest }.frame(&message);
    frame[34..36].copy_from_slice(&68u16.to_be_bytes());
    frame[40..42].copy_from_slice(&[0, 0]);
    frame
}

/// From the DHCP server's port to the client's.
fn dhcp_offer(small: &Small) -> Vec<u8> {
    let mut offer = Udp { port: 68, ..small.datagram("r1", "r2", false, 68) }.frame(MARK);
    offer[34..36].copy_from_slice(&67u16.to_be_bytes());
    // No UDP checksum: allowed in IPv4.
    offer[40..42].copy_from_slice(&[0, 0]);
    offer
}

fn claims(small: &Small) -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let (own, me) = (small.mac("r1"), v4(small.address("r1", false)));
    let third = v4(small.address("r3", false));
    let nobody = ([0; 6], third);
    let gateway = Ipv4Addr::new(10, 1, 0, 1);
    vec![
        (
            "ARP reply for another's address",
            "spoofed-neighbour",
            frame::arp(2, own, BROADCAST, (own, third), (BROADCAST, third)),
        ),
        (
            "ARP request in another's name",
            "spoofed-neighbour",
            frame::arp(1, own, BROADCAST, (own, third), nobody),
        ),
        (
            "ARP reply for the gateway",
            "spoofed-neighbour",
            frame::arp(2, own, small.mac("r2"), (own, gateway), (small.mac("r2"), me)),
        ),
        (
            "ARP with another's MAC inside",
            "spoofed-neighbour",
            frame::arp(2, own, BROADCAST, (small.mac("r3"), me), (BROADCAST, me)),
        ),
        (
            "neighbour advertisement for another's address",
            "spoofed-neighbour",
            frame::advertisement(own, v6(small.address("r1", true)), v6(small.address("r3", true))),
        ),
        ("router advertisement", "not-for-guests", router_advertisement(small)),
    ]
}

fn router_advertisement(small: &Small) -> Vec<u8> {
    let own = small.mac("r1");
    let mut local = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0).octets();
    local[8..].copy_from_slice(&[own[0] ^ 2, own[1], own[2], 0xff, 0xfe, own[3], own[4], own[5]]);
    let body = [64, 0, 0x07, 0x08, 0, 0, 0, 0, 0, 0, 0, 0];
    let macs = (own, [0x33, 0x33, 0, 0, 0, 1]);
    frame::icmp6(macs, (Ipv6Addr::from(local), frame::ALL_NODES), 255, 134, &body)
}

#[test]
fn cheating_frames_are_dropped_and_counted_by_reason() {
    let small = Small::with("plx", RULES, GUESTS).unwrap();
    let liar = Injector::new(small.space("r1"), "eth0").unwrap();
    let listeners: Vec<Capture> = ["r2", "r3", "b1"]
        .iter()
        .map(|name| Capture::start(small.space(name), "eth0").unwrap())
        .collect();
    // The liar's honest frames do arrive.
    liar.send(&small.datagram("r1", "r2", false, 7).frame(b"HONEST")).unwrap();
    assert!(listeners[0].wait_for(|seen| holds(&seen.head, b"HONEST")).is_some());
    for (what, reason, frame) in cheats(&small).into_iter().chain(claims(&small)) {
        let before = small.host.status().unwrap();
        for _ in 0..TIMES {
            liar.send(&frame).unwrap();
        }
        let after = small.host.status().unwrap();
        let counted = after.drops(reason) - before.drops(reason);
        assert!(
            counted >= TIMES,
            "{what}: {counted} counted as {reason}; before {:?}, after {:?}",
            before.reasons(),
            after.reasons()
        );
    }
    let (own, v4, v6) =
        (small.mac("r1"), v4(small.address("r1", false)), v6(small.address("r1", true)));
    for listener in &listeners {
        assert!(!listener.saw(|seen| holds(&seen.head, MARK)));
        // Nor did anybody hear that the liar's MAC belongs to an address that is not the liar's.
        assert!(!listener.saw(|seen| match claim(&seen.head) {
            Some((mac, IpAddr::V4(address))) => mac == own && address != v4,
            Some((mac, IpAddr::V6(address))) => mac == own && address != v6,
            None => false,
        }));
        // The switch's own advertisements are the only ones.
        assert!(!listener.saw(|seen| is_icmp6(&seen.head, 134) && seen.head[6..12] == own));
    }
}

/// Which address an ARP packet or a neighbour advertisement claims for which MAC.
fn claim(head: &[u8]) -> Option<([u8; 6], IpAddr)> {
    if head[12..14] == [8, 6] {
        let address: [u8; 4] = head[28..32].try_into().ok()?;
        return Some((head[22..28].try_into().ok()?, IpAddr::from(address)));
    }
    if !is_icmp6(head, 136) {
        return None;
    }
    let address: [u8; 16] = head[62..78].try_into().ok()?;
    Some((head[6..12].try_into().ok()?, IpAddr::from(address)))
}

fn is_icmp6(head: &[u8], kind: u8) -> bool {
    head.len() > 54 && head[12..14] == [0x86, 0xdd] && head[20] == 58 && head[54] == kind
}

#[test]
fn the_switch_answers_for_declared_addresses_and_asks_nobody() {
    let small = Small::with("pla", RULES, GUESTS).unwrap();
    let other = Capture::start(small.space("r2"), "eth0").unwrap();
    for family in [false, true] {
        let to = small.address("r3", family);
        assert_eq!(neighbour(small.space("r1"), to).unwrap(), small.guest("r3").mac);
    }
    for gateway in small.guest("r1").gateway.clone() {
        let mac = neighbour(small.space("r1"), gateway).unwrap();
        assert!(![&small.guest("r1").mac, &small.guest("r3").mac].contains(&&mac), "{mac}");
    }
    // An address of the subnet that nobody has, and one that another network has.
    for nobody in ["10.1.0.77", "10.2.0.11"] {
        let _ = small.space("r1").ip(&format!("route add {nobody}/32 dev eth0"));
        assert!(neighbour(small.space("r1"), nobody.parse().unwrap()).is_err(), "{nobody}");
    }
    // Questions go to the switch alone.
    assert!(!other.saw(|seen| seen.head[12..14] == [8, 6]));
    assert!(!other.saw(|seen| is_icmp6(&seen.head, 135)));
}
