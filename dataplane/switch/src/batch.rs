//! Reading and writing tables in large pieces: `BPF_MAP_LOOKUP_BATCH` and `BPF_MAP_UPDATE_BATCH`,
//! which aya lacks. One call an entry would cost half a second for a full flow table or for the
//! counters of all rules.
#![allow(unsafe_code)]

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd},
};

const BPF_MAP_LOOKUP_BATCH: libc::c_int = 24;
const BPF_MAP_UPDATE_BATCH: libc::c_int = 26;

/// `union bpf_attr`, member `batch` (`linux/bpf.h`).
#[repr(C)]
#[derive(Default)]
struct Attr {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

/// Where a piece starts. For a hash table a bucket number of the kernel's, for an array the index
/// before the first one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursor(Option<u32>);

impl Cursor {
    /// That of an array's element.
    pub fn at_index(index: u32) -> Self {
        Self(index.checked_sub(1))
    }
}

/// Sizes of a table's entries, bytes; for a per-processor table the value's is that of all
/// processors together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Of a key.
    pub key: usize,
    /// Of a value.
    pub value: usize,
}

/// One piece of a table.
pub struct Piece {
    /// Keys, one after the other.
    pub keys: Vec<u8>,
    /// Values, in the order of the keys.
    pub values: Vec<u8>,
    /// Where to go on; `None` at the end.
    pub next: Option<Cursor>,
}

/// Reads about `most` entries of `map` from `cursor`. `sizes` must be the map's; the caller has
/// them from its typed table. A hash bucket is never cut: where one is larger, `most` grows.
pub fn read(map: BorrowedFd<'_>, sizes: Sizes, cursor: Cursor, most: usize) -> io::Result<Piece> {
    let mut room = most;
    loop {
        match read_once(map, sizes, cursor, room) {
            Err(e) if e.raw_os_error() == Some(libc::ENOSPC) => room = room * 2 + 16,
            other => return other,
        }
    }
}

fn read_once(map: BorrowedFd<'_>, sizes: Sizes, cursor: Cursor, room: usize) -> io::Result<Piece> {
    let mut keys: Vec<u8> = Vec::with_capacity(sizes.key * room);
    let mut values: Vec<u8> = Vec::with_capacity(sizes.value * room);
    let start = cursor.0.unwrap_or(0);
    let mut end = 0_u32;
    let mut attr = Attr {
        in_batch: if cursor.0.is_some() { (&raw const start) as u64 } else { 0 },
        out_batch: (&raw mut end) as u64,
        keys: keys.as_mut_ptr() as u64,
        values: values.as_mut_ptr() as u64,
        count: room as u32,
        map_fd: map.as_raw_fd() as u32,
        ..Attr::default()
    };
    // SAFETY: `attr` and all that it points to live on this frame or in the vectors above; the
    // kernel writes at most `count` keys and values, for which there is room. A cursor is a u32
    // for hash tables (a bucket) and arrays (an index), and no other tables are read here.
    let done = unsafe {
        libc::syscall(libc::SYS_bpf, BPF_MAP_LOOKUP_BATCH, &raw mut attr, size_of::<Attr>())
    };
    let next = match done {
        0 => Some(Cursor(Some(end))),
        // The kernel's word for "and that was the last one".
        _ if io::Error::last_os_error().raw_os_error() == Some(libc::ENOENT) => None,
        _ => return Err(io::Error::last_os_error()),
    };
    // SAFETY: the kernel has written so many, which is at most what there was room for.
    unsafe {
        keys.set_len(sizes.key * attr.count as usize);
        values.set_len(sizes.value * attr.count as usize);
    }
    Ok(Piece { keys, values, next })
}

/// Zeroes `count` elements of an array from index `first`, each of `size` bytes.
pub fn zero(map: BorrowedFd<'_>, size: usize, first: u32, count: usize) -> io::Result<()> {
    write(map, size, first, &vec![0_u8; size * count])
}

/// Writes elements of an array, each of `size` bytes, from index `first`.
pub fn write(map: BorrowedFd<'_>, size: usize, first: u32, values: &[u8]) -> io::Result<()> {
    let count = values.len() / size;
    let keys: Vec<u32> = (first..).take(count).collect();
    let mut attr = Attr {
        keys: keys.as_ptr() as u64,
        values: values.as_ptr() as u64,
        count: count as u32,
        map_fd: map.as_raw_fd() as u32,
        ..Attr::default()
    };
    // SAFETY: as in `read_once`; the kernel only reads `count` keys and values.
    let done = unsafe {
        libc::syscall(libc::SYS_bpf, BPF_MAP_UPDATE_BATCH, &raw mut attr, size_of::<Attr>())
    };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, os::fd::AsFd};

    use aya::maps::{Array, HashMap, IterableMap, MapData};

    use super::*;

    const SIZES: Sizes = Sizes { key: 8, value: 16 };

    #[test]
    fn pieces_add_up_to_the_table() {
        let mut map = HashMap::<MapData, [u8; 8], [u8; 16]>::create(5000, 0).unwrap();
        for i in 0..3000_u64 {
            map.insert(i.to_ne_bytes(), [i as u8; 16], 0).unwrap();
        }
        let mut seen = BTreeSet::new();
        let mut cursor = Some(Cursor::default());
        while let Some(from) = cursor {
            let piece = read(map.map().fd().as_fd(), SIZES, from, 100).unwrap();
            for (key, value) in piece.keys.chunks(8).zip(piece.values.chunks(16)) {
                assert_eq!(value[0], key[0]);
                assert!(seen.insert(key.to_vec()));
            }
            cursor = piece.next;
        }
        assert_eq!(seen.len(), 3000);
    }

    #[test]
    fn an_empty_table_has_one_empty_piece() {
        let map = HashMap::<MapData, [u8; 8], [u8; 16]>::create(64, 0).unwrap();
        let piece = read(map.map().fd().as_fd(), SIZES, Cursor::default(), 100).unwrap();
        assert!(piece.keys.is_empty() && piece.next.is_none());
    }

    #[test]
    fn a_part_of_an_array_is_read_and_zeroed() {
        let mut map = Array::<MapData, u64>::create(64, 0).unwrap();
        for i in 0..64 {
            map.set(i, u64::from(i) + 1, 0).unwrap();
        }
        let sizes = Sizes { key: 4, value: 8 };
        let fd = map.map().fd().as_fd();
        let piece = read(fd, sizes, Cursor::at_index(40), 10).unwrap();
        assert_eq!(piece.values.len(), 80);
        assert_eq!(piece.values[..8], 41_u64.to_ne_bytes());
        let whole = read(fd, sizes, Cursor::at_index(0), 64).unwrap();
        assert_eq!(whole.values[..8], 1_u64.to_ne_bytes());
        zero(fd, 8, 10, 20).unwrap();
        let values: Vec<u64> = (0..64).map(|i| map.get(&i, 0).unwrap()).collect();
        assert!(values.iter().enumerate().all(|(i, v)| (*v == 0) == (10..30).contains(&i)));
    }
}
