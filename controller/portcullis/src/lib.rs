//! The `portcullis` command: checks and explains policies, and talks to the daemon that owns
//! the switch of this host. The daemon is in here, too.

pub mod api;
pub mod cli;
pub mod client;
pub mod commands;
pub mod daemon;
pub mod dataplane;
pub mod discovery;
pub mod error;
pub mod host;
pub mod names;
pub mod outside;
pub mod paint;
pub mod paths;
pub mod policy;
pub mod render;
pub mod sarif;
pub mod state;
pub mod wire;
