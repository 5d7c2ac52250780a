//! Prefixes as numbers: IPv4 stands at its mapped place among the IPv6 addresses.

use std::net::IpAddr;

use ipnet::IpNet;
use portcullis_pipeline::addr::Addr;

/// An address as a number; IPv4 is `::ffff:a.b.c.d`.
pub fn number(addr: IpAddr) -> u128 {
    let a = Addr::from(addr);
    u128::from(a.hi) << 64 | u128::from(a.lo)
}

/// The address of a number.
pub fn addr(number: u128) -> Addr {
    Addr { hi: (number >> 64) as u64, lo: number as u64 }
}

/// A prefix in the mapped space.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Block {
    /// First address.
    pub first: u128,
    /// Prefix length of the mapped form, 0..=128.
    pub len: u8,
}

impl Block {
    /// All of IPv6, and around it everything.
    pub const ALL: Self = Self { first: 0, len: 0 };
    /// All of IPv4.
    pub const V4: Self = Self { first: 0xffff_0000_0000, len: 96 };

    /// The block of a prefix.
    pub fn of(net: IpNet) -> Self {
        let len = match net {
            IpNet::V4(n) => 96 + n.prefix_len(),
            IpNet::V6(n) => n.prefix_len(),
        };
        Self { first: number(net.network()), len }
    }

    /// Last address.
    pub fn last(self) -> u128 {
        self.first | u128::MAX.checked_shr(u32::from(self.len)).unwrap_or(0)
    }

    /// Is the address in here? The caller knows that both are of one family.
    pub fn holds(self, number: u128) -> bool {
        (self.first..=self.last()).contains(&number)
    }

    /// Does the prefix contain the other one? (IPv6 prefixes contain no IPv4.)
    pub fn contains(self, other: Self) -> bool {
        self.is_v4() == other.is_v4() && self.len <= other.len && self.holds(other.first)
    }

    /// Is it IPv4?
    pub fn is_v4(self) -> bool {
        self.len >= 96 && Self::V4.holds(self.first)
    }
}
