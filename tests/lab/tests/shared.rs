//! Addresses that several guests may have: whoever announced them last holds them, nobody else
//! sends from them, and a fail-over needs no daemon.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use portcullis_lab::{
    Lab, Space,
    capture::{Capture, Injector},
    frame::{self, BROADCAST, Mac, Udp, holds, parse_mac},
    host::Host,
    process,
    small::neighbour,
    sums,
    tap::Wire,
    world::{Guest, Nic, attach},
};

const POLICY: &str = "\
networks:
  red:  { vlan: 10, subnets: [10.1.0.0/24, 'fd01::/64'], gateway: true }
  blue: { vlan: 20, subnets: [10.2.0.0/24], gateway: true }
guests:
  one: { network: red, ip: [10.1.0.11, 'fd01::11'], labels: pair }
  two: { network: red, ip: [10.1.0.12, 'fd01::12'], labels: pair }
  near: { network: red, ip: [10.1.0.13, 'fd01::13'] }
  far: { network: blue, ip: 10.2.0.14 }
shared:
  front: { network: red, ip: 10.1.0.100, by: pair, vrrp: 51 }
  front6: { network: red, ip: 'fd01::100', by: pair, vrrp: 51 }
rules:
  - { name: reach, allow: { from: [near, far], to: [front, front6], for: [ping, udp/4000] } }
  - { name: answer, allow: { from: [front, front6], to: near, for: udp/4001 } }
  - { name: agree, allow: { from: pair, to: pair, for: vrrp } }
";
const FRONT: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 100);
/// RFC 9568, section 7.3.
const FRONT_MAC: Mac = [0, 0, 0x5e, 0, 1, 51];
const FRONT6_MAC: Mac = [0, 0, 0x5e, 0, 2, 51];
const FRONT6: &str = "fd01::100";

struct Field {
    guests: [Guest; 4],
    seen: [Capture; 2],
    host: Host,
    lab: Lab,
}

const ONE: usize = 0;
const TWO: usize = 1;
const NEAR: usize = 2;
const FAR: usize = 3;

impl Field {
    fn new(tag: &str) -> Self {
        let lab = Lab::new(tag).unwrap();
        let host = Host::new(&lab, "host").unwrap();
        host.up().unwrap();
        host.apply(&lab.file("policy.yaml", POLICY).unwrap()).unwrap();
        let guests =
            [("one", Nic::Veth), ("two", Nic::Tap), ("near", Nic::Veth), ("far", Nic::Tap)]
                .map(|(name, nic)| attach(&lab, &host, name, nic).unwrap());
        let seen = [ONE, TWO].map(|g| Capture::start(&guests[g].space, "eth0").unwrap());
        Self { guests, seen, host, lab }
    }

    fn space(&self, guest: usize) -> &Space {
        &self.guests[guest].space
    }

    fn mac(&self, guest: usize) -> Mac {
        parse_mac(&self.guests[guest].mac).unwrap()
    }

    fn send(&self, guest: usize, frame: &[u8]) {
        Injector::new(self.space(guest), "eth0").unwrap().send(frame).unwrap();
    }

    /// Gratuitous ARP for the shared address, by this MAC.
    fn announce(&self, guest: usize, mac: Mac) {
        let claim = (mac, FRONT);
        self.send(guest, &frame::arp(1, mac, BROADCAST, claim, claim));
    }

    fn announce6(&self, guest: usize, mac: Mac, from: IpAddr) {
        let (IpAddr::V6(from), Ok(target)) = (from, FRONT6.parse()) else { panic!("{from}") };
        self.send(guest, &frame::advertisement(mac, from, target));
    }

    /// A datagram to the shared address.
    fn ask(&self, mark: &[u8]) {
        let (from_mac, from) = (self.mac(NEAR), self.guests[NEAR].addresses[0]);
        let udp = Udp { from_mac, to_mac: FRONT_MAC, from, to: FRONT.into(), port: 4000, ttl: 64 };
        self.send(NEAR, &udp.frame(mark));
    }

