//! Does this kernel take the programs, and do they mean on it what the pipeline means?
//!
//! Prints one line for each program, `NAME INSTRUCTIONS`, and one for a short differential run;
//! ends with 0 if all is well. For the kernel matrix, where it runs as the only program of a
//! small system.

use std::process::ExitCode;

use anyhow::Result;
use portcullis_differential::{Plan, load, run};

/// Packets, unless an argument says otherwise.
const PACKETS: u64 = 20_000;

fn main() -> ExitCode {
    match probe() {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("{e:#}");
            ExitCode::FAILURE
        }
    }
}

fn probe() -> Result<()> {
    let packets = match std::env::args().nth(1) {
        Some(text) => text.parse()?,
        None => PACKETS,
    };
    for (name, verified) in load()?.1 {
        println!("{name} {verified}");
    }
    let plan = Plan { packets, packets_per_world: packets.div_ceil(2), seed: 1 };
    println!("{}", run(&plan)?);
    Ok(())
}
