//! veth pairs: one end is a port of the switch, the other goes to a guest or to the host.

use std::os::fd::{AsFd, AsRawFd};

use netlink_packet_route::link::{
    InfoData, InfoKind, InfoVeth, LinkAttribute, LinkInfo, LinkMessage,
};

use crate::{
    address::{self, Prefixed},
    error::{Error, Result},
    link::{self, Link},
    name,
    netns::Netns,
    sysctl,
};

/// The guest's end of a pair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Name in its namespace.
    pub name: String,
    /// MAC; `None` lets the kernel choose one.
    pub mac: Option<[u8; 6]>,
}

/// What a guest's end gets inside its namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerConfig {
    /// MAC.
    pub mac: [u8; 6],
    /// Largest L3 packet, bytes.
    pub mtu: u32,
    /// Addresses with their subnets.
    pub addresses: Vec<Prefixed>,
    /// Default routes: at most one a family.
    pub gateways: Vec<std::net::IpAddr>,
}

/// Makes a pair, both ends down: `name` here, its peer in `netns` (or here too). Our end is
/// marked with `alias` and kept clear of the host's own stack.
pub fn create(name: &str, peer: &Peer, netns: Option<&Netns>, alias: &str) -> Result<Link> {
    name::check(name)?;
    name::check(&peer.name)?;
    discard_unfinished(name, alias)?;
    if link::find(name)?.is_some() {
        return Err(Error::NameInUse { name: name.into(), place: String::new() });
    }
    create_pair(name, peer, netns, alias)?;
    let marked = link::get(name).and_then(|made| mark_port(&made, alias));
    marked.and_then(|()| link::get(name)).inspect_err(|_| discard(name))
}

/// Is it our end of a pair whose maker died before it was marked? The kernel takes no alias with a
/// new interface, but a MAC, which nobody sees on this side.
pub fn is_unfinished(link: &Link, alias: &str) -> bool {
    link.kind == "veth" && !link.up && link.alias.is_empty() && link.mac == mark(&link.name, alias)
}

/// Removes what somebody who died has left of a pair.
pub(crate) fn discard_unfinished(name: &str, alias: &str) -> Result<()> {
    match link::find(name)?.filter(|link| is_unfinished(link, alias)) {
        Some(half) => link::delete(half.index),
        None => Ok(()),
    }
}

/// The MAC that our end is born with: locally administered, and nobody else's.
fn mark(name: &str, alias: &str) -> [u8; 6] {
    let hash = name::fnv1a(&format!("{alias} {name}")).to_be_bytes();
    [0x02, b'P', hash[0], hash[1], hash[2], hash[3]]
}

/// Removes what was made just now and could not be finished. The error that matters is the one
/// that led here.
fn discard(name: &str) {
    if let Ok(Some(made)) = link::find(name) {
        let _ = link::delete(made.index);
    }
}

/// Keeps the host's own stack off an interface, and marks it as ours: that last, so that what is
/// marked is whole.
pub(crate) fn mark_port(link: &Link, alias: &str) -> Result<()> {
    link::set_no_arp(link.index)?;
    sysctl::without_ipv6(&link.name)?;
    link::set_alias(link.index, alias)
}

/// A bare pair, both ends down. `peer` is made in its namespace from the start.
fn create_pair(name: &str, peer: &Peer, netns: Option<&Netns>, alias: &str) -> Result<()> {
    let mut other = LinkMessage::default();
    other.attributes.push(LinkAttribute::IfName(peer.name.clone()));
    other.attributes.extend(peer.mac.map(|m| LinkAttribute::Address(m.to_vec())));
    other.attributes.extend(netns.map(|n| LinkAttribute::NetNsFd(n.as_fd().as_raw_fd())));
    let info =
        vec![LinkInfo::Kind(InfoKind::Veth), LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(other)))];
    let address = LinkAttribute::Address(mark(name, alias).to_vec());
    let own = vec![LinkAttribute::IfName(name.into()), address, LinkAttribute::LinkInfo(info)];
    link::create(own).map_err(|e| match e.raw_os_error() {
        Some(libc::EEXIST) => Error::NameInUse { name: peer.name.clone(), place: place(netns) },
        Some(libc::EOPNOTSUPP) => Error::NoDriver { kind: "veth" },
        _ => Error::kernel(format!("create the veth pair {name}"), e),
    })
}

fn place(netns: Option<&Netns>) -> String {
    netns.map(|n| format!(" in the namespace {}", n.path().display())).unwrap_or_default()
}

/// Gives a guest's end its MAC, addresses and routes, and brings it and loopback up. Doing it
/// again changes nothing.
pub fn configure_peer(netns: Option<&Netns>, peer: &str, config: &PeerConfig) -> Result<()> {
    match netns {
        Some(netns) => netns.run(|| configure_here(peer, config, true))?,
        None => configure_here(peer, config, false),
    }
}

/// Puts the interface of a VLAN on top of a guest's end, and gives it its MAC, addresses and routes.
/// Doing it again changes nothing.
pub fn configure_vlan(
    netns: Option<&Netns>,
    peer: &str,
    vlan: u16,
    config: &PeerConfig,
) -> Result<()> {
    let make = || {
        let below = link::get(peer)?;
        let name = vlan_name(peer, vlan);
        if link::find(&name)?.is_none() {
            link::create_vlan(&name, below.index, vlan)?;
        }
        configure_here(&name, config, false)
    };
    match netns {
        Some(netns) => netns.run(make)?,
        None => make(),
    }
}

/// `eth0.10`, as `ip link` and everybody else calls it, where an interface can have that name.
pub fn vlan_name(parent: &str, vlan: u16) -> String {
    let usual = format!("{parent}.{vlan}");
    if name::check(&usual).is_ok() { usual } else { format!("vlan{vlan}") }
}

fn configure_here(peer: &str, config: &PeerConfig, loopback: bool) -> Result<()> {
    let link = link::get(peer)?;
    if loopback && let Some(lo) = link::find("lo")? {
        link::set_up(lo.index, true)?;
    }
    if link.mac != config.mac {
        link::set_mac(link.index, config.mac)?;
    }
    if link.mtu != config.mtu {
        link::set_mtu(link.index, config.mtu)?;
    }
    // The link-local address must be there at once too, and the switch answers probes for it.
    sysctl::set(sysctl::Family::V6, peer, "accept_dad", "0")?;
    link::set_up(link.index, true)?;
    for address in &config.addresses {
        address::add(link.index, *address)?;
    }
    for gateway in &config.gateways {
        address::default_route(link.index, *gateway)?;
    }
    Ok(())
}
