//! What tables of others do to traffic that the policy allows. They are read as libnftables tells
//! them (what iptables-nft wrote is among them) and walked with examples of that traffic. What is
//! not understood counts as possible: a rule that may match, a verdict that may drop.

mod advice;
mod matching;
mod packet;
mod ruleset;
mod walk;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::IpAddr,
};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use self::ruleset::Ruleset;
use crate::{error::Result, forwarding, program};

/// A connection that the policy allows across the host's stack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crossing {
    /// The network's name.
    pub network: String,
    /// Between whom.
    pub way: Way,
    /// A member of the network.
    pub member: IpAddr,
    /// The other side outside, if it is not just anybody.
    pub peer: Option<IpNet>,
    /// The host's address in the network, of the member's family.
    pub gateway: Option<IpAddr>,
    /// IP protocol number.
    pub protocol: u8,
    /// Destination port, or ICMP type.
    pub number: u16,
}

/// Who opens a connection to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// A member to the outside.
    Out,
    /// The outside to a member.
    In,
    /// A member to the host.
    ToHost,
    /// The host to a member.
    FromHost,
}

/// A rule of somebody else that stands in the way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Family and name of its table.
    pub table: String,
    /// Its chain.
    pub chain: String,
    /// Its handle; `None`: it is the chain's policy.
    pub handle: Option<u64>,
    /// Does it drop this for certain, as far as it can be known?
    pub certain: bool,
    /// What: connections that the policy allows, in words.
    pub traffic: Vec<String>,
    /// What to do about it.
    pub advice: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "table {}, chain {}: ", self.table, self.chain)?;
        match self.handle {
            Some(handle) => write!(f, "the rule with handle {handle} ")?,
            None => f.write_str("its policy ")?,
        }
        f.write_str(if self.certain { "drops " } else { "may drop " })?;
        write!(f, "what the policy allows: {}", self.traffic.join("; "))
    }
}

/// Looks at the host's tables; the one called `own` is ours.
///
/// # Errors
/// They cannot be read.
pub fn look(own: &str, crossings: &[Crossing]) -> Result<Vec<Finding>> {
    if crossings.is_empty() {
        return Ok(Vec::new());
    }
    let ruleset = Ruleset::read(&program::ruleset()?, own);
    if ruleset.is_empty() {
        return Ok(Vec::new());
    }
    let mut uplinks = forwarding::default_routes_v4()?;
    uplinks.extend(forwarding::default_routes_v6()?);
    Ok(findings(&ruleset, crossings, &uplinks))
}

/// What each rule that stands in the way does to which traffic.
type Blamed<'r> = BTreeMap<(walk::Culprit<'r>, bool), BTreeMap<(String, Way), BTreeSet<String>>>;

fn findings(ruleset: &Ruleset, crossings: &[Crossing], uplinks: &BTreeSet<String>) -> Vec<Finding> {
    let mut blamed = Blamed::new();
    for crossing in crossings {
        for packet in packet::of(crossing, uplinks) {
            for (culprit, certain) in walk::walk(ruleset, &packet) {
                let ways = blamed.entry((culprit, certain)).or_default();
                let key = (crossing.network.clone(), crossing.way);
                ways.entry(key).or_default().insert(what(crossing));
            }
        }
    }
    // What surely drops comes first, and is not told as possible once more.
    let sure: BTreeSet<_> = blamed
        .iter()
        .filter(|((_, certain), _)| *certain)
        .flat_map(|((culprit, _), ways)| ways.keys().map(move |way| (*culprit, way.clone())))
        .collect();
    for ((culprit, _), ways) in blamed.iter_mut().filter(|((_, certain), _)| !certain) {
        ways.retain(|way, _| !sure.contains(&(*culprit, way.clone())));
    }
    let mut all: Vec<_> = blamed.into_iter().filter(|(_, ways)| !ways.is_empty()).collect();
    all.sort_by_key(|((_, certain), _)| !certain);
    let finding = |((culprit, certain), ways): ((walk::Culprit<'_>, bool), BTreeMap<_, _>)| {
        let legs: Vec<(String, Way)> = ways.keys().cloned().collect();
        Finding {
            table: format!("{} {}", culprit.chain.family, culprit.chain.table),
            chain: culprit.chain.name.clone(),
            handle: culprit.handle,
            certain,
            traffic: ways.iter().map(|((n, way), what)| traffic(n, *way, what)).collect(),
            advice: advice::advice(ruleset, &culprit, &legs),
        }
    };
    all.into_iter().map(finding).collect()
}

/// `tcp/443`, and the other side where it is somebody in particular.
fn what(crossing: &Crossing) -> String {
    let name = match crossing.protocol {
        1 => "icmp",
        6 => "tcp",
        17 => "udp",
        58 => "icmpv6",
        132 => "sctp",
        other => return format!("proto/{other}"),
    };
    let peer = crossing.peer.map_or_else(String::new, |peer| format!(" with {peer}"));
    let family = if crossing.member.is_ipv6() && crossing.protocol != 58 { " (IPv6)" } else { "" };
    format!("{name}/{}{peer}{family}", crossing.number)
}

/// Services that are named of one way: more are counted.
const NAMED: usize = 4;

fn traffic(network: &str, way: Way, what: &BTreeSet<String>) -> String {
    let named: Vec<&str> = what.iter().map(String::as_str).take(NAMED).collect();
    let more = match what.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let ends = match way {
        Way::Out => format!("{network} to the outside"),
        Way::In => format!("the outside to {network}"),
        Way::ToHost => format!("{network} to the host"),
        Way::FromHost => format!("the host to {network}"),
    };
    format!("{ends}, {}{more}", named.join(", "))
}
