//! What would have to change.

use std::collections::BTreeSet;

use super::{Case, question};
use crate::{
    Compiled,
    compile::{
        actors::Actor,
        space::{Owner, Zone},
    },
    diagnostic::{Edit, JsonEdit},
    explain::describe,
    model::{Demand, Tier},
};

/// How to get a connection allowed.
#[derive(Default)]
pub struct Advice {
    /// For people.
    pub texts: Vec<String>,
    /// The same as changes of the text; each was tried and breaks no invariant.
    pub edits: Vec<JsonEdit>,
}

/// How to get a denied connection allowed. `asked` holds the endpoints and the service in the
/// words of the question, where they are about this connection alone.
pub fn advice(compiled: &Compiled, case: &Case, asked: Option<[&str; 3]>) -> Advice {
    let forbidden = forbidden(compiled, case);
    if !forbidden.is_empty() {
        return Advice { texts: forbidden, edits: Vec::new() };
    }
    let (from, to) = (name(compiled, case.src), name(compiled, case.dst));
    let service = case.service_text();
    let [from, to, service] = match asked {
        // A rule for everything is more than anybody should be told to write.
        Some([from, to, "any"]) => [from, to, &service],
        Some(asked) => asked,
        None => [from.as_str(), to.as_str(), service.as_str()],
    };
    let edits = question::edits(compiled, from, to, service);
    if edits.is_empty() {
        return Advice { texts: by_hand(compiled, case), edits: Vec::new() };
    }
    let sources = &compiled.model.sources;
    let text = |e: &Edit| format!("{} (at {})", e.title, sources.position(e.span));
    let texts = edits.iter().map(text).collect();
    Advice { texts, edits: edits.iter().map(|e| JsonEdit::new(e, sources)).collect() }
}

/// Invariants that refuse every policy in which it is allowed.
fn forbidden(compiled: &Compiled, case: &Case) -> Vec<String> {
    let about = case.invariants(compiled).into_iter();
    let never = about.filter(|i| i.action == Demand::Never.name());
    let text = |i: super::RuleView| {
        format!("nothing, as long as the invariant `{}` at {} forbids it", i.name, i.position)
    };
    never.map(text).collect()
}

/// Where no single change does it.
fn by_hand(compiled: &Compiled, case: &Case) -> Vec<String> {
    let decider = (case.cell.rule() as usize).checked_sub(1);
    let Some(rule) = decider.map(|i| &compiled.build.expanded.rules[i]) else {
        return vec!["no single change does it without breaking an invariant".to_owned()];
    };
    let (name, at) = (&rule.name, compiled.model.sources.position(rule.span));
    vec![match rule.tier {
        Tier::Platform => {
            format!("change `{name}` at {at}: a platform deny cannot be undone by another rule")
        }
        Tier::Tenant => format!("narrow `{name}` at {at}: inside a tier a deny beats every allow"),
    }]
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
