//! What libvirt's chains would do with the first packet of a connection.

use std::{collections::HashMap, net::IpAddr};

use portcullis_policy::model::{Protocol, Purpose};

use super::filter::{Action, Chain, Direction, Instance, Ready, Test, What};
use crate::{
    prove::{Bound, Judge, ip_protocol},
    site::Realm,
};

/// A packet as a rule sees it.
#[derive(Clone, Copy)]
struct Packet {
    from: IpAddr,
    to: IpAddr,
    purpose: Purpose,
}

/// What a list of rules comes to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Accepted,
    Denied,
    Left,
}

/// Walks filters.
pub struct Walker<'w> {
    instances: &'w [Instance],
    /// Who has an address.
    owners: HashMap<IpAddr, &'w Instance>,
}

impl<'w> Walker<'w> {
    /// For some NICs.
    pub fn new(instances: &'w [Instance], realm: &Realm) -> Self {
        let addrs = |i: &Instance| realm.guests[i.guest][i.nic].clone();
        let owners = instances.iter().flat_map(|i| addrs(i).into_iter().map(move |a| (a, i)));
        Self { instances, owners: owners.collect() }
    }

    fn owner(&self, addr: IpAddr) -> Option<&'w Instance> {
        self.owners.get(&addr).copied()
    }

    fn passes(&self, instance: &Instance, incoming: bool, packet: Packet) -> bool {
        let frames = self.frames(instance, incoming, packet);
        let packets = walk(instance.packets.iter(), incoming, packet, false).0;
        frames != End::Denied && packets != End::Denied
    }

    /// The root chain, and the others where their turn is.
    fn frames(&self, instance: &Instance, incoming: bool, packet: Packet) -> End {
        let mut turns: Vec<(i32, bool, Turn<'_>)> = Vec::new();
        for chain in &instance.frames {
            if chain.name == "root" {
                turns.extend(chain.rules.iter().map(|r| (r.priority, true, Turn::Rule(r))));
            } else {
                turns.push((chain.priority, false, Turn::Chain(chain)));
            }
        }
        turns.sort_by_key(|(priority, is_rule, _)| (*priority, *is_rule));
        for (.., turn) in turns {
            let end = match turn {
                // To return from the root chain is to be done.
                Turn::Rule(rule) => match walk([rule].into_iter(), incoming, packet, false) {
                    (End::Left, true) => End::Accepted,
                    (end, _) => end,
                },
                Turn::Chain(chain) if chain.family.is_none_or(|v4| v4 == packet.from.is_ipv4()) => {
                    walk(chain.rules.iter(), incoming, packet, false).0
                }
                Turn::Chain(_) => End::Left,
            };
            if end != End::Left {
                return end;
            }
        }
        End::Left
    }
}

enum Turn<'t> {
    Rule(&'t Ready),
    Chain(&'t Chain),
}

/// Walks rules in order; the second answer says whether a `return` ended it. What depends on
/// something unknown accepts nothing and denies always.
fn walk<'t>(
    rules: impl Iterator<Item = &'t Ready>,
    incoming: bool,
    packet: Packet,
    mut unsure: bool,
) -> (End, bool) {
    for rule in rules {
        let seen = match (rule.direction, incoming) {
            (Direction::In, true) | (Direction::Out, false) | (Direction::InOut, true) => packet,
            (Direction::InOut, false) => turned(packet),
            _ => continue,
        };
        let mut certain = true;
        let holds = rule.tests.iter().all(|test| match holds(test, seen, packet) {
            Some(yes) => yes,
            None => {
                certain = false;
                true
            }
        });
        if !holds {
            continue;
        }
        match rule.action {
            Action::Accept if certain && !unsure => return (End::Accepted, false),
            Action::Drop | Action::Reject => return (End::Denied, false),
            Action::Return if certain => return (End::Left, true),
            Action::Return => unsure = true,
            Action::Accept | Action::Continue => {}
        }
    }
    (End::Left, false)
}

/// The packet as if it came from the other side.
fn turned(p: Packet) -> Packet {
    let mut purpose = p.purpose;
    if purpose.protocol.has_ports() {
        (purpose.number, purpose.source) = (purpose.source, purpose.number);
    }
    Packet { from: p.to, to: p.from, purpose }
}

