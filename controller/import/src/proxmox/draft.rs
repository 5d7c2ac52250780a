//! Firewall files as chains and gates.

use std::collections::HashMap;

use portcullis_policy::model::Ports;

use super::{
    Proxmox,
    config::{Action, Config, Direction, Rule},
    machine::Machine,
    macros,
};
use crate::{
    finding::{Finding, Remark, did_you_mean},
    names::Names,
    program::{Chain, Gate, Line, Place, Program, Target},
    ranges::Ranges,
    services,
    site::{Realm, Site},
    translate::Draft,
    words::{ServiceWord, Words},
};

/// What the cluster's members and managers may always do on a node: the web interface, consoles,
/// SPICE, SSH, and migration.
pub const MANAGEMENT: &[(u16, u16)] =
    &[(22, 22), (3128, 3128), (5900, 5999), (8006, 8006), (60000, 60050)];
/// Corosync, between the members.
pub const COROSYNC: (u16, u16) = (5405, 5412);

/// Translates all of it.
pub fn draft(source: &Proxmox, site: &Site, realm: &Realm, findings: &mut Vec<Finding>) -> Draft {
    let (words, names) = realm.words(site);
    let mut lower = Lower {
        source,
        site,
        realm,
        words,
        names,
        findings,
        program: Program::default(),
        groups: HashMap::new(),
        sets: HashMap::new(),
    };
    lower.options();
    let ends = source.machines.iter().map(|m| lower.guest(m)).collect::<Vec<_>>();
    let host_in = lower.host(Direction::In);
    let host_out = lower.host(Direction::Out);
    let (ins, outs): (Vec<_>, Vec<_>) = ends.into_iter().unzip();
    // Where a connection meets two gates, the allow rules are those of whom it is for.
    let gates = ins.into_iter().flatten().chain(host_in).chain(outs.into_iter().flatten());
    lower.program.gates.extend(gates.chain(host_out));
    Draft { program: lower.program, words: lower.words, names: lower.names }
}

pub struct Lower<'l> {
    pub source: &'l Proxmox,
    pub site: &'l Site,
    pub realm: &'l Realm,
    pub words: Words,
    pub names: Names,
    pub findings: &'l mut Vec<Finding>,
    pub program: Program,
    /// Chains of groups, by name and direction.
    pub groups: HashMap<(String, bool), usize>,
    /// Words of sets and aliases, by the place that defines them.
    pub sets: HashMap<Place, (String, Ranges)>,
}

/// Where a rule stands: whose names it sees, and what its interface means.
#[derive(Clone, Copy)]
pub enum Env<'e> {
    Guest(&'e Config, &'e Machine),
    Host,
    Group,
}

impl<'l> Lower<'l> {
    /// Both gates of a guest's filtered NICs, and of its others.
    fn guest(&mut self, machine: &'l Machine) -> (Vec<Gate>, Vec<Gate>) {
        let config = self.source.config(machine).filter(|c| c.is_on("enable", false));
        let filtered = |nic: &super::machine::Nic| config.is_some() && nic.firewall;
        let (inside, open): (Vec<_>, Vec<_>) = machine.nics.iter().partition(|nic| filtered(nic));
        let (mut ins, mut outs) = (Vec::new(), Vec::new());
        if let Some(config) = config.filter(|_| !inside.is_empty()) {
            let addrs: Ranges = inside.iter().map(|nic| self.nic(machine, nic.number)).collect();
            ins.push(self.gate(config, machine, Direction::In, &addrs));
            outs.push(self.gate(config, machine, Direction::Out, &addrs));
        }
        for nic in open {
            let addrs = self.nic(machine, nic.number);
            let (name, number) = (&machine.name, nic.number);
            let what = format!(
                "net{number} of `{name}` is not filtered: the rules `{name}-open-in` and \
                 `{name}-open-out` let everything pass that the other side lets pass"
            );
            let help = "delete them to close it; `firewall=1` at the NIC and `enable: 1` in the \
                        guest's options filter it in Proxmox VE";
            let finding = Finding::new(Remark::Chosen { what }, &nic.place, &nic.text);
            self.findings.push(finding.help(help));
            let line = |way: &str| {
                let name = format!("{}-open-{way}", machine.name);
                Line::all(&nic.place, &nic.text, name, Target::Accept)
            };
            let chain = self.chain(Chain::default());
            let all = Ranges::all;
            ins.push(Gate { from: all(), to: addrs.clone(), chain, default: line("in") });
            outs.push(Gate { from: addrs, to: all(), chain, default: line("out") });
        }
        (ins, outs)
    }

