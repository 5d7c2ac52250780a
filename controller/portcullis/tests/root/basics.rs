//! From `up` to `down`, and what goes wrong on the way.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use serde_json::Value;

use crate::host::{Host, POLICY, eventually, pings, port, sh};

#[test]
fn up_apply_attach_ping_down() {
    let mut host = Host::new();
    let (pc1, web1) = (host.guest("pc1"), host.guest("web1"));
    assert!(host.ok(&["up", "--flows", "4096"]).contains("no policy applied yet"));
    assert!(host.ok(&["up"]).contains("already"));
    assert_eq!(host.refused(&["up", "--flows", "8192"]), (2, "other-settings".into()));

    let attached = host.json(&["attach", "veth", "v1", "--guest", "pc1", "--netns", &pc1]);
    assert_eq!(
        (&attached["open"], &attached["closed"]),
        (&Value::from(false), &"no policy applied yet".into())
    );
    let applied = host.json(&["apply", &host.policy(POLICY)]);
    assert_eq!(applied["size"]["networks"], 3);
    assert_eq!(host.ok(&["attach", "veth", "v2", "--guest", "web1", "--netns", &web1]), "v2\n");
    assert!(pings(&pc1, "10.20.0.5"));
    assert!(!pings(&web1, "10.10.0.11"));

    let status = host.json(&["status"]);
    assert_eq!(port(&status, "v1")["open"], true);
    assert_eq!(port(&status, "pcs-lan")["kind"], "host");
    assert!(
        status["rules"].as_array().unwrap().iter().any(|r| r["rule"] == "ping" && r["hits"] == 1)
    );
    assert!(status["drops"].as_array().unwrap().iter().any(|d| d["reason"] == "no-rule"));
    assert_eq!(status["guests"].as_array().unwrap().len(), 3);
    assert!(status["programs"].as_array().unwrap().iter().any(|p| p["name"] == "ingress"));
    assert!(
        host.ok(&["explain", "--from", "pc1", "--to", "web1", "--service", "ping"])
            .contains("allowed")
    );

    host.ok(&["detach", "v1"]);
    assert!(!host.interfaces().contains(&"v1".to_owned()));
    assert!(host.ok(&["down"]).contains("v2"));
    assert_eq!(host.interfaces(), Vec::<String>::new());
    assert!(!host.path("run").exists());
    host.ok(&["down"]);
}

#[test]
fn a_killed_daemon_leaves_the_filters_and_comes_back() {
    let (host, pc1, web1) = Host::pair(POLICY);
    for _ in 0..3 {
        host.kill();
        assert!(pings(&pc1, "10.20.0.5"));
        assert!(!pings(&web1, "10.10.0.11"));
        assert_eq!(host.refused(&["status"]), (2, "no-daemon".into()));
        host.ok(&["up"]);
        let status = host.json(&["status"]);
        assert_eq!(status["daemon"]["start"]["programs"], "reused");
        assert!(port(&status, "v1")["open"] == true && port(&status, "v2")["open"] == true);
        assert_eq!(status["problems"], serde_json::json!([]));
        assert!(pings(&pc1, "10.20.0.5"));
    }
    host.kill();
    host.ok(&["down"]);
    assert_eq!(host.interfaces(), Vec::<String>::new());
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap();
    assert!(!mounts.contains(&host.path("run").display().to_string()));
}

#[test]
fn after_a_reboot_ports_wait_for_their_namespaces() {
    let mut host = Host::new();
    let pc1 = host.guest("pc1");
    host.ok(&["up"]);
    host.ok(&["apply", &host.policy(POLICY)]);
    host.ok(&["attach", "veth", "v1", "--guest", "pc1", "--netns", &pc1]);
    host.ok(&["down"]);
    sh(&format!("ip netns del {pc1}"));

    host.ok(&["up"]);
    let status = host.json(&["status"]);
    let v1 = port(&status, "v1");
    assert!(v1["closed"].as_str().unwrap().contains(&pc1), "{v1}");
    assert_eq!(port(&status, "pcs-dmz")["open"], true);
    sh(&format!("ip netns add {pc1}"));
    eventually("the port", || port(&host.json(&["status"]), "v1")["open"] == true);

    host.ok(&["down", "--forget"]);
    assert!(host.ok(&["up"]).contains("no policy applied yet"));
    assert_eq!(host.json(&["status"])["ports"], serde_json::json!([]));
}

