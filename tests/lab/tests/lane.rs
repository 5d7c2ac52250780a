//! The fast lane of taps: it opens for a guest that sends many small frames, closes for one that
//! sends large ones, and what goes by it arrives as it was sent.

use std::{
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use portcullis_lab::{process::wait_for, small::Small, world::Nic};
use serde_json::Value;

const RULES: &[&str] =
    &["{ name: bulk, allow: { from: red, to: red, for: [tcp/5201, udp/5201] } }"];

fn has_lane(small: &Small, guest: &str) -> bool {
    let status = small.host.status().unwrap();
    let ports = status.0["ports"].as_array().unwrap();
    ports.iter().any(|p| p["guest"] == guest && p["lane"] == true)
}

fn listen(small: &Small, at: &str) -> Child {
    let mut server = Command::new("iperf3");
    server.args(["-s", "-1"]).stdout(Stdio::null());
    let space = small.space(at);
    let server = space.spawn(server).unwrap();
    let listens = || space.sh("ss -Hltn sport = 5201").is_ok_and(|list| !list.is_empty());
    wait_for("iperf3", 10, listens).unwrap();
    server
}

/// Small datagrams, 40,000 a second, for some seconds; what iperf3 says of them at the end.
fn datagrams(small: &Small, seconds: u64, meanwhile: impl Fn()) -> Value {
    let mut server = listen(small, "r2");
    let address = small.address("r2", false);
    let mut client = Command::new("iperf3");
    client
        .args(["-u", "-l", "64", "-b", "20M", "-J", "-c", &address.to_string()])
        .args(["-t", &seconds.to_string()])
        .stdout(Stdio::piped());
    let client = small.space("r1").spawn(client).unwrap();
    meanwhile();
    let output = client.wait_with_output().unwrap();
    let _ = server.wait();
    serde_json::from_slice(&output.stdout).unwrap()
}

fn checksum_errors(small: &Small, guest: &str) -> u64 {
    let table = small.space(guest).sh("nstat -asz TcpInCsumErrors UdpInCsumErrors").unwrap();
    let lines = table.lines().filter(|line| line.contains("InCsumErrors"));
    lines.map(|l| l.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()).sum()
}

#[test]
fn it_opens_for_small_frames_and_closes_for_large_ones() {
    let small = Small::with("pln", RULES, &[("r1", Nic::Tap), ("r2", Nic::Tap)]).unwrap();
    // A guest that finishes its checksums: others take the whole way.
    small.space("r1").sh("ethtool -K eth0 tx off").unwrap();
    assert!(!has_lane(&small, "r1"));
    let report = datagrams(&small, 8, || {
        wait_for("the fast lane", 7, || has_lane(&small, "r1")).unwrap();
        assert!(!has_lane(&small, "r2"), "it sends next to nothing");
    });
    println!("{}", report["end"]["sum"]);
    let (sent, lost) = (&report["end"]["sum"]["packets"], &report["end"]["sum"]["lost_packets"]);
    assert!(sent.as_u64().unwrap() > 20_000, "{sent}");
    // What is lost is lost by full queues, lane or not; none by the change from one to the other.
    assert!(lost.as_u64().unwrap() * 20 < sent.as_u64().unwrap(), "{lost} of {sent}");
    let mut bulk = listen(&small, "r2");
    small.space("r1").sh("ethtool -K eth0 tx on").unwrap();
    small.space("r1").sh(&format!("iperf3 -c {} -t 3", small.address("r2", false))).unwrap();
    let _ = bulk.wait();
    let began = Instant::now();
    wait_for("the lane to close", 5, || !has_lane(&small, "r1")).unwrap();
    assert!(began.elapsed() < Duration::from_secs(5));
    for guest in ["r1", "r2"] {
        assert_eq!(checksum_errors(&small, guest), 0, "{guest}");
    }
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
