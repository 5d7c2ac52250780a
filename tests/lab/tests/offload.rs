//! Segmentation and checksum offload survive the switch: bulk TCP keeps its super-packets, inside
//! a network and through the gateway, and no checksum breaks.

use std::sync::atomic::Ordering;

use portcullis_lab::{Space, capture::Capture, server::Server, small::Small, world::Nic};

const RULES: &[&str] =
    &["{ name: bulk, allow: { from: [red, blue], to: [red, blue], for: tcp/5201 } }"];

/// One second of TCP from one guest to another, by address.
fn bulk(from: &Space, to: &Space, address: &str) {
    let _server = Server::iperf(to, 5201).unwrap();
    from.sh(&format!("iperf3 -c {address} -t 1")).unwrap();
}

fn check(from: (&str, Nic), to: (&str, Nic), v6: bool) {
    let small = Small::with("plf", RULES, &[from, to]).unwrap();
    let capture = Capture::start(small.space(to.0), "eth0").unwrap();
    let address = small.address(to.0, v6).to_string();
    bulk(small.space(from.0), small.space(to.0), &address);
    let frames = capture.frames();
    let large = frames.iter().filter(|seen| seen.length > 1514).count();
    println!("{from:?} to {to:?}: {large} super-packets among {} frames", frames.len());
    assert!(large > 100, "{large} of {}", frames.len());
    if let Some(pump) = &small.guest(to.0).pump {
        // The same at the receiver's tap, where a virtual machine monitor reads.
        assert!(pump.counts().super_to_guest.load(Ordering::Relaxed) > 100);
    }
    for name in [from.0, to.0] {
        assert_eq!(small.space(name).counted(&["TcpInCsumErrors"]).unwrap(), 0, "{name}");
    }
}

#[test]
fn between_two_taps() {
    check(("r1", Nic::Tap), ("r2", Nic::Tap), false);
}

#[test]
fn between_two_veths() {
    check(("r1", Nic::Veth), ("r2", Nic::Veth), true);
}

#[test]
fn from_tap_to_veth_through_the_gateway() {
    check(("r1", Nic::Tap), ("b1", Nic::Veth), false);
}

#[test]
fn from_veth_to_tap_through_the_gateway() {
    check(("b1", Nic::Veth), ("r1", Nic::Tap), true);
}
