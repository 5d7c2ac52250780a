//! Tables, from plain data into the maps. What a slot holds is known from the last time that it was
//! written and read back, or is read first, in large pieces; only entries that differ are written,
//! and each is read back: when a write returns, the slot holds what was asked for.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    os::fd::AsFd,
};

use aya::maps::{Array, HashMap, MapData, MapError, lpm_trie::Key};
use portcullis_image::Image;
use portcullis_pipeline::{
    addr::Addr,
    layout::{
        AddressKey, CELL_CHUNKS, CHUNK, GenerationEntry, Holder, Members, NETWORKS, NoticeKey,
        PORTS, PortEntry, PrefixKey, ROW_CHUNKS, RULES, RuleEntry, SERVICE_TABLES, SOURCE_TABLES,
        Settings, SubportKey, port_kind,
    },
};
use zerocopy::{FromZeros, Immutable, IntoBytes};

use crate::{
    batch,
    error::{Error, Result},
    loaded::Loaded,
    maps::{Maps, VLANS, name},
    pieces,
    slot::{Tables, first_end, members, shape},
    validate::{Reader, Wanted},
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

    /// Makes the slot hold exactly this generation. No packet may be reading it. `held`: what the
    /// slot is known to hold; `other`: what the tables of the other one are known to be.
    pub fn fill(
        &mut self,
        wanted: &Wanted<'_>,
        held: Option<&Loaded>,
        other: Option<&Tables>,
    ) -> Result<()> {
        let (image, tables) = (wanted.image, wanted.tables);
        self.dense(image, held.map(|h| &*h.image))?;
        self.rules(wanted.rules, held.map_or(&[], |h| &h.rules))?;
        self.shape(&shape(image, wanted.generation, wanted.bank))?;
        let held = self.tables(held.map(|h| &*h.tables))?;
        self.prefixes(&held, tables)?;
        self.holders(tables, other)?;
        self.addresses(&held, tables)?;
        self.networks(&held, tables)?;
        self.notices(&held, tables)?;
        self.subports(&held, tables)?;
        let ports = Delta::of(&held.ports, &tables.ports);
        settle(&mut self.maps.ports, name::PORTS, self.slot * PORTS, ports, bytes)
    }

    /// Moves a slot that packets are reading from one state to another: what closes goes first,
    /// what opens comes last.
    pub fn change(&mut self, from: &Tables, to: &Tables) -> Result<()> {
        for (index, entry) in &from.ports {
            if to.ports.get(index) != Some(entry) {
                self.port(*index, &PortEntry::new_zeroed())?;
            }
        }
        self.prefixes(from, to)?;
        self.addresses(from, to)?;
        self.networks(from, to)?;
        self.notices(from, to)?;
        self.subports(from, to)?;
        for (index, entry) in &to.ports {
            if from.ports.get(index) != Some(entry) {
                // A reader may see half of a write: let the kind alone open the port.
                self.port(*index, &PortEntry { kind: port_kind::CLOSED, ..*entry })?;
                self.port(*index, entry)?;
            }
        }
        Ok(())
    }

    /// As [`Writer::change`], from wherever a change has stopped.
    pub fn restore(&mut self, to: &Tables) -> Result<()> {
        let from = self.tables(None)?.into_owned();
        self.change(&from, to)
    }

    /// What is known of the tables, or what they are.
    fn tables<'t>(&self, known: Option<&'t Tables>) -> Result<Cow<'t, Tables>> {
        match known {
            Some(known) => Ok(Cow::Borrowed(known)),
            None => Reader::new(self.maps, self.slot).tables(NETWORKS).map(Cow::Owned),
        }
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

    /// Services, rows and cells. `held`: the image that they are of.
    fn dense(&mut self, image: &Image, held: Option<&Image>) -> Result<()> {
        let mut before = held.map_or(&[][..], |held| &held.service_tables).iter();
        for (table, index) in image.service_tables.iter().zip(self.slot * SERVICE_TABLES..) {
            if before.next().is_some_and(|before| before.class == table.class) {
                continue;
            }
            set(&mut self.maps.services, name::SERVICES, index, &bytes(table))?;
        }
        for (table, index) in image.source_tables.iter().zip(self.slot * SOURCE_TABLES..) {
            set(&mut self.maps.sources, name::SOURCES, index, &bytes(table))?;
        }
        let cells = self.slot * CELL_CHUNKS;
        let shadows_of = |image: &Image| shape(image, 0, 0).shadows / CHUNK as u32;
        let shadows = shadows_of(image);
        let shadowed = held.filter(|held| shadows_of(held) == shadows);
        let rows = held.map_or(&[][..], |held| &held.rows);
        chunks(&mut self.maps.rows, name::ROWS, self.slot * ROW_CHUNKS, rows, &image.rows)?;
        let held = held.map_or(&[][..], |held| &held.cells);
        chunks(&mut self.maps.cells, name::CELLS, cells, held, &image.cells)?;
        let held = shadowed.map_or(&[][..], |held| &held.shadows);
        chunks(&mut self.maps.cells, name::CELLS, cells + shadows, held, &image.shadows)
    }

    /// Ends and log rates, and the first end of all. `held`: what is known to stand there.
    fn rules(&mut self, entries: &[RuleEntry], held: &[RuleEntry]) -> Result<()> {
        let (size, slot) = (size_of::<RuleEntry>(), self.slot * RULES);
        let same = entries.iter().zip(held).take_while(|(new, old)| new == old).count();
        let first = slot + same as u32;
        for (some, at) in
            entries[same..].chunks(RULES_AT_ONCE).zip((first..).step_by(RULES_AT_ONCE))
        {
            let fd = self.maps.rules.fd().as_fd();
            batch::write(fd, size, at, some.as_bytes())
                .map_err(|source| Error::Batch { map: name::RULES, source })?;
        }
        let mut settings = self.maps.settings()?;
        settings.ends[self.slot as usize] = first_end(entries);
        set(&mut self.maps.settings, name::SETTINGS, 0, &bytes::<Settings, _>(&settings))
    }

    /// Networks, and what belongs to them.
    fn networks(&mut self, held: &Tables, wanted: &Tables) -> Result<()> {
        let (slot, maps) = (self.slot, &mut *self.maps);
        let networks = Delta::of(&held.networks, &wanted.networks);
        settle(&mut maps.networks, name::NETWORKS, slot * NETWORKS, networks, bytes)?;
        let vlans = Delta::of(&held.vlans, &wanted.vlans);
        settle(&mut maps.vlans, name::VLANS, slot * VLANS, vlans, |id| *id)?;
        let entry = |ports: &Vec<u32>| bytes::<Members, _>(&members(ports));
        let members = Delta::of(&held.members, &wanted.members);
        settle(&mut maps.members, name::MEMBERS, slot * NETWORKS, members, entry)
    }

    fn notices(&mut self, held: &Tables, wanted: &Tables) -> Result<()> {
        let slot = self.slot;
        let key = |&(kind, network, port): &(u32, u32, u32)| {
            bytes(&NoticeKey { kind, network, port, slot })
        };
        let delta = Delta::of(&held.notices, &wanted.notices);
        settle_hash(&mut self.maps.notices, name::NOTICES, delta, key)
    }

    fn subports(&mut self, held: &Tables, wanted: &Tables) -> Result<()> {
        let slot = self.slot;
        let key = |&(device, vlan): &(u32, u16)| {
            bytes(&SubportKey { device, vlan: vlan.into(), slot, reserved: 0 })
        };
        let delta = Delta::of(&held.subports, &wanted.subports);
        settle_hash(&mut self.maps.subports, name::SUBPORTS, delta, key)
    }

    fn addresses(&mut self, held: &Tables, wanted: &Tables) -> Result<()> {
        let slot = self.slot;
        let key = |&(addr, scope): &(Addr, u32)| bytes(&AddressKey { addr, scope, slot });
        let delta = Delta::of(&held.addresses, &wanted.addresses);
        settle_hash(&mut self.maps.addresses, name::ADDRESSES, delta, key)
    }

    /// Places for the holders of shared addresses, those of the other slot among them, which is in
    /// force. Who holds one is left alone: programs say that.
    fn holders(&mut self, tables: &Tables, other: Option<&Tables>) -> Result<()> {
        let in_force = match other {
            Some(other) => Cow::Borrowed(other),
            None => {
                let addresses = pieces::addresses(self.maps, self.slot ^ 1)?;
                Cow::Owned(Tables { addresses, ..Tables::default() })
            }
        };
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

    fn prefixes(&mut self, held: &Tables, wanted: &Tables) -> Result<()> {
        let slot_be = self.slot.to_be_bytes();
        let key_of = |(addr, len): &(Addr, u8)| {
            Key::new(32 + u32::from(*len), bytes(&PrefixKey { slot_be, addr: addr.octets() }))
        };
        let map = &mut self.maps.prefixes;
        let Delta { gone, new } = Delta::of(&held.prefixes, &wanted.prefixes);
        for key in gone {
            removed(map.remove(&key_of(key)), name::PREFIXES)?;
        }
        for (key, entry) in new {
            map.insert(&key_of(key), bytes(entry), 0)
                .map_err(Error::map("write", name::PREFIXES))?;
        }
        Ok(())
    }
}

