//! How long a policy takes from text to a proved image, as a whole and after a small change.
//!
//! Run as `portcullis-bench policy`; needs no privileges and no network.

pub mod child;
mod readings;
pub mod text;

use std::path::PathBuf;

use clap::Args;

use self::readings::readings;
use crate::rows::Report;

/// What the policy bench is to do.
#[derive(Args, Debug)]
pub struct Options {
    /// Readings of each row; its number is their median
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u32).range(1..=1000))]
    readings: u32,
    /// Write JSON to this file too, `-` for JSON instead of the table
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "-")]
    json: Option<PathBuf>,
    /// Compile this file once and print the most memory that took (the bench calls itself so)
    #[arg(long, value_name = "FILE", hide = true)]
    once: Option<PathBuf>,
}

/// Measures and prints; false where an aim was missed.
pub fn bench(options: &Options) -> anyhow::Result<bool> {
    if let Some(file) = &options.once {
        println!("{}", child::compile_once(file)?);
        return Ok(true);
    }
    Report::new(readings(options.readings)?, None)?.show(options.json.as_deref())
}
