//! What Proxmox VE would do: walks a guest's and the node's rules for one connection.

use std::{collections::HashMap, net::IpAddr};

use portcullis_policy::model::{Protocol, Purpose};

use super::{
    Proxmox,
    config::{Action, Address, Config, Direction, EntryKind, IpSet, Name, Rule, Scope},
    draft::{COROSYNC, MANAGEMENT},
    machine::{Machine, Nic},
    macros,
};
use crate::{
    prove::{Bound, Judge, ip_protocol},
    site::{Realm, Site},
};

/// A new connection.
#[derive(Clone, Copy)]
struct Packet {
    from: IpAddr,
    to: IpAddr,
    purpose: Purpose,
    direction: Direction,
}

/// Walks the rules.
pub struct Walker<'w> {
    source: &'w Proxmox,
    site: &'w Site,
    realm: &'w Realm,
    /// Who has an address.
    owners: HashMap<IpAddr, Owner<'w>>,
}

/// A guest's NIC, and the guest's rules if they are in force.
#[derive(Clone, Copy)]
struct Owner<'w> {
    machine: &'w Machine,
    nic: &'w Nic,
    config: Option<&'w Config>,
}

/// Whose rules are walked.
#[derive(Clone, Copy)]
struct Place<'w> {
    own: Option<&'w Config>,
    machine: Option<&'w Machine>,
    in_group: bool,
}

impl<'w> Walker<'w> {
    /// For some files at a site.
    pub fn new(source: &'w Proxmox, site: &'w Site, realm: &'w Realm) -> Self {
        let mut owners = HashMap::new();
        for machine in &source.machines {
            let id = super::config::Owner::Guest(machine.vmid);
            let config = source.guests.iter().find(|c| c.owner == id && c.is_on("enable", false));
            let guest = site.guests.iter().position(|g| g.name == machine.name);
            let nics = guest.map_or(&[][..], |guest| &realm.guests[guest]);
            for (nic, addrs) in machine.nics.iter().zip(nics) {
                owners.extend(addrs.iter().map(|&a| (a, Owner { machine, nic, config })));
            }
        }
        Self { source, site, realm, owners }
    }

