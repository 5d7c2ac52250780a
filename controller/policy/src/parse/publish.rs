//! `publish:`.

use std::{
    collections::{HashMap, HashSet},
    net::{IpAddr, Ipv4Addr},
};

use super::{
    Builder, keys,
    reader::{self, Table},
};
use crate::{
    diagnostic::Diagnostic,
    model::{Endpoint, Kind, Model, Ports, Publish, Service, Sources16},
    problem::Problem,
    source::Span,
    yaml::Node,
};

impl Builder<'_> {
    /// All of `publish:`.
    pub fn publish(&mut self, nodes: &[&Node]) {
        let mut named = HashMap::new();
        for node in nodes {
            let Some(table) = reader::table(node, "a published service", keys::PUBLISH, self.diags)
            else {
                continue;
            };
            let name = self.name(&table, node.span, "publish", &mut named);
            let Some(publish) = self.published(&table, node.span, name) else { continue };
            if self.is_free(&publish) {
                self.model.publish.push(publish);
            }
        }
    }

    fn published(&mut self, table: &Table<'_>, span: Span, name: String) -> Option<Publish> {
        let at = table.need("at", span, self.diags).and_then(|node| self.published_at(node));
        let services = table.need("for", span, self.diags).map(|node| self.published_for(node));
        let to = table.need("to", span, self.diags).and_then(|node| self.published_to(node));
        let port = match table.get("port") {
            Some(node) => Some(self.guest_port(node, services.as_deref().unwrap_or_default())?),
            None => None,
        };
        let (at, services, (guest, addr)) = (at?, services?, to?);
        Some(Publish { name, span, at, services, guest, addr, port })
    }

    /// `at: host`, or one of the host's IPv4 addresses: nobody else's.
    fn published_at(&mut self, node: &Node) -> Option<Option<Ipv4Addr>> {
        let text = reader::text(node, "`at`", self.diags)?;
        if text == "host" {
            return Some(None);
        }
        let addr = reader::address(text, node.span, self.diags)?;
        let IpAddr::V4(v4) = addr else {
            let why = "ports are forwarded for IPv4; IPv6 is routed".to_owned();
            self.diags.report(Problem::PublishedAt { addr, why }, node.span);
            return None;
        };
        if let Some(why) = not_the_hosts(&self.model, addr) {
            let help = "name an address of the host outside of the networks, or `host`";
            let problem = Problem::PublishedAt { addr, why };
            self.diags.push(Diagnostic::new(problem, node.span).help(help));
            return None;
        }
        Some(Some(v4))
    }

    /// Services that have destination ports and nothing else.
    fn published_for(&mut self, node: &Node) -> Vec<Service> {
        let services = self.services(node, "`for`", true);
        for service in &services {
            let no_ports = service.ports.iter().any(|p| !p.protocol.has_ports());
            let from_some = service.ports.iter().any(|p| p.source != Sources16::ALL);
            let why = match (no_ports, from_some) {
                (true, _) => "only ports of tcp, udp and sctp can be forwarded",
                (_, true) => "it says from which source ports; rules may do that",
                _ => continue,
            };
            let problem = Problem::PublishedFor { service: service.name.clone(), why };
            self.diags.report(problem, service.span);
        }
        services
    }

    /// A guest with one IPv4 address behind a gateway, or one of a guest's addresses.
    fn published_to(&mut self, node: &Node) -> Option<(usize, Ipv4Addr)> {
        let text = reader::text(node, "`to`", self.diags)?;
        let addr: Option<IpAddr> = text.parse().ok();
        let named = match self.names.find(text) {
            Some(Endpoint::Guest(guest)) => Some(guest),
            _ => addr.and_then(|addr| owner(&self.model, addr)),
        };
        let Some(guest) = named else {
            let fits = |e| matches!(e, Endpoint::Guest(_));
            self.names.unknown(text, node.span, "guest", fits, self.diags);
            return None;
        };
        let mut reached = behind_gateways(&self.model, guest);
        reached.retain(|v4| addr.is_none_or(|addr| addr == *v4));
        let (why, help) = match reached[..] {
            [one] => return Some((guest, one)),
            [] => ("it has no IPv4 address behind a gateway there", None),
            [one, ..] => {
                let help = format!("say which: `to: {one}`");
                ("it has several IPv4 addresses behind gateways", Some(help))
            }
        };
        let problem = Problem::PublishedTo { to: text.to_owned(), why };
        self.diags.push(Diagnostic::new(problem, node.span).maybe_help(help));
        None
    }

    /// The guest's own port: one for one.
    fn guest_port(&mut self, node: &Node, services: &[Service]) -> Option<u16> {
        let got = reader::text(node, "`port`", self.diags)?;
        let Some(port) = reader::number(got).and_then(|n| u16::try_from(n).ok()).filter(|n| *n > 0)
        else {
            let problem =
                Problem::BadValue { got: got.to_owned(), expected: "a port, from 1 to 65535" };
            self.diags.report(problem, node.span);
            return None;
        };
        let mut seen = HashSet::new();
        let ports = services.iter().flat_map(|s| s.ports.iter().map(move |p| (s, p)));
        let several = |(_, p): &(&Service, &Ports)| p.first != p.last || !seen.insert(p.protocol);
        if let Some((service, _)) = { ports }.find(several) {
            let why = "several ports cannot become one";
            let problem = Problem::PublishedFor { service: service.name.clone(), why };
            let help = "leave `port` out: the guest sees the port that was asked for";
            self.diags.push(Diagnostic::new(problem, node.span).help(help));
            return None;
        }
        Some(port)
    }

    /// Is nothing published at the same ports?
    fn is_free(&mut self, new: &Publish) -> bool {
        let both = |a: Option<Ipv4Addr>, b: Option<Ipv4Addr>| a.is_none() || b.is_none() || a == b;
        let clash = |old: &Publish| {
            let shared = old.ports().find_map(|a| new.ports().find_map(|b| a.overlap(b)));
            shared.filter(|_| both(old.at, new.at))
        };
        let found = self.model.publish.iter().find_map(|old| clash(old).map(|ports| (old, ports)));
        let Some((old, ports)) = found else { return true };
        let problem = Problem::PublishedTwice { ports: ports.to_string(), other: old.name.clone() };
        let label = Diagnostic::new(problem, new.span).label(old.span, "this one");
        self.diags.push(label);
        false
    }
}

