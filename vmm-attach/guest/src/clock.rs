//! The time, as KVM keeps it for its guests (Linux' Documentation/virt/kvm/x86/msr.rst,
//! `MSR_KVM_SYSTEM_TIME_NEW`): no clock has to be measured, and no exit is needed to read it.

use core::sync::atomic::{AtomicI8, AtomicU32, AtomicU64, Ordering, compiler_fence};

use smoltcp::time::Instant;

use crate::cpu;

/// `struct pvclock_vcpu_time_info`.
#[repr(C, align(32))]
struct Time {
    version: AtomicU32,
    _padding: u32,
    ticks: AtomicU64,
    /// Nanoseconds at those ticks.
    time_ns: AtomicU64,
    /// Nanoseconds of a (shifted) tick, over 2^32.
    factor: AtomicU32,
    shift: AtomicI8,
    _flags: [u8; 3],
}

static TIME: Time = Time {
    version: AtomicU32::new(0),
    _padding: 0,
    ticks: AtomicU64::new(0),
    time_ns: AtomicU64::new(0),
    factor: AtomicU32::new(0),
    shift: AtomicI8::new(0),
    _flags: [0; 3],
};

/// Starts it.
pub fn start() {
    cpu::keep_time(&raw const TIME as usize);
    assert!(TIME.factor.load(Ordering::Relaxed) != 0, "this machine keeps no time for guests");
}

/// Nanoseconds since the machine was made.
pub fn now_ns() -> u64 {
    loop {
        let version = TIME.version.load(Ordering::Acquire);
        compiler_fence(Ordering::SeqCst);
        let passed = cpu::ticks().wrapping_sub(TIME.ticks.load(Ordering::Relaxed));
        let shift = TIME.shift.load(Ordering::Relaxed);
        let passed = if shift < 0 { passed >> -shift } else { passed << shift };
        let factor = u128::from(TIME.factor.load(Ordering::Relaxed));
        let passed = (u128::from(passed) * factor >> 32) as u64;
        let now = TIME.time_ns.load(Ordering::Relaxed).wrapping_add(passed);
        compiler_fence(Ordering::SeqCst);
        if version & 1 == 0 && version == TIME.version.load(Ordering::Acquire) {
            return now;
        }
    }
}

/// The same, as the network stack counts it.
pub fn now() -> Instant {
    Instant::from_micros((now_ns() / 1000) as i64)
}
