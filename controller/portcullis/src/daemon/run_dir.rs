//! The run directory: ours alone, held by one daemon.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::Path,
    thread,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
    unistd::{Gid, Group, geteuid},
};

use crate::{error::Error, paths::Paths};

const WAIT_STEP: Duration = Duration::from_millis(20);

/// The held run directory. The lock ends with the process, however it ends.
#[derive(Debug)]
pub struct RunDir {
    paths: Paths,
    _lock: Flock<File>,
}

impl RunDir {
    /// Makes the directory if needed, and takes its lock; waits for it so long, because a daemon
    /// that was killed holds it until it is dead.
    ///
    /// # Errors
    /// [`Error::Locked`], [`Error::UnsafeDir`] or [`Error::Setup`].
    pub fn hold(paths: &Paths, wait: Duration) -> Result<Self, Error> {
        make(&paths.run_dir)?;
        let end = Instant::now() + wait;
        loop {
            let lock = match lock(&paths.lock()) {
                Err(Error::Locked { .. }) if Instant::now() < end => {
                    thread::sleep(WAIT_STEP);
                    continue;
                }
                lock => lock?,
            };
            // `down` deletes the file: a lock on a deleted file holds nobody off.
            let same = |on_disk: fs::Metadata| {
                lock.metadata()
                    .is_ok_and(|held| (held.dev(), held.ino()) == (on_disk.dev(), on_disk.ino()))
            };
            if fs::metadata(paths.lock()).is_ok_and(same) {
                return Ok(Self { paths: paths.clone(), _lock: lock });
            }
        }
    }

    /// Lets a group into the directory and at the socket.
    ///
    /// # Errors
    /// [`Error::Setup`]
    pub fn admit(&self, group: Gid) -> Result<(), Error> {
        let dir = &self.paths.run_dir;
        std::os::unix::fs::chown(dir, None, Some(group.as_raw())).map_err(setup("chown", dir))?;
        // Others may be on their way to a socket of theirs in it.
        let way = fs::metadata(dir).map_err(setup("read", dir))?.permissions().mode() & 0o001;
        fs::set_permissions(dir, PermissionsExt::from_mode(0o750 | way))
            .map_err(setup("chmod", dir))
    }

    /// Removes what the daemon made in it, and the directory itself if nothing else is there.
    ///
    /// # Errors
    /// [`Error::Setup`]
    pub fn remove(self) -> Result<(), Error> {
        for file in [self.paths.socket(), self.paths.log(), self.paths.lock()] {
            match fs::remove_file(&file) {
                Err(source) if source.kind() != io::ErrorKind::NotFound => {
                    return Err(setup("remove", &file)(source));
                }
                _ => {}
            }
        }
        match fs::remove_dir(&self.paths.run_dir) {
            Err(source)
                if source.kind() != io::ErrorKind::DirectoryNotEmpty
                    && source.kind() != io::ErrorKind::ResourceBusy =>
            {
                Err(setup("remove", &self.paths.run_dir)(source))
            }
            _ => Ok(()),
        }
    }
}

/// The group with this name.
///
/// # Errors
/// [`Error::NoSuchGroup`]
pub fn group(name: &str) -> Result<Gid, Error> {
    let found = Group::from_name(name).ok().flatten();
    found.map(|g| g.gid).ok_or_else(|| Error::NoSuchGroup { group: name.to_owned() })
}

/// Makes the directory if needed. Anybody who can write in it can put his own socket in place
/// of ours, so that is refused.
///
/// # Errors
/// [`Error::UnsafeDir`] or [`Error::Setup`].
pub fn make(dir: &Path) -> Result<(), Error> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(setup("create", dir))?;
    let meta = fs::metadata(dir).map_err(setup("read", dir))?;
    let mode = meta.mode() & 0o7777;
    if meta.uid() != geteuid().as_raw() || mode & 0o022 != 0 {
        return Err(Error::UnsafeDir { path: dir.to_owned(), owner: meta.uid(), mode });
    }
    Ok(())
}

fn lock(path: &Path) -> Result<Flock<File>, Error> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    let file = options.open(path).map_err(setup("open", path))?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(mut lock) => {
            let noted = lock.set_len(0).and_then(|()| writeln!(lock, "{}", std::process::id()));
            noted.map_err(setup("write", path))?;
            Ok(lock)
        }
        Err((mut file, Errno::EWOULDBLOCK)) => {
            let mut text = String::new();
            // Only for the message: the holder may not have written it yet.
            let pid = file.read_to_string(&mut text).ok().and_then(|_| text.trim().parse().ok());
            Err(Error::Locked { path: path.to_owned(), pid })
        }
        Err((_, errno)) => Err(setup("lock", path)(errno.into())),
    }
}

/// An error while doing this to that path.
pub fn setup(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Setup { action, path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(folder: &Path) -> Paths {
        Paths::new(&folder.join("run"), &folder.join("state"))
    }

    #[test]
    fn the_directory_is_the_owners_alone_and_gone_afterwards() {
        let folder = tempfile::tempdir().unwrap();
        let paths = paths(folder.path());
        let held = RunDir::hold(&paths, Duration::ZERO).unwrap();
        let mode = fs::metadata(&paths.run_dir).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        held.remove().unwrap();
        assert!(!paths.run_dir.exists());
    }

    #[test]
    fn a_second_holder_is_told_who_has_it() {
        let folder = tempfile::tempdir().unwrap();
        let paths = paths(folder.path());
        let held = RunDir::hold(&paths, Duration::ZERO).unwrap();
        let error = RunDir::hold(&paths, Duration::ZERO).unwrap_err();
        let own = std::process::id();
        assert!(matches!(error, Error::Locked { pid: Some(pid), .. } if pid == own), "{error}");
        drop(held);
        RunDir::hold(&paths, Duration::ZERO).unwrap();
    }

    #[test]
    fn what_is_not_ours_stays() {
        let folder = tempfile::tempdir().unwrap();
        let paths = paths(folder.path());
        let held = RunDir::hold(&paths, Duration::ZERO).unwrap();
        fs::write(paths.run_dir.join("note"), "mine").unwrap();
        held.remove().unwrap();
        let left: Vec<_> = fs::read_dir(&paths.run_dir).unwrap().collect();
        assert_eq!(left.len(), 1);
    }

    #[test]
    fn a_directory_that_others_can_write_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let paths = paths(folder.path());
        fs::create_dir(&paths.run_dir).unwrap();
        fs::set_permissions(&paths.run_dir, PermissionsExt::from_mode(0o777)).unwrap();
        let error = RunDir::hold(&paths, Duration::ZERO).unwrap_err();
        assert!(matches!(error, Error::UnsafeDir { mode: 0o777, .. }), "{error}");
    }
}
