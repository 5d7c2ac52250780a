//! Addresses as scalars: comparing sorts, equality is two compares, and no loop is needed.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// An IPv6 address, or an IPv4 address mapped to `::ffff:a.b.c.d` (RFC 4291, section 2.5.5.2),
/// as two words in host order, the more significant one first.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    FromBytes,
    IntoBytes,
    Immutable,
    KnownLayout,
)]
#[repr(C)]
pub struct Addr {
    /// Bits 127..64.
    pub hi: u64,
    /// Bits 63..0.
    pub lo: u64,
}

impl Addr {
    /// `::`, also "no address".
    pub const UNSPECIFIED: Self = Self { hi: 0, lo: 0 };
    const V4_PREFIX: u64 = 0xffff_0000_0000;

    /// An IPv4 address in wire order.
    #[inline(always)]
    pub const fn v4(bytes: [u8; 4]) -> Self {
        Self::v4_bits(u32::from_be_bytes(bytes))
    }

    /// An IPv4 address as a host-order number.
    #[inline(always)]
    pub const fn v4_bits(bits: u32) -> Self {
        Self { hi: 0, lo: Self::V4_PREFIX | bits as u64 }
    }

    /// An IPv6 address in wire order.
    #[inline(always)]
    pub const fn v6(b: [u8; 16]) -> Self {
        Self {
            hi: u64::from_be_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]),
            lo: u64::from_be_bytes([b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15]]),
        }
    }

    /// The 16 bytes in wire order (mapped for IPv4).
    #[inline(always)]
    pub const fn octets(self) -> [u8; 16] {
        let h = self.hi.to_be_bytes();
        let l = self.lo.to_be_bytes();
        [
            h[0], h[1], h[2], h[3], h[4], h[5], h[6], h[7], l[0], l[1], l[2], l[3], l[4], l[5],
            l[6], l[7],
        ]
    }

    /// The low 32 bits: the IPv4 address of a mapped one.
    #[inline(always)]
    pub const fn low32(self) -> u32 {
        self.lo as u32
    }

    /// Is this a mapped IPv4 address?
    #[inline(always)]
    pub const fn is_v4(self) -> bool {
        self.hi == 0 && self.lo >> 32 == 0xffff
    }

    /// `::` or `0.0.0.0`.
    #[inline(always)]
    pub const fn is_unspecified(self) -> bool {
        self.hi == 0 && (self.lo == 0 || self.lo == Self::V4_PREFIX)
    }

    /// `ff00::/8` or `224.0.0.0/4`.
    #[inline(always)]
    pub const fn is_multicast(self) -> bool {
        if self.is_v4() { self.low32() >> 28 == 0xe } else { self.hi >> 56 == 0xff }
    }

    /// `255.255.255.255` (the directed broadcast of a subnet is known to its network entry).
    #[inline(always)]
    pub const fn is_limited_broadcast(self) -> bool {
        self.is_v4() && self.low32() == u32::MAX
    }

    /// `fe80::/10` (RFC 4291, section 2.5.6): means something inside one network only.
    #[inline(always)]
    pub const fn is_link_local_v6(self) -> bool {
        self.hi >> 54 == 0xfe80 >> 6
    }

    /// Addresses that no frame on a wire may carry as source or destination: loopback, the
    /// IPv4 "this network" block and class E, IPv4-mapped and -compatible IPv6 (RFC 6890).
    #[inline(always)]
    pub const fn is_never_on_wire(self) -> bool {
        if self.is_v4() {
            let top = self.low32() >> 24;
            top == 127 || top == 0 || (top >= 240 && self.low32() != u32::MAX)
        } else {
            self.hi == 0 && self.lo >> 32 == 0
        }
    }

    /// Can one host have this address, and a packet carry it?
    #[inline(always)]
    pub const fn is_unicast(self) -> bool {
        !self.is_never_on_wire() && !self.is_multicast() && !self.is_limited_broadcast()
    }

    /// The link-local address that an interface forms from its MAC (RFC 4291, appendix A).
    #[inline(always)]
    pub const fn link_local_of(mac: Mac) -> Self {
        let m = mac.0 ^ 0x0200_0000_0000;
        Self { hi: 0xfe80_0000_0000_0000, lo: (m >> 24) << 40 | 0xff_fe00_0000 | (m & 0xff_ffff) }
    }
}

impl core::fmt::Display for Addr {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        if self.is_v4() {
            core::net::Ipv4Addr::from(self.low32()).fmt(f)
        } else {
            core::net::Ipv6Addr::from(self.octets()).fmt(f)
        }
    }
}

impl From<core::net::IpAddr> for Addr {
    fn from(ip: core::net::IpAddr) -> Self {
        match ip {
            core::net::IpAddr::V4(a) => Self::v4(a.octets()),
            core::net::IpAddr::V6(a) => Self::v6(a.octets()),
        }
    }
}

impl From<Addr> for core::net::IpAddr {
    fn from(a: Addr) -> Self {
        if a.is_v4() {
            core::net::Ipv4Addr::from(a.low32()).into()
        } else {
            core::net::Ipv6Addr::from(a.octets()).into()
        }
    }
}

/// An Ethernet address in the low 48 bits, first byte most significant.
#[derive(
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    FromBytes,
    IntoBytes,
    Immutable,
    KnownLayout,
)]
#[repr(transparent)]
pub struct Mac(pub u64);

impl Mac {
    /// `ff:ff:ff:ff:ff:ff`.
    pub const BROADCAST: Self = Self(0xffff_ffff_ffff);

    /// From wire order.
    #[inline(always)]
    pub const fn new(b: [u8; 6]) -> Self {
        Self(u64::from_be_bytes([0, 0, b[0], b[1], b[2], b[3], b[4], b[5]]))
    }

    /// Wire order.
    #[inline(always)]
    pub const fn octets(self) -> [u8; 6] {
        let b = self.0.to_be_bytes();
        [b[2], b[3], b[4], b[5], b[6], b[7]]
    }

    /// The group bit: multicast or broadcast (IEEE 802.3, section 3.2.3).
    #[inline(always)]
    pub const fn is_group(self) -> bool {
        self.0 & 0x0100_0000_0000 != 0
    }
}

impl core::fmt::Display for Mac {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let b = self.octets();
        write!(f, "{:02x}:{:02x}:{:02x}:{:02x}:{:02x}:{:02x}", b[0], b[1], b[2], b[3], b[4], b[5])
    }
}

impl core::fmt::Debug for Mac {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        core::fmt::Display::fmt(self, f)
    }
}
