//! Reads the XML of filters, domains and networks.

use std::{net::IpAddr, str::FromStr, sync::Arc};

use ipnet::IpNet;
use roxmltree::{Document, Node, ParsingOptions};

use super::{
    filter::{Action, Attribute, Direction, Filter, Interface, Item, Reference, Rule},
    network::{Network, PortGroup},
};
use crate::{
    SourceText,
    domain::{Domain, child, tags},
    finding::{Finding, Remark, did_you_mean},
    program::Place,
};

/// Protocols that rules can be about.
pub const PROTOCOLS: &[&str] = &[
    "mac",
    "vlan",
    "stp",
    "arp",
    "rarp",
    "ip",
    "ipv6",
    "tcp",
    "udp",
    "udplite",
    "esp",
    "ah",
    "sctp",
    "icmp",
    "igmp",
    "all",
    "tcp-ipv6",
    "udp-ipv6",
    "udplite-ipv6",
    "esp-ipv6",
    "ah-ipv6",
    "sctp-ipv6",
    "icmpv6",
    "all-ipv6",
];
/// Chains and when they are asked, if nothing else is said.
const CHAINS: &[(&str, i32)] = &[
    ("root", 0),
    ("stp", -810),
    ("mac", -800),
    ("vlan", -750),
    ("ipv4", -700),
    ("ipv6", -600),
    ("arp", -500),
    ("rarp", -400),
];
/// More is no filter.
const NODES_MAX: u32 = 100_000;
/// Types of interfaces whose guests may be in a network of ours; where none is said, its source says
/// enough.
const KINDS: &[&str] = &["", "network", "bridge", "direct", "ethernet", "vhostuser"];
/// Priority of rules that have none.
const PRIORITY: i32 = 500;

/// What files hold.
#[derive(Default)]
pub struct Read {
    /// Filters.
    pub filters: Vec<Filter>,
    /// Interfaces of domains.
    pub interfaces: Vec<Interface>,
    /// Networks.
    pub networks: Vec<Network>,
}

/// Reads one file.
pub fn parse(source: &SourceText, read: &mut Read, findings: &mut Vec<Finding>) {
    let file: Arc<str> = source.name.as_str().into();
    let options = ParsingOptions { nodes_limit: NODES_MAX, ..ParsingOptions::default() };
    let document = match Document::parse_with_options(&source.text, options) {
        Ok(document) => document,
        Err(error) => {
            let at = error.pos();
            let place = Place { file, line: at.row, column: at.col };
            let remark = Remark::Unreadable { what: "the XML".into(), why: error.to_string() };
            let text = source.text.lines().nth(at.row.saturating_sub(1) as usize).unwrap_or("");
            findings.push(Finding::new(remark, &place, text.trim()));
            return;
        }
    };
    let mut reader = Reader { file, source, document: &document, findings };
    let root = document.root_element();
    match root.tag_name().name() {
        "filter" => read.filters.extend(reader.filter(root)),
        "domain" => reader.domain(root, read),
        "network" => read.networks.extend(reader.network(root)),
        other => {
            let expected = "a <filter>, a <domain> or a <network>";
            let remark = Remark::BadWord { got: format!("<{other}>"), expected };
            let finding = reader.finding(root, remark);
            reader.findings.push(finding);
        }
    }
}

struct Reader<'r> {
    file: Arc<str>,
    source: &'r SourceText,
    document: &'r Document<'r>,
    findings: &'r mut Vec<Finding>,
}

type Element<'r> = Node<'r, 'r>;

impl<'r> Reader<'r> {
    fn place_at(&self, byte: usize) -> Place {
        let at = self.document.text_pos_at(byte);
        Place { file: self.file.clone(), line: at.row, column: at.col }
    }

    fn place(&self, node: Element<'_>) -> Place {
        self.place_at(node.range().start)
    }

    /// An element as it is written, on one line.
    fn text(&self, node: Element<'_>) -> String {
        let written = self.source.text.get(node.range()).unwrap_or("");
        let one: Vec<&str> = written.split_whitespace().collect();
        one.join(" ").chars().take(160).collect()
    }

    fn finding(&self, node: Element<'_>, remark: Remark) -> Finding {
        Finding::new(remark, &self.place(node), self.text(node))
    }

    fn push(&mut self, node: Element<'_>, remark: Remark, help: Option<String>) {
        let finding = self.finding(node, remark).maybe_help(help);
        self.findings.push(finding);
    }

