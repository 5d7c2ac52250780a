//! The interface behind a port: made or taken over, brought up, given back.

use std::collections::BTreeSet;

use portcullis_image::{Image, Nic};
use portcullis_pipeline::addr::{Addr, Mac};
use portcullis_ports::{
    Error as DeviceError, Interfaces, Link, Netns,
    address::Prefixed,
    link,
    tap::{self, Openers},
    veth::{self, Peer, PeerConfig},
};

use crate::{
    error::Result,
    place::{Place, table_index},
    spec::{PortKind, PortSpec},
};

/// Tries to get an interface index whose place in the port table is free. The kernel counts them
/// up, also over deleted ones, so the next one is another.
const TRIES: usize = 16;

/// A device and whether it was made just now.
#[derive(Clone, Debug)]
pub struct Device {
    /// As the kernel shows it.
    pub link: Link,
    /// Was it made by this call?
    pub made: bool,
}

/// How what is made here is marked.
#[derive(Clone, Copy, Debug)]
pub struct Marks<'a> {
    /// The alias of its interfaces.
    pub alias: &'a str,
    /// Who may open its taps.
    pub openers: Openers,
}

/// Finds the interface of a port, or makes it: down, and marked as ours. `taken`: indexes of the
/// port table that other ports hold; `mac`: of the guest's end, where it is known; `now`: what there
/// is.
pub fn ensure(
    spec: &PortSpec,
    marks: Marks<'_>,
    mac: Option<Mac>,
    taken: &BTreeSet<u32>,
    now: &Interfaces,
) -> Result<Device> {
    let alias = marks.alias;
    let found = now.get(&spec.name).filter(|l| !veth::is_unfinished(l, alias)).cloned();
    if !spec.kind.is_ours() {
        let found = found.filter(|l| !l.alias.starts_with("portcullis:"));
        let missing = || DeviceError::NoSuchInterface { name: spec.name.clone() };
        return Ok(Device { link: found.ok_or_else(missing)?, made: false });
    }
    match found {
        Some(link) if link.alias == alias && link.kind == kernel_kind(&spec.kind) => {
            Ok(Device { link, made: false })
        }
        Some(_) => {
            let (name, place) = (spec.name.clone(), String::new());
            Err(DeviceError::NameInUse { name, place }.into())
        }
        None => make(spec, marks, mac, taken).map(|link| Device { link, made: true }),
    }
}

/// The kernel's word for what we make.
const fn kernel_kind(kind: &PortKind) -> &'static str {
    match kind {
        PortKind::Tap { .. } | PortKind::VhostUser { .. } => "tun",
        PortKind::Veth { .. } => "veth",
        PortKind::Uplink { .. } | PortKind::Stranger { .. } => "",
    }
}

fn make(
    spec: &PortSpec,
    marks: Marks<'_>,
    mac: Option<Mac>,
    taken: &BTreeSet<u32>,
) -> Result<Link> {
    let mut made = create(spec, marks, mac)?;
    for _ in 0..TRIES {
        if !taken.contains(&table_index(made.index)) {
            break;
        }
        link::delete(made.index)?;
        made = create(spec, marks, mac)?;
    }
    Ok(made)
}

fn create(spec: &PortSpec, marks: Marks<'_>, mac: Option<Mac>) -> Result<Link> {
    let Marks { alias, openers } = marks;
    match &spec.kind {
        PortKind::Veth { netns, peer, .. } => {
            let netns = netns.as_ref().map(Netns::open).transpose()?;
            let peer = Peer { name: peer.clone(), mac: mac.map(Mac::octets) };
            Ok(veth::create(&spec.name, &peer, netns.as_ref(), alias)?)
        }
        PortKind::Tap { queues } => Ok(tap::create_for(&spec.name, *queues, alias, openers)?),
        PortKind::VhostUser { .. } => Ok(tap::create(&spec.name, 1, alias)?),
        PortKind::Uplink { .. } | PortKind::Stranger { .. } => Ok(link::get(&spec.name)?),
    }
}

