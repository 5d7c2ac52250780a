//! `/etc/pve` of Proxmox VE: the cluster's, the node's and the guests' firewall, and where the
//! guests are plugged in.
//!
//! A connection to a guest passes the guest's IN rules, one from a guest its OUT rules, one
//! between two guests both; the node's and the cluster's rules are about the node itself. A NIC
//! without `firewall=1`, or a guest whose firewall is off, is not filtered.

mod addresses;
mod config;
mod draft;
mod judge;
mod machine;
mod macros;
mod options;
mod parse;
mod rule;

use std::net::IpAddr;

use config::{Config, EntryKind, Owner};
use machine::Machine;

use crate::{
    SourceText,
    finding::{Finding, Remark},
    names::Names,
    program::Place,
    prove::Judge,
    site::{Options, Realm, Site},
    translate::{Draft, ImportError, Imported, Source, translate},
};

/// What was read.
#[derive(Default)]
struct Proxmox {
    cluster: Option<Config>,
    node: Option<Config>,
    guests: Vec<Config>,
    machines: Vec<Machine>,
    /// Security groups that are labels of the guests that use them.
    labels: Vec<(String, String)>,
}

/// Translates the files of `/etc/pve`, named by their paths below it.
///
/// # Errors
/// [`ImportError`].
pub fn import(files: &[SourceText], options: &Options) -> Result<Imported, ImportError> {
    let mut findings = Vec::new();
    let mut site = options.site(&mut findings);
    let mut names = Names::default();
    let mut source = Proxmox::default();
    let mut nodes = Vec::new();
    for file in files {
        match kind(&file.name) {
            Some(Kind::Firewall(Owner::Cluster)) => {
                source.cluster = Some(parse::parse(file, Owner::Cluster, &mut findings));
            }
            Some(Kind::Firewall(Owner::Node(node))) => nodes.push((node, file)),
            Some(Kind::Firewall(owner)) => {
                source.guests.push(parse::parse(file, owner, &mut findings));
            }
            Some(Kind::Machine(vmid)) => {
                source.machines.push(machine::parse(file, vmid, &mut names, &mut findings));
            }
            None => findings.push(unknown(file)),
        }
    }
    source.machines.sort_by_key(|machine| machine.vmid);
    source.node = node(&nodes, options, &mut findings);
    source.guests.retain(|guest| has_machine(guest, &source.machines, &mut findings));
    let filters = filters(&source.guests);
    machine::add_to_site(&mut site, &source.machines, &filters, &mut names, &mut findings);
    source.labels = label(&source, &mut site, &mut names);
    if source.cluster.is_none() && source.guests.is_empty() && findings.is_empty() {
        let what = "a file of Proxmox VE's firewall (firewall/cluster.fw, firewall/VMID.fw)";
        findings.push(Finding::anywhere(Remark::Missing { what: what.into() }));
    }
    translate(&source, &site, findings)
}

enum Kind {
    Firewall(Owner),
    Machine(u32),
}

/// What a file is, by its path.
fn kind(path: &str) -> Option<Kind> {
    let parts: Vec<&str> = path.split('/').collect();
    let vmid = |stem: Option<&str>| stem.and_then(|s| s.parse::<u32>().ok());
    match parts.as_slice() {
        [.., "cluster.fw"] => Some(Kind::Firewall(Owner::Cluster)),
        [.., node, "host.fw"] => Some(Kind::Firewall(Owner::Node((*node).to_owned()))),
        ["host.fw"] => Some(Kind::Firewall(Owner::Node("local".into()))),
        [.., "qemu-server" | "lxc", file] => vmid(file.strip_suffix(".conf")).map(Kind::Machine),
        [.., "sdn", "firewall", _] => None,
        [.., file] => vmid(file.strip_suffix(".fw")).map(|v| Kind::Firewall(Owner::Guest(v))),
        [] => None,
    }
}

fn unknown(file: &SourceText) -> Finding {
    let place = Place { file: file.name.as_str().into(), line: 1, column: 1 };
    let what = format!("the file {} may hold rules that", file.name);
    let help = "cluster.fw, nodes/NODE/host.fw, VMID.fw and guests' .conf files are read";
    Finding::new(Remark::DeniesElsewhere { what }, &place, "").help(help)
}

