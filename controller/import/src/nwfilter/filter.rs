//! libvirt's filters and domains, as they are written, and what comes of them for one NIC.

use std::net::IpAddr;

use crate::program::Place;

/// A `<filter>`.
#[derive(Clone, Debug)]
pub struct Filter {
    /// Its name.
    pub name: String,
    /// Its chain: `root`, or one for a protocol.
    pub chain: String,
    /// When the chain is asked.
    pub priority: i32,
    /// Rules and references, in order.
    pub items: Vec<Item>,
}

/// What is in a filter.
#[derive(Clone, Debug)]
pub enum Item {
    /// `<rule>`.
    Rule(Rule),
    /// `<filterref>`.
    Ref(Reference),
}

/// `<filterref>`.
#[derive(Clone, Debug)]
pub struct Reference {
    /// Where.
    pub place: Place,
    /// As it is written.
    pub text: String,
    /// Which filter.
    pub filter: String,
    /// Its parameters.
    pub variables: Vec<(String, String)>,
}

/// What a rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Let pass.
    Accept,
    /// Do not.
    Drop,
    /// Do not, and answer.
    Reject,
    /// Back to the root chain.
    Return,
    /// Nothing.
    Continue,
}

/// Which way the first packet goes, as the guest sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// To the guest.
    In,
    /// From the guest.
    Out,
    /// Both; the attributes are written for packets to the guest.
    InOut,
}

/// `<rule>`.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Where.
    pub place: Place,
    /// As it is written.
    pub text: String,
    /// What it does.
    pub action: Action,
    /// Which way.
    pub direction: Direction,
    /// When it is asked.
    pub priority: i32,
    /// The element inside; empty: none, any packet.
    pub protocol: String,
    /// Its attributes.
    pub attributes: Vec<Attribute>,
}

/// An attribute of a protocol element.
#[derive(Clone, Debug)]
pub struct Attribute {
    /// Where.
    pub place: Place,
    /// Its name.
    pub name: String,
    /// Its value, perhaps a variable.
    pub value: String,
    /// Is it meant the other way round (`match='no'`)?
    pub not: bool,
}

/// An interface of a `<domain>`.
#[derive(Clone, Debug)]
pub struct Interface {
    /// Where.
    pub place: Place,
    /// As it is written.
    pub text: String,
    /// The domain's name.
    pub domain: String,
    /// The network, bridge or NIC; none where somebody else plugs it in.
    pub network: Option<String>,
    /// The port group of the network.
    pub portgroup: Option<String>,
    /// Its VLAN tags.
    pub tags: Vec<u16>,
    /// Its MAC.
    pub mac: Option<String>,
    /// Its filter.
    pub filter: Option<Reference>,
}

/// One NIC with its rules, in order.
#[derive(Clone, Debug, Default)]
pub struct Instance {
    /// Index of the guest at the site.
    pub guest: usize,
    /// Index of its NIC.
    pub nic: usize,
    /// Is there a filter?
    pub filtered: bool,
    /// Where that is said.
    pub place: Option<Place>,
    /// How it is written.
    pub text: String,
    /// Rules about frames, by chain; the root chain first.
    pub frames: Vec<Chain>,
    /// Rules about connections.
    pub packets: Vec<Ready>,
}

/// A chain of rules about frames.
#[derive(Clone, Debug)]
pub struct Chain {
    /// Its name.
    pub name: String,
    /// When the root chain asks it.
    pub priority: i32,
    /// Which packets it sees: IPv4, IPv6, or both.
    pub family: Option<bool>,
    /// Its rules, in order.
    pub rules: Vec<Ready>,
}

/// A rule with its variables filled in.
#[derive(Clone, Debug)]
pub struct Ready {
    /// Where.
    pub place: Place,
    /// As it is written.
    pub text: String,
    /// Name of the filter.
    pub filter: String,
    /// What it does.
    pub action: Action,
    /// Which way.
    pub direction: Direction,
    /// When it is asked.
    pub priority: i32,
    /// What must hold.
    pub tests: Vec<Test>,
}

/// Something about a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Test {
    /// Must it not hold?
    pub not: bool,
    /// What.
    pub what: What,
}

/// What can be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// IPv4 (or IPv6)?
    Family(bool),
    /// Source between these.
    Source(IpAddr, IpAddr),
    /// Destination between these.
    Destination(IpAddr, IpAddr),
    /// IP protocol.
    Protocol(u8),
    /// Source ports.
    SourcePorts(u16, u16),
    /// Destination ports.
    DestinationPorts(u16, u16),
    /// ICMP type (from, to) and code (from, to).
    Icmp((u8, u8), (u8, u8)),
    /// Holds for every packet that can come here, or for none.
    Always(bool),
    /// Something that has no equal.
    Unknown(String),
}
