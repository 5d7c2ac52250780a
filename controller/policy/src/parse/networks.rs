//! `networks:`.

use std::net::IpAddr;

use ipnet::IpNet;
use portcullis_pipeline::{
    addr::Mac,
    layout::{ETHERTYPES, NETWORKS},
    wire::ethernet,
};

use super::{
    Builder, addresses, keys, limits,
    reader::{self, Table},
};
use crate::{
    diagnostic::Diagnostic,
    foreign,
    model::{Endpoint, Kind, Network, Offer, Outside},
    near::nearest,
    problem::Problem,
    source::Span,
    yaml::{Key, Node, Value},
};

/// Ethernet's, and what every device starts with.
const DEFAULT_MTU: u32 = 1500;
/// RFC 8200, section 5; and RFC 791's for networks without IPv6.
const MTU_MIN_V6: u32 = 1280;
const MTU_MIN_V4: u32 = 576;
/// The largest that a tap device takes: 64 KiB less its Ethernet header.
const MTU_MAX: u32 = 65_521;
/// Twelve hours: guests hear of a change on the day that it is made.
const DEFAULT_LEASE_S: u32 = 12 * 3600;

impl Builder<'_> {
    /// Reads one network. It keeps its name even when the rest is wrong, so that one mistake
    /// does not show up again at every use.
    pub fn network(&mut self, key: &Key, node: &Node) {
        self.names.declare(key, Endpoint::Network(self.model.networks.len()), self.diags);
        let mut network = Network {
            name: key.text.clone(),
            span: key.span,
            vlan: 0,
            subnets: Vec::new(),
            gateway: Vec::new(),
            gateway_mac: Mac::default(),
            kind: Kind::Plain,
            kind_span: key.span,
            outside: None,
            outside_span: key.span,
            mtu: DEFAULT_MTU,
            limits: limits::GUEST,
            uplink_limits: limits::UPLINK,
            host_limits: limits::HOST,
            offer: Offer { dhcp: true, dns: Vec::new(), domain: None, lease_s: DEFAULT_LEASE_S },
            ethertypes: Vec::new(),
        };
        if let Some(table) = reader::table(node, "a network", keys::NETWORK, self.diags) {
            if let Some(node) = table.need("vlan", key.span, self.diags) {
                self.vlan(node, &mut network);
            }
            if let Some(node) = table.need("subnets", key.span, self.diags) {
                self.subnets(node, &mut network);
            }
            if let Some(node) = table.get("gateway") {
                self.gateway(node, &mut network);
            }
            if let Some(node) = table.get("kind") {
                self.kind(node, &mut network);
            }
            if let Some(node) = table.get("outside") {
                self.outside(node, &table, &mut network);
            }
            if let Some(node) = table.get("mtu") {
                self.mtu(node, &mut network);
            }
            if let Some(node) = table.get("mac") {
                self.gateway_mac(node, &mut network);
            }
            network.limits = self.limits(&table, "`limits`").over(limits::GUEST);
            network.uplink_limits = self.limits(&table, "`uplink-limits`").over(limits::UPLINK);
            network.host_limits = self.limits(&table, "`host-limits`").over(limits::HOST);
            self.offer(&table, &mut network);
            if let Some(node) = table.get("ethertypes") {
                self.ethertypes(node, &mut network);
            }
        }
        self.model.networks.push(network);
    }

    fn vlan(&mut self, node: &Node, network: &mut Network) {
        let Some(text) = reader::text(node, "`vlan`", self.diags) else { return };
        let Some(vlan) = reader::number(text).filter(|n| (1..=4094).contains(n)) else {
            self.diags.report(Problem::BadVlan { got: text.to_owned() }, node.span);
            return;
        };
        network.vlan = vlan as u16;
        if let Some(other) = self.model.networks.iter().find(|n| n.vlan == network.vlan) {
            let problem = Problem::VlanTaken { vlan: network.vlan, other: other.name.clone() };
            self.diags.push(Diagnostic::new(problem, node.span).label(other.span, "this one"));
        }
    }

    fn subnets(&mut self, node: &Node, network: &mut Network) {
        let items = reader::list(node, "`subnets`", self.diags);
        reader::refuse_empty(node, "`subnets`", self.diags);
        for item in items {
            let Some(text) = reader::text(item, "a subnet", self.diags) else { continue };
            let Some(subnet) = reader::prefix(text, item.span, self.diags) else { continue };
            if self.subnet_fits(subnet, item.span, network) {
                network.subnets.push(subnet);
            }
        }
    }

    fn subnet_fits(&mut self, subnet: IpNet, span: Span, network: &Network) -> bool {
        let why = match reader::unusable_block(subnet) {
            _ if subnet.prefix_len() == 0 => Some("a subnet cannot be the whole address space"),
            why => why,
        };
        if let Some(why) = why {
            self.diags.report(Problem::UnusablePrefix { got: subnet, why }, span);
            return false;
        }
        let overlaps = |other: &&IpNet| other.contains(&subnet) || subnet.contains(*other);
        let found = self.model.networks.iter().chain([network]).find_map(|n| {
            n.subnets.iter().find(overlaps).map(|&other| (other, n.name.clone(), n.span))
        });
        let Some((other, name, at)) = found else { return true };
        let problem = Problem::SubnetOverlap { subnet, other, network: name };
        self.diags.push(Diagnostic::new(problem, span).label(at, "this network"));
        false
    }

    /// `true`, `false`, an address, or a list of addresses (one for each subnet at most).
    fn gateway(&mut self, node: &Node, network: &mut Network) {
        let items = reader::list(node, "`gateway`", self.diags);
        let word = match items {
            [one] => match &one.value {
                Value::Scalar(text) => reader::boolean(text),
                _ => None,
            },
            _ => None,
        };
        match word {
            Some(false) => {}
            Some(true) => {
                let subnets = network.subnets.iter();
                network.gateway = subnets.map(|s| (addresses::first_host(s), *s)).collect();
            }
            None => self.gateway_addresses(items, network),
        }
        for &(addr, subnet) in &network.gateway {
            if subnet.prefix_len() == subnet.max_prefix_len() {
                let why = "takes the only address of its subnet";
                self.diags.report(Problem::BadGateway { addr, why }, node.span);
            }
        }
    }

    fn gateway_addresses(&mut self, items: &[Node], network: &mut Network) {
        for item in items {
            let Some(text) = reader::text(item, "a gateway", self.diags) else { continue };
            if matches!(text, "yes" | "no" | "on" | "off") {
                self.diags.push(reader::not_boolean(text, item.span));
                continue;
            }
            if text.starts_with(|c: char| c.is_ascii_alphabetic()) && !text.contains(':') {
                let problem = Problem::BadAddress { got: text.into() };
                let help = "`gateway: true` takes the first address of each subnet";
                self.diags.push(Diagnostic::new(problem, item.span).help(help));
                continue;
            }
            let Some(addr) = reader::address(text, item.span, self.diags) else { continue };
            let Some(&subnet) = network.subnets.iter().find(|s| s.contains(&addr)) else {
                let name = network.name.clone();
                self.diags.report(Problem::OutsideNetwork { addr, network: name }, item.span);
                continue;
            };
            if network.gateway.iter().any(|&(_, s)| s == subnet) {
                let why = "is the second one of its subnet";
                self.diags.report(Problem::BadGateway { addr, why }, item.span);
                continue;
            }
            if let Some(problem) = addresses::reserved(addr, subnet) {
                self.diags.report(problem, item.span);
                continue;
            }
            network.gateway.push((addr, subnet));
        }
    }

    fn kind(&mut self, node: &Node, network: &mut Network) {
        let Some(text) = reader::text(node, "`kind`", self.diags) else { return };
        network.kind_span = node.span;
        match Kind::of(text) {
            Some(kind) => network.kind = kind,
            None => {
                let expected = "a kind: `lan`, `dmz`, `isolated` or `external`";
                let problem = Problem::BadValue { got: text.to_owned(), expected };
                let near = || nearest(text, Kind::NAMES.iter().copied());
                let meant = foreign::kind(text).or_else(near);
                self.diags.push(Diagnostic::new(problem, node.span).meant(meant));
            }
        }
    }

    /// `routed`, `masquerade` or `none`: what the host's stack does behind the gateway.
    fn outside(&mut self, node: &Node, table: &Table<'_>, network: &mut Network) {
        network.outside_span = node.span;
        let expected = "a way to the outside: `routed`, `masquerade` or `none`";
        let words = Outside::WORDS;
        let Some(outside) = self.one_word(table, "outside", expected, words, foreign::outside)
        else {
            return;
        };
        network.outside = Some(outside);
        let name = network.name.clone();
        if network.kind == Kind::External {
            let help = "it is said of the networks whose guests go out through it";
            let problem = Problem::OutsideOfExternal { network: name };
            self.diags.push(Diagnostic::new(problem, node.span).help(help));
        } else if outside != Outside::None
            && network.gateway.is_empty()
            && !table.may_mean("gateway")
        {
            let problem = Problem::OutsideWithoutGateway { network: name };
            self.diags.push(Diagnostic::new(problem, node.span).help("add `gateway: true`"));
        }
    }

    fn mtu(&mut self, node: &Node, network: &mut Network) {
        let Some(text) = reader::text(node, "`mtu`", self.diags) else { return };
        let v6 = network.subnets.iter().any(|s| matches!(s, IpNet::V6(_)));
        let min = if v6 { MTU_MIN_V6 } else { MTU_MIN_V4 };
        match reader::number(text).filter(|n| (min..=MTU_MAX).contains(n)) {
            Some(mtu) => network.mtu = mtu,
            None => {
                let problem = Problem::BadMtu { got: text.to_owned(), min, max: MTU_MAX };
                self.diags.report(problem, node.span);
            }
        }
    }

    fn gateway_mac(&mut self, node: &Node, network: &mut Network) {
        let Some(text) = reader::text(node, "`mac`", self.diags) else { return };
        if text == "auto" {
            return;
        }
        let Some(mac) = reader::mac(text, node.span, self.diags) else { return };
        network.gateway_mac = mac;
        let owner = format!("the gateway of network `{}`", network.name);
        self.inventory.take_mac(mac, owner, node.span, self.diags);
    }

    /// `ethertypes: [0x88b5]`.
    fn ethertypes(&mut self, node: &Node, network: &mut Network) {
        for item in reader::list(node, "`ethertypes`", self.diags) {
            let Some(text) = reader::text(item, "an EtherType", self.diags) else { continue };
            match ethertype(text) {
                Ok(number) if network.ethertypes.contains(&number) => {
                    self.diags.report(Problem::DuplicateKey { key: text.to_owned() }, item.span);
                }
                Ok(_) if network.ethertypes.len() == ETHERTYPES => {
                    let problem = Problem::TooManyEtherTypes { limit: ETHERTYPES };
                    self.diags.report(problem, item.span);
                }
                Ok(number) => network.ethertypes.push(number),
                Err(why) => {
                    let problem = Problem::BadEtherType { got: text.to_owned(), why };
                    self.diags.report(problem, item.span);
                }
            }
        }
    }

    /// What only the whole list shows: its size. Gateways take their addresses here, before any
    /// guest.
    pub fn check_networks(&mut self) {
        let limit = u64::from(NETWORKS) - 1;
        let got = self.model.networks.len() as u64;
        if let Some(last) = self.model.networks.last()
            && got > limit
        {
            self.diags.report(Problem::TooLarge { what: "networks", got, limit }, last.span);
        }
        for network in &self.model.networks {
            for &(addr, _) in &network.gateway {
                let owner = format!("the gateway of network `{}`", network.name);
                self.inventory.take(addr, owner, network.span, self.diags);
            }
        }
    }

    /// The network that contains an address.
    pub fn network_of(&self, addr: IpAddr) -> Option<(usize, IpNet)> {
        self.model.networks.iter().enumerate().find_map(|(i, n)| {
            n.subnets.iter().find(|s| s.contains(&addr)).map(|&subnet| (i, subnet))
        })
    }
}

/// An EtherType that a network may declare.
fn ethertype(text: &str) -> Result<u16, &'static str> {
    let digits = text.strip_prefix("0x").filter(|d| d.bytes().all(|b| b.is_ascii_hexdigit()));
    let number = digits.and_then(|digits| u16::from_str_radix(digits, 16).ok());
    match number {
        None => Err("it is written in hexadecimal, as in `0x88b5`"),
        Some(number) if number < ethernet::TYPE_MIN => Err("it is a length: types begin at 0x600"),
        Some(ethernet::IPV4 | ethernet::IPV6 | ethernet::ARP) => {
            Err("the switch speaks it itself, and rules say who may")
        }
        Some(ethernet::VLAN | ethernet::SERVICE_VLAN | ethernet::OLD_SERVICE_VLAN) => {
            Err("it is a tag, which would lead into another network")
        }
        Some(number) => Ok(number),
    }
}
