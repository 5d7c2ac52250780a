//! The kernel switch: loads, pins and fills the programs, owns the ports.

mod batch;
mod bpffs;
mod clock;
mod code;
mod error;
mod grace;
mod links;
mod maps;
pub mod place;
pub mod slot;
mod spec;
mod status;
#[cfg(test)]
mod testing;

pub use error::{Error, Result};
pub use spec::{Config, PortKind, PortSpec};
pub use status::*;
