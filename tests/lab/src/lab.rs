//! A lab: what a test or the demo made, removed together.

use std::{
    fs,
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU32, Ordering},
};

use nix::mount::{MntFlags, umount2};

use crate::{
    Error, Result, Space,
    process::{kill_in_namespace, lives, start_time},
};

/// One directory a lab: its owner, its files, the switch's run directory.
const LABS: &str = "/run/portcullis-lab";

/// Everything that belongs together. Dropping it removes all of it.
#[derive(Debug)]
pub struct Lab {
    name: String,
    owner: i32,
}

impl Lab {
    /// A new lab. Its name is `tag`, the process's number and a count, so that several may be at
    /// a time; labs whose process is gone are removed first.
    pub fn new(tag: &str) -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        Self::named(&format!("{tag}{}n{count}", process::id()))
    }

    /// A new lab with exactly this name.
    pub fn named(name: &str) -> Result<Self> {
        remove_stale();
        let lab = Self { name: name.to_owned(), owner: process::id() as i32 };
        let dir = lab.dir();
        fs::create_dir_all(LABS).map_err(Error::file(LABS))?;
        // Its owner file comes with the directory: a directory without one is stale.
        let fresh = dir.with_extension("new");
        fs::create_dir_all(&fresh).map_err(Error::file(&fresh))?;
        let owner = format!("{} {}", lab.owner, start_time(lab.owner).unwrap_or(0));
        fs::write(fresh.join("owner"), owner).map_err(Error::file(fresh.join("owner")))?;
        fs::rename(&fresh, &dir).map_err(Error::file(&dir))?;
        Ok(lab)
    }

    /// Its name, the prefix of its namespaces.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A directory for its files.
    pub fn dir(&self) -> PathBuf {
        Path::new(LABS).join(&self.name)
    }

    /// Makes a namespace of the lab.
    pub fn space(&self, name: &str) -> Result<Space> {
        Space::create(&format!("{}-{name}", self.name))
    }

    /// Writes a file into the lab's directory.
    pub fn file(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.dir().join(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(Error::file(parent))?;
        }
        fs::write(&path, text).map_err(Error::file(&path))?;
        Ok(path)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        // A forked child that unwinds must not remove its parent's lab.
        if process::id() as i32 == self.owner {
            remove(&self.name);
        }
    }
}

/// The process that owns the lab with this name, if it lives.
pub fn owner(name: &str) -> Option<i32> {
    let text = fs::read_to_string(Path::new(LABS).join(name).join("owner")).ok()?;
    let (pid, started) = text.split_once(' ')?;
    let (pid, started) = (pid.parse().ok()?, started.parse().ok()?);
    lives(pid, started).then_some(pid)
}

/// Removes labs whose process is gone.
pub fn remove_stale() {
    for name in names() {
        if !name.ends_with(".new") && owner(&name).is_none() {
            remove(&name);
        }
    }
}

fn names() -> Vec<String> {
    let Ok(entries) = fs::read_dir(LABS) else { return Vec::new() };
    entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect()
}

/// Removes all that is left of a lab: processes in its namespaces, mounts under its directory,
/// namespaces (and with them interfaces), files. What is gone already is no error.
pub fn remove(name: &str) {
    let spaces = spaces(name);
    // Processes of all namespaces first: one that dies late must not make something anew.
    for space in &spaces {
        if let Some(identity) = space.identity() {
            kill_in_namespace(&identity);
        }
    }
    let dir = Path::new(LABS).join(name);
    for mount in mounts_below(&dir) {
        let _ = umount2(&mount, MntFlags::MNT_DETACH);
    }
    for space in &spaces {
        space.remove();
    }
    let _ = fs::remove_dir_all(&dir);
    let _ = fs::remove_dir(LABS);
}

/// The namespaces of a lab.
pub fn spaces(name: &str) -> Vec<Space> {
    let prefix = format!("{name}-");
    let Ok(entries) = fs::read_dir("/run/netns") else { return Vec::new() };
    entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|file| file.starts_with(&prefix))
        .map(|file| Space::existing(&file))
        .collect()
}

/// Mount points below a directory, the innermost first.
fn mounts_below(dir: &Path) -> Vec<PathBuf> {
    let Ok(mounts) = fs::read_to_string("/proc/self/mounts") else { return Vec::new() };
    let mut below: Vec<PathBuf> = mounts
        .lines()
        .filter_map(|line| line.split(' ').nth(1))
        .map(PathBuf::from)
        .filter(|path| path.starts_with(dir))
        .collect();
    below.reverse();
    below
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lab_leaves_nothing_behind() {
        let lab = Lab::new("plt").unwrap();
        let name = lab.name().to_owned();
        let a = lab.space("a").unwrap();
        a.ip("link add x type veth peer name y").unwrap();
        let mut names = a.interfaces().unwrap();
        names.sort();
        assert_eq!(names, ["x", "y"]);
        let mut child = a.spawn({
            let mut sleep = process::Command::new("sleep");
            sleep.arg("60");
            sleep
        });
        let pid = child.as_ref().unwrap().id() as i32;
        assert_eq!(owner(&name), Some(process::id() as i32));
        drop(lab);
        child.as_mut().unwrap().wait().unwrap();
        assert_eq!(start_time(pid), None);
        assert!(spaces(&name).is_empty());
        assert!(!Path::new(LABS).join(&name).exists());
    }

    #[test]
    fn a_lab_is_removed_on_panic() {
        let name = std::panic::catch_unwind(|| {
            let lab = Lab::new("plp").unwrap();
            lab.space("a").unwrap();
            std::panic::resume_unwind(Box::new(lab.name().to_owned()));
        })
        .unwrap_err()
        .downcast::<String>()
        .unwrap();
        assert!(spaces(&name).is_empty());
    }

    #[test]
    fn a_lab_without_a_living_owner_is_stale() {
        let lab = Lab::new("pls").unwrap();
        let space = lab.space("a").unwrap();
        let name = lab.name().to_owned();
        fs::write(lab.dir().join("owner"), "1 1").unwrap();
        remove_stale();
        assert!(spaces(&name).is_empty());
        assert!(!space.path().exists());
    }
}
