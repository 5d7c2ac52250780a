//! The gate of an uplink: an XDP program that drops what can never be allowed. Whatever it is
//! attached to, and however, what passes and what is dropped for which reason is the same.

use std::{collections::BTreeMap, net::IpAddr, time::Instant};

use portcullis_lab::{
    Lab,
    capture::{Capture, Injector},
    frame::{BROADCAST, Mac, Udp, arp, holds, parse_mac, strange},
    host::Host,
    process::wait_for,
    sums,
    tap::Wire,
    world::{Guest, Nic, attach},
};
use serde_json::Value;

const POLICY: &str = "\
networks:
  red: { vlan: 10, subnets: [10.1.0.0/24, 'fd01::/64'], gateway: true }
  wan: { vlan: 40, subnets: [198.51.100.0/24, 'fd40::/64'], gateway: true, kind: external }
guests:
  r1: { network: red, ip: [10.1.0.11, 'fd01::11'] }
  r2: { network: red, ip: [10.1.0.12, 'fd01::12'] }
  w1: { network: wan, ip: [198.51.100.11, 'fd40::11'] }
rules:
  - { name: public, allow: { from: [world, red, wan], to: [r1, r2, w1], for: udp } }
denied:
  bad: { addresses: [203.0.113.0/25, 203.0.113.200, '2001:db8:bad::/48'] }
";
/// Somebody behind the uplink.
const STRANGER: Mac = [2, 0, 0, 0, 0, 0x99];
const RED: u16 = 10;
const UPLINK: &str = "up0";
/// Of every kind of frame so many.
const FRAMES: u64 = 20;

/// A host with a guest in each network.
struct Bed {
    guests: BTreeMap<&'static str, (Guest, Capture)>,
    host: Host,
    lab: Lab,
}

impl Bed {
    fn new(tag: &str) -> Self {
        Self::with(tag, Nic::Veth)
    }

    /// Whose guests have such NICs.
    fn with(tag: &str, nic: Nic) -> Self {
        let lab = Lab::new(tag).unwrap();
        let host = Host::new(&lab, "host").unwrap();
        host.up().unwrap();
        host.apply(&lab.file("policy.yaml", POLICY).unwrap()).unwrap();
        let guest = |name| {
            let guest = attach(&lab, &host, name, nic).unwrap();
            let capture = Capture::start(&guest.space, "eth0").unwrap();
            (name, (guest, capture))
        };
        Self { guests: ["r1", "w1"].map(guest).into(), host, lab }
    }

    /// Attaches the uplink.
    fn attach(&self, networks: &[&str], xdp: &str) {
        let head = ["attach", "uplink", UPLINK, "--xdp", xdp];
        self.host.portcullis(&[&head, networks].concat()).unwrap();
    }

    fn gate(&self) -> Value {
        self.host.status().unwrap().port(UPLINK).unwrap()["xdp"].clone()
    }

    /// From an address behind the uplink to a guest.
    fn to(&self, guest: &str, from: &str) -> Udp {
        let (own, _) = &self.guests[guest];
        let from: IpAddr = from.parse().unwrap();
        let to = own.addresses.iter().find(|a| a.is_ipv4() == from.is_ipv4()).unwrap();
        let to_mac = parse_mac(&own.mac).unwrap();
        Udp { from_mac: STRANGER, to_mac, from, to: *to, port: 4000, ttl: 64 }
    }

    fn saw(&self, guest: &str, mark: &[u8]) -> bool {
        self.guests[guest].1.saw(|seen| holds(&seen.head, mark))
    }

    /// Everything that the uplink's counters say.
    fn counted(&self) -> Value {
        self.host.status().unwrap().port(UPLINK).unwrap()["traffic"].clone()
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        sums::check_at_end(&self.host);
    }
}

