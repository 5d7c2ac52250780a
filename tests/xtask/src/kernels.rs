//! The kernel matrix: the programs and the end-to-end tests on the kernels that Debian ships, under
//! QEMU, and the programs on the one that runs.

use std::{fs, path::Path, process::Command};

use anyhow::Result;

use crate::{
    disk,
    kernel::Kernel,
    machine::{self, Errand, Report},
    outcome::{self, Outcome},
    packages, place,
    probe::{self, VERIFIED_MAX},
    selection, setup,
    step::Step,
    suite::TestProgram,
};

/// What the systems of the virtual machines hold.
pub const INSIDE: &[&[&str]] = &[packages::PLAY, packages::TEST, packages::ATTACKERS];
/// Only the programs, or a few tests: boots in seconds, but the verifier takes its time.
const SHORT_SECONDS: u32 = 900;
/// All the tests.
const WHOLE_SECONDS: u32 = 6 * 3600;
const PROBE: &str = "kernel-probe";

/// What runs on the kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// The programs are loaded, and compared with the pipeline for some packets.
    Programs,
    /// And a few end-to-end tests, those for which the kernel matters most.
    Short,
    /// And all of them.
    Whole,
}

/// `cargo xtask kernels`.
pub fn run() -> Result<bool> {
    setup::for_packages(&[INSIDE, &[packages::KERNELS]].concat())?;
    let mut probe = place::cargo();
    probe.args(["build", "--workspace", "--bin", PROBE]);
    Step::new(format!("build {PROBE}"), probe).succeed()?;
    Ok(test(Form::Programs, &[])?.failed == 0)
}

/// Runs it everywhere; the programs on one kernel count as one test. All has been compiled.
pub fn test(form: Form, tests: &[TestProgram]) -> Result<Outcome> {
    let probe = place::target().join("debug").join(PROBE);
    let errands = [vec![probe_errand(&probe)], selection::errands(form, tests)].concat();
    let reports = booted(form, &errands)?;
    let mut probes: Vec<probe::Report> = reports.iter().map(probed).collect();
    probes.push(native(&probe)?);
    println!("\n{:<32} {:<16} {:>10}  (at most {VERIFIED_MAX})", "kernel", "program", "verified");
    let mut outcome = Outcome::default();
    for report in &probes {
        print!("{report}");
        outcome += Outcome::one(report.fine());
    }
    if form != Form::Programs {
        outcome += table(form, &errands[1..], &reports);
    }
    Ok(outcome)
}

fn probe_errand(probe: &Path) -> Errand {
    Errand {
        name: PROBE.to_owned(),
        executable: probe.to_path_buf(),
        directory: place::root().join("tests/differential"),
        arguments: Vec::new(),
        seconds: 600,
    }
}

fn probed(report: &Report) -> probe::Report {
    let done = report.done.iter().find(|done| done.name == PROBE).cloned().unwrap_or_default();
    probe::Report::parse(&report.kernel, &done.output, done.status)
}

/// The kernel that runs this.
fn native(probe: &Path) -> Result<probe::Report> {
    let done = Step::new("kernel-probe on this kernel", Command::new(probe)).finish()?;
    if !done.status.success() {
        done.print_tail();
    }
    let release = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    Ok(probe::Report::parse(release.trim(), &done.output, done.status.code()))
}

/// Debian's kernels, all at once: most of what a test does in there, it does on one processor.
fn booted(form: Form, errands: &[Errand]) -> Result<Vec<Report>> {
    let kernels = Kernel::all()?;
    let system = disk::system(&INSIDE.concat(), &kernels)?;
    let programs = place::target().join("kernels.ext4");
    let portcullis = place::target().join("debug/portcullis");
    let others: &[&Path] = if form == Form::Programs { &[] } else { &[&portcullis] };
    let guest = kernels.first().filter(|_| form != Form::Programs);
    machine::programs(errands, others, guest, &programs)?;
    let seconds = if form == Form::Whole { WHOLE_SECONDS } else { SHORT_SECONDS };
    let boot = |kernel: &Kernel| {
        machine::boot(kernel, &system, &programs, format!("tests on {}", kernel.series), seconds)
    };
    let steps = kernels.iter().map(boot).collect::<Result<Vec<_>>>()?;
    let done = Step::finish_all("Debian's kernels under QEMU", steps)?;
    let mut reports = Vec::new();
    for (kernel, done) in kernels.iter().zip(done) {
        let mut report = Report::parse(&done.output);
        if report.done.is_empty() {
            done.print_tail();
        }
        if report.kernel.is_empty() {
            report.kernel = kernel.release()?;
        }
        println!("      {}: full log: {}", report.kernel, done.log.display());
        reports.push(report);
    }
    Ok(reports)
}

/// What each test program came to on each kernel, and the failures in full.
fn table(form: Form, errands: &[Errand], reports: &[Report]) -> Outcome {
    let mut sum = Outcome::default();
    for report in reports {
        println!("\n{:<36} {:>7} {:>7} {:>9}", report.kernel, "passed", "failed", "seconds");
        for errand in errands {
            let done = report.done.iter().find(|done| done.name == errand.name);
            let done = done.cloned().unwrap_or_default();
            let outcome = done.outcome();
            let (passed, failed) = (outcome.passed, outcome.failed);
            println!("{:<36} {passed:>7} {failed:>7} {:>9.1}", errand.name, done.seconds);
            if failed > 0 {
                println!("{}", done.failures());
            }
            for line in outcome::skips(&done.output) {
                println!("      {line}");
            }
            sum += outcome;
        }
        for complaint in &report.complaints {
            println!("the kernel complained: {complaint}");
        }
        sum += Outcome { failed: u32::from(!report.complaints.is_empty()), ..Outcome::default() };
        if form == Form::Whole {
            sum.skipped += selection::say_left_out(errands);
        }
    }
    sum
}
