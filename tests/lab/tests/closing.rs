//! Real stacks close their connections in every way there is, and the switch, which holds each FIN
//! and RST against what was sent, lets all of it through and follows it.

use std::{
    io::{ErrorKind, Read, Write},
    net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream},
    os::fd::AsRawFd,
    thread,
    time::{Duration, Instant},
};

use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, setsockopt, socket, sockopt,
};
use portcullis_lab::{Error, Result, Space, patience, small::Small, world::Nic};

const PORT: u16 = 7000;
const RULE: &str = "{ name: all, allow: { from: [red, blue], to: [red, blue], for: tcp } }";
/// Connections of each kind.
const ROUNDS: usize = 40;
/// What the answering side sends after a half close: several windows.
const MUCH: usize = 300_000;

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The client says that it has no more; the server answers much, and then closes.
    HalfClosed,
    /// Both say so at once.
    AtOnce,
    /// The client throws it away (SO_LINGER 0).
    Reset,
    /// The server closes before it has read all.
    Unread,
}

/// Both ends of one connection.
struct Pair {
    client: TcpStream,
    server: TcpStream,
}

impl Pair {
    fn new(listener: &TcpListener, client: TcpStream) -> Self {
        let (server, _) = listener.accept().unwrap();
        for end in [&client, &server] {
            end.set_read_timeout(Some(patience::limit(Duration::from_secs(5)))).unwrap();
        }
        let mut pair = Self { client, server };
        pair.client.write_all(b"question").unwrap();
        let mut buffer = [0; 8];
        pair.server.read_exact(&mut buffer).unwrap();
        pair
    }

    fn end(mut self, how: End) {
        match how {
            End::HalfClosed => {
                self.client.shutdown(Shutdown::Write).unwrap();
                assert_eq!(self.server.read(&mut [0; 8]).unwrap(), 0);
                let sender = thread::spawn(move || self.server.write_all(&[7; MUCH]).unwrap());
                let mut all = Vec::new();
                self.client.read_to_end(&mut all).unwrap();
                assert_eq!(all.len(), MUCH);
                sender.join().unwrap();
            }
            End::AtOnce => {
                self.client.shutdown(Shutdown::Write).unwrap();
                self.server.shutdown(Shutdown::Write).unwrap();
                assert_eq!(self.client.read(&mut [0; 8]).unwrap(), 0);
                assert_eq!(self.server.read(&mut [0; 8]).unwrap(), 0);
            }
            End::Reset => {
                throw_away(self.client);
                expect_reset(&mut self.server);
            }
            End::Unread => {
                self.client.write_all(b"more").unwrap();
                // It is there, and nobody takes it.
                self.server.peek(&mut [0; 8]).unwrap();
                drop(self.server);
                expect_reset(&mut self.client);
            }
        }
    }
}

fn throw_away(stream: TcpStream) {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    setsockopt(&stream, sockopt::Linger, &linger).unwrap();
}

fn expect_reset(stream: &mut TcpStream) {
    let started = Instant::now();
    let error = stream.read(&mut [0; 8]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}");
    assert!(started.elapsed() < patience::limit(Duration::from_secs(2)), "{:?}", started.elapsed());
}

fn listen(space: &Space, port: u16) -> TcpListener {
    let any = SocketAddr::from(([0_u16; 8], port));
    space.enter(|| TcpListener::bind(any).map_err(Error::system("bind"))).unwrap()
}

/// From this source port, which may have been used a moment ago; 0: from any.
fn reach(space: &Space, to: SocketAddr, source: u16) -> Result<TcpStream> {
    space.enter(|| {
        let family = if to.is_ipv6() { AddressFamily::Inet6 } else { AddressFamily::Inet };
        let made = socket(family, SockType::Stream, SockFlag::empty(), None);
        let made = made.map_err(Error::system("socket"))?;
        setsockopt(&made, sockopt::ReuseAddr, &true).map_err(Error::system("SO_REUSEADDR"))?;
        let any: IpAddr = if to.is_ipv6() { [0_u16; 8].into() } else { [0_u8; 4].into() };
        let own = SockaddrStorage::from(SocketAddr::new(any, source));
        bind(made.as_raw_fd(), &own).map_err(Error::system("bind"))?;
        connect(made.as_raw_fd(), &SockaddrStorage::from(to)).map_err(Error::system("connect"))?;
        Ok(TcpStream::from(made))
    })
}

