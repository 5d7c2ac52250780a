//! The difference of two policies against the oracle, and as people read it.

use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;
use portcullis_policy::{
    Compiled, Difference, Group, GroupKind, Line, Model, Sources, compile, compile_unproved, diff,
    generate::{self, Connections, Random, Size},
    model::{Endpoint, Kind, Purpose},
    oracle,
};
use proptest::prelude::*;

fn read(text: &str) -> Compiled {
    compile_unproved(&Sources::new([("p.yaml", text)])).unwrap_or_else(|d| panic!("{d}\n{text}"))
}

/// A policy like another one: lines left out, swapped, or taken from a third.
fn mutated(text: &str, other: &str, seed: u64) -> String {
    let mut r = Random::new(seed);
    let mut out = String::new();
    let foreign: Vec<&str> = other.lines().filter(|l| l.starts_with("  - {")).collect();
    for line in text.lines() {
        match (line.starts_with("  - {"), r.below(8)) {
            (true, 0) => {}
            (true, 1) if !foreign.is_empty() => out += &format!("{}\n", r.pick(&foreign)),
            (true, 2) => out += &format!("{}\n", line.replace("allow:", "deny:")),
            _ => out += &format!("{line}\n"),
        }
    }
    // A guest that is gone, with everything that names it, is too much for lines.
    if compile_unproved(&Sources::new([("p.yaml", out.as_str())])).is_ok() {
        out
    } else {
        text.to_owned()
    }
}

/// Who has an address, straight from the model.
#[derive(PartialEq)]
enum Owner {
    Guest(usize),
    Host,
    Nobody,
}

struct Who {
    owner: Owner,
    /// The address that rules see.
    seen: IpAddr,
    network: Option<usize>,
}

fn who(model: &Model, scope: Option<usize>, addr: IpAddr) -> Who {
    if is_link_local(addr) {
        let Some(network) = scope else {
            return Who { owner: Owner::Nobody, seen: addr, network: None };
        };
        for (g, guest) in model.guests.iter().enumerate() {
            for nic in guest.nics.iter().filter(|n| n.network == network) {
                if link_local(nic.mac.octets()) == addr {
                    let (owner, seen) = (Owner::Guest(g), nic.addrs[0]);
                    return Who { owner, seen, network: Some(network) };
                }
            }
        }
        let gateway = &model.networks[network];
        if let (true, Some(&(seen, _))) =
            (link_local(gateway.gateway_mac.octets()) == addr, gateway.gateway.first())
        {
            return Who { owner: Owner::Host, seen, network: Some(network) };
        }
        return Who { owner: Owner::Nobody, seen: addr, network: None };
    }
    let inside = model.networks.iter().position(|n| n.subnets.iter().any(|s| s.contains(&addr)));
    for (g, guest) in model.guests.iter().enumerate() {
        if guest.nics.iter().any(|n| n.addrs.contains(&addr)) {
            return Who { owner: Owner::Guest(g), seen: addr, network: inside };
        }
    }
    let gateway = model.networks.iter().any(|n| n.gateway.iter().any(|g| g.0 == addr));
    let owner = if gateway || model.host.iter().any(|h| h.addr == addr) {
        Owner::Host
    } else {
        Owner::Nobody
    };
    Who { owner, seen: addr, network: inside }
}

fn is_link_local(addr: IpAddr) -> bool {
    matches!(addr, IpAddr::V6(a) if a.segments()[0] & 0xffc0 == 0xfe80)
}

fn link_local(mac: [u8; 6]) -> IpAddr {
    let mut a = [0u8; 16];
    (a[0], a[1]) = (0xfe, 0x80);
    (a[8], a[9], a[10], a[11]) = (mac[0] ^ 2, mac[1], mac[2], 0xff);
    (a[12], a[13], a[14], a[15]) = (0xfe, mac[3], mac[4], mac[5]);
    IpAddr::V6(Ipv6Addr::from(a))
}

/// Could a packet carry it?
fn is_real(model: &Model, addr: IpAddr) -> bool {
    let edge = |s: &IpNet| {
        let wide = s.max_prefix_len() - s.prefix_len() >= 2;
        wide && (addr == s.network() || s.addr().is_ipv4() && addr == s.broadcast())
    };
    let on_wire = match addr {
        IpAddr::V4(a) => a.octets()[0] != 0 && a.octets()[0] != 127 && a.octets()[0] < 224,
        IpAddr::V6(a) => a.octets()[0] != 0xff && u128::from(a) >> 32 != 0,
    };
    let declared = who(model, None, addr).owner != Owner::Nobody;
    on_wire && (declared || !model.networks.iter().any(|n| n.subnets.iter().any(edge)))
}

