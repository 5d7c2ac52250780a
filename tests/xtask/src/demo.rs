//! `cargo xtask demo`: build, then hand over to the demo of the lab.

use anyhow::{Context, Result};
use clap::Args;

use crate::{packages, place, setup, step::Step};

/// What the demo is to do.
#[derive(Args)]
pub struct Options {
    /// Leave it running to play with
    #[arg(long)]
    keep: bool,
    /// End a demo that was left running
    #[arg(long, conflicts_with = "keep")]
    down: bool,
}

/// Runs the demo; false when a row differs from what was expected.
pub fn run(options: &Options) -> Result<bool> {
    setup::for_packages(&[packages::PLAY])?;
    let mut build = place::cargo();
    build.args(["build", "-p", "portcullis", "-p", "portcullis-lab", "--bins"]);
    Step::new("build", build).succeed()?;
    let mut demo = std::process::Command::new(place::target().join("debug/portcullis-demo"));
    demo.current_dir(place::root());
    if options.down {
        demo.arg("down");
    } else if options.keep {
        demo.arg("keep");
    } else {
        demo.arg("play");
    }
    let status = demo.status().context("starting the demo")?;
    match status.code() {
        Some(0) => Ok(true),
        Some(1) => Ok(false),
        _ => anyhow::bail!("the demo ended with {status}"),
    }
}
