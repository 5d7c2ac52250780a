//! Guests whose one interface is a trunk, with VLAN interfaces on top of a veth and of a tap.
//! Each network of the trunk is a port by itself, and nothing gets from one to another but by policy.

mod usage;

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
};

use portcullis_lab::{
    Lab, Space,
    capture::{Capture, Injector},
    frame::{BROADCAST, Mac, Udp, holds, parse_mac},
    host::Host,
    process::wait_for,
    server::{Server, UdpEcho},
    stream::Stream,
    sums,
    tap::Pump,
    vlan::Vlan,
    world::{Guest, Nic, attach},
};
use serde_json::Value;

/// `fw` has red untagged, blue and green tagged; `bare` has no untagged network.
const POLICY: &str = "\
networks:
  red:   { vlan: 10, subnets: [10.1.0.0/24, 'fd01::/64'], gateway: true }
  blue:  { vlan: 20, subnets: [10.2.0.0/24, 'fd02::/64'], gateway: true, dns: [10.2.0.53] }
  green: { vlan: 30, subnets: [10.3.0.0/24, 'fd03::/64'], gateway: true }
guests:
  fw:
    network: red
    ip: [10.1.0.2, 'fd01::2']
    trunk:
      - { network: blue, ip: [10.2.0.2, 'fd02::2'] }
      - { network: green, ip: [10.3.0.2, 'fd03::2'] }
    forwards: false
  bare: { trunk: [{ network: blue, ip: [10.2.0.3, 'fd02::3'] }, green], forwards: false }
  r1: { network: red, ip: [10.1.0.11, 'fd01::11'] }
  b1: { network: blue, ip: [10.2.0.11, 'fd02::11'] }
  b2: { network: blue, ip: [10.2.0.12, 'fd02::12'] }
  g1: { network: green, ip: [10.3.0.11, 'fd03::11'] }
rules:
";
const BLUE: u16 = 20;
const GREEN: u16 = 30;

struct Bed {
    vlans: Vec<Vlan>,
    guests: BTreeMap<String, Guest>,
    host: Host,
    lab: Lab,
}

impl Drop for Bed {
    fn drop(&mut self) {
        sums::check_at_end(&self.host);
    }
}

impl Bed {
    /// A host with a policy of these rules, and these guests: `fw` by `nic`, the others by veths.
    fn new(tag: &str, nic: Nic, rules: &[&str], guests: &[&str]) -> Self {
        let lab = Lab::new(tag).unwrap();
        let host = Host::new(&lab, "host").unwrap();
        host.up().unwrap();
        let mut bed = Self { vlans: Vec::new(), guests: BTreeMap::new(), host, lab };
        bed.apply(rules);
        for name in guests {
            let guest = match *name {
                "fw" => trunk(&mut bed, "fw", nic, &[BLUE, GREEN]),
                "bare" => trunk(&mut bed, "bare", nic, &[BLUE, GREEN]),
                name => attach(&bed.lab, &bed.host, name, Nic::Veth).unwrap(),
            };
            bed.guests.insert((*name).to_owned(), guest);
        }
        bed
    }

    fn apply(&self, rules: &[&str]) {
        self.apply_to(POLICY, rules);
    }

    fn apply_to(&self, policy: &str, rules: &[&str]) {
        let rules: String = rules.iter().map(|rule| format!("  - {rule}\n")).collect();
        let file = self.lab.file("policy.yaml", &format!("{policy}{rules}")).unwrap();
        self.host.apply(&file).unwrap();
    }

    fn space(&self, guest: &str) -> &Space {
        &self.guests[guest].space
    }

    fn mac(&self, guest: &str) -> Mac {
        parse_mac(&self.guests[guest].mac).unwrap()
    }

    /// What status says of a port.
    fn port(&self, name: &str) -> Value {
        let status = self.host.status().unwrap();
        status.port(name).unwrap_or_else(|| panic!("no port {name}: {}", status.0["ports"])).clone()
    }

    /// The port of `fw` in a network.
    fn fw(&self, network: &str) -> Value {
        self.port(&format!("{}:{network}", self.guests["fw"].port))
    }

