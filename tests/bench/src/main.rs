//! Speed, side by side with its peers in one run.
//!
//! ```text
//! cargo xtask bench                 three rounds, tables on the terminal, JSON in target/
//! cargo xtask bench --quick         does everything work? (its numbers mean nothing)
//! cargo xtask bench --only testrun  the program alone
//! cargo xtask bench policy          the compiler: no packets, no privileges
//! cargo xtask bench apply           from a file to the last port's acknowledgement
//! cargo xtask bench guard           under attack, and with logged connections
//! cargo xtask bench uplink          a million denied prefixes
//! cargo xtask bench guest           boot and memory of guests in our own monitor
//! cargo xtask bench vhost           vhost-user ports, against testpmd and Open vSwitch with DPDK
//! ```
//!
//! Only ratios inside one run mean anything: every reading of a peer is set against a reading of
//! the bare bridge taken just before it.

mod aims;
mod apply;
mod command;
mod conntrack;
mod error;
mod forwarding;
mod frame;
mod generator;
mod guard;
mod guest;
mod host;
mod interrupt;
mod iperf;
mod machine;
mod measure;
mod netns;
mod options;
mod peers;
mod policy;
mod progress;
mod report;
mod results;
mod rows;
mod run;
mod scratch;
mod stats;
mod sys;
mod table;
mod tap;
mod testrun;
mod uplink;
mod vhost;
mod walker;
mod wire;
mod workload;
mod world;
mod yardstick;

use std::{fs, process::ExitCode};

use anyhow::Context;
use clap::Parser;

fn main() -> ExitCode {
    match bench(&options::Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Runs, prints and writes; false when something could not be measured.
fn bench(options: &options::Options) -> anyhow::Result<bool> {
    match &options.part {
        Some(options::Part::Policy(options)) => return policy::bench(options),
        Some(options::Part::Apply(options)) => return apply::bench(options),
        Some(options::Part::Guard(options)) => return guard::bench(options),
        Some(options::Part::Guest(options)) => return guest::bench(options),
        Some(options::Part::Uplink(options)) => return uplink::bench(options),
        Some(options::Part::Vhost(options)) => return vhost::bench(options),
        None => scratch::enter()?,
    }
    let report = run::everything(options)?;
    println!("{}", report.text());
    let path = options.json();
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory).with_context(|| directory.display().to_string())?;
    }
    fs::write(&path, serde_json::to_string_pretty(&report)?)
        .with_context(|| path.display().to_string())?;
    eprintln!("JSON: {}", path.display());
    Ok(report.forwarding.iter().all(|peer| peer.failures.is_empty()))
}
