//! A policy's rules and invariants as numbers of lists.

use super::{classes::EndpointLists, order::RuleKey, services::ServiceLists};
use crate::{
    kinds::Expanded,
    model::{Demand, Endpoint, Invariant, Model, Rule},
};

/// An invariant as numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvariantKey {
    pub from: u32,
    pub to: u32,
    pub services: u32,
}

/// The lists of a policy, and who uses them.
#[derive(Default)]
pub struct Lists {
    pub endpoints: EndpointLists,
    pub services: ServiceLists,
    pub rules: Vec<RuleKey>,
    pub invariants: Vec<InvariantKey>,
}

impl Lists {
    /// Numbers every list of a policy.
    pub fn of(model: &Model, expanded: &Expanded) -> Self {
        let mut lists = Self::default();
        for rule in &expanded.rules {
            let key = lists.rule(rule);
            lists.rules.push(key);
        }
        for invariant in &expanded.invariants {
            let key = lists.invariant(invariant);
            lists.invariants.push(key);
        }
        if expanded.invariants.iter().any(|i| i.demand == Demand::NeverUnnamed) {
            lists.tell_zones_apart(model, expanded);
        }
        lists
    }

    fn rule(&mut self, rule: &Rule) -> RuleKey {
        RuleKey {
            from: self.endpoints.intern(&rule.from, rule.span),
            to: self.endpoints.intern(&rule.to, rule.span),
            services: self.services.intern(&rule.services, rule.span),
            tier: rule.tier,
            action: rule.action,
            observe: rule.observe,
            until_unix_s: rule.until.as_ref().map_or(u64::MAX, |u| u.at_unix_s),
        }
    }

    fn invariant(&mut self, invariant: &Invariant) -> InvariantKey {
        InvariantKey {
            from: self.endpoints.intern(&invariant.from, invariant.span),
            to: self.endpoints.intern(&invariant.to, invariant.span),
            services: self.services.intern(&invariant.services, invariant.span),
        }
    }

    /// Whether a rule names a side is asked of each place by itself, and of each endpoint of the
    /// rule by itself: so classes must not mix these.
    fn tell_zones_apart(&mut self, model: &Model, expanded: &Expanded) {
        for (i, network) in model.networks.iter().enumerate() {
            self.endpoints.intern_one(Endpoint::Network(i), network.span);
        }
        self.endpoints.intern_one(Endpoint::Host, Default::default());
        self.endpoints.intern_one(Endpoint::World, Default::default());
        for rule in &expanded.rules {
            for term in rule.from.iter().chain(&rule.to) {
                self.endpoints.intern_one(term.endpoint, term.span);
            }
        }
    }
}
