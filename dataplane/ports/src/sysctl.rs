//! Per-interface kernel settings below `/proc/sys/net`, of the calling thread's namespace.

use std::{fs, io, path::PathBuf};

use crate::error::{Error, Result};

/// Protocol family of a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// `/proc/sys/net/ipv4`.
    V4,
    /// `/proc/sys/net/ipv6`, which a kernel may lack: then there is nothing to set.
    V6,
}

/// Writes `net.<family>.conf.<interface>.<key>`.
pub fn set(family: Family, interface: &str, key: &str, value: &'static str) -> Result<()> {
    let base = match family {
        Family::V4 => "/proc/sys/net/ipv4",
        Family::V6 => "/proc/sys/net/ipv6",
    };
    if family == Family::V6 && !PathBuf::from(base).exists() {
        return Ok(());
    }
    let path = PathBuf::from(base).join("conf").join(interface).join(key);
    fs::write(&path, value).map_err(|source| match source.kind() {
        io::ErrorKind::PermissionDenied => {
            Error::NotPermitted { action: format!("write {}", path.display()) }
        }
        _ => Error::Sysctl { path, value, source },
    })
}

/// Keeps the host's IPv6 stack off an interface: no link-local address, no router solicitation.
pub fn without_ipv6(interface: &str) -> Result<()> {
    set(Family::V6, interface, "disable_ipv6", "1")
}
