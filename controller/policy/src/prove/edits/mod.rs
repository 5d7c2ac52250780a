//! The smallest changes of the text that would mend a violation.
//!
//! Each is tried before it is shown: the policy is compiled again with it, and must break
//! nothing that it did not break before, and no longer this.

mod forbid;
mod permit;
mod text;
mod words;

use std::collections::BTreeSet;

use self::{text::Text, words::Words};
use super::{
    Case, cases,
    search::{Found, Prover},
};
use crate::{
    Compiled, Moment,
    compile::InvariantKey,
    compile_unproved_at,
    diagnostic::Edit,
    lookup::lookup,
    model::{Demand, Invariant, Rule},
    source::Span,
};

/// Changes that are shown for one violation.
const SHOWN: usize = 4;
/// Rules and guests that may be compiled again to try changes, over all violations: people wait.
const WORK: usize = 100_000;
/// Changes that are tried at most, and at least.
const TRIED: (usize, usize) = (2, 100);

/// Finds changes that mend violations.
pub struct Editor<'a> {
    compiled: &'a Compiled,
    text: Text,
    words: Words<'a>,
    /// What is broken now.
    broken: BTreeSet<Key>,
    /// Changes that may still be tried.
    tries: usize,
}

/// A violation, so that it can be found again after a change: index of the invariant, the
/// relays' last leg, whether it is allowed, and where the rule begins that decides.
type Key = (usize, Option<usize>, u8, u32, Option<(u32, u32)>);

/// What a change is for.
struct Task<'t> {
    compiled: &'t Compiled,
    invariant: &'t Invariant,
    key: InvariantKey,
    /// The deciding rule of the hop at hand.
    rule: Option<&'t Rule>,
}

impl<'a> Editor<'a> {
    pub fn new(compiled: &'a Compiled, now: &[Case]) -> Self {
        let size = compiled.model.rules.len() + compiled.model.guests.len() + 1;
        Self {
            compiled,
            text: Text::new(&compiled.model.sources),
            words: Words::new(compiled),
            broken: now.iter().map(|case| key(compiled, case)).collect(),
            tries: (WORK / size).clamp(TRIED.0, TRIED.1),
        }
    }

    /// The changes that mend a violation, the smallest first.
    pub fn edits(&mut self, prover: &Prover<'_>, case: &Case) -> Vec<Edit> {
        if self.tries == 0 {
            return Vec::new();
        }
        let candidates = self.candidates(prover, case);
        let mut edits: Vec<Edit> = Vec::new();
        for candidate in candidates {
            let known =
                edits.iter().any(|e| (e.span, &e.text) == (candidate.span, &candidate.text));
            if edits.len() == SHOWN || self.tries == 0 {
                break;
            }
            if !known && self.mends(case, &candidate) {
                edits.push(candidate);
            }
        }
        edits
    }

    fn candidates(&mut self, prover: &Prover<'_>, case: &Case) -> Vec<Edit> {
        let invariant = &self.compiled.build.expanded.invariants[case.invariant];
        let decider =
            case.violation.hops.last().and_then(|h| super::report::rule(self.compiled, h));
        let key = self.compiled.build.invariants[case.invariant];
        let task = Task { compiled: self.compiled, invariant, key, rule: decider };
        match &case.found {
            Found::Allowed { steps, .. } if steps.len() == 1 => {
                forbid::direct(&task, &mut self.text, &self.words)
            }
            Found::Allowed { steps, .. } => {
                forbid::relayed(&task, case, steps, &mut self.text, &self.words)
            }
            Found::Denied { step, .. } => {
                permit::denied(&task, prover, step, &mut self.text, &self.words)
            }
            Found::NoWay { network, .. } => {
                permit::gateway(&task, *network, &mut self.text).into_iter().collect()
            }
        }
    }

    /// Is the policy with this change without the violation, and without new ones?
    fn mends(&mut self, case: &Case, edit: &Edit) -> bool {
        self.tries -= 1;
        let model = &self.compiled.model;
        let moment = Moment { now_unix_s: model.now_unix_s, since_unix_s: model.anchors() };
        let Ok(changed) = compile_unproved_at(&self.text.apply(edit), &moment) else {
            return false;
        };
        let mut after: BTreeSet<Key> = BTreeSet::new();
        for left in cases(&Prover::new(&changed), &mut |_| {}) {
            after.insert(moved_back(key(&changed, &left), edit));
        }
        let this = key(self.compiled, case);
        if this.2 == DENIED && !is_allowed(&changed, case) {
            return false;
        }
        // Of `always` one violation is found at a time: there may be another behind it.
        let behind = |k: &Key| k.0 == this.0 && this.2 != ALLOWED && *k != this;
        !after.contains(&this) && after.iter().all(|k| self.broken.contains(k) || behind(k))
    }
}

/// Is what a violation shows as denied allowed now?
fn is_allowed(compiled: &Compiled, case: &Case) -> bool {
    case.violation.hops.iter().all(|hop| match (hop.from.addr, hop.to.addr) {
        (Some(from), Some(to)) => {
            let image = &compiled.image;
            lookup(image, hop.network, from.into(), to.into(), hop.purpose).allows()
        }
        _ => false,
    })
}

const ALLOWED: u8 = 0;
const DENIED: u8 = 1;
const NO_WAY: u8 = 2;

fn key(compiled: &Compiled, case: &Case) -> Key {
    let rules = &compiled.build.expanded.rules;
    let place = |rule: u32| {
        let rule = (rule as usize).checked_sub(1).and_then(|i| rules.get(i));
        rule.map(|r| (r.span.file, r.span.start))
    };
    match &case.found {
        Found::Allowed { rule, steps, .. } => {
            let relay = steps[1..].last().and_then(|s| s.src.guest());
            (case.invariant, relay, ALLOWED, 0, place(*rule))
        }
        Found::Denied { rule, .. } => (case.invariant, None, DENIED, 0, place(*rule)),
        Found::NoWay { network, .. } => (case.invariant, None, NO_WAY, *network as u32, None),
    }
}

/// The key that it had before an edit.
fn moved_back(key: Key, edit: &Edit) -> Key {
    let Span { file, start, end } = edit.span;
    let grown = edit.text.len() as u32;
    let back = |(f, at): (u32, u32)| {
        let behind = f == file && at >= start + grown;
        if behind { (f, at + (end - start) - grown) } else { (f, at) }
    };
    (key.0, key.1, key.2, key.3, key.4.map(back))
}

/// A name for a new rule that no rule has.
fn new_name(compiled: &Compiled, prefix: &str, invariant: &Invariant) -> String {
    let base: String = invariant.name.replace(':', "-").chars().take(50).collect();
    let base = format!("{prefix}-{base}");
    let taken = |name: &str| compiled.model.rules.iter().any(|r| r.name == name);
    let numbered = (2..).map(|n| format!("{base}-{n}"));
    std::iter::once(base.clone()).chain(numbered).find(|n| !taken(n)).unwrap_or(base)
}

/// Is it a rule that stands in the text, not one of a kind?
fn is_written(rule: &Rule) -> bool {
    !rule.name.contains(':')
}

/// Does the invariant stand in the text?
fn is_own(invariant: &Invariant) -> bool {
    invariant.demand != Demand::NeverUnnamed
}
