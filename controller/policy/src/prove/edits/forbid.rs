//! Changes that forbid what a `never` must not find allowed.

use super::{
    Task, is_own, is_written, new_name,
    text::Text,
    words::{self, Words},
};
use crate::{
    diagnostic::Edit,
    model::{Endpoint, Rule, Term, Tier},
    prove::{Case, search::Step},
};

/// For a connection that one rule allows: take out of the rule what the invariant forbids, take
/// the rule away, or deny it.
pub fn direct(task: &Task<'_>, text: &mut Text, words: &Words<'_>) -> Vec<Edit> {
    let Some(rule) = task.rule else { return Vec::new() };
    let invariant = task.invariant;
    let mut edits = if is_written(rule) { narrowed(task, rule, text, words) } else { Vec::new() };
    if is_own(invariant) {
        let from = words.terms(text, &invariant.from);
        let to = words.terms(text, &invariant.to);
        edits.extend(from.zip(to).and_then(|(from, to)| deny(task, rule, &from, &to, text)));
    }
    edits
}

/// A rule without what the invariant speaks about: in one of its parts, the shortest first; and
/// the policy without the rule.
pub fn narrowed(task: &Task<'_>, rule: &Rule, text: &mut Text, words: &Words<'_>) -> Vec<Edit> {
    let invariant = task.invariant;
    let sides = [
        narrow_services(task, rule, text),
        narrow(rule, "to", &rule.to, &invariant.to, text, words),
        narrow(rule, "from", &rule.from, &invariant.from, text, words),
    ];
    let mut edits: Vec<Edit> = sides.into_iter().flatten().collect();
    edits.sort_by_key(|e| e.text.len());
    edits.extend(text.remove(rule.span, format!("take the rule `{}` away", rule.name)));
    edits
}

/// For a chain through relays: say that a relay forwards nothing, or stop one of the hops.
pub fn relayed(
    task: &Task<'_>,
    case: &Case,
    steps: &[Step],
    text: &mut Text,
    words: &Words<'_>,
) -> Vec<Edit> {
    let compiled = task.compiled;
    let mut edits = Vec::new();
    for step in &steps[1..] {
        let Some(guest) = step.src.guest().map(|g| &compiled.model.guests[g]) else { continue };
        let title = format!("say that `{}` passes nothing on: `forwards: false`", guest.name);
        edits.extend(text.set_key(guest.span, "forwards", "false", title));
    }
    for hop in case.violation.hops.iter().rev() {
        let Some(rule) = crate::prove::report::rule(compiled, hop) else { continue };
        if is_written(rule) {
            edits.extend(text.remove(rule.span, format!("take the rule `{}` away", rule.name)));
        }
    }
    let last = steps.last().and_then(|s| s.src.guest());
    if let (Some(rule), Some(relay), true) = (task.rule, last, is_own(task.invariant)) {
        let to = words.terms(text, &task.invariant.to);
        let relay = words.endpoint(text, Endpoint::Guest(relay));
        edits.extend(relay.zip(to).and_then(|(from, to)| deny(task, rule, &from, &to, text)));
    }
    edits
}

/// A rule that denies it, before the rule that allows it.
fn deny(task: &Task<'_>, allow: &Rule, from: &str, to: &str, text: &mut Text) -> Option<Edit> {
    let name = new_name(task.compiled, "keep", task.invariant);
    let tier = if allow.tier == Tier::Platform { "tier: platform, " } else { "" };
    let services = words::services(&task.invariant.services);
    let item =
        format!("{{ name: {name}, {tier}deny: {{ from: {from}, to: {to}, for: {services} }} }}");
    let title = format!("add a rule that denies it: `{item}`");
    if is_written(allow) {
        return text.insert(allow.span, false, &item, title);
    }
    match task.compiled.model.rules.first() {
        Some(rule) => text.insert(rule.span, false, &item, title),
        None => text.section("rules", &item, title),
    }
}

