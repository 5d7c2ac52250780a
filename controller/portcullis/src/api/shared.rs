//! Shared addresses and their holders.

use std::net::IpAddr;

use portcullis_switch::SharedStatus;
use serde::{Deserialize, Serialize};

/// Addresses that several guests may have, and who has them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shared {
    /// Name in the policy.
    pub name: String,
    /// Their network.
    pub network: String,
    /// Their MAC, also where the policy says nothing of it.
    pub mac: String,
    /// The addresses, also where the policy says `auto`.
    pub addresses: Vec<IpAddr>,
    /// The guests that may have them.
    pub by: Vec<String>,
    /// The guest that announced them last, if it is plugged in here.
    pub holder: Option<String>,
}

impl From<SharedStatus> for Shared {
    fn from(s: SharedStatus) -> Self {
        Self {
            name: s.name,
            network: s.network,
            mac: s.mac,
            addresses: s.addresses,
            by: s.by,
            holder: s.holder,
        }
    }
}
