//! The pinned tables, typed. Entries cross as byte arrays of the layouts' sizes: zerocopy makes
//! them on this side, so no table entry needs an unsafe marker for aya.

use std::path::Path;

use aya::maps::{
    Array, DevMapHash, HashMap, LpmTrie, Map, MapData, MapInfo, PerCpuArray, PerCpuHashMap, RingBuf,
};
use portcullis_pipeline::{
    layout::{
        AddressEntry, AddressKey, CELL_CHUNKS, CHUNK, DENIED_BANKS, DENIED_CHUNKS, DeniedChunk,
        DropKey, EVENT_RING, FlowEntry, FlowKey, GenerationEntry, Holder, HolderKey, Members,
        NETWORKS, NetworkEntry, NoticeEntry, NoticeKey, PORTS, PortEntry, PortReturns, PortState,
        PrefixEntry, PrefixKey, ROW_CHUNKS, RULES, SERVICE_TABLES, SLOTS, SOURCE_TABLES,
        ServiceTable, Settings, SubportKey, TRAFFIC, Traffic,
    },
    reason::REASONS,
};

use zerocopy::FromBytes;

use crate::{
    error::{Chain, Error, Result},
    slot::Tables,
};

/// VLAN ids of a slot in the VLAN table.
pub const VLANS: u32 = 4096;

/// Names of the pinned tables, as in the object. The tail-call table is not among them: it
/// belongs to the programs of one object.
pub mod name {
    pub const GENERATION: &str = "GENERATION";
    pub const GENERATIONS: &str = "GENERATIONS";
    pub const PORTS: &str = "PORTS";
    pub const SUBPORTS: &str = "SUBPORTS";
    pub const NETWORKS: &str = "NETWORKS";
    pub const VLANS: &str = "VLANS";
    pub const MEMBERS: &str = "MEMBERS";
    pub const NOTICES: &str = "NOTICES";
    pub const ADDRESSES: &str = "ADDRESSES";
    pub const HOLDERS: &str = "HOLDERS";
    pub const PREFIXES: &str = "PREFIXES";
    pub const DENIED: &str = "DENIED";
    pub const SERVICES: &str = "SERVICES";
    pub const SOURCES: &str = "SOURCES";
    pub const ROWS: &str = "ROWS";
    pub const CELLS: &str = "CELLS";
    pub const RULES: &str = "RULES";
    pub const FLOWS: &str = "FLOWS";
    pub const DATAGRAMS: &str = "DATAGRAMS";
    pub const FRAGMENTS: &str = "FRAGMENTS";
    pub const NEIGHBOURS: &str = "NEIGHBOURS";
    pub const DROPS: &str = "DROPS";
    pub const TRAFFIC: &str = "TRAFFIC";
    pub const PORT_DROPS: &str = "PORT_DROPS";
    pub const PORT_STATE: &str = "PORT_STATE";
    pub const PORT_RETURNS: &str = "PORT_RETURNS";
    pub const RULE_HITS: &str = "RULE_HITS";
    pub const EVENTS: &str = "EVENTS";
    pub const EVENTS_LOST: &str = "EVENTS_LOST";
    pub const EVENT_BUDGETS: &str = "EVENT_BUDGETS";
    pub const SETTINGS: &str = "SETTINGS";
    pub const LANES: &str = "LANES";
    pub const LANE_HITS: &str = "LANE_HITS";
    pub const GATE_HITS: &str = "GATE_HITS";
    pub const TAILS: &str = "TAILS";

    /// All that are pinned under `maps/`.
    pub const ALL: &[&str] = &[
        GENERATION,
        GENERATIONS,
        PORTS,
        SUBPORTS,
        NETWORKS,
        VLANS,
        MEMBERS,
        NOTICES,
        ADDRESSES,
        HOLDERS,
        PREFIXES,
        DENIED,
        SERVICES,
        SOURCES,
        ROWS,
        CELLS,
        RULES,
        FLOWS,
        DATAGRAMS,
        FRAGMENTS,
        NEIGHBOURS,
        DROPS,
        TRAFFIC,
        PORT_DROPS,
        PORT_STATE,
        PORT_RETURNS,
        RULE_HITS,
        EVENTS,
        EVENTS_LOST,
        EVENT_BUDGETS,
        SETTINGS,
        LANES,
        LANE_HITS,
        GATE_HITS,
    ];
}

/// Bytes of an entry type.
pub type Bytes<const N: usize> = [u8; N];

const fn size<T>() -> usize {
    size_of::<T>()
}

type ArrayOf<const N: usize> = Array<MapData, Bytes<N>>;
type HashOf<const K: usize, const V: usize> = HashMap<MapData, Bytes<K>, Bytes<V>>;

