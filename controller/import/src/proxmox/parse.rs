//! Reads a `.fw` file.

use std::sync::Arc;

use super::{
    config::{Alias, Config, Entry, EntryKind, Group, IpSet, Name, Owner, Scope, Setting},
    rule,
};
use crate::{
    SourceText,
    finding::{Finding, Remark, did_you_mean},
    program::Place,
};

/// Options that mean something to a reader of rules.
pub const OPTIONS: &[&str] = &[
    "enable",
    "policy_in",
    "policy_out",
    "policy_forward",
    "dhcp",
    "ndp",
    "radv",
    "macfilter",
    "ipfilter",
    "ebtables",
    "log_level_in",
    "log_level_out",
    "log_level_forward",
    "log_ratelimit",
    "log_nf_conntrack",
    "nosmurfs",
    "smurf_log_level",
    "tcpflags",
    "tcp_flags_log_level",
    "nf_conntrack_max",
    "nf_conntrack_tcp_timeout_established",
    "nf_conntrack_tcp_timeout_syn_recv",
    "nf_conntrack_allow_invalid",
    "nf_conntrack_helpers",
    "protection_synflood",
    "protection_synflood_rate",
    "protection_synflood_burst",
    "nftables",
];
/// Options that are 0 or 1.
const SWITCHES: &[&str] = &["enable", "dhcp", "ndp", "radv", "macfilter", "ipfilter", "ebtables"];

/// The section that is being read.
enum Section {
    Start,
    Options,
    Aliases,
    IpSet(usize),
    Rules,
    Group(usize),
    Unknown,
}

/// Reads one file.
pub fn parse(source: &SourceText, owner: Owner, findings: &mut Vec<Finding>) -> Config {
    let file: Arc<str> = source.name.as_str().into();
    let place = Place { file: file.clone(), line: 1, column: 1 };
    let config = Config {
        owner,
        place,
        options: Vec::new(),
        aliases: Vec::new(),
        ipsets: Vec::new(),
        rules: Vec::new(),
        groups: Vec::new(),
    };
    let mut parser = Parser { config, section: Section::Start, findings };
    for (i, raw) in source.text.lines().enumerate() {
        let indent = raw.chars().take_while(|c| c.is_whitespace()).count() as u32;
        let place = Place { file: file.clone(), line: i as u32 + 1, column: indent + 1 };
        let line = RawLine { place, text: raw.trim() };
        if !line.text.is_empty() && !line.text.starts_with('#') {
            parser.line(&line);
        }
    }
    parser.config
}

/// A line with its place; the text begins at the place's column.
pub struct RawLine<'l> {
    /// Where it begins.
    pub place: Place,
    /// Without the blanks around it.
    pub text: &'l str,
}

impl RawLine<'_> {
    /// A finding about it.
    pub fn finding(&self, remark: Remark) -> Finding {
        Finding::new(remark, &self.place, self.text)
    }

    /// A finding about a character of it, from 0.
    pub fn at(&self, offset: usize, remark: Remark) -> Finding {
        let place = Place { column: self.place.column + offset as u32, ..self.place.clone() };
        Finding::new(remark, &place, self.text)
    }
}

struct Parser<'f> {
    config: Config,
    section: Section,
    findings: &'f mut Vec<Finding>,
}