fn holds(test: &Test, p: Packet, straight: Packet) -> Option<bool> {
    let has_ports = p.purpose.protocol.has_ports();
    let is_icmp = matches!(p.purpose.protocol, Protocol::Icmp | Protocol::Icmpv6);
    let yes = match &test.what {
        What::Family(v4) => straight.from.is_ipv4() == *v4,
        What::Source(a, b) => *a <= p.from && p.from <= *b,
        What::Destination(a, b) => *a <= p.to && p.to <= *b,
        What::Protocol(n) => u16::from(*n) == ip_protocol(p.purpose),
        What::SourcePorts(..) | What::DestinationPorts(..) if !has_ports => return Some(false),
        What::SourcePorts(a, b) => *a <= p.purpose.source && p.purpose.source <= *b,
        What::DestinationPorts(a, b) => *a <= p.purpose.number && p.purpose.number <= *b,
        What::Icmp(..) if !is_icmp => return Some(false),
        What::Icmp(kinds, codes) => {
            let [kind, code] = p.purpose.number.to_be_bytes();
            kinds.0 <= kind && kind <= kinds.1 && codes.0 <= code && code <= codes.1
        }
        What::Always(holds) => *holds,
        What::Unknown(_) => return None,
    };
    Some(yes != test.not)
}

impl Walker<'_> {
    fn tests(&self) -> impl Iterator<Item = &What> {
        let rules = self
            .instances
            .iter()
            .flat_map(|i| i.frames.iter().flat_map(|chain| &chain.rules).chain(&i.packets));
        rules.flat_map(|rule| &rule.tests).map(|test| &test.what)
    }
}

impl Judge for Walker<'_> {
    fn allows(&self, from: IpAddr, to: IpAddr, purpose: Purpose) -> bool {
        let packet = Packet { from, to, purpose };
        let (sender, receiver) = (self.owner(from), self.owner(to));
        (sender.is_some() || receiver.is_some())
            && sender.is_none_or(|i| self.passes(i, false, packet))
            && receiver.is_none_or(|i| self.passes(i, true, packet))
    }

    fn address_bounds(&self) -> Vec<(IpAddr, IpAddr)> {
        let tested = self.tests().filter_map(|what| match what {
            What::Source(a, b) | What::Destination(a, b) => Some((*a, *b)),
            _ => None,
        });
        let own = self.owners.keys().map(|a| (*a, *a));
        tested.chain(own).collect()
    }

    fn address_marks(&self, addr: IpAddr) -> Vec<bool> {
        let mut ranges: Vec<(IpAddr, IpAddr)> = self.address_bounds();
        ranges.sort_unstable();
        ranges.dedup();
        ranges.iter().map(|(a, b)| *a <= addr && addr <= *b).collect()
    }

    fn port_bounds(&self) -> Vec<Bound> {
        let all = (0, u16::MAX);
        let mut bounds = Vec::new();
        for what in self.tests() {
            match what {
                What::SourcePorts(a, b) | What::DestinationPorts(a, b) => {
                    // A rule of both directions compares either way round.
                    for protocol in [Protocol::Tcp, Protocol::Udp, Protocol::Sctp] {
                        bounds.push(Bound { protocol, number: (*a, *b), source: all });
                        bounds.push(Bound { protocol, number: all, source: (*a, *b) });
                    }
                }
                What::Protocol(n) => {
                    let number = (u16::from(*n), u16::from(*n));
                    bounds.push(Bound { protocol: Protocol::Proto, number, source: all });
                }
                What::Icmp(kinds, codes) => {
                    for kind in u16::from(kinds.0)..=u16::from(kinds.1) {
                        let code = |c: u8| kind << 8 | u16::from(c);
                        let number = (code(codes.0), code(codes.1));
                        let both = [Protocol::Icmp, Protocol::Icmpv6];
                        bounds.extend(both.map(|protocol| Bound { protocol, number, source: all }));
                    }
                }
                _ => {}
            }
        }
        bounds.sort_unstable();
        bounds.dedup();
        bounds
    }
}
