//! Which rules name the sides of a connection, as the invariants of kinds ask. See
//! [`crate::kinds`].

use std::collections::HashMap;

use crate::{
    Compiled,
    compile::space::Zone,
    model::{Action, Demand, Endpoint, Term},
};

/// For each class, the allow rules that name it. Classes lie in one place each where a kind has
/// invariants, and every endpoint of a rule covers them as a whole or not at all.
pub struct Naming {
    /// By class, ascending rules that name it in `from`.
    from: Vec<Vec<u32>>,
    /// By class, ascending rules that name it in `to`.
    to: Vec<Vec<u32>>,
}

impl Naming {
    /// `None` where no kind asks.
    pub fn new(compiled: &Compiled) -> Option<Self> {
        let build = &compiled.build;
        if build.expanded.invariants.iter().all(|i| i.demand != Demand::NeverUnnamed) {
            return None;
        }
        let count = build.classes.len();
        let mut naming = Self { from: vec![Vec::new(); count], to: vec![Vec::new(); count] };
        let mut named: HashMap<Endpoint, Vec<u32>> = HashMap::new();
        for (i, rule) in build.expanded.rules.iter().enumerate() {
            if rule.action != Action::Allow || rule.observe {
                continue;
            }
            for (terms, by_class) in [(&rule.from, &mut naming.from), (&rule.to, &mut naming.to)] {
                for class in classes(compiled, terms, &mut named) {
                    by_class[class as usize].push(i as u32);
                }
            }
        }
        Some(naming)
    }

    /// Does this rule name both classes?
    pub fn names(&self, rule: usize, src: u32, dst: u32) -> bool {
        let is_in = |rules: &[u32]| rules.binary_search(&(rule as u32)).is_ok();
        is_in(&self.from[src as usize]) && is_in(&self.to[dst as usize])
    }

    /// The allow rules that name both classes, ascending.
    pub fn rules(&self, src: u32, dst: u32) -> impl Iterator<Item = usize> {
        let (from, to) = (&self.from[src as usize], &self.to[dst as usize]);
        let (few, many) = if from.len() <= to.len() { (from, to) } else { (to, from) };
        few.iter().filter(|r| many.binary_search(r).is_ok()).map(|&r| r as usize)
    }
}

/// The classes that some terms name, ascending.
fn classes(
    compiled: &Compiled,
    terms: &[Term],
    named: &mut HashMap<Endpoint, Vec<u32>>,
) -> Vec<u32> {
    let mut classes: Vec<u32> = Vec::new();
    for term in terms {
        let known = named.entry(term.endpoint);
        classes.extend_from_slice(known.or_insert_with(|| one(compiled, term.endpoint)));
    }
    classes.sort_unstable();
    classes.dedup();
    classes
}

/// The classes that one endpoint names: all of it if it is a place itself or lies in one.
fn one(compiled: &Compiled, endpoint: Endpoint) -> Vec<u32> {
    let build = &compiled.build;
    let atoms = build.space.members(endpoint);
    let zone = |a: &u32| build.space.zone(*a as usize);
    let in_one_zone = atoms.windows(2).all(|w| zone(&w[0]) == zone(&w[1]));
    let by_name = matches!(
        endpoint,
        Endpoint::Guest(_) | Endpoint::Network(_) | Endpoint::Host | Endpoint::World
    );
    if !by_name && !in_one_zone {
        return Vec::new();
    }
    let mut classes: Vec<u32> = atoms.iter().map(|&a| build.classes.of_atom(a as usize)).collect();
    classes.sort_unstable();
    classes.dedup();
    classes
}

/// Does an atom belong to the world? (Undeclared members of external networks do.)
pub fn is_world(compiled: &Compiled, atom: usize) -> bool {
    compiled.build.space.zone(atom) == Zone::World
}
