//! The socket of a port, and the thread that waits there for front ends: one after the other.

use std::{
    fs, io,
    net::Shutdown,
    os::unix::{
        fs::PermissionsExt,
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    thread::{self, JoinHandle},
};

use rustix::net;

use crate::session::{self, Post};

/// Who may connect: the owner, and the group that it was given to.
const MODE: u32 = 0o660;

/// A socket at which a port is served.
pub struct Door {
    path: PathBuf,
    listener: Arc<UnixListener>,
    guest: Arc<Mutex<Option<UnixStream>>>,
    thread: JoinHandle<()>,
}

impl Door {
    /// Opens it.
    pub fn open(path: &Path, post: Post) -> io::Result<Self> {
        let listener = Arc::new(bind(path)?);
        let guest = Arc::new(Mutex::new(None));
        let (door, inside) = (Arc::clone(&listener), Arc::clone(&guest));
        let name = format!("port-{}", post.ifindex);
        let thread = thread::Builder::new().name(name).spawn(move || {
            while let Ok((stream, _)) = door.accept() {
                let Ok(copy) = stream.try_clone() else { continue };
                *inside.lock().unwrap_or_else(PoisonError::into_inner) = Some(copy);
                session::serve(stream, &post);
                *inside.lock().unwrap_or_else(PoisonError::into_inner) = None;
            }
        })?;
        Ok(Self { path: path.to_owned(), listener, guest, thread })
    }

    /// Closes it, also to whoever is inside.
    pub fn close(self) {
        let _ = fs::remove_file(&self.path);
        // Wakes whoever waits in `accept`.
        let _ = net::shutdown(&*self.listener, net::Shutdown::Both);
        if let Some(guest) = &*self.guest.lock().unwrap_or_else(PoisonError::into_inner) {
            let _ = guest.shutdown(Shutdown::Both);
        }
        let _ = self.thread.join();
    }
}

/// Listens at a path where nobody does; a socket that somebody left there is removed.
pub fn bind(path: &Path) -> io::Result<UnixListener> {
    if UnixStream::connect(path).is_ok() {
        return Err(io::ErrorKind::AddrInUse.into());
    }
    match fs::symlink_metadata(path) {
        Ok(found) if !std::os::unix::fs::FileTypeExt::is_socket(&found.file_type()) => {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        Ok(_) => fs::remove_file(path)?,
        Err(_) => {}
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(MODE))?;
    Ok(listener)
}
