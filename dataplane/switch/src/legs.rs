//! The host's legs: one for each network with a gateway.

use portcullis_image::{Image, Network};
use portcullis_ports::{
    Interfaces, Link,
    address::Prefixed,
    host_leg::{self, HostLeg},
    link,
};

use crate::error::Result;

/// A leg that exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LegDevice {
    /// Name of the network.
    pub network: String,
    /// The switch's side.
    pub port: String,
    /// Its interface index.
    pub ifindex: u32,
}

/// What a network's leg is to be; `None` where it has no gateway.
pub fn wanted(network: &Network) -> Option<HostLeg> {
    if network.gateway.is_empty() {
        return None;
    }
    let addresses =
        network.gateway.iter().map(|(a, len)| Prefixed { addr: (*a).into(), len: *len });
    Some(HostLeg {
        network: network.name.clone(),
        mac: network.gateway_mac.octets(),
        addresses: addresses.collect(),
        mtu: network.mtu,
    })
}

/// All legs of an image, by network id.
pub fn all_wanted(image: &Image) -> Vec<(u32, HostLeg)> {
    let numbered = image.networks.iter().zip(1..);
    numbered.filter_map(|(n, id)| wanted(n).map(|leg| (id, leg))).collect()
}

/// The leg of that network, if both sides of it exist and are ours; half a leg is removed.
pub fn find(network: &str, alias: &str, now: &Interfaces) -> Result<Option<LegDevice>> {
    let ours = |name: &str| -> Option<&Link> { now.get(name).filter(|l| l.alias == alias) };
    let port = host_leg::port_name(network);
    match (ours(&port), ours(&host_leg::host_name(network))) {
        (Some(link), Some(_)) => {
            Ok(Some(LegDevice { network: network.into(), port, ifindex: link.index }))
        }
        (Some(half), None) | (None, Some(half)) => {
            link::delete(half.index)?;
            Ok(None)
        }
        (None, None) => Ok(None),
    }
}

/// Makes a leg, closed and down.
pub fn make(leg: &HostLeg, alias: &str) -> Result<LegDevice> {
    let link = host_leg::create(leg, alias)?;
    Ok(LegDevice { network: leg.network.clone(), port: link.name, ifindex: link.index })
}