fn can_be(model: &Model, scope: Option<usize>, src: IpAddr, dst: IpAddr, purpose: Purpose) -> bool {
    let (a, b) = (who(model, scope, src), who(model, scope, dst));
    let family = match purpose.protocol.name() {
        "icmp" => src.is_ipv4(),
        "icmpv6" => src.is_ipv6(),
        "proto" => purpose.number < 256,
        _ => true,
    };
    let apart = a.owner != b.owner || a.owner == Owner::Nobody;
    // Nobody forwards a link-local address (RFC 4291, section 2.5.6).
    let near = |x: &Who, addr: IpAddr, y: &Who, other: IpAddr| {
        !is_link_local(addr)
            || x.owner == Owner::Nobody
            || is_link_local(other)
            || y.network == x.network
            || y.owner == Owner::Host
    };
    let near = near(&a, src, &b, dst) && near(&b, dst, &a, src);
    family && apart && near && src != dst && is_real(model, src) && is_real(model, dst)
}

/// Does a group of the difference mean an address? Its own idea of every word.
fn means(model: &Model, scope: Option<usize>, group: &Group, addr: IpAddr) -> bool {
    let w = who(model, scope, addr);
    let endpoint = |e: Endpoint| covers(model, &w, e);
    let meant = match group.kind {
        GroupKind::Any => true,
        GroupKind::Host => w.owner == Owner::Host,
        GroupKind::World => endpoint(Endpoint::World),
        GroupKind::Network | GroupKind::Undeclared => {
            let n = model
                .networks
                .iter()
                .map(|n| &n.name)
                .position(|n| *n == group.name)
                .expect("a network");
            let inside = endpoint(Endpoint::Network(n));
            inside && (group.kind == GroupKind::Network || w.owner == Owner::Nobody)
        }
        GroupKind::Label => {
            let l = model
                .labels
                .iter()
                .map(|l| &l.name)
                .position(|n| *n == group.name)
                .expect("a label");
            endpoint(Endpoint::Label(l))
        }
        GroupKind::Set => {
            let s =
                model.sets.iter().map(|s| &s.name).position(|n| *n == group.name).expect("a set");
            endpoint(Endpoint::Set(s))
        }
        GroupKind::Guest => {
            let g = model
                .guests
                .iter()
                .map(|g| &g.name)
                .position(|n| *n == group.name)
                .expect("a guest");
            endpoint(Endpoint::Guest(g))
        }
        GroupKind::Prefix => {
            let net = group
                .name
                .parse::<IpNet>()
                .or_else(|_| group.name.parse::<IpAddr>().map(Into::into));
            net.expect("a prefix").contains(&w.seen)
        }
        GroupKind::Address => group.name == addr.to_string(),
        GroupKind::LinkLocal => {
            let network = scope.map_or("", |n| model.networks[n].name.as_str());
            group.name == format!("{addr}%{network}")
        }
        GroupKind::HostItself => false,
    };
    meant && !group.except.iter().any(|g| means(model, scope, g, addr))
}

fn covers(model: &Model, w: &Who, endpoint: Endpoint) -> bool {
    let any = |terms: &[portcullis_policy::model::Term]| {
        terms.iter().any(|t| covers(model, w, t.endpoint))
    };
    match endpoint {
        Endpoint::Any => true,
        Endpoint::Host => w.owner == Owner::Host,
        Endpoint::World => {
            let outside = !is_link_local(w.seen)
                && w.network.is_none_or(|n| model.networks[n].kind == Kind::External);
            w.owner == Owner::Nobody && outside
        }
        Endpoint::Guest(g) => w.owner == Owner::Guest(g),
        Endpoint::Label(l) => {
            matches!(w.owner, Owner::Guest(g) if model.labels[l].guests.contains(&g))
        }
        Endpoint::Network(n) => w.network == Some(n) && w.owner != Owner::Host,
        Endpoint::Set(s) => any(&model.sets[s].members) && !any(&model.sets[s].except),
        Endpoint::Selector(s) => {
            let selector = &model.selectors[s];
            let mut each = selector.terms.iter().map(|t| covers(model, w, t.endpoint));
            match selector.combine {
                portcullis_policy::model::Combine::All => each.all(|c| c),
                portcullis_policy::model::Combine::Any => each.any(|c| c),
                portcullis_policy::model::Combine::Not => !each.any(|c| c),
            }
        }
        Endpoint::Prefix(net) => net.contains(&w.seen),
    }
}

