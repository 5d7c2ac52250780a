//! Which rules name the sides of a connection, as the invariants of kinds ask. See
//! [`crate::kinds`].

use std::{
    cell::{OnceCell, RefCell},
    rc::Rc,
};

use hashbrown::HashMap;

use crate::{
    Compiled,
    compile::space::Zone,
    model::{Action, Demand, Endpoint, Term},
};

/// Which allow rules name which classes. Classes lie in one place each where a kind has
/// invariants, and every endpoint of a rule covers them as a whole or not at all.
///
/// Everything is found when it is first asked for: mostly a connection is allowed by a rule that
/// names both sides, and nobody asks for others.
pub struct Naming<'a> {
    compiled: &'a Compiled,
    /// The classes that each endpoint names.
    by_endpoint: RefCell<HashMap<Endpoint, Rc<[u32]>>>,
    by_class: OnceCell<ByClass>,
}

/// For each class, the allow rules that name it.
struct ByClass {
    /// Ascending rules that name it in `from`.
    from: Vec<Vec<u32>>,
    /// Ascending rules that name it in `to`.
    to: Vec<Vec<u32>>,
}

impl<'a> Naming<'a> {
    /// `None` where no kind asks.
    pub fn new(compiled: &'a Compiled) -> Option<Self> {
        let mut invariants = compiled.build.expanded.invariants.iter();
        invariants.any(|i| i.demand == Demand::NeverUnnamed).then(|| Self {
            compiled,
            by_endpoint: RefCell::default(),
            by_class: OnceCell::new(),
        })
    }

    /// Does this allow rule name both classes?
    pub fn names(&self, rule: usize, src: u32, dst: u32) -> bool {
        let rule = &self.compiled.build.expanded.rules[rule];
        let names = |terms: &[Term], class: u32| {
            terms.iter().any(|t| self.endpoint(t.endpoint).binary_search(&class).is_ok())
        };
        names(&rule.from, src) && names(&rule.to, dst)
    }

    /// The allow rules that name both classes, ascending.
    pub fn rules(&self, src: u32, dst: u32) -> impl Iterator<Item = usize> {
        let ByClass { from, to } = self.by_class.get_or_init(|| self.by_class());
        let (from, to) = (&from[src as usize], &to[dst as usize]);
        let (few, many) = if from.len() <= to.len() { (from, to) } else { (to, from) };
        few.iter().filter(|r| many.binary_search(r).is_ok()).map(|&r| r as usize)
    }

    fn by_class(&self) -> ByClass {
        let count = self.compiled.build.classes.len();
        let mut found = ByClass { from: vec![Vec::new(); count], to: vec![Vec::new(); count] };
        for (i, rule) in self.compiled.build.expanded.rules.iter().enumerate() {
            if rule.action != Action::Allow || rule.observe {
                continue;
            }
            for (terms, by_class) in [(&rule.from, &mut found.from), (&rule.to, &mut found.to)] {
                for class in self.classes(terms) {
                    by_class[class as usize].push(i as u32);
                }
            }
        }
        found
    }

    /// The classes that some terms name, ascending.
    fn classes(&self, terms: &[Term]) -> Vec<u32> {
        let mut classes: Vec<u32> = Vec::new();
        for term in terms {
            classes.extend_from_slice(&self.endpoint(term.endpoint));
        }
        classes.sort_unstable();
        classes.dedup();
        classes
    }

    /// The classes that an endpoint names, ascending.
    fn endpoint(&self, endpoint: Endpoint) -> Rc<[u32]> {
        let mut known = self.by_endpoint.borrow_mut();
        let classes = known.entry(endpoint).or_insert_with(|| one(self.compiled, endpoint).into());
        Rc::clone(classes)
    }
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
