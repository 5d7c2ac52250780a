//! What is left to a process that guests and their monitors talk to, and that may be broken into: its
//! own threads, its memory, and the files that are open already.
//!
//! Landlock binds the calling thread and those that it starts: enter before there are others.

use std::collections::BTreeMap;

use landlock::{ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, Ruleset, RulesetAttr};
use nix::{
    sys::{prctl, signal::Signal},
    unistd::{Gid, Uid, setgroups, setresgid, setresuid},
};
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule, TargetArch,
};

/// `nobody`: owns nothing.
pub const NOBODY: u32 = 65_534;

/// What every such process calls: reading and writing what is open, waiting, memory, threads.
const CALLS: &[libc::c_long] = &[
    libc::SYS_accept4,
    libc::SYS_brk,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_clone,
    libc::SYS_clone3,
    libc::SYS_close,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_wait,
    libc::SYS_eventfd2,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_fcntl,
    libc::SYS_ftruncate,
    libc::SYS_futex,
    libc::SYS_getpid,
    libc::SYS_getrandom,
    libc::SYS_gettid,
    libc::SYS_madvise,
    libc::SYS_mmap,
    libc::SYS_mprotect,
    libc::SYS_mremap,
    libc::SYS_munmap,
    libc::SYS_nanosleep,
    libc::SYS_poll,
    libc::SYS_ppoll,
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_recvmsg,
    libc::SYS_restart_syscall,
    libc::SYS_rseq,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_yield,
    libc::SYS_sendmsg,
    libc::SYS_set_robust_list,
    libc::SYS_sigaltstack,
    libc::SYS_tgkill,
    libc::SYS_tkill,
    libc::SYS_write,
    libc::SYS_writev,
];
/// The name of a thread, and what the kernel says of itself (`PR_GET_AUXV`), where the clock is.
const PRCTLS: &[u64] = &[libc::PR_SET_NAME as u64, 0x4155_5856];

/// Most arenas of the allocator: threads here allocate little. With its own limit, it would look in
/// the file system how many processors there are when the ninth thread comes.
const ARENAS: libc::c_int = 4;

/// Why a process could not give up what it had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its user, its groups, or being looked into.
    #[error("giving up privileges: {0}")]
    Privileges(#[from] nix::Error),
    /// The file system.
    #[error("Landlock: {0}")]
    Files(#[from] landlock::RulesetError),
    /// A filter that cannot be.
    #[error("a filter of system calls: {0}")]
    Filter(#[from] BackendError),
    /// The kernel does not take it.
    #[error("seccomp: {0}")]
    Seccomp(#[from] seccompiler::Error),
}

/// A system call that is left for some values of one argument: its number, the argument's, the values.
pub type Partly<'a> = (libc::c_long, u8, &'a [u64]);

/// What a process goes on to call, besides what every such process does.
#[derive(Clone, Copy, Debug)]
pub struct Needs<'a> {
    /// System calls.
    pub calls: &'a [libc::c_long],
    /// Those of which only a part is needed.
    pub partly: &'a [Partly<'a>],
    /// Is it to end with the process that has started it?
    pub ends_with_parent: bool,
}

impl Needs<'_> {
    /// Gives up all else. All threads of the process are bound from here on.
    ///
    /// # Errors
    /// The kernel refuses: the process is not to go on.
    pub fn enter(&self) -> Result<(), Error> {
        limit_arenas();
        if Uid::effective().is_root() {
            let (user, group) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
            setgroups(&[])?;
            setresgid(group, group, group)?;
            setresuid(user, user, user)?;
        }
        // After the change of user, which would undo it.
        if self.ends_with_parent {
            prctl::set_pdeathsig(Signal::SIGKILL)?;
        }
        prctl::set_no_new_privs()?;
        prctl::set_dumpable(false)?;
        close_files()?;
        Ok(seccompiler::apply_filter_all_threads(&self.filter()?)?)
    }

    fn filter(&self) -> Result<BpfProgram, BackendError> {
        let calls = CALLS.iter().chain(self.calls);
        let mut rules: BTreeMap<_, _> = calls.map(|call| (*call, Vec::new())).collect();
        let own: Partly<'_> = (libc::SYS_prctl, 0, PRCTLS);
        for (call, argument, values) in self.partly.iter().chain([&own]) {
            rules.insert(*call, one_of(*argument, values)?);
        }
        let (otherwise, allowed) = (SeccompAction::KillProcess, SeccompAction::Allow);
        SeccompFilter::new(rules, otherwise, allowed, TargetArch::x86_64)?.try_into()
    }
}

#[allow(unsafe_code)]
fn limit_arenas() {
    // SAFETY: sets a number, which threads to come read under the allocator's lock.
    unsafe { libc::mallopt(libc::M_ARENA_MAX, ARENAS) };
}

/// No file and no port of the network can be opened any more, where the kernel can do that.
fn close_files() -> Result<(), landlock::RulesetError> {
    let newest = ABI::V5;
    Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(newest))?
        .handle_access(AccessNet::from_all(newest))?
        .create()?
        .restrict_self()
        .map(drop)
}

/// An argument has one of these values.
fn one_of(argument: u8, values: &[u64]) -> Result<Vec<SeccompRule>, BackendError> {
    let rule = |value: &u64| {
        let (length, is) = (SeccompCmpArgLen::Dword, SeccompCmpOp::Eq);
        SeccompRule::new(vec![SeccompCondition::new(argument, length, is, *value)?])
    };
    values.iter().map(rule).collect()
}
