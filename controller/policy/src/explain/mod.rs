//! Why a connection is allowed or denied, and what would have to change.

mod advice;
mod denied;
mod endpoint;
mod published;
mod question;
mod render;
mod time;
mod way;

use std::{collections::HashSet, net::IpAddr};

use portcullis_pipeline::policy::Cell;
use serde::Serialize;

pub use self::denied::DeniedView;
use self::endpoint::Actors;
pub(crate) use self::endpoint::{describe, ip};
use self::question::Question;
use crate::{
    Compiled,
    compile::actors::{Actor, meet},
    diagnostic::JsonEdit,
    model::{Action, Ports, Purpose, Rule, Tier},
    prove::cell,
    service::{self, show_number},
    source::Position,
    until,
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
    /// A selector that does not hold.
    #[error("the selector cannot be used:\n{message}")]
    BadSelector {
        /// What is wrong with it.
        message: String,
    },
    /// Not a flow.
    #[error(
        "`{flow}` is not a flow: {why}; write it as `tcp 10.10.0.11:40000 -> 10.20.0.5:443` or `icmp/8 pc1 -> web1`"
    )]
    BadFlow {
        /// What was asked.
        flow: String,
        /// What is wrong with it.
        why: &'static str,
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
    /// Where a denied set names one of the addresses: that goes before all rules.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub denied: Option<DeniedView>,
    /// The rule that would turn the answer, if the rules that only observe were in force.
    pub observed: Option<RuleView>,
    /// How packets get there; or why they do not.
    pub way: String,
    /// What would have to change to allow it; empty where it is allowed.
    pub advice: Vec<String>,
    /// The same as changes of the text: alternatives, each tried, none breaks an invariant.
    pub edits: Vec<JsonEdit>,
}

/// When a rule ends.
#[derive(Clone, Debug, Serialize)]
pub struct Ends {
    /// In UTC (RFC 3339).
    pub at: String,
    /// Seconds until then, if the present is known.
    pub left_s: Option<u64>,
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
    /// When it ends; nothing for one that stays.
    pub until: Option<Ends>,
}

impl Explanation {
    /// For people.
    pub fn render(&self) -> String {
        render::render(self)
    }
}

/// Answers a question. `from` and `to` are names of the policy, `host`, `world`, `any`, addresses
/// or prefixes, or selectors as a rule has them (`{ all of: [web, db] }`); `from` may be an
/// address with a source port. `service` is what a rule's `for` takes.
pub fn explain(
    compiled: &Compiled,
    from: &str,
    to: &str,
    service: &str,
) -> Result<Explanation, ExplainError> {
    let answer = answer(compiled, &Question::new(from, to, service))?;
    Ok(Explanation {
        from: from.to_owned(),
        to: to.to_owned(),
        service: service.to_owned(),
        ..answer
    })
}

/// Answers for one connection, `PROTOCOL FROM -> TO`: `tcp 10.10.0.11:40000 -> 10.20.0.5:443`,
/// `icmp/8 10.10.0.11 -> 10.20.0.5`. The source port may be left out.
pub fn explain_flow(compiled: &Compiled, flow: &str) -> Result<Explanation, ExplainError> {
    answer(compiled, &Question::flow(flow)?)
}

fn answer(compiled: &Compiled, question: &Question) -> Result<Explanation, ExplainError> {
    if let Some((compiled, named)) = question::named(compiled, question)? {
        let Question { from, to, service } = question.clone();
        return Ok(Explanation { from, to, service, ..answer(&compiled, &named)? });
    }
    let Question { from, to, service } = question.clone();
    let (src, dst) = (endpoint::actors(compiled, &from)?, endpoint::actors(compiled, &to)?);
    let asked = ports(compiled, &service)?;
    let services = compiled.build.services.within(&asked);
    let cases = cases(compiled, &src, &dst, &services);
    let allowed = cases.iter().filter(|c| c.cell.allows()).count();
    let verdict = match (allowed, cases.len()) {
        (_, 0) => {
            let why = "not the same address family, or the same machine";
            return Err(ExplainError::NoConnection { from, to, service, why });
        }
        (0, _) => Verdict::Denied,
        (some, all) if some == all => Verdict::Allowed,
        _ => Verdict::Mixed,
    };
    let denied = denied::view(compiled, question);
    let verdict = if denied.is_some() { Verdict::Denied } else { verdict };
    let (all_src, all_dst) = (|| src.values().flatten(), || dst.values().flatten());
    let mut notes = advice::notes(compiled, all_src(), all_dst());
    notes.extend(published::notes(compiled, all_src(), all_dst(), &asked));
    let mut answers = answers(compiled, &cases, question, denied.is_none());
    match denied {
        Some(denied) => {
            answers = answers.into_iter().map(|a| denied::before(a, &denied)).collect();
        }
        None => notes.extend(denied::notes(compiled, all_src().chain(all_dst()))),
    }
    Ok(Explanation {
        verdict,
        answers,
        more: cases.len().saturating_sub(ANSWERS),
        notes,
        from,
        to,
        service,
    })
}

fn answers(
    compiled: &Compiled,
    cases: &[Case],
    question: &Question,
    with_advice: bool,
) -> Vec<Answer> {
    let Question { from, to, service } = question;
    let asked = (cases.len() == 1).then_some([from.as_str(), to.as_str(), service.as_str()]);
    let mut advised = 0;
    let answer = |case: &Case| {
        let mut advice = advice::Advice::default();
        if with_advice && !case.cell.allows() && advised < ADVISED {
            advised += 1;
            advice = advice::advice(compiled, case, asked);
        }
        case.answer(compiled, advice)
    };
    cases.iter().take(ANSWERS).map(answer).collect()
}

