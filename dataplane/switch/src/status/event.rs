//! What is told about connections.

use std::net::IpAddr;

use serde::Serialize;

/// What became of a new connection, or would have become of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Seen {
    /// It was allowed.
    Allowed,
    /// It was denied.
    Denied,
    /// A rule that only observes would have allowed it.
    WouldAllow,
    /// A rule that only observes would have denied it.
    WouldDeny,
}

/// A new connection that a rule wants to be told about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Event {
    /// When, milliseconds since 1970.
    pub unix_ms: u64,
    /// The generation that judged.
    pub generation: u32,
    /// What became of it.
    pub seen: Seen,
    /// The word of the reason for which it was dropped.
    pub reason: Option<&'static str>,
    /// Name of the rule; `default` where no rule spoke.
    pub rule: String,
    /// Its file.
    pub file: Option<String>,
    /// Its line.
    pub line: Option<u32>,
    /// Source.
    pub src: IpAddr,
    /// Destination.
    pub dst: IpAddr,
    /// IP protocol; of ARP its EtherType, 2054.
    pub protocol: u16,
    /// Source port.
    pub sport: Option<u16>,
    /// Destination port.
    pub dport: Option<u16>,
    /// ICMP type and code.
    pub icmp: Option<[u8; 2]>,
    /// The guest that has the source's address.
    pub from_guest: Option<String>,
    /// The guest that has the destination's address.
    pub to_guest: Option<String>,
    /// The port that the packet came from.
    pub from_port: Option<String>,
    /// The port that it would leave by.
    pub to_port: Option<String>,
    /// The network that it came from.
    pub network: Option<String>,
    /// Bytes of the packet from the IP header on.
    pub bytes: u32,
    /// Events of the same rule that were left out before this one.
    pub suppressed: u32,
}

/// How many events there were since the process took over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct EventCounts {
    /// Those that were told.
    pub told: u64,
    /// Those above the rate of their rule.
    pub suppressed: u64,
    /// Those that there was no room for.
    pub lost: u64,
}
