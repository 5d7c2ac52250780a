//! A rule that ends: it passes before, and nothing passes after, whoever is still alive.

use std::{process::Command, thread, time::Duration};

use crate::host::{Host, POLICY, eventually, pings, stretched};

/// When the rule ends, s after it was put in force.
const END_S: u64 = 3;
/// Pings a second.
const PINGS: u64 = 10;

/// What came of pings for two seconds longer than the rule lasts: answers.
fn answers(from: &str) -> u64 {
    let count = PINGS * stretched(END_S + 2);
    let output = Command::new("nsenter")
        .arg(format!("--net=/run/netns/{from}"))
        .args(["ping", "-i", "0.1", "-c", &count.to_string(), "-W", "1", "10.20.0.5"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().filter(|line| line.contains("bytes from")).count() as u64
}

/// The policy whose rule for ping ends.
fn ending() -> String {
    let until = format!("for: ping }}, until: {}s }}", stretched(END_S));
    POLICY.replace("for: ping } }", &until)
}

/// Runs pings over the end of their rule; `kill`: with nobody there to take the rule out.
fn over_the_end(kill: bool) -> Host {
    let (host, pc1, _) = Host::pair(POLICY);
    assert!(pings(&pc1, "10.20.0.5"));
    host.ok(&["apply", &host.policy(&ending())]);
    let end = host.json(&["status"])["ends"][0].clone();
    assert_eq!((&end["rule"], &end["ended"]), (&"ping".into(), &false.into()));
    if kill {
        host.kill();
    }
    let answered = answers(&pc1);
    let most = PINGS * stretched(END_S) + 5;
    assert!((5..=most).contains(&answered), "{answered} pings before the end, not {most}");
    assert!(!pings(&pc1, "10.20.0.5"));
    host
}

#[test]
fn a_rule_ends_and_its_running_connection_with_it() {
    let host = over_the_end(false);
    let log = || std::fs::read_to_string(host.path("run/daemon.log")).unwrap();
    eventually("the next generation", || {
        log().contains("rule ping") && log().contains("has ended")
    });
    let status = host.json(&["status"]);
    assert_eq!(status["ends"][0]["ended"], true);
    assert_eq!(status["problems"], serde_json::json!([]));
    let drops = status["drops"].as_array().unwrap();
    assert!(drops.iter().any(|d| d["reason"] == "no-rule" || d["reason"] == "expired"));
}

#[test]
fn a_rule_ends_also_when_the_daemon_is_dead() {
    let host = over_the_end(true);
    host.ok(&["up"]);
    let status = host.json(&["status"]);
    assert_eq!(status["ends"][0]["ended"], true);
    let drops = status["drops"].as_array().unwrap();
    assert!(drops.iter().any(|d| d["reason"] == "expired"), "{drops:?}");
    // The same text does not renew it.
    host.ok(&["apply", &host.policy(&ending())]);
    thread::sleep(Duration::from_millis(100));
    assert_eq!(host.json(&["status"])["ends"][0]["ended"], true);
}
