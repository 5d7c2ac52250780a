//! The command line's end of the socket.

use std::{
    io::{self, Read, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use crate::{
    api::{Info, Request, Response},
    error::Error,
    paths::Paths,
    wire,
};

/// How long a daemon may be silent in the middle of a message. (Before its answer it may take
/// its time: a large policy is compiled for seconds.)
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// How long a dying daemon's socket may linger.
const DEATH_MAX: Duration = Duration::from_secs(10);

/// A connection to the daemon.
#[derive(Debug)]
pub struct Client {
    socket: PathBuf,
    stream: UnixStream,
}

impl Client {
    /// Connects.
    ///
    /// # Errors
    /// [`Error::NoDaemon`], [`Error::SocketDenied`] or [`Error::Socket`].
    pub fn connect(paths: &Paths) -> Result<Self, Error> {
        let socket = paths.socket();
        let stream = UnixStream::connect(&socket).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                Error::NoDaemon { run_dir: paths.run_dir.clone() }
            }
            io::ErrorKind::PermissionDenied => Error::SocketDenied { socket: socket.clone() },
            _ => Error::Socket { socket: socket.clone(), source },
        })?;
        stream
            .set_write_timeout(Some(PAUSE_MAX))
            .map_err(|source| Error::Socket { socket: socket.clone(), source })?;
        Ok(Self { socket, stream })
    }

    /// Asks, and waits for the answer.
    ///
    /// # Errors
    /// [`Error::Failed`] with what the daemon says, or that it cannot be talked to.
    pub fn ask(&mut self, request: &Request) -> Result<Response, Error> {
        let bytes = wire::encode(request)?;
        // A daemon that refuses this client may have answered and closed already: its answer
        // says more than the failed write.
        let sent = self.stream.write_all(&bytes);
        let answer = self.receive();
        match (sent, answer) {
            (Err(source), Err(_)) => Err(self.error(source)),
            (_, Ok(Response::Failed(failure))) => Err(Error::Failed(failure)),
            (_, answer) => answer,
        }
    }

    /// Who is there?
    ///
    /// # Errors
    /// Those of [`Client::ask`].
    pub fn info(&mut self) -> Result<Info, Error> {
        match self.ask(&Request::Info)? {
            Response::Info(info) => Ok(info),
            _ => Err(Error::WrongAnswer),
        }
    }

    fn receive(&mut self) -> Result<Response, Error> {
        let mut header = [0; wire::HEADER];
        self.read_exact(&mut header[..1], None)?;
        self.read_exact(&mut header[1..], Some(PAUSE_MAX))?;
        let mut bytes = vec![0; wire::length(header)?];
        self.read_exact(&mut bytes, Some(PAUSE_MAX))?;
        Ok(wire::decode(&bytes)?)
    }

    fn read_exact(&mut self, bytes: &mut [u8], pause: Option<Duration>) -> Result<(), Error> {
        let read = self.stream.set_read_timeout(pause).and_then(|()| self.stream.read_exact(bytes));
        read.map_err(|source| self.error(source))
    }

    fn error(&self, source: io::Error) -> Error {
        Error::Socket { socket: self.socket.clone(), source }
    }
}

/// Asks one question.
///
/// # Errors
/// Those of [`Client::connect`] and [`Client::ask`].
pub fn ask(paths: &Paths, request: &Request) -> Result<Response, Error> {
    let answer = Client::connect(paths).and_then(|mut client| client.ask(request));
    match answer {
        Err(error @ Error::Socket { .. }) => Err(gone_or(paths, error)),
        answer => answer,
    }
}

/// A daemon that was killed takes a moment to die: until then its socket accepts, and resets.
fn gone_or(paths: &Paths, error: Error) -> Error {
    let end = Instant::now() + DEATH_MAX;
    while Instant::now() < end {
        if let Err(gone @ Error::NoDaemon { .. }) = Client::connect(paths) {
            return gone;
        }
        thread::sleep(Duration::from_millis(20));
    }
    error
}

/// Is a daemon there? `None` if nobody listens.
///
/// # Errors
/// Somebody listens, but cannot be talked to.
pub fn info(paths: &Paths) -> Result<Option<Info>, Error> {
    match ask(paths, &Request::Info) {
        Ok(Response::Info(info)) => Ok(Some(info)),
        Ok(_) => Err(Error::WrongAnswer),
        Err(Error::NoDaemon { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The longest path that a Unix socket can have, bytes (`sun_path` without its end mark).
pub const SOCKET_PATH_MAX: usize = 107;

/// Is the path short enough for a socket?
pub fn fits_socket(path: &Path) -> bool {
    path.as_os_str().len() <= SOCKET_PATH_MAX
}
