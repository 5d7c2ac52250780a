//! The socket of a port, and the thread that waits there for front ends: one after the other.

use std::{
    io,
    net::Shutdown,
    os::unix::net::{UnixListener, UnixStream},
    sync::{Arc, Mutex, PoisonError},
    thread::{self, JoinHandle},
};

use rustix::net;

use crate::session::{self, Post};

/// A socket at which a port is served.
pub struct Door {
    listener: Arc<UnixListener>,
    guest: Arc<Mutex<Option<UnixStream>>>,
    thread: JoinHandle<()>,
}

impl Door {
    /// Opens it.
    pub fn open(listener: UnixListener, post: Post) -> io::Result<Self> {
        let listener = Arc::new(listener);
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
        Ok(Self { listener, guest, thread })
    }

    /// Closes it, also to whoever is inside.
    pub fn close(self) {
        // Wakes whoever waits in `accept`.
        let _ = net::shutdown(&*self.listener, net::Shutdown::Both);
        if let Some(guest) = &*self.guest.lock().unwrap_or_else(PoisonError::into_inner) {
            let _ = guest.shutdown(Shutdown::Both);
        }
        let _ = self.thread.join();
    }
}