/// Denied answers that come with advice: each change is tried on the whole policy.
const ADVISED: usize = 3;
/// Answers that are written out: nobody reads more.
const ANSWERS: usize = 50;

/// Each distinct cell between these machines, with one connection that it judges.
fn cases(
    compiled: &Compiled,
    src: &Actors,
    dst: &Actors,
    services: &[(u32, Purpose)],
) -> Vec<Case> {
    let mut known: HashSet<(Cell, Cell)> = HashSet::new();
    let mut cases = Vec::new();
    for (&src_class, from) in src {
        for (&dst_class, to) in dst {
            for &(service, purpose) in services {
                let cell = cell(compiled, src_class, dst_class, service);
                let observed = shadow(compiled, src_class, dst_class, service).unwrap_or(cell);
                if known.contains(&(cell, observed)) {
                    continue;
                }
                let Some((src, dst)) = meet(from, to, purpose.protocol) else { continue };
                known.insert((cell, observed));
                let classes = [src_class, dst_class, service];
                cases.push(Case { src, dst, classes, purpose, cell, observed });
            }
        }
    }
    cases
}

/// What the cell would be if the rules that only observe were in force.
fn shadow(compiled: &Compiled, src: u32, dst: u32, service: u32) -> Option<Cell> {
    let image = &compiled.image;
    let row = image.rows[(src * image.classes + dst) as usize];
    image.shadows.get((row * image.services + service) as usize).map(|&cell| Cell(cell))
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
    /// Identity class of the source and of the destination, and the service class.
    classes: [u32; 3],
    purpose: Purpose,
    cell: Cell,
    /// What the cell would be with the observing rules in force.
    observed: Cell,
}

impl Case {
    fn answer(&self, compiled: &Compiled, advice: advice::Advice) -> Answer {
        let decider = (self.cell.rule() as usize).checked_sub(1);
        let rules = &compiled.build.expanded.rules;
        let other = |&i: &usize| Some(i) != decider && !rules[i].observe;
        let mut others: Vec<usize> =
            (0..rules.len()).filter(other).filter(|&i| self.is_covered(compiled, i)).collect();
        others.sort_by_key(|&i| strength(&rules[i]));
        others.truncate(5);
        let turns = self.observed.allows() != self.cell.allows();
        let observer = (self.observed.rule() as usize).checked_sub(1).filter(|_| turns);
        Answer {
            allowed: self.cell.allows(),
            example: self.example(compiled),
            rule: decider.map(|i| view(compiled, &rules[i])),
            runners_up: others.iter().map(|&i| view(compiled, &rules[i])).collect(),
            invariants: self.invariants(compiled),
            denied: None,
            observed: observer.map(|i| view(compiled, &rules[i])),
            way: way::way(compiled, self),
            advice: advice.texts,
            edits: advice.edits,
        }
    }

    fn example(&self, compiled: &Compiled) -> Example {
        Example {
            from: describe(compiled, self.src.atom),
            from_addr: endpoint::ip(self.src.addr),
            to: describe(compiled, self.dst.atom),
            to_addr: endpoint::ip(self.dst.addr),
            service: self.service_text(),
        }
    }

    /// `tcp/22`, and the source port where it matters.
    fn service_text(&self) -> String {
        show_purpose(self.purpose)
    }

    fn matches_from(&self, compiled: &Compiled, rule: usize) -> bool {
        let build = &compiled.build;
        build.classes.of_list(build.rules[rule].from).binary_search(&self.classes[0]).is_ok()
    }

    fn matches_to(&self, compiled: &Compiled, rule: usize) -> bool {
        let build = &compiled.build;
        build.classes.of_list(build.rules[rule].to).binary_search(&self.classes[1]).is_ok()
    }

    fn matches_service(&self, compiled: &Compiled, rule: usize) -> bool {
        let build = &compiled.build;
        build.services.of_list(build.rules[rule].services).binary_search(&self.classes[2]).is_ok()
    }

    fn is_covered(&self, compiled: &Compiled, rule: usize) -> bool {
        self.matches_from(compiled, rule)
            && self.matches_to(compiled, rule)
            && self.matches_service(compiled, rule)
    }

    fn invariants(&self, compiled: &Compiled) -> Vec<RuleView> {
        let build = &compiled.build;
        let about = |key: &crate::compile::InvariantKey| {
            build.classes.of_list(key.from).binary_search(&self.classes[0]).is_ok()
                && build.classes.of_list(key.to).binary_search(&self.classes[1]).is_ok()
                && build.services.of_list(key.services).binary_search(&self.classes[2]).is_ok()
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

/// `tcp/22`, or `tcp/22 from 7` where the source port is none that a client would choose.
pub(crate) fn show_purpose(purpose: Purpose) -> String {
    let text = show_number(purpose.protocol, purpose.number);
    if purpose == Purpose::new(purpose.protocol, purpose.number) {
        text
    } else {
        format!("{text} from {}", purpose.source)
    }
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
        until: rule.until.as_ref().map(|u| ends(compiled, u.at_unix_s)),
    }
}

fn ends(compiled: &Compiled, at_unix_s: u64) -> Ends {
    let now = compiled.model.now_unix_s;
    let left_s = (now > 0).then(|| at_unix_s.saturating_sub(now));
    Ends { at: until::show(at_unix_s), left_s }
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
        until: None,
    }
}
