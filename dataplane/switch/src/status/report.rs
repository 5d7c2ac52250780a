//! What an operation of the switch did, and what it found.

use std::fmt;

use serde::Serialize;

use super::{Hook, PortStatus};

/// Where the programs that run now come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// There were none: loaded now.
    Loaded,
    /// They were running already, from the same object: left untouched.
    Reused,
    /// Others were running: these were loaded and took over at every port.
    Replaced,
}

/// What [`Switch::start`](crate::Switch::start) found and did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StartReport {
    /// Where the programs come from.
    pub programs: Origin,
    /// How they are attached.
    pub hook: Hook,
    /// The generation in force, 0 before the first policy.
    pub generation: u32,
    /// Ports (and host legs) whose filter was running already.
    pub filtered: Vec<String>,
    /// What was found wrong, and what was done about it.
    pub notices: Vec<Notice>,
}

/// Something found at start that a person may want to know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "notice")]
pub enum Notice {
    /// The flow table keeps the size that it was made with.
    FlowTableSize {
        /// Entries that it has.
        pinned: u32,
        /// Entries that were asked for.
        wanted: u32,
    },
    /// Programs whose loading was cut short were removed.
    HalfLoaded,
    /// A filter stood on an interface that is gone; its pin was removed.
    StaleLink {
        /// The interface.
        port: String,
    },
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FlowTableSize { pinned, wanted } => write!(
                f,
                "the running flow table holds {pinned} connections, not {wanted}: its size changes \
                 with the next `down` and `up`"
            ),
            Self::HalfLoaded => f.write_str("an interrupted load was cleaned up"),
            Self::StaleLink { port } => {
                write!(f, "the interface {port} is gone; its filter's pin was removed")
            }
        }
    }
}

/// What [`Switch::install`](crate::Switch::install) did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Installed {
    /// The generation now in force.
    pub generation: u32,
    /// Every port, open under this generation or closed and why.
    pub ports: Vec<PortStatus>,
    /// Interfaces that were removed because nothing asks for them any more.
    pub removed: Vec<String>,
    /// How it was found that what was loaded is what was compiled.
    pub validation: Validation,
}

/// What a translation validation did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Validation {
    /// Packets that the loaded program was asked about.
    pub packets: usize,
    /// How long it took to read everything back and compare it, microseconds.
    pub read_us: u64,
    /// How long all of it took, microseconds.
    pub total_us: u64,
}

/// What [`Switch::sweep`](crate::Switch::sweep) did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SweepReport {
    /// Connections looked at.
    pub seen: u64,
    /// Idle ones removed.
    pub removed: u64,
    /// Was the end of the table reached?
    pub complete: bool,
}

/// What [`Switch::remove`](crate::Switch::remove) removed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RemoveReport {
    /// Interfaces deleted.
    pub interfaces: Vec<String>,
    /// Uplinks released.
    pub uplinks: Vec<String>,
    /// Pinned objects removed.
    pub pins: usize,
}
