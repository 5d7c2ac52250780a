//! What the host's own stack does for the networks: it masquerades them, forwards published ports
//! to guests, and forwards at all. Whether a packet may pass is not decided here but on the ports;
//! these rules only say under which addresses it travels.
//!
//! Everything stands in one nftables table of ours, replaced in one transaction and removed whole.
//! No other table is written, ever; what other tables do to our traffic is told by [`foreign`].

mod conntrack;
mod error;
pub mod foreign;
mod forwarding;
mod notes;
mod observe;
mod plan;
mod program;
mod rules;
mod table;

pub use crate::{
    error::Error,
    observe::{Lack, lacks},
    plan::{Network, Plan, Protocol, Publish, Way},
    rules::{Config, HostRules, remove},
};
