//! A long step: its output goes to a log, its progress to the terminal.

use std::{
    fs::{self, File},
    io::{IsTerminal, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Mutex, MutexGuard},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use crate::place;

/// How often a terminal shows progress.
const TICK: Duration = Duration::from_millis(120);
/// How often a log (no terminal) hears that a step still runs.
const HEARTBEAT: Duration = Duration::from_secs(30);
/// Lines of the log that a failure shows.
const TAIL_LINES: usize = 60;

/// A command that may take long.
pub struct Step {
    title: String,
    command: Command,
    log: PathBuf,
}

/// A step that ended.
pub struct Done {
    /// How it ended.
    pub status: ExitStatus,
    /// All that it printed.
    pub output: String,
    /// The file that holds the same.
    pub log: PathBuf,
}

impl Step {
    /// A step with this title, which names its log too.
    pub fn new(title: impl Into<String>, command: Command) -> Self {
        let title = title.into();
        let name: String = title
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' })
            .collect();
        let log = place::logs().join(format!("{name}.log"));
        Self { title, command, log }
    }

    /// Runs to the end, whatever the status.
    pub fn finish(self) -> Result<Done> {
        let title = self.title.clone();
        let done = Self::finish_all(&title, vec![self])?;
        done.into_iter().next().context("one step makes one result")
    }

    /// Runs several at once, all to their ends, whatever the statuses.
    pub fn finish_all(title: &str, mut steps: Vec<Self>) -> Result<Vec<Done>> {
        let mut children = steps.iter_mut().map(Self::spawn).collect::<Result<Vec<_>>>()?;
        let mut statuses: Vec<Option<ExitStatus>> = vec![None; children.len()];
        let mut progress = Progress::start(title);
        while let Some(running) = statuses.iter().position(Option::is_none) {
            for (child, status) in children.iter_mut().zip(&mut statuses) {
                *status = child.try_wait().context("waiting for a child")?;
            }
            progress.tick(&steps[running].log);
            sleep(TICK);
        }
        let statuses: Vec<ExitStatus> = statuses.into_iter().flatten().collect();
        progress.end(statuses.iter().all(ExitStatus::success));
        let done = |(step, status): (Self, ExitStatus)| {
            let output = String::from_utf8_lossy(&fs::read(&step.log)?).into_owned();
            Ok(Done { status, output, log: step.log })
        };
        steps.into_iter().zip(statuses).map(done).collect()
    }

    /// Runs to the end; a failure shows the tail of the log and is an error.
    pub fn succeed(self) -> Result<Done> {
        let title = self.title.clone();
        let done = self.finish()?;
        if !done.status.success() {
            done.print_tail();
            bail!("{title}: {}", done.status);
        }
        Ok(done)
    }

    /// Runs a short command that deserves no line of its own; its failure is an error that says
    /// what it said.
    pub fn quietly(mut command: Command) -> Result<()> {
        let output = command.output().with_context(|| format!("starting {command:?}"))?;
        if !output.status.success() {
            bail!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(())
    }

    fn spawn(&mut self) -> Result<Child> {
        fs::create_dir_all(place::logs()).context("creating the log directory")?;
        let log = File::create(&self.log)
            .with_context(|| format!("creating the log {}", self.log.display()))?;
        self.command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        self.command
            .spawn()
            .with_context(|| format!("{}: starting {:?}", self.title, self.command.get_program()))
    }
}

impl Done {
    /// Shows the end of the log and where all of it is.
    pub fn print_tail(&self) {
        let lines: Vec<&str> = self.output.lines().collect();
        let tail = &lines[lines.len().saturating_sub(TAIL_LINES)..];
        let before = lines.len() - tail.len();
        let more = (before > 0).then(|| format!("    ... {before} lines before these\n"));
        let tail: String = tail.iter().map(|line| format!("    {line}\n")).collect();
        // In one piece: another step may be printing too.
        println!("{}{tail}    full log: {}", more.unwrap_or_default(), self.log.display());
    }
}

/// The line on the terminal while a step runs.
struct Progress {
    title: String,
    started: Instant,
    said: Instant,
    terminal: bool,
    /// Held by the step whose line it is: there is one line, and there may be several steps.
    line: Option<MutexGuard<'static, ()>>,
}

static LINE: Mutex<()> = Mutex::new(());

impl Progress {
    fn start(title: &str) -> Self {
        let terminal = std::io::stdout().is_terminal();
        if !terminal {
            println!("  ..  {title}");
        }
        let now = Instant::now();
        Self { title: title.to_owned(), started: now, said: now, terminal, line: None }
    }

    fn tick(&mut self, log: &Path) {
        let seconds = self.started.elapsed().as_secs();
        if self.terminal {
            if self.line.is_none() {
                self.line = LINE.try_lock().ok();
            }
            if self.line.is_none() {
                return;
            }
            let wheel = ['|', '/', '-', '\\'];
            let turn = wheel[(self.started.elapsed().as_millis() / TICK.as_millis()) as usize % 4];
            let line: String = format!(" {turn}    {} {seconds} s  {}", self.title, last_line(log))
                .chars()
                .take(terminal_width())
                .collect();
            print!("\r\x1b[2K{line}");
            let _ = std::io::stdout().flush();
        } else if self.said.elapsed() >= HEARTBEAT {
            self.said = Instant::now();
            println!("  ..  {} {seconds} s  {}", self.title, last_line(log));
        }
    }

    fn end(&self, fine: bool) {
        if self.terminal {
            print!("\r\x1b[2K");
            let _ = std::io::stdout().flush();
        }
        let word = if fine { "  ok" } else { "FAIL" };
        println!("{word}  {} ({:.1} s)", self.title, self.started.elapsed().as_secs_f64());
    }
}

fn terminal_width() -> usize {
    std::env::var("COLUMNS").ok().and_then(|w| w.parse().ok()).unwrap_or(80).max(40) - 1
}

/// The last line of a log that says something to people: cargo's messages to programs do not.
fn last_line(log: &Path) -> String {
    let mut text = Vec::new();
    if let Ok(mut file) = File::open(log) {
        let length = file.metadata().map_or(0, |m| m.len());
        let _ = file.seek(SeekFrom::Start(length.saturating_sub(1024)));
        let _ = file.read_to_end(&mut text);
    }
    let text = String::from_utf8_lossy(&text);
    let says = |line: &&str| !line.is_empty() && !line.contains("\":\"");
    let line = text.split(['\n', '\r']).rev().map(str::trim).find(says);
    line.unwrap_or_default().chars().filter(|c| !c.is_control()).collect()
}
