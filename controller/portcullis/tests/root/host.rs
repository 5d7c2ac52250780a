//! A host in a network namespace, with a Portcullis of its own.

use std::{
    path::PathBuf,
    process::{Command, Output},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use portcullis_lab::patience;
use serde_json::Value;
use tempfile::TempDir;

pub const POLICY: &str = "\
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
pub struct Host {
    pub name: String,
    pub folder: TempDir,
    guests: Vec<String>,
}

impl Host {
    pub fn new() -> Self {
        let root = nix::unistd::geteuid().is_root();
        assert!(root, "this test makes namespaces and loads programs: run it as root");
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("pct{}-{number}", std::process::id());
        let host = Self { name, folder: tempfile::tempdir().unwrap(), guests: Vec::new() };
        sh(&format!("ip netns add {0} && ip -n {0} link set lo up", host.name));
        host
    }

    pub fn guest(&mut self, name: &str) -> String {
        let name = format!("{}-{name}", self.name);
        sh(&format!("ip netns add {name}"));
        self.guests.push(name.clone());
        name
    }

    /// A host that is up under a policy, with guests pc1 and web1 on the ports v1 and v2; the
    /// namespaces of both.
    pub fn pair(policy: &str) -> (Self, String, String) {
        let mut host = Self::new();
        let (pc1, web1) = (host.guest("pc1"), host.guest("web1"));
        host.ok(&["up"]);
        host.ok(&["apply", &host.policy(policy)]);
        host.ok(&["attach", "veth", "v1", "--guest", "pc1", "--netns", &pc1]);
        host.ok(&["attach", "veth", "v2", "--guest", "web1", "--netns", &web1]);
        (host, pc1, web1)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn policy(&self, text: &str) -> String {
        let path = self.path("policy.yaml");
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    /// Runs the command in this host's namespace.
    pub fn run(&self, args: &[&str]) -> Output {
        let namespace = format!("--net=/run/netns/{}", self.name);
        Command::new("nsenter")
            .args([&namespace, env!("CARGO_BIN_EXE_portcullis")])
            .args(args)
            .env("PORTCULLIS_RUN_DIR", self.path("run"))
            .env("PORTCULLIS_STATE_DIR", self.path("state"))
            .output()
            .unwrap()
    }

    pub fn ok(&self, args: &[&str]) -> String {
        let output = self.run(args);
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args:?}: {text}");
        String::from_utf8(output.stdout).unwrap()
    }

    pub fn run_json(&self, args: &[&str]) -> (Output, Value) {
        let end = args.iter().position(|arg| *arg == "--").unwrap_or(args.len());
        let output = self.run(&[&args[..end], &["--format", "json"], &args[end..]].concat());
        let value = serde_json::from_slice(&output.stdout);
        let value = value.unwrap_or_else(|e| panic!("{args:?}: {e}: {output:?}"));
        (output, value)
    }

    pub fn json(&self, args: &[&str]) -> Value {
        self.run_json(args).1
    }

    pub fn refused(&self, args: &[&str]) -> (i32, String) {
        let (output, value) = self.run_json(args);
        let code = value["error"]["code"].as_str().unwrap_or_else(|| panic!("{args:?}: {value}"));
        (output.status.code().unwrap(), code.to_owned())
    }

    pub fn interfaces(&self) -> Vec<String> {
        let text = sh(&format!("ip -n {} -o link", self.name));
        let name = |line: &str| line.split([':', '@']).nth(1).unwrap().trim().to_owned();
        text.lines().map(name).filter(|name| name != "lo").collect()
    }

    pub fn kill(&self) {
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

pub fn sh(script: &str) -> String {
    let output = Command::new("sh").args(["-c", script]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}: {text}");
    String::from_utf8(output.stdout).unwrap()
}

/// Seconds in which a machine that is only simulated does as much.
pub fn stretched(seconds: u64) -> u64 {
    patience::stretched(Duration::from_secs(seconds)).as_secs()
}

pub fn pings(from: &str, to: &str) -> bool {
    let seconds = patience::silence(Duration::from_secs(1)).as_secs();
    let script = format!("nsenter --net=/run/netns/{from} ping -c 1 -W {seconds} {to}");
    Command::new("sh").args(["-c", &script]).output().unwrap().status.success()
}

pub fn eventually(what: &str, mut happened: impl FnMut() -> bool) {
    let most = patience::limit(Duration::from_secs(15));
    let end = Instant::now() + most;
    while !happened() {
        assert!(Instant::now() < end, "{what} did not happen in {most:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

pub fn port<'a>(status: &'a Value, name: &str) -> &'a Value {
    let ports = status["ports"].as_array().unwrap();
    ports.iter().find(|port| port["name"] == name).unwrap_or_else(|| panic!("{status:#}"))
}
