//! What guests have sent and received.

use portcullis_store::record::Record;
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
    /// Since when, seconds since 1970.
    pub since_unix_s: u64,
    /// Until when, seconds since 1970.
    pub until_unix_s: u64,
}

impl Record for Usage {
    const KIND: &'static str = "usage";
    const VERSION: u32 = 1;
}
