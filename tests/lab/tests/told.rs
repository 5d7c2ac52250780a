//! Real clients are told what was declared, by the switch alone, also while no daemon lives.

use std::{
    collections::BTreeMap, fs, os::unix::fs::PermissionsExt, path::PathBuf, process::Command,
};

use portcullis_lab::{
    Lab, Space,
    capture::Capture,
    frame::holds,
    host::Host,
    process,
    world::{Guest, Nic, attach},
};

const POLICY: &str = "\
networks:
  red:
    vlan: 10
    subnets: [10.1.0.0/24, 'fd01::/64']
    gateway: true
    mtu: 1400
    dns: [10.1.0.53, 'fd01::53']
    domain: red.example
    lease: 1h
  mute: { vlan: 20, subnets: [10.2.0.0/24, 'fd02::/64'], gateway: true, dhcp: false }
guests:
  r1: { network: red, ip: [10.1.0.11, 'fd01::11'] }
  r2: { network: red, ip: [10.1.0.12, 'fd01::12'] }
  m1: { network: mute, ip: [10.2.0.11, 'fd02::11'] }
";

/// The group MAC of all nodes.
const ALL_NODES: [u8; 6] = [0x33, 0x33, 0, 0, 0, 1];

/// Writes what the client was told into the file that is named by `TOLD`.
const SCRIPT: &str =
    "#!/bin/sh\ncase \"$1$reason\" in deconfig|PREINIT*) exit 0;; esac\nenv > TOLD\n";

/// A host and a guest on a veth pair, which has forgotten its addresses.
struct Bed {
    guests: BTreeMap<String, Guest>,
    host: Host,
    lab: Lab,
}

impl Bed {
    fn new(tag: &str, guests: &[&str]) -> Self {
        let lab = Lab::new(tag).unwrap();
        let host = Host::new(&lab, "host").unwrap();
        host.up().unwrap();
        host.apply(&lab.file("policy.yaml", POLICY).unwrap()).unwrap();
        let mut bed = Self { guests: BTreeMap::new(), host, lab };
        for name in guests {
            let guest = attach(&bed.lab, &bed.host, name, Nic::Veth).unwrap();
            guest.space.ip("-4 addr flush dev eth0").unwrap();
            guest.space.ip("-6 addr flush dev eth0 scope global").unwrap();
            bed.guests.insert((*name).to_owned(), guest);
        }
        bed
    }

    fn space(&self, guest: &str) -> &Space {
        &self.guests[guest].space
    }

