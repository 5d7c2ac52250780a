//! Network namespaces without a name: they end with the last file descriptor that holds them, so
//! nothing of a bench outlives its process, however it ends.

use std::{fs::File, os::fd::AsRawFd, path::PathBuf, thread};

use nix::sched::{CloneFlags, CpuSet, sched_setaffinity, setns, unshare};
use nix::unistd::Pid;

use crate::{command, error::Error};

/// A network namespace.
#[derive(Debug)]
pub struct Namespace {
    file: File,
}

impl Namespace {
    /// A new, empty namespace in which iptables does not see bridges: br_netfilter is on in every
    /// new one and makes a bridge a third slower (facts/peers.md, section 2).
    pub fn new() -> Result<Self, Error> {
        let file = thread::scope(|scope| {
            scope
                .spawn(|| {
                    unshare(CloneFlags::CLONE_NEWNET).map_err(|e| {
                        Error::system("making a network namespace (run as root)", e)
                    })?;
                    File::open("/proc/thread-self/ns/net")
                        .map_err(|e| Error::system("/proc/thread-self/ns/net", e))
                })
                .join()
        });
        let namespace = Self { file: joined(file)? };
        for table in ["iptables", "ip6tables", "arptables"] {
            namespace.sysctl(&format!("net/bridge/bridge-nf-call-{table}"), "0")?;
        }
        Ok(namespace)
    }

    /// The same without IPv6, whose unasked frames would only disturb the counts.
    pub fn without_ipv6() -> Result<Self, Error> {
        let namespace = Self::new()?;
        namespace.sysctl("net/ipv6/conf/default/disable_ipv6", "1")?;
        Ok(namespace)
    }

    /// The same namespace once more.
    pub fn try_clone(&self) -> Result<Self, Error> {
        let file = self.file.try_clone().map_err(|e| Error::system("a network namespace", e))?;
        Ok(Self { file })
    }

    /// Runs `work` on a thread of its own inside this namespace.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> Result<T, Error> + Send) -> Result<T, Error> {
        joined(thread::scope(|scope| {
            scope
                .spawn(|| {
                    setns(&self.file, CloneFlags::CLONE_NEWNET)
                        .map_err(|e| Error::system("entering a network namespace", e))?;
                    work()
                })
                .join()
        }))
    }

    /// Where another program or thread of this process finds the namespace.
    pub fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), self.file.as_raw_fd()))
    }

    /// Runs a script of `ip` commands, one a line.
    pub fn ip(&self, script: &str) -> Result<(), Error> {
        self.run(|| command::run("ip", &["-batch", "-"], script).map(drop))
    }

    /// Loads an nftables ruleset.
    pub fn nft(&self, ruleset: &str) -> Result<(), Error> {
        self.run(|| command::run("nft", &["-f", "-"], ruleset).map(drop))
    }

    /// Writes `/proc/sys/NAME` as it is seen inside.
    pub fn sysctl(&self, name: &str, value: &str) -> Result<(), Error> {
        self.run(|| {
            let path = format!("/proc/sys/{name}");
            std::fs::write(&path, value).map_err(|e| Error::system(path, e))
        })
    }
}

/// Runs `work` on a thread of its own that stays on one CPU.
pub fn on_cpu<T: Send>(
    cpu: usize,
    work: impl FnOnce() -> Result<T, Error> + Send,
) -> Result<T, Error> {
    joined(thread::scope(|scope| {
        scope
            .spawn(|| {
                pin_this_thread(cpu)?;
                work()
            })
            .join()
    }))
}

/// Keeps the calling thread on one CPU.
pub fn pin_this_thread(cpu: usize) -> Result<(), Error> {
    let mut set = CpuSet::new();
    set.set(cpu)
        .and_then(|()| sched_setaffinity(Pid::from_raw(0), &set))
        .map_err(|e| Error::system(format!("keeping a thread on CPU {cpu}"), e))
}

/// A thread's result; its panic goes on in this one.
fn joined<T>(result: thread::Result<Result<T, Error>>) -> Result<T, Error> {
    result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