    /// Does a datagram from here get to an echo and back?
    fn reaches(&self, from: &str, to: &str) -> bool {
        let to: IpAddr = to.parse().unwrap();
        let asked = self.space(from).enter(|| {
            let any = if to.is_ipv6() { "[::]:0" } else { "0.0.0.0:0" };
            let socket = std::net::UdpSocket::bind(any).expect("a socket");
            socket.set_read_timeout(Some(std::time::Duration::from_millis(500))).expect("a limit");
            let mut answer = [0; 8];
            Ok((0..4).any(|_| {
                let _ = socket.send_to(b"anybody", (to, 4000));
                socket.recv(&mut answer).is_ok()
            }))
        });
        asked.unwrap()
    }
}

/// Attaches a guest, and configures it as its own administrator would.
fn trunk(bed: &mut Bed, name: &str, nic: Nic, vlans: &[u16]) -> Guest {
    let space = bed.lab.space(name).unwrap();
    let (port, host) = (format!("p-{name}"), &bed.host);
    let netns = space.path().to_string_lossy().into_owned();
    let veth = ["attach", "veth", &port, "--guest", name, "--netns", &netns, "--no-configure"];
    let tap = ["attach", "tap", &port, "--guest", name];
    host.portcullis(if nic == Nic::Tap { &tap } else { &veth }).unwrap();
    let status = host.status().unwrap();
    let own = status.port(&port).unwrap();
    let mac = own["mac"].as_str().unwrap().to_owned();
    let pump =
        (nic == Nic::Tap).then(|| Pump::start(host.space(), &port, &space, "eth0", &mac).unwrap());
    space.ip(&format!("link set eth0 address {mac}")).unwrap();
    space.ip("link set eth0 up").unwrap();
    address(&space, "eth0", own);
    for vlan in vlans {
        let network = if *vlan == BLUE { "blue" } else { "green" };
        bed.vlans.push(Vlan::new(&space, *vlan, &mac).unwrap());
        address(
            &space,
            &format!("eth0.{vlan}"),
            status.port(&format!("{port}:{network}")).unwrap(),
        );
    }
    let (addresses, gateway) = (Vec::new(), Vec::new());
    Guest { space, port, mac, addresses, gateway, pump, monitor: None }
}

/// Gives an interface what status says of its port.
fn address(space: &Space, interface: &str, port: &Value) {
    for address in port["addresses"].as_array().unwrap() {
        let address = address.as_str().unwrap();
        let (length, more) = if address.contains(':') { (64, "nodad") } else { (24, "") };
        space.ip(&format!("addr add {address}/{length} dev {interface} {more}")).unwrap();
    }
}

/// One second of TCP, and how many super-packets the receiver saw.
fn bulk(from: &Space, to: &Space, at: &str, address: &str) -> usize {
    let capture = Capture::start(to, at).unwrap();
    let _server = Server::iperf(to, 5201).unwrap();
    from.sh(&format!("iperf3 -c {address} -t 1")).unwrap();
    capture.frames().iter().filter(|seen| seen.length > 1514).count()
}

fn every_leg_talks(tag: &str, nic: Nic) {
    let rules = [
        "{ name: echo, allow: { from: [red, blue, green], to: [red, blue, green], for: udp/4000 } }",
        "{ name: bulk, allow: { from: [red, blue], to: blue, for: tcp/5201 } }",
    ];
    let bed = Bed::new(tag, nic, &rules, &["fw", "bare", "r1", "b1", "g1"]);
    let _echoes: Vec<UdpEcho> = ["fw", "r1", "b1", "g1"]
        .iter()
        .map(|name| UdpEcho::start(bed.space(name), 4000).unwrap())
        .collect();
    for (from, to) in [
        ("fw", ["10.1.0.11", "fd01::11"]),
        ("fw", ["10.2.0.11", "fd02::11"]),
        ("fw", ["10.3.0.11", "fd03::11"]),
        ("r1", ["10.1.0.2", "fd01::2"]),
        ("b1", ["10.2.0.2", "fd02::2"]),
        ("g1", ["10.3.0.2", "fd03::2"]),
    ] {
        for to in to {
            assert!(bed.reaches(from, to), "{from} to {to}");
        }
    }
    // Offloads are kept in both directions, also with a hop on the way (from r1 by the gateway).
    let (fw, bare, b1) = (bed.space("fw"), bed.space("bare"), bed.space("b1"));
    bare.ip("route replace default via fd02::1 dev eth0.20").unwrap();
    for (from, to, at, address) in [
        (fw, b1, "eth0", "10.2.0.11"),
        (b1, fw, "eth0.20", "10.2.0.2"),
        (bed.space("r1"), bare, "eth0.20", "fd02::3"),
        (fw, b1, "eth0", "fd02::11"),
    ] {
        let large = bulk(from, to, at, address);
        assert!(large > 100, "to {address}: {large} super-packets");
    }
}

