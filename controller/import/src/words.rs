//! How a set of connections is said: with the source's own names where they fit, with
//! exceptions where those are short, with prefixes and numbers else.

use portcullis_policy::model::{Ports, Protocol, Sources16};

use crate::{
    bits::Bits,
    grid::{Grid, OWN_TABLES},
    names::Names,
    program::Place,
    ranges::Ranges,
    site::{Guest, Realm, Site},
};

/// Longer lists get a name under `sets:` or `services:`.
pub const INLINE_MAX: usize = 6;

/// Dearer ways to say something may use names that were given for another reason.
const COST_MAX: usize = 8;

/// A set that the source defines.
#[derive(Clone, Debug)]
pub struct SetText {
    /// What is in it.
    pub members: Vec<String>,
    /// What is taken out again.
    pub except: Vec<String>,
    /// Where it comes from.
    pub place: Place,
    /// How it is written there.
    pub text: String,
}

/// A name or literal for some addresses.
#[derive(Clone, Debug)]
pub struct Word {
    /// As the policy says it.
    pub text: String,
    /// Its addresses.
    pub ranges: Ranges,
    /// Its definition, for a set.
    pub set: Option<SetText>,
    /// Is it a name that only rules use that mean it: a set, a label? Others would change with
    /// it one day.
    pub particular: bool,
}

/// A name for some services.
#[derive(Clone, Debug)]
pub struct ServiceWord {
    /// As the policy says it.
    pub text: String,
    /// What it covers.
    pub ports: Vec<Ports>,
    /// Has the policy to define it?
    pub own: bool,
}

/// All names and literals; what stands first is used first.
#[derive(Clone, Debug, Default)]
pub struct Words {
    /// For addresses.
    pub endpoints: Vec<Word>,
    /// For services.
    pub services: Vec<ServiceWord>,
}

impl Words {
    /// Adds a literal or a name that needs no definition, unless it is there.
    pub fn add(&mut self, text: impl Into<String>, ranges: Ranges) {
        let text = text.into();
        if !self.endpoints.iter().any(|w| w.text == text) {
            self.endpoints.push(Word { text, ranges, set: None, particular: false });
        }
    }

    /// Adds a label.
    pub fn add_label(&mut self, text: String, ranges: Ranges) {
        self.endpoints.push(Word { text, ranges, set: None, particular: true });
    }

    /// The same with bits, on a grid.
    pub fn on<'w>(&'w self, grid: &'w Grid) -> Speaker<'w> {
        let endpoints = self.endpoints.iter();
        let services = self.services.iter();
        Speaker {
            grid,
            endpoints: endpoints
                .map(|w| (w.text.as_str(), grid.classes(&w.ranges), w.particular))
                .collect(),
            services: services.map(|w| (w.text.as_str(), grid.service_classes(&w.ports))).collect(),
        }
    }
}

/// Some addresses, said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// All of these together.
    Union(Vec<String>),
    /// One without others.
    Except(String, Vec<String>),
}

impl Default for Said {
    fn default() -> Self {
        Self::Union(Vec::new())
    }
}

impl Said {
    fn cost(&self) -> usize {
        match self {
            Self::Union(list) => 2 * list.len(),
            Self::Except(base, list) => 1 + 2 * usize::from(base != "any") + 2 * list.len(),
        }
    }
}

