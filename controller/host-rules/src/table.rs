//! Our table, from a plan: pure.

use std::borrow::Cow;

use ipnet::IpNet;
use nftables::{
    batch::Batch,
    expr::{
        Expression, Fib, FibFlag, FibResult, Meta, MetaKey, NamedExpression, Payload, PayloadField,
        Prefix, Range, SetItem,
    },
    schema::{Chain, NfListObject, Nftables, Rule, Table},
    stmt::{Match, NAT, NATFamily, Operator, Statement},
    types::{NfChainPolicy, NfChainType, NfFamily, NfHook},
};

use crate::plan::{Network, Plan, Publish};

/// Where other software translates destinations and sources, and where it filters: netfilter's
/// own names for them are dstnat, srcnat and filter.
const DSTNAT: i32 = -100;
const SRCNAT: i32 = 100;
const FILTER: i32 = 0;

/// Puts the table of a plan in the place of whatever table has its name. `opened` are interfaces
/// of the host that were made to forward for us.
pub fn replace(name: &str, plan: &Plan, opened: &[String]) -> Nftables<'static> {
    let mut batch = removal(name);
    batch.add(table(name));
    let writer = Writer { name, plan };
    writer.published(&mut batch);
    writer.masqueraded(&mut batch);
    if !opened.is_empty() {
        writer.guarded(opened, &mut batch);
    }
    batch.to_nftables()
}

/// Removes the table, if there is one.
pub fn remove(name: &str) -> Nftables<'static> {
    removal(name).to_nftables()
}

/// A table that is not there cannot be deleted, so it is added first.
fn removal(name: &str) -> Batch<'static> {
    let mut batch = Batch::new();
    batch.add(table(name));
    batch.delete(table(name));
    batch
}

fn table(name: &str) -> NfListObject<'static> {
    NfListObject::Table(Table {
        family: NfFamily::INet,
        name: name.to_owned().into(),
        handle: None,
    })
}

struct Writer<'a> {
    name: &'a str,
    plan: &'a Plan,
}

impl Writer<'_> {
    /// Destinations: what comes from outside for a published port goes to its guest. What comes
    /// from guests does not: for them the address is the host's own, and the policy says so.
    fn published(&self, batch: &mut Batch<'static>) {
        if self.plan.publish.is_empty() {
            return;
        }
        self.chain("published", NfChainType::NAT, NfHook::Prerouting, DSTNAT, batch);
        let legs = self.plan.legs(false);
        for publish in &self.plan.publish {
            let mut rule = Vec::new();
            if !legs.is_empty() {
                rule.push(interface(MetaKey::Iifname, Operator::NEQ, &legs));
            }
            // A table of family inet sees IPv6 as well.
            rule.push(matches(meta(MetaKey::Nfproto), Operator::EQ, string("ipv4")));
            rule.extend(destination(publish));
            self.rule("published", &publish.name, rule, batch);
        }
    }

    /// Sources: what leaves for the outside travels under the address of the interface that it
    /// leaves by, whichever that is at the moment. Behind an uplink that is attached to the switch
    /// the switch reaches the network's own addresses without the host's stack, so they are left
    /// alone here too.
    fn masqueraded(&self, batch: &mut Batch<'static>) {
        if self.plan.networks.iter().all(|n| n.hidden().next().is_none()) {
            return;
        }
        self.chain("masqueraded", NfChainType::NAT, NfHook::Postrouting, SRCNAT, batch);
        let legs = [self.plan.legs(false), self.plan.legs(true)].concat();
        for network in &self.plan.networks {
            for subnet in network.hidden() {
                let from = || {
                    [
                        interface(MetaKey::Iifname, Operator::EQ, &[network.leg()]),
                        address(subnet, "saddr", Operator::EQ),
                    ]
                };
                let mut rule = Vec::from(from());
                rule.push(interface(MetaKey::Oifname, Operator::NEQ, &legs));
                rule.push(Statement::Masquerade(None));
                self.rule("masqueraded", &network.name, rule, batch);
                for external in self.plan.networks.iter().filter(|n| n.external) {
                    let mut rule = Vec::from(from());
                    rule.push(interface(MetaKey::Oifname, Operator::EQ, &[external.leg()]));
                    rule.extend(beyond(external, subnet));
                    rule.push(Statement::Masquerade(None));
                    self.rule("masqueraded", &network.name, rule, batch);
                }
            }
        }
    }

    /// Interfaces that forward because of us forward for our networks only: from each of them to
    /// any other interface the host forwards as little as before.
    fn guarded(&self, opened: &[String], batch: &mut Batch<'static>) {
        self.chain("guarded", NfChainType::Filter, NfHook::Forward, FILTER, batch);
        let legs = [self.plan.legs(false), self.plan.legs(true)].concat();
        let rule = vec![
            matches(meta(MetaKey::Nfproto), Operator::EQ, string("ipv4")),
            interface(MetaKey::Iifname, Operator::EQ, opened),
            interface(MetaKey::Oifname, Operator::NEQ, &legs),
            Statement::Drop(None),
        ];
        self.rule("guarded", "forwards for our networks only", rule, batch);
    }

    fn chain(
        &self,
        name: &'static str,
        kind: NfChainType,
        hook: NfHook,
        priority: i32,
        batch: &mut Batch<'static>,
    ) {
        batch.add(NfListObject::Chain(Chain {
            family: NfFamily::INet,
            table: self.name.to_owned().into(),
            name: name.into(),
            _type: Some(kind),
            hook: Some(hook),
            prio: Some(priority),
            policy: Some(NfChainPolicy::Accept),
            ..Chain::default()
        }));
    }

    fn rule(
        &self,
        chain: &'static str,
        comment: &str,
        statements: Vec<Statement<'static>>,
        batch: &mut Batch<'static>,
    ) {
        batch.add(NfListObject::Rule(Rule {
            family: NfFamily::INet,
            table: self.name.to_owned().into(),
            chain: chain.into(),
            expr: Cow::Owned(statements),
            comment: Some(comment.to_owned().into()),
            ..Rule::default()
        }));
    }
}

