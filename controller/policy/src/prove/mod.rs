//! Invariants, proved over every pair of identity classes and every service class.
//!
//! `never` counts everything as allowed that is not modelled: that a network has no gateway is no
//! excuse, and a guest with several NICs passes on what reaches it (see [`relays`]) unless it
//! says `forwards: false`. `always` needs more than a rule: there must be a way (see [`routes`]),
//! and it is about declared addresses and networks, not about what the host may own besides.
//!
//! The invariants of kinds hold through relays too: a chain is excused only where a rule that
//! names both of its ends allows them to meet directly. So a firewall guest with a leg in a `dmz`
//! says `forwards: false`, which means: what it lets through is its own business, and vouched for.
//!
//! Rules that only observe do not count, rules that have ended do not exist, and what becomes of
//! an invariant when a rule ends is looked at now (see [`moments`]).

mod again;
mod bare;
mod closest;
mod denied;
mod edits;
mod machines;
mod moments;
mod naming;
mod purposes;
mod reach;
mod relays;
mod report;
mod routes;
mod search;
mod violation;

use portcullis_pipeline::policy::Cell;

pub use self::violation::{Cause, End, Hop, Violation};
pub(crate) use self::{
    again::still_holds,
    reach::{Reach, Reaches},
};
use self::{
    purposes::Purposes,
    search::{Found, Prover},
};
use crate::{
    Compiled,
    diagnostic::{Diagnostic, Diagnostics},
    model::Demand,
    problem::Problem,
};

/// Everything that breaks an invariant, each with one connection that shows it.
pub fn violations(compiled: &Compiled) -> Vec<Violation> {
    let prover = Prover::new(compiled);
    cases(&prover, &mut |_| {}).into_iter().map(|case| case.violation).collect()
}

/// What breaks an invariant, and how it was found.
struct Case {
    /// Index of the invariant among all, those of kinds among them.
    invariant: usize,
    found: Found,
    violation: Violation,
}

/// Everything that breaks an invariant. `empty` gets the invariants without any connection.
fn cases(prover: &Prover<'_>, empty: &mut dyn FnMut(usize)) -> Vec<Case> {
    let build = &prover.compiled.build;
    let mut purposes: Option<Purposes<'_>> = None;
    let mut cases = Vec::new();
    let all = build.expanded.invariants.iter().zip(&build.invariants).enumerate();
    for (i, (invariant, &key)) in all {
        let (found, possible) = prover.invariant(invariant, key);
        if !possible && invariant.demand != Demand::NeverUnnamed {
            empty(i);
        }
        for found in found {
            let purposes = purposes.get_or_insert_with(|| Purposes::new(prover.compiled));
            let violation = Violation::new(prover, purposes, invariant, &found);
            cases.extend(violation.map(|violation| Case { invariant: i, found, violation }));
        }
    }
    cases
}

/// Reports every invariant that does not hold, or will not hold when a rule ends.
pub fn prove(compiled: &Compiled, diags: &mut Diagnostics) {
    let prover = Prover::new(compiled);
    let invariants = &compiled.build.expanded.invariants;
    let cases = cases(&prover, &mut |i| {
        diags.push(Diagnostic::new(Problem::EmptyInvariant {}, invariants[i].span));
    });
    report::all(&prover, &cases, diags);
    bare::check(compiled, diags);
    denied::check(compiled, diags);
    moments::later(compiled, &cases, diags);
}

/// The cell of a pair of classes and a service class.
pub fn cell(compiled: &Compiled, src: u32, dst: u32, service: u32) -> Cell {
    let image = &compiled.image;
    let row = image.rows[(src * image.classes + dst) as usize];
    Cell(image.cells[(row * image.services + service) as usize])
}
