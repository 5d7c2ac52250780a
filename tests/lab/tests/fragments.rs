//! Real stacks cut large datagrams into fragments and put them together again, in both families,
//! inside a network and through the gateway.

use std::{
    net::{SocketAddr, UdpSocket},
    thread,
    time::Duration,
};

use portcullis_lab::{Error, Space, patience, small::Small, world::Nic};

const PORT: u16 = 9000;
const ROUNDS: usize = 50;
const RULE: &str =
    "{ name: big, allow: { from: [red, blue], to: [red, blue], for: [udp/9000, ping] } }";

fn socket(space: &Space, port: u16) -> UdpSocket {
    let any = SocketAddr::from(([0_u16; 8], port));
    let socket = space.enter(|| UdpSocket::bind(any).map_err(Error::system("bind"))).unwrap();
    socket.set_read_timeout(Some(patience::limit(Duration::from_secs(2)))).unwrap();
    socket
}

fn mapped(address: std::net::IpAddr) -> std::net::IpAddr {
    match address {
        std::net::IpAddr::V4(a) => a.to_ipv6_mapped().into(),
        a => a,
    }
}

/// Datagrams of every size there and back, and echoes.
fn check(from: (&str, Nic), to: (&str, Nic)) {
    let small = Small::with("plfg", &[RULE], &[from, to]).unwrap();
    let (client, server) = (socket(small.space(from.0), 0), socket(small.space(to.0), PORT));
    for v6 in [false, true] {
        let address = small.address(to.0, v6);
        for round in 0..ROUNDS {
            // Up to the largest that IPv6 and IPv4 both take.
            let sent = vec![round as u8; 1_000 + round * 1_300];
            let echo = thread::scope(|scope| {
                let echo = scope.spawn(|| {
                    let mut buffer = vec![0; 70_000];
                    let (length, peer) = server.recv_from(&mut buffer).unwrap();
                    server.send_to(&buffer[..length], peer).unwrap();
                });
                client.send_to(&sent, (mapped(address), PORT)).unwrap();
                let mut buffer = vec![0; 70_000];
                let length = client.recv(&mut buffer).unwrap();
                echo.join().unwrap();
                buffer.truncate(length);
                buffer
            });
            assert!(echo == sent, "{} octets to {address}", sent.len());
        }
        small
            .space(from.0)
            .sh(&format!("ping -n -q -c 5 -i 0.02 -W 2 -s 20000 {address}"))
            .unwrap();
    }
    let status = small.host.status().unwrap();
    let fragments: Vec<_> = status
        .reasons()
        .into_iter()
        .filter(|(word, n)| word.starts_with("fragment") && *n > 0)
        .collect();
    assert!(fragments.is_empty(), "{fragments:?}");
}

#[test]
fn large_datagrams_arrive_between_taps() {
    check(("r1", Nic::Tap), ("r2", Nic::Tap));
}

#[test]
fn large_datagrams_arrive_through_the_gateway() {
    check(("r1", Nic::Veth), ("b1", Nic::Tap));
}
