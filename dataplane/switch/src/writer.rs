//! Tables, from plain data into the maps. Every table is read first, in large pieces, and only
//! entries that differ are written; what was written is read back: when a write returns, the slot
//! holds what was asked for, whatever it held before.

use std::{
    collections::{BTreeMap, BTreeSet},
    os::fd::AsFd,
};

use aya::maps::{Array, HashMap, IterableMap, MapData, lpm_trie::Key};
use portcullis_image::Image;
use portcullis_pipeline::{
    addr::Addr,
    layout::{
        AddressEntry, AddressKey, CELL_CHUNKS, CHUNK, GenerationEntry, Holder, Members, NETWORKS,
        NoticeEntry, NoticeKey, PORTS, PortEntry, PrefixEntry, PrefixKey, ROW_CHUNKS, RULES,
        RuleEntry, SERVICE_TABLES, SOURCE_TABLES, Settings, port_kind,
    },
};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes};

use crate::{
    batch,
    error::{Error, Result},
    maps::{Maps, VLANS, name},
    pieces,
    slot::{Tables, first_end, members, shape},
};

/// Elements of a table of all rules that one call writes.
const RULES_AT_ONCE: usize = 16_384;

/// Writes into one slot.
pub struct Writer<'a> {
    maps: &'a mut Maps,
    slot: u32,
}

impl<'a> Writer<'a> {
    /// A writer for the slot of a generation.
    pub fn new(maps: &'a mut Maps, generation: u32) -> Self {
        Self { maps, slot: generation & 1 }
    }

    /// Makes the slot hold exactly this generation. No packet may be reading it.
    /// `rules`: what holds about its rules, see [`crate::slot::rules`]; `bank`: where its denied
    /// sets stand already.
    pub fn fill(
        &mut self,
        image: &Image,
        tables: &Tables,
        rules: &[RuleEntry],
        generation: u32,
        bank: u32,
    ) -> Result<()> {
        self.dense(image)?;
        self.rules(rules)?;
        self.shape(&shape(image, generation, bank))?;
        self.prefixes(&tables.prefixes)?;
        self.holders(tables)?;
        self.addresses(&tables.addresses)?;
        self.networks(tables)?;
        self.notices(&tables.notices)?;
        let ports = bytes_by(&tables.ports);
        settle(&mut self.maps.ports, name::PORTS, self.slot * PORTS, PORTS, &ports)
    }

    /// Moves a slot that packets are reading from one state to another: what closes goes first,
    /// what opens comes last.
    pub fn change(&mut self, from: &Tables, to: &Tables) -> Result<()> {
        for (index, entry) in &from.ports {
            if to.ports.get(index) != Some(entry) {
                self.port(*index, &PortEntry::new_zeroed())?;
            }
        }
        self.prefixes(&to.prefixes)?;
        self.addresses(&to.addresses)?;
        self.networks(to)?;
        self.notices(&to.notices)?;
        for (index, entry) in &to.ports {
            if from.ports.get(index) != Some(entry) {
                // A reader may see half of a write: let the kind alone open the port.
                self.port(*index, &PortEntry { kind: port_kind::CLOSED, ..*entry })?;
                self.port(*index, entry)?;
            }
        }
        Ok(())
    }

    /// Writes the number and the shape of the generation that the slot holds.
    pub fn shape(&mut self, shape: &GenerationEntry) -> Result<()> {
        set(&mut self.maps.generations, name::GENERATIONS, self.slot, &bytes(shape))
    }

    /// Closes one port of the slot.
    pub fn close(&mut self, index: u32) -> Result<()> {
        self.port(index, &PortEntry::new_zeroed())
    }

    /// Zeroes the counters of the rules with ids below `rules`.
    pub fn zero_rule_hits(&mut self, rules: usize) -> Result<()> {
        let processors = self.maps.processors;
        let (first, rules) = (self.slot * RULES, rules.min(RULES as usize));
        for at in (0..rules).step_by(RULES_AT_ONCE) {
            let count = RULES_AT_ONCE.min(rules - at);
            let fd = self.maps.rule_hits.fd().as_fd();
            batch::zero(fd, 8 * processors, first + at as u32, count)
                .map_err(|source| Error::Batch { map: name::RULE_HITS, source })?;
        }
        Ok(())
    }