/// Says sets on a grid.
pub struct Speaker<'w> {
    grid: &'w Grid,
    endpoints: Vec<(&'w str, Bits, bool)>,
    services: Vec<(&'w str, Bits)>,
}

impl Speaker<'_> {
    /// Says some addresses. `free` may be in it or not: no connection of the rule has them.
    /// `first` are names to prefer.
    pub fn endpoints(&self, need: &Bits, free: &Bits, first: &[String]) -> Said {
        let may = need.or(free);
        let preferred = |text: &str| first.iter().any(|f| f == text);
        let mut all: Vec<(&str, &Bits)> = self.endpoints.iter().map(|(t, b, _)| (*t, b)).collect();
        all.sort_by_key(|(text, _)| !preferred(text));
        let particular = |text: &str| self.endpoints.iter().any(|w| w.0 == text && w.2);
        let fitting = |(text, _): &&(&str, &Bits)| preferred(text) || !particular(text);
        let general: Vec<(&str, &Bits)> = all.iter().filter(fitting).copied().collect();
        let said = self.say(&general, need, &may);
        if said.cost() <= COST_MAX {
            return said;
        }
        [said, self.say(&all, need, &may)].into_iter().min_by_key(Said::cost).unwrap_or_default()
    }

    fn say(&self, words: &[(&str, &Bits)], need: &Bits, may: &Bits) -> Said {
        let whole = words.iter().find(|(_, bits)| need.is_within(bits) && bits.is_within(may));
        if let Some((text, _)) = whole {
            return Said::Union(vec![(*text).to_owned()]);
        }
        let union = cover(words, need, may).map(Said::Union);
        let except =
            words.iter().filter(|(_, bits)| need.is_within(bits)).filter_map(|(text, bits)| {
                let out = bits.minus(may);
                let terms = cover(words, &out, &self.grid.any().minus(need))?;
                Some(Said::Except((*text).to_owned(), terms))
            });
        let all = union.into_iter().chain(except).chain([Said::Union(self.literal(need))]);
        all.min_by_key(Said::cost).unwrap_or_default()
    }

    fn literal(&self, need: &Bits) -> Vec<String> {
        self.grid.ranges(need).prefixes().iter().map(show_net).collect()
    }

    /// Says some services; `free` as in [`Self::endpoints`].
    pub fn services(&self, need: &Bits, free: &Bits, first: &[String]) -> Vec<String> {
        let may = need.or(free);
        if self.grid.any_service().is_within(&may) {
            return vec!["any".into()];
        }
        let words: Vec<(&str, &Bits)> = self
            .services
            .iter()
            .filter(|(text, _)| first.iter().any(|f| f == text))
            .map(|(text, bits)| (*text, bits))
            .collect();
        match cover(&words, need, &may) {
            Some(list) => list,
            None => literals(&self.grid.ports(need)),
        }
    }
}

/// Words within `may` that together cover `need`: always the one that covers most of what is
/// left.
fn cover(words: &[(&str, &Bits)], need: &Bits, may: &Bits) -> Option<Vec<String>> {
    let fitting: Vec<&(&str, &Bits)> =
        words.iter().filter(|(_, bits)| bits.is_within(may) && bits.meets(need)).collect();
    let mut left = need.clone();
    let mut used: Vec<usize> = Vec::new();
    while !left.is_empty() {
        let gain = |i: &usize| (fitting[*i].1.and(&left).len(), usize::MAX - i);
        let best = (0..fitting.len()).max_by_key(gain)?;
        if !fitting[best].1.meets(&left) {
            return None;
        }
        left = left.minus(fitting[best].1);
        used.push(best);
    }
    used.sort_unstable();
    Some(used.into_iter().map(|i| fitting[i].0.to_owned()).collect())
}

/// A prefix; an address where it is one.
pub fn show_net(net: &ipnet::IpNet) -> String {
    match net.prefix_len() == net.max_prefix_len() {
        true => net.addr().to_string(),
        false => net.to_string(),
    }
}

/// Disjoint rectangles as few literals.
pub fn literals(ports: &[Ports]) -> Vec<String> {
    // Which way to begin makes a difference; the one with fewer source ports reads better.
    let (mut rows, mut columns) = (ports.to_vec(), ports.to_vec());
    along_numbers(&mut rows);
    along_sources(&mut rows);
    along_sources(&mut columns);
    along_numbers(&mut columns);
    let cost = |list: &Vec<Ports>| {
        (list.len(), list.iter().filter(|p| p.source != Sources16::ALL).count())
    };
    let best = [rows, columns].into_iter().min_by_key(cost).unwrap_or_default();
    best.iter().flat_map(literal).collect()
}

