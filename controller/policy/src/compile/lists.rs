//! A policy's rules and invariants as numbers of lists.

use std::collections::BTreeSet;

use super::{
    classes::EndpointLists,
    order::RuleKey,
    reuse::Replaced,
    services::ServiceLists,
    space::{Owner, Space},
};
use crate::{
    kinds::Expanded,
    model::{Demand, Endpoint, Invariant, Model, Rule, Term},
};

/// An invariant as numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvariantKey {
    pub from: u32,
    pub to: u32,
    pub services: u32,
}

/// The lists of a policy, and who uses them.
#[derive(Clone, Default)]
pub struct Lists {
    pub endpoints: EndpointLists,
    pub services: ServiceLists,
}

/// Rules and invariants as numbers.
#[derive(Clone, Default)]
pub struct Keys {
    pub rules: Vec<RuleKey>,
    pub invariants: Vec<InvariantKey>,
}

impl Lists {
    /// Numbers every list of a policy.
    pub fn of(model: &Model, expanded: &Expanded, space: &Space) -> (Self, Keys) {
        let mut lists = Self::default();
        let rules = expanded.rules.iter().map(|rule| lists.rule(rule)).collect();
        if expanded.invariants.iter().any(|i| i.demand == Demand::NeverUnnamed) {
            lists.tell_zones_apart(model);
        }
        let invariants =
            expanded.invariants.iter().map(|i| lists.invariant(model, space, i)).collect();
        (lists, Keys { rules, invariants })
    }

    fn rule(&mut self, rule: &Rule) -> RuleKey {
        let from = self.endpoints.intern(&rule.from, rule.span);
        let to = self.endpoints.intern(&rule.to, rule.span);
        let services = self.services.intern(&rule.services, rule.span);
        key(rule, [from, to, services])
    }

    fn invariant(&mut self, model: &Model, space: &Space, invariant: &Invariant) -> InvariantKey {
        // What must not be, must not be by a shared address either. What must be possible is
        // meant of the addresses that are always there.
        let all = |terms: &[Term]| match invariant.demand {
            Demand::Never => with_shared(model, space, terms),
            Demand::Always | Demand::NeverUnnamed => terms.to_vec(),
        };
        InvariantKey {
            from: self.endpoints.intern(&all(&invariant.from), invariant.span),
            to: self.endpoints.intern(&all(&invariant.to), invariant.span),
            services: self.services.intern(&invariant.services, invariant.span),
        }
    }

    /// Whether a rule names a side is asked of each place by itself, and of each endpoint of the
    /// rule by itself: so classes must not mix these.
    fn tell_zones_apart(&mut self, model: &Model) {
        for (i, network) in model.networks.iter().enumerate() {
            self.endpoints.add(Endpoint::Network(i), network.span);
        }
        self.endpoints.add(Endpoint::Host, Default::default());
        self.endpoints.add(Endpoint::World, Default::default());
        self.endpoints.take_apart();
    }

    /// Numbers the rules that took the place of others, if that leaves every list in use and
    /// needs no new one. `None`: it does not, and the numbers are good for nothing.
    pub fn replace(
        &mut self,
        rules: &mut Vec<RuleKey>,
        change: &Replaced,
        now: &[Rule],
    ) -> Option<()> {
        let new: Vec<RuleKey> = now[change.first..change.first + change.now]
            .iter()
            .map(|rule| {
                let from = self.endpoints.use_known(&rule.from)?;
                let to = self.endpoints.use_known(&rule.to)?;
                let services = self.services.use_known(&rule.services)?;
                Some(key(rule, [from, to, services]))
            })
            .collect::<Option<_>>()?;
        let mut in_use = true;
        for old in rules.splice(change.first..change.first + change.then, new) {
            in_use &= self.endpoints.release(old.from);
            in_use &= self.endpoints.release(old.to);
            in_use &= self.services.release(old.services);
        }
        in_use.then_some(())
    }
}

/// These endpoints, and the shared addresses that some guest among them may have.
fn with_shared(model: &Model, space: &Space, terms: &[Term]) -> Vec<Term> {
    let mut all = terms.to_vec();
    if model.shared().next().is_none() {
        return all;
    }
    let atoms = terms.iter().flat_map(|term| space.members(term.endpoint));
    let owners: BTreeSet<Owner> = atoms.map(|a| space.atoms()[a as usize].owner).collect();
    for (shared, guest, _) in model.shared() {
        let mut sharers = model.sharers(shared).map(|(guest, nic)| Owner::Guest(guest, nic));
        if sharers.any(|owner| owners.contains(&owner)) {
            all.push(Term { endpoint: Endpoint::Guest(shared), span: guest.span });
        }
    }
    all
}

fn key(rule: &Rule, [from, to, services]: [u32; 3]) -> RuleKey {
    RuleKey {
        from,
        to,
        services,
        tier: rule.tier,
        action: rule.action,
        observe: rule.observe,
        until_unix_s: rule.until.as_ref().map_or(u64::MAX, |u| u.at_unix_s),
    }
}
