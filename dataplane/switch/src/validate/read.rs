//! Reading a slot back, in large pieces.

use std::{
    collections::BTreeMap,
    os::fd::{AsFd, BorrowedFd},
};

use aya::maps::IterableMap;
use portcullis_image::Image;
use portcullis_pipeline::{
    addr::Addr,
    layout::{
        AddressEntry, AddressKey, CELL_CHUNKS, CHUNK, GenerationEntry, MEMBERS, Members, NETWORKS,
        NetworkEntry, NoticeEntry, NoticeKey, PORTS, PortEntry, PrefixEntry, PrefixKey, ROW_CHUNKS,
        RULES, SERVICE_TABLES, SOURCE_TABLES, ServiceTable,
    },
};
use zerocopy::FromBytes;

use super::held::{Held, Numbers};
use crate::{
    batch::{self, Cursor, Sizes},
    error::{Error, Result},
    maps::{Maps, VLANS, name},
    slot::Tables,
};

/// Entries of a hash table that one call reads.
const PIECE: usize = 16_384;

/// One slot of the tables.
pub struct Reader<'a> {
    maps: &'a Maps,
    slot: u32,
}

impl<'a> Reader<'a> {
    /// Of a generation.
    pub fn new(maps: &'a Maps, generation: u32) -> Self {
        Self { maps, slot: generation & 1 }
    }

    /// Everything in the slot, as far as an image of this size reaches.
    pub fn read(&self, image: &Image) -> Result<Held> {
        let maps = self.maps;
        let shape = maps.generations.get(&self.slot, 0);
        let shape = shape.map_err(Error::map("read", name::GENERATIONS))?;
        let shape = GenerationEntry::read_from_bytes(&shape).expect("an entry of that size");
        let cells = self.slot * CELL_CHUNKS;
        let shadows = cells + (shape.shadows / CHUNK as u32).min(CELL_CHUNKS - 1);
        let shadowed = if shape.shadows == 0 { 0 } else { image.cells.len() };
        let fd = |of: &'a aya::maps::MapData| of.fd().as_fd();
        Ok(Held {
            shape,
            first_end: maps.settings()?.ends[self.slot as usize],
            tables: self.tables(image)?,
            services: self.classes(fd(maps.services.map()), name::SERVICES, SERVICE_TABLES)?,
            sources: match shape.sources {
                0 | 1 => Vec::new(),
                _ => self.classes(fd(maps.sources.map()), name::SOURCES, SOURCE_TABLES)?,
            },
            rows: numbers(
                fd(maps.rows.map()),
                name::ROWS,
                self.slot * ROW_CHUNKS,
                image.rows.len(),
            )?,
            cells: numbers(fd(maps.cells.map()), name::CELLS, cells, image.cells.len())?,
            shadows: numbers(fd(maps.cells.map()), name::CELLS, shadows, shadowed)?,
            rules: entries(fd(&maps.rules), name::RULES, self.slot * RULES, image.rules.len() + 1)?,
        })
    }

    fn tables(&self, image: &Image) -> Result<Tables> {
        let maps = self.maps;
        let ports: Vec<PortEntry> =
            entries(maps.ports.map().fd().as_fd(), name::PORTS, self.slot * PORTS, PORTS as usize)?;
        let networks: Vec<NetworkEntry> = entries(
            maps.networks.map().fd().as_fd(),
            name::NETWORKS,
            self.slot * NETWORKS,
            NETWORKS as usize,
        )?;
        let vlans: Vec<u32> =
            entries(maps.vlans.map().fd().as_fd(), name::VLANS, self.slot * VLANS, VLANS as usize)?;
        let vlans = (0_u16..).zip(vlans).filter(|(_, id)| *id != 0);
        Ok(Tables {
            ports: written(ports),
            networks: written(networks),
            vlans: vlans.collect(),
            members: self.members(image.networks.len() as u32 + 1)?,
            notices: self.notices()?,
            addresses: self.addresses()?,
            prefixes: self.prefixes()?,
        })
    }

    /// Of the networks below this id: nobody asks for those of a network without an entry.
    fn members(&self, below: u32) -> Result<BTreeMap<u32, Vec<u32>>> {
        let fd = self.maps.members.map().fd().as_fd();
        let count = below.min(NETWORKS) as usize;
        let all: Vec<Members> = entries(fd, name::MEMBERS, self.slot * NETWORKS, count)?;
        let used = (0..).zip(all).filter(|(_, members)| members.count != 0);
        let ports = |m: Members| m.port[..(m.count as usize).min(MEMBERS)].to_vec();
        Ok(used.map(|(id, members)| (id, ports(members))).collect())
    }

