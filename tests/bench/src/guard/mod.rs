//! What guarding costs those who are guarded: a neighbour's throughput while a guest attacks, and
//! connections that are logged.

mod attacks;
mod events;
mod volley;

use std::{fs, path::PathBuf};

use anyhow::Context;
use clap::Args;
use serde::Serialize;

use crate::{
    command,
    interrupt::Interrupt,
    machine::{Machine, Others},
    rows::{Row, table},
    scratch,
    stats::Spread,
};

/// What the bench of the guard is to do.
#[derive(Args, Debug)]
pub struct Options {
    /// Rounds; every number is the median over their readings
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Write JSON to this file too
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// All rows.
#[derive(Serialize)]
struct Report {
    machine: Machine,
    cores_taken_by_others: Option<Spread>,
    rows: Vec<Row>,
}

/// Measures and prints; false where an aim was missed.
pub fn bench(options: &Options) -> anyhow::Result<bool> {
    scratch::enter()?;
    command::require_all()?;
    let interrupt = Interrupt::listen()?;
    let mut others = Others::watch()?;
    let mut rows = events::rows(options.rounds, &interrupt)?;
    rows.extend(attacks::rows(options.rounds, &interrupt)?);
    others.mark()?;
    let report = Report { machine: Machine::this()?, cores_taken_by_others: others.cores(), rows };
    if let Some(cores) = report.cores_taken_by_others {
        println!("cores taken by other programs: {:.2}", cores.median);
    }
    print!("{}", table(&report.rows));
    if let Some(path) = &options.json {
        let json = serde_json::to_string_pretty(&report)?;
        fs::write(path, json).with_context(|| path.display().to_string())?;
    }
    Ok(report.rows.iter().all(|row| row.is_met() != Some(false)))
}
