//! Ports: what may pass there, and what has.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{addr::Addr, word::Word};

/// What a port is. Zero, so also an entry never written, is closed.
pub mod port_kind {
    /// Passes nothing.
    pub const CLOSED: u16 = 0;
    /// A guest's NIC: one network, declared MAC and addresses only, untagged unless it is a
    /// [`crate::subport`].
    pub const GUEST: u16 = 1;
    /// The hypervisor's own leg of a network.
    pub const HOST: u16 = 2;
    /// A physical-like NIC: tagged networks, at most one untagged network.
    pub const UPLINK: u16 = 3;
}

/// Bits of [`PortEntry::flags`].
pub mod port_flag {
    /// The guest has more addresses than [`super::PortEntry::addrs`] holds: ask the address table.
    pub const MORE_ADDRESSES: u16 = 1;
    /// What leaves here has a bandwidth limit, see [`super::PortLimits::receive`].
    pub const LIMIT_IN: u16 = 2;
    /// What comes in here has a bandwidth limit, see [`super::PortLimits::send`].
    pub const LIMIT_OUT: u16 = 4;
    /// The guest may hold addresses that it shares with others, see [`crate::shared`].
    pub const SHARES: u16 = 8;
    /// An uplink with tagged networks, whose driver may take tags out of frames before an XDP hook
    /// sees them: one without a tag is no frame of the untagged network for certain.
    pub const HIDES_TAGS: u16 = 16;
    /// The interface carries tagged networks too, see [`crate::subport`].
    pub const TRUNK: u16 = 32;
}

entry! {
    /// How often something may be, in the units of [`crate::limit`].
    Rate: 16 {
        /// What one event, or one byte, takes; 0: there is no limit.
        cost: u64,
        /// How much may be ahead of the rate.
        burst: u64,
    }
}

entry! {
    /// What a port may take. Zeroes are no limits.
    PortLimits: 96 {
        /// Connections that it has opened, at a time; 0: no limit.
        flows: u32,
        /// Of them, TCP connections that are not established; 0: no limit.
        half_open: u32,
        /// Packets that want to open a connection.
        new: Rate,
        /// Broadcasts and multicasts from it.
        broadcast: Rate,
        /// ARP and neighbour discovery from it.
        neighbours: Rate,
        /// Bytes that leave by the port: what its guest receives.
        receive: Rate,
        /// Bytes that come in by it: what its guest sends.
        send: Rate,
        /// Zero.
        reserved: u64,
    }
}

entry! {
    /// A port, by slot and `ifindex & (PORTS - 1)`; subports stand at free places.
    PortEntry: 192 {
        /// Up to four addresses that the port may use as source; `::` is none. Guest ports only.
        addrs: [Addr; 4],
        /// MAC that the port may use as source (low 48 bits). Guest and host ports.
        mac: u64,
        /// Interface index of the port, or the number of a subport; an entry for another one is no
        /// entry.
        ifindex: u32,
        /// Largest L3 packet that may leave here, bytes.
        mtu: u32,
        /// One of [`port_kind`].
        kind: u16,
        /// Bits of [`port_flag`].
        flags: u16,
        /// Its network; for an uplink or a trunk the network of untagged frames, or 0.
        network: u32,
        /// Its interface: the port's own, or that of the trunk which a subport is a part of.
        device: u32,
        /// Identity class of its first address: judges the broadcasts that it may receive.
        class: u32,
        /// What it may take. Last: the established path has no need of it.
        limits: PortLimits,
    }
}

entry! {
    /// Key of a subport's number: the tag by which frames of a trunk name it.
    SubportKey: 16 {
        /// Interface index of the trunk.
        device: u32,
        /// VLAN id, 1..4094.
        vlan: u32,
        /// Generation slot.
        slot: u32,
        /// Zero.
        reserved: u32,
    }
}

/// What a port has taken, by `ifindex & (PORTS - 1)`: shared by all processors, and the same
/// whatever the generation. Programs add to the first two words atomically, and replace the others
/// as [`crate::limit`] says.
#[derive(Default, FromBytes, IntoBytes)]
#[repr(C)]
pub struct PortState {
    /// Connections opened from here, less those that another port has taken over.
    pub flows: Word,
    /// TCP connections opened from here that were not established yet, less those that were.
    pub half_open: Word,
    /// See [`PortLimits::new`].
    pub new: Word,
    /// See [`PortLimits::broadcast`].
    pub broadcast: Word,
    /// See [`PortLimits::neighbours`].
    pub neighbours: Word,
    /// See [`PortLimits::receive`].
    pub receive: Word,
    /// See [`PortLimits::send`].
    pub send: Word,
    /// When the log was told last of limits that many packets hit, see [`crate::limit::is_news`].
    pub told: Word,
}

const _: () = assert!(core::mem::size_of::<PortState>() == 64);

/// What the sweeper has given back of [`PortState`], by the same place: a port has as many
/// connections as one word less the other. Only user space writes it.
#[derive(Default, FromBytes, IntoBytes)]
#[repr(C)]
pub struct PortReturns {
    /// Connections that were removed.
    pub flows: Word,
    /// Of them, those that were never established.
    pub half_open: Word,
}

const _: () = assert!(core::mem::size_of::<PortReturns>() == 16);
