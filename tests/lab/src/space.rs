//! A network namespace.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
};

use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, setns, unshare},
};

use crate::{Error, Result, process};

/// Where `ip netns` and everybody else look for named namespaces.
const NAMESPACES: &str = "/run/netns";

/// A named network namespace. A handle: cloning it makes no second namespace, dropping it does
/// not remove one (its [`Lab`](crate::Lab) does).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Space {
    name: String,
}

impl Space {
    /// Makes a namespace with this name, its loopback up.
    pub fn create(name: &str) -> Result<Self> {
        let space = Self { name: name.to_owned() };
        let path = space.path();
        prepare()?;
        File::create_new(&path).map_err(Error::file(&path))?;
        // A thread of its own: the namespace must not be ours.
        let made = thread::scope(|scope| {
            let maker = scope.spawn(|| {
                unshare(CloneFlags::CLONE_NEWNET).map_err(Error::system("unshare CLONE_NEWNET"))?;
                let own = Some("/proc/thread-self/ns/net");
                mount(own, &path, None::<&str>, MsFlags::MS_BIND, None::<&str>)
                    .map_err(Error::system(format!("mounting {}", path.display())))
            });
            maker.join().unwrap_or_else(|_| Err(Error::Thread { space: name.to_owned() }))
        });
        if let Err(error) = made {
            let _ = fs::remove_file(&path);
            return Err(error);
        }
        space.ip("link set lo up")?;
        Ok(space)
    }

    /// A handle for a namespace that exists.
    pub fn existing(name: &str) -> Self {
        Self { name: name.to_owned() }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file that stands for it.
    pub fn path(&self) -> PathBuf {
        Path::new(NAMESPACES).join(&self.name)
    }

    /// `net:[4026532000]`: what `/proc/PID/ns/net` says of processes in it.
    pub fn identity(&self) -> Option<String> {
        use std::os::unix::fs::MetadataExt;
        Some(format!("net:[{}]", fs::metadata(self.path()).ok()?.ino()))
    }

    /// Runs `inside` on a thread that is in the namespace (and in nothing else of its own: mounts
    /// stay visible, unlike with `ip netns exec`).
    pub fn enter<T: Send>(&self, inside: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        let path = self.path();
        let file = File::open(&path).map_err(Error::file(&path))?;
        let result = thread::scope(|scope| {
            scope
                .spawn(move || {
                    setns(&file, CloneFlags::CLONE_NEWNET)
                        .map_err(Error::system(format!("entering {}", path.display())))?;
                    inside()
                })
                .join()
        });
        result.unwrap_or_else(|_| Err(Error::Thread { space: self.name.clone() }))
    }

    /// Starts a command in the namespace.
    pub fn spawn(&self, mut command: Command) -> Result<Child> {
        let name = process::line(&command);
        self.enter(move || command.spawn().map_err(Error::system(format!("starting `{name}`"))))
    }

    /// Runs a command in the namespace to its end, at most `seconds`.
    pub fn run(&self, mut command: Command, seconds: u64) -> Result<process::Output> {
        let line = process::line(&command);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        process::finish(self.spawn(command)?, line, seconds)
    }

    /// Runs a command given as words, at most 30 s; its failure is an error. Returns what it
    /// printed.
    pub fn sh(&self, line: &str) -> Result<String> {
        let mut words = line.split_whitespace();
        let mut command = Command::new(words.next().unwrap_or_default());
        command.args(words);
        self.run(command, 30)?.success()
    }

    /// `ip ARGUMENTS` in the namespace.
    pub fn ip(&self, arguments: &str) -> Result<String> {
        self.sh(&format!("ip {arguments}"))
    }

    /// What the namespace's kernel has counted under these names (`nstat`), added up.
    pub fn counted(&self, names: &[&str]) -> Result<u64> {
        let line = format!("nstat -asz {}", names.join(" "));
        let output = self.sh(&line)?;
        let count = |name: &&str| {
            let mut words = output.lines().map(str::split_whitespace);
            words.find_map(|mut line| line.next().filter(|word| word == name).and(line.next()))
        };
        let counts = names.iter().map(|name| count(name)?.parse::<u64>().ok());
        let sum = counts.sum::<Option<u64>>();
        sum.ok_or(Error::Output { command: line, output })
    }

    /// Sets a value under `/proc/sys`.
    pub fn sysctl(&self, key: &str, value: &str) -> Result<()> {
        let path = Path::new("/proc/sys").join(key);
        self.enter(|| fs::write(&path, value).map_err(Error::file(&path)))
    }

    /// Names of its interfaces, loopback left out.
    pub fn interfaces(&self) -> Result<Vec<String>> {
        self.enter(|| {
            let all = nix::net::if_::if_nameindex().map_err(Error::system("if_nameindex"))?;
            let names = all.iter().map(|i| i.name().to_string_lossy().into_owned());
            Ok(names.filter(|name| name != "lo").collect())
        })
    }

    /// Ends all processes in it and removes it. Fine when it is gone already.
    pub fn remove(&self) {
        if let Some(identity) = self.identity() {
            process::kill_in_namespace(&identity);
        }
        let _ = umount2(&self.path(), MntFlags::MNT_DETACH);
        let _ = fs::remove_file(self.path());
    }
}

/// Makes the directory of the names a shared mount of its own, exactly as `ip netns add` does.
/// Else the first `ip netns add` on this machine would do it later, on top of names that are
/// mounted already, and these could never be taken away again.
fn prepare() -> Result<()> {
    fs::create_dir_all(NAMESPACES).map_err(Error::file(NAMESPACES))?;
    // The lock that `ip netns add` takes for the same reason.
    let lock = File::open(NAMESPACES).map_err(Error::file(NAMESPACES))?;
    lock.lock().map_err(Error::file(NAMESPACES))?;
    let none = None::<&str>;
    let share = || mount(none, NAMESPACES, none, MsFlags::MS_SHARED | MsFlags::MS_REC, none);
    if share().is_ok() {
        return Ok(());
    }
    let bind = MsFlags::MS_BIND | MsFlags::MS_REC;
    mount(Some(NAMESPACES), NAMESPACES, none, bind, none)
        .and_then(|()| share())
        .map_err(Error::system(format!("sharing {NAMESPACES}")))
}