    fn port(&mut self, index: u32, entry: &PortEntry) -> Result<()> {
        set(&mut self.maps.ports, name::PORTS, self.slot * PORTS + index, &bytes(entry))
    }

    /// Services, rows and cells.
    fn dense(&mut self, image: &Image) -> Result<()> {
        for (table, index) in image.service_tables.iter().zip(self.slot * SERVICE_TABLES..) {
            set(&mut self.maps.services, name::SERVICES, index, &bytes(table))?;
        }
        for (table, index) in image.source_tables.iter().zip(self.slot * SOURCE_TABLES..) {
            set(&mut self.maps.sources, name::SOURCES, index, &bytes(table))?;
        }
        let cells = self.slot * CELL_CHUNKS;
        let shadows = cells + shape(image, 0, 0).shadows / CHUNK as u32;
        chunks(&mut self.maps.rows, name::ROWS, self.slot * ROW_CHUNKS, &image.rows)?;
        chunks(&mut self.maps.cells, name::CELLS, cells, &image.cells)?;
        chunks(&mut self.maps.cells, name::CELLS, shadows, &image.shadows)
    }

    /// Ends and log rates, and the first end of all.
    fn rules(&mut self, entries: &[RuleEntry]) -> Result<()> {
        let (size, first) = (size_of::<RuleEntry>(), self.slot * RULES);
        for (some, at) in entries.chunks(RULES_AT_ONCE).zip((first..).step_by(RULES_AT_ONCE)) {
            let fd = self.maps.rules.fd().as_fd();
            batch::write(fd, size, at, some.as_bytes())
                .map_err(|source| Error::Batch { map: name::RULES, source })?;
        }
        let mut settings = self.maps.settings()?;
        settings.ends[self.slot as usize] = first_end(entries);
        set(&mut self.maps.settings, name::SETTINGS, 0, &bytes::<Settings, _>(&settings))
    }

    /// Networks, and what belongs to them.
    fn networks(&mut self, tables: &Tables) -> Result<()> {
        let (slot, maps) = (self.slot, &mut *self.maps);
        let wanted = bytes_by(&tables.networks);
        settle(&mut maps.networks, name::NETWORKS, slot * NETWORKS, NETWORKS, &wanted)?;
        let wanted = tables.vlans.iter().map(|(v, id)| (u32::from(*v), *id)).collect();
        settle(&mut maps.vlans, name::VLANS, slot * VLANS, VLANS, &wanted)?;
        let entries: BTreeMap<u32, Members> =
            tables.members.iter().map(|(id, ports)| (*id, members(ports))).collect();
        let wanted = bytes_by(&entries);
        // Nobody asks for the members of a network without an entry, and this table is large.
        let networks = tables.networks.keys().next_back().map_or(0, |last| last + 1);
        settle(&mut maps.members, name::MEMBERS, slot * NETWORKS, networks, &wanted)
    }

    fn notices(&mut self, wanted: &BTreeMap<(u32, u32, u32), NoticeEntry>) -> Result<()> {
        let slot = self.slot;
        let entry = |(&(kind, network, port), entry): (&(u32, u32, u32), &NoticeEntry)| {
            (bytes(&NoticeKey { kind, network, port, slot }), bytes(entry))
        };
        let have = pieces::notices(self.maps, slot)?.iter().map(entry).collect();
        let wanted = wanted.iter().map(entry).collect();
        settle_hash(&mut self.maps.notices, name::NOTICES, &have, &wanted)
    }

    fn addresses(&mut self, wanted: &BTreeMap<(Addr, u32), AddressEntry>) -> Result<()> {
        let slot = self.slot;
        let entry = |(&(addr, scope), entry): (&(Addr, u32), &AddressEntry)| {
            (bytes(&AddressKey { addr, scope, slot }), bytes(entry))
        };
        let have = pieces::addresses(self.maps, slot)?.iter().map(entry).collect();
        let wanted = wanted.iter().map(entry).collect();
        settle_hash(&mut self.maps.addresses, name::ADDRESSES, &have, &wanted)
    }

