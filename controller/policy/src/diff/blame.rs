//! Which rule is responsible for a difference, and how.

use std::collections::HashMap;

use portcullis_pipeline::policy::Cell;
use serde::Serialize;

use crate::{Compiled, model::Rule};

/// One of the two policies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// As it was.
    Old,
    /// As it is to be.
    New,
}

/// What became of the responsible rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Why {
    /// It is new.
    Added,
    /// It is gone, or has ended.
    Removed,
    /// It says something else now.
    Changed,
    /// Its text is as it was, but what it names has changed.
    MeansMore,
    /// Its text is as it was, but what it names has changed.
    MeansLess,
    /// It is as it was; a `pass` above it, or what overruled it, has changed.
    Decides,
}

/// The rule that is responsible: its policy, its place there, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cause {
    pub side: Side,
    pub rule: usize,
    pub why: Why,
}

/// Rules of two policies that are the same, and those that took another's place.
pub struct Blame {
    /// Of each old rule.
    old: Vec<Fate>,
    /// Of each new rule.
    new: Vec<Fate>,
}

/// What a rule is in the other policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Same,
    Changed,
    Absent,
}

impl Blame {
    /// Compares the rules of two policies.
    pub fn new(old: &Compiled, new: &Compiled) -> Self {
        Self { old: fates(old, new), new: fates(new, old) }
    }

    /// Who is responsible for what the policies say differently.
    pub fn of(&self, old: Cell, new: Cell) -> Option<Cause> {
        let (was, is) = (rule(old), rule(new));
        let added = is.and_then(|r| self.of_new(r));
        let removed = was.and_then(|r| self.of_old(r));
        let unchanged = || {
            // Nothing was edited: what the rules name has changed, or what overruled them.
            match (was, is) {
                (None, Some(r)) => Some(Cause { side: Side::New, rule: r, why: Why::MeansMore }),
                (Some(r), None) => Some(Cause { side: Side::Old, rule: r, why: Why::MeansLess }),
                (Some(_), Some(r)) => Some(Cause { side: Side::New, rule: r, why: Why::Decides }),
                (None, None) => None,
            }
        };
        added.or(removed).or_else(unchanged)
    }

    fn of_new(&self, rule: usize) -> Option<Cause> {
        let why = match self.new[rule] {
            Fate::Same => return None,
            Fate::Changed => Why::Changed,
            Fate::Absent => Why::Added,
        };
        Some(Cause { side: Side::New, rule, why })
    }

    fn of_old(&self, rule: usize) -> Option<Cause> {
        let why = match self.old[rule] {
            Fate::Same => return None,
            Fate::Changed => Why::Changed,
            Fate::Absent => Why::Removed,
        };
        Some(Cause { side: Side::Old, rule, why })
    }
}

fn rule(cell: Cell) -> Option<usize> {
    (cell.rule() as usize).checked_sub(1)
}

fn fates(of: &Compiled, other: &Compiled) -> Vec<Fate> {
    let rules = &other.build.expanded.rules;
    let mut there: HashMap<String, usize> = HashMap::new();
    for rule in rules {
        *there.entry(says(other, rule)).or_default() += 1;
    }
    let names: std::collections::HashSet<&str> = rules.iter().map(|r| r.name.as_str()).collect();
    let fate = |rule: &Rule| {
        if let Some(left) = there.get_mut(&says(of, rule)).filter(|n| **n > 0) {
            *left -= 1;
            return Fate::Same;
        }
        if has_name(rule) && names.contains(rule.name.as_str()) {
            Fate::Changed
        } else {
            Fate::Absent
        }
    };
    of.build.expanded.rules.iter().map(fate).collect()
}

/// Did somebody give it this name? Others are called by their line, which moves.
fn has_name(rule: &Rule) -> bool {
    let line = rule.name.strip_prefix("rule-");
    line.is_none_or(|n| n.is_empty() || !n.bytes().all(|b| b.is_ascii_digit()))
}

/// What a rule says, in the words of its file: where it stands does not matter.
pub fn says(compiled: &Compiled, rule: &Rule) -> String {
    let text = |span: crate::Span| {
        let text = compiled.model.sources.file(span).text();
        text.get(span.start as usize..span.end as usize).unwrap_or_default()
    };
    let name = if has_name(rule) { rule.name.as_str() } else { "" };
    let terms = |terms: &[crate::model::Term]| {
        let mut texts: Vec<&str> = terms.iter().map(|t| text(t.span)).collect();
        texts.sort_unstable();
        texts.join(", ")
    };
    let mut services: Vec<&str> = rule.services.iter().map(|s| s.name.as_str()).collect();
    services.sort_unstable();
    let (tier, action) = (rule.tier.name(), rule.action.name());
    let (from, to) = (terms(&rule.from), terms(&rule.to));
    format!("{name}|{tier}|{action}|{from}|{to}|{}|{}", services.join(", "), rule.observe)
}
