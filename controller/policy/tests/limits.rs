//! Policies that do not fit are refused with their size, and large ones compile quickly.

use std::{fmt::Write, time::Instant};

use portcullis_policy::{Problem, Sources, compile, compile_unproved};

/// Guests over eight networks, one line each rule.
fn policy(guests: usize, rules: impl Iterator<Item = String>) -> Sources {
    let mut text = String::from("networks:\n");
    for n in 1..=8 {
        let _ = writeln!(text, "  n{n}: {{ vlan: {n}, subnets: [10.{n}.0.0/16], gateway: true }}");
    }
    text.push_str("guests:\n");
    for g in 0..guests {
        let _ = writeln!(text, "  g{g}: {{ network: n{}, labels: [l{}] }}", g % 8 + 1, g % 40);
    }
    text.push_str("rules:\n");
    for (i, rule) in rules.enumerate() {
        let _ = writeln!(text, "  - {{ name: r{i}, allow: {{ {rule} }} }}");
    }
    Sources::new([("large.yaml", text)])
}

/// What a policy has too much of, how much, and what would fit. Every refusal names the rules or
/// lists that make most of it, and says what to do.
fn too_large(sources: &Sources) -> (&'static str, u64, u64) {
    let started = Instant::now();
    let diags = compile(sources).err().expect("a refusal");
    let took = started.elapsed();
    let [diagnostic] = diags.items() else { panic!("{diags}") };
    let Problem::TooLarge { what, got, limit } = diagnostic.problem else { panic!("{diags}") };
    println!("{what}: {got} of {limit} in {took:?}");
    assert!(!diagnostic.help.is_empty(), "no advice: {diags}");
    assert!((1..=5).contains(&diagnostic.labels.len()), "{diags}");
    let text = diags.to_string();
    assert!(text.contains("large.yaml:") && text.contains(&got.to_string()), "{text}");
    // Generous, as below.
    assert!(took.as_secs() < 30, "{what}: refused after {took:?}");
    (what, got, limit)
}

#[test]
fn too_many_classes() {
    let rules = (0..2500).map(|g| format!("from: g{g}, to: host, for: ssh"));
    assert_eq!(too_large(&policy(2500, rules)), ("identity classes", 2502, 2048));
}

#[test]
fn the_lists_that_make_most_classes_are_named() {
    let mut rules: Vec<String> =
        (0..2000).map(|g| format!("from: g{g}, to: host, for: ssh")).collect();
    let addresses: Vec<String> = (0..100).map(|i| format!("198.51.100.{i}")).collect();
    rules.extend(addresses.iter().map(|a| format!("from: {a}, to: host, for: ssh")));
    let diags = compile(&policy(2000, rules.into_iter())).err().expect("a refusal");
    let labels = &diags.items()[0].labels;
    assert_eq!(labels.len(), 5, "{diags}");
    assert!(labels.iter().all(|l| l.text.contains("adds")), "{diags}");
}

#[test]
fn too_many_service_classes() {
    let rules = (0..70_000).map(|i| {
        let protocol = if i % 2 == 0 { "tcp" } else { "udp" };
        format!("from: l1, to: l2, for: {protocol}/{}", 1 + i / 2)
    });
    let (what, got, limit) = too_large(&policy(40, rules));
    assert_eq!((what, got, limit), ("service classes", 70_001, 65_536));
}

#[test]
fn source_ports_multiply_services() {
    let ports = (1..=300).map(|i| format!("from: l1, to: l2, for: tcp/{i}"));
    let sources = (1..=300).map(|i| format!("from: l1, to: l2, for: udp/1 from {}", 1000 + i));
    let (what, got, limit) = too_large(&policy(40, ports.chain(sources)));
    assert_eq!((what, limit), ("service classes", 65_536));
    assert_eq!(got, 302 * 301);
}

#[test]
fn long_lists_of_services() {
    let rules = (1..=6000)
        .map(|i| format!("from: l1, to: l2, for: [tcp/{}, udp/1-60000, sctp/{i}]", 10 * i));
    let cuts = (1..=6000).map(|i| format!("from: l1, to: l2, for: udp/{}", 10 * i));
    let (what, got, limit) = too_large(&policy(40, rules.chain(cuts)));
    assert_eq!((what, limit), ("members of lists of services", 1 << 24));
    assert!(got > limit);
}

#[test]
fn long_lists_of_endpoints() {
    let all = "n1, n2, n3, n4, n5, n6, n7, n8";
    let rules = (0..20_000).map(|i| {
        let address = format!("198.{}.{}.1", 18 + i % 2, i / 2 % 250);
        let other = format!("198.51.{}.{}", i / 250, i % 250);
        let guest = i % 1800;
        format!("from: [{all}, {address}, {other}], to: g{guest}, for: ssh")
    });
    let (what, got, limit) = too_large(&policy(1800, rules));
    assert_eq!((what, limit), ("members of lists of endpoints", 1 << 24));
    assert!(got > limit);
}