/// A side of the rule without what the invariant speaks about.
fn narrow(
    rule: &Rule,
    side: &str,
    terms: &[Term],
    out: &[Term],
    text: &mut Text,
    words: &Words<'_>,
) -> Option<Edit> {
    let out: Vec<(Endpoint, Vec<u32>)> =
        out.iter().map(|t| (t.endpoint, words.atoms(t.endpoint))).collect();
    let mut changes: Vec<Option<String>> = Vec::new();
    for term in terms {
        changes.push(match overlap(term, &out, words) {
            Overlap::None => Some(words.endpoint(text, term.endpoint)?),
            Overlap::Whole => None,
            Overlap::Part(others) => {
                let others = words.endpoints(text, &others)?;
                Some(if term.endpoint == Endpoint::Any {
                    format!("{{ not: {others} }}")
                } else {
                    let own = words.endpoint(text, term.endpoint)?;
                    format!("{{ all of: [{own}, {{ not: {others} }}] }}")
                })
            }
        });
    }
    let names: Vec<String> =
        terms.iter().map(|t| words.endpoint(text, t.endpoint)).collect::<Option<_>>()?;
    rewrite(rule, side, &names, &terms.iter().map(|t| t.span).collect::<Vec<_>>(), changes, text)
}

/// How far a term lies in what is to go.
enum Overlap {
    None,
    Whole,
    /// With these of the endpoints that are to go.
    Part(Vec<Endpoint>),
}

fn overlap(term: &Term, out: &[(Endpoint, Vec<u32>)], words: &Words<'_>) -> Overlap {
    let own = words.atoms(term.endpoint);
    let within = |atoms: &[u32], a: &u32| atoms.binary_search(a).is_ok();
    let touching = out.iter().filter(|(_, atoms)| own.iter().any(|a| within(atoms, a)));
    let touching: Vec<&(Endpoint, Vec<u32>)> = touching.collect();
    let gone = own.iter().all(|a| touching.iter().any(|(_, atoms)| within(atoms, a)));
    match touching.is_empty() {
        true => Overlap::None,
        false if gone => Overlap::Whole,
        false => Overlap::Part(touching.iter().map(|(e, _)| *e).collect()),
    }
}

/// The rule's services without those of the invariant.
fn narrow_services(task: &Task<'_>, rule: &Rule, text: &mut Text) -> Option<Edit> {
    let out: Vec<_> = task.invariant.services.iter().flat_map(|s| s.ports.clone()).collect();
    let mut changes = Vec::new();
    for service in &rule.services {
        let left = words::service_without(service, &out)?;
        changes.push(if left.is_empty() { None } else { Some(left.join(", ")) });
    }
    let names: Vec<String> = rule.services.iter().map(|s| s.name.clone()).collect();
    let spans: Vec<_> = rule.services.iter().map(|s| s.span).collect();
    rewrite(rule, "for", &names, &spans, changes, text)
}

/// A list with some of its elements changed (or gone): by one element where that is enough.
fn rewrite(
    rule: &Rule,
    key: &str,
    names: &[String],
    spans: &[crate::source::Span],
    changes: Vec<Option<String>>,
    text: &mut Text,
) -> Option<Edit> {
    if changes.iter().all(Option::is_none) {
        return None;
    }
    let changed: Vec<usize> =
        (0..names.len()).filter(|&i| changes[i].as_ref() != Some(&names[i])).collect();
    match changed[..] {
        [] => None,
        [one] if changes[one].is_none() => {
            let title = format!("take `{}` out of `{key}` of the rule `{}`", names[one], rule.name);
            text.remove(spans[one], title)
        }
        _ => {
            let left: Vec<String> = changes.into_iter().flatten().collect();
            let joined = left.join(", ");
            let single = left.len() == 1 && (joined.starts_with('{') || !joined.contains(','));
            let new = if single { joined } else { format!("[{joined}]") };
            let title = format!("narrow `{key}` of the rule `{}` to `{new}`", rule.name);
            let span = text.whole(spans)?;
            Some(Edit { title, span, text: new })
        }
    }
}
