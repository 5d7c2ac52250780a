//! Faults from outside: a debugger (`strace`) makes one system call of a process fail, or kills the
//! process at it. The product has no switch for this, and needs none.

use std::{
    fmt, fs,
    process::{Child, Command, Stdio},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{Error, Result, process};

/// What happens at one system call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The call: `bpf`, `sendto`, `fdatasync`, ...
    pub call: &'static str,
    /// `error=ENOMEM`, or `signal=KILL`.
    pub what: &'static str,
    /// Which of the calls of a thread, from 1.
    pub at: usize,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:when={}", self.call, self.what, self.at)
    }
}

impl Fault {
    /// Does it end the process?
    pub fn is_deadly(&self) -> bool {
        self.what.starts_with("signal")
    }

    fn strace(&self) -> Command {
        let mut command = Command::new("strace");
        command.args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={}", self.call)]);
        command.args(["-e", &format!("inject={self}")]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    /// Puts a command under the fault from its first system call on.
    pub fn around(&self, command: &Command) -> Command {
        let mut outer = self.strace();
        outer.arg(command.get_program()).args(command.get_args());
        outer.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        outer
    }
}

/// A fault that waits in a running process. Dropping it takes it away.
#[derive(Debug)]
pub struct Injected(Child);

impl Injected {
    /// Puts it into all threads of a process.
    pub fn start(fault: &Fault, pid: i32) -> Result<Self> {
        let mut command = fault.strace();
        command.args(["-p", &pid.to_string()]);
        let child = command.spawn().map_err(Error::system("starting strace"))?;
        let injected = Self(child);
        process::wait_for("strace at all threads", 10, || is_traced(pid))?;
        Ok(injected)
    }
}

impl Drop for Injected {
    fn drop(&mut self) {
        // It lets go of its threads when it is asked to end; a killed one may leave them stopped.
        let _ = kill(Pid::from_raw(self.0.id() as i32), Signal::SIGTERM);
        let ended = || matches!(self.0.try_wait(), Ok(Some(_)));
        if process::wait_for("the end of strace", 5, ended).is_err() {
            // Rarely it waits for ever for a process that it has just killed.
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }
}

fn is_traced(pid: i32) -> bool {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return true };
    threads.filter_map(|thread| fs::read_to_string(thread.ok()?.path().join("status")).ok()).all(
        |status| {
            status.lines().any(|line| line.starts_with("TracerPid:") && !line.ends_with("\t0"))
        },
    )
}
