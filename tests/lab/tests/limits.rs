//! What a guest may take: who floods or scans hits its own limit, and its neighbours do not
//! notice.

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use portcullis_lab::{
    Space,
    capture::Injector,
    frame::{self, BROADCAST, Udp},
    hammer::Hammer,
    host::Status,
    process::wait_for,
    server::Server,
    small::{Small, policy},
    tap::Wire,
    world::Nic,
};

const RULES: &[&str] = &["{ name: all, allow: { from: [red, blue], to: [red, blue], for: any } }"];

/// How often rates are measured until they are as high as they should be: how fast a machine is,
/// and what else it does, is not what is tested.
const TRIES: usize = 5;

/// Of one guest's port.
fn connections(status: &Status, port: &str, key: &str) -> u64 {
    status.port(port).and_then(|p| p["connections"][key].as_u64()).unwrap_or(0)
}

fn dropped(status: &Status, port: &str, reason: &str) -> u64 {
    status.port(port).and_then(|p| p["traffic"]["reasons"][reason].as_u64()).unwrap_or(0)
}

#[test]
fn a_guest_hits_its_own_limits() {
    let limits = "{ flows: 300, half-open: 50, new: 20000/s, broadcast: 20/s, neighbours: 20/s }";
    let guests = [("r1", Nic::Veth), ("r2", Nic::Veth), ("r3", Nic::Veth)];
    let small = Small::with_limits("pll", RULES, &[("r1", limits)], &guests).unwrap();
    let flooder = Injector::new(small.space("r1"), "eth0").unwrap();
    let to = |port| small.datagram("r1", "r2", false, port);
    let arp = {
        let (own, me) = (small.mac("r1"), "10.1.0.11".parse().unwrap());
        frame::arp(1, own, BROADCAST, (own, me), (BROADCAST, "10.1.0.12".parse().unwrap()))
    };
    let begun = Instant::now();
    for port in 1000..1200 {
        flooder.send(&to(port).syn()).unwrap();
        flooder.send(&arp).unwrap();
    }
    for port in 2000..2500 {
        flooder.send(&to(port).frame(b"FLOOD")).unwrap();
    }
    let mut everybody = to(9);
    (everybody.to_mac, everybody.to) = (BROADCAST, "255.255.255.255".parse().unwrap());
    for _ in 0..200 {
        flooder.send(&everybody.frame(b"HELLO ALL")).unwrap();
    }
    let status = small.host.status().unwrap();
    let took = begun.elapsed().as_secs_f64();
    let port = &small.guest("r1").port;
    let reasons = ["limit-half-open", "limit-flows", "limit-broadcast", "limit-neighbour"];
    let [half_open, flows, broadcast, neighbour] = reasons.map(|r| dropped(&status, port, r));
    // A few of its own stack's frames count too, and rates go on while the flood lasts: of 200, one
    // second's worth at once, and what is due in the time it took.
    let too_many = (200.0 - 20.0 * (1.0 + took)).max(1.0) as u64..=200;
    assert!((150..=152).contains(&half_open), "{half_open}");
    assert!((250..=260).contains(&flows), "{flows}");
    assert!(too_many.contains(&broadcast), "{broadcast}");
    assert!(too_many.contains(&neighbour), "{neighbour}");
    assert_eq!(connections(&status, port, "flows"), 300);
    assert_eq!(connections(&status, port, "half_open"), 50);
    assert_eq!(connections(&status, port, "flows_max"), 300);
    // Nobody else notices.
    let other = small.space("r3");
    other.sh("ping -c 2 -i 0.2 -W 2 10.1.0.12").unwrap();
    let other = &small.guest("r3").port;
    for reason in reasons {
        assert_eq!(dropped(&status, other, reason), 0, "{reason}");
    }
}

/// A flood from a stranger behind an uplink, or from the host itself, hits the limits of that port,
/// by the same reasons as a guest's.
fn a_flood_from_elsewhere(small: &Small, port: &str, from: Udp, send: impl Fn(&[u8])) {
    let before = small.host.status().unwrap();
    let begun = Instant::now();
    for number in 1000..1200 {
        send(&Udp { port: number, ..from }.syn());
        send(&Udp { port: number, ..from }.frame(b"FLOOD"));
    }
    let everybody = Udp { to_mac: BROADCAST, to: "255.255.255.255".parse().unwrap(), ..from };
    for _ in 0..200 {
        send(&everybody.frame(b"HELLO ALL"));
    }
    let status = small.host.status().unwrap();
    let took = begun.elapsed().as_secs_f64();
    let more = |reason| dropped(&status, port, reason) - dropped(&before, port, reason);
    let [half_open, flows, broadcast] =
        ["limit-half-open", "limit-flows", "limit-broadcast"].map(more);
    println!("{port}: {half_open} half open, {flows} flows, {broadcast} broadcasts in {took:.1} s");
    // Fifty are let in with as many datagrams, fifty are refused, and then there is no room at all.
    assert!((45..=55).contains(&half_open), "{half_open}");
    assert!((190..=210).contains(&flows), "{flows}");
    let too_many = (200.0 - 20.0 * (1.0 + took)).max(1.0) as u64..=200;
    assert!(too_many.contains(&broadcast), "{broadcast}");
    assert_eq!(connections(&status, port, "flows_max"), 150);
    assert!(connections(&status, port, "flows") <= 150);
    assert_eq!(connections(&status, port, "half_open_max"), 50);
}

