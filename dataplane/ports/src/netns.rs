//! Network namespaces: found by path, name or process, and entered by a thread of their own.

use std::{
    fs::File,
    io,
    os::fd::{AsFd, BorrowedFd},
    path::{Path, PathBuf},
    thread,
};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::error::{Error, Result};

/// Where `ip netns` keeps named namespaces.
const NAMED: &str = "/run/netns";

/// An open network namespace: it lives at least as long as this.
#[derive(Debug)]
pub struct Netns {
    file: File,
    path: PathBuf,
}

impl Netns {
    /// The namespace at a path such as `/run/netns/NAME` or `/proc/PID/ns/net`.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        match File::open(&path) {
            Ok(file) => Ok(Self { file, path }),
            Err(source) => Err(Error::NoNamespace { path, source }),
        }
    }

    /// The namespace with this name (of `ip netns`), this process id, or at this path.
    pub fn resolve(text: &str) -> Result<Self> {
        Self::open(path_of(text))
    }

    /// The calling thread's.
    pub fn current() -> Result<Self> {
        Self::open("/proc/thread-self/ns/net")
    }

    /// The path that it was opened by.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Runs `work` on a thread that has entered the namespace. Only the network changes: mounts
    /// (so bpffs) stay what they are. The caller's thread stays where it is.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        let entered = thread::scope(|scope| {
            let inside = || -> io::Result<T> {
                let network = Some(LinkNameSpaceType::Network);
                move_into_link_name_space(self.file.as_fd(), network)?;
                Ok(work())
            };
            match scope.spawn(inside).join() {
                Ok(done) => done,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        });
        entered.map_err(|source| match source.kind() {
            io::ErrorKind::PermissionDenied => {
                Error::NotPermitted { action: format!("enter {}", self.path.display()) }
            }
            _ => Error::NoNamespace { path: self.path.clone(), source },
        })
    }
}

impl AsFd for Netns {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// The path that a name, a process id or a path stands for.
pub fn path_of(text: &str) -> PathBuf {
    if text.contains('/') {
        PathBuf::from(text)
    } else if text.bytes().all(|b| b.is_ascii_digit()) && !text.is_empty() {
        PathBuf::from(format!("/proc/{text}/ns/net"))
    } else {
        Path::new(NAMED).join(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_ways_to_say_it() {
        assert_eq!(path_of("blue"), Path::new("/run/netns/blue"));
        assert_eq!(path_of("123"), Path::new("/proc/123/ns/net"));
        assert_eq!(path_of("/a/b"), Path::new("/a/b"));
    }

    #[test]
    fn a_missing_one_is_named() {
        let error = Netns::resolve("portcullis-no-such").unwrap_err().to_string();
        assert!(error.contains("/run/netns/portcullis-no-such"), "{error}");
    }
}
