//! What can go wrong.

use std::{io, path::PathBuf};

/// Why a machine cannot be made, or cannot go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no KVM, or not for us.
    #[error("cannot open /dev/kvm: {source}")]
    NoKvm {
        /// What the kernel said.
        source: kvm_ioctls::Error,
    },
    /// The kernel refused something.
    #[error("KVM: {what}: {source}")]
    Kvm {
        /// What was asked of it.
        what: &'static str,
        /// What it said.
        source: kvm_ioctls::Error,
    },
    /// A file that the guest needs.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// A kernel that is none.
    #[error("{}: neither a bzImage nor an ELF kernel for x86-64: {source}", path.display())]
    Kernel {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        source: linux_loader::loader::Error,
    },
    /// The guest's memory.
    #[error("guest memory: {what}")]
    Memory {
        /// What does not fit, or does not work.
        what: String,
    },
    /// A snapshot that this machine cannot be.
    #[error("this snapshot cannot be restored: {what}")]
    Snapshot {
        /// What is wrong with it.
        what: String,
    },
    /// A configuration that makes no sense.
    #[error("{what}")]
    Config {
        /// What is wrong, and what would be right.
        what: String,
    },
    /// Something around the guest.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}

/// Result of everything here.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// What to do about it.
    pub fn advice(&self) -> Option<&'static str> {
        match self {
            Self::NoKvm { source } => Some(match source.errno() {
                libc::ENOENT | libc::ENODEV | libc::ENXIO => {
                    "load kvm_intel or kvm_amd with modprobe; if that fails, switch virtualisation on \
                     in the firmware or, in a virtual machine, let its host nest machines"
                }
                libc::EACCES | libc::EPERM => {
                    "run as root, or join the group of /dev/kvm: usermod -aG kvm USER"
                }
                _ => "look whether `ls -l /dev/kvm` shows a character device",
            }),
            Self::Kernel { .. } => Some(
                "give the kernel itself: a bzImage like Debian's /boot/vmlinuz, or an uncompressed \
                 vmlinux",
            ),
            Self::File { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                Some("look at its name: it is taken from the folder that you are in")
            }
            Self::Memory { .. } => Some("say more with --memory MIB"),
            _ => None,
        }
    }

    /// For `map_err` on what the kernel refuses.
    pub(crate) fn kvm(what: &'static str) -> impl FnOnce(kvm_ioctls::Error) -> Self {
        move |source| Self::Kvm { what, source }
    }

    /// For `map_err` on what goes wrong around the guest.
    pub(crate) fn system(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::System { what, source }
    }

    /// For a snapshot that cannot be taken over.
    pub(crate) fn state(what: impl Into<String>) -> Self {
        Self::Snapshot { what: what.into() }
    }

    /// For `map_err` on what does not fit into the guest's memory.
    pub(crate) fn memory<E: std::fmt::Display>(what: &'static str) -> impl FnOnce(E) -> Self {
        move |error| Self::Memory { what: format!("{what}: {error}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_kvm_everybody_is_told_what_to_do() {
        let advice =
            |errno| Error::NoKvm { source: kvm_ioctls::Error::new(errno) }.advice().unwrap();
        assert!(advice(libc::ENOENT).contains("modprobe"));
        assert!(advice(libc::EACCES).contains("usermod -aG kvm"));
        assert!(advice(libc::ENOTTY).contains("/dev/kvm"));
    }
}
