//! `apply --confirm` and `apply --dry-run`, with connections that run.

use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::host::{Host, POLICY, eventually, pings, sh, stretched};

const NO_PING: &str = "no-ping.yaml";

/// A policy without the rule for pings.
fn without_ping(host: &Host) -> String {
    let path = host.path(NO_PING);
    let rule = "{ name: ping, allow: { from: lan, to: web1, for: ping } }";
    let other = "{ name: web, allow: { from: lan, to: web1, for: http } }";
    std::fs::write(&path, POLICY.replace(rule, other)).unwrap();
    path.display().to_string()
}

/// A connection that runs, for ten seconds at most.
struct Pinging(Child);

impl Pinging {
    fn start(from: &str) -> Self {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{from}"));
        command.args(["ping", "-q", "-i", "0.2", "-c", "50", "10.20.0.5"]);
        Self(command.stdout(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Pinging {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_policy_that_nobody_confirms_is_undone() {
    let (host, pc1, _) = Host::pair(POLICY);
    assert!(pings(&pc1, "10.20.0.5"));
    let next = without_ping(&host);
    let trial = stretched(3);
    let said = host.ok(&["apply", "--confirm", &format!("{trial}s"), &next]);
    assert!(said.contains("portcullis confirm") && said.contains("comes back"), "{said}");
    assert!(!pings(&pc1, "10.20.0.5"), "in force at once");
    let status = host.json(&["status"]);
    assert!(status["pending"]["left_ms"].as_u64().unwrap() <= trial * 1000, "{status:#}");
    eventually("the policy of before", || pings(&pc1, "10.20.0.5"));
    assert_eq!(host.json(&["status"])["pending"], Value::Null);
    assert_eq!(host.refused(&["confirm"]), (2, "nothing-pending".into()));
    assert_eq!(host.refused(&["rollback"]), (2, "nothing-pending".into()));

    host.ok(&["apply", "--confirm", "60s", &next]);
    let back = host.ok(&["rollback"]);
    assert!(back.contains("opened anew"), "{back}");
    assert!(pings(&pc1, "10.20.0.5"));

    host.ok(&["apply", "--confirm", "60s", &next]);
    host.ok(&["confirm"]);
    assert!(!pings(&pc1, "10.20.0.5"));
}

#[test]
fn a_killed_daemon_does_not_keep_what_nobody_confirmed() {
    let (host, pc1, _) = Host::pair(POLICY);
    let trial = stretched(2);
    host.ok(&["apply", "--confirm", &format!("{trial}s"), &without_ping(&host)]);
    host.kill();
    assert!(!pings(&pc1, "10.20.0.5"), "nobody is there to undo it");
    std::thread::sleep(std::time::Duration::from_secs(trial));
    host.ok(&["up"]);
    assert!(pings(&pc1, "10.20.0.5"), "the first thing that the next daemon does");

    host.ok(&["apply", "--confirm", &format!("{}s", stretched(8)), &without_ping(&host)]);
    host.kill();
    host.ok(&["up"]);
    assert!(!pings(&pc1, "10.20.0.5"), "still on trial");
    eventually("the end of the trial", || pings(&pc1, "10.20.0.5"));
}

#[test]
fn a_dry_run_names_the_connections_that_would_be_cut() {
    let (host, pc1, _) = Host::pair(POLICY);
    let pinging = Pinging::start(&pc1);
    eventually("a connection", || host.json(&["status"])["flows"]["used"] != 0);
    let next = without_ping(&host);
    let generation = host.json(&["status"])["generation"].clone();
    let said = host.ok(&["apply", "--dry-run", &next]);
    assert!(said.contains("1 running connection would be cut"), "{said}");
    assert!(said.contains("pc1 10.10.0.11 -> web1 10.20.0.5 icmp"), "{said}");
    assert!(said.contains("no rule would allow it") && said.contains("http"), "{said}");
    let cut = &host.json(&["apply", "--dry-run", &next])["cuts"][0];
    assert_eq!((&cut["allowed_by"]["rule"], &cut["denied_by"]), (&"ping".into(), &Value::Null));
    let same = host.ok(&["diff", &next]);
    assert!(same.contains("would be cut"), "{same}");
    assert_eq!(host.json(&["status"])["generation"], generation);
    assert!(pings(&pc1, "10.20.0.5"), "nothing changed");

    let other = host.ok(&["apply", "--dry-run", &host.policy(POLICY)]);
    assert!(!other.contains("would be cut"), "{other}");
    drop(pinging);
    sh(&format!("test -e /run/netns/{pc1}"));
}