    /// A script for a client, and the file that it writes.
    fn script(&self, name: &str) -> (String, PathBuf) {
        let told = self.lab.dir().join(format!("{name}.told"));
        let text = SCRIPT.replace("TOLD", &told.to_string_lossy());
        let path = self.lab.file(&format!("{name}.sh"), &text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        (path.to_string_lossy().into_owned(), told)
    }

    /// What `busybox udhcpc` is told; `None` if nobody answers.
    fn udhcpc(&self, guest: &str, more: &[&str]) -> Option<BTreeMap<String, String>> {
        let (script, told) = self.script(&format!("udhcpc-{guest}"));
        let mut command = Command::new("busybox");
        command.args(["udhcpc", "-i", "eth0", "-n", "-q", "-f", "-t", "3", "-T", "1", "-s"]);
        command.arg(script).args(more);
        let output = self.space(guest).run(command, 20).unwrap();
        (output.code() == 0).then(|| environment(&told))
    }

    /// What `dhclient` is told.
    fn dhclient(&self, guest: &str, family: &str) -> BTreeMap<String, String> {
        let (script, told) = self.script(&format!("dhclient{family}-{guest}"));
        let file = |what: &str| {
            self.lab.dir().join(format!("{guest}{family}.{what}")).to_string_lossy().into_owned()
        };
        let mut command = Command::new("dhclient");
        command.args([
            family,
            "-1",
            "-cf",
            "/dev/null",
            "-lf",
            &file("leases"),
            "-pf",
            &file("pid"),
        ]);
        command.args(["-sf", &script, "eth0"]);
        let output = self.space(guest).run(command, 30).unwrap();
        assert_eq!(output.code(), 0, "{}", output.stderr);
        environment(&told)
    }
}

fn environment(path: &PathBuf) -> BTreeMap<String, String> {
    let text = fs::read_to_string(path).unwrap();
    let pairs = text.lines().filter_map(|line| line.split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// Every one of these is as expected.
fn says(told: &BTreeMap<String, String>, expected: &[(&str, &str)]) {
    for (name, value) in expected {
        assert_eq!(told.get(*name).map(String::as_str), Some(*value), "{name} of {told:?}");
    }
}

const UDHCPC: &[(&str, &str)] = &[
    ("ip", "10.1.0.11"),
    ("subnet", "255.255.255.0"),
    ("router", "10.1.0.1"),
    ("dns", "10.1.0.53"),
    ("domain", "red.example"),
    ("mtu", "1400"),
    ("lease", "3600"),
    ("serverid", "10.1.0.1"),
];

#[test]
fn dhcp_tells_the_declared_address() {
    let bed = Bed::new("tol", &["r1", "m1"]);
    says(&bed.udhcpc("r1", &[]).unwrap(), UDHCPC);
    // Broadcast answers, the options that udhcpc knows, and an address that it may not have.
    says(&bed.udhcpc("r1", &["-B", "-O", "mtu", "-r", "10.1.0.99"]).unwrap(), UDHCPC);
    let dhclient = [
        ("new_ip_address", "10.1.0.11"),
        ("new_subnet_mask", "255.255.255.0"),
        ("new_broadcast_address", "10.1.0.255"),
        ("new_routers", "10.1.0.1"),
        ("new_domain_name_servers", "10.1.0.53"),
        ("new_domain_name", "red.example"),
        ("new_dhcp_lease_time", "3600"),
        ("new_dhcp_renewal_time", "1800"),
        ("new_dhcp_rebinding_time", "3150"),
    ];
    says(&bed.dhclient("r1", "-4"), &dhclient);
    assert_eq!(bed.udhcpc("m1", &[]), None, "this network tells nothing");
    assert!(bed.host.status().unwrap().drops("unanswered") > 0);
    // Nobody is needed for it.
    bed.host.kill_daemon().unwrap();
    says(&bed.udhcpc("r1", &[]).unwrap(), UDHCPC);
}

#[test]
fn dhcpv6_tells_the_declared_address() {
    let bed = Bed::new("tos", &["r1"]);
    let expected = [
        ("new_ip6_address", "fd01::11"),
        ("new_dhcp6_name_servers", "fd01::53"),
        ("new_dhcp6_domain_search", "red.example."),
        ("new_max_life", "3600"),
    ];
    let told = bed.dhclient("r1", "-6");
    says(&told, &expected);
}

#[test]
fn the_kernel_finds_its_router() {
    let bed = Bed::new("tor", &["r2"]);
    let space = bed.space("r2");
    space.sysctl("net/ipv6/conf/eth0/accept_ra", "1").unwrap();
    space.sysctl("net/ipv6/conf/eth0/router_solicitation_delay", "0").unwrap();
    space.ip("-6 route flush default").unwrap();
    // The switch tells the guest's side; going down and up is what makes it ask.
    space.ip("link set eth0 down").unwrap();
    space.ip("link set eth0 up").unwrap();
    let route = || space.ip("-6 route show default").unwrap_or_default();
    process::wait_for("a route", 10, || route().contains("proto ra")).unwrap();
    assert!(route().contains("via fe80::"), "{}", route());
    let prefixes = space.ip("-6 route show fd01::/64").unwrap();
    assert!(prefixes.contains("proto kernel") || prefixes.contains("proto ra"), "{prefixes}");
    let mtu = space.sh("cat /proc/sys/net/ipv6/conf/eth0/mtu").unwrap();
    assert_eq!(mtu.trim(), "1400");
    // Addresses are declared, not made up.
    let addresses = space.ip("-6 addr show dev eth0 scope global").unwrap();
    assert!(!addresses.contains("inet6"), "{addresses}");
    // A change is told unasked, to all nodes.
    let heard = Capture::start(space, "eth0").unwrap();
    let changed = POLICY.replace("red.example", "other.example");
    bed.host.apply(&bed.lab.file("changed.yaml", &changed).unwrap()).unwrap();
    let told = |seen: &[u8]| seen.starts_with(&ALL_NODES) && holds(seen, b"\x05other\x07example");
    assert!(heard.wait_for(|seen| told(&seen.head)).is_some());
}