/// What makes one table of another.
struct Delta<'a, K, V> {
    gone: Vec<&'a K>,
    new: Vec<(&'a K, &'a V)>,
}

impl<'a, K: Ord, V: PartialEq> Delta<'a, K, V> {
    fn of(held: &'a BTreeMap<K, V>, wanted: &'a BTreeMap<K, V>) -> Self {
        let (mut gone, mut new) = (Vec::new(), Vec::new());
        let (mut held, mut wanted) = (held.iter().peekable(), wanted.iter().peekable());
        loop {
            match (held.peek(), wanted.peek()) {
                (None, None) => return Self { gone, new },
                (Some((key, value)), Some(next)) if *key == next.0 => {
                    if *value != next.1 {
                        new.push(*next);
                    }
                    held.next();
                    wanted.next();
                }
                (Some((key, _)), next) if next.is_none_or(|next| *key < next.0) => {
                    gone.push(*key);
                    held.next();
                }
                (_, Some(next)) => {
                    new.push(*next);
                    wanted.next();
                }
                (Some(_), None) => unreachable!("the arm above has those"),
            }
        }
    }
}

/// A layout entry as the array that aya takes.
pub fn bytes<T: IntoBytes + Immutable, const N: usize>(entry: &T) -> [u8; N] {
    entry.as_bytes().try_into().expect("the map has the entry's size")
}

