//! Closed by default: no port passes what it must not, from its first instant on, and while the
//! daemon dies and comes back; and nothing allowed is lost by that.

use std::time::Duration;

use portcullis_lab::{
    capture::Capture,
    frame::{Udp, holds},
    hammer::Hammer,
    patience::rounds,
    process::wait_for,
    small::Small,
    stream::Stream,
    world::Nic,
};

/// Times that a port is made, and that the daemon is killed.
const ROUNDS: usize = 100;

const RULES: &[&str] = &[
    "{ name: stream, allow: { from: r1, to: r2, for: udp/9000 } }",
    "{ name: mark, allow: { from: r3, to: r2, for: udp/9002 } }",
];

/// Words that nothing else sends.
const FORBIDDEN: &[u8] = b"FORBIDDEN-FRAME";
const ALLOWED: &[u8] = b"ALLOWED-FRAME";

/// What r3 must never get through: what no rule allows it, and what only r1 may send.
fn forbidden(small: &Small, mac: [u8; 6], from: &str, to: &str, v6: bool) -> Vec<Vec<u8>> {
    let honest = Udp {
        from_mac: mac,
        to_mac: small.mac(to),
        from: if v6 { "fd01::13" } else { "10.1.0.13" }.parse().unwrap(),
        to: small.address(to, v6),
        port: 9001,
        ttl: 64,
    };
    let as_other = Udp { from: small.address(from, v6), port: 9000, ..honest };
    let wholly = Udp { from_mac: small.mac(from), ..as_other };
    [honest, as_other, wholly].iter().map(|udp| udp.frame(FORBIDDEN)).collect()
}

fn allowed(small: &Small, mac: [u8; 6]) -> Vec<u8> {
    let udp = Udp {
        from_mac: mac,
        to_mac: small.mac("r2"),
        from: "10.1.0.13".parse().unwrap(),
        to: small.address("r2", false),
        port: 9002,
        ttl: 64,
    };
    udp.frame(ALLOWED)
}

/// The MAC of a guest whose port does not exist yet.
fn mac_of(small: &Small, guest: &str) -> String {
    let status = small.host.status().unwrap();
    let guests = status.0["guests"].as_array().unwrap();
    let nic = guests.iter().find(|nic| nic["guest"] == guest).unwrap();
    nic["mac"].as_str().unwrap().to_owned()
}

fn count(capture: &Capture, mark: &[u8]) -> usize {
    capture.frames().iter().filter(|seen| holds(&seen.head, mark)).count()
}

#[test]
fn a_port_passes_nothing_forbidden_from_its_first_instant() {
    let guests = [("r1", Nic::Veth), ("r2", Nic::Veth)];
    let small = Small::with("plo", RULES, &guests).unwrap();
    let r3 = small.lab.space("r3").unwrap();
    let mac = mac_of(&small, "r3");
    let bytes = portcullis_lab::frame::parse_mac(&mac).unwrap();
    let mut frames = forbidden(&small, bytes, "r1", "r2", false);
    frames.extend(forbidden(&small, bytes, "r1", "r2", true));
    frames.push(allowed(&small, bytes));
    let capture = Capture::start(small.space("r2"), "eth0").unwrap();
    let (mut sent, mut passed) = (0, 0);
    let rounds = rounds(ROUNDS);
    for round in 0..rounds {
        // Every third port is a tap, opened as soon as it can be seen.
        let tap = round % 3 == 0;
        let port = format!("{}{round}", if tap { "t" } else { "v" });
        let hammer = if tap {
            Hammer::on_tap(small.host.space(), &port, frames.clone())
        } else {
            Hammer::on_nic(&r3, "eth0", frames.clone())
        };
        wait_for("the hammer", 5, || hammer.tried() > 3).unwrap();
        let path = r3.path();
        let path = path.to_string_lossy();
        let attach: &[&str] = if tap {
            &["attach", "tap", &port, "--guest", "r3"]
        } else {
            &["attach", "veth", &port, "--guest", "r3", "--netns", &path]
        };
        small.host.portcullis(attach).unwrap();
        // The hammer is no dummy: what r3 may send arrives once the port is open.
        wait_for("an allowed frame", 5, || count(&capture, ALLOWED) > passed).unwrap();
        sent += hammer.sent();
        drop(hammer);
        small.host.portcullis(&["detach", &port]).unwrap();
        passed = count(&capture, ALLOWED);
    }
    std::thread::sleep(Duration::from_millis(300));
    println!("{rounds} ports, {sent} frames sent, {passed} allowed ones delivered");
    assert_eq!(count(&capture, FORBIDDEN), 0);
    assert!(sent > 1000, "only {sent} frames were sent");
}

#[test]
fn nothing_passes_before_a_policy_names_the_guest() {
    let mut small = Small::new("pln").unwrap();
    let r1 = small.lab.space("early").unwrap();
    let path = r1.path();
    let attach = ["attach", "veth", "early", "--guest", "r1", "--netns", &path.to_string_lossy()];
    // With no policy at all the port exists, closed, and status says why.
    small.host.portcullis(&attach).unwrap();
    let status = small.host.status().unwrap();
    assert!(!status.is_open("early"), "{}", status.0);
    let why = status.port("early").unwrap()["closed"].as_str().unwrap().to_owned();
    assert!(why.contains("no policy"), "{why}");
    small.host.portcullis(&["detach", "early"]).unwrap();

    small.apply(RULES).unwrap();
    small.attach("r1", Nic::Veth).unwrap();
    assert!(small.host.status().unwrap().is_open("v-r1"));
}

#[test]
fn a_killed_daemon_opens_nothing_and_loses_nothing() {
    let guests = [("r1", Nic::Veth), ("r2", Nic::Veth), ("r3", Nic::Veth)];
    let small = Small::with("plk", RULES, &guests).unwrap();
    let mac = small.mac("r3");
    let mut frames = forbidden(&small, mac, "r1", "r2", false);
    frames.extend(forbidden(&small, mac, "r1", "r2", true));
    let capture = Capture::start(small.space("r2"), "eth0").unwrap();
    let to = small.address("r2", false);
    let stream = Stream::start(small.space("r1"), small.space("r2"), to, 9000).unwrap();
    let hammer = Hammer::on_nic(small.space("r3"), "eth0", frames);
    wait_for("traffic", 5, || stream.sent() > 50 && hammer.sent() > 50).unwrap();
    let rounds = rounds(ROUNDS);
    for _ in 0..rounds {
        small.host.kill_daemon().unwrap();
        small.host.up().unwrap();
    }
    let attacks = hammer.sent();
    drop(hammer);
    let report = stream.finish();
    println!("{rounds} restarts, {attacks} attacks, {} datagrams sent", report.sent);
    assert_eq!(count(&capture, FORBIDDEN), 0);
    assert!(report.missing.is_empty(), "lost {:?} of {}", report.missing, report.sent);
    assert_eq!(report.refused, 0);
    assert!(report.sent > 1000 && attacks > 1000);
    // And the daemon that came back is whole: it knows its ports and its policy.
    let status = small.host.status().unwrap();
    assert!(["v-r1", "v-r2", "v-r3"].iter().all(|port| status.is_open(port)), "{}", status.0);
}
