//! Three readings of one policy: the oracle's, the image's, and (elsewhere) the data plane's.

use portcullis_policy::{
    Sources, compile_unproved,
    generate::{self, Connections, Size},
    lookup, oracle,
};
use proptest::prelude::*;

/// Compiles a policy and asks both about random connections.
fn compare(text: &str, seed: u64, connections: usize) {
    let compiled = compile_unproved(&Sources::new([("random.yaml", text)]))
        .unwrap_or_else(|d| panic!("{d}\n{text}"));
    let mut ask = Connections::new(&compiled.model, seed);
    for _ in 0..connections {
        let c = ask.next_connection();
        let told = oracle::evaluate_in(&compiled.model, c.network, c.src, c.dst, c.service);
        let cell = lookup(&compiled.image, c.network, c.src.into(), c.dst.into(), c.service);
        let name = compiled.image.rule(cell.rule()).map_or("", |r| r.name.as_str());
        assert_eq!(
            (cell.allows(), cell.rule(), name),
            (told.allowed, told.rule, told.name.as_str()),
            "{c:?}\n{text}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]
    #[test]
    fn the_image_says_what_the_rules_say(
        seed: u64, networks in 1usize..6, guests in 0usize..12, rules in 0usize..30
    ) {
        let text = generate::policy(seed, Size { networks, guests, rules });
        compare(&text, seed ^ 1, 300);
    }
}

#[test]
fn a_large_policy_agrees_too() {
    let text = generate::policy(7, Size { networks: 40, guests: 300, rules: 400 });
    compare(&text, 8, 2000);
}

#[test]
fn the_examples_agree() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../policies");
    let mut seen = 0;
    for entry in std::fs::read_dir(folder).expect("policies/") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|e| e == "yaml") {
            compare(&std::fs::read_to_string(&path).expect("a file"), 3, 5000);
            seen += 1;
        }
    }
    assert!(seen >= 4);
}
