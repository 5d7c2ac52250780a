//! Networks, and who is in them.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::{ETHERTYPES, MEMBERS};
use crate::addr::Addr;

/// Bits of [`NetworkEntry::flags`].
pub mod network_flag {
    /// The switch routes for this network.
    pub const GATEWAY: u32 = 1;
    /// Frames leave the uplink with the network's VLAN tag.
    pub const UPLINK_TAGGED: u32 = 2;
    /// What is not declared in this network's subnets belongs to the outside (`world`).
    pub const EXTERNAL: u32 = 4;
}

entry! {
    /// A network, by slot and network id.
    NetworkEntry: 80 {
        /// IPv4 gateway address, `::` where there is none.
        gateway_v4: Addr,
        /// IPv6 gateway address (global), `::` where there is none.
        gateway_v6: Addr,
        /// MAC of the gateway (low 48 bits).
        gateway_mac: u64,
        /// Interface index of the switch's side of the host leg, 0 where there is none.
        host_port: u32,
        /// Interface index of the uplink that carries this network, 0 where none does.
        uplink_port: u32,
        /// VLAN id, 1..4094.
        vlan: u32,
        /// Bits of [`network_flag`].
        flags: u32,
        /// Largest L3 packet of this network, bytes.
        mtu: u32,
        /// Zero.
        reserved: u32,
        /// EtherTypes that its guests may use among themselves besides ARP and IP; 0 is none.
        ethertypes: [u16; ETHERTYPES],
    }
}

entry! {
    /// Who takes part in a network's broadcasts, by slot and network id.
    Members: 4096 {
        /// How many of `port` are in use.
        count: u32,
        /// Interface indexes of the guest and host ports; the subports come last.
        port: [u32; MEMBERS],
    }
}

impl Members {
    /// No member.
    pub const EMPTY: Self = Self { count: 0, port: [0; MEMBERS] };
}