#[test]
fn an_uplink_and_the_host_hit_theirs() {
    let limits = "{ flows: 150, half-open: 50, new: 20000/s, broadcast: 20/s, neighbours: 20/s }";
    let rules = ["{ name: all, allow: { from: any, to: red, for: any } }"];
    let guests = [("r1", Nic::Veth), ("r2", Nic::Veth)];
    let elsewhere = [("red uplink", limits), ("red host", limits)];
    let small = Small::with_limits("plu", &rules, &elsewhere, &guests).unwrap();
    let wire = Wire::new(small.host.space(), "up0").unwrap();
    small.host.portcullis(&["attach", "uplink", "up0", "--untagged", "red"]).unwrap();
    let stranger = Udp {
        from_mac: [2, 0, 0, 0, 0, 0x99],
        from: "10.1.0.99".parse().unwrap(),
        ..small.datagram("r2", "r1", false, 0)
    };
    a_flood_from_elsewhere(&small, "up0", stranger, |frame| wire.send(frame).unwrap());
    let gateway = Udp {
        from_mac: small.gateway_mac("r1").unwrap(),
        from: "10.1.0.1".parse().unwrap(),
        ..stranger
    };
    let leg = Injector::new(small.host.space(), "pc-red").unwrap();
    a_flood_from_elsewhere(&small, "pcs-red", gateway, |frame| leg.send(frame).unwrap());
    // Guests go on among themselves.
    small.space("r2").sh("ping -c 2 -i 0.2 -W 2 10.1.0.11").unwrap();
}

/// Each limit of a port is told of by its reason, and those that packet after packet hits once a second.
#[test]
fn who_hits_a_limit_is_told_of() {
    let mut small = Small::new("ple").unwrap();
    let policy = format!("log-denied: 100/s\n{}", policy(RULES));
    let limits = "{ flows: 20, broadcast: 10/s, neighbours: 10/s, out: 1Mbit/s }";
    let policy = policy.replace("  r1: { ", &format!("  r1: {{ limits: {limits}, "));
    small.host.apply(&small.lab.file("policy.yaml", &policy).unwrap()).unwrap();
    for name in ["r1", "r2"] {
        small.attach(name, Nic::Veth).unwrap();
    }
    let begun = Instant::now();
    let flooder = Injector::new(small.space("r1"), "eth0").unwrap();
    let flood = |frame: &[u8]| (0..100).for_each(|_| flooder.send(frame).unwrap());
    for port in 2000..2050 {
        flooder.send(&small.datagram("r1", "r2", false, port).frame(b"FLOOD")).unwrap();
    }
    let to = small.datagram("r1", "r2", false, 9);
    let everybody =
        Udp { to_mac: BROADCAST, to: "255.255.255.255".parse().unwrap(), ..to }.frame(b"HELLO");
    let (me, other) = ("10.1.0.11".parse().unwrap(), "10.1.0.12".parse().unwrap());
    let arp = frame::arp(1, to.from_mac, BROADCAST, (to.from_mac, me), (BROADCAST, other));
    let large = small.datagram("r1", "r2", false, 2000).frame(&[b'L'; 1400]);
    [&everybody, &arp, &large].into_iter().for_each(|frame| flood(frame));
    let told = |reason: &str| -> Vec<String> {
        let all = small.host.portcullis(&["events"]).unwrap_or_default();
        all.lines().filter(|line| line.contains(reason)).map(str::to_owned).collect()
    };
    let port = &small.guest("r1").port;
    let status = || small.host.status().unwrap();
    for (reason, wanted) in [
        ("limit-flows", ["r1 ", "r2 ", ":20", port]),
        ("limit-broadcast", ["r1 ", "255.255.255.255:9", "udp", port]),
        ("limit-neighbour", ["r1 10.1.0.11", "r2 10.1.0.12", "arp", port]),
        ("limit-bandwidth", ["r1 ", "r2 10.1.0.12:2000", "udp", port]),
    ] {
        wait_for("an event", 20, || !told(reason).is_empty()).unwrap();
        let lines = told(reason);
        for part in wanted {
            assert!(lines[0].contains(part), "{part}: {}", lines[0]);
        }
        let dropped = dropped(&status(), port, reason);
        assert!(dropped as usize >= lines.len(), "{reason}: {dropped}, told {}", lines.len());
        if reason != "limit-flows" {
            let seconds = 2 + begun.elapsed().as_secs() as usize;
            assert!(lines.len() <= seconds, "{reason}: {} events in {seconds} s", lines.len());
        }
    }
}