/// Why an address is none that packets from outside reach the host at, if so.
fn not_the_hosts(model: &Model, addr: IpAddr) -> Option<String> {
    if let Some(guest) = owner(model, addr) {
        return Some(format!("it belongs to the guest `{}`", model.guests[guest].name));
    }
    let within = |n: &&crate::model::Network| n.subnets.iter().any(|s| s.contains(&addr));
    let network = model.networks.iter().find(within)?;
    let gateway = network.gateway.iter().any(|(gateway, _)| *gateway == addr);
    match (network.kind, gateway) {
        (Kind::External, true) => None,
        (Kind::External, false) => {
            Some(format!("it is not the host's address in `{}`, its gateway", network.name))
        }
        _ => Some(format!("it lies in the network `{}`", network.name)),
    }
}

fn owner(model: &Model, addr: IpAddr) -> Option<usize> {
    model.guests.iter().position(|g| g.nics.iter().any(|nic| nic.addrs.contains(&addr)))
}

fn behind_gateways(model: &Model, guest: usize) -> Vec<Ipv4Addr> {
    let routed = |network: usize, addr: IpAddr| {
        model.networks[network].gateway.iter().any(|(_, subnet)| subnet.contains(&addr))
    };
    let nics = model.guests[guest].nics.iter();
    nics.flat_map(|nic| nic.addrs.iter().map(|addr| (nic.network, *addr)))
        .filter(|(network, addr)| routed(*network, *addr))
        .filter_map(|(_, addr)| match addr {
            IpAddr::V4(v4) => Some(v4),
            IpAddr::V6(_) => None,
        })
        .collect()
}
