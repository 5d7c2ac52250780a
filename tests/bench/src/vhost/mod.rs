//! Guests on vhost-user ports: how fast they reach each other through the engine, against DPDK's
//! testpmd, which decides nothing, and Open vSwitch with DPDK and connection tracking. One core
//! sends and receives, one switches; every reading of a switch is set against one of testpmd taken
//! just before.

mod card;
mod circle;
mod driven;
mod nic;
mod ours;
mod ovs;
mod peer;
mod testpmd;

use std::{path::PathBuf, time::Duration};

use anyhow::Context;
use clap::{Args, ValueEnum};

use self::{
    circle::{BULK, Load, ORDINARY},
    ours::Kind,
    peer::Peer,
};
use crate::{
    command,
    generator::{Limit, Reading},
    interrupt::Interrupt,
    machine::Others,
    report::grouped,
    rows::{Aim, Report, Row},
    scratch,
    stats::Spread,
};

/// Rules of the policies.
const RULES: u32 = 10_000;
/// Both ports of a switch have rings.
const RINGS: [Kind; 2] = [Kind::VhostUser; 2];
/// What other programs leave files in.
const RUN: &str = "/run";

/// What the bench of vhost-user ports is to do.
#[derive(Args, Debug)]
pub struct Options {
    /// Rounds; every number is the median over their readings
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// How long a reading takes, ms
    #[arg(long, default_value_t = 250, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    reading: u64,
    /// Only these rows
    #[arg(long)]
    only: Option<Part>,
    /// Write JSON to this file too, `-` for JSON instead of the table
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "-")]
    json: Option<PathBuf>,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Frames of 64 and 1,500 bytes
    Frames,
    /// Super-packets
    Bulk,
    /// Super-packets of a guest on a tap port
    Tap,
    /// Guests with DPDK's driver
    Dpdk,
}

/// Ordinary frames, with the share of testpmd that should be reached, and how many times Open
/// vSwitch.
const LOADS: [(Load, f64, f64); 4] = [
    (Load { bytes: 64, flows: 1 }, 0.6, 2.0),
    (Load { bytes: 64, flows: 10_000 }, 0.6, 3.0),
    (Load { bytes: 1500, flows: 1 }, 0.6, 2.0),
    (Load { bytes: 1500, flows: 10_000 }, 0.6, 3.0),
];

/// Measures and prints; false where an aim was missed.
pub fn bench(options: &Options) -> anyhow::Result<bool> {
    scratch::enter()?;
    scratch::cover(RUN)?;
    command::require_all()?;
    let interrupt = Interrupt::listen()?;
    let mut others = Others::watch()?;
    let bench = Bench { options, interrupt };
    let mut rows = Vec::new();
    for part in Part::value_variants() {
        if options.only.is_none_or(|only| only == *part) {
            rows.extend(match part {
                Part::Frames => bench.ordinary()?,
                Part::Bulk => bench.bulk()?,
                Part::Tap => bench.over_taps()?,
                Part::Dpdk => bench.driven()?,
            });
        }
    }
    others.mark()?;
    Report::new(rows, others.cores())?.show(options.json.as_deref())
}

struct Bench<'a> {
    options: &'a Options,
    interrupt: Interrupt,
}

/// Readings of one load, by peer.
#[derive(Default)]
struct Readings {
    testpmd: Vec<f64>,
    ours: Vec<f64>,
    ovs: Vec<f64>,
    /// Against testpmd, each.
    share: Vec<f64>,
    ovs_share: Vec<f64>,
}

