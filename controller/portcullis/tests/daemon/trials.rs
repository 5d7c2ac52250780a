//! `apply --confirm`: what nobody confirms is undone, whatever happens meanwhile.

use std::time::{Duration, Instant};

use portcullis::{
    api::{Failure, Request, Response, RolledBack, code},
    error::Error,
};
use portcullis_store::Flaky;

use crate::{
    machine::{ApplyError, Daemon, Machine, policy},
    promises::eventually,
};

fn confirm(daemon: &Daemon) -> Result<u32, Failure> {
    match daemon.ask(&Request::Confirm) {
        Ok(Response::Confirmed { generation }) => Ok(generation),
        Err(Error::Failed(failure)) => Err(failure),
        other => panic!("{other:?}"),
    }
}

fn rollback(daemon: &Daemon) -> Result<RolledBack, Failure> {
    match daemon.ask(&Request::Rollback) {
        Ok(Response::RolledBack(back)) => Ok(back),
        Err(Error::Failed(failure)) => Err(failure),
        other => panic!("{other:?}"),
    }
}

/// Is the image that is in force that of this policy?
fn enforces(machine: &Machine, n: u32) -> bool {
    let kernel = machine.world.kernel();
    let port = usize::try_from(1000 + n).unwrap();
    let Some(image) = &kernel.image else { return false };
    image.service_tables[0].class[port] != image.service_tables[0].class[1]
}

#[test]
fn a_confirmed_policy_stays() {
    let machine = Machine::new();
    let daemon = machine.start();
    daemon.apply(&policy(1)).unwrap();
    let applied = daemon.apply_on(&policy(2), Some(60)).unwrap();
    let pending = applied.pending.unwrap();
    assert_eq!(pending.before, Some(vec!["p.yaml".to_owned()]));
    assert!((59_000..=60_000).contains(&pending.left_ms), "{pending:?}");
    assert!(enforces(&machine, 2), "in force at once");
    assert!(daemon.status().pending.is_some());
    assert_eq!(confirm(&daemon).unwrap(), applied.generation);
    assert_eq!(daemon.status().pending, None);
    assert_eq!(confirm(&daemon).unwrap_err().code, code::NOTHING_PENDING);
    daemon.stop();
    assert_eq!(machine.start().applied_text(), Some(policy(2)));
}

#[test]
fn without_a_confirmation_the_policy_of_before_comes_back() {
    let machine = Machine::new();
    let daemon = machine.start();
    daemon.apply(&policy(1)).unwrap();
    let begin = Instant::now();
    daemon.apply_on(&policy(2), Some(1)).unwrap();
    eventually(|| enforces(&machine, 1));
    let took = begin.elapsed();
    assert!(took > Duration::from_millis(900), "{took:?}");
    assert_eq!(daemon.applied_text(), Some(policy(1)));
    let status = daemon.status();
    assert_eq!((status.pending, status.problems), (None, vec![]));
    assert_eq!(status.generation, 3);
    daemon.stop();
    assert_eq!(machine.start().applied_text(), Some(policy(1)));
}

#[test]
fn without_a_policy_of_before_everything_closes_again() {
    let machine = Machine::new();
    let daemon = machine.start();
    let applied = daemon.apply_on(&policy(1), Some(1)).unwrap();
    assert_eq!(applied.pending.unwrap().before, None);
    eventually(|| daemon.applied_text().is_none());
    assert!(machine.world.kernel().image.as_ref().unwrap().rules.is_empty());
    daemon.stop();
    assert_eq!(machine.start().applied_text(), None);
}

#[test]
fn a_daemon_that_ends_meanwhile_undoes_it_all_the_same() {
    let machine = Machine::new();
    let daemon = machine.start();
    daemon.apply(&policy(1)).unwrap();
    daemon.apply_on(&policy(2), Some(2)).unwrap();
    daemon.stop();
    let daemon = machine.start();
    assert!(enforces(&machine, 2) && daemon.status().pending.is_some(), "still on trial");
    eventually(|| enforces(&machine, 1));

    daemon.apply_on(&policy(3), Some(1)).unwrap();
    daemon.stop();
    std::thread::sleep(Duration::from_millis(1100));
    assert!(enforces(&machine, 3), "nobody was there");
    let daemon = machine.start();
    assert!(enforces(&machine, 1), "the first thing that it does");
    assert_eq!(daemon.status().pending, None);
    assert_eq!(daemon.info.start.generation, machine.world.kernel().generation);
}

