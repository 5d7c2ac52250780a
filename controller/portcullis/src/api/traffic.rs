//! What has passed a port.

use std::collections::BTreeMap;

use portcullis_switch::{self as switch, Amount};
use serde::{Deserialize, Serialize};

/// What has passed a port, or all of them. Packets are frames as the kernel hands them over: one
/// still to be segmented counts once, as in the interface's own counters. Bytes begin with the
/// Ethernet header. `in_packets` is the sum of `forwarded`, `flooded`, `answered` and `dropped`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// Packets that came in here: for a guest's port, what the guest sent.
    pub in_packets: u64,
    /// Their bytes.
    pub in_bytes: u64,
    /// Packets that left here: forwarded ones, copies of broadcasts, answers of the switch.
    pub out_packets: u64,
    /// Their bytes.
    pub out_bytes: u64,
    /// Of those that came in, forwarded to another port.
    pub forwarded: u64,
    /// Of those that came in, copied to one port or more.
    pub flooded: u64,
    /// Of those that came in, answered by the switch.
    pub answered: u64,
    /// Of those that came in, dropped.
    pub dropped: u64,
    /// Of those forwarded: to guests of other networks here.
    pub in_routed: Amount,
    /// Of those that left: from guests of other networks here.
    pub out_routed: Amount,
    /// Of those forwarded: to the host, to what is behind it, or by an uplink.
    pub in_outside: Amount,
    /// Of those that left: from there.
    pub out_outside: Amount,
    /// Of those dropped, how many for which reason.
    pub reasons: BTreeMap<String, u64>,
}

impl From<switch::Traffic> for Traffic {
    fn from(t: switch::Traffic) -> Self {
        let switch::Traffic {
            in_packets,
            in_bytes,
            out_packets,
            out_bytes,
            forwarded,
            flooded,
            answered,
            dropped,
            in_routed,
            out_routed,
            in_outside,
            out_outside,
            reasons,
        } = t;
        let reasons = reasons.into_iter().map(|(word, n)| (word.to_owned(), n)).collect();
        Self {
            in_packets,
            in_bytes,
            out_packets,
            out_bytes,
            forwarded,
            flooded,
            answered,
            dropped,
            in_routed,
            out_routed,
            in_outside,
            out_outside,
            reasons,
        }
    }
}

/// Connections that a port has opened, and how many it may have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connections {
    /// Connections in the flow table.
    pub flows: u64,
    /// Of them, TCP connections that are not established.
    pub half_open: u64,
    /// Most that `flows` may be.
    pub flows_max: Option<u32>,
    /// Most that `half_open` may be.
    pub half_open_max: Option<u32>,
}

impl From<switch::PortConnections> for Connections {
    fn from(c: switch::PortConnections) -> Self {
        let switch::PortConnections { flows, half_open, flows_max, half_open_max } = c;
        Self { flows, half_open, flows_max, half_open_max }
    }
}