impl Bench<'_> {
    fn ordinary(&self) -> anyhow::Result<Vec<Row>> {
        eprintln!("starting testpmd, Open vSwitch and Portcullis");
        let mut testpmd = testpmd::start(ORDINARY)?.rest()?;
        let mut ovs = ovs::start("Open vSwitch", false, ORDINARY)?.rest()?;
        let mut ours = ours::start("portcullis", RINGS, ORDINARY)?;
        let mut rows = Vec::new();
        for (load, share, times) in LOADS {
            let mut all = Readings::default();
            for peer in [&mut testpmd, &mut ours, &mut ovs] {
                peer.at_work(|circle| circle.open(load, &self.interrupt))?;
            }
            for round in 0..self.options.rounds {
                eprintln!("round {}/{}: {}", round + 1, self.options.rounds, name(load));
                let yardstick = self.rate(&mut testpmd, load)?;
                let own = self.rate(&mut ours, load)?;
                all.share.push(own / yardstick);
                all.ours.push(own);
                all.testpmd.push(yardstick);
                let yardstick = self.rate(&mut testpmd, load)?;
                let other = self.rate(&mut ovs, load)?;
                all.ovs_share.push(other / yardstick);
                all.ovs.push(other);
                all.testpmd.push(yardstick);
            }
            rows.extend(all.rows(load, share, times)?);
        }
        Ok(rows)
    }

    /// Millions of frames a second.
    fn rate(&self, peer: &mut Peer, load: Load) -> anyhow::Result<f64> {
        Ok(self.read(peer, load)?.wall_rate() / 1e6)
    }

    fn read(&self, peer: &mut Peer, load: Load) -> anyhow::Result<Reading> {
        let limit = Limit::Time(Duration::from_millis(self.options.reading));
        peer.at_work(|circle| circle.run(load, limit, &self.interrupt))
    }

    fn bulk(&self) -> anyhow::Result<Vec<Row>> {
        let load = Load { bytes: 0, flows: 1 };
        eprintln!("starting Open vSwitch and Portcullis for super-packets");
        let mut ovs = ovs::start("Open vSwitch, TSO", true, BULK)?.rest()?;
        let mut ours = ours::start("portcullis-bulk", RINGS, BULK)?;
        let (mut own, mut other, mut ratio) = (Vec::new(), Vec::new(), Vec::new());
        for peer in [&mut ours, &mut ovs] {
            anyhow::ensure!(peer.circle.takes_super_packets(), "{} cuts them", peer.name);
            peer.at_work(|circle| circle.open(load, &self.interrupt))?;
        }
        for round in 0..self.options.rounds {
            eprintln!("round {}/{}: {}", round + 1, self.options.rounds, name(load));
            other.push(gigabits(&self.read(&mut ovs, load)?));
            own.push(gigabits(&self.read(&mut ours, load)?));
            ratio.push(own[own.len() - 1] / other[other.len() - 1]);
        }
        let what = name(load);
        Ok(vec![
            row(format!("{what}: Portcullis"), "Gbit/s", own, None)?,
            row("  Open vSwitch, TSO in user space".to_owned(), "Gbit/s", other, None)?,
            row("  Portcullis / Open vSwitch".to_owned(), "x", ratio, Some(Aim::AtLeast(1.0)))?,
        ])
    }

    /// Super-packets of a guest on a tap port, by the kernel's half to a guest on rings.
    fn over_taps(&self) -> anyhow::Result<Vec<Row>> {
        let load = Load { bytes: 0, flows: 1 };
        let mut ours = ours::start("portcullis-tap", [Kind::Tap, Kind::VhostUser], BULK)?;
        ours.at_work(|circle| circle.open(load, &self.interrupt))?;
        let mut readings = Vec::new();
        for round in 0..self.options.rounds {
            eprintln!("round {}/{}: {}, tap", round + 1, self.options.rounds, name(load));
            readings.push(gigabits(&self.read(&mut ours, load)?));
        }
        Ok(vec![row("64 KB GSO, tap to vhost-user".to_owned(), "Gbit/s", readings, None)?])
    }

    /// Both guests are DPDK's.
    fn driven(&self) -> anyhow::Result<Vec<Row>> {
        eprintln!("starting guests of testpmd");
        let mut testpmd = driven::Driven::of_testpmd()?;
        let mut ours = driven::Driven::of_ours()?;
        let (mut bare, mut own, mut share) = (Vec::new(), Vec::new(), Vec::new());
        let reading = Duration::from_millis(self.options.reading);
        for round in 0..self.options.rounds {
            eprintln!("round {}/{}: 64 B, by testpmd", round + 1, self.options.rounds);
            self.interrupt.check()?;
            bare.push(testpmd.rate(reading)?);
            own.push(ours.rate(reading)?);
            share.push(own[own.len() - 1] / bare[bare.len() - 1]);
        }
        Ok(vec![
            row("64 B, driver of DPDK: testpmd io".to_owned(), "Mpps", bare, None)?,
            row("  Portcullis".to_owned(), "Mpps", own, None)?,
            row("  Portcullis / testpmd".to_owned(), "x", share, Some(Aim::AtLeast(0.6)))?,
        ])
    }
}

impl Readings {
    fn rows(self, load: Load, share: f64, times: f64) -> anyhow::Result<Vec<Row>> {
        let ratio =
            self.share.iter().zip(&self.ovs_share).map(|(own, other)| own / other).collect();
        let what = name(load);
        Ok(vec![
            row(format!("{what}: testpmd io"), "Mpps", self.testpmd, None)?,
            row("  Portcullis".to_owned(), "Mpps", self.ours, None)?,
            row("  Open vSwitch, ct".to_owned(), "Mpps", self.ovs, None)?,
            row("  Portcullis / testpmd".to_owned(), "x", self.share, Some(Aim::AtLeast(share)))?,
            row("  Open vSwitch / testpmd".to_owned(), "x", self.ovs_share, None)?,
            row("  Portcullis / Open vSwitch".to_owned(), "x", ratio, Some(Aim::AtLeast(times)))?,
        ])
    }
}

fn name(load: Load) -> String {
    let flows = match load.flows {
        1 => "1 flow".to_owned(),
        more => format!("{} flows", grouped(more.into())),
    };
    match load.bytes {
        0 => format!("64 KB GSO, {flows}"),
        bytes => format!("{} B, {flows}", grouped(bytes as u64)),
    }
}

/// By the clock on the wall: who switches has a core of its own.
fn gigabits(reading: &Reading) -> f64 {
    reading.bytes as f64 * 8e-9 / reading.elapsed.as_secs_f64()
}

fn row(
    what: String,
    unit: &'static str,
    readings: Vec<f64>,
    aim: Option<Aim>,
) -> anyhow::Result<Row> {
    let spread = Spread::of(readings).context("no readings")?;
    Ok(Row { what, unit, spread, aim })
}
