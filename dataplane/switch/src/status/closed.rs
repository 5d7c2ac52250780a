//! Why a port is closed.

use std::fmt;

use serde::Serialize;

/// Why a port is closed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "why")]
pub enum Closed {
    /// No policy was applied yet.
    NoPolicy,
    /// The policy does not know the guest.
    UnknownGuest {
        /// The guest.
        guest: String,
    },
    /// The port was attached without a guest.
    NoGuest,
    /// The guest has no NIC in that network.
    NoSuchNic {
        /// The guest.
        guest: String,
        /// The network that was asked for.
        network: String,
    },
    /// The guest has several NICs and the port names no network.
    WhichNic {
        /// The guest.
        guest: String,
        /// Networks of its NICs.
        networks: Vec<String>,
    },
    /// Another port carries that NIC already.
    NicTaken {
        /// The other port.
        port: String,
    },
    /// The policy does not know a network of the uplink.
    UnknownNetwork {
        /// The network.
        network: String,
    },
    /// Another uplink, or the same one twice, carries that network already.
    NetworkTaken {
        /// The network.
        network: String,
        /// The uplink that has it.
        port: String,
    },
    /// The uplink was attached without any network.
    NoNetwork,
    /// The network has as many ports as fit.
    NetworkFull {
        /// The network.
        network: String,
    },
    /// The table has no place for one of the networks of a trunk.
    NoSubport,
    /// The interface index falls on that of another port.
    IndexTaken {
        /// The other port.
        port: String,
    },
    /// Nobody declared what is behind it, and it shares a bridge with a port.
    Stranger {
        /// The bridge.
        bridge: String,
    },
    /// The interface was there and is not any more.
    Gone,
    /// The interface could not be made or taken over.
    Failed {
        /// The error, whole.
        error: String,
    },
}

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoPolicy => f.write_str("no policy applied yet"),
            Self::UnknownGuest { guest } => write!(f, "the policy knows no guest {guest}"),
            Self::NoGuest => f.write_str("attached without a guest"),
            Self::NoSuchNic { guest, network } => {
                write!(f, "the policy gives {guest} no NIC in network {network}")
            }
            Self::WhichNic { guest, networks } => {
                write!(f, "{guest} has NICs in {}: attach with --network", networks.join(", "))
            }
            Self::NicTaken { port } => write!(f, "port {port} carries this NIC already"),
            Self::UnknownNetwork { network } => write!(f, "the policy knows no network {network}"),
            Self::NetworkTaken { network, port } => {
                write!(f, "uplink {port} carries network {network} already")
            }
            Self::NoNetwork => f.write_str("attached without a network"),
            Self::NetworkFull { network } => write!(f, "network {network} has no room for a port"),
            Self::NoSubport => f.write_str("the switch has no room for the networks of the trunk"),
            Self::IndexTaken { port } => {
                write!(f, "its interface index collides with that of port {port}")
            }
            Self::Stranger { bridge } => {
                write!(f, "no policy knows it, and it shares the bridge {bridge} with a port")
            }
            Self::Gone => {
                f.write_str("its interface is gone; the port opens again when it is back")
            }
            Self::Failed { error } => f.write_str(error),
        }
    }
}