/// Changes elements of an array from `base`; what is gone becomes zero.
fn settle<K: Copy + Into<u32>, T, V: aya::Pod + FromZeros + PartialEq>(
    array: &mut Array<MapData, V>,
    map: &'static str,
    base: u32,
    delta: Delta<'_, K, T>,
    value: impl Fn(&T) -> V,
) -> Result<()> {
    for at in delta.gone {
        set(array, map, base + (*at).into(), &V::new_zeroed())?;
    }
    delta
        .new
        .into_iter()
        .try_for_each(|(at, new)| set(array, map, base + (*at).into(), &value(new)))
}

/// Changes entries of a hash table.
fn settle_hash<K, T: IntoBytes + Immutable, const N: usize, const V: usize>(
    hash: &mut HashMap<MapData, [u8; N], [u8; V]>,
    map: &'static str,
    delta: Delta<'_, K, T>,
    key: impl Fn(&K) -> [u8; N],
) -> Result<()> {
    for gone in delta.gone {
        removed(hash.remove(&key(gone)), map)?;
    }
    for (new, entry) in delta.new {
        let (key, value) = (key(new), bytes(entry));
        hash.insert(key, value, 0).map_err(Error::map("write", map))?;
        if hash.get(&key, 0).map_err(Error::map("read", map))? != value {
            return Err(Error::ReadBack { map, at: format!("{key:02x?}") });
        }
    }
    Ok(())
}