#[test]
fn every_leg_of_a_veth_talks() {
    every_leg_talks("plv", Nic::Veth);
}

#[test]
fn every_leg_of_a_tap_talks() {
    every_leg_talks("plt", Nic::Tap);
}

/// A frame with two tags, the outer one first.
fn two_tags(udp: &Udp, outer: [u8; 4], vlan: u16) -> Vec<u8> {
    let mut frame = udp.tagged(vlan, b"ASTRAY");
    frame.splice(12..12, outer);
    frame
}

#[test]
fn no_frame_hops_to_another_network() {
    let all =
        ["{ name: all, allow: { from: [red, blue, green], to: [red, blue, green], for: any } }"];
    for (tag, nic) in [("plh", Nic::Veth), ("pli", Nic::Tap)] {
        let bed = Bed::new(tag, nic, &all, &["fw", "bare", "r1", "b1", "g1"]);
        let seen: Vec<Capture> = ["r1", "b1", "g1"]
            .iter()
            .map(|name| Capture::start(bed.space(name), "eth0").unwrap())
            .collect();
        let to = |from: &str, address: &str, to: &str, target: &str| Udp {
            from_mac: bed.mac(from),
            to_mac: bed.mac(to),
            from: address.parse().unwrap(),
            to: target.parse().unwrap(),
            port: 4000,
            ttl: 64,
        };
        let red = to("fw", "10.1.0.2", "r1", "10.1.0.11");
        let blue = to("fw", "10.2.0.2", "b1", "10.2.0.11");
        let green = to("fw", "10.3.0.2", "g1", "10.3.0.11");
        let loose = to("bare", "10.2.0.3", "b1", "10.2.0.11");
        // What is right passes, without its tag.
        let fw = Injector::new(bed.space("fw"), "eth0").unwrap();
        fw.send(&blue.tagged(BLUE, b"RIGHT")).unwrap();
        let right = seen[1].wait_for(|seen| holds(&seen.head, b"RIGHT")).expect("blue passes");
        assert_eq!(right.head[12..14], [8, 0]);
        let before = bed.host.status().unwrap();
        let astray = [
            ("spoofed-address", blue.frame(b"ASTRAY")),
            ("spoofed-address", blue.tagged(GREEN, b"ASTRAY")),
            ("spoofed-address", green.tagged(BLUE, b"ASTRAY")),
            ("spoofed-address", red.tagged(GREEN, b"ASTRAY")),
            ("unknown-vlan", red.tagged(10, b"ASTRAY")),
            ("unknown-vlan", blue.tagged(99, b"ASTRAY")),
            ("tagged-frame", red.tagged(0, b"ASTRAY")),
            ("double-tag", two_tags(&blue, [0x81, 0, 0, BLUE as u8], GREEN)),
            ("double-tag", two_tags(&green, [0x88, 0xa8, 0, BLUE as u8], GREEN)),
        ];
        for (_, frame) in &astray {
            fw.send(frame).unwrap();
        }
        // Without an untagged network nothing comes without a tag.
        Injector::new(bed.space("bare"), "eth0").unwrap().send(&loose.frame(b"ASTRAY")).unwrap();
        let mut expected: BTreeMap<&str, u64> = BTreeMap::from([("unknown-vlan", 1)]);
        astray.iter().for_each(|(reason, _)| *expected.entry(reason).or_default() += 1);
        for capture in &seen {
            assert!(!capture.saw(|seen| holds(&seen.head, b"ASTRAY")));
        }
        let after = bed.host.status().unwrap();
        for (reason, times) in expected {
            let dropped = after.drops(reason) - before.drops(reason);
            assert!(dropped >= times, "{reason}: {dropped} of {times}; {:?}", after.reasons());
            // Bare guests' own multicasts have no tag; the others are what was sent here.
            assert!(reason == "unknown-vlan" || dropped == times, "{reason}: {dropped}");
        }
    }
}

