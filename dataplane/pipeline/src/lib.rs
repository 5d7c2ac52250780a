//! What a packet means to Portcullis.
//!
//! One source, compiled twice: into the eBPF programs and into the user-space engine. Nothing
//! else in the project decides about a packet. The crate does no I/O, keeps no clock, allocates
//! nothing and takes no lock; bytes come through [`Frame`], state and time through [`Tables`].
//!
//! Every function is `#[inline(always)]`: eBPF passes five arguments and no packet pointer
//! across a call, so whatever is not inlined does not load (`tests/style.rs` greps for it).

#![no_std]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]
#![deny(unsafe_code)]

pub mod account;
pub mod addr;
pub mod advertise;
pub mod answer;
pub mod conntrack;
pub mod decide;
pub mod denied;
pub mod dhcp;
pub mod dhcp6;
pub mod event;
pub mod expiry;
pub mod flow;
pub mod fragment;
pub mod frame;
pub mod gate;
pub mod lane;
pub mod layout;
pub mod limit;
pub mod link;
pub mod notice;
pub mod outcome;
pub mod packet;
pub mod parse;
pub mod policy;
pub mod probe;
pub mod query;
pub mod reason;
pub mod route;
pub mod send;
pub mod sequence;
pub mod shared;
pub mod subport;
pub mod tables;
pub mod verdict;
pub mod wire;
pub mod word;

pub use addr::{Addr, Mac};
pub use decide::decide;
pub use frame::Frame;
pub use packet::Scratch;
pub use reason::DropReason;
pub use tables::Tables;
pub use verdict::{Answer, Verdict};

/// Number of the table layouts. It is part of the pin path: programs of another layout never see
/// these maps. `tests/layout.rs` fails when a layout changes and this number does not.
pub const LAYOUT_VERSION: u32 = 5;

/// No header that matters starts at or behind this byte of a frame. A limit is part of the
/// meaning: back ends must not have a smaller one of their own.
pub const REACH: u32 = 2048;
