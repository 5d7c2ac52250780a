//! A minimal virtual machine monitor: KVM, virtio devices on MMIO, a serial console, and nothing
//! that a guest on the switch's ports does not need.
//!
//! A [`Machine`] is made from a [`Config`], and once started runs until its guest powers off, reboots or fails, and
//! says which. Devices do their work in threads of their own, so a guest's traffic never waits for
//! an exit of a virtual processor.

mod acpi;
mod boot;
mod bus;
pub mod config;
mod cpuid;
pub mod error;
mod layout;
pub mod machine;
mod memory;
mod power;
pub mod sandbox;
mod serial;
pub mod snapshot;
mod vcpu;
mod virtio;

pub use config::Config;
pub use error::{Error, Result};
pub use machine::{End, Machine, Running};
pub use snapshot::Snapshot;
