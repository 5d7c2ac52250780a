//! What the kernel would do: walks the chains for one packet, rule by rule.

use std::net::IpAddr;

use ipnet::IpNet;
use portcullis_policy::model::{Protocol, Purpose};

use super::rules::{Condition, Rule, Ruleset, Target, Test};
use crate::{
    prove::{Bound, Judge, ip_protocol},
    site::{Realm, Site},
};

/// The first packet of a connection.
struct Packet {
    from: IpAddr,
    to: IpAddr,
    purpose: Purpose,
}

/// What a chain comes to.
enum End {
    Accepted,
    Denied,
    /// Back to who called it.
    Left,
}

/// Walks rulesets.
pub struct Walker<'w> {
    rulesets: &'w [Ruleset],
    site: &'w Site,
    realm: &'w Realm,
}

impl<'w> Walker<'w> {
    /// For rulesets at a site.
    pub fn new(rulesets: &'w [Ruleset], site: &'w Site, realm: &'w Realm) -> Self {
        Self { rulesets, site, realm }
    }

    fn walk(&self, rules: &Ruleset, chain: usize, packet: &Packet, unsure: bool) -> End {
        let mut unsure = unsure;
        for rule in &rules.chains[chain].rules {
            let Some(certain) = self.matches(rule, packet) else { continue };
            let perhaps = unsure || !certain;
            match rule.target {
                Target::Accept if !perhaps => return End::Accepted,
                Target::Drop | Target::Reject => return End::Denied,
                Target::Return if certain => return End::Left,
                Target::Return => unsure = true,
                Target::Jump(next) | Target::Goto(next) => {
                    match self.walk(rules, next, packet, perhaps) {
                        End::Left if rule.target == Target::Jump(next) => {}
                        End::Left if certain => return End::Left,
                        End::Left => unsure = true,
                        decided => return decided,
                    }
                }
                Target::Accept | Target::Log | Target::Nothing => {}
            }
        }
        End::Left
    }

    /// Does a rule match: not, perhaps (`false`), or certainly?
    fn matches(&self, rule: &Rule, packet: &Packet) -> Option<bool> {
        let mut certain = true;
        for condition in &rule.conditions {
            match self.holds(condition, packet) {
                Some(true) => {}
                Some(false) => return None,
                None => certain = false,
            }
        }
        Some(certain)
    }

    /// Does a condition hold? `None`: nobody here can know.
    fn holds(&self, condition: &Condition, p: &Packet) -> Option<bool> {
        let within = |nets: &[IpNet], addr| nets.iter().any(|net| net.contains(addr));
        let (protocol, number, source) = (p.purpose.protocol, p.purpose.number, p.purpose.source);
        let listed = |ranges: &[(u16, u16)], port: u16| {
            ranges.iter().any(|&(first, last)| first <= port && port <= last)
        };
        let yes = match &condition.test {
            Test::Source(nets) => within(nets, &p.from),
            Test::Destination(nets) => within(nets, &p.to),
            Test::SourceRange(first, last) => *first <= p.from && p.from <= *last,
            Test::DestinationRange(first, last) => *first <= p.to && p.to <= *last,
            Test::In(name) => self.behind(name, p.from)?,
            Test::Out(name) => self.behind(name, p.to)?,
            Test::SourceIsLocal => self.realm.is_host(p.from),
            Test::DestinationIsLocal => self.realm.is_host(p.to),
            Test::Protocol(n) => ip_protocol(p.purpose) == u16::from(*n),
            // Only protocols with ports are asked about ports, whatever the answer is to be.
            Test::SourcePorts(_) | Test::DestinationPorts(_) | Test::EitherPorts(_)
                if !protocol.has_ports() =>
            {
                return Some(false);
            }
            Test::SourcePorts(ranges) => listed(ranges, source),
            Test::DestinationPorts(ranges) => listed(ranges, number),
            Test::EitherPorts(ranges) => listed(ranges, source) || listed(ranges, number),
            Test::Icmp(..) if !matches!(protocol, Protocol::Icmp | Protocol::Icmpv6) => {
                return Some(false);
            }
            Test::Icmp(kind, code) => {
                let [k, c] = number.to_be_bytes();
                kind.is_none_or(|kind| kind == k) && code.is_none_or(|code| code == c)
            }
            Test::Opening(opening) => *opening,
            Test::State { new, .. } => *new,
            Test::Unknown(..) => return None,
        };
        Some(yes != condition.not)
    }

