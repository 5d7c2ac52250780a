//! Rules that end: they are taken out in time, and nothing else changes.

use std::{thread, time::Duration};

use crate::{
    machine::{Machine, policy},
    promises::eventually,
};

/// [`policy`], with a rule that lasts so long, and more behind it.
fn ending(n: u32, until: &str, more: &str) -> String {
    let rule = format!(
        "  - {{ name: debug, allow: {{ from: pc1, to: host, for: ssh }}, until: {until} }}\n"
    );
    policy(n) + &rule + more
}

fn enforced(machine: &Machine) -> Vec<String> {
    let kernel = machine.world.kernel();
    let rules = kernel.image.as_ref().map_or(&[][..], |image| &image.rules);
    rules.iter().map(|rule| rule.name.clone()).collect()
}

#[test]
fn a_rule_is_taken_out_when_it_ends_and_not_renewed_by_the_same_text() {
    let machine = Machine::new();
    let daemon = machine.start();
    daemon.apply(&ending(1, "2s", "")).unwrap();
    assert!(enforced(&machine).contains(&"debug".to_owned()));
    let ends = daemon.status().ends;
    assert_eq!((ends.len(), ends[0].rule.as_str(), ends[0].ended), (1, "debug", false));
    eventually(|| !enforced(&machine).contains(&"debug".to_owned()));
    assert!(enforced(&machine).contains(&"web".to_owned()), "the others stay");
    let status = daemon.status();
    assert!(status.ends[0].ended && status.problems.is_empty(), "{:?}", status.problems);

    daemon.apply(&ending(1, "2s", "")).unwrap();
    assert!(!enforced(&machine).contains(&"debug".to_owned()), "the same text");
    daemon.apply(&policy(1)).unwrap();
    daemon.apply(&ending(1, "2s", "")).unwrap();
    assert!(!enforced(&machine).contains(&"debug".to_owned()), "nor by taking it out and in");
    daemon.apply(&ending(1, "3s", "")).unwrap();
    assert!(enforced(&machine).contains(&"debug".to_owned()), "a changed rule begins anew");
}

#[test]
fn a_restart_does_not_renew_a_rule() {
    let machine = Machine::new();
    let daemon = machine.start();
    daemon.apply(&ending(1, "3s", "")).unwrap();
    let until = daemon.status().ends[0].until_unix_s;
    thread::sleep(Duration::from_millis(1100));
    daemon.stop();
    let daemon = machine.start();
    assert_eq!(daemon.status().ends[0].until_unix_s, until);
    daemon.stop();
    thread::sleep(Duration::from_millis(2000));
    let daemon = machine.start();
    assert!(!enforced(&machine).contains(&"debug".to_owned()), "it ended while nobody was there");
    assert!(daemon.status().ends[0].ended);
}

/// The kernel by itself lets nothing through by a rule that has ended; the rest must go on.
#[test]
fn where_the_policy_does_not_hold_without_the_rule_the_rest_stays() {
    let always = "always:\n  - { from: pc1, to: host, for: ssh }\n";
    let machine = Machine::new();
    let daemon = machine.start();
    daemon.apply(&ending(1, "1s", always)).unwrap();
    eventually(|| !daemon.status().problems.is_empty());
    let problem = daemon.status().problems.join("\n");
    assert!(problem.contains("debug (p.yaml:9)") && problem.contains("refused"), "{problem}");
    assert!(enforced(&machine).contains(&"web".to_owned()));
    let kernel = machine.world.kernel().image.clone().unwrap();
    let debug = kernel.rules.iter().find(|rule| rule.name == "debug").unwrap();
    assert!(debug.until_unix_s > 0, "the kernel knows its end");
    let installs = machine.world.kernel().installs;
    thread::sleep(Duration::from_millis(300));
    assert!(machine.world.kernel().installs <= installs + 1, "it is not tried for ever");

    daemon.stop();
    let daemon = machine.start();
    assert!(enforced(&machine).contains(&"web".to_owned()), "also after a restart");
    assert!(daemon.status().problems.join("\n").contains("debug"), "and it is said again");
    daemon.apply(&policy(2)).unwrap();
    assert!(daemon.status().problems.is_empty());
}

#[test]
fn a_switch_that_refuses_is_asked_again() {
    let machine = Machine::new();
    let daemon = machine.start();
    daemon.apply(&ending(1, "1s", "")).unwrap();
    machine.world.breaks("install");
    eventually(|| daemon.status().problems.iter().any(|p| p.contains("could not be put in force")));
    machine.world.mend();
    eventually(|| !enforced(&machine).contains(&"debug".to_owned()));
    assert!(daemon.status().problems.is_empty());
}

#[test]
fn a_trial_that_falls_back_does_not_bring_an_ended_rule_back() {
    let machine = Machine::new();
    let daemon = machine.start();
    daemon.apply(&ending(1, "1s", "")).unwrap();
    daemon.apply_on(&policy(2), Some(2)).unwrap();
    eventually(|| daemon.applied_text() == Some(ending(1, "1s", "")));
    assert!(!enforced(&machine).contains(&"debug".to_owned()));
    assert!(daemon.status().ends[0].ended);
}