#[test]
fn legs_meet_only_by_policy() {
    let bed = Bed::new("plm", Nic::Veth, &[], &["fw"]);
    let gateway = {
        let fw = bed.space("fw");
        let _ = fw.sh("ping -c 1 -W 1 10.2.0.1");
        let entry = fw.ip("neigh show 10.2.0.1 dev eth0.20").unwrap();
        let mac = entry.split_whitespace().skip_while(|w| *w != "lladdr").nth(1).unwrap();
        parse_mac(mac).unwrap()
    };
    let hop = Udp {
        from_mac: bed.mac("fw"),
        to_mac: gateway,
        from: "10.2.0.2".parse().unwrap(),
        to: "10.3.0.2".parse().unwrap(),
        port: 4000,
        ttl: 64,
    };
    let (green, fw) =
        (Capture::start(bed.space("fw"), "eth0.30"), Injector::new(bed.space("fw"), "eth0"));
    let (green, fw) = (green.unwrap(), fw.unwrap());
    let dropped = |bed: &Bed| bed.fw("blue")["traffic"]["reasons"]["no-rule"].as_u64().unwrap_or(0);
    let before = dropped(&bed);
    fw.send(&hop.tagged(BLUE, b"ACROSS-1")).unwrap();
    assert!(!green.saw(|seen| holds(&seen.head, b"ACROSS-1")));
    assert_eq!(dropped(&bed), before + 1);
    bed.apply(&["{ name: across, allow: { from: blue, to: green, for: udp/4000 } }"]);
    fw.send(&hop.tagged(BLUE, b"ACROSS-2")).unwrap();
    assert!(green.wait_for(|seen| holds(&seen.head, b"ACROSS-2")).is_some());
    // Back to the leg that it came from is no way, and the other direction has no rule.
    let back = Udp { from: hop.to, to: hop.from, ..hop };
    fw.send(&back.tagged(BLUE, b"ACROSS-3")).unwrap();
    assert!(!green.saw(|seen| holds(&seen.head, b"ACROSS-3")));
    let far = |port: &Value, way: &str| port["traffic"][way]["packets"].as_u64().unwrap();
    assert_eq!(far(&bed.fw("blue"), "in_routed"), 1);
    assert_eq!(far(&bed.fw("green"), "out_routed"), 1);
}

/// A broadcast to everybody in a guest's network.
fn shout(from: Mac, address: &str, network: [u8; 3]) -> Udp {
    let [a, b, c] = network;
    let to = IpAddr::V4(Ipv4Addr::new(a, b, c, 255));
    Udp {
        from_mac: from,
        to_mac: BROADCAST,
        from: address.parse().unwrap(),
        to,
        port: 4000,
        ttl: 1,
    }
}

#[test]
fn a_broadcast_reaches_each_member_once() {
    let rules = ["{ name: hear, allow: { from: blue, to: blue, for: udp/4000 } }"];
    for (tag, nic) in [("plb", Nic::Veth), ("plc", Nic::Tap)] {
        let bed = Bed::new(tag, nic, &rules, &["fw", "bare", "b1", "b2", "g1", "r1"]);
        let places = [
            ("fw", "eth0.20"),
            ("bare", "eth0.20"),
            ("b1", "eth0"),
            ("b2", "eth0"),
            ("fw", "eth0.30"),
            ("bare", "eth0.30"),
            ("g1", "eth0"),
            ("r1", "eth0"),
        ];
        let seen: Vec<Capture> =
            places.iter().map(|(name, at)| Capture::start(bed.space(name), at).unwrap()).collect();
        let heard = |mark: &[u8]| -> Vec<usize> {
            let count = |c: &Capture| c.frames().iter().filter(|s| holds(&s.head, mark)).count();
            seen.iter().map(count).collect()
        };
        let from_b1 = shout(bed.mac("b1"), "10.2.0.11", [10, 2, 0]);
        Injector::new(bed.space("b1"), "eth0").unwrap().send(&from_b1.frame(b"FROM-B1")).unwrap();
        let from_fw = shout(bed.mac("fw"), "10.2.0.2", [10, 2, 0]).tagged(BLUE, b"FROM-FW");
        Injector::new(bed.space("fw"), "eth0").unwrap().send(&from_fw).unwrap();
        for (at, mark) in [(0, &b"FROM-B1"[..]), (1, b"FROM-FW"), (3, b"FROM-FW")] {
            assert!(seen[at].wait_for(|s| holds(&s.head, mark)).is_some(), "{:?}", places[at]);
        }
        assert!(!seen[4].saw(|s| holds(&s.head, b"FROM-")));
        assert_eq!(heard(b"FROM-B1"), [1, 1, 0, 1, 0, 0, 0, 0], "{nic:?}");
        assert_eq!(heard(b"FROM-FW"), [0, 1, 1, 1, 0, 0, 0, 0], "{nic:?}");
    }
}

