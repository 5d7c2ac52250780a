//! Names that nobody uses: labels, sets, services.

use hashbrown::HashSet;

use crate::{
    diagnostic::{Diagnostic, Diagnostics},
    model::{Endpoint, Model, Term},
    problem::Problem,
};

/// Warns of declared labels that nobody wears, and of sets and services that nothing names.
pub fn check(model: &Model, diags: &mut Diagnostics) {
    for (i, label) in model.labels.iter().enumerate() {
        if label.declared && label.guests.is_empty() {
            let problem = Problem::UnwornLabel { name: label.name.clone() };
            let diagnostic = Diagnostic::new(problem, label.span);
            let waiting = model.rules.iter().find(|r| names(&r.from, i) || names(&r.to, i));
            diags.push(match waiting {
                Some(rule) => diagnostic
                    .label(rule.span, format!("the rule `{}` waits for one that does", rule.name)),
                None => diagnostic,
            });
        }
    }
    let used = used_sets(model);
    for (set, _) in model.sets.iter().zip(used).filter(|(_, used)| !used) {
        diags.report(Problem::UnusedSet { name: set.name.clone() }, set.span);
    }
    let rules = model.rules.iter().flat_map(|r| &r.services);
    let published = model.publish.iter().flat_map(|p| &p.services);
    let services = rules.chain(model.invariants.iter().flat_map(|i| &i.services)).chain(published);
    let mut unused: HashSet<&str> = model.services.iter().map(|s| s.name.as_str()).collect();
    services.take_while(|s| unused.remove(s.name.as_str()) || !unused.is_empty()).for_each(drop);
    for service in model.services.iter().filter(|s| unused.contains(s.name.as_str())) {
        diags.report(Problem::UnusedService { name: service.name.clone() }, service.span);
    }
}

fn names(terms: &[Term], label: usize) -> bool {
    terms.iter().any(|t| t.endpoint == Endpoint::Label(label))
}

/// The sets that rules and invariants name, themselves or through others.
fn used_sets(model: &Model) -> Vec<bool> {
    let mut used = vec![false; model.sets.len()];
    let mut seen = vec![false; model.selectors.len()];
    let rules = model.rules.iter().flat_map(|r| r.from.iter().chain(&r.to));
    let mut open: Vec<Endpoint> = rules
        .chain(model.invariants.iter().flat_map(|i| i.from.iter().chain(&i.to)))
        .map(|t| t.endpoint)
        .collect();
    while let Some(endpoint) = open.pop() {
        match endpoint {
            Endpoint::Set(s) if !std::mem::replace(&mut used[s], true) => {
                let set = &model.sets[s];
                open.extend(set.members.iter().chain(&set.except).map(|t| t.endpoint));
            }
            Endpoint::Selector(s) if !std::mem::replace(&mut seen[s], true) => {
                open.extend(model.selectors[s].terms.iter().map(|t| t.endpoint));
            }
            _ => {}
        }
    }
    used
}
