//! What guests have used is exact, whatever is renamed, renumbered, moved and taken away while they
//! send: what `usage` says of all guests is what has passed all ports that there ever were.

use std::time::Duration;

use portcullis_lab::{
    Lab, Space,
    frame::{Mac, Udp, parse_mac},
    hammer::Hammer,
    host::Host,
    process::wait_for,
    sums,
};
use serde_json::Value;

/// `fw` has red untagged, blue and green tagged. Without a gateway nothing has counters but guests.
const POLICY: &str = "\
networks:
  red: { vlan: 10, subnets: [10.1.0.0/24] }
  blue: { vlan: 20, subnets: [10.2.0.0/24] }
  green: { vlan: 30, subnets: [10.3.0.0/24] }
guests:
  fw: { network: red, ip: 10.1.0.2, trunk: [{ network: blue, ip: 10.2.0.2 }, { network: green, ip: 10.3.0.2 }], forwards: false }
  r1: { network: red, ip: 10.1.0.11 }
  b1: { network: blue, ip: 10.2.0.11 }
  g1: { network: green, ip: 10.3.0.11 }
rules:
  - { name: all, allow: { from: [red, blue, green], to: [red, blue, green], for: udp } }
";
/// Time between two frames of a guest.
const PACE: Duration = Duration::from_millis(1);

/// A host with all of those guests on veths.
struct Books {
    spaces: Vec<(&'static str, Space)>,
    host: Host,
    lab: Lab,
}

impl Drop for Books {
    fn drop(&mut self) {
        sums::check_at_end(&self.host);
    }
}

impl Books {
    fn new(tag: &str) -> Self {
        let lab = Lab::new(tag).unwrap();
        let host = Host::new(&lab, "host").unwrap();
        host.up().unwrap();
        let space = |name| (name, lab.space(name).unwrap());
        let books = Self { spaces: ["fw", "r1", "b1", "g1"].map(space).into(), host, lab };
        books.apply(POLICY);
        books.spaces.iter().for_each(|(name, _)| books.attach(name));
        books
    }

    fn space(&self, guest: &str) -> &Space {
        &self.spaces.iter().find(|(name, _)| *name == guest).unwrap().1
    }

    fn apply(&self, policy: &str) {
        self.host.apply(&self.lab.file("policy.yaml", policy).unwrap()).unwrap();
    }

    fn attach(&self, guest: &str) {
        let (port, netns) = (format!("v-{guest}"), self.space(guest).path());
        let netns = netns.to_string_lossy();
        let veth = ["attach", "veth", &port, "--guest", guest, "--netns", &netns, "--no-configure"];
        self.host.portcullis(&veth).unwrap();
        let space = self.space(guest);
        // Nobody speaks there but the test.
        space.sysctl("net/ipv6/conf/eth0/disable_ipv6", "1").unwrap();
        space.ip(&format!("link set eth0 address {} up", self.mac_text(&port))).unwrap();
    }

    fn mac_text(&self, port: &str) -> String {
        self.host.status().unwrap().port(port).unwrap()["mac"].as_str().unwrap().to_owned()
    }

    fn mac(&self, port: &str) -> Mac {
        parse_mac(&self.mac_text(port)).unwrap()
    }

    /// Everybody sends: what is allowed, and something that is not.
    fn traffic(&self) -> Vec<Hammer> {
        let fw = self.mac("v-fw");
        let datagram = |from: (Mac, &str), to: (Mac, &str)| Udp {
            from_mac: from.0,
            to_mac: to.0,
            from: from.1.parse().unwrap(),
            to: to.1.parse().unwrap(),
            port: 4000,
            ttl: 64,
        };
        let [red, blue, green] = [(1, "v-r1"), (2, "v-b1"), (3, "v-g1")].map(|(network, port)| {
            let own = (self.mac(port), format!("10.{network}.0.11"));
            let other = (fw, format!("10.{network}.0.2"));
            let to_fw = datagram((own.0, &own.1), (other.0, &other.1));
            let from_fw = datagram((other.0, &other.1), (own.0, &own.1));
            (to_fw, from_fw)
        });
        let forged = Udp { from: "10.9.9.9".parse().unwrap(), ..blue.1 };
        let from_fw = vec![
            red.1.frame(b"red"),
            blue.1.tagged(20, b"blue, of some length"),
            green.1.tagged(30, b"green"),
            forged.tagged(20, b"forged"),
        ];
        let sends = |guest, frames| Hammer::at_pace(PACE, self.space(guest), "eth0", frames);
        vec![
            sends("fw", from_fw),
            sends("r1", vec![red.0.frame(b"red")]),
            sends("b1", vec![blue.0.frame(b"blue, of some length")]),
            sends("g1", vec![green.0.frame(b"green")]),
        ]
    }

