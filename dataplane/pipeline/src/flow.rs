//! The key of a connection, the same from both sides.

use crate::{addr::Addr, layout::FlowKey};

/// A key and which end the sender is.
#[derive(Clone, Copy, Debug)]
pub struct Directed {
    /// The key.
    pub key: FlowKey,
    /// Is the packet's source the key's `a`?
    pub from_a: bool,
}

/// Key of a packet from `src` to `dst`. `scope` is its network, used where an end is link-local.
#[inline(always)]
pub fn key(src: Addr, dst: Addr, sport: u16, dport: u16, protocol: u8, scope: u32) -> Directed {
    let scope = if src.is_link_local_v6() || dst.is_link_local_v6() { scope as u16 } else { 0 };
    let protocol = protocol as u16;
    let from_a = if src.hi != dst.hi {
        src.hi < dst.hi
    } else if src.lo != dst.lo {
        src.lo < dst.lo
    } else {
        sport <= dport
    };
    let key = if from_a {
        FlowKey { a: src, b: dst, a_port: sport, b_port: dport, protocol, scope }
    } else {
        FlowKey { a: dst, b: src, a_port: dport, b_port: sport, protocol, scope }
    };
    Directed { key, from_a }
}

/// Key of a datagram in fragments: not sorted, with the identification in place of the ports.
#[inline(always)]
pub fn fragment_key(src: Addr, dst: Addr, id: u32, protocol: u8, scope: u32) -> FlowKey {
    FlowKey {
        a: src,
        b: dst,
        a_port: (id >> 16) as u16,
        b_port: id as u16,
        protocol: protocol as u16,
        scope: scope as u16,
    }
}

/// Makes the key of a datagram that of what its two ends have in common for all their datagrams.
#[inline(always)]
pub fn forget_number(key: &mut FlowKey) {
    key.a_port = 0;
    key.b_port = 0;
}
