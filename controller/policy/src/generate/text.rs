//! Random policies: everything that the language has.

use std::fmt::Write;

use super::{Random, Size};

/// A policy as YAML, without errors, with everything that a rule can have. Networks are of kind
/// `lan`, `external` or plain, so that no invariant of a kind can be violated; `never` and
/// `always` are not used.
pub fn policy(seed: u64, size: Size) -> String {
    let (out, names, narrow) = (String::new(), Vec::new(), Vec::new());
    // A stream of its own, so that the rest is what it was without limits.
    let limits = Random::new(!seed);
    let (routed_v4, publishable) = (Vec::new(), Vec::new());
    let r = Random::new(seed);
    let sharing = Random::new(seed.wrapping_add(1) << 32);
    let trunks = Random::new(!seed << 32);
    let (plugged, single) = (vec![Vec::new(); size.networks + 1], Vec::new());
    let mut g = Generator {
        r,
        limits,
        sharing,
        trunks,
        out,
        names,
        narrow,
        routed_v4,
        publishable,
        plugged,
        single,
    };
    g.networks(size.networks);
    g.labels();
    g.guests(size);
    g.host();
    g.denied();
    g.sets();
    g.rules(size.rules);
    g.publish();
    g.out
}

struct Generator {
    r: Random,
    limits: Random,
    /// A stream of its own, too.
    sharing: Random,
    /// Another one.
    trunks: Random,
    out: String,
    /// What rules can name.
    names: Vec<String>,
    /// Of these, what leaves most addresses over.
    narrow: Vec<String>,
    /// Numbers of networks whose guests have an IPv4 address behind a gateway.
    routed_v4: Vec<usize>,
    /// Guests with one such address.
    publishable: Vec<String>,
    /// By number of the network: its guests.
    plugged: Vec<Vec<String>>,
    /// Numbers of networks of one address family.
    single: Vec<usize>,
}

const LABELS: &[&str] = &["red", "green", "blue", "web", "db"];
/// Declared, and worn by nobody: a selector that names it may select nothing.
const UNWORN: &str = "quarantine";
/// Endpoints of which something is left whatever networks, guests and labels are taken out.
const WIDE: &[&str] = &["any", "world", "0.0.0.0/0", "\"::/0\"", "10.0.0.0/8"];
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
/// What denied sets name, around the same boundaries.
const DENIED: &[&str] = &[
    "10.0.0.0/8",
    "10.1.0.128/25",
    "10.2.0.9",
    "192.0.2.0/24",
    "198.51.100.0/25",
    "198.51.100.129",
    "198.51.100.255",
    "203.0.113.0/24",
    "203.0.113.64/27",
    "\"fd00::/16\"",
    "\"fd00:1::7\"",
    "\"2001:db8:0:8000::/49\"",
    "\"2001:db8::/64\"",
    "\"2001:db8::7\"",
    "\"fe80::/10\"",
    "\"::/8\"",
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
    "tcp/2049 from 600-1023",
    "tcp/8000-8099 from 1024-65535",
    "tcp/22 from 22",
    "udp from 0-1023",
    "dns from 53",
    "sctp/2905 from 2905",
];
/// What networks tell their guests.
const OFFERS: &[&str] = &[
    "",
    "",
    ", dhcp: false",
    ", ethertypes: [0x88b5, 0x9000]",
    ", dns: 10.1.0.53, lease: 1h",
    ", dns: [9.9.9.9, \"2620:fe::fe\", \"fd00:1::53\"], domain: lan.example",
];
/// Ends of rules around [`super::NOW_UNIX_S`], which is 2027-01-15T08:00:00Z.
const ENDS: &[&str] = &[
    "2026-12-01",
    "2027-01-15T08:00:00Z",
    "2027-01-15T09:00:01+01:00",
    "2027-01-16",
    "2030-06-01T12:30Z",
    "90m",
    "8h",
    "7d",
    "2w",
];

