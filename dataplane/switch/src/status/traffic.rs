//! What has passed.

use std::{collections::BTreeMap, ops::Add};

use serde::{Deserialize, Serialize};

/// What has passed a port since its interface was made, or all ports since the switch was started
/// first. Packets are frames as the kernel hands them over, one still to be segmented counts once;
/// bytes begin with the Ethernet header. Of what came in every packet is one of `forwarded`,
/// `flooded`, `answered` and `dropped`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Traffic {
    /// Packets that came in here.
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
    pub reasons: BTreeMap<&'static str, u64>,
}

/// Packets and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Amount {
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
}

impl Add for Amount {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { packets: self.packets + other.packets, bytes: self.bytes + other.bytes }
    }
}
