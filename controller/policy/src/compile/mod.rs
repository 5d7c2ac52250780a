//! Model to image: addresses to identity classes, numbers to service classes, rules to rows.

pub mod actors;
pub mod block;
pub mod classes;
mod denied;
mod image;
mod interned;
mod limits;
mod lists;
mod named;
mod order;
pub mod partition;
mod paths;
mod reuse;
mod rows;
mod rowset;
pub mod services;
pub mod space;
mod update;

use ipnet::IpNet;
use portcullis_image::Image;

use self::{
    classes::Classes,
    limits::{CLASSES, LIMITS, PLACES, RULES, SERVICES, TooMuch, largest},
    lists::{Keys, Lists},
    named::MayBeEmpty,
    services::ServiceClasses,
    space::Space,
};
pub use self::{
    denied::first_denied,
    image::rule as shown,
    lists::InvariantKey,
    order::RuleKey,
    reuse::{Replaced, Touched},
    update::update,
};
use crate::{
    diagnostic::Diagnostics,
    kinds::{self, Expanded},
    model::{Endpoint, Model, Term},
    problem::Problem,
    source::Span,
};

/// How an image came about.
#[derive(Clone)]
pub struct Build {
    pub space: Space,
    pub classes: Classes,
    pub services: ServiceClasses,
    /// All rules, those of kinds among them; rule id `i + 1` is `rules[i]`.
    pub expanded: Expanded,
    /// The rules as list numbers.
    pub rules: Vec<RuleKey>,
    /// `from`, `to` and `for` of each invariant as list numbers.
    pub invariants: Vec<InvariantKey>,
    lists: Lists,
    /// Every prefix that is written somewhere, ascending.
    literals: Vec<IpNet>,
}

/// Compiles a model without errors. `None`: it does not fit the tables, which was reported.
pub fn build(model: &Model, diags: &mut Diagnostics) -> Option<(Build, Image)> {
    match try_build(model, diags) {
        Ok(built) => built,
        Err(too_much) => {
            too_much.report(diags);
            None
        }
    }
}

/// `None`: something is wrong and was reported.
fn try_build(model: &Model, diags: &mut Diagnostics) -> Result<Option<(Build, Image)>, TooMuch> {
    let expanded = kinds::expand(model);
    rules_fit(&expanded)?;
    let literals = literals(model);
    let space = Space::new(model, literals.iter().copied(), PLACES)?;
    if refuse_empty(model, &space, diags) {
        return Ok(None);
    }
    let (lists, Keys { rules, invariants }) = Lists::of(model, &expanded, &space);
    let classes = identities(&space, &lists)?;
    let services = service_classes(&lists)?;
    let input =
        rows::Input { rules: &rules, classes: &classes, services: &services, limits: LIMITS };
    let rows = rows::build(&input).map_err(|rows::TooMuch { what, got, limit, by }| {
        let by = by.into_iter().map(|(rule, share)| (expanded.rules[rule as usize].span, share));
        let share = "rules with these endpoints make of that";
        let advice = "say more with fewer rules: about labels, sets and networks where all their \
                      members are meant, and about named services where several ports are";
        TooMuch { what, got, limit, by: by.collect(), share, advice }
    })?;
    let mut image = image::assemble(model, &expanded.rules, &space, &classes, &services, rows);
    image.denied = denied::denied(model, diags);
    let build = Build { space, classes, services, expanded, rules, invariants, lists, literals };
    Ok(Some((build, image)))
}

fn rules_fit(expanded: &Expanded) -> Result<(), TooMuch> {
    let got = expanded.rules.len() as u64;
    if got <= RULES {
        return Ok(());
    }
    let mut files: Vec<(Span, u64)> = Vec::new();
    for rule in &expanded.rules {
        match files.last_mut() {
            Some((first, count)) if first.file == rule.span.file => *count += 1,
            _ => files.push((rule.span, 1)),
        }
    }
    let advice = "join rules that differ in one of `from`, `to` and `for` only: each takes a list";
    let (by, share) = (largest(files.into_iter()), "rules of this file:");
    Err(TooMuch { what: "rules", got, limit: RULES, by, share, advice })
}

