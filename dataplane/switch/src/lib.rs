//! The kernel switch: loads, pins and fills the programs, owns the ports.
//!
//! [`Switch`] is the whole interface. It does blocking system calls and belongs to one thread at a
//! time. What it keeps in the kernel outlives it: a new one in the same `run_dir` takes over
//! without a packet being judged by nobody.

mod announce;
mod batch;
mod bpffs;
mod clock;
mod code;
mod counters;
mod denied;
mod device;
mod error;
mod events;
mod flows;
mod gates;
mod grace;
mod install;
mod lanes;
mod legs;
mod linger;
mod links;
mod loaded;
mod maps;
mod notices;
mod numbers;
mod observe;
mod other_half;
pub mod peer;
mod pieces;
mod place;
mod remove;
pub mod slot;
mod spec;
mod status;
mod sweep;
mod switch;
mod taken;
#[cfg(test)]
mod testing;
mod traffic;
mod tune;
mod twin;
mod undo;
mod uplink;
mod validate;
mod version;
mod window;
mod writer;
mod xdp;

pub use counters::Counters;
pub use error::{Error, Result};
pub use events::guest_of;
pub use numbers::Numbers;
pub use place::{Leg, Place, Subport};
pub use spec::{Config, Gate, Owner, PortKind, PortSpec};
pub use status::*;
pub use switch::Switch;
pub use tune::LaneChange;
pub use validate::Difference;
pub use version::Version;
