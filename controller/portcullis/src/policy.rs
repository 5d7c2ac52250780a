//! The policy crate as the commands and the daemon use it: files in, image or refusal out.

use std::{
    ffi::OsStr,
    fs, io,
    path::{Path, PathBuf},
};

use portcullis_policy::{Compiled, Diagnostics, Moment, Sources};

use crate::{
    api::{Refused, SourceFile},
    error::Error,
};

/// Codes of violated invariants; all others are errors in the input.
const VIOLATED: &str = "PC06";

/// Reads the files; a folder stands for all `*.yaml` in it, sorted by name.
///
/// # Errors
/// [`Error::Read`] or [`Error::NoFiles`].
pub fn read(files: &[PathBuf]) -> Result<Vec<SourceFile>, Error> {
    let mut sources = Vec::new();
    for path in files {
        let meta = fs::metadata(path).map_err(error(path))?;
        if meta.is_dir() {
            let inside = yaml_files(path)?;
            if inside.is_empty() {
                return Err(Error::NoFiles { path: path.clone() });
            }
            inside.iter().try_for_each(|file| read_file(file).map(|s| sources.push(s)))?;
        } else {
            sources.push(read_file(path)?);
        }
    }
    Ok(sources)
}

fn yaml_files(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let entries = fs::read_dir(folder).map_err(error(folder))?;
    let paths = entries.map(|entry| entry.map(|e| e.path())).collect::<io::Result<Vec<_>>>();
    let mut paths = paths.map_err(error(folder))?;
    paths.retain(|path| path.extension() == Some(OsStr::new("yaml")) && path.is_file());
    paths.sort();
    Ok(paths)
}

fn read_file(path: &Path) -> Result<SourceFile, Error> {
    let text = fs::read_to_string(path).map_err(error(path))?;
    Ok(SourceFile { name: path.display().to_string(), text })
}

fn error(path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Read { path, source }
}

/// Checks and compiles.
///
/// # Errors
/// Everything that is wrong with it, for people and for programs.
pub fn compile(sources: &[SourceFile], color: bool) -> Result<Compiled, Refused> {
    portcullis_policy::compile(&texts(sources)).map_err(|d| refused(&d, color))
}

/// As [`compile`], at a moment: rules that have ended by then do not count.
///
/// # Errors
/// Everything that is wrong with it, for people and for programs.
pub fn compile_at(
    sources: &[SourceFile],
    moment: &Moment,
    color: bool,
) -> Result<Compiled, Refused> {
    portcullis_policy::compile_at(&texts(sources), moment).map_err(|d| refused(&d, color))
}

/// Checks and compiles without proving invariants: enough to explain, never to enforce.
///
/// # Errors
/// Everything that is wrong with it but violated invariants.
pub fn compile_unproved(sources: &[SourceFile], color: bool) -> Result<Compiled, Refused> {
    portcullis_policy::compile_unproved(&texts(sources)).map_err(|d| refused(&d, color))
}

fn texts(sources: &[SourceFile]) -> Sources {
    Sources::new(sources.iter().map(|s| (s.name.as_str(), s.text.as_str())))
}

fn refused(diagnostics: &Diagnostics, color: bool) -> Refused {
    use portcullis_policy::Severity;
    let errors = diagnostics.items().iter().filter(|d| d.severity() == Severity::Error);
    Refused {
        violated: errors.clone().count() > 0
            && errors.clone().all(|d| d.code().starts_with(VIOLATED)),
        rendered: diagnostics.render(color),
        diagnostics: to_json(diagnostics),
    }
}

/// Diagnostics for programs.
pub fn to_json(diagnostics: &Diagnostics) -> Vec<serde_json::Value> {
    // Plain data with string keys always has a JSON form.
    diagnostics.to_json().iter().filter_map(|d| serde_json::to_value(d).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_its_yaml_files_in_order() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b.yaml", "a.yaml", "c.txt", ".yaml"] {
            fs::write(folder.path().join(name), name).unwrap();
        }
        fs::create_dir(folder.path().join("d.yaml")).unwrap();
        let sources = read(&[folder.path().to_owned()]).unwrap();
        assert_eq!(
            sources.iter().map(|s| s.text.as_str()).collect::<Vec<_>>(),
            ["a.yaml", "b.yaml"]
        );
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("x.yaml");
        let error = read(&[missing]).unwrap_err().to_string();
        assert!(error.contains("x.yaml"), "{error}");
        let empty = read(&[folder.path().to_owned()]).unwrap_err();
        assert!(matches!(empty, Error::NoFiles { .. }), "{empty}");
        fs::write(folder.path().join("latin1.yaml"), b"a: \xe4").unwrap();
        let error = read(&[folder.path().to_owned()]).unwrap_err().to_string();
        assert!(error.contains("UTF-8"), "{error}");
    }
}
