//! Every example policy, broken in hundreds of ways: what breaks an invariant is refused, what
//! keeps them all is not, and the message names the rule that was changed.

mod examples;
mod judge;

use std::collections::BTreeSet;

use judge::Judge;
use portcullis_policy::{
    Compiled, Sources, Span, compile, compile_unproved,
    generate::Random,
    model::{Guest, Rule, Service, Term},
    violations,
};

/// Mutants of each policy, at least.
fn wanted() -> usize {
    if std::env::var_os("PORTCULLIS_TEST_LONG").is_some() { 2_000 } else { 200 }
}

/// A policy with something changed, and the rule that was, if it is still there.
struct Mutant {
    sources: Sources,
    rule: Option<String>,
}

/// Makes mutants of one policy.
struct Mutator {
    original: Compiled,
    names: Vec<String>,
    labels: Vec<String>,
    networks: Vec<String>,
    r: Random,
}

const SERVICES: &[&str] =
    &["any", "tcp", "ssh", "smb", "https", "dns", "ping", "tcp/1-1024", "rdp"];
const KINDS: &[&str] = &["kind: lan", "kind: dmz", "kind: isolated", "kind: external"];

impl Mutator {
    fn new(original: Compiled, seed: u64) -> Self {
        let model = &original.model;
        let labels: Vec<String> = model.labels.iter().map(|l| l.name.clone()).collect();
        let networks: Vec<String> = model.networks.iter().map(|n| n.name.clone()).collect();
        let guests = model.guests.iter().map(|g| g.name.clone());
        let words = ["any", "host", "world", "0.0.0.0/0"].map(str::to_owned);
        let names = guests.chain(labels.clone()).chain(networks.clone()).chain(words).collect();
        Self { names, labels, networks, r: Random::new(seed), original }
    }

    fn next(&mut self) -> Option<Mutant> {
        match self.r.below(17) {
            0 => self.on_rule(|m, rule| m.other_term(rule)),
            1 | 2 => self.on_rule(|m, rule| m.more_terms(rule)),
            3 => self.drop_rule(),
            4..=6 => self.add_allow(),
            7 => self.on_rule(|m, rule| m.other_service(rule)),
            8 => self.on_rule(|m, rule| m.more_services(rule)),
            9 => self.on_rule(|m, rule| m.flip(rule)),
            10 => self.on_rule(|m, rule| m.other_tier(rule)),
            11 => self.on_guest(|m, text| m.other_labels(text)),
            12 => self.on_guest(|m, text| m.other_network(text)),
            13 => self.on_guest(|m, text| m.one_more_nic(text)),
            14 => self.anywhere(", except: [", "]"),
            15 => self.other_network_key(),
            _ => self.on_guest(|_, text| Some(text.replace("forwards: false", "forwards: true"))),
        }
    }

    fn text(&self, span: Span) -> &str {
        &self.original.model.sources.file(span).text()[span.start as usize..span.end as usize]
    }

    fn with(&self, span: Span, new: &str) -> Option<Sources> {
        if self.text(span) == new {
            return None;
        }
        let files = self.original.model.sources.files().iter().enumerate();
        Some(Sources::new(files.map(|(i, f)| {
            let mut text = f.text().to_owned();
            if i == span.file as usize {
                text.replace_range(span.start as usize..span.end as usize, new);
            }
            (f.name().to_owned(), text)
        })))
    }

    /// A change of a rule's text: which bytes, and what stands there afterwards.
    fn on_rule(&mut self, change: impl Fn(&mut Self, &Rule) -> (Span, String)) -> Option<Mutant> {
        let rule = self.rule()?;
        let (span, new) = change(self, &rule);
        Some(Mutant { sources: self.with(span, &new)?, rule: Some(rule.name) })
    }

    fn rule(&mut self) -> Option<Rule> {
        let rules = &self.original.model.rules;
        (!rules.is_empty()).then(|| rules[self.r.below(rules.len())].clone())
    }

    fn term(&mut self, rule: &Rule) -> Term {
        let side = if self.r.once_in(2) { &rule.from } else { &rule.to };
        *self.r.pick(side)
    }

    fn name(&mut self) -> String {
        self.r.pick(&self.names).clone()
    }

    fn other_term(&mut self, rule: &Rule) -> (Span, String) {
        (self.term(rule).span, self.name())
    }

    fn more_terms(&mut self, rule: &Rule) -> (Span, String) {
        let span = self.term(rule).span;
        let more = self.name();
        (span, self.joined(span, &more))
    }

    fn other_service(&mut self, rule: &Rule) -> (Span, String) {
        let service: &Service = self.r.pick(&rule.services);
        (service.span, (*self.r.pick(SERVICES)).to_owned())
    }

