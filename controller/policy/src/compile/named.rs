//! Sets and selectors: lists of atoms made of other lists.
//!
//! They may name each other. The parser refused cycles, so each is computed after all that it
//! names, without recursion: a chain of ten thousand sets is no deeper than one.

use std::convert::Infallible;

use super::{
    limits::{TooMuch, largest},
    space::{Space, union},
};
use crate::model::{Combine, Endpoint, Model, Term};

/// A set or a selector.
#[derive(Clone, Copy)]
enum Named {
    Set(usize),
    Selector(usize),
}

impl Named {
    fn of(endpoint: Endpoint) -> Option<Self> {
        match endpoint {
            Endpoint::Set(s) => Some(Self::Set(s)),
            Endpoint::Selector(s) => Some(Self::Selector(s)),
            _ => None,
        }
    }

    /// Its place among all of them, sets first.
    fn place(self, model: &Model) -> usize {
        match self {
            Self::Set(s) => s,
            Self::Selector(s) => model.sets.len() + s,
        }
    }

    /// What it is made of.
    fn terms(self, model: &Model) -> impl Iterator<Item = &Term> {
        let (first, second) = match self {
            Self::Set(s) => (&model.sets[s].members, model.sets[s].except.as_slice()),
            Self::Selector(s) => (&model.selectors[s].terms, &[][..]),
        };
        first.iter().chain(second)
    }
}

/// Calls `each` for every set and selector, for each after those that it names, until one fails.
fn in_order<E>(model: &Model, mut each: impl FnMut(Named) -> Result<(), E>) -> Result<(), E> {
    let sets = (0..model.sets.len()).map(Named::Set);
    let all = sets.chain((0..model.selectors.len()).map(Named::Selector));
    let mut done = vec![false; model.sets.len() + model.selectors.len()];
    for start in all {
        let mut open = vec![start];
        while let Some(&named) = open.last() {
            let mut inner = named.terms(model).filter_map(|t| Named::of(t.endpoint));
            if let Some(next) = inner.find(|n| !done[n.place(model)]) {
                open.push(next);
                continue;
            }
            open.pop();
            if !std::mem::replace(&mut done[named.place(model)], true) {
                each(named)?;
            }
        }
    }
    Ok(())
}

impl Space {
    /// The atoms of every set and selector.
    pub(super) fn add_named(&mut self, model: &Model, limit: u64) -> Result<(), TooMuch> {
        self.sets = vec![Vec::new(); model.sets.len()];
        self.selectors = vec![Vec::new(); model.selectors.len()];
        let mut places = 0;
        in_order(model, |named| {
            let members = match named {
                Named::Set(s) => self.set_members(model, s),
                Named::Selector(s) => self.selected(model, s),
            };
            places += members.len() as u64;
            match named {
                Named::Set(s) => self.sets[s] = members,
                Named::Selector(s) => self.selectors[s] = members,
            }
            if places > limit { Err(self.too_large(model, places, limit)) } else { Ok(()) }
        })
    }

    fn too_large(&self, model: &Model, got: u64, limit: u64) -> TooMuch {
        let sets = model.sets.iter().map(|s| s.span).zip(&self.sets);
        let selectors = model.selectors.iter().map(|s| s.span).zip(&self.selectors);
        let shares = sets.chain(selectors).map(|(span, list)| (span, list.len() as u64));
        TooMuch {
            what: "members of sets and selectors",
            got,
            limit,
            by: largest(shares),
            share: "addresses and prefixes in here:",
            advice: "give a selector that stands in many rules a name, as a set: then it counts \
                     once",
        }
    }

    fn set_members(&self, model: &Model, set: usize) -> Vec<u32> {
        let mut members = self.any_of(&model.sets[set].members);
        let except = self.any_of(&model.sets[set].except);
        members.retain(|m| except.binary_search(m).is_err());
        members
    }

    fn selected(&self, model: &Model, selector: usize) -> Vec<u32> {
        let selector = &model.selectors[selector];
        match selector.combine {
            Combine::Any => self.any_of(&selector.terms),
            Combine::Not => {
                let named = self.any_of(&selector.terms);
                let mut others = self.members(Endpoint::Any);
                others.retain(|m| named.binary_search(m).is_err());
                others
            }
            Combine::All => {
                let mut lists = selector.terms.iter().map(|t| self.members(t.endpoint));
                let first = lists.next().unwrap_or_default();
                lists.fold(first, |mut common, list| {
                    common.retain(|m| list.binary_search(m).is_ok());
                    common
                })
            }
        }
    }

    fn any_of(&self, terms: &[Term]) -> Vec<u32> {
        let lists: Vec<_> = terms.iter().map(|t| self.members(t.endpoint)).collect();
        union(lists.iter().map(Vec::as_slice))
    }
}

/// Sets and selectors that may be empty: they depend on a declared label that nobody wears.
pub struct MayBeEmpty {
    sets: Vec<bool>,
    selectors: Vec<bool>,
}

impl MayBeEmpty {
    /// Looks through everything that sets and selectors are made of.
    pub fn new(model: &Model) -> Self {
        let mut may = Self {
            sets: vec![false; model.sets.len()],
            selectors: vec![false; model.selectors.len()],
        };
        let Ok(()) = in_order(model, |named| -> Result<(), Infallible> {
            let waits = named.terms(model).any(|t| match t.endpoint {
                Endpoint::Label(l) => model.labels[l].guests.is_empty(),
                Endpoint::Set(s) => may.sets[s],
                Endpoint::Selector(s) => may.selectors[s],
                _ => false,
            });
            match named {
                Named::Set(s) => may.sets[s] = waits,
                Named::Selector(s) => may.selectors[s] = waits,
            }
            Ok(())
        });
        may
    }

    /// May this set be empty?
    pub fn set(&self, set: usize) -> bool {
        self.sets[set]
    }

    /// May this selector be empty?
    pub fn selector(&self, selector: usize) -> bool {
        self.selectors[selector]
    }
}
