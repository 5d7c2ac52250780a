//! Connections, and datagrams in pieces.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{addr::Addr, word::Word};

entry! {
    /// Key of a connection: both ends sorted, so both directions have the same key.
    FlowKey: 40 {
        /// The smaller end's address.
        a: Addr,
        /// The larger end's address.
        b: Addr,
        /// Port of `a`; the identifier for ICMP echo.
        a_port: u16,
        /// Port of `b`; the identifier for ICMP echo.
        b_port: u16,
        /// IP protocol.
        protocol: u16,
        /// Network id for link-local ends, otherwise 0: addresses are unique over all networks.
        scope: u16,
    }
}

/// A connection. Each side's words are written only by packets from that side, but for the ways,
/// which end when either side's packet judges anew; `judged` and `last` by either, with values that
/// are right whoever wins.
#[derive(FromBytes, IntoBytes)]
#[repr(C)]
pub struct FlowEntry {
    /// Generation << 32 | verdict cell (see [`crate::policy::Cell`]).
    pub judged: Word,
    /// Ticks of the last packet.
    pub last: Word,
    /// The side that `a` of the key is.
    pub a: FlowSide,
    /// The side that `b` of the key is.
    pub b: FlowSide,
}
const _: () = assert!(core::mem::size_of::<FlowEntry>() == 64);

/// Words of [`Datagram::covered`].
pub const COVERED: usize = 128;

/// A datagram of which fragments have come, see [`crate::fragment`].
#[derive(FromBytes, IntoBytes)]
#[repr(C)]
pub struct Datagram {
    /// When the first of them came, ticks.
    pub born: Word,
    /// 1 << 32 | source port << 16 | destination port, once the fragment that tells them has
    /// passed; before 0.
    pub first: Word,
    /// Octets that have come. Two processors may lose some: then it is never whole.
    pub octets: Word,
    /// Where it ends, once that is known << 32 | the end of what has come.
    pub end: Word,
    /// Which octets have come: a bit for 8 of them.
    pub covered: [Word; COVERED],
}
const _: () = assert!(core::mem::size_of::<Datagram>() == 1056);

/// One side of a connection: what its packets need.
#[derive(FromBytes, IntoBytes)]
#[repr(C)]
pub struct FlowSide {
    /// Where the side's source was checked, and where its packets go: the low 8 bits of the
    /// generation << 56 | network << 46 | place in the port table << 32 | egress port; only the place
    /// where the rest is to be found again. `judged` has the whole generation, and who renews it
    /// leaves both sides their places only.
    pub way: Word,
    /// MAC that its packets get when they are routed << 16 | state bits, see
    /// [`crate::conntrack`].
    pub half: Word,
    /// TCP: what the side has sent, see [`crate::sequence::Sent`].
    pub sent: Word,
}
