//! Hands the ports of the switch to virtual machine monitors.
//!
//! A VMM gets a tap in one of three ways: it opens it by name itself (QEMU's `ifname=`), it
//! inherits open queues from whoever starts it ([`command`]), or it receives them over a Unix
//! socket ([`pass`]; [`helper`] as QEMU wants it). However it comes, the port was closed and
//! filtered before.

pub mod command;
pub mod container;
pub mod discover;
mod error;
pub mod helper;
pub mod pass;
mod queue;
pub mod strangers;

pub use command::{FDS_VARIABLE, become_command, inherit};
pub use error::{Error, Result};
pub use helper::hand_back;
pub use pass::{receive, send};
pub use portcullis_ports::LinkWatch;
pub use queue::{mtu, open_queues};
