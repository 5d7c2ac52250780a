//! Filters as chains and gates.

use portcullis_policy::model::Ports;

use super::filter::{Action, Direction, Instance, Ready, What};
use crate::{
    finding::{Finding, Remark},
    program::{Chain, Gate, Line, Program, Target},
    ranges::Ranges,
    services,
    site::{Realm, Site},
    translate::Draft,
    words::{Words, show_net},
};

/// Which way a gate looks.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    In,
    Out,
}

/// Translates all of them.
pub fn draft(
    instances: &[Instance],
    site: &Site,
    realm: &Realm,
    findings: &mut Vec<Finding>,
) -> Draft {
    let (words, names) = realm.words(site);
    let mut lower = Lower { site, realm, words, findings, program: Program::default() };
    // Where a connection meets several gates, the first one's accepting rules become the allow
    // rules: those about connections, of whom it is for.
    for (way, frames) in [(Way::In, false), (Way::In, true), (Way::Out, false), (Way::Out, true)] {
        for instance in instances {
            let gate = match frames {
                true => lower.frames(instance, way),
                false => lower.packets(instance, way),
            };
            lower.program.gates.extend(gate);
        }
    }
    for instance in instances {
        lower.say(instance);
    }
    Draft { program: lower.program, words: lower.words, names }
}

struct Lower<'l> {
    site: &'l Site,
    realm: &'l Realm,
    words: Words,
    findings: &'l mut Vec<Finding>,
    program: Program,
}

