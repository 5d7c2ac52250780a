//! What differs besides connections: what is declared, and what rules do besides deciding.

use std::{collections::BTreeMap, fmt::Display};

use ipnet::IpNet;
use serde::Serialize;

use super::{
    blame::{Side, says},
    group::list,
};
use crate::{
    Compiled, Position, Span,
    model::{DeniedSet, Guest, Network, Rule},
};

/// What a change is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Subject {
    /// A network.
    Network,
    /// A guest.
    Guest,
    /// The hypervisor.
    Host,
    /// A denied set.
    Denied,
    /// A rule: that it observes, when it ends, how it is logged.
    Rule,
    /// A `never` or an `always`.
    Invariant,
}

impl Subject {
    /// Its word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Network => "network",
            Self::Guest => "guest",
            Self::Host => "host",
            Self::Denied => "denied set",
            Self::Rule => "rule",
            Self::Invariant => "invariant",
        }
    }
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ChangeKind {
    /// It is new.
    Added,
    /// It is gone.
    Removed,
    /// It is another now.
    Changed,
}

/// Something that differs besides connections.
#[derive(Clone, Debug, Serialize)]
pub struct Change {
    /// What kind of thing.
    pub subject: Subject,
    /// Its name.
    pub name: String,
    /// Added, removed or changed.
    pub change: ChangeKind,
    /// What of it: `VLAN 10 -> 20`.
    pub details: Vec<String>,
    /// In which policy it stands at the place below.
    pub side: Side,
    /// Where.
    #[serde(flatten)]
    pub position: Position,
}

/// Everything of that kind.
pub fn changes(old: &Compiled, new: &Compiled) -> Vec<Change> {
    let mut changes = Changes { old, new, found: Vec::new() };
    changes.networks();
    changes.guests();
    changes.host();
    changes.denied();
    changes.rules();
    changes.invariants();
    changes.found
}

struct Changes<'a> {
    old: &'a Compiled,
    new: &'a Compiled,
    found: Vec<Change>,
}

/// Things with names, and where they stand.
type Named<'a, T> = BTreeMap<String, (&'a T, Span)>;

