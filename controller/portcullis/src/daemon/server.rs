//! The socket: who may connect, what a message is, how long anybody may take. A client that
//! breaks any of it loses its connection, and nobody else notices.

use std::{
    io,
    os::unix::fs::PermissionsExt,
    path::Path,
    sync::{
        Arc, Mutex,
        mpsc::{SyncSender, TrySendError},
    },
    time::Duration,
};

use portcullis_policy::{Compiler, Moment};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixListener, UnixStream},
    sync::{Semaphore, oneshot},
    time::timeout,
};

use super::{
    access::Access,
    actor::{Candidate, Job, Message, Order, Preview},
    log::{log, unix_seconds},
    ready::{self, Ready},
};
use crate::{
    api::{Failure, Refused, Request, Response, SourceFile, code},
    error::Error,
    policy,
    state::AppliedPolicy,
    wire::{self, WireError},
};

/// Clients at one time; more are told to come back.
pub const CLIENTS: usize = 64;
/// Orders that wait for the actor at one time.
pub const QUEUE: usize = 64;
/// Bytes that are read at a time: a length is only a promise, memory is not given for it.
const STEP: usize = 64 << 10;

/// How long a client may take.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// For a message, from its first byte to its last, and to take an answer.
    pub message: Duration,
    /// Between messages.
    pub idle: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { message: Duration::from_secs(30), idle: Duration::from_secs(60) }
    }
}

/// The serving end of the socket.
pub struct Server {
    listener: UnixListener,
    shared: Arc<Shared>,
}

struct Shared {
    access: Access,
    patience: Patience,
    queue: SyncSender<Message>,
    clients: Arc<Semaphore>,
    /// Those whose answer is under way; never more than [`CLIENTS`].
    answering: Semaphore,
    /// Compiling takes memory and a processor: one policy at a time.
    compiling: Semaphore,
    /// Knows the policy that was asked for last: the next one is often like it.
    compiler: Arc<Mutex<Compiler>>,
}

impl Server {
    /// Listens at a path; the run directory's lock is held, so what stands there is stale.
    ///
    /// # Errors
    /// [`Error::Setup`]
    pub fn bind(
        socket: &Path,
        access: Access,
        patience: Patience,
        queue: SyncSender<Message>,
    ) -> Result<Self, Error> {
        let listener = bind(socket, access).map_err(|source| Error::Setup {
            action: "listen at",
            path: socket.to_owned(),
            source,
        })?;
        let clients = Arc::new(Semaphore::new(CLIENTS));
        let shared = Arc::new(Shared {
            access,
            patience,
            queue,
            clients,
            answering: Semaphore::new(CLIENTS),
            compiling: Semaphore::new(1),
            compiler: Arc::default(),
        });
        Ok(Self { listener, shared })
    }

