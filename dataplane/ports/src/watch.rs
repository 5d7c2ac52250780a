//! Changes of interfaces, told by the kernel (rtnetlink(7), group `RTNLGRP_LINK`).

use std::io;

use netlink_sys::{Socket, protocols::NETLINK_ROUTE};

use crate::error::{Error, Result};

/// Bytes of a message that are read; nobody looks at them.
const GLANCE: usize = 64;

/// Tells whether interfaces of the namespace in which it was made have changed.
#[derive(Debug)]
pub struct LinkWatch {
    socket: Socket,
}

impl LinkWatch {
    /// Watches the calling thread's network namespace.
    pub fn new() -> Result<Self> {
        let open = || -> io::Result<Socket> {
            let mut socket = Socket::new(NETLINK_ROUTE)?;
            socket.bind_auto()?;
            socket.set_non_blocking(true)?;
            socket.add_membership(libc::RTNLGRP_LINK)?;
            Ok(socket)
        };
        let socket = open().map_err(|e| Error::kernel("watch the interfaces", e))?;
        Ok(Self { socket })
    }

    /// Has any interface changed, come or gone since the last call? Never waits. What cannot be
    /// read, because more was told than fits (ENOBUFS), is a change, too.
    pub fn has_changed(&mut self) -> bool {
        let mut changed = false;
        loop {
            match self.socket.recv(&mut Vec::with_capacity(GLANCE), 0) {
                Ok(_) => changed = true,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return changed,
                Err(e) if e.raw_os_error() == Some(libc::ENOBUFS) => changed = true,
                Err(_) => return true,
            }
        }
    }
}
