//! What is wanted of the host's stack, as plain data.

use std::net::Ipv4Addr;

use ipnet::IpNet;
use portcullis_ports::host_leg;
use serde::{Deserialize, Serialize};

/// All of it. Two plans that are equal make equal tables.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Networks with a gateway.
    pub networks: Vec<Network>,
    /// Ports of the host that lead to guests.
    pub publish: Vec<Publish>,
}

/// A network behind a gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// Its name in the policy.
    pub name: String,
    /// Subnets that the gateway routes for.
    pub subnets: Vec<IpNet>,
    /// How it reaches the outside.
    pub way: Way,
    /// Does it belong to the outside itself?
    pub external: bool,
}

/// How a network reaches the outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Way {
    /// As the host routes anyway: nothing of the host is changed for it.
    Unsaid,
    /// Under its own addresses.
    Routed,
    /// Under the host's.
    Masquerade,
}

/// Ports of the host that lead to a guest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Publish {
    /// Its name in the policy.
    pub name: String,
    /// At which address; `None`: at all of the host's.
    pub at: Option<Ipv4Addr>,
    /// Which protocol.
    pub protocol: Protocol,
    /// First port.
    pub first: u16,
    /// Last port.
    pub last: u16,
    /// The guest's address.
    pub to: Ipv4Addr,
    /// The guest's port; `None`: the one that was asked for.
    pub port: Option<u16>,
}

/// A protocol with ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl Protocol {
    /// Its name, as nft and conntrack have it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }
}

impl Network {
    /// The host's interface in it.
    pub fn leg(&self) -> String {
        host_leg::host_name(&self.name)
    }

    /// Has it IPv4 addresses?
    pub fn has_v4(&self) -> bool {
        self.subnets.iter().any(|s| matches!(s, IpNet::V4(_)))
    }

    /// Has it IPv6 addresses?
    pub fn has_v6(&self) -> bool {
        self.subnets.iter().any(|s| matches!(s, IpNet::V6(_)))
    }

    /// Subnets that travel under the host's address: IPv4, and unique local IPv6 (RFC 4193).
    /// Global IPv6 needs no translation.
    pub fn hidden(&self) -> impl Iterator<Item = &IpNet> {
        let wanted = self.way == Way::Masquerade;
        self.subnets.iter().filter(move |subnet| {
            wanted
                && match subnet {
                    IpNet::V4(_) => true,
                    IpNet::V6(v6) => v6.addr().is_unique_local(),
                }
        })
    }
}

impl Plan {
    /// Is nothing wanted of the host?
    pub fn is_empty(&self) -> bool {
        self.publish.is_empty() && self.networks.iter().all(|n| n.way == Way::Unsaid)
    }

    /// Must the host forward IPv4?
    pub fn forwards_v4(&self) -> bool {
        !self.publish.is_empty() || self.said().any(Network::has_v4)
    }

    /// Must the host forward IPv6?
    pub fn forwards_v6(&self) -> bool {
        self.said().any(Network::has_v6)
    }

    /// The host's interfaces in networks of ours; `external`: in those that are outside.
    pub fn legs(&self, external: bool) -> Vec<String> {
        self.networks.iter().filter(|n| n.external == external).map(Network::leg).collect()
    }

    fn said(&self) -> impl Iterator<Item = &Network> {
        self.networks.iter().filter(|n| n.way != Way::Unsaid)
    }
}
