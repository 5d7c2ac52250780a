//! A container's end of a port, as it is in its network namespace.

use std::{net::IpAddr, path::Path};

use portcullis_ports::{Netns, address, link};

use crate::error::Result;

/// An interface of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inside {
    /// Its MAC.
    pub mac: [u8; 6],
    /// Largest L3 packet, bytes.
    pub mtu: u32,
    /// Is it up?
    pub up: bool,
    /// Its addresses with their prefix lengths, link-local ones left out.
    pub addresses: Vec<(IpAddr, u8)>,
}

/// Looks at an interface in the namespace at `netns`.
pub fn look(netns: &Path, interface: &str) -> Result<Inside> {
    let look = || -> portcullis_ports::Result<Inside> {
        let link = link::get(interface)?;
        let own = address::list()?.into_iter().filter(|owned| owned.interface == link.index);
        let addresses = own.map(|owned| (owned.address.addr, owned.address.len));
        let addresses = addresses.filter(|(address, _)| !is_link_local(*address)).collect();
        Ok(Inside { mac: link.mac, mtu: link.mtu, up: link.up, addresses })
    };
    Ok(Netns::open(netns)?.run(look)??)
}

fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local())
}