/// Every table that user space reads or writes.
pub struct Maps {
    /// The generation in force.
    pub generation: Array<MapData, u64>,
    /// Shape, by slot.
    pub generations: ArrayOf<{ size::<GenerationEntry>() }>,
    /// Ports.
    pub ports: ArrayOf<{ size::<PortEntry>() }>,
    /// Numbers of subports.
    pub subports: HashOf<{ size::<SubportKey>() }, { size::<u32>() }>,
    /// Networks.
    pub networks: ArrayOf<{ size::<NetworkEntry>() }>,
    /// Network ids by VLAN id.
    pub vlans: Array<MapData, u32>,
    /// Members of networks.
    pub members: ArrayOf<{ size::<Members>() }>,
    /// What ports are told.
    pub notices: HashOf<{ size::<NoticeKey>() }, { size::<NoticeEntry>() }>,
    /// Declared addresses.
    pub addresses: HashOf<{ size::<AddressKey>() }, { size::<AddressEntry>() }>,
    /// Who holds shared addresses, whatever the generation.
    pub holders: HashOf<{ size::<HolderKey>() }, { size::<Holder>() }>,
    /// Prefixes.
    pub prefixes:
        LpmTrie<MapData, Bytes<{ size::<PrefixKey>() }>, Bytes<{ size::<PrefixEntry>() }>>,
    /// Chunks of denied sets.
    pub denied: HashMap<MapData, u32, Bytes<{ size::<DeniedChunk>() }>>,
    /// Service classes.
    pub services: ArrayOf<{ size::<ServiceTable>() }>,
    /// Source port classes.
    pub sources: ArrayOf<{ size::<ServiceTable>() }>,
    /// Chunks of the row table.
    pub rows: ArrayOf<{ CHUNK * 4 }>,
    /// Chunks of the verdict table.
    pub cells: ArrayOf<{ CHUNK * 4 }>,
    /// What holds about rules: written and read in large pieces only.
    pub rules: MapData,
    /// Connections.
    pub flows: HashOf<{ size::<FlowKey>() }, { size::<FlowEntry>() }>,
    /// Drop counters.
    pub drops: PerCpuArray<MapData, u64>,
    /// What passed each port, by processor.
    pub traffic: PerCpuArray<MapData, [u64; size::<Traffic>() / 8]>,
    /// Drops by port and reason.
    pub port_drops: PerCpuHashMap<MapData, Bytes<{ size::<DropKey>() }>, u64>,
    /// What ports have taken.
    pub port_state: ArrayOf<{ size::<PortState>() }>,
    /// What was given back of that.
    pub port_returns: ArrayOf<{ size::<PortReturns>() }>,
    /// Rule counters, one word a processor: read in large pieces only.
    pub rule_hits: MapData,
    /// What is told to the log.
    pub events: RingBuf<MapData>,
    /// Events that did not fit.
    pub events_lost: PerCpuArray<MapData, u64>,
    /// Events of each rule, one word a processor: read in large pieces only.
    pub event_budgets: MapData,
    /// Settings of the programs.
    pub settings: ArrayOf<{ size::<Settings>() }>,
    /// Interfaces to which the fast lane may send.
    pub lanes: DevMapHash<MapData>,
    /// Frames that went by the fast lane.
    pub lane_hits: PerCpuArray<MapData, u64>,
    /// Frames that gates of uplinks dropped.
    pub gate_hits: PerCpuArray<MapData, u64>,
    /// Connections that fit.
    pub flow_capacity: u32,
    /// What else has to fit, without an element of its own for each.
    pub most: Most,
    /// Processors that the kernel may bring up: words of a counter.
    pub processors: usize,
}

impl Maps {
    /// Opens the tables pinned in `dir`.
    pub fn open(dir: &Path) -> Result<Self> {
        use name::*;
        check_sizes(dir)?;
        Ok(Self {
            generation: open(dir, GENERATION)?,
            generations: open(dir, GENERATIONS)?,
            ports: open(dir, PORTS)?,
            subports: open(dir, SUBPORTS)?,
            networks: open(dir, NETWORKS)?,
            vlans: open(dir, VLANS)?,
            members: open(dir, MEMBERS)?,
            notices: open(dir, NOTICES)?,
            addresses: open(dir, ADDRESSES)?,
            holders: open(dir, HOLDERS)?,
            prefixes: open(dir, PREFIXES)?,
            denied: open(dir, DENIED)?,
            services: open(dir, SERVICES)?,
            sources: open(dir, SOURCES)?,
            rows: open(dir, ROWS)?,
            cells: open(dir, CELLS)?,
            rules: raw(dir, RULES)?,
            flows: open(dir, FLOWS)?,
            drops: open(dir, DROPS)?,
            traffic: open(dir, TRAFFIC)?,
            port_drops: open(dir, PORT_DROPS)?,
            port_state: open(dir, PORT_STATE)?,
            port_returns: open(dir, PORT_RETURNS)?,
            rule_hits: raw(dir, RULE_HITS)?,
            events: open(dir, EVENTS)?,
            events_lost: open(dir, EVENTS_LOST)?,
            event_budgets: raw(dir, EVENT_BUDGETS)?,
            settings: open(dir, SETTINGS)?,
            lanes: open(dir, LANES)?,
            lane_hits: open(dir, LANE_HITS)?,
            gate_hits: open(dir, GATE_HITS)?,
            flow_capacity: pinned_entries(dir, FLOWS)?.unwrap_or(0),
            most: Most::read(dir)?,
            processors: aya::util::nr_cpus().map_err(|(path, e)| Error::file("read", path, e))?,
        })
    }

