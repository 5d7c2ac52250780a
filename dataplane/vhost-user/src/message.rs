//! What daemon and engine say to each other: a line of JSON each, question and answer, and descriptors
//! beside it where the engine is given something to work with.

use std::{
    io::{self, IoSlice, IoSliceMut, Write},
    mem::MaybeUninit,
    os::{
        fd::{BorrowedFd, OwnedFd},
        unix::net::UnixStream,
    },
    time::Duration,
};

use portcullis_switch::peer::Told;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// Number of this language. A daemon ends an engine that speaks another one.
pub const LANGUAGE: u32 = 2;

/// Most descriptors beside a line.
const FILES: usize = 2;
/// Bytes that are taken out of the socket at once.
const PIECE: usize = 1 << 16;

/// A question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "ask")]
pub enum Ask {
    /// Who are you?
    Hello,
    /// Do you serve this port? If not, it wants to give it to you.
    Serve {
        /// Its name.
        port: String,
        /// Index of its tap.
        ifindex: u32,
    },
    /// Serve it: beside this come a queue of its tap, and the socket at which front ends connect.
    Take {
        /// Its name.
        port: String,
        /// Index of its tap.
        ifindex: u32,
    },
    /// Give a port up; fine if there is none.
    Release {
        /// Its name.
        port: String,
    },
    /// Read the tables of a generation.
    Prepare {
        /// Its number.
        generation: u32,
        /// The packets' clock.
        ticks: u64,
        /// The monotonic clock at that moment, nanoseconds.
        monotonic_ns: u64,
    },
    /// Put the generation in force that was prepared.
    Commit {
        /// Its number.
        generation: u32,
    },
    /// What has happened?
    Tell,
    /// What was there to be logged? Bytes of event entries.
    Events,
    /// Which connections are there? Bytes of key and entry.
    Flows,
    /// End.
    End,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "answer")]
pub enum Answer {
    /// To [`Ask::Hello`].
    Hello {
        /// See [`LANGUAGE`].
        language: u32,
    },
    /// It is done.
    Done,
    /// To [`Ask::Serve`]: give it to me.
    Wanted,
    /// To [`Ask::Tell`].
    Told(Told),
    /// Entries of tables, as they are.
    Entries {
        /// Their bytes.
        entries: Vec<Vec<u8>>,
    },
    /// It is not.
    Failed {
        /// Why.
        reason: String,
    },
}

/// One end of the conversation.
pub struct Line {
    stream: UnixStream,
    /// What has come behind the last line that was heard.
    bytes: Vec<u8>,
    files: Vec<OwnedFd>,
}

impl Line {
    /// Over this socket.
    pub const fn new(stream: UnixStream) -> Self {
        Self { stream, bytes: Vec::new(), files: Vec::new() }
    }

    /// From now on nothing is waited for longer than so.
    pub fn limit(&self, limit: Duration) -> io::Result<()> {
        self.stream.set_read_timeout(Some(limit))?;
        self.stream.set_write_timeout(Some(limit))
    }

    /// Says something, with at most two descriptors beside it.
    pub fn say(&mut self, message: &impl Serialize, files: &[BorrowedFd<'_>]) -> io::Result<()> {
        let line = serde_json::to_string(message)? + "\n";
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FILES))];
        let mut beside = SendAncillaryBuffer::new(&mut space);
        if !files.is_empty() && !beside.push(SendAncillaryMessage::ScmRights(files)) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let bytes = [IoSlice::new(line.as_bytes())];
        let sent = sendmsg(&self.stream, &bytes, &mut beside, SendFlags::NOSIGNAL)?;
        self.stream.write_all(&line.as_bytes()[sent..])
    }

    /// Hears something; `None`: the other side is gone.
    pub fn hear<M: DeserializeOwned>(&mut self) -> io::Result<Option<M>> {
        let mut looked = 0;
        loop {
            let end = self.bytes[looked..].iter().position(|byte| *byte == b'\n');
            if let Some(end) = end {
                let rest = self.bytes.split_off(looked + end + 1);
                let line = std::mem::replace(&mut self.bytes, rest);
                return Ok(Some(serde_json::from_slice(&line)?));
            }
            looked = self.bytes.len();
            if self.more()? == 0 {
                return Ok(None);
            }
        }
    }

    /// The descriptors that came beside what was heard.
    pub fn take_files(&mut self) -> Vec<OwnedFd> {
        std::mem::take(&mut self.files)
    }

    fn more(&mut self) -> io::Result<usize> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FILES))];
        let mut beside = RecvAncillaryBuffer::new(&mut space);
        let mut piece = vec![0; PIECE];
        let into = &mut [IoSliceMut::new(&mut piece)];
        let got = recvmsg(&self.stream, into, &mut beside, RecvFlags::CMSG_CLOEXEC)?.bytes;
        for message in beside.drain() {
            if let RecvAncillaryMessage::ScmRights(files) = message {
                self.files.extend(files);
            }
        }
        self.bytes.extend(&piece[..got]);
        Ok(got)
    }
}

#[cfg(test)]
mod tests {
    use std::{fs::File, io::Read, os::fd::AsFd, thread};

    use super::*;

    fn lines() -> (Line, Line) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        (Line::new(ours), Line::new(theirs))
    }

    #[test]
    fn files_come_beside_what_they_are_for() {
        let (mut daemon, mut engine) = lines();
        let (mut read, write) = io::pipe().unwrap();
        let take = Ask::Take { port: "web".into(), ifindex: 7 };
        daemon.say(&Ask::Hello, &[]).unwrap();
        daemon.say(&take, &[write.as_fd(), write.as_fd()]).unwrap();
        assert_eq!(engine.hear::<Ask>().unwrap(), Some(Ask::Hello));
        assert_eq!(engine.hear::<Ask>().unwrap(), Some(take));
        let files = engine.take_files();
        assert_eq!(files.len(), 2);
        drop((write, daemon));
        for file in files {
            File::from(file).write_all(b"x").unwrap();
        }
        let mut text = String::new();
        read.read_to_string(&mut text).unwrap();
        assert_eq!((text.as_str(), engine.hear::<Ask>().unwrap()), ("xx", None));
    }

    #[test]
    fn long_lines_come_whole_and_silence_ends() {
        let (mut daemon, mut engine) = lines();
        let entries = vec![vec![7_u8; 1000]; 1000];
        let answer = Answer::Entries { entries };
        let sent = answer.clone();
        let thread = thread::spawn(move || {
            engine.say(&sent, &[]).unwrap();
            engine
        });
        assert_eq!(daemon.hear::<Answer>().unwrap(), Some(answer));
        let _engine = thread.join().unwrap();
        daemon.limit(Duration::from_millis(1)).unwrap();
        assert_eq!(daemon.hear::<Answer>().unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }
}
