//! Reading a slot back, in large pieces.

use std::collections::BTreeMap;

use aya::maps::{IterableMap, MapData};
use portcullis_image::Image;
use portcullis_pipeline::{
    addr::Addr,
    layout::{
        CELL_CHUNKS, CHUNK, GenerationEntry, MEMBERS, Members, NETWORKS, NetworkEntry, PORTS,
        PortEntry, PrefixEntry, PrefixKey, ROW_CHUNKS, RULES, SERVICE_TABLES, SOURCE_TABLES,
        ServiceTable,
    },
    policy::Cell,
};
use zerocopy::FromBytes;

use super::held::{Held, Numbers};
use crate::{
    error::{Error, Result},
    maps::{Maps, VLANS, name},
    pieces,
    slot::Tables,
};

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
        let shape = self.shape()?;
        let rows = self.rows(image.rows.len())?;
        let mut held = self.read_as_far(shape, rows, image.cells.len(), image.networks.len())?;
        held.rules =
            entries(&self.maps.rules, name::RULES, self.slot * RULES, image.rules.len() + 1)?;
        Ok(held)
    }

    /// Everything in the slot, as far as it says itself that it reaches.
    pub fn copy(&self) -> Result<Held> {
        let shape = self.shape()?;
        let rows = self.rows(shape.classes as usize * shape.classes as usize)?;
        let last = rows.iter().max().map_or(0, |row| *row as usize + 1);
        let cells = (last * shape.services as usize).min(CELL_CHUNKS as usize * CHUNK);
        let mut held = self.read_as_far(shape, rows, cells, NETWORKS as usize - 1)?;
        let named = held.cells.iter().chain(&held.shadows).map(|cell| Cell(*cell).rule());
        let rules = named.max().map_or(0, |rule| rule as usize);
        let rules = (rules + 1).min(RULES as usize);
        held.rules = entries(&self.maps.rules, name::RULES, self.slot * RULES, rules)?;
        Ok(held)
    }

    fn shape(&self) -> Result<GenerationEntry> {
        let shape = self.maps.generations.get(&self.slot, 0);
        let shape = shape.map_err(Error::map("read", name::GENERATIONS))?;
        Ok(GenerationEntry::read_from_bytes(&shape).expect("an entry of that size"))
    }

    fn rows(&self, count: usize) -> Result<Vec<u32>> {
        let count = count.min(ROW_CHUNKS as usize * CHUNK);
        numbers(self.maps.rows.map(), name::ROWS, self.slot * ROW_CHUNKS, count)
    }

    /// All but the rules: so many cells, and members of so many networks.
    fn read_as_far(
        &self,
        shape: GenerationEntry,
        rows: Vec<u32>,
        count: usize,
        networks: usize,
    ) -> Result<Held> {
        let maps = self.maps;
        let cells = self.slot * CELL_CHUNKS;
        let shadows = cells + (shape.shadows / CHUNK as u32).min(CELL_CHUNKS - 1);
        let shadowed = if shape.shadows == 0 { 0 } else { count };
        Ok(Held {
            shape,
            first_end: maps.settings()?.ends[self.slot as usize],
            tables: self.tables(networks as u32 + 1)?,
            services: self.classes(maps.services.map(), name::SERVICES, SERVICE_TABLES)?,
            sources: match shape.sources {
                0 | 1 => Vec::new(),
                _ => self.classes(maps.sources.map(), name::SOURCES, SOURCE_TABLES)?,
            },
            rows,
            cells: numbers(maps.cells.map(), name::CELLS, cells, count)?,
            shadows: numbers(maps.cells.map(), name::CELLS, shadows, shadowed)?,
            rules: Vec::new(),
        })
    }

    /// What depends on ports; members of the networks below this id.
    pub fn tables(&self, below: u32) -> Result<Tables> {
        let maps = self.maps;
        let vlans: BTreeMap<u32, u32> = self.written(maps.vlans.map(), name::VLANS, VLANS)?;
        Ok(Tables {
            ports: self.written::<PortEntry>(maps.ports.map(), name::PORTS, PORTS)?,
            subports: pieces::subports(maps, self.slot)?,
            networks: self.written::<NetworkEntry>(
                maps.networks.map(),
                name::NETWORKS,
                NETWORKS,
            )?,
            vlans: vlans.into_iter().map(|(vlan, id)| (vlan as u16, id)).collect(),
            members: self.members(below)?,
            notices: pieces::notices(maps, self.slot)?,
            addresses: pieces::addresses(maps, self.slot)?,
            prefixes: self.prefixes()?,
        })
    }

    /// Of the networks below this id: nobody asks for those of a network without an entry.
    fn members(&self, below: u32) -> Result<BTreeMap<u32, Vec<u32>>> {
        let table = self.maps.members.map();
        let count = below.min(NETWORKS) as usize;
        let all: Vec<Members> = entries(table, name::MEMBERS, self.slot * NETWORKS, count)?;
        let used = (0..).zip(all).filter(|(_, members)| members.count != 0);
        let ports = |m: Members| m.port[..(m.count as usize).min(MEMBERS)].to_vec();
        Ok(used.map(|(id, members)| (id, ports(members))).collect())
    }

    /// The entries of an array of `count` a slot that are not zero, by their place in the slot.
    fn written<T: FromBytes>(
        &self,
        table: &MapData,
        map: &'static str,
        count: u32,
    ) -> Result<BTreeMap<u32, T>> {
        let size = size_of::<T>();
        let bytes = pieces::elements(table, map, size, self.slot * count, count as usize)?;
        let zero = vec![0; size];
        let used = (0..).zip(bytes.chunks_exact(size)).filter(|(_, entry)| *entry != zero);
        Ok(used.filter_map(|(at, entry)| Some((at, T::read_from_bytes(entry).ok()?))).collect())
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
    fn classes(&self, table: &MapData, map: &'static str, tables: u32) -> Result<Vec<Numbers>> {
        let size = size_of::<ServiceTable>();
        let bytes = pieces::elements(table, map, size, self.slot * tables, tables as usize)?;
        let class = |two: &[u8]| u16::from_ne_bytes([two[0], two[1]]);
        Ok(bytes.chunks_exact(size).map(|t| t.chunks_exact(2).map(class).collect()).collect())
    }
}

/// `count` elements of an array of plain entries, from index `first`.
fn entries<T: FromBytes>(
    table: &MapData,
    map: &'static str,
    first: u32,
    count: usize,
) -> Result<Vec<T>> {
    let bytes = pieces::elements(table, map, size_of::<T>(), first, count)?;
    let entry = |bytes: &[u8]| T::read_from_bytes(bytes).ok();
    Ok(bytes.chunks_exact(size_of::<T>()).filter_map(entry).collect())
}

/// `count` numbers of a table of chunks, from chunk `first`.
fn numbers(table: &MapData, map: &'static str, first: u32, count: usize) -> Result<Vec<u32>> {
    let bytes = pieces::elements(table, map, CHUNK * 4, first, count.div_ceil(CHUNK))?;
    let number = |b: &[u8]| u32::from_ne_bytes([b[0], b[1], b[2], b[3]]);
    Ok(bytes.chunks_exact(4).take(count).map(number).collect())
}
