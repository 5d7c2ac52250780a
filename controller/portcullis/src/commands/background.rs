//! The daemon as a process: in the foreground, or started in the background.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufRead, BufReader, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::Duration,
};

use nix::unistd;
use portcullis_store::Embedded;
use serde_json::Value;
use tokio::signal::unix::{SignalKind, signal};

use super::{Context, Outcome};
use crate::{
    api::{Info, Readiness},
    cli::UpSettings,
    daemon::{
        self, Options,
        log::log,
        run_dir::{self, setup},
    },
    dataplane::Kernel,
    error::Error,
    state::Settings,
};

/// How long a start may take: loading and verifying programs, restoring a large policy.
const START_MAX: Duration = Duration::from_secs(120);
/// A log larger than this is begun anew at the next start, bytes.
const LOG_MAX: u64 = 1 << 20;

/// Runs the daemon here and logs to standard error.
pub fn foreground(settings: &UpSettings, context: &Context) -> Result<Outcome, Error> {
    run(settings, context, |_| ())?;
    Ok(Outcome::fine("", Value::Null))
}

/// Runs the engine of vhost-user ports.
pub fn engine(context: &Context) -> Result<Outcome, Error> {
    // Away from the daemon's session: it outlives the daemon.
    let _ = unistd::setsid();
    portcullis_vhost_user::engine::run(&context.paths.run_dir).map_err(Error::Engine)?;
    Ok(Outcome::fine("", Value::Null))
}

/// Runs the daemon away from the terminal; what `up` starts.
pub fn daemon(settings: &UpSettings, context: &Context) -> Result<Outcome, Error> {
    // Fails only for the leader of a process group, which then has its own session or a shell
    // that wants it in this one.
    let _ = unistd::setsid();
    // No directory is kept busy.
    let _ = unistd::chdir("/");
    let outcome = run(settings, context, |info| say(&Readiness::Ready(info.clone())));
    match outcome {
        Ok(()) => Ok(Outcome::fine("", Value::Null)),
        Err(error) => {
            log(&error);
            say(&Readiness::Failed(error.to_failure()));
            Err(error)
        }
    }
}

fn run(settings: &UpSettings, context: &Context, ready: impl FnOnce(&Info)) -> Result<(), Error> {
    let settings = Settings { flows: settings.flows, group: settings.group.clone() };
    let store = context.paths.store();
    let options = Options::new(context.paths.clone(), settings);
    daemon::run(options, Kernel, || Embedded::open(store), ready, asked_to_stop()).map(drop)
}

/// SIGTERM, SIGINT or SIGHUP.
async fn asked_to_stop() {
    let kinds = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()];
    let [Ok(mut terminate), Ok(mut interrupt), Ok(mut hangup)] = kinds.map(signal) else {
        log("signals cannot be caught; the daemon ends without saying so");
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        _ = hangup.recv() => {}
    }
}

/// Tells the waiting `up`, and lets go of its pipe.
fn say(readiness: &Readiness) {
    let line = serde_json::to_string(readiness).unwrap_or_default() + "\n";
    let _ = io::stdout().lock().write_all(line.as_bytes());
    if let Ok(null) = OpenOptions::new().write(true).open("/dev/null") {
        let _ = unistd::dup2_stdout(&null);
    }
}

/// Starts the daemon in the background and waits until it is ready.
///
/// # Errors
/// What the daemon says, or that it says nothing.
pub fn start(settings: &UpSettings, context: &Context) -> Result<Info, Error> {
    run_dir::make(&context.paths.run_dir)?;
    let log_path = context.paths.log();
    let log = open_log(&log_path).map_err(setup("open", &log_path))?;
    let program = std::env::current_exe().map_err(setup("find", Path::new("/proc/self/exe")))?;
    let mut command = Command::new(&program);
    command.arg("daemon").arg("--detached");
    command.arg("--run-dir").arg(&context.paths.run_dir);
    command.arg("--state-dir").arg(&context.paths.state_dir);
    if let Some(flows) = settings.flows {
        command.arg("--flows").arg(flows.to_string());
    }
    if let Some(group) = &settings.group {
        command.arg("--group").arg(group);
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
    let child = command.spawn().map_err(setup("start", &program))?;
    await_ready(child, &log_path)
}

fn await_ready(mut child: Child, log: &Path) -> Result<Info, Error> {
    let line = first_line(&mut child);
    match line.recv_timeout(START_MAX) {
        Ok(line) => match serde_json::from_str(&line) {
            Ok(Readiness::Ready(info)) => Ok(info),
            Ok(Readiness::Failed(failure)) => {
                let _ = child.wait();
                Err(Error::Failed(failure))
            }
            Err(_) => {
                let _ = child.wait();
                Err(Error::Died { log: log.to_owned() })
            }
        },
        Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
            let _ = child.kill();
            let _ = child.wait();
            Err(Error::NotReady { seconds: START_MAX.as_secs(), log: log.to_owned() })
        }
    }
}

/// The first line that a child prints, empty if it ends before.
fn first_line(child: &mut Child) -> mpsc::Receiver<String> {
    let (send, receive) = mpsc::channel();
    if let Some(out) = child.stdout.take() {
        thread::spawn(move || {
            let mut line = String::new();
            let _ = BufReader::new(out).read_line(&mut line);
            let _ = send.send(line);
        });
    }
    receive
}

fn open_log(path: &Path) -> io::Result<File> {
    if fs::metadata(path).is_ok_and(|meta| meta.len() > LOG_MAX) {
        fs::remove_file(path)?;
    }
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}
