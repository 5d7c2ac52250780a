//! Tables without keys: classes, rows, verdicts and denied sets.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::{CHUNK, DENIED_WORDS};

/// Which [`ServiceTable`] a protocol uses.
pub mod service_table {
    /// By TCP destination port.
    pub const TCP: u32 = 0;
    /// By UDP destination port.
    pub const UDP: u32 = 1;
    /// By SCTP destination port.
    pub const SCTP: u32 = 2;
    /// By ICMP type << 8 | code.
    pub const ICMP: u32 = 3;
    /// By ICMPv6 type << 8 | code.
    pub const ICMPV6: u32 = 4;
    /// By protocol number, for everything else.
    pub const PROTOCOL: u32 = 5;
}

/// Service class by port (or type and code, or protocol), by slot and [`service_table`].
#[derive(Clone, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ServiceTable {
    /// Service class of each number.
    pub class: [u16; 65_536],
}

/// A chunk of a big table of numbers: one update writes it whole.
#[derive(Clone, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Chunk {
    /// The numbers.
    pub cell: [u32; CHUNK],
}

/// A chunk of the table of denied sets, by [`crate::denied::key`].
#[derive(Clone, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct DeniedChunk {
    /// What they say depends on the part.
    pub words: [u64; DENIED_WORDS],
}
