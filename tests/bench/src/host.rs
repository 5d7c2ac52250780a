//! The real command and its daemon, in a namespace of the bench's own.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use serde_json::Value;

use crate::{command, error::Error, netns::Namespace, policy::child, scratch, tap::Tap};

/// How long the daemon may take to start.
const START_MAX: Duration = Duration::from_secs(60);

/// A host. Dropping it removes the switch and everything of it.
pub struct Host {
    namespace: Namespace,
    program: PathBuf,
    directory: PathBuf,
    /// What the switch remembers, on a real disk: `apply` waits until it is there.
    state: PathBuf,
    daemon: Child,
}

impl Host {
    /// Starts a switch without a policy.
    pub fn start(name: &str) -> anyhow::Result<Self> {
        let (namespace, program) = (Namespace::new()?, child::command()?);
        let directory = scratch::directory(name);
        fs::create_dir_all(&directory).with_context(|| directory.display().to_string())?;
        let state =
            std::env::temp_dir().join(format!("portcullis-bench-{}-{name}", std::process::id()));
        let mut up = Command::new(&program);
        up.args(["up", "--foreground"]);
        environment(&mut up, &directory, &state);
        up.stdout(Stdio::null()).stderr(Stdio::piped());
        let daemon = namespace.run(|| up.spawn().map_err(|e| Error::system("portcullis up", e)))?;
        let mut host = Self { namespace, program, directory, state, daemon };
        // Somebody has to read what it logs.
        if let Some(log) = host.daemon.stderr.take() {
            std::thread::spawn(move || BufReader::new(log).lines().for_each(drop));
        }
        let end = Instant::now() + START_MAX;
        while host.run(&["status"]).is_err() {
            if Instant::now() > end {
                bail!("the daemon does not answer");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(host)
    }

    /// A path for a file of this host.
    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Gives a guest a port of some kind.
    pub fn attach(&self, kind: &str, port: &str, guest: &str) -> anyhow::Result<()> {
        self.run(&["attach", kind, port, "--guest", guest]).map(drop)
    }

    /// The socket of a vhost-user port.
    pub fn socket(&self, port: &str) -> PathBuf {
        self.directory.join("run/vhost").join(format!("{port}.sock"))
    }

    /// The other end of a tap port.
    pub fn tap(&self, port: &str) -> Result<Tap, Error> {
        Tap::open(&self.namespace, port)
    }

    /// The process that serves vhost-user ports: a child of the daemon.
    pub fn engine(&self) -> anyhow::Result<u32> {
        let daemon = self.daemon.id().to_string();
        let mut processes = fs::read_dir("/proc")?.filter_map(|entry| {
            let pid: u32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            // Behind the name in brackets: state and parent (proc(5)).
            let parent = stat.rsplit_once(") ")?.1.split_whitespace().nth(1)?.to_owned();
            (parent == daemon).then_some(pid)
        });
        processes.next().context("the daemon has no engine")
    }

    /// `portcullis apply FILE`; what it answers.
    pub fn apply(&self, file: &Path) -> anyhow::Result<Value> {
        let answer = self.run(&["apply", "--format", "json", &file.to_string_lossy()])?;
        serde_json::from_str(&answer).context("the answer of apply")
    }

    fn run(&self, args: &[&str]) -> anyhow::Result<String> {
        let mut command = Command::new(&self.program);
        command.args(args);
        environment(&mut command, &self.directory, &self.state);
        let output = self
            .namespace
            .run(|| command.output().map_err(|e| Error::system("running portcullis", e)))?;
        command::checked("portcullis", args, &output)?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

fn environment(command: &mut Command, directory: &Path, state: &Path) {
    command.env("PORTCULLIS_RUN_DIR", directory.join("run")).env("PORTCULLIS_STATE_DIR", state);
}

impl Drop for Host {
    fn drop(&mut self) {
        if let Err(error) = self.run(&["down"]) {
            eprintln!("removing a switch: {error:#}");
        }
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
        let _ = fs::remove_dir_all(&self.state);
    }
}
