//! What can go wrong on the way to a VMM.

use std::io;

/// Result of handing something over.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a port could not be handed over.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The tap itself.
    #[error(transparent)]
    Tap(#[from] portcullis_ports::Error),
    /// The header of a tap's frames cannot be set.
    #[error("cannot set the header of {name}'s frames: {source}")]
    Header {
        /// The tap.
        name: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// No command was given.
    #[error("no command to hand the port to: write it behind `--`")]
    NoCommand,
    /// The command cannot be started.
    #[error("cannot start {program}: {source}")]
    Start {
        /// The program.
        program: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// An fd cannot be made inheritable.
    #[error("cannot let the command inherit the queues: {source}")]
    Inherit {
        /// What the kernel said.
        source: io::Error,
    },
    /// No descriptor has the number that was given for a socket.
    #[error("no socket is open here as number {number}: {source}")]
    NoSocket {
        /// The number.
        number: i32,
        /// What the kernel said.
        source: io::Error,
    },
    /// The socket failed.
    #[error("cannot {action} file descriptors: {source}")]
    Socket {
        /// What was to be done.
        action: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// More fds or bytes than one message carries.
    #[error("{got} {what} do not fit into one message, {most} do")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many.
        got: usize,
        /// How many fit.
        most: usize,
    },
    /// The other side went away.
    #[error("the other side closed the socket before it sent anything")]
    Closed,
    /// The message was cut by the kernel.
    #[error("the message was cut: more file descriptors or bytes than expected")]
    Cut,
}

impl Error {
    /// Does another process hold the tap?
    pub fn is_busy(&self) -> bool {
        matches!(self, Self::Tap(portcullis_ports::Error::QueueBusy { .. }))
    }
}