impl Changes<'_> {
    fn networks(&mut self) {
        let all = |c: &'_ Compiled| -> Vec<(String, Network)> {
            c.model.networks.iter().map(|n| (n.name.clone(), n.clone())).collect()
        };
        let (old, new) = (all(self.old), all(self.new));
        self.compare(Subject::Network, &named(&old, |n| n.span), &named(&new, |n| n.span), network);
    }

    fn guests(&mut self) {
        let all = |c: &'_ Compiled| -> Vec<(String, GuestView)> {
            c.model.guests.iter().map(|g| (g.name.clone(), GuestView::new(c, g))).collect()
        };
        let (old, new) = (all(self.old), all(self.new));
        self.compare(Subject::Guest, &named(&old, |g| g.span), &named(&new, |g| g.span), guest);
    }

    fn host(&mut self) {
        let addresses = |c: &Compiled| {
            let mut all: Vec<_> = c.model.host.iter().map(|h| h.addr).collect();
            all.sort_unstable();
            all
        };
        let details =
            vec![arrow("addresses", list(&addresses(self.old)), list(&addresses(self.new)))];
        let span = self.new.model.host.first().map(|h| (Side::New, h.span));
        let span = span.or_else(|| self.old.model.host.first().map(|h| (Side::Old, h.span)));
        if let (Some((side, span)), Some(details)) = (span, some(details)) {
            self.push(Subject::Host, "host", ChangeKind::Changed, details, (side, span));
        }
    }

    fn denied(&mut self) {
        let all = |c: &Compiled| -> Vec<(String, DeniedView)> {
            c.model.denied.iter().map(|s| (s.name.clone(), DeniedView::new(s))).collect()
        };
        let (old, new) = (all(self.old), all(self.new));
        self.compare(Subject::Denied, &named(&old, |s| s.span), &named(&new, |s| s.span), denied);
    }

    fn rules(&mut self) {
        let all = |c: &Compiled| -> Vec<(String, Rule)> {
            c.model.rules.iter().map(|r| (r.name.clone(), r.clone())).collect()
        };
        let (old, new) = (all(self.old), all(self.new));
        let (old, new) = (named(&old, |r| r.span), named(&new, |r| r.span));
        // That a rule that decides comes or goes is seen in its connections.
        let observers = |rules: &Named<'_, Rule>, others: &Named<'_, Rule>| {
            let observes = |&(name, rule): &(&String, &(&Rule, Span))| {
                rule.0.observe && !others.contains_key(name)
            };
            let found = rules.iter().filter(observes).map(|(n, r)| (n.clone(), r.1));
            found.collect::<Vec<_>>()
        };
        let what = || vec!["it only observes".to_owned()];
        for (name, span) in observers(&new, &old) {
            self.push(Subject::Rule, &name, ChangeKind::Added, what(), (Side::New, span));
        }
        for (name, span) in observers(&old, &new) {
            self.push(Subject::Rule, &name, ChangeKind::Removed, what(), (Side::Old, span));
        }
        for (name, (was, _)) in &old {
            if let Some((is, span)) = new.get(name)
                && let Some(details) = some(self.rule(was, is))
            {
                self.push(Subject::Rule, name, ChangeKind::Changed, details, (Side::New, *span));
            }
        }
    }

    fn rule(&self, was: &Rule, is: &Rule) -> Vec<Option<String>> {
        let mode = |r: &Rule| if r.observe { "observes" } else { "decides" };
        let until =
            |r: &Rule| r.until.as_ref().map_or("never".into(), |u| crate::until::show(u.at_unix_s));
        let log = |r: &Rule| r.log.map_or("no".into(), |l| format!("{}/s", l.events_per_s));
        let still_observes = was.observe && is.observe && says(self.old, was) != says(self.new, is);
        vec![
            arrow("it", mode(was), mode(is)),
            arrow("ends", until(was), until(is)),
            arrow("log", log(was), log(is)),
            still_observes.then(|| "what it observes".to_owned()),
        ]
    }

    fn invariants(&mut self) {
        let all = |c: &Compiled| -> Vec<(String, (Span, String))> {
            let invariants = c.model.invariants.iter();
            invariants.map(|i| (i.name.clone(), (i.span, one_line(c, i.span)))).collect()
        };
        let (old, new) = (all(self.old), all(self.new));
        let text = |was: &(Span, String), is: &(Span, String)| vec![arrow("", &was.1, &is.1)];
        self.compare(Subject::Invariant, &named(&old, |i| i.0), &named(&new, |i| i.0), text);
    }

    fn compare<T>(
        &mut self,
        subject: Subject,
        old: &Named<'_, T>,
        new: &Named<'_, T>,
        differs: impl Fn(&T, &T) -> Vec<Option<String>>,
    ) {
        for (name, &(is, span)) in new {
            let place = (Side::New, span);
            match old.get(name) {
                None => self.push(subject, name, ChangeKind::Added, Vec::new(), place),
                Some((was, _)) => {
                    if let Some(details) = some(differs(was, is)) {
                        self.push(subject, name, ChangeKind::Changed, details, place);
                    }
                }
            }
        }
        for (name, &(_, span)) in old.iter().filter(|(name, _)| !new.contains_key(*name)) {
            self.push(subject, name, ChangeKind::Removed, Vec::new(), (Side::Old, span));
        }
    }

    fn push(
        &mut self,
        subject: Subject,
        name: &str,
        change: ChangeKind,
        details: Vec<String>,
        (side, span): (Side, Span),
    ) {
        let compiled = match side {
            Side::Old => self.old,
            Side::New => self.new,
        };
        let position = compiled.model.sources.position(span);
        self.found.push(Change { subject, name: name.to_owned(), change, details, side, position });
    }
}

fn named<T>(all: &[(String, T)], span: impl Fn(&T) -> Span) -> Named<'_, T> {
    all.iter().map(|(name, t)| (name.clone(), (t, span(t)))).collect()
}

fn some(details: Vec<Option<String>>) -> Option<Vec<String>> {
    let details: Vec<String> = details.into_iter().flatten().collect();
    (!details.is_empty()).then_some(details)
}

/// `what old -> new`, if they differ.
fn arrow(what: &str, old: impl Display, new: impl Display) -> Option<String> {
    let or_none = |text: String| if text.is_empty() { "none".to_owned() } else { text };
    let (old, new) = (or_none(old.to_string()), or_none(new.to_string()));
    let text = format!("{what} {old} -> {new}");
    (old != new).then(|| text.trim_start().to_owned())
}