/// What was gone before it was removed is gone, too.
fn removed(outcome: std::result::Result<(), MapError>, map: &'static str) -> Result<()> {
    match outcome {
        Err(MapError::KeyNotFound) => Ok(()),
        Err(MapError::SyscallError(e)) if e.io_error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        other => other.map_err(Error::map("clean", map)),
    }
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

/// Writes numbers in chunks; the rest of the last one is zero. `held`: those that are known to
/// stand there.
fn chunks(
    array: &mut Array<MapData, [u8; CHUNK * 4]>,
    map: &'static str,
    base: u32,
    held: &[u32],
    numbers: &[u32],
) -> Result<()> {
    let mut held = held.chunks(CHUNK);
    for (part, index) in numbers.chunks(CHUNK).zip(base..) {
        if held.next() != Some(part) {
            let mut chunk = [0; CHUNK * 4];
            chunk[..part.len() * 4].copy_from_slice(part.as_bytes());
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
    use proptest::{collection::btree_map, prelude::*};

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
    fn an_array_is_changed_where_it_differs() {
        let mut array = Array::<MapData, u32>::create(16, 0).unwrap();
        array.set(3, 99, 0).unwrap();
        array.set(12, 77, 0).unwrap();
        let (held, wanted) = (BTreeMap::from([(3_u32, 99), (4, 1)]), BTreeMap::from([(5, 50)]));
        settle(&mut array, "TEST", 0, Delta::of(&held, &wanted), |v| *v).unwrap();
        let got: Vec<u32> = (0..16).map(|i| array.get(&i, 0).unwrap()).collect();
        assert_eq!(got, [0, 0, 0, 0, 0, 50, 0, 0, 0, 0, 0, 0, 77, 0, 0, 0]);
    }

    #[test]
    fn chunks_end_in_zeros() {
        let mut array = Array::<MapData, [u8; CHUNK * 4]>::create(4, 0).unwrap();
        array.set(2, [0xff; CHUNK * 4], 0).unwrap();
        let numbers: Vec<u32> = (0..CHUNK as u32 + 3).collect();
        chunks(&mut array, "TEST", 1, &[], &numbers).unwrap();
        let second = array.get(&2, 0).unwrap();
        assert_eq!(second[..4], (CHUNK as u32).to_ne_bytes());
        assert!(second[12..].iter().all(|b| *b == 0));
        // What is known to be there is left alone, and what is not is written.
        array.set(1, [7; CHUNK * 4], 0).unwrap();
        array.set(2, [7; CHUNK * 4], 0).unwrap();
        chunks(&mut array, "TEST", 1, &numbers[..CHUNK + 1], &numbers).unwrap();
        assert_eq!(array.get(&1, 0).unwrap(), [7; CHUNK * 4]);
        assert_eq!(array.get(&2, 0).unwrap(), second);
    }

    proptest! {
        #[test]
        fn a_difference_makes_one_table_of_another(
            held in btree_map(0_u8..30, 0_u8..3, 0..20), wanted in btree_map(0_u8..30, 0_u8..3, 0..20),
        ) {
            let Delta { gone, new } = Delta::of(&held, &wanted);
            prop_assert!(new.iter().all(|(key, value)| held.get(key) != Some(value)));
            let mut made = held.clone();
            prop_assert!(gone.into_iter().all(|key| made.remove(key).is_some()));
            made.extend(new.into_iter().map(|(key, value)| (*key, *value)));
            prop_assert_eq!(made, wanted);
        }
    }
}
