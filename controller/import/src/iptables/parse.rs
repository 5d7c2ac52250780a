//! Reads `iptables-save`.

use std::{collections::HashMap, sync::Arc};

use super::{
    options,
    rules::{Chain, Rule, Ruleset, Target},
};
use crate::{
    SourceText,
    finding::{Finding, Remark, did_you_mean},
    program::Place,
    scan::{Word, words},
};

/// Chains that the kernel has.
const BUILT_IN: [&str; 3] = ["INPUT", "FORWARD", "OUTPUT"];
/// Targets after which the packet is gone.
const DENYING: [&str; 2] = ["DROP", "TARPIT"];
/// Targets that only write something down.
const LOGGING: [&str; 4] = ["LOG", "NFLOG", "ULOG", "AUDIT"];
/// Targets that do something to the packet, and do not decide about it.
const CHANGING: &[&str] = &[
    "CHECKSUM",
    "CLASSIFY",
    "CONNMARK",
    "CONNSECMARK",
    "CT",
    "DSCP",
    "ECN",
    "HL",
    "HMARK",
    "IDLETIMER",
    "LED",
    "MARK",
    "NOTRACK",
    "RATEEST",
    "SECMARK",
    "SET",
    "SYNPROXY",
    "TCPMSS",
    "TCPOPTSTRIP",
    "TEE",
    "TOS",
    "TRACE",
    "TTL",
];

/// Reads one file.
pub fn parse(source: &SourceText, findings: &mut Vec<Finding>) -> Ruleset {
    let v4 = !source.text.lines().take(20).any(|line| line.contains("ip6tables-save"));
    let mut parser = Parser {
        file: source.name.as_str().into(),
        rules: Ruleset { v4, chains: Vec::new() },
        by_name: HashMap::new(),
        findings,
    };
    parser.declare(&source.text);
    parser.read(&source.text);
    parser.rules
}

/// A line with its place.
#[derive(Clone)]
pub struct Line {
    /// Where it stands.
    pub place: Place,
    /// As it is written.
    pub text: String,
}

impl Line {
    /// A finding about a word of it.
    pub fn at(&self, word: &Word, remark: Remark) -> Finding {
        let place = Place { column: word.column, ..self.place.clone() };
        Finding::new(remark, &place, &self.text)
    }
}

struct Parser<'f> {
    file: Arc<str>,
    rules: Ruleset,
    by_name: HashMap<String, usize>,
    findings: &'f mut Vec<Finding>,
}

