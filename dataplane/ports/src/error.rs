//! What can go wrong with a device, and what to do about it.

use std::{io, path::PathBuf};

use crate::name::NameFault;

/// Result of an operation on a device.
pub type Result<T> = std::result::Result<T, Error>;

/// Why an operation on a device failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The name cannot be an interface's.
    #[error("`{name}` cannot be the name of an interface: {fault}")]
    BadName {
        /// The name.
        name: String,
        /// What is wrong with it.
        fault: NameFault,
    },
    /// Another interface has that name.
    #[error(
        "an interface called {name} exists already{place}: choose another name, or delete it \
         there with `ip link delete {name}`"
    )]
    NameInUse {
        /// The name.
        name: String,
        /// Where it exists: empty, or ` in the namespace ...`.
        place: String,
    },
    /// There is no such interface.
    #[error("there is no interface called {name} in this network namespace: see `ip link`")]
    NoSuchInterface {
        /// The name.
        name: String,
    },
    /// The kernel refused for lack of a privilege.
    #[error("not permitted to {action}: run as root, or give the process CAP_NET_ADMIN")]
    NotPermitted {
        /// What was to be done.
        action: String,
    },
    /// No tun driver.
    #[error("/dev/net/tun cannot be opened ({source}): load the driver with `modprobe tun`")]
    NoTun {
        /// What `open` said.
        source: io::Error,
    },
    /// A queue of the tap is open already, or all of them are.
    #[error("every queue of {name} is open already: another process holds the tap")]
    QueueBusy {
        /// The tap.
        name: String,
    },
    /// No tap has that many queues.
    #[error("a tap has 1 to {most} queues, not {queues}")]
    BadQueues {
        /// Queues asked for.
        queues: u16,
        /// The most there can be.
        most: u16,
    },
    /// The interface is not a tap, or has another number of queues.
    #[error("{name} cannot be opened as a tap with {queues} queue(s): it is of another kind")]
    NotThatTap {
        /// The interface.
        name: String,
        /// Queues asked for.
        queues: u16,
    },
    /// The kernel has no driver for this kind of interface.
    #[error("this kernel cannot make {kind} interfaces: load the driver with `modprobe {kind}`")]
    NoDriver {
        /// Kind of interface.
        kind: &'static str,
    },
    /// The namespace is not there.
    #[error("no network namespace at {}: {source} (make one with `ip netns add`)", path.display())]
    NoNamespace {
        /// Path that was opened.
        path: PathBuf,
        /// What `open` or `setns` said.
        source: io::Error,
    },
    /// A kernel setting could not be written.
    #[error("cannot write {value} to {}: {source}", path.display())]
    Sysctl {
        /// File below `/proc/sys`.
        path: PathBuf,
        /// Value.
        value: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// The kernel said no to something else.
    #[error("cannot {action}: {source}")]
    Kernel {
        /// What was to be done.
        action: String,
        /// What the kernel said.
        source: io::Error,
    },
}

impl Error {
    /// The error of a kernel's answer to `action`.
    pub(crate) fn kernel(action: impl Into<String>, source: io::Error) -> Self {
        let action = action.into();
        match source.kind() {
            io::ErrorKind::PermissionDenied => Self::NotPermitted { action },
            _ => Self::Kernel { action, source },
        }
    }

    /// Does it say that the interface does not exist?
    pub fn is_missing(&self) -> bool {
        match self {
            Self::NoSuchInterface { .. } => true,
            Self::Kernel { source, .. } => source.raw_os_error() == Some(libc::ENODEV),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_what_to_do() {
        let refused = io::Error::from_raw_os_error(libc::EPERM);
        let text = Error::kernel("create the tap vm1", refused).to_string();
        assert!(text.contains("CAP_NET_ADMIN") && text.contains("vm1"), "{text}");
    }

    #[test]
    fn a_vanished_device_is_missing() {
        let gone = io::Error::from_raw_os_error(libc::ENODEV);
        assert!(Error::kernel("set x up", gone).is_missing());
        assert!(Error::NoSuchInterface { name: "x".into() }.is_missing());
    }
}
