//! Arrays of the kernel's, read where they lie: `BPF_F_MMAPABLE` lets a process map them. A call that
//! reads a piece costs a tenth of a microsecond an element, and a policy is read back at each change.
#![allow(unsafe_code)]

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd},
    ptr,
};

/// Elements of an array begin at multiples of this (`kernel/bpf/arraymap.c`).
const ALIGN: usize = 8;

/// A part of an array, mapped.
struct Window {
    at: *mut libc::c_void,
    bytes: usize,
}

impl Window {
    /// `offset` is a multiple of the page.
    fn open(map: BorrowedFd<'_>, offset: usize, bytes: usize) -> io::Result<Self> {
        let (protection, flags) = (libc::PROT_READ, libc::MAP_SHARED);
        let offset = libc::off_t::try_from(offset).map_err(io::Error::other)?;
        // SAFETY: a new mapping, at a place that the kernel chooses.
        let at = unsafe {
            libc::mmap(ptr::null_mut(), bytes, protection, flags, map.as_raw_fd(), offset)
        };
        if at == libc::MAP_FAILED {
            Err(io::Error::last_os_error())
        } else {
            Ok(Self { at, bytes })
        }
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        // SAFETY: what `open` has mapped, and nobody refers to it any more.
        unsafe { libc::munmap(self.at, self.bytes) };
    }
}

/// The values of `count` elements of an array from index `first`, each of `size` bytes.
///
/// # Errors
/// The kernel's, where the array cannot be mapped: it was not made for that.
pub fn read(map: BorrowedFd<'_>, size: usize, first: u32, count: usize) -> io::Result<Vec<u8>> {
    let stride = size.next_multiple_of(ALIGN);
    let (from, bytes) = (first as usize * stride, count * stride);
    // SAFETY: asks for a constant.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as usize;
    let skip = from % page;
    let window = Window::open(map, from - skip, skip + bytes)?;
    let mut values: Vec<u8> = Vec::with_capacity(size * count);
    let mut copy = |at: usize, bytes: usize| {
        // SAFETY: `at + bytes` is at most `skip + count * stride`, which is mapped; all lengths
        // together are the vector's capacity. Others may write there meanwhile: then the bytes are
        // some of before and some of after, as they would be from a call.
        unsafe {
            let from = window.at.cast::<u8>().add(skip + at);
            let to = values.as_mut_ptr().add(values.len());
            ptr::copy_nonoverlapping(from, to, bytes);
            values.set_len(values.len() + bytes);
        }
    };
    if stride == size {
        copy(0, bytes);
    } else {
        (0..count).for_each(|element| copy(element * stride, size));
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use aya::maps::{Array, IterableMap, MapData};

    use super::*;

    const MAPPABLE: u32 = 1 << 10;

    #[test]
    fn any_part_of_an_array_is_read_as_it_is() {
        let mut map = Array::<MapData, [u8; 12]>::create(2000, MAPPABLE).unwrap();
        let value = |i: u32| -> [u8; 12] { std::array::from_fn(|at| (i as usize * 7 + at) as u8) };
        (0..2000).for_each(|i| map.set(i, value(i), 0).unwrap());
        for (first, count) in [(0, 1), (0, 2000), (255, 1), (256, 700), (1999, 1)] {
            let got = read(map.map().fd().as_fd(), 12, first, count).unwrap();
            let wanted: Vec<u8> = (first..).take(count).flat_map(value).collect();
            assert_eq!(got, wanted, "{count} from {first}");
        }
    }

    #[test]
    fn what_lies_close_together_is_read_at_once() {
        let mut map = Array::<MapData, u64>::create(1024, MAPPABLE).unwrap();
        (0..1024).for_each(|i| map.set(i, u64::from(i) << 20, 0).unwrap());
        let got = read(map.map().fd().as_fd(), 8, 600, 3).unwrap();
        let wanted: Vec<u8> = (600_u64..603).flat_map(|i| (i << 20).to_ne_bytes()).collect();
        assert_eq!(got, wanted);
    }

    #[test]
    fn what_is_beyond_the_array_or_cannot_be_mapped_is_an_error() {
        let small = Array::<MapData, u64>::create(16, MAPPABLE).unwrap();
        assert!(read(small.map().fd().as_fd(), 8, 0, 10_000).is_err());
        let closed = Array::<MapData, u64>::create(16, 0).unwrap();
        assert!(read(closed.map().fd().as_fd(), 8, 0, 16).is_err());
    }
}
