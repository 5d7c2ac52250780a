//! What is told of new connections.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::addr::Addr;

/// Number of the layout of [`EventEntry`]; its first field, so that a reader can tell.
pub const EVENT_VERSION: u32 = 1;

/// What [`EventEntry::verdict`] says: the policy's part. What is allowed may still be dropped for
/// something else, such as a full table of connections.
pub mod event_verdict {
    /// The connection is allowed by the rule.
    pub const ALLOWED: u16 = 1;
    /// It is not, for [`super::EventEntry::reason`].
    pub const DENIED: u16 = 2;
    /// The rule observes: it would allow the connection.
    pub const WOULD_ALLOW: u16 = 3;
    /// The rule observes: it would deny the connection.
    pub const WOULD_DENY: u16 = 4;
}

/// [`EventEntry::reason`] of what is not dropped by a rule.
pub const NO_REASON: u16 = u16::MAX;

entry! {
    /// A new connection that was judged, as the ring carries it to whoever reads the log.
    EventEntry: 88 {
        /// [`EVENT_VERSION`].
        version: u32,
        /// The generation that judged.
        generation: u32,
        /// When: nanoseconds of the boot clock (CLOCK_BOOTTIME).
        time: u64,
        /// Source.
        src: Addr,
        /// Destination.
        dst: Addr,
        /// Id of the deciding or observing rule; 0 for the default.
        rule: u32,
        /// Events of the same rule on the same processor that were left out before this one.
        suppressed: u32,
        /// Interface index of the port that the packet came from.
        ingress: u32,
        /// Interface index of the port that it would leave by.
        egress: u32,
        /// Id of the network that it came from.
        network: u32,
        /// Bytes of the packet from the IP header on; of a frame still to be segmented, of all.
        length: u32,
        /// Source port, or identifier of an echo.
        sport: u16,
        /// Destination port, or identifier of an echo.
        dport: u16,
        /// ICMP type << 8 | code.
        icmp: u16,
        /// IP protocol; of ARP its EtherType, which no protocol's number reaches.
        protocol: u16,
        /// One of [`event_verdict`].
        verdict: u16,
        /// The [`crate::DropReason`], or [`NO_REASON`].
        reason: u16,
        /// Zero.
        reserved: u32,
    }
}

impl EventEntry {
    /// Nothing yet.
    pub const EMPTY: Self = Self {
        version: EVENT_VERSION,
        generation: 0,
        time: 0,
        src: Addr::UNSPECIFIED,
        dst: Addr::UNSPECIFIED,
        rule: 0,
        suppressed: 0,
        ingress: 0,
        egress: 0,
        network: 0,
        length: 0,
        sport: 0,
        dport: 0,
        icmp: 0,
        protocol: 0,
        verdict: 0,
        reason: NO_REASON,
        reserved: 0,
    };
}
