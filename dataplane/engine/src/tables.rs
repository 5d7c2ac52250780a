//! The pipeline's tables in memory.

use std::cell::{Cell, RefCell};

use hashbrown::HashMap;
use portcullis_pipeline::{
    DropReason,
    addr::Addr,
    conntrack::{self, GRACE},
    event::Budget,
    layout::{
        AddressEntry, COVERED, DENIED_WORDS, Datagram, DeniedChunk, EVENT_RING, EventEntry,
        FlowEntry, FlowKey, FlowSide, GenerationEntry, Holder, NetworkEntry, NoticeEntry,
        NoticeKey, PORTS, PortEntry, PortReturns, PortState, PrefixEntry, RuleEntry, ServiceTable,
        Traffic,
    },
    limit,
    reason::REASONS,
    route::NEIGHBOUR_FRESH,
    shared::is_shared,
    tables::{Inserted, NOTHING, TICKS_PER_SECOND},
    word::Word,
};

use crate::{
    datagrams::Datagrams, events::Events, flows::Flows, numbered::Numbered, prefixes::Prefixes,
};

/// Events that wait for the log: about as many as the kernel's ring holds.
const EVENTS: usize = EVENT_RING as usize / size_of::<EventEntry>();
const NS_PER_TICK: u64 = 1_000_000_000 / TICKS_PER_SECOND;

/// Everything that belongs to one generation.
#[derive(Default)]
pub struct Slot {
    /// Shape of the dense tables; `None`: the slot holds no generation.
    pub shape: Option<GenerationEntry>,
    /// By interface index, or number of a subport.
    pub ports: Numbered<PortEntry>,
    /// Numbers of subports by interface index of the trunk and VLAN id.
    pub subports: HashMap<(u32, u16), u32>,
    /// By network id.
    pub networks: Numbered<NetworkEntry>,
    /// Network id by VLAN id.
    pub vlans: HashMap<u16, u32>,
    /// Interface indexes by network id, numbers of subports last.
    pub members: HashMap<u32, Vec<u32>>,
    /// By kind, network and port.
    pub notices: HashMap<(u32, u32, u32), NoticeEntry>,
    /// By address and scope.
    pub addresses: HashMap<(Addr, u32), AddressEntry>,
    /// By longest prefix; see [`Slot::prefix`].
    pub prefixes: Prefixes,
    /// Chunks of the bank that the shape names, see [`portcullis_pipeline::denied`].
    pub denied: HashMap<u32, Box<DeniedChunk>>,
    /// One for each of [`portcullis_pipeline::layout::service_table`].
    pub services: Vec<ServiceTable>,
    /// Source classes, see `portcullis_image::Image::source_tables`.
    pub sources: Vec<ServiceTable>,
    /// See `portcullis_image::Image::rows`.
    pub rows: Vec<u32>,
    /// See `portcullis_image::Image::cells`; from [`GenerationEntry::shadows`] on `shadows`.
    pub cells: Vec<u32>,
    /// By rule id, the default first.
    pub rules: Vec<RuleEntry>,
    /// When the first of them ends, in ticks; 0: none ends.
    pub ends: u64,
}

impl Slot {
    /// Adds a prefix (length of the mapped form, 0..=128).
    pub fn prefix(&mut self, addr: Addr, len: u8, entry: PrefixEntry) {
        self.prefixes.insert(addr, len, entry);
    }
}

/// All state of an engine.
pub struct Tables {
    slots: [Slot; 2],
    generation: u32,
    now: u64,
    /// Connections.
    pub flows: Flows,
    datagrams: Datagrams,
    fragments: RefCell<HashMap<FlowKey, u64>>,
    neighbours: RefCell<HashMap<(u32, Addr), (u64, u64)>>,
    /// Of any generation so far, by network and MAC.
    holders: HashMap<(u32, u64), Holder>,
    drops: Box<[Cell<u64>]>,
    /// By place in the port table; behind the last one what ports had that are gone.
    traffic: Box<[Traffic]>,
    /// By place in the port table.
    states: Box<[PortState]>,
    returns: Box<[PortReturns]>,
    /// By place in the port table and reason.
    port_drops: RefCell<HashMap<(u32, DropReason), u64>>,
    rule_hits: RefCell<HashMap<(u32, u32), u64>>,
    /// By slot and rule id. What earlier generations left is known by its number.
    budgets: [Vec<Word>; 2],
    events: Events,
    errors_per_second: u64,
    errors: Cell<(u64, u64)>,
}