    fn more_services(&mut self, rule: &Rule) -> (Span, String) {
        let span = self.r.pick(&rule.services).span;
        let more = *self.r.pick(SERVICES);
        (span, self.joined(span, more))
    }

    /// What stands there and one more: as elements of the list around it, or as a new list.
    fn joined(&self, span: Span, more: &str) -> String {
        let before = &self.original.model.sources.file(span).text()[..span.start as usize];
        let own = self.text(span);
        if before.trim_end().ends_with(['[', ',']) {
            format!("{own}, {more}")
        } else {
            format!("[{own}, {more}]")
        }
    }

    fn flip(&mut self, rule: &Rule) -> (Span, String) {
        let text = self.text(rule.span);
        let new = match text.contains("allow:") {
            true => text.replacen("allow:", "deny:", 1),
            false => text.replacen("deny:", "allow:", 1),
        };
        (rule.span, new)
    }

    fn other_tier(&mut self, rule: &Rule) -> (Span, String) {
        let text = self.text(rule.span);
        let new = match text.contains("tier: platform, ") {
            true => text.replacen("tier: platform, ", "", 1),
            false => text.replacen(", allow:", ", tier: platform, allow:", 1),
        };
        (rule.span, new)
    }

    /// The lines of a rule.
    fn lines(&self, rule: &Rule) -> Span {
        let text = self.original.model.sources.file(rule.span).text();
        let start = text[..rule.span.start as usize].rfind('\n').map_or(0, |i| i + 1);
        let end = rule.span.end as usize;
        let end = text[end..].find('\n').map_or(text.len(), |i| end + i + 1);
        Span { start: start as u32, end: end as u32, ..rule.span }
    }

    fn drop_rule(&mut self) -> Option<Mutant> {
        let rule = self.rule()?;
        Some(Mutant { sources: self.with(self.lines(&rule), "")?, rule: None })
    }

    fn add_allow(&mut self) -> Option<Mutant> {
        let lines = self.rule().map(|rule| self.lines(&rule))?;
        let tier = if self.r.once_in(3) { "tier: platform, " } else { "" };
        let (from, to, service) = (self.name(), self.name(), *self.r.pick(SERVICES));
        let new = format!(
            "  - {{ name: mutant, {tier}allow: {{ from: {from}, to: {to}, for: {service} }} }}\n{}",
            self.text(lines)
        );
        Some(Mutant { sources: self.with(lines, &new)?, rule: Some("mutant".into()) })
    }

    /// A change of what is written about a guest.
    fn on_guest(&mut self, change: impl Fn(&mut Self, &str) -> Option<String>) -> Option<Mutant> {
        let guests = &self.original.model.guests;
        let at = self.r.below(guests.len());
        let span = self.about(&guests[at]);
        let text = self.text(span).to_owned();
        let new = change(self, &text)?;
        Some(Mutant { sources: self.with(span, &new)?, rule: None })
    }

    /// From a guest's name to the next empty line or name of a guest.
    fn about(&self, guest: &Guest) -> Span {
        let text = self.original.model.sources.file(guest.span).text();
        let rest = &text[guest.span.start as usize..];
        let next = self.original.model.guests.iter().map(|g| g.span);
        let next = next.filter(|s| s.file == guest.span.file && s.start > guest.span.start);
        let next = next.map(|s| (s.start - guest.span.start) as usize).min();
        let end = rest.find("\n\n").unwrap_or(rest.len()).min(next.unwrap_or(rest.len()));
        Span { end: guest.span.start + end as u32, ..guest.span }
    }

    fn other_labels(&mut self, text: &str) -> Option<String> {
        let start = text.find("labels: [")? + 9;
        let end = start + text[start..].find(']')?;
        let labels = &self.labels;
        let new = (!labels.is_empty()).then(|| self.r.pick(labels).clone())?;
        Some(format!("{}{new}{}", &text[..start], &text[end..]))
    }

    fn other_network(&mut self, text: &str) -> Option<String> {
        let (start, end) = value(text, "network: ")?;
        let network = self.r.pick(&self.networks).clone();
        let moved = format!("{}{network}{}", &text[..start], &text[end..]);
        let Some((start, end)) = value(&moved, "ip: ") else { return Some(moved) };
        Some(format!("{}auto{}", &moved[..start], &moved[end..]))
    }

    fn one_more_nic(&mut self, text: &str) -> Option<String> {
        let network = self.r.pick(&self.networks).clone();
        if let Some(at) = text.find("nics: [") {
            return Some(format!(
                "{}{{ network: {network} }}, {}",
                &text[..at + 7],
                &text[at + 7..]
            ));
        }
        let (_, network_end) = value(text, "network: ")?;
        let end = value(text, "ip: ").map_or(network_end, |(_, end)| end);
        let start = text.find("network: ")?;
        let (own, rest) = (text.get(start..end)?, &text[end..]);
        Some(format!("{}nics: [{{ {own} }}, {{ network: {network} }}]{rest}", &text[..start]))
    }

