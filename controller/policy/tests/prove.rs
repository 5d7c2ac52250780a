//! The proof against brute force: an independent judge of every pair of addresses at which an
//! answer can change; and every connection that the proof names is really as it says.

mod judge;
mod random;

use judge::Judge;
use portcullis_policy::{
    Cause, Compiled, Severity, Sources, Violation, compile, compile_unproved, generate::Size,
    oracle, violations,
};
use proptest::prelude::*;
use random::with_invariants;

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
    // One machine by two of its addresses; a shared one may be any of its guests'.
    let machines = |name: &str| -> Vec<usize> {
        let guests = &compiled.model.guests;
        let guest = guests.iter().position(|g| g.name == name);
        guest.map_or(Vec::new(), |g| guests[g].sharing.as_ref().map_or(vec![g], |s| s.by.clone()))
    };
    let joined = violation.hops.windows(2).all(|w| {
        let (to, from) = (machines(&w[0].to.name), machines(&w[1].from.name));
        to.iter().any(|guest| from.contains(guest)) && w[0].to != w[1].from
    });
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
                // Frames of declared EtherTypes and denied sets are nobody's business but the compiler's.
                let expected = |c: &&str| c.starts_with("PC06") || ["PC1106", "PC1405"].contains(c);
                prop_assert!(codes.iter().all(expected), "{}", diags);
            }
        }
    }
}