    /// What all guests have used, and what has passed all ports: packets and bytes in both
    /// directions, and packets dropped.
    fn both(&self) -> ([u64; 5], [u64; 5]) {
        let usage = self.host.json(&["usage"]).unwrap();
        let total = self.host.status().unwrap().0["traffic"].clone();
        let n = |value: &Value| value.as_u64().unwrap();
        let used =
            ["sent_packets", "sent_bytes", "received_packets", "received_bytes", "dropped_packets"];
        let used = used.map(|key| usage.as_array().unwrap().iter().map(|one| n(&one[key])).sum());
        let passed = ["in_packets", "in_bytes", "out_packets", "out_bytes", "dropped"];
        (used, passed.map(|key| n(&total[key])))
    }

    /// Packets that a guest has sent in a network.
    fn sent(&self, guest: &str, network: &str) -> u64 {
        let usage = self.host.json(&["usage"]).unwrap();
        let of = |one: &&Value| one["guest"] == guest && one["network"] == network;
        let one = usage.as_array().unwrap().iter().find(of).cloned().unwrap_or_default();
        one["sent_packets"].as_u64().unwrap_or(0)
    }
}

/// Changes what stands for `from` in a policy.
fn with(policy: &str, changes: &[(&str, &str)]) -> String {
    changes.iter().fold(policy.to_owned(), |policy, (from, to)| {
        assert!(policy.contains(from), "{from}");
        policy.replace(from, to)
    })
}

#[test]
fn no_packet_counts_twice_and_none_is_lost() {
    let books = Books::new("pus");
    let hammers = books.traffic();
    let goes_on = || {
        let sent: Vec<u64> = hammers.iter().map(Hammer::sent).collect();
        let more = || hammers.iter().zip(&sent).all(|(hammer, sent)| hammer.sent() > sent + 40);
        wait_for("traffic", 10, more).unwrap();
    };
    goes_on();
    let vlans = [("vlan: 20", "vlan: 0"), ("vlan: 30", "vlan: 20"), ("vlan: 0", "vlan: 30")];
    let blue = "{ network: blue, ip: 10.2.0.2 }";
    let green = "{ network: green, ip: 10.3.0.2 }";
    for changes in [
        // A network gets another name, another VLAN, that of another network.
        &[("blue", "azure")][..],
        &[("vlan: 20", "vlan: 21")],
        &[],
        &vlans,
        // The trunk in another order, with one network less, as it was, the other way round.
        &[("trunk: [", "trunk: [G, "), (", { network: green, ip: 10.3.0.2 }", ""), ("G", green)],
        &[(", { network: green, ip: 10.3.0.2 }", "")],
        &[],
        &[
            ("fw: { network: red, ip: 10.1.0.2", "fw: { network: blue, ip: 10.2.0.2"),
            (blue, "{ network: red, ip: 10.1.0.2 }"),
        ],
        // A guest gets another name, so its port knows nobody; and its own again.
        &[("r1:", "rr:")],
        &[("fw:", "wall:")],
        &[],
    ] {
        books.apply(&with(POLICY, changes));
        goes_on();
    }
    // Who has counted ends; a port goes, and comes back as another interface.
    books.host.kill_daemon().unwrap();
    goes_on();
    books.host.up().unwrap();
    books.host.portcullis(&["detach", "v-b1"]).unwrap();
    books.attach("b1");
    books.host.portcullis(&["detach", "v-fw"]).unwrap();
    books.attach("fw");
    drop(hammers);
    let mut both = books.both();
    let exact = wait_for("exact sums", 5, || {
        both = books.both();
        both.0 == both.1
    });
    exact.unwrap_or_else(|error| {
        panic!("{error}: {both:?}\n{}", books.host.json(&["usage"]).unwrap())
    });
    assert!(both.0.iter().all(|sum| *sum > 100), "{both:?}");
    // Each name has what passed under it.
    for (guest, network) in
        [("fw", "red"), ("fw", "blue"), ("fw", "azure"), ("fw", "green"), ("b1", "azure")]
    {
        assert!(books.sent(guest, network) > 20, "{guest} in {network}");
    }
}
