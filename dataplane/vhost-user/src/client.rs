//! The switch's way to the engine: starts it, finds one that runs, gives it orders.

use std::{
    fs::{self, OpenOptions},
    io,
    os::unix::{fs::OpenOptionsExt, net::UnixStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use portcullis_pipeline::layout::{EventEntry, FlowEntry, FlowKey};
use portcullis_switch::peer::{Peer, Refused, Told};
use rustix::{net::sockopt::socket_peercred, process as kernel};
use zerocopy::FromBytes;

use crate::message::{Answer, Ask, LANGUAGE, Line};

/// How long the engine may take for an order.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long it may take to start, and to end.
const START_MAX: Duration = Duration::from_secs(20);
/// How often somebody looks meanwhile.
const LOOK: Duration = Duration::from_millis(5);
/// A log larger than this is begun anew at the next start, bytes.
const LOG_MAX: u64 = 1 << 20;

/// The socket at which the engine takes orders.
pub fn control_of(run_dir: &Path) -> PathBuf {
    run_dir.join("engine.sock")
}

/// The socket of a port.
pub fn socket_of(run_dir: &Path, port: &str) -> PathBuf {
    run_dir.join("vhost").join(format!("{port}.sock"))
}

/// An engine of one switch, if there is one.
pub struct Client {
    run_dir: PathBuf,
    /// The program that is the engine, and its arguments.
    program: PathBuf,
    arguments: Vec<String>,
    line: Option<Line>,
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
            line: None,
            child: None,
            last: Told::default(),
            before: Told::default(),
        }
    }

    /// Connects to an engine that runs. One of another language is ended.
    fn find(&mut self) -> bool {
        if self.line.is_some() {
            return true;
        }
        let Ok(stream) = UnixStream::connect(control_of(&self.run_dir)) else { return false };
        let _ = stream.set_read_timeout(Some(PATIENCE));
        let _ = stream.set_write_timeout(Some(PATIENCE));
        self.line = Some(Line::new(stream));
        if matches!(self.ask(&Ask::Hello), Ok(Answer::Hello { language: LANGUAGE })) {
            return true;
        }
        self.line = None;
        let _ = end(&self.run_dir);
        false
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
        while !self.find() {
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

    /// Asks the engine that we are connected to; after an error we are not any more.
    fn ask(&mut self, ask: &Ask) -> Result<Answer, Refused> {
        let Some(line) = &mut self.line else { return Err(Refused::Gone) };
        let heard = line.say(ask).and_then(|()| line.hear::<Answer>());
        match heard {
            Ok(Some(Answer::Failed { reason })) => Err(Refused::Said { reason }),
            Ok(Some(answer)) => Ok(answer),
            Ok(None) => {
                self.line = None;
                Err(Refused::Gone)
            }
            Err(source) => {
                self.line = None;
                Err(match source.kind() {
                    io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => Refused::Gone,
                    _ => Refused::Silent { source },
                })
            }
        }
    }

    fn order(&mut self, ask: &Ask) -> Result<(), Refused> {
        self.ask(ask).map(drop)
    }

    fn entries(&mut self, ask: &Ask) -> Vec<Vec<u8>> {
        match self.ask(ask) {
            Ok(Answer::Entries { entries }) => entries,
            _ => Vec::new(),
        }
    }
}

impl Peer for Client {
    fn is_there(&mut self) -> bool {
        if let Some(child) = &mut self.child
            && !matches!(child.try_wait(), Ok(None))
        {
            (self.child, self.line) = (None, None);
        }
        self.find()
    }

    fn serve(&mut self, port: &str, ifindex: u32) -> Result<(), Refused> {
        if !self.is_there() {
            self.start()?;
        }
        let socket = self.socket(port);
        if let Some(folder) = socket.parent() {
            let made = fs::create_dir_all(folder);
            made.map_err(|source| Refused::Start {
                action: "make the sockets' folder of",
                source,
            })?;
        }
        self.order(&Ask::Serve { port: port.to_owned(), ifindex, socket })
    }

    fn release(&mut self, port: &str) -> Result<(), Refused> {
        match self.is_there() {
            true => self.order(&Ask::Release { port: port.to_owned() }),
            false => Ok(()),
        }
    }

    fn prepare(&mut self, generation: u32, ticks: u64) -> Result<(), Refused> {
        let monotonic_ns = crate::clock::monotonic_ns();
        self.order(&Ask::Prepare { generation, ticks, monotonic_ns })
    }

    fn commit(&mut self, generation: u32) -> Result<(), Refused> {
        self.order(&Ask::Commit { generation })
    }

    fn tell(&mut self) -> Option<Told> {
        match self.ask(&Ask::Tell) {
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
        self.line = None;
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
    let Ok(stream) = UnixStream::connect(control_of(run_dir)) else { return Ok(()) };
    let pid = socket_peercred(&stream)?.pid;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut line = Line::new(stream);
    let asked = line.say(&Ask::End).and_then(|()| line.hear::<Answer>());
    if asked.is_err() {
        // It does not listen.
        let _ = kernel::kill_process(pid, kernel::Signal::KILL);
    }
    let deadline = Instant::now() + START_MAX;
    while UnixStream::connect(control_of(run_dir)).is_ok() {
        if Instant::now() > deadline {
            return Err(io::ErrorKind::TimedOut.into());
        }
        thread::sleep(LOOK);
    }
    Ok(())
}
