//! A tap as a VMM opens it: virtio-net header, all offloads accepted, non-blocking.

use std::{
    fs::OpenOptions,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    os::unix::fs::OpenOptionsExt,
};

use nix::{errno::Errno, unistd};

use crate::{error::Error, frame::VNET_HEADER, netns::Namespace, sys};

/// Bytes that one read can bring: header and the largest super-packet.
pub const READ_BUFFER: usize = VNET_HEADER + 14 + 65_535;

/// An open tap. It does not matter which namespace the thread is in that reads and writes it.
#[derive(Debug)]
pub struct Tap {
    queue: OwnedFd,
}

impl Tap {
    /// Opens the tap `name` in `namespace`; makes it when it does not exist, and then it ends with
    /// this value.
    pub fn open(namespace: &Namespace, name: &str) -> Result<Self, Error> {
        namespace.run(|| {
            Self::open_here(name, false).or_else(|error| match error {
                // A tap that exists with several queues wants to hear so.
                Error::System { ref cause, .. } if cause.raw_os_error() == Some(libc::EINVAL) => {
                    Self::open_here(name, true)
                }
                other => Err(other),
            })
        })
    }

    fn open_here(name: &str, multi_queue: bool) -> Result<Self, Error> {
        // Only writes to an O_NONBLOCK descriptor take the tap's fast path (facts/kernel.md,
        // section 3.1), and a closed loop must never sleep.
        let queue: OwnedFd = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK)
            .open("/dev/net/tun")
            .map_err(|e| Error::system("/dev/net/tun", e))?
            .into();
        sys::attach_tap(queue.as_fd(), name, VNET_HEADER, multi_queue)
            .map_err(|e| Error::system(format!("opening the tap {name}"), e))?;
        Ok(Self { queue })
    }

    /// Its queue.
    pub fn queue(&self) -> BorrowedFd<'_> {
        self.queue.as_fd()
    }

    /// Writes header and frame; false when the tap takes no more at the moment.
    pub fn write(&self, bytes: &[u8]) -> Result<bool, Error> {
        match unistd::write(&self.queue, bytes) {
            Ok(_) => Ok(true),
            Err(Errno::EAGAIN | Errno::ENOBUFS) => Ok(false),
            Err(e) => Err(Error::system("writing to a tap", e)),
        }
    }

    /// Reads one header and frame; `None` when there is none at the moment.
    pub fn read<'b>(&self, buffer: &'b mut [u8]) -> Result<Option<&'b [u8]>, Error> {
        match unistd::read(&self.queue, buffer) {
            Ok(length) => Ok(buffer.get(..length)),
            Err(Errno::EAGAIN) => Ok(None),
            Err(e) => Err(Error::system("reading from a tap", e)),
        }
    }
}
