//! `cargo xtask test`: everything that must hold, in one run.

use std::{process::Command, thread, time::Instant};

use anyhow::Result;
use clap::Args;

use crate::{
    guest,
    kernels::{self, Form},
    outcome::Outcome,
    packages, place, setup,
    step::Step,
    suite::{self, TestProgram},
};

/// Which tests, and how long.
#[derive(Args)]
pub struct Options {
    /// More packets, more rounds
    #[arg(long)]
    long: bool,
    /// Only the kernel matrix, with all end-to-end tests on each kernel
    #[arg(long)]
    kernels: bool,
    /// Only steps whose name contains NAME: `format`, `clippy`, a package or test program,
    /// `kernels`; with --kernels, only those test programs on each kernel
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
}

impl Options {
    fn wants(&self, step: &str) -> bool {
        if self.kernels {
            return step == "kernels";
        }
        self.only.as_deref().is_none_or(|name| step.contains(name))
    }
}

/// What ran, and what came of it.
#[derive(Default)]
struct Report {
    rows: Vec<Row>,
}

/// What ran, what came of it, and the seconds that it took.
type Row = (String, Outcome, f64);

fn row(name: &str, run: impl FnOnce() -> Result<Outcome>) -> Result<Row> {
    let started = Instant::now();
    let outcome = run()?;
    Ok((name.to_owned(), outcome, started.elapsed().as_secs_f64()))
}

impl Report {
    fn add(&mut self, name: &str, run: impl FnOnce() -> Result<Outcome>) -> Result<()> {
        self.rows.push(row(name, run)?);
        Ok(())
    }

    fn sum(&self) -> Outcome {
        let mut sum = Outcome::default();
        for (_, outcome, _) in &self.rows {
            sum += *outcome;
        }
        sum
    }

    fn print(&self) {
        println!("\n{:<44} {:>7} {:>7} {:>7} {:>9}", "", "passed", "failed", "skipped", "seconds");
        for (name, o, seconds) in &self.rows {
            println!("{name:<44} {:>7} {:>7} {:>7} {seconds:>9.1}", o.passed, o.failed, o.skipped);
        }
        println!("\n{}", self.sum());
    }
}

/// Runs the tests; false when one failed.
pub fn run(options: &Options) -> Result<bool> {
    setup::for_packages(&[kernels::INSIDE, &[packages::KERNELS]].concat())?;
    let mut report = Report::default();
    format(options, &mut report)?;
    match options.only.as_deref() {
        Some("format") => {}
        Some("clippy") => report.rows.extend(lints(options)?),
        _ => programs(options, &mut report)?,
    }
    report.print();
    let sum = report.sum();
    Ok(sum.failed == 0 && sum.passed > 0)
}

fn format(options: &Options, report: &mut Report) -> Result<()> {
    let mut format = place::cargo();
    format.args(["fmt", "--all", "--check"]);
    let other = |manifest| {
        let mut other = place::cargo();
        other.args(["fmt", "--check", "--manifest-path", manifest]);
        other
    };
    let (mut ebpf, mut guest) = (other("ebpf/Cargo.toml"), other("vmm-attach/guest/Cargo.toml"));
    for command in [&mut format, &mut ebpf, &mut guest] {
        // Or the diff in the log is full of colours.
        command.env("TERM", "dumb");
    }
    for (name, command) in
        [("format", format), ("format of ebpf", ebpf), ("format of the guest", guest)]
    {
        if options.wants(name) {
            report.add(name, || check(name, command))?;
        }
    }
    Ok(())
}

/// Lints, on what the processors have left: nobody waits for these.
fn lints(options: &Options) -> Result<Option<Row>> {
    let name = "clippy";
    let mut clippy = Command::new("nice");
    clippy.arg(place::cargo().get_program()).current_dir(place::root());
    clippy.args([name, "--workspace", "--all-targets", "--", "-D", "warnings"]);
    options.wants(name).then(|| row(name, || check(name, clippy))).transpose()
}

fn check(name: &str, command: Command) -> Result<Outcome> {
    let done = Step::new(name, command).finish()?;
    if !done.status.success() {
        done.print_tail();
    }
    Ok(Outcome::one(done.status.success()))
}

/// Test programs, in two lanes: those of the lab mostly wait, so everything else, which mostly
/// computes, goes beside them, and the lints behind that.
fn programs(options: &Options, report: &mut Report) -> Result<()> {
    let programs = match suite::build() {
        Ok(programs) => programs,
        Err(error) => {
            println!("      {error:#}");
            return report.add("build", || Ok(Outcome::one(false)));
        }
    };
    let wanted = programs.iter().filter(|program| options.wants(&program.name));
    let (lab, others): (Vec<_>, Vec<_>) = wanted.partition(|program| program.is_lab());
    if !lab.is_empty() {
        guest::make()?;
    }
    let (lab, others) = thread::scope(|scope| {
        let lab = scope.spawn(|| all(&lab, options));
        let others = all(&others, options).and_then(|mut rows| {
            rows.extend(examples(options)?);
            rows.extend(on_kernels(options, programs.clone())?);
            rows.extend(lints(options)?);
            Ok(rows)
        });
        (lab.join().expect("a lane that panicked has said so"), others)
    });
    report.rows.extend(others?);
    report.rows.extend(lab?);
    Ok(())
}

fn all(programs: &[&TestProgram], options: &Options) -> Result<Vec<Row>> {
    programs.iter().map(|program| row(&program.name, || program.run(options.long))).collect()
}

fn examples(options: &Options) -> Result<Option<Row>> {
    let name = "documentation examples";
    let run = || {
        let done = suite::doc_tests().finish()?;
        let outcome = Outcome::of_harness(&done.output, done.status.success());
        if outcome.failed > 0 {
            done.print_tail();
        }
        Ok(outcome)
    };
    options.wants(name).then(|| row(name, run)).transpose()
}

fn on_kernels(options: &Options, mut programs: Vec<TestProgram>) -> Result<Option<Row>> {
    let form = if options.kernels { Form::Whole } else { Form::Short };
    let only = options.only.as_deref().filter(|_| options.kernels).unwrap_or_default();
    programs.retain(|program| program.name.contains(only));
    let run = || kernels::test(form, &programs);
    options.wants("kernels").then(|| row("kernels", run)).transpose()
}
