//! Changes that allow what an `always` must not find denied.

use super::{
    Task, is_written, new_name,
    text::Text,
    words::{self, Words},
};
use crate::{
    diagnostic::Edit,
    model::{Action, Rule, Term, Tier},
    prove::search::{Prover, Step},
};

/// Rules that nearly allow it and are extended.
const EXTENDED: usize = 2;

/// For a connection that is denied: let a rule that nearly allows it do so, add a rule, or narrow
/// the rule that denies it.
pub fn denied(
    task: &Task<'_>,
    prover: &Prover<'_>,
    step: &Step,
    text: &mut Text,
    words: &Words<'_>,
) -> Vec<Edit> {
    let Some(deny) = task.rule else {
        let mut edits = extend(task, prover, step, text, words);
        edits.extend(allow(task, Tier::Tenant, text, words));
        return edits;
    };
    let mut edits = excuse(task, deny, text, words);
    if deny.tier == Tier::Tenant {
        edits.extend(allow(task, Tier::Platform, text, words));
    }
    edits
}

/// `gateway: true` for a network.
pub fn gateway(task: &Task<'_>, network: usize, text: &mut Text) -> Option<Edit> {
    let network = &task.compiled.model.networks[network];
    let title = format!("give `{}` a gateway: `gateway: true`", network.name);
    text.set_key(network.span, "gateway", "true", title)
}

/// Allow rules that miss it by one part, with that part added.
fn extend(
    task: &Task<'_>,
    prover: &Prover<'_>,
    step: &Step,
    text: &mut Text,
    words: &Words<'_>,
) -> Vec<Edit> {
    let build = &prover.compiled.build;
    let invariant = task.invariant;
    let within = |list: &[u32], class: u32| list.binary_search(&class).is_ok();
    let wanted = build.services.of_list(task.key.services);
    let mut edits = Vec::new();
    for (rule, key) in build.expanded.rules.iter().zip(&build.rules) {
        if rule.action != Action::Allow || rule.observe || !is_written(rule) {
            continue;
        }
        let from = within(build.classes.of_list(key.from), step.src_class);
        let to = within(build.classes.of_list(key.to), step.dst_class);
        let services = build.services.of_list(key.services);
        let service = wanted.iter().all(|s| within(services, *s));
        edits.extend(match (from, to, service) {
            (true, true, false) => {
                let last = rule.services.last().map(|s| s.span);
                let more = words::services(&invariant.services);
                last.and_then(|last| add(rule, "for", last, &more, text))
            }
            (true, false, true) => extend_side(rule, "to", &rule.to, &invariant.to, text, words),
            (false, true, true) => {
                extend_side(rule, "from", &rule.from, &invariant.from, text, words)
            }
            _ => None,
        });
        if edits.len() == EXTENDED {
            break;
        }
    }
    edits
}

fn extend_side(
    rule: &Rule,
    key: &str,
    terms: &[Term],
    more: &[Term],
    text: &mut Text,
    words: &Words<'_>,
) -> Option<Edit> {
    let more = words.terms(text, more)?;
    add(rule, key, terms.last()?.span, &more, text)
}

fn add(
    rule: &Rule,
    key: &str,
    last: crate::source::Span,
    more: &str,
    text: &mut Text,
) -> Option<Edit> {
    let more = more.trim_start_matches('[').trim_end_matches(']');
    let title = format!("add `{more}` to `{key}` of the rule `{}`", rule.name);
    text.extend(last, more, title)
}

/// A rule that allows what the invariant asks for, behind the last one.
fn allow(task: &Task<'_>, tier: Tier, text: &mut Text, words: &Words<'_>) -> Option<Edit> {
    let item = allow_item(task, tier, text, words)?;
    let title = format!("add a rule that allows it: `{item}`");
    match task.compiled.model.rules.last() {
        Some(rule) => text.insert(rule.span, true, &item, title),
        None => text.section("rules", &item, title),
    }
}

fn allow_item(task: &Task<'_>, tier: Tier, text: &Text, words: &Words<'_>) -> Option<String> {
    let invariant = task.invariant;
    let name = new_name(task.compiled, "allow", invariant);
    let tier = if tier == Tier::Platform { "tier: platform, " } else { "" };
    let from = words.terms(text, &invariant.from)?;
    let to = words.terms(text, &invariant.to)?;
    let services = words::services(&invariant.services);
    Some(format!("{{ name: {name}, {tier}allow: {{ from: {from}, to: {to}, for: {services} }} }}"))
}

/// The denying rule without what the invariant asks for, alone and with a rule that allows it.
fn excuse(task: &Task<'_>, deny: &Rule, text: &mut Text, words: &Words<'_>) -> Vec<Edit> {
    let narrowed = super::forbid::narrowed(task, deny, text, words);
    let mut edits = narrowed.clone();
    let item = allow_item(task, Tier::Tenant, text, words);
    for edit in narrowed {
        let joined = item.as_ref().and_then(|item| {
            let allow = text.insert(deny.span, false, item, String::new())?;
            let title = format!("{}, and allow it: `{item}`", edit.title);
            text.join(allow, &edit, title)
        });
        edits.extend(joined);
    }
    edits
}
