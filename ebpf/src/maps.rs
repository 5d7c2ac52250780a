//! The maps, and the pipeline's tables over them. Names and shapes are what the loader fills.

use core::arch::asm;

use aya_ebpf::{
    helpers::generated::{bpf_jiffies64, bpf_ktime_get_boot_ns},
    macros::map,
    maps::{
        Array, HashMap, LpmTrie, LruHashMap, PerCpuArray, PerCpuHashMap, ProgramArray, RingBuf,
        lpm_trie::Key,
    },
};
use portcullis_pipeline::{
    addr::Addr,
    layout::{
        AddressEntry, AddressKey, CELL_CHUNKS, CHUNK, COVERED, Chunk, DENIED_BANKS, DENIED_CHUNKS,
        DENIED_WORDS, Datagram, DeniedChunk, DropKey, EVENT_RING, EventEntry, FlowEntry, FlowKey,
        GenerationEntry, Holder, HolderKey, Members, NETWORKS, NeighbourEntry, NeighbourKey,
        NetworkEntry, NoticeEntry, NoticeKey, PORTS, PortEntry, PortReturns, PortState,
        PrefixEntry, PrefixKey, ROW_CHUNKS, RULES, RuleEntry, SERVICE_TABLES, SLOTS, SOURCE_TABLES,
        ServiceTable, Settings, SubportKey, TRAFFIC, Traffic,
    },
    packet::{Packet, Scratch},
    reason::{DropReason, REASONS},
    route::NEIGHBOUR_FRESH,
    tables::{Inserted, NOTHING, TICKS_PER_SECOND, Tables},
    word::Word,
};

use crate::seam;

/// VLAN ids.
const VLANS_MAX: u32 = 4096;
/// Declared addresses of both slots together.
const ADDRESSES_MAX: u32 = 131_072;
/// Shared addresses.
const HOLDERS_MAX: u32 = 16_384;
/// Prefixes of both slots together.
const PREFIXES_MAX: u32 = 262_144;
/// Connections, unless the loader says otherwise.
const FLOWS_MAX: u32 = 262_144;
/// Notices of both slots together.
const NOTICES_MAX: u32 = 131_072;
/// Datagrams whose fragments are under way: 8 MB.
const DATAGRAMS_MAX: u32 = 8_192;
/// Ends between which fragments are under way.
const FRAGMENTS_MAX: u32 = 16_384;
/// Counters of drops by port and reason: dozens for each of a thousand ports.
const PORT_DROPS_MAX: u32 = 65_536;
/// Neighbours behind uplinks.
const NEIGHBOURS_MAX: u32 = 16_384;

/// Of the arrays that hold what a policy says: the loader reads them back at each change.
const MAPPED: u32 = aya_ebpf::bindings::BPF_F_MMAPABLE;

#[map]
static GENERATION: Array<u64> = Array::with_max_entries(1, 0);
#[map]
static GENERATIONS: Array<GenerationEntry> = Array::with_max_entries(SLOTS, 0);
#[map(name = "PORTS")]
static PORT_TABLE: Array<PortEntry> = Array::with_max_entries(SLOTS * PORTS, MAPPED);
#[map]
static PORT_STATE: Array<PortState> = Array::with_max_entries(PORTS, 0);
#[map]
static PORT_RETURNS: Array<PortReturns> = Array::with_max_entries(PORTS, 0);
/// Numbers of subports: most switches have none.
#[map]
static SUBPORTS: HashMap<SubportKey, u32> =
    HashMap::with_max_entries(SLOTS * PORTS, aya_ebpf::bindings::BPF_F_NO_PREALLOC);
#[map(name = "NETWORKS")]
static NETWORK_TABLE: Array<NetworkEntry> = Array::with_max_entries(SLOTS * NETWORKS, MAPPED);
#[map]
static VLANS: Array<u32> = Array::with_max_entries(SLOTS * VLANS_MAX, MAPPED);
#[map]
static MEMBERS: Array<Members> = Array::with_max_entries(SLOTS * NETWORKS, MAPPED);
#[map]
static NOTICES: HashMap<NoticeKey, NoticeEntry> =
    HashMap::with_max_entries(NOTICES_MAX, aya_ebpf::bindings::BPF_F_NO_PREALLOC);