fn along_numbers(list: &mut Vec<Ports>) {
    list.sort_by_key(|p| (p.protocol, p.source, p.first));
    list.dedup_by(|next, open| {
        let joins = (next.protocol, next.source) == (open.protocol, open.source)
            && open.last.checked_add(1) == Some(next.first);
        if joins {
            open.last = next.last;
        }
        joins
    });
}

fn along_sources(list: &mut Vec<Ports>) {
    list.sort_by_key(|p| (p.protocol, p.first, p.last, p.source));
    list.dedup_by(|next, open| {
        let joins = (next.protocol, next.first, next.last)
            == (open.protocol, open.first, open.last)
            && open.source.last.checked_add(1) == Some(next.source.first);
        if joins {
            open.source.last = next.source.last;
        }
        joins
    });
}

/// One rectangle; ICMP codes and bare protocols have no ranges in the language.
fn literal(p: &Ports) -> Vec<String> {
    let whole = (p.first, p.last, p.source) == (0, u16::MAX, Sources16::ALL);
    match p.protocol {
        _ if whole && p.protocol != Protocol::Proto => vec![p.to_string()],
        Protocol::Icmp | Protocol::Icmpv6 => icmp(p),
        Protocol::Proto => {
            let bare = (p.first..=p.last.min(255)).filter(|n| !OWN_TABLES.contains(n));
            bare.map(|n| format!("proto/{n}")).collect()
        }
        _ => vec![p.to_string()],
    }
}

fn icmp(p: &Ports) -> Vec<String> {
    let mut list = Vec::new();
    let mut next = Some(p.first);
    while let Some(n) = next.filter(|n| *n <= p.last) {
        let whole_type = n & 0xff == 0 && n | 0xff <= p.last;
        let last = if whole_type { n | 0xff } else { n };
        list.push(Ports::range(p.protocol, n, last).to_string());
        next = last.checked_add(1);
    }
    list
}

impl Realm {
    /// Names and addresses of a site, and the names that are taken by it.
    pub fn words(&self, site: &Site) -> (Words, Names) {
        let (mut words, mut names) = (Words::default(), Names::default());
        words.add("any", Ranges::all());
        words.add("host", self.host.clone());
        words.add("world", self.world.clone());
        for label in site.labels() {
            let wears = |g: &&(usize, &Guest)| g.1.labels.contains(&label);
            let guests: Vec<_> = site.guests.iter().enumerate().collect();
            let wearers = guests.iter().filter(wears).map(|(i, _)| self.guest(*i)).collect();
            words.add_label(names.take(&label, "label"), wearers);
        }
        for (network, members) in site.networks.iter().zip(&self.networks) {
            words.add(names.take(&network.name, "network"), members.clone());
        }
        for (i, guest) in site.guests.iter().enumerate() {
            words.add(names.take(&guest.name, "guest"), self.guest(i));
        }
        for subnet in site.networks.iter().flat_map(|network| &network.subnets) {
            words.add(show_net(subnet), (*subnet).into());
        }
        words.add("0.0.0.0/0", Ranges::v4());
        words.add("::/0", Ranges::v6());
        (words, names)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rectangles_become_few_literals() {
        let piece = |first, last, a, b| Ports {
            source: Sources16 { first: a, last: b },
            ..Ports::range(Protocol::Tcp, first, last)
        };
        let cut = [
            piece(0, 21, 0, 1023),
            piece(0, 21, 1024, u16::MAX),
            piece(23, u16::MAX, 0, 1023),
            piece(23, u16::MAX, 1024, u16::MAX),
            piece(22, 22, 0, 1023),
        ];
        assert_eq!(literals(&cut), ["tcp/22 from 0-1023", "tcp/0-21", "tcp/23-65535"]);
        assert_eq!(literals(&[Ports::all(Protocol::Icmp)]), ["icmp"]);
        assert_eq!(
            literals(&[Ports::range(Protocol::Icmp, 3 << 8, (4 << 8) + 1)]),
            ["icmp/3", "icmp/4/0", "icmp/4/1"]
        );
        assert_eq!(literals(&[Ports::range(Protocol::Proto, 46, 47)]), ["proto/46", "proto/47"]);
    }
}
