//! A checked policy: every name resolved, every address somebody's, nothing guessed.
//!
//! It says what the files say. What a network's kind stands for is written out by
//! [`crate::kinds`], not here.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use ipnet::IpNet;
use portcullis_image::{Limits, Trunk};
use portcullis_pipeline::{addr::Mac, layout::service_table};
use serde::Serialize;

use crate::source::{Sources, Span};

/// A whole policy. Indexes between its parts are positions in these vectors.
#[derive(Clone, Debug, Default)]
pub struct Model {
    /// The text that it was read from.
    pub sources: Sources,
    /// Networks; the id of `networks[i]` is `i + 1`.
    pub networks: Vec<Network>,
    /// Denied sets, in the order of the text.
    pub denied: Vec<DeniedSet>,
    /// Guests; behind them shared addresses, see [`Guest::sharing`].
    pub guests: Vec<Guest>,
    /// Addresses declared for the hypervisor, besides the gateways.
    pub host: Vec<HostAddress>,
    /// Services of guests that are reachable at addresses of the host, in the order of the text.
    pub publish: Vec<Publish>,
    /// Labels: those that guests wear, and those that `labels:` declares, worn or not.
    pub labels: Vec<Label>,
    /// Named sets of endpoints.
    pub sets: Vec<Set>,
    /// Selectors where they are used: `all of`, `any of`, `not`.
    pub selectors: Vec<Selector>,
    /// Services that the policy defines itself.
    pub services: Vec<Service>,
    /// Rules, in the order of the text.
    pub rules: Vec<Rule>,
    /// Invariants, in the order of the text.
    pub invariants: Vec<Invariant>,
    /// How connections are logged that no rule speaks about.
    pub log_denied: Option<Log>,
    /// When this was read, seconds of Unix time: rules that have expired by then do not count.
    pub now_unix_s: u64,
}

impl Model {
    /// Where the rules that last for a duration count from, by anchor: what has to be remembered
    /// once this policy is in force, and given back with [`crate::Moment::since_unix_s`]. Rules
    /// that have expired are among them, or applying the same text again would renew them.
    pub fn anchors(&self) -> BTreeMap<String, u64> {
        let ends = self.rules.iter().filter_map(|r| r.until.as_ref());
        let anchors = ends.filter_map(|u| u.anchor.as_ref());
        anchors.map(|a| (a.key.clone(), a.since_unix_s)).collect()
    }

    /// The shared addresses, with their indexes among the guests.
    pub fn shared(&self) -> impl Iterator<Item = (usize, &Guest, &Sharing)> {
        let guests = self.guests.iter().enumerate();
        guests.filter_map(|(i, guest)| Some((i, guest, guest.sharing.as_ref()?)))
    }

    /// The NICs by which guests have a shared address, each with its guest: indexes.
    pub fn sharers(&self, shared: usize) -> impl Iterator<Item = (usize, usize)> + '_ {
        let shared = &self.guests[shared];
        let network = shared.nics.first().map(|nic| nic.network);
        let by = shared.sharing.iter().flat_map(|sharing| &sharing.by);
        by.filter_map(move |&guest| {
            let nics = &self.guests[guest].nics;
            let nic = nics.iter().position(|nic| Some(nic.network) == network)?;
            Some((guest, nic))
        })
    }
}

impl Model {
    /// The denied set that names an address first, and how. It denies the address only if that is
    /// outside.
    pub fn denied_by(&self, addr: IpAddr) -> Option<(&DeniedSet, &DeniedPrefix)> {
        self.denied.iter().find_map(|set| {
            let prefix = set.prefixes().find(|p| p.net.contains(&addr))?;
            Some((set, prefix))
        })
    }
}

