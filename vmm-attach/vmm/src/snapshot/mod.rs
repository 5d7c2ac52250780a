//! Machines that stand still, and go on somewhere else: what a machine is at one moment, as plain
//! data with a version, and its memory beside it.

pub mod chips;
pub mod processor;

use std::{
    fs::File,
    io::{BufReader, BufWriter, Read, Write},
    path::Path,
};

use serde::{Deserialize, Serialize};

use crate::{
    error::{Error, Result},
    memory, serial,
    virtio::mmio,
};

/// Of the state's form: raised with every change of what is in it.
pub const VERSION: u32 = 2;
/// The state's file in a snapshot's directory.
pub const STATE: &str = "state.json";
/// The memory's file in it.
pub const MEMORY: &str = "memory";
/// Longest state that is read, bytes: more than 254 processors have.
const STATE_MAX: u64 = 64 << 20;

/// A machine at one moment, without its memory.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    version: u32,
    /// Its memory, MiB.
    pub memory_mib: u32,
    /// Its virtual processors.
    pub processors: Vec<processor::State>,
    /// What is beside them.
    pub chips: chips::State,
    /// Its console.
    pub serial: serial::State,
    /// Its devices, in their order.
    pub devices: Vec<mmio::State>,
}

/// All that there is of a machine: what it was, and what was in its memory.
pub struct Snapshot {
    /// What it was.
    pub state: State,
    /// What was in its memory, as [`memory::save`] writes it.
    pub memory: File,
}

/// The only field that every version has.
#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

impl State {
    /// One of this version.
    pub fn new(
        memory_mib: u32,
        processors: Vec<processor::State>,
        chips: chips::State,
        serial: serial::State,
        devices: Vec<mmio::State>,
    ) -> Self {
        Self { version: VERSION, memory_mib, processors, chips, serial, devices }
    }

    /// Writes it.
    pub fn write(&self, to: impl Write) -> Result<()> {
        let mut to = BufWriter::new(to);
        let broken = |error: serde_json::Error| Error::system("writing a state")(error.into());
        serde_json::to_writer(&mut to, self).map_err(broken)?;
        to.flush().map_err(Error::system("writing a state"))
    }

    /// Reads one; it is of this version, and there is nothing in it that is not known.
    pub fn read(from: impl Read) -> Result<Self> {
        let mut text = Vec::new();
        let from = BufReader::new(from).take(STATE_MAX).read_to_end(&mut text);
        from.map_err(Error::system("reading a state"))?;
        let broken = |error: serde_json::Error| Error::state(format!("it cannot be read: {error}"));
        let Versioned { version } = serde_json::from_slice(&text).map_err(broken)?;
        if version != VERSION {
            let what = format!("it is of version {version}, and this monitor reads {VERSION}");
            return Err(Error::state(what));
        }
        serde_json::from_slice(&text).map_err(broken)
    }
}

impl Snapshot {
    /// One in a directory.
    pub fn open(directory: &Path) -> Result<Self> {
        let open = |name: &str| {
            let path = directory.join(name);
            File::open(&path).map_err(|source| Error::File { path, source })
        };
        let snapshot = Self { state: State::read(open(STATE)?)?, memory: open(MEMORY)? };
        let bytes = snapshot.memory.metadata().map_err(Error::system("its memory"))?.len();
        let expected = memory::bytes(snapshot.state.memory_mib);
        if bytes != expected {
            let what = format!("its memory has {bytes} bytes, and the machine had {expected}");
            return Err(Error::state(what));
        }
        Ok(snapshot)
    }
}