impl Lower<'_> {
    fn gate(&self, instance: &Instance, way: Way, chain: usize) -> Option<Gate> {
        let addrs = &self.realm.guests[instance.guest][instance.nic];
        let own: Ranges = addrs.iter().map(|&a| Ranges::from(a)).collect();
        let guest = &self.site.guests[instance.guest].name;
        let (from, to, way) = match way {
            Way::In => (Ranges::all(), own, "in"),
            Way::Out => (own, Ranges::all(), "out"),
        };
        let place = instance.place.as_ref()?;
        let (text, name) = match instance.filtered {
            true => (format!("{}: what no rule decides passes", instance.text), "default"),
            false => (instance.text.clone(), "open"),
        };
        let default = Line::all(place, &text, format!("{guest}-{name}-{way}"), Target::Accept);
        Some(Gate { from, to, chain, default })
    }

    fn chain(&mut self, lines: Vec<Line>) -> usize {
        self.program.chains.push(Chain { lines });
        self.program.chains.len() - 1
    }

    /// The gate of the rules about connections.
    fn packets(&mut self, instance: &Instance, way: Way) -> Option<Gate> {
        let lines = self.lines(&instance.packets, way, Target::Accept);
        let chain = self.chain(lines);
        self.gate(instance, way, chain)
    }

    /// The gate of the rules about frames, if there are any.
    fn frames(&mut self, instance: &Instance, way: Way) -> Option<Gate> {
        // The root chain's rules and the other chains, by priority; of equals the chains first,
        // as libvirt jumps before it goes on.
        let mut entries: Vec<(i32, bool, Vec<Line>)> = Vec::new();
        for chain in &instance.frames {
            let is_root = chain.name == "root";
            let back = if is_root { Target::Accept } else { Target::Return };
            let pairs = chain.rules.iter().filter_map(|r| Some((r, self.line(r, way, back)?)));
            if is_root {
                let pairs: Vec<_> = pairs.collect();
                entries.extend(pairs.into_iter().map(|(r, l)| (r.priority, true, vec![l])));
                continue;
            }
            let lines: Vec<Line> = pairs.map(|(_, line)| line).collect();
            let Some(first) = lines.first() else { continue };
            let mut jump = Line::all(&first.place, &first.text, String::new(), Target::Return);
            if let Some(v4) = chain.family {
                jump.from = if v4 { Ranges::v4() } else { Ranges::v6() };
            }
            jump.target = Target::Jump(self.chain(lines));
            entries.push((chain.priority, false, vec![jump]));
        }
        if entries.is_empty() {
            return None;
        }
        entries.sort_by_key(|(priority, is_rule, _)| (*priority, *is_rule));
        let lines = entries.into_iter().flat_map(|(.., lines)| lines).collect();
        let chain = self.chain(lines);
        self.gate(instance, way, chain)
    }

    fn lines(&mut self, rules: &[Ready], way: Way, back: Target) -> Vec<Line> {
        rules.iter().filter_map(|rule| self.line(rule, way, back)).collect()
    }

    /// A rule in one direction; `back` is what `return` means in its chain.
    fn line(&mut self, rule: &Ready, way: Way, back: Target) -> Option<Line> {
        // `inout` is written for packets to the guest.
        let swap = match (rule.direction, way) {
            (Direction::In, Way::In) | (Direction::Out, Way::Out) => false,
            (Direction::InOut, way) => way == Way::Out,
            _ => return None,
        };
        let target = match rule.action {
            Action::Accept => Target::Accept,
            Action::Drop | Action::Reject => Target::Drop,
            Action::Return => back,
            Action::Continue => return None,
        };
        let name = format!("{}-{}", rule.filter, rule.place.line);
        let mut line = Line::all(&rule.place, &rule.text, name, target);
        for test in &rule.tests {
            self.test(&test.what, test.not, swap, &mut line);
        }
        Some(line)
    }

    fn test(&mut self, what: &What, not: bool, swap: bool, line: &mut Line) {
        let side = |set: Ranges| if not { set.complement() } else { set };
        let ranges = |first, last| match not {
            true => services::outside(&[(first, last)]),
            false => vec![(first, last)],
        };
        let narrow = |services: &mut Vec<Ports>, with: &[Ports]| {
            *services = services::and(services, with);
        };
        match what {
            Family(v4) => {
                let set = side(if *v4 { Ranges::v4() } else { Ranges::v6() });
                line.from = line.from.and(&set);
                line.to = line.to.and(&set);
            }
            Source(a, b) | Destination(a, b) => {
                let set = Ranges::between(*a, *b);
                for net in set.prefixes() {
                    let text = show_net(&net);
                    self.words.add(text.clone(), net.into());
                    line.words.push(text);
                }
                let set = side(set);
                match matches!(what, Source(..)) != swap {
                    true => line.from = line.from.and(&set),
                    false => line.to = line.to.and(&set),
                }
            }
            Protocol(n) if not => narrow(&mut line.services, &services::not_protocol(*n)),
            Protocol(n) => narrow(&mut line.services, &[services::of_protocol(*n)]),
            SourcePorts(a, b) | DestinationPorts(a, b) => {
                let set = match matches!(what, SourcePorts(..)) != swap {
                    true => services::from_ports(&ranges(*a, *b)),
                    false => services::to_ports(&ranges(*a, *b)),
                };
                narrow(&mut line.services, &set);
            }
            Icmp(kinds, codes) => narrow(&mut line.services, &icmp(*kinds, *codes, not)),
            Always(holds) if *holds != not => {}
            Always(_) => line.services.clear(),
            Unknown(_) => line.maybe = true,
        }
    }

    /// Reports what is different here, once for each rule.
    fn say(&mut self, instance: &Instance) {
        let guest = &self.site.guests[instance.guest].name;
        if let Some(place) = instance.place.as_ref().filter(|_| !instance.filtered) {
            let what = format!(
                "`{guest}` has no filter: the rules `{guest}-open-in` and `{guest}-open-out` let \
                 everything pass that the other side lets pass"
            );
            self.findings.push(Finding::new(Remark::Chosen { what }, place, &instance.text));
        }
        let frames = instance.frames.iter().flat_map(|chain| &chain.rules);
        for rule in frames.chain(&instance.packets) {
            for test in &rule.tests {
                if let Unknown(what) = &test.what {
                    let what = what.clone();
                    let remark = match rule.action {
                        Action::Accept => Remark::AcceptLeftOut { what },
                        Action::Drop | Action::Reject => Remark::DenyWidened { what },
                        _ => Remark::BranchUnsure { what },
                    };
                    let help = "write the rule without this, if that is right for you";
                    let finding = Finding::new(remark, &rule.place, &rule.text);
                    self.findings.push(finding.help(help));
                }
            }
            if rule.action == Action::Reject {
                let what = "reject answers; a denied connection here gets no answer".to_owned();
                self.findings.push(Finding::new(Remark::Differs { what }, &rule.place, &rule.text));
            }
            let never = |t: &super::filter::Test| matches!(t.what, Always(holds) if holds == t.not);
            if rule.tests.iter().any(never) {
                let what = match rule.action {
                    Action::Drop | Action::Reject => {
                        "frames that no guest can send here, or that open no connection".to_owned()
                    }
                    _ => "answers to known connections, and frames that open none".to_owned(),
                };
                self.findings.push(Finding::new(
                    Remark::ByItself { what },
                    &rule.place,
                    &rule.text,
                ));
            }
        }
    }
}

use What::*;

fn icmp(kinds: (u8, u8), codes: (u8, u8), not: bool) -> Vec<Ports> {
    use portcullis_policy::model::Protocol;
    let in_type = |kind: u16| (kind << 8 | u16::from(codes.0), kind << 8 | u16::from(codes.1));
    let ranges: Vec<(u16, u16)> = match codes {
        (0, u8::MAX) => vec![(u16::from(kinds.0) << 8, u16::from(kinds.1) << 8 | 0xff)],
        _ => (u16::from(kinds.0)..=u16::from(kinds.1)).map(in_type).collect(),
    };
    let ranges = if not { services::outside(&ranges) } else { ranges };
    let both = [Protocol::Icmp, Protocol::Icmpv6].into_iter();
    both.flat_map(|p| ranges.iter().map(move |&(a, b)| Ports::range(p, a, b))).collect()
}
