//! A rule that is said to have no effect has none: without it the oracle answers every question
//! as before. And a rule that decides something is not warned of.

mod real;

use std::net::IpAddr;

use portcullis_policy::{
    Compiled, Diagnostic, Problem, Sources, compile,
    generate::{self, Connections, Size},
    model::{Model, Protocol},
    oracle,
};

/// More in the long form, `cargo xtask test --long`.
fn policies() -> u64 {
    if std::env::var_os("PORTCULLIS_TEST_LONG").is_some() { 20_000 } else { 400 }
}

/// The rule that a warning says could as well not be there.
fn idle(diagnostic: &Diagnostic) -> Option<&str> {
    match &diagnostic.problem {
        Problem::NeverDecides { name } | Problem::Overruled { name, .. } => Some(name),
        Problem::NeverMatches { name, why } if !why.contains("gateway") => Some(name),
        _ => None,
    }
}

fn without(model: &Model, rule: &str) -> Model {
    let mut model = model.clone();
    model.rules.retain(|r| r.name != rule);
    model
}

/// Connections that a packet can be, at every end of anything.
fn questions(model: &Model, seed: u64) -> Vec<generate::Connection> {
    let mut connections = Connections::new(model, seed);
    let all = (0..300).map(|_| connections.next_connection());
    let real = |addr: IpAddr| {
        let link_local = matches!(addr, IpAddr::V6(a) if a.is_unicast_link_local());
        link_local || real::is_real(model, addr)
    };
    let possible = |q: &generate::Connection| {
        let family = match q.service.0 {
            Protocol::Icmp => q.dst.is_ipv4(),
            Protocol::Icmpv6 => q.dst.is_ipv6(),
            _ => true,
        };
        family && real(q.src) && real(q.dst)
    };
    all.filter(possible).collect()
}

#[test]
fn a_rule_without_effect_can_be_taken_away() {
    let (mut rules, mut idle_rules) = (0, 0);
    for seed in 0..policies() {
        let text = generate::policy(seed, Size { networks: 2, guests: 4, rules: 9 });
        let Ok(Compiled { model, warnings, .. }) =
            compile(&Sources::new([("random.yaml", text.as_str())]))
        else {
            continue;
        };
        rules += model.rules.len();
        let questions = questions(&model, seed);
        let named: Vec<&str> = warnings.items().iter().filter_map(idle).collect();
        idle_rules += named.len();
        for name in &named {
            let changed = without(&model, name);
            for q in &questions {
                let ask = |m: &Model| {
                    oracle::evaluate_in(m, q.network, q.src, q.dst, q.purpose()).allowed
                };
                assert_eq!(ask(&model), ask(&changed), "{name}, {q:?}\n{text}");
            }
        }
        // Who decides a connection is not idle.
        for q in &questions {
            let judged = oracle::evaluate_in(&model, q.network, q.src, q.dst, q.purpose());
            assert!(
                !named.contains(&judged.name.as_str()),
                "{} decides {q:?}\n{text}",
                judged.name
            );
        }
    }
    println!("{idle_rules} of {rules} rules have no effect");
    assert!(idle_rules > 50, "too few to mean anything");
}