#[map]
static ADDRESSES: HashMap<AddressKey, AddressEntry> = HashMap::with_max_entries(ADDRESSES_MAX, 0);
#[map]
static HOLDERS: HashMap<HolderKey, Holder> = HashMap::with_max_entries(HOLDERS_MAX, 0);
#[map]
static PREFIXES: LpmTrie<PrefixKey, PrefixEntry> =
    LpmTrie::with_max_entries(PREFIXES_MAX, aya_ebpf::bindings::BPF_F_NO_PREALLOC);
/// Chunks of denied sets. Allocated when they are written: most policies have none.
#[map]
static DENIED: HashMap<u32, DeniedChunk> =
    HashMap::with_max_entries(DENIED_BANKS * DENIED_CHUNKS, aya_ebpf::bindings::BPF_F_NO_PREALLOC);
#[map]
static SERVICES: Array<ServiceTable> = Array::with_max_entries(SLOTS * SERVICE_TABLES, MAPPED);
#[map]
static SOURCES: Array<ServiceTable> = Array::with_max_entries(SLOTS * SOURCE_TABLES, MAPPED);
#[map]
static ROWS: Array<Chunk> = Array::with_max_entries(SLOTS * ROW_CHUNKS, MAPPED);
#[map]
static CELLS: Array<Chunk> = Array::with_max_entries(SLOTS * CELL_CHUNKS, MAPPED);
#[map(name = "RULES")]
static RULE_TABLE: Array<RuleEntry> = Array::with_max_entries(SLOTS * RULES, MAPPED);
#[map]
static FLOWS: HashMap<FlowKey, FlowEntry> = HashMap::with_max_entries(FLOWS_MAX, 0);
#[map]
static DATAGRAMS: LruHashMap<FlowKey, Datagram> = LruHashMap::with_max_entries(DATAGRAMS_MAX, 0);
/// What a new datagram starts with.
#[map]
static EMPTY_DATAGRAM: PerCpuArray<Datagram> = PerCpuArray::with_max_entries(1, 0);
#[map]
static FRAGMENTS: LruHashMap<FlowKey, u64> = LruHashMap::with_max_entries(FRAGMENTS_MAX, 0);
#[map]
static NEIGHBOURS: LruHashMap<NeighbourKey, NeighbourEntry> =
    LruHashMap::with_max_entries(NEIGHBOURS_MAX, 0);
#[map]
static DROPS: PerCpuArray<u64> = PerCpuArray::with_max_entries(REASONS, 0);
#[map(name = "TRAFFIC")]
static PORT_TRAFFIC: PerCpuArray<Traffic> = PerCpuArray::with_max_entries(TRAFFIC, 0);
/// By port and reason: used when they happen, since most never do. Allocated beforehand: the kernel
/// refills what programs allocate from later, so that one of several at once would find nothing.
#[map]
static PORT_DROPS: PerCpuHashMap<DropKey, u64> = PerCpuHashMap::with_max_entries(PORT_DROPS_MAX, 0);
#[map]
static RULE_HITS: PerCpuArray<u64> = PerCpuArray::with_max_entries(SLOTS * RULES, 0);
/// What is told to the log, see [`portcullis_pipeline::event`]; and how many did not fit.
#[map]
static EVENTS: RingBuf = RingBuf::with_byte_size(EVENT_RING, 0);
#[map]
static EVENTS_LOST: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);
#[map]
static EVENT_BUDGETS: PerCpuArray<Word> = PerCpuArray::with_max_entries(SLOTS * RULES, 0);
#[map]
static SETTINGS: Array<Settings> = Array::with_max_entries(1, 0);
/// ICMP errors sent: the second it is about << 32 | how many.
#[map]
static ERRORS: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);
/// Memory for one decision: no program is interrupted by another of ours on its processor.
#[map]
static SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(1, 0);
/// The programs that finish rare verdicts, see [`tail`].
#[map]
pub static TAILS: ProgramArray = ProgramArray::with_max_entries(8, 0);

/// Slots of [`TAILS`].
pub mod tail {
    /// Copies of a broadcast.
    pub const FLOOD: u32 = 0;
    /// Answers of the switch itself.
    pub const ANSWER: u32 = 1;
    /// Notices, one program for each kind: `portcullis_pipeline::layout::notice` counts from here.
    pub const NOTICE: u32 = 2;
}

