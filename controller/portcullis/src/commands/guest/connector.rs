//! Connections to vhost-user ports for a monitor that can open nothing itself: it asks for one by a
//! byte over a socket pair, and whoever started it answers with the connection, or with why not.

use std::{
    io::{self, Read},
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixStream,
    },
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use portcullis_vmm::config::Connect;

/// How long the other side of a vhost-user connection may think about an answer.
const ANSWER: Duration = Duration::from_secs(10);

/// The monitor's end.
pub struct Connector(UnixStream);

impl Connector {
    /// One whose other end is [served](serve).
    pub fn new(end: OwnedFd) -> Self {
        Self(end.into())
    }
}

impl Connect for Connector {
    fn connect(&self) -> io::Result<UnixStream> {
        // Calls that a monitor may make (`portcullis_vmm::sandbox`).
        vmm_attach::send(&self.0, &[], &[0]).map_err(io::Error::other)?;
        let mut answer = vmm_attach::receive(&self.0).map_err(io::Error::other)?;
        let why = || io::Error::other(String::from_utf8_lossy(&answer.note).into_owned());
        answer.fds.pop().map(UnixStream::from).ok_or_else(why)
    }
}

/// An end for a monitor that is yet to be started; the other one is served until nobody has it.
pub fn to(socket: PathBuf) -> io::Result<OwnedFd> {
    let (theirs, own) = UnixStream::pair()?;
    thread::spawn(move || serve(own, &socket));
    Ok(theirs.into())
}

fn serve(mut monitor: UnixStream, socket: &Path) {
    while monitor.read_exact(&mut [0]).is_ok() {
        let sent = match connect(socket) {
            Ok(stream) => vmm_attach::send(&monitor, &[stream.as_fd()], &[0]),
            Err(error) => {
                let why = format!("{}: {error}", socket.display());
                vmm_attach::send(&monitor, &[], why.as_bytes())
            }
        };
        if sent.is_err() {
            break;
        }
    }
}

fn connect(socket: &Path) -> io::Result<UnixStream> {
    let stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(ANSWER))?;
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use std::{io::Write, os::unix::net::UnixListener};

    use super::*;

    #[test]
    fn a_connection_is_made_by_somebody_else() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("port.sock");
        let connector = Connector::new(to(socket.clone()).unwrap());
        let error = connector.connect().unwrap_err();
        assert!(error.to_string().contains("port.sock"), "{error}");
        // It may be asked again, also after one was made.
        for _ in 0..2 {
            let listener = UnixListener::bind(&socket).unwrap();
            let mut stream = connector.connect().unwrap();
            stream.write_all(b"hello").unwrap();
            drop(stream);
            let mut heard = String::new();
            listener.accept().unwrap().0.read_to_string(&mut heard).unwrap();
            assert_eq!(heard, "hello");
            std::fs::remove_file(&socket).unwrap();
        }
    }
}
