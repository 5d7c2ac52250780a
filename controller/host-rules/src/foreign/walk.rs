//! A packet's walk through the chains of others.

use serde_json::Value;

use super::{
    matching::{Tri, is_element, matches},
    packet::{Hook, Packet, Side},
    ruleset::{Chain, Ruleset},
};

/// Chains jump into each other so deep (the kernel's NFT_JUMP_STACK_SIZE).
const DEPTH: usize = 16;

/// What drops a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Culprit<'r> {
    pub chain: &'r Chain,
    /// A rule, or the chain's policy.
    pub handle: Option<u64>,
}

/// How a walk through a chain ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// Somebody decided.
    Decided,
    /// It came out at the end, or by `return`.
    Fell,
}

/// Everything that drops a packet, for certain or perhaps.
pub fn walk<'r>(ruleset: &'r Ruleset, packet: &Packet) -> Vec<(Culprit<'r>, bool)> {
    let mut found = Vec::new();
    for chain in ruleset.chains.values().filter(|chain| meets(chain, packet)) {
        let mut walk =
            Walk { ruleset, packet, certain: true, may_return: false, found: Vec::new() };
        let end = walk.chain(chain, 0);
        let drops = chain.base.as_ref().is_some_and(|base| base.drops);
        if end == End::Fell && drops {
            walk.found.push((Culprit { chain, handle: None }, walk.certain));
        }
        found.extend(walk.found);
    }
    found
}

/// Does this packet come by this base chain?
fn meets(chain: &Chain, packet: &Packet) -> bool {
    let Some(base) = &chain.base else { return false };
    let family = match chain.family.as_str() {
        "ip" => !packet.v6,
        "ip6" => packet.v6,
        "inet" => true,
        "netdev" => match &packet.iif {
            Side::Uplink(names) => base.devices.iter().any(|device| names.contains(device)),
            Side::Absent | Side::Leg(_) => false,
        },
        // ARP is no traffic of the policy, and no bridge carries our packets.
        _ => false,
    };
    let ingress = chain.family == "netdev" || base.hook() != Some(Hook::Ingress);
    family && ingress && base.hook() == Some(packet.hook)
}

struct Walk<'a, 'r> {
    ruleset: &'r Ruleset,
    packet: &'a Packet,
    /// Is it certain that the packet comes here?
    certain: bool,
    /// May it have left the chain already, by a `return` that may match?
    may_return: bool,
    found: Vec<(Culprit<'r>, bool)>,
}

impl<'r> Walk<'_, 'r> {
    fn chain(&mut self, chain: &'r Chain, depth: usize) -> End {
        let outer = std::mem::replace(&mut self.may_return, false);
        let end = self.rules(chain, depth);
        match (end, std::mem::replace(&mut self.may_return, outer)) {
            (End::Decided, true) => {
                self.certain = false;
                End::Fell
            }
            (end, _) => end,
        }
    }

    fn rules(&mut self, chain: &'r Chain, depth: usize) -> End {
        for rule in &chain.rules {
            let mut fits = Tri::Yes;
            for statement in &rule.statements {
                let Some((word, what)) = statement.as_object().and_then(|o| o.iter().next()) else {
                    continue;
                };
                let verdict = match word.as_str() {
                    "match" => {
                        fits = fits.min(matches(self.ruleset, chain, what, self.packet));
                        None
                    }
                    "limit" | "quota" | "ct count" | "meter" | "synproxy" => {
                        fits = fits.min(Tri::Maybe);
                        None
                    }
                    "xt" => match extension(what) {
                        Extension::Match => {
                            fits = fits.min(Tri::Maybe);
                            None
                        }
                        Extension::Nothing => None,
                        Extension::Verdict(word) => {
                            self.verdict(word, &Value::Null, fits, chain, rule.handle, depth)
                        }
                        Extension::Unknown => {
                            self.blame(chain, rule.handle, Tri::Maybe);
                            None
                        }
                    },
                    "vmap" => self.map(what, fits, chain, rule.handle, depth),
                    word => self.verdict(word, what, fits, chain, rule.handle, depth),
                };
                if let Some(end) = verdict {
                    return end;
                }
                if fits == Tri::No {
                    break;
                }
            }
        }
        End::Fell
    }

