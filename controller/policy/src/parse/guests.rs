//! `guests:`.

use std::net::IpAddr;

use portcullis_image::Trunk;
use portcullis_pipeline::addr::Mac;

use super::{
    Builder, keys,
    limits::Said,
    names::check_name,
    reader::{self, Table},
};
use crate::{
    diagnostic::Diagnostic,
    model::{Endpoint, Guest, Label},
    problem::Problem,
    source::Span,
    yaml::{Key, Node, Value},
};

/// A NIC as it is written: what is `auto` is still open.
pub struct NicDraft {
    /// Index of its guest.
    pub guest: usize,
    /// Index of its network.
    pub network: usize,
    /// Where it begins, and where the network is named.
    pub span: Span,
    /// Addresses that are written out.
    pub addrs: Vec<(IpAddr, Span)>,
    /// Does every subnet without one of these get an address of its own?
    pub auto: bool,
    /// The MAC, if it is written out.
    pub mac: Option<(Mac, Span)>,
    /// The number of the virtual router whose MAC it has.
    pub router: Option<(u8, Span)>,
    /// What its guest says of its limits.
    pub limits: Said,
    /// The interface that it shares with others.
    pub trunk: Option<Trunk>,
    /// Is its MAC that of those others that have none of their own?
    pub leads: bool,
}

impl NicDraft {
    /// With everything `auto`.
    pub fn new(guest: usize, network: usize, span: Span) -> Self {
        Self {
            guest,
            network,
            span,
            addrs: Vec::new(),
            auto: true,
            mac: None,
            router: None,
            limits: Said::default(),
            trunk: None,
            leads: false,
        }
    }
}