    /// A datagram from the shared address.
    fn speak(&self, guest: usize, mac: Mac) {
        let (to_mac, to) = (self.mac(NEAR), self.guests[NEAR].addresses[0]);
        let udp = Udp { from_mac: mac, to_mac, from: FRONT.into(), to, port: 4001, ttl: 64 };
        self.send(guest, &udp.frame(b"FROM-FRONT"));
    }

    /// The destination MAC with which this came to a guest, and to it alone.
    fn arrives(&self, guest: usize, mark: &[u8]) -> [u8; 6] {
        let seen = self.seen[guest].wait_for(|seen| holds(&seen.head, mark)).expect("it arrives");
        assert!(!self.seen[1 - guest].saw(|seen| holds(&seen.head, mark)));
        seen.head[0..6].try_into().unwrap()
    }

    fn holder(&self, name: &str) -> Option<String> {
        let status = self.host.status().unwrap().0;
        let all = status["shared"].as_array().unwrap();
        let one = all.iter().find(|shared| shared["name"] == name)?;
        one["holder"].as_str().map(str::to_owned)
    }

    /// How many packets this costs, by reason.
    fn counts(&self, reason: &str, act: impl FnOnce()) -> u64 {
        let before = self.host.status().unwrap().drops(reason);
        act();
        let after = || self.host.status().unwrap().drops(reason);
        let _ = process::wait_for("a drop", 3, || after() > before);
        after() - before
    }
}

impl Drop for Field {
    fn drop(&mut self) {
        sums::check_at_end(&self.host);
    }
}

#[test]
fn who_announces_holds_and_nobody_else() {
    let f = Field::new("shh");
    // Nobody has it yet; a guest that may not have it does not get it by any means.
    assert_eq!(f.holder("front"), None);
    assert_eq!(f.counts("no-holder", || f.ask(b"TOO-EARLY")), 1);
    assert_eq!(f.counts("not-holder", || f.speak(ONE, f.mac(ONE))), 1);
    assert_eq!(f.counts("spoofed-neighbour", || f.announce(NEAR, f.mac(NEAR))), 1);
    assert_eq!(f.counts("spoofed-mac", || f.announce(NEAR, FRONT_MAC)), 1);
    assert_eq!(f.counts("spoofed-address", || f.speak(NEAR, f.mac(NEAR))), 1);
    assert_eq!(f.holder("front"), None);
    // By its own MAC: frames to the address's MAC get that one on their way.
    // Stacks announce what is their own at any time.
    assert!(f.counts("absorbed", || f.announce(ONE, f.mac(ONE))) >= 1);
    assert_eq!(f.holder("front").as_deref(), Some("one"));
    f.ask(b"FIRST");
    assert_eq!(f.arrives(ONE, b"FIRST"), f.mac(ONE));
    assert_eq!(f.counts("not-holder", || f.speak(TWO, f.mac(TWO))), 1);
    let heard = Capture::start(f.space(NEAR), "eth0").unwrap();
    f.speak(ONE, f.mac(ONE));
    assert!(heard.wait_for(|seen| holds(&seen.head, b"FROM-FRONT")).is_some());
    // Everybody is told the address's MAC, whoever holds it.
    let told = neighbour(f.space(NEAR), FRONT.into()).unwrap();
    assert_eq!(parse_mac(&told), Some(FRONT_MAC));
    // A fail-over of the same connection, without a daemon; by the address's MAC this time.
    f.host.kill_daemon().unwrap();
    f.announce(TWO, FRONT_MAC);
    f.ask(b"SECOND");
    assert_eq!(f.arrives(TWO, b"SECOND"), FRONT_MAC);
    f.host.up().unwrap();
    process::wait_for("the daemon to know", 10, || f.holder("front").as_deref() == Some("two"))
        .unwrap();
    // Who held it does no more; and another policy does not change who does.
    assert_eq!(f.counts("not-holder", || f.speak(ONE, f.mac(ONE))), 1);
    f.host.apply(&f.lab.file("policy.yaml", &format!("{POLICY}# again\n")).unwrap()).unwrap();
    f.ask(b"THIRD");
    assert_eq!(f.arrives(TWO, b"THIRD"), FRONT_MAC);
    // Who has it is unplugged: nobody has it.
    f.host.portcullis(&["detach", &f.guests[TWO].port]).unwrap();
    assert_eq!(f.holder("front"), None);
}

