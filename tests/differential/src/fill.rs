//! Filling the maps of the loaded programs.

use anyhow::{Context, Result};
use aya::maps::{Array, HashMap, LpmTrie, MapData, lpm_trie::Key};
use portcullis_pipeline::{
    denied::bank_of,
    layout::{
        AddressKey, CELL_CHUNKS, CHUNK, DeniedChunk, HolderKey, NETWORKS, NoticeEntry, NoticeKey,
        PORTS, PrefixKey, ROW_CHUNKS, RULES, SERVICE_TABLES, SOURCE_TABLES, SubportKey,
    },
};
use portcullis_switch::slot::{Tables, members};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::{
    kernel::{Kernel, map},
    world::{Policy, bank},
};

impl Kernel {
    fn set<V: IntoBytes + Immutable, const N: usize>(
        &mut self,
        name: &str,
        index: u32,
        value: &V,
    ) -> Result<()> {
        let mut array: Array<&mut MapData, [u8; N]> = map(&mut self.ebpf, name)?.try_into()?;
        let bytes: [u8; N] = value.as_bytes().try_into()?;
        array.set(index, bytes, 0).with_context(|| format!("{name}[{index}]"))
    }

    /// Sets the clock, in ticks.
    pub fn set_now(&mut self, ticks: u64, errors_per_second: u64) -> Result<()> {
        self.settings.tick_offset = ticks;
        self.settings.errors_per_second = errors_per_second;
        let settings = self.settings;
        self.set::<_, 40>("SETTINGS", 0, &settings)
    }

    /// Writes a generation into its slot, which no packet reads.
    pub fn load(&mut self, generation: u32, policy: &Policy) -> Result<()> {
        let (slot, image, tables) = (generation & 1, &policy.image, &policy.tables);
        self.set::<_, 32>("GENERATIONS", slot, &policy.shape(generation))?;
        for (index, entry) in &tables.ports {
            self.set::<_, 192>("PORTS", slot * PORTS + index, entry)?;
        }
        self.subports(slot, tables)?;
        for (id, entry) in &tables.networks {
            self.set::<_, 80>("NETWORKS", slot * NETWORKS + id, entry)?;
        }
        for (vlan, id) in &tables.vlans {
            self.set::<_, 4>("VLANS", slot * 4096 + u32::from(*vlan), id)?;
        }
        for (id, ports) in &tables.members {
            self.set::<_, 4096>("MEMBERS", slot * NETWORKS + id, &members(ports))?;
        }
        for (table, index) in image.service_tables.iter().zip(slot * SERVICE_TABLES..) {
            self.set::<_, 131_072>("SERVICES", index, table)?;
        }
        for (table, index) in image.source_tables.iter().zip(slot * SOURCE_TABLES..) {
            self.set::<_, 131_072>("SOURCES", index, table)?;
        }
        self.chunks("ROWS", slot * ROW_CHUNKS, &image.rows)?;
        self.chunks("CELLS", slot * CELL_CHUNKS, &policy.verdicts())?;
        self.holders(tables)?;
        self.addresses(slot, tables)?;
        self.notices(slot, tables)?;
        self.prefixes(slot, tables)?;
        self.denied(generation, policy)?;
        for (entry, index) in policy.rules.iter().zip(slot * RULES..) {
            self.set::<_, 16>("RULES", index, entry)?;
        }
        self.settings.ends[slot as usize] = policy.ends();
        let settings = self.settings;
        self.set::<_, 40>("SETTINGS", 0, &settings)
    }

    /// Puts a generation in force that is in its slot.
    pub fn put_in_force(&mut self, generation: u32) -> Result<()> {
        self.set::<_, 8>("GENERATION", 0, &u64::from(generation))
    }

    fn chunks(&mut self, name: &str, base: u32, numbers: &[u32]) -> Result<()> {
        for (part, index) in numbers.chunks(CHUNK).zip(base..) {
            let mut chunk = [0_u32; CHUNK];
            chunk[..part.len()].copy_from_slice(part);
            self.set::<_, { CHUNK * 4 }>(name, index, &chunk)?;
        }
        Ok(())
    }