    fn gate(
        &mut self,
        config: &'l Config,
        machine: &'l Machine,
        direction: Direction,
        addrs: &Ranges,
    ) -> Gate {
        let env = Env::Guest(config, machine);
        let mut lines = Vec::new();
        if direction == Direction::In {
            lines.extend(self.blacklist());
        }
        lines.extend(self.lines(&config.rules, env, direction, &machine.name));
        let chain = self.chain(Chain { lines });
        let default = self.default(config, direction, &machine.name);
        let (from, to) = match direction {
            Direction::Out => (addrs.clone(), Ranges::all()),
            _ => (Ranges::all(), addrs.clone()),
        };
        Gate { from, to, chain, default }
    }

    /// The node's gate: its own rules, then the cluster's, then what managers always may.
    fn host(&mut self, direction: Direction) -> Option<Gate> {
        let cluster = self.source.cluster.as_ref()?;
        let off = self.source.node.as_ref().is_some_and(|node| !node.is_on("enable", true));
        let mut lines = Vec::new();
        if !off {
            if direction == Direction::In {
                lines.extend(self.blacklist());
            }
            if let Some(node) = &self.source.node {
                lines.extend(self.lines(&node.rules, Env::Host, direction, "host"));
            }
            lines.extend(self.lines(&cluster.rules, Env::Host, direction, "cluster"));
            lines.extend(self.managers(cluster, direction));
        }
        let chain = self.chain(Chain { lines });
        let default = match off {
            true => Line::all(
                &cluster.place,
                "the node's firewall is off",
                "host-open".into(),
                Target::Accept,
            ),
            false => self.default(cluster, direction, "cluster"),
        };
        let (host, others) = (self.realm.host.clone(), self.realm.others());
        let (from, to) = match direction {
            Direction::Out => (host, others),
            _ => (others, host),
        };
        Some(Gate { from, to, chain, default })
    }

    fn default(&self, config: &Config, direction: Direction, whose: &str) -> Line {
        let (key, way) = match direction {
            Direction::Out => ("policy_out", "out"),
            _ => ("policy_in", "in"),
        };
        let target = match config.accepts_by_default(direction) {
            true => Target::Accept,
            false => Target::Drop,
        };
        let name = format!("{whose}-{way}-default");
        match config.option(key) {
            Some(setting) => Line::all(&setting.place, &setting.text, name, target),
            None => {
                let word = if target == Target::Accept { "ACCEPT" } else { "DROP" };
                Line::all(
                    &config.place,
                    &format!("{key}: {word} (nothing else is said)"),
                    name,
                    target,
                )
            }
        }
    }

    fn chain(&mut self, chain: Chain) -> usize {
        self.program.chains.push(chain);
        self.program.chains.len() - 1
    }

    /// Rules of one direction, in order.
    fn lines(
        &mut self,
        rules: &'l [Rule],
        env: Env<'l>,
        direction: Direction,
        whose: &str,
    ) -> Vec<Line> {
        rules.iter().filter_map(|rule| self.rule(rule, env, direction, whose)).collect()
    }