/// This processor's memory for one decision.
#[inline(always)]
pub fn scratch() -> Option<&'static mut Scratch> {
    // SAFETY: this processor's own; a decision ends before the next one starts.
    SCRATCH.get_ptr_mut(0).map(|p| unsafe { &mut *p })
}

/// Members of a network.
#[inline(always)]
pub fn members(slot: u32, network: u32) -> Option<&'static Members> {
    if network >= NETWORKS {
        return None;
    }
    MEMBERS.get(slot * NETWORKS + network)
}

/// An element of a chunked table: the chunk index is checked by the look-up, the index inside
/// is masked last, for the verifier of 6.1.
#[inline(always)]
fn chunked(map: &'static Array<Chunk>, base: u32, chunks: u32, index: u32) -> u32 {
    let chunk = index / CHUNK as u32;
    if chunk >= chunks {
        return NOTHING;
    }
    let Some(c) = map.get(base + chunk) else { return NOTHING };
    // SAFETY: the index is masked to the length of the array, a power of two.
    unsafe { *c.cell.as_ptr().add(index as usize & (CHUNK - 1)) }
}

/// The numbers by u16 of one table of an array.
#[inline(always)]
fn numbered(map: &'static Array<ServiceTable>, table: u32, number: u16) -> u32 {
    let Some(t) = map.get(table) else { return NOTHING };
    // SAFETY: the table has an element for every u16.
    unsafe { *t.class.as_ptr().add(number as usize) as u32 }
}

/// Where a rule's element stands in a table of all rules.
#[inline(always)]
const fn rule_index(slot: u32, rule: u32) -> u32 {
    slot * RULES + (rule & (RULES - 1))
}

/// Adds one to this processor's element.
#[inline(always)]
pub fn add(map: &'static PerCpuArray<u64>, index: u32) {
    if let Some(p) = map.get_ptr_mut(index) {
        // SAFETY: this processor's own element.
        unsafe { *p = (*p).wrapping_add(1) };
    }
}

// Look-ups with a key of their own are functions of their own: their keys would not fit on the
// one stack of 512 bytes at every place that they are inlined to. Only scalars cross the call.

#[inline(never)]
fn look_up_address(hi: u64, lo: u64, scope: u32, slot: u32) -> Option<&'static AddressEntry> {
    let key = AddressKey { addr: Addr { hi, lo }, scope, slot };
    // SAFETY: elements of a preallocated map; words are replaced whole.
    unsafe { ADDRESSES.get(&key) }
}

#[inline(never)]
fn look_up_subport(slot: u32, device: u32, vlan: u32) -> u32 {
    let key = SubportKey { device, vlan, slot, reserved: 0 };
    // SAFETY: one word; an element is removed only after its port was closed.
    match unsafe { SUBPORTS.get(&key) } {
        Some(number) => *number,
        None => NOTHING,
    }
}

#[inline(never)]
fn look_up_holder(mac: u64, network: u32) -> Option<&'static Holder> {
    let key = HolderKey { mac, network, reserved: 0 };
    // SAFETY: as for addresses; its only word is replaced whole.
    unsafe { HOLDERS.get(&key) }
}

#[inline(never)]
fn look_up_prefix(hi: u64, lo: u64, slot: u32) -> Option<&'static PrefixEntry> {
    let data = PrefixKey { slot_be: slot.to_be_bytes(), addr: Addr { hi, lo }.octets() };
    PREFIXES.get(&Key::new(160, data))
}

#[inline(never)]
fn look_up_neighbour(hi: u64, lo: u64, network: u32) -> Option<&'static NeighbourEntry> {
    let key = NeighbourKey { addr: Addr { hi, lo }, network, reserved: 0 };
    // SAFETY: as for addresses.
    unsafe { NEIGHBOURS.get(&key) }
}

#[inline(never)]
fn insert_neighbour(hi: u64, lo: u64, network: u32, mac: u64, seen: u64) {
    let key = NeighbourKey { addr: Addr { hi, lo }, network, reserved: 0 };
    let _ = NEIGHBOURS.insert(&key, &NeighbourEntry { mac, seen }, 0);
}

