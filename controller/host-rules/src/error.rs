//! Why the host's stack could not be made what it should be.

use std::{io, path::PathBuf};

/// What went wrong. The rules of before are in force.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A program that is needed is not there, or cannot be started.
    #[error("`{program}` cannot be started: {source}; install the package `{package}`")]
    Program {
        /// Its name.
        program: &'static str,
        /// Debian's package of it.
        package: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// It refused.
    #[error("`{program}` refused to {action}: {said}")]
    Refused {
        /// Its name.
        program: &'static str,
        /// What it was asked to do.
        action: &'static str,
        /// Its own words.
        said: String,
    },
    /// It did not end.
    #[error("`{program}` did not {action} within {seconds} s")]
    Slow {
        /// Its name.
        program: &'static str,
        /// What it was asked to do.
        action: &'static str,
        /// How long it had.
        seconds: u64,
    },
    /// It answered what nobody understands.
    #[error("`nft` listed what cannot be read: {source}")]
    Listing {
        /// Where it fails.
        source: serde_json::Error,
    },
    /// A file, or a setting below `/proc/sys`, could not be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The interfaces could not be asked.
    #[error(transparent)]
    Ports(#[from] portcullis_ports::Error),
}

impl Error {
    /// For `map_err` of file operations.
    pub(crate) fn file(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { action, path, source }
    }
}

/// What goes wrong here.
pub type Result<T> = std::result::Result<T, Error>;
