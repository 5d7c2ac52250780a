//! What guarding costs those who are guarded: a neighbour's throughput while a guest attacks, and
//! connections that are logged.

mod attacks;
mod events;
mod volley;

use std::path::PathBuf;

use clap::Args;

use crate::{command, interrupt::Interrupt, machine::Others, rows::Report, scratch};

/// What the bench of the guard is to do.
#[derive(Args, Debug)]
pub struct Options {
    /// Rounds; every number is the median over their readings
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Write JSON to this file too, `-` for JSON instead of the table
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "-")]
    json: Option<PathBuf>,
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
    Report::new(rows, others.cores())?.show(options.json.as_deref())
}
