//! What there is to tell of a port.

use std::{net::IpAddr, path::PathBuf};

use serde::{Deserialize, Serialize};

use super::{Closed, GateStatus, Traffic};

/// A port as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PortStatus {
    /// Interface name on the switch's side; of a subport with `:` and the network behind it.
    pub name: String,
    /// `tap`, `veth`, `uplink`, `host` or `stranger`; `subport` for a tagged network of the trunk before it.
    pub kind: &'static str,
    /// The guest behind it.
    pub guest: Option<String>,
    /// Its networks: one, or those of an uplink.
    pub networks: Vec<String>,
    /// The MAC that it may use.
    pub mac: Option<String>,
    /// The addresses that it may use.
    pub addresses: Vec<IpAddr>,
    /// Interface index, or the number of a subport; 0 where the interface does not exist.
    pub ifindex: u32,
    /// Does it carry the generation in force?
    pub open: bool,
    /// Why it does not.
    pub closed: Option<Closed>,
    /// Has its tap the fast lane (XDP) at the moment?
    pub lane: bool,
    /// The gate (XDP) of an uplink.
    pub gate: Option<GateStatus>,
    /// The other end of a vhost-user port; only [`Switch::status`](crate::Switch::status) tells.
    pub vhost: Option<VhostStatus>,
    /// What has passed it; only [`Switch::status`](crate::Switch::status) tells.
    pub traffic: Option<Traffic>,
    /// What has passed a trunk's interface by networks that it carries no more; only
    /// [`Switch::status`](crate::Switch::status) tells.
    pub past: Option<Traffic>,
    /// What it has of the flow table; only [`Switch::status`](crate::Switch::status) tells.
    pub connections: Option<PortConnections>,
}

/// The end of a vhost-user port that its guest's monitor connects to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VhostStatus {
    /// The socket.
    pub socket: PathBuf,
    /// Does the engine serve it at the moment?
    pub served: bool,
    /// Is a front end connected, and has said what it wants?
    pub connected: bool,
    /// What it has negotiated, by name.
    pub features: Vec<String>,
    /// The queue that was stopped because its driver broke the rules, and how.
    pub stopped: Option<String>,
    /// Frames for which the guest had no buffers.
    pub no_room: u64,
    /// What the guest has sent and what was no frame.
    pub malformed: u64,
    /// Of what has passed the port, what went straight from one guest's memory to another's. The rest
    /// passed its tap.
    pub direct: Direct,
}

/// What has passed a port without the kernel's half.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Direct {
    /// Packets from the guest.
    pub in_packets: u64,
    /// Their bytes.
    pub in_bytes: u64,
    /// Packets to the guest.
    pub out_packets: u64,
    /// Their bytes.
    pub out_bytes: u64,
}

/// Connections that a port has opened, and how many it may have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PortConnections {
    /// Connections in the flow table.
    pub flows: u64,
    /// Of them, TCP connections that are not established.
    pub half_open: u64,
    /// Most that `flows` may be.
    pub flows_max: Option<u32>,
    /// Most that `half_open` may be.
    pub half_open_max: Option<u32>,
}