    fn rule(
        &mut self,
        rule: &'l Rule,
        env: Env<'l>,
        direction: Direction,
        whose: &str,
    ) -> Option<Line> {
        if !rule.enabled {
            self.say(rule, Remark::Disabled {}, None);
            return None;
        }
        if rule.direction.is_some_and(|d| d != direction) {
            if direction == Direction::In && rule.direction == Some(Direction::Forward) {
                self.forward(rule);
            }
            return None;
        }
        let target = match &rule.action {
            Action::Decide { accept: true, .. } => Target::Accept,
            Action::Decide { reject, .. } => {
                if *reject {
                    let what = "REJECT answers; a denied connection here gets no answer".to_owned();
                    self.say(rule, Remark::Differs { what }, None);
                }
                Target::Drop
            }
            Action::Group(name) => Target::Jump(self.group(name, direction, rule)?),
        };
        let name = format!("{whose}-{}", rule.place.line);
        let mut line = Line::all(&rule.place, &rule.text, name, target);
        line.log = rule.log;
        line.services = self.services(rule, &mut line.words);
        if let Some(address) = &rule.source {
            line.from = self.address(address, env, rule, &mut line.words)?;
        }
        if let Some(address) = &rule.dest {
            line.to = self.address(address, env, rule, &mut line.words)?;
        }
        if !line.from.is_somebody() || !line.to.is_somebody() {
            let what = "broadcast, multicast and link-local addresses, or nobody at all".to_owned();
            let remark = match line.target {
                Target::Accept => Remark::AcceptLeftOut { what },
                _ => Remark::Differs { what: format!("{what}: nothing here to deny") },
            };
            self.say(rule, remark, None);
        }
        if let Some(iface) = &rule.iface {
            self.interface(iface, env, direction, &mut line, rule);
        }
        Some(line)
    }

    /// Reports something about a rule.
    pub fn say(&mut self, rule: &Rule, remark: Remark, help: Option<String>) {
        self.findings.push(Finding::new(remark, &rule.place, &rule.text).maybe_help(help));
    }

    fn forward(&mut self, rule: &Rule) {
        let accepts = matches!(rule.action, Action::Decide { accept: true, .. });
        let what = "a FORWARD rule (what passes through a node)".to_owned();
        let remark = match accepts {
            true => Remark::LeftOut { what },
            false => Remark::DeniesElsewhere { what },
        };
        let help = "write it as IN or OUT rules of the guests, or delete it".to_owned();
        self.say(rule, remark, Some(help));
    }

    /// The chain of a group in one direction.
    fn group(&mut self, name: &str, direction: Direction, rule: &Rule) -> Option<usize> {
        let key = (name.to_owned(), direction == Direction::In);
        if let Some(&chain) = self.groups.get(&key) {
            return Some(chain);
        }
        let groups = self.source.cluster.iter().flat_map(|c| &c.groups);
        let Some(group) = groups.clone().find(|group| group.name == name) else {
            let help = did_you_mean(name, groups.map(|g| g.name.as_str()));
            let remark = Remark::UnknownName { what: "security group", name: name.to_owned() };
            self.say(rule, remark, help);
            return None;
        };
        if let Some(inner) = group.rules.iter().find(|r| matches!(r.action, Action::Group(_))) {
            let expected = "a rule: a group holds no groups";
            let remark = Remark::BadWord { got: inner.text.clone(), expected };
            self.say(inner, remark, None);
            return None;
        }
        let mut lines = self.lines(&group.rules, Env::Group, direction, &group.name);
        let label = self.source.labels.iter().find(|(known, _)| known == name);
        for (line, (_, label)) in lines.iter_mut().flat_map(|line| label.map(|l| (line, l))) {
            line.words.push(label.clone());
        }
        let chain = self.chain(Chain { lines });
        self.groups.insert(key, chain);
        Some(chain)
    }

    fn services(&mut self, rule: &Rule, words: &mut Vec<String>) -> Vec<Ports> {
        let mut ports = match rule.macro_name.and_then(macros::find) {
            Some((name, ports)) => {
                let (text, own) = macros::service_name(name, ports);
                words.push(text.clone());
                if !self.words.services.iter().any(|w| w.text == text) {
                    self.words.services.push(ServiceWord { text, ports: ports.to_vec(), own });
                }
                ports.to_vec()
            }
            None => services::any(),
        };
        if let Some(protocol) = rule.protocol {
            ports = services::and(&ports, &[services::of_protocol(protocol)]);
        }
        if let Some(list) = &rule.dports {
            ports = services::and(&ports, &services::to_ports(list));
        }
        if let Some(list) = &rule.sports {
            ports = services::and(&ports, &services::from_ports(list));
        }
        if let Some((kind, code)) = rule.icmp {
            ports = services::and(&ports, &[services::icmp(rule.protocol == Some(58), kind, code)]);
        }
        ports
    }