#[test]
fn a_second_trial_falls_back_to_the_last_confirmed_policy() {
    let machine = Machine::new();
    let daemon = machine.start();
    daemon.apply(&policy(1)).unwrap();
    daemon.apply_on(&policy(2), Some(1)).unwrap();
    daemon.apply_on(&policy(3), Some(60)).unwrap();
    std::thread::sleep(Duration::from_millis(1200));
    assert!(enforces(&machine, 3), "its own deadline counts");
    let back = rollback(&daemon).unwrap();
    assert!(enforces(&machine, 1));
    assert_eq!(back.files, Some(vec!["p.yaml".to_owned()]));
    assert_eq!(rollback(&daemon).unwrap_err().code, code::NOTHING_PENDING);

    daemon.apply_on(&policy(2), Some(1)).unwrap();
    daemon.apply(&policy(3)).unwrap();
    std::thread::sleep(Duration::from_millis(1200));
    assert!(enforces(&machine, 3), "a plain apply is for good");
}

#[test]
fn a_refused_policy_leaves_the_trial_alone() {
    let machine = Machine::new();
    let daemon = machine.start();
    daemon.apply(&policy(1)).unwrap();
    daemon.apply_on(&policy(2), Some(60)).unwrap();
    assert!(matches!(daemon.apply_on("networks: 7\n", Some(1)), Err(ApplyError::Refused(_))));
    machine.world.breaks("install");
    assert!(matches!(daemon.apply(&policy(3)), Err(ApplyError::Failed(_))));
    machine.world.mend();
    let pending = daemon.status().pending.unwrap();
    assert!(pending.left_ms > 50_000, "{pending:?}");
    rollback(&daemon).unwrap();
    assert!(enforces(&machine, 1));
    let Err(ApplyError::Failed(failure)) = daemon.apply_on(&policy(3), Some(0)) else {
        panic!("no time at all");
    };
    assert_eq!(failure.code, code::BAD_REQUEST);
}

#[test]
fn a_switch_that_refuses_to_go_back_is_asked_again() {
    let machine = Machine::new();
    let daemon = machine.start();
    daemon.apply(&policy(1)).unwrap();
    daemon.apply_on(&policy(2), Some(1)).unwrap();
    machine.world.breaks("install");
    assert!(rollback(&daemon).unwrap_err().message.contains("install does not work"));
    eventually(|| daemon.status().problems.iter().any(|p| p.contains("nobody confirmed")));
    assert!(enforces(&machine, 2) && daemon.status().pending.is_some());
    machine.world.mend();
    eventually(|| enforces(&machine, 1));
    assert!(daemon.status().problems.is_empty());
}

/// Whatever the store does: what is acknowledged is what is in force, and what comes back after
/// a restart was confirmed or is still on trial.
#[test]
fn a_store_that_fails_never_parts_word_and_deed() {
    let mut seen = (0, 0);
    for seed in 0..40 {
        let machine = Machine::new();
        let flaky = Flaky::new(machine.store.clone(), seed, 30);
        let Ok(daemon) = machine.try_start(flaky) else { continue };
        let mut settled: Option<u32> = None;
        for n in 0..8 {
            let Ok(applied) = daemon.apply_on(&policy(n), Some(60)) else {
                seen.1 += 1;
                continue;
            };
            assert!(applied.pending.is_some() && enforces(&machine, n));
            let kept = n % 2 == 0;
            let answered =
                if kept { confirm(&daemon).map(drop) } else { rollback(&daemon).map(drop) };
            match answered {
                Ok(()) if kept => settled = Some(n),
                Ok(()) => assert_eq!(daemon.applied_text(), settled.map(policy)),
                Err(failure) => {
                    assert_eq!(failure.code, code::STORE);
                    assert!(enforces(&machine, n) && daemon.status().pending.is_some());
                    seen.1 += 1;
                }
            }
            seen.0 += 1;
        }
    }
    assert!(seen.0 > 20 && seen.1 > 20, "{seen:?}");
}