/// An isolated broadcast domain.
#[derive(Clone, Debug)]
pub struct Network {
    /// Its name.
    pub name: String,
    /// Where it is named.
    pub span: Span,
    /// VLAN id, 1..4094.
    pub vlan: u16,
    /// Its subnets, not overlapping with any other.
    pub subnets: Vec<IpNet>,
    /// Where the switch routes for it: an address in each of these subnets.
    pub gateway: Vec<(IpAddr, IpNet)>,
    /// MAC of the gateway.
    pub gateway_mac: Mac,
    /// What holds among its members without a rule.
    pub kind: Kind,
    /// Where the kind is written; the network's name where none is.
    pub kind_span: Span,
    /// How it reaches the outside; `None`: as the host routes anyway.
    pub outside: Option<Outside>,
    /// Where that is written; the network's name where nothing is.
    pub outside_span: Span,
    /// Largest L3 packet, bytes.
    pub mtu: u32,
    /// What the port of a guest may take that says nothing about it itself.
    pub limits: Limits,
    /// What its uplink may take.
    pub uplink_limits: Limits,
    /// What the host's leg may take.
    pub host_limits: Limits,
    /// What the switch tells its guests.
    pub offer: Offer,
    /// EtherTypes that its guests may use among themselves besides ARP and IP.
    pub ethertypes: Vec<u16>,
}

/// What the switch tells the guests of a network by DHCP, DHCPv6 and router advertisements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Are they told their addresses?
    pub dhcp: bool,
    /// Name servers.
    pub dns: Vec<IpAddr>,
    /// Domain.
    pub domain: Option<String>,
    /// How long they may use an address before they ask again, seconds.
    pub lease_s: u32,
}

/// Shorthand for ordinary rules and invariants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Nothing of its own: default deny, and what the rules say.
    #[default]
    Plain,
    /// Members may reach each other.
    Lan,
    /// Members reach no one on this box (each other, the host, other networks) unless a rule
    /// names both sides.
    Dmz,
    /// Nobody reaches a member and a member reaches nobody unless a rule names both sides.
    Isolated,
    /// Who is not declared in it belongs to the world.
    External,
}

impl Kind {
    /// The kinds that a policy can name.
    pub const NAMES: &'static [&'static str] = &["lan", "dmz", "isolated", "external"];

    /// The kind of this name.
    pub fn of(name: &str) -> Option<Self> {
        Some(match name {
            "lan" => Self::Lan,
            "dmz" => Self::Dmz,
            "isolated" => Self::Isolated,
            "external" => Self::External,
            _ => return None,
        })
    }

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Lan => "lan",
            Self::Dmz => "dmz",
            Self::Isolated => "isolated",
            Self::External => "external",
        }
    }
}

/// How a network reaches what is outside of all networks: by the host's stack, behind the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outside {
    /// Under its own addresses; the host is made to forward.
    Routed,
    /// Under the host's address.
    Masquerade,
    /// Not at all, whatever the rules say.
    None,
}

impl Outside {
    /// All of them with their words.
    pub const WORDS: &'static [(&'static str, Self)] =
        &[("routed", Self::Routed), ("masquerade", Self::Masquerade), ("none", Self::None)];
}

/// A guest's service, reachable at an address of the host (IPv4).
#[derive(Clone, Debug)]
pub struct Publish {
    /// Its name; `publish-LINE` where it has none.
    pub name: String,
    /// Where it begins.
    pub span: Span,
    /// At which of the host's addresses; `None`: at all of them.
    pub at: Option<Ipv4Addr>,
    /// For what: any of these.
    pub services: Vec<Service>,
    /// Index of the guest.
    pub guest: usize,
    /// The guest's address.
    pub addr: Ipv4Addr,
    /// The guest's port; `None`: the one that was asked for.
    pub port: Option<u16>,
}

impl Publish {
    /// The ports of the host.
    pub fn ports(&self) -> impl Iterator<Item = &Ports> {
        self.services.iter().flat_map(|s| &s.ports)
    }

    /// What they become: the ports as the guest and the rules see them.
    pub fn inside(&self) -> impl Iterator<Item = Ports> {
        let port = self.port;
        self.ports().map(move |p| match port {
            Some(port) => Ports::range(p.protocol, port, port),
            None => *p,
        })
    }