    fn addresses(&self) -> Result<BTreeMap<(Addr, u32), AddressEntry>> {
        let fd = self.maps.addresses.map().fd().as_fd();
        let all = hashed::<AddressKey, AddressEntry>(fd, name::ADDRESSES)?;
        let of_slot = all.into_iter().filter(|(key, _)| key.slot == self.slot);
        Ok(of_slot.map(|(key, value)| ((key.addr, key.scope), value)).collect())
    }

    fn notices(&self) -> Result<BTreeMap<(u32, u32, u32), NoticeEntry>> {
        let fd = self.maps.notices.map().fd().as_fd();
        let all = hashed::<NoticeKey, NoticeEntry>(fd, name::NOTICES)?;
        let of_slot = all.into_iter().filter(|(key, _)| key.slot == self.slot);
        Ok(of_slot.map(|(key, value)| ((key.kind, key.network, key.port), value)).collect())
    }

    fn prefixes(&self) -> Result<BTreeMap<(Addr, u8), PrefixEntry>> {
        let mut all = BTreeMap::new();
        for entry in self.maps.prefixes.iter() {
            let (key, value) = entry.map_err(Error::map("read", name::PREFIXES))?;
            let data = PrefixKey::read_from_bytes(&key.data()).expect("a key of that size");
            if data.slot_be != self.slot.to_be_bytes() {
                continue;
            }
            let value = PrefixEntry::read_from_bytes(&value).expect("an entry of that size");
            let len = key.prefix_len().saturating_sub(32).min(128) as u8;
            all.insert((Addr::v6(data.addr), len), value);
        }
        Ok(all)
    }

    /// Tables of classes by number.
    fn classes(&self, fd: BorrowedFd<'_>, map: &'static str, tables: u32) -> Result<Vec<Numbers>> {
        let size = size_of::<ServiceTable>();
        let bytes = elements(fd, map, size, self.slot * tables, tables as usize)?;
        let class = |two: &[u8]| u16::from_ne_bytes([two[0], two[1]]);
        Ok(bytes.chunks_exact(size).map(|t| t.chunks_exact(2).map(class).collect()).collect())
    }
}

/// All entries of a hash table.
fn hashed<K: FromBytes, V: FromBytes>(
    fd: BorrowedFd<'_>,
    map: &'static str,
) -> Result<Vec<(K, V)>> {
    let sizes = Sizes { key: size_of::<K>(), value: size_of::<V>() };
    let mut all = Vec::new();
    let mut from = Some(Cursor::default());
    while let Some(cursor) = from {
        let piece =
            batch::read(fd, sizes, cursor, PIECE).map_err(|source| Error::Batch { map, source })?;
        let keys = piece.keys.chunks_exact(sizes.key);
        for (key, value) in keys.zip(piece.values.chunks_exact(sizes.value)) {
            let key = K::read_from_bytes(key).expect("a key of that size");
            let value = V::read_from_bytes(value).expect("an entry of that size");
            all.push((key, value));
        }
        from = piece.next;
    }
    Ok(all)
}

/// Entries that were ever written, by their place.
fn written<T: FromBytes + PartialEq>(entries: Vec<T>) -> BTreeMap<u32, T> {
    let zero = T::new_zeroed();
    (0..).zip(entries).filter(|(_, entry)| *entry != zero).collect()
}

/// `count` elements of an array of plain entries, from index `first`.
fn entries<T: FromBytes>(
    fd: BorrowedFd<'_>,
    map: &'static str,
    first: u32,
    count: usize,
) -> Result<Vec<T>> {
    let bytes = elements(fd, map, size_of::<T>(), first, count)?;
    let entry = |bytes: &[u8]| T::read_from_bytes(bytes).ok();
    Ok(bytes.chunks_exact(size_of::<T>()).filter_map(entry).collect())
}

/// `count` numbers of a table of chunks, from chunk `first`.
fn numbers(fd: BorrowedFd<'_>, map: &'static str, first: u32, count: usize) -> Result<Vec<u32>> {
    let bytes = elements(fd, map, CHUNK * 4, first, count.div_ceil(CHUNK))?;
    let number = |b: &[u8]| u32::from_ne_bytes([b[0], b[1], b[2], b[3]]);
    Ok(bytes.chunks_exact(4).take(count).map(number).collect())
}

/// `count` elements of an array from index `first`, one after the other.
fn elements(
    fd: BorrowedFd<'_>,
    map: &'static str,
    size: usize,
    first: u32,
    count: usize,
) -> Result<Vec<u8>> {
    if count == 0 {
        return Ok(Vec::new());
    }
    let sizes = Sizes { key: size_of::<u32>(), value: size };
    let piece = batch::read(fd, sizes, Cursor::at_index(first), count)
        .map_err(|source| Error::Batch { map, source })?;
    Ok(piece.values)
}
