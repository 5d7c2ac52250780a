//! The interface behind a port: made or taken over, brought up, given back.

use std::collections::BTreeSet;

use portcullis_image::{Image, Nic};
use portcullis_pipeline::addr::Addr;
use portcullis_ports::{
    Error as DeviceError, Interfaces, Link, Netns,
    address::Prefixed,
    link, tap,
    veth::{self, Peer, PeerConfig},
};

use crate::{
    error::Result,
    place::table_index,
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

/// Finds the interface of a port, or makes it: down, and marked as ours. `taken`: indexes of the
/// port table that other ports hold; `now`: what there is.
pub fn ensure(
    spec: &PortSpec,
    alias: &str,
    nic: Option<&Nic>,
    taken: &BTreeSet<u32>,
    now: &Interfaces,
) -> Result<Device> {
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
        None => make(spec, alias, nic, taken).map(|link| Device { link, made: true }),
    }
}

/// The kernel's word for what we make.
const fn kernel_kind(kind: &PortKind) -> &'static str {
    match kind {
        PortKind::Tap { .. } => "tun",
        PortKind::Veth { .. } => "veth",
        PortKind::Uplink { .. } => "",
    }
}

fn make(spec: &PortSpec, alias: &str, nic: Option<&Nic>, taken: &BTreeSet<u32>) -> Result<Link> {
    let mut made = create(spec, alias, nic)?;
    for _ in 0..TRIES {
        if !taken.contains(&table_index(made.index)) {
            break;
        }
        link::delete(made.index)?;
        made = create(spec, alias, nic)?;
    }
    Ok(made)
}

fn create(spec: &PortSpec, alias: &str, nic: Option<&Nic>) -> Result<Link> {
    match &spec.kind {
        PortKind::Veth { netns, peer, .. } => {
            let netns = netns.as_ref().map(Netns::open).transpose()?;
            let peer = Peer { name: peer.clone(), mac: nic.map(|n| n.mac.octets()) };
            Ok(veth::create(&spec.name, &peer, netns.as_ref(), alias)?)
        }
        PortKind::Tap { queues } => Ok(tap::create(&spec.name, *queues, alias)?),
        PortKind::Uplink { .. } => Ok(link::get(&spec.name)?),
    }
}

/// Brings a guest's port up, with its network's MTU, and its peer where that was asked for.
pub fn open_guest(spec: &PortSpec, image: &Image, nic: &Nic) -> Result<()> {
    let port = link::get(&spec.name)?;
    let mtu = image.network(nic.network).map_or(port.mtu, |n| n.mtu);
    if port.mtu != mtu {
        link::set_mtu(port.index, mtu)?;
    }
    link::set_up(port.index, true)?;
    if let PortKind::Veth { netns, peer, configure: true } = &spec.kind {
        let netns = netns.as_ref().map(Netns::open).transpose()?;
        veth::configure_peer(netns.as_ref(), peer, &peer_config(image, nic))?;
        link::wait_running(&spec.name)?;
    }
    Ok(())
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
