//! The switch's way to the engine: starts it, finds one that runs, gives it orders.

use std::{
    fs::{self, OpenOptions},
    io,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::{fs::OpenOptionsExt, net::UnixStream},
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use portcullis_pipeline::layout::{EventEntry, FlowEntry, FlowKey};
use portcullis_ports::tap;
use portcullis_switch::{
    Owner,
    peer::{Peer, Refused, Told},
};
use rustix::{net::sockopt::socket_peercred, process as kernel};
use zerocopy::FromBytes;

use crate::{
    message::{Answer, Ask, LANGUAGE, Line},
    socket,
};

/// How long the engine may take for an order.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long somebody waits who only wants to know something.
const CURIOSITY: Duration = Duration::from_secs(2);
/// The same for one that has left a question unanswered: only what has come already counts.
const DOUBT: Duration = Duration::from_millis(1);
/// How long it may take to start.
const START_MAX: Duration = Duration::from_secs(20);
/// How long it may take to end before it is killed, and to be gone then.
const END_MAX: Duration = Duration::from_secs(5);
/// How often somebody looks meanwhile.
const LOOK: Duration = Duration::from_millis(5);
/// A log larger than this is begun anew at the next start, bytes.
const LOG_MAX: u64 = 1 << 20;

/// The socket at which the engine takes orders.
pub fn control_of(run_dir: &Path) -> PathBuf {
    run_dir.join("engine.sock")
}

/// The directory of the ports' sockets.
fn sockets_of(run_dir: &Path) -> PathBuf {
    run_dir.join("vhost")
}

/// The socket of a port.
pub fn socket_of(run_dir: &Path, port: &str) -> PathBuf {
    sockets_of(run_dir).join(format!("{port}.sock"))
}

/// A conversation with an engine.
struct Talk {
    line: Line,
    pid: kernel::Pid,
    /// Answers that nobody waited for any more.
    owed: u32,
    /// Has it said who it is?
    is_met: bool,
}

impl Talk {
    /// With the engine of the switch in `run_dir`; `None`: there is none.
    fn with(run_dir: &Path) -> Option<Self> {
        let stream = UnixStream::connect(control_of(run_dir)).ok()?;
        let pid = socket_peercred(&stream).ok()?.pid;
        Some(Self { line: Line::new(stream), pid, owed: 0, is_met: false })
    }

    /// Asks, once everything of before is answered. `None`: it is gone.
    fn ask(
        &mut self,
        ask: &Ask,
        files: &[BorrowedFd<'_>],
        limit: Duration,
    ) -> io::Result<Option<Answer>> {
        self.line.limit(limit)?;
        while self.owed > 0 {
            if self.line.hear::<Answer>()?.is_none() {
                return Ok(None);
            }
            self.owed -= 1;
        }
        self.line.say(ask, files)?;
        self.owed += 1;
        let answer = self.line.hear()?;
        self.owed -= 1;
        Ok(answer)
    }
}

/// An engine of one switch, if there is one.
pub struct Client {
    run_dir: PathBuf,
    /// The program that is the engine, and its arguments.
    program: PathBuf,
    arguments: Vec<String>,
    talk: Option<Talk>,
    child: Option<Child>,
    /// What the one that runs has told last.
    last: Told,
    /// What those before it had counted, as far as it was told.
    before: Told,
}

impl Client {
    /// The way to the engine of the switch in `run_dir`, which is started by this command.
    pub fn new(run_dir: &Path, program: PathBuf, arguments: Vec<String>) -> Self {
        Self {
            run_dir: run_dir.to_owned(),
            program,
            arguments,
            talk: None,
            child: None,
            last: Told::default(),
            before: Told::default(),
        }
    }

    /// Connects to an engine that runs; false: there is none. One of another language is ended.
    fn find(&mut self) -> Result<bool, Refused> {
        if self.talk.is_none() {
            self.talk = Talk::with(&self.run_dir);
        }
        match &self.talk {
            None => return Ok(false),
            Some(talk) if talk.is_met => return Ok(true),
            Some(_) => {}
        }
        match self.wonder(&Ask::Hello) {
            Ok(Answer::Hello { language: LANGUAGE }) => {
                self.talk.as_mut().into_iter().for_each(|talk| talk.is_met = true);
                Ok(true)
            }
            Err(silent @ Refused::Silent { .. }) => Err(silent),
            Err(Refused::Gone) => Ok(false),
            _ => {
                self.talk = None;
                let _ = end(&self.run_dir);
                Ok(false)
            }
        }
    }

    fn start(&mut self) -> Result<(), Refused> {
        let failed = |action| move |source| Refused::Start { action, source };
        let log_path = self.run_dir.join("engine.log");
        if fs::metadata(&log_path).is_ok_and(|meta| meta.len() > LOG_MAX) {
            let _ = fs::remove_file(&log_path);
        }
        let log = OpenOptions::new().append(true).create(true).mode(0o600).open(&log_path);
        let log = log.map_err(failed("open the log of"))?;
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).current_dir("/");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.child = Some(command.spawn().map_err(failed("start"))?);
        let deadline = Instant::now() + START_MAX;
        while !self.find().unwrap_or(false) {
            let ended = self.child.as_mut().is_some_and(|c| !matches!(c.try_wait(), Ok(None)));
            if ended || Instant::now() > deadline {
                let source = io::Error::other(format!("see {}", log_path.display()));
                return Err(Refused::Start { action: "reach", source });
            }
            thread::sleep(LOOK);
        }
        self.before.add(&std::mem::take(&mut self.last));
        Ok(())
    }

    /// Asks the engine that we are connected to. After silence we still are, after another error not.
    fn ask(
        &mut self,
        ask: &Ask,
        files: &[BorrowedFd<'_>],
        limit: Duration,
    ) -> Result<Answer, Refused> {
        let Some(talk) = &mut self.talk else { return Err(Refused::Gone) };
        match talk.ask(ask, files, limit) {
            Ok(Some(Answer::Failed { reason })) => Err(Refused::Said { reason }),
            Ok(Some(answer)) => Ok(answer),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock) => {
                Err(Refused::Silent { pid: talk.pid.as_raw_pid() })
            }
            Ok(None) | Err(_) => {
                self.talk = None;
                Err(Refused::Gone)
            }
        }
    }

    fn order(&mut self, ask: &Ask) -> Result<Answer, Refused> {
        self.ask(ask, &[], PATIENCE)
    }

    /// Asks what one could do without: from one that is silent nothing is waited for.
    fn wonder(&mut self, ask: &Ask) -> Result<Answer, Refused> {
        let doubted = self.talk.as_ref().is_some_and(|talk| talk.owed > 0);
        self.ask(ask, &[], if doubted { DOUBT } else { CURIOSITY })
    }

    /// Gives a port to the engine: a queue of its tap, and the socket.
    fn give(&mut self, port: &str, ifindex: u32, owner: Owner) -> Result<(), Refused> {
        let path = self.socket(port);
        let queue = tap::open_queue(port, 1)?;
        let folder = sockets_of(&self.run_dir);
        let failed = |source| Refused::Socket { path: path.clone(), source };
        fs::create_dir_all(&folder).map_err(failed)?;
        if owner != Owner::default() {
            [&self.run_dir, &folder]
                .into_iter()
                .try_for_each(|way| socket::let_through(way))
                .map_err(failed)?;
        }
        let listener = socket::listen(&path, owner).map_err(failed)?;
        let take = Ask::Take { port: port.to_owned(), ifindex };
        let taken = self.ask(&take, &[queue.as_fd(), listener.as_fd()], PATIENCE);
        if taken.is_err() {
            let _ = fs::remove_file(&path);
        }
        taken.map(drop)
    }

    fn entries(&mut self, ask: &Ask) -> Vec<Vec<u8>> {
        match self.wonder(ask) {
            Ok(Answer::Entries { entries }) => entries,
            _ => Vec::new(),
        }
    }
}

impl Peer for Client {
    fn is_there(&mut self) -> Result<bool, Refused> {
        if let Some(child) = &mut self.child
            && !matches!(child.try_wait(), Ok(None))
        {
            (self.child, self.talk) = (None, None);
        }
        self.find()
    }

    fn answers(&mut self) -> Result<(), Refused> {
        self.wonder(&Ask::Hello).map(drop)
    }

    fn serve(&mut self, port: &str, ifindex: u32, owner: Owner) -> Result<(), Refused> {
        if !self.is_there()? {
            self.start()?;
        }
        match self.order(&Ask::Serve { port: port.to_owned(), ifindex })? {
            Answer::Wanted => self.give(port, ifindex, owner),
            _ => Ok(()),
        }
    }

    fn release(&mut self, port: &str) -> Result<(), Refused> {
        if self.is_there()? {
            self.order(&Ask::Release { port: port.to_owned() })?;
        }
        // A socket of nobody may be left, or none.
        let _ = fs::remove_file(self.socket(port));
        Ok(())
    }

    fn prepare(&mut self, generation: u32, ticks: u64) -> Result<(), Refused> {
        let monotonic_ns = crate::clock::monotonic_ns();
        self.order(&Ask::Prepare { generation, ticks, monotonic_ns }).map(drop)
    }

    fn commit(&mut self, generation: u32) -> Result<(), Refused> {
        self.order(&Ask::Commit { generation }).map(drop)
    }

    fn tell(&mut self) -> Option<Told> {
        match self.wonder(&Ask::Tell) {
            Ok(Answer::Told(mut told)) => {
                self.last = told.clone();
                told.add(&self.before);
                Some(told)
            }
            _ => None,
        }
    }

    fn events(&mut self) -> Vec<EventEntry> {
        let all = self.entries(&Ask::Events);
        all.iter().filter_map(|bytes| EventEntry::read_from_bytes(bytes).ok()).collect()
    }

    fn flows(&mut self) -> Vec<(FlowKey, FlowEntry)> {
        let all = self.entries(&Ask::Flows);
        let flow = |bytes: &Vec<u8>| {
            let (key, entry) = FlowKey::read_from_prefix(bytes).ok()?;
            Some((key, FlowEntry::read_from_bytes(entry).ok()?))
        };
        all.iter().filter_map(flow).collect()
    }

    fn socket(&self, port: &str) -> PathBuf {
        socket_of(&self.run_dir, port)
    }

    fn end(&mut self) {
        self.talk = None;
        let _ = end(&self.run_dir);
        if let Some(mut child) = self.child.take() {
            let _ = child.wait();
        }
    }
}

/// Ends the engine of the switch in `run_dir`, if there is one.
///
/// # Errors
/// It does not end.
pub fn end(run_dir: &Path) -> io::Result<()> {
    if let Some(mut talk) = Talk::with(run_dir) {
        if talk.ask(&Ask::End, &[], END_MAX).is_err() {
            // It does not listen.
            let _ = kernel::kill_process(talk.pid, kernel::Signal::KILL);
        }
        let deadline = Instant::now() + END_MAX;
        while UnixStream::connect(control_of(run_dir)).is_ok() {
            if Instant::now() > deadline {
                return Err(io::ErrorKind::TimedOut.into());
            }
            thread::sleep(LOOK);
        }
    }
    // Sockets of nobody: there may be none.
    let _ = fs::remove_file(control_of(run_dir));
    let _ = fs::remove_dir_all(sockets_of(run_dir));
    Ok(())
}
