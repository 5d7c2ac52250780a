//! Memory that its front end takes back while it is in use: a file that is made shorter has no pages
//! any more where it is mapped, and who touches them gets SIGBUS. That must end the front end's own
//! queues, and nothing else: the handler puts empty memory in the place of the whole region, and
//! notes it.
#![allow(unsafe_code)]

use std::{
    io,
    mem::MaybeUninit,
    ptr,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
};

/// Most regions of all front ends together.
const PLACES: usize = 4096;

/// A region that is watched; empty where it begins at 0. Written under [`CHANGES`], read by the
/// handler, which may take no lock.
struct Place {
    start: AtomicUsize,
    length: AtomicUsize,
    lost: AtomicBool,
}

static WATCHED: [Place; PLACES] = [const {
    Place { start: AtomicUsize::new(0), length: AtomicUsize::new(0), lost: AtomicBool::new(false) }
}; PLACES];
static CHANGES: Mutex<()> = Mutex::new(());
static LOST: AtomicU64 = AtomicU64::new(0);

/// A region that is watched for as long as this lives: no longer than it is mapped.
pub struct Watch(usize);

impl Watch {
    /// Watches so many bytes from `start` on; `None`: there are too many already.
    pub fn new(start: *const u8, length: usize) -> Option<Self> {
        let _lock = CHANGES.lock().unwrap_or_else(PoisonError::into_inner);
        let free = WATCHED.iter().position(|place| place.start.load(Ordering::Relaxed) == 0)?;
        let place = &WATCHED[free];
        place.lost.store(false, Ordering::Relaxed);
        place.length.store(length, Ordering::Relaxed);
        place.start.store(start as usize, Ordering::Release);
        Some(Self(free))
    }

    /// Was it taken back?
    pub fn is_lost(&self) -> bool {
        WATCHED[self.0].lost.load(Ordering::Relaxed)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _lock = CHANGES.lock().unwrap_or_else(PoisonError::into_inner);
        WATCHED[self.0].start.store(0, Ordering::Release);
    }
}

/// How often memory was taken back so far.
pub fn count() -> u64 {
    LOST.load(Ordering::Relaxed)
}

/// From now on such a fault is survived.
pub fn survive() -> io::Result<()> {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: all zeros is a valid `sigaction`: it holds integers, and no handler.
    let action = unsafe { action.assume_init_mut() };
    action.sa_sigaction = on_fault as *const () as usize;
    action.sa_flags = libc::SA_SIGINFO;
    // SAFETY: the action lives on this frame, and its handler does nothing but loads, stores and
    // system calls, which signal-safety(7) allows.
    match unsafe { libc::sigaction(libc::SIGBUS, action, ptr::null_mut()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

extern "C" fn on_fault(_: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: the kernel hands over the siginfo of a SIGBUS, which has an address.
    let address = unsafe { (*info).si_addr() } as usize;
    for place in &WATCHED {
        let start = place.start.load(Ordering::Acquire);
        let length = place.length.load(Ordering::Relaxed);
        if start == 0 || address.wrapping_sub(start) >= length {
            continue;
        }
        let (protection, flags) = (
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED | libc::MAP_NORESERVE,
        );
        // SAFETY: the region is mapped as long as it is watched, and all that is in it is shared
        // with somebody who may change it at any time; nobody has a Rust reference to it.
        let mapped = unsafe { libc::mmap(start as *mut _, length, protection, flags, -1, 0) };
        if mapped as usize == start {
            place.lost.store(true, Ordering::Relaxed);
            LOST.fetch_add(1, Ordering::Relaxed);
            return;
        }
    }
    // Somebody else's: dies of it when the instruction is run again.
    // SAFETY: sets the default action, which needs no memory.
    unsafe { libc::signal(libc::SIGBUS, libc::SIG_DFL) };
}

#[cfg(test)]
mod tests {
    use std::{fs::File, os::fd::FromRawFd};

    use vm_memory::{Bytes, FileOffset, GuestAddress, GuestMemoryBackend};

    use super::*;
    use crate::ring::Memory;

    #[test]
    fn memory_that_is_taken_back_is_empty_and_noted() {
        survive().unwrap();
        // SAFETY: makes a descriptor, which the file then owns alone.
        let file = unsafe { File::from_raw_fd(libc::memfd_create(c"guest".as_ptr(), 0)) };
        file.set_len(0x4000).unwrap();
        let range = (GuestAddress(0), 0x4000, Some(FileOffset::new(file.try_clone().unwrap(), 0)));
        let memory = Memory::from_ranges_with_files([range]).unwrap();
        let start = memory.get_host_address(GuestAddress(0)).unwrap();
        let watch = Watch::new(start, 0x4000).unwrap();
        memory.write_obj(7_u32, GuestAddress(0x2000)).unwrap();
        assert!(!watch.is_lost());
        let before = count();
        file.set_len(0).unwrap();
        assert_eq!(memory.read_obj::<u32>(GuestAddress(0x2000)).unwrap(), 0);
        assert!(watch.is_lost() && count() > before);
        memory.write_obj(9_u32, GuestAddress(0x3000)).unwrap();
    }
}
