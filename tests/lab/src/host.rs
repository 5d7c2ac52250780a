//! A hypervisor: a namespace in which a Portcullis of its own runs.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

use crate::{
    Error, Lab, Result, Space,
    process::{self, Output},
};

/// A host with its switch. Its lab removes it.
#[derive(Clone, Debug)]
pub struct Host {
    space: Space,
    program: PathBuf,
    run_dir: PathBuf,
    state_dir: PathBuf,
}

impl Host {
    /// A host with this name. It forwards, as a hypervisor does that is its guests' way out.
    pub fn new(lab: &Lab, name: &str) -> Result<Self> {
        let program = program()?;
        let space = lab.space(name)?;
        space.sysctl("net/ipv4/ip_forward", "1")?;
        space.sysctl("net/ipv6/conf/all/forwarding", "1")?;
        let dir = lab.dir().join(name);
        fs::create_dir_all(&dir).map_err(Error::file(&dir))?;
        Ok(Self { space, program, run_dir: dir.join("run"), state_dir: dir.join("state") })
    }

    /// Its namespace.
    pub fn space(&self) -> &Space {
        &self.space
    }

    /// Where its switch keeps pins and socket.
    pub fn run_dir(&self) -> &Path {
        &self.run_dir
    }

    /// The socket of a vhost-user port.
    pub fn vhost_socket(&self, port: &str) -> PathBuf {
        self.run_dir.join("vhost").join(format!("{port}.sock"))
    }

    /// What its switch remembers.
    pub fn state_dir(&self) -> &Path {
        &self.state_dir
    }

    /// Environment that makes any `portcullis` command talk to this host's daemon.
    pub fn environment(&self) -> [(&'static str, &Path); 2] {
        [("PORTCULLIS_RUN_DIR", &self.run_dir), ("PORTCULLIS_STATE_DIR", &self.state_dir)]
    }

    /// The `portcullis` program.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Commands and daemon are those of another version from now on. The daemon of before must
    /// have ended.
    pub fn run_program(&mut self, program: PathBuf) {
        self.program = program;
    }

    /// A `portcullis` command, not yet started.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(arguments).envs(self.environment()).env("NO_COLOR", "1");
        command
    }

    /// Runs `portcullis ARGUMENTS` on the host, whatever comes of it.
    pub fn run(&self, arguments: &[&str]) -> Result<Output> {
        self.space.run(self.command(arguments), 60)
    }

    /// Runs `portcullis ARGUMENTS`; its failure is an error.
    pub fn portcullis(&self, arguments: &[&str]) -> Result<String> {
        self.run(arguments)?.success()
    }

    /// Runs `portcullis ARGUMENTS --format json`. Exit status 1 is an answer too.
    pub fn json(&self, arguments: &[&str]) -> Result<Value> {
        let output = self.run(&[arguments, &["--format", "json"]].concat())?;
        if output.code() > 1 || output.code() < 0 {
            return Err(output.failure());
        }
        serde_json::from_str(&output.stdout)
            .map_err(|_| Error::Output { command: output.line, output: output.stdout })
    }

    /// Starts the switch.
    pub fn up(&self) -> Result<()> {
        self.portcullis(&["up"]).map(drop)
    }

    /// Removes the switch and everything it made.
    pub fn down(&self) -> Result<()> {
        self.portcullis(&["down"]).map(drop)
    }

    /// Enforces a policy.
    pub fn apply(&self, policy: &Path) -> Result<()> {
        self.portcullis(&["apply", &policy.to_string_lossy()]).map(drop)
    }

    /// What the switch tells about itself.
    pub fn status(&self) -> Result<Status> {
        self.json(&["status"]).map(Status)
    }

    /// Processes of the daemon.
    pub fn daemon(&self) -> Vec<i32> {
        self.processes(&["daemon", "up"])
    }

    /// Processes of the engine of vhost-user ports.
    pub fn engine(&self) -> Vec<i32> {
        self.processes(&["engine"])
    }

    /// Processes of `portcullis` whose first argument is one of these: it runs guests, too.
    fn processes(&self, commands: &[&str]) -> Vec<i32> {
        let Some(identity) = self.space.identity() else { return Vec::new() };
        let is_ours = |pid: &i32| {
            fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe == self.program)
        };
        let is_it = |pid: &i32| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let first = line.split(|byte| *byte == 0).nth(1);
            commands.iter().any(|command| first == Some(command.as_bytes()))
        };
        let all = process::inside(&identity).into_iter();
        all.filter(|pid| is_ours(pid) && is_it(pid)).collect()
    }

    /// Kills the daemon with SIGKILL and waits until it is gone.
    pub fn kill_daemon(&self) -> Result<()> {
        kill_all(&self.daemon(), "the end of the daemon")
    }

    /// Kills the engine of vhost-user ports with SIGKILL and waits until it is gone.
    pub fn kill_engine(&self) -> Result<()> {
        kill_all(&self.engine(), "the end of the engine")
    }
}

fn kill_all(processes: &[i32], what: &str) -> Result<()> {
    for pid in processes {
        let _ = kill(Pid::from_raw(*pid), Signal::SIGKILL);
    }
    process::wait_for(what, 10, || processes.iter().all(|pid| process::is_dead(*pid)))
}

/// `portcullis` stands beside the test programs' directory, where cargo puts it.
fn program() -> Result<PathBuf> {
    let own = env::current_exe().map_err(Error::system("finding the own program"))?;
    let mut dir = own.parent().unwrap_or(Path::new("/")).to_path_buf();
    if dir.ends_with("deps") {
        dir.pop();
    }
    let path = dir.join("portcullis");
    if path.exists() { Ok(path) } else { Err(Error::NotBuilt { path }) }
}

/// `status --format json`.
#[derive(Clone, Debug)]
pub struct Status(pub Value);

impl Status {
    /// The port with this name.
    pub fn port(&self, name: &str) -> Option<&Value> {
        self.0["ports"].as_array()?.iter().find(|port| port["name"] == name)
    }

    /// Does this port carry the generation in force?
    pub fn is_open(&self, name: &str) -> bool {
        self.port(name).is_some_and(|port| port["open"] == true)
    }

    /// Packets dropped for this reason.
    pub fn drops(&self, reason: &str) -> u64 {
        let all = self.0["drops"].as_array().map(Vec::as_slice).unwrap_or_default();
        let one = all.iter().find(|drop| drop["reason"] == reason);
        one.and_then(|drop| drop["packets"].as_u64()).unwrap_or(0)
    }

    /// All reasons with their packets.
    pub fn reasons(&self) -> Vec<(String, u64)> {
        let all = self.0["drops"].as_array().map(Vec::as_slice).unwrap_or_default();
        let pair =
            |drop: &Value| Some((drop["reason"].as_str()?.to_owned(), drop["packets"].as_u64()?));
        all.iter().filter_map(pair).collect()
    }
}
