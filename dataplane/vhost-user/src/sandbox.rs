//! What is left to the engine, whose work is with memory of guests and messages of their monitors.

use libc::{FIONBIO, TUNSETOFFLOAD, c_long};
use portcullis_sandbox::Needs;

/// What it calls besides what every such process does: front ends' sockets and memory, and guests.
const CALLS: &[c_long] = &[
    libc::SYS_fstat,
    libc::SYS_fstatfs,
    libc::SYS_getsockopt,
    libc::SYS_io_destroy,
    libc::SYS_io_getevents,
    libc::SYS_io_submit,
    libc::SYS_lseek,
    libc::SYS_memfd_create,
    libc::SYS_newfstatat,
    libc::SYS_readlink,
    libc::SYS_readlinkat,
    libc::SYS_recvfrom,
    libc::SYS_sendto,
    libc::SYS_setsockopt,
    libc::SYS_shutdown,
    libc::SYS_statx,
];
/// Taps, and what is not to wait.
const IOCTLS: &[u64] = &[FIONBIO, TUNSETOFFLOAD];
/// Tables are read: `BPF_MAP_LOOKUP_ELEM`, `BPF_MAP_GET_NEXT_KEY`, `BPF_MAP_LOOKUP_BATCH` (`linux/bpf.h`).
const TABLES: &[u64] = &[1, 4, 24];

/// All of it. It outlives the daemon that has started it.
pub const NEEDS: Needs<'_> = Needs {
    calls: CALLS,
    partly: &[(libc::SYS_ioctl, 1, IOCTLS), (libc::SYS_bpf, 0, TABLES)],
    ends_with_parent: false,
};
