//! Addresses: whose they are, and where their frames go.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{addr::Addr, word::Word};

entry! {
    /// Key of a declared address.
    AddressKey: 24 {
        /// The address.
        addr: Addr,
        /// 0, or the network id where the address means something in one network only
        /// (`fe80::/10`); or [`sharer_scope`] of a port that may hold the address.
        scope: u32,
        /// Generation slot.
        slot: u32,
    }
}

/// The scope of the entries that say which shared addresses a port may hold: beyond all network ids
/// and interface indexes. Such an entry has the port's own MAC.
#[inline(always)]
pub const fn sharer_scope(port: u32) -> u32 {
    1 << 31 | port
}

/// Bits of [`AddressEntry::flags`].
pub mod address_flag {
    /// Several guests may have it, and one of them holds it at a time: [`super::Holder`] says who.
    /// The entry's MAC is the address's own, which outlives its holders; its port is 0.
    pub const SHARED: u16 = 1;
    /// Some of them have no port here: one of these may hold it.
    pub const AWAY: u16 = 2;
}

entry! {
    /// A declared address: whose it is, and where its frames go. This is the static forwarding
    /// table, by address instead of by MAC: the frame's MAC must agree with it.
    AddressEntry: 24 {
        /// MAC that frames for it carry inside its network (low 48 bits).
        mac: u64,
        /// Identity class.
        class: u32,
        /// Interface index of its port; 0 while it has none here.
        port: u32,
        /// Its network.
        network: u32,
        /// One of [`port_kind`], `CLOSED` while it has no port here.
        kind: u16,
        /// Bits of [`address_flag`].
        flags: u16,
    }
}

entry! {
    /// Key of shared addresses, whatever the generation: those with one MAC have one holder.
    HolderKey: 16 {
        /// The MAC of the addresses (low 48 bits).
        mac: u64,
        /// Their network.
        network: u32,
        /// Zero.
        reserved: u32,
    }
}

/// Who holds shared addresses. User space makes and removes the entries; only programs write the
/// word, whole, so a fail-over needs nobody else.
#[derive(Default, FromBytes, IntoBytes)]
#[repr(C)]
pub struct Holder {
    /// Interface index of its port, with [`crate::shared::BY_ITS_MAC`]; 0: nobody here.
    pub held: Word,
}

const _: () = assert!(core::mem::size_of::<Holder>() == 8);

entry! {
    /// Data of the longest-prefix table's key: the slot takes the first 32 bits of every prefix.
    PrefixKey: 20 {
        /// Generation slot, big-endian.
        slot_be: [u8; 4],
        /// Address in wire order, IPv4 mapped (so an IPv4 /24 is a /120).
        addr: [u8; 16],
    }
}

entry! {
    /// What an address that is not declared belongs to.
    PrefixEntry: 8 {
        /// Identity class.
        class: u32,
        /// The network whose subnet contains it, 0 outside all of them.
        network: u32,
    }
}

entry! {
    /// Key of a neighbour learned on an uplink.
    NeighbourKey: 24 {
        /// Its address.
        addr: Addr,
        /// Its network.
        network: u32,
        /// Zero.
        reserved: u32,
    }
}

entry! {
    /// A neighbour learned on an uplink (never on a guest port).
    NeighbourEntry: 16 {
        /// Its MAC (low 48 bits).
        mac: u64,
        /// When it was last heard, in ticks of [`crate::Tables::now`].
        seen: u64,
    }
}
