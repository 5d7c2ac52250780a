//! The hypervisor's own leg of a network: a veth pair whose host side is the network's gateway.

use crate::{
    address::{self, Prefixed},
    error::{Error, Result},
    interfaces::Interfaces,
    link::{self, Link},
    name, sysctl,
    veth::{self, Peer},
};

/// What a leg is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostLeg {
    /// The network's name; the interfaces' names derive from it.
    pub network: String,
    /// MAC of the gateway, carried by the host side.
    pub mac: [u8; 6],
    /// The gateway's addresses with their subnets.
    pub addresses: Vec<Prefixed>,
    /// Largest L3 packet, bytes.
    pub mtu: u32,
}

/// Name of the host side of a network's leg.
pub fn host_name(network: &str) -> String {
    name::short("pc-", network)
}

/// Name of the switch's side of a network's leg.
pub fn port_name(network: &str) -> String {
    name::short("pcs-", network)
}

/// Makes the pair, both ends down and without addresses; the switch's side is returned.
pub fn create(leg: &HostLeg, alias: &str) -> Result<Link> {
    let peer = Peer { name: host_name(&leg.network), mac: Some(leg.mac) };
    veth::discard_unfinished(&port_name(&leg.network), alias)?;
    if link::find(&peer.name)?.is_some() {
        return Err(Error::NameInUse { name: peer.name, place: String::new() });
    }
    let port = veth::create(&port_name(&leg.network), &peer, None, alias)?;
    match prepare_host_side(&peer.name, alias) {
        Ok(()) => Ok(port),
        Err(e) => {
            link::delete(port.index)?;
            Err(e)
        }
    }
}

/// Marks the host side and takes away what a gateway must not do: obey router advertisements and
/// redirects, or send redirects for what the switch routes anyway.
fn prepare_host_side(name: &str, alias: &str) -> Result<()> {
    use sysctl::Family::{V4, V6};
    link::set_alias(link::get(name)?.index, alias)?;
    sysctl::set(V6, name, "accept_ra", "0")?;
    sysctl::set(V6, name, "accept_dad", "0")?;
    sysctl::set(V6, name, "accept_redirects", "0")?;
    sysctl::set(V4, name, "accept_redirects", "0")?;
    sysctl::set(V4, name, "send_redirects", "0")
}

/// Makes MAC, MTU and addresses of both sides what they are to be. `now`: as they are.
pub fn configure(leg: &HostLeg, now: &Interfaces) -> Result<()> {
    let (host, port) = (there(host_name(&leg.network), now)?, there(port_name(&leg.network), now)?);
    for side in [host, port] {
        if side.mtu != leg.mtu {
            link::set_mtu(side.index, leg.mtu)?;
        }
    }
    if host.mac != leg.mac {
        link::set_mac(host.index, leg.mac)?;
    }
    let present: Vec<Prefixed> = now.addresses_of(host.index).collect();
    let link_local = address::link_local_of(leg.mac);
    for old in present.iter().filter(|a| !leg.addresses.contains(a) && a.addr != link_local) {
        address::remove(host.index, *old)?;
    }
    for new in leg.addresses.iter().filter(|a| !present.contains(a)) {
        address::add(host.index, *new)?;
    }
    Ok(())
}

/// Brings both sides up. `now`: as they are.
pub fn bring_up(network: &str, now: &Interfaces) -> Result<()> {
    let sides = [port_name(network), host_name(network)];
    if sides.iter().all(|name| now.get(name).is_some_and(|side| side.up && side.running)) {
        return Ok(());
    }
    for name in &sides {
        link::set_up(there(name.clone(), now)?.index, true)?;
    }
    sides.iter().try_for_each(|name| link::wait_running(name))
}

fn there(name: String, now: &Interfaces) -> Result<&Link> {
    now.get(&name).ok_or(Error::NoSuchInterface { name })
}
