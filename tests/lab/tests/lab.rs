//! The lab itself, on a plain Linux bridge: servers, clients, the tap pump, captures and streams
//! do what the other tests rely on.

use std::{net::IpAddr, sync::atomic::Ordering};

use portcullis_lab::{
    Lab, Space,
    capture::{Capture, Injector},
    frame::{self, Udp},
    probe::Probe,
    process,
    server::{Server, UdpEcho},
    stream::Stream,
    tap::Pump,
};

/// A bridge with one guest on a tap and one on a veth pair.
struct Bridged {
    tap: Space,
    veth: Space,
    pump: Pump,
    lab: Lab,
}

const TAP: &str = "10.9.0.1";
const VETH: &str = "10.9.0.2";
const VETH_V6: &str = "fd00:9::2";

fn bridged(tag: &str) -> Bridged {
    let lab = Lab::new(tag).unwrap();
    let host = lab.space("host").unwrap();
    let (tap, veth) = (lab.space("tap").unwrap(), lab.space("veth").unwrap());
    host.ip("link add br0 type bridge").unwrap();
    host.ip("tuntap add t0 mode tap vnet_hdr").unwrap();
    let veth_name = veth.name().to_owned();
    host.ip(&format!("link add v0 type veth peer name eth0 netns {veth_name}")).unwrap();
    for port in ["t0", "v0"] {
        host.ip(&format!("link set {port} master br0 up")).unwrap();
    }
    host.ip("link set br0 up").unwrap();
    let pump = Pump::start(&host, "t0", &tap, "eth0", "02:00:00:00:09:01").unwrap();
    for (space, v4, v6) in [(&tap, TAP, "fd00:9::1"), (&veth, VETH, VETH_V6)] {
        space.ip(&format!("addr add {v4}/24 dev eth0")).unwrap();
        space.ip(&format!("addr add {v6}/64 dev eth0 nodad")).unwrap();
        space.ip("link set eth0 up").unwrap();
    }
    Bridged { tap, veth, pump, lab }
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn clients_reach_servers_and_nothing_else() {
    let b = bridged("plb");
    let _servers = (
        Server::http(&b.lab, &b.veth, 80).unwrap(),
        Server::ssh(&b.lab, &b.veth).unwrap(),
        Server::smb(&b.lab, &b.veth).unwrap(),
        UdpEcho::start(&b.veth, 7).unwrap(),
    );
    for to in [VETH, VETH_V6] {
        for probe in
            [Probe::Ping, Probe::Http, Probe::Ssh, Probe::Smb, Probe::Udp(7), Probe::Tcp(22)]
        {
            assert!(probe.reaches(&b.tap, address(to)).unwrap(), "{probe} to {to}");
        }
    }
    for probe in [Probe::Http, Probe::Ssh, Probe::Smb, Probe::Udp(8), Probe::Tcp(23)] {
        assert!(!probe.reaches(&b.veth, address(TAP)).unwrap(), "{probe} to nobody");
    }
    assert!(!Probe::Ping.reaches(&b.tap, address("10.9.0.77")).unwrap());
}

#[test]
fn the_pump_keeps_super_packets_whole() {
    let b = bridged("plg");
    let capture = Capture::start(&b.veth, "eth0").unwrap();
    let _server = Server::iperf(&b.tap, 5201).unwrap();
    b.veth.sh(&format!("iperf3 -c {TAP} -t 1 --bidir")).unwrap();
    assert!(b.pump.counts().super_to_guest.load(Ordering::Relaxed) > 0);
    assert!(capture.frames().iter().any(|seen| seen.length > 1514));
    assert_eq!(b.veth.counted(&["TcpInCsumErrors"]).unwrap(), 0);
}

#[test]
fn streams_count_to_the_packet() {
    let b = bridged("plc");
    let stream = Stream::start(&b.tap, &b.veth, address(VETH), 9000).unwrap();
    process::wait_for("500 datagrams", 10, || stream.sent() > 500).unwrap();
    let report = stream.finish();
    assert!(report.missing.is_empty(), "{report:?}");
    assert_eq!(report.received, report.sent);

    let stream = Stream::start(&b.tap, &b.veth, address(VETH), 9000).unwrap();
    process::wait_for("datagrams", 10, || stream.sent() > 200).unwrap();
    b.veth.ip("link set eth0 down").unwrap();
    process::wait_for("datagrams", 10, || stream.sent() > 400).unwrap();
    b.veth.ip("link set eth0 up").unwrap();
    let report = stream.finish();
    assert!(!report.missing.is_empty(), "{report:?}");
}

#[test]
fn frames_are_sent_and_seen_as_they_are() {
    let b = bridged("pli");
    let capture = Capture::start(&b.veth, "eth0").unwrap();
    let udp = Udp {
        from_mac: [2, 0, 0, 0, 9, 0x66],
        to_mac: frame::BROADCAST,
        from: address("10.9.0.66"),
        to: address(VETH),
        port: 9,
        ttl: 1,
    };
    Injector::new(&b.tap, "eth0").unwrap().send(&udp.frame(b"marked")).unwrap();
    let seen = capture.wait_for(|seen| frame::holds(&seen.head, b"marked")).unwrap();
    assert_eq!(seen.head[6..12], udp.from_mac);
    assert!(!capture.saw(|seen| frame::holds(&seen.head, b"unmarked")));
}