#[test]
fn a_leg_is_told_its_own_address() {
    let bed = Bed::new("pld", Nic::Veth, &[], &["fw"]);
    let fw = bed.space("fw");
    fw.ip("-4 addr flush dev eth0.20").unwrap();
    let told = bed.lab.dir().join("told");
    let script = format!("#!/bin/sh\n[ \"$1\" = bound ] && env > {}\nexit 0\n", told.display());
    let script = bed.lab.file("told.sh", &script).unwrap();
    fw.sh(&format!("chmod 755 {}", script.display())).unwrap();
    fw.sh(&format!("busybox udhcpc -i eth0.20 -n -q -f -t 3 -T 1 -s {}", script.display()))
        .unwrap();
    let told = std::fs::read_to_string(&told).unwrap();
    for line in ["ip=10.2.0.2", "router=10.2.0.1", "dns=10.2.0.53"] {
        assert!(told.lines().any(|l| l == line), "{line}: {told}");
    }
    assert!(bed.fw("blue")["traffic"]["answered"].as_u64().unwrap() >= 2, "{}", bed.fw("blue"));
    // Its router advertises itself to it, with its prefix.
    let heard = || fw.ip("-6 route show dev eth0.20").is_ok_and(|r| r.contains("default via fe80"));
    fw.sysctl("net/ipv6/conf/eth0.20/accept_ra", "2").unwrap();
    fw.ip("link set eth0.20 down").unwrap();
    fw.ip("link set eth0.20 up").unwrap();
    wait_for("a router on the leg", 15, heard).unwrap();
}

#[test]
fn a_leg_is_counted_by_itself_and_survives_its_daemon() {
    let rules = ["{ name: blue, log: true, allow: { from: blue, to: blue, for: udp/4000 } }"];
    let bed = Bed::new("ple", Nic::Veth, &rules, &["fw", "b1"]);
    let before = bed.fw("blue");
    assert_eq!((&before["guest"], &before["networks"][0]), (&"fw".into(), &"blue".into()));
    let one = Udp {
        from_mac: bed.mac("fw"),
        to_mac: bed.mac("b1"),
        from: "10.2.0.2".parse().unwrap(),
        to: "10.2.0.11".parse().unwrap(),
        port: 4000,
        ttl: 64,
    };
    let seen = Capture::start(bed.space("b1"), "eth0").unwrap();
    let fw = Injector::new(bed.space("fw"), "eth0").unwrap();
    for _ in 0..50 {
        fw.send(&one.tagged(BLUE, b"COUNTED")).unwrap();
    }
    let all = || seen.frames().iter().filter(|seen| holds(&seen.head, b"COUNTED")).count() == 50;
    wait_for("50 frames", 5, all).unwrap();
    let events = bed.host.portcullis(&["events"]).unwrap_or_default();
    assert!(events.contains(&format!("{}:blue", bed.guests["fw"].port)), "{events}");
    let n = |port: &Value, key: &str| port["traffic"][key].as_u64().unwrap();
    let after = bed.fw("blue");
    assert_eq!(n(&after, "forwarded") - n(&before, "forwarded"), 50);
    let usage = bed.host.json(&["usage"]).unwrap().to_string();
    assert!(usage.contains("\"blue\"") && usage.contains("\"fw\""), "{usage}");
    // A new daemon finds the leg where it was, and no packet of its connection is lost.
    let to: IpAddr = "10.2.0.11".parse().unwrap();
    let stream = Stream::start(bed.space("fw"), bed.space("b1"), to, 4000).unwrap();
    bed.host.kill_daemon().unwrap();
    bed.host.up().unwrap();
    bed.apply(&rules);
    let again = bed.fw("blue");
    assert_eq!(again["ifindex"], before["ifindex"], "the leg keeps its number");
    assert!(n(&again, "forwarded") >= n(&after, "forwarded"));
    let report = stream.finish();
    assert!(report.sent > 0 && report.missing.is_empty(), "{report:?}");
}

