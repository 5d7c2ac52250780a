//! A 64-bit word that several processors read and write at once.

#![allow(unsafe_code)]

use core::cell::UnsafeCell;
#[cfg(not(target_arch = "bpf"))]
use core::sync::atomic::{AtomicU64, Ordering};

use zerocopy::{FromBytes, IntoBytes};

/// A shared word of a table entry. Single reads and writes are never torn; a sequence of them is
/// not atomic, so every word says in its doc comment who writes it.
#[derive(Default, FromBytes, IntoBytes)]
#[repr(transparent)]
pub struct Word(UnsafeCell<u64>);

// SAFETY: all access goes through `get` and `set`, which are single 64-bit moves.
unsafe impl Sync for Word {}

impl Word {
    /// A word that holds `value`.
    #[inline(always)]
    pub const fn new(value: u64) -> Self {
        Self(UnsafeCell::new(value))
    }

    /// The value now. LLVM's BPF back end cannot select a relaxed atomic load, so eBPF reads
    /// volatile, which is one 64-bit move there.
    #[inline(always)]
    pub fn get(&self) -> u64 {
        #[cfg(target_arch = "bpf")]
        // SAFETY: the pointer comes from a live reference; volatile keeps it one move.
        unsafe {
            core::ptr::read_volatile(self.0.get())
        }
        #[cfg(not(target_arch = "bpf"))]
        // SAFETY: valid and aligned as above; all access to it is atomic.
        unsafe {
            AtomicU64::from_ptr(self.0.get()).load(Ordering::Relaxed)
        }
    }

    /// Adds to the value; for words that have one writer.
    #[inline(always)]
    pub fn add(&self, n: u64) {
        self.set(self.get().wrapping_add(n));
    }

    /// Adds to the value in one step, whoever else does: for words with many writers.
    #[inline(always)]
    pub fn add_shared(&self, n: u64) {
        #[cfg(target_arch = "bpf")]
        // SAFETY: one addition to eight aligned bytes, as the pointer comes from a live reference.
        // `core` has no atomic additions for this target, whose backend has them.
        unsafe {
            core::arch::asm!("lock *(u64 *)({0} + 0) += {1}", in(reg) self.0.get(), in(reg) n)
        }
        #[cfg(not(target_arch = "bpf"))]
        // SAFETY: valid and aligned as above; all access to it is atomic.
        unsafe {
            AtomicU64::from_ptr(self.0.get()).fetch_add(n, Ordering::Relaxed);
        }
    }

    /// Sets bits, and tells what was there before: one step, whoever else does it. In eBPF, whose
    /// compiler has no such operation in `core`, it is the back end's.
    #[cfg(not(target_arch = "bpf"))]
    #[inline(always)]
    pub fn join(&self, bits: u64) -> u64 {
        // SAFETY: valid and aligned as above; all access to it is atomic.
        unsafe { AtomicU64::from_ptr(self.0.get()) }.fetch_or(bits, Ordering::Relaxed)
    }

    /// Replaces the value.
    #[inline(always)]
    pub fn set(&self, value: u64) {
        #[cfg(target_arch = "bpf")]
        // SAFETY: as in `get`.
        unsafe {
            core::ptr::write_volatile(self.0.get(), value)
        }
        #[cfg(not(target_arch = "bpf"))]
        // SAFETY: as in `get`.
        unsafe {
            AtomicU64::from_ptr(self.0.get()).store(value, Ordering::Relaxed)
        }
    }
}
