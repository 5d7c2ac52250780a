//! How long `portcullis apply` takes, from the start of the command, which reads the file, to its
//! end, when every port has acknowledged: real daemon, real ports, 10,000 rules.

use std::{fs, path::PathBuf, time::Instant};

use anyhow::Context;
use clap::Args;

use crate::{
    host::Host,
    policy::text::{self, Size},
    rows::{Aim, Report, Row},
    scratch,
    stats::Spread,
};

/// What the bench of `apply` is to do.
#[derive(Args, Debug)]
pub struct Options {
    /// Rounds, each with a switch of its own; every number is the median over them
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Changes of one rule in each round
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    changes: u32,
    /// Write JSON to this file too, `-` for JSON instead of the table
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "-")]
    json: Option<PathBuf>,
}

const SIZE: Size = Size { guests: 1_000, rules: 10_000 };
/// Ports, each of a guest of its own.
const PORTS: usize = 100;
/// Share of the changes that has to be as fast as is promised.
const SHARE: f64 = 0.99;

/// What one round gives, ms.
struct Round {
    full: f64,
    median: f64,
    slow: f64,
    validation: f64,
}

/// Measures and prints; false where an aim was missed.
pub fn bench(options: &Options) -> anyhow::Result<bool> {
    scratch::enter()?;
    let rounds =
        (0..options.rounds).map(|n| round(n, options.changes)).collect::<Result<Vec<_>, _>>()?;
    let size = format!("{} rules, {PORTS} ports", SIZE.rules);
    let rows = [
        row(&rounds, format!("{size}: full load"), Some(Aim::Under(2_000.0)), |r| r.full)?,
        row(&rounds, "one changed rule, median".to_owned(), None, |r| r.median)?,
        row(&rounds, "one changed rule, 99 %".to_owned(), Some(Aim::Under(50.0)), |r| r.slow)?,
        row(&rounds, "  of it read back and compared".to_owned(), None, |r| r.validation)?,
    ];
    Report::new(rows.into(), None)?.show(options.json.as_deref())
}

fn row(
    rounds: &[Round],
    what: String,
    aim: Option<Aim>,
    number: impl Fn(&Round) -> f64,
) -> anyhow::Result<Row> {
    let spread = Spread::of(rounds.iter().map(number)).context("no readings")?;
    Ok(Row { what, unit: "ms", spread, aim })
}

/// A new switch with ports that wait for a policy; the policy; changes of one rule of it.
fn round(number: u32, changes: u32) -> anyhow::Result<Round> {
    let host = Host::start(&format!("apply{number}"))?;
    for port in 0..PORTS {
        host.attach("tap", &format!("tap{port}"), &format!("guest{port}"))?;
    }
    let file = host.file("policy.yaml");
    let before = text::policy(SIZE);
    let after = changed(&before);
    fs::write(&file, &before)?;
    let started = Instant::now();
    let applied = host.apply(&file)?;
    let full = started.elapsed().as_secs_f64() * 1e3;
    let open = applied["ports"].as_array().map_or(0, |all| {
        all.iter().filter(|port| port["kind"] == "tap" && port["open"] == true).count()
    });
    anyhow::ensure!(open == PORTS, "{open} of {PORTS} ports are open");
    let mut texts = [&after, &before].into_iter().cycle();
    let (mut took, mut validation) = (Vec::new(), Vec::new());
    for _ in 0..changes {
        fs::write(&file, texts.next().context("texts")?)?;
        let started = Instant::now();
        let applied = host.apply(&file)?;
        took.push(started.elapsed().as_secs_f64() * 1e3);
        validation.push(applied["validation"]["total_us"].as_f64().unwrap_or(0.0) / 1e3);
    }
    took.sort_by(f64::total_cmp);
    let at = |share: f64| took[((took.len() - 1) as f64 * share).ceil() as usize];
    let validation = Spread::of(validation).context("no readings")?.median;
    Ok(Round { full, median: at(0.5), slow: at(SHARE), validation })
}

/// The same policy with another rule in the middle.
fn changed(text: &str) -> String {
    let middle = SIZE.rules / 2;
    let (rule, other) = (text::rule(middle), text::rule(middle + 11));
    let name = |r: usize| format!("name: rule{r},");
    text.replacen(&rule, &other.replacen(&name(middle + 11), &name(middle), 1), 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_rule_is_changed() {
        let text = text::policy(SIZE);
        let changed = changed(&text);
        let lines = text.lines().zip(changed.lines());
        assert_eq!(lines.filter(|(before, after)| before != after).count(), 1);
    }
}
