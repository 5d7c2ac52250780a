//! What the switch tells guests.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::addr::Addr;

/// What a [`NoticeEntry`] is for.
pub mod notice {
    /// Router advertisement of a network (RFC 4861); its port is 0.
    pub const ADVERTISEMENT: u32 = 0;
    /// DHCP (RFC 2131) for one port.
    pub const DHCP: u32 = 1;
    /// DHCPv6 (RFC 8415) for one port.
    pub const DHCP6: u32 = 2;
}

/// Bytes of one piece of a notice's text.
pub const NOTICE_PIECE: usize = 32;
/// Pieces of a notice's text.
pub const NOTICE_PIECES: usize = 10;

entry! {
    /// Key of what the switch tells a port about itself and its network.
    NoticeKey: 16 {
        /// One of [`notice`].
        kind: u32,
        /// Its network.
        network: u32,
        /// Interface index of the port, 0 for all ports of the network.
        port: u32,
        /// Generation slot.
        slot: u32,
    }
}

entry! {
    /// What the switch tells: the parts of an answer that do not depend on the question, written
    /// by user space as they stand on the wire.
    NoticeEntry: 376 {
        /// The address that the port is told is its own.
        addr: Addr,
        /// Source of the answer; of DHCP also the server identifier.
        server: Addr,
        /// Source MAC of the answer (low 48 bits).
        mac: u64,
        /// How long the address may be used before it is asked for again, seconds.
        lease_s: u32,
        /// Bytes of `text` in use; the others are zero.
        len: u32,
        /// One's complement sum of the 16-bit words of `text`, not folded (RFC 1071).
        sum: u32,
        /// Zero.
        reserved: u32,
        /// Options; of an advertisement the whole ICMPv6 message.
        text: [[u8; NOTICE_PIECE]; NOTICE_PIECES],
    }
}
