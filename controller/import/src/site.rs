//! What a firewall's own files rarely say, and a policy must: networks, guests, the host.

use std::net::IpAddr;

use ipnet::IpNet;
use portcullis_policy::{Model, model::Kind};

use crate::{
    finding::{Finding, Remark},
    ranges::{Ranges, number},
};

/// Largest VLAN id.
pub const VLAN_MAX: u16 = 4094;

/// Where the switch routes for a network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Gateway {
    /// Nowhere.
    #[default]
    None,
    /// At the first address of each subnet.
    First,
    /// At these.
    At(Vec<IpAddr>),
}

/// A network.
#[derive(Clone, Debug, Default)]
pub struct Network {
    /// Its name.
    pub name: String,
    /// Its VLAN.
    pub vlan: u16,
    /// Its subnets.
    pub subnets: Vec<IpNet>,
    /// Its gateway.
    pub gateway: Gateway,
    /// Does what is not declared in it belong to the world?
    pub external: bool,
    /// How the host's own stack carries it outside, as the policy says it.
    pub outside: Option<&'static str>,
    /// What interfaces it is behind.
    pub interfaces: Vec<String>,
    /// Where it comes from, for a comment.
    pub remark: String,
}

/// A guest's NIC.
#[derive(Clone, Debug, Default)]
pub struct Nic {
    /// Name of its network.
    pub network: String,
    /// Its MAC.
    pub mac: Option<String>,
    /// Its addresses; none: `auto`.
    pub addrs: Vec<IpAddr>,
}

/// A guest.
#[derive(Clone, Debug, Default)]
pub struct Guest {
    /// Its name.
    pub name: String,
    /// Its NICs.
    pub nics: Vec<Nic>,
    /// Its labels.
    pub labels: Vec<String>,
    /// Where it comes from, for a comment.
    pub remark: String,
}

/// All of it.
#[derive(Clone, Debug, Default)]
pub struct Site {
    /// Networks.
    pub networks: Vec<Network>,
    /// Guests.
    pub guests: Vec<Guest>,
    /// Addresses of the host, besides gateways.
    pub host: Vec<IpAddr>,
    /// Interfaces behind which the world is.
    pub world: Vec<String>,
}

impl Site {
    /// Every label that a guest wears, once.
    pub fn labels(&self) -> std::collections::BTreeSet<String> {
        self.guests.iter().flat_map(|g| g.labels.iter().cloned()).collect()
    }
}

/// What the user says besides the files.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// `NAME=VLAN,SUBNET[,SUBNET...][,gateway|ADDRESS][,external][,INTERFACE...]`.
    pub networks: Vec<String>,
    /// `NAME=NETWORK[,ADDRESS...][,MAC]`.
    pub guests: Vec<String>,
    /// Addresses of the host.
    pub host: Vec<String>,
    /// Interfaces behind which the world is.
    pub world: Vec<String>,
    /// The node whose `host.fw` counts (Proxmox VE).
    pub node: Option<String>,
    /// `NAME=VALUE` (nwfilter).
    pub variables: Vec<String>,
}

impl Options {
    /// Reads what the user said about networks, guests and the host.
    pub fn site(&self, findings: &mut Vec<Finding>) -> Site {
        let mut site = Site { world: self.world.clone(), ..Site::default() };
        for text in &self.networks {
            let network =
                pair("--network", text).and_then(|(name, rest)| network(text, name, rest));
            take(network, &mut site.networks, findings);
        }
        for text in &self.guests {
            let guest = pair("--guest", text).and_then(|(name, rest)| guest(text, name, rest));
            take(guest, &mut site.guests, findings);
        }
        for text in &self.host {
            let why = || bad("--host", text, "it is not an address");
            take(text.parse().map_err(|_| why()), &mut site.host, findings);
        }
        site
    }
}

fn take<T>(got: Result<T, Box<Finding>>, into: &mut Vec<T>, findings: &mut Vec<Finding>) {
    match got {
        Ok(value) => into.push(value),
        Err(finding) => findings.push(*finding),
    }
}

fn bad(option: &'static str, value: &str, why: impl Into<String>) -> Box<Finding> {
    let (value, why) = (value.into(), why.into());
    Box::new(Finding::anywhere(Remark::BadOption { option, value, why }))
}

/// `NAME=REST`.
pub fn pair<'t>(option: &'static str, text: &'t str) -> Result<(&'t str, &'t str), Box<Finding>> {
    let parts = text.split_once('=').filter(|(name, rest)| !name.is_empty() && !rest.is_empty());
    parts.ok_or_else(|| bad(option, text, "it wants NAME=VALUE"))
}

