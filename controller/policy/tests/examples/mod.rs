//! The policies in `policies/`, with everything that they include.

use std::{fs, io, path::PathBuf};

use portcullis_policy::{
    Sources,
    include::{LoadError, Loader, load},
};

/// Files of this repository.
struct Disk;

impl Disk {
    fn path(name: &str) -> PathBuf {
        PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).join(name)
    }
}

fn refused(error: io::Error) -> LoadError {
    match error.kind() {
        io::ErrorKind::NotFound => LoadError::Missing,
        io::ErrorKind::NotADirectory | io::ErrorKind::IsADirectory => LoadError::OtherKind,
        _ => LoadError::Unreadable { reason: error.to_string() },
    }
}

impl Loader for Disk {
    fn read(&self, path: &str) -> Result<String, LoadError> {
        fs::read_to_string(Self::path(path)).map_err(refused)
    }

    fn list(&self, folder: &str) -> Result<Vec<String>, LoadError> {
        let entries = fs::read_dir(Self::path(folder)).map_err(refused)?;
        let name = |e: io::Result<fs::DirEntry>| Ok(e?.file_name().to_string_lossy().into_owned());
        entries.map(|e| name(e).map_err(refused)).collect()
    }
}

/// Names of the examples, without `.yaml`, sorted.
pub fn names() -> Vec<String> {
    let files = Disk.list("policies").expect("policies/");
    let mut names: Vec<String> =
        files.iter().filter_map(|f| f.strip_suffix(".yaml")).map(str::to_owned).collect();
    names.sort();
    assert!(names.len() >= 12, "{names:?}");
    names
}

/// One of them.
pub fn example(name: &str) -> Sources {
    load([format!("policies/{name}.yaml").as_str()], &Disk).unwrap_or_else(|e| panic!("{e}"))
}