fn lines_about<'a>(
    lines: &'a [Line],
    model: &Model,
    scope: Option<usize>,
    (src, dst): (IpAddr, IpAddr),
    purpose: Purpose,
) -> Vec<&'a Line> {
    let any = |groups: &[Group], addr| groups.iter().any(|g| means(model, scope, g, addr));
    let about = |l: &&Line| {
        any(&l.from, src) && any(&l.to, dst) && l.services.iter().any(|s| s.cover(purpose))
    };
    lines.iter().filter(about).collect()
}

/// A network of one model in another one, by name.
fn same_network(from: &Model, to: &Model, scope: Option<usize>) -> Option<usize> {
    let name = &from.networks[scope?].name;
    to.networks.iter().position(|n| n.name == *name)
}

struct Pair {
    old: Compiled,
    new: Compiled,
    difference: Difference,
}

impl Pair {
    fn new(old: &str, new: &str) -> Self {
        let (old, new) = (read(old), read(new));
        let difference = diff(&old, &new);
        Self { old, new, difference }
    }

    /// What the oracle says of a connection in both, scope in the words of `new` or of `old`.
    fn judge(&self, from_new: bool, scope: Option<usize>, c: (IpAddr, IpAddr, Purpose)) {
        let (old_scope, new_scope) = if from_new {
            (same_network(&self.new.model, &self.old.model, scope), scope)
        } else {
            (scope, same_network(&self.old.model, &self.new.model, scope))
        };
        let (src, dst, purpose) = c;
        let ask = |compiled: &Compiled, scope: Option<usize>| {
            let id = scope.map_or(0, |n| n as u32 + 1);
            oracle::evaluate_in(&compiled.model, id, src, dst, purpose).allowed
        };
        let (was, is) = (ask(&self.old, old_scope), ask(&self.new, new_scope));
        let sides = [
            (!was && is, &self.new.model, new_scope, &self.difference.allowed, "+"),
            (was && !is, &self.old.model, old_scope, &self.difference.denied, "-"),
        ];
        let scope_of = if from_new { new_scope } else { old_scope };
        for (changes, model, scope, lines, sign) in sides {
            if self.counts(from_new, scope_of, src)
                && self.counts(from_new, scope_of, dst)
                && can_be(model, scope, src, dst, purpose)
            {
                let about = lines_about(lines, model, scope, (src, dst), purpose);
                let found = !about.is_empty();
                assert_eq!(found, changes, "{sign} {scope:?} {c:?}\n{}", self.texts());
            }
        }
    }

    /// A link-local address counts where both policies have its NIC.
    fn counts(&self, from_new: bool, scope: Option<usize>, addr: IpAddr) -> bool {
        if !is_link_local(addr) {
            return true;
        }
        let (here, there) = if from_new {
            (&self.new.model, &self.old.model)
        } else {
            (&self.old.model, &self.new.model)
        };
        let known = |model: &Model, scope| who(model, scope, addr).owner != Owner::Nobody;
        let both = known(here, scope) && known(there, same_network(here, there, scope));
        let neither = !known(here, scope) && !known(there, same_network(here, there, scope));
        both || neither
    }

    fn texts(&self) -> String {
        let text = |c: &Compiled| c.model.sources.files()[0].text().to_owned();
        format!("{}\n{}\n=====\n{}", self.difference.render(), text(&self.old), text(&self.new))
    }

    fn check(&self, seed: u64, count: usize) {
        for (from_new, compiled) in [(false, &self.old), (true, &self.new)] {
            let mut ask = Connections::new(&compiled.model, seed);
            for _ in 0..count {
                let c = ask.next_connection();
                let purpose = Purpose::from(c.service);
                let scope = (c.network as usize).checked_sub(1);
                self.judge(from_new, scope, (c.src, c.dst, purpose));
            }
        }
        self.witnesses();
    }

