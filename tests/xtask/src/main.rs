//! `cargo xtask`: sets the machine up, plays the demo, runs every test, measures.

mod bench;
mod closure;
mod demo;
mod disk;
mod guest;
mod initramfs;
mod kernel;
mod kernels;
mod machine;
mod outcome;
mod packages;
mod place;
mod probe;
mod selection;
mod setup;
mod step;
mod suite;
mod test;
mod toolchain;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Sets up, demonstrates, tests and measures Portcullis on this machine.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Install what is missing: Debian packages and the eBPF toolchain
    Setup,
    /// Bring up a DMZ on this machine, play its traffic, print who reached whom, clean up
    Demo(demo::Options),
    /// Run every test
    Test(test::Options),
    /// Measure Portcullis and its peers side by side
    Bench(bench::Options),
    /// Load the programs on every supported kernel and print what the verifier counted
    Kernels,
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(command: Command) -> anyhow::Result<bool> {
    match command {
        Command::Setup => setup::everything().map(|()| true),
        Command::Demo(options) => demo::run(&options),
        Command::Test(options) => test::run(&options),
        Command::Bench(options) => bench::run(&options),
        Command::Kernels => kernels::run(),
    }
}
