//! The options of one rule.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{
    parse::Line,
    rules::{Condition, Test},
};
use crate::{
    finding::{Finding, Remark, did_you_mean},
    protocols,
    scan::Word,
};

/// What a rule consists of.
#[derive(Default)]
pub struct Parts {
    /// What must hold.
    pub conditions: Vec<Condition>,
    /// The target's name, and whether it stands behind `-g`.
    pub target: Option<(Word, bool)>,
    /// Its comment.
    pub comment: Option<String>,
}

/// Options that stand alone.
const FLAGS: &[&str] = &[
    "-f",
    "--fragment",
    "--syn",
    "--log-tcp-sequence",
    "--log-tcp-options",
    "--log-ip-options",
    "--log-uid",
    "--log-macdecode",
];
/// Options that belong to a target that is read without them.
const OF_TARGETS: &[&str] = &[
    "--reject-with",
    "--log-prefix",
    "--log-level",
    "--nflog-group",
    "--nflog-prefix",
    "--nflog-threshold",
    "--nflog-range",
    "--nflog-size",
    "--log-tcp-sequence",
    "--log-tcp-options",
    "--log-ip-options",
    "--log-uid",
    "--log-macdecode",
];
/// Modules whose options are read here.
const KNOWN_MODULES: &[&str] = &[
    "tcp",
    "udp",
    "sctp",
    "udplite",
    "icmp",
    "icmp6",
    "ipv6-icmp",
    "icmpv6",
    "multiport",
    "iprange",
    "conntrack",
    "state",
    "comment",
    "addrtype",
    "standard",
];

/// Reads what stands behind `-A CHAIN`.
pub fn read(words: &[Word], line: &Line, v4: bool) -> Result<Parts, Box<Finding>> {
    let mut reader = Reader { words, at: 0, line, v4, parts: Parts::default(), module: None };
    while reader.at < words.len() {
        reader.option()?;
    }
    Ok(reader.parts)
}

struct Reader<'w> {
    words: &'w [Word],
    at: usize,
    line: &'w Line,
    v4: bool,
    parts: Parts,
    /// The module of `-m` that has no equal, while its options are read.
    module: Option<usize>,
}

type Read<T> = Result<T, Box<Finding>>;

