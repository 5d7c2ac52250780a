//! The gate of an uplink, as it is.

use std::fmt;

use serde::Serialize;

/// The gate of an uplink, or why there is none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GateStatus {
    /// How it runs.
    pub mode: Option<GateMode>,
    /// Why it does not.
    pub none: Option<NoGate>,
    /// May the driver hide VLAN tags from it? Then it leaves what looks untagged to the filter where
    /// the uplink has tagged networks.
    pub hides_tags: bool,
    /// Frames that it has dropped; they count among the port's [`Traffic`](super::Traffic), too.
    pub dropped: u64,
    /// Datagrams of known connections that it has sent straight to a guest; they count there, too.
    pub sent: u64,
}

/// How a gate runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum GateMode {
    /// In the driver, before there is a packet buffer.
    Native,
    /// In the kernel, behind the driver.
    Generic,
}

/// Why an uplink has no gate. Its filter drops what the gate would.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "why")]
pub enum NoGate {
    /// It was attached so.
    Off,
    /// The driver takes frames that are still to be segmented, which a gate would cut or copy.
    Segments {
        /// The driver.
        driver: String,
    },
    /// The port has not been opened.
    Closed,
    /// The kernel or the driver said no.
    Refused {
        /// The error, whole.
        error: String,
    },
}

impl fmt::Display for NoGate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::Segments { driver } => {
                write!(
                    f,
                    "{driver} takes large frames, which it would cut; --xdp native to have it"
                )
            }
            Self::Closed => f.write_str("the port has not been opened"),
            Self::Refused { error } => f.write_str(error),
        }
    }
}
