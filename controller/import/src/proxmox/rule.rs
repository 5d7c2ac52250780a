//! Reads a line of `[RULES]` or of a group.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{
    config::{Action, Address, Direction, Rule},
    macros::{self, MACROS},
    parse::{RawLine, name},
};
use crate::{
    finding::{Finding, Remark, did_you_mean},
    protocols,
    scan::Word,
};

const OPTIONS: &[&str] =
    &["p", "proto", "dport", "sport", "source", "dest", "i", "iface", "log", "icmp-type"];
const LEVELS: &[&str] =
    &["nolog", "emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"];

type Read<T> = Result<T, Box<Finding>>;

/// Reads one line.
pub fn parse(line: &RawLine<'_>) -> Read<Rule> {
    let said = line.text.split('#').next().unwrap_or("");
    let (enabled, said, offset) = match said.strip_prefix('|') {
        Some(rest) => (false, rest, 1),
        None => (true, said, 0),
    };
    let mut words = Vec::new();
    let mut start = None;
    for (i, c) in said.char_indices().chain([(said.len(), ' ')]) {
        match (start, c.is_whitespace()) {
            (None, false) => start = Some(i),
            (Some(from), true) => {
                words.push(Word { text: said[from..i].to_owned(), column: (from + offset) as u32 });
                start = None;
            }
            _ => {}
        }
    }
    let mut reader = Reader { words: words.iter(), line };
    let (direction, action, macro_name) = reader.action()?;
    let mut rule = Rule {
        place: line.place.clone(),
        text: line.text.to_owned(),
        enabled,
        direction,
        action,
        macro_name,
        iface: None,
        source: None,
        dest: None,
        protocol: None,
        dports: None,
        sports: None,
        icmp: None,
        log: false,
    };
    reader.options(&mut rule)?;
    Ok(rule)
}

struct Reader<'r> {
    words: std::slice::Iter<'r, Word>,
    line: &'r RawLine<'r>,
}

impl<'r> Reader<'r> {
    fn bad(&self, word: &Word, expected: &'static str) -> Box<Finding> {
        let remark = Remark::BadWord { got: word.text.clone(), expected };
        Box::new(self.line.at(word.column as usize, remark))
    }

