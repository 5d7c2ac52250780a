//! System calls that fail, and a process that is killed at one, at every step.

use portcullis_lab::{inject::Fault, patience::is_long};

use crate::siege::{Siege, start_under};

/// What is made to fail while a port is attached, and while a daemon starts.
const CALLS: &[(&str, &str)] = &[
    ("bpf", "error=ENOMEM"),
    ("bpf", "signal=KILL"),
    ("sendto", "error=ENOBUFS"),
    ("sendto", "signal=KILL"),
    ("fdatasync", "error=EIO"),
    ("sched_setaffinity", "error=EPERM"),
    ("sched_setaffinity", "signal=KILL"),
];

/// Numbers of calls at which something fails: close together first, then further apart.
fn steps(below: usize) -> Vec<usize> {
    let (mut at, mut steps) = (1, Vec::new());
    while at < below {
        steps.push(at);
        at += if is_long() { 1 + at / 12 } else { 2 + at * 4 };
    }
    steps
}

fn faults(calls: &[(&'static str, &'static str)]) -> Vec<Fault> {
    let of = |(call, what): &(&'static str, &'static str)| {
        let (call, what) = (*call, *what);
        let below = if call == "bpf" { 1000 } else { 30 };
        steps(below).into_iter().map(move |at| Fault { call, what, at })
    };
    calls.iter().flat_map(of).collect()
}

#[test]
fn a_change_that_fails_at_any_step_is_no_change() {
    let mut siege = Siege::new("plp");
    let calls = [
        ("bpf", "error=E2BIG"),
        ("bpf", "error=ENOMEM"),
        ("bpf", "signal=KILL"),
        ("sendto", "error=ENOBUFS"),
        ("sendto", "signal=KILL"),
        ("fdatasync", "error=EIO"),
        ("pwrite64", "error=ENOSPC"),
        ("sched_setaffinity", "error=EPERM"),
        ("sched_setaffinity", "signal=KILL"),
    ];
    let mut other = false;
    for fault in faults(&calls) {
        let code = siege.under(&fault, |siege| siege.apply(!other));
        match (code, fault.is_deadly()) {
            (0, _) => other = !other,
            // Nobody heard what came of it: one or the other, and not a mix.
            (_, true) => other = siege.has_other(),
            (_, false) => {}
        }
        assert_eq!(siege.has_other(), other, "{fault}: {code}");
        // The next one is done, whatever happened to this one.
        assert_eq!(siege.apply(!other), 0, "after {fault}");
        other = !other;
        assert_eq!(siege.has_other(), other, "after {fault}");
        if is_long() {
            println!("{fault}: {code}");
        }
        siege.is_whole();
    }
    siege.end();
}

#[test]
fn a_port_that_fails_at_any_step_is_no_port() {
    let mut siege = Siege::new("plq");
    let space = siege.small.lab.space("b1").unwrap();
    let path = space.path().to_string_lossy().into_owned();
    let attach = ["attach", "veth", "v-b1", "--guest", "b1", "--netns", &path];
    let before = siege.host().space().interfaces().unwrap();
    for fault in faults(CALLS) {
        let code = siege.under(&fault, |siege| siege.host().run(&attach).unwrap().code());
        if code != 0 && !fault.is_deadly() {
            assert_eq!(siege.host().space().interfaces().unwrap(), before, "{fault}");
        }
        if siege.host().status().unwrap().port("v-b1").is_none() {
            siege.host().portcullis(&attach).unwrap_or_else(|error| panic!("{fault}: {error}"));
        }
        assert!(siege.host().status().unwrap().is_open("v-b1"), "{fault}");
        siege.host().portcullis(&["detach", "v-b1"]).unwrap();
        siege.is_whole();
    }
    siege.end();
}

#[test]
fn a_start_that_fails_at_any_step_leaves_what_runs() {
    let mut siege = Siege::new("plb");
    let every = if is_long() { 1 } else { 2 };
    for fault in faults(CALLS).into_iter().step_by(every) {
        siege.host().kill_daemon().unwrap();
        siege.reached += usize::from(!start_under(siege.host(), &fault));
        siege.host().up().unwrap_or_else(|error| panic!("after {fault}: {error}"));
        siege.is_whole();
    }
    siege.end();
}
