//! What daemon and engine say to each other: a line of JSON each, question and answer.

use std::{
    io::{self, BufRead, BufReader, Write},
    os::unix::net::UnixStream,
    path::PathBuf,
};

use portcullis_switch::peer::Told;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// Number of this language. A daemon ends an engine that speaks another one.
pub const LANGUAGE: u32 = 1;

/// A question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "ask")]
pub enum Ask {
    /// Who are you?
    Hello,
    /// Serve a port; fine if it is served already.
    Serve {
        /// Its name.
        port: String,
        /// Index of its tap.
        ifindex: u32,
        /// Where front ends connect.
        socket: PathBuf,
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
pub struct Line(BufReader<UnixStream>);

impl Line {
    /// Over this socket.
    pub fn new(stream: UnixStream) -> Self {
        Self(BufReader::new(stream))
    }

    /// Says something.
    pub fn say(&mut self, message: &impl Serialize) -> io::Result<()> {
        let line = serde_json::to_string(message)? + "\n";
        self.0.get_mut().write_all(line.as_bytes())
    }

    /// Hears something; `None`: the other side is gone.
    pub fn hear<M: DeserializeOwned>(&mut self) -> io::Result<Option<M>> {
        let mut line = String::new();
        match self.0.read_line(&mut line)? {
            0 => Ok(None),
            _ => Ok(Some(serde_json::from_str(&line)?)),
        }
    }
}
