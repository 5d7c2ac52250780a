//! Rulesets as chains and gates.

use std::net::IpAddr;

use super::rules::{Chain, Condition, Rule, Ruleset, Target, Test};
use crate::{
    finding::{Finding, Remark},
    program::{self, Gate, Line, Program},
    ranges::Ranges,
    services,
    site::{Realm, Site},
    translate::Draft,
    words::{SetText, Word, Words, show_net},
};

/// Translates all of them.
pub fn draft(
    rulesets: &[Ruleset],
    site: &Site,
    realm: &Realm,
    findings: &mut Vec<Finding>,
) -> Draft {
    let (mut words, names) = realm.words(site);
    let mut program = Program::default();
    for ruleset in rulesets {
        let base = program.chains.len();
        let mut lower = Lower { ruleset, site, realm, words: &mut words, findings, base };
        let chains: Vec<program::Chain> =
            ruleset.chains.iter().map(|chain| lower.chain(chain)).collect();
        program.chains.extend(chains);
        program.gates.extend(gates(ruleset, realm, base));
    }
    for v4 in [true, false] {
        if !rulesets.iter().any(|r| r.v4 == v4) {
            let (family, tool) = if v4 { ("IPv4", "iptables") } else { ("IPv6", "ip6tables") };
            let what = format!("no file speaks about {family}: nothing of it is allowed");
            let help = format!("give the output of `{tool}-save` too");
            findings.push(Finding::anywhere(Remark::Chosen { what }).help(help));
        }
    }
    Draft { program, words, names }
}

fn gates(ruleset: &Ruleset, realm: &Realm, base: usize) -> Vec<Gate> {
    let family = Ranges::unicast_of(ruleset.v4);
    let (host, others) = (realm.host.and(&family), realm.others().and(&family));
    let sides =
        [("INPUT", &others, &host), ("OUTPUT", &host, &others), ("FORWARD", &others, &others)];
    let gate = |(name, from, to): (&str, &Ranges, &Ranges)| {
        let index = ruleset.find(name)?;
        let chain = &ruleset.chains[index];
        let target = match chain.accepts {
            Some(true) => program::Target::Accept,
            _ => program::Target::Drop,
        };
        let policy = format!("{}-policy", name.to_lowercase());
        let default = Line::all(&chain.place, &chain.text, policy, target);
        Some(Gate { from: from.clone(), to: to.clone(), chain: base + index, default })
    };
    sides.into_iter().filter_map(gate).collect()
}

struct Lower<'l> {
    ruleset: &'l Ruleset,
    site: &'l Site,
    realm: &'l Realm,
    words: &'l mut Words,
    findings: &'l mut Vec<Finding>,
    base: usize,
}

/// What of a rule has no equal, or needs none.
#[derive(Default)]
struct Doubts {
    unknown: Vec<(String, Option<String>)>,
    /// It speaks about known connections only.
    known_only: bool,
    /// It speaks about no packet that opens a connection, for another reason.
    never: bool,
}