impl Tables {
    /// Empty tables: every port is closed. Room for `flows` connections.
    pub fn new(flows: usize, errors_per_second: u64) -> Self {
        Self {
            slots: [Slot::default(), Slot::default()],
            generation: 0,
            now: 0,
            flows: Flows::new(flows),
            datagrams: Datagrams::default(),
            fragments: RefCell::default(),
            neighbours: RefCell::default(),
            holders: HashMap::new(),
            drops: (0..REASONS).map(|_| Cell::new(0)).collect(),
            traffic: (0..=PORTS).map(|_| Traffic::default()).collect(),
            states: (0..PORTS).map(|_| PortState::default()).collect(),
            returns: (0..PORTS).map(|_| PortReturns::default()).collect(),
            port_drops: RefCell::default(),
            rule_hits: RefCell::default(),
            budgets: [Vec::new(), Vec::new()],
            events: Events::new(EVENTS),
            errors_per_second,
            errors: Cell::new((0, 0)),
        }
    }

    /// Puts a generation in force.
    pub fn install(&mut self, generation: u32, slot: Slot) {
        self.load(generation & 1, slot);
        self.put_in_force(generation);
    }

    /// As [`Tables::install`]; what stood in the slot comes back, for somebody else to free. A
    /// policy that is another one begins to count its rules anew.
    pub fn exchange(&mut self, generation: u32, slot: Slot) -> Slot {
        let at = generation & 1;
        let old = std::mem::take(&mut self.slots[at as usize]);
        if at != self.generation & 1 {
            self.rule_hits.get_mut().retain(|(slot, _), _| *slot != at);
        }
        self.install(generation, slot);
        old
    }

    /// Puts the generation in force that its slot was filled with.
    pub fn put_in_force(&mut self, generation: u32) {
        self.generation = generation;
    }

    /// Fills a slot, without putting it in force.
    pub fn load(&mut self, slot: u32, tables: Slot) {
        let at = (slot & 1) as usize;
        let rules = tables.rules.len().max(self.budgets[at].len());
        self.budgets[at].resize_with(rules, || Word::new(0));
        for a in tables.addresses.values().filter(|a| is_shared(a)) {
            self.holders.entry((a.network, a.mac)).or_default();
        }
        self.slots[at] = tables;
    }

    /// Takes the events out that there are for the log, the oldest first.
    pub fn take_events(&mut self) -> impl Iterator<Item = EventEntry> {
        self.events.take()
    }

    /// Events that nobody has taken in time.
    pub fn events_lost(&self) -> u64 {
        self.events.lost()
    }

    /// What there is of a rule's events, see [`Budget`].
    pub fn budget(&self, slot: u32, rule: u32) -> Budget {
        let words = &self.budgets[(slot & 1) as usize];
        Budget(words.get(rule as usize).map_or(0, Word::get))
    }

    /// Sets the clock, in ticks: once for a burst of frames. Events carry its time, so it should
    /// count from the boot.
    pub fn set_now(&mut self, ticks: u64) {
        self.now = ticks;
    }

    /// Members of a network.
    pub fn members(&self, slot: u32, network: u32) -> &[u32] {
        self.slot(slot).members.get(&network).map_or(&[], Vec::as_slice)
    }

    /// Frames dropped for a reason.
    pub fn drops(&self, reason: DropReason) -> u64 {
        self.drops[reason as usize].get()
    }

    /// What has passed a port.
    pub fn port_traffic(&self, port: u32) -> &Traffic {
        &self.traffic[(port & (PORTS - 1)) as usize]
    }

    /// Frames from a port that were dropped for a reason.
    pub fn port_drops(&self, port: u32, reason: DropReason) -> u64 {
        self.port_drops.borrow().get(&(port & (PORTS - 1), reason)).copied().unwrap_or(0)
    }

    /// Every port and reason for which frames were dropped, by place in the port table; what ports
    /// had that are gone stands at [`PORTS`].
    pub fn all_port_drops(&self) -> Vec<(u32, DropReason, u64)> {
        let drops = self.port_drops.borrow();
        drops.iter().map(|((place, reason), frames)| (*place, *reason, *frames)).collect()
    }

    /// What has passed the ports that are gone.
    pub fn gone_traffic(&self) -> &Traffic {
        &self.traffic[PORTS as usize]
    }

    /// A port goes: what has passed it is added to what has passed those that went before.
    pub fn retire(&mut self, port: u32) {
        let place = port & (PORTS - 1);
        let past = std::mem::take(&mut self.traffic[place as usize]);
        let gone = &self.traffic[PORTS as usize];
        for (sum, word) in words(gone).into_iter().zip(words(&past)) {
            sum.add(word.get());
        }
        let drops = self.port_drops.get_mut();
        for reason in DropReason::ALL {
            if let Some(frames) = drops.remove(&(place, *reason)) {
                *drops.entry((PORTS, *reason)).or_default() += frames;
            }
        }
    }

