//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::{apply, guest, measure::Times, policy, rows, testrun::Counts, vhost};

/// Measures Portcullis and its peers side by side, in namespaces of its own.
#[derive(Parser, Debug)]
#[command(name = "portcullis-bench", after_help = "Example: cargo xtask bench --rounds 5")]
pub struct Options {
    /// Something else than packets
    #[command(subcommand)]
    pub part: Option<Part>,
    /// Rounds; every number is the median over their readings
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// One short round with fewer sizes: shows that everything works
    #[arg(long)]
    quick: bool,
    /// Where the JSON goes [default: target/bench.json]
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Only this: `testrun`, or peers whose name contains TEXT
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
}

/// What else can be measured.
#[derive(Subcommand, Debug)]
pub enum Part {
    /// How long a policy takes from text to a proved image; needs no privileges
    Policy(policy::Options),
    /// How long a policy takes from its file to the last port's acknowledgement
    Apply(apply::Options),
    /// What attacks of a guest and logged connections cost its neighbours
    Guard(rows::Options),
    /// How long guests of our own monitor take to boot, and what memory they cost
    Guest(guest::Options),
    /// What denied frames cost an uplink with a million denied prefixes
    Uplink(rows::Options),
    /// How fast guests on vhost-user ports reach each other
    Vhost(vhost::Options),
}

impl Options {
    /// Rounds.
    pub fn rounds(&self) -> u32 {
        if self.quick { 1 } else { self.rounds }
    }

    /// Is it a short run?
    pub fn is_quick(&self) -> bool {
        self.quick
    }

    /// Where the JSON goes.
    pub fn json(&self) -> PathBuf {
        self.json.clone().unwrap_or_else(|| {
            let target =
                std::env::var_os("CARGO_TARGET_DIR").map_or("target".into(), PathBuf::from);
            target.join("bench.json")
        })
    }

    /// Shall this peer take part?
    pub fn wants(&self, peer: &str) -> bool {
        self.only.as_ref().is_none_or(|only| peer.contains(only.as_str()))
    }

    /// How long readings take.
    pub fn times(&self) -> Times {
        match self.quick {
            true => Times { reading_ms: 20, readings: 3, new_readings: 3, tcp_s: 1 },
            false => Times { reading_ms: 50, readings: 5, new_readings: 3, tcp_s: 1 },
        }
    }

    /// Readings by TEST_RUN.
    pub fn counts(&self) -> Counts {
        match self.quick {
            true => Counts { repeat: 20_000, fresh: 5_000, readings: 3 },
            false => Counts { repeat: 100_000, fresh: 20_000, readings: 5 },
        }
    }

    /// Sizes of our policy.
    pub fn policy_sizes(&self) -> &'static [u32] {
        if self.quick { &[10, 100_000] } else { &[10, 1_000, 10_000, 100_000] }
    }

    /// Sizes of the bridge's rulesets.
    pub fn ruleset_sizes(&self) -> &'static [u32] {
        if self.quick { &[1_000] } else { &[100, 1_000, 10_000] }
    }

    /// Sizes of the router's ruleset.
    pub fn router_sizes(&self) -> &'static [u32] {
        if self.quick { &[1_000] } else { &[1_000, 10_000] }
    }

    /// Connections in the flow table.
    pub fn flows(&self) -> &'static [u32] {
        if self.quick { &[1, 10_000] } else { &[1, 10_000, 1_000_000] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quick_run_is_one_round_whatever_else_is_said() {
        let options = Options::parse_from(["bench", "--quick", "--rounds", "7"]);
        assert_eq!(options.rounds(), 1);
        assert_eq!(Options::parse_from(["bench"]).rounds(), 3);
    }

    #[test]
    fn only_takes_a_part_of_a_name() {
        let options = Options::parse_from(["bench", "--only", "nft"]);
        assert!(options.wants("bridge-nft-set") && !options.wants("portcullis"));
        assert!(Options::parse_from(["bench"]).wants("anything"));
    }

    #[test]
    fn no_round_is_refused() {
        assert!(Options::try_parse_from(["bench", "--rounds", "0"]).is_err());
    }
}
