//! What the daemon promises, and what it keeps over a restart.

use std::{collections::BTreeMap, os::unix::fs::PermissionsExt, time::Duration};

use portcullis::{
    api::{Request, Response, code},
    daemon::{actor::Ended, trial::Standing},
    error::Error,
    state::{AppliedPolicy, Settings, State},
};
use portcullis_store::Flaky;

use crate::machine::{ApplyError, Machine, policy, tap, uplink};

/// Waits for something that happens by itself.
pub fn eventually(mut happened: impl FnMut() -> bool) {
    for _ in 0..2000 {
        if happened() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("it did not happen in 20 s");
}

#[test]
fn a_port_is_closed_until_the_policy_knows_its_guest() {
    let machine = Machine::new();
    let daemon = machine.start();
    let port = daemon.attach(tap("t1", "pc1")).unwrap();
    assert_eq!((port.open, port.closed.as_deref()), (false, Some("no policy applied yet")));
    daemon.attach(tap("t9", "stranger")).unwrap();

    let applied = daemon.apply(&policy(1)).unwrap();
    assert_eq!((applied.generation, applied.size.guests), (1, 2));
    let status = daemon.status();
    let states: Vec<_> = status.ports.iter().map(|p| (p.name.as_str(), p.open)).collect();
    assert_eq!(states, [("t1", true), ("t9", false)]);
    let mut guests = status.guests.iter().map(|nic| (nic.guest.as_str(), nic.port.as_deref()));
    assert_eq!(guests.next(), Some(("pc1", Some("t1"))));
    assert_eq!(guests.next(), Some(("pc2", None)));
    assert_eq!(status.policy.unwrap().files, ["p.yaml"]);
    assert!(status.problems.is_empty(), "{:?}", status.problems);
}

#[test]
fn a_slip_in_a_guests_name_is_pointed_out_before_the_kernel_is_touched() {
    let machine = Machine::new();
    let daemon = machine.start();
    daemon.apply(&policy(1)).unwrap();
    let failure = daemon.attach(tap("t1", "pc3")).unwrap_err();
    assert_eq!(failure.code, code::NO_SUCH_GUEST);
    assert!(failure.hint.unwrap().contains("pc1"));
    assert!(machine.world.kernel().ports.is_empty());
}

#[test]
fn an_uplink_without_its_nic_says_which_there_are() {
    let machine = Machine::new();
    let daemon = machine.start();
    daemon.apply(&policy(1)).unwrap();
    let failure = daemon.attach(uplink("l0", "lan")).unwrap_err();
    assert_eq!(
        (failure.code.as_str(), failure.hint.as_deref()),
        (code::NO_SUCH_INTERFACE, Some("did you mean lo?"))
    );
    machine.world.kernel().nics.push("l0".into());
    daemon.attach(uplink("l0", "lan")).unwrap();
}

#[test]
fn a_policy_that_does_not_hold_changes_nothing() {
    let machine = Machine::new();
    let daemon = machine.start();
    daemon.apply(&policy(1)).unwrap();
    let Err(ApplyError::Refused(refused)) = daemon.apply("networks: { lan: { vlam: 1 } }\n") else {
        panic!("it was taken");
    };
    assert!(!refused.violated);
    assert!(refused.rendered.contains("p.yaml:1"), "{}", refused.rendered);
    assert!(refused.diagnostics.iter().all(|d| d["line"] == 1), "{:?}", refused.diagnostics);
    assert_eq!(daemon.status().generation, 1);
    assert_eq!(daemon.applied_text(), Some(policy(1)));
}

#[test]
fn a_violated_invariant_is_told_from_a_mistake() {
    let machine = Machine::new();
    let daemon = machine.start();
    let text = policy(1) + "never:\n  - { from: host, to: pc1 }\n";
    let Err(ApplyError::Refused(refused)) = daemon.apply(&text) else { panic!("it was taken") };
    assert!(refused.violated, "{}", refused.rendered);
    assert_eq!(machine.world.kernel().installs, 0);
}

#[test]
fn a_restart_brings_everything_back() {
    let machine = Machine::new();
    let daemon = machine.start();
    daemon.attach(tap("t1", "pc1")).unwrap();
    daemon.attach(tap("t2", "pc2")).unwrap();
    daemon.apply(&policy(1)).unwrap();
    daemon.detach("t2").unwrap();
    assert_eq!(daemon.stop(), Ended::Stopped);
    // Nobody is there, and everything is in force.
    assert_eq!(machine.world.kernel().generation, 1);
    assert!(machine.world.kernel().ports.contains_key("t1"));

    let daemon = machine.start();
    assert_eq!(daemon.info.start.generation, 2);
    assert_eq!(daemon.info.start.filtered, ["t1"]);
    assert_eq!(daemon.applied_text(), Some(policy(1)));
    let status = daemon.status();
    assert_eq!(status.ports.len(), 1);
    assert!(status.ports[0].open);
}

#[test]
fn a_restart_without_a_policy_brings_the_ports_back() {
    let machine = Machine::new();
    let daemon = machine.start();
    daemon.attach(tap("t1", "pc1")).unwrap();
    daemon.stop();
    machine.world.kernel().ports.clear();
    let daemon = machine.start();
    assert_eq!(daemon.status().ports[0].closed.as_deref(), Some("no policy applied yet"));
}

#[test]
fn what_cannot_be_restored_is_told_and_the_rest_goes_on() {
    let machine = Machine::new();
    let daemon = machine.start();
    daemon.attach(tap("t1", "pc1")).unwrap();
    daemon.apply(&policy(1)).unwrap();
    daemon.stop();

    machine.world.breaks("install");
    let daemon = machine.start();
    let problems = daemon.status().problems.join("\n");
    assert!(problems.contains("install does not work"), "{problems}");
    assert_eq!(machine.world.kernel().generation, 1);
    machine.world.mend();
    daemon.apply(&policy(2)).unwrap();
    assert!(daemon.status().problems.is_empty());
}

#[test]
fn a_port_whose_interface_is_gone_is_told_and_comes_back_by_itself() {
    let machine = Machine::new();
    let daemon = machine.start();
    daemon.attach(tap("t1", "pc1")).unwrap();
    daemon.stop();
    machine.world.kernel().ports.clear();
    machine.world.breaks("attach");
    let daemon = machine.start();
    let ports = daemon.status().ports;
    assert_eq!(ports[0].closed.as_deref(), Some("attach does not work"));
    machine.world.mend();
    eventually(|| machine.world.kernel().ports.contains_key("t1"));
    assert_eq!(daemon.status().ports[0].closed.as_deref(), Some("no policy applied yet"));

    daemon.stop();
    machine.world.kernel().ports.clear();
    machine.world.breaks("attach");
    let daemon = machine.start();
    daemon.detach("t1").unwrap();
    assert!(daemon.status().ports.is_empty());
}

#[test]
fn a_stored_policy_that_this_version_refuses_leaves_the_filters_alone() {
    let machine = Machine::new();
    let daemon = machine.start();
    daemon.apply(&policy(1)).unwrap();
    daemon.stop();
    let source = portcullis::api::SourceFile { name: "p".into(), text: "netwroks: {}".into() };
    let policy = AppliedPolicy {
        generation: 1,
        applied_unix_s: 0,
        sources: vec![source],
        since_unix_s: BTreeMap::new(),
    };
    let standing = Standing::settled(Some(policy.into()));
    State::new(machine.store.clone()).set_standing(&standing).unwrap();

    let daemon = machine.start();
    let status = daemon.status();
    assert_eq!((status.generation, status.policy), (1, None));
    assert!(status.problems[0].contains("netwroks"), "{:?}", status.problems);
}

#[test]
fn an_install_that_fails_is_as_if_it_never_was() {
    let machine = Machine::new();
    let daemon = machine.start();
    daemon.apply(&policy(1)).unwrap();
    machine.world.breaks("install");
    let Err(ApplyError::Failed(failure)) = daemon.apply(&policy(2)) else { panic!("it worked") };
    assert_eq!(
        (failure.code.as_str(), failure.message.as_str()),
        (code::SWITCH, "install does not work")
    );
    assert_eq!(daemon.applied_text(), Some(policy(1)));
    daemon.stop();
    machine.world.mend();
    assert_eq!(machine.start().applied_text(), Some(policy(1)));
}

/// Whatever the store does, what is in force is what the daemon says, and what an apply that
/// was acknowledged said is there after a restart.
#[test]
fn a_store_that_fails_never_parts_word_and_deed() {
    let mut seen = (0, 0);
    for seed in 0..40 {
        let machine = Machine::new();
        let Ok(daemon) = machine.try_start(Flaky::new(machine.store.clone(), seed, 30)) else {
            continue;
        };
        let mut acknowledged = None;
        let mut in_doubt = Vec::new();
        for n in 0..10 {
            match daemon.apply(&policy(n)) {
                Ok(_) => {
                    acknowledged = Some(policy(n));
                    in_doubt.clear();
                    seen.0 += 1;
                }
                Err(ApplyError::Failed(failure)) => {
                    assert_eq!(failure.code, code::STORE);
                    in_doubt.push(Some(policy(n)));
                    seen.1 += 1;
                }
                Err(ApplyError::Refused(refused)) => panic!("{}", refused.rendered),
            }
            assert_eq!(daemon.applied_text(), acknowledged);
            let rules = machine.world.kernel().image.as_ref().map(|i| i.rules.len());
            assert_eq!(rules.unwrap_or(0) > 0, acknowledged.is_some());
            let port = daemon.attach(tap("t1", "pc1"));
            assert_eq!(machine.world.kernel().ports.contains_key("t1"), port.is_ok());
            if port.is_ok() {
                let _ = daemon.detach("t1");
                assert!(machine.world.kernel().ports.is_empty());
            }
        }
        daemon.stop();
        let after = machine.start().applied_text();
        assert!(after == acknowledged || in_doubt.contains(&after), "{after:?}");
    }
    assert!(seen.0 > 10 && seen.1 > 10, "{seen:?}");
}

#[test]
fn concurrent_applies_happen_one_after_the_other() {
    let machine = Machine::new();
    machine.world.kernel().delay = Duration::from_millis(10);
    let daemon = machine.start();
    let mut generations: Vec<u32> = std::thread::scope(|scope| {
        let apply = |n| {
            let daemon = &daemon;
            scope.spawn(move || daemon.apply(&policy(n)).unwrap().generation)
        };
        let threads: Vec<_> = (0..8).map(apply).collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    });
    generations.sort_unstable();
    assert_eq!(generations, [1, 2, 3, 4, 5, 6, 7, 8]);
    let text = daemon.applied_text();
    daemon.stop();
    assert_eq!(machine.start().applied_text(), text);
}

#[test]
fn a_second_daemon_in_the_same_directory_gives_up() {
    let machine = Machine::new();
    let daemon = machine.start();
    let error = machine.try_start(machine.store.clone()).map(drop).unwrap_err();
    assert!(matches!(error, Error::Locked { pid: Some(pid), .. } if pid == std::process::id()));
    assert_eq!(machine.world.kernel().starts, 1);
    daemon.status();
}

#[test]
fn down_removes_everything_and_up_brings_it_back() {
    let machine = Machine::new();
    let daemon = machine.start();
    daemon.attach(tap("t1", "pc1")).unwrap();
    daemon.apply(&policy(1)).unwrap();
    let Response::Down(removed) = daemon.ask(&Request::Down).unwrap() else { panic!() };
    assert_eq!((removed.interfaces, removed.pins), (vec!["t1".to_owned()], 3));
    let run_dir = daemon.paths.run_dir.clone();
    assert_eq!(daemon.wait().unwrap(), Ended::Removed);
    assert!(!run_dir.exists());

    let daemon = machine.start();
    assert!(daemon.status().ports[0].open);
}

#[test]
fn a_down_that_fails_can_be_asked_for_again() {
    let machine = Machine::new();
    let daemon = machine.start();
    daemon.apply(&policy(1)).unwrap();
    machine.world.breaks("remove");
    let Err(Error::Failed(failure)) = daemon.ask(&Request::Down) else { panic!("it worked") };
    assert_eq!(failure.message, "remove does not work");
    assert_eq!(daemon.applied_text(), Some(policy(1)));
    machine.world.mend();
    assert!(matches!(daemon.ask(&Request::Down), Ok(Response::Down(_))));
    daemon.wait().unwrap();
}

#[test]
fn a_switch_that_does_not_start_is_the_daemons_error() {
    let machine = Machine::new();
    machine.world.breaks("start");
    let error = machine.try_start(machine.store.clone()).map(drop).unwrap_err();
    assert_eq!((error.code(), error.to_string().as_str()), (code::SWITCH, "start does not work"));
    assert!(!machine.paths().socket().exists());
    machine.world.mend();
    machine.start();
}

#[test]
fn idle_connections_are_swept_and_a_failure_is_told() {
    let machine = Machine::new();
    let daemon = machine.start();
    eventually(|| machine.world.kernel().sweeps > 2);
    machine.world.breaks("sweep");
    eventually(|| daemon.status().problems.iter().any(|p| p.contains("sweep does not work")));
    machine.world.mend();
    eventually(|| daemon.status().problems.is_empty());
}

#[test]
fn an_unchanged_host_is_no_new_generation() {
    let machine = Machine::new();
    let daemon = machine.start();
    daemon.apply(&policy(1)).unwrap();
    let sweeps = machine.world.kernel().sweeps;
    eventually(|| machine.world.kernel().sweeps > sweeps + 5);
    assert_eq!(machine.world.kernel().installs, 1);
    let own = portcullis::host::addresses().unwrap();
    assert_eq!(machine.world.kernel().host, own);
}

#[test]
fn settings_are_remembered() {
    let mut machine = Machine::new();
    machine.settings = Settings { flows: Some(4096), group: None };
    assert_eq!(machine.start().info.flows, 4096);
    machine.settings = Settings::default();
    assert_eq!(machine.start().info.flows, 4096);
    machine.settings.group = Some("no-such-group-here".into());
    let error = machine.try_start(machine.store.clone()).map(drop).unwrap_err();
    assert!(matches!(error, Error::NoSuchGroup { .. }), "{error}");
}

#[test]
fn the_socket_is_the_owners_alone() {
    let machine = Machine::new();
    let daemon = machine.start();
    let mode = |path: &std::path::Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&daemon.socket()), 0o600);
    assert_eq!(mode(&daemon.paths.run_dir), 0o700);
}