    /// Decisions by the rules (0: the default) of the generation in force.
    pub fn all_rule_hits(&self) -> Vec<(u32, u64)> {
        let hits = self.rule_hits.borrow();
        let own = hits.iter().filter(|((slot, _), _)| *slot == self.generation & 1);
        own.map(|((_, rule), hits)| (*rule, *hits)).collect()
    }

    /// Removes idle connections among `count` places of their table from `from` on; where to go on.
    pub fn sweep(&mut self, from: usize, count: usize) -> usize {
        let Self { flows, returns, now, .. } = self;
        flows.sweep(from, count, |key, entry| {
            let idle = entry.is_expired_by(key.protocol, *now, GRACE);
            if idle {
                let (place, half) = limit::owner(entry);
                let returned = &returns[place as usize];
                returned.flows.add(1);
                returned.half_open.add(conntrack::is_half_open(half).into());
            }
            !idle
        })
    }

    /// Decisions by a rule (0: the default) of a slot.
    pub fn rule_hits(&self, slot: u32, rule: u32) -> u64 {
        self.rule_hits.borrow().get(&(slot, rule)).copied().unwrap_or(0)
    }

    fn slot(&self, slot: u32) -> &Slot {
        &self.slots[(slot & 1) as usize]
    }
}

/// Every word of a port's counters, in their order.
pub fn words(t: &Traffic) -> [&Word; 16] {
    [
        &t.in_packets,
        &t.in_bytes,
        &t.out_packets,
        &t.out_bytes,
        &t.forwarded,
        &t.flooded,
        &t.answered,
        &t.dropped,
        &t.in_routed.packets,
        &t.in_routed.bytes,
        &t.out_routed.packets,
        &t.out_routed.bytes,
        &t.in_outside.packets,
        &t.in_outside.bytes,
        &t.out_outside.packets,
        &t.out_outside.bytes,
    ]
}

fn copy_side(s: &FlowSide) -> FlowSide {
    FlowSide {
        way: Word::new(s.way.get()),
        half: Word::new(s.half.get()),
        sent: Word::new(s.sent.get()),
    }
}

fn copy_entry(e: &FlowEntry) -> FlowEntry {
    FlowEntry {
        judged: Word::new(e.judged.get()),
        last: Word::new(e.last.get()),
        a: copy_side(&e.a),
        b: copy_side(&e.b),
    }
}

/// Nobody else is looking: one thread has the table.
fn copy_into(from: &FlowEntry, to: &FlowEntry) {
    to.judged.set(from.judged.get());
    to.last.set(from.last.get());
    for (from, to) in [(&from.a, &to.a), (&from.b, &to.b)] {
        to.way.set(from.way.get());
        to.half.set(from.half.get());
        to.sent.set(from.sent.get());
    }
}

impl portcullis_pipeline::Tables for Tables {
    fn now(&self) -> u64 {
        self.now
    }

    fn generation(&self) -> u32 {
        self.generation
    }

    fn ends(&self, slot: u32) -> u64 {
        self.slot(slot).ends
    }

    fn generation_entry(&self, slot: u32) -> Option<&GenerationEntry> {
        self.slot(slot).shape.as_ref()
    }

    fn port(&self, slot: u32, ifindex: u32) -> Option<&PortEntry> {
        self.slot(slot).ports.get(ifindex)
    }

    fn subport(&self, slot: u32, device: u32, vlan: u16) -> u32 {
        self.slot(slot).subports.get(&(device, vlan)).copied().unwrap_or(NOTHING)
    }

    fn network(&self, slot: u32, id: u32) -> Option<&NetworkEntry> {
        self.slot(slot).networks.get(id)
    }

    fn vlan(&self, slot: u32, vlan: u16) -> u32 {
        self.slot(slot).vlans.get(&vlan).copied().unwrap_or(0)
    }

    fn notice(&self, key: &NoticeKey) -> Option<&NoticeEntry> {
        self.slot(key.slot).notices.get(&(key.kind, key.network, key.port))
    }

    fn address(&self, slot: u32, scope: u32, addr: Addr) -> Option<&AddressEntry> {
        self.slot(slot).addresses.get(&(addr, scope))
    }

    fn holder(&self, network: u32, mac: u64) -> Option<&Holder> {
        self.holders.get(&(network, mac))
    }