impl<'w> Reader<'w> {
    fn next(&mut self) -> Option<&'w Word> {
        let word = self.words.get(self.at)?;
        self.at += 1;
        Some(word)
    }

    /// The value of an option.
    fn value(&mut self, option: &Word) -> Read<&'w Word> {
        let what = format!("what belongs behind `{}`", option.text);
        self.next().ok_or_else(|| Box::new(self.line.at(option, Remark::Missing { what })))
    }

    fn bad(&self, word: &Word, expected: &'static str) -> Box<Finding> {
        Box::new(self.line.at(word, Remark::BadWord { got: word.text.clone(), expected }))
    }

    fn option(&mut self) -> Read<()> {
        let Some(mut word) = self.next() else { return Ok(()) };
        let not = word.text == "!";
        if not {
            word = self.value(word)?;
        }
        match word.text.as_str() {
            "-j" | "--jump" | "-g" | "--goto" if !not => {
                let goto = word.text.contains('g');
                let target = self.value(word)?;
                if self.parts.target.is_some() {
                    return Err(Box::new(
                        self.line.at(word, Remark::Twice { what: "the target".into() }),
                    ));
                }
                self.parts.target = Some((target.clone(), goto));
                self.module = None;
            }
            "-m" | "--match" if !not => {
                let name = self.value(word)?;
                self.module = None;
                if !KNOWN_MODULES.contains(&name.text.as_str()) {
                    self.module = Some(self.parts.conditions.len());
                    self.push(false, Test::Unknown(format!("-m {}", name.text), None));
                }
            }
            "--comment" => self.parts.comment = Some(self.value(word)?.text.clone()),
            option if OF_TARGETS.contains(&option) => {
                if !FLAGS.contains(&option) {
                    self.value(word)?;
                }
            }
            _ => self.condition(word, not)?,
        }
        Ok(())
    }

    fn push(&mut self, not: bool, test: Test) {
        self.parts.conditions.push(Condition { not, test });
    }

    fn condition(&mut self, word: &'w Word, not: bool) -> Read<()> {
        if let Some(at) = self.module {
            return self.of_module(at, word, not);
        }
        let test = match word.text.as_str() {
            "-f" | "--fragment" => Test::Unknown("fragments".into(), None),
            "-s" | "--source" | "--src" => Test::Source(self.nets(word)?),
            "-d" | "--destination" | "--dst" => Test::Destination(self.nets(word)?),
            "-i" | "--in-interface" => Test::In(self.value(word)?.text.clone()),
            "-o" | "--out-interface" => Test::Out(self.value(word)?.text.clone()),
            "-p" | "--protocol" | "--proto" => return self.protocol(word, not),
            "--sport" | "--source-port" | "--sports" | "--source-ports" => {
                Test::SourcePorts(self.ports(word)?)
            }
            "--dport" | "--destination-port" | "--dports" | "--destination-ports" => {
                Test::DestinationPorts(self.ports(word)?)
            }
            "--ports" | "--port" => Test::EitherPorts(self.ports(word)?),
            "--icmp-type" | "--icmpv6-type" => self.icmp(word)?,
            "--src-range" => self.range(word, Test::SourceRange)?,
            "--dst-range" => self.range(word, Test::DestinationRange)?,
            "--ctstate" | "--state" => {
                let test = self.states(word, not)?;
                let not = not && matches!(test, Test::Unknown(..));
                self.push(not, test);
                return Ok(());
            }
            "--syn" => Test::Opening(true),
            "--tcp-flags" => self.flags(word)?,
            "--src-type" => self.address_type(word, Test::SourceIsLocal)?,
            "--dst-type" => self.address_type(word, Test::DestinationIsLocal)?,
            option if option.starts_with('-') => return self.unknown(word, not),
            _ => {
                let known = ["-s", "-d", "-i", "-o", "-p", "-m", "-j", "--dport", "--sport"];
                let finding = self.bad(word, "an option of iptables");
                let help = did_you_mean(&word.text, known.into_iter());
                return Err(Box::new(finding.maybe_help(help)));
            }
        };
        self.push(not, test);
        Ok(())
    }

    /// Words behind `-m MODULE` that are its own business.
    fn of_module(&mut self, at: usize, word: &'w Word, not: bool) -> Read<()> {
        let own = ["-s", "-d", "-i", "-o", "-p", "--source", "--destination", "--protocol"];
        if own.contains(&word.text.as_str()) {
            self.module = None;
            return self.condition(word, not);
        }
        let mut said = if not { format!(" ! {}", word.text) } else { format!(" {}", word.text) };
        while let Some(value) = self.words.get(self.at) {
            if value.text.starts_with('-') || value.text == "!" {
                break;
            }
            said += &format!(" {}", value.text);
            self.at += 1;
        }
        if let Test::Unknown(what, _) = &mut self.parts.conditions[at].test {
            *what += &said;
        }
        Ok(())
    }

    /// An option that nothing here knows, with what seems to belong to it.
    fn unknown(&mut self, word: &'w Word, not: bool) -> Read<()> {
        let at = self.parts.conditions.len();
        self.push(false, Test::Unknown(String::new(), None));
        self.of_module(at, word, not)?;
        if let Test::Unknown(what, _) = &mut self.parts.conditions[at].test {
            *what = what.trim_start().to_owned();
        }
        Ok(())
    }

    fn nets(&mut self, option: &Word) -> Read<Vec<IpNet>> {
        let word = self.value(option)?;
        let v4 = self.v4;
        let of_family = |net: &IpNet| net.addr().is_ipv4() == v4;
        let nets: Option<Vec<IpNet>> = word.text.split(',').map(net).collect();
        let expected = if v4 { "an IPv4 address or prefix" } else { "an IPv6 address or prefix" };
        nets.filter(|nets| nets.iter().all(of_family)).ok_or_else(|| self.bad(word, expected))
    }

    fn range(&mut self, option: &Word, test: fn(IpAddr, IpAddr) -> Test) -> Read<Test> {
        let word = self.value(option)?;
        let (first, last) = word.text.split_once('-').unwrap_or((&word.text, &word.text));
        match (first.parse::<IpAddr>(), last.parse::<IpAddr>()) {
            (Ok(a), Ok(b)) if a <= b && a.is_ipv4() == self.v4 && b.is_ipv4() == self.v4 => {
                Ok(test(a, b))
            }
            _ => Err(self.bad(word, "a range of addresses, as in 10.0.0.1-10.0.0.9")),
        }
    }

    fn protocol(&mut self, option: &Word, not: bool) -> Read<()> {
        let word = self.value(option)?;
        match protocols::protocol(&word.text) {
            _ if matches!(word.text.as_str(), "all" | "0") => {
                if not {
                    return Err(self.bad(word, "a protocol that something else is not"));
                }
            }
            Some(number) => self.push(not, Test::Protocol(number)),
            None => {
                let help = did_you_mean(&word.text, protocols::protocol_names());
                let help = help.or_else(|| Some("protocols without a name are numbers".into()));
                return Err(Box::new(self.bad(word, "a protocol").maybe_help(help)));
            }
        }
        Ok(())
    }

    fn ports(&mut self, option: &Word) -> Read<Vec<(u16, u16)>> {
        let word = self.value(option)?;
        word.text.split(',').map(|part| self.port_range(part, word)).collect()
    }

    fn port_range(&self, part: &str, word: &Word) -> Read<(u16, u16)> {
        let end = |text: &str, open: u16| match text {
            "" => Some(open),
            text => protocols::port(text),
        };
        let range = match part.split_once(':') {
            Some((first, last)) => end(first, 0).zip(end(last, u16::MAX)),
            None => protocols::port(part).map(|port| (port, port)),
        };
        range.filter(|(first, last)| first <= last).ok_or_else(|| {
            let help = did_you_mean(part, protocols::port_names());
            Box::new(self.bad(word, "a port, as in 22, 80:90 or 22,80").maybe_help(help))
        })
    }

    fn icmp(&mut self, option: &Word) -> Read<Test> {
        let word = self.value(option)?;
        let v6 = option.text.contains("v6");
        if v6 == self.v4 {
            return Err(self.bad(option, "an option of this family"));
        }
        match protocols::icmp(&word.text, v6) {
            Some((kind, code)) => Ok(Test::Icmp(kind, code)),
            None => {
                let help = did_you_mean(&word.text, protocols::icmp_names(v6));
                Err(Box::new(
                    self.bad(word, "an ICMP type, as in 8, 3/4 or echo-request").maybe_help(help),
                ))
            }
        }
    }

    /// Whether the states hold when a connection is opened.
    fn states(&mut self, option: &Word, not: bool) -> Read<Test> {
        const STATES: [&str; 7] =
            ["NEW", "ESTABLISHED", "RELATED", "INVALID", "UNTRACKED", "SNAT", "DNAT"];
        let word = self.value(option)?;
        let states: Vec<&str> = word.text.split(',').collect();
        if let Some(state) = states.iter().find(|s| !STATES.contains(s)) {
            let help = did_you_mean(state, STATES.into_iter());
            return Err(Box::new(self.bad(word, "a list of connection states").maybe_help(help)));
        }
        if !states.contains(&"NEW") && states.iter().any(|s| matches!(*s, "SNAT" | "DNAT")) {
            let help = "addresses are not translated here; see the report about the table nat";
            return Ok(Test::Unknown(format!("the state {}", word.text), Some(help.into())));
        }
        let has = |state| states.contains(&state);
        let all_known = has("ESTABLISHED") && has("RELATED");
        let some_known = has("ESTABLISHED") || has("RELATED");
        let known = if not { !all_known } else { some_known };
        Ok(Test::State { new: has("NEW") != not, known })
    }

    /// A TCP connection is opened by a segment with SYN alone.
    fn flags(&mut self, option: &Word) -> Read<Test> {
        const FLAGS: [&str; 8] = ["FIN", "SYN", "RST", "PSH", "ACK", "URG", "ALL", "NONE"];
        let (mask, set) = (self.value(option)?, self.value(option)?);
        for word in [mask, set] {
            if let Some(flag) = word.text.split(',').find(|f| !FLAGS.contains(f)) {
                let help = did_you_mean(flag, FLAGS.into_iter());
                return Err(Box::new(self.bad(word, "a list of TCP flags").maybe_help(help)));
            }
        }
        let asks = |word: &Word| word.text.split(',').any(|f| f == "SYN" || f == "ALL");
        let only_syn = set.text == "SYN";
        let nothing = set.text == "NONE";
        Ok(Test::Opening(if asks(mask) { only_syn } else { nothing }))
    }

    fn address_type(&mut self, option: &Word, local: Test) -> Read<Test> {
        let word = self.value(option)?;
        let kinds: Vec<&str> = word.text.split(',').collect();
        let other = |kind: &&str| matches!(*kind, "BROADCAST" | "MULTICAST" | "ANYCAST");
        match kinds.as_slice() {
            ["LOCAL"] => Ok(local),
            ["UNICAST"] => Ok(Test::Opening(true)),
            kinds if kinds.iter().all(other) => Ok(Test::Opening(false)),
            _ => Ok(Test::Unknown(format!("{} {}", option.text, word.text), None)),
        }
    }
}

/// An address or prefix; `10.0.0.1/255.255.255.0` too.
fn net(text: &str) -> Option<IpNet> {
    if let Ok(net) = text.parse::<IpNet>() {
        return Some(net.trunc());
    }
    if let Ok(addr) = text.parse::<IpAddr>() {
        return Some(addr.into());
    }
    let (addr, mask) = text.split_once('/')?;
    IpNet::with_netmask(addr.parse().ok()?, mask.parse().ok()?).ok().map(|net| net.trunc())
}