#[test]
fn mistakes_are_refused_and_leave_nothing() {
    let mut host = Host::new();
    let pc1 = host.guest("pc1");
    host.ok(&["up"]);
    host.ok(&["apply", &host.policy(POLICY)]);
    let before = host.interfaces();
    let tap = |name, guest| vec!["attach", "tap", name, "--guest", guest];
    let cases = [
        (tap("t1", "pc11"), "no-such-guest"),
        (tap("t/1", "pc1"), "bad-name"),
        (tap("an-overlong-name", "pc1"), "bad-name"),
        (tap("pc-lan", "pc1"), "switch"),
        (vec!["attach", "tap", "t1", "--guest", "pc1", "--network", "dmz"], "no-such-network"),
        (vec!["attach", "uplink", "nic9", "--untagged", "wan"], "no-such-interface"),
        (vec!["attach", "uplink", "lo", "--untagged", "van"], "no-such-network"),
        (vec!["attach", "veth", "v1", "--guest", "pc1", "--netns", "nowhere"], "no-such-namespace"),
        (vec!["attach", "tap", "t1", "--guest", "pc1", "--", "/no/such/vmm"], "hand-over"),
        (vec!["detach", "t9"], "no-such-port"),
    ];
    for (args, code) in cases {
        assert_eq!(host.refused(&args), (2, code.to_owned()), "{args:?}");
        assert_eq!(host.interfaces(), before, "{args:?}");
    }
    host.ok(&["attach", "veth", "v1", "--guest", "pc1", "--netns", &pc1]);
    assert_eq!(host.refused(&["attach", "tap", "v1", "--guest", "pc2"]), (2, "port-in-use".into()));
    assert_eq!(host.refused(&["attach", "tap", "t2", "--guest", "pc1"]), (2, "port-in-use".into()));
}

#[test]
fn a_policy_that_does_not_hold_changes_nothing() {
    let host = Host::new();
    host.ok(&["up"]);
    host.ok(&["apply", &host.policy(POLICY)]);
    let generation = host.json(&["status"])["generation"].clone();
    let violated = host.policy(&(POLICY.to_owned() + "never:\n  - { from: lan, to: web1 }\n"));
    let (output, value) = host.run_json(&["apply", &violated]);
    assert_eq!((output.status.code(), &value["violated"]), (Some(1), &Value::from(true)));
    let (output, value) = host.run_json(&["apply", &host.policy("networks: 7\n")]);
    assert_eq!((output.status.code(), &value["violated"]), (Some(2), &Value::from(false)));
    assert_eq!(value["diagnostics"][0]["line"], 1);
    assert_eq!(host.json(&["status"])["generation"], generation);
    host.ok(&["explain", "--from", "lan", "--to", "web1", "--service", "ping"]);
}

#[test]
fn a_command_gets_the_queues_of_its_tap() {
    let host = Host::new();
    host.ok(&["up"]);
    host.ok(&["apply", &host.policy(POLICY)]);
    let script = "readlink /proc/self/fd/${PORTCULLIS_TAP_FDS%,*}; echo {fds}; exit 7";
    let args = ["attach", "tap", "t1", "--guest", "pc1", "--queues", "2", "--", "sh", "-c", script];
    let output = host.run(&args);
    assert_eq!(output.status.code(), Some(7), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "/dev/net/tun");
    assert_eq!(lines[1].split(':').count(), 2);
    // The tap outlives the command, as a port does a VMM.
    assert_eq!(port(&host.json(&["status"]), "t1")["open"], true);
}

