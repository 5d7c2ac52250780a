//! An invariant that does not hold, as one concrete connection.

use std::net::IpAddr;

use super::{
    machines::{Machine, Origin, Place},
    purposes::{self, Purposes},
    search::{Found, Prover, Step},
};
use crate::{
    Compiled,
    compile::block::addr,
    explain::describe,
    model::{Demand, Invariant, Protocol, Purpose},
    source::Span,
};

/// A connection that breaks an invariant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Name of the invariant.
    pub invariant: String,
    /// What it demands.
    pub demand: Demand,
    /// Where it stands; for a kind's, where the kind is written.
    pub span: Span,
    /// The connection: one hop, or several through relays.
    pub hops: Vec<Hop>,
    /// What is wrong with it.
    pub cause: Cause,
}

/// Why a connection breaks an invariant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// It is allowed.
    Allowed,
    /// It is denied.
    Denied,
    /// There is no way for it: this network would need a gateway.
    NoWay {
        /// The network's name.
        network: String,
    },
}

/// One hop of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hop {
    /// Who opens it.
    pub from: End,
    /// To whom.
    pub to: End,
    /// Id of the network in which link-local addresses stand; 0 where there are none.
    pub network: u32,
    /// For what.
    pub purpose: Purpose,
    /// Id of the rule that decides as the image counts them; 0 for the default.
    pub rule: u32,
    /// Its name, empty for the default.
    pub rule_name: String,
}

/// One end of a hop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// Whose address it is: a guest, `host`, `world`, `undeclared in NETWORK`.
    pub name: String,
    /// The address; nothing where it is one of the host's that the policy does not know.
    pub addr: Option<IpAddr>,
}

impl std::fmt::Display for End {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.addr {
            Some(addr) => write!(f, "{} ({addr})", self.name),
            None => write!(f, "{} (at an address that the policy does not declare)", self.name),
        }
    }
}

impl Hop {
    /// `tcp/445 (smb)`.
    pub fn service(&self) -> String {
        purposes::show(self.purpose)
    }
}

impl Violation {
    /// From what was found; `None` if nothing is possible after all.
    pub(super) fn new(
        prover: &Prover<'_>,
        purposes: &Purposes<'_>,
        invariant: &Invariant,
        found: &Found,
    ) -> Option<Self> {
        let compiled = prover.compiled;
        let hop = |step: &Step, services: &[u32]| Hop::new(prover, purposes, step, services);
        let (hops, cause) = match found {
            Found::Allowed { steps, services, .. } => {
                let (last, before) = steps.split_last()?;
                let mut hops: Vec<Hop> = before
                    .iter()
                    .map(|step| hop(step, &prover.allowed_in(step)))
                    .collect::<Option<_>>()?;
                hops.push(hop(last, services)?);
                (hops, Cause::Allowed)
            }
            Found::Denied { step, services, .. } => (vec![hop(step, services)?], Cause::Denied),
            Found::NoWay { step, network, services } => {
                let network = compiled.model.networks[*network].name.clone();
                (vec![hop(step, services)?], Cause::NoWay { network })
            }
        };
        let Invariant { name, demand, span, .. } = invariant;
        Some(Self { invariant: name.clone(), demand: *demand, span: *span, hops, cause })
    }

    /// `web1 (10.20.0.5) to files (10.10.0.5), tcp/445 (smb)`, by way of relays if need be.
    pub fn summary(&self) -> String {
        let (Some(first), Some(last)) = (self.hops.first(), self.hops.last()) else {
            return String::new();
        };
        let relays: Vec<&str> = self.hops[1..].iter().map(|hop| hop.from.name.as_str()).collect();
        let through = if relays.is_empty() {
            String::new()
        } else {
            format!(" through {}", relays.join(" and "))
        };
        format!("{} to {}{through}, {}", first.from, last.to, last.service())
    }
}

impl Hop {
    fn new(
        prover: &Prover<'_>,
        purposes: &Purposes<'_>,
        step: &Step,
        services: &[u32],
    ) -> Option<Self> {
        let fits = |protocol| match protocol {
            Protocol::Icmp => !step.dst.v6,
            Protocol::Icmpv6 => step.dst.v6,
            _ => true,
        };
        let (service, purpose) = purposes.best(services, fits)?;
        let rule = prover.cell(step.src_class, step.dst_class, service).rule();
        let rules = &prover.compiled.image.rules;
        let decider = (rule as usize).checked_sub(1).and_then(|i| rules.get(i));
        Some(Self {
            from: end(prover.compiled, &step.src),
            to: end(prover.compiled, &step.dst),
            network: scope(step),
            purpose,
            rule,
            rule_name: decider.map_or_else(String::new, |r| r.name.clone()),
        })
    }
}

fn end(compiled: &Compiled, machine: &Machine) -> End {
    let known = machine.origin != Origin::Unknown;
    let name = describe(compiled, machine.atom);
    End { name, addr: known.then(|| addr(machine.addr).into()) }
}

/// Id of the network of a link-local address.
fn scope(step: &Step) -> u32 {
    let id = |m: &Machine| match (m.origin, m.place) {
        (Origin::LinkLocal, Place::Network(n)) => Some(n as u32 + 1),
        _ => None,
    };
    id(&step.dst).or_else(|| id(&step.src)).unwrap_or(0)
}
