//! Why a connection is allowed or denied, and what would have to change.

mod advice;
mod endpoint;
mod render;
mod time;

use std::{collections::HashSet, net::IpAddr};

use portcullis_pipeline::policy::Cell;
use serde::Serialize;

use self::endpoint::Actors;
pub(crate) use self::endpoint::{describe, ip};
use crate::{
    Compiled,
    compile::actors::{Actor, meet},
    model::{Action, Ports, Protocol, Purpose, Rule, Tier},
    prove::cell,
    service::{self, show_number},
    source::Position,
};

/// A question that cannot be answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExplainError {
    /// The policy knows no such endpoint.
    #[error("no guest, label, network or set is called `{name}`{}", hint(.help))]
    UnknownEndpoint {
        /// What was asked for.
        name: String,
        /// What may have been meant.
        help: Option<String>,
    },
    /// Not a service.
    #[error("{message}{}", hint(.help))]
    BadService {
        /// What is wrong with it.
        message: String,
        /// What may have been meant.
        help: Option<String>,
    },
    /// No packet can go from there to there.
    #[error("no packet of `{service}` can go from `{from}` to `{to}`: {why}")]
    NoConnection {
        /// Source as asked.
        from: String,
        /// Destination as asked.
        to: String,
        /// Service as asked.
        service: String,
        /// Why not.
        why: &'static str,
    },
}

fn hint(help: &Option<String>) -> String {
    help.as_ref().map_or_else(String::new, |h| format!("; {h}"))
}

/// The answer to one question: all that can happen, each with an example.
#[derive(Clone, Debug, Serialize)]
pub struct Explanation {
    /// Source as asked.
    pub from: String,
    /// Destination as asked.
    pub to: String,
    /// Service as asked.
    pub service: String,
    /// Allowed, denied, or some of both.
    pub verdict: Verdict,
    /// Each distinct answer, up to a few dozen.
    pub answers: Vec<Answer>,
    /// Distinct answers that are not written out.
    pub more: usize,
    /// What rules cannot change: networks without a gateway, for example.
    pub notes: Vec<String>,
}

/// Of all connections that a question is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// All are allowed.
    Allowed,
    /// All are denied.
    Denied,
    /// Some are.
    Mixed,
}

/// One of the answers to a question.
#[derive(Clone, Debug, Serialize)]
pub struct Answer {
    /// May these connections be?
    pub allowed: bool,
    /// One of them.
    pub example: Example,
    /// The rule that decides; nothing for the default.
    pub rule: Option<RuleView>,
    /// Other rules that speak about the example, the strongest first.
    pub runners_up: Vec<RuleView>,
    /// Invariants that speak about the example.
    pub invariants: Vec<RuleView>,
    /// What would have to change for the other answer; empty where it is allowed.
    pub advice: Vec<String>,
}

/// One connection.
#[derive(Clone, Debug, Serialize)]
pub struct Example {
    /// Who opens it.
    pub from: String,
    /// From where.
    pub from_addr: IpAddr,
    /// To whom.
    pub to: String,
    /// To where.
    pub to_addr: IpAddr,
    /// For what: `tcp/22`, `icmp/8/0`.
    pub service: String,
}

/// A rule or an invariant, for people.
#[derive(Clone, Debug, Serialize)]
pub struct RuleView {
    /// Its name.
    pub name: String,
    /// `allow`, `deny`, `pass`, `never` or `always`.
    pub action: &'static str,
    /// `platform` or `tenant`; nothing for an invariant.
    pub tier: Option<&'static str>,
    /// Where it stands.
    #[serde(flatten)]
    pub position: Position,
    /// Its line.
    pub excerpt: String,
    /// Who answers for it.
    pub owner: Option<String>,
    /// Why it is there.
    pub ticket: Option<String>,
}

impl Explanation {
    /// For people.
    pub fn render(&self) -> String {
        render::render(self)
    }
}

/// Answers a question. `from` and `to` are names of the policy, `host`, `world`, `any`, addresses
/// or prefixes; `service` is what a rule's `for` takes.
pub fn explain(
    compiled: &Compiled,
    from: &str,
    to: &str,
    service: &str,
) -> Result<Explanation, ExplainError> {
    let (src, dst) = (endpoint::actors(compiled, from)?, endpoint::actors(compiled, to)?);
    let services = compiled.build.services.within(&ports(compiled, service)?);
    let cases = cases(compiled, &src, &dst, &services);
    let allowed = cases.iter().filter(|c| c.cell.allows()).count();
    let verdict = match (allowed, cases.len()) {
        (_, 0) => {
            let why = "not the same address family, or the same machine";
            let (from, to, service) = (from.into(), to.into(), service.into());
            return Err(ExplainError::NoConnection { from, to, service, why });
        }
        (0, _) => Verdict::Denied,
        (some, all) if some == all => Verdict::Allowed,
        _ => Verdict::Mixed,
    };
    Ok(Explanation {
        from: from.to_owned(),
        to: to.to_owned(),
        service: service.to_owned(),
        verdict,
        answers: cases.iter().take(ANSWERS).map(|c| c.answer(compiled, service)).collect(),
        more: cases.len().saturating_sub(ANSWERS),
        notes: advice::notes(compiled, src.values().flatten(), dst.values().flatten()),
    })
}

/// Answers that are written out: nobody reads more.
const ANSWERS: usize = 50;

