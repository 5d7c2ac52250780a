//! A tap, read into the guest's memory and written from it.
#![allow(unsafe_code)]

use std::{fs::File, io, os::fd::AsRawFd};

use vm_memory::bitmap::Bitmap;

use crate::virtio::ring::Buffer;

/// What the reader of the tap does by itself (`TUN_F_*`).
pub fn set_offloads(tap: &File, flags: libc::c_uint) -> io::Result<()> {
    let flags = libc::c_ulong::from(flags);
    // SAFETY: the fd is open, and TUNSETOFFLOAD takes its argument by value.
    check(unsafe { libc::ioctl(tap.as_raw_fd(), libc::TUNSETOFFLOAD, flags) } as isize).map(drop)
}

/// From now on the first `count` of a tap's queues are part of it, and no other one: the kernel
/// spreads frames over those. What is so already stays so.
pub fn use_queues(queues: &[File], count: usize) -> io::Result<()> {
    if queues.len() == 1 {
        return Ok(());
    }
    for (number, queue) in queues.iter().enumerate() {
        let part = if number < count { libc::IFF_ATTACH_QUEUE } else { libc::IFF_DETACH_QUEUE };
        // SAFETY: all zeros is a valid `ifreq`: it holds integers and byte arrays only.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        request.ifr_ifru.ifru_flags = part as libc::c_short;
        // SAFETY: the fd is open, TUNSETQUEUE reads one `ifreq`, which lives on this frame.
        let done = unsafe { libc::ioctl(queue.as_raw_fd(), libc::TUNSETQUEUE, &request) };
        match check(done as isize) {
            // It was so already.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {}
            other => drop(other?),
        }
    }
    Ok(())
}

/// A read of an empty tap returns at once.
pub fn set_nonblocking(tap: &File) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: the fd is open, FIONBIO reads one int, which lives on this frame.
    check(unsafe { libc::ioctl(tap.as_raw_fd(), libc::FIONBIO, &on) } as isize).map(drop)
}

/// Reads one frame into these buffers; its bytes.
pub fn read(tap: &File, parts: &[Buffer<'_>]) -> io::Result<usize> {
    let guards: Vec<_> = parts.iter().map(Buffer::ptr_guard_mut).collect();
    let vectors: Vec<_> = guards
        .iter()
        .zip(parts)
        .map(|(guard, part)| libc::iovec { iov_base: guard.as_ptr().cast(), iov_len: part.len() })
        .collect();
    // SAFETY: each vector is a part of the guest's memory, which outlives the call; others may
    // write there too, and nobody here has a reference to it.
    let length = check(unsafe {
        libc::readv(tap.as_raw_fd(), vectors.as_ptr(), vectors.len() as libc::c_int)
    })?;
    let mut left = length;
    for part in parts {
        part.bitmap().mark_dirty(0, part.len().min(left));
        left -= part.len().min(left);
    }
    Ok(length)
}

/// Writes one frame from these buffers; its bytes.
pub fn write(tap: &File, parts: &[Buffer<'_>]) -> io::Result<usize> {
    let guards: Vec<_> = parts.iter().map(Buffer::ptr_guard).collect();
    let vectors: Vec<_> = guards
        .iter()
        .zip(parts)
        .map(|(guard, part)| libc::iovec {
            iov_base: guard.as_ptr().cast_mut().cast(),
            iov_len: part.len(),
        })
        .collect();
    // SAFETY: as above; the kernel only reads.
    check(unsafe { libc::writev(tap.as_raw_fd(), vectors.as_ptr(), vectors.len() as libc::c_int) })
}

fn check(result: isize) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}
