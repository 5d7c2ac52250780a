//! `cargo xtask bench`: set up, then hand over to the bench.

use anyhow::{Context, Result};
use clap::Args;

use crate::{packages, place, setup};

/// What the bench is to do.
#[derive(Args)]
pub struct Options {
    /// Passed on, see `cargo xtask bench -- --help`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// Runs the bench with these arguments.
pub fn run(options: &Options) -> Result<bool> {
    let first = options.arguments.first().map(String::as_str).unwrap_or_default();
    let rings = if first == "vhost" { packages::RINGS } else { &[] };
    setup::for_packages(&[packages::BENCH, rings])?;
    if ["policy", "apply", "guest", "vhost"].contains(&first) {
        // They measure this command.
        let mut build = place::cargo();
        build.args(["build", "--release", "-p", "portcullis"]);
        if !build.status().context("building portcullis")?.success() {
            return Ok(false);
        }
    }
    let mut command = place::cargo();
    command.args(["run", "--release", "-p", "portcullis-bench", "--"]).args(&options.arguments);
    Ok(command.status().context("starting the bench")?.success())
}
