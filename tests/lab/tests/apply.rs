//! A new policy re-judges what runs: what is no longer allowed passes nothing more once `apply`
//! has returned, what still is loses no packet.

use std::time::Duration;

use portcullis_lab::{
    capture::Capture,
    frame::holds,
    process::wait_for,
    small::{Small, policy},
    stream::Stream,
    world::Nic,
};

const KEPT: &str = "{ name: kept, allow: { from: r1, to: r2, for: udp/9000 } }";
const REVOKED: &str = "{ name: revoked, allow: { from: r1, to: r2, for: udp/9001 } }";
const GUESTS: &[(&str, Nic)] = &[("r1", Nic::Veth), ("r2", Nic::Tap), ("b1", Nic::Veth)];

#[test]
fn revocation_cuts_one_stream_and_spares_the_other() {
    let small = Small::with("plv", &[KEPT, REVOKED], GUESTS).unwrap();
    let (from, at) = (small.space("r1"), small.space("r2"));
    let to = small.address("r2", false);
    let kept = Stream::start(from, at, to, 9000).unwrap();
    let revoked = Stream::start(from, at, to, 9001).unwrap();
    wait_for("traffic", 5, || kept.sent() > 200 && revoked.sent() > 200).unwrap();
    small.apply(&[KEPT]).unwrap();
    // From here on: nothing. (The pump of the tap may still hold what passed before.)
    std::thread::sleep(Duration::from_millis(50));
    let capture = Capture::start(at, "eth0").unwrap();
    std::thread::sleep(Duration::from_millis(500));
    let port = 9001u16.to_be_bytes();
    let passed = capture.frames().iter().filter(|seen| seen.head[36..38] == port).count();
    let alive = capture.frames().iter().any(|seen| seen.head[36..38] == 9000u16.to_be_bytes());
    assert!(alive, "the capture saw nothing at all");
    assert_eq!(passed, 0);
    let (kept, revoked) = (kept.finish(), revoked.finish());
    assert!(kept.missing.is_empty(), "lost {:?} of {}", kept.missing, kept.sent);
    assert!(revoked.received > 100 && revoked.received < revoked.sent, "{}", revoked.received);
}

#[test]
fn no_allowed_packet_is_lost_by_forty_changes() {
    let small = Small::with("plg", &[KEPT], GUESTS).unwrap();
    let to = small.address("r2", true);
    let stream = Stream::start(small.space("r1"), small.space("r2"), to, 9000).unwrap();
    for round in 0..40 {
        let other = format!("{{ name: other{round}, allow: {{ from: b1, to: r2, for: tcp/80 }} }}");
        let rules: &[&str] = if round % 2 == 0 { &[KEPT, &other] } else { &[&other, KEPT] };
        small.apply(rules).unwrap();
    }
    let report = stream.finish();
    assert!(report.missing.is_empty(), "lost {:?} of {}", report.missing, report.sent);
    assert!(small.host.status().unwrap().0["generation"].as_u64().unwrap() >= 41);
}

#[test]
fn a_bad_policy_changes_nothing() {
    let small = Small::with("ply", &[KEPT], GUESTS).unwrap();
    let before = small.host.status().unwrap();
    let text = policy(&[KEPT]).replace("vlan: 20", "vlan: 10").replace("allow:", "alow:");
    let file = small.lab.file("bad.yaml", &text).unwrap();
    let output = small.host.run(&["apply", &file.to_string_lossy()]).unwrap();
    assert_eq!(output.code(), 2, "{}{}", output.stdout, output.stderr);
    let said = output.stdout + &output.stderr;
    // Both mistakes at once, each with its place and with help.
    assert!(said.contains("bad.yaml:3:") && said.contains("alow"), "{said}");
    assert!(said.contains("allow"), "{said}");
    assert_eq!(small.host.status().unwrap().0["generation"], before.0["generation"]);
    let to = small.address("r2", false);
    let stream = Stream::start(small.space("r1"), small.space("r2"), to, 9000).unwrap();
    wait_for("traffic", 5, || stream.sent() > 50).unwrap();
    assert!(stream.finish().missing.is_empty());
}

#[test]
fn a_marked_frame_needs_its_rule() {
    let small = Small::with("plz", &[], GUESTS).unwrap();
    let capture = Capture::start(small.space("r2"), "eth0").unwrap();
    let sender = portcullis_lab::capture::Injector::new(small.space("r1"), "eth0").unwrap();
    let frame = small.datagram("r1", "r2", false, 9000).frame(b"MARKED");
    sender.send(&frame).unwrap();
    assert!(!capture.saw(|seen| holds(&seen.head, b"MARKED")));
    small.apply(&[KEPT]).unwrap();
    sender.send(&frame).unwrap();
    assert!(capture.wait_for(|seen| holds(&seen.head, b"MARKED")).is_some());
}
