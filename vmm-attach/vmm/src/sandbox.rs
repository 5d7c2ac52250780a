//! What is left to a monitor whose guest may break out of it: its own threads, its guest's memory
//! and the files that are open already.

use std::io;

use portcullis_sandbox::Needs;

use crate::error::{Error, Result};

/// What a running monitor calls besides what every such process does: its disks.
const CALLS: &[libc::c_long] = &[libc::SYS_fdatasync, libc::SYS_pread64, libc::SYS_pwrite64];

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

/// Gives up what is not needed to go on. All threads of the process are bound from here on: enter
/// before there are any. Nobody would be left who ends it without its parent.
pub fn enter() -> Result<()> {
    let partly = &[(libc::SYS_ioctl, 1, IOCTLS)];
    let needs = Needs { calls: CALLS, partly, ends_with_parent: true };
    needs.enter().map_err(|error| Error::system("a sandbox")(io::Error::other(error)))
}
