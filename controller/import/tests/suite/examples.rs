//! The committed examples: what becomes of them, and that it means what it should.
//!
//! The policies in `tests/policies` are for reading and for seeing changes; write them anew by
//! `BLESS=1 cargo test -p portcullis-import --test suite`.

use std::{fs, net::IpAddr, path::Path};

use crate::common::{Example, examples, files, import};
use portcullis_import::{Finding, ImportError, Imported, Options, Weight};
use portcullis_policy::{Compiled, Sources, compile, model::Protocol, oracle};

fn example(name: &str) -> (Example, Imported) {
    let example = examples().into_iter().find(|e| e.name == name).unwrap();
    let imported = import(example.format, &files(&example), &example.options).unwrap();
    (example, imported)
}

fn compiled(yaml: &str) -> Compiled {
    compile(&Sources::new([("imported.yaml", yaml)])).map_err(|d| d.to_string()).unwrap()
}

/// Asks the oracle about connections that a person has worked out from the source.
fn holds(yaml: &str, cases: &[(&str, &str, Protocol, u16, bool)]) {
    let compiled = compiled(yaml);
    for &(from, to, protocol, number, allowed) in cases {
        let (a, b): (IpAddr, IpAddr) = (from.parse().unwrap(), to.parse().unwrap());
        let said = oracle::evaluate(&compiled.model, a, b, (protocol, number));
        assert_eq!(said.allowed, allowed, "{from} -> {to} {protocol:?}/{number}: {said:?}");
    }
}

#[test]
fn policies_and_reports_are_as_committed() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/policies");
    let bless = std::env::var_os("BLESS").is_some();
    for example in examples() {
        let imported = import(example.format, &files(&example), &example.options).unwrap();
        let report: String = imported.findings.iter().map(Finding::render).collect();
        for (end, text) in [("yaml", &imported.yaml), ("report", &report)] {
            let path = folder.join(format!("{}.{end}", example.name));
            if bless {
                fs::create_dir_all(&folder).unwrap();
                fs::write(&path, text).unwrap();
            }
            let known = fs::read_to_string(&path).unwrap();
            assert_eq!(known, *text, "{} has changed: BLESS=1 writes it anew", path.display());
        }
    }
}

#[test]
fn every_example_is_proved_on_many_connections() {
    for example in examples() {
        let imported = import(example.format, &files(&example), &example.options).unwrap();
        assert!(imported.compared > 3_000, "{}: {}", example.name, imported.compared);
        assert!(imported.rules > 5, "{}: {}", example.name, imported.rules);
        compiled(&imported.yaml);
    }
}

#[test]
fn proxmox_means_what_proxmox_means() {
    use Protocol::{Icmp, Tcp, Udp};
    let (_, imported) = example("pve");
    holds(
        &imported.yaml,
        &[
            // The group `webserver`, for everybody who is not on the black list.
            ("8.8.8.8", "10.20.0.11", Tcp, 443, true),
            ("8.8.8.8", "10.20.0.12", Udp, 443, true),
            ("8.8.8.8", "10.20.0.11", Tcp, 25, false),
            ("203.0.113.200", "10.20.0.11", Tcp, 443, false),
            ("203.0.113.1", "10.20.0.11", Tcp, 443, true),
            // `admins` without the address that is taken out.
            ("198.51.100.17", "10.20.0.11", Tcp, 22, true),
            ("198.51.100.20", "10.20.0.11", Tcp, 22, false),
            ("192.168.10.7", "192.168.10.11", Tcp, 22, true),
            ("198.51.100.17", "10.30.0.21", Tcp, 22, false),
            // A database, for its two clients; web1's way out is narrower than web2's.
            ("10.20.0.11", "10.30.0.21", Tcp, 5432, true),
            ("10.20.0.12", "10.30.0.21", Tcp, 5432, true),
            ("10.20.0.11", "10.30.0.50", Tcp, 80, false),
            ("10.20.0.12", "10.30.0.50", Tcp, 80, true),
            ("10.20.0.11", "9.9.9.9", Tcp, 80, true),
            ("10.20.0.11", "192.168.10.50", Tcp, 80, false),
            // The database's own way out: names from its gateway, and time.
            ("10.30.0.21", "10.30.0.1", Udp, 53, true),
            ("10.30.0.21", "9.9.9.9", Udp, 53, false),
            ("10.30.0.21", "9.9.9.9", Udp, 123, true),
            ("10.30.0.21", "10.20.0.11", Tcp, 80, false),
            // An unfiltered guest is open, but for what others do not send.
            ("8.8.8.8", "10.30.0.50", Tcp, 31337, true),
            ("10.30.0.21", "10.30.0.50", Tcp, 31337, false),
            // The node: its managers, ping, the web interface from the office.
            ("192.168.10.99", "192.168.10.11", Tcp, 8006, true),
            ("192.168.10.99", "192.168.10.11", Tcp, 22, false),
            ("198.51.100.1", "192.168.10.11", Tcp, 8006, true),
            ("8.8.8.8", "192.168.10.11", Icmp, 8 << 8, true),
            ("8.8.8.8", "192.168.10.11", Tcp, 3389, false),
        ],
    );
}