    fn owner(&self, addr: IpAddr) -> Option<Owner<'w>> {
        self.owners.get(&addr).copied()
    }

    /// What the guest or node at one end says; `None` if nobody is there.
    fn end(&self, packet: Packet) -> Option<bool> {
        let here = if packet.direction == Direction::In { packet.to } else { packet.from };
        if self.realm.is_host(here) {
            return self.node(packet);
        }
        let Owner { machine, nic, config } = self.owner(here)?;
        let Some(config) = config.filter(|_| nic.firewall) else { return Some(true) };
        if self.is_blacklisted(packet) {
            return Some(false);
        }
        let place = Place { own: Some(config), machine: Some(machine), in_group: false };
        let said = self.walk(&config.rules, place, packet, false);
        Some(said.unwrap_or(config.accepts_by_default(packet.direction)))
    }

    fn node(&self, packet: Packet) -> Option<bool> {
        let cluster = self.source.cluster.as_ref()?;
        if self.source.node.as_ref().is_some_and(|node| !node.is_on("enable", true)) {
            return Some(true);
        }
        if self.is_blacklisted(packet) {
            return Some(false);
        }
        let place = Place { own: None, machine: None, in_group: false };
        let rules = self.source.node.iter().chain([cluster]);
        for config in rules {
            if let Some(said) = self.walk(&config.rules, place, packet, false) {
                return Some(said);
            }
        }
        let said = cluster.accepts_by_default(packet.direction);
        Some(said || self.is_management(cluster, packet))
    }

    fn is_blacklisted(&self, packet: Packet) -> bool {
        let cluster = self.source.cluster.as_ref();
        let set = cluster.and_then(|c| c.ipsets.iter().find(|s| s.name == "blacklist"));
        let place = Place { own: None, machine: None, in_group: false };
        packet.direction == Direction::In
            && set.is_some_and(|set| self.in_set(set, place, packet.from))
    }

    fn is_management(&self, cluster: &Config, packet: Packet) -> bool {
        let peer = if packet.direction == Direction::In { packet.from } else { packet.to };
        let local = cluster.aliases.iter().find(|a| a.name == "local_network");
        let local = local.is_some_and(|a| a.net.contains(&peer));
        let managers = cluster.ipsets.iter().find(|s| s.name == "management");
        let place = Place { own: None, machine: None, in_group: false };
        let manages = packet.direction == Direction::In
            && managers.is_some_and(|set| self.in_set(set, place, peer));
        let port = packet.purpose.number;
        match packet.purpose.protocol {
            Protocol::Tcp => {
                let listed = MANAGEMENT.iter().any(|&(a, b)| a <= port && port <= b);
                listed && (local || manages)
            }
            Protocol::Udp => local && COROSYNC.0 <= port && port <= COROSYNC.1,
            _ => false,
        }
    }

    /// The first rule that decides. What depends on something unknown accepts nothing and
    /// denies always.
    fn walk(&self, rules: &[Rule], place: Place<'w>, p: Packet, unsure: bool) -> Option<bool> {
        for rule in rules.iter().filter(|r| r.enabled) {
            if rule.direction.is_some_and(|d| d != p.direction) {
                continue;
            }
            let Some(certain) = self.matches(rule, place, p) else { continue };
            let perhaps = unsure || !certain;
            match &rule.action {
                Action::Decide { accept: true, .. } if perhaps => {}
                Action::Decide { accept, .. } => return Some(*accept),
                Action::Group(name) => {
                    let groups = self.source.cluster.iter().flat_map(|c| &c.groups);
                    let inner = Place { own: None, machine: place.machine, in_group: true };
                    for group in groups.filter(|g| g.name == *name) {
                        let said = self.walk(&group.rules, inner, p, perhaps);
                        if said.is_some() {
                            return said;
                        }
                    }
                }
            }
        }
        None
    }

    /// Does a rule match: not, perhaps (`false`), or certainly?
    fn matches(&self, rule: &Rule, place: Place<'w>, p: Packet) -> Option<bool> {
        let ends = [(&rule.source, p.from), (&rule.dest, p.to)];
        for (address, addr) in ends {
            if address.as_ref().is_some_and(|a| !self.covers(a, place, addr)) {
                return None;
            }
        }
        if !speaks_of(rule, p.purpose) {
            return None;
        }
        let Some(iface) = &rule.iface else { return Some(true) };
        match self.on_interface(iface, place, p) {
            Some(true) => Some(true),
            Some(false) => None,
            None => Some(false),
        }
    }

    fn on_interface(&self, iface: &str, place: Place<'w>, p: Packet) -> Option<bool> {
        let incoming = p.direction == Direction::In;
        if place.in_group {
            return None;
        }
        if let Some(machine) = place.machine {
            let own = if incoming { p.to } else { p.from };
            let number: u32 = iface.strip_prefix("net")?.parse().ok()?;
            machine.nics.iter().find(|nic| nic.number == number)?;
            return Some(self.owner(own).is_some_and(|o| o.nic.number == number));
        }
        let peer = if incoming { p.from } else { p.to };
        let inside = |n: &crate::site::Network| n.subnets.iter().any(|s| s.contains(&peer));
        let named = |names: &[String]| names.iter().any(|name| name == iface);
        if let Some(network) = self.site.networks.iter().find(|n| named(&n.interfaces)) {
            return Some(inside(network) && !self.realm.is_host(peer));
        }
        if !named(&self.site.world) {
            return None;
        }
        let declared = self.realm.guests.iter().flatten().flatten().any(|a| *a == peer);
        let ours = self.site.networks.iter().any(|n| inside(n) && (!n.external || declared));
        Some(!ours && !self.realm.is_host(peer))
    }

    fn covers(&self, address: &Address, place: Place<'w>, addr: IpAddr) -> bool {
        match address {
            Address::List(list) => list.iter().any(|(a, b)| *a <= addr && addr <= *b),
            Address::Set(name) => {
                let find = |c: &'w Config| c.ipsets.iter().find(|s| s.name == name.name);
                let set = self.scopes(name, place).find_map(find);
                set.is_some_and(|set| self.in_set(set, place, addr))
            }
            Address::Alias(name) => {
                let find = |c: &'w Config| c.aliases.iter().find(|a| a.name == name.name);
                self.scopes(name, place).find_map(find).is_some_and(|a| a.net.contains(&addr))
            }
        }
    }

    fn scopes(&self, name: &Name, place: Place<'w>) -> impl Iterator<Item = &'w Config> {
        let own = place.own.filter(|_| name.scope != Some(Scope::Datacenter));
        let cluster = self.source.cluster.as_ref().filter(|_| name.scope != Some(Scope::Guest));
        own.into_iter().chain(cluster)
    }

    /// The longest entry that covers an address says whether it is in.
    fn in_set(&self, set: &IpSet, place: Place<'w>, addr: IpAddr) -> bool {
        let mut best: Option<(u8, bool)> = None;
        for entry in &set.entries {
            let net = match &entry.what {
                EntryKind::Net(net) => *net,
                EntryKind::Alias(name) => {
                    // Of a set of the cluster the cluster's aliases, of a guest's both.
                    let own = place.own.filter(|c| c.ipsets.iter().any(|s| s.place == set.place));
                    let mut scopes = own.into_iter().chain(self.source.cluster.as_ref());
                    let find = |c: &'w Config| c.aliases.iter().find(|a| a.name == name.name);
                    let Some(alias) = scopes.find_map(find) else { continue };
                    alias.net
                }
            };
            let said = (net.prefix_len(), entry.nomatch);
            if net.contains(&addr) && best.is_none_or(|best| best < said) {
                best = Some(said);
            }
        }
        best.is_some_and(|(_, nomatch)| !nomatch)
    }
}