/// Limits that a policy's packets do not run into soon.
const LIMITS: &[&str] = &[
    "",
    "",
    "",
    ", limits: none",
    ", limits: { flows: 5000, half-open: none, new: 900/s }",
    ", limits: { broadcast: 300/s, neighbours: none, in: 100Mbit/s }",
    ", limits: { flows: none, in: 1Gbit/s, out: 64000 kbit/s }",
];

/// Those of what is not a guest, by network.
const LEGS: &[&str] = &[
    "",
    ", uplink-limits: { flows: 9000, new: 20000/s, out: 1Gbit/s }",
    ", host-limits: none",
    ", uplink-limits: none, host-limits: { half-open: 300, broadcast: none, in: 2Gbit/s }",
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
            if !subnets.contains(", ") {
                self.single.push(i);
            }
            let gateway = !self.r.once_in(3);
            let outside = match i % 3 {
                0 if gateway && !kind.contains("external") => ", outside: masquerade",
                1 if gateway && !kind.contains("external") => ", outside: routed",
                _ => "",
            };
            let vlan = i + 9;
            let limits = *self.limits.pick(LIMITS);
            let offer = *self.r.pick(OFFERS);
            let legs = LEGS[i % LEGS.len()];
            let more = format!("{kind}{outside}{offer}{limits}{legs}");
            self.line(format_args!(
                "  net{i}: {{ vlan: {vlan}, subnets: [{subnets}], gateway: {gateway}{more} }}"
            ));
            if gateway && subnets.starts_with("10.") {
                self.routed_v4.push(i);
            }
            self.narrow.push(format!("net{i}"));
        }
    }

    /// Some labels are declared, one of them worn by nobody.
    fn labels(&mut self) {
        let web = if self.r.once_in(2) { ", web: \"web servers\"" } else { "" };
        self.line(format_args!("labels: {{ {UNWORN}: \"cut off\"{web} }}"));
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
            let limits = *self.limits.pick(LIMITS);
            self.plugged[network].push(format!("guest{i}"));
            if self.r.once_in(8) && other != network {
                self.plugged[other].push(format!("guest{i}"));
                let forwards = if self.r.once_in(2) { ", forwards: false" } else { "" };
                let nics = match self.trunks.below(3) {
                    0 => format!("nics: [{{ network: net{network} }}, {{ network: net{other} }}]"),
                    1 => format!("network: net{network}, trunk: [net{other}]"),
                    _ => format!("trunk: [net{network}, {{ network: net{other}, ip: auto }}]"),
                };
                self.line(format_args!(
                    "  guest{i}: {{ labels: [{labels}], {nics}{forwards}{limits} }}"
                ));
            } else {
                self.line(format_args!(
                    "  guest{i}: {{ network: net{network}, ip: auto, labels: [{labels}]{limits} }}"
                ));
                if self.routed_v4.contains(&network) {
                    self.publishable.push(format!("guest{i}"));
                }
            }
            self.narrow.push(format!("guest{i}"));
        }
        let used = LABELS.iter().zip(used).filter(|(_, used)| *used);
        self.narrow.extend(used.map(|(name, _)| (*name).to_owned()));
        self.shared();
    }

    /// Some addresses are shared, by guests of one network.
    fn shared(&mut self) {
        for network in 1..self.plugged.len() {
            let by = self.plugged[network].iter().take(3).cloned().collect::<Vec<_>>();
            if by.len() < 2 || self.sharing.once_in(2) {
                continue;
            }
            if self.narrow.iter().all(|name| !name.starts_with("shared")) {
                self.line(format_args!("shared:"));
            }
            let by = by.join(", ");
            let labels = *self.sharing.pick(&["", ", labels: web"]);
            let router = if self.single.contains(&network) { ", vrrp: 7" } else { "" };
            self.line(format_args!(
                "  shared{network}: {{ network: net{network}, by: [{by}]{router}{labels} }}"
            ));
            self.narrow.push(format!("shared{network}"));
        }
    }

    fn host(&mut self) {
        self.line(format_args!("host: {{ addresses: [192.0.2.1, \"2001:db8::1\"] }}"));
        self.narrow.push("host".into());
        self.names.extend(self.narrow.iter().cloned());
        self.names.extend(["world".into(), "any".into(), UNWORN.into()]);
    }

    fn endpoint(&mut self) -> String {
        match self.r.below(8) {
            0 | 1 => (*self.r.pick(LITERALS)).to_owned(),
            2 => self.selector(2),
            _ => self.r.pick(&self.names).clone(),
        }
    }

    /// A selector that selects something, or names the label that nobody wears.
    fn selector(&mut self, depth: usize) -> String {
        match self.r.below(4) {
            0 => format!("{{ not: {} }}", self.narrow_list(depth)),
            1 => format!("{{ any of: {} }}", self.narrow_list(depth)),
            2 => {
                let wide = *self.r.pick(WIDE);
                format!("{{ all of: [{wide}, {{ not: {} }}] }}", self.narrow_list(depth))
            }
            _ => {
                let [a, b] = [(); 2].map(|()| self.r.pick(&self.names).clone());
                format!("{{ all of: [{a}, {b}, {{ not: {UNWORN} }}] }}")
            }
        }
    }

    /// Endpoints that leave something over, one inside the other for `depth` levels at most.
    fn narrow_list(&mut self, depth: usize) -> String {
        let mut list = Vec::new();
        for _ in 0..1 + self.r.below(3) {
            let nested = depth > 0 && self.r.once_in(4);
            list.push(if nested {
                format!("{{ any of: {} }}", self.narrow_list(depth - 1))
            } else {
                self.r.pick(&self.narrow).clone()
            });
        }
        format!("[{}]", list.join(", "))
    }

    fn endpoints(&mut self) -> String {
        let count = 1 + self.r.below(3);
        let list: Vec<String> = (0..count).map(|_| self.endpoint()).collect();
        format!("[{}]", list.join(", "))
    }

    /// Every second policy has denied sets, most of which name some of what rules name too.
    fn denied(&mut self) {
        if self.limits.once_in(2) {
            return;
        }
        self.line(format_args!("denied:"));
        for i in 0..1 + self.limits.below(2) {
            let count = 1 + self.limits.below(4);
            let list: Vec<&str> = (0..count).map(|_| *self.limits.pick(DENIED)).collect();
            self.line(format_args!("  denied{i}: {{ addresses: [{}] }}", list.join(", ")));
        }
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
        let mut list: Vec<&str> = (0..count).map(|_| *self.r.pick(&LITERALS[1..14])).collect();
        let selector = self.r.once_in(3).then(|| format!("{{ any of: {} }}", self.narrow_list(1)));
        list.extend(selector.as_deref());
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
            let options = self.options();
            self.line(format_args!(
                "  - {{ name: r{i}, tier: {tier}{options}, {action}: {{ from: {from}, to: {to}, \
                 for: [{services}] }} }}"
            ));
        }
    }

    /// Some guests are reachable at the host, each at ports of its own.
    fn publish(&mut self) {
        let guests: Vec<String> = self.publishable.iter().take(3).cloned().collect();
        if !guests.is_empty() {
            self.line(format_args!("publish:"));
        }
        for (i, guest) in guests.iter().enumerate() {
            let at = if i % 2 == 0 { "host" } else { "192.0.2.1" };
            let (what, port) = match i {
                0 => ("tcp/8080", ", port: 80"),
                1 => ("[tcp/8443, udp/8443]", ""),
                _ => ("udp/5000-5009", ""),
            };
            self.line(format_args!(
                "  - {{ name: p{i}, at: {at}, for: {what}, to: {guest}{port} }}"
            ));
        }
    }

    /// What most rules do not have.
    fn options(&mut self) -> String {
        let mut options = String::new();
        if self.r.once_in(4) {
            options += ", until: ";
            let end = *self.r.pick(ENDS);
            options.push_str(end);
        }
        if self.r.once_in(6) {
            options += ", mode: observe";
        }
        if self.r.once_in(8) {
            let log = *self.r.pick(&[", log: true", ", log: { rate: 3/s }"]);
            options.push_str(log);
        }
        if self.r.once_in(8) {
            options += ", owner: ops, ticket: OPS-1";
        }
        options
    }
}
