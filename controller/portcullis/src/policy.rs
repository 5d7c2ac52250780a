//! The policy crate as the commands and the daemon use it: files in, image or refusal out.

use std::{
    cell::OnceCell,
    ffi::OsStr,
    fs, io,
    path::{Path, PathBuf},
};

use portcullis_policy::{
    Compiled, Diagnostics, File, Moment, Severity, Sources,
    include::{self, LoadError, LoadRefused, Loader},
};

use crate::{
    api::{Refused, SourceFile},
    error::Error,
};

/// Codes of violated invariants begin with one of these; all others are errors in the input.
const VIOLATED: [&str; 2] = ["PC06", "PC1405"];

/// Reads the files and what they include; a folder stands for all `*.yaml` in it, sorted by
/// name, and `-` for standard input.
///
/// # Errors
/// [`Error::Read`] or [`Error::NoFiles`]; [`Error::Refused`] for what files include.
pub fn read(files: &[PathBuf]) -> Result<Vec<SourceFile>, Error> {
    let mut roots = Vec::new();
    for path in files {
        let text = path.to_str().ok_or_else(|| Error::Read {
            path: path.clone(),
            source: LoadError::Unreadable { reason: "its name is not UTF-8".into() },
        })?;
        roots.push(text);
    }
    let disk = Disk { stdin: OnceCell::new() };
    let sources = include::load(roots, &disk).map_err(|refusal| match refusal {
        LoadRefused::Root { path, error: source } => Error::Read { path: path.into(), source },
        LoadRefused::NoFiles { path } => Error::NoFiles { path: path.into() },
        LoadRefused::Include(diagnostics) => refused(&diagnostics, false).into(),
    })?;
    let name = |name: &str| if name == STDIN { STDIN_NAME } else { name }.to_owned();
    let file = |f: &File| SourceFile { name: name(f.name()), text: f.text().to_owned() };
    Ok(sources.files().iter().map(file).collect())
}

/// What the user writes for standard input, and what messages call it.
const STDIN: &str = "-";
const STDIN_NAME: &str = "(stdin)";

/// Files as the system has them. Standard input can be read once.
struct Disk {
    stdin: OnceCell<Result<String, LoadError>>,
}

impl Loader for Disk {
    fn read(&self, path: &str) -> Result<String, LoadError> {
        if path == STDIN {
            let read = || io::read_to_string(io::stdin()).map_err(|e| unreadable(&e));
            return self.stdin.get_or_init(read).clone();
        }
        fs::read_to_string(path).map_err(|e| unreadable(&e))
    }

    fn list(&self, folder: &str) -> Result<Vec<String>, LoadError> {
        if folder == STDIN {
            return Err(LoadError::OtherKind);
        }
        let entries = fs::read_dir(folder).map_err(|e| unreadable(&e))?;
        let name = |entry: io::Result<fs::DirEntry>| match entry {
            // A folder called `x.yaml` is no policy, and a name that is no text no name.
            Ok(entry) if entry.path().is_file() || !is_yaml(&entry.path()) => {
                Ok(entry.file_name().into_string().ok())
            }
            Ok(_) => Ok(None),
            Err(error) => Err(unreadable(&error)),
        };
        entries.filter_map(|entry| name(entry).transpose()).collect()
    }
}

fn is_yaml(path: &Path) -> bool {
    path.extension() == Some(OsStr::new("yaml"))
}

fn unreadable(error: &io::Error) -> LoadError {
    match error.kind() {
        io::ErrorKind::NotFound => LoadError::Missing,
        io::ErrorKind::NotADirectory | io::ErrorKind::IsADirectory => LoadError::OtherKind,
        _ => LoadError::Unreadable { reason: error.to_string() },
    }
}

/// Now, with nothing remembered: rules that last for a duration begin now.
pub fn now() -> Moment {
    Moment::at(crate::daemon::log::unix_seconds())
}

/// Checks and compiles without proving invariants: enough to explain, never to enforce.
///
/// # Errors
/// Everything that is wrong with it but violated invariants.
pub fn compile_unproved(sources: &[SourceFile], color: bool) -> Result<Compiled, Refused> {
    portcullis_policy::compile_unproved_at(&texts(sources), &now()).map_err(|d| refused(&d, color))
}

/// The files as the policy crate takes them.
pub fn texts(sources: &[SourceFile]) -> Sources {
    Sources::new(sources.iter().map(|s| (s.name.as_str(), s.text.as_str())))
}

/// A refusal for people and for programs.
pub fn refused(diagnostics: &Diagnostics, color: bool) -> Refused {
    Refused {
        violated: is_violated(diagnostics),
        rendered: diagnostics.render(color),
        diagnostics: to_json(diagnostics),
    }
}

/// Is the policy sound in all but its invariants?
pub fn is_violated(diagnostics: &Diagnostics) -> bool {
    let errors = diagnostics.items().iter().filter(|d| d.severity() == Severity::Error);
    let mut codes = errors.map(portcullis_policy::Diagnostic::code).peekable();
    codes.peek().is_some() && codes.all(|code| VIOLATED.iter().any(|start| code.starts_with(start)))
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

    #[test]
    fn what_is_included_is_read_from_the_folder_of_the_file() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("rules")).unwrap();
        fs::write(folder.path().join("rules/b.yaml"), "rules: []\n").unwrap();
        fs::write(folder.path().join("rules/a.yaml"), "sets: {}\n").unwrap();
        let main = folder.path().join("main.yaml");
        fs::write(&main, "include: rules/\n").unwrap();
        let names: Vec<String> =
            read(std::slice::from_ref(&main)).unwrap().into_iter().map(|s| s.name).collect();
        assert!(
            names[1].ends_with("rules/a.yaml") && names[2].ends_with("rules/b.yaml"),
            "{names:?}"
        );
        fs::write(&main, "include: rulez/\n").unwrap();
        let error = read(&[main]).unwrap_err().to_string();
        assert!(error.contains("main.yaml:1:10") && error.contains("rules"), "{error}");
    }
}