#[test]
fn rules_and_neighbours_of_ipv6_know_it_too() {
    let f = Field::new("shv");
    let shared: IpAddr = FRONT6.parse().unwrap();
    let own = |guest: usize| *f.guests[guest].addresses.iter().find(|a| a.is_ipv6()).unwrap();
    let ask = |mark: &[u8], port| {
        let (from_mac, from) = (f.mac(NEAR), own(NEAR));
        let udp = Udp { from_mac, to_mac: FRONT6_MAC, from, to: shared, port, ttl: 64 };
        f.send(NEAR, &udp.frame(mark));
    };
    // From an address of its own, and from the shared one, as keepalived does.
    f.announce6(ONE, f.mac(ONE), own(ONE));
    ask(b"TO-ONE", 4000);
    assert_eq!(f.arrives(ONE, b"TO-ONE"), f.mac(ONE));
    f.announce6(TWO, FRONT6_MAC, shared);
    ask(b"TO-TWO", 4000);
    assert_eq!(f.arrives(TWO, b"TO-TWO"), FRONT6_MAC);
    assert_eq!(f.counts("spoofed-neighbour", || f.announce6(NEAR, f.mac(NEAR), own(NEAR))), 1);
    assert_eq!(f.counts("spoofed-address", || f.announce6(NEAR, f.mac(NEAR), shared)), 1);
    assert_eq!(f.holder("front6").as_deref(), Some("two"));
    assert_eq!(f.counts("no-rule", || ask(b"DENIED", 22)), 1);
    let told = neighbour(f.space(NEAR), shared).unwrap();
    assert_eq!(parse_mac(&told), Some(FRONT6_MAC));
    // Each address has a holder of its own router.
    assert_eq!(f.holder("front"), None);
}

/// The other one of the pair is at another host: whoever announces the address from there, by its own
/// MAC, has it until somebody here does.
#[test]
fn a_holder_may_be_behind_the_uplink() {
    let f = Field::new("shu");
    f.host.portcullis(&["detach", &f.guests[TWO].port]).unwrap();
    let wire = Wire::new(f.host.space(), "up0").unwrap();
    f.host.portcullis(&["attach", "uplink", "up0", "--untagged", "red"]).unwrap();
    f.announce(ONE, f.mac(ONE));
    f.ask(b"HERE");
    assert_eq!(f.arrives(ONE, b"HERE"), f.mac(ONE));
    let (to_mac, to) = (f.mac(NEAR), f.guests[NEAR].addresses[0]);
    let answer = Udp { from_mac: FRONT_MAC, to_mac, from: FRONT.into(), to, port: 4001, ttl: 64 };
    let from_there = || wire.send(&answer.frame(b"FROM-THERE")).unwrap();
    assert_eq!(f.counts("spoofed-address", from_there), 1, "it is here");
    // It goes there, also while a connection of before runs.
    let claim = (FRONT_MAC, FRONT);
    wire.send(&frame::arp(1, FRONT_MAC, BROADCAST, claim, claim)).unwrap();
    process::wait_for("the holder to be away", 5, || f.holder("front").is_none()).unwrap();
    f.ask(b"THERE");
    let left = wire.seen.wait_for(|seen| holds(&seen.head, b"THERE")).expect("it leaves");
    assert_eq!(left.head[0..6], FRONT_MAC);
    assert!(!f.seen[ONE].saw(|seen| holds(&seen.head, b"THERE")));
    assert_eq!(f.counts("not-holder", || f.speak(ONE, f.mac(ONE))), 1);
    let heard = Capture::start(f.space(NEAR), "eth0").unwrap();
    from_there();
    assert!(heard.wait_for(|seen| holds(&seen.head, b"FROM-THERE")).is_some());
    // And back.
    f.announce(ONE, FRONT_MAC);
    f.ask(b"AGAIN");
    assert_eq!(f.arrives(ONE, b"AGAIN"), FRONT_MAC);
    assert_eq!(f.counts("spoofed-address", from_there), 1, "it is here again");
}

