//! A rule that ends: it passes before, and nothing passes after, whoever is still alive.

use std::{process::Command, thread, time::Duration};

use crate::host::{Host, POLICY, eventually, pings};

/// What came of pings every 100 ms, for five seconds: answers.
fn answers(from: String) -> thread::JoinHandle<u32> {
    thread::spawn(move || {
        let output = Command::new("nsenter")
            .arg(format!("--net=/run/netns/{from}"))
            .args(["ping", "-i", "0.1", "-c", "50", "-W", "1", "10.20.0.5"])
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.lines().filter(|line| line.contains("bytes from")).count() as u32
    })
}

/// Runs pings over the end of their rule; `kill`: with nobody there to take the rule out.
fn over_the_end(kill: bool) -> Host {
    let (host, pc1, _) = Host::pair(POLICY);
    assert!(pings(&pc1, "10.20.0.5"));
    let ending = POLICY.replace("for: ping } }", "for: ping }, until: 3s }");
    host.ok(&["apply", &host.policy(&ending)]);
    let end = host.json(&["status"])["ends"][0].clone();
    assert_eq!((&end["rule"], &end["ended"]), (&"ping".into(), &false.into()));
    if kill {
        host.kill();
    }
    let answered = answers(pc1.clone()).join().unwrap();
    assert!((5..=35).contains(&answered), "{answered} of 50 pings in 5 s, with an end after 3 s");
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
    let ending = POLICY.replace("for: ping } }", "for: ping }, until: 3s }");
    host.ok(&["apply", &host.policy(&ending)]);
    thread::sleep(Duration::from_millis(100));
    assert_eq!(host.json(&["status"])["ends"][0]["ended"], true);
}