/// Counts by port and reason. Where there is no room for another counter the port's
/// [`Traffic::dropped`] and the counter of all ports still tell of it.
#[inline(never)]
fn add_port_drop(place: u32, reason: u32) {
    let key = DropKey { place, reason };
    if PORT_DROPS.get_ptr_mut(&key).is_none() {
        // Zero on every processor; another one may have been faster.
        let _ = PORT_DROPS.insert(&key, &0, aya_ebpf::bindings::BPF_NOEXIST as u64);
    }
    if let Some(p) = PORT_DROPS.get_ptr_mut(&key) {
        // SAFETY: this processor's own word.
        unsafe { *p = (*p).wrapping_add(1) };
    }
}

/// `word` modulo `LEN`, a power of two, by an AND that LLVM cannot see through: as for offsets of
/// frames.
#[inline(always)]
fn masked_word<const LEN: usize>(word: u32) -> usize {
    const { assert!(LEN.is_power_of_two()) };
    let mut v = word as u64;
    // SAFETY: one AND on a register.
    unsafe { asm!("{0} &= {1}", inout(reg) v, const LEN - 1) };
    v as usize
}

/// The kernel's maps.
pub struct Maps;

impl Tables for Maps {
    #[inline(always)]
    fn now(&self) -> u64 {
        let Some(s) = SETTINGS.get(0) else { return 0 };
        // SAFETY: no arguments.
        let jiffies = unsafe { bpf_jiffies64() };
        (jiffies.wrapping_mul(s.tick_scale) >> 16).wrapping_add(s.tick_offset)
    }

    #[inline(always)]
    fn generation(&self) -> u32 {
        match GENERATION.get_ptr(0) {
            // SAFETY: one aligned word that user space replaces; read once.
            Some(p) => unsafe { p.read_volatile() as u32 },
            None => 0,
        }
    }

    #[inline(always)]
    fn ends(&self, slot: u32) -> u64 {
        match SETTINGS.get(0) {
            Some(s) if slot & 1 == 0 => s.ends[0],
            Some(s) => s.ends[1],
            None => 0,
        }
    }

    #[inline(always)]
    fn generation_entry(&self, slot: u32) -> Option<&GenerationEntry> {
        GENERATIONS.get(slot)
    }

    #[inline(always)]
    fn port(&self, slot: u32, ifindex: u32) -> Option<&PortEntry> {
        let p = PORT_TABLE.get(slot * PORTS + (ifindex & (PORTS - 1)))?;
        if p.ifindex == ifindex { Some(p) } else { None }
    }

    #[inline(always)]
    fn subport(&self, slot: u32, device: u32, vlan: u16) -> u32 {
        look_up_subport(slot, device, vlan as u32)
    }

    #[inline(always)]
    fn network(&self, slot: u32, id: u32) -> Option<&NetworkEntry> {
        if id >= NETWORKS {
            return None;
        }
        NETWORK_TABLE.get(slot * NETWORKS + id)
    }

    #[inline(always)]
    fn vlan(&self, slot: u32, vlan: u16) -> u32 {
        match VLANS.get(slot * VLANS_MAX + (vlan & 0xfff) as u32) {
            Some(id) => *id,
            None => 0,
        }
    }

    #[inline(always)]
    fn notice(&self, key: &NoticeKey) -> Option<&NoticeEntry> {
        // SAFETY: an element is removed only from a slot that no packet reads, or after its port
        // was closed; a packet under way reads what was there, or another notice of the switch.
        unsafe { NOTICES.get(key) }
    }

    #[inline(always)]
    fn address(&self, slot: u32, scope: u32, addr: Addr) -> Option<&AddressEntry> {
        look_up_address(addr.hi, addr.lo, scope, slot)
    }

    #[inline(always)]
    fn holder(&self, network: u32, mac: u64) -> Option<&Holder> {
        look_up_holder(mac, network)
    }

    #[inline(always)]
    fn prefix(&self, slot: u32, addr: Addr) -> Option<&PrefixEntry> {
        look_up_prefix(addr.hi, addr.lo, slot)
    }

    #[inline(always)]
    fn denied_chunk(&self, key: u32) -> Option<&DeniedChunk> {
        // SAFETY: chunks are written and removed only in a bank that no generation in force names,
        // a grace period after the last one did.
        unsafe { DENIED.get(&key) }
    }