fn network(text: &str, name: &str, rest: &str) -> Result<Network, Box<Finding>> {
    let mut network = Network { name: name.into(), ..Network::default() };
    network.remark = format!("--network {text}");
    for part in rest.split(',') {
        if let Ok(vlan) = part.parse::<u16>() {
            network.vlan = vlan;
        } else if let Ok(net) = part.parse::<IpNet>() {
            network.subnets.push(net.trunc());
        } else if let Ok(addr) = part.parse::<IpAddr>() {
            match &mut network.gateway {
                Gateway::At(addrs) => addrs.push(addr),
                gateway => *gateway = Gateway::At(vec![addr]),
            }
        } else {
            match part {
                "" => return Err(bad("--network", text, "there is an empty part")),
                "gateway" => network.gateway = Gateway::First,
                "external" => network.external = true,
                _ => network.interfaces.push(part.into()),
            }
        }
    }
    let example = "as in lan=10,10.0.0.0/24,gateway,eth1";
    if !(1..=VLAN_MAX).contains(&network.vlan) {
        return Err(bad(
            "--network",
            text,
            format!("it wants a VLAN id from 1 to 4094, {example}"),
        ));
    }
    if network.subnets.is_empty() {
        return Err(bad("--network", text, format!("it wants a subnet, {example}")));
    }
    Ok(network)
}

fn guest(text: &str, name: &str, rest: &str) -> Result<Guest, Box<Finding>> {
    let mut parts = rest.split(',');
    let network = parts.next().unwrap_or_default().to_owned();
    let mut nic = Nic { network, ..Nic::default() };
    for part in parts.filter(|part| *part != "auto") {
        match part.parse::<IpAddr>() {
            Ok(addr) => nic.addrs.push(addr),
            Err(_) if is_mac(part) => nic.mac = Some(part.to_lowercase()),
            Err(_) => {
                let why =
                    format!("`{part}` is neither an address nor a MAC, as in web=dmz,10.0.0.5");
                return Err(bad("--guest", text, why));
            }
        }
    }
    let remark = format!("--guest {text}");
    Ok(Guest { name: name.into(), nics: vec![nic], labels: Vec::new(), remark })
}

/// Does it look like a MAC?
pub fn is_mac(text: &str) -> bool {
    let byte = |part: &str| part.len() == 2 && part.bytes().all(|b| b.is_ascii_hexdigit());
    text.split(':').count() == 6 && text.split(':').all(byte)
}

/// Who has which addresses, as the policy compiler sees it.
#[derive(Clone, Debug, Default)]
pub struct Realm {
    /// The host.
    pub host: Ranges,
    /// The world.
    pub world: Ranges,
    /// Members of each network, as the site lists them.
    pub networks: Vec<Ranges>,
    /// Addresses of each NIC of each guest, as the site lists them.
    pub guests: Vec<Vec<Vec<IpAddr>>>,
}

impl Realm {
    /// From the compiled networks and guests.
    pub fn new(model: &Model) -> Self {
        let gateways = model.networks.iter().flat_map(|n| n.gateway.iter().map(|g| g.0));
        let host: Ranges =
            gateways.chain(model.host.iter().map(|h| h.addr)).map(Ranges::from).collect();
        let nics = |g: &portcullis_policy::model::Guest| {
            g.nics.iter().map(|nic| nic.addrs.clone()).collect::<Vec<_>>()
        };
        let guests: Vec<Vec<Vec<IpAddr>>> = model.guests.iter().map(nics).collect();
        let declared: Ranges =
            guests.iter().flatten().flatten().map(|&a| Ranges::from(a)).collect();
        let subnets = |n: &portcullis_policy::model::Network| -> Ranges {
            n.subnets.iter().map(|&s| Ranges::from(s)).collect()
        };
        let inside: Ranges = model.networks.iter().map(subnets).collect();
        let external = model.networks.iter().filter(|n| n.kind == Kind::External);
        let undeclared: Ranges = external.map(|n| subnets(n).minus(&declared)).collect();
        let world = inside.complement().or(&undeclared).minus(&host);
        let networks = model.networks.iter().map(|n| subnets(n).minus(&host)).collect();
        Self { host, world, networks, guests }
    }

    /// Everything but the host.
    pub fn others(&self) -> Ranges {
        self.host.complement()
    }

    /// Addresses of each machine: no connection that anybody sees has both its ends in one.
    pub fn machines(&self) -> Vec<Ranges> {
        let guests = (0..self.guests.len()).map(|i| self.guest(i));
        guests.chain([self.host.clone()]).collect()
    }

    /// Does the host have this address?
    pub fn is_host(&self, addr: IpAddr) -> bool {
        self.host.has(number(addr))
    }

    /// All addresses of a guest.
    pub fn guest(&self, index: usize) -> Ranges {
        self.guests[index].iter().flatten().map(|&a| Ranges::from(a)).collect()
    }
}
