//! What can go wrong with a store.

use std::path::PathBuf;

use crate::Revision;

/// Why a store refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A condition of the transaction does not hold; nothing was written.
    #[error("{key:?} was changed by somebody else (expected {}, found {})", at(*.expected), at(*.found))]
    Conflict {
        /// The key.
        key: String,
        /// The revision the caller knew; `None`: it must not exist.
        expected: Option<Revision>,
        /// The revision it has; `None`: it does not exist.
        found: Option<Revision>,
    },
    /// A key that is empty or too long.
    #[error("key {key:?} has {got} bytes, a key has 1 to {max}")]
    Key {
        /// The key.
        key: String,
        /// Its length, bytes.
        got: usize,
        /// The longest.
        max: usize,
    },
    /// A value that is too large.
    #[error("the value of {key:?} has {got} bytes, at most {max} are stored")]
    ValueTooLarge {
        /// Its key.
        key: String,
        /// Its size, bytes.
        got: usize,
        /// The largest.
        max: usize,
    },
    /// A transaction with too many parts.
    #[error("a transaction of {got} parts, at most {max} are possible")]
    TransactionTooLarge {
        /// Its parts.
        got: usize,
        /// The most.
        max: usize,
    },
    /// A transaction that writes one key twice.
    #[error("a transaction writes {key:?} twice")]
    TwoWrites {
        /// The key.
        key: String,
    },
    /// Another process has the store open.
    #[error("{} is in use by another process: is another daemon running with this state directory?", path.display())]
    Busy {
        /// The store's file.
        path: PathBuf,
    },
    /// The store was written by an incompatible version.
    #[error("{} has format {found}, this version reads format {supported}: use the version that wrote it, or move the file away to start afresh", path.display())]
    Format {
        /// The store's file.
        path: PathBuf,
        /// Its format.
        found: u64,
        /// Ours.
        supported: u64,
    },
    /// The store's file is damaged, or is no store.
    #[error("{} is damaged or not a store ({reason}): restore it from a backup, or move it away to start afresh", path.display())]
    Corrupt {
        /// The store's file.
        path: PathBuf,
        /// What was found.
        reason: String,
    },
    /// The file cannot be opened or made.
    #[error("cannot open {}: {source}", path.display())]
    Open {
        /// The store's file or folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The store does not answer. Of a commit: it happened, or it did not.
    #[error("the store does not answer: {reason}")]
    Unavailable {
        /// What the store said.
        reason: String,
    },
    /// A record of another kind, or of a version that this program does not know.
    #[error(
        "{key:?} holds {found_kind:?} version {found_version}, expected {kind:?} version {version}"
    )]
    RecordVersion {
        /// Its key.
        key: String,
        /// The kind that was expected.
        kind: &'static str,
        /// The version that was expected.
        version: u32,
        /// The kind that was found.
        found_kind: String,
        /// The version that was found.
        found_version: u32,
    },
    /// A record that is not the JSON it should be.
    #[error("{key:?} does not hold a {kind:?} record: {source}")]
    RecordSyntax {
        /// Its key.
        key: String,
        /// The kind that was expected.
        kind: &'static str,
        /// What the parser said.
        source: serde_json::Error,
    },
}

/// A revision for people.
fn at(revision: Option<Revision>) -> String {
    revision.map_or_else(|| "no value".to_owned(), |r| format!("revision {r}"))
}
