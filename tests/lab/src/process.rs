//! Processes: run to an end within a time, kept as servers, ended by their namespace.

use std::{
    fs,
    io::Read,
    process::{Child, Command, ExitStatus},
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{Error, Result, patience};

/// A command that ended.
#[derive(Debug)]
pub struct Output {
    /// The command line.
    pub line: String,
    /// How it ended; `None` when its time was up.
    pub status: Option<ExitStatus>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Output {
    /// The exit status, -1 when it was killed or ran out of time.
    pub fn code(&self) -> i32 {
        self.status.and_then(|status| status.code()).unwrap_or(-1)
    }

    /// Standard output, if it ended with 0.
    pub fn success(self) -> Result<String> {
        if self.code() == 0 { Ok(self.stdout) } else { Err(self.failure()) }
    }

    /// What went wrong, as an error.
    pub fn failure(self) -> Error {
        let status = self.status.map_or("no end in time".to_owned(), |status| status.to_string());
        Error::Command { command: self.line, status, output: self.stdout + &self.stderr }
    }
}

/// The command line, for messages.
pub fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}

/// Waits for a child whose output is piped; kills it when the time is up. The time is one for a
/// fast machine, as everywhere (see [`patience`]).
pub fn finish(mut child: Child, line: String, seconds: u64) -> Result<Output> {
    let stdout = child.stdout.take().map(reader);
    let stderr = child.stderr.take().map(reader);
    let status = wait(&mut child, patience::limit(Duration::from_secs(seconds)));
    let text = |reader: Option<thread::JoinHandle<String>>| {
        reader.and_then(|thread| thread.join().ok()).unwrap_or_default()
    };
    Ok(Output { line, status, stdout: text(stdout), stderr: text(stderr) })
}

fn reader(mut from: impl Read + Send + 'static) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = from.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

fn wait(child: &mut Child, limit: Duration) -> Option<ExitStatus> {
    let end = Instant::now() + limit;
    while Instant::now() < end {
        if let Ok(Some(status)) = child.try_wait() {
            return Some(status);
        }
        thread::sleep(Duration::from_millis(5));
    }
    let _ = child.kill();
    let _ = child.wait();
    None
}

/// Is there a process with this number that started at this time?
pub fn lives(pid: i32, started: u64) -> bool {
    start_time(pid) == Some(started)
}

/// When a process started, in clock ticks since boot: with its number it names it for ever.
pub fn start_time(pid: i32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything; field 22 is the 20th behind it.
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

/// Has a process ended, with all its threads and descriptors? It may wait to be reaped.
pub fn is_dead(pid: i32) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { return true };
    let zombie = stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('Z'));
    let threads = fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count);
    zombie && threads <= 1
}

/// Kills every process in a network namespace: `identity` as in `/proc/PID/ns/net`.
pub fn kill_in_namespace(identity: &str) {
    for _ in 0..50 {
        let inside = inside(identity);
        if inside.is_empty() {
            return;
        }
        for pid in inside {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        thread::sleep(Duration::from_millis(10));
    }
}

/// Processes in a network namespace, zombies left out.
pub fn inside(identity: &str) -> Vec<i32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok())
        .filter(|pid| *pid != std::process::id() as i32)
        .filter(|pid| {
            fs::read_link(format!("/proc/{pid}/ns/net"))
                .is_ok_and(|link| link.to_string_lossy() == identity)
        })
        .collect()
}

/// Waits until `done` holds, looking every few milliseconds.
pub fn wait_for(what: &str, seconds: u64, mut done: impl FnMut() -> bool) -> Result<()> {
    let seconds = patience::limit_seconds(seconds);
    let end = Instant::now() + Duration::from_secs(seconds);
    while !done() {
        if Instant::now() > end {
            return Err(Error::TimedOut { what: what.to_owned(), seconds });
        }
        thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}
