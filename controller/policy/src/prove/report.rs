//! Violations as messages.

use super::{
    Case, closest,
    edits::Editor,
    search::{Found, Prover, Step},
    violation::{Cause, Hop, Violation},
};
use crate::{
    Compiled,
    diagnostic::{Diagnostic, Diagnostics},
    model::{Demand, Rule},
    problem::Problem,
};

/// Violations that are written out: nobody reads more at once.
const SHOWN: usize = 20;

/// Reports violations, the first of them with everything that helps.
pub fn all(prover: &Prover<'_>, cases: &[Case], diags: &mut Diagnostics) {
    let mut editor = Editor::new(prover.compiled, cases);
    for case in cases.iter().take(SHOWN) {
        let mut diagnostic = one(prover, case);
        diagnostic.edits = editor.edits(prover, case);
        diags.push(diagnostic);
    }
    if let Some(case) = cases.get(SHOWN) {
        let problem = Problem::MoreViolations { count: cases.len() - SHOWN };
        diags.report(problem, case.violation.span);
    }
}

fn one(prover: &Prover<'_>, case: &Case) -> Diagnostic {
    let compiled = prover.compiled;
    let violation = &case.violation;
    let diagnostic = Diagnostic::new(problem(violation), violation.span);
    match (&case.found, &violation.hops[..]) {
        (Found::Allowed { steps, .. }, [hop]) => {
            let diagnostic = match rule(compiled, hop) {
                Some(rule) => diagnostic.label(rule.span, says(rule, "allows it")),
                None => diagnostic,
            };
            let diagnostic = nearly(compiled, diagnostic, steps, &violation.hops);
            if violation.demand == Demand::NeverUnnamed {
                diagnostic.help(NAME_BOTH)
            } else {
                diagnostic
            }
        }
        (Found::Allowed { steps, .. }, hops) => {
            nearly(compiled, chain(compiled, diagnostic, steps, hops), steps, hops)
        }
        (Found::Denied { .. }, hops) => match hops.first().and_then(|hop| rule(compiled, hop)) {
            Some(rule) => diagnostic.label(rule.span, says(rule, "denies it")),
            None => diagnostic.help("no rule allows it, and what no rule allows is denied"),
        },
        (Found::NoWay { step, network, .. }, _) => {
            let network = &compiled.model.networks[*network];
            let family = if network.gateway.is_empty() {
                ""
            } else if step.dst.v6 {
                " for IPv6"
            } else {
                " for IPv4"
            };
            diagnostic.label(network.span, format!("`{}` has no gateway{family}", network.name))
        }
    }
}

const NAME_BOTH: &str = "if this is meant, name both sides in the rule: networks, guests, `host` \
                         or `world`, not `any`, and no label or set that reaches further";

fn problem(violation: &Violation) -> Problem {
    let (invariant, witness) = (violation.invariant.clone(), violation.summary());
    match (violation.demand, &violation.cause) {
        (_, Cause::NoWay { network }) => {
            Problem::AlwaysUnreachable { invariant, witness, network: network.clone() }
        }
        (Demand::Never, _) => Problem::NeverViolated { invariant, witness },
        (Demand::Always, _) => Problem::AlwaysViolated { invariant, witness },
        (Demand::NeverUnnamed, _) => Problem::KindViolated { invariant, witness },
    }
}

/// The rule that decides a hop.
pub fn rule<'a>(compiled: &'a Compiled, hop: &Hop) -> Option<&'a Rule> {
    compiled.build.expanded.rules.get((hop.rule as usize).checked_sub(1)?)
}

fn says(rule: &Rule, verb: &str) -> String {
    match rule.name.strip_prefix("kind:lan:") {
        Some(network) => format!("`kind: lan` {verb}: members of `{network}` reach each other"),
        None => format!("the {} rule `{}` {verb}", rule.tier.name(), rule.name),
    }
}

/// Every hop of a chain with its rule, and the relays between them.
fn chain(
    compiled: &Compiled,
    mut diagnostic: Diagnostic,
    steps: &[Step],
    hops: &[Hop],
) -> Diagnostic {
    for (n, hop) in hops.iter().enumerate() {
        if let Some(rule) = rule(compiled, hop) {
            let allows = says(rule, "allows it");
            let text =
                format!("hop {}: {} to {}, {}; {allows}", n + 1, hop.from, hop.to, hop.service());
            diagnostic = diagnostic.label(rule.span, text);
        }
    }
    let mut relays: Vec<usize> = steps[1..].iter().filter_map(|s| s.src.guest()).collect();
    relays.sort_unstable();
    relays.dedup();
    for relay in relays {
        let guest = &compiled.model.guests[relay];
        let text = format!("`{}` may pass on by one NIC what reaches it by another", guest.name);
        diagnostic = diagnostic.label(guest.span, text);
    }
    diagnostic
}

/// Adds the rules that came closest to stopping one of the hops.
fn nearly(
    compiled: &Compiled,
    mut diagnostic: Diagnostic,
    steps: &[Step],
    hops: &[Hop],
) -> Diagnostic {
    for (step, hop) in steps.iter().zip(hops).rev() {
        for miss in closest::misses(compiled, step, hop) {
            diagnostic = diagnostic.label(miss.span, miss.text);
        }
    }
    diagnostic
}