    /// `192.0.2.1`, or `host`.
    pub fn place(&self) -> String {
        self.at.map_or_else(|| "host".to_owned(), |at| at.to_string())
    }
}

/// A machine that the policy knows.
#[derive(Clone, Debug)]
pub struct Guest {
    /// Its name.
    pub name: String,
    /// Where it is named.
    pub span: Span,
    /// Its labels.
    pub labels: Vec<String>,
    /// Its NICs, at least one, at most one on each network.
    pub nics: Vec<Nic>,
    /// Might it pass on what reaches it on one NIC through another? Only a guest with several
    /// NICs can; it counts as doing so unless `forwards: false` says otherwise.
    pub forwards: bool,
    /// Who may have its addresses, where it is no machine but a shared address: then it has one NIC.
    pub sharing: Option<Sharing>,
}

/// Guests that may have the same addresses, one of them at a time. To rules these are an endpoint
/// of their own; proofs count what they may as what each of the guests may.
#[derive(Clone, Debug)]
pub struct Sharing {
    /// Indexes of the guests, ascending; each has a NIC on the network.
    pub by: Vec<usize>,
    /// Number of their virtual router (VRRP, RFC 9568), which its MAC follows from.
    pub router: Option<u8>,
}

/// A guest's NIC.
#[derive(Clone, Debug)]
pub struct Nic {
    /// Index of its network.
    pub network: usize,
    /// Its MAC.
    pub mac: Mac,
    /// Its addresses, at least one. Its link-local address follows from the MAC and counts as
    /// the first of these wherever a rule names addresses.
    pub addrs: Vec<IpAddr>,
    /// What its port may take.
    pub limits: Limits,
    /// The interface that it shares with others of its guest.
    pub trunk: Option<Trunk>,
}

/// An address of the hypervisor.
#[derive(Clone, Copy, Debug)]
pub struct HostAddress {
    /// The address.
    pub addr: IpAddr,
    /// Where it is written.
    pub span: Span,
}

/// A label and who carries it.
#[derive(Clone, Debug)]
pub struct Label {
    /// Its name.
    pub name: String,
    /// Where it is declared, else where it is first worn.
    pub span: Span,
    /// Does `labels:` declare it? Only then may nobody wear it.
    pub declared: bool,
    /// Indexes of its guests, ascending.
    pub guests: Vec<usize>,
}

/// A named set: everything in `members` that is not in `except`.
#[derive(Clone, Debug)]
pub struct Set {
    /// Its name.
    pub name: String,
    /// Where it is named.
    pub span: Span,
    /// What is in it.
    pub members: Vec<Term>,
    /// What is taken out again.
    pub except: Vec<Term>,
}

/// A denied set: whoever is outside (in `world`) and has one of its addresses is heard by nobody
/// and reached by nobody, before any rule.
#[derive(Clone, Debug)]
pub struct DeniedSet {
    /// Its name.
    pub name: String,
    /// Where it is named.
    pub span: Span,
    /// What the policy itself says.
    pub inline: Vec<DeniedPrefix>,
    /// What its files say. Shared: it may be large.
    pub listed: Arc<Vec<DeniedPrefix>>,
}

impl DeniedSet {
    /// All prefixes.
    pub fn prefixes(&self) -> impl Iterator<Item = &DeniedPrefix> {
        self.inline.iter().chain(self.listed.iter())
    }
}

/// A prefix of a denied set (one address is a prefix of full length).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeniedPrefix {
    /// The prefix.
    pub net: IpNet,
    /// Where it is written.
    pub span: Span,
}

/// A selector: what its terms have in common, all that they have, or what they have not.
#[derive(Clone, Debug)]
pub struct Selector {
    /// Where it stands.
    pub span: Span,
    /// How the terms go together.
    pub combine: Combine,
    /// What it is made of, at least one.
    pub terms: Vec<Term>,
}

/// How the terms of a selector go together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Combine {
    /// `all of`: who is in every term.
    All,
    /// `any of`: who is in some term.
    Any,
    /// `not`: who is in no term.
    Not,
}

