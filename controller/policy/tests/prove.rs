//! The proof against brute force: the oracle, asked about every pair of addresses at which an
//! answer can change.

use std::{collections::BTreeSet, net::IpAddr};

use portcullis_policy::{
    Model, Severity, Sources, compile, compile_unproved,
    generate::{self, Random, Size},
    model::{Action, Demand, Endpoint, Protocol, Rule, Term, Tier},
    oracle,
};
use proptest::prelude::*;

/// A policy with one invariant.
fn with_invariant(seed: u64, size: Size) -> String {
    let mut r = Random::new(seed ^ 0x5eed);
    let mut text = generate::policy(seed, size);
    let names = ["net1", "net2", "guest0", "guest1", "guest2", "world", "set0", "10.1.0.0/25"];
    let services = ["ssh", "ping", "tcp/8000-8099", "proto/47", "udp/53"];
    let demand = if r.once_in(2) { "never" } else { "always" };
    let (from, to) = (*r.pick(&names), *r.pick(&names));
    let service = *r.pick(&services);
    text.push_str(&format!("{demand}:\n  - {{ from: {from}, to: {to}, for: {service} }}\n"));
    text
}

fn step(addr: IpAddr, by: i32) -> IpAddr {
    match addr {
        IpAddr::V4(a) => IpAddr::V4(u32::from(a).wrapping_add_signed(by).into()),
        IpAddr::V6(a) => IpAddr::V6(u128::from(a).wrapping_add_signed(by.into()).into()),
    }
}

/// Addresses that a packet could carry, one of each kind that the policy can tell apart.
fn addresses(model: &Model) -> Vec<IpAddr> {
    let mut all: BTreeSet<IpAddr> = BTreeSet::new();
    let mut around = |a: IpAddr| all.extend((-2..=2).map(|by| step(a, by)));
    model.guests.iter().flat_map(|g| &g.nics).flat_map(|n| &n.addrs).for_each(|&a| around(a));
    model.networks.iter().flat_map(|n| &n.gateway).for_each(|&(a, _)| around(a));
    model.host.iter().for_each(|h| around(h.addr));
    let rules = model.rules.iter().flat_map(|r| r.from.iter().chain(&r.to));
    let sets = model.sets.iter().flat_map(|s| s.members.iter().chain(&s.except));
    let invariants = model.invariants.iter().flat_map(|i| i.from.iter().chain(&i.to));
    let literals = rules.chain(sets).chain(invariants).filter_map(|t| match t.endpoint {
        Endpoint::Prefix(net) => Some(net),
        _ => None,
    });
    let subnets = model.networks.iter().flat_map(|n| n.subnets.iter().copied());
    for net in literals.chain(subnets) {
        around(net.network());
        around(net.broadcast());
    }
    all.extend(["8.8.8.8", "2600::1"].map(|t| t.parse::<IpAddr>().expect("an address")));
    all.into_iter().filter(|a| is_real(model, *a)).collect()
}

fn is_real(model: &Model, addr: IpAddr) -> bool {
    let edge = model
        .networks
        .iter()
        .flat_map(|n| &n.subnets)
        .any(|s| s.network() == addr || addr.is_ipv4() && s.broadcast() == addr);
    let odd = match addr {
        IpAddr::V4(a) => a.octets()[0] == 0 || a.octets()[0] == 127 || a.octets()[0] >= 224,
        IpAddr::V6(a) => {
            let first = a.segments()[0];
            u128::from(a) >> 48 == 0 || first >= 0xff00 || first & 0xffc0 == 0xfe80
        }
    };
    !edge && !odd
}

/// NIC or host: no packet goes from one of its addresses to another.
fn owner(model: &Model, addr: IpAddr) -> Option<(usize, usize)> {
    for (g, guest) in model.guests.iter().enumerate() {
        for (n, nic) in guest.nics.iter().enumerate() {
            if nic.addrs.contains(&addr) {
                return Some((g, n));
            }
        }
    }
    let gateway = model.networks.iter().flat_map(|n| &n.gateway).any(|g| g.0 == addr);
    (gateway || model.host.iter().any(|h| h.addr == addr)).then_some((usize::MAX, 0))
}

/// A model whose only rule allows what the invariant speaks about.
fn only_invariant(model: &Model) -> Model {
    let mut only = model.clone();
    let i = &model.invariants[0];
    only.networks.iter_mut().for_each(|n| {
        n.kind = match n.kind {
            portcullis_policy::model::Kind::Lan => portcullis_policy::model::Kind::Plain,
            kind => kind,
        }
    });
    let terms = |t: &Vec<Term>| t.clone();
    only.rules = vec![Rule {
        name: "it".into(),
        span: i.span,
        tier: Tier::Tenant,
        action: Action::Allow,
        from: terms(&i.from),
        to: terms(&i.to),
        services: i.services.clone(),
        owner: None,
        ticket: None,
        until: None,
        observe: false,
        log: None,
    }];
    only
}

/// Does some connection break the invariant?
fn broken(model: &Model) -> bool {
    let speaks = only_invariant(model);
    let want = model.invariants[0].demand == Demand::Always;
    let addrs = addresses(model);
    let ports = model.invariants[0].services.iter().flat_map(|s| &s.ports);
    let numbers: Vec<(Protocol, u16)> = ports
        .flat_map(|p| {
            let cuts = model.rules.iter().flat_map(|r| &r.services).flat_map(|s| &s.ports);
            let cuts = cuts.filter(|c| c.protocol == p.protocol);
            let cuts = cuts.flat_map(|c| [c.first, c.last, c.last.saturating_add(1)]);
            let inside = cuts.chain([p.first]).filter(|n| (p.first..=p.last).contains(n));
            inside.map(|n| (p.protocol, n)).collect::<BTreeSet<_>>()
        })
        .collect();
    addrs.iter().any(|&a| {
        addrs.iter().any(|&b| {
            let apart = a != b && (owner(model, a) != owner(model, b) || owner(model, a).is_none());
            let covered = a.is_ipv4() == b.is_ipv4() && apart;
            covered
                && numbers.iter().any(|&n| {
                    let family = match n.0 {
                        Protocol::Icmp => a.is_ipv4(),
                        Protocol::Icmpv6 => a.is_ipv6(),
                        _ => true,
                    };
                    family
                        && oracle::evaluate(&speaks, a, b, n).allowed
                        && oracle::evaluate(model, a, b, n).allowed != want
                })
        })
    })
}

/// More in the long form, `cargo xtask test --long`.
fn cases() -> u32 {
    if std::env::var_os("PORTCULLIS_TEST_LONG").is_some() { 5_000 } else { 120 }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), ..ProptestConfig::default() })]
    #[test]
    fn the_proof_finds_what_brute_force_finds(
        seed: u64, guests in 3usize..6, rules in 0usize..12
    ) {
        let text = with_invariant(seed, Size { networks: 2, guests, rules });
        let sources = Sources::new([("random.yaml", text.as_str())]);
        let model = compile_unproved(&sources).unwrap_or_else(|d| panic!("{d}\n{text}")).model;
        let proved = match compile(&sources) {
            Ok(_) => true,
            Err(diags) => {
                let codes: Vec<_> =
                    diags.items().iter().filter(|d| d.severity() == Severity::Error).collect();
                prop_assert!(codes.iter().all(|d| d.code().starts_with("PC06")), "{diags}");
                false
            }
        };
        prop_assert_eq!(proved, !broken(&model), "{}", text);
    }
}