impl Parser<'_> {
    fn line(&self, index: usize, text: &str) -> Line {
        let place = Place { file: self.file.clone(), line: index as u32 + 1, column: 1 };
        Line { place, text: text.trim().to_owned() }
    }

    /// Chains first: rules may name them in any order.
    fn declare(&mut self, text: &str) {
        let mut table = String::from("filter");
        for (i, raw) in text.lines().enumerate() {
            let text = raw.trim();
            if let Some(name) = text.strip_prefix('*') {
                table = name.trim().to_owned();
            }
            let Some(rest) = text.strip_prefix(':').filter(|_| table == "filter") else { continue };
            let line = self.line(i, raw);
            let mut parts = rest.split_whitespace();
            let (name, policy) = (parts.next().unwrap_or(""), parts.next().unwrap_or(""));
            let accepts = match policy {
                "ACCEPT" => Some(true),
                "DROP" => Some(false),
                "-" => None,
                _ => {
                    let got = policy.to_owned();
                    let expected = "a policy: ACCEPT, DROP or - (for a chain of the user's)";
                    let remark = Remark::BadWord { got, expected };
                    self.findings.push(Finding::new(remark, &line.place, &line.text));
                    continue;
                }
            };
            self.add_chain(name, accepts, line);
        }
    }

    fn add_chain(&mut self, name: &str, accepts: Option<bool>, line: Line) {
        if name.is_empty() || self.by_name.contains_key(name) {
            let what = format!("the chain `{name}`");
            self.findings.push(Finding::new(Remark::Twice { what }, &line.place, &line.text));
            return;
        }
        if accepts.is_none() && BUILT_IN.contains(&name) {
            let what = format!("the policy of `{name}`");
            self.findings.push(Finding::new(Remark::Missing { what }, &line.place, &line.text));
        }
        self.by_name.insert(name.to_owned(), self.rules.chains.len());
        let Line { place, text } = line;
        let chain = Chain { name: name.to_owned(), place, text, accepts, rules: Vec::new() };
        self.rules.chains.push(chain);
    }

    fn read(&mut self, text: &str) {
        let mut table: Option<(String, Line)> = None;
        let mut seen = false;
        for (i, raw) in text.lines().enumerate() {
            let line = self.line(i, raw);
            match (line.text.chars().next(), &table) {
                (None | Some('#'), _) => {}
                (Some('*'), None) => {
                    let name = line.text[1..].trim().to_owned();
                    seen |= name == "filter";
                    table = Some((name, line));
                }
                (Some(':'), Some(_)) => {}
                _ if line.text == "COMMIT" => table = None,
                (Some('-' | '['), Some((name, _))) if name == "filter" => self.rule(&line),
                (Some('-' | '['), Some((name, _))) => {
                    let name = name.clone();
                    self.foreign(&name, &line);
                }
                _ => {
                    let got = line.text.chars().take(40).collect();
                    let expected = "a line of iptables-save: *TABLE, :CHAIN, -A CHAIN or COMMIT";
                    let remark = Remark::BadWord { got, expected };
                    self.findings.push(Finding::new(remark, &line.place, &line.text));
                }
            }
        }
        if let Some((name, line)) = table {
            let what = format!("COMMIT at the end of the table `{name}`: the file is cut off, it");
            self.findings.push(Finding::new(Remark::Missing { what }, &line.place, &line.text));
        }
        if !seen {
            let place = Place { file: self.file.clone(), line: 1, column: 1 };
            let what = "the table `filter`".to_owned();
            let help = "save it by `iptables-save > FILE`";
            self.findings.push(Finding::new(Remark::Missing { what }, &place, "").help(help));
        }
        self.built_in_chains_are_there();
    }

    fn built_in_chains_are_there(&mut self) {
        for name in BUILT_IN {
            if self.by_name.contains_key(name) || self.findings.iter().any(is_error) {
                continue;
            }
            let place = Place { file: self.file.clone(), line: 1, column: 1 };
            let what = format!("the chain `{name}` of the table `filter`");
            self.findings.push(Finding::new(Remark::Missing { what }, &place, ""));
        }
    }

    /// A rule of another table: translation of addresses does not come along; what denies must
    /// not be lost.
    fn foreign(&mut self, table: &str, line: &Line) {
        let Ok(words) = words(&line.text) else {
            let what = "a line of another table".to_owned();
            let remark = Remark::Unreadable { what, why: "a quote does not end".into() };
            self.findings.push(Finding::new(remark, &line.place, &line.text));
            return;
        };
        let target = words.windows(2).find(|w| w[0].text == "-j").map(|w| w[1].text.as_str());
        let denies = target.is_some_and(|t| DENYING.contains(&t) || t == "REJECT");
        let remark = match denies {
            true => Remark::DeniesElsewhere { what: format!("a rule of the table `{table}`") },
            false => Remark::NotADecision { what: format!("a rule of the table `{table}`") },
        };
        self.findings.push(Finding::new(remark, &line.place, &line.text));
    }

    fn rule(&mut self, line: &Line) {
        let words = match words(&line.text) {
            Ok(words) => words,
            Err(open) => {
                let place = Place { column: open.0, ..line.place.clone() };
                let remark = Remark::Unreadable { what: "the rule".into(), why: open.to_string() };
                self.findings.push(Finding::new(remark, &place, &line.text));
                return;
            }
        };
        // With `iptables-save -c` its counters stand before a rule.
        let counted = words.first().is_some_and(|w| w.text.starts_with('['));
        let mut words = &words[usize::from(counted)..];
        match words.first().map(|w| w.text.as_str()) {
            Some("-A" | "--append") => words = &words[1..],
            Some("-N" | "--new-chain") if words.len() == 2 => {
                self.add_chain(&words[1].text.clone(), None, line.clone());
                return;
            }
            _ => {
                let got = words.first().map_or(String::new(), |w| w.text.clone());
                let expected = "-A CHAIN: files of iptables-save have no other commands";
                let remark = Remark::BadWord { got, expected };
                self.findings.push(Finding::new(remark, &line.place, &line.text));
                return;
            }
        }
        let Some((chain, rest)) = words.split_first() else {
            let what = "the name of a chain".to_owned();
            self.findings.push(Finding::new(Remark::Missing { what }, &line.place, &line.text));
            return;
        };
        let Some(chain) = self.chain(chain, line) else { return };
        match options::read(rest, line, self.rules.v4) {
            Ok(parts) => {
                if let Some(rule) = self.finish(parts, line) {
                    self.rules.chains[chain].rules.push(rule);
                }
            }
            Err(finding) => self.findings.push(*finding),
        }
    }

    fn chain(&mut self, word: &Word, line: &Line) -> Option<usize> {
        if let Some(&index) = self.by_name.get(&word.text) {
            return Some(index);
        }
        let remark = Remark::UnknownName { what: "chain or target", name: word.text.clone() };
        let targets = ["ACCEPT", "DROP", "REJECT", "LOG", "RETURN"].into_iter();
        let known = self.by_name.keys().map(String::as_str).chain(targets);
        let help = did_you_mean(&word.text, known);
        self.findings.push(line.at(word, remark).maybe_help(help));
        None
    }

    fn finish(&mut self, parts: options::Parts, line: &Line) -> Option<Rule> {
        let target = match parts.target {
            None => Target::Nothing,
            Some((word, true)) => Target::Goto(self.chain(&word, line)?),
            Some((word, false)) => match word.text.as_str() {
                "ACCEPT" => Target::Accept,
                "REJECT" => Target::Reject,
                "RETURN" => Target::Return,
                name if DENYING.contains(&name) => Target::Drop,
                name if LOGGING.contains(&name) => Target::Log,
                name if CHANGING.contains(&name) => {
                    let what = format!("the target {name}");
                    self.findings.push(line.at(&word, Remark::NotADecision { what }));
                    Target::Nothing
                }
                "QUEUE" | "NFQUEUE" => {
                    let what = format!("the target {}: a program would decide", word.text);
                    self.findings.push(line.at(&word, Remark::LeftOut { what }));
                    Target::Drop
                }
                _ => Target::Jump(self.chain(&word, line)?),
            },
        };
        let Line { place, text } = line.clone();
        Some(Rule { place, text, conditions: parts.conditions, target, comment: parts.comment })
    }
}

fn is_error(finding: &Finding) -> bool {
    finding.weight() == crate::finding::Weight::Error
}
