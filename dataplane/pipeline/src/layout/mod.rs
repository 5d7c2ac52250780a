//! The tables that cross the line between the controller's image, the maps of the kernel and the
//! tables of the user-space engine. Defined once, here.
//!
//! Everything that belongs to one generation is reached through its *slot*, `generation & 1`: a
//! new generation is written whole into the slot that no packet reads, then the generation word
//! is flipped, and one grace period later nothing reads the old slot any more.

/// Declares a plain table entry: C layout, every byte named (padding and `bool` do not compile,
/// by zerocopy's derive), its size asserted.
macro_rules! entry {
    ($(#[$doc:meta])* $name:ident: $size:literal { $($(#[$fdoc:meta])* $field:ident: $ty:ty,)* }) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout,
        )]
        #[repr(C)]
        pub struct $name { $($(#[$fdoc])* pub $field: $ty,)* }
        const _: () = assert!(core::mem::size_of::<$name>() == $size);
    };
}

mod address;
mod dense;
mod event;
mod flow;
mod generation;
mod network;
mod port;
mod told;
mod traffic;

pub use self::{
    address::{
        AddressEntry, AddressKey, Holder, HolderKey, NeighbourEntry, NeighbourKey, PrefixEntry,
        PrefixKey, address_flag, sharer_scope,
    },
    dense::{Chunk, DeniedChunk, ServiceTable, service_table},
    event::{EVENT_VERSION, EventEntry, NO_REASON, event_verdict},
    flow::{COVERED, Datagram, FlowEntry, FlowKey, FlowSide},
    generation::{GenerationEntry, RuleEntry, Settings, generation_flag},
    network::{Members, NetworkEntry, network_flag},
    port::{PortEntry, PortLimits, PortReturns, PortState, Rate, SubportKey, port_flag, port_kind},
    told::{NOTICE_PIECE, NOTICE_PIECES, NoticeEntry, NoticeKey, notice},
    traffic::{Amount, DropKey, TRAFFIC, Traffic},
};

/// Slots of per-generation tables.
pub const SLOTS: u32 = 2;
/// Ports that one switch can hold, and entries of the port table per slot. A port's entry stands
/// at `ifindex & (PORTS - 1)`; two live ports must not collide (the switch refuses the second).
pub const PORTS: u32 = 16_384;
/// Networks of one switch, and entries of the network table per slot. Network ids start at 1.
pub const NETWORKS: u32 = 1024;
/// EtherTypes that a network may carry besides ARP and IP.
pub const ETHERTYPES: usize = 8;
/// Ports of one network that take part in broadcast and multicast.
pub const MEMBERS: usize = 1023;
/// Numbers in one chunk of the row and verdict tables.
pub const CHUNK: usize = 4096;
/// Chunks of the row table per slot: up to 2048 x 2048 class pairs.
pub const ROW_CHUNKS: u32 = 1024;
/// Chunks of the verdict table per slot: up to 4 Mi cells.
pub const CELL_CHUNKS: u32 = 1024;
/// Service tables per slot, see [`ServiceTable`].
pub const SERVICE_TABLES: u32 = 6;
/// The first of the service tables, for which there are source tables too: TCP, UDP, SCTP.
pub const SOURCE_TABLES: u32 = 3;
/// Words of one chunk of the table of denied sets, see [`crate::denied`].
pub const DENIED_WORDS: usize = 512;
/// Chunks of one bank of that table.
pub const DENIED_CHUNKS: u32 = 32_768;
/// Banks of that table; their numbers start at 1.
pub const DENIED_BANKS: u32 = 2;
/// Rules of one policy: ids 1..RULES; 0 is "no rule", the default.
pub const RULES: u32 = 131_072;
/// Bytes of the ring that carries [`EventEntry`] to user space: a power of two.
pub const EVENT_RING: u32 = 1 << 20;
