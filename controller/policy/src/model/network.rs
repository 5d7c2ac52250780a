//! Networks, and what of them is reachable from outside.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use portcullis_image::Limits;
use portcullis_pipeline::addr::Mac;
use serde::Serialize;

use super::{Ports, Service};
use crate::source::Span;

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
