//! Guests on no operating system, in our own monitor, on taps of the switch, beside a guest in a
//! namespace.

use portcullis_lab::{
    probe::Probe,
    process::wait_for,
    small::Small,
    vm::{self, Vm},
    world::Nic,
};

const RULES: &[&str] = &[
    "{ name: pings, allow: { from: red, to: red, for: ping } }",
    "{ name: web, allow: { from: [r2, r3], to: r1, for: http } }",
    "{ name: echo, allow: { from: r1, to: [r2, r3], for: [udp/7, tcp/7] } }",
];

/// Runs a test on a machine that has KVM, with r3 in a namespace.
fn with_kvm(tag: &str, test: impl FnOnce(&Small)) {
    if vm::possible() {
        test(&Small::with(tag, RULES, &[("r3", Nic::Veth)]).unwrap());
    } else {
        println!("nothing is tested: there is no /dev/kvm");
    }
}

#[test]
fn guests_in_our_monitor_are_guests_like_others() {
    with_kvm("plv", |small| {
        // With as many threads as a large guest has.
        let many = ["--cpus", "12", "--queues", "4"];
        let mut first = Vm::start_with(&small.host, "r1", &many).unwrap();
        let mut second = Vm::start(&small.host, "r2", "").unwrap();
        assert_eq!(first.address().unwrap(), "10.1.0.11/24", "what DHCP says");
        assert_eq!(second.address().unwrap(), "10.1.0.12/24");
        for order in ["ping 10.1.0.11", "ping fd01::11", "http 10.1.0.11", "http fd01::11"] {
            second.works(order).unwrap();
        }
        // Between families and kinds of guests there is no difference.
        for order in ["udp 10.1.0.12 7 hello", "tcp fd01::12 7 hello"] {
            assert_eq!(first.works(order).unwrap()["answer"], "hello");
        }
        first.works("ping fd01::13").unwrap();
        for (probe, to) in [
            (Probe::Ping, "10.1.0.11"),
            (Probe::Ping, "fd01::12"),
            (Probe::Http, "10.1.0.11"),
            (Probe::Http, "fd01::11"),
        ] {
            let answered = probe.reaches(small.space("r3"), to.parse().unwrap()).unwrap();
            assert!(answered, "{probe} {to}");
        }
        let silent = first.order("silent on").unwrap();
        assert_eq!(silent["silent"], true);
        second.fails("ping 10.1.0.11").unwrap();
        first.order("silent off").unwrap();
        second.works("ping 10.1.0.11").unwrap();
        // What one of them was is written down, and goes on in another monitor.
        let directory = tempfile::tempdir().unwrap();
        let snapshot = directory.path().join("r2").to_string_lossy().into_owned();
        small.host.portcullis(&["guest", "snapshot", "r2", &snapshot, "--end"]).unwrap();
        second.ended().unwrap();
        let mut second = Vm::start_with(&small.host, "r2", &["--restore", &snapshot]).unwrap();
        second.works("http fd01::11").unwrap();
        assert!(Probe::Ping.reaches(small.space("r3"), "10.1.0.12".parse().unwrap()).unwrap());
        first.tell("off").unwrap();
        assert_eq!(first.ended().unwrap(), Some(0));
        assert!(small.host.status().unwrap().port("r1").is_none(), "its port goes with it");
    });
}

#[test]
fn a_guest_is_served_by_the_engine_and_finds_the_next_one() {
    with_kvm("plu", |small| {
        let mut tap = Vm::start(&small.host, "r1", "").unwrap();
        let mut rings = Vm::start_with(&small.host, "r2", &["--vhost-user"]).unwrap();
        assert_eq!(rings.address().unwrap(), "10.1.0.12/24", "what DHCP says");
        for order in ["ping 10.1.0.11", "ping fd01::11", "ping 10.1.0.13", "http fd01::11"] {
            rings.works(order).unwrap();
        }
        tap.works("tcp fd01::12 7 hello").unwrap();
        assert_eq!(rings.fails("udp 10.1.0.13 7").unwrap()["why"], "silence", "no rule for that");
        // Who stands still is not served, and goes on where he was.
        small.host.portcullis(&["guest", "pause", "r2"]).unwrap();
        tap.fails("ping 10.1.0.12").unwrap();
        small.host.portcullis(&["guest", "resume", "r2"]).unwrap();
        let to = "10.1.0.12".parse().unwrap();
        wait_for("the guest to go on", 20, || tap.tries(Probe::Ping, to).unwrap()).unwrap();
        small.host.kill_engine().unwrap();
        let answers = || tap.tries(Probe::Ping, to).unwrap();
        wait_for("a new engine and its guest", 20, answers).unwrap();
        rings.works("http 10.1.0.11").unwrap();
        rings.tell("off").unwrap();
        assert_eq!(rings.ended().unwrap(), Some(0));
        assert!(small.host.status().unwrap().port("r2").is_none(), "its port goes with it");
    });
}

#[test]
fn what_a_guest_may_not_is_dropped_by_its_name() {
    with_kvm("plw", |small| {
        let mut guest = Vm::start(&small.host, "r2", "").unwrap();
        guest.address().unwrap();
        let drops = |reason: &str| small.host.status().unwrap().drops(reason);
        for (order, reason) in [("udp 10.1.0.13 7", "no-rule"), ("tcp fd01::13 445", "no-rule")] {
            let before = drops(reason);
            assert_eq!(guest.fails(order).unwrap()["why"], "silence", "{order}");
            assert!(drops(reason) > before, "{order}: {reason}");
        }
        for (order, reason) in [
            ("spoof ip 10.1.0.13 10.1.0.11", "spoofed-address"),
            ("spoof ip fd01::13 fd01::11", "spoofed-address"),
            ("spoof mac 02:00:00:00:00:99 10.1.0.13", "spoofed-mac"),
            ("spoof arp 10.1.0.13", "spoofed-neighbour"),
        ] {
            let before = drops(reason);
            assert_eq!(guest.order(order).unwrap()["sent"], true, "{order}");
            wait_for(&format!("{order} as {reason}"), 10, || drops(reason) == before + 1).unwrap();
        }
        let before = drops("no-rule");
        guest.works("flood 10.1.0.13 9 100").unwrap();
        wait_for("a hundred drops", 10, || drops("no-rule") == before + 100).unwrap();
    });
}

#[test]
fn an_order_that_nobody_knows_is_answered_with_those_that_there_are() {
    with_kvm("plx", |small| {
        let mut guest = Vm::start(&small.host, "r1", "").unwrap();
        guest.tell("dance").unwrap();
        let answer = guest.says("error", "no such order").unwrap();
        assert!(answer["orders"].as_str().is_some_and(|all| all.contains("ping ADDRESS")));
        guest.tell("reboot").unwrap();
        guest.says("event", "reboot").unwrap();
        assert!(guest.says("event", "up").unwrap()["mac"].is_string(), "it comes again");
        assert_eq!(guest.order("status").unwrap()["order"], "status");
    });
}
