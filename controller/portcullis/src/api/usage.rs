//! What guests have sent and received.

use std::ops::AddAssign;

use portcullis_store::record::Record;
use portcullis_switch::Amount;
use serde::{Deserialize, Serialize};

/// What a guest has sent and received in one network, over all ports, restarts and reboots.
/// Packets are counted as in [`super::Traffic`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// The guest.
    pub guest: String,
    /// The network.
    pub network: String,
    /// Packets that it sent, those that were dropped included.
    pub sent_packets: u64,
    /// Their bytes.
    pub sent_bytes: u64,
    /// Of them, packets that were dropped.
    pub dropped_packets: u64,
    /// Packets that it received.
    pub received_packets: u64,
    /// Their bytes.
    pub received_bytes: u64,
    /// Of all that, what went to and came from guests of other networks on the same host.
    #[serde(default)]
    pub routed: Exchange,
    /// Of all that, what went to and came from the host, what is behind it, and by uplinks. The
    /// rest stayed in the network.
    #[serde(default)]
    pub outside: Exchange,
    /// Since when, seconds since 1970.
    pub since_unix_s: u64,
    /// Until when, seconds since 1970.
    pub until_unix_s: u64,
}

/// What was exchanged with one kind of peers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exchange {
    /// Sent there.
    pub sent: Amount,
    /// Received from there.
    pub received: Amount,
}

impl Exchange {
    /// What was gained since `before`; `None`: those were other counters.
    pub fn since(self, before: Self) -> Option<Self> {
        let gained = |now: Amount, then: Amount| {
            Some(Amount {
                packets: now.packets.checked_sub(then.packets)?,
                bytes: now.bytes.checked_sub(then.bytes)?,
            })
        };
        Some(Self {
            sent: gained(self.sent, before.sent)?,
            received: gained(self.received, before.received)?,
        })
    }
}

impl AddAssign for Exchange {
    fn add_assign(&mut self, other: Self) {
        self.sent = self.sent + other.sent;
        self.received = self.received + other.received;
    }
}

impl Record for Usage {
    const KIND: &'static str = "usage";
    const VERSION: u32 = 1;
}
