//! Random policies with invariants.

use portcullis_policy::generate::{self, Random, Size};

/// A random policy with some invariants.
pub fn with_invariants(seed: u64, size: Size) -> String {
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
        for i in 0..2 {
            let (from, to) = (*r.pick(&names), *r.pick(&names));
            let service = *r.pick(&services);
            text.push_str(&format!(
                "  - {{ name: {demand}{i}, from: {from}, to: {to}, for: {service} }}\n"
            ));
        }
    }
    if r.once_in(2) {
        let kind = *r.pick(&["dmz", "isolated"]);
        text = text.replacen("kind: lan", &format!("kind: {kind}"), 1);
    }
    text
}