    #[inline(always)]
    fn denied_word(&self, chunk: &DeniedChunk, at: u32) -> u64 {
        // SAFETY: the index is masked to the length of the array, a power of two.
        unsafe { *chunk.words.as_ptr().add(masked_word::<DENIED_WORDS>(at)) }
    }

    #[inline(always)]
    fn neighbour(&self, network: u32, addr: Addr, now: u64) -> u64 {
        match look_up_neighbour(addr.hi, addr.lo, network) {
            Some(n) if now.wrapping_sub(n.seen) < NEIGHBOUR_FRESH => n.mac,
            _ => 0,
        }
    }

    #[inline(always)]
    fn neighbour_insert(&self, network: u32, addr: Addr, mac: u64, now: u64) {
        insert_neighbour(addr.hi, addr.lo, network, mac, now);
    }

    #[inline(always)]
    fn service(&self, slot: u32, table: u32, number: u16) -> u32 {
        numbered(&SERVICES, slot * SERVICE_TABLES + table, number)
    }

    #[inline(always)]
    fn source(&self, slot: u32, table: u32, port: u16) -> u32 {
        numbered(&SOURCES, slot * SOURCE_TABLES + table, port)
    }

    #[inline(always)]
    fn row(&self, slot: u32, index: u32) -> u32 {
        chunked(&ROWS, slot * ROW_CHUNKS, ROW_CHUNKS, index)
    }

    #[inline(always)]
    fn cell(&self, slot: u32, index: u32) -> u32 {
        chunked(&CELLS, slot * CELL_CHUNKS, CELL_CHUNKS, index)
    }

    #[inline(always)]
    fn rule(&self, slot: u32, rule: u32) -> Option<&RuleEntry> {
        RULE_TABLE.get(rule_index(slot, rule))
    }

    #[inline(always)]
    fn flow(&self, key: &FlowKey) -> Option<&FlowEntry> {
        // SAFETY: an element that is deleted is reused at once, but only one is deleted that no
        // packet on its way takes for live, see `conntrack::GRACE`.
        unsafe { FLOWS.get(key) }
    }

    #[inline(always)]
    fn flow_insert(&self, key: &FlowKey, entry: &FlowEntry) -> Inserted {
        const EEXIST: i32 = -17;
        match FLOWS.insert(key, entry, aya_ebpf::bindings::BPF_NOEXIST as u64) {
            Ok(()) => Inserted::New,
            Err(EEXIST) => Inserted::Exists,
            Err(_) => Inserted::Full,
        }
    }

    #[inline(always)]
    fn flow_replace(&self, key: &FlowKey, entry: &FlowEntry) -> Inserted {
        let _ = FLOWS.remove(key);
        self.flow_insert(key, entry)
    }

    #[inline(always)]
    fn datagram(&self, key: &FlowKey) -> Option<&Datagram> {
        // SAFETY: an element that makes room for another one under our eyes gets a few marks that
        // are not its own, and a fragment of it may be dropped.
        unsafe { DATAGRAMS.get(key) }
    }

    #[inline(always)]
    fn datagram_insert(&self, key: &FlowKey, now: u64) {
        // SAFETY: this processor's own element.
        let Some(empty) = EMPTY_DATAGRAM.get_ptr_mut(0).map(|p| unsafe { &*p }) else { return };
        empty.born.set(now);
        let _ = DATAGRAMS.insert(key, empty, 0);
    }

    #[inline(always)]
    fn cover(&self, d: &Datagram, word: u32, bits: u64) -> u64 {
        let mut v = bits;
        // SAFETY: the index is masked to the length of the array, a power of two; one operation on
        // an aligned word.
        unsafe {
            let at = d.covered.as_ptr().add(masked_word::<COVERED>(word));
            asm!("{0} = atomic_fetch_or((u64 *)({1} + 0), {0})", inout(reg) v, in(reg) at);
        }
        v
    }

    #[inline(always)]
    fn last_fragment(&self, key: &FlowKey) -> u64 {
        // SAFETY: one word.
        match unsafe { FRAGMENTS.get(key) } {
            Some(value) => *value,
            None => 0,
        }
    }

    #[inline(always)]
    fn last_fragment_insert(&self, key: &FlowKey, value: u64) {
        let _ = FRAGMENTS.insert(key, &value, 0);
    }

