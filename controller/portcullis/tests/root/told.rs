//! Events of logged and of observing rules.

use std::process::{Command, Stdio};

use serde_json::Value;

use crate::host::{Host, POLICY, pings};

#[test]
fn logged_and_observing_rules_are_told() {
    let text = POLICY.replace("for: ping } }", "for: ping }, log: true }")
        + "  - { name: watch, deny: { from: pc1, to: web1, for: ping }, mode: observe, log: true }\n";
    let (host, pc1, _) = Host::pair(&text);
    assert!(pings(&pc1, "10.20.0.5"), "an observing rule decides nothing");

    let lines = |args: &[&str]| -> Vec<Value> {
        let text = host.ok(&[args, &["--format", "json"]].concat());
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let ping = &lines(&["events", "--rule", "ping"])[0];
    assert_eq!((&ping["seen"], &ping["from_guest"]), (&"allowed".into(), &"pc1".into()));
    assert_eq!((&ping["to_guest"], &ping["from_port"]), (&"web1".into(), &"v1".into()));
    assert!(ping["file"].as_str().unwrap().ends_with("policy.yaml") && ping["line"] == 10);
    let observed = lines(&["events", "--observed"]);
    assert_eq!((observed.len(), &observed[0]["seen"]), (1, &"would_deny".into()));
    assert_eq!(lines(&["events"]).len(), 2);
    let human = host.ok(&["events", "--observed"]);
    assert!(human.contains("would deny pc1 10.10.0.11 -> web1 10.20.0.5 icmp/8/0 by watch"));

    let status = host.json(&["status"]);
    let watch = status["rules"].as_array().unwrap().iter().find(|r| r["rule"] == "watch").unwrap();
    assert_eq!((&watch["observe"], &watch["hits"]), (&true.into(), &1.into()));
    assert_eq!(status["events"]["told"], 2);
    let log = std::fs::read_to_string(host.path("run/daemon.log")).unwrap();
    assert!(log.contains("would deny pc1"), "{log}");
}

/// `--follow` goes on with those that come, and ends quietly when nobody reads any more.
#[test]
fn events_can_be_followed() {
    let text = POLICY.replace("for: ping } }", "for: ping }, log: true }");
    let (host, pc1, _) = Host::pair(&text);
    let script = format!(
        "timeout 10 {} events --follow --run-dir {} | head -n 2",
        env!("CARGO_BIN_EXE_portcullis"),
        host.path("run").display()
    );
    let mut command = Command::new("sh");
    command.args(["-c", &script]).stdout(Stdio::piped());
    let mut follower = command.spawn().unwrap();
    for _ in 0..8 {
        assert!(pings(&pc1, "10.20.0.5"));
        if follower.try_wait().unwrap().is_some() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(300));
    }
    let output = follower.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text.lines().filter(|l| l.contains("allowed pc1")).count(), 2, "{text}");
}

/// `log-denied` tells of what no rule speaks about.
#[test]
fn what_no_rule_allows_is_told_when_asked() {
    let (host, _, web1) = Host::pair(POLICY);
    assert!(!pings(&web1, "10.10.0.11"));
    assert_eq!(host.ok(&["events"]), "", "nobody asked");
    host.ok(&["apply", &host.policy(&(POLICY.to_owned() + "log-denied: 5/s\n"))]);
    assert!(!pings(&web1, "10.10.0.11"));
    let told = host.ok(&["events", "--rule", "default", "--format", "json"]);
    let event: Value = serde_json::from_str(told.lines().next().unwrap()).unwrap();
    assert_eq!((&event["seen"], &event["reason"]), (&"denied".into(), &"no-rule".into()));
    assert_eq!((&event["from_guest"], &event["to_guest"]), (&"web1".into(), &"pc1".into()));
}
