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

fn too_large(sources: &Sources) -> (&'static str, u64, u64) {
    let diags = compile(sources).err().expect("a refusal");
    match diags.items()[0].problem {
        Problem::TooLarge { what, got, limit } => (what, got, limit),
        _ => panic!("{diags}"),
    }
}

#[test]
fn too_many_classes() {
    let rules = (0..2500).map(|g| format!("from: g{g}, to: host, for: ssh"));
    assert_eq!(too_large(&policy(2500, rules)), ("identity classes", 2502, 2048));
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
