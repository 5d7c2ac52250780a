//! The rules that came closest to stopping a connection: what each of them missed.

use super::{search::Step, violation::Hop};
use crate::{
    Compiled,
    model::{Action, Model, Purpose, Rule, Service, Term, Tier},
    source::Span,
    until,
};

/// A rule that nearly stopped a connection.
pub struct NearMiss {
    /// Where it stands.
    pub span: Span,
    /// What it missed.
    pub text: String,
}

/// Near misses that are shown.
const SHOWN: usize = 3;

/// Denies that would have stopped what a rule allows, but for one thing.
pub fn misses(compiled: &Compiled, step: &Step, hop: &Hop) -> Vec<NearMiss> {
    let build = &compiled.build;
    let Some(allow) = (hop.rule as usize).checked_sub(1).map(|i| &build.expanded.rules[i]) else {
        return Vec::new();
    };
    let within = |list: &[u32], class: u32| list.binary_search(&class).is_ok();
    let rules = build.expanded.rules.iter().zip(&build.rules);
    let denies = rules.filter(|(rule, _)| rule.action == Action::Deny);
    let parts = denies.map(|(rule, key)| {
        let from = within(build.classes.of_list(key.from), step.src_class);
        let to = within(build.classes.of_list(key.to), step.dst_class);
        (rule, from, to)
    });
    let near = parts.filter_map(|(rule, from, to)| {
        let text = missed(rule, allow.tier, (from, to), hop)?;
        Some(NearMiss { span: rule.span, text })
    });
    near.chain(ended(compiled, step, hop)).take(SHOWN).collect()
}

/// The one thing that a deny misses.
fn missed(rule: &Rule, allowed_in: Tier, sides: (bool, bool), hop: &Hop) -> Option<String> {
    let name = &rule.name;
    let service = speaks_of(&rule.services, hop.purpose);
    let weaker = allowed_in == Tier::Platform && rule.tier == Tier::Tenant;
    match (sides.0, sides.1, service, weaker, rule.observe) {
        (true, true, true, false, true) => {
            Some(format!("`{name}` would deny it, but it only observes"))
        }
        (true, true, true, true, false) => Some(format!(
            "`{name}` denies it in the tenant tier, below the platform rule that allows it"
        )),
        (true, true, false, false, false) => {
            Some(format!("`{name}` stops short of it: its `for` does not cover {}", hop.service()))
        }
        (true, false, true, false, false) => {
            Some(format!("`{name}` stops short of it: its `to` does not cover {}", hop.to))
        }
        (false, true, true, false, false) => {
            Some(format!("`{name}` stops short of it: its `from` does not cover {}", hop.from))
        }
        _ => None,
    }
}

/// Denies that would stop it, had they not ended.
fn ended<'a>(
    compiled: &'a Compiled,
    step: &'a Step,
    hop: &'a Hop,
) -> impl Iterator<Item = NearMiss> + 'a {
    let model: &Model = &compiled.model;
    let ended = move |r: &&Rule| r.action == Action::Deny && r.is_expired(model.now_unix_s);
    let covers = move |terms: &[Term], atom: usize| {
        let members = |t: &Term| compiled.build.space.members(t.endpoint);
        terms.iter().any(|t| members(t).binary_search(&(atom as u32)).is_ok())
    };
    let about = move |r: &&Rule| {
        speaks_of(&r.services, hop.purpose)
            && covers(&r.from, step.src.atom)
            && covers(&r.to, step.dst.atom)
    };
    model.rules.iter().filter(ended).filter(about).map(|rule| {
        let when = rule.until.as_ref().map_or_else(String::new, |u| until::show(u.at_unix_s));
        NearMiss { span: rule.span, text: format!("`{}` denied it until {when}", rule.name) }
    })
}

/// Do these services cover a connection?
pub fn speaks_of(services: &[Service], purpose: Purpose) -> bool {
    services.iter().flat_map(|s| &s.ports).any(|p| {
        p.protocol == purpose.protocol
            && (p.first..=p.last).contains(&purpose.number)
            && (!p.protocol.has_ports()
                || (p.source.first..=p.source.last).contains(&purpose.source))
    })
}