/// What a leg has carried stays a part of what its interface has carried, for as long as that is
/// there; the end of the test compares it with the kernel's own counters.
#[test]
fn a_network_that_leaves_a_trunk_leaves_its_sums() {
    let rules = ["{ name: blue, allow: { from: blue, to: blue, for: udp/4000 } }"];
    let bed = Bed::new("plw", Nic::Veth, &rules, &["fw", "b1"]);
    let _echo = UdpEcho::start(bed.space("b1"), 4000).unwrap();
    assert!(bed.reaches("fw", "10.2.0.11"));
    let number = bed.fw("blue")["ifindex"].clone();
    let usage = |bed: &Bed| {
        let all = bed.host.json(&["usage"]).unwrap();
        let of = |u: &&Value| u["guest"] == "fw" && u["network"] == "blue";
        let sent = all.as_array().unwrap().iter().find(of).map(|u| &u["sent_packets"]);
        sent.and_then(Value::as_u64).unwrap_or(0)
    };
    let sent = usage(&bed);
    assert!(sent > 0);
    let leg = "      - { network: blue, ip: [10.2.0.2, 'fd02::2'] }\n";
    bed.apply_to(&POLICY.replace(leg, ""), &rules);
    let interface = || bed.port(&bed.guests["fw"].port);
    assert!(!bed.reaches("fw", "10.2.0.11"));
    assert!(bed.host.status().unwrap().port(&format!("{}:blue", interface()["name"])).is_none());
    let past = interface()["past"]["in_packets"].as_u64().unwrap();
    assert!(past >= sent, "{past} of {sent}");
    assert!(usage(&bed) >= sent, "noted before it left");
    // A new daemon knows it, too.
    bed.host.kill_daemon().unwrap();
    bed.host.up().unwrap();
    assert_eq!(interface()["past"]["in_packets"], past);
    // When it comes back it gets the place that it had.
    bed.apply(&rules);
    assert_eq!(bed.fw("blue")["ifindex"], number);
    assert_eq!(interface()["past"], Value::Null);
    assert!(bed.reaches("fw", "10.2.0.11"));
    assert!(bed.fw("blue")["traffic"]["in_packets"].as_u64().unwrap() > past);
}

/// The switch makes a container's VLAN interfaces itself where the kernel can; where it cannot, it
/// says what is missing and leaves nothing half made.
#[test]
fn a_container_gets_its_vlan_interfaces() {
    let mut bed = Bed::new("plz", Nic::Veth, &[], &[]);
    let space = bed.lab.space("fw").unwrap();
    let netns = space.path().to_string_lossy().into_owned();
    let attach = ["attach", "veth", "v-fw", "--guest", "fw", "--netns", &netns];
    let can = space.ip("link add name probe type dummy").is_ok()
        && space.ip("link add link probe name probe.7 type vlan id 7").is_ok();
    let output = bed.host.run(&attach).unwrap();
    if can {
        output.success().unwrap();
        let blue = space.ip("addr show dev eth0.20").unwrap();
        assert!(blue.contains("10.2.0.2/24") && blue.contains("fd02::2/64"), "{blue}");
        space.sh("ping -c 1 -W 2 -I eth0.20 10.2.0.1").unwrap();
    } else {
        let text = output.failure().to_string();
        assert!(text.contains("modprobe 8021q"), "{text}");
        assert!(bed.host.status().unwrap().port("v-fw").is_none());
        assert!(!space.interfaces().unwrap().contains(&"eth0".to_owned()));
        // Without their help it is attached all the same.
        let guest = trunk(&mut bed, "bare", Nic::Veth, &[]);
        bed.guests.insert("bare".to_owned(), guest);
    }
}
