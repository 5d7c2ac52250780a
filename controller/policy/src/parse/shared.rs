//! `shared:`: addresses that several guests may have, one of them at a time.

use super::{
    Builder,
    addresses::virtual_mac,
    guests::NicDraft,
    keys,
    reader::{self, Table},
};
use crate::{
    diagnostic::Diagnostic,
    model::{Endpoint, Guest, Sharing},
    problem::Problem,
    source::Span,
    yaml::{Key, Node},
};

/// Who may have a shared address, as it is written.
pub struct SharersDraft<'n> {
    /// Index of the shared address among the guests.
    shared: usize,
    /// Names of guests and labels.
    by: Option<&'n Node>,
}

impl Builder<'_> {
    /// Reads one shared address. Who may have it is found when all names are known.
    pub fn shared<'n>(
        &mut self,
        key: &Key,
        node: &'n Node,
        drafts: &mut Vec<NicDraft>,
    ) -> SharersDraft<'n> {
        let shared = self.model.guests.len();
        self.names.declare(key, Endpoint::Guest(shared), self.diags);
        self.model.guests.push(Guest {
            name: key.text.clone(),
            span: key.span,
            labels: Vec::new(),
            nics: Vec::new(),
            forwards: false,
            sharing: Some(Sharing { by: Vec::new(), router: None }),
        });
        let table = reader::table(node, "a shared address", keys::SHARED, self.diags);
        let Some(table) = table else { return SharersDraft { shared, by: None } };
        if let Some(node) = table.get("labels") {
            self.model.guests[shared].labels = self.labels(shared, node);
        }
        drafts.extend(self.shared_nic(shared, key, &table, drafts));
        SharersDraft { shared, by: table.need("by", key.span, self.diags) }
    }

    fn shared_nic(
        &mut self,
        guest: usize,
        key: &Key,
        table: &Table<'_>,
        drafts: &[NicDraft],
    ) -> Option<NicDraft> {
        let network = table.need("network", key.span, self.diags);
        let network = network.and_then(|node| self.network_name(node));
        let (addrs, auto) = match table.get("ip") {
            Some(node) => self.addresses(node),
            None => (Vec::new(), true),
        };
        let router = table.get("vrrp").and_then(|node| self.router(node));
        let draft = NicDraft { addrs, auto, router, ..NicDraft::new(guest, network?, key.span) };
        self.check_router(&draft, drafts);
        self.model.guests[guest].sharing.as_mut()?.router = router.map(|(number, _)| number);
        Some(draft)
    }

    /// The number of a virtual router.
    fn router(&mut self, node: &Node) -> Option<(u8, Span)> {
        let text = reader::text(node, "`vrrp`", self.diags)?;
        match reader::number(text).and_then(|n| u8::try_from(n).ok()).filter(|n| *n != 0) {
            Some(number) => Some((number, node.span)),
            None => {
                self.diags.report(Problem::BadRouter { got: text.to_owned() }, node.span);
                None
            }
        }
    }

    /// A virtual router is of one family (RFC 9568, section 1.2), and the only one of its number in
    /// its network.
    fn check_router(&mut self, draft: &NicDraft, drafts: &[NicDraft]) {
        let Some((router, span)) = draft.router else { return };
        let network = &self.model.networks[draft.network];
        if draft.is_mixed(network) {
            let name = self.model.guests[draft.guest].name.clone();
            self.diags.push(
                Diagnostic::new(Problem::TwoFamilies { name }, span)
                    .help("declare one for each family; both may have the same number"),
            );
            return;
        }
        let mac = virtual_mac(router, draft.is_v6(network));
        let here = drafts.iter().filter(|d| d.network == draft.network);
        let mut taken = here.filter(|d| match (d.router, d.mac) {
            (Some((number, _)), _) => virtual_mac(number, d.is_v6(network)) == mac,
            (None, own) => own.is_some_and(|(own, _)| own == mac),
        });
        if let Some(first) = taken.next() {
            let other = self.model.guests[first.guest].name.clone();
            let problem = Problem::RouterTaken { router, network: network.name.clone(), other };
            self.diags.push(Diagnostic::new(problem, span).label(first.span, "this one"));
        }
    }

    /// Finds the guests that `by` names: each must have a NIC on the network.
    pub fn resolve_sharers(&mut self, sharers: &[SharersDraft<'_>], drafts: &[NicDraft]) {
        for draft in sharers {
            let Some(node) = draft.by else { continue };
            let Some(own) = drafts.iter().find(|d| d.guest == draft.shared) else { continue };
            reader::refuse_empty(node, "`by`", self.diags);
            let mut by: Vec<usize> = Vec::new();
            for item in reader::list(node, "`by`", self.diags) {
                for guest in self.sharers_called(item) {
                    let plugged = |d: &NicDraft| (d.guest, d.network) == (guest, own.network);
                    if drafts.iter().any(plugged) {
                        by.push(guest);
                    } else {
                        self.refuse_sharer(guest, own, item.span);
                    }
                }
            }
            by.sort_unstable();
            by.dedup();
            if let Some(sharing) = &mut self.model.guests[draft.shared].sharing {
                sharing.by = by;
            }
        }
    }

    /// The guests of a name.
    fn sharers_called(&mut self, item: &Node) -> Vec<usize> {
        let Some(name) = reader::text(item, "a guest", self.diags) else { return Vec::new() };
        let guests = &self.model.guests;
        let is_machine = |guest: &usize| guests[*guest].sharing.is_none();
        match self.names.find(name) {
            Some(Endpoint::Guest(guest)) if is_machine(&guest) => vec![guest],
            Some(Endpoint::Label(label)) => {
                self.model.labels[label].guests.iter().copied().filter(is_machine).collect()
            }
            _ => {
                let fits = |e| match e {
                    Endpoint::Guest(guest) => is_machine(&guest),
                    Endpoint::Label(_) => true,
                    _ => false,
                };
                self.names.unknown(name, item.span, "guest or label", fits, self.diags);
                Vec::new()
            }
        }
    }

    fn refuse_sharer(&mut self, guest: usize, own: &NicDraft, span: Span) {
        let name = |guest: usize| self.model.guests[guest].name.clone();
        let network = &self.model.networks[own.network];
        let problem = Problem::NoNicThere {
            guest: name(guest),
            network: network.name.clone(),
            shared: name(own.guest),
        };
        let help = format!("plug it into `{}`, or take it out of `by`", network.name);
        self.diags.push(Diagnostic::new(problem, span).help(help));
    }
}