fn speaks_of(rule: &Rule, purpose: Purpose) -> bool {
    let listed = |list: &Option<Vec<(u16, u16)>>, port: u16| match list {
        None => true,
        Some(list) => {
            purpose.protocol.has_ports() && list.iter().any(|&(a, b)| a <= port && port <= b)
        }
    };
    let of_macro = match rule.macro_name.and_then(macros::find) {
        None => true,
        Some((_, ports)) => ports.iter().any(|p| {
            let source = p.source.first <= purpose.source && purpose.source <= p.source.last;
            p.protocol == purpose.protocol
                && p.first <= purpose.number
                && purpose.number <= p.last
                && (source || !purpose.protocol.has_ports())
        }),
    };
    let [kind, code] = purpose.number.to_be_bytes();
    let icmp =
        rule.icmp.is_none_or(|(k, c)| k.is_none_or(|k| k == kind) && c.is_none_or(|c| c == code));
    of_macro
        && rule.protocol.is_none_or(|p| u16::from(p) == ip_protocol(purpose))
        && listed(&rule.dports, purpose.number)
        && listed(&rule.sports, purpose.source)
        && icmp
}

impl Walker<'_> {
    fn configs(&self) -> impl Iterator<Item = &Config> {
        self.source.cluster.iter().chain(&self.source.node).chain(&self.source.guests)
    }

    fn rules(&self) -> impl Iterator<Item = &Rule> {
        let groups = self.configs().flat_map(|c| &c.groups).flat_map(|g| &g.rules);
        self.configs().flat_map(|c| &c.rules).chain(groups)
    }
}

impl Judge for Walker<'_> {
    fn allows(&self, from: IpAddr, to: IpAddr, purpose: Purpose) -> bool {
        let packet = |direction| Packet { from, to, purpose, direction };
        match (self.end(packet(Direction::Out)), self.end(packet(Direction::In))) {
            (None, None) => false,
            (out, into) => out.unwrap_or(true) && into.unwrap_or(true),
        }
    }

    fn address_bounds(&self) -> Vec<(IpAddr, IpAddr)> {
        let ends = |net: &ipnet::IpNet| (net.network(), net.broadcast());
        let mut bounds = Vec::new();
        for address in self.rules().flat_map(|r| r.source.iter().chain(&r.dest)) {
            if let Address::List(list) = address {
                bounds.extend(list.iter().copied());
            }
        }
        for config in self.configs() {
            bounds.extend(config.aliases.iter().map(|a| ends(&a.net)));
            for entry in config.ipsets.iter().flat_map(|s| &s.entries) {
                if let EntryKind::Net(net) = &entry.what {
                    bounds.push(ends(net));
                }
            }
        }
        bounds.extend(self.site.networks.iter().flat_map(|n| n.subnets.iter().map(ends)));
        bounds.extend(self.realm.guests.iter().flatten().flatten().map(|a| (*a, *a)));
        bounds
    }

    fn address_marks(&self, addr: IpAddr) -> Vec<bool> {
        let inside = self.site.networks.iter().map(|n| n.subnets.iter().any(|s| s.contains(&addr)));
        let guests = self.realm.guests.iter().flatten().map(|addrs| addrs.contains(&addr));
        let lists =
            self.rules().flat_map(|r| r.source.iter().chain(&r.dest)).filter_map(|a| match a {
                Address::List(list) => Some(list.iter().any(|(a, b)| *a <= addr && addr <= *b)),
                _ => None,
            });
        let named = self.configs().flat_map(|c| {
            let place = Place { own: Some(c), machine: None, in_group: false };
            let sets = c.ipsets.iter().map(move |s| self.in_set(s, place, addr));
            sets.chain(c.aliases.iter().map(|a| a.net.contains(&addr)))
        });
        inside.chain(guests).chain(lists).chain(named).collect()
    }

    fn port_bounds(&self) -> Vec<Bound> {
        let all = (0, u16::MAX);
        let with_ports = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp];
        let mut bounds = Vec::new();
        let mut ports = |list: &[(u16, u16)], of_source: bool| {
            for (protocol, &range) in
                with_ports.iter().flat_map(|p| list.iter().map(move |r| (p, r)))
            {
                let (number, source) = if of_source { (all, range) } else { (range, all) };
                bounds.push(Bound { protocol: *protocol, number, source });
            }
        };
        ports(MANAGEMENT, false);
        ports(&[COROSYNC], false);
        for rule in self.rules() {
            ports(rule.dports.as_deref().unwrap_or(&[]), false);
            ports(rule.sports.as_deref().unwrap_or(&[]), true);
        }
        for rule in self.rules() {
            for p in rule.macro_name.and_then(macros::find).iter().flat_map(|m| m.1) {
                let source = (p.source.first, p.source.last);
                bounds.push(Bound { protocol: p.protocol, number: (p.first, p.last), source });
            }
            if let Some(number) = rule.protocol.map(u16::from) {
                bounds.push(Bound {
                    protocol: Protocol::Proto,
                    number: (number, number),
                    source: all,
                });
            }
            if let Some((kind, code)) = rule.icmp {
                let number = crate::services::icmp_range(kind, code);
                let both = [Protocol::Icmp, Protocol::Icmpv6];
                bounds.extend(both.map(|protocol| Bound { protocol, number, source: all }));
            }
        }
        bounds.sort_unstable();
        bounds.dedup();
        bounds
    }
}
