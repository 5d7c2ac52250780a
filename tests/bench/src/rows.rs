//! Rows of a table whose numbers may have an aim.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context;
use clap::Args;
use serde::Serialize;

use crate::{machine::Machine, stats::Spread, table::Table};

/// What a part of the bench is to do that has nothing else to choose.
#[derive(Args, Debug)]
pub struct Options {
    /// Rounds; every number is the median over their readings
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub rounds: u32,
    /// Write JSON to this file too, `-` for JSON instead of the table
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "-")]
    pub json: Option<PathBuf>,
}

/// All rows of a part of the bench.
#[derive(Serialize)]
pub struct Report {
    machine: Machine,
    #[serde(skip_serializing_if = "Option::is_none")]
    cores_taken_by_others: Option<Spread>,
    rows: Vec<Row>,
}

impl Report {
    /// These, taken on this machine while other programs kept that many cores busy, if somebody
    /// looked.
    pub fn new(rows: Vec<Row>, cores_taken_by_others: Option<Spread>) -> anyhow::Result<Self> {
        Ok(Self { machine: Machine::this()?, cores_taken_by_others, rows })
    }

    /// Prints the table, and writes JSON into the file if there is one; `-` is JSON instead of the
    /// table. False where an aim was missed.
    pub fn show(&self, file: Option<&Path>) -> anyhow::Result<bool> {
        let json = || serde_json::to_string_pretty(self).context("writing JSON");
        if file.is_some_and(|file| file.as_os_str() == "-") {
            println!("{}", json()?);
        } else {
            if let Some(cores) = self.cores_taken_by_others {
                println!("cores taken by other programs: {:.2}", cores.median);
            }
            print!("{}", table(&self.rows));
            if let Some(file) = file {
                fs::write(file, json()?).with_context(|| file.display().to_string())?;
            }
        }
        Ok(self.rows.iter().all(|row| row.is_met() != Some(false)))
    }
}

/// One row.
#[derive(Serialize)]
pub struct Row {
    /// What was measured.
    pub what: String,
    /// Of which unit.
    pub unit: &'static str,
    /// What came out.
    pub spread: Spread,
    /// What should come out.
    pub aim: Option<Aim>,
}

/// What the median has to be.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Aim {
    /// Less than this.
    Under(f64),
    /// This or more.
    AtLeast(f64),
}

impl Row {
    /// Was its aim met? `None` where it has none.
    pub fn is_met(&self) -> Option<bool> {
        self.aim.map(|aim| match aim {
            Aim::Under(limit) => self.spread.median < limit,
            Aim::AtLeast(limit) => self.spread.median >= limit,
        })
    }
}

/// The rows for people.
fn table(rows: &[Row]) -> Table {
    let mut table = Table::new(["", "median", "least", "most", "aim", ""]);
    for row in rows {
        let digits = |n: f64| if n.abs() < 10.0 { 2 } else { 1 };
        let number = |n: f64| format!("{n:.*} {}", digits(n), row.unit);
        let Row { spread, aim, .. } = row;
        let (aim, met) = match (aim, row.is_met()) {
            (Some(aim), Some(met)) => {
                let aim = match *aim {
                    Aim::Under(limit) => format!("under {}", number(limit)),
                    Aim::AtLeast(limit) => format!("at least {}", number(limit)),
                };
                (aim, if met { "met" } else { "MISSED" }.to_owned())
            }
            _ => (String::new(), String::new()),
        };
        let numbers = [number(spread.median), number(spread.min), number(spread.max)];
        let [median, least, most] = numbers;
        table.row([row.what.clone(), median, least, most, aim, met]);
    }
    table
}
