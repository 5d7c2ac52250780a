//! An uplink that carries two networks by VLAN tag and one without: what belongs to one of them
//! never shows in another.

use std::net::{IpAddr, Ipv4Addr};

use portcullis_lab::{
    capture::{Capture, Injector},
    frame::{self, BROADCAST, Mac, Udp, holds},
    small::Small,
    tap::Wire,
    world::Nic,
};

const RULES: &[&str] = &[
    "{ name: red-all, allow: { from: red, to: red, for: any } }",
    "{ name: blue-all, allow: { from: blue, to: blue, for: any } }",
    "{ name: thin-all, allow: { from: thin, to: thin, for: any } }",
];
const GUESTS: &[(&str, Nic)] = &[("r1", Nic::Veth), ("b1", Nic::Veth), ("t1", Nic::Veth)];
/// Somebody on the other side of the cable.
const STRANGER: Mac = [2, 0, 0, 0, 0, 0x99];
const RED: u16 = 10;
const BLUE: u16 = 20;

struct Trunk {
    small: Small,
    wire: Wire,
    guests: Vec<Capture>,
}

fn trunk(tag: &str) -> Trunk {
    let small = Small::with(tag, RULES, GUESTS).unwrap();
    let wire = Wire::new(small.host.space(), "trunk0").unwrap();
    let attach = ["attach", "uplink", "trunk0", "--tagged", "red,blue", "--untagged", "thin"];
    small.host.portcullis(&attach).unwrap();
    let guests =
        GUESTS.iter().map(|(g, _)| Capture::start(small.space(g), "eth0").unwrap()).collect();
    Trunk { small, wire, guests }
}

/// From a stranger of a guest's network to that guest.
fn to_guest(small: &Small, guest: &str, from: &str) -> Udp {
    Udp {
        from_mac: STRANGER,
        to_mac: small.mac(guest),
        from: from.parse().unwrap(),
        to: small.address(guest, false),
        port: 4000,
        ttl: 64,
    }
}

#[test]
fn tags_choose_the_network_and_nothing_leaks() {
    let Trunk { small, wire, guests } = trunk("plq");
    let red = to_guest(&small, "r1", "10.1.0.99");
    let thin = to_guest(&small, "t1", "10.3.0.99");
    // With their own tag (or none), frames arrive, untagged.
    wire.send(&red.tagged(RED, b"RED-TAGGED")).unwrap();
    let seen = guests[0].wait_for(|seen| holds(&seen.head, b"RED-TAGGED")).unwrap();
    assert_eq!(seen.head[12..14], [8, 0]);
    wire.send(&thin.frame(b"THIN-UNTAGGED")).unwrap();
    assert!(guests[2].wait_for(|seen| holds(&seen.head, b"THIN-UNTAGGED")).is_some());
    // With another network's tag, with none, with one that nobody has: nowhere. Neither as a new
    // connection nor on the back of the one that came in above.
    let before = small.host.status().unwrap();
    for udp in [Udp { port: 4001, ..red }, red] {
        let mut twice = udp.tagged(RED, b"ASTRAY");
        let inner = twice[12..16].to_vec();
        twice.splice(12..12, inner);
        let astray = [
            ("blue's tag", udp.tagged(BLUE, b"ASTRAY")),
            ("no tag", udp.frame(b"ASTRAY")),
            ("an unknown tag", udp.tagged(99, b"ASTRAY")),
            ("two tags", twice),
        ];
        for (what, frame) in astray {
            wire.send(&frame).unwrap();
            for (guest, (name, _)) in guests.iter().zip(GUESTS) {
                let leaked = guest.saw(|seen| holds(&seen.head, b"ASTRAY"));
                assert!(!leaked, "{name} saw {what}, port {}", udp.port);
            }
        }
    }
    let after = small.host.status().unwrap();
    for reason in ["unknown-vlan", "double-tag"] {
        assert!(after.drops(reason) > before.drops(reason), "{reason}: {:?}", after.reasons());
    }
}

#[test]
fn frames_leave_with_the_tag_of_their_network() {
    let Trunk { small, wire, guests: _ } = trunk("plr");
    let stranger: IpAddr = "10.1.0.99".parse().unwrap();
    // The switch learns the stranger from what it says, and hands on what is for it.
    let claim = frame::arp(
        1,
        STRANGER,
        BROADCAST,
        (STRANGER, "10.1.0.99".parse().unwrap()),
        ([0; 6], "10.1.0.11".parse().unwrap()),
    );
    let mut tagged = claim.clone();
    tagged.splice(12..12, [0x81, 0, 0, RED as u8]);
    wire.send(&tagged).unwrap();
    // It is answered by the switch itself, with the tag.
    let answer = wire.seen.wait_for(|seen| seen.head[12..18] == [0x81, 0, 0, RED as u8, 8, 6]);
    assert_eq!(answer.unwrap().head[0..6], STRANGER);
    let out = Udp {
        from_mac: small.mac("r1"),
        to_mac: STRANGER,
        from: small.address("r1", false),
        to: stranger,
        port: 4000,
        ttl: 64,
    };
    Injector::new(small.space("r1"), "eth0").unwrap().send(&out.frame(b"OUTBOUND")).unwrap();
    let seen = wire.seen.wait_for(|seen| holds(&seen.head, b"OUTBOUND")).unwrap();
    assert_eq!(seen.head[12..18], [0x81, 0, 0, RED as u8, 8, 0]);
    // A guest's question for a stranger leaves with the tag too, and only there.
    let question = frame::arp(
        1,
        small.mac("b1"),
        BROADCAST,
        (small.mac("b1"), Ipv4Addr::new(10, 2, 0, 11)),
        ([0; 6], Ipv4Addr::new(10, 2, 0, 99)),
    );
    Injector::new(small.space("b1"), "eth0").unwrap().send(&question).unwrap();
    let asked = |seen: &portcullis_lab::capture::Seen| {
        seen.head[12..18] == [0x81, 0, 0, BLUE as u8, 8, 6] && seen.head[42..46] == [10, 2, 0, 99]
    };
    assert!(wire.seen.wait_for(asked).is_some());
}

#[test]
fn a_stranger_cannot_take_a_guests_address() {
    let Trunk { small, wire, guests } = trunk("pls");
    let before = small.host.status().unwrap();
    // As the source of a datagram, and in ARP.
    let as_r1 = Udp { from: small.address("r1", false), ..to_guest(&small, "t1", "10.3.0.99") };
    wire.send(&as_r1.frame(b"STOLEN")).unwrap();
    let as_b1 = Udp { from: small.address("b1", false), ..to_guest(&small, "r1", "10.1.0.99") };
    wire.send(&as_b1.tagged(RED, b"STOLEN")).unwrap();
    let claim = frame::arp(
        2,
        STRANGER,
        BROADCAST,
        (STRANGER, "10.1.0.11".parse().unwrap()),
        (BROADCAST, "10.1.0.11".parse().unwrap()),
    );
    let mut tagged = claim;
    tagged.splice(12..12, [0x81, 0, 0, RED as u8]);
    wire.send(&tagged).unwrap();
    for guest in &guests {
        assert!(!guest.saw(|seen| holds(&seen.head, b"STOLEN")));
    }
    let after = small.host.status().unwrap();
    for (reason, times) in [("spoofed-address", 2), ("spoofed-neighbour", 1)] {
        let counted = after.drops(reason) - before.drops(reason);
        assert!(counted >= times, "{reason}: {counted}; {:?}", after.reasons());
    }
}