#[test]
fn filters_mean_what_libvirt_means() {
    use Protocol::{Icmp, Tcp, Udp};
    let (_, imported) = example("nwfilter");
    holds(
        &imported.yaml,
        &[
            ("8.8.8.8", "10.0.0.10", Tcp, 443, true),
            ("203.0.113.7", "10.0.0.10", Tcp, 443, false),
            ("203.0.113.7", "10.0.0.10", Icmp, 8 << 8, true),
            ("10.0.0.110", "10.0.0.10", Tcp, 22, true),
            ("10.0.0.121", "10.0.0.10", Tcp, 22, false),
            // Only up to so many at once: nothing here says that, so not at all.
            ("8.8.8.8", "10.0.0.10", Tcp, 8443, false),
            ("10.0.0.10", "10.0.0.30", Tcp, 5432, true),
            ("10.0.0.10", "10.0.0.30", Tcp, 22, false),
            ("10.0.0.10", "9.9.9.9", Udp, 53, true),
            ("10.0.0.10", "9.9.9.9", Tcp, 80, false),
            // The database's filter stops spoofing only.
            ("8.8.8.8", "10.0.0.30", Tcp, 22, true),
            ("10.0.0.30", "8.8.8.8", Tcp, 22, true),
        ],
    );
}

#[test]
fn domains_mean_what_libvirt_means() {
    use Protocol::{Tcp, Udp};
    let (_, imported) = example("libvirt");
    holds(
        &imported.yaml,
        &[
            // By the address that libvirt's DHCP gives it, through its filter.
            ("8.8.8.8", "192.168.122.10", Tcp, 443, true),
            ("8.8.8.8", "192.168.122.10", Tcp, 22, false),
            ("192.168.122.10", "9.9.9.9", Udp, 53, true),
            ("192.168.122.10", "9.9.9.9", Tcp, 80, false),
            ("10.77.0.30", "10.77.0.20", Tcp, 5432, true),
            ("10.77.0.30", "10.77.0.20", Tcp, 22, false),
            ("10.77.0.20", "10.77.0.30", Tcp, 80, false),
        ],
    );
    let yaml = &imported.yaml;
    for line in [
        "default: { vlan: 1, subnets: [192.168.122.0/24], gateway: [192.168.122.1], outside: masquerade }",
        "back-end: { vlan: 2, subnets: [10.77.0.0/24, \"fd00:77::/64\"], gateway: [10.77.0.1, \"fd00:77::1\"] }",
        "build: { network: engineering, ip: auto, mac: \"52:54:00:0a:0b:05\" }",
        "db-1: { network: back-end, ip: 10.77.0.20, mac: \"52:54:00:0a:0b:03\" }",
    ] {
        assert!(yaml.contains(line), "{line}\n{yaml}");
    }
    let said: Vec<&str> = imported.findings.iter().map(|f| f.remark.code()).collect();
    // The trunk and the interface of type `user` are left out.
    assert_eq!(said.iter().filter(|code| **code == "PI0104").count(), 2);
}

