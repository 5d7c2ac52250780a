//! Selectors where they are used are numbered through the whole policy, in the order of the text:
//! those of sets, then those of rules, then those of invariants.

use std::ops::Range;

use crate::model::{Endpoint, Model, Rule, Selector, Term};

/// Selectors that took the place of others.
#[derive(Debug)]
pub struct Reselected {
    /// Index of the first.
    first: usize,
    /// How many there were.
    then: usize,
    /// What is there now.
    now: Vec<Selector>,
}

impl Reselected {
    /// Those of some rules, which others take the place of; `None` if there were none and are
    /// none. The new rules and their selectors get the numbers that they have in the policy.
    pub fn new(
        model: &Model,
        gone: &Range<usize>,
        come: &mut [Rule],
        mut now: Vec<Selector>,
    ) -> Option<Self> {
        let old = range(model, rule_terms(&model.rules[gone.clone()]));
        if old.is_none() && now.is_empty() {
            return None;
        }
        let (first, then) = match old {
            Some(range) => (range.start, range.len()),
            None => (behind(model, gone.start), 0),
        };
        let numbered = |term: &mut Term| {
            if let Endpoint::Selector(i) = &mut term.endpoint {
                *i += first;
            }
        };
        come.iter_mut().flat_map(|r| r.from.iter_mut().chain(&mut r.to)).for_each(numbered);
        now.iter_mut().flat_map(|s| &mut s.terms).for_each(numbered);
        Some(Self { first, then, now })
    }

    /// Puts them into a model, whose old rules may still be there, and into other rules.
    pub fn carry_out(self, model: &mut Model, rules: &mut [Rule]) {
        let (behind, count) = (self.first + self.then, self.now.len());
        let move_term = |term: &mut Term| {
            if let Endpoint::Selector(i) = &mut term.endpoint
                && *i >= behind
            {
                *i = *i + count - self.then;
            }
        };
        let terms = model.rules.iter_mut().chain(rules).flat_map(|r| [&mut r.from, &mut r.to]);
        terms.flatten().for_each(move_term);
        let terms = model.invariants.iter_mut().flat_map(|i| [&mut i.from, &mut i.to]);
        terms.flatten().for_each(move_term);
        model.selectors.iter_mut().flat_map(|s| &mut s.terms).for_each(move_term);
        model.selectors.splice(self.first..behind, self.now);
    }
}

fn rule_terms(rules: &[Rule]) -> impl DoubleEndedIterator<Item = &Term> {
    rules.iter().flat_map(|r| r.from.iter().chain(&r.to))
}

/// The selectors of some terms and of what is in them: they stand one behind the other.
fn range<'a>(model: &Model, terms: impl Iterator<Item = &'a Term>) -> Option<Range<usize>> {
    let mut open: Vec<usize> = terms.filter_map(selector).collect();
    let mut range: Option<Range<usize>> = None;
    while let Some(i) = open.pop() {
        let known = range.get_or_insert(i..i + 1);
        *known = known.start.min(i)..known.end.max(i + 1);
        open.extend(model.selectors[i].terms.iter().filter_map(selector));
    }
    range
}

fn selector(term: &Term) -> Option<usize> {
    match term.endpoint {
        Endpoint::Selector(i) => Some(i),
        _ => None,
    }
}

/// The number behind those of the sets and of the rules before one.
fn behind(model: &Model, rule: usize) -> usize {
    // An outer selector is numbered after what is in it, so the largest is found at the top.
    let last = |terms: &mut dyn Iterator<Item = &Term>| terms.filter_map(selector).max();
    let mut rules = model.rules[..rule].iter().rev();
    let of_rules = rules.find_map(|r| last(&mut r.from.iter().chain(&r.to)));
    let sets = || model.sets.iter().flat_map(|s| s.members.iter().chain(&s.except));
    of_rules.or_else(|| last(&mut sets())).map_or(0, |last| last + 1)
}
