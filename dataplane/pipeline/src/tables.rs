//! All state that a decision reads or writes.

use crate::{
    account,
    addr::Addr,
    denied, event, fragment,
    layout::{
        AddressEntry, Datagram, DeniedChunk, EventEntry, FlowEntry, FlowKey, GenerationEntry,
        Holder, NetworkEntry, NoticeEntry, NoticeKey, PortEntry, PortReturns, PortState,
        PrefixEntry, RuleEntry, Traffic,
    },
    limit, link,
    packet::{Packet, Scratch},
    probe, query,
    reason::DropReason,
    word::Word,
};

/// Ticks of [`Tables::now`] in a second. eBPF counts the kernel's jiffies, which are free to
/// read; the back end scales them to this rate.
pub const TICKS_PER_SECOND: u64 = 1000;

/// "There is no such element", of tables of numbers. No `Option`: LLVM spills its undefined half
/// across calls, which the verifier refuses ("R1 !read_ok").
pub const NOTHING: u32 = u32::MAX;

/// What came of an insertion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inserted {
    /// The entry is in the table.
    New,
    /// The key was there already, and its entry stays.
    Exists,
    /// The table is full.
    Full,
}

/// Tables, counters and the clock. Everything is `&self`: the tables are shared between
/// processors in both worlds. `slot` is always `generation & 1`.
pub trait Tables {
    /// Ticks since some fixed moment, never going back.
    fn now(&self) -> u64;
    /// The generation in force. Read once per packet and passed on.
    fn generation(&self) -> u32;
    /// When the first rule of a slot's generation ends, in ticks; 0: none ends.
    fn ends(&self, slot: u32) -> u64;
    /// Shape of a slot's dense tables.
    fn generation_entry(&self, slot: u32) -> Option<&GenerationEntry>;

    /// The port with this interface index, or the subport with this number.
    fn port(&self, slot: u32, ifindex: u32) -> Option<&PortEntry>;
    /// The number of the subport by which the trunk `device` (interface index) carries a VLAN id, or
    /// [`NOTHING`].
    fn subport(&self, slot: u32, device: u32, vlan: u16) -> u32;
    /// A network.
    fn network(&self, slot: u32, id: u32) -> Option<&NetworkEntry>;
    /// The network of a VLAN id, 0 for none.
    fn vlan(&self, slot: u32, vlan: u16) -> u32;

    /// What the switch tells a port.
    fn notice(&self, key: &NoticeKey) -> Option<&NoticeEntry>;

    /// A declared address, see [`crate::layout::AddressKey`].
    fn address(&self, slot: u32, scope: u32, addr: Addr) -> Option<&AddressEntry>;
    /// Who holds the shared addresses of a network that have this MAC.
    fn holder(&self, network: u32, mac: u64) -> Option<&Holder>;
    /// The longest prefix that covers an address.
    fn prefix(&self, slot: u32, addr: Addr) -> Option<&PrefixEntry>;
    /// A chunk of the table of denied sets, by [`denied::key`].
    fn denied_chunk(&self, key: u32) -> Option<&DeniedChunk>;
    /// A word of such a chunk; `at` is taken modulo their number.
    fn denied_word(&self, chunk: &DeniedChunk, at: u32) -> u64;
    /// MAC (low 48 bits) of a neighbour learned on an uplink and heard of within
    /// [`crate::route::NEIGHBOUR_FRESH`] of `now`; 0 for none.
    fn neighbour(&self, network: u32, addr: Addr, now: u64) -> u64;
    /// Learns the MAC (low 48 bits) of a neighbour, or hears of it again, at `now`.
    fn neighbour_insert(&self, network: u32, addr: Addr, mac: u64, now: u64);

    /// Service class of a number in a table of [`crate::layout::service_table`].
    fn service(&self, slot: u32, table: u32, number: u16) -> u32;
    /// Source port class in a table of [`crate::layout::service_table`] below
    /// [`crate::layout::SOURCE_TABLES`].
    fn source(&self, slot: u32, table: u32, port: u16) -> u32;
    /// An element of the row table.
    fn row(&self, slot: u32, index: u32) -> u32;
    /// An element of the verdict table.
    fn cell(&self, slot: u32, index: u32) -> u32;
    /// What holds about a rule (0: the default) besides the cells.
    fn rule(&self, slot: u32, rule: u32) -> Option<&RuleEntry>;

    /// A connection.
    fn flow(&self, key: &FlowKey) -> Option<&FlowEntry>;
    /// Adds a connection unless the key exists.
    fn flow_insert(&self, key: &FlowKey, entry: &FlowEntry) -> Inserted;
    /// Puts another entry in place of one that no packet uses any more.
    fn flow_replace(&self, key: &FlowKey, entry: &FlowEntry) -> Inserted;

