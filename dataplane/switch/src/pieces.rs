//! Tables, read in large pieces: one call an entry would cost tens of milliseconds at every
//! change of a policy.

use std::{collections::BTreeMap, os::fd::AsFd};

use aya::maps::{IterableMap, MapData};
use portcullis_pipeline::{
    addr::Addr,
    layout::{AddressEntry, AddressKey},
};
use zerocopy::FromBytes;

use crate::{
    batch::{self, Cursor, Sizes},
    error::{Error, Result},
    maps::{Maps, name},
};

/// Entries of the address table that one call reads.
const PIECE: usize = 16_384;

const ADDRESS: Sizes = Sizes { key: size_of::<AddressKey>(), value: size_of::<AddressEntry>() };

/// `count` elements of an array from index `first`, one after the other.
pub fn elements(
    table: &MapData,
    map: &'static str,
    size: usize,
    first: u32,
    count: usize,
) -> Result<Vec<u8>> {
    if count == 0 {
        return Ok(Vec::new());
    }
    let sizes = Sizes { key: size_of::<u32>(), value: size };
    let piece = batch::read(table.fd().as_fd(), sizes, Cursor::at_index(first), count)
        .map_err(|source| Error::Batch { map, source })?;
    Ok(piece.values)
}

/// Declared addresses of a slot, by address and scope.
pub fn addresses(maps: &Maps, slot: u32) -> Result<BTreeMap<(Addr, u32), AddressEntry>> {
    let fd = maps.addresses.map().fd().as_fd();
    let mut all = BTreeMap::new();
    let mut from = Some(Cursor::default());
    while let Some(cursor) = from {
        let piece = batch::read(fd, ADDRESS, cursor, PIECE)
            .map_err(|source| Error::Batch { map: name::ADDRESSES, source })?;
        let keys = piece.keys.chunks_exact(ADDRESS.key);
        for (key, value) in keys.zip(piece.values.chunks_exact(ADDRESS.value)) {
            let key = AddressKey::read_from_bytes(key).expect("a key of that size");
            let value = AddressEntry::read_from_bytes(value).expect("an entry of that size");
            if key.slot == slot {
                all.insert((key.addr, key.scope), value);
            }
        }
        from = piece.next;
    }
    Ok(all)
}
