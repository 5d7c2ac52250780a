//! The whole thing on the kernel's switch, in namespaces of its own. Needs root.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

const POLICY: &str = "\
networks:
  lan: { vlan: 10, subnets: [10.10.0.0/24], gateway: true, kind: lan }
  dmz: { vlan: 20, subnets: [10.20.0.0/24], gateway: true, kind: dmz }
  wan: { vlan: 30, subnets: [10.30.0.0/24], kind: external }
guests:
  pc1: { network: lan, ip: 10.10.0.11 }
  pc2: { network: lan, ip: 10.10.0.12 }
  web1: { network: dmz, ip: 10.20.0.5 }
rules:
  - { name: ping, allow: { from: lan, to: web1, for: ping } }
";

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// A host in a network namespace, with its own directories; nothing of it is left afterwards.
struct Host {
    name: String,
    folder: TempDir,
    guests: Vec<String>,
}

impl Host {
    fn new() -> Self {
        let root = nix::unistd::geteuid().is_root();
        assert!(root, "this test makes namespaces and loads programs: run it as root");
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("pct{}-{number}", std::process::id());
        let host = Self { name, folder: tempfile::tempdir().unwrap(), guests: Vec::new() };
        sh(&format!("ip netns add {0} && ip -n {0} link set lo up", host.name));
        host
    }

    fn guest(&mut self, name: &str) -> String {
        let name = format!("{}-{name}", self.name);
        sh(&format!("ip netns add {name}"));
        self.guests.push(name.clone());
        name
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn policy(&self, text: &str) -> String {
        let path = self.path("policy.yaml");
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    /// Runs the command in this host's namespace.
    fn run(&self, args: &[&str]) -> Output {
        let namespace = format!("--net=/run/netns/{}", self.name);
        Command::new("nsenter")
            .args([&namespace, env!("CARGO_BIN_EXE_portcullis")])
            .args(args)
            .env("PORTCULLIS_RUN_DIR", self.path("run"))
            .env("PORTCULLIS_STATE_DIR", self.path("state"))
            .output()
            .unwrap()
    }

    fn ok(&self, args: &[&str]) -> String {
        let output = self.run(args);
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args:?}: {text}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn run_json(&self, args: &[&str]) -> (Output, Value) {
        let end = args.iter().position(|arg| *arg == "--").unwrap_or(args.len());
        let output = self.run(&[&args[..end], &["--format", "json"], &args[end..]].concat());
        let value = serde_json::from_slice(&output.stdout);
        let value = value.unwrap_or_else(|e| panic!("{args:?}: {e}: {output:?}"));
        (output, value)
    }

    fn json(&self, args: &[&str]) -> Value {
        self.run_json(args).1
    }

    fn refused(&self, args: &[&str]) -> (i32, String) {
        let (output, value) = self.run_json(args);
        let code = value["error"]["code"].as_str().unwrap_or_else(|| panic!("{args:?}: {value}"));
        (output.status.code().unwrap(), code.to_owned())
    }

    fn interfaces(&self) -> Vec<String> {
        let text = sh(&format!("ip -n {} -o link", self.name));
        let name = |line: &str| line.split([':', '@']).nth(1).unwrap().trim().to_owned();
        text.lines().map(name).filter(|name| name != "lo").collect()
    }

    fn kill(&self) {
        let pid = self.json(&["status"])["daemon"]["pid"].as_i64().unwrap();
        let pid = nix::unistd::Pid::from_raw(pid.try_into().unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // A failed test shows its own error; what is left over is removed as far as it goes.
        let _ = self.run(&["down"]);
        for name in self.guests.iter().chain([&self.name]) {
            let _ = Command::new("ip").args(["netns", "del", name]).output();
        }
    }
}

fn sh(script: &str) -> String {
    let output = Command::new("sh").args(["-c", script]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}: {text}");
    String::from_utf8(output.stdout).unwrap()
}

fn pings(from: &str, to: &str) -> bool {
    let script = format!("nsenter --net=/run/netns/{from} ping -c 1 -W 1 {to}");
    Command::new("sh").args(["-c", &script]).output().unwrap().status.success()
}

fn eventually(what: &str, mut happened: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(15);
    while !happened() {
        assert!(Instant::now() < end, "{what} did not happen in 15 s");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn port<'a>(status: &'a Value, name: &str) -> &'a Value {
    let ports = status["ports"].as_array().unwrap();
    ports.iter().find(|port| port["name"] == name).unwrap_or_else(|| panic!("{status:#}"))
}

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
    let mut host = Host::new();
    let (pc1, web1) = (host.guest("pc1"), host.guest("web1"));
    host.ok(&["up"]);
    host.ok(&["apply", &host.policy(POLICY)]);
    host.ok(&["attach", "veth", "v1", "--guest", "pc1", "--netns", &pc1]);
    host.ok(&["attach", "veth", "v2", "--guest", "web1", "--netns", &web1]);
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
    let mut host = Host::new();
    let (pc1, web1) = (host.guest("pc1"), host.guest("web1"));
    host.ok(&["up"]);
    host.ok(&["apply", &host.policy(POLICY)]);
    host.ok(&["attach", "veth", "v1", "--guest", "pc1", "--netns", &pc1]);
    host.ok(&["attach", "veth", "v2", "--guest", "web1", "--netns", &web1]);
    let pid = host.json(&["status"])["daemon"]["pid"].as_i64().unwrap();
    sh(&format!("kill -TERM {pid}"));
    eventually("its end", || !host.path("run/api.sock").exists());
    assert!(pings(&pc1, "10.20.0.5") && !pings(&web1, "10.10.0.11"));
    let log = std::fs::read_to_string(host.path("run/daemon.log")).unwrap();
    assert!(log.contains("the filters stay in force"), "{log}");
}
