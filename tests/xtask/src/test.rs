//! `cargo xtask test`: everything that must hold, in one run.

use std::time::Instant;

use anyhow::Result;
use clap::Args;

use crate::{
    kernels::{self, Form},
    outcome::Outcome,
    packages, place, setup,
    step::Step,
    suite,
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
    rows: Vec<(String, Outcome, f64)>,
}

impl Report {
    fn add(&mut self, name: &str, run: impl FnOnce() -> Result<Outcome>) -> Result<()> {
        let started = Instant::now();
        let outcome = run()?;
        self.rows.push((name.to_owned(), outcome, started.elapsed().as_secs_f64()));
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
    style(options, &mut report)?;
    if !["format", "clippy"].contains(&options.only.as_deref().unwrap_or("")) {
        programs(options, &mut report)?;
    }
    report.print();
    let sum = report.sum();
    Ok(sum.failed == 0 && sum.passed > 0)
}

/// Format and lints.
fn style(options: &Options, report: &mut Report) -> Result<()> {
    let mut format = place::cargo();
    format.args(["fmt", "--all", "--check"]);
    let mut ebpf = place::cargo();
    ebpf.args(["fmt", "--check", "--manifest-path", "ebpf/Cargo.toml"]);
    for command in [&mut format, &mut ebpf] {
        // Or the diff in the log is full of colours.
        command.env("TERM", "dumb");
    }
    let mut clippy = place::cargo();
    clippy.args(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]);
    for (name, command) in [("format", format), ("format of ebpf", ebpf), ("clippy", clippy)] {
        if options.wants(name) {
            report.add(name, || check(name, command))?;
        }
    }
    Ok(())
}

fn check(name: &str, command: std::process::Command) -> Result<Outcome> {
    let done = Step::new(name, command).finish()?;
    if !done.status.success() {
        done.print_tail();
    }
    Ok(Outcome::one(done.status.success()))
}

/// Test programs: pure ones first, since they say most about what is wrong; the lab last.
fn programs(options: &Options, report: &mut Report) -> Result<()> {
    let mut programs = match suite::build() {
        Ok(programs) => programs,
        Err(error) => {
            println!("      {error:#}");
            return report.add("build", || Ok(Outcome::one(false)));
        }
    };
    programs.sort_by_key(|program| program.name.starts_with("portcullis-lab"));
    for program in programs.iter().filter(|program| options.wants(&program.name)) {
        report.add(&program.name, || program.run(options.long))?;
    }
    if options.wants("documentation examples") {
        report.add("documentation examples", || {
            let done = suite::doc_tests().finish()?;
            let outcome = Outcome::of_harness(&done.output, done.status.success());
            if outcome.failed > 0 {
                done.print_tail();
            }
            Ok(outcome)
        })?;
    }
    if options.wants("kernels") {
        let form = if options.kernels { Form::Whole } else { Form::Short };
        let only = options.only.as_deref().filter(|_| options.kernels).unwrap_or_default();
        programs.retain(|program| program.name.contains(only));
        report.add("kernels", || kernels::test(form, &programs))?;
    }
    Ok(())
}
