//! The proof against brute force: an independent judge of every pair of addresses at which an
//! answer can change; and every connection that the proof names is really as it says.

mod judge;

use judge::Judge;
use portcullis_policy::{
    Cause, Compiled, Severity, Sources, Violation, compile, compile_unproved,
    generate::{self, Random, Size},
    oracle, violations,
};
use proptest::prelude::*;

/// A policy with some invariants.
fn with_invariants(seed: u64, size: Size) -> String {
    let mut r = Random::new(seed ^ 0x5eed);
    let mut text = generate::policy(seed, size);
    let names = [
        "net1",
        "net2",
        "guest0",
        "guest1",
        "guest2",
        "world",
        "host",
        "set0",
        "10.1.0.0/25",
        "any",
    ];
    let services =
        ["ssh", "ping", "tcp/8000-8099", "proto/47", "udp/53", "tcp/700 from 600-1023", "any"];
    for demand in ["never", "always"] {
        text.push_str(&format!("{demand}:\n"));
        for _ in 0..2 {
            let (from, to) = (*r.pick(&names), *r.pick(&names));
            let service = *r.pick(&services);
            text.push_str(&format!("  - {{ from: {from}, to: {to}, for: {service} }}\n"));
        }
    }
    // Two networks in four become more than they were.
    if r.once_in(2) {
        let kind = *r.pick(&["dmz", "isolated"]);
        text = text.replacen("kind: lan", &format!("kind: {kind}"), 1);
    }
    text
}

/// More in the long form, `cargo xtask test --long`.
fn cases() -> u32 {
    if std::env::var_os("PORTCULLIS_TEST_LONG").is_some() { 20_000 } else { 400 }
}

fn unproved(text: &str) -> Compiled {
    let sources = Sources::new([("random.yaml", text)]);
    compile_unproved(&sources).unwrap_or_else(|d| panic!("{d}\n{text}"))
}

/// Is every hop as the proof says?
fn is_true(compiled: &Compiled, violation: &Violation) -> bool {
    let count = violation.hops.len();
    let joined =
        violation.hops.windows(2).all(|w| w[0].to.name == w[1].from.name && w[0].to != w[1].from);
    joined
        && violation.hops.iter().enumerate().all(|(n, hop)| {
            let (Some(from), Some(to)) = (hop.from.addr, hop.to.addr) else { return true };
            let judged = oracle::evaluate_in(&compiled.model, hop.network, from, to, hop.purpose);
            let allowed = match violation.cause {
                Cause::Allowed => true,
                Cause::Denied => n + 1 != count,
                Cause::NoWay { .. } => judged.allowed,
            };
            judged.allowed == allowed && judged.rule == hop.rule
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), ..ProptestConfig::default() })]
    #[test]
    fn the_proof_finds_what_brute_force_finds(
        seed: u64, networks in 2usize..4, guests in 3usize..6, rules in 0usize..12
    ) {
        let text = with_invariants(seed, Size { networks, guests, rules });
        let compiled = unproved(&text);
        let found = violations(&compiled);
        // The oracle does not know which addresses the host has besides: no judge of those.
        let known = |v: &&Violation| {
            v.hops.iter().all(|h| h.from.addr.is_some() && h.to.addr.is_some())
        };
        let proof = found.iter().filter(known).map(|v| v.invariant.clone()).collect();
        let brute = Judge::new(&compiled.model).broken();
        prop_assert_eq!(&brute, &proof, "brute force, and the proof\n{}", text);
        for violation in &found {
            prop_assert!(is_true(&compiled, violation), "{:#?}\n{}", violation, text);
        }
        match compile(&Sources::new([("random.yaml", text.as_str())])) {
            Ok(_) => prop_assert!(found.is_empty(), "{}", text),
            Err(diags) => {
                let errors = diags.items().iter().filter(|d| d.severity() == Severity::Error);
                let codes: Vec<_> = errors.map(|d| d.code()).collect();
                prop_assert!(codes.iter().all(|c| c.starts_with("PC06")), "{}", diags);
            }
        }
    }
}