/// Frames of the untagged network that can never be allowed, each with its reason.
fn untagged(bed: &Bed) -> Vec<(&'static str, Vec<u8>)> {
    let mark = b"NEVER";
    let from_group = Udp { from_mac: BROADCAST, ..bed.to("w1", "203.0.113.150") };
    let own = bed.guests["w1"].0.addresses.clone();
    let [own4, own6] = [0, 1].map(|i| own[i].to_string());
    vec![
        ("unknown-vlan", bed.to("w1", "203.0.113.150").tagged(99, mark)),
        ("denied-set", bed.to("w1", "203.0.113.7").frame(mark)),
        ("denied-set", bed.to("w1", "203.0.113.200").frame(mark)),
        ("denied-set", bed.to("w1", "203.0.113.127").syn()),
        ("denied-set", bed.to("w1", "2001:db8:bad:1::1").frame(mark)),
        ("spoofed-address", bed.to("w1", "10.1.0.11").frame(mark)),
        ("spoofed-address", bed.to("w1", "10.1.0.99").frame(mark)),
        ("spoofed-address", bed.to("w1", "fd01::11").frame(mark)),
        ("spoofed-address", Udp { ttl: 1, ..bed.to("w1", &own4) }.frame(mark)),
        ("spoofed-address", bed.to("w1", &own6).frame(mark)),
        ("martian", bed.to("w1", "127.0.0.1").frame(mark)),
        ("spoofed-mac", from_group.frame(mark)),
        ("ether-type", strange(STRANGER, BROADCAST, 0x88cc, mark)),
    ]
}

/// The same of a tagged network.
fn tagged(bed: &Bed) -> Vec<(&'static str, Vec<u8>)> {
    let mark = b"NEVER";
    let red = |from: &str| bed.to("r1", from).tagged(RED, mark);
    let mut twice = red("10.1.0.99");
    let tag = twice[12..16].to_vec();
    twice.splice(12..12, tag);
    vec![
        ("double-tag", twice),
        ("denied-set", red("203.0.113.7")),
        ("denied-set", red("2001:db8:bad::")),
        ("spoofed-address", red("10.1.0.11")),
        ("spoofed-address", red("198.51.100.11")),
        ("spoofed-address", red("203.0.113.150")),
        ("spoofed-address", red("fd01::11")),
    ]
}

