//! `cargo xtask demo`: build, then hand over to the demo of the lab.

use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::{packages, place, setup, step::Step};

/// What the demo is to do.
#[derive(Args)]
pub struct Options {
    /// Leave it running to play with
    #[arg(long)]
    keep: bool,
    /// With virtual machines of our own monitor and test guest (needs /dev/kvm), not namespaces
    #[arg(long, conflicts_with_all = ["keep", "down"])]
    vm: bool,
    /// End a demo that was left running
    #[arg(long, conflicts_with = "keep")]
    down: bool,
}

/// Runs the demo; false when a row differs from what was expected.
pub fn run(options: &Options) -> Result<bool> {
    let program = place::target().join("debug/portcullis-demo");
    // To end a demo needs nothing new.
    if !(options.down && program.exists()) {
        setup::for_packages(&[packages::PLAY])?;
        let mut build = place::cargo();
        build.args(["build", "-p", "portcullis", "-p", "portcullis-lab", "--bins"]);
        Step::new("build", build).succeed()?;
    }
    let action: &[&str] = match (options.down, options.keep, options.vm) {
        (true, ..) => &["down"],
        (false, true, _) => &["keep"],
        (false, false, true) => &["play", "--vm"],
        (false, false, false) => &["play"],
    };
    let mut demo = Command::new(program);
    let status = demo.args(action).current_dir(place::root()).status().context("the demo")?;
    match status.code() {
        Some(0) => Ok(true),
        Some(1) => Ok(false),
        _ => bail!("the demo ended with {status}"),
    }
}