    /// Is an address behind an interface? `None` if nobody said what is there.
    fn behind(&self, name: &str, addr: IpAddr) -> Option<bool> {
        let means = |known: &String| match name.strip_suffix('+') {
            Some(stem) => known.starts_with(stem),
            None => known == name,
        };
        if name == "lo" {
            return Some(false);
        }
        let mut answer = None;
        let inside = |n: &crate::site::Network| n.subnets.iter().any(|s| s.contains(&addr));
        for network in self.site.networks.iter().filter(|n| n.interfaces.iter().any(means)) {
            answer = Some(answer == Some(true) || inside(network) && !self.realm.is_host(addr));
        }
        if self.site.world.iter().any(means) {
            let declared = self.realm.guests.iter().flatten().flatten().any(|a| *a == addr);
            let ours = |n: &crate::site::Network| inside(n) && (!n.external || declared);
            let outside = !self.site.networks.iter().any(ours) && !self.realm.is_host(addr);
            answer = Some(answer == Some(true) || outside);
        }
        answer
    }
}

impl Judge for Walker<'_> {
    fn allows(&self, from: IpAddr, to: IpAddr, purpose: Purpose) -> bool {
        let Some(rules) = self.rulesets.iter().find(|r| r.v4 == from.is_ipv4()) else {
            return false;
        };
        let name = match (self.realm.is_host(from), self.realm.is_host(to)) {
            (_, true) => "INPUT",
            (true, false) => "OUTPUT",
            (false, false) => "FORWARD",
        };
        let Some(chain) = rules.find(name) else { return false };
        match self.walk(rules, chain, &Packet { from, to, purpose }, false) {
            End::Accepted => true,
            End::Denied => false,
            End::Left => rules.chains[chain].accepts == Some(true),
        }
    }

    fn address_bounds(&self) -> Vec<(IpAddr, IpAddr)> {
        let mut bounds = Vec::new();
        let ends = |net: &IpNet| (net.network(), net.broadcast());
        for test in self.tests() {
            match test {
                Test::Source(nets) | Test::Destination(nets) => {
                    bounds.extend(nets.iter().map(ends));
                }
                Test::SourceRange(a, b) | Test::DestinationRange(a, b) => bounds.push((*a, *b)),
                _ => {}
            }
        }
        bounds.extend(self.site.networks.iter().flat_map(|n| n.subnets.iter().map(ends)));
        bounds.extend(self.realm.guests.iter().flatten().flatten().map(|a| (*a, *a)));
        bounds
    }

    fn address_marks(&self, addr: IpAddr) -> Vec<bool> {
        let mark = |test: &Test| match test {
            Test::Source(nets) | Test::Destination(nets) => {
                Some(nets.iter().any(|net| net.contains(&addr)))
            }
            Test::SourceRange(a, b) | Test::DestinationRange(a, b) => {
                Some(*a <= addr && addr <= *b)
            }
            _ => None,
        };
        let inside = self.site.networks.iter().map(|n| n.subnets.iter().any(|s| s.contains(&addr)));
        let declared = self.realm.guests.iter().flatten().flatten().any(|a| *a == addr);
        self.tests().filter_map(mark).chain(inside).chain([declared]).collect()
    }

    fn port_bounds(&self) -> Vec<Bound> {
        let mut bounds = Vec::new();
        let with_ports = Protocol::ALL.into_iter().filter(|p| p.has_ports());
        let all = (0, u16::MAX);
        for test in self.tests() {
            match test {
                Test::Protocol(n) => {
                    let number = (u16::from(*n), u16::from(*n));
                    bounds.push(Bound { protocol: Protocol::Proto, number, source: all });
                }
                Test::SourcePorts(ranges)
                | Test::DestinationPorts(ranges)
                | Test::EitherPorts(ranges) => {
                    for (protocol, &range) in
                        with_ports.clone().flat_map(|p| ranges.iter().map(move |range| (p, range)))
                    {
                        bounds.push(Bound { protocol, number: range, source: all });
                        bounds.push(Bound { protocol, number: all, source: range });
                    }
                }
                Test::Icmp(kind, code) => {
                    let number = crate::services::icmp_range(*kind, *code);
                    let bound = |protocol| Bound { protocol, number, source: all };
                    bounds.extend([Protocol::Icmp, Protocol::Icmpv6].map(bound));
                }
                _ => {}
            }
        }
        bounds.sort_unstable();
        bounds.dedup();
        bounds
    }
}

impl Walker<'_> {
    fn tests(&self) -> impl Iterator<Item = &Test> {
        let rules = self.rulesets.iter().flat_map(|r| &r.chains).flat_map(|c| &c.rules);
        rules.flat_map(|rule| &rule.conditions).map(|c| &c.test)
    }
}