impl Lower<'_> {
    fn chain(&mut self, chain: &Chain) -> program::Chain {
        let name = chain.name.to_lowercase();
        let lines = chain.rules.iter().filter_map(|rule| self.rule(rule, &name)).collect();
        program::Chain { lines }
    }

    fn rule(&mut self, rule: &Rule, chain: &str) -> Option<Line> {
        let name = match &rule.comment {
            Some(comment) => slug(comment),
            None => format!("{chain}-{}", rule.place.line),
        };
        let mut line = Line::all(&rule.place, &rule.text, name, self.target(rule)?);
        let mut doubts = Doubts::default();
        for condition in &rule.conditions {
            self.condition(condition, &mut line, &mut doubts);
        }
        self.say(rule, &line, &doubts);
        line.maybe = !doubts.unknown.is_empty();
        if doubts.known_only || doubts.never { None } else { Some(line) }
    }

    fn target(&mut self, rule: &Rule) -> Option<program::Target> {
        Some(match rule.target {
            Target::Accept => program::Target::Accept,
            Target::Drop => program::Target::Drop,
            Target::Reject => {
                let what = "REJECT answers; a denied connection here gets no answer".to_owned();
                self.findings.push(Finding::new(Remark::Differs { what }, &rule.place, &rule.text));
                program::Target::Drop
            }
            Target::Log => program::Target::Log,
            Target::Return => program::Target::Return,
            Target::Jump(chain) => program::Target::Jump(self.base + chain),
            Target::Goto(chain) => program::Target::Goto(self.base + chain),
            Target::Nothing => return None,
        })
    }

    fn condition(&mut self, condition: &Condition, line: &mut Line, doubts: &mut Doubts) {
        let not = condition.not;
        let side = |set: Ranges| if not { set.complement() } else { set };
        let numbers = |ranges: &[(u16, u16)]| match not {
            true => services::outside(ranges),
            false => ranges.to_vec(),
        };
        match &condition.test {
            Test::Source(nets) => {
                line.from = line.from.and(&side(self.nets(nets, &mut line.words)))
            }
            Test::Destination(nets) => {
                line.to = line.to.and(&side(self.nets(nets, &mut line.words)));
            }
            Test::SourceRange(a, b) => {
                let range = side(self.range(*a, *b, line));
                line.from = line.from.and(&range);
            }
            Test::DestinationRange(a, b) => {
                let range = side(self.range(*a, *b, line));
                line.to = line.to.and(&range);
            }
            Test::SourceIsLocal => line.from = line.from.and(&side(self.realm.host.clone())),
            Test::DestinationIsLocal => line.to = line.to.and(&side(self.realm.host.clone())),
            Test::In(name) => match self.behind(name, &mut line.words) {
                Some(set) => line.from = line.from.and(&side(set)),
                None => doubts.unknown.push(unknown_interface(name)),
            },
            Test::Out(name) => match self.behind(name, &mut line.words) {
                Some(set) => line.to = line.to.and(&side(set)),
                None => doubts.unknown.push(unknown_interface(name)),
            },
            Test::Protocol(n) if not => {
                line.services = services::and(&line.services, &services::not_protocol(*n));
            }
            Test::Protocol(n) => {
                line.services = services::and(&line.services, &[services::of_protocol(*n)]);
            }
            Test::SourcePorts(ranges) => {
                let ports = services::from_ports(&numbers(ranges));
                line.services = services::and(&line.services, &ports);
            }
            Test::DestinationPorts(ranges) => {
                let ports = services::to_ports(&numbers(ranges));
                line.services = services::and(&line.services, &ports);
            }
            Test::EitherPorts(ranges) => {
                line.services = services::and(&line.services, &either(&numbers(ranges), not));
            }
            Test::Icmp(kind, code) => {
                let ports = services::icmp(!self.ruleset.v4, *kind, *code);
                let ranges = numbers(&[(ports.first, ports.last)]).into_iter();
                let ports: Vec<_> = ranges
                    .map(|(first, last)| portcullis_policy::model::Ports { first, last, ..ports })
                    .collect();
                line.services = services::and(&line.services, &ports);
            }
            Test::Opening(holds) => doubts.never |= *holds == not,
            Test::State { new, .. } => doubts.known_only |= !new,
            Test::Unknown(what, help) => {
                let what = if not { format!("! {what}") } else { what.clone() };
                doubts.unknown.push((what, help.clone()));
            }
        }
    }

    fn nets(&mut self, nets: &[ipnet::IpNet], words: &mut Vec<String>) -> Ranges {
        for net in nets {
            let text = show_net(net);
            self.words.add(text.clone(), (*net).into());
            words.push(text);
        }
        nets.iter().map(|&net| Ranges::from(net)).collect()
    }

    /// A range of addresses, which the language has by a set only.
    fn range(&mut self, first: IpAddr, last: IpAddr, line: &mut Line) -> Ranges {
        let ranges = Ranges::between(first, last);
        let text = format!("range-{first}-{last}").replace(':', ".");
        if !self.words.endpoints.iter().any(|w| w.text == text) {
            let members = ranges.prefixes().iter().map(show_net).collect();
            let (place, source) = (line.place.clone(), line.text.clone());
            let set = SetText { members, except: Vec::new(), place, text: source };
            let word = Word {
                text: text.clone(),
                ranges: ranges.clone(),
                set: Some(set),
                particular: true,
            };
            self.words.endpoints.push(word);
        }
        line.words.push(text);
        ranges
    }

    /// What is behind an interface, `None` if nobody said it. A name that ends in `+` stands for
    /// all that begin so.
    fn behind(&self, name: &str, words: &mut Vec<String>) -> Option<Ranges> {
        let (stem, all) = match name.strip_suffix('+') {
            Some(stem) => (stem, true),
            None => (name, false),
        };
        let means = |known: &String| if all { known.starts_with(stem) } else { known == name };
        let mut set = (name == "lo").then(Ranges::default);
        for (network, members) in self.site.networks.iter().zip(&self.realm.networks) {
            if network.interfaces.iter().any(means) {
                words.push(network.name.clone());
                set = Some(set.unwrap_or_default().or(members));
            }
        }
        if self.site.world.iter().any(means) {
            words.push("world".into());
            set = Some(set.unwrap_or_default().or(&self.realm.world));
        }
        set
    }

    /// Reports what of a rule is different here.
    fn say(&mut self, rule: &Rule, line: &Line, doubts: &Doubts) {
        use program::Target as T;
        let denies = line.target == T::Drop;
        let mut say = |remark, help: Option<String>| {
            self.findings.push(Finding::new(remark, &rule.place, &rule.text).maybe_help(help));
        };
        if doubts.known_only {
            let of_known =
                rule.conditions.iter().any(|c| matches!(c.test, Test::State { known: true, .. }));
            let branches = matches!(line.target, T::Jump(_) | T::Goto(_) | T::Return);
            if of_known && (denies || branches) {
                let what = "this line speaks about known connections, it".to_owned();
                let help = "here a connection that is allowed goes on, and one that is no longer \
                            allowed is cut: delete the line if you do not need it";
                say(Remark::DeniesElsewhere { what }, Some(help.into()));
            } else {
                let what = match denies {
                    true => "packets of no known connection are dropped".to_owned(),
                    false => "answers, and errors about known connections, pass".to_owned(),
                };
                say(Remark::ByItself { what }, None);
            }
            return;
        }
        if doubts.never {
            let what = "no packet that opens a connection between two hosts is like this".into();
            say(Remark::Differs { what }, None);
            return;
        }
        for (what, help) in &doubts.unknown {
            let (what, help) = (what.clone(), help.clone());
            let remark = match line.target {
                T::Accept => Remark::AcceptLeftOut { what },
                T::Drop => Remark::DenyWidened { what },
                T::Log => Remark::Differs {
                    what: format!("{what}: log rates are said by `log: {{ rate: ... }}`"),
                },
                _ => Remark::BranchUnsure { what },
            };
            let delete = "delete the line, or write it without this, if that is right for you";
            say(remark, help.or_else(|| Some(delete.into())));
        }
        let loopback = rule
            .conditions
            .iter()
            .any(|c| !c.not && matches!(&c.test, Test::In(i) | Test::Out(i) if i == "lo"));
        if loopback {
            say(
                Remark::ByItself { what: "the host reaches itself without the switch".into() },
                None,
            );
        } else if !line.from.is_somebody() || !line.to.is_somebody() {
            let what = "broadcast, multicast and link-local addresses".to_owned();
            match line.target {
                T::Accept => say(Remark::AcceptLeftOut { what }, None),
                _ => say(
                    Remark::Differs { what: format!("{what} are the switch's own business") },
                    None,
                ),
            }
        }
    }
}

fn unknown_interface(name: &str) -> (String, Option<String>) {
    let help =
        format!("say what is behind it: `--network NAME=VLAN,SUBNET,{name}`, or `--world {name}`");
    (format!("the interface {name}"), Some(help))
}

/// Source or destination ports in some ranges; where it is negated, both of them.
fn either(ranges: &[(u16, u16)], both: bool) -> Vec<portcullis_policy::model::Ports> {
    let (from, to) = (services::from_ports(ranges), services::to_ports(ranges));
    if both {
        return services::and(&from, &to);
    }
    from.into_iter().chain(to).collect()
}

/// A comment as a name.
fn slug(comment: &str) -> String {
    let words = comment.split(|c: char| !c.is_ascii_alphanumeric()).filter(|w| !w.is_empty());
    words.take(6).map(str::to_lowercase).collect::<Vec<_>>().join("-")
}
