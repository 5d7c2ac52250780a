//! Oracle, native pipeline and loaded programs held together, packet by packet.
//!
//! Random policies, random networks, random packets in random order. Every packet goes through
//! the pipeline compiled for this machine and through the loaded eBPF program
//! (BPF_PROG_TEST_RUN): verdict, reason, every word that they leave behind and every byte of the
//! frame must agree, and in the end every connection and every counter. What the generator knows
//! of the packets that it made goes to the oracle, which reads the rules as they are written.

mod answers;
mod ask;
mod clock;
#[cfg(test)]
mod denied;
mod expect;
mod fact;
mod fill;
#[cfg(test)]
mod floods;
mod frames;
#[cfg(test)]
mod fuzz;
mod holders;
mod kernel;
#[cfg(test)]
mod leases;
#[cfg(test)]
mod pieces;
mod questions;
mod run;
#[cfg(test)]
mod stories;
#[cfg(test)]
mod straight;
mod told;
mod traffic;
mod world;

pub use crate::{
    kernel::{Kernel, load},
    run::{Plan, Report, run},
};
