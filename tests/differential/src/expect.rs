//! What must come of a packet, by the rules as they are written and by where everybody sits:
//! no code of the pipeline or the compiler is asked.

use std::{collections::HashSet, net::IpAddr};

use portcullis_pipeline::{DropReason, Verdict};
use portcullis_policy::{
    model::Model,
    oracle::{self, Judgement},
};

use crate::{
    clock,
    fact::{Fact, Role},
    told::{Told, has_ended},
    world::{Kind, Policy, World},
};

type Ends = (u32, IpAddr, u16, IpAddr, u16, u8);

/// The oracle, and what it has seen.
pub struct Oracle<'a> {
    world: &'a World,
    /// The models of the policies, at the present: what has ended since does not count.
    present: Vec<Model>,
    /// Connections that were opened under some policy, from the side that opened them.
    opened: HashSet<Ends>,
    /// Ends between which anything was sent, from either side.
    met: HashSet<Ends>,
    /// Fresh packets whose whole fate was foretold.
    pub foretold: u64,
    /// Of them, how many had to pass.
    pub passing: u64,
}

impl<'a> Oracle<'a> {
    /// An oracle that has seen nothing.
    pub fn new(world: &'a World) -> Self {
        let present = world.policies.iter().map(|p| p.model.clone()).collect();
        let (opened, met) = (HashSet::new(), HashSet::new());
        Self { world, present, opened, met, foretold: 0, passing: 0 }
    }

    /// Compares a verdict under the policy at `index` with what had to come. The error says what.
    pub fn check(
        &mut self,
        index: usize,
        fact: &Fact,
        verdict: &Verdict,
        told: &Told,
        now: u64,
    ) -> Result<(), String> {
        let policy = &self.world.policies[index];
        let key = ends(fact, false);
        let met = self.met.contains(&key) || self.met.contains(&ends(fact, true));
        self.met.insert(key);
        let judged = judge(&policy.model, fact, false);
        let ended = judged.allowed && has_ended(policy, judged.rule, now);
        if matches!(verdict, Verdict::Forward(_)) {
            self.check_passed(index, fact, now)?;
        }
        if opens(verdict) && judged.allowed && !ended {
            self.opened.insert(key);
        }
        let guest = self.world.ports[fact.port].kind == Kind::Guest;
        if let Verdict::Drop(DropReason::DeniedSet) = verdict
            && !self.denies(index, fact)
        {
            return Err("dropped for a denied set that names neither of its ends".into());
        }
        if met || fact.role != Role::Fresh || !guest || !self.owns(fact) {
            return Ok(());
        }
        let Some(way) = self.way(fact) else { return Ok(()) };
        self.foretold += 1;
        if way {
            told.check(policy, fact, &judged, now)?;
        }
        if way && judged.allowed && !ended {
            self.passing += 1;
            return match verdict {
                Verdict::Forward(_) => Ok(()),
                _ => Err(format!("must pass by rule {}", judged.name)),
            };
        }
        match verdict {
            Verdict::Drop(DropReason::Expired) if way && ended => Ok(()),
            Verdict::Drop(DropReason::NoRule) if way && judged.rule == 0 => Ok(()),
            Verdict::Drop(DropReason::Denied) if way && judged.rule != 0 && !judged.allowed => {
                Ok(())
            }
            Verdict::Drop(_) if !way => Ok(()),
            _ => Err(format!("must be dropped (way {way}, rule {}, {ended})", judged.rule)),
        }
    }

    /// What passes is allowed at this moment, or the answer to something that is: whatever was
    /// allowed before.
    fn check_passed(&mut self, index: usize, fact: &Fact, now: u64) -> Result<(), String> {
        if self.denies(index, fact) {
            return Err("passed, though a denied set names one of its ends".into());
        }
        if fact.fragment {
            return Ok(());
        }
        let model = &mut self.present[index];
        model.now_unix_s = clock::unix(now);
        let back = self.opened.contains(&ends(fact, true));
        if judge(model, fact, false).allowed || (back && judge(model, fact, true).allowed) {
            return Ok(());
        }
        Err("passed, though no rule allows it and no allowed connection is open".into())
    }

    /// A damaged packet passed: perhaps it opened the connection that it was made for.
    pub fn suspect(&mut self, index: usize, fact: &Fact, verdict: &Verdict, now: u64) {
        let policy = &self.world.policies[index];
        self.met.insert(ends(fact, false));
        let judged = judge(&policy.model, fact, false);
        if opens(verdict) && judged.allowed && !has_ended(policy, judged.rule, now) {
            self.opened.insert(ends(fact, false));
        }
    }

    /// Does a denied set name one of the ends? Addresses that only the host knows are its own.
    fn denies(&self, index: usize, fact: &Fact) -> bool {
        let model = &self.world.policies[index].model;
        [fact.ends.0, fact.ends.1].into_iter().any(|addr| oracle::is_denied(model, addr))
    }

    fn owns(&self, fact: &Fact) -> bool {
        let port = &self.world.ports[fact.port];
        port.addrs.contains(&fact.ends.0) || Policy::link_local(port) == fact.ends.0
    }

    /// Can a guest's packet reach its destination? `None`: that depends on what the uplink has
    /// heard, or on details that are not foretold.
    fn way(&self, fact: &Fact) -> Option<bool> {
        let from = &self.world.ports[fact.port];
        let gateway = |id| self.world.network(id).map(|n| !n.gateway.is_empty());
        if let Some(to) = self.world.guest_of(fact.ends.1) {
            if to.number == from.number {
                return None;
            }
            return Some(
                to.network == from.network || (gateway(from.network)? && gateway(to.network)?),
            );
        }
        if self.world.is_host(fact.ends.1) {
            return gateway(from.network);
        }
        None
    }
}

/// What the rules say about a packet as one that opens a connection, or as the answer to one.
fn judge(model: &Model, fact: &Fact, back: bool) -> Judgement {
    let (src, dst) = fact.ends;
    if back {
        oracle::evaluate_in(model, fact.network, dst, src, fact.purpose_back())
    } else {
        oracle::evaluate_in(model, fact.network, src, dst, fact.purpose())
    }
}

/// Can a connection be open after this? It is remembered before its packet is sent on: one that
/// is answered with an ICMP error, or dropped on its way out, was allowed all the same.
const fn opens(verdict: &Verdict) -> bool {
    use DropReason::{RateLimit, TimeToLive, TooBig};
    matches!(
        verdict,
        Verdict::Forward(_) | Verdict::Answer(_) | Verdict::Drop(RateLimit | TimeToLive | TooBig)
    )
}

/// The two ends, from the sender's side or from the other one.
fn ends(f: &Fact, back: bool) -> Ends {
    let local = |a: IpAddr| portcullis_pipeline::Addr::from(a).is_link_local_v6();
    let scope = if local(f.ends.0) || local(f.ends.1) { f.network } else { 0 };
    if back {
        (scope, f.ends.1, f.numbers.1, f.ends.0, f.numbers.0, f.protocol)
    } else {
        (scope, f.ends.0, f.numbers.0, f.ends.1, f.numbers.1, f.protocol)
    }
}
