//! Events of logged rules.

use std::net::IpAddr;

use portcullis_switch as switch;
use serde::{Deserialize, Serialize};

/// Which events are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventQuery {
    /// Only those behind this number.
    pub after: u64,
    /// Only those of this rule.
    pub rule: Option<String>,
    /// Only what observing rules would have done.
    pub observed: bool,
}

/// Events of logged rules.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Events {
    /// The oldest first.
    pub events: Vec<Event>,
    /// Where the next question goes on.
    pub last: u64,
    /// Events behind the asked number that are not remembered any more.
    pub missed: u64,
    /// Events above the rate of their rule, since the daemon started.
    pub suppressed: u64,
    /// Events that there was no room for, since the daemon started.
    pub lost: u64,
}

/// What became of a new connection, or would have become of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
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

impl From<switch::Seen> for Seen {
    fn from(seen: switch::Seen) -> Self {
        match seen {
            switch::Seen::Allowed => Self::Allowed,
            switch::Seen::Denied => Self::Denied,
            switch::Seen::WouldAllow => Self::WouldAllow,
            switch::Seen::WouldDeny => Self::WouldDeny,
        }
    }
}

/// A new connection of a logged rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Its number since the daemon started.
    pub number: u64,
    /// When, milliseconds since 1970.
    pub unix_ms: u64,
    /// The generation that judged.
    pub generation: u32,
    /// What became of it.
    pub seen: Seen,
    /// The word of the reason for which it was dropped.
    pub reason: Option<String>,
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

impl Event {
    /// Is it about what an observing rule would have done?
    pub fn is_observed(&self) -> bool {
        matches!(self.seen, Seen::WouldAllow | Seen::WouldDeny)
    }
}

impl From<switch::Event> for Event {
    fn from(e: switch::Event) -> Self {
        Self {
            number: 0,
            unix_ms: e.unix_ms,
            generation: e.generation,
            seen: e.seen.into(),
            reason: e.reason.map(str::to_owned),
            rule: e.rule,
            file: e.file,
            line: e.line,
            src: e.src,
            dst: e.dst,
            protocol: e.protocol,
            sport: e.sport,
            dport: e.dport,
            icmp: e.icmp,
            from_guest: e.from_guest,
            to_guest: e.to_guest,
            from_port: e.from_port,
            to_port: e.to_port,
            network: e.network,
            bytes: e.bytes,
            suppressed: e.suppressed,
        }
    }
}

/// How many events of logged rules there were since the daemon started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventCounts {
    /// Those that were told.
    pub told: u64,
    /// Those above the rate of their rule.
    pub suppressed: u64,
    /// Those that there was no room for.
    pub lost: u64,
}

impl From<switch::EventCounts> for EventCounts {
    fn from(c: switch::EventCounts) -> Self {
        Self { told: c.told, suppressed: c.suppressed, lost: c.lost }
    }
}