    /// Places for the holders of shared addresses, those of the other slot among them, which is in
    /// force. Who holds one is left alone: programs say that.
    fn holders(&mut self, tables: &Tables) -> Result<()> {
        let other = pieces::addresses(self.maps, self.slot ^ 1)?;
        let in_force = Tables { addresses: other, ..Tables::default() };
        let all = tables.shared().chain(in_force.shared());
        let wanted: BTreeSet<_> = all.map(|key| bytes(&key)).collect();
        let have = self.maps.holders.keys().collect::<std::result::Result<BTreeSet<_>, _>>();
        let have = have.map_err(Error::map("read", name::HOLDERS))?;
        for key in have.difference(&wanted) {
            self.maps.holders.remove(key).map_err(Error::map("clean", name::HOLDERS))?;
        }
        for key in wanted.difference(&have) {
            let nobody = [0; size_of::<Holder>()];
            let written = self.maps.holders.insert(key, nobody, 0);
            written.map_err(Error::map("write", name::HOLDERS))?;
        }
        Ok(())
    }

    fn prefixes(&mut self, wanted: &BTreeMap<(Addr, u8), PrefixEntry>) -> Result<()> {
        let slot_be = self.slot.to_be_bytes();
        let key_of = |addr: &Addr, len: u8| {
            Key::new(32 + u32::from(len), bytes(&PrefixKey { slot_be, addr: addr.octets() }))
        };
        let map = &mut self.maps.prefixes;
        let mut have = BTreeMap::new();
        for entry in map.iter() {
            let (key, value) = entry.map_err(Error::map("read", name::PREFIXES))?;
            let read = PrefixKey::read_from_bytes(&key.data()).expect("a key of that size");
            if read.slot_be == slot_be {
                have.insert((Addr::v6(read.addr), (key.prefix_len() - 32) as u8), value);
            }
        }
        for (addr, len) in have.keys().filter(|k| !wanted.contains_key(k)) {
            map.remove(&key_of(addr, *len)).map_err(Error::map("clean", name::PREFIXES))?;
        }
        for ((addr, len), entry) in wanted {
            let value = bytes(entry);
            if have.get(&(*addr, *len)) == Some(&value) {
                continue;
            }
            map.insert(&key_of(addr, *len), value, 0)
                .map_err(Error::map("write", name::PREFIXES))?;
        }
        Ok(())
    }
}

/// A layout entry as the array that aya takes.
pub fn bytes<T: IntoBytes + Immutable, const N: usize>(entry: &T) -> [u8; N] {
    entry.as_bytes().try_into().expect("the map has the entry's size")
}

fn bytes_by<T: IntoBytes + Immutable, const N: usize>(
    entries: &BTreeMap<u32, T>,
) -> BTreeMap<u32, [u8; N]> {
    entries.iter().map(|(index, entry)| (*index, bytes(entry))).collect()
}

/// Makes `len` elements of an array from `base` be what is wanted, and zero where nothing is.
fn settle<V: aya::Pod + FromZeros + IntoBytes + Immutable + PartialEq>(
    array: &mut Array<MapData, V>,
    map: &'static str,
    base: u32,
    len: u32,
    wanted: &BTreeMap<u32, V>,
) -> Result<()> {
    let held = pieces::elements(array.map(), map, size_of::<V>(), base, len as usize)?;
    let zero = V::new_zeroed();
    for (at, held) in (0..len).zip(held.chunks_exact(size_of::<V>())) {
        let wanted = wanted.get(&at).unwrap_or(&zero);
        if held != wanted.as_bytes() {
            set(array, map, base + at, wanted)?;
        }
    }
    Ok(())
}

/// Makes the elements that a hash table has of a slot be what is wanted.
fn settle_hash<const K: usize, const V: usize>(
    hash: &mut HashMap<MapData, [u8; K], [u8; V]>,
    map: &'static str,
    have: &BTreeMap<[u8; K], [u8; V]>,
    wanted: &BTreeMap<[u8; K], [u8; V]>,
) -> Result<()> {
    for key in have.keys().filter(|key| !wanted.contains_key(*key)) {
        hash.remove(key).map_err(Error::map("clean", map))?;
    }
    for (key, value) in wanted.iter().filter(|(key, value)| have.get(*key) != Some(value)) {
        hash.insert(key, value, 0).map_err(Error::map("write", map))?;
        if hash.get(key, 0).map_err(Error::map("read", map))? != *value {
            return Err(Error::ReadBack { map, at: format!("{key:02x?}") });
        }
    }
    Ok(())
}

