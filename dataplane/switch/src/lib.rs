//! The kernel switch: loads, pins and fills the programs, owns the ports.

#[cfg(test)]
mod testing;

pub mod place;
pub mod slot;
mod spec;
mod status;

pub use spec::{Config, PortKind, PortSpec};
pub use status::*;