    /// Settings of the programs.
    pub fn settings(&self) -> Result<Settings> {
        let entry = self.settings.get(&0, 0).map_err(Error::map("read", name::SETTINGS))?;
        Ok(Settings::read_from_bytes(&entry).expect("an entry of that size"))
    }

    /// The generation in force.
    pub fn generation(&self) -> Result<u32> {
        let word = self.generation.get(&0, 0).map_err(Error::map("read", name::GENERATION))?;
        Ok(word as u32)
    }
}

/// Entries of one generation that the hash tables and the trie have room for.
pub struct Most {
    addresses: usize,
    prefixes: usize,
    notices: usize,
}

impl Most {
    fn read(dir: &Path) -> Result<Self> {
        let most = |map| -> Result<usize> {
            Ok(pinned_entries(dir, map)?.unwrap_or(0) as usize / SLOTS as usize)
        };
        Ok(Self {
            addresses: most(name::ADDRESSES)?,
            prefixes: most(name::PREFIXES)?,
            notices: most(name::NOTICES)?,
        })
    }

    /// Refuses what would fill a table in the middle of being written.
    pub fn check(&self, tables: &Tables) -> Result<()> {
        let all = [
            ("addresses", tables.addresses.len(), self.addresses),
            ("prefixes", tables.prefixes.len(), self.prefixes),
            ("answers for guests", tables.notices.len(), self.notices),
        ];
        match all.into_iter().find(|(_, got, most)| got > most) {
            Some((what, got, most)) => Err(Error::TooLarge { what, got, most }),
            None => Ok(()),
        }
    }
}

/// Entries that a table must have; for those whose number may differ, `None`.
fn expected_entries(map: &str) -> Option<u32> {
    Some(match map {
        name::GENERATION => 1,
        name::GENERATIONS => SLOTS,
        name::PORTS | name::SUBPORTS => SLOTS * PORTS,
        name::LANES | name::LANE_HITS | name::GATE_HITS => PORTS,
        name::NETWORKS | name::MEMBERS => SLOTS * NETWORKS,
        name::VLANS => SLOTS * VLANS,
        name::SERVICES => SLOTS * SERVICE_TABLES,
        name::SOURCES => SLOTS * SOURCE_TABLES,
        name::ROWS => SLOTS * ROW_CHUNKS,
        name::CELLS => SLOTS * CELL_CHUNKS,
        name::DENIED => DENIED_BANKS * DENIED_CHUNKS,
        name::DROPS => REASONS,
        name::TRAFFIC => TRAFFIC,
        name::PORT_STATE | name::PORT_RETURNS => PORTS,
        name::RULES | name::RULE_HITS | name::EVENT_BUDGETS => SLOTS * RULES,
        name::EVENTS => EVENT_RING,
        name::EVENTS_LOST | name::SETTINGS => 1,
        _ => return None,
    })
}

/// A pin of another size is reused silently by the loader: notice it here. (The typed tables
/// notice other sizes of keys and values by themselves.)
pub fn check_sizes(dir: &Path) -> Result<()> {
    for map in name::ALL {
        let (Some(expected), Some(pinned)) = (expected_entries(map), pinned_entries(dir, map)?)
        else {
            continue;
        };
        if pinned != expected {
            return Err(Error::Layout { map, pinned, expected });
        }
    }
    Ok(())
}

/// Entries of a pinned table; `None` where it is not pinned.
pub fn pinned_entries(dir: &Path, map: &'static str) -> Result<Option<u32>> {
    let path = dir.join(map);
    if !path.exists() {
        return Ok(None);
    }
    let info = MapInfo::from_pin(path).map_err(Error::map("look at", map))?;
    Ok(Some(info.max_entries()))
}

/// Opens one pinned table that is read and written by other calls than aya's.
fn raw(dir: &Path, map: &'static str) -> Result<MapData> {
    MapData::from_pin(dir.join(map)).map_err(Error::map("open", map))
}

/// Opens one pinned table as its type.
fn open<T: TryFrom<Map, Error = aya::maps::MapError>>(dir: &Path, map: &'static str) -> Result<T> {
    let opened = MapData::from_pin(dir.join(map)).and_then(Map::from_map_data);
    opened.and_then(T::try_from).map_err(|source| match crate::error::is_refusal(&source) {
        true => Error::NotPermitted { action: format!("open the table {map}") },
        false => Error::Map { action: "open", map, source: Chain::new(source) },
    })
}