#[test]
fn what_domains_do_not_say_is_asked_for() {
    let domain = |interface: &str| {
        let text = format!("<domain><name>a</name><devices>{interface}</devices></domain>");
        let files = [crate::common::file("a.xml", &text)];
        let refused = import(crate::common::Format::Nwfilter, &files, &Options::default());
        let Err(ImportError::Refused { findings }) = refused else { panic!("{refused:?}") };
        findings.iter().map(Finding::render).collect::<String>()
    };
    let tagged = domain(
        "<interface type='bridge'><source bridge='br0'/><vlan><tag id='30'/></vlan></interface>",
    );
    assert!(tagged.contains("--network NAME=30,SUBNET,br0"), "{tagged}");
    let group = domain("<interface type='network'><source network='n' portgroup='g'/></interface>");
    assert!(group.contains("port group `g` of n"), "{group}");
    let bare = domain("<interface type='ethernet'><target dev='a0' managed='no'/></interface>");
    assert!(bare.contains("--guest a=NETWORK,ADDRESS"), "{bare}");
}

#[test]
fn iptables_means_what_the_kernel_means() {
    use Protocol::{Icmp, Icmpv6, Tcp, Udp};
    let (_, server) = example("server");
    holds(
        &server.yaml,
        &[
            ("8.8.8.8", "192.168.10.5", Tcp, 443, true),
            ("198.51.100.66", "192.168.10.5", Tcp, 443, false),
            ("8.8.8.8", "192.168.10.5", Icmp, 8 << 8, true),
            ("192.168.10.20", "192.168.10.5", Tcp, 22, true),
            // Behind a condition that nothing here has: closed.
            ("203.0.113.3", "192.168.10.5", Tcp, 22, false),
            ("8.8.8.8", "172.17.0.2", Tcp, 80, true),
            ("8.8.8.8", "172.17.0.3", Tcp, 80, false),
            ("172.17.0.3", "172.17.0.2", Tcp, 9, true),
            ("172.17.0.2", "192.168.10.77", Tcp, 80, false),
            ("192.168.10.5", "8.8.8.8", Udp, 53, true),
        ],
    );
    let (_, router) = example("router");
    holds(
        &router.yaml,
        &[
            ("10.0.1.50", "8.8.8.8", Tcp, 443, true),
            ("10.0.1.50", "8.8.8.8", Tcp, 25, false),
            ("10.0.1.200", "8.8.8.8", Tcp, 443, false),
            // Returned before anything accepts.
            ("10.0.1.105", "8.8.8.8", Tcp, 443, false),
            ("10.0.1.50", "10.0.2.7", Tcp, 8050, true),
            ("10.0.1.50", "10.0.2.7", Tcp, 3306, false),
            ("8.8.8.8", "10.0.2.5", Tcp, 443, true),
            ("198.51.100.9", "10.0.2.5", Tcp, 443, false),
            ("10.0.2.5", "8.8.8.8", Tcp, 443, true),
            ("10.0.2.5", "10.0.1.50", Tcp, 443, false),
            ("10.0.1.10", "10.0.1.1", Tcp, 22, true),
            ("10.0.1.11", "10.0.1.1", Tcp, 22, false),
            ("8.8.8.8", "10.0.1.1", Icmp, 8 << 8, true),
            ("2600::1", "fd00:2::5", Tcp, 443, true),
            ("2600::1", "fd00:2::6", Tcp, 443, false),
            ("2600::1", "fd00:1::1", Icmpv6, 128 << 8, true),
            ("fd00:1::9", "2600::1", Tcp, 9, true),
        ],
    );
}

#[test]
fn what_has_no_equal_is_reported_where_it_stands() {
    let (_, server) = example("server");
    let closed: Vec<(u32, &str)> = server
        .findings
        .iter()
        .filter(|f| f.weight() == Weight::Closed)
        .map(|f| (f.place.as_ref().unwrap().line, f.remark.code()))
        .collect();
    let nat = (8..=10).map(|line| (line, "PI0105"));
    let filter = [(38, "PI0102"), (43, "PI0102")];
    assert_eq!(closed, nat.chain(filter).collect::<Vec<_>>());
}