    /// What a verdict does to the packet; `None`: it goes on to the next rule.
    fn verdict(
        &mut self,
        word: &str,
        what: &Value,
        fits: Tri,
        chain: &'r Chain,
        handle: Option<u64>,
        depth: usize,
    ) -> Option<End> {
        if fits == Tri::No {
            return None;
        }
        match word {
            "drop" | "reject" => {
                // If it does not drop the packet, what follows meets it as before.
                self.blame(chain, handle, fits);
                (fits == Tri::Yes).then_some(End::Decided)
            }
            "queue" => {
                self.blame(chain, handle, Tri::Maybe);
                self.decided(fits, End::Decided)
            }
            "accept" | "dnat" | "snat" | "masquerade" | "redirect" | "tproxy" => {
                self.decided(fits, End::Decided)
            }
            "return" => {
                self.may_return |= fits != Tri::Yes;
                self.decided(fits, End::Fell)
            }
            "jump" | "goto" => {
                let target = self.ruleset.sibling(chain, what["target"].as_str()?)?;
                if depth >= DEPTH {
                    return None;
                }
                let before = self.certain;
                self.certain &= fits == Tri::Yes;
                let end = self.chain(target, depth + 1);
                match (end, fits) {
                    (End::Decided, Tri::Yes) => Some(End::Decided),
                    (End::Decided, _) => {
                        self.certain = false;
                        None
                    }
                    (End::Fell, Tri::Yes) if word == "goto" => Some(End::Fell),
                    (End::Fell, _) if word == "goto" => {
                        self.may_return = true;
                        self.certain = false;
                        None
                    }
                    (End::Fell, fits) => {
                        // What was not certain inside is not certain behind it either, but a jump
                        // that may not have been taken and that only fell through changes nothing.
                        self.certain = if fits == Tri::Yes { self.certain } else { before };
                        None
                    }
                }
            }
            // Everything else counts, marks or logs.
            _ => None,
        }
    }

    /// The verdict that a map gives for a key.
    fn map(
        &mut self,
        what: &Value,
        fits: Tri,
        chain: &'r Chain,
        handle: Option<u64>,
        depth: usize,
    ) -> Option<End> {
        let ruleset = self.ruleset;
        let entries = match &what["data"] {
            Value::String(name) => ruleset.elements(chain, name).map(<[Value]>::to_vec),
            data => data["set"].as_array().cloned(),
        };
        for entry in entries.unwrap_or_default() {
            let hit = is_element(ruleset, chain, &what["key"], &entry[0], self.packet);
            let Some((word, target)) = entry[1].as_object().and_then(|o| o.iter().next()) else {
                continue;
            };
            let end = self.verdict(word, target, fits.min(hit), chain, handle, depth);
            if end.is_some() {
                return end;
            }
            if hit == Tri::Yes {
                return None;
            }
        }
        None
    }

    fn blame(&mut self, chain: &'r Chain, handle: Option<u64>, fits: Tri) {
        if fits != Tri::No {
            let certain = self.certain && fits == Tri::Yes;
            self.found.push((Culprit { chain, handle }, certain));
        }
    }

    fn decided(&mut self, fits: Tri, end: End) -> Option<End> {
        if fits == Tri::Yes {
            return Some(end);
        }
        self.certain = false;
        None
    }
}

/// What an extension of iptables does, of which nft tells the name only.
enum Extension {
    Match,
    Verdict(&'static str),
    Nothing,
    Unknown,
}

fn extension(what: &Value) -> Extension {
    let name = what["name"].as_str().unwrap_or_default();
    match (what["type"].as_str(), name) {
        (Some("match"), "comment") => Extension::Nothing,
        (Some("match"), _) => Extension::Match,
        (Some("target"), "REJECT" | "DROP") => Extension::Verdict("drop"),
        (Some("target"), "MASQUERADE" | "SNAT" | "DNAT" | "REDIRECT" | "NETMAP" | "TPROXY") => {
            Extension::Verdict("accept")
        }
        (
            Some("target"),
            "LOG" | "NFLOG" | "MARK" | "CONNMARK" | "TCPMSS" | "CHECKSUM" | "CT" | "TOS" | "DSCP"
            | "CLASSIFY" | "TRACE" | "NOTRACK" | "HL" | "TTL" | "SET" | "AUDIT" | "SECMARK",
        ) => Extension::Nothing,
        _ => Extension::Unknown,
    }
}
