//! Where one switch keeps its things.

use std::path::{Path, PathBuf};

/// Where the running switch lives, unless it is told otherwise.
pub const RUN_DIR: &str = "/run/portcullis";
/// Where it remembers things, unless it is told otherwise.
pub const STATE_DIR: &str = "/var/lib/portcullis";

/// The directories of one switch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths {
    /// Gone after a reboot: socket, lock, log, bpffs.
    pub run_dir: PathBuf,
    /// Stays: the store.
    pub state_dir: PathBuf,
}

impl Paths {
    /// From the directories as the user named them.
    pub fn new(run_dir: &Path, state_dir: &Path) -> Self {
        Self { run_dir: absolute(run_dir), state_dir: absolute(state_dir) }
    }

    /// The socket of the daemon.
    pub fn socket(&self) -> PathBuf {
        self.run_dir.join("api.sock")
    }

    /// The file whose lock the daemon holds.
    pub fn lock(&self) -> PathBuf {
        self.run_dir.join("lock")
    }

    /// The log of a daemon in the background.
    pub fn log(&self) -> PathBuf {
        self.run_dir.join("daemon.log")
    }

    /// The store.
    pub fn store(&self) -> PathBuf {
        self.state_dir.join("state.redb")
    }

    /// Name of the switch in the aliases of its interfaces: the same for the same run
    /// directory, also after a crash, and another for every other one.
    pub fn instance(&self) -> String {
        if self.run_dir == Path::new(RUN_DIR) {
            return "default".to_owned();
        }
        format!("{:016x}", fnv1a(self.run_dir.as_os_str().as_encoded_bytes()))
    }
}

/// Without symbolic links as far as the path exists, so that two ways to one directory are the
/// same switch.
fn absolute(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let Some(existing) = path.ancestors().find(|p| p.exists()) else { return path };
    let Ok(real) = existing.canonicalize() else { return path };
    path.strip_prefix(existing).map_or(real.clone(), |rest| {
        if rest.as_os_str().is_empty() { real } else { real.join(rest) }
    })
}

/// FNV-1a (draft-eastlake-fnv): stable over versions of Rust, as `Hasher` is not.
pub(crate) fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_run_directory_is_another_instance() {
        let instance = |dir: &str| Paths::new(Path::new(dir), Path::new("/x")).instance();
        assert_eq!(instance(RUN_DIR), "default");
        assert_eq!(instance("/nowhere/a"), instance("/nowhere/a"));
        assert_ne!(instance("/nowhere/a"), instance("/nowhere/b"));
    }

    #[test]
    fn a_link_to_a_directory_is_the_directory() {
        let folder = tempfile::tempdir().unwrap();
        let real = folder.path().canonicalize().unwrap().join("real");
        let link = folder.path().join("link");
        std::fs::create_dir(&real).unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        assert_eq!(absolute(&link), real);
        assert_eq!(absolute(&link.join("not/yet")), real.join("not/yet"));
    }
}
