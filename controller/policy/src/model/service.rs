//! What connections are for.

use portcullis_pipeline::layout::service_table;
use serde::Serialize;

use crate::source::Span;

/// Which table of numbers a service speaks about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP, by destination port.
    Tcp,
    /// UDP, by destination port.
    Udp,
    /// SCTP, by destination port.
    Sctp,
    /// ICMP, by type << 8 | code.
    Icmp,
    /// ICMPv6, by type << 8 | code.
    Icmpv6,
    /// Everything else, by IP protocol number.
    Proto,
}

impl Protocol {
    /// All of them, in the order of their tables.
    pub const ALL: [Self; 6] =
        [Self::Tcp, Self::Udp, Self::Sctp, Self::Icmp, Self::Icmpv6, Self::Proto];

    /// Its [`service_table`].
    pub const fn table(self) -> u32 {
        match self {
            Self::Tcp => service_table::TCP,
            Self::Udp => service_table::UDP,
            Self::Sctp => service_table::SCTP,
            Self::Icmp => service_table::ICMP,
            Self::Icmpv6 => service_table::ICMPV6,
            Self::Proto => service_table::PROTOCOL,
        }
    }

    /// Are its numbers destination ports?
    pub const fn has_ports(self) -> bool {
        matches!(self, Self::Tcp | Self::Udp | Self::Sctp)
    }

    /// Its name in a service.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
            Self::Icmp => "icmp",
            Self::Icmpv6 => "icmpv6",
            Self::Proto => "proto",
        }
    }
}

/// Numbers of one protocol, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ports {
    /// Which table.
    pub protocol: Protocol,
    /// First number.
    pub first: u16,
    /// Last number.
    pub last: u16,
    /// Source ports; all of them where the protocol has none.
    pub source: Sources16,
}

/// Source ports, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sources16 {
    /// First port.
    pub first: u16,
    /// Last port.
    pub last: u16,
}

impl Sources16 {
    /// Every source port.
    pub const ALL: Self = Self { first: 0, last: u16::MAX };
}

impl Ports {
    /// Every number of a protocol.
    pub const fn all(protocol: Protocol) -> Self {
        Self::range(protocol, 0, u16::MAX)
    }

    /// Numbers of a protocol, from any source port.
    pub const fn range(protocol: Protocol, first: u16, last: u16) -> Self {
        Self { protocol, first, last, source: Sources16::ALL }
    }

    /// The numbers that two have in common, from any source port.
    pub fn overlap(&self, other: &Self) -> Option<Self> {
        let (first, last) = (self.first.max(other.first), self.last.min(other.last));
        let both = self.protocol == other.protocol && first <= last;
        both.then(|| Self::range(self.protocol, first, last))
    }
}

/// What one new connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Purpose {
    /// Which table of numbers.
    pub protocol: Protocol,
    /// Destination port, ICMP type << 8 | code, or protocol number.
    pub number: u16,
    /// Source port; 0 where the protocol has none.
    pub source: u16,
}

impl Purpose {
    /// A source port as clients have it (RFC 6335, section 6), or none.
    const EPHEMERAL: u16 = 49_152;

    /// From a source port as clients have it.
    pub const fn new(protocol: Protocol, number: u16) -> Self {
        let source = if protocol.has_ports() { Self::EPHEMERAL } else { 0 };
        Self { protocol, number, source }
    }
}

impl From<(Protocol, u16)> for Purpose {
    fn from((protocol, number): (Protocol, u16)) -> Self {
        Self::new(protocol, number)
    }
}

impl std::fmt::Display for Ports {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = self.protocol.name();
        let (first, last) = (self.first, self.last);
        match self.protocol {
            _ if first == 0 && last == u16::MAX => f.write_str(name),
            Protocol::Icmp | Protocol::Icmpv6 if first & 0xff == 0 && last == first | 0xff => {
                write!(f, "{name}/{}", first >> 8)
            }
            Protocol::Icmp | Protocol::Icmpv6 => {
                write!(f, "{name}/{}/{}", first >> 8, first & 0xff)
            }
            _ if first == last => write!(f, "{name}/{first}"),
            _ => write!(f, "{name}/{first}-{last}"),
        }?;
        match self.source {
            Sources16::ALL => Ok(()),
            Sources16 { first, last } if first == last => write!(f, " from {first}"),
            Sources16 { first, last } => write!(f, " from {first}-{last}"),
        }
    }
}

/// A named list of numbers, where it is defined or used.
#[derive(Clone, Debug)]
pub struct Service {
    /// As it is written: a name or `tcp/80`.
    pub name: String,
    /// Where.
    pub span: Span,
    /// What it covers.
    pub ports: Vec<Ports>,
}

impl Service {
    /// Everything, as `any` says it.
    pub fn any(span: Span) -> Self {
        let ports = Protocol::ALL.into_iter().map(Ports::all).collect();
        Self { name: "any".into(), span, ports }
    }
}
