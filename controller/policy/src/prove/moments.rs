//! What becomes of the invariants when rules end: a policy that will break its own word on a
//! known day says so now.
//!
//! Only where rules have an end, and first by one question that covers every moment: with all
//! denies that end gone and all allows still there, does each `never` hold? Then it always will.

use super::{Case, cases, search::Prover, violation::Violation};
use crate::{
    Compiled, compile,
    diagnostic::{Diagnostic, Diagnostics},
    model::{Action, Demand, Model, Rule},
    problem::Problem,
    until,
};

/// Reports what breaks later and not now: `never` as an error, `always` as a warning.
pub fn later(compiled: &Compiled, now: &[Case], diags: &mut Diagnostics) {
    let model = &compiled.model;
    let ending = |action| in_force(model).any(|r| r.until.is_some() && r.action == action);
    let passes = ending(Action::Pass);
    let invariants = &compiled.build.expanded.invariants;
    let has = |demand: &dyn Fn(Demand) -> bool| invariants.iter().any(|i| demand(i.demand));
    let nevers = has(&|d| d != Demand::Always) && (ending(Action::Deny) || passes);
    let always = has(&|d| d == Demand::Always) && (ending(Action::Allow) || passes);
    let mut later = Later { compiled, now, known: Vec::new(), diags };
    if nevers && (passes || !later.holds_without(Action::Deny, &|d| d != Demand::Always)) {
        later.walk(&[Action::Deny, Action::Pass], usize::MAX, &|d| d != Demand::Always);
    }
    if always && (passes || !later.holds_without(Action::Allow, &|d| d == Demand::Always)) {
        later.walk(&[Action::Allow, Action::Pass], WARNED, &|d| d == Demand::Always);
    }
}

/// Moments that are looked at for warnings.
const WARNED: usize = 32;

fn in_force(model: &Model) -> impl Iterator<Item = &Rule> {
    model.rules.iter().filter(|r| !r.observe && !r.is_expired(model.now_unix_s))
}

struct Later<'a> {
    compiled: &'a Compiled,
    now: &'a [Case],
    /// Invariants that were reported.
    known: Vec<usize>,
    diags: &'a mut Diagnostics,
}

impl Later<'_> {
    /// Do the invariants still hold with all ending rules of one action gone?
    fn holds_without(&self, action: Action, about: &dyn Fn(Demand) -> bool) -> bool {
        let mut model = self.compiled.model.clone();
        model.rules.retain(|r| r.action != action || r.until.is_none());
        let broken = self.broken(model);
        !broken.iter().any(|(i, violation)| about(violation.demand) && self.is_new(*i))
    }

    /// Looks at the moment behind each end of a rule of some actions.
    fn walk(&mut self, actions: &[Action], most: usize, about: &dyn Fn(Demand) -> bool) {
        let ends = in_force(&self.compiled.model).filter(|r| actions.contains(&r.action));
        let mut ends: Vec<u64> = ends.filter_map(|r| Some(r.until.as_ref()?.at_unix_s)).collect();
        ends.sort_unstable();
        ends.dedup();
        for end in ends.into_iter().take(most) {
            let mut model = self.compiled.model.clone();
            model.now_unix_s = end;
            for (i, violation) in self.broken(model) {
                if about(violation.demand) && self.is_new(i) {
                    self.known.push(i);
                    self.report(end, &violation);
                }
            }
        }
    }

    /// What a changed model breaks, by invariant.
    fn broken(&self, model: Model) -> Vec<(usize, Violation)> {
        let mut diags = Diagnostics::new(&model.sources);
        // It was smaller with fewer rules than what fitted; if not, the day itself will tell.
        let Some((build, image)) = compile::build(&model, &mut diags) else { return Vec::new() };
        let names = Default::default();
        let compiled = Compiled { model, image, warnings: diags, names, build };
        let found = cases(&Prover::new(&compiled), &mut |_| {});
        found.into_iter().map(|case| (case.invariant, case.violation)).collect()
    }

    /// Does an invariant hold now, and was nothing said about it?
    fn is_new(&self, invariant: usize) -> bool {
        !self.known.contains(&invariant) && self.now.iter().all(|c| c.invariant != invariant)
    }

    fn report(&mut self, end: u64, violation: &Violation) {
        let when = until::show(end);
        let (invariant, witness) = (violation.invariant.clone(), violation.summary());
        let problem = match violation.demand {
            Demand::Always => Problem::AlwaysWillEnd { invariant, when: when.clone(), witness },
            _ => Problem::NeverWillBreak { invariant, when: when.clone(), witness },
        };
        let mut diagnostic = Diagnostic::new(problem, violation.span);
        for rule in in_force(&self.compiled.model) {
            if let Some(until) = rule.until.as_ref().filter(|u| u.at_unix_s == end) {
                let text = format!("`{}` ends then", rule.name);
                diagnostic = diagnostic.label(until.span, text);
            }
        }
        let allow = violation.hops.last().map(|hop| &hop.rule_name);
        let help = match (violation.demand, allow) {
            (Demand::Always, _) => {
                "let the rule last longer, or take the `always` away on that day".to_owned()
            }
            (_, Some(allow)) => format!(
                "take `until` out of the rule that ends, or let `{allow}` end no later than it does"
            ),
            (_, None) => "take `until` out of the rule that ends".to_owned(),
        };
        self.diags.push(diagnostic.help(help));
    }
}
