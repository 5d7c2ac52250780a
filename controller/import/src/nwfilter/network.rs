//! libvirt's networks, and what of ours they become (libvirt.org/formatnetwork.html).

use std::net::IpAddr;

use ipnet::IpNet;

use super::filter::Interface;
use crate::{
    finding::{Finding, Remark},
    names::Names,
    program::Place,
    site::{self, Gateway, Site, VLAN_MAX},
};

/// A `<network>`.
#[derive(Clone, Debug)]
pub struct Network {
    /// Where.
    pub place: Place,
    /// Its name.
    pub name: String,
    /// Its bridge.
    pub bridge: Option<String>,
    /// How it reaches the outside; none: not at all.
    pub forward: Option<String>,
    /// Its subnets.
    pub subnets: Vec<IpNet>,
    /// The host's addresses in them.
    pub gateways: Vec<IpAddr>,
    /// Addresses that its DHCP gives to MACs.
    pub leases: Vec<(String, IpAddr)>,
    /// Its VLAN tags.
    pub tags: Vec<u16>,
    /// Its port groups.
    pub portgroups: Vec<PortGroup>,
}

/// A `<portgroup>` of a network.
#[derive(Clone, Debug)]
pub struct PortGroup {
    /// Its name.
    pub name: String,
    /// Is it for whoever names none?
    pub default: bool,
    /// Its VLAN tags.
    pub tags: Vec<u16>,
}

/// Adds the networks that have subnets and that the user has not said.
pub fn declare(
    networks: &[Network],
    site: &mut Site,
    names: &mut Names,
    findings: &mut Vec<Finding>,
) {
    for network in networks.iter().filter(|network| !network.subnets.is_empty()) {
        if site.networks.iter().any(|known| is_called(known, &network.name)) {
            continue;
        }
        let vlan = network.tags.first().copied().unwrap_or_else(|| free_vlan(site));
        let name = names.take(&network.name, "network");
        let text = format!("<network> {}", network.name);
        if network.tags.is_empty() {
            let what = format!(
                "`{name}` gets VLAN {vlan}: libvirt's has none, and only an uplink that carries it \
                 tagged shows it"
            );
            findings.push(Finding::new(Remark::Chosen { what }, &network.place, &text));
        }
        let outside = outside(network, &text, findings);
        let interfaces = network.bridge.iter().cloned().chain([network.name.clone()]).collect();
        site.networks.push(site::Network {
            name,
            vlan,
            subnets: network.subnets.clone(),
            gateway: Gateway::At(network.gateways.clone()),
            outside,
            interfaces,
            remark: format!("{}: {text}", network.place),
            ..site::Network::default()
        });
    }
}

/// Our word for its way to the outside.
fn outside(network: &Network, text: &str, findings: &mut Vec<Finding>) -> Option<&'static str> {
    let what = match network.forward.as_deref() {
        Some("nat") => return Some("masquerade"),
        Some("route") => return Some("routed"),
        Some(other) => format!("forward mode `{other}`: here the host routes as it does anyway"),
        None => "an isolated network: the rules below say nothing of that, and `outside: none` \
                 would prove it"
            .to_owned(),
    };
    findings.push(Finding::new(Remark::Differs { what }, &network.place, text));
    None
}

/// The first that nobody has.
fn free_vlan(site: &Site) -> u16 {
    let taken = |vlan: &u16| site.networks.iter().any(|network| network.vlan == *vlan);
    (1..=VLAN_MAX).find(|vlan| !taken(vlan)).unwrap_or(VLAN_MAX)
}

/// Is this its name, or that of an interface that it is behind?
fn is_called(network: &site::Network, name: &str) -> bool {
    network.name == name || network.interfaces.iter().any(|interface| interface == name)
}

/// Our network of an interface, by its source, port group and tag.
///
/// # Errors
/// What is not said, or has no equal.
pub fn find<'s>(
    interface: &Interface,
    guest: &str,
    site: &'s Site,
    networks: &[Network],
) -> Result<&'s site::Network, Box<Finding>> {
    let finding = |remark| Finding::new(remark, &interface.place, &interface.text);
    let Some(source) = &interface.network else { return said(interface, guest, site) };
    let tags = tags(interface, source, networks).map_err(|remark| Box::new(finding(remark)))?;
    let tag = match tags.as_slice() {
        [] => None,
        [tag] => Some(*tag),
        _ => {
            let all = tags.iter().map(u16::to_string).collect::<Vec<_>>().join(", ");
            let what = format!("a trunk of the VLANs {all}");
            let help = "write the guest's `trunk` yourself";
            return Err(Box::new(finding(Remark::LeftOut { what }).help(help)));
        }
    };
    let fits = |network: &&site::Network| {
        is_called(network, source) && tag.is_none_or(|tag| network.vlan == tag)
    };
    site.networks.iter().find(fits).ok_or_else(|| match tag {
        Some(tag) => {
            let what = format!("which subnets VLAN {tag} of {source} has");
            let help = format!("say it by `--network NAME={tag},SUBNET,{source}`");
            Box::new(finding(Remark::NotSaid { what }).help(help))
        }
        None => {
            let what = format!("which VLAN and subnets {source} has");
            let help = format!("say it by `--network {source}=VLAN,SUBNET`");
            Box::new(finding(Remark::NotSaid { what }).help(help))
        }
    })
}

/// The network that the user has said for the guest of an interface without a source.
fn said<'s>(
    interface: &Interface,
    guest: &str,
    site: &'s Site,
) -> Result<&'s site::Network, Box<Finding>> {
    let of_guest = |guest: &site::Guest| guest.nics.first().map(|nic| nic.network.clone());
    let name = site.guests.iter().find(|known| known.name == guest).and_then(of_guest);
    let network = name.and_then(|name| site.networks.iter().find(|network| network.name == name));
    network.ok_or_else(|| {
        let what = format!("which network {} is in", interface.text);
        let help = format!("say it by `--guest {guest}=NETWORK,ADDRESS`");
        let finding = Finding::new(Remark::NotSaid { what }, &interface.place, &interface.text);
        Box::new(finding.help(help))
    })
}

/// The interface's own tags, or those of its port group, or of its network.
fn tags(interface: &Interface, source: &str, networks: &[Network]) -> Result<Vec<u16>, Remark> {
    if !interface.tags.is_empty() {
        return Ok(interface.tags.clone());
    }
    let network = networks.iter().find(|network| network.name == *source);
    let groups = network.map_or(&[][..], |network| &network.portgroups);
    let group = match &interface.portgroup {
        None => groups.iter().find(|group| group.default),
        Some(name) => match (groups.iter().find(|group| group.name == *name), network) {
            (Some(group), _) => Some(group),
            (None, Some(_)) => {
                return Err(Remark::UnknownName { what: "port group", name: name.clone() });
            }
            (None, None) => {
                let what =
                    format!("what the port group `{name}` of {source} is (its network's XML)");
                return Err(Remark::NotSaid { what });
            }
        },
    };
    let own = group.map(|group| group.tags.clone()).filter(|tags| !tags.is_empty());
    Ok(own.or_else(|| network.map(|network| network.tags.clone())).unwrap_or_default())
}

/// The address that a network's DHCP gives to a MAC.
pub fn leased(networks: &[Network], mac: &str) -> Vec<IpAddr> {
    let all = networks.iter().flat_map(|network| &network.leases);
    all.filter(|(known, _)| known == mac).map(|(_, address)| *address).collect()
}
