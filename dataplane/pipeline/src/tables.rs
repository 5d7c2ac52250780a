//! All state that a decision reads or writes.

use crate::addr::Addr;
use crate::{
    layout::{
        AddressEntry, AddressKey, FlowEntry, FlowKey, GenerationEntry, NeighbourEntry,
        NeighbourKey, NetworkEntry, PortEntry, PrefixEntry,
    },
    reason::DropReason,
};

/// Ticks of [`Tables::now`] in a second. eBPF counts the kernel's jiffies, which are free to
/// read; the back end scales them to this rate.
pub const TICKS_PER_SECOND: u64 = 1000;

/// Tables, counters and the clock. Everything is `&self`: the tables are shared between
/// processors in both worlds. `slot` is always `generation & 1`.
pub trait Tables {
    /// Ticks since some fixed moment, never going back.
    fn now(&self) -> u64;
    /// The generation in force. Read once per packet and passed on.
    fn generation(&self) -> u32;
    /// Shape of a slot's dense tables.
    fn generation_entry(&self, slot: u32) -> Option<&GenerationEntry>;

    /// The port with this interface index.
    fn port(&self, slot: u32, ifindex: u32) -> Option<&PortEntry>;
    /// A network.
    fn network(&self, slot: u32, id: u32) -> Option<&NetworkEntry>;
    /// The network of a VLAN id, 0 for none.
    fn vlan(&self, slot: u32, vlan: u16) -> u32;

    /// A declared address.
    fn address(&self, key: &AddressKey) -> Option<&AddressEntry>;
    /// The longest prefix that covers an address.
    fn prefix(&self, slot: u32, addr: Addr) -> Option<&PrefixEntry>;
    /// A neighbour learned on an uplink.
    fn neighbour(&self, key: &NeighbourKey) -> Option<&NeighbourEntry>;
    /// Learns a neighbour, or hears of it again.
    fn neighbour_insert(&self, key: &NeighbourKey, entry: &NeighbourEntry);

    /// Service class of a number in a table of [`crate::layout::service_table`].
    fn service(&self, slot: u32, table: u32, number: u16) -> Option<u32>;
    /// An element of the row table.
    fn row(&self, slot: u32, index: u32) -> Option<u32>;
    /// An element of the verdict table.
    fn cell(&self, slot: u32, index: u32) -> Option<u32>;

    /// A connection.
    fn flow(&self, key: &FlowKey) -> Option<&FlowEntry>;
    /// Adds a connection unless the key exists; `None` if the table is full. The entry that is
    /// in the table afterwards, whoever put it there.
    fn flow_insert(&self, key: &FlowKey, entry: &FlowEntry) -> Option<&FlowEntry>;

    /// The verdict for later fragments of the datagram `key`: its egress port, if its first
    /// fragment passed.
    fn fragment(&self, key: &FlowKey) -> Option<u64>;
    /// Remembers that the first fragment of the datagram `key` passed.
    fn fragment_insert(&self, key: &FlowKey, path: u64);

    /// May one more ICMP error be sent now?
    fn error_budget(&self) -> bool;

    /// Counts a drop.
    fn count_drop(&self, reason: DropReason);
    /// Counts a decision for a new connection by a rule (0: the default).
    fn count_rule(&self, slot: u32, rule: u32);
}
