//! What would have to change.

use std::collections::BTreeSet;

use super::Case;
use crate::{
    Compiled,
    compile::{
        actors::Actor,
        space::{Owner, Zone},
    },
    explain::describe,
    model::{Action, Demand, Tier},
};

/// How to get the connection allowed; nothing if it is.
pub fn advice(compiled: &Compiled, case: &Case, asked: &str) -> Vec<String> {
    if case.cell.allows() {
        return Vec::new();
    }
    let rules = &compiled.build.expanded.rules;
    let mut advice = match (case.cell.rule() as usize).checked_sub(1).map(|i| &rules[i]) {
        Some(rule) => {
            let at = compiled.model.sources.position(rule.span);
            let name = &rule.name;
            vec![match rule.tier {
                Tier::Platform => format!(
                    "change `{name}` at {at}: a platform deny cannot be undone by another rule"
                ),
                Tier::Tenant => {
                    format!("narrow `{name}` at {at}: inside a tier a deny beats every allow")
                }
            }]
        }
        None => near_misses(compiled, case, asked),
    };
    if case.cell.rule() == 0 {
        advice.push(new_rule(compiled, case, asked));
    }
    advice.extend(forbidden(compiled, case));
    advice
}

/// Rules that would allow it, were it not for one of their three parts.
fn near_misses(compiled: &Compiled, case: &Case, asked: &str) -> Vec<String> {
    let allow = compiled.build.expanded.rules.iter().enumerate();
    // What a kind says cannot be edited.
    let allow = allow.filter(|(_, r)| r.action == Action::Allow && !r.name.contains(':'));
    let miss = allow.filter_map(|(i, rule)| {
        let parts = (
            case.matches_from(compiled, i),
            case.matches_to(compiled, i),
            case.matches_service(compiled, i),
        );
        let (part, what) = match parts {
            (true, true, false) => ("for", service(case, asked)),
            (true, false, true) => ("to", name(compiled, case.dst)),
            (false, true, true) => ("from", name(compiled, case.src)),
            _ => return None,
        };
        let at = compiled.model.sources.position(rule.span);
        Some(format!("add `{what}` to `{part}` of the rule `{}` at {at}", rule.name))
    });
    miss.take(3).collect()
}

fn new_rule(compiled: &Compiled, case: &Case, asked: &str) -> String {
    format!(
        "add a rule: - {{ name: NAME, allow: {{ from: {}, to: {}, for: {} }} }}",
        name(compiled, case.src),
        name(compiled, case.dst),
        service(case, asked)
    )
}

/// Invariants that refuse every policy in which it is allowed.
fn forbidden(compiled: &Compiled, case: &Case) -> Vec<String> {
    let about = case.invariants(compiled).into_iter();
    let never = about.filter(|i| i.action == Demand::Never.name());
    never
        .map(|i| format!("and take it out of the invariant `{}` at {}", i.name, i.position))
        .collect()
}

/// As a rule would name it.
fn name(compiled: &Compiled, actor: Actor) -> String {
    let space = &compiled.build.space;
    match (space.atoms()[actor.atom].owner, space.zone(actor.atom)) {
        (Owner::Region, Zone::Network(_) | Zone::Nowhere) => {
            super::endpoint::ip(actor.addr).to_string()
        }
        _ => describe(compiled, actor.atom),
    }
}

/// As it was asked for, or the one number if that was too much to allow.
fn service(case: &Case, asked: &str) -> String {
    if asked == "any" {
        crate::service::show_number(case.protocol, case.number)
    } else {
        asked.to_owned()
    }
}

/// What no rule changes: the switch routes only where networks have gateways.
pub fn notes<'a>(
    compiled: &Compiled,
    src: impl Iterator<Item = &'a Actor>,
    dst: impl Iterator<Item = &'a Actor>,
) -> Vec<String> {
    let zones = |actors: &mut dyn Iterator<Item = &'a Actor>| -> BTreeSet<Option<usize>> {
        actors
            .map(|a| match compiled.build.space.zone(a.atom) {
                Zone::Network(n) => Some(n),
                _ => None,
            })
            .collect()
    };
    let (mut src, mut dst) = (src, dst);
    let (src, dst) = (zones(&mut src), zones(&mut dst));
    let inside = src.len() == 1 && src == dst;
    let networks: BTreeSet<usize> = src.into_iter().chain(dst).flatten().collect();
    let without = networks
        .into_iter()
        .filter(|&n| !inside && compiled.model.networks[n].gateway.is_empty())
        .map(|n| &compiled.model.networks[n].name);
    let note = |name: &String| {
        format!(
            "network `{name}` has no gateway: nothing is routed into or out of it, whatever the rules say"
        )
    };
    without.map(note).collect()
}