/// Each distinct cell between these machines, with one connection that it judges.
fn cases(
    compiled: &Compiled,
    src: &Actors,
    dst: &Actors,
    services: &[(u32, Purpose)],
) -> Vec<Case> {
    let mut known: HashSet<Cell> = HashSet::new();
    let mut cases = Vec::new();
    for (&src_class, from) in src {
        for (&dst_class, to) in dst {
            for &(service, purpose) in services {
                let Purpose { protocol, number, .. } = purpose;
                let cell = cell(compiled, src_class, dst_class, service);
                if known.contains(&cell) {
                    continue;
                }
                let Some((src, dst)) = meet(from, to, protocol) else { continue };
                known.insert(cell);
                let case = Case { src, dst, src_class, dst_class, service, protocol, number, cell };
                cases.push(case);
            }
        }
    }
    cases
}

fn ports(compiled: &Compiled, text: &str) -> Result<Vec<Ports>, ExplainError> {
    let own = &compiled.model.services;
    let find = |name: &str| own.iter().find(|s| s.name == name).map(|s| s.ports.clone());
    service::parse(text, find, own.iter().map(|s| s.name.as_str())).map_err(|bad| {
        ExplainError::BadService { message: bad.problem.to_string(), help: bad.help }
    })
}

/// One connection and what the tables say about it.
struct Case {
    src: Actor,
    dst: Actor,
    src_class: u32,
    dst_class: u32,
    service: u32,
    protocol: Protocol,
    number: u16,
    cell: Cell,
}

impl Case {
    fn answer(&self, compiled: &Compiled, asked: &str) -> Answer {
        let decider = (self.cell.rule() as usize).checked_sub(1);
        let rules = &compiled.build.expanded.rules;
        let mut others: Vec<usize> = (0..rules.len())
            .filter(|&i| Some(i) != decider && self.is_covered(compiled, i))
            .collect();
        others.sort_by_key(|&i| strength(&rules[i]));
        others.truncate(5);
        Answer {
            allowed: self.cell.allows(),
            example: self.example(compiled),
            rule: decider.map(|i| view(compiled, &rules[i])),
            runners_up: others.iter().map(|&i| view(compiled, &rules[i])).collect(),
            invariants: self.invariants(compiled),
            advice: advice::advice(compiled, self, asked),
        }
    }

    fn example(&self, compiled: &Compiled) -> Example {
        Example {
            from: describe(compiled, self.src.atom),
            from_addr: endpoint::ip(self.src.addr),
            to: describe(compiled, self.dst.atom),
            to_addr: endpoint::ip(self.dst.addr),
            service: show_number(self.protocol, self.number),
        }
    }

    fn matches_from(&self, compiled: &Compiled, rule: usize) -> bool {
        let build = &compiled.build;
        build.classes.of_list(build.rules[rule].from).binary_search(&self.src_class).is_ok()
    }

    fn matches_to(&self, compiled: &Compiled, rule: usize) -> bool {
        let build = &compiled.build;
        build.classes.of_list(build.rules[rule].to).binary_search(&self.dst_class).is_ok()
    }

    fn matches_service(&self, compiled: &Compiled, rule: usize) -> bool {
        let build = &compiled.build;
        build.services.of_list(build.rules[rule].services).binary_search(&self.service).is_ok()
    }

    fn is_covered(&self, compiled: &Compiled, rule: usize) -> bool {
        self.matches_from(compiled, rule)
            && self.matches_to(compiled, rule)
            && self.matches_service(compiled, rule)
    }

    fn invariants(&self, compiled: &Compiled) -> Vec<RuleView> {
        let build = &compiled.build;
        let about = |key: &crate::compile::InvariantKey| {
            build.classes.of_list(key.from).binary_search(&self.src_class).is_ok()
                && build.classes.of_list(key.to).binary_search(&self.dst_class).is_ok()
                && build.services.of_list(key.services).binary_search(&self.service).is_ok()
        };
        let all = build.expanded.invariants.iter().zip(&build.invariants);
        all.filter(|(_, key)| about(key)).map(|(i, _)| view_invariant(compiled, i)).collect()
    }
}

/// The order in which rules win.
fn strength(rule: &Rule) -> (Tier, u8) {
    let rank = match rule.action {
        Action::Deny => 0,
        Action::Pass => 1,
        Action::Allow => 2,
    };
    (rule.tier, rank)
}

/// A rule for people.
pub(crate) fn view(compiled: &Compiled, rule: &Rule) -> RuleView {
    let sources = &compiled.model.sources;
    RuleView {
        name: rule.name.clone(),
        action: rule.action.name(),
        tier: Some(rule.tier.name()),
        position: sources.position(rule.span),
        excerpt: sources.excerpt(rule.span).0.to_owned(),
        owner: rule.owner.clone(),
        ticket: rule.ticket.clone(),
    }
}

fn view_invariant(compiled: &Compiled, invariant: &crate::model::Invariant) -> RuleView {
    let sources = &compiled.model.sources;
    RuleView {
        name: invariant.name.clone(),
        action: invariant.demand.name(),
        tier: None,
        position: sources.position(invariant.span),
        excerpt: sources.excerpt(invariant.span).0.to_owned(),
        owner: invariant.owner.clone(),
        ticket: invariant.ticket.clone(),
    }
}
