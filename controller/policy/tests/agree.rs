//! Three readings of one policy: the oracle's, the image's, and (elsewhere) the data plane's.

use portcullis_pipeline::policy::Cell;
mod examples;

use portcullis_policy::{
    Compiled, Moment, Sources, compile_unproved_at,
    generate::{self, Connection, Connections, Size},
    lookup::{lookup, lookup_observed},
    oracle::{self, Judgement},
};
use proptest::prelude::*;

/// Compiles a policy and asks both about random connections: what holds, and what would hold if
/// the rules that observe were in force.
fn compare(sources: &Sources, moment: &Moment, seed: u64, connections: usize) -> Compiled {
    let text = || sources.files().iter().map(|f| f.text()).collect::<String>();
    let compiled =
        compile_unproved_at(sources, moment).unwrap_or_else(|d| panic!("{d}\n{}", text()));
    let mut ask = Connections::new(&compiled.model, seed);
    for _ in 0..connections {
        let c = ask.next_connection();
        let Connection { network, src, dst, .. } = c;
        let (model, image, purpose) = (&compiled.model, &compiled.image, c.purpose());
        let told = oracle::evaluate_in(model, network, src, dst, purpose);
        let cell = lookup(image, network, src.into(), dst.into(), purpose);
        same(&compiled, cell, &told, &format!("{c:?}\n{moment:?}\n{}", text()));
        let told = oracle::evaluate_observed(model, network, src, dst, purpose);
        let cell = lookup_observed(image, network, src.into(), dst.into(), purpose);
        same(&compiled, cell, &told, &format!("observed: {c:?}\n{moment:?}\n{}", text()));
    }
    compiled
}

fn same(compiled: &Compiled, cell: Cell, told: &Judgement, context: &str) {
    let name = compiled.image.rule(cell.rule()).map_or("", |r| r.name.as_str());
    assert_eq!(
        (cell.allows(), cell.rule(), name),
        (told.allowed, told.rule, told.name.as_str()),
        "{context}"
    );
}

/// A random policy before and after some of its rules have ended.
fn compare_random(seed: u64, size: Size, connections: usize) {
    let text = generate::policy(seed, size);
    let sources = Sources::new([("random.yaml", text.as_str())]);
    compare(&sources, &Moment::default(), seed ^ 1, connections);
    compare(&sources, &generate::moment(seed, &text), seed ^ 2, connections);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]
    #[test]
    fn the_image_says_what_the_rules_say(
        seed: u64, networks in 1usize..6, guests in 0usize..12, rules in 0usize..30
    ) {
        compare_random(seed, Size { networks, guests, rules }, 200);
    }
}

#[test]
fn a_large_policy_agrees_too() {
    compare_random(7, Size { networks: 40, guests: 300, rules: 400 }, 1000);
}

/// The random policies hold what they are meant to hold: else the tests above show little.
#[test]
fn random_policies_use_the_whole_language() {
    let mut all = String::new();
    let (mut expired, mut ending, mut shadows, mut sources, mut pinned) = (0, 0, 0, 0, 0);
    for seed in 0..40 {
        let text = generate::policy(seed, Size { networks: 3, guests: 8, rules: 20 });
        let moment = generate::moment(seed, &text);
        let Compiled { model, image, .. } =
            compare(&Sources::new([("random.yaml", text.as_str())]), &moment, seed, 10);
        let ends = model.rules.iter().filter(|r| r.until.is_some());
        let over = ends.clone().filter(|r| r.is_expired(moment.now_unix_s)).count();
        expired += over;
        ending += ends.count() - over;
        shadows += usize::from(!image.shadows.is_empty() && image.cells != image.shadows);
        sources += usize::from(image.sources > 1);
        pinned += moment.since_unix_s.len();
        all += &text;
    }
    let counts = [expired, ending, shadows, sources, pinned];
    assert!(counts.iter().all(|n| *n >= 15), "{counts:?}");
    for word in ["not: ", "any of: ", "all of: ", "except: ", "pass: ", "log: ", "forwards: "] {
        assert!(all.contains(word), "no random policy has `{word}`");
    }
}

#[test]
fn the_examples_agree() {
    for name in examples::names() {
        compare(&examples::example(&name), &Moment::default(), 3, 3000);
    }
}