/// The node whose rules count.
fn node(
    nodes: &[(String, &SourceText)],
    options: &Options,
    findings: &mut Vec<Finding>,
) -> Option<Config> {
    let chosen = match (&options.node, nodes) {
        (Some(wanted), _) => {
            let found = nodes.iter().find(|(node, _)| node == wanted);
            if found.is_none() {
                let remark =
                    Remark::UnknownName { what: "node with a host.fw", name: wanted.clone() };
                findings.push(Finding::anywhere(remark));
            }
            found
        }
        (None, [] | [_]) => nodes.first(),
        (None, several) => {
            let names: Vec<&str> = several.iter().map(|(node, _)| node.as_str()).collect();
            let what = format!("which node is `host` ({})", names.join(", "));
            let help = format!("say it by `--node {}`", names[0]);
            findings.push(Finding::anywhere(Remark::NotSaid { what }).help(help));
            None
        }
    };
    chosen.map(|(node, file)| parse::parse(file, Owner::Node(node.clone()), findings))
}

/// A guest's rules need the guest.
fn has_machine(guest: &Config, machines: &[Machine], findings: &mut Vec<Finding>) -> bool {
    let Owner::Guest(vmid) = guest.owner else { return false };
    let known = machines.iter().any(|machine| machine.vmid == vmid);
    if !known {
        let what = format!("the guest of {}: its rules", guest.place.file);
        let help = format!("add nodes/NODE/qemu-server/{vmid}.conf or nodes/NODE/lxc/{vmid}.conf");
        findings.push(Finding::new(Remark::LeftOut { what }, &guest.place, "").help(help));
    }
    known
}

/// Addresses that `ipfilter-netN` sets allow: the guest's own, where nothing else says them.
fn filters(guests: &[Config]) -> Vec<(u32, u32, Vec<IpAddr>)> {
    let mut filters = Vec::new();
    for guest in guests {
        let Owner::Guest(vmid) = guest.owner else { continue };
        for set in &guest.ipsets {
            let number = set.name.strip_prefix("ipfilter-net").and_then(|n| n.parse().ok());
            let Some(number) = number else { continue };
            let addrs = set.entries.iter().filter(|e| !e.nomatch).filter_map(|e| match e.what {
                EntryKind::Net(net) if net.prefix_len() == net.max_prefix_len() => Some(net.addr()),
                _ => None,
            });
            filters.push((vmid, number, addrs.collect()));
        }
    }
    filters
}

/// Guests wear the security groups that they use as labels.
fn label(source: &Proxmox, site: &mut Site, names: &mut Names) -> Vec<(String, String)> {
    let mut labels = Vec::new();
    for group in source.cluster.iter().flat_map(|cluster| &cluster.groups) {
        let users = source.guests.iter().filter(|guest| {
            guest.rules.iter().any(|rule| {
                rule.enabled && rule.action == config::Action::Group(group.name.clone())
            })
        });
        let users: Vec<String> =
            users.filter_map(|guest| Some(source.machine(&guest.owner)?.name.clone())).collect();
        // A group of one needs no name of its own.
        if users.len() < 2 {
            continue;
        }
        let label = names.take(&group.name, "group");
        for guest in site.guests.iter_mut().filter(|guest| users.contains(&guest.name)) {
            guest.labels.push(label.clone());
        }
        labels.push((group.name.clone(), label));
    }
    labels
}

impl Proxmox {
    fn machine(&self, owner: &Owner) -> Option<&Machine> {
        let Owner::Guest(vmid) = owner else { return None };
        self.machines.iter().find(|machine| machine.vmid == *vmid)
    }

    /// The rules of a guest.
    fn config(&self, machine: &Machine) -> Option<&Config> {
        self.guests.iter().find(|config| config.owner == Owner::Guest(machine.vmid))
    }
}

impl Source for Proxmox {
    fn title(&self) -> Vec<String> {
        let files = usize::from(self.cluster.is_some()) + usize::from(self.node.is_some());
        let (rules, guests) = (files + self.guests.len(), self.machines.len());
        vec![format!("Imported from Proxmox VE: {rules} firewall files, {guests} guests.")]
    }

    fn draft(&self, site: &Site, realm: &Realm, findings: &mut Vec<Finding>) -> Draft {
        draft::draft(self, site, realm, findings)
    }

    fn judge<'s>(&'s self, site: &'s Site, realm: &'s Realm) -> Box<dyn Judge + 's> {
        Box::new(judge::Walker::new(self, site, realm))
    }
}
