//! What a network's `kind` stands for, written out as ordinary rules and invariants.
//!
//! * `lan`: the rule `kind:lan:NAME`, members reach members for any service (tenant tier).
//! * `dmz`: the invariant `kind:dmz:NAME`: a member reaches no guest of its own network, no other
//!   network and not the host, unless a rule names both sides.
//! * `isolated`: the invariants `kind:isolated:NAME:out` and `:in`: a member reaches nobody, and
//!   nobody reaches a member, unless a rule names both sides.
//! * `outside: none`: the invariants `outside:NAME:out` and `:in`: a member reaches nobody outside,
//!   and nobody outside reaches a member, whatever the rules say.
//! * `external`: no rule; undeclared members belong to `world` (see [`crate::model::Endpoint`]).
//!
//! A rule *names* a side if one of the endpoints it lists for that side is a network, `host` or
//! `world`, or if everything in that endpoint lies in the same place as the address in question:
//! in one network, the host, or the world. So `any`, a wide prefix, or a label that is carried in
//! two networks cannot open a DMZ by accident, and a rule that means to open it says so.

use crate::model::{
    Action, Demand, Endpoint, Invariant, Kind, Model, Network, Outside, Rule, Service, Term, Tier,
};
use crate::source::Span;

/// All rules and invariants of a policy, those of kinds among them, in the order of the text.
/// The id of a rule is its place here, from 1. Rules that have ended are not here.
#[derive(Clone, Default)]
pub struct Expanded {
    /// Rule id `i + 1` is `rules[i]`.
    pub rules: Vec<Rule>,
    /// Invariants.
    pub invariants: Vec<Invariant>,
}

/// Writes the kinds out.
pub fn expand(model: &Model) -> Expanded {
    Expanded { rules: rules(model), invariants: invariants(model) }
}

/// The rules that are in force.
fn rules(model: &Model) -> Vec<Rule> {
    let in_force = model.rules.iter().filter(|r| !r.is_expired(model.now_unix_s));
    let mut rules: Vec<Rule> = in_force.cloned().collect();
    let networks = model.networks.iter().enumerate();
    let lans = networks.filter(|(_, network)| network.kind == Kind::Lan);
    rules.extend(lans.map(|(i, network)| lan(i, network)));
    rules.sort_by_key(|r| r.span);
    rules
}

/// The invariants.
pub fn invariants(model: &Model) -> Vec<Invariant> {
    let mut invariants = model.invariants.clone();
    for (i, network) in model.networks.iter().enumerate() {
        match network.kind {
            Kind::Dmz => invariants.push(dmz(model, i, network)),
            Kind::Isolated => invariants.extend(isolated(i, network)),
            Kind::Lan | Kind::Plain | Kind::External => {}
        }
        if network.outside == Some(Outside::None) {
            invariants.extend(no_outside(i, network));
        }
    }
    invariants.sort_by_key(|i| i.span);
    invariants
}

fn lan(index: usize, network: &Network) -> Rule {
    let span = network.kind_span;
    let members = vec![Term { endpoint: Endpoint::Network(index), span }];
    Rule {
        name: format!("kind:lan:{}", network.name),
        span,
        tier: Tier::Tenant,
        action: Action::Allow,
        from: members.clone(),
        to: members,
        services: vec![Service::any(span)],
        owner: None,
        ticket: None,
        until: None,
        observe: false,
        log: None,
    }
}

fn dmz(model: &Model, index: usize, network: &Network) -> Invariant {
    let networks = (0..model.networks.len()).map(Endpoint::Network);
    let to = networks.chain([Endpoint::Host]).collect();
    never(format!("kind:dmz:{}", network.name), network, vec![Endpoint::Network(index)], to)
}

fn isolated(index: usize, network: &Network) -> [Invariant; 2] {
    let members = || vec![Endpoint::Network(index)];
    let name = |way| format!("kind:isolated:{}:{way}", network.name);
    [
        never(name("out"), network, members(), vec![Endpoint::Any]),
        never(name("in"), network, vec![Endpoint::Any], members()),
    ]
}

/// Nothing outside, in no direction, by any rule.
fn no_outside(index: usize, network: &Network) -> [Invariant; 2] {
    let (members, world) = (|| vec![Endpoint::Network(index)], || vec![Endpoint::World]);
    let name = |way| format!("outside:{}:{way}", network.name);
    let span = network.outside_span;
    [
        invariant(name("out"), Demand::Never, span, members(), world()),
        invariant(name("in"), Demand::Never, span, world(), members()),
    ]
}

fn never(name: String, network: &Network, from: Vec<Endpoint>, to: Vec<Endpoint>) -> Invariant {
    invariant(name, Demand::NeverUnnamed, network.kind_span, from, to)
}

fn invariant(
    name: String,
    demand: Demand,
    span: Span,
    from: Vec<Endpoint>,
    to: Vec<Endpoint>,
) -> Invariant {
    let terms =
        |list: Vec<Endpoint>| list.into_iter().map(|endpoint| Term { endpoint, span }).collect();
    Invariant {
        name,
        span,
        demand,
        from: terms(from),
        to: terms(to),
        services: vec![Service::any(span)],
        owner: None,
        ticket: None,
    }
}