#[test]
fn a_scan_is_slowed_down() {
    let guests = [("r1", Nic::Veth), ("r2", Nic::Veth)];
    let limits = [("r1", "{ new: 100/s }")];
    let small = Small::with_limits("plq", RULES, &limits, &guests).unwrap();
    let scanner = Injector::new(small.space("r1"), "eth0").unwrap();
    let begun = Instant::now();
    for port in 1..=1000 {
        scanner.send(&small.datagram("r1", "r2", false, port).syn()).unwrap();
    }
    let status = small.host.status().unwrap();
    let took = begun.elapsed().as_secs_f64();
    let port = &small.guest("r1").port;
    let refused = dropped(&status, port, "limit-new");
    // One second's worth at once, and what the scan itself took.
    let let_in = 100.0 * (1.0 + took);
    assert!(refused <= 900 && refused as f64 >= 1000.0 - let_in - 1.0, "{refused} in {took:.1} s");
}

/// Mbit/s of TCP that arrive at the server, over `seconds`, after the start of it.
fn rate(from: &Space, to: &str, port: u16, seconds: u32) -> f64 {
    let line = format!("iperf3 -J -c {to} -p {port} -t {seconds} -O 1");
    let said: serde_json::Value = serde_json::from_str(&from.sh(&line).unwrap()).unwrap();
    said["end"]["sum_received"]["bits_per_second"].as_f64().unwrap() / 1e6
}

#[test]
fn bandwidth_is_what_was_said_and_the_neighbour_has_its_own() {
    let guests = [("r1", Nic::Veth), ("r2", Nic::Veth), ("r3", Nic::Veth), ("b1", Nic::Veth)];
    let limits = [("r1", "{ out: 50Mbit/s, in: 20Mbit/s }"), ("r3", "{ out: 200Mbit/s }")];
    let small = Small::with_limits("plb", RULES, &limits, &guests).unwrap();
    let _sinks = [
        Server::iperf(small.space("r2"), 5201),
        Server::iperf(small.space("r1"), 5202),
        Server::iperf(small.space("b1"), 5203),
    ];
    let address = |name: &str| small.address(name, false).to_string();
    // In both directions, and the neighbour at the same time, through the gateway. More than was
    // said is always wrong; less may be TCP's own doing, or that of somebody else's work here.
    let full = (0..TRIES).any(|_| {
        let (out, neighbour) = std::thread::scope(|scope| {
            let other = scope.spawn(|| rate(small.space("r3"), &address("b1"), 5203, 3));
            (rate(small.space("r1"), &address("r2"), 5201, 3), other.join().unwrap())
        });
        let received = rate(small.space("r2"), &address("r1"), 5202, 3);
        println!("out {out:.1} of 50, in {received:.1} of 20, the neighbour {neighbour:.1} of 200");
        let rates = [(out, 50.0), (received, 20.0), (neighbour, 200.0)];
        for (got, said) in rates {
            // What is counted are frames, what iperf3 shows is payload.
            assert!(got < 1.1 * said, "{got:.1} of {said} Mbit/s");
        }
        rates.iter().all(|(got, said)| *got > 0.9 * said)
    });
    assert!(full, "never nine tenths of each");
    let status = small.host.status().unwrap();
    assert!(dropped(&status, &small.guest("r1").port, "limit-bandwidth") > 0);
    assert!(dropped(&status, &small.guest("r2").port, "limit-bandwidth") > 0);
}

/// The flood takes processor time like any other work, so the victim's stream has a rate that
/// leaves enough of it: what is measured is what the switch takes away, not who computes more.
#[test]
fn a_flood_takes_nothing_from_a_neighbour() {
    let guests = [("r1", Nic::Veth), ("r2", Nic::Veth), ("r3", Nic::Veth), ("b1", Nic::Veth)];
    let limits =
        [("r1", "{ flows: 500, half-open: 100, new: 1000/s }"), ("r3", "{ out: 200Mbit/s }")];
    let small = Small::with_limits("plo", RULES, &limits, &guests).unwrap();
    let _sink = Server::iperf(small.space("b1"), 5203);
    let to = small.address("b1", false).to_string();
    let stream = || rate(small.space("r3"), &to, 5203, 2);
    let scan = (1..=2000).map(|port| small.datagram("r1", "r2", false, port));
    let frames: Vec<_> = scan.flat_map(|to| [to.syn(), to.frame(b"FLOOD")]).collect();
    let mut sent = 0;
    // Somebody else's work on this machine may slow one of the two streams down.
    let keeps = (0..TRIES).any(|_| {
        let alone = stream();
        let flood = Hammer::on_nic(small.space("r1"), "eth0", frames.clone());
        sleep(Duration::from_millis(200));
        let beside = stream();
        sent += flood.sent();
        println!("{alone:.1} Mbit/s alone, {beside:.1} beside a flood of {sent} packets");
        beside > 0.9 * alone
    });
    assert!(keeps, "never nine tenths");
    let status = small.host.status().unwrap();
    let port = &small.guest("r1").port;
    assert!(dropped(&status, port, "limit-new") > sent / 2, "{sent}");
    assert!(connections(&status, port, "flows") <= 500);
    assert!(status.0["flows"]["used"].as_u64().unwrap() < 600);
}