    fn prefix(&self, slot: u32, addr: Addr) -> Option<&PrefixEntry> {
        self.slot(slot).prefixes.get(addr)
    }

    fn denied_chunk(&self, key: u32) -> Option<&DeniedChunk> {
        self.slots.iter().find_map(|slot| slot.denied.get(&key)).map(|chunk| &**chunk)
    }

    fn denied_word(&self, chunk: &DeniedChunk, at: u32) -> u64 {
        chunk.words[at as usize % DENIED_WORDS]
    }

    fn neighbour(&self, network: u32, addr: Addr, now: u64) -> u64 {
        match self.neighbours.borrow().get(&(network, addr)) {
            Some((mac, seen)) if now.wrapping_sub(*seen) < NEIGHBOUR_FRESH => *mac,
            _ => 0,
        }
    }

    fn neighbour_insert(&self, network: u32, addr: Addr, mac: u64, now: u64) {
        self.neighbours.borrow_mut().insert((network, addr), (mac, now));
    }

    fn service(&self, slot: u32, table: u32, number: u16) -> u32 {
        match self.slot(slot).services.get(table as usize) {
            Some(t) => t.class[number as usize].into(),
            None => NOTHING,
        }
    }

    fn source(&self, slot: u32, table: u32, port: u16) -> u32 {
        match self.slot(slot).sources.get(table as usize) {
            Some(t) => t.class[port as usize].into(),
            None => NOTHING,
        }
    }

    fn row(&self, slot: u32, index: u32) -> u32 {
        self.slot(slot).rows.get(index as usize).copied().unwrap_or(NOTHING)
    }

    fn cell(&self, slot: u32, index: u32) -> u32 {
        self.slot(slot).cells.get(index as usize).copied().unwrap_or(NOTHING)
    }

    fn rule(&self, slot: u32, rule: u32) -> Option<&RuleEntry> {
        self.slot(slot).rules.get(rule as usize)
    }

    fn flow(&self, key: &FlowKey) -> Option<&FlowEntry> {
        self.flows.get(key)
    }

    fn flow_insert(&self, key: &FlowKey, entry: &FlowEntry) -> Inserted {
        self.flows.insert(key, copy_entry(entry))
    }

    fn flow_replace(&self, key: &FlowKey, entry: &FlowEntry) -> Inserted {
        match self.flows.get(key) {
            Some(old) => {
                copy_into(entry, old);
                Inserted::New
            }
            None => self.flow_insert(key, entry),
        }
    }

    fn datagram(&self, key: &FlowKey) -> Option<&Datagram> {
        self.datagrams.get(key)
    }

    fn datagram_insert(&self, key: &FlowKey, now: u64) {
        self.datagrams.insert(key, now);
    }

    fn cover(&self, d: &Datagram, word: u32, bits: u64) -> u64 {
        d.covered[word as usize % COVERED].join(bits)
    }

    fn last_fragment(&self, key: &FlowKey) -> u64 {
        self.fragments.borrow().get(key).copied().unwrap_or(0)
    }

    fn last_fragment_insert(&self, key: &FlowKey, value: u64) {
        self.fragments.borrow_mut().insert(*key, value);
    }

    fn error_budget(&self) -> bool {
        let second = self.now / TICKS_PER_SECOND;
        let (about, used) = self.errors.get();
        let used = if about == second { used } else { 0 };
        if used >= self.errors_per_second {
            return false;
        }
        self.errors.set((second, used + 1));
        true
    }

    fn port_state(&self, place: u32) -> Option<&PortState> {
        self.states.get((place & (PORTS - 1)) as usize)
    }

    fn port_returns(&self, place: u32) -> Option<&PortReturns> {
        self.returns.get((place & (PORTS - 1)) as usize)
    }

    fn traffic(&self, port: u32) -> Option<&Traffic> {
        Some(self.port_traffic(port))
    }

    fn count_drop(&self, port: u32, reason: DropReason) {
        let c = &self.drops[reason as usize];
        c.set(c.get() + 1);
        *self.port_drops.borrow_mut().entry((port & (PORTS - 1), reason)).or_default() += 1;
    }

    fn count_rule(&self, slot: u32, rule: u32) {
        *self.rule_hits.borrow_mut().entry((slot, rule)).or_default() += 1;
    }

    fn event_budget(&self, slot: u32, rule: u32) -> Option<&Word> {
        self.budgets[(slot & 1) as usize].get(rule as usize)
    }

    fn emit(&self, event: &mut EventEntry) {
        event.time = self.now * NS_PER_TICK;
        self.events.push(*event);
    }
}