    #[inline(always)]
    fn error_budget(&self) -> bool {
        let (Some(s), Some(p)) = (SETTINGS.get(0), ERRORS.get_ptr_mut(0)) else { return false };
        let second = self.now() / TICKS_PER_SECOND;
        // SAFETY: this processor's own word.
        let word = unsafe { *p };
        let used = if word >> 32 == second & 0xffff_ffff { word & 0xffff_ffff } else { 0 };
        if used >= s.errors_per_second {
            return false;
        }
        // SAFETY: as above.
        unsafe { *p = second << 32 | (used + 1) };
        true
    }

    #[inline(always)]
    fn port_state(&self, place: u32) -> Option<&PortState> {
        PORT_STATE.get(place & (PORTS - 1))
    }

    #[inline(always)]
    fn port_returns(&self, place: u32) -> Option<&PortReturns> {
        PORT_RETURNS.get(place & (PORTS - 1))
    }

    #[inline(always)]
    fn traffic(&self, port: u32) -> Option<&Traffic> {
        PORT_TRAFFIC.get(port & (PORTS - 1))
    }

    #[inline(always)]
    fn count_drop(&self, port: u32, reason: DropReason) {
        add(&DROPS, reason as u32);
        add_port_drop(port & (PORTS - 1), reason as u32);
    }

    #[inline(always)]
    fn count_rule(&self, slot: u32, rule: u32) {
        add(&RULE_HITS, rule_index(slot, rule));
    }

    #[inline(always)]
    fn event_budget(&self, slot: u32, rule: u32) -> Option<&Word> {
        EVENT_BUDGETS.get(rule_index(slot, rule))
    }

    #[inline(always)]
    fn emit(&self, event: &mut EventEntry) {
        // SAFETY: no arguments.
        event.time = unsafe { bpf_ktime_get_boot_ns() };
        if EVENTS.output::<EventEntry>(&*event, 0).is_err() {
            add(&EVENTS_LOST, 0);
        }
    }

    #[inline(always)]
    fn tell(&self, p: &mut Packet, rule: u32, note: u32) {
        self.forget(p);
        seam::tell_event(rule, note);
    }

    #[inline(always)]
    fn police(&self, p: &mut Packet, bytes: u32) -> Result<(), DropReason> {
        self.forget(p);
        seam::result(seam::police_packet(bytes))
    }

    #[inline(always)]
    fn went_far(&self, _: &Scratch, leaves: u32) {
        seam::went_far(leaves);
    }

    #[inline(always)]
    fn is_denied(&self, bank: u32, addr: Addr) -> bool {
        seam::covers_denied(bank, addr.hi, addr.lo) != 0
    }

    #[inline(always)]
    fn refuse_denied(&self, p: &mut Packet) -> Result<(), DropReason> {
        self.forget(p);
        seam::result(seam::refuse_denied())
    }

    #[inline(always)]
    fn opaque(&self, value: u64) -> u64 {
        let mut v = value;
        // SAFETY: a move to the same register.
        unsafe { asm!("{0} = {0}", inout(reg) v, options(nomem, nostack)) };
        v
    }

    #[inline(always)]
    fn ask(&self, p: &mut Packet) -> Result<(), DropReason> {
        seam::result(seam::ask_query(self.forget(p)))
    }

    #[inline(always)]
    fn recall_fragment(&self, p: &mut Packet) -> Result<(), DropReason> {
        seam::result(seam::recall_fragment(self.forget(p)))
    }

    #[inline(always)]
    fn keep_fragment(&self, p: &mut Packet) -> Result<(), DropReason> {
        seam::result(seam::keep_fragment(self.forget(p)))
    }

    #[inline(always)]
    fn resolve(&self, p: &mut Packet) -> Result<(), DropReason> {
        self.forget(p);
        seam::result(seam::resolve_query())
    }

    #[inline(always)]
    fn judge_claim(&self, scratch: &mut Scratch) -> Result<(), DropReason> {
        seam::result(seam::resolve_claim(self.forget(scratch)))
    }

    #[inline(always)]
    fn forget<'a, X>(&self, memory: &'a mut X) -> &'a mut X {
        let mut p: *mut X = memory;
        // SAFETY: a move to the same register; LLVM must assume that it may change what the
        // pointer reaches.
        unsafe { asm!("{0} = {0}", inout(reg) p) };
        // SAFETY: the pointer that came in.
        unsafe { &mut *p }
    }
}