/// Sets one element of an array unless it is right already, and reads it back.
fn set<V: aya::Pod + PartialEq>(
    array: &mut Array<MapData, V>,
    map: &'static str,
    index: u32,
    wanted: &V,
) -> Result<()> {
    if array.get(&index, 0).map_err(Error::map("read", map))? == *wanted {
        return Ok(());
    }
    array.set(index, wanted, 0).map_err(Error::map("write", map))?;
    if array.get(&index, 0).map_err(Error::map("read", map))? == *wanted {
        Ok(())
    } else {
        Err(Error::ReadBack { map, at: index.to_string() })
    }
}

/// Writes numbers in chunks; the rest of the last one is zero.
fn chunks(
    array: &mut Array<MapData, [u8; CHUNK * 4]>,
    map: &'static str,
    base: u32,
    numbers: &[u32],
) -> Result<()> {
    const SIZE: usize = CHUNK * 4;
    let held = pieces::elements(array.map(), map, SIZE, base, numbers.len().div_ceil(CHUNK))?;
    for ((part, held), index) in numbers.chunks(CHUNK).zip(held.chunks_exact(SIZE)).zip(base..) {
        let mut chunk = [0; SIZE];
        chunk[..part.len() * 4].copy_from_slice(part.as_bytes());
        if held != chunk {
            set(array, map, index, &chunk)?;
        }
    }
    Ok(())
}

/// Refuses an image that does not fit.
pub fn check_fits(image: &Image) -> Result<()> {
    // Shadows begin with a chunk of their own.
    let cells = match image.shadows.len() {
        0 => image.cells.len(),
        shadows => image.cells.len().next_multiple_of(CHUNK) + shadows,
    };
    let limits = [
        ("networks", image.networks.len(), NETWORKS as usize - 1),
        ("pairs of classes", image.rows.len(), ROW_CHUNKS as usize * CHUNK),
        ("verdict cells", cells, CELL_CHUNKS as usize * CHUNK),
        ("rules", image.rules.len(), RULES as usize - 1),
        ("service tables", image.service_tables.len(), SERVICE_TABLES as usize),
        ("source port tables", image.source_tables.len(), SOURCE_TABLES as usize),
    ];
    match limits.into_iter().find(|(_, got, most)| got > most) {
        Some((what, got, most)) => Err(Error::TooLarge { what, got, most }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn what_does_not_fit_is_refused() {
        let mut image = testing::image();
        assert!(check_fits(&image).is_ok());
        image.cells = vec![0; CELL_CHUNKS as usize * CHUNK + 1];
        let text = check_fits(&image).unwrap_err().to_string();
        assert!(text.contains("verdict cells"), "{text}");
    }

    #[test]
    fn an_array_is_settled_and_cleaned() {
        let mut array = Array::<MapData, u32>::create(16, 0).unwrap();
        array.set(3, 99, 0).unwrap();
        array.set(12, 77, 0).unwrap();
        settle(&mut array, "TEST", 0, 8, &BTreeMap::from([(5, 50)])).unwrap();
        let got: Vec<u32> = (0..16).map(|i| array.get(&i, 0).unwrap()).collect();
        assert_eq!(got, [0, 0, 0, 0, 0, 50, 0, 0, 0, 0, 0, 0, 77, 0, 0, 0]);
    }

    #[test]
    fn chunks_end_in_zeros() {
        let mut array = Array::<MapData, [u8; CHUNK * 4]>::create(4, 0).unwrap();
        array.set(2, [0xff; CHUNK * 4], 0).unwrap();
        let numbers: Vec<u32> = (0..CHUNK as u32 + 3).collect();
        chunks(&mut array, "TEST", 1, &numbers).unwrap();
        let second = array.get(&2, 0).unwrap();
        assert_eq!(second[..4], (CHUNK as u32).to_ne_bytes());
        assert!(second[12..].iter().all(|b| *b == 0));
    }
}
