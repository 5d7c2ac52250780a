//! A checked policy: every name resolved, every address somebody's, nothing guessed.
//!
//! It says what the files say. What a network's kind stands for is written out by
//! [`crate::kinds`], not here.

mod denied;
mod endpoint;
mod guest;
mod network;
mod rule;
mod service;

use std::{collections::BTreeMap, net::IpAddr};

pub use self::{
    denied::{DeniedPrefix, DeniedSet},
    endpoint::{Combine, Endpoint, Label, Selector, Set, Term},
    guest::{Guest, HostAddress, Nic, Sharing},
    network::{Kind, Network, Offer, Outside, Publish},
    rule::{Action, Anchor, Demand, Invariant, Log, Rule, Tier, Until},
    service::{Ports, Protocol, Purpose, Service, Sources16},
};
use crate::source::Sources;

/// A whole policy. Indexes between its parts are positions in these vectors.
#[derive(Clone, Debug, Default)]
pub struct Model {
    /// The text that it was read from.
    pub sources: Sources,
    /// Networks; the id of `networks[i]` is `i + 1`.
    pub networks: Vec<Network>,
    /// Denied sets, in the order of the text.
    pub denied: Vec<DeniedSet>,
    /// Guests; behind them shared addresses, see [`Guest::sharing`].
    pub guests: Vec<Guest>,
    /// Addresses declared for the hypervisor, besides the gateways.
    pub host: Vec<HostAddress>,
    /// Services of guests that are reachable at addresses of the host, in the order of the text.
    pub publish: Vec<Publish>,
    /// Labels: those that guests wear, and those that `labels:` declares, worn or not.
    pub labels: Vec<Label>,
    /// Named sets of endpoints.
    pub sets: Vec<Set>,
    /// Selectors where they are used: `all of`, `any of`, `not`.
    pub selectors: Vec<Selector>,
    /// Services that the policy defines itself.
    pub services: Vec<Service>,
    /// Rules, in the order of the text.
    pub rules: Vec<Rule>,
    /// Invariants, in the order of the text.
    pub invariants: Vec<Invariant>,
    /// How connections are logged that no rule speaks about.
    pub log_denied: Option<Log>,
    /// When this was read, seconds of Unix time: rules that have expired by then do not count.
    pub now_unix_s: u64,
}

impl Model {
    /// Where the rules that last for a duration count from, by anchor: what has to be remembered
    /// once this policy is in force, and given back with [`crate::Moment::since_unix_s`]. Rules
    /// that have expired are among them, or applying the same text again would renew them.
    pub fn anchors(&self) -> BTreeMap<String, u64> {
        let ends = self.rules.iter().filter_map(|r| r.until.as_ref());
        let anchors = ends.filter_map(|u| u.anchor.as_ref());
        anchors.map(|a| (a.key.clone(), a.since_unix_s)).collect()
    }

    /// The shared addresses, with their indexes among the guests.
    pub fn shared(&self) -> impl Iterator<Item = (usize, &Guest, &Sharing)> {
        let guests = self.guests.iter().enumerate();
        guests.filter_map(|(i, guest)| Some((i, guest, guest.sharing.as_ref()?)))
    }

    /// The NICs by which guests have a shared address, each with its guest: indexes.
    pub fn sharers(&self, shared: usize) -> impl Iterator<Item = (usize, usize)> + '_ {
        let shared = &self.guests[shared];
        let network = shared.nics.first().map(|nic| nic.network);
        let by = shared.sharing.iter().flat_map(|sharing| &sharing.by);
        by.filter_map(move |&guest| {
            let nics = &self.guests[guest].nics;
            let nic = nics.iter().position(|nic| Some(nic.network) == network)?;
            Some((guest, nic))
        })
    }

    /// The denied set that names an address first, and how. It denies the address only if that is
    /// outside.
    pub fn denied_by(&self, addr: IpAddr) -> Option<(&DeniedSet, &DeniedPrefix)> {
        self.denied.iter().find_map(|set| {
            let prefix = set.prefixes().find(|p| p.net.contains(&addr))?;
            Some((set, prefix))
        })
    }
}
