//! Oracle, native pipeline and loaded program never differ.

use std::thread;

use portcullis_differential::{Plan, run};
use portcullis_pipeline::DropReason;

/// Packets of the short form.
const PACKETS: u64 = 120_000;
/// Packets of the long form, `cargo xtask test --long`.
const PACKETS_LONG: u64 = 10_000_000;

/// `PORTCULLIS_PACKETS` makes it as long as one likes, `PORTCULLIS_SEED` another one.
#[test]
fn nothing_differs() {
    let number = |name: &str, otherwise: u64| match std::env::var(name) {
        Ok(text) => text.parse().expect("a number"),
        Err(_) => otherwise,
    };
    let long = std::env::var_os("PORTCULLIS_TEST_LONG").is_some();
    let packets = if long { PACKETS_LONG } else { PACKETS };
    let plan = Plan {
        packets: number("PORTCULLIS_PACKETS", packets),
        packets_per_world: if long { 20_000 } else { 5_000 },
        seed: number("PORTCULLIS_SEED", 20_260_101),
    };
    // A thread of its own: the run leaves for a network namespace of its own.
    let report = thread::spawn(move || run(&plan)).join().expect("no panic");
    let report = report.unwrap_or_else(|e| panic!("{e:#}"));
    println!("{report}");
    // The traffic must be worth the name: everything happens, and often.
    assert!(report.packets >= plan.packets);
    assert!(report.verdicts.iter().all(|v| *v > plan.packets / 500), "{report}");
    assert!(report.passing > plan.packets / 100, "{report}");
    assert!(report.gate > plan.packets / 200, "{report}");
    for reason in [
        DropReason::UnknownVlan,
        DropReason::SpoofedAddress,
        DropReason::DeniedSet,
        DropReason::NoConnection,
    ] {
        let gate = &report.gate_reasons;
        assert!(gate.contains(&reason), "the gate drops nothing for {reason}: {gate:?}");
    }
    assert!(report.straight > plan.packets / 1_000, "{report}");
    assert!(report.by_subport > plan.packets / 200, "{report}");
    assert!(report.reasons.len() >= 25, "{:?}", report.reasons);
    assert!(report.notices.iter().all(|n| *n > plan.packets / 5_000), "{report}");
    for reason in [
        DropReason::Expired,
        DropReason::BadSequence,
        DropReason::FragmentTiny,
        DropReason::FragmentOverlap,
        DropReason::FragmentEndless,
        DropReason::FragmentOrphan,
        DropReason::NotHolder,
        DropReason::NoHolder,
        DropReason::DeniedSet,
    ] {
        assert!(report.reasons.contains(&reason), "{reason} is not among {:?}", report.reasons);
    }
    assert!(report.events[1..].iter().all(|e| *e > plan.packets / 5_000), "{:?}", report.events);
    assert!(
        report.suppressed > plan.packets / 500 && report.asked > plan.packets / 100,
        "{report}"
    );
}