#[test]
fn selectors_of_nearly_everything() {
    let rules =
        (0..20_000).map(|i| format!("from: {{ not: g{} }}, to: g{}, for: ssh", i % 1999, i / 1999));
    let (what, got, limit) = too_large(&policy(2000, rules));
    assert_eq!((what, limit), ("members of sets and selectors", 1 << 24));
    assert!(got > limit);
}

#[test]
fn too_many_combinations() {
    // Each rule is about nearly all pairs, and no two about the same.
    let rules = (0..1000)
        .map(|i| format!("from: {{ not: g{i} }}, to: {{ not: g{} }}, for: ssh", (i + 1) % 1000));
    let (what, got, limit) = too_large(&policy(1500, rules));
    assert_eq!((what, limit), ("combinations of rules", 1 << 22));
    assert!(got > limit);
}

#[test]
fn too_many_cells() {
    let rules = (0..90_000)
        .map(|i| format!("from: g{}, to: g{}, for: tcp/{}", i % 300, i / 300, 1 + i % 97));
    let (what, got, limit) = too_large(&policy(300, rules));
    assert_eq!((what, limit), ("verdict cells", 4 << 20));
    assert!(got > limit);
}

#[test]
fn too_many_rules() {
    let rules = (0..131_072).map(|_| "from: l1, to: l2, for: ssh".to_owned());
    assert_eq!(too_large(&policy(40, rules)), ("rules", 131_072, 131_071));
}

#[test]
fn many_rules_about_everything_are_few_rows() {
    let rules = (0..20_000).map(|i| format!("from: any, to: any, for: tcp/{}", 1 + i % 3000));
    let started = Instant::now();
    let compiled = compile_unproved(&policy(400, rules)).unwrap_or_else(|d| panic!("{d}"));
    let took = started.elapsed();
    assert_eq!(compiled.image.cells.len() as u32, compiled.image.services);
    assert!(took.as_secs() < 20, "{took:?}");
}

#[test]
fn chains_of_many_relays_are_proved() {
    let mut text = String::from("networks:\n");
    for n in 1..=40 {
        let _ = writeln!(text, "  n{n}: {{ vlan: {n}, subnets: [10.{n}.0.0/16], gateway: true }}");
    }
    text.push_str("guests:\n");
    for g in 0..120 {
        let (a, b) = (g % 40 + 1, (g + 1) % 40 + 1);
        let nics = format!("[{{ network: n{a} }}, {{ network: n{b} }}]");
        let _ = writeln!(text, "  fw{g}: {{ nics: {nics}, labels: [fw] }}");
    }
    text.push_str("rules:\n  - { name: chain, allow: { from: fw, to: fw, for: ssh } }\n");
    text.push_str("never:\n  - { from: n1, to: world }\n  - { from: world, to: n20 }\n");
    let started = Instant::now();
    let diags = compile(&Sources::new([("large.yaml", text)])).err();
    let took = started.elapsed();
    assert!(diags.is_none(), "{}", diags.unwrap_or_default());
    assert!(took.as_secs() < 20, "{took:?}");
}

#[test]
fn large_policies_compile_in_seconds() {
    for (count, budget_s) in [(10_000, 5), (100_000, 30)] {
        let rules = (0..count).map(|i| {
            let (from, to) = ((i * 7919) % 300, (i * 104_729 + i / 300) % 300);
            format!("from: g{from}, to: g{to}, for: tcp/{}", 1000 + i % 20)
        });
        let sources = policy(300, rules);
        let start = Instant::now();
        let compiled = compile_unproved(&sources).unwrap_or_else(|d| panic!("{d}"));
        let took = start.elapsed();
        println!("{count} rules: {took:?}, {} cells", compiled.image.cells.len());
        assert_eq!(compiled.image.rules.len(), count);
        // Generous: the machine that runs this may be busy. Quadratic work would take minutes.
        assert!(took.as_secs() < budget_s, "{count} rules took {took:?}");
    }
}

#[test]
fn the_same_text_gives_the_same_image() {
    let rules = || (0..500).map(|i| format!("from: l{}, to: g{}, for: tcp/{i}", i % 40, i % 90));
    let [a, b] = [(); 2].map(|()| compile(&policy(90, rules())).unwrap_or_else(|d| panic!("{d}")));
    assert_eq!((a.image.rows, a.image.cells), (b.image.rows, b.image.cells));
    assert_eq!((a.image.addresses, a.image.prefixes), (b.image.addresses, b.image.prefixes));
    assert_eq!((a.image.nics, a.image.networks), (b.image.nics, b.image.networks));
}
