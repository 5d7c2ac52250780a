//! Guests on vhost-user ports: what they may do is what any guest may, and what is in the way of
//! their frames dies and comes back.

use std::{
    fs,
    net::UdpSocket,
    os::unix::{fs::FileExt, net::UnixStream},
    process::Command,
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use portcullis_lab::{
    frame::{Udp, holds, parse_mac},
    front::{Front, Layout, PAGE, SIZE},
    patience::{is_long, limit_seconds, silence},
    probe::Probe,
    process::wait_for,
    server::{Server, UdpEcho},
    small::Small,
    world::Nic,
};
use serde_json::Value;

const PING: &str = "{ name: ping, allow: { from: red, to: red, for: ping } }";
const BULK: &str = "{ name: bulk, allow: { from: r1, to: [r2, r3], for: [tcp/5201, udp/5201] } }";
const ECHO: &str = "{ name: echo, allow: { from: red, to: red, for: udp/7000 } }";

/// What status says of a guest's port.
fn port(small: &Small, guest: &str) -> Value {
    let status = small.host.status().unwrap().0;
    let ports = status["ports"].as_array().unwrap();
    ports.iter().find(|port| port["guest"] == guest).unwrap().clone()
}

/// Packets that went from this guest to another one without the kernel's half.
fn direct(small: &Small, guest: &str) -> u64 {
    port(small, guest)["vhost"]["direct"]["in_packets"].as_u64().unwrap()
}

fn reaches(small: &Small, probe: Probe, from: &str, to: &str, v6: bool) -> bool {
    probe.reaches(small.space(from), small.address(to, v6)).unwrap()
}

#[test]
fn guests_reach_each_other_as_the_policy_says() {
    let guests = [("r1", Nic::Vhost), ("r2", Nic::Vhost), ("r3", Nic::Veth), ("b1", Nic::Vhost)];
    let routed = "{ name: routed, allow: { from: b1, to: r1, for: ping } }";
    let small = Small::with("pvu", &[PING, BULK, routed], &guests).unwrap();
    for (from, to) in [("r1", "r2"), ("r2", "r1"), ("r1", "r3"), ("r3", "r1"), ("b1", "r1")] {
        for v6 in [false, true] {
            assert!(reaches(&small, Probe::Ping, from, to, v6), "{from} to {to}");
        }
    }
    for (from, to) in [("r1", "b1"), ("b1", "r2"), ("b1", "r3")] {
        assert!(!reaches(&small, Probe::Ping, from, to, false), "{from} to {to}");
    }
    let before = direct(&small, "r1");
    assert!(before > 0 && direct(&small, "b1") > 0, "{}", port(&small, "r1"));
    // Large segments go whole, to a guest that is here and to one behind the tap.
    for to in ["r2", "r3"] {
        let _server = Server::iperf(small.space(to), 5201).unwrap();
        for v6 in [false, true] {
            let to = small.address(to, v6);
            for back in ["", "-R"] {
                small.space("r1").sh(&format!("iperf3 -c {to} -n 30M {back}")).unwrap();
            }
        }
    }
    assert!(!reaches(&small, Probe::Tcp(5201), "r2", "r1", false), "nobody may");
    for guest in ["r1", "r2"] {
        let seen = small.guest(guest).monitor.as_ref().unwrap().seen();
        assert!(seen.super_to_guest.load(Ordering::Relaxed) > 100, "{guest}");
    }
    for guest in ["r1", "r2", "r3"] {
        let errors = small.space(guest).counted(&["TcpInCsumErrors", "UdpInCsumErrors"]).unwrap();
        assert_eq!(errors, 0, "{guest}");
    }
    let r1 = port(&small, "r1");
    assert_eq!((&r1["kind"], &r1["vhost"]["connected"]), (&"vhost-user".into(), &true.into()));
    assert!(r1["connections"]["flows"].as_u64().unwrap() > 4, "{r1}");
    let dropped = r1["traffic"]["reasons"]["no-rule"].as_u64().unwrap_or(0);
    assert!(dropped > 0, "{r1}");
    small.host.portcullis(&["detach", "u-b1"]).unwrap();
    assert!(!small.host.vhost_socket("u-b1").exists());
    assert!(!small.host.space().interfaces().unwrap().contains(&"u-b1".to_owned()));
}

#[test]
fn what_is_revoked_is_cut_and_the_daemon_is_not_needed() {
    let guests = [("r1", Nic::Vhost), ("r2", Nic::Vhost)];
    let small = Small::with("pvr", &[PING, ECHO], &guests).unwrap();
    let _echo = UdpEcho::start(small.space("r2"), 7000).unwrap();
    let socket = small.space("r1").enter(|| {
        let socket = UdpSocket::bind("10.1.0.11:6000").unwrap();
        socket.connect("10.1.0.12:7000").unwrap();
        socket.set_read_timeout(Some(silence(Duration::from_millis(500)))).unwrap();
        Ok(socket)
    });
    let socket = socket.unwrap();
    // One connection, whose packets are answered or not.
    let echoed = || {
        let mut buffer = [0; 64];
        socket.send(b"mark").is_ok() && socket.recv(&mut buffer).is_ok()
    };
    assert!((0..10).any(|_| echoed()));
    let in_engine = direct(&small, "r1");
    assert!(echoed() && direct(&small, "r1") > in_engine);
    // Its daemon dies: everything goes on, and the next one finds it.
    let engine = small.host.engine();
    assert_eq!(engine.len(), 1);
    small.host.kill_daemon().unwrap();
    assert!((0..3).all(|_| echoed()));
    small.host.up().unwrap();
    assert!(echoed());
    assert_eq!(small.host.engine(), engine);
    let hits = |name: &str| {
        let status = small.host.status().unwrap().0;
        let rules = status["rules"].as_array().unwrap().clone();
        rules.iter().find(|rule| rule["rule"] == name).map_or(0, |r| r["hits"].as_u64().unwrap())
    };
    small.apply(&[PING]).unwrap();
    assert!((0..3).all(|_| !echoed()), "it was revoked");
    assert!(reaches(&small, Probe::Ping, "r1", "r2", false));
    assert!(hits("ping") > 0);
    small.apply(&[PING, ECHO]).unwrap();
    assert!((0..3).any(|_| echoed()), "it is allowed again");
}

#[test]
fn an_engine_that_dies_is_started_again_and_guests_come_back() {
    let guests = [("r1", Nic::Vhost), ("r2", Nic::Vhost), ("r3", Nic::Veth)];
    let small = Small::with("pvk", &[PING], &guests).unwrap();
    assert!(reaches(&small, Probe::Ping, "r1", "r2", false));
    let connections = |guest: &str| {
        let seen = small.guest(guest).monitor.as_ref().unwrap().seen();
        seen.connections.load(Ordering::Relaxed)
    };
    let dead = small.host.engine();
    small.host.kill_engine().unwrap();
    wait_for("a new engine", limit_seconds(10), || connections("r1") > 1 && connections("r2") > 1)
        .unwrap();
    wait_for("the guests", limit_seconds(10), || {
        port(&small, "r2")["vhost"]["connected"] == true
            && reaches(&small, Probe::Ping, "r1", "r2", false)
            && reaches(&small, Probe::Ping, "r3", "r1", true)
    })
    .unwrap();
    assert_ne!(small.host.engine(), dead);
    one_that_is_silent_is_told_of(&small);
    if is_long() {
        a_policy_that_the_engine_does_not_take_is_in_force_nowhere(&small);
    }
    small.host.down().unwrap();
    assert!(small.host.engine().is_empty());
}

/// Nobody waits long for an engine that hangs, and `status` says what is wrong.
fn one_that_is_silent_is_told_of(small: &Small) {
    let is_told = || {
        let status = small.host.status().unwrap().0;
        let problems = status["problems"].as_array().unwrap().clone();
        problems.iter().any(|problem| problem.to_string().contains("does not answer"))
    };
    assert!(!is_told());
    let engine = Pid::from_raw(small.host.engine()[0]);
    kill(engine, Signal::SIGSTOP).unwrap();
    let told = wait_for("a word of the silence", limit_seconds(5), is_told);
    // From now on nothing is waited for at all.
    let begin = Instant::now();
    (0..5).for_each(|_| assert!(is_told()));
    let took = begin.elapsed();
    kill(engine, Signal::SIGCONT).unwrap();
    told.unwrap();
    assert!(took < Duration::from_secs(limit_seconds(2)), "{took:?} for five times status");
    wait_for("its voice", limit_seconds(5), || !is_told()).unwrap();
    assert_eq!(small.host.engine(), [engine.as_raw()]);
    assert!(reaches(small, Probe::Ping, "r1", "r2", false));
}

/// Waits for as long as the daemon does.
fn a_policy_that_the_engine_does_not_take_is_in_force_nowhere(small: &Small) {
    let generation = || small.host.status().unwrap().0["generation"].clone();
    let before = generation();
    let engine = Pid::from_raw(small.host.engine()[0]);
    kill(engine, Signal::SIGSTOP).unwrap();
    let refused = small.apply(&[]);
    kill(engine, Signal::SIGCONT).unwrap();
    assert!(refused.unwrap_err().to_string().contains("does not answer"));
    assert_eq!(generation(), before);
    assert!(reaches(small, Probe::Ping, "r1", "r2", false));
    assert!(reaches(small, Probe::Ping, "r3", "r1", false));
}

/// Who is called by a counter that is full holds up nobody but itself.
fn hold_up_calls(small: &Small, mut front: Front) {
    front.receive.as_ref().unwrap().0.hold_up_calls().unwrap();
    // It has to be called for the first frame that comes.
    let r2 = "10.1.0.12".parse().unwrap();
    assert!(!Probe::Ping.reaches(small.space("r1"), r2).unwrap(), "it does not answer");
    assert!(front.hear(0).is_some());
    assert!(reaches(small, Probe::Ping, "r1", "r3", false));
    assert!(reaches(small, Probe::Ping, "r3", "r1", true));
}

/// The engine is nobody, and may do nothing but its work; a socket can be somebody's.
#[test]
fn privileges_are_given_up_and_sockets_have_owners() {
    let small = Small::with("pvo", &[PING], &[("r1", Nic::Vhost)]).unwrap();
    let status = fs::read_to_string(format!("/proc/{}/status", small.host.engine()[0])).unwrap();
    let says = |what: &str| {
        let line = status.lines().find(|line| line.starts_with(&format!("{what}:"))).unwrap();
        line.split_whitespace().skip(1).collect::<Vec<_>>().join(" ")
    };
    assert_eq!((says("Uid"), says("Groups")), ("65534 65534 65534 65534".into(), String::new()));
    assert_eq!((says("CapEff"), says("CapPrm")), ("0".repeat(16), "0".repeat(16)));
    assert_eq!((says("NoNewPrivs"), says("Seccomp")), ("1".into(), "2".into()));

    let attach = |port: &str, guest: &str, more: &[&str]| {
        let words = ["attach", "vhost-user", port, "--guest", guest];
        small.host.run(&[&words, more].concat()).unwrap()
    };
    let unknown = attach("u-r2", "r2", &["--owner", "no-such-user"]);
    assert!(unknown.stderr.contains("no user \"no-such-user\""), "{}", unknown.stderr);
    let unknown = attach("u-r2", "r2", &["--group", "no-such-group"]);
    assert!(unknown.stderr.contains("no group \"no-such-group\""), "{}", unknown.stderr);
    assert!(small.host.status().unwrap().port("u-r2").is_none());
    attach("u-r2", "r2", &["--owner", "daemon", "--group", "mail"]).success().unwrap();
    let socket = small.host.vhost_socket("u-r2");
    let connects = |user: &str, group: &str| {
        let script = "import socket, sys; socket.socket(socket.AF_UNIX).connect(sys.argv[1])";
        let mut command = Command::new("setpriv");
        command.args(["--reuid", user, "--regid", group, "--clear-groups"]);
        command.args(["/usr/bin/python3", "-c", script]).arg(&socket);
        small.host.space().run(command, 10).unwrap().code() == 0
    };
    assert!(connects("daemon", "nogroup") && connects("nobody", "mail"));
    assert!(!connects("nobody", "nogroup"));
    // It is somebody's also at an engine that was started again.
    small.host.kill_engine().unwrap();
    wait_for("a new engine", limit_seconds(10), || connects("daemon", "nogroup")).unwrap();
    assert!(!connects("nobody", "nogroup"));
}

/// What a driver does that it must not.
type Lie = fn(&mut Front);

/// Raw frames, and a driver of r2 that does what it likes.
#[test]
fn who_lies_is_stopped_and_nobody_else_notices() {
    let small =
        Small::with("pvl", &[PING, ECHO], &[("r1", Nic::Vhost), ("r3", Nic::Veth)]).unwrap();
    let attach = ["attach", "vhost-user", "u-r2", "--guest", "r2"];
    small.host.portcullis(&attach).unwrap();
    let connect = || Front::connect(&small.host.vhost_socket("u-r2"), 0).unwrap();
    let lies: [(&str, Lie); 6] = [
        ("taken back", |front| {
            front.take_memory_back();
            front.send.as_mut().unwrap().0.insist();
        }),
        ("chains available", |front| {
            let queue = &mut front.send.as_mut().unwrap().0;
            queue.available += SIZE + 1;
            queue.publish();
            queue.insist();
        }),
        ("does not end", |front| {
            let queue = &mut front.send.as_mut().unwrap().0;
            queue.describe(0, 0x10_0000, 60, 1, 0);
            queue.offer(0);
            queue.publish();
            queue.insist();
        }),
        ("not in the guest's memory", |front| {
            let queue = &mut front.send.as_mut().unwrap().0;
            queue.describe(0, u64::MAX - 7, 60, 0, 0);
            queue.offer(0);
            queue.publish();
            queue.insist();
        }),
        ("descriptor 300", |front| {
            let queue = &mut front.send.as_mut().unwrap().0;
            queue.offer(300);
            queue.publish();
            queue.insist();
        }),
        ("indirect table", |front| {
            let queue = &mut front.send.as_mut().unwrap().0;
            queue.describe(0, 0x10_0000, 24, 4, 0);
            queue.offer(0);
            queue.publish();
            queue.insist();
        }),
    ];
    for (what, lie) in lies {
        let mut front = connect();
        lie(&mut front);
        wait_for(what, limit_seconds(5), || {
            port(&small, "r2")["vhost"]["stopped"].as_str().is_some_and(|why| why.contains(what))
        })
        .unwrap();
        assert!(reaches(&small, Probe::Ping, "r3", "r1", false), "{what}");
        assert!(reaches(&small, Probe::Ping, "r1", "r3", true), "{what}");
    }
    hold_up_calls(&small, connect());
    // The next one is honest: nothing of before is left.
    let mut front = connect();
    let question = Udp {
        from_mac: parse_mac(port(&small, "r2")["mac"].as_str().unwrap()).unwrap(),
        to_mac: small.mac("r1"),
        from: "10.1.0.12".parse().unwrap(),
        to: small.address("r1", false),
        port: 7000,
        ttl: 64,
    };
    let echo = UdpEcho::start(small.space("r1"), 7000).unwrap();
    let heard = (0..20).any(|_| {
        assert!(front.say(&question.frame(b"honest")));
        std::iter::from_fn(|| front.hear(100)).any(|frame| holds(&frame, b"honest"))
    });
    assert!(heard);
    drop(echo);
}

/// A host with a guest who echoes, and a port of r2 for anybody who is its front end.
fn with_echo(tag: &str, guest: &str, nic: Nic) -> (Small, UdpEcho, Udp) {
    let small = Small::with(tag, &[PING, ECHO], &[(guest, nic)]).unwrap();
    small.host.portcullis(&["attach", "vhost-user", "u-r2", "--guest", "r2"]).unwrap();
    let echo = UdpEcho::start(small.space(guest), 7000).unwrap();
    let question = Udp {
        from_mac: parse_mac(port(&small, "r2")["mac"].as_str().unwrap()).unwrap(),
        to_mac: small.mac(guest),
        from: "10.1.0.12".parse().unwrap(),
        to: small.address(guest, false),
        port: 7000,
        ttl: 64,
    };
    (small, echo, question)
}

/// Sends a frame until its echo comes.
fn is_echoed(front: &mut Front, frame: &[u8], mark: &[u8]) -> bool {
    (0..20).any(|_| {
        front.say(frame) && std::iter::from_fn(|| front.hear(100)).any(|frame| holds(&frame, mark))
    })
}

#[test]
fn every_page_that_the_engine_writes_is_in_the_log() {
    let (small, _echo, question) = with_echo("pvp", "r1", Nic::Vhost);
    let mut front = Front::connect(&small.host.vhost_socket("u-r2"), 0).unwrap();
    assert!(is_echoed(&mut front, &question.frame(b"unlogged"), b"unlogged"));
    let log = front.log().unwrap();
    let (before, pages) = (front.contents(), Layout::WIDE.memory() / PAGE);
    for round in 0..40 {
        let mark = format!("logged {round}");
        assert!(is_echoed(&mut front, &question.frame(mark.as_bytes()), mark.as_bytes()), "{mark}");
    }
    let after = front.contents();
    let mut bits = vec![0; (pages / 8 + 1) as usize];
    log.read_exact_at(&mut bits, 0).unwrap();
    let is_logged = |page: u64| bits[page as usize / 8] >> (page % 8) & 1 == 1;
    let piece = |all: &[u8], page: u64| all[(page * PAGE) as usize..][..PAGE as usize].to_vec();
    let changed = |page: &u64| piece(&before, *page) != piece(&after, *page);
    let written: Vec<u64> =
        (0..pages).filter(|page| Layout::WIDE.is_theirs(*page)).filter(changed).collect();
    assert!(written.len() > 40, "buffers and both used rings: {written:?}");
    let forgotten: Vec<&u64> = written.iter().filter(|page| !is_logged(**page)).collect();
    assert!(forgotten.is_empty(), "written, and not logged: {forgotten:?}");
    let others: Vec<u64> =
        (0..pages).filter(|page| is_logged(*page) && !Layout::WIDE.is_theirs(*page)).collect();
    assert!(others.is_empty(), "logged, and nobody writes there: {others:?}");
}

/// Offsets in the part of the area for what is sent: is a chain in flight, and since when.
const FLIES: u64 = 16;
const EACH: u64 = 16;
/// Bytes of the part of one queue of 256 descriptors.
const PART: u64 = (16 + 16 * 256_u64).next_multiple_of(64);

#[test]
fn what_was_in_flight_when_the_engine_died_is_taken_again() {
    // One who is there also while the engine is not.
    let (small, _echo, question) = with_echo("pvf", "r3", Nic::Veth);
    let socket = small.host.vhost_socket("u-r2");
    let mut front = Front::keeping(&socket).unwrap();
    for round in 0..3 {
        assert!(is_echoed(&mut front, &question.frame(b"before"), b"before"));
        settle(&mut front);
        // It dies over frames that it has in hand, or not yet.
        for _ in 0..100 {
            front.say(&question.frame(b"dying"));
        }
        small.host.kill_engine().unwrap();
        front.say(&question.frame(format!("in flight {round}").as_bytes()));
        // As one leaves it that dies with this one in hand, too.
        let send = &front.send.as_ref().unwrap().0;
        let first = send.returned();
        let last = send.available.0.wrapping_sub(1);
        let in_hand = (first..=last).zip(1_u64..).collect::<Vec<_>>();
        for (index, counter) in &in_hand {
            let entry = PART + FLIES + EACH * u64::from(index % SIZE);
            front.flights().unwrap().write_all_at(&counter.to_ne_bytes(), entry + 8).unwrap();
            front.flights().unwrap().write_all_at(&[1], entry).unwrap();
        }
        wait_for("a new engine", limit_seconds(10), || UnixStream::connect(&socket).is_ok())
            .unwrap();
        front = front.again(&socket).unwrap();
        let mark = format!("in flight {round}");
        let heard = (0..20).any(|_| {
            std::iter::from_fn(|| front.hear(100)).any(|frame| holds(&frame, mark.as_bytes()))
        });
        assert!(heard, "{mark}");
        settle(&mut front);
        let mut area = [0; PART as usize];
        front.flights().unwrap().read_exact_at(&mut area, PART).unwrap();
        let flying = (0..256).filter(|at| area[(FLIES + EACH * at) as usize] != 0).count();
        assert_eq!(flying, 0);
    }
    // What cannot be in flight is a lie.
    settle(&mut front);
    small.host.kill_engine().unwrap();
    front.say(&question.frame(b"a lie"));
    let other = front.send.as_ref().unwrap().0.available.0.wrapping_add(7) % SIZE;
    front.flights().unwrap().write_all_at(&[1], PART + FLIES + EACH * u64::from(other)).unwrap();
    wait_for("a new engine", limit_seconds(10), || UnixStream::connect(&socket).is_ok()).unwrap();
    assert!(front.again(&socket).is_err());
}

/// Waits until all that was sent came back, each once and in its order.
fn settle(front: &mut Front) {
    let queue = &mut front.send.as_mut().unwrap().0;
    wait_for("all chains", limit_seconds(5), || {
        while queue.outstanding() > 0 {
            let expected = queue.seen() % SIZE;
            match queue.next_used() {
                Some((slot, _)) => assert_eq!(slot, expected),
                None => return false,
            }
        }
        true
    })
    .unwrap();
}