/// keepalived; its field ends what is left of it.
struct Keepalived {
    process: Child,
    /// Number of the process that speaks VRRP.
    speaker: PathBuf,
}

impl Keepalived {
    fn start(field: &Field, guest: usize, priority: u8) -> Self {
        let dir = field.lab.dir().join(format!("keepalived-{guest}"));
        let text = format!(
            "global_defs {{ vrrp_version 3 }}\n\
             vrrp_instance front {{\n  state BACKUP\n  interface eth0\n  virtual_router_id 51\n  \
             priority {priority}\n  advert_int 0.2\n  virtual_ipaddress {{ {FRONT}/24 }}\n}}\n"
        );
        let file = field.lab.file(&format!("keepalived-{guest}/keepalived.conf"), &text).unwrap();
        let pid = |name: &str| dir.join(name).to_string_lossy().into_owned();
        let mut command = Command::new("keepalived");
        command
            .args(["--dont-fork", "--log-console", "--vrrp", "--use-file"])
            .arg(&file)
            .args(["--pid", &pid("pid"), "--vrrp_pid", &pid("vrrp-pid")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let process = field.space(guest).spawn(command).unwrap();
        Self { process, speaker: dir.join("vrrp-pid") }
    }

    /// Ends it without a farewell: as the guest's own end would.
    fn crash(&self) {
        let speaker = fs::read_to_string(&self.speaker).unwrap().trim().parse().unwrap();
        let own = Pid::from_raw(self.process.id() as i32);
        // The one would start the other anew, or be told of its end.
        kill(own, Signal::SIGSTOP).unwrap();
        kill(Pid::from_raw(speaker), Signal::SIGKILL).unwrap();
        kill(own, Signal::SIGKILL).unwrap();
    }
}

impl Drop for Keepalived {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// An echo request from a guest to the shared address.
fn ping(field: &Field, guest: usize) -> bool {
    field.space(guest).sh(&format!("ping -n -c 1 -W 1 {FRONT}")).is_ok()
}

#[test]
fn keepalived_fails_over_within_a_second() {
    let f = Field::new("shk");
    let first = Keepalived::start(&f, ONE, 150);
    process::wait_for("the first holder", 10, || f.holder("front").as_deref() == Some("one"))
        .unwrap();
    let _second = Keepalived::start(&f, TWO, 100);
    process::wait_for("an answer", 5, || ping(&f, NEAR) && ping(&f, FAR)).unwrap();
    // The second one hears the first, by multicast: it stays what it is.
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(f.holder("front").as_deref(), Some("one"));
    // No farewell: the first one's stack keeps the address, and would answer.
    let killed = Instant::now();
    first.crash();
    process::wait_for("the second holder", 5, || f.holder("front").as_deref() == Some("two"))
        .unwrap();
    let took = killed.elapsed();
    println!("keepalived failed over within {took:?}");
    assert!(ping(&f, NEAR) && ping(&f, FAR));
    let echo = |seen: &portcullis_lab::capture::Seen| {
        seen.head[23] == 1 && seen.head[30..34] == FRONT.octets()
    };
    assert!(f.seen[TWO].wait_for(echo).is_some());
    assert!(took < Duration::from_secs(1), "{took:?}");
}
