//! What can go wrong while a lab is built or played with.

use std::{io, path::PathBuf};

/// Result of everything in the lab.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a lab could not do something.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or directory.
    #[error("{path}: {source}")]
    File {
        /// Which one.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A system call.
    #[error("{call}: {source}")]
    System {
        /// Which one, and on what.
        call: String,
        /// The system's reason.
        source: io::Error,
    },
    /// A command that ended with a failure.
    #[error("`{command}` ended with {status}:\n{output}")]
    Command {
        /// The command line.
        command: String,
        /// Exit status, or what killed it.
        status: String,
        /// What it printed.
        output: String,
    },
    /// A command that printed something else than it should.
    #[error("`{command}` printed what nobody understands: {output}")]
    Output {
        /// The command line.
        command: String,
        /// What it printed.
        output: String,
    },
    /// Something that did not come about in time.
    #[error("{what} did not happen within {seconds} s")]
    TimedOut {
        /// What was waited for.
        what: String,
        /// How long.
        seconds: u64,
    },
    /// The `portcullis` program is not where cargo puts it.
    #[error("{path} is missing: build it with `cargo build -p portcullis`")]
    NotBuilt {
        /// Where it was expected.
        path: PathBuf,
    },
    /// A name longer than the kernel takes.
    #[error("interface name `{name}` is longer than 15 bytes")]
    NameTooLong {
        /// The name.
        name: String,
    },
    /// A helper thread panicked.
    #[error("a thread inside namespace {space} panicked")]
    Thread {
        /// The namespace.
        space: String,
    },
}

impl Error {
    /// For `map_err` of file operations.
    pub fn file(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { path, source }
    }

    /// For `map_err` of system calls.
    pub fn system<E: Into<io::Error>>(call: impl Into<String>) -> impl FnOnce(E) -> Self {
        let call = call.into();
        move |source| Self::System { call, source: source.into() }
    }
}
