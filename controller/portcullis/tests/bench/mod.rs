//! A folder of its own for each test, and the real binary in it.

use std::{
    io::Write,
    path::PathBuf,
    process::{Command, Output, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;

/// A policy that holds.
pub const GOOD: &str = "networks:\n  lan: { vlan: 10, subnets: [10.10.0.0/24], gateway: true, kind: lan }\n\
                    guests:\n  pc1: { network: lan, ip: 10.10.0.11 }\n  pc2: { network: lan, ip: auto }\n\
                    rules:\n  - { name: web, allow: { from: host, to: pc1, for: http } }\n";

/// A folder in which the binary runs, without a daemon.
pub struct Bench {
    /// Gone with the test.
    pub folder: TempDir,
}

impl Bench {
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn file(&self, name: &str, text: &str) -> String {
        std::fs::write(self.path(name), text).unwrap();
        name.to_owned()
    }

    pub fn run(&self, args: &[&str]) -> Output {
        self.run_with(args, "")
    }

    /// With something on standard input.
    pub fn run_with(&self, args: &[&str], input: &str) -> Output {
        let mut child = Command::new(env!("CARGO_BIN_EXE_portcullis"))
            .args(args)
            .current_dir(self.folder.path())
            .env("PORTCULLIS_RUN_DIR", self.path("run"))
            .env("PORTCULLIS_STATE_DIR", self.path("state"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // A command that reads nothing may be gone before everything is written.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        child.wait_with_output().unwrap()
    }
}

pub fn status(output: &Output) -> i32 {
    output.status.code().unwrap()
}

pub fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

pub fn json(output: &Output) -> Value {
    assert_eq!(err(output), "", "with --format json, standard error stays empty");
    serde_json::from_slice(&output.stdout).unwrap()
}