fn network(was: &Network, is: &Network) -> Vec<Option<String>> {
    let gateway = |n: &Network| list(&n.gateway.iter().map(|g| g.0).collect::<Vec<_>>());
    let ethertypes =
        |n: &Network| list(&n.ethertypes.iter().map(|e| format!("{e:#06x}")).collect::<Vec<_>>());
    let domain = |n: &Network| n.offer.domain.clone().unwrap_or_else(|| "none".to_owned());
    vec![
        arrow("VLAN", was.vlan, is.vlan),
        arrow("subnets", list(&was.subnets), list(&is.subnets)),
        arrow("gateway", gateway(was), gateway(is)),
        arrow("gateway MAC", was.gateway_mac, is.gateway_mac),
        arrow("kind", was.kind.name(), is.kind.name()),
        arrow("MTU", was.mtu, is.mtu),
        arrow("DHCP", was.offer.dhcp, is.offer.dhcp),
        arrow("DNS", list(&was.offer.dns), list(&is.offer.dns)),
        arrow("domain", domain(was), domain(is)),
        arrow("lease in seconds", was.offer.lease_s, is.offer.lease_s),
        arrow("EtherTypes", ethertypes(was), ethertypes(is)),
    ]
}

/// A denied set with its prefixes in order.
struct DeniedView {
    span: Span,
    prefixes: Vec<IpNet>,
}

impl DeniedView {
    fn new(set: &DeniedSet) -> Self {
        let mut prefixes: Vec<IpNet> = set.prefixes().map(|p| p.net).collect();
        prefixes.sort_unstable();
        prefixes.dedup();
        Self { span: set.span, prefixes }
    }

    /// What this one names and the other one does not: the first of it, and how much.
    fn more_than(&self, other: &Self, what: &str) -> Option<String> {
        let missing = |net: &&IpNet| other.prefixes.binary_search(net).is_err();
        let mut more = self.prefixes.iter().filter(missing);
        let first = more.next()?;
        Some(match more.count() {
            0 => format!("{what} {first}"),
            count => format!("{what} {first} and {count} more"),
        })
    }
}

fn denied(was: &DeniedView, is: &DeniedView) -> Vec<Option<String>> {
    vec![is.more_than(was, "now denied:"), was.more_than(is, "no longer denied:")]
}

/// A guest with its networks' names.
struct GuestView {
    span: Span,
    labels: String,
    forwards: bool,
    /// Who shares it.
    by: String,
    /// MAC, addresses and interface by network.
    nics: BTreeMap<String, (String, String, &'static str)>,
}

impl GuestView {
    fn new(compiled: &Compiled, guest: &Guest) -> Self {
        let mut labels = guest.labels.clone();
        labels.sort_unstable();
        let nic = |n: &crate::model::Nic| {
            let network = compiled.model.networks[n.network].name.clone();
            (network, (n.mac.to_string(), list(&n.addrs), interface(n)))
        };
        let nics = guest.nics.iter().map(nic).collect();
        let by = guest.sharing.iter().flat_map(|sharing| &sharing.by);
        let mut by: Vec<&str> = by.map(|&g| compiled.model.guests[g].name.as_str()).collect();
        by.sort_unstable();
        let (labels, by) = (labels.join(", "), by.join(", "));
        Self { span: guest.span, labels, forwards: guest.forwards, by, nics }
    }

    fn networks(&self) -> String {
        self.nics.keys().cloned().collect::<Vec<_>>().join(", ")
    }
}

fn guest(was: &GuestView, is: &GuestView) -> Vec<Option<String>> {
    let mut details = vec![
        arrow("networks", was.networks(), is.networks()),
        arrow("labels", &was.labels, &is.labels),
        arrow("forwards", was.forwards, is.forwards),
        arrow("shared by", &was.by, &is.by),
    ];
    for (network, new) in &is.nics {
        // Who moved to another network has other addresses there: that is one change.
        let old = was.nics.get(network).or(match was.nics.len() {
            1 => was.nics.values().next(),
            _ => None,
        });
        if let Some(old) = old {
            details.push(arrow(&format!("addresses in {network}"), &old.1, &new.1));
            details.push(arrow(&format!("MAC in {network}"), &old.0, &new.0));
            details.push(arrow(&format!("interface in {network}"), old.2, new.2));
        }
    }
    details
}

/// By what a NIC is reached.
const fn interface(nic: &crate::model::Nic) -> &'static str {
    match nic.trunk {
        None => "its own",
        Some(trunk) if trunk.tagged => "a trunk, tagged",
        Some(_) => "a trunk, untagged",
    }
}

/// The text of a span, with spaces for line breaks.
fn one_line(compiled: &Compiled, span: Span) -> String {
    let text = compiled.model.sources.file(span).text();
    let text = text.get(span.start as usize..span.end as usize).unwrap_or_default();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
