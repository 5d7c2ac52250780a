//! The console of a virtual machine: orders go in, lines come out.

use std::{
    io::{BufRead, BufReader, Read, Write},
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{self, Receiver, Sender},
    thread,
    time::{Duration, Instant},
};

use crate::{Error, Result, Space, patience};

/// How long an answer may take: more than the guest itself waits for others.
pub const ANSWER: Duration = Duration::from_secs(20);

/// A monitor that runs, with the console of its machine. Dropping it does not end the monitor.
#[derive(Debug)]
pub struct Console {
    name: String,
    child: Child,
    orders: ChildStdin,
    lines: Receiver<String>,
}

impl Console {
    /// Starts a monitor whose standard input and output are the console of its machine. `name`: what
    /// errors call it.
    pub fn start(space: &Space, name: &str, mut command: Command) -> Result<Self> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = space.spawn(command)?;
        let (sender, lines) = mpsc::channel();
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(orders), Some(output), Some(errors)) = pipes else {
            return Err(Error::Thread { space: space.name().to_owned() });
        };
        listen(output, sender.clone());
        listen(errors, sender);
        Ok(Self { name: name.to_owned(), child, orders, lines })
    }

    /// Number of the monitor's process.
    pub fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    /// Types a line.
    pub fn tell(&mut self, line: &str) -> Result<()> {
        writeln!(self.orders, "{line}").map_err(Error::system("writing to a console"))
    }

    /// Waits until it prints a line that begins so; the line.
    pub fn prints(&self, begin: &str) -> Result<String> {
        self.find(begin, |line| line.starts_with(begin).then(|| line.trim_end().to_owned()))
    }

    /// Waits until it prints a line in which something is found. `what`: what errors call it.
    pub fn find<T>(&self, what: &str, find: impl Fn(&str) -> Option<T>) -> Result<T> {
        let mut all = String::new();
        let end = Instant::now() + patience::limit(ANSWER);
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let Ok(line) = self.lines.recv_timeout(left) else {
                let command = format!("{}: {what}", self.name);
                return Err(Error::Output { command, output: all });
            };
            if let Some(found) = find(&line) {
                return Ok(found);
            }
            all += &line;
            all.push('\n');
        }
    }

    /// Waits until the monitor has ended; its exit status.
    pub fn ended(&mut self) -> Result<Option<i32>> {
        let mut status = None;
        let child = &mut self.child;
        crate::process::wait_for("the end of a guest", 20, || {
            status = child.try_wait().ok().flatten();
            status.is_some()
        })?;
        Ok(status.and_then(|status| status.code()))
    }

    /// Kills the monitor, if it has not ended.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        self.reap();
    }

    /// Waits for the end of a monitor that was told to end.
    pub fn reap(&mut self) {
        let _ = self.child.wait();
    }
}

/// Passes on what comes, line by line, until nothing comes any more.
fn listen(from: impl Read + Send + 'static, to: Sender<String>) {
    thread::spawn(move || {
        for line in BufReader::new(from).lines() {
            let Ok(line) = line else { return };
            if to.send(line).is_err() {
                return;
            }
        }
    });
}