impl Parser<'_> {
    fn line(&mut self, line: &RawLine<'_>) {
        if line.text.starts_with('[') {
            self.section = self.header(line);
            return;
        }
        match self.section {
            Section::Options => self.option(line),
            Section::Aliases => self.alias(line),
            Section::IpSet(index) => self.entry(index, line),
            Section::Rules | Section::Group(_) => match rule::parse(line) {
                Ok(rule) => match self.section {
                    Section::Group(index) => self.config.groups[index].rules.push(rule),
                    _ => self.config.rules.push(rule),
                },
                Err(finding) => self.findings.push(*finding),
            },
            Section::Start => {
                let got = line.text.chars().take(40).collect();
                let expected = "a section, as in [RULES]";
                self.findings.push(line.finding(Remark::BadWord { got, expected }));
            }
            // Its header was an error already.
            Section::Unknown => {}
        }
    }

    fn header(&mut self, line: &RawLine<'_>) -> Section {
        let (inside, closed) = match line.text[1..].split_once(']') {
            Some((inside, _)) => (inside, true),
            None => (&line.text[1..], false),
        };
        let mut words = inside.split_whitespace();
        let kind = words.next().unwrap_or("").to_ascii_lowercase();
        let name = words.next();
        match (kind.as_str(), name, closed) {
            ("options", None, true) => Section::Options,
            ("aliases", None, true) => Section::Aliases,
            ("rules", None, true) => Section::Rules,
            ("ipset" | "netgroup", Some(name), true) => self.ipset(name, line),
            ("group", Some(name), true) if self.config.owner == Owner::Cluster => {
                self.group(name, line)
            }
            _ => {
                let expected = "a section: [OPTIONS], [ALIASES], [IPSET name], [RULES], or, in \
                                cluster.fw, [group name]";
                let known = ["OPTIONS", "ALIASES", "IPSET", "RULES", "group"].into_iter();
                let help = did_you_mean(&kind, known);
                let remark = Remark::BadWord { got: line.text.to_owned(), expected };
                self.findings.push(line.finding(remark).maybe_help(help));
                Section::Unknown
            }
        }
    }

    fn ipset(&mut self, name: &str, line: &RawLine<'_>) -> Section {
        let name = name.to_lowercase();
        if self.config.ipsets.iter().any(|set| set.name == name) {
            let what = format!("the set `{name}`");
            self.findings.push(line.finding(Remark::Twice { what }));
        }
        let (place, text) = (line.place.clone(), line.text.to_owned());
        self.config.ipsets.push(IpSet { place, text, name, entries: Vec::new() });
        Section::IpSet(self.config.ipsets.len() - 1)
    }

    fn group(&mut self, name: &str, line: &RawLine<'_>) -> Section {
        let name = name.to_lowercase();
        if self.config.groups.iter().any(|group| group.name == name) {
            let what = format!("the group `{name}`");
            self.findings.push(line.finding(Remark::Twice { what }));
        }
        self.config.groups.push(Group { name, rules: Vec::new() });
        Section::Group(self.config.groups.len() - 1)
    }

    fn option(&mut self, line: &RawLine<'_>) {
        let Some((key, value)) = line.text.split_once(':') else {
            let remark = Remark::BadWord { got: line.text.into(), expected: "KEY: VALUE" };
            self.findings.push(line.finding(remark));
            return;
        };
        let key = key.trim().to_ascii_lowercase();
        let value = value.split('#').next().unwrap_or("").trim().to_owned();
        if !OPTIONS.contains(&key.as_str()) {
            let what = format!("the option `{key}`");
            let help = did_you_mean(&key, OPTIONS.iter().copied());
            self.findings.push(line.finding(Remark::LeftOut { what }).maybe_help(help));
            return;
        }
        let is_policy = key.starts_with("policy_");
        let policies = ["ACCEPT", "DROP", "REJECT"];
        let fits = match key.as_str() {
            _ if is_policy => policies.iter().any(|p| value.eq_ignore_ascii_case(p)),
            key if SWITCHES.contains(&key) => matches!(value.as_str(), "0" | "1"),
            _ => true,
        };
        if !fits {
            let expected = if is_policy { "ACCEPT, DROP or REJECT" } else { "0 or 1" };
            self.findings.push(line.finding(Remark::BadWord { got: value, expected }));
            return;
        }
        let (place, text) = (line.place.clone(), line.text.to_owned());
        self.config.options.push(Setting { place, text, key, value });
    }

    fn alias(&mut self, line: &RawLine<'_>) {
        let said = line.text.split('#').next().unwrap_or("");
        let words: Vec<&str> = said.split_whitespace().collect();
        let [name, net] = words.as_slice() else {
            let expected = "NAME PREFIX, as in `office 192.0.2.0/24`";
            self.findings.push(line.finding(Remark::BadWord { got: said.trim().into(), expected }));
            return;
        };
        let Some(net) = rule::net(net) else {
            let remark = Remark::BadWord { got: (*net).into(), expected: "an address or prefix" };
            self.findings.push(line.finding(remark));
            return;
        };
        let name = name.to_lowercase();
        if self.config.aliases.iter().any(|alias| alias.name == name) {
            let what = format!("the alias `{name}`");
            self.findings.push(line.finding(Remark::Twice { what }));
        }
        let (place, text) = (line.place.clone(), line.text.to_owned());
        self.config.aliases.push(Alias { place, text, name, net });
    }

    fn entry(&mut self, index: usize, line: &RawLine<'_>) {
        let said = line.text.split('#').next().unwrap_or("").trim();
        let (nomatch, said) = match said.strip_prefix('!') {
            Some(rest) => (true, rest.trim_start()),
            None => (false, said),
        };
        let what = match rule::net(said) {
            Some(net) => EntryKind::Net(net),
            None => match name(said) {
                Some(name) => EntryKind::Alias(name),
                None => {
                    let expected = "an address, a prefix or an alias";
                    self.findings
                        .push(line.finding(Remark::BadWord { got: said.into(), expected }));
                    return;
                }
            },
        };
        let (place, text) = (line.place.clone(), line.text.to_owned());
        self.config.ipsets[index].entries.push(Entry { place, text, nomatch, what });
    }
}

/// `NAME`, `dc/NAME` or `guest/NAME`.
pub fn name(text: &str) -> Option<Name> {
    let (scope, name) = match text.split_once('/') {
        Some(("dc", name)) => (Some(Scope::Datacenter), name),
        Some(("guest", name)) => (Some(Scope::Guest), name),
        Some(_) => return None,
        None => (None, text),
    };
    let letters = name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
    let starts = name.bytes().next().is_some_and(|b| b.is_ascii_alphabetic());
    (letters && starts).then(|| Name { scope, name: name.to_lowercase() })
}