    /// An attribute that must be there.
    fn need(&mut self, node: Element<'r>, name: &str) -> Option<&'r str> {
        let value = node.attribute(name);
        if value.is_none() {
            let what = format!("the attribute `{name}` of <{}>", node.tag_name().name());
            self.push(node, Remark::Missing { what }, None);
        }
        value
    }

    fn filter(&mut self, node: Element<'r>) -> Option<Filter> {
        let name = self.need(node, "name")?.to_owned();
        let chain = node.attribute("chain").unwrap_or("root").to_owned();
        let base = chain.split('-').next().unwrap_or("");
        let Some(&(_, default)) = CHAINS.iter().find(|(known, _)| *known == base) else {
            let expected = "a chain: root, or one that begins with mac, vlan, stp, arp, rarp, \
                            ipv4 or ipv6";
            let help = did_you_mean(base, CHAINS.iter().map(|c| c.0));
            self.push(node, Remark::BadWord { got: chain, expected }, help);
            return None;
        };
        let priority = self.priority(node, default)?;
        let mut items = Vec::new();
        for child in node.children().filter(Node::is_element) {
            match child.tag_name().name() {
                "rule" => items.extend(self.rule(child).map(Item::Rule)),
                "filterref" => items.extend(self.reference(child).map(Item::Ref)),
                "uuid" => {}
                other => {
                    let expected = "a <rule> or a <filterref>";
                    let remark = Remark::BadWord { got: format!("<{other}>"), expected };
                    let help = did_you_mean(other, ["rule", "filterref", "uuid"].into_iter());
                    self.push(child, remark, help);
                }
            }
        }
        Some(Filter { name, chain, priority, items })
    }

    fn priority(&mut self, node: Element<'r>, default: i32) -> Option<i32> {
        let Some(text) = node.attribute("priority") else { return Some(default) };
        let number = text.parse::<i32>().ok().filter(|n| (-1000..=1000).contains(n));
        if number.is_none() {
            let expected = "a priority from -1000 to 1000";
            self.push(node, Remark::BadWord { got: text.to_owned(), expected }, None);
        }
        number
    }

    fn reference(&mut self, node: Element<'r>) -> Option<Reference> {
        let filter = self.need(node, "filter")?.to_owned();
        let mut variables = Vec::new();
        for child in node.children().filter(Node::is_element) {
            let (name, value) = (self.need(child, "name")?, self.need(child, "value")?);
            variables.push((name.to_owned(), value.to_owned()));
        }
        Some(Reference { place: self.place(node), text: self.text(node), filter, variables })
    }

    fn rule(&mut self, node: Element<'r>) -> Option<Rule> {
        let actions = [
            ("accept", Action::Accept),
            ("drop", Action::Drop),
            ("reject", Action::Reject),
            ("return", Action::Return),
            ("continue", Action::Continue),
        ];
        let directions =
            [("in", Direction::In), ("out", Direction::Out), ("inout", Direction::InOut)];
        let action =
            self.word(node, "action", &actions, "accept, drop, reject, return or continue")?;
        let direction = self.word(node, "direction", &directions, "in, out or inout")?;
        let priority = self.priority(node, PRIORITY)?;
        let mut rule = Rule {
            place: self.place(node),
            text: self.text(node),
            action,
            direction,
            priority,
            protocol: String::new(),
            attributes: Vec::new(),
        };
        for child in node.children().filter(Node::is_element) {
            let name = child.tag_name().name();
            if !PROTOCOLS.contains(&name) {
                let help = did_you_mean(name, PROTOCOLS.iter().copied());
                let remark = Remark::BadWord { got: format!("<{name}>"), expected: "a protocol" };
                self.push(child, remark, help);
                return None;
            }
            if !rule.protocol.is_empty() && rule.protocol != name {
                let expected = "one protocol: a rule has one";
                self.push(child, Remark::BadWord { got: format!("<{name}>"), expected }, None);
                return None;
            }
            rule.protocol = name.to_owned();
            rule.attributes.extend(self.attributes(child)?);
        }
        Some(rule)
    }

    fn word<T: Copy>(
        &mut self,
        node: Element<'r>,
        attribute: &str,
        known: &[(&str, T)],
        expected: &'static str,
    ) -> Option<T> {
        let text = self.need(node, attribute)?;
        let found = known.iter().find(|(word, _)| *word == text).map(|&(_, value)| value);
        if found.is_none() {
            let help = did_you_mean(text, known.iter().map(|k| k.0));
            self.push(node, Remark::BadWord { got: text.to_owned(), expected }, help);
        }
        found
    }

    fn attributes(&mut self, node: Element<'r>) -> Option<Vec<Attribute>> {
        let not = match node.attribute("match") {
            None | Some("yes") => false,
            Some("no") => true,
            Some(other) => {
                let remark = Remark::BadWord { got: other.to_owned(), expected: "yes or no" };
                self.push(node, remark, None);
                return None;
            }
        };
        let own = node.attributes().filter(|a| !matches!(a.name(), "match" | "comment"));
        let read = own.map(|a| Attribute {
            place: self.place_at(a.range().start),
            name: a.name().to_owned(),
            value: a.value().to_owned(),
            not,
        });
        Some(read.collect())
    }

    fn domain(&mut self, node: Element<'r>, read: &mut Read) {
        let Some(Domain { name, interfaces }) = Domain::of(node) else {
            self.push(node, Remark::Missing { what: "the <name> of the domain".into() }, None);
            return;
        };
        let elements = child(node, "devices")
            .into_iter()
            .flat_map(|devices| devices.children().filter(|c| c.tag_name().name() == "interface"));
        for (element, interface) in elements.zip(interfaces) {
            if !KINDS.contains(&interface.kind.as_str()) {
                let what = format!("an interface of type `{}`", interface.kind);
                let help = "give the guest a NIC in a network, and a port of ours";
                self.push(element, Remark::LeftOut { what }, Some(help.into()));
                continue;
            }
            let filter = match child(element, "filterref") {
                None => None,
                Some(node) => match self.reference(node) {
                    Some(reference) => Some(reference),
                    None => continue,
                },
            };
            let on = interface.source.as_deref().or(interface.target.as_deref());
            let on = on.map_or_else(String::new, |on| format!(" on {on}"));
            read.interfaces.push(Interface {
                place: self.place(element),
                text: format!("the interface of {name}{on}"),
                domain: name.clone(),
                network: interface.source.filter(|_| interface.kind != "vhostuser"),
                portgroup: interface.portgroup,
                tags: interface.tags,
                mac: interface.mac,
                filter,
            });
        }
    }

    fn network(&mut self, node: Element<'r>) -> Option<Network> {
        let name = child(node, "name").and_then(|n| n.text()).map(str::trim).unwrap_or_default();
        if name.is_empty() {
            self.push(node, Remark::Missing { what: "the <name> of the network".into() }, None);
            return None;
        }
        let mut network = Network {
            place: self.place(node),
            name: name.to_owned(),
            bridge: child(node, "bridge").and_then(|b| b.attribute("name")).map(str::to_owned),
            // Without a word, `<forward/>` is `nat`.
            forward: child(node, "forward")
                .map(|f| f.attribute("mode").unwrap_or("nat").to_owned()),
            subnets: Vec::new(),
            gateways: Vec::new(),
            leases: Vec::new(),
            tags: tags(node),
            portgroups: Vec::new(),
        };
        for element in node.children().filter(Node::is_element) {
            match element.tag_name().name() {
                "ip" => self.subnet(element, &mut network)?,
                "portgroup" => {
                    let name = self.need(element, "name")?.to_owned();
                    let default = element.attribute("default") == Some("yes");
                    network.portgroups.push(PortGroup { name, default, tags: tags(element) });
                }
                _ => {}
            }
        }
        Some(network)
    }

    fn subnet(&mut self, node: Element<'r>, network: &mut Network) -> Option<()> {
        let text = self.need(node, "address")?;
        let address = self.value::<IpAddr>(node, text, "an address")?;
        let mask = match (node.attribute("prefix"), node.attribute("netmask")) {
            (Some(prefix), _) => self
                .value::<u8>(node, prefix, "a prefix length")
                .and_then(|p| IpNet::new(address, p).ok()),
            (None, Some(mask)) => {
                let mask = self.value::<IpAddr>(node, mask, "a netmask")?;
                IpNet::with_netmask(address, mask).ok()
            }
            (None, None) => None,
        };
        let Some(net) = mask else {
            let what = format!("the prefix or netmask of {address}");
            self.push(node, Remark::Missing { what }, None);
            return None;
        };
        network.subnets.push(net.trunc());
        network.gateways.push(address);
        for host in child(node, "dhcp").into_iter().flat_map(|dhcp| dhcp.children()) {
            if let (Some(mac), Some(ip)) = (host.attribute("mac"), host.attribute("ip")) {
                network.leases.push((mac.to_lowercase(), self.value(host, ip, "an address")?));
            }
        }
        Some(())
    }

    fn value<T: FromStr>(
        &mut self,
        node: Element<'r>,
        text: &str,
        expected: &'static str,
    ) -> Option<T> {
        let value = text.parse().ok();
        if value.is_none() {
            self.push(node, Remark::BadWord { got: text.to_owned(), expected }, None);
        }
        value
    }
}
