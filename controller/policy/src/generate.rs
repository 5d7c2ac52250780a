//! Random policies and random connections, for tests of everything that must agree with the
//! oracle. The same seed gives the same policy for ever.

use std::{
    fmt::Write,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ipnet::IpNet;
use portcullis_pipeline::addr::Addr;

use crate::model::{Endpoint, Model, Ports, Protocol};

/// A small generator of random numbers (SplitMix64).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// From a seed.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// 64 random bits.
    pub const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`, which is not 0.
    pub const fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    /// True once in `n` times.
    pub const fn once_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    /// One of these.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}

/// How large a policy is to be.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Networks, 1..=200.
    pub networks: usize,
    /// Guests.
    pub guests: usize,
    /// Rules.
    pub rules: usize,
}

/// A policy as YAML, without errors. Networks are of kind `lan`, `external` or plain, so that
/// no invariant of a kind can be violated; `never` and `always` are not used.
pub fn policy(seed: u64, size: Size) -> String {
    let mut g = Generator { r: Random::new(seed), out: String::new(), names: Vec::new() };
    g.networks(size.networks);
    g.guests(size);
    g.host();
    g.sets();
    g.rules(size.rules);
    g.out
}

struct Generator {
    r: Random,
    out: String,
    /// What rules can name.
    names: Vec<String>,
}

const LABELS: &[&str] = &["red", "green", "blue", "web", "db"];
/// Prefixes and addresses around the boundaries of the generated networks, and of the world.
const LITERALS: &[&str] = &[
    "0.0.0.0/0",
    "10.0.0.0/8",
    "10.1.0.0/16",
    "10.1.0.0/25",
    "10.1.0.128/25",
    "10.1.0.7",
    "10.1.0.255",
    "10.2.0.0/24",
    "10.2.0.9",
    "198.51.100.0/24",
    "198.51.100.128/25",
    "198.51.100.129",
    "198.51.100.255",
    "203.0.113.0/24",
    "\"::/0\"",
    "\"fd00::/16\"",
    "\"fd00:1::/64\"",
    "\"fd00:1::7\"",
    "\"fd00:1::ffff:ffff:ffff:ffff\"",
    "\"fd00:2::/96\"",
    "\"2001:db8::/32\"",
    "\"2001:db8:0:8000::/49\"",
];
const SERVICES: &[&str] = &[
    "any",
    "ssh",
    "http",
    "https",
    "smb",
    "nfs",
    "dns",
    "ping",
    "tcp",
    "udp",
    "tcp/0",
    "tcp/8000-8099",
    "tcp/8050-8150",
    "tcp/65535",
    "udp/1-1023",
    "udp/1024-65535",
    "sctp/2905",
    "icmp/3",
    "icmp/3/4",
    "icmpv6/128/0",
    "proto/47",
    "proto/6",
    "proto/58",
    "proto/255",
];

impl Generator {
    /// Writing to a string cannot fail.
    fn line(&mut self, text: std::fmt::Arguments<'_>) {
        let _ = self.out.write_fmt(text);
        self.out.push('\n');
    }

    fn networks(&mut self, count: usize) {
        self.line(format_args!("networks:"));
        for i in 1..=count {
            let kind = match self.r.below(4) {
                0 => ", kind: lan",
                1 => ", kind: external",
                _ => "",
            };
            let subnets = match self.r.below(3) {
                0 => format!("10.{i}.0.0/24"),
                1 => format!("\"fd00:{i:x}::/64\""),
                _ => format!("10.{i}.0.0/24, \"fd00:{i:x}::/64\""),
            };
            let gateway = !self.r.once_in(3);
            let vlan = i + 9;
            self.line(format_args!(
                "  net{i}: {{ vlan: {vlan}, subnets: [{subnets}], gateway: {gateway}{kind} }}"
            ));
            self.names.push(format!("net{i}"));
        }
    }

    fn guests(&mut self, size: Size) {
        self.line(format_args!("guests:"));
        let mut used = [false; 5];
        for i in 0..size.guests {
            let network = 1 + self.r.below(size.networks);
            let mut labels: Vec<&str> = Vec::new();
            for (l, name) in LABELS.iter().enumerate() {
                if self.r.once_in(4) {
                    labels.push(name);
                    used[l] = true;
                }
            }
            let labels = labels.join(", ");
            let other = 1 + self.r.below(size.networks);
            if self.r.once_in(8) && other != network {
                self.line(format_args!(
                    "  guest{i}: {{ labels: [{labels}], nics: [{{ network: net{network} }}, \
                     {{ network: net{other} }}] }}"
                ));
            } else {
                self.line(format_args!(
                    "  guest{i}: {{ network: net{network}, ip: auto, labels: [{labels}] }}"
                ));
            }
            self.names.push(format!("guest{i}"));
        }
        let used = LABELS.iter().zip(used).filter(|(_, used)| *used);
        self.names.extend(used.map(|(name, _)| (*name).to_owned()));
    }

    fn host(&mut self) {
        self.line(format_args!("host: {{ addresses: [192.0.2.1, \"2001:db8::1\"] }}"));
        self.names.extend(["host".into(), "world".into(), "any".into()]);
    }

    fn endpoint(&mut self) -> String {
        if self.r.once_in(4) {
            (*self.r.pick(LITERALS)).to_owned()
        } else {
            let at = self.r.below(self.names.len());
            self.names[at].clone()
        }
    }

    fn endpoints(&mut self) -> String {
        let count = 1 + self.r.below(3);
        let list: Vec<String> = (0..count).map(|_| self.endpoint()).collect();
        format!("[{}]", list.join(", "))
    }

    /// Each holds `any` without one guest, or a union: never nothing.
    fn sets(&mut self) {
        self.line(format_args!("sets:"));
        for i in 0..4 {
            let text = if self.r.once_in(2) {
                self.endpoints()
            } else {
                format!("{{ members: [any], except: {} }}", self.except())
            };
            self.line(format_args!("  set{i}: {text}"));
            self.names.push(format!("set{i}"));
        }
    }

    fn except(&mut self) -> String {
        let count = 1 + self.r.below(3);
        let list: Vec<&str> = (0..count).map(|_| *self.r.pick(&LITERALS[1..14])).collect();
        format!("[{}]", list.join(", "))
    }

    fn rules(&mut self, count: usize) {
        self.line(format_args!("rules:"));
        for i in 0..count {
            let (tier, action) = match self.r.below(10) {
                0 => ("platform", "deny"),
                1 => ("platform", "pass"),
                2 => ("platform", "allow"),
                3..=5 => ("tenant", "deny"),
                _ => ("tenant", "allow"),
            };
            let (from, to) = (self.endpoints(), self.endpoints());
            let services: Vec<&str> =
                (0..1 + self.r.below(3)).map(|_| *self.r.pick(SERVICES)).collect();
            let services = services.join(", ");
            self.line(format_args!(
                "  - {{ name: r{i}, tier: {tier}, {action}: {{ from: {from}, to: {to}, for: \
                 [{services}] }} }}"
            ));
        }
    }
}

/// A connection to ask about.
#[derive(Clone, Copy, Debug)]
pub struct Connection {
    /// Id of the network in which link-local addresses stand.
    pub network: u32,
    /// Who opens it.
    pub src: IpAddr,
    /// To whom; of the same family.
    pub dst: IpAddr,
    /// For what.
    pub service: (Protocol, u16),
}

/// Addresses and numbers of a model at which answers may change.
pub struct Connections {
    r: Random,
    v4: Vec<IpAddr>,
    v6: Vec<IpAddr>,
    /// Link-local addresses by network id.
    link_local: Vec<(u32, IpAddr)>,
    services: Vec<(Protocol, u16)>,
}

impl Connections {
    /// Every declared address, both sides of every boundary of every prefix, both sides of every
    /// port range.
    pub fn new(model: &Model, seed: u64) -> Self {
        let mut addrs: Vec<IpAddr> = Vec::new();
        let nics = model.guests.iter().flat_map(|g| &g.nics);
        addrs.extend(nics.clone().flat_map(|n| n.addrs.iter().copied()));
        addrs.extend(model.networks.iter().flat_map(|n| n.gateway.iter().map(|g| g.0)));
        addrs.extend(model.host.iter().map(|h| h.addr));
        let subnets = model.networks.iter().flat_map(|n| n.subnets.iter().copied());
        subnets.chain(prefixes(model)).for_each(|net| addrs.extend(boundaries(net)));
        let outside = ["8.8.8.8", "2600::1"];
        addrs.extend(outside.into_iter().filter_map(|text| text.parse::<IpAddr>().ok()));
        let (v4, v6) = addrs.into_iter().partition(IpAddr::is_ipv4);
        let macs = nics.map(|n| (n.network as u32 + 1, n.mac));
        let gateways = (1..).zip(&model.networks).map(|(id, n)| (id, n.gateway_mac));
        let link_local =
            macs.chain(gateways).map(|(id, mac)| (id, Addr::link_local_of(mac).into()));
        let stray = "fe80::1".parse().ok().map(|addr| (1, addr));
        let link_local = link_local.chain(stray).collect();
        Self { r: Random::new(seed), v4, v6, link_local, services: numbers(model) }
    }

    /// The next random connection.
    pub fn next_connection(&mut self) -> Connection {
        let service = *self.r.pick(&self.services);
        if self.r.once_in(10) {
            let (network, src) = *self.r.pick(&self.link_local);
            let same: Vec<_> = self.link_local.iter().filter(|l| l.0 == network).collect();
            let dst = self.r.pick(&same).1;
            return Connection { network, src, dst, service };
        }
        let family = if self.r.once_in(2) { &self.v6 } else { &self.v4 };
        let (src, dst) = (*self.r.pick(family), *self.r.pick(family));
        Connection { network: 1, src, dst, service }
    }
}

fn prefixes(model: &Model) -> impl Iterator<Item = IpNet> + '_ {
    let rules = model.rules.iter().flat_map(|r| r.from.iter().chain(&r.to));
    let invariants = model.invariants.iter().flat_map(|i| i.from.iter().chain(&i.to));
    let sets = model.sets.iter().flat_map(|s| s.members.iter().chain(&s.except));
    rules.chain(invariants).chain(sets).filter_map(|t| match t.endpoint {
        Endpoint::Prefix(net) => Some(net),
        _ => None,
    })
}

/// First, last, and their neighbours on both sides.
fn boundaries(net: IpNet) -> Vec<IpAddr> {
    match net {
        IpNet::V4(n) => {
            let (first, last) = (u32::from(n.network()), u32::from(n.broadcast()));
            let near = [first.wrapping_sub(1), first, first | 1, last, last.wrapping_add(1)];
            near.into_iter().map(|a| Ipv4Addr::from(a).into()).collect()
        }
        IpNet::V6(n) => {
            let (first, last) = (u128::from(n.network()), u128::from(n.broadcast()));
            let near = [first.wrapping_sub(1), first, first | 1, last, last.wrapping_add(1)];
            // The mapped addresses are IPv4's place.
            let v6 = near.into_iter().filter(|a| a >> 32 != 0xffff);
            v6.map(|a| Ipv6Addr::from(a).into()).collect()
        }
    }
}

fn numbers(model: &Model) -> Vec<(Protocol, u16)> {
    let rules = model.rules.iter().flat_map(|r| &r.services);
    let services = rules.chain(model.invariants.iter().flat_map(|i| &i.services));
    let mut numbers: Vec<(Protocol, u16)> = services
        .flat_map(|s| &s.ports)
        .flat_map(|&Ports { protocol, first, last, .. }| {
            [first.wrapping_sub(1), first, last, last.wrapping_add(1)].map(|n| (protocol, n))
        })
        .chain(Protocol::ALL.map(|p| (p, 7)))
        .collect();
    // There are 256 IP protocols.
    numbers.retain(|&(p, n)| p != Protocol::Proto || n <= 255);
    numbers.sort_unstable();
    numbers.dedup();
    numbers
}
