//! How long it takes to find that what was loaded is what was compiled.

use std::fmt::Write;

use crate::host::Host;

/// A policy of so many guests in ten networks, and so many rules about a hundred labels.
fn policy(guests: u32, rules: u32) -> String {
    let mut text = String::from("networks:\n");
    for n in 0..10 {
        let _ = writeln!(
            text,
            "  n{n}: {{ vlan: {}, subnets: [10.{}.0.0/16], gateway: true }}",
            n + 2,
            n + 1
        );
    }
    text += "guests:\n";
    for g in 0..guests {
        let (n, rest) = (g % 10, g / 10 + 10);
        let (high, low) = (rest / 250, rest % 250 + 2);
        let ip = format!("10.{}.{high}.{low}", n + 1);
        let _ = writeln!(text, "  g{g}: {{ network: n{n}, ip: {ip}, labels: [l{}] }}", g % 100);
    }
    text += "rules:\n";
    let labels = guests.min(100);
    for r in 0..rules {
        let (from, to, port) = (r % labels, (r * 7 + r / 100) % labels, 1000 + r % 40);
        let _ = writeln!(
            text,
            "  - {{ name: r{r}, allow: {{ from: l{from}, to: l{to}, for: tcp/{port} }} }}"
        );
    }
    text
}

#[test]
fn validation_is_fast_enough_to_be_always_on() {
    let host = Host::new();
    host.ok(&["up", "--flows", "4096"]);
    for (guests, rules, most_ms) in [(10, 20, 100), (1000, 10_000, 500), (10_000, 100_000, 2000)] {
        let text = policy(guests, rules);
        let applied = host.json(&["apply", &host.policy(&text)]);
        let validation = &applied["validation"];
        let total_us = validation["total_us"].as_u64().unwrap();
        println!("{guests} guests, {rules} rules: {validation}");
        // A bound for a machine that does other things meanwhile; the aims are 10 and 50 ms.
        assert!(total_us < most_ms * 1000, "{validation}");
        assert!(validation["packets"].as_u64().unwrap() > 20, "{validation}");
    }
}
