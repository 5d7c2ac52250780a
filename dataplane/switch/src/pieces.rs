//! Tables, read in large pieces: one call an entry would cost tens of milliseconds at every
//! change of a policy.

use std::{collections::BTreeMap, os::fd::AsFd};

use aya::maps::{IterableMap, MapData};
use portcullis_pipeline::{
    addr::Addr,
    layout::{AddressEntry, AddressKey, NoticeEntry, NoticeKey, SubportKey},
};
use zerocopy::FromBytes;

use crate::{
    batch::{self, Cursor, Sizes},
    error::{Error, Result},
    maps::{Maps, name},
    numbers::Numbers,
    window,
};

/// About as many bytes of values are read by one call: few enough for memory that is there already.
const PIECE_BYTES: usize = 1 << 16;

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
    // An earlier build has made its arrays without the flag, and they are still in use.
    if let Ok(values) = window::read(table.fd().as_fd(), size, first, count) {
        return Ok(values);
    }
    let sizes = Sizes { key: size_of::<u32>(), value: size };
    let piece = batch::read(table.fd().as_fd(), sizes, Cursor::at_index(first), count)
        .map_err(|source| Error::Batch { map, source })?;
    Ok(piece.values)
}

/// Declared addresses of a slot, by address and scope.
pub fn addresses(maps: &Maps, slot: u32) -> Result<BTreeMap<(Addr, u32), AddressEntry>> {
    let all = hashed::<AddressKey, AddressEntry>(maps.addresses.map(), name::ADDRESSES)?;
    let of_slot = all.into_iter().filter(|(key, _)| key.slot == slot);
    Ok(of_slot.map(|(key, entry)| ((key.addr, key.scope), entry)).collect())
}

/// Notices of a slot, by kind, network and port.
pub fn notices(maps: &Maps, slot: u32) -> Result<BTreeMap<(u32, u32, u32), NoticeEntry>> {
    let all = hashed::<NoticeKey, NoticeEntry>(maps.notices.map(), name::NOTICES)?;
    let of_slot = all.into_iter().filter(|(key, _)| key.slot == slot);
    Ok(of_slot.map(|(key, entry)| ((key.kind, key.network, key.port), entry)).collect())
}

/// Numbers of subports of a slot.
pub fn subports(maps: &Maps, slot: u32) -> Result<Numbers> {
    let all = hashed::<SubportKey, u32>(maps.subports.map(), name::SUBPORTS)?;
    let of_slot = all.into_iter().filter(|(key, _)| key.slot == slot);
    Ok(of_slot.map(|(key, number)| ((key.device, key.vlan as u16), number)).collect())
}

/// Every element of a hash table.
fn hashed<K: FromBytes, V: FromBytes>(table: &MapData, map: &'static str) -> Result<Vec<(K, V)>> {
    let sizes = Sizes { key: size_of::<K>(), value: size_of::<V>() };
    let mut all = Vec::new();
    walk(table, map, sizes, |key, value| {
        let key = K::read_from_bytes(key).expect("a key of that size");
        all.push((key, V::read_from_bytes(value).expect("an entry of that size")));
    })?;
    Ok(all)
}

/// Shows the bytes of every element of a table to `each`: the key, and the value; of a
/// per-processor table the values of all processors together, as `sizes` says.
pub fn walk(
    table: &MapData,
    map: &'static str,
    sizes: Sizes,
    mut each: impl FnMut(&[u8], &[u8]),
) -> Result<()> {
    let most = (PIECE_BYTES / sizes.value).max(1);
    let mut from = Some(Cursor::default());
    while let Some(cursor) = from {
        let piece = batch::read(table.fd().as_fd(), sizes, cursor, most)
            .map_err(|source| Error::Batch { map, source })?;
        let keys = piece.keys.chunks_exact(sizes.key);
        for (key, value) in keys.zip(piece.values.chunks_exact(sizes.value)) {
            each(key, value);
        }
        from = piece.next;
    }
    Ok(())
}