#[test]
fn an_address_that_comes_to_the_host_is_the_hosts() {
    let host = Host::new();
    host.ok(&["up"]);
    host.ok(&["apply", &host.policy(POLICY)]);
    let generation = || host.json(&["status"])["generation"].as_u64().unwrap();
    let before = generation();
    // Gateways come and go with the policy: that is no change of the host.
    host.ok(&["apply", &host.policy(&POLICY.replace("10.20.", "10.21."))]);
    let before = before + 1;
    std::thread::sleep(Duration::from_secs(4));
    assert_eq!(generation(), before);
    sh(&format!("ip -n {0} link add e0 type veth peer name e1", host.name));
    sh(&format!("ip -n {0} addr add 192.0.2.7/24 dev e0", host.name));
    eventually("a new generation", || generation() > before);
    assert_eq!(host.json(&["status"])["problems"], serde_json::json!([]));
}

/// The binary where everybody can read it.
fn public_copy(folder: &Path) -> PathBuf {
    let copy = folder.join("portcullis");
    std::fs::copy(env!("CARGO_BIN_EXE_portcullis"), &copy).unwrap();
    sh(&format!("chmod 755 {} {}", folder.display(), copy.display()));
    copy
}

#[test]
fn without_privileges_it_is_said_what_is_missing() {
    use std::os::unix::process::CommandExt;
    let host = Host::new();
    let binary = public_copy(host.folder.path());
    let policy = host.policy(POLICY);
    let nobody = |args: &[&str], run_dir: &Path| {
        let mut command = Command::new(&binary);
        command.args(args).args(["--format", "json"]).uid(65_534).gid(65_534);
        command.env("PORTCULLIS_RUN_DIR", run_dir).env("PORTCULLIS_STATE_DIR", host.path("state"));
        let output = command.output().unwrap();
        let value: Value = serde_json::from_slice(&output.stdout).unwrap();
        (output.status.code(), value)
    };
    let run_dir = host.path("run");
    assert_eq!(nobody(&["check", &policy], &run_dir).0, Some(0));
    let (status, value) = nobody(&["up"], &run_dir);
    assert_eq!((status, &value["error"]["code"]), (Some(2), &Value::from("setup")));
    assert!(value["error"]["hint"].as_str().unwrap().contains("root"), "{value}");

    host.ok(&["up"]);
    let (status, value) = nobody(&["status"], &run_dir);
    assert_eq!((status, &value["error"]["code"]), (Some(2), &Value::from("not-permitted")));
    // Where the permissions of the files are given away, the daemon still asks who is there.
    sh(&format!("chmod 755 {0} && chmod 666 {0}/api.sock", run_dir.display()));
    let (status, value) = nobody(&["status"], &run_dir);
    assert_eq!((status, &value["error"]["code"]), (Some(2), &Value::from("not-permitted")));
    assert!(value["error"]["message"].as_str().unwrap().contains("daemon"), "{value}");
}

#[test]
fn members_of_the_group_may_use_the_daemon() {
    use std::os::unix::process::CommandExt;
    let host = Host::new();
    let binary = public_copy(host.folder.path());
    host.ok(&["up", "--group", "nogroup"]);
    let mut command = Command::new(&binary);
    command.args(["status", "--format", "json"]).uid(65_534).gid(65_534);
    command.env("PORTCULLIS_RUN_DIR", host.path("run"));
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn sigterm_ends_the_daemon_and_leaves_the_filters() {
    let (host, pc1, web1) = Host::pair(POLICY);
    let pid = host.json(&["status"])["daemon"]["pid"].as_i64().unwrap();
    sh(&format!("kill -TERM {pid}"));
    eventually("its end", || !host.path("run/api.sock").exists());
    assert!(pings(&pc1, "10.20.0.5") && !pings(&web1, "10.10.0.11"));
    let log = std::fs::read_to_string(host.path("run/daemon.log")).unwrap();
    assert!(log.contains("the filters stay in force"), "{log}");
}
