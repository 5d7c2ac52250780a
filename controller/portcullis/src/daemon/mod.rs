//! The daemon: one actor that owns the switch, one socket in front of it.

pub mod access;
pub mod actor;
pub mod admission;
mod change;
pub mod clock;
pub mod cuts;
pub mod failure;
pub mod journal;
mod lapse;
pub mod ledger;
pub mod log;
mod orders;
pub mod ready;
pub mod report;
pub mod run_dir;
pub mod server;
mod strangers;
pub mod trial;
mod upkeep;
mod usage;
mod waiting;

use std::{future::Future, sync::mpsc, thread, time::Duration};

use nix::unistd::Gid;
use portcullis_store::Store;
use portcullis_switch::Config;
use tokio::sync::oneshot;

use self::{
    access::Access,
    actor::{Actor, Ended, Message, Pace},
    log::log,
    run_dir::RunDir,
    server::{Patience, QUEUE, Server},
};
use crate::{
    api::{Failure, Info, Started, code},
    client,
    dataplane::Launcher,
    error::Error,
    paths::Paths,
    state::{Settings, State},
};

/// Connections that the flow table holds, unless it is told otherwise.
pub const FLOWS: u32 = 262_144;

/// How long a daemon that was killed may take to be dead.
pub const LOCK_WAIT: Duration = Duration::from_secs(10);

/// How to run a daemon.
#[derive(Clone, Debug)]
pub struct Options {
    /// Its directories.
    pub paths: Paths,
    /// What the user asked for; the rest comes from the state of before.
    pub settings: Settings,
    /// How often it looks after things by itself.
    pub pace: Pace,
    /// How long clients may take.
    pub patience: Patience,
    /// How long to wait for the daemon of before to be dead.
    pub lock_wait: Duration,
}

impl Options {
    /// A daemon with the usual habits.
    pub fn new(paths: Paths, settings: Settings) -> Self {
        let (pace, patience) = (Pace::default(), Patience::default());
        Self { paths, settings, pace, patience, lock_wait: LOCK_WAIT }
    }
}

/// Runs a daemon until `stop` is ready, or somebody asks it to remove everything.
///
/// `ready` is called once, when the socket can be connected to.
///
/// # Errors
/// It cannot start. Whatever was in force before is still in force.
pub fn run<L: Launcher, S: Store + 'static>(
    options: Options,
    launcher: L,
    open_store: impl FnOnce() -> Result<S, portcullis_store::Error>,
    ready: impl FnOnce(&Info),
    stop: impl Future<Output = ()>,
) -> Result<Ended, Error> {
    let socket = options.paths.socket();
    if !client::fits_socket(&socket) {
        let source = std::io::Error::new(
            std::io::ErrorKind::InvalidInput,
            format!("the path is longer than {} bytes", client::SOCKET_PATH_MAX),
        );
        return Err(Error::Setup { action: "listen at", path: socket, source });
    }
    let run_dir = RunDir::hold(&options.paths, options.lock_wait)?;
    let mut state = State::new(open_store()?);
    let settings = settle(&mut state, &options.settings)?;
    let group = settings.group.as_deref().map(run_dir::group).transpose()?;
    if let Some(group) = group {
        run_dir.admit(group)?;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(setup("start the runtime of"))?;
    let Running { thread, queue, started, ended } =
        employ(launcher, state, &options, &settings, group)?;
    let outcome = runtime.block_on(async {
        let info = started.await.unwrap_or_else(|_| Err(actor_died()))?;
        let access = Access::new(group);
        let server = Server::bind(&socket, access, options.patience, queue.clone())?;
        ready(&info);
        log(format!("ready, generation {}", info.start.generation));
        wait(&server, queue, ended, stop).await
    });
    // A policy that is being compiled for nobody is not waited for.
    runtime.shutdown_background();
    if thread.join().is_err() {
        return Err(actor_died());
    }
    let ended = outcome?;
    match ended {
        Ended::Removed => run_dir.remove()?,
        Ended::Stopped => drop(std::fs::remove_file(&socket)),
    }
    Ok(ended)
}

/// The actor on its thread.
struct Running {
    thread: thread::JoinHandle<()>,
    queue: mpsc::SyncSender<Message>,
    started: oneshot::Receiver<Result<Info, Error>>,
    ended: oneshot::Receiver<Ended>,
}

/// Starts the actor on a thread of its own.
fn employ<L: Launcher, S: Store + 'static>(
    launcher: L,
    state: State<S>,
    options: &Options,
    settings: &Settings,
    group: Option<Gid>,
) -> Result<Running, Error> {
    let info = info(&options.paths, settings);
    let config = Config {
        run_dir: options.paths.run_dir.clone(),
        flows: info.flows,
        instance: options.paths.instance(),
        group: group.map(Gid::as_raw),
    };
    let (queue, orders) = mpsc::sync_channel(QUEUE);
    let pace = options.pace;
    let (start, started) = oneshot::channel();
    let (end, ended) = oneshot::channel();
    let thread =
        thread::Builder::new().name("switch".to_owned()).spawn(move || {
            match Actor::start(launcher, config, state, info, pace) {
                Ok(actor) => {
                    let _ = start.send(Ok(actor.info().clone()));
                    let _ = end.send(actor.run(&orders));
                }
                Err(error) => drop(start.send(Err(error))),
            }
        });
    Ok(Running { thread: thread.map_err(setup("start a thread of"))?, queue, started, ended })
}

fn setup(action: &'static str) -> impl FnOnce(std::io::Error) -> Error {
    move |source| Error::Setup { action, path: "the daemon".into(), source }
}

async fn wait(
    server: &Server,
    queue: mpsc::SyncSender<Message>,
    mut ended: oneshot::Receiver<Ended>,
    stop: impl Future<Output = ()>,
) -> Result<Ended, Error> {
    tokio::pin!(stop);
    tokio::select! {
        () = server.serve() => {}
        end = &mut ended => {
            server.drain().await;
            return end.map_err(|_| actor_died());
        }
        () = &mut stop => log("stopping, the filters stay in force"),
    }
    // A full queue has orders that the actor finishes first.
    let ask = move || drop(queue.send(Message::Stop));
    drop(tokio::task::spawn_blocking(ask).await);
    let end = ended.await.map_err(|_| actor_died());
    server.drain().await;
    end
}

/// What was asked for, and otherwise what was asked for last time.
fn settle<S: Store>(state: &mut State<S>, asked: &Settings) -> Result<Settings, Error> {
    let before = state.settings()?;
    let settings = Settings {
        flows: asked.flows.or(before.flows),
        group: asked.group.clone().or_else(|| before.group.clone()),
    };
    if settings != before {
        state.set_settings(&settings)?;
    }
    Ok(settings)
}

fn info(paths: &Paths, settings: &Settings) -> Info {
    Info {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        run_dir: paths.run_dir.clone(),
        state_dir: paths.state_dir.clone(),
        flows: settings.flows.unwrap_or(FLOWS),
        group: settings.group.clone(),
        start: Started::default(),
    }
}

fn actor_died() -> Error {
    let failure = Failure::new(code::SWITCH, "the thread that owns the switch died");
    Error::Failed(
        failure.hint("this is a bug; the filters stay in force, start again with: portcullis up"),
    )
}