    /// What is known of the datagram `key`, see [`crate::flow::fragment_key`].
    fn datagram(&self, key: &FlowKey) -> Option<&Datagram>;
    /// Puts an empty datagram, born now, in place of what is known of `key`; where there is no
    /// room, in place of another.
    fn datagram_insert(&self, key: &FlowKey, now: u64);
    /// Sets bits in a word of [`Datagram::covered`] (taken modulo their number) in one step; those
    /// that were set before.
    fn cover(&self, d: &Datagram, word: u32, bits: u64) -> u64;
    /// The word kept for the ends of `key`, a fragment's without its number; 0 for none.
    fn last_fragment(&self, key: &FlowKey) -> u64;
    /// Keeps a word for the ends of `key`.
    fn last_fragment_insert(&self, key: &FlowKey, value: u64);

    /// May one more ICMP error be sent now?
    fn error_budget(&self) -> bool;

    /// What the port at a place of the port table has taken; higher bits do not matter.
    fn port_state(&self, place: u32) -> Option<&PortState>;
    /// What was given back of that.
    fn port_returns(&self, place: u32) -> Option<&PortReturns>;
    /// This processor's counters of a port (interface index).
    fn traffic(&self, port: u32) -> Option<&Traffic>;
    /// Counts a drop of a frame that came in at `port`.
    fn count_drop(&self, port: u32, reason: DropReason);
    /// Counts a decision for a new connection by a rule (0: the default).
    fn count_rule(&self, slot: u32, rule: u32);

    /// This processor's [`event::Budget`] of a rule.
    fn event_budget(&self, slot: u32, rule: u32) -> Option<&Word>;
    /// Writes the time into an event and hands it to the reader of the log. One that does not fit
    /// any more is counted as lost.
    fn emit(&self, event: &mut EventEntry);

    /// Is an address in the denied sets of a bank? A seam: eBPF makes it a function that is
    /// verified by itself; the meaning is [`denied::covers`].
    fn is_denied(&self, bank: u32, addr: Addr) -> bool
    where
        Self: Sized,
    {
        denied::covers(self, bank, addr)
    }

    /// Refuses a packet with an end in a denied set. A seam as above; the meaning is
    /// [`denied::refuse`].
    fn refuse_denied(&self, p: &mut Packet) -> Result<(), DropReason>
    where
        Self: Sized,
    {
        denied::refuse(self, p)
    }

    /// Answers a question about a packet. A seam: eBPF makes it a function that is verified by
    /// itself; the meaning is [`query::resolve`].
    fn resolve(&self, p: &mut Packet) -> Result<(), DropReason>
    where
        Self: Sized,
    {
        query::resolve(self, p)
    }

    /// Finds the ports of a later fragment. A seam as above; the meaning is [`fragment::recall`].
    fn recall_fragment(&self, p: &mut Packet) -> Result<(), DropReason>
    where
        Self: Sized,
    {
        fragment::recall(self, p)
    }

    /// Remembers a fragment. A seam as above; the meaning is [`fragment::keep`].
    fn keep_fragment(&self, p: &mut Packet) -> Result<(), DropReason>
    where
        Self: Sized,
    {
        fragment::keep(self, p)
    }

    /// Answers the claim about a neighbour in `scratch`. A seam as above; the meaning is
    /// [`link::judge`].
    fn judge_claim(&self, scratch: &mut Scratch) -> Result<(), DropReason>
    where
        Self: Sized,
    {
        link::judge(self, scratch)
    }

    /// Tells the log about a packet, by a rule. A seam as above; the meaning is [`event::tell`].
    fn tell(&self, p: &mut Packet, rule: u32, note: u32)
    where
        Self: Sized,
    {
        let mut memory = EventEntry::EMPTY;
        event::tell(self, p, rule, note, &mut memory);
    }

    /// Holds a packet of so many bytes against the bandwidth of its ports. A seam as above; the
    /// meaning is [`limit::police`].
    fn police(&self, p: &mut Packet, bytes: u32) -> Result<(), DropReason>
    where
        Self: Sized,
    {
        limit::police(self, p, bytes)
    }

    /// Counts a frame that leaves its network. A seam as above; the meaning is
    /// [`account::went_far`].
    fn went_far(&self, s: &Scratch, leaves: u32)
    where
        Self: Sized,
    {
        account::went_far(self, s, leaves);
    }

    /// Finds the verdict on a packet that is only asked about. A seam as above; the meaning is
    /// [`probe::judge`].
    fn ask(&self, p: &mut Packet) -> Result<(), DropReason>
    where
        Self: Sized,
    {
        probe::judge(self, p)
    }

    /// `value`, of which the compiler is to know nothing. Nothing to do but in eBPF, where it would
    /// make branches of arithmetic, and the verifier would follow each.
    #[inline(always)]
    fn opaque(&self, value: u64) -> u64 {
        value
    }

    /// `memory`, of which the compiler is to assume nothing any more. Nothing to do but in eBPF,
    /// where it ends the life of everything read from the headers, see [`crate::packet`].
    #[inline(always)]
    fn forget<'a, X>(&self, memory: &'a mut X) -> &'a mut X {
        memory
    }
}