fn identities(space: &Space, lists: &Lists) -> Result<Classes, TooMuch> {
    let user = |i: usize| lists.endpoints.user(i as u32);
    let advice = "name guests by the labels that they share, and networks rather than their \
                  addresses: what no rule tells apart takes one place in the tables";
    let too_much = |what, got, limit, shares: &[u32], share| {
        let shares = shares.iter().enumerate().map(|(i, &n)| (user(i), u64::from(n)));
        TooMuch { what, got, limit, by: largest(shares), share, advice }
    };
    let classes = Classes::new(space, &lists.endpoints, PLACES).map_err(|e| {
        let what = "members of lists of endpoints";
        too_much(what, e.got, PLACES, &e.shares, "members of this list:")
    })?;
    let got = classes.len() as u64;
    if got > CLASSES {
        let share = "identity classes that this list adds:";
        return Err(too_much("identity classes", got, CLASSES, classes.made_by(), share));
    }
    Ok(classes)
}

fn service_classes(lists: &Lists) -> Result<ServiceClasses, TooMuch> {
    let user = |i: usize| lists.services.user(i as u32);
    let advice = "define services that hold all ports of one purpose, and name these: ports that \
                  no rule tells apart take one place in the tables. Every range of source ports \
                  multiplies them";
    let too_much = |what, got, limit, shares: &[u32], share| {
        let shares = shares.iter().enumerate().map(|(i, &n)| (user(i), u64::from(n)));
        TooMuch { what, got, limit, by: largest(shares), share, advice }
    };
    let services = ServiceClasses::new(&lists.services, PLACES).map_err(|e| {
        let what = "members of lists of services";
        too_much(what, e.got, PLACES, &e.shares, "members of this list:")
    })?;
    let got = services.len() as u64;
    if got > SERVICES {
        let share = "service classes that this list adds:";
        return Err(too_much("service classes", got, SERVICES, services.made_by(), share));
    }
    Ok(services)
}

/// Every address and prefix that is written somewhere, ascending, each once.
fn literals(model: &Model) -> Vec<IpNet> {
    let prefix = |t: &Term| match t.endpoint {
        Endpoint::Prefix(net) => Some(net),
        _ => None,
    };
    let mut literals: Vec<IpNet> = all_terms(model).filter_map(prefix).collect();
    literals.sort_unstable();
    literals.dedup();
    literals
}

fn all_terms(model: &Model) -> impl Iterator<Item = &Term> {
    let rules = model.rules.iter().flat_map(|r| r.from.iter().chain(&r.to));
    let invariants = model.invariants.iter().flat_map(|i| i.from.iter().chain(&i.to));
    let sets = model.sets.iter().flat_map(|s| s.members.iter().chain(&s.except));
    let selectors = model.selectors.iter().flat_map(|s| &s.terms);
    rules.chain(invariants).chain(sets).chain(selectors)
}

/// A set from which everything was taken out again, or terms that have nothing in common: nobody
/// means that. What waits for the first guest with a declared label may be empty.
fn refuse_empty(model: &Model, space: &Space, diags: &mut Diagnostics) -> bool {
    let may_be = MayBeEmpty::new(model);
    let mut refuse = |endpoint: Endpoint, may_be_empty: bool, what: &dyn Fn() -> String, at| {
        let empty = space.named(endpoint).is_some_and(<[u32]>::is_empty) && !may_be_empty;
        if empty {
            diags.report(Problem::EmptySelector { what: what() }, at);
        }
        empty
    };
    let mut any = false;
    for (i, set) in model.sets.iter().enumerate() {
        let what = || format!("the set `{}`", set.name);
        any |= refuse(Endpoint::Set(i), may_be.set(i), &what, set.span);
    }
    for (i, selector) in model.selectors.iter().enumerate() {
        let what = || "this selector".to_owned();
        any |= refuse(Endpoint::Selector(i), may_be.selector(i), &what, selector.span);
    }
    any
}
