//! The switch's own BPF file system: where things are pinned.
//!
//! ```text
//! <run_dir>/bpf/v<LAYOUT>/maps/<NAME>         tables, for as long as the layout stays
//!                         code-<hash>/<name>  programs of one object, and their tail-call table
//!                         links/<port>        a tcx link; or an empty directory for a clsact filter
//!                         lanes/<port>        the link of a tap's fast lane (XDP)
//!                         gates/<port>        the link of an uplink's gate (XDP)
//!                         uplinks/<port>/...  what an uplink was like before: was-down, was-plain,
//!                                             took-tags
//! ```
//!
//! bpffs allows no dots in names (`bpf_lookup`), interfaces do: `.` is written `%2e`.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use portcullis_pipeline::LAYOUT_VERSION;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use crate::error::{Error, Result};

/// BPF_FS_MAGIC of `linux/magic.h`.
const MAGIC: u64 = 0xcafe_4a11;

/// The paths of one switch.
#[derive(Clone, Debug)]
pub struct Bpffs {
    root: PathBuf,
    version: PathBuf,
}

impl Bpffs {
    /// That of the switch in `run_dir`, mounted or not.
    pub fn of(run_dir: &Path) -> Self {
        let root = run_dir.join("bpf");
        Self { version: root.join(format!("v{LAYOUT_VERSION}")), root }
    }

    /// The same place with the things of every layout that left some there.
    pub fn all_versions(&self) -> Result<Vec<Self>> {
        let of = |version| Self { root: self.root.clone(), version };
        Ok(list(&self.root)?.into_iter().filter(|p| p.is_dir()).map(of).collect())
    }

    /// Mounts it unless it is mounted, and makes its directories.
    pub fn mount(&self) -> Result<()> {
        fs::create_dir_all(&self.root).map_err(|e| Error::file("create", &self.root, e))?;
        if !self.is_mounted() {
            mount("bpf", &self.root, "bpf", MountFlags::empty(), Some(c"mode=0700"))
                .map_err(|e| Error::Mount { path: self.root.clone(), source: e.into() })?;
        }
        self.require_own_layout()?;
        for dir in [self.maps(), self.links(), self.lanes(), self.gates(), self.uplinks()] {
            fs::create_dir_all(&dir).map_err(|e| Error::file("create", dir, e))?;
        }
        Ok(())
    }

    /// Refuses to go on where ports are filtered by programs over tables of another layout: ours
    /// would know nothing of the connections that run.
    fn require_own_layout(&self) -> Result<()> {
        for other in self.all_versions()?.into_iter().filter(|v| v.version != self.version) {
            if !list(&other.links())?.is_empty() {
                let (found, ours) = (name_of(&other.version), name_of(&self.version));
                return Err(Error::OtherLayout { found, ours });
            }
        }
        Ok(())
    }

    /// Is a BPF file system mounted there?
    pub fn is_mounted(&self) -> bool {
        rustix::fs::statfs(&self.root).is_ok_and(|s| s.f_type as u64 == MAGIC)
    }

    /// Refuses to go on where somebody has unmounted it.
    pub fn require(&self) -> Result<()> {
        match self.is_mounted() {
            true => Ok(()),
            false => Err(Error::Unmounted { path: self.root.clone() }),
        }
    }

    /// Unmounts it and removes the mount point.
    pub fn unmount(&self) -> Result<()> {
        if self.is_mounted() {
            unmount(&self.root, UnmountFlags::DETACH)
                .map_err(|e| Error::file("unmount", &self.root, e.into()))?;
        }
        match fs::remove_dir(&self.root) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                Err(Error::file("remove", &self.root, e))
            }
            _ => Ok(()),
        }
    }

    /// Everything of this layout.
    pub fn version(&self) -> &Path {
        &self.version
    }

    /// Pinned tables.
    pub fn maps(&self) -> PathBuf {
        self.version.join("maps")
    }

    /// Pinned programs of the object with this hash.
    pub fn code(&self, hash: u64) -> PathBuf {
        self.version.join(format!("{CODE}{hash:016x}"))
    }

    /// All directories of pinned programs.
    pub fn all_code(&self) -> Result<Vec<PathBuf>> {
        let is_code =
            |p: &PathBuf| p.file_name().is_some_and(|n| n.to_string_lossy().starts_with(CODE));
        Ok(list(&self.version)?.into_iter().filter(is_code).collect())
    }

    /// Pinned links.
    pub fn links(&self) -> PathBuf {
        self.version.join("links")
    }

    /// The link of a port.
    pub fn link(&self, port: &str) -> PathBuf {
        entry(&self.links(), port)
    }

    /// Links of fast lanes.
    pub fn lanes(&self) -> PathBuf {
        self.version.join("lanes")
    }

    /// Links of gates.
    pub fn gates(&self) -> PathBuf {
        self.version.join("gates")
    }

    /// Notes about uplinks.
    pub fn uplinks(&self) -> PathBuf {
        self.version.join("uplinks")
    }

    /// Notes about one uplink.
    pub fn uplink(&self, port: &str) -> PathBuf {
        entry(&self.uplinks(), port)
    }
}

const CODE: &str = "code-";

/// What belongs to a port in a directory of bpffs.
pub fn entry(dir: &Path, port: &str) -> PathBuf {
    dir.join(escape(port))
}

/// An interface's name as a name in bpffs.
fn escape(name: &str) -> String {
    name.replace('%', "%25").replace('.', "%2e")
}

/// The interface's name of a path made with [`escape`].
pub fn name_of(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.replace("%2e", ".").replace("%25", "%")
}

/// Paths in a directory, sorted; none where the directory does not exist.
pub fn list(dir: &Path) -> Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(|e| Error::file("read", dir, e))?,
    };
    let mut paths = entries
        .map(|e| e.map(|e| e.path()))
        .collect::<io::Result<Vec<_>>>()
        .map_err(|e| Error::file("read", dir, e))?;
    paths.sort();
    Ok(paths)
}

/// Removes a file or a directory with all in it; how many objects went. A path that is gone
/// already is fine.
pub fn remove(path: &Path) -> Result<usize> {
    let meta = match fs::symlink_metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(0),
        other => other.map_err(|e| Error::file("look at", path, e))?,
    };
    if !meta.is_dir() {
        fs::remove_file(path).map_err(|e| Error::file("remove", path, e))?;
        return Ok(1);
    }
    let mut removed = 0;
    for inner in list(path)? {
        removed += remove(&inner)?;
    }
    fs::remove_dir(path).map_err(|e| Error::file("remove", path, e))?;
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_dots_survive() {
        for name in ["eth0", "eth0.100", "a%2e", "%", "a..b"] {
            assert!(!escape(name).contains('.'));
            assert_eq!(name_of(&Path::new("/x").join(escape(name))), name);
        }
    }

    #[test]
    fn removing_counts_objects() {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().join("top");
        fs::create_dir_all(top.join("sub")).unwrap();
        fs::write(top.join("a"), "").unwrap();
        fs::write(top.join("sub/b"), "").unwrap();
        assert_eq!(remove(&top).unwrap(), 2);
        assert_eq!(remove(&top).unwrap(), 0);
        assert!(list(&top).unwrap().is_empty());
    }
}
