//! What QEMU's `-netdev tap,helper=` expects of its helper: one open queue of a tap, over the
//! socket whose number stands in `--fd=` (QEMU's `net/tap.c`, `net_bridge_run_helper`; its own
//! helper is `qemu-bridge-helper.c`).

use std::os::{
    fd::{BorrowedFd, RawFd},
    unix::net::UnixStream,
};

use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};

use crate::{
    error::{Error, Result},
    pass,
};

/// Sends an open queue over the socket that whoever started this process left open.
pub fn hand_back(socket: RawFd, queue: BorrowedFd<'_>) -> Result<()> {
    pass::send(&inherited(socket)?, &[queue], &[])
}

/// A copy of a descriptor of this process, by its number: the kernel says whether there is one,
/// so nobody has to trust the number.
fn inherited(number: RawFd) -> Result<UnixStream> {
    let copy = pidfd_open(getpid(), PidfdFlags::empty())
        .and_then(|own| pidfd_getfd(own, number, PidfdGetfdFlags::empty()));
    match copy {
        Ok(socket) => Ok(socket.into()),
        Err(e) => Err(Error::NoSocket { number, source: e.into() }),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs::File,
        os::fd::{AsFd, AsRawFd},
    };

    use super::*;

    #[test]
    fn a_descriptor_goes_over_a_socket_that_is_known_by_number() {
        let (qemu, helper) = UnixStream::pair().unwrap();
        let null = File::open("/dev/null").unwrap();
        hand_back(helper.as_raw_fd(), null.as_fd()).unwrap();
        // QEMU reads one byte, and the descriptor with it.
        let received = pass::receive(&qemu).unwrap();
        assert_eq!((received.fds.len(), received.note.len()), (1, 1));
    }

    #[test]
    fn a_number_without_a_socket_is_named() {
        let null = File::open("/dev/null").unwrap();
        let error = hand_back(1_000_000, null.as_fd()).unwrap_err();
        assert!(error.to_string().contains("1000000"), "{error}");
        let error = hand_back(null.as_raw_fd(), null.as_fd()).unwrap_err();
        assert!(matches!(error, Error::Socket { .. }), "{error}");
    }
}