    fn need(&mut self, what: &str) -> Read<&'r Word> {
        let missing = || Box::new(self.line.finding(Remark::Missing { what: what.to_owned() }));
        self.words.next().ok_or_else(missing)
    }

    fn action(&mut self) -> Read<(Option<Direction>, Action, Option<&'static str>)> {
        let word = self.need("IN, OUT or GROUP")?;
        let direction = match word.text.to_ascii_uppercase().as_str() {
            "IN" => Direction::In,
            "OUT" => Direction::Out,
            "FORWARD" => Direction::Forward,
            "GROUP" => {
                let name = self.need("the name of a group")?;
                return Ok((None, Action::Group(name.text.to_lowercase()), None));
            }
            _ => {
                let help = did_you_mean(&word.text, ["IN", "OUT", "FORWARD", "GROUP"].into_iter());
                let bad = self.bad(word, "a direction: IN, OUT, FORWARD or GROUP");
                return Err(Box::new(bad.maybe_help(help)));
            }
        };
        let word = self.need("an action")?;
        let (macro_name, action) = match word.text.split_once('(') {
            Some((name, rest)) => (Some(name), rest.strip_suffix(')').unwrap_or("")),
            None => (None, word.text.as_str()),
        };
        let (accept, reject) = match action.to_ascii_uppercase().as_str() {
            "ACCEPT" => (true, false),
            "DROP" => (false, false),
            "REJECT" => (false, true),
            _ => {
                let help = did_you_mean(action, ["ACCEPT", "DROP", "REJECT"].into_iter());
                let bad = self.bad(word, "an action: ACCEPT, DROP, REJECT or MACRO(ACTION)");
                return Err(Box::new(bad.maybe_help(help)));
            }
        };
        let macro_name = match macro_name {
            None => None,
            Some(name) => Some(macros::find(name).map(|(name, _)| name).ok_or_else(|| {
                let what = "macro";
                let remark = Remark::UnknownName { what, name: name.to_owned() };
                let help = did_you_mean(name, MACROS.iter().map(|m| m.0));
                Box::new(self.line.at(word.column as usize, remark).maybe_help(help))
            })?),
        };
        Ok((Some(direction), Action::Decide { accept, reject }, macro_name))
    }

    fn options(&mut self, rule: &mut Rule) -> Read<()> {
        let (mut ports, mut icmp): (Option<&Word>, Option<&Word>) = (None, None);
        let mut seen: Vec<&str> = Vec::new();
        while let Some(word) = self.words.next() {
            let key = word.text.strip_prefix('-').map(|k| k.strip_prefix('-').unwrap_or(k));
            let Some(key) = key.filter(|key| OPTIONS.contains(key)) else {
                let help = did_you_mean(word.text.trim_start_matches('-'), OPTIONS.iter().copied());
                let bad = self.bad(
                    word,
                    "an option: -p, -source, -dest, -dport, -sport, \
                                          -icmp-type, -iface or -log",
                );
                return Err(Box::new(bad.maybe_help(help)));
            };
            let value = self.need(&format!("what belongs behind `{}`", word.text))?;
            let one = match key {
                "p" => "proto",
                "i" => "iface",
                key => key,
            };
            if seen.contains(&one) {
                let what = format!("`-{one}`");
                return Err(Box::new(self.line.at(word.column as usize, Remark::Twice { what })));
            }
            seen.push(one);
            match one {
                "proto" => rule.protocol = Some(self.protocol(value)?),
                "dport" => ports = Some(value),
                "sport" => rule.sports = Some(self.ports(value)?),
                "source" => rule.source = Some(self.address(value)?),
                "dest" => rule.dest = Some(self.address(value)?),
                "iface" => rule.iface = Some(value.text.clone()),
                "icmp-type" => icmp = Some(value),
                _ => rule.log = self.level(value)?,
            }
        }
        // Once ICMP types stood where ports stand.
        if let Some(word) = icmp {
            rule.icmp = Some(self.icmp(word, rule.protocol)?);
        }
        match (ports, rule.protocol) {
            (Some(word), Some(1 | 58)) if icmp.is_none() => {
                rule.icmp = Some(self.icmp(word, rule.protocol)?)
            }
            (Some(word), _) => rule.dports = Some(self.ports(word)?),
            (None, _) => {}
        }
        self.fits(rule)
    }

    /// Ports need a protocol that has them, and a group takes nothing but an interface.
    fn fits(&self, rule: &Rule) -> Read<()> {
        let with_ports = rule.macro_name.is_some() || matches!(rule.protocol, Some(6 | 17 | 132));
        let ports = rule.dports.is_some() || rule.sports.is_some();
        let missing = |what: &str| {
            let remark = Remark::Missing { what: what.to_owned() };
            Err(Box::new(self.line.finding(remark)))
        };
        if ports && !with_ports {
            return missing("`-p tcp`, `-p udp` or `-p sctp` beside the ports");
        }
        if rule.icmp.is_some() && !matches!(rule.protocol, Some(1 | 58)) {
            return missing("`-p icmp` or `-p ipv6-icmp` beside the ICMP type");
        }
        let more = ports || rule.source.is_some() || rule.dest.is_some() || rule.protocol.is_some();
        if more && matches!(rule.action, Action::Group(_)) {
            let got = self.line.text.to_owned();
            let expected = "a group with at most an interface (-i)";
            return Err(Box::new(self.line.finding(Remark::BadWord { got, expected })));
        }
        Ok(())
    }

    fn protocol(&self, word: &Word) -> Read<u8> {
        protocols::protocol(&word.text).ok_or_else(|| {
            let help = did_you_mean(&word.text, protocols::protocol_names());
            Box::new(self.bad(word, "a protocol").maybe_help(help))
        })
    }

    fn ports(&self, word: &Word) -> Read<Vec<(u16, u16)>> {
        let range = |part: &str| match part.split_once(':') {
            Some((first, last)) => protocols::port(first).zip(protocols::port(last)),
            None => protocols::port(part).map(|port| (port, port)),
        };
        let ports: Option<Vec<(u16, u16)>> = word.text.split(',').map(range).collect();
        ports.filter(|list| list.iter().all(|(a, b)| a <= b)).ok_or_else(|| {
            let help = did_you_mean(&word.text, protocols::port_names());
            Box::new(self.bad(word, "a list of ports, as in 22,80:90").maybe_help(help))
        })
    }

    fn icmp(&self, word: &Word, protocol: Option<u8>) -> Read<(Option<u8>, Option<u8>)> {
        let v6 = protocol == Some(58);
        protocols::icmp(&word.text, v6).ok_or_else(|| {
            let help = did_you_mean(&word.text, protocols::icmp_names(v6));
            Box::new(self.bad(word, "an ICMP type").maybe_help(help))
        })
    }

    fn level(&self, word: &Word) -> Read<bool> {
        match LEVELS.contains(&word.text.as_str()) {
            true => Ok(word.text != "nolog"),
            false => {
                let help = did_you_mean(&word.text, LEVELS.iter().copied());
                Err(Box::new(self.bad(word, "a log level").maybe_help(help)))
            }
        }
    }

    fn address(&self, word: &Word) -> Read<Address> {
        let expected = "an address, a list of addresses, an alias or +IPSET";
        if let Some(set) = word.text.strip_prefix('+') {
            return name(set).map(Address::Set).ok_or_else(|| self.bad(word, expected));
        }
        let list: Option<Vec<_>> = word.text.split(',').map(span).collect();
        if let Some(list) = list {
            let v4 = list[0].0.is_ipv4();
            return match list.iter().all(|(a, _)| a.is_ipv4() == v4) {
                true => Ok(Address::List(list)),
                false => Err(self.bad(word, "a list of addresses of one family")),
            };
        }
        name(&word.text).map(Address::Alias).ok_or_else(|| self.bad(word, expected))
    }
}

/// A prefix, or an address.
pub fn net(text: &str) -> Option<IpNet> {
    let one = || text.parse::<IpAddr>().map(IpNet::from);
    text.parse::<IpNet>().or_else(|_| one()).ok().map(|net| net.trunc())
}

/// First and last address of a prefix, an address, or a range.
fn span(text: &str) -> Option<(IpAddr, IpAddr)> {
    if let Some(net) = net(text) {
        return Some((net.network(), net.broadcast()));
    }
    let (first, last) = text.split_once('-')?;
    let (first, last): (IpAddr, IpAddr) = (first.parse().ok()?, last.parse().ok()?);
    (first.is_ipv4() == last.is_ipv4() && first <= last).then_some((first, last))
}
