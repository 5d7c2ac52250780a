//! A kernel that does not hold what was written: the generation is refused, and the one before
//! goes on.

use std::path::PathBuf;

use aya::maps::{Array, HashMap, LpmTrie, Map, MapData, lpm_trie::Key};
use portcullis_pipeline::{
    LAYOUT_VERSION,
    layout::{
        AddressEntry, AddressKey, CELL_CHUNKS, CHUNK, GenerationEntry, Members, NETWORKS,
        NetworkEntry, NoticeEntry, NoticeKey, PORTS, PortEntry, PrefixEntry, PrefixKey, ROW_CHUNKS,
        RULES, RuleEntry, SERVICE_TABLES, SOURCE_TABLES, ServiceTable, Settings,
    },
};

use crate::{
    bed::{Bed, class, image, is_silent, reaches, socket},
    rules::changed,
};

const ALLOWED: &[(u32, u32)] = &[(class::PC1, class::PC2)];

fn pinned(bed: &Bed, name: &str) -> Map {
    let pin: PathBuf = bed.config.run_dir.join(format!("bpf/v{LAYOUT_VERSION}/maps")).join(name);
    let data = MapData::from_pin(pin).unwrap();
    match name {
        "ADDRESSES" | "NOTICES" => Map::HashMap(data),
        "PREFIXES" => Map::LpmTrie(data),
        _ => Map::Array(data),
    }
}

/// Flips a bit of an element of an array.
fn flip<const N: usize>(bed: &Bed, name: &str, index: u32, byte: usize) {
    let mut array = Array::<_, [u8; N]>::try_from(pinned(bed, name)).unwrap();
    let mut entry = array.get(&index, 0).unwrap();
    entry[byte] ^= 1;
    array.set(index, entry, 0).unwrap();
}

/// Flips a bit of the class of the first address of a slot.
fn flip_address(bed: &Bed, slot: u32) {
    type Hash = HashMap<MapData, [u8; size_of::<AddressKey>()], [u8; size_of::<AddressEntry>()]>;
    let mut hash = Hash::try_from(pinned(bed, "ADDRESSES")).unwrap();
    let mut all = hash.iter().map(Result::unwrap);
    let (key, mut entry) = all.find(|(key, _)| key[20..] == slot.to_ne_bytes()).unwrap();
    drop(all);
    entry[8] ^= 1;
    hash.insert(key, entry, 0).unwrap();
}

/// Flips a bit of what the first port of a slot is told.
fn flip_notice(bed: &Bed, slot: u32) {
    type Hash = HashMap<MapData, [u8; size_of::<NoticeKey>()], [u8; size_of::<NoticeEntry>()]>;
    let mut hash = Hash::try_from(pinned(bed, "NOTICES")).unwrap();
    let mut all = hash.iter().map(Result::unwrap);
    let (key, mut entry) = all.find(|(key, _)| key[12..] == slot.to_ne_bytes()).unwrap();
    drop(all);
    entry[100] ^= 1;
    hash.insert(key, entry, 0).unwrap();
}

/// Flips a bit of the class of the first prefix of a slot, or adds one that nobody wanted.
fn flip_prefix(bed: &Bed, slot: u32, add: bool) {
    type Trie = LpmTrie<MapData, [u8; size_of::<PrefixKey>()], [u8; size_of::<PrefixEntry>()]>;
    let mut trie = Trie::try_from(pinned(bed, "PREFIXES")).unwrap();
    let mut all = trie.iter().map(Result::unwrap);
    let (key, mut entry) = all.find(|(key, _)| key.data()[..4] == slot.to_be_bytes()).unwrap();
    drop(all);
    if add {
        let mut data = key.data();
        data[8] ^= 0x40;
        trie.insert(&Key::new(32 + 77, data), entry, 0).unwrap();
    } else {
        entry[0] ^= 1;
        trie.insert(&key, entry, 0).unwrap();
    }
}

