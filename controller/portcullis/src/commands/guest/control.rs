//! Orders to a guest that runs: over a socket that its monitor serves, with open files where the
//! order needs some, since the monitor can open none.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::{
            fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
            net::{UnixListener, UnixStream},
        },
    },
    path::{Path, PathBuf},
    process,
};

use portcullis_vmm::{Running, snapshot};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{commands::Outcome, error::Error, paths::Paths};

/// What can be asked of a running guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Order {
    /// Stand still.
    Pause,
    /// Go on.
    Resume,
    /// Write what you are into these two files: state and memory.
    Save,
    /// The same, and end.
    SaveAndEnd,
}

/// What came of it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Answer {
    Done,
    Failed(String),
}

/// The socket of a running guest, until this is dropped.
pub struct Door {
    path: PathBuf,
    /// Where its monitor will listen.
    pub listener: UnixListener,
}

impl Door {
    /// Makes it. The guest does not run yet: what is there was left behind.
    pub fn new(paths: &Paths, guest: &str) -> Result<Self, Error> {
        let path = path(paths, guest);
        let made = || {
            let directory = path.parent().unwrap_or(Path::new("/"));
            DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let listener = UnixListener::bind(&path)?;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
            Ok(listener)
        };
        let listener = made().map_err(|source| file(&path, source))?;
        Ok(Self { path, listener })
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        // Taken away by somebody else: as it should be.
        let _ = fs::remove_file(&self.path);
    }
}

fn path(paths: &Paths, guest: &str) -> PathBuf {
    let safe = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' };
    paths.run_dir.join("guests").join(guest.chars().map(safe).collect::<String>() + ".sock")
}

fn file(path: &Path, source: io::Error) -> Error {
    portcullis_vmm::Error::File { path: path.into(), source }.into()
}

/// Takes orders for a guest, one after the other, until the process ends.
pub fn serve(listener: &UnixListener, guest: &Running) {
    let mut paused = false;
    while let Ok((stream, _)) = listener.accept() {
        let Ok(received) = vmm_attach::receive(&stream) else { continue };
        let Ok(order) = serde_json::from_slice(&received.note) else { continue };
        let answer = match obey(order, received.fds, guest, &mut paused) {
            Ok(()) => Answer::Done,
            Err(error) => Answer::Failed(error.to_string()),
        };
        let failed = matches!(answer, Answer::Failed(_));
        // Who does not wait for the answer gets none.
        let _ = vmm_attach::send(&stream, &[], &serde_json::to_vec(&answer).unwrap_or_default());
        if order == Order::SaveAndEnd && !failed {
            process::exit(super::ENDED);
        }
    }
}

fn obey(
    order: Order,
    files: Vec<OwnedFd>,
    guest: &Running,
    paused: &mut bool,
) -> Result<(), portcullis_vmm::Error> {
    match order {
        Order::Pause => guest.pause(),
        Order::Resume => guest.resume(),
        Order::Save | Order::SaveAndEnd => {
            let saved = save(files, guest);
            if !*paused && (order == Order::Save || saved.is_err()) {
                guest.resume();
            }
            return saved;
        }
    }
    *paused = order == Order::Pause;
    Ok(())
}

fn save(files: Vec<OwnedFd>, guest: &Running) -> Result<(), portcullis_vmm::Error> {
    let Ok([state, memory]) = <[OwnedFd; 2]>::try_from(files) else {
        let what = "a state and a memory are two files".into();
        return Err(portcullis_vmm::Error::Config { what });
    };
    guest.save_memory(&File::from(memory))?;
    guest.state()?.write(File::from(state))
}

/// Lets a guest stand still, or go on.
pub fn pause(paths: &Paths, guest: &str, pause: bool) -> Result<Outcome, Error> {
    ask(paths, guest, if pause { Order::Pause } else { Order::Resume }, &[])?;
    let (human, state) = if pause { ("stands still", "paused") } else { ("runs", "running") };
    Ok(Outcome::fine(format!("{guest} {human}\n"), json!({ "guest": guest, "state": state })))
}

/// Writes what a guest is into a new directory. `end`: it does not go on.
pub fn save_into(paths: &Paths, guest: &str, into: &Path, end: bool) -> Result<Outcome, Error> {
    let made = DirBuilder::new().mode(0o700).create(into);
    made.map_err(|source| file(into, source))?;
    let saved = fill(paths, guest, into, end);
    if saved.is_err() {
        // Half a snapshot is none; what cannot be removed was not made by this.
        let _ = fs::remove_dir_all(into);
    }
    let bytes = saved?;
    let mib = bytes.div_ceil(1 << 20);
    let after = if end { ", and it has ended" } else { "" };
    let human = format!("{guest} is in {}: {mib} MiB{after}\n", into.display());
    Ok(Outcome::fine(human, json!({ "guest": guest, "directory": into, "bytes": bytes })))
}

/// Bytes that it takes on the disk.
fn fill(paths: &Paths, guest: &str, into: &Path, end: bool) -> Result<u64, Error> {
    let create = |name: &str| {
        let path = into.join(name);
        let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        made.map_err(|source| file(&path, source))
    };
    let files = [create(snapshot::STATE)?, create(snapshot::MEMORY)?];
    let order = if end { Order::SaveAndEnd } else { Order::Save };
    ask(paths, guest, order, &files)?;
    let mut bytes = 0;
    for file in &files {
        use std::os::unix::fs::MetadataExt;
        file.sync_all().map_err(|source| self::file(into, source))?;
        bytes += 512 * file.metadata().map_err(|source| self::file(into, source))?.blocks();
    }
    Ok(bytes)
}

fn ask(paths: &Paths, guest: &str, order: Order, files: &[File]) -> Result<(), Error> {
    let failed = |source| Error::Monitor { action: "give an order to", source };
    let stream = UnixStream::connect(path(paths, guest)).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            Error::GuestDoesNotRun { guest: guest.to_owned() }
        }
        _ => failed(source),
    })?;
    let files: Vec<_> = files.iter().map(AsFd::as_fd).collect();
    let broken = |error: vmm_attach::Error| failed(io::Error::other(error));
    let order = serde_json::to_vec(&order).map_err(|error| failed(error.into()))?;
    vmm_attach::send(&stream, &files, &order).map_err(broken)?;
    let note = vmm_attach::receive(&stream).map_err(broken)?.note;
    match serde_json::from_slice(&note).map_err(|error| failed(error.into()))? {
        Answer::Done => Ok(()),
        Answer::Failed(what) => Err(failed(io::Error::other(what))),
    }
}