    /// What `-i` narrows a rule to.
    fn interface(
        &mut self,
        iface: &str,
        env: Env<'l>,
        direction: Direction,
        line: &mut Line,
        rule: &Rule,
    ) {
        let set = match env {
            Env::Guest(_, machine) => {
                let number = iface.strip_prefix("net").and_then(|n| n.parse().ok());
                let nic = number.filter(|n| machine.nics.iter().any(|nic| nic.number == *n));
                nic.map(|n| (self.nic(machine, n), direction == Direction::Out))
            }
            Env::Host => self.behind(iface).map(|set| (set, direction == Direction::In)),
            Env::Group => None,
        };
        match set {
            Some((set, true)) => line.from = line.from.and(&set),
            Some((set, false)) => line.to = line.to.and(&set),
            None => {
                let what = format!("the interface {iface}");
                let remark = match line.target {
                    Target::Accept => Remark::AcceptLeftOut { what },
                    Target::Drop => Remark::DenyWidened { what },
                    _ => Remark::BranchUnsure { what },
                };
                let help = match env {
                    Env::Guest(_, machine) => format!("`{}` has no such NIC", machine.name),
                    _ => format!(
                        "say what is behind it: `--network NAME=VLAN,SUBNET,{iface}`, or \
                                  `--world {iface}`"
                    ),
                };
                self.say(rule, remark, Some(help));
                line.maybe = true;
            }
        }
    }

    /// What is behind an interface of the node, if somebody said it.
    fn behind(&self, iface: &str) -> Option<Ranges> {
        let is_it = |name: &String| name == iface;
        let networks = self.site.networks.iter().zip(&self.realm.networks);
        let mut found = networks.filter(|(n, _)| n.interfaces.iter().any(is_it));
        match found.next() {
            Some((_, members)) => Some(members.clone()),
            None => self.site.world.iter().any(is_it).then(|| self.realm.world.clone()),
        }
    }

    /// Addresses of a NIC.
    fn nic(&self, machine: &Machine, number: u32) -> Ranges {
        let guest = self.site.guests.iter().position(|g| g.name == machine.name);
        let nic = machine.nics.iter().position(|nic| nic.number == number);
        let addrs = guest.zip(nic).and_then(|(g, n)| self.realm.guests.get(g)?.get(n));
        addrs.into_iter().flatten().map(|&a| Ranges::from(a)).collect()
    }

    /// The set `blacklist` may open nothing.
    fn blacklist(&mut self) -> Option<Line> {
        let cluster = self.source.cluster.as_ref()?;
        let set = cluster.ipsets.iter().find(|set| set.name == "blacklist")?;
        let (word, ranges) = self.set(set, cluster)?;
        let mut line = Line::all(&set.place, &set.text, "blacklist".into(), Target::Drop);
        line.from = ranges;
        line.words = vec![word];
        Some(line)
    }

    /// What the members of the cluster and the set `management` may do on a node by themselves.
    fn managers(&mut self, cluster: &'l Config, direction: Direction) -> Vec<Line> {
        let mut lines = Vec::new();
        let way = if direction == Direction::In { "in" } else { "out" };
        let local = cluster.aliases.iter().find(|a| a.name == "local_network");
        let local = local.map(|a| (self.alias(a, cluster), &a.place, &a.text));
        let set = cluster.ipsets.iter().find(|set| set.name == "management");
        let set = set.filter(|_| direction == Direction::In);
        let set = set.and_then(|s| Some((self.set(s, cluster)?, &s.place, &s.text)));
        let corosync = local.iter().map(|l| (l, "corosync", services::to_ports(&[COROSYNC])));
        let corosync = corosync
            .map(|(l, name, ports)| (l, name, services::and(&ports, &[services::of_protocol(17)])));
        let tcp = services::and(&services::to_ports(MANAGEMENT), &[services::of_protocol(6)]);
        let managers = local.iter().chain(&set).map(|l| (l, "management", tcp.clone()));
        for (((word, ranges), place, text), name, ports) in managers.chain(corosync) {
            let text = format!("{text} (built in)");
            let mut line = Line::all(place, &text, format!("{name}-{way}"), Target::Accept);
            line.services = ports;
            line.words = vec![word.clone()];
            match direction {
                Direction::Out => line.to = ranges.clone(),
                _ => line.from = ranges.clone(),
            }
            lines.push(line);
        }
        lines
    }
}
