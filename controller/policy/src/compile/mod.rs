//! Model to image: addresses to identity classes, numbers to service classes, rules to rows.

pub mod actors;
pub mod block;
pub mod classes;
mod image;
mod named;
pub mod partition;
pub mod rows;
pub mod services;
pub mod space;
#[cfg(test)]
mod tests;

use ipnet::IpNet;
use portcullis_image::Image;
use portcullis_pipeline::layout::{CELL_CHUNKS, CHUNK, RULES};

use self::{
    classes::{Classes, EndpointLists},
    named::MayBeEmpty,
    rows::{Input, RuleKey},
    services::{ServiceClasses, ServiceLists},
    space::Space,
};
use crate::{
    diagnostic::{Diagnostic, Diagnostics},
    kinds::{self, Expanded},
    model::{Demand, Endpoint, Model, Term},
    problem::Problem,
    source::Span,
};

/// Most identity classes: the row table has a place for each pair.
pub const CLASSES: u64 = 2048;
/// Most cells of the verdict table.
pub const CELLS: u64 = CELL_CHUNKS as u64 * CHUNK as u64;
/// Most service classes: the service tables hold 16-bit numbers.
pub const SERVICES: u64 = 1 << 16;

/// How an image came about.
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
}

/// An invariant as numbers.
#[derive(Clone, Copy)]
pub struct InvariantKey {
    pub from: u32,
    pub to: u32,
    pub services: u32,
}

/// The lists of a policy.
#[derive(Default)]
struct Lists {
    endpoints: EndpointLists,
    services: ServiceLists,
    rules: Vec<RuleKey>,
    invariants: Vec<InvariantKey>,
}

/// Compiles a model without errors. `None`: it does not fit the tables, which was reported.
pub fn build(model: &Model, diags: &mut Diagnostics) -> Option<(Build, Image)> {
    let expanded = kinds::expand(model);
    let before = diags.error_count();
    fits("rules", expanded.rules.len() as u64, u64::from(RULES) - 1, diags);
    let space = Space::new(model, literals(model));
    refuse_empty(model, &space, diags);
    if diags.error_count() > before {
        return None;
    }
    let lists = Lists::of(model, &expanded);
    let classes = Classes::new(&space, &lists.endpoints);
    let services = ServiceClasses::new(&lists.services);
    fits("identity classes", classes.len() as u64, CLASSES, diags);
    fits("service classes", services.len() as u64, SERVICES, diags);
    if diags.error_count() > before {
        return None;
    }
    let rows = rows::build(&Input {
        rules: &lists.rules,
        endpoints: &|list| classes.of_list(list),
        services: &|list| services.of_list(list),
        classes: classes.len(),
        service_classes: services.len(),
        limit: CELLS,
    });
    let rows = match rows {
        Ok(rows) => rows,
        Err(rows::TooManyCells(got)) => {
            fits("verdict cells", got, CELLS, diags);
            return None;
        }
    };
    let image = image::assemble(model, &expanded.rules, &space, &classes, &services, rows);
    let Lists { rules, invariants, .. } = lists;
    Some((Build { space, classes, services, expanded, rules, invariants }, image))
}

fn fits(what: &'static str, got: u64, limit: u64, diags: &mut Diagnostics) {
    if got > limit {
        diags.push(Diagnostic::new(Problem::TooLarge { what, got, limit }, Span::default()).help(
            "name guests by shared labels, and ports by shared services: what no rule tells \
                 apart takes one place in the tables",
        ));
    }
}

/// Every address and prefix that is written somewhere.
fn literals(model: &Model) -> impl Iterator<Item = IpNet> + '_ {
    all_terms(model).filter_map(|t| match t.endpoint {
        Endpoint::Prefix(net) => Some(net),
        _ => None,
    })
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
fn refuse_empty(model: &Model, space: &Space, diags: &mut Diagnostics) {
    let may_be = MayBeEmpty::new(model);
    for (i, set) in model.sets.iter().enumerate() {
        if space.members(Endpoint::Set(i)).is_empty() && !may_be.set(i) {
            let what = format!("the set `{}`", set.name);
            diags.report(Problem::EmptySelector { what }, set.span);
        }
    }
    for (i, selector) in model.selectors.iter().enumerate() {
        if space.members(Endpoint::Selector(i)).is_empty() && !may_be.selector(i) {
            let what = "this selector".to_owned();
            diags.report(Problem::EmptySelector { what }, selector.span);
        }
    }
}

impl Lists {
    fn of(model: &Model, expanded: &Expanded) -> Self {
        let mut lists = Self::default();
        for rule in &expanded.rules {
            let key = RuleKey {
                from: lists.endpoints.intern(&rule.from),
                to: lists.endpoints.intern(&rule.to),
                services: lists.services.intern(&rule.services),
                tier: rule.tier,
                action: rule.action,
                observe: rule.observe,
                until_unix_s: rule.until.as_ref().map_or(u64::MAX, |u| u.at_unix_s),
            };
            lists.rules.push(key);
        }
        for invariant in &expanded.invariants {
            let key = InvariantKey {
                from: lists.endpoints.intern(&invariant.from),
                to: lists.endpoints.intern(&invariant.to),
                services: lists.services.intern(&invariant.services),
            };
            lists.invariants.push(key);
        }
        if expanded.invariants.iter().any(|i| i.demand == Demand::NeverUnnamed) {
            lists.tell_zones_apart(model, expanded);
        }
        lists
    }

    /// Whether a rule names a side is asked of each place by itself, and of each endpoint of the
    /// rule by itself: so classes must not mix these.
    fn tell_zones_apart(&mut self, model: &Model, expanded: &Expanded) {
        let networks = (0..model.networks.len()).map(Endpoint::Network);
        for zone in networks.chain([Endpoint::Host, Endpoint::World]) {
            self.endpoints.intern_endpoints(vec![zone]);
        }
        for term in expanded.rules.iter().flat_map(|r| r.from.iter().chain(&r.to)) {
            self.endpoints.intern_endpoints(vec![term.endpoint]);
        }
    }
}
