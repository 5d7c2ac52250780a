//! A mount namespace of the bench's own: what is mounted and pinned in it ends with the process,
//! also when the process is killed.

use std::path::{Path, PathBuf};

use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};

use crate::error::Error;

/// Covered by an empty file system in this process, and nowhere else.
const ROOT: &str = "/mnt";

/// Enters the namespace. Must come before the first thread, as threads keep their mounts.
pub fn enter() -> Result<(), Error> {
    unshare(CloneFlags::CLONE_NEWNS)
        .map_err(|e| Error::system("making a mount namespace (run as root)", e))?;
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)
        .map_err(|e| Error::system("keeping mounts to ourselves", e))?;
    cover(ROOT)
}

/// Covers another directory in the namespace, for programs that leave files there.
pub fn cover(path: &str) -> Result<(), Error> {
    let none = None::<&str>;
    mount(Some("tmpfs"), path, Some("tmpfs"), MsFlags::empty(), none)
        .map_err(|e| Error::system(format!("covering {path}"), e))
}

/// A directory of this name, not made yet.
pub fn directory(name: &str) -> PathBuf {
    Path::new(ROOT).join(name)
}
