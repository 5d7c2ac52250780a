//! Policies that change at random and say of a few flows, by construction, whether they may be.
//!
//! Everything that a compiled table depends on moves: the order of networks, guests and rules,
//! labels, how a rule is worded, rules about somebody else. Whoever mixes two generations takes a
//! class of one for a class of the other.

use std::fmt::Write;

use crate::random::Random;

/// What a flow is meant for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Every policy allows it.
    Always,
    /// None does.
    Never,
    /// Some do.
    Changing,
}

/// A flow between two guests.
#[derive(Clone, Copy, Debug)]
pub struct Pair {
    /// Who sends.
    pub from: &'static str,
    /// Who receives.
    pub to: &'static str,
    /// In which family.
    pub v6: bool,
    /// UDP port of the receiver; those of two pairs are at least 10 apart.
    pub port: u16,
    /// What it is meant for.
    pub fate: Fate,
}

const fn pair(from: &'static str, to: &'static str, v6: bool, port: u16, fate: Fate) -> Pair {
    Pair { from, to, v6, port, fate }
}

/// Bridged and routed, in both families, in both directions between the same two.
pub const PAIRS: &[Pair] = &[
    pair("r1", "r2", false, 9000, Fate::Always),
    pair("r1", "b1", true, 9010, Fate::Always),
    pair("b2", "b1", false, 9020, Fate::Always),
    pair("r1", "r2", false, 9030, Fate::Never),
    pair("b1", "r1", true, 9040, Fate::Never),
    pair("r1", "r2", true, 9050, Fate::Changing),
    pair("r2", "r1", false, 9060, Fate::Changing),
    pair("r1", "b1", false, 9070, Fate::Changing),
    pair("b1", "b2", true, 9080, Fate::Changing),
    pair("b2", "r2", false, 9090, Fate::Changing),
];

/// Guests that send and receive, with their networks and addresses.
pub const GUESTS: &[(&str, &str, &str)] = &[
    ("r1", "red", "[10.1.0.11, 'fd01::11']"),
    ("r2", "red", "[10.1.0.12, 'fd01::12']"),
    ("b1", "blue", "[10.2.0.11, 'fd02::11']"),
    ("b2", "blue", "[10.2.0.12, 'fd02::12']"),
];
const NETWORKS: &[&str] = &[
    "red: { vlan: 10, subnets: [10.1.0.0/24, 'fd01::/64'], gateway: true }",
    "blue: { vlan: 20, subnets: [10.2.0.0/24, 'fd02::/64'], gateway: true }",
    "idle: { vlan: 30, subnets: [10.3.0.0/24, 'fd03::/64'], gateway: true }",
];
/// Guests that never were attached: rules about them concern nobody, but divide classes.
const IDLE: usize = 12;
/// Labels that only idle guests wear.
const LABELS: [&str; 4] = ["web", "db", "mail", "build"];

/// A policy that somebody edits at random.
#[derive(Clone, Debug)]
pub struct Shifting {
    random: Random,
    allowed: Vec<bool>,
    /// Rules about each pair, worded somehow.
    worded: Vec<Vec<String>>,
    /// Rules about idle guests.
    others: Vec<String>,
    /// Labels of the idle guests.
    labels: Vec<&'static str>,
    networks: Vec<&'static str>,
    guests: Vec<usize>,
}

impl Shifting {
    /// The first policy of a sequence.
    pub fn new(seed: u64) -> Self {
        let mut shifting = Self {
            random: Random::new(seed),
            allowed: PAIRS.iter().map(|pair| pair.fate == Fate::Always).collect(),
            worded: vec![Vec::new(); PAIRS.len()],
            others: Vec::new(),
            labels: vec![LABELS[0]; IDLE],
            networks: NETWORKS.to_vec(),
            guests: (0..GUESTS.len() + IDLE).collect(),
        };
        shifting.rewrite();
        shifting
    }

    /// Which pairs it allows.
    pub fn allowed(&self) -> &[bool] {
        &self.allowed
    }

    /// Changes it: often one rule, sometimes everything.
    pub fn change(&mut self) {
        if self.random.one_in(3) {
            return self.rewrite();
        }
        let changing: Vec<usize> =
            (0..PAIRS.len()).filter(|at| PAIRS[*at].fate == Fate::Changing).collect();
        let at = *self.random.pick(&changing);
        self.allowed[at] = !self.allowed[at];
        self.word(at);
    }

    fn rewrite(&mut self) {
        for (at, pair) in PAIRS.iter().enumerate() {
            if pair.fate == Fate::Changing {
                self.allowed[at] = self.random.one_in(2);
            }
            self.word(at);
        }
        for label in &mut self.labels {
            *label = LABELS[self.random.below(LABELS.len())];
        }
        let count = self.random.below(8);
        self.others = (0..count).map(|_| self.other()).collect();
        self.random.shuffle(&mut self.networks);
        self.random.shuffle(&mut self.guests);
    }