/// Sends them and compares the port's counters with what must have become of each. What has been
/// counted, for comparison.
fn storm(
    bed: &Bed,
    never: &[(&'static str, Vec<u8>)],
    allowed: &[(&str, Vec<u8>)],
    send: impl Fn(&[u8]),
) -> Value {
    let before = bed.counted();
    let mut wanted = BTreeMap::new();
    for (reason, frame) in never {
        (0..FRAMES).for_each(|_| send(frame));
        *wanted.entry(reason.to_string()).or_insert(0) += FRAMES;
    }
    for (_, frame) in allowed {
        (0..FRAMES).for_each(|_| send(frame));
    }
    let n = |value: &Value| value.as_u64().unwrap_or(0);
    let all = FRAMES * (never.len() + allowed.len()) as u64;
    let came = || n(&bed.counted()["in_packets"]) - n(&before["in_packets"]);
    wait_for("all frames", 10, || came() >= all).unwrap();
    for (guest, _) in allowed {
        let (_, capture) = &bed.guests[guest];
        let arrived = capture.wait_for(|seen| holds(&seen.head, b"ALLOWED"));
        assert!(arrived.is_some(), "{guest}: {}\n{}", bed.counted(), bed.gate());
    }
    assert!(!["r1", "w1"].iter().any(|guest| bed.saw(guest, b"NEVER")));
    let after = bed.counted();
    for (reason, frames) in &wanted {
        let counted = n(&after["reasons"][reason]) - n(&before["reasons"][reason]);
        assert_eq!(counted, *frames, "{reason}: {after}, before {before}");
    }
    after
}

/// Over a wire that shows tags as they are.
fn over_a_wire(tag: &str, xdp: &str) -> (Value, Value) {
    let bed = Bed::new(tag);
    let wire = Wire::new(bed.host.space(), UPLINK).unwrap();
    // What the host's own stack says into its new interface is no concern of the switch.
    bed.attach(&["--tagged", "red", "--untagged", "wan"], xdp);
    let never = [untagged(&bed), tagged(&bed)].concat();
    let allowed = [
        ("w1", bed.to("w1", "203.0.113.150").frame(b"ALLOWED")),
        ("r1", bed.to("r1", "10.1.0.99").tagged(RED, b"ALLOWED")),
    ];
    let counted = storm(&bed, &never, &allowed, |frame| wire.send(frame).unwrap());
    (counted, bed.gate())
}

#[test]
fn every_way_to_attach_it_counts_the_same() {
    let (filter, none) = over_a_wire("pgf", "off");
    assert_eq!((&none["mode"], &none["why"]), (&"none".into(), &"off".into()), "{none}");
    assert_eq!(none["dropped"], 0);
    for (tag, mode) in [("pgn", "native"), ("pgg", "generic")] {
        let (counted, gate) = over_a_wire(tag, mode);
        assert_eq!(gate["mode"], mode, "{gate}");
        assert_eq!(gate["hides_tags"], false, "{gate}");
        assert_eq!(gate["dropped"], counted["dropped"], "all of it by the gate");
        assert_eq!(counted, filter, "{mode} and the filter");
    }
}

/// What a stranger sends to `w1`, in turn: datagrams of a connection, the same with a checksum that
/// somebody has left to finish, and first fragments of larger ones.
fn visits(bed: &Bed, wire: &Wire) {
    let to = bed.to("w1", "203.0.113.150");
    let mut unfinished = to.frame(b"UNFINISHED");
    let sum = unfinished_sum(&unfinished);
    unfinished[40..42].copy_from_slice(&sum.to_be_bytes());
    let mut piece = to.frame(b"ALLOWED, IN PIECES");
    // "More fragments": it is the first of several.
    piece[20] |= 0x20;
    for frame in [to.frame(b"ALLOWED"), unfinished, piece] {
        (0..FRAMES).for_each(|_| wire.send(&frame).unwrap());
    }
}

/// Of the pseudo header, as a guest leaves it (virtio 1.2, section 5.1.6.2).
fn unfinished_sum(frame: &[u8]) -> u16 {
    let words = |bytes: &[u8]| -> u32 {
        bytes.chunks(2).map(|w| u32::from(w[0]) << 8 | u32::from(w[1])).sum()
    };
    let sum = words(&frame[26..34]) + 17 + frame.len() as u32 - 34;
    (sum % 0xffff) as u16
}

/// The native gate sends what is complete and belongs to a known connection straight to a guest's tap,
/// and nothing that is counted tells who sent it.
#[test]
fn what_goes_straight_is_counted_and_cut_like_everything_else() {
    let mut counted = Vec::new();
    for (tag, xdp) in [("pgo", "off"), ("pgs", "native")] {
        let bed = Bed::with(tag, Nic::Tap);
        let wire = Wire::new(bed.host.space(), UPLINK).unwrap();
        bed.attach(&["--untagged", "wan"], xdp);
        visits(&bed, &wire);
        let came = || bed.counted()["in_packets"].as_u64().unwrap();
        wait_for("all frames", 10, || came() >= 3 * FRAMES).unwrap();
        let (_, capture) = &bed.guests["w1"];
        let got = |mark: &'static [u8]| {
            capture.frames().iter().filter(|seen| holds(&seen.head, mark)).count() as u64
        };
        wait_for("datagrams at the guest", 10, || got(b"ALLOWED") >= FRAMES).unwrap();
        // All but the first, whose connection was not known yet; what is not complete goes the whole way.
        let straight = if xdp == "native" { FRAMES - 1 } else { 0 };
        assert_eq!(bed.gate()["sent"], straight, "{xdp}: {}", bed.counted());
        let guest = bed.host.status().unwrap();
        let guest = guest.port(&bed.guests["w1"].0.port).unwrap()["traffic"].clone();
        let out = guest["out_outside"].clone();
        counted.push((bed.counted(), out));

        // Revoked: when apply returns nothing passes any more.
        let closed = POLICY.replace("to: [r1, r2, w1], for: udp", "to: [r1, r2], for: udp");
        bed.host.apply(&bed.lab.file("closed.yaml", &closed).unwrap()).unwrap();
        let before = bed.counted();
        (0..FRAMES).for_each(|_| {
            wire.send(&bed.to("w1", "203.0.113.150").frame(b"REVOKED")).unwrap();
        });
        let dropped = |of: &Value| of["reasons"]["no-rule"].as_u64().unwrap_or(0);
        wait_for("the drops", 10, || dropped(&bed.counted()) == dropped(&before) + FRAMES).unwrap();
        assert_eq!(got(b"REVOKED"), 0);
        assert_eq!(bed.gate()["sent"], straight);
    }
    assert_eq!(counted[0], counted[1], "filter and gate");
}

/// Frames of each flood: with every other source, and of limits of a few in a second.
const FLOOD: u64 = 400;
const LIMITS: &str = "uplink-limits: { new: 20/s, broadcast: 20/s, neighbours: 20/s }";

/// A flood: its name, and a frame by its number.
type Flood = (&'static str, Box<dyn Fn(u64) -> Vec<u8>>);

/// Floods from where they may come from.
fn floods(bed: &Bed) -> Vec<Flood> {
    let to = bed.to("w1", "203.0.113.150");
    let from = move |n: u64| Udp { from: [198, 18, (n >> 8) as u8, n as u8].into(), ..to };
    let everybody = move |n| Udp { to_mac: BROADCAST, to: [255; 4].into(), ..from(n) };
    let neighbour = |n: u64| [198, 51, 100, 100 + (n % 100) as u8].into();
    vec![
        ("limit-new", Box::new(move |n| from(n).syn())),
        ("no-connection", Box::new(move |n| acknowledgement(from(n).syn()))),
        ("limit-broadcast", Box::new(move |n| everybody(n).frame(b"EVERYBODY"))),
        (
            "limit-neighbour",
            Box::new(move |n| {
                let claims = (STRANGER, neighbour(n));
                arp(1, STRANGER, BROADCAST, claims, ([0; 6], [198, 51, 100, 11].into()))
            }),
        ),
    ]
}

/// A SYN as a segment of a connection in which it was long ago.
fn acknowledgement(mut syn: Vec<u8>) -> Vec<u8> {
    // Its flags (RFC 9293, section 3.1).
    syn[14 + 20 + 13] = 0x10;
    syn
}

/// What floods an uplink stays at its gate, except for what the limits admit; a connection that there
/// was before goes on.
#[test]
fn a_flood_stays_at_the_gate() {
    for (tag, xdp) in [("pfo", "off"), ("pfn", "native"), ("pfg", "generic")] {
        let bed = Bed::new(tag);
        let limited = POLICY.replace("kind: external }", &format!("kind: external, {LIMITS} }}"));
        bed.host.apply(&bed.lab.file("limited.yaml", &limited).unwrap()).unwrap();
        let wire = Wire::new(bed.host.space(), UPLINK).unwrap();
        bed.attach(&["--untagged", "wan"], xdp);
        let known = bed.to("w1", "203.0.113.150");
        wire.send(&known.frame(b"KNOWN")).unwrap();
        let n = |value: &Value| value.as_u64().unwrap_or(0);
        let mut refused = 0;
        for (reason, frame) in floods(&bed) {
            let (before, begun) = (bed.counted(), Instant::now());
            (0..FLOOD).for_each(|number| wire.send(&frame(number)).unwrap());
            let mark = format!("DURING {reason}").into_bytes();
            (0..FRAMES).for_each(|_| wire.send(&known.frame(&mark)).unwrap());
            let came = || n(&bed.counted()["in_packets"]) - n(&before["in_packets"]);
            wait_for("all frames", 10, || came() >= FLOOD + FRAMES).unwrap();
            let seconds = 1 + begun.elapsed().as_secs();
            let after = bed.counted();
            let dropped = n(&after["reasons"][reason]) - n(&before["reasons"][reason]);
            let admitted = if reason == "no-connection" { 0 } else { 20 * (seconds + 1) + 1 };
            assert!(dropped <= FLOOD, "{reason}: {dropped} of {FLOOD}: {after}");
            assert!(dropped + admitted >= FLOOD, "{reason}: {dropped} in {seconds} s: {after}");
            refused += dropped;
            let (_, capture) = &bed.guests["w1"];
            let got = || capture.frames().iter().filter(|seen| holds(&seen.head, &mark)).count();
            wait_for("the connection", 10, || got() as u64 == FRAMES).unwrap();
        }
        let at_the_gate = if xdp == "off" { 0 } else { refused };
        assert_eq!(bed.gate()["dropped"], at_the_gate, "{xdp}: {}", bed.counted());
    }
}

/// Somebody who wants to be told of what limits refuse is told, gate or not.
#[test]
fn a_limit_that_the_gate_foresees_is_told_of() {
    let bed = Bed::new("pfl");
    let limited = POLICY.replace("kind: external }", &format!("kind: external, {LIMITS} }}"));
    // What is admitted is allowed then, and leaves the log to what is not.
    let limited = limited.replace("for: udp", "for: [udp, tcp]");
    let limited = format!("log-denied: 5/s\n{limited}");
    bed.host.apply(&bed.lab.file("limited.yaml", &limited).unwrap()).unwrap();
    let wire = Wire::new(bed.host.space(), UPLINK).unwrap();
    bed.attach(&["--untagged", "wan"], "native");
    for (reason, frame) in floods(&bed) {
        let flood = || (0..FLOOD).for_each(|number| wire.send(&frame(number)).unwrap());
        let told = || {
            let all = bed.host.portcullis(&["events"]).unwrap_or_default();
            all.lines().any(|line| line.contains(reason))
        };
        flood();
        // The flood before may have had all that is told of in this second.
        let again = || {
            told() || {
                flood();
                false
            }
        };
        if reason != "no-connection" {
            wait_for("an event", 10, again).unwrap();
        }
    }
    assert!(bed.gate()["dropped"].as_u64() > Some(FLOOD), "{}", bed.gate());
}

/// The other end of a cable, with an interface `eth0`.
fn cable(bed: &Bed) -> portcullis_lab::Space {
    let world = bed.lab.space("world").unwrap();
    // Nobody speaks there but the test.
    world.sysctl("net/ipv6/conf/default/disable_ipv6", "1").unwrap();
    lay(bed, &world);
    world
}

fn lay(bed: &Bed, world: &portcullis_lab::Space) {
    let name = world.name();
    bed.host
        .space()
        .ip(&format!("link add {UPLINK} type veth peer name eth0 netns {name}"))
        .unwrap();
    world.ip("link set eth0 up").unwrap();
}

#[test]
fn a_cable_of_software_has_one_by_request_and_keeps_it() {
    let bed = Bed::new("pgc");
    let world = cable(&bed);
    bed.attach(&["--untagged", "wan"], "auto");
    let gate = bed.gate();
    assert_eq!(gate["mode"], "none", "a veth takes large frames: {gate}");
    bed.host.portcullis(&["detach", UPLINK]).unwrap();

    bed.attach(&["--untagged", "wan"], "native");
    let injector = Injector::new(&world, "eth0").unwrap();
    let allowed = [("w1", bed.to("w1", "203.0.113.150").frame(b"ALLOWED"))];
    let send = |frame: &[u8]| injector.send(frame).unwrap();
    storm(&bed, &untagged(&bed), &allowed, send);
    let gate = bed.gate();
    assert_eq!((&gate["mode"], &gate["why"]), (&"native".into(), &Value::Null));
    let dropped = gate["dropped"].as_u64().unwrap();
    assert_eq!(dropped, FRAMES * untagged(&bed).len() as u64);

    // The next daemon finds it, and it has worked on meanwhile.
    bed.host.kill_daemon().unwrap();
    (0..FRAMES).for_each(|_| send(&bed.to("w1", "203.0.113.7").frame(b"NEVER")));
    bed.host.up().unwrap();
    wait_for("the count", 5, || bed.gate()["dropped"] == dropped + FRAMES).unwrap();

    // Another policy: what is denied by it, and what is not any more.
    let other = POLICY.replace("203.0.113.0/25, ", "").replace("203.0.113.200", "203.0.113.150");
    bed.host.apply(&bed.lab.file("other.yaml", &other).unwrap()).unwrap();
    let allowed = [("w1", bed.to("w1", "203.0.113.7").frame(b"ALLOWED"))];
    let never = [("denied-set", bed.to("w1", "203.0.113.150").frame(b"NEVER"))];
    storm(&bed, &never, &allowed, send);

    // The interface goes, and comes back as another one.
    bed.host.space().ip(&format!("link del {UPLINK}")).unwrap();
    wait_for("the loss", 20, || !bed.host.status().unwrap().is_open(UPLINK)).unwrap();
    lay(&bed, &world);
    wait_for("the port", 20, || bed.host.status().unwrap().is_open(UPLINK)).unwrap();
    assert_eq!(bed.gate()["mode"], "native");
    let injector = Injector::new(&world, "eth0").unwrap();
    storm(&bed, &never, &[], |frame| injector.send(frame).unwrap());

    bed.host.down().unwrap();
    let left = bed.host.space().ip(&format!("link show {UPLINK}")).unwrap();
    assert!(!left.contains("xdp"), "{left}");
}

/// Another host's switch puts tags on beside the bytes of its frames, and a veth pair carries them
/// there, where no XDP program sees them.
#[test]
fn a_tag_that_the_gate_cannot_see_is_not_missed() {
    let bed = Bed::new("pgh");
    let other = Host::new(&bed.lab, "other").unwrap();
    other.up().unwrap();
    other.apply(&bed.lab.file("policy.yaml", POLICY).unwrap()).unwrap();
    lay(&bed, other.space());
    let both = ["--tagged", "red", "--untagged", "wan"];
    other.portcullis(&[&["attach", "uplink", "eth0"][..], &both].concat()).unwrap();
    let r2 = attach(&bed.lab, &other, "r2", Nic::Veth).unwrap();
    bed.attach(&both, "native");
    let gate = bed.gate();
    assert_eq!((&gate["mode"], &gate["hides_tags"]), (&"native".into(), &true.into()));
    // Of the untagged network its source would be forged.
    let tagged_there = Injector::new(&r2.space, "eth0").unwrap();
    let from = Udp { from_mac: parse_mac(&r2.mac).unwrap(), ..bed.to("r1", "10.1.0.12") };
    let (_, capture) = &bed.guests["r1"];
    tagged_there.send(&from.frame(b"ALLOWED")).unwrap();
    assert!(capture.wait_for(|seen| holds(&seen.head, b"ALLOWED")).is_some(), "{}", bed.counted());
    // A tag among the bytes is seen.
    let plain = Injector::new(other.space(), "eth0").unwrap();
    let never = tagged(&bed);
    storm(&bed, &never, &[], |frame| plain.send(frame).unwrap());
    let dropped = bed.gate()["dropped"].as_u64().unwrap();
    assert!(dropped >= FRAMES * never.len() as u64, "{dropped}");
    sums::check_at_end(&other);
}
