//! Ports whose rings are in user space (vhost-user).
//!
//! Such a port is an ordinary tap port of the kernel's switch, whose other end is held by a process
//! of its own, the engine. The tap is the trunk between the two halves: what a guest sends goes into
//! it, and is decided about by the port's filter, unless it is for another guest of the engine.
//! Then the engine decides, by the same pipeline over a copy of the tables in force, and the frame
//! goes from one guest's memory into the other's.
//!
//! [`engine`] is the process, [`Client`] the switch's way to it.

mod ahead;
mod bell;
mod carrier;
mod client;
mod clock;
mod cursor;
mod delivery;
mod descriptor;
mod dirty;
mod door;
mod enable;
pub mod engine;
mod fault;
mod features;
mod flight;
mod forward;
mod head;
mod header;
mod mailbox;
mod map;
mod message;
mod port;
mod region;
mod ring;
mod sandbox;
mod session;
mod shared;
mod socket;
mod stage;
mod tables;

pub use client::{Client, end, socket_of};