    /// Words the rules of a pair anew.
    fn word(&mut self, at: usize) {
        let pair = PAIRS[at];
        let port = pair.port;
        let from = self.endpoint(pair.from, pair.v6);
        let to = self.endpoint(pair.to, pair.v6);
        let service = match self.random.below(4) {
            0 => format!("udp/{port}"),
            1 => format!("udp/{}-{}", port - 2, port + 3),
            2 => format!("[tcp/{port}, udp/{port}]"),
            _ => format!("[udp/{}-{port}, http]", port - 1),
        };
        let rule = |verb: &str, more: &str, service: &str| {
            format!("{verb}: {{ from: {from}, to: {to}, for: {service} }}{more}")
        };
        let platform = ", tier: platform";
        let precisely = format!("udp/{port}");
        self.worded[at] = match (self.allowed[at], self.random.below(4)) {
            (true, 0) => vec![rule("allow", platform, &service)],
            (true, 1) => vec![rule("allow", platform, &service), rule("deny", "", &precisely)],
            (true, 2) => vec![rule("allow", "", &service), rule("pass", platform, &precisely)],
            (true, _) => vec![rule("allow", "", &service)],
            (false, 0) => vec![rule("allow", "", &service), rule("deny", "", &precisely)],
            (false, 1) => vec![rule("allow", "", &service), rule("deny", platform, &precisely)],
            (false, 2) => vec![rule("allow", ", mode: observe", &service)],
            (false, _) => Vec::new(),
        };
    }

    /// A guest by its name, its label, its address or a selector.
    fn endpoint(&mut self, guest: &str, v6: bool) -> String {
        let (_, network, addresses) =
            GUESTS.iter().find(|(name, ..)| *name == guest).copied().unwrap_or(("", "", "[,]"));
        let family = usize::from(v6);
        match self.random.below(5) {
            0 => format!("only-{guest}"),
            1 => format!("{{ all of: [{network}, only-{guest}] }}"),
            2 => {
                let both = addresses.trim_matches(['[', ']']);
                both.split(", ").nth(family).unwrap_or_default().to_owned()
            }
            3 => format!("[{guest}, idle3]"),
            _ => guest.to_owned(),
        }
    }

    /// A rule about idle guests alone.
    fn other(&mut self) -> String {
        let verb = self.random.pick(&["allow", "deny"]);
        let from = LABELS[self.random.below(LABELS.len())];
        let to = format!("idle{}", self.random.below(IDLE));
        let port = 7000 + 10 * self.random.below(20);
        format!("{verb}: {{ from: {{ any of: [{from}, idle0] }}, to: {to}, for: tcp/{port} }}")
    }

    /// Its text.
    pub fn text(&self) -> String {
        let mut out = String::new();
        // Writing to a string cannot fail.
        let _ = self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        let declared = LABELS.map(|label| format!("{label}: idle")).join(", ");
        writeln!(out, "labels: {{ {declared} }}")?;
        writeln!(out, "networks:")?;
        for network in &self.networks {
            writeln!(out, "  {network}")?;
        }
        writeln!(out, "guests:")?;
        for guest in &self.guests {
            match GUESTS.get(*guest) {
                Some((name, network, ip)) => {
                    writeln!(
                        out,
                        "  {name}: {{ network: {network}, ip: {ip}, labels: [only-{name}] }}"
                    )?;
                }
                None => {
                    let idle = guest - GUESTS.len();
                    let label = self.labels[idle];
                    writeln!(
                        out,
                        "  idle{idle}: {{ network: idle, ip: auto, labels: [{label}] }}"
                    )?;
                }
            }
        }
        writeln!(out, "rules:")?;
        let mut rules: Vec<String> = self.worded.iter().flatten().cloned().collect();
        rules.extend(self.others.iter().cloned());
        let rules = rules.iter().enumerate();
        let lines: Vec<String> =
            rules.map(|(n, rule)| format!("  - {{ name: rule{n}, {rule} }}")).collect();
        writeln!(out, "{}", lines.join("\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_policy_differs_and_keeps_its_promises() {
        let mut shifting = Shifting::new(1);
        let mut before = shifting.text();
        for _ in 0..100 {
            shifting.change();
            let text = shifting.text();
            assert_ne!(text, before);
            before = text;
            for (pair, allowed) in PAIRS.iter().zip(shifting.allowed()) {
                match pair.fate {
                    Fate::Always => assert!(allowed),
                    Fate::Never => assert!(!allowed),
                    Fate::Changing => {}
                }
            }
        }
    }
}
