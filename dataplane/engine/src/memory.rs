//! Advice about memory, which changes nothing but how long it takes to get there.

#![allow(unsafe_code)]

use std::mem::MaybeUninit;

use rustix::mm::{Advice, madvise};

/// Bytes of a huge page where a page has 4 KiB.
const HUGE: usize = 2 << 20;
/// Bytes of a line of the processor's cache.
const LINE: usize = 64;

/// So many values in a row, in huge pages where the kernel has them. What is looked up here and
/// there in a table of many pages otherwise waits for an address to be translated, and inside a
/// virtual machine that is a walk through the page tables of two.
pub fn row<T>(count: usize, value: impl FnMut() -> T) -> Box<[T]> {
    let mut row = Vec::with_capacity(count);
    ask_for_huge_pages(row.spare_capacity_mut());
    row.resize_with(count, value);
    row.into_boxed_slice()
}

/// Asks for huge pages where this has room for whole ones: before it is touched.
fn ask_for_huge_pages<T>(room: &mut [MaybeUninit<T>]) {
    let all = room.as_mut_ptr_range();
    let start = all.start.cast::<u8>();
    let before = start.align_offset(HUGE);
    let bytes = size_of_val(room).saturating_sub(before) / HUGE * HUGE;
    if bytes > 0 {
        let first = start.wrapping_add(before);
        // SAFETY: the pages are part of the room; the advice changes nothing that can be read there.
        // Without it, or where the kernel has no such pages, the table is slower and no other.
        let _ = unsafe { madvise(first.cast(), bytes, Advice::LinuxHugepage) };
    }
}

/// Has the processor fetch so many bytes, which are going to be read.
#[inline(always)]
pub fn fetch(at: *const u8, bytes: usize) {
    lines(at, bytes).for_each(fetch_line);
}

/// Has the processor fetch so many bytes and take them from other processors, since they are going
/// to be written.
#[inline(always)]
pub fn fetch_to_write(at: *const u8, bytes: usize) {
    lines(at, bytes).for_each(fetch_line_to_write);
}

/// An address in every line that holds one of these bytes.
#[inline(always)]
fn lines(at: *const u8, bytes: usize) -> impl Iterator<Item = usize> {
    let first = at.addr() & !(LINE - 1);
    (first..at.addr() + bytes).step_by(LINE)
}

#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn fetch_line(at: usize) {
    // SAFETY: a hint; it is allowed at every address, also where there is no memory.
    unsafe {
        std::arch::asm!("prefetcht0 [{}]", in(reg) at, options(nomem, nostack, preserves_flags));
    }
}

#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn fetch_line_to_write(at: usize) {
    // SAFETY: as above. Processors that do not know it do nothing (Intel SDM, volume 2, PREFETCHW).
    unsafe {
        std::arch::asm!("prefetchw [{}]", in(reg) at, options(nomem, nostack, preserves_flags));
    }
}

#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
fn fetch_line(_at: usize) {}

#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
fn fetch_line_to_write(_at: usize) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_what_it_is_filled_with() {
        for count in [0, 1, 1000, 3 * HUGE / 8] {
            let mut next = 0_u64;
            let row = row(count, || {
                next += 1;
                next
            });
            assert!(row.iter().copied().eq(1..=count as u64));
        }
    }

    #[test]
    fn every_line_is_fetched_once() {
        let at = |address| std::ptr::without_provenance::<u8>(address);
        let of = |address, bytes| lines(at(address), bytes).collect::<Vec<_>>();
        assert_eq!(of(128, 64), [128]);
        assert_eq!(of(127, 2), [64, 128]);
        assert_eq!(of(130, 190), [128, 192, 256]);
        assert_eq!(of(130, 0), [128]);
        // It is only a hint: nothing has to be there.
        fetch(at(8), 1);
        fetch_to_write(at(8), 200);
    }
}
