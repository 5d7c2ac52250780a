//! A rule that ends: its running stream passes before and is cut after, the other loses nothing;
//! with the daemon alive, and with the daemon killed.

use std::{thread, time::Duration};

use portcullis_lab::{
    capture::Capture, process::wait_for, small::Small, stream::Stream, world::Nic,
};

const KEPT: &str = "{ name: kept, allow: { from: r1, to: r2, for: udp/9000 } }";
const ENDING: &str = "{ name: ending, allow: { from: r1, to: r2, for: udp/9001 }, until: 4s }";
const GUESTS: &[(&str, Nic)] = &[("r1", Nic::Veth), ("r2", Nic::Tap)];
/// The end, and a second for the daemon.
const OVER: Duration = Duration::from_secs(5);

fn over_the_end(tag: &str, kill: bool) -> Small {
    let small = Small::with(tag, &[KEPT], GUESTS).unwrap();
    small.apply(&[KEPT, ENDING]).unwrap();
    let begin = std::time::Instant::now();
    let (from, at, to) = (small.space("r1"), small.space("r2"), small.address("r2", false));
    let kept = Stream::start(from, at, to, 9000).unwrap();
    let ending = Stream::start(from, at, to, 9001).unwrap();
    wait_for("traffic", 3, || kept.sent() > 200 && ending.sent() > 200).unwrap();
    if kill {
        small.host.kill_daemon().unwrap();
    }
    thread::sleep(OVER.saturating_sub(begin.elapsed()));
    let capture = Capture::start(at, "eth0").unwrap();
    thread::sleep(Duration::from_millis(500));
    let seen = |port: u16| {
        let frames = capture.frames();
        frames.iter().filter(|f| f.head[36..38] == port.to_be_bytes()).count()
    };
    assert!(seen(9000) > 0, "the capture saw nothing at all");
    assert_eq!(seen(9001), 0, "the rule has ended");
    let (kept, ending) = (kept.finish(), ending.finish());
    assert!(kept.missing.is_empty(), "lost {:?} of {}", kept.missing, kept.sent);
    // What arrived, arrived in one piece, from the beginning on: nothing before the end was lost.
    assert!(ending.received > 1000 && ending.received < ending.sent, "{}", ending.received);
    assert!(ending.missing.iter().all(|number| *number >= ending.received), "{:?}", ending.missing);
    small
}

#[test]
fn the_daemon_takes_an_ended_rule_out() {
    let small = over_the_end("plea", false);
    let status = small.host.status().unwrap().0;
    assert_eq!(status["ends"][0]["ended"], true);
    let rules = status["policy"]["size"]["rules"].as_u64();
    assert_eq!(rules, Some(1), "the image is one without it: {status:#}");
    assert_eq!(status["problems"], serde_json::json!([]));
}

#[test]
fn without_a_daemon_the_kernel_stops_an_ended_rule() {
    let small = over_the_end("pled", true);
    small.host.up().unwrap();
    let status = small.host.status().unwrap().0;
    let drops = status["drops"].as_array().unwrap();
    assert!(drops.iter().any(|drop| drop["reason"] == "expired"), "{drops:?}");
}