/// Every table of a generation, damaged in one bit, and a word of what is said about it.
fn damage(bed: &Bed, what: &str, slot: u32) -> &'static str {
    const CLASSES: usize = size_of::<ServiceTable>();
    match what {
        "shape" => flip::<{ size_of::<GenerationEntry>() }>(bed, "GENERATIONS", slot, 12),
        "port" => {
            let index = portcullis_ports::link::get("port1").unwrap().index;
            flip::<{ size_of::<PortEntry>() }>(bed, "PORTS", slot * PORTS + index, 64);
        }
        "network" => {
            flip::<{ size_of::<NetworkEntry>() }>(bed, "NETWORKS", slot * NETWORKS + 1, 40);
        }
        "vlan" => flip::<4>(bed, "VLANS", slot * 4096 + 77, 0),
        "members" => flip::<{ size_of::<Members>() }>(bed, "MEMBERS", slot * NETWORKS + 1, 4),
        "notice" => flip_notice(bed, slot),
        "address" => flip_address(bed, slot),
        "prefix" => flip_prefix(bed, slot, false),
        "another prefix" => flip_prefix(bed, slot, true),
        "service" => flip::<CLASSES>(bed, "SERVICES", slot * SERVICE_TABLES + 1, 4000),
        "source" => flip::<CLASSES>(bed, "SOURCES", slot * SOURCE_TABLES, 2000),
        "row" => flip::<{ CHUNK * 4 }>(bed, "ROWS", slot * ROW_CHUNKS, 20),
        "cell" => flip::<{ CHUNK * 4 }>(bed, "CELLS", slot * CELL_CHUNKS, 0),
        "shadow" => flip::<{ CHUNK * 4 }>(bed, "CELLS", slot * CELL_CHUNKS + 1, 4),
        "rule" => flip::<{ size_of::<RuleEntry>() }>(bed, "RULES", slot * RULES + 1, 0),
        "first end" => {
            flip::<{ size_of::<Settings>() }>(bed, "SETTINGS", 0, 24 + 8 * slot as usize);
        }
        _ => unreachable!("{what}"),
    }
    match what {
        "shape" => "GENERATIONS",
        "port" => "PORTS",
        "network" => "NETWORKS",
        "vlan" => "VLANS",
        "members" => "MEMBERS",
        "notice" => "NOTICES",
        "address" => "ADDRESSES",
        "prefix" | "another prefix" => "PREFIXES",
        "service" | "source" => "service class",
        "row" | "cell" | "shadow" => "the verdict for identity class",
        "rule" => "RULES",
        _ => "SETTINGS",
    }
}

#[test]
fn one_wrong_bit_anywhere_refuses_the_generation() {
    Bed::new().run(|bed| {
        let mut switch = bed.start();
        let first = switch.install(image(ALLOWED), &bed.specs(), &[]).unwrap();
        assert!(first.validation.packets > 10, "{first:?}");
        let (pc1, pc2) = (socket(&bed.pc1, "10.10.0.11:0"), socket(&bed.pc2, "10.10.0.12:0"));
        assert!(reaches(&pc1, &pc2));
        let next = changed(&[(class::PC1, class::WEB)], |image| {
            image.rules[0].until_unix_s = 4_000_000_000;
            image.shadows = image.cells.clone();
            (image.sources, image.services) = (2, 2);
            image.source_tables = image.service_tables[..3].to_vec();
            image.source_tables[0].class[1000] = 1;
            image.cells = image.cells.iter().flat_map(|cell| [*cell; 2]).collect();
            image.shadows = image.cells.clone();
        });
        for what in [
            "shape",
            "port",
            "network",
            "vlan",
            "members",
            "notice",
            "address",
            "prefix",
            "another prefix",
            "service",
            "source",
            "row",
            "cell",
            "shadow",
            "rule",
            "first end",
        ] {
            let mut word = "";
            let mut faulty = |generation: u32| word = damage(bed, what, generation & 1);
            let refused =
                switch.install_watched(next.clone(), &bed.specs(), &[], &mut faulty).unwrap_err();
            let text = refused.to_string();
            assert!(text.contains(word) && text.contains("stays in force"), "{what}: {text}");
            assert_eq!(switch.status().unwrap().generation, first.generation, "{what}");
            assert!(reaches(&pc1, &pc2), "{what}: the old generation goes on");
        }
        // The slot holds damage of all sorts: it is written right again.
        let installed = switch.install(next, &bed.specs(), &[]).unwrap();
        assert_eq!(installed.generation, first.generation + 1);
        assert!(is_silent(&pc1, &pc2));
        // Both slots are known by now. What somebody else writes into one is found all the same.
        let before = switch.install(image(ALLOWED), &bed.specs(), &[]).unwrap().generation;
        for (what, generation) in ["port", "address", "cell", "notice"].iter().zip(before + 1..) {
            damage(bed, what, generation & 1);
            let installed = switch.install(image(ALLOWED), &bed.specs(), &[]).unwrap();
            assert_eq!(installed.generation, generation, "{what}");
            assert!(reaches(&pc1, &pc2), "{what}");
        }
    });
}
