//! Those who forward between two sockets, each on the second core, resting while it is not its turn:
//! all of them would look at their rings without end.

use std::{
    fs::{self, File},
    os::unix::net::{UnixListener, UnixStream},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use nix::{
    sched::{CpuSet, sched_setaffinity},
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::circle::Circle;
use crate::{error::Error, netns::on_cpu};

/// The generator's core.
pub const GENERATOR: usize = 0;
/// The switch's.
pub const SWITCH: usize = 1;
/// How long somebody may take to be there.
const START_MAX: Duration = Duration::from_secs(60);

/// Somebody who forwards.
pub struct Peer {
    /// The name of its rows.
    pub name: &'static str,
    /// What hangs on it.
    pub circle: Circle,
    /// Its process, if that has to be told to rest.
    pub busy: Option<u32>,
    /// What it is.
    pub _keep: Box<dyn std::any::Any>,
}

impl Peer {
    /// Does something while it works.
    pub fn at_work<R: Send>(
        &mut self,
        act: impl FnOnce(&mut Circle) -> Result<R, Error> + Send,
    ) -> anyhow::Result<R> {
        self.signal(Signal::SIGCONT)?;
        let circle = &mut self.circle;
        let done = on_cpu(GENERATOR, || act(circle)).context(self.name);
        self.signal(Signal::SIGSTOP)?;
        done
    }

    /// Lets it rest.
    pub fn rest(self) -> anyhow::Result<Self> {
        self.signal(Signal::SIGSTOP)?;
        Ok(self)
    }

    fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        self.busy.map_or(Ok(()), |pid| send(pid, signal))
    }
}

/// Sends a signal to a process of ours.
pub fn send(pid: u32, signal: Signal) -> anyhow::Result<()> {
    kill(Pid::from_raw(pid as i32), signal)
        .map_err(|e| Error::system(format!("{signal} to a process"), e).into())
}

/// A program that ends with this value.
pub struct Running(pub Child);

impl Running {
    /// Starts it, with its words in a file.
    pub fn start(command: &mut Command, log: &Path) -> anyhow::Result<Self> {
        let file = File::create(log).with_context(|| log.display().to_string())?;
        let name = command.get_program().to_string_lossy().into_owned();
        let child = command
            // Some end with their input.
            .stdin(Stdio::piped())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("{name} does not start"))?;
        Ok(Self(child))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // SIGKILL also ends who rests.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Connects to somebody who will listen there.
pub fn connect(path: &Path, log: &Path) -> anyhow::Result<UnixStream> {
    wait(&path.display().to_string(), log, || UnixStream::connect(path).ok())
}

/// Waits for somebody who will connect.
pub fn accept(listener: &UnixListener, path: &Path, log: &Path) -> anyhow::Result<UnixStream> {
    listener.set_nonblocking(true)?;
    let somebody = format!("somebody at {}", path.display());
    let stream = wait(&somebody, log, || listener.accept().ok())?.0;
    stream.set_nonblocking(false)?;
    Ok(stream)
}

/// Waits for something; `log` tells why it does not come.
pub fn wait<R>(what: &str, log: &Path, mut look: impl FnMut() -> Option<R>) -> anyhow::Result<R> {
    let end = Instant::now() + START_MAX;
    loop {
        if let Some(found) = look() {
            return Ok(found);
        }
        if Instant::now() > end {
            let text = fs::read_to_string(log).unwrap_or_default();
            let last: Vec<&str> = text.lines().rev().take(8).collect();
            let last: Vec<&str> = last.into_iter().rev().collect();
            bail!("waiting for {what}: {}", last.join("; "));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Keeps all threads of a process on the switch's core.
pub fn keep_on_core(pid: u32) -> anyhow::Result<()> {
    let mut set = CpuSet::new();
    set.set(SWITCH).map_err(|e| Error::system("a set of processors", e))?;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let task: i32 = task?.file_name().to_string_lossy().parse()?;
        sched_setaffinity(Pid::from_raw(task), &set)
            .map_err(|e| Error::system("keeping a switch on its processor", e))?;
    }
    Ok(())
}
