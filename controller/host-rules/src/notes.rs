//! What was changed on this host and has to be undone: a file in the run directory, which a reboot
//! takes away together with the changes.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

const FILE: &str = "host-rules.json";

/// What was changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notes {
    /// Is there a table of ours?
    pub table: bool,
    /// Interfaces that did not forward IPv4 and do now.
    pub opened: Vec<String>,
}

impl Notes {
    /// As they were written last; nothing if they never were.
    pub fn read(run_dir: &Path) -> Result<Self> {
        let path = path(run_dir);
        match fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text).map_err(|source| Error::File {
                action: "understand",
                path,
                source: source.into(),
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(Error::file("read", path)(error)),
        }
    }

    /// Writes them, whole or not at all.
    pub fn write(&self, run_dir: &Path) -> Result<()> {
        let path = path(run_dir);
        let fresh = path.with_extension("new");
        let text = serde_json::to_vec(self).map_err(|source| Error::Listing { source })?;
        fs::write(&fresh, text).map_err(Error::file("write", &fresh))?;
        fs::rename(&fresh, &path).map_err(Error::file("rename", &path))
    }

    /// Forgets them.
    pub fn remove(run_dir: &Path) -> Result<()> {
        let path = path(run_dir);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Error::file("remove", path)(error))
            }
            _ => Ok(()),
        }
    }
}

fn path(run_dir: &Path) -> PathBuf {
    run_dir.join(FILE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_come_back_until_they_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Notes::read(folder.path()).unwrap(), Notes::default());
        let notes = Notes { table: true, opened: vec!["eth0".into()] };
        notes.write(folder.path()).unwrap();
        assert_eq!(Notes::read(folder.path()).unwrap(), notes);
        Notes::remove(folder.path()).unwrap();
        Notes::remove(folder.path()).unwrap();
        assert_eq!(Notes::read(folder.path()).unwrap(), Notes::default());
        fs::write(folder.path().join(FILE), "{").unwrap();
        let error = Notes::read(folder.path()).unwrap_err().to_string();
        assert!(error.contains("host-rules.json"), "{error}");
    }
}
