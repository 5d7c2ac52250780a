//! Policies of any size that look like somebody's: networks of every kind, guests by label, rules
//! between labels, a few about everything, invariants that hold.

use std::fmt::Write;

/// How large a policy is to be.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Guests.
    pub guests: usize,
    /// Rules.
    pub rules: usize,
}

const KINDS: &[&str] = &["lan", "dmz", "", "isolated", "", "dmz", "lan", ""];
/// Labels of each network: with the networks themselves, the host and the world about a hundred
/// identity classes.
const LABELS: usize = 12;
/// Networks without restrictions of their own.
const OPEN: &[usize] = &[0, 2, 4, 6, 7];
const SERVICES: &[&str] = &[
    "ssh",
    "http",
    "https",
    "smb",
    "nfs",
    "dns",
    "ping",
    "game",
    "[http, https]",
    "tcp/8000-8099",
];
/// Services by number besides those.
const NUMBERED: usize = 50;

/// The whole policy.
pub fn policy(size: Size) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = write(&mut out, size);
    out
}

fn write(out: &mut String, size: Size) -> std::fmt::Result {
    writeln!(out, "networks:")?;
    for (n, kind) in KINDS.iter().enumerate() {
        let kind = if kind.is_empty() { String::new() } else { format!(", kind: {kind}") };
        let subnets = format!("[10.{n}.0.0/16, \"fd00:{n}::/64\"]");
        let vlan = n + 10;
        writeln!(out, "  net{n}: {{ vlan: {vlan}, subnets: {subnets}, gateway: true{kind} }}")?;
    }
    writeln!(out, "guests:")?;
    (0..size.guests).try_for_each(|g| writeln!(out, "{}", guest(g)))?;
    writeln!(out, "sets:\n  office: [198.51.100.0/24, 203.0.113.0/24]")?;
    for s in 0..OPEN.len() {
        let (net, next) = (OPEN[s], OPEN[(s + 1) % OPEN.len()]);
        let except = format!("net{next}-app{s}");
        writeln!(out, "  group{s}: {{ members: [net{net}-app1, net{next}], except: {except} }}")?;
    }
    writeln!(out, "services:\n  game: udp/27015-27030")?;
    writeln!(out, "rules:")?;
    writeln!(
        out,
        "  - {{ name: guard, tier: platform, deny: {{ from: [net1, net5, world], \
         to: [net0, net2, net4], for: [smb, nfs, ssh] }} }}"
    )?;
    writeln!(
        out,
        "  - {{ name: names, tier: platform, allow: {{ from: [net0, net2, net4, net6, net7], \
         to: host, for: dns }} }}"
    )?;
    (2..size.rules).try_for_each(|r| writeln!(out, "{}", rule(r)))?;
    writeln!(out, "never:")?;
    for (from, to) in [(1, 0), (1, 2), (1, 4), (5, 0), (5, 2), (5, 4)] {
        for service in ["smb", "nfs", "ssh"] {
            writeln!(out, "  - {{ from: net{from}, to: net{to}, for: {service} }}")?;
        }
    }
    writeln!(out, "  - {{ from: world, to: [net0, net2, net4], for: [smb, nfs, ssh] }}")?;
    writeln!(out, "always:")?;
    OPEN.iter().try_for_each(|n| writeln!(out, "  - {{ from: net{n}, to: host, for: dns }}"))
}

/// The line of a guest.
pub fn guest(g: usize) -> String {
    let (network, app) = (g % KINDS.len(), g / KINDS.len() % LABELS);
    format!("  guest{g}: {{ network: net{network}, ip: auto, labels: [net{network}-app{app}] }}")
}

/// The line of a rule: nine of ten between two labels.
pub fn rule(r: usize) -> String {
    let (from, to) = sides(r);
    let action = if mixed(r).is_multiple_of(20) { "deny" } else { "allow" };
    let (service, owner) = (service(r), r % 9);
    format!(
        "  - {{ name: rule{r}, {action}: {{ from: {from}, to: {to}, for: {service} }}, \
         owner: team{owner} }}"
    )
}

/// A label, by a number: first one of each network, then the next.
fn label(l: usize) -> String {
    format!("net{}-app{}", l % KINDS.len(), l / KINDS.len() % LABELS)
}

const ALL_LABELS: usize = KINDS.len() * LABELS;

fn sides(r: usize) -> (String, String) {
    match r % 40 {
        0 => ("office".to_owned(), label(mixed(r))),
        1 => ("world".to_owned(), label(mixed(r))),
        2 => (label(mixed(r)), "host".to_owned()),
        3 => (format!("group{}", r / 40 % 5), format!("group{}", r / 200 % 5)),
        _ => {
            let (from, to) = (r, r / ALL_LABELS + r);
            // Inside of a network of the kind `lan` everything is allowed already.
            let same = from % KINDS.len() == to % KINDS.len();
            (label(from), label(if same { to + 1 } else { to }))
        }
    }
}

fn service(r: usize) -> String {
    // Rules between groups are about something else than those between their labels, and so is
    // every further rule between the same two labels.
    if r % 40 == 3 {
        return format!("tcp/{}", 9500 + r / 1000);
    }
    let pairs = ALL_LABELS * ALL_LABELS;
    match mixed(r % pairs) + r / pairs {
        s if s % 2 == 0 => {
            let name = SERVICES[s / 2 % SERVICES.len()];
            // What the platform denies between some networks nobody allows there.
            if matches!(name, "ssh" | "smb" | "nfs") && guarded(&sides(r)) { "http" } else { name }
                .to_owned()
        }
        s => format!("tcp/{}", 9000 + s / 2 % NUMBERED),
    }
}

/// Does the rule `guard` speak about some of this?
fn guarded((from, to): &(String, String)) -> bool {
    let is_in = |name: &str, all: &[&str]| all.iter().any(|n| name.starts_with(n));
    is_in(from, &["net1", "net5", "world", "office"]) && is_in(to, &["net0", "net2", "net4"])
}

/// A number that follows from another and looks like chance.
fn mixed(n: usize) -> usize {
    let h = (n as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    ((h ^ h >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 33) as usize
}

#[cfg(test)]
mod tests {
    use portcullis_policy::{Sources, compile};

    use super::*;

    #[test]
    fn it_holds_and_has_the_size_that_it_says() {
        let text = policy(Size { guests: 200, rules: 2000 });
        let compiled =
            compile(&Sources::new([("bench.yaml", text)])).unwrap_or_else(|d| panic!("{d}"));
        assert_eq!(compiled.model.guests.len(), 200);
        assert_eq!(compiled.model.rules.len(), 2000);
        assert!((95..=125).contains(&compiled.image.classes), "{}", compiled.image.classes);
        assert!(compiled.warnings.items().len() < 200, "{}", compiled.warnings);
    }
}