/// Nothing was dropped for what a connection's state or numbers say.
fn check_drops(small: &Small) {
    let status = small.host.status().unwrap();
    for reason in ["bad-sequence", "bad-state", "no-connection"] {
        assert_eq!(status.drops(reason), 0, "{reason}: {:?}", status.reasons());
    }
}

fn every_end(from: (&str, Nic), to: (&str, Nic), v6: bool) {
    let small = Small::with("plcl", &[RULE], &[from, to]).unwrap();
    let listener = listen(small.space(to.0), PORT);
    let address = SocketAddr::new(small.address(to.0, v6), PORT);
    for how in [End::HalfClosed, End::AtOnce, End::Reset, End::Unread] {
        for _ in 0..patience::rounds(ROUNDS) {
            let client = reach(small.space(from.0), address, 0).unwrap();
            Pair::new(&listener, client).end(how);
        }
    }
    check_drops(&small);
}

#[test]
fn connections_end_in_every_way_between_taps() {
    every_end(("r1", Nic::Tap), ("r2", Nic::Tap), false);
}

#[test]
fn connections_end_in_every_way_through_the_gateway() {
    every_end(("r1", Nic::Veth), ("b1", Nic::Tap), true);
}

#[test]
fn the_same_ports_are_used_again_at_once() {
    let small = Small::with("plcr", &[RULE], &[("r1", Nic::Veth), ("r2", Nic::Veth)]).unwrap();
    let listener = listen(small.space("r2"), PORT);
    for v6 in [false, true] {
        let to = SocketAddr::new(small.address("r2", v6), PORT);
        for round in 0..patience::rounds(ROUNDS) {
            let client = reach(small.space("r1"), to, 40_000).unwrap();
            let mut pair = Pair::new(&listener, client);
            if round % 2 == 0 {
                // The server waits for stragglers (RFC 9293, section 3.6.1), the client does not.
                pair.server.shutdown(Shutdown::Write).unwrap();
                assert_eq!(pair.client.read(&mut [0; 8]).unwrap(), 0);
                drop(pair.client);
                assert_eq!(pair.server.read(&mut [0; 8]).unwrap(), 0);
            } else {
                pair.end(End::Reset);
            }
        }
    }
    // What an old connection still says in the new one may be dropped: nothing of the new one is.
    assert_eq!(small.host.status().unwrap().drops("bad-state"), 0);
    assert_eq!(sent_again(&small), 0);
}

/// Segments that the client's kernel had to send again, SYNs too.
fn sent_again(small: &Small) -> u64 {
    small.space("r1").counted(&["TcpRetransSegs"]).unwrap()
}

#[test]
fn who_does_not_listen_says_so_at_once() {
    let small = Small::with("plcn", &[RULE], &[("r1", Nic::Veth), ("r2", Nic::Tap)]).unwrap();
    for v6 in [false, true] {
        let to = SocketAddr::new(small.address("r2", v6), PORT);
        for _ in 0..patience::rounds(ROUNDS) {
            let error = reach(small.space("r1"), to, 0).unwrap_err().to_string();
            assert!(error.contains("refused"), "{error}");
        }
    }
    assert_eq!(sent_again(&small), 0);
    check_drops(&small);
}

/// A guest that forgets its connections, as by a power cut: its packets stop, its ports are used
/// again, and the other side has forgotten too.
#[test]
fn two_guests_that_start_anew_find_each_other() {
    let small = Small::with("plcf", &[RULE], &[("r1", Nic::Veth), ("r2", Nic::Veth)]).unwrap();
    let to = SocketAddr::new(small.address("r2", false), PORT);
    let listener = listen(small.space("r2"), PORT);
    let pair = Pair::new(&listener, reach(small.space("r1"), to, 40_001).unwrap());
    for name in ["r1", "r2"] {
        // Not a word of it leaves.
        small.space(name).ip("link set eth0 down").unwrap();
        small.space(name).sh("ss -K sport = 40001 or dport = 40001").unwrap();
    }
    drop(pair);
    for name in ["r1", "r2"] {
        small.space(name).ip("link set eth0 up").unwrap();
    }
    let client = reach(small.space("r1"), to, 40_001).unwrap();
    Pair::new(&listener, client).end(End::HalfClosed);
    check_drops(&small);
}
