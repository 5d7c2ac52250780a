//! What is left to a monitor whose guest may break out of it: its own threads, its guest's memory
//! and the files that are open already.
//!
//! Landlock binds the calling thread and those that it starts: enter before there are others.

use std::{collections::BTreeMap, io};

use landlock::{ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, Ruleset, RulesetAttr};
use nix::{
    sys::{prctl, signal::Signal},
    unistd::{Gid, Uid, setgroups, setresgid, setresuid},
};
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule, TargetArch,
};

use crate::error::{Error, Result};

/// `nobody`: owns nothing.
const NOBODY: u32 = 65_534;

/// What a running monitor calls: reading and writing, waiting, memory, orders from the socket that
/// it was given, and the threads of devices that start and end with their drivers.
const CALLS: &[libc::c_long] = &[
    libc::SYS_accept4,
    libc::SYS_brk,
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
    libc::SYS_fdatasync,
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
    libc::SYS_pread64,
    libc::SYS_pwrite64,
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

/// What the kernel does with a tap's frames, and what is asked of KVM (`linux/kvm.h`).
const IOCTLS: &[u64] = &[
    libc::TUNSETOFFLOAD,
    libc::TUNSETQUEUE,
    // KVM_RUN.
    0xae80,
    // Registers: KVM_GET_REGS, _SREGS, _MSRS, _CPUID2, _LAPIC, _MP_STATE, _VCPU_EVENTS, _DEBUGREGS, _XSAVE, _XCRS.
    0x8090_ae81,
    0x8138_ae83,
    0xc008_ae88,
    0xc008_ae91,
    0x8400_ae8e,
    0x8004_ae98,
    0x8040_ae9f,
    0x8080_aea1,
    0x9000_aea4,
    0x8188_aea6,
    // Chips: KVM_GET_IRQCHIP, _PIT2, _CLOCK.
    0xc208_ae62,
    0x8070_ae9f,
    0x8030_ae7c,
    // Written pages: KVM_SET_USER_MEMORY_REGION, KVM_GET_DIRTY_LOG.
    0x4020_ae46,
    0x4010_ae42,
];
/// The name of a thread.
const PRCTLS: &[u64] = &[libc::PR_SET_NAME as u64];

/// Most arenas of the allocator: threads here allocate little. With its own limit, it would look in
/// the file system how many processors there are when the ninth thread comes.
const ARENAS: libc::c_int = 4;

/// Gives up what is not needed to go on. All threads of the process are bound from here on.
pub fn enter() -> Result<()> {
    limit_arenas();
    let system = |source: nix::Error| Error::system("giving up privileges")(source.into());
    if Uid::effective().is_root() {
        let (user, group) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
        setgroups(&[]).map_err(system)?;
        setresgid(group, group, group).map_err(system)?;
        setresuid(user, user, user).map_err(system)?;
    }
    // After the change of user, which would undo it: nobody is left who would end it.
    prctl::set_pdeathsig(Signal::SIGKILL).map_err(system)?;
    prctl::set_no_new_privs().map_err(system)?;
    prctl::set_dumpable(false).map_err(system)?;
    close_files().map_err(|error| Error::system("Landlock")(io::Error::other(error)))?;
    let filter = filter().map_err(|error| Error::system("a filter")(io::Error::other(error)))?;
    seccompiler::apply_filter_all_threads(&filter)
        .map_err(|error| Error::system("seccomp")(io::Error::other(error)))
}

#[allow(unsafe_code)]
fn limit_arenas() {
    // SAFETY: sets a number, which threads to come read under the allocator's lock.
    unsafe { libc::mallopt(libc::M_ARENA_MAX, ARENAS) };
}

/// No file and no port of the network can be opened any more, where the kernel can do that.
fn close_files() -> std::result::Result<(), landlock::RulesetError> {
    let newest = ABI::V5;
    Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(newest))?
        .handle_access(AccessNet::from_all(newest))?
        .create()?
        .restrict_self()
        .map(drop)
}

fn filter() -> std::result::Result<BpfProgram, BackendError> {
    let mut rules: BTreeMap<_, _> = CALLS.iter().map(|call| (*call, Vec::new())).collect();
    rules.insert(libc::SYS_ioctl, one_of(1, IOCTLS)?);
    rules.insert(libc::SYS_prctl, one_of(0, PRCTLS)?);
    let (otherwise, allowed) = (SeccompAction::KillProcess, SeccompAction::Allow);
    SeccompFilter::new(rules, otherwise, allowed, TargetArch::x86_64)?.try_into()
}

/// An argument has one of these values.
fn one_of(argument: u8, values: &[u64]) -> std::result::Result<Vec<SeccompRule>, BackendError> {
    let rule = |value: &u64| {
        let (length, is) = (SeccompCmpArgLen::Dword, SeccompCmpOp::Eq);
        SeccompRule::new(vec![SeccompCondition::new(argument, length, is, *value)?])
    };
    values.iter().map(rule).collect()
}
