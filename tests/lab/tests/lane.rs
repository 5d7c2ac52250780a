//! The fast lane of taps: it opens for a guest that sends many small frames, closes for one that
//! sends large ones, and what goes by it arrives as it was sent.

use std::process::{Command, Stdio};

use portcullis_lab::{process::wait_for, server::Server, small::Small, world::Nic};
use serde_json::Value;

const RULES: &[&str] =
    &["{ name: bulk, allow: { from: red, to: red, for: [tcp/5201, udp/5201] } }"];

/// How often a stream is sent until a machine that does other things too takes it in.
const TRIES: usize = 4;

fn has_lane(small: &Small, guest: &str) -> bool {
    let status = small.host.status().unwrap();
    let ports = status.0["ports"].as_array().unwrap();
    ports.iter().any(|p| p["guest"] == guest && p["lane"] == true)
}

/// Small datagrams, 40,000 a second, for some seconds; what iperf3 says of them at the end.
fn datagrams(small: &Small, seconds: u64, meanwhile: impl Fn()) -> Value {
    let _server = Server::iperf(small.space("r2"), 5201).unwrap();
    let address = small.address("r2", false);
    let mut client = Command::new("iperf3");
    client
        .args(["-u", "-l", "64", "-b", "20M", "-J", "-c", &address.to_string()])
        .args(["-t", &seconds.to_string()])
        .stdout(Stdio::piped());
    let client = small.space("r1").spawn(client).unwrap();
    meanwhile();
    let output = client.wait_with_output().unwrap();
    serde_json::from_slice(&output.stdout).unwrap()
}

fn checksum_errors(small: &Small, guest: &str) -> u64 {
    small.space(guest).counted(&["TcpInCsumErrors", "UdpInCsumErrors"]).unwrap()
}

#[test]
fn it_opens_for_small_frames_and_closes_for_large_ones() {
    let small = Small::with("pln", RULES, &[("r1", Nic::Tap), ("r2", Nic::Tap)]).unwrap();
    // What is lost is lost by full queues, lane or not; none by the change from one to the other.
    let clean = (0..TRIES).any(|_| {
        let (sent, lost) = opens(&small);
        closes(&small);
        println!("{lost} of {sent} lost");
        sent > 20_000 && lost * 2 < sent
    });
    assert!(clean, "half of them are lost each time");
    for guest in ["r1", "r2"] {
        assert_eq!(checksum_errors(&small, guest), 0, "{guest}");
    }
}

/// For small frames. Datagrams that were sent meanwhile, and those of them that were lost.
fn opens(small: &Small) -> (u64, u64) {
    // A guest that finishes its checksums: others take the whole way.
    small.space("r1").sh("ethtool -K eth0 tx off").unwrap();
    assert!(!has_lane(small, "r1"));
    let report = datagrams(small, 8, || {
        wait_for("the fast lane", 7, || has_lane(small, "r1")).unwrap();
        assert!(!has_lane(small, "r2"), "it sends next to nothing");
    });
    let number = |key: &str| report["end"]["sum"][key].as_u64().unwrap();
    (number("packets"), number("lost_packets"))
}

/// For large ones.
fn closes(small: &Small) {
    let _server = Server::iperf(small.space("r2"), 5201).unwrap();
    small.space("r1").sh("ethtool -K eth0 tx on").unwrap();
    small.space("r1").sh(&format!("iperf3 -c {} -t 3", small.address("r2", false))).unwrap();
    wait_for("the lane to close", 5, || !has_lane(small, "r1")).unwrap();
}

#[test]
fn it_closes_again_for_checksums_that_are_not_finished() {
    let small = Small::with("plp", RULES, &[("r1", Nic::Tap), ("r2", Nic::Tap)]).unwrap();
    let report = datagrams(&small, 8, || {
        wait_for("the fast lane", 7, || has_lane(&small, "r1")).unwrap();
        wait_for("the lane to close", 5, || !has_lane(&small, "r1")).unwrap();
    });
    println!("{}", report["end"]["sum"]);
    assert_eq!(checksum_errors(&small, "r2"), 0);
}