    /// Serves until it is dropped.
    pub async fn serve(&self) {
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    tokio::spawn(serve(stream, Arc::clone(&self.shared)));
                }
                Err(error) => {
                    // Out of file descriptors: others need the processor to give some back.
                    log(format!("cannot accept a client: {error}"));
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    /// Waits until the answers under way are sent, for a second at most.
    pub async fn drain(&self) {
        let all = self.shared.answering.acquire_many(CLIENTS as u32);
        let _ = timeout(Duration::from_secs(1), all).await;
    }
}

fn bind(socket: &Path, access: Access) -> io::Result<UnixListener> {
    match std::fs::remove_file(socket) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(socket)?;
    if let Some(group) = access.group() {
        std::os::unix::fs::chown(socket, None, Some(group.as_raw()))?;
    }
    let mode = if access.group().is_some() { 0o660 } else { 0o600 };
    std::fs::set_permissions(socket, PermissionsExt::from_mode(mode))?;
    Ok(listener)
}

async fn serve(mut stream: UnixStream, shared: Arc<Shared>) {
    let Ok(peer) = stream.peer_cred() else { return };
    if !shared.access.admits(peer.uid(), peer.gid()) {
        log(format!("refused a client of user {}", peer.uid()));
        let failure = Failure::new(code::DENIED, "not permitted to talk to this daemon")
            .hint("run as root, or start the daemon with --group and join that group");
        return send(&mut stream, &Response::Failed(failure), shared.patience).await.unwrap_or(());
    }
    let Ok(_permit) = Arc::clone(&shared.clients).try_acquire_owned() else {
        let failure =
            Failure::new(code::BUSY, format!("the daemon serves {CLIENTS} clients already"))
                .hint("try again in a moment");
        return send(&mut stream, &Response::Failed(failure), shared.patience).await.unwrap_or(());
    };
    while let Some(bytes) = receive(&mut stream, shared.patience).await {
        let Ok(_answering) = shared.answering.acquire().await else { return };
        let (response, go_on) = match bytes.and_then(|bytes| wire::decode(&bytes)) {
            Ok(request) => (answer(request, &shared).await, true),
            Err(error) => (Response::Failed(not_understood(&error)), false),
        };
        if send(&mut stream, &response, shared.patience).await.is_err() || !go_on {
            return;
        }
    }
}

/// The bytes of the next message; `None` if the client is gone, or too slow.
async fn receive(
    stream: &mut UnixStream,
    patience: Patience,
) -> Option<Result<Vec<u8>, WireError>> {
    let mut header = [0; wire::HEADER];
    timeout(patience.idle, stream.read_exact(&mut header[..1])).await.ok()?.ok()?;
    let rest = async {
        stream.read_exact(&mut header[1..]).await.ok()?;
        match wire::length(header) {
            Ok(length) => body(stream, length).await.map(Ok),
            Err(error) => Some(Err(error)),
        }
    };
    timeout(patience.message, rest).await.ok()?
}

async fn body(stream: &mut UnixStream, length: usize) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    while bytes.len() < length {
        let at = bytes.len();
        bytes.resize(length.min(at + STEP), 0);
        stream.read_exact(&mut bytes[at..]).await.ok()?;
    }
    Some(bytes)
}

async fn send(stream: &mut UnixStream, response: &Response, patience: Patience) -> io::Result<()> {
    let bytes = wire::encode(response).or_else(|error| {
        wire::encode(&Response::Failed(Failure::new(code::PROTOCOL, error.to_string())))
    });
    let bytes = bytes.map_err(io::Error::other)?;
    timeout(patience.message, stream.write_all(&bytes)).await?
}

fn not_understood(error: &WireError) -> Failure {
    match error {
        WireError::Protocol { .. } => Failure::new(code::PROTOCOL, error.to_string()).hint(
            "command and daemon are of different versions; restart the daemon: its filters stay in \
             force",
        ),
        WireError::TooLong { .. } | WireError::Syntax { .. } => {
            Failure::new(code::BAD_REQUEST, error.to_string())
        }
    }
}

async fn answer(request: Request, shared: &Arc<Shared>) -> Response {
    let order = match request {
        Request::Info => Order::Info,
        Request::Status => Order::Status,
        Request::Policy => Order::Policy,
        Request::Attach { port } => Order::Attach(port),
        Request::Detach { name } => Order::Detach(name),
        Request::Down => Order::Down,
        Request::Events(query) => Order::Events(query),
        Request::Difference { sources, color } => match preview(sources, color, shared).await {
            Ok(preview) => Order::Preview(Box::new(preview)),
            Err(response) => return response,
        },
        Request::Usage => Order::Usage,
        Request::Confirm => Order::Confirm,
        Request::Rollback => Order::Rollback,
        Request::Apply { sources, color, confirm_s } => {
            match candidate(sources, color, confirm_s, shared).await {
                Ok(candidate) => Order::Apply(Box::new(candidate)),
                Err(response) => return response,
            }
        }
    };
    let done = ask(shared, |reply| Message::Job(Job { order, reply })).await;
    done.unwrap_or_else(|response| response)
}