    fn witnesses(&self) {
        let sides = [
            (&self.difference.allowed, &self.new.model, true),
            (&self.difference.denied, &self.old.model, false),
        ];
        for (lines, model, from_new) in sides {
            for line in lines.iter().filter(|l| !l.witness.stands_in) {
                let scope = (line.witness.network as usize).checked_sub(1);
                let x = &line.witness.example;
                let purpose = line.witness.purpose;
                let ends = (x.from_addr, x.to_addr);
                assert!(
                    can_be(model, scope, ends.0, ends.1, purpose),
                    "{line:?}\n{}",
                    self.texts()
                );
                let about = lines_about(lines, model, scope, ends, purpose);
                assert!(about.iter().any(|l| std::ptr::eq(*l, line)), "{line:?}\n{}", self.texts());
                self.judge(from_new, scope, (ends.0, ends.1, purpose));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn the_difference_is_what_the_oracle_says_differently(
        seed: u64, networks in 1usize..4, guests in 0usize..8, rules in 0usize..14
    ) {
        let size = Size { networks, guests, rules };
        let old = generate::policy(seed, size);
        let new = mutated(&old, &generate::policy(seed ^ 7, size), seed);
        Pair::new(&old, &new).check(seed ^ 1, 250);
    }

    /// Other networks, other guests, other addresses: nothing but names in common.
    #[test]
    fn unrelated_policies_differ_as_the_oracle_says(
        seed: u64, networks in 1usize..4, guests in 0usize..6, rules in 0usize..8
    ) {
        let size = Size { networks, guests, rules };
        let (old, new) = (generate::policy(seed, size), generate::policy(seed ^ 99, size));
        Pair::new(&old, &new).check(seed ^ 1, 150);
    }

    #[test]
    fn a_policy_does_not_differ_from_itself(seed: u64) {
        let text = generate::policy(seed, Size { networks: 3, guests: 8, rules: 12 });
        let difference = diff(&read(&text), &read(&text));
        prop_assert!(difference.is_empty(), "{}", difference.render());
    }
}

const OFFICE: &str = "\
networks:
  lan: { vlan: 10, subnets: [10.10.0.0/24], gateway: true, kind: lan }
  dmz: { vlan: 20, subnets: [10.20.0.0/24], gateway: true, kind: dmz }
guests:
  pc1: { network: lan, ip: 10.10.0.11, labels: [admin] }
  pc2: { network: lan, ip: 10.10.0.12 }
  web1: { network: dmz, ip: 10.20.0.5, labels: [web] }
  web2: { network: dmz, ip: 10.20.0.6, labels: [web] }
rules:
  - { name: web, allow: { from: lan, to: web, for: http } }
  - { name: public, allow: { from: world, to: web, for: [http, https] } }
  - { name: ssh, allow: { from: admin, to: web, for: ssh } }
";

fn shown(old: &str, new: &str) -> String {
    let read = |name: &str, text: &str| {
        compile(&Sources::new([(name, text)])).unwrap_or_else(|d| panic!("{d}"))
    };
    diff(&read("old.yaml", old), &read("new.yaml", new)).render()
}

fn office(from: &str, to: &str) -> String {
    assert!(OFFICE.contains(from), "{from}");
    shown(OFFICE, &OFFICE.replace(from, to))
}

#[test]
fn one_edit_is_one_line() {
    let (from, to) = ("for: http }", "for: [http, https] }");
    assert_eq!(
        office(from, to),
        "\
becomes allowed
+ lan -> web: https
    e.g. pc1 (10.10.0.11) -> web1 (10.20.0.5), tcp/443
    allow `web` has changed, at new.yaml:10:5
"
    );
    let denied = office("from: world, to: web,", "from: world, to: web1,");
    assert_eq!(
        denied,
        "\
becomes denied
- world -> web2: http, https
    e.g. world (198.51.100.7) -> web2 (10.20.0.6), tcp/80
    allow `public` has changed, at old.yaml:11:5 (old)
"
    );
}

#[test]
fn a_label_that_moves_is_told_from_a_rule_that_changes() {
    let text = office("[web] }\n  web2", "[] }\n  web2");
    assert!(
        text.contains(
            "- admin -> web1: ssh
    e.g. pc1 (10.10.0.11) -> web1 (10.20.0.5), tcp/22
    allow `ssh` is as it was but no longer reaches this, at old.yaml:12:5 (old)
"
        ),
        "{text}"
    );
    assert!(
        text.ends_with("besides\n~ guest `web1` at new.yaml:7:3: labels web -> none\n"),
        "{text}"
    );
}

/// Edits of the office, and what the difference must say.
#[test]
fn differences_read_well() {
    for (from, to, expected) in [
        (
            "rules:\n",
            "rules:\n  - { name: no-ping, deny: { from: any, to: any, for: ping } }\n",
            "- lan -> lan: ping\n",
        ),
        (
            "from: world, to: web,",
            "from: { all of: [world, { not: 198.51.100.0/24 }] }, to: web,",
            "- 198.51.100.0/24 -> web: http, https\n",
        ),
        ("gateway: true, kind: lan", "gateway: true", "- lan -> lan: any\n"),
        (
            "gateway: true, kind: lan",
            "gateway: true",
            "~ network `lan` at new.yaml:2:3: kind lan -> plain\n",
        ),
        (
            "http }",
            "tcp/80 from 600-1023 }",
            "- lan -> web: tcp/80 from 0-599, tcp/80 from 1024-65535\n",
        ),
        (
            "  pc2: { network: lan, ip: 10.10.0.12 }\n",
            "",
            "the same connections are allowed\n\nbesides\n- guest `pc2` is gone, it stood at old.yaml:6:3 (old)\n",
        ),
        (
            "vlan: 20",
            "vlan: 21, mtu: 1400",
            "~ network `dmz` at new.yaml:3:3: VLAN 20 -> 21; MTU 1500 -> 1400\n",
        ),
        (
            "ssh } }",
            "ssh }, until: 2026-12-01 }",
            "~ rule `ssh` at new.yaml:12:5: ends never -> 2026-12-01T00:00:00Z\n",
        ),
        (
            "http } }",
            "http }, mode: observe }",
            "~ rule `web` at new.yaml:10:5: it decides -> observes\n",
        ),
    ] {
        let text = office(from, to);
        assert!(text.contains(expected), "{from} => {to}\n{text}");
    }
    assert_eq!(
        office("ssh } }", "ssh }, owner: ops }"),
        "no difference: the same connections are allowed\n"
    );
}

#[test]
fn programs_get_the_same() {
    let read = |name: &str, text: &str| {
        compile(&Sources::new([(name, text)])).unwrap_or_else(|d| panic!("{d}"))
    };
    let new = OFFICE.replace("for: http }", "for: [http, https] }");
    let json = serde_json::to_value(diff(&read("old.yaml", OFFICE), &read("new.yaml", &new)));
    let json = json.expect("JSON");
    let line = &json["allowed"][0];
    assert_eq!(line["from"][0], serde_json::json!({ "kind": "network", "name": "lan" }));
    assert_eq!(
        (&line["for"][0]["name"], &line["witness"]["service"]),
        (&"https".into(), &"tcp/443".into())
    );
    assert_eq!((&line["cause"]["why"], &line["cause"]["side"]), (&"changed".into(), &"new".into()));
    assert_eq!(
        (&line["cause"]["rule"]["file"], &line["cause"]["rule"]["line"]),
        (&"new.yaml".into(), &10.into())
    );
    assert_eq!(
        (&json["denied"], &json["changes"]),
        (&serde_json::json!([]), &serde_json::json!([]))
    );
}

#[test]
fn ten_thousand_rules_are_quick() {
    use std::fmt::Write;
    let text = |skip: usize| {
        let mut text = String::from("networks:\n");
        for n in 1..=20 {
            let _ = writeln!(
                text,
                "  net{n}: {{ vlan: {n}, subnets: [10.{n}.0.0/20], gateway: true }}"
            );
        }
        text += "guests:\n";
        for g in 0..1000 {
            let (n, l) = (1 + g % 20, g % 100);
            let _ = writeln!(text, "  g{g}: {{ network: net{n}, labels: [l{l}] }}");
        }
        text += "rules:\n";
        let mut r = Random::new(5);
        for i in 0..10_000 {
            let (a, b, port) = (r.below(100), r.below(100), 8000 + r.below(200));
            let action = if r.once_in(5) { "deny" } else { "allow" };
            if i % 997 != skip {
                let _ = writeln!(
                    text,
                    "  - {{ name: r{i}, {action}: {{ from: l{a}, to: l{b}, for: tcp/{port} }} }}"
                );
            }
        }
        text
    };
    let (old, new) = (read(&text(5)), read(&text(6)));
    let start = std::time::Instant::now();
    let difference = diff(&old, &new);
    let took = start.elapsed();
    println!("{took:?}, {} and {} lines", difference.allowed.len(), difference.denied.len());
    let start = std::time::Instant::now();
    let all = diff(&read("networks:\n  net1: { vlan: 1, subnets: [10.1.0.0/20] }\n"), &new);
    println!("{:?} from nothing, {} lines", start.elapsed(), all.allowed.len());
    assert!(!difference.is_empty());
    assert!(took.as_secs() < 5, "{took:?}");
}
