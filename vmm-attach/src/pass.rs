//! Open queues, passed over a Unix socket (SCM_RIGHTS, unix(7)) with a few bytes that say what
//! they are.

use std::{
    io::{IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::net::UnixStream,
    },
};

use rustix::{
    cmsg_space,
    net::{
        RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
        SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
    },
};

use crate::error::{Error, Result};

/// File descriptors of one message (SCM_MAX_FD of the kernel is 253).
pub const MOST_FDS: usize = 64;
/// Bytes of one message.
pub const MOST_BYTES: usize = 4096;

/// What came in one message.
#[derive(Debug)]
pub struct Received {
    /// The file descriptors, closed on exec.
    pub fds: Vec<OwnedFd>,
    /// The bytes that came with them.
    pub note: Vec<u8>,
}

/// Sends file descriptors with a note of at least one byte (one is made up for an empty note:
/// a stream carries no message without any).
pub fn send(socket: &UnixStream, fds: &[BorrowedFd<'_>], note: &[u8]) -> Result<()> {
    fits("file descriptors", fds.len(), MOST_FDS)?;
    fits("bytes", note.len(), MOST_BYTES)?;
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(MOST_FDS))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    // There is room for as many as fit by the check above.
    ancillary.push(SendAncillaryMessage::ScmRights(fds));
    let note = if note.is_empty() { &[0] } else { note };
    let sent = sendmsg(socket.as_fd(), &[IoSlice::new(note)], &mut ancillary, SendFlags::NOSIGNAL);
    match sent {
        Ok(bytes) if bytes == note.len() => Ok(()),
        Ok(_) => Err(Error::Cut),
        Err(e) => Err(Error::Socket { action: "send", source: e.into() }),
    }
}

/// Receives one message.
pub fn receive(socket: &UnixStream) -> Result<Received> {
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(MOST_FDS))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut note = vec![0; MOST_BYTES];
    let flags = RecvFlags::CMSG_CLOEXEC;
    let got = recvmsg(socket.as_fd(), &mut [IoSliceMut::new(&mut note)], &mut ancillary, flags)
        .map_err(|e| Error::Socket { action: "receive", source: e.into() })?;
    // Taken out first: whatever came is closed if the message is refused.
    let fds: Vec<OwnedFd> = ancillary
        .drain()
        .filter_map(|m| if let RecvAncillaryMessage::ScmRights(f) = m { Some(f) } else { None })
        .flatten()
        .collect();
    if got.flags.intersects(ReturnFlags::CTRUNC | ReturnFlags::TRUNC) {
        return Err(Error::Cut);
    }
    if got.bytes == 0 {
        return Err(Error::Closed);
    }
    note.truncate(got.bytes);
    Ok(Received { fds, note })
}

fn fits(what: &'static str, got: usize, most: usize) -> Result<()> {
    if got <= most { Ok(()) } else { Err(Error::TooMany { what, got, most }) }
}

#[cfg(test)]
mod tests {
    use std::{
        fs::File,
        io::{Read, Write},
        os::fd::AsRawFd,
    };

    use rustix::io::{FdFlags, fcntl_getfd};

    use super::*;

    #[test]
    fn an_open_pipe_goes_across() {
        let (left, right) = UnixStream::pair().unwrap();
        let (mut read, write) = std::io::pipe().unwrap();
        send(&left, &[write.as_fd()], b"vm1").unwrap();
        drop(write);
        let mut received = receive(&right).unwrap();
        assert_eq!(received.note, b"vm1");
        let fd = received.fds.pop().unwrap();
        assert!(fcntl_getfd(&fd).unwrap().contains(FdFlags::CLOEXEC));
        File::from(fd).write_all(b"hello").unwrap();
        let mut got = String::new();
        read.read_to_string(&mut got).unwrap();
        assert_eq!(got, "hello");
    }

    #[test]
    fn as_many_as_fit_and_no_more() {
        let (left, right) = UnixStream::pair().unwrap();
        let null = File::open("/dev/null").unwrap();
        let most = vec![null.as_fd(); MOST_FDS];
        send(&left, &most, b"").unwrap();
        assert_eq!(receive(&right).unwrap().fds.len(), MOST_FDS);
        let more = vec![null.as_fd(); MOST_FDS + 1];
        assert!(matches!(send(&left, &more, b""), Err(Error::TooMany { .. })));
        assert!(matches!(send(&left, &[], &[0; MOST_BYTES + 1]), Err(Error::TooMany { .. })));
    }

    #[test]
    fn a_closed_socket_is_told() {
        let (left, right) = UnixStream::pair().unwrap();
        drop(left);
        assert!(matches!(receive(&right), Err(Error::Closed)));
        assert!(matches!(send(&right, &[], b"x"), Err(Error::Socket { .. })));
    }

    #[test]
    fn messages_keep_their_order() {
        let (left, right) = UnixStream::pair().unwrap();
        let null = File::open("/dev/null").unwrap();
        for note in [&b"one"[..], b"two"] {
            send(&left, &[null.as_fd()], note).unwrap();
            let got = receive(&right).unwrap();
            assert_eq!((got.note.as_slice(), got.fds.len()), (note, 1));
            assert!(got.fds[0].as_raw_fd() > 2);
        }
    }
}