    /// Without one of the places that begin and end so.
    fn anywhere(&mut self, begin: &str, end: &str) -> Option<Mutant> {
        let files = self.original.model.sources.files();
        let file = self.r.below(files.len());
        let text = files[file].text();
        let all: Vec<usize> = text.match_indices(begin).map(|(i, _)| i).collect();
        let start = *all.get(self.r.below(all.len().max(1)))?;
        let end = start + text[start..].find(end)? + end.len();
        let span = Span { file: file as u32, start: start as u32, end: end as u32 };
        Some(Mutant { sources: self.with(span, "")?, rule: None })
    }

    /// Another VLAN, kind or gateway.
    fn other_network_key(&mut self) -> Option<Mutant> {
        let networks = &self.original.model.networks;
        let name = networks[self.r.below(networks.len())].span;
        let text = self.original.model.sources.file(name).text();
        let line = text[name.start as usize..].find('\n')? as u32;
        let span = Span { end: name.start + line, ..name };
        let text = self.text(span).to_owned();
        let new = match self.r.below(3) {
            0 => text.replacen("vlan: ", "vlan: 3", 1),
            1 => text.replacen("gateway: true", "gateway: false", 1),
            _ => {
                let old = KINDS.iter().find(|k| text.contains(*k))?;
                text.replacen(old, self.r.pick::<&str>(KINDS), 1)
            }
        };
        Some(Mutant { sources: self.with(span, &new)?, rule: None })
    }
}

/// The place of the value behind a key in flow style.
fn value(text: &str, key: &str) -> Option<(usize, usize)> {
    let start = text.find(key)? + key.len();
    let rest = &text[start..];
    let end = match rest.starts_with('[') {
        true => rest.find(']')? + 1,
        false => rest.find([',', ' ', '\n']).unwrap_or(rest.len()),
    };
    Some((start, start + end))
}

#[derive(Default)]
struct Count {
    mutants: usize,
    broken: usize,
    changed_rule: usize,
    named: usize,
}

impl Count {
    fn judge(&mut self, mutant: &Mutant) {
        let shown = || -> String { mutant.sources.files().iter().map(|f| f.text()).collect() };
        let Ok(unproved) = compile_unproved(&mutant.sources) else { return };
        self.mutants += 1;
        let judged = Judge::new(&unproved.model).broken();
        let found = violations(&unproved);
        // The oracle knows none of the addresses that the host has besides.
        let known = |v: &&portcullis_policy::Violation| {
            v.hops.iter().all(|h| h.from.addr.is_some() && h.to.addr.is_some())
        };
        let proved: BTreeSet<String> =
            found.iter().filter(known).map(|v| v.invariant.clone()).collect();
        assert_eq!(judged, proved, "the judge, and the proof\n{}", shown());
        let refused = compile(&mutant.sources).err();
        let codes: BTreeSet<&str> = refused
            .iter()
            .flat_map(|d| d.items())
            .filter(|d| d.severity() == portcullis_policy::Severity::Error)
            .map(|d| d.code())
            .collect();
        let now = codes.iter().any(|c| *c != "PC0605");
        assert_eq!(now, !found.is_empty(), "{codes:?}\n{}", shown());
        let Some(message) = refused.filter(|_| now).map(|d| d.render(false)) else { return };
        self.broken += 1;
        if let Some(rule) = &mutant.rule {
            self.changed_rule += 1;
            self.named += usize::from(message.contains(&format!("`{rule}`")));
        }
    }
}

#[test]
fn mutants_that_break_an_invariant_are_refused_and_no_others() {
    let (mut changed_rule, mut named) = (0, 0);
    for (seed, name) in examples::names().into_iter().enumerate() {
        let original = compile(&examples::example(&name)).unwrap_or_else(|d| panic!("{d}"));
        let mut mutator = Mutator::new(original, seed as u64);
        let mut known = BTreeSet::new();
        let mut count = Count::default();
        for _ in 0..20 * wanted() {
            if count.mutants >= wanted() {
                break;
            }
            let Some(mutant) = mutator.next() else { continue };
            let text: Vec<String> =
                mutant.sources.files().iter().map(|f| f.text().to_owned()).collect();
            if known.insert(text) {
                count.judge(&mutant);
            }
        }
        let Count { mutants, broken, .. } = count;
        println!(
            "{name}: {mutants} mutants, {broken} refused, {}/{} named",
            count.named, count.changed_rule
        );
        assert!(mutants >= wanted(), "{name}: only {mutants} mutants");
        changed_rule += count.changed_rule;
        named += count.named;
    }
    println!("of {changed_rule} refused changes of a rule the message names it in {named}");
    assert!(named * 100 >= changed_rule * 95, "{named} of {changed_rule}");
}