/// An endpoint where it is used.
#[derive(Clone, Copy, Debug)]
pub struct Term {
    /// Which.
    pub endpoint: Endpoint,
    /// Where it is written.
    pub span: Span,
}

/// Who a rule can speak about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Endpoint {
    /// Every address.
    Any,
    /// The hypervisor: gateways, declared addresses, and every address it turns out to own.
    Host,
    /// Outside all subnets, and undeclared addresses of external networks.
    World,
    /// One guest.
    Guest(usize),
    /// The guests of one label.
    Label(usize),
    /// The members of one network: its guests' addresses there and undeclared addresses of its
    /// subnets. Its gateway belongs to the host.
    Network(usize),
    /// A set.
    Set(usize),
    /// A selector.
    Selector(usize),
    /// Every address of a prefix, whoever has it (one address is a prefix of full length).
    Prefix(IpNet),
}

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

/// Who decides first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    /// Above: its deny cannot be undone below.
    Platform,
    /// Below.
    Tenant,
}

impl Tier {
    /// Its word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Platform => "platform",
            Self::Tenant => "tenant",
        }
    }
}

/// What a rule says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// The connection may be.
    Allow,
    /// It may not.
    Deny,
    /// The tier below decides.
    Pass,
}

impl Action {
    /// Its word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::Pass => "pass",
        }
    }
}

/// A rule about connections.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Its name; `rule-LINE` where it has none.
    pub name: String,
    /// Where it begins.
    pub span: Span,
    /// Its tier.
    pub tier: Tier,
    /// What it says.
    pub action: Action,
    /// Who opens the connection: any of these.
    pub from: Vec<Term>,
    /// To whom: any of these.
    pub to: Vec<Term>,
    /// For what: any of these.
    pub services: Vec<Service>,
    /// Who answers for it.
    pub owner: Option<String>,
    /// Why it is there.
    pub ticket: Option<String>,
    /// When it ends.
    pub until: Option<Until>,
    /// Does it only count and log what it would do?
    pub observe: bool,
    /// Are its connections logged?
    pub log: Option<Log>,
}

impl Rule {
    /// Has it ended?
    pub fn is_expired(&self, now_unix_s: u64) -> bool {
        self.until.as_ref().is_some_and(|u| u.at_unix_s <= now_unix_s)
    }
}

/// The end of a rule: a moment, or a duration since the rule was first in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Until {
    /// When, seconds of Unix time; from then on the rule does not count.
    pub at_unix_s: u64,
    /// Where it is written.
    pub span: Span,
    /// Of a duration: where it counts from.
    pub anchor: Option<Anchor>,
}

/// Where a duration counts from: the moment in which the rule was first in force on this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Anchor {
    /// The rule's name and a stable hash of what it says: what the moment is kept under, see
    /// [`crate::Moment`]. A rule that says something else begins anew.
    pub key: String,
    /// The moment, seconds of Unix time.
    pub since_unix_s: u64,
}

/// How a rule's connections are logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Log {
    /// Most events a second on each CPU; more are counted, not logged.
    pub events_per_s: u32,
}

/// What an invariant demands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Demand {
    /// No such connection is allowed.
    Never,
    /// No such connection is allowed by a rule that does not name both sides.
    NeverUnnamed,
    /// Every such connection is allowed.
    Always,
}

impl Demand {
    /// Its word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Never => "never",
            Self::NeverUnnamed => "never unless named",
            Self::Always => "always",
        }
    }
}

/// What must hold whatever the rules say.
#[derive(Clone, Debug)]
pub struct Invariant {
    /// Its name.
    pub name: String,
    /// Where it begins.
    pub span: Span,
    /// What it demands.
    pub demand: Demand,
    /// Who opens the connection.
    pub from: Vec<Term>,
    /// To whom.
    pub to: Vec<Term>,
    /// For what.
    pub services: Vec<Service>,
    /// Who answers for it.
    pub owner: Option<String>,
    /// Why it is there.
    pub ticket: Option<String>,
}