    fn addresses(&mut self, slot: u32, tables: &Tables) -> Result<()> {
        let mut hash: HashMap<_, [u8; 24], [u8; 24]> =
            map(&mut self.ebpf, "ADDRESSES")?.try_into()?;
        let old: Vec<[u8; 24]> = hash.keys().collect::<Result<_, _>>()?;
        for key in old {
            if AddressKey::read_from_bytes(&key).is_ok_and(|k| k.slot == slot) {
                hash.remove(&key)?;
            }
        }
        for ((addr, scope), entry) in &tables.addresses {
            let key = AddressKey { addr: *addr, scope: *scope, slot };
            let value: [u8; 24] = entry.as_bytes().try_into()?;
            hash.insert(<[u8; 24]>::try_from(key.as_bytes())?, value, 0)?;
        }
        Ok(())
    }

    /// Places for the holders of shared addresses; those that there are stay.
    fn holders(&mut self, tables: &Tables) -> Result<()> {
        let mut hash: HashMap<_, [u8; 16], [u8; 8]> = map(&mut self.ebpf, "HOLDERS")?.try_into()?;
        for key in tables.shared() {
            let key: [u8; 16] = key.as_bytes().try_into()?;
            if hash.get(&key, 0).is_err() {
                hash.insert(key, [0; 8], 0)?;
            }
        }
        Ok(())
    }

    /// The word that says who holds shared addresses, if there is a place for it.
    pub fn holder(&mut self, network: u32, mac: u64) -> Result<Option<u64>> {
        let hash: HashMap<_, [u8; 16], [u8; 8]> = map(&mut self.ebpf, "HOLDERS")?.try_into()?;
        let key: [u8; 16] = HolderKey { mac, network, reserved: 0 }.as_bytes().try_into()?;
        Ok(hash.get(&key, 0).ok().map(u64::from_ne_bytes))
    }

    /// They are the same in every generation of a world.
    fn subports(&mut self, slot: u32, tables: &Tables) -> Result<()> {
        let mut hash: HashMap<_, [u8; 16], u32> = map(&mut self.ebpf, "SUBPORTS")?.try_into()?;
        for (&(device, vlan), number) in &tables.subports {
            let key = SubportKey { device, vlan: vlan.into(), slot, reserved: 0 };
            hash.insert(<[u8; 16]>::try_from(key.as_bytes())?, number, 0)?;
        }
        Ok(())
    }

    fn notices(&mut self, slot: u32, tables: &Tables) -> Result<()> {
        const K: usize = size_of::<NoticeKey>();
        const V: usize = size_of::<NoticeEntry>();
        let mut hash: HashMap<_, [u8; K], [u8; V]> = map(&mut self.ebpf, "NOTICES")?.try_into()?;
        let old: Vec<[u8; K]> = hash.keys().collect::<Result<_, _>>()?;
        for key in old {
            if NoticeKey::read_from_bytes(&key).is_ok_and(|k| k.slot == slot) {
                hash.remove(&key)?;
            }
        }
        for (&(kind, network, port), entry) in &tables.notices {
            let key = NoticeKey { kind, network, port, slot };
            let value: [u8; V] = entry.as_bytes().try_into()?;
            hash.insert(<[u8; K]>::try_from(key.as_bytes())?, value, 0)?;
        }
        Ok(())
    }

    fn denied(&mut self, generation: u32, policy: &Policy) -> Result<()> {
        const V: usize = size_of::<DeniedChunk>();
        let mut hash: HashMap<_, u32, [u8; V]> = map(&mut self.ebpf, "DENIED")?.try_into()?;
        let old: Vec<u32> = hash.keys().collect::<Result<_, _>>()?;
        for key in old.into_iter().filter(|key| bank_of(*key) == bank(generation)) {
            hash.remove(&key)?;
        }
        for (key, chunk) in policy.image.denied.chunks(bank(generation)) {
            hash.insert(key, <[u8; V]>::try_from(chunk.as_bytes())?, 0)?;
        }
        Ok(())
    }

    fn prefixes(&mut self, slot: u32, tables: &Tables) -> Result<()> {
        let mut trie: LpmTrie<_, [u8; 20], [u8; 8]> =
            map(&mut self.ebpf, "PREFIXES")?.try_into()?;
        let old: Vec<Key<[u8; 20]>> = trie.keys().collect::<Result<_, _>>()?;
        for key in old {
            if key.data()[..4] == slot.to_be_bytes() {
                trie.remove(&key)?;
            }
        }
        for ((addr, len), entry) in &tables.prefixes {
            let data = PrefixKey { slot_be: slot.to_be_bytes(), addr: addr.octets() };
            let key = Key::new(32 + u32::from(*len), data.as_bytes().try_into()?);
            trie.insert(&key, <[u8; 8]>::try_from(entry.as_bytes())?, 0)?;
        }
        Ok(())
    }
}