/// `ip daddr 192.0.2.1 tcp dport 443 dnat ip to 10.20.0.5:8443`, or any address of the host.
fn destination(publish: &Publish) -> [Statement<'static>; 3] {
    let at = match publish.at {
        Some(at) => matches(payload("ip", "daddr"), Operator::EQ, string(&at.to_string())),
        None => {
            let fib = Fib { result: FibResult::Type, flags: [FibFlag::Daddr].into() };
            let fib = Expression::Named(NamedExpression::Fib(fib));
            matches(fib, Operator::EQ, string("local"))
        }
    };
    let (first, last) = (number(publish.first), number(publish.last));
    let ports = match publish.first == publish.last {
        true => first,
        false => Expression::Range(Box::new(Range { range: [first, last] })),
    };
    let nat = NAT {
        addr: Some(string(&publish.to.to_string())),
        family: Some(NATFamily::IP),
        port: publish.port.map(number),
        flags: None,
    };
    let port = payload(publish.protocol.name(), "dport");
    [at, matches(port, Operator::EQ, ports), Statement::DNAT(Some(nat))]
}

/// Not for the addresses of a network that the switch reaches by itself.
fn beyond(external: &Network, from: &IpNet) -> Option<Statement<'static>> {
    let same = |s: &&IpNet| matches!(s, IpNet::V4(_)) == matches!(from, IpNet::V4(_));
    let own: Vec<SetItem<'static>> =
        external.subnets.iter().filter(same).map(|s| SetItem::Element(prefix(s))).collect();
    let set = Expression::Named(NamedExpression::Set(own.clone()));
    (!own.is_empty()).then(|| matches(payload(family(from), "daddr"), Operator::NEQ, set))
}

fn address(subnet: &IpNet, field: &'static str, op: Operator) -> Statement<'static> {
    matches(payload(family(subnet), field), op, prefix(subnet))
}

const fn family(subnet: &IpNet) -> &'static str {
    match subnet {
        IpNet::V4(_) => "ip",
        IpNet::V6(_) => "ip6",
    }
}

fn prefix(subnet: &IpNet) -> Expression<'static> {
    if subnet.prefix_len() == subnet.max_prefix_len() {
        return string(&subnet.addr().to_string());
    }
    let addr = Box::new(string(&subnet.network().to_string()));
    let len = u32::from(subnet.prefix_len());
    Expression::Named(NamedExpression::Prefix(Prefix { addr, len }))
}

fn interface(key: MetaKey, op: Operator, names: &[String]) -> Statement<'static> {
    let names = match names {
        [one] => string(one),
        several => {
            let items = several.iter().map(|name| SetItem::Element(string(name))).collect();
            Expression::Named(NamedExpression::Set(items))
        }
    };
    matches(meta(key), op, names)
}

fn matches(
    left: Expression<'static>,
    op: Operator,
    right: Expression<'static>,
) -> Statement<'static> {
    Statement::Match(Match { left, right, op })
}

const fn meta(key: MetaKey) -> Expression<'static> {
    Expression::Named(NamedExpression::Meta(Meta { key }))
}

fn payload(protocol: &'static str, field: &'static str) -> Expression<'static> {
    let field = PayloadField { protocol: protocol.into(), field: field.into() };
    Expression::Named(NamedExpression::Payload(Payload::PayloadField(field)))
}

fn string(text: &str) -> Expression<'static> {
    Expression::String(text.to_owned().into())
}

fn number(port: u16) -> Expression<'static> {
    Expression::Number(u32::from(port))
}
