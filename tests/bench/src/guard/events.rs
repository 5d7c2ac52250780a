//! What it costs that connections are logged: the same policy with `log: true` at the measured
//! rule, in the other slot, while nobody reads the events and while somebody does.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use anyhow::Context;

use crate::{
    error::Error,
    interrupt::Interrupt,
    netns::Namespace,
    peers::{Policy, Running},
    rows::{Aim, Row},
    testrun::{self, Case, CaseResult, Counts, Loaded, Subject},
    workload,
    world::{Ends, Topology},
};

/// Rules of the policy without a log; the one with it counts one more, by which its readings are
/// told apart.
const RULES: u32 = 1_000;
const COUNTS: Counts = Counts { repeat: 100_000, fresh: 20_000, readings: 5 };
/// How often somebody who listens looks.
const LOOK: Duration = Duration::from_millis(10);
/// What logging may cost, of a packet without it.
const LISTENED_MAX: f64 = 1.03;

/// Ratios of the costs.
pub fn rows(rounds: u32, interrupt: &Interrupt) -> anyhow::Result<Vec<Row>> {
    let ends = Ends::switched();
    let of = |text, rules| Policy::of(text, rules, Topology::Switched);
    let plain = of(workload::policy(RULES, &ends, Topology::Switched), RULES)?;
    let logged = of(workload::logged(RULES + 1, &ends, Topology::Switched), RULES + 1)?;
    let namespace = Namespace::new()?;
    let (mut running, _taps) = Running::for_testrun(&namespace, &plain)?;
    let (mut alone, mut heard) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        eprintln!("round {}/{rounds}: logged connections", round + 1);
        running.install(&plain)?;
        let before = running.subject(&namespace)?.newest(RULES)?;
        running.install(&logged)?;
        let subject = running.subject(&namespace)?;
        let loaded = [before, subject.newest(RULES + 1)?];
        measure(&subject, loaded, interrupt, &mut alone)?;
        listening(&mut running, || measure(&subject, loaded, interrupt, &mut heard))?;
    }
    let mut rows = Vec::new();
    for (listener, results) in [("nobody listens", &alone), ("somebody listens", &heard)] {
        for (case, what) in [(Case::Established, "established"), (Case::First, "first packet")] {
            rows.push(row(format!("{what}, rule logged, {listener}"), case, results)?);
        }
    }
    Ok(rows)
}

fn measure(
    subject: &Subject<'_>,
    loaded: [Loaded; 2],
    interrupt: &Interrupt,
    results: &mut Vec<CaseResult>,
) -> Result<(), Error> {
    testrun::measure(subject, loaded, &[1], COUNTS, interrupt, results)
}

/// Runs `work` while a thread reads the switch's events as the daemon does.
fn listening(running: &mut Running, work: impl FnOnce() -> Result<(), Error>) -> Result<(), Error> {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let listener = scope.spawn(|| {
            let mut heard = 0;
            while !done.load(Ordering::Relaxed) {
                heard += running.events();
                thread::sleep(LOOK);
            }
            heard
        });
        let result = work();
        done.store(true, Ordering::Relaxed);
        match listener.join() {
            Ok(0) => Err(Error::Silent),
            Ok(_) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

fn row(what: String, case: Case, results: &[CaseResult]) -> anyhow::Result<Row> {
    let found = results.iter().find(|r| r.case == case && r.rules > RULES);
    let spread = found.and_then(CaseResult::growth).context("no readings")?;
    Ok(Row { what, unit: "x", spread, aim: Some(Aim::Under(LISTENED_MAX)) })
}
