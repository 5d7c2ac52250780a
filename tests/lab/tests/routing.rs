//! The gateway: time to live, errors from the right source, packet sizes, and the outside by way
//! of the host's own stack.

use std::{net::IpAddr, process::Command};

use portcullis_lab::{
    Space,
    capture::{Capture, Injector},
    frame::{Udp, holds},
    probe::Probe,
    server::Server,
    small::Small,
    world::Nic,
};

const RULES: &[&str] = &[
    "{ name: across, allow: { from: r1, to: [b1, t1], for: any } }",
    "{ name: out, allow: { from: r1, to: world, for: [ping, http] } }",
    "{ name: in, allow: { from: world, to: r1, for: http } }",
];
const GUESTS: &[(&str, Nic)] =
    &[("r1", Nic::Veth), ("r2", Nic::Veth), ("b1", Nic::Tap), ("t1", Nic::Veth)];

/// A datagram from r1 to b1 by way of the gateway.
fn across(small: &Small, v6: bool, ttl: u8) -> Udp {
    let to_mac = small.gateway_mac("r1").unwrap();
    Udp { to_mac, ttl, ..small.datagram("r1", "b1", v6, 4000) }
}

#[test]
fn a_routed_packet_loses_one_hop() {
    let small = Small::with("plh", RULES, GUESTS).unwrap();
    let capture = Capture::start(small.space("b1"), "eth0").unwrap();
    let sender = Injector::new(small.space("r1"), "eth0").unwrap();
    for (v6, at) in [(false, 22), (true, 21)] {
        let mark = if v6 { b"ROUTED-6" } else { b"ROUTED-4" };
        sender.send(&across(&small, v6, 64).frame(mark)).unwrap();
        let seen = capture.wait_for(|seen| holds(&seen.head, mark)).unwrap();
        assert_eq!(seen.head[at], 63);
        assert_eq!(seen.head[0..6], small.mac("b1"));
    }
}

#[test]
fn the_last_hop_is_told_from_the_gateways_address() {
    let small = Small::with("plt", RULES, GUESTS).unwrap();
    let capture = Capture::start(small.space("r1"), "eth0").unwrap();
    let sender = Injector::new(small.space("r1"), "eth0").unwrap();
    for (v6, source) in [(false, "10.1.0.1"), (true, "fd01::1")] {
        sender.send(&across(&small, v6, 1).frame(b"TOO-FAR")).unwrap();
        let source: IpAddr = source.parse().unwrap();
        let error = capture.wait_for(|seen| is_error(&seen.head, source, if v6 { 3 } else { 11 }));
        assert!(error.is_some(), "no time exceeded from {source}");
    }
    let reasons = small.host.status().unwrap();
    assert!(reasons.drops("time-to-live") >= 2, "{:?}", reasons.reasons());
}

/// An ICMP or ICMPv6 error of this type from this address.
fn is_error(head: &[u8], source: IpAddr, kind: u8) -> bool {
    match source {
        IpAddr::V4(v4) => {
            head.len() > 34
                && head[12..14] == [8, 0]
                && head[23] == 1
                && head[26..30] == v4.octets()
                && head[34] == kind
        }
        IpAddr::V6(v6) => {
            head.len() > 54
                && head[12..14] == [0x86, 0xdd]
                && head[20] == 58
                && head[22..38] == v6.octets()
                && head[54] == kind
        }
    }
}

#[test]
fn traceroute_sees_the_gateway() {
    let small = Small::with("plu", RULES, GUESTS).unwrap();
    // One echo that must end at the first hop.
    let to = small.address("b1", false);
    let mut ping = Command::new("ping");
    ping.args(["-n", "-c", "1", "-W", "2", "-t", "1", &to.to_string()]);
    let output = small.space("r1").run(ping, 10).unwrap();
    assert!(output.stdout.contains("From 10.1.0.1"), "{}", output.stdout);
}

#[test]
fn a_packet_too_big_for_the_next_network_is_told_so() {
    let small = Small::with("plm", RULES, GUESTS).unwrap();
    for (to, size) in [("10.3.0.11", "1350"), ("fd03::11", "1350")] {
        let mut ping = Command::new("ping");
        ping.args(["-n", "-c", "2", "-W", "2", "-M", "do", "-s", size, to]);
        let output = small.space("r1").run(ping, 10).unwrap();
        let said = output.stdout.clone() + &output.stderr;
        assert!(said.contains("mtu") && said.contains("1300"), "{to}: {said}");
    }
    // TCP that listens to that gets through.
    let _server = Server::http(&small.lab, small.space("t1"), 80).unwrap();
    for v6 in [false, true] {
        assert!(Probe::Http.reaches(small.space("r1"), small.address("t1", v6)).unwrap());
    }
}

/// A network that the host reaches by an ordinary interface of its own, not through the switch.
fn beyond(small: &Small) -> Space {
    let beyond = small.lab.space("beyond").unwrap();
    let host = small.host.space();
    host.ip(&format!("link add out0 type veth peer name eth0 netns {}", beyond.name())).unwrap();
    for (space, name, v4, v6) in
        [(host, "out0", "198.51.100.1", "fd99::1"), (&beyond, "eth0", "198.51.100.9", "fd99::9")]
    {
        space.ip(&format!("addr add {v4}/24 dev {name}")).unwrap();
        space.ip(&format!("addr add {v6}/64 dev {name} nodad")).unwrap();
        space.ip(&format!("link set {name} up")).unwrap();
    }
    beyond.ip("route add default via 198.51.100.1").unwrap();
    beyond.ip("route add default via fd99::1").unwrap();
    beyond
}

#[test]
fn the_outside_is_reached_through_the_hosts_stack() {
    let small = Small::with("plw", RULES, GUESTS).unwrap();
    let beyond = beyond(&small);
    let _servers = (
        Server::http(&small.lab, &beyond, 80).unwrap(),
        Server::http(&small.lab, small.space("r1"), 80).unwrap(),
        Server::http(&small.lab, small.space("r2"), 80).unwrap(),
    );
    for (outside, v6) in [("198.51.100.9", false), ("fd99::9", true)] {
        let outside: IpAddr = outside.parse().unwrap();
        let reaches = |probe: Probe, from: &str| probe.reaches(small.space(from), outside).unwrap();
        assert!(reaches(Probe::Ping, "r1"), "ping {outside}");
        assert!(reaches(Probe::Http, "r1"), "http {outside}");
        assert!(!reaches(Probe::Ping, "r2"), "no rule lets r2 ping {outside}");
        assert!(!reaches(Probe::Http, "r2"), "no rule lets r2 fetch from {outside}");
        assert!(Probe::Http.reaches(&beyond, small.address("r1", v6)).unwrap());
        assert!(!Probe::Ping.reaches(&beyond, small.address("r1", v6)).unwrap());
        assert!(!Probe::Http.reaches(&beyond, small.address("r2", v6)).unwrap());
    }
}
