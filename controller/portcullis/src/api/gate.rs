//! Gates of uplinks.

use portcullis_switch::{GateMode, GateStatus};
use serde::{Deserialize, Serialize};

/// The XDP program of an uplink, which drops what can never be allowed before there is a packet
/// buffer; or why there is none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gate {
    /// `native` (in the driver), `generic` (behind it) or `none`.
    pub mode: String,
    /// Why there is none.
    pub why: Option<String>,
    /// Frames that it has dropped; they count among the port's traffic, too.
    pub dropped: u64,
    /// Datagrams of known connections that it has sent straight to a guest; they count there, too.
    #[serde(default)]
    pub sent: u64,
    /// May the driver hide VLAN tags from it? Then it leaves what looks untagged to the filter where
    /// the uplink has tagged networks.
    pub hides_tags: bool,
}

impl From<GateStatus> for Gate {
    fn from(g: GateStatus) -> Self {
        let mode = match g.mode {
            Some(GateMode::Native) => "native",
            Some(GateMode::Generic) => "generic",
            None => "none",
        };
        Self {
            mode: mode.to_owned(),
            why: g.none.map(|why| why.to_string()),
            dropped: g.dropped,
            sent: g.sent,
            hides_tags: g.hides_tags,
        }
    }
}
