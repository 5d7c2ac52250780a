//! Network devices of the switch: taps, veth pairs, host legs, namespaces, addresses.
//!
//! Nothing here knows of policies or BPF. Netlink messages come from `netlink-packet-route`, the
//! kept crates of the rust-netlink project, over a plain blocking socket: the switch changes one
//! device at a time, so `rtnetlink` and its tokio runtime would buy nothing. Taps need three
//! ioctls, which `tap.rs` makes itself (and `ethtool.rs` one): `tun-tap` is abandoned, and `tun-rs` brings interfaces up
//! and addresses them, which is just what a closed port must not have done to it.

pub mod address;
pub mod error;
pub mod ethtool;
pub mod host_leg;
mod interfaces;
pub mod link;
pub mod name;
mod netlink;
pub mod netns;
pub mod sysctl;
pub mod tap;
pub mod veth;
mod watch;

pub use error::{Error, Result};
pub use interfaces::Interfaces;
pub use link::Link;
pub use netns::Netns;
pub use watch::LinkWatch;

/// Alias of every interface that an instance of the switch made.
pub fn alias_of(instance: &str) -> String {
    format!("portcullis:{instance}")
}