impl Builder<'_> {
    /// Reads one guest and gives back its NICs, whose addresses are assigned once all are known.
    pub fn guest(&mut self, key: &Key, node: &Node) -> Vec<NicDraft> {
        let index = self.model.guests.len();
        self.names.declare(key, Endpoint::Guest(index), self.diags);
        let mut guest = Guest {
            name: key.text.clone(),
            span: key.span,
            labels: Vec::new(),
            nics: Vec::new(),
            forwards: true,
            sharing: None,
        };
        let mut drafts = Vec::new();
        if let Some(table) = reader::table(node, "a guest", keys::GUEST, self.diags) {
            drafts = self.nics(index, key, &table);
            let said = self.limits(&table, "`limits`");
            drafts.iter_mut().for_each(|draft| draft.limits = said);
            if let Some(node) = table.get("labels") {
                guest.labels = self.labels(index, node);
            }
            if let Some(node) = table.get("forwards") {
                guest.forwards = reader::truth(node, "`forwards`", self.diags).unwrap_or(true);
            }
        }
        self.model.guests.push(guest);
        drafts
    }

    /// `network`, `ip` and `mac` of the guest itself, or a list of NICs.
    fn nics(&mut self, guest: usize, key: &Key, table: &Table<'_>) -> Vec<NicDraft> {
        let Some(list) = table.get("nics") else {
            if table.may_mean("nics") {
                return Vec::new();
            }
            let drafts = self.nic(guest, key.span, 0, table);
            return self.once_each(key, drafts);
        };
        for own in keys::NIC.iter().filter_map(|k| table.key(k)) {
            let problem = Problem::UnknownKey { key: own.text.clone(), of: "a guest with `nics`" };
            self.diags.push(Diagnostic::new(problem, own.span).help("say it inside `nics`"));
        }
        let items = reader::strict_list(list, "`nics`", self.diags);
        reader::refuse_empty(list, "`nics`", self.diags);
        let mut drafts: Vec<NicDraft> = Vec::new();
        for (item, number) in items.iter().zip(0..) {
            let Some(table) = reader::table(item, "a NIC", keys::NIC, self.diags) else { continue };
            drafts.extend(self.nic(guest, item.span, number, &table));
        }
        self.once_each(key, drafts)
    }

    /// A guest is in each network once.
    fn once_each(&mut self, key: &Key, all: Vec<NicDraft>) -> Vec<NicDraft> {
        let mut drafts: Vec<NicDraft> = Vec::new();
        for draft in all {
            match drafts.iter().find(|d| d.network == draft.network) {
                Some(first) => {
                    let network = self.model.networks[draft.network].name.clone();
                    let problem = Problem::TwoNics { guest: key.text.clone(), network };
                    self.diags.push(
                        Diagnostic::new(problem, draft.span).label(first.span, "the first one"),
                    );
                }
                None => drafts.push(draft),
            }
        }
        drafts
    }

    /// A NIC, or all that one interface carries.
    fn nic(&mut self, guest: usize, span: Span, number: u32, table: &Table<'_>) -> Vec<NicDraft> {
        let own = if table.get("trunk").is_some() && table.get("network").is_none() {
            self.refuse_own(table);
            None
        } else {
            self.plugged(guest, span, table)
        };
        self.trunk(guest, number, own, table)
    }

    /// What is plugged into one network.
    pub fn plugged(&mut self, guest: usize, span: Span, table: &Table<'_>) -> Option<NicDraft> {
        let network = table.need("network", span, self.diags);
        let network = network.and_then(|node| self.network_name(node));
        let (addrs, auto) = match table.get("ip") {
            Some(node) => self.addresses(node),
            None => (Vec::new(), true),
        };
        let mac = table.get("mac").and_then(|node| self.own_mac(node));
        Some(NicDraft { addrs, auto, mac, ..NicDraft::new(guest, network?, span) })
    }

    pub fn network_name(&mut self, node: &Node) -> Option<usize> {
        let name = reader::text(node, "`network`", self.diags)?;
        match self.names.find(name) {
            Some(Endpoint::Network(index)) => Some(index),
            _ => {
                let fits = |e| matches!(e, Endpoint::Network(_));
                self.names.unknown(name, node.span, "network", fits, self.diags);
                None
            }
        }
    }

    /// Addresses, `auto`, or a list of both.
    pub fn addresses(&mut self, node: &Node) -> (Vec<(IpAddr, Span)>, bool) {
        let (mut addrs, mut auto) = (Vec::new(), false);
        let items = reader::list(node, "`ip`", self.diags);
        reader::refuse_empty(node, "`ip`", self.diags);
        for item in items {
            match reader::text(item, "an address", self.diags) {
                Some("auto") => auto = true,
                Some(word @ ("dhcp" | "DHCP" | "dynamic" | "automatic")) => {
                    let problem = Problem::BadAddress { got: word.to_owned() };
                    self.diags.push(Diagnostic::new(problem, item.span).meant(Some("auto")));
                }
                Some(text) => {
                    let addr = reader::address(text, item.span, self.diags);
                    addrs.extend(addr.map(|a| (a, item.span)));
                }
                None => {}
            }
        }
        (addrs, auto)
    }

    pub fn own_mac(&mut self, node: &Node) -> Option<(Mac, Span)> {
        let text = reader::text(node, "`mac`", self.diags)?;
        if text == "auto" {
            return None;
        }
        reader::mac(text, node.span, self.diags).map(|mac| (mac, node.span))
    }

    pub fn labels(&mut self, guest: usize, node: &Node) -> Vec<String> {
        let mut labels: Vec<String> = Vec::new();
        for item in reader::list(node, "a guest's `labels`", self.diags) {
            let Some(text) = reader::text(item, "a label", self.diags) else { continue };
            if labels.iter().any(|l| l == text) {
                self.diags.report(Problem::DuplicateKey { key: text.to_owned() }, item.span);
                continue;
            }
            labels.push(text.to_owned());
            let key = Key { span: item.span, text: text.to_owned() };
            if check_name(&key, self.diags) {
                self.pending_labels.push((guest, key));
            }
        }
        labels
    }

    /// Labels become names after all guests have theirs: `declare` then reports the clash at
    /// the label, whichever stands first. Those of `labels:` come first; what they stand for is
    /// for people.
    pub fn declare_labels(&mut self, declared: &[&(Key, Node)]) {
        for (key, node) in declared {
            if !matches!(node.value, Value::Null) {
                reader::text(node, "a label's description", self.diags);
            }
            self.add_label(key.clone(), true);
        }
        for (guest, key) in std::mem::take(&mut self.pending_labels) {
            let index = match self.names.find(&key.text) {
                Some(Endpoint::Label(index)) => index,
                _ => self.add_label(key, false),
            };
            self.model.labels[index].guests.push(guest);
        }
    }

    fn add_label(&mut self, key: Key, declared: bool) -> usize {
        let index = self.model.labels.len();
        self.names.declare(&key, Endpoint::Label(index), self.diags);
        let Key { text: name, span } = key;
        self.model.labels.push(Label { name, span, declared, guests: Vec::new() });
        index
    }
}