/// Has the actor answer.
async fn ask<T>(
    shared: &Shared,
    message: impl FnOnce(oneshot::Sender<T>) -> Message,
) -> Result<T, Response> {
    let (reply, answer) = oneshot::channel();
    match shared.queue.try_send(message(reply)) {
        Ok(()) => answer.await.map_err(|_| ending()),
        Err(TrySendError::Full(_)) => Err(Response::Failed(
            Failure::new(code::BUSY, format!("{QUEUE} requests are waiting already"))
                .hint("try again in a moment"),
        )),
        Err(TrySendError::Disconnected(_)) => Err(ending()),
    }
}

fn ending() -> Response {
    Response::Failed(Failure::new(code::ENDING, "the daemon is ending; its filters stay in force"))
}

/// The policy to apply, compiled for this moment.
async fn candidate(
    sources: Vec<SourceFile>,
    color: bool,
    confirm_s: Option<u32>,
    shared: &Arc<Shared>,
) -> Result<Candidate, Response> {
    if confirm_s == Some(0) {
        let failure = Failure::new(code::BAD_REQUEST, "nobody can confirm within no time");
        return Err(Response::Failed(failure.hint("give at least a second: --confirm 60s")));
    }
    let moment = moment(ask(shared, Message::Known).await?.as_deref());
    let compiler = Arc::clone(&shared.compiler);
    let compiled = compiling(shared, move || {
        let ready = with(&compiler, |c| Ready::compile_again(c, &sources, &moment, color))?;
        Ok((sources, ready))
    });
    let (sources, ready) = compiled.await?;
    let confirm = confirm_s.map(|s| Duration::from_secs(s.into()));
    Ok(Candidate { sources, ready, confirm })
}

/// Uses the compiler. One that failed in the middle of a policy forgets everything.
fn with<T>(compiler: &Mutex<Compiler>, compile: impl FnOnce(&mut Compiler) -> T) -> T {
    let mut compiler = compiler.lock().unwrap_or_else(|failed| {
        compiler.clear_poison();
        let mut compiler = failed.into_inner();
        *compiler = Compiler::new();
        compiler
    });
    compile(&mut compiler)
}

/// A policy, compiled for this moment and compared with the one in force.
async fn preview(
    sources: Vec<SourceFile>,
    color: bool,
    shared: &Arc<Shared>,
) -> Result<Preview, Response> {
    let from = ask(shared, Message::Known).await?;
    let moment = moment(from.as_deref());
    compiling(shared, move || {
        let before = from.as_ref().map_or_else(nothing, |policy| policy.sources.clone());
        let old = portcullis_policy::compile_unproved_at(&policy::texts(&before), &moment);
        let old = old.map_err(|diagnostics| ready::refused(&diagnostics, color))?;
        let new = ready::check(&sources, &moment, color)?;
        let difference = portcullis_policy::diff(&old, &new);
        // Plain data with string keys always has a JSON form.
        let changes = serde_json::to_value(&difference).unwrap_or_default();
        let rendered = if difference.is_empty() { String::new() } else { difference.render() };
        Ok(Preview { ready: Ready::new(&new, &moment, color), from, rendered, changes })
    })
    .await
}

/// A policy that allows nothing.
fn nothing() -> Vec<SourceFile> {
    vec![SourceFile { name: "(nothing)".into(), text: "networks: {}\n".into() }]
}

/// Now, with what the policy in force remembers.
fn moment(in_force: Option<&AppliedPolicy>) -> Moment {
    let since_unix_s = in_force.map_or_else(Default::default, |p| p.since_unix_s.clone());
    Moment { now_unix_s: unix_seconds(), since_unix_s }
}

/// Compiles off the thread that serves the others, one policy at a time.
async fn compiling<T: Send + 'static>(
    shared: &Shared,
    compile: impl FnOnce() -> Result<T, Refused> + Send + 'static,
) -> Result<T, Response> {
    let _turn = shared.compiling.acquire().await.map_err(|_| ending())?;
    match tokio::task::spawn_blocking(compile).await {
        Ok(compiled) => compiled.map_err(Response::Refused),
        Err(panic) => {
            log(format!("the compiler failed: {panic}"));
            let failure = Failure::new(code::BAD_REQUEST, "the compiler failed on this policy");
            Err(Response::Failed(failure.hint("this is a bug; nothing was changed")))
        }
    }
}