/// Brings a guest's port up, with the largest MTU of its networks, and its peer where that was asked
/// for: of a trunk with an interface for each tagged network on top of it.
pub fn open_guest(spec: &PortSpec, image: &Image, place: &Place) -> Result<()> {
    let port = link::get(&spec.name)?;
    let nics = || place.nics(port.index).map(|(nic, number)| (&image.nics[nic], number));
    let mtus = nics().filter_map(|(nic, _)| Some(image.network(nic.network)?.mtu));
    let mtu = mtus.max().unwrap_or(port.mtu);
    if port.mtu != mtu {
        link::set_mtu(port.index, mtu)?;
    }
    link::set_up(port.index, true)?;
    let PortKind::Veth { netns, peer, configure: true } = &spec.kind else { return Ok(()) };
    let netns = netns.as_ref().map(Netns::open).transpose()?;
    let bare = nics().find(|(_, number)| *number == port.index);
    let mac = mac(image, place).map_or([0; 6], Mac::octets);
    let own = bare.map(|(nic, _)| peer_config(image, nic)).unwrap_or_default();
    veth::configure_peer(netns.as_ref(), peer, &PeerConfig { mac, mtu, ..own })?;
    for (nic, _) in nics().filter(|(_, number)| *number != port.index) {
        let vlan = image.network(nic.network).map_or(0, |network| network.vlan);
        veth::configure_vlan(netns.as_ref(), peer, vlan, &peer_config(image, nic))?;
    }
    Ok(link::wait_running(&spec.name)?)
}

/// The MAC of the interface of a guest's port: of a trunk that of its untagged network, else of the
/// first.
pub fn mac(image: &Image, place: &Place) -> Option<Mac> {
    place.nics(0).next().map(|(nic, _)| image.nics[nic].mac)
}

/// What a guest's end gets.
fn peer_config(image: &Image, nic: &Nic) -> PeerConfig {
    let network = image.network(nic.network);
    let len = |addr: Addr| {
        let subnets = network.map_or(&[][..], |n| &n.subnets);
        let found = subnets.iter().find(|(s, len)| crate::slot::covers(*s, *len, addr));
        let mapped = found.map_or(128, |(_, len)| *len);
        if addr.is_v4() { mapped.saturating_sub(96) } else { mapped }
    };
    PeerConfig {
        mac: nic.mac.octets(),
        mtu: network.map_or(1500, |n| n.mtu),
        addresses: nic.addrs.iter().map(|a| Prefixed { addr: (*a).into(), len: len(*a) }).collect(),
        gateways: gateways(image, nic),
    }
}

/// The gateways that a NIC's addresses can use: one a family, and only the guest's first NIC of
/// those that have one.
fn gateways(image: &Image, nic: &Nic) -> Vec<std::net::IpAddr> {
    let has_gateway = |n: &&Nic| image.network(n.network).is_some_and(|w| !w.gateway.is_empty());
    let first = image.nics.iter().filter(|n| n.guest == nic.guest).find(has_gateway);
    if first.map(|n| n.network) != Some(nic.network) {
        return Vec::new();
    }
    let all = image.network(nic.network).map_or(&[][..], |n| &n.gateway);
    [true, false]
        .into_iter()
        .filter(|v4| nic.addrs.iter().any(|a| a.is_v4() == *v4))
        .filter_map(|v4| all.iter().find(|(a, _)| a.is_v4() == v4))
        .map(|(a, _)| (*a).into())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn a_peer_gets_what_its_network_says() {
        let image = testing::image();
        let config = peer_config(&image, &image.nics[0]);
        assert_eq!(config.mac, image.nics[0].mac.octets());
        assert_eq!(config.addresses[0].len, 24);
        assert_eq!(config.gateways, ["10.10.0.1".parse::<std::net::IpAddr>().unwrap()]);
    }

    #[test]
    fn only_one_nic_of_a_guest_has_the_default_route() {
        let image = testing::image();
        assert_eq!(gateways(&image, &image.nics[2]).len(), 1);
        assert!(gateways(&image, &image.nics[3]).is_empty());
    }
}
