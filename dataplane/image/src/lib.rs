//! One compiled policy, as plain data: what the controller hands to the data plane.
//!
//! An image holds everything that judges a packet and nothing about how it was written down. It
//! is the same on every host that compiles the same policy; where ports are plugged in is not
//! part of it. Class, network and rule numbers mean something inside one image only.

mod denied;

use std::sync::Arc;

use portcullis_pipeline::{
    addr::{Addr, Mac},
    layout::{SERVICE_TABLES, ServiceTable},
};

pub use crate::denied::{Chunks, Denied};

/// A complete compiled policy.
#[derive(Clone)]
pub struct Image {
    /// Networks; the id of `networks[i]` is `i + 1`.
    pub networks: Vec<Network>,
    /// Every NIC of every declared guest.
    pub nics: Vec<Nic>,
    /// Addresses that several of these NICs may have, one at a time.
    pub shared: Vec<Shared>,
    /// Class of each declared address: of guests, gateways and the host, shared ones, and the
    /// link-local ones that follow from their MACs. Addresses that only a rule or a set mentions stand among
    /// `prefixes`, 128 bits long. Sorted by (addr, scope), unique.
    pub addresses: Vec<AddressClass>,
    /// Class and network of all other addresses, by longest prefix. Sorted, unique.
    pub prefixes: Vec<PrefixClass>,
    /// Class of an address outside all of these.
    pub world: u32,
    /// Class of the hypervisor itself: addresses of the host that only it knows get this class
    /// when the image is installed.
    pub host: u32,
    /// Addresses of the hypervisor that the policy declares, besides gateways. Their classes are
    /// in `addresses` like all others: a rule about a prefix may tell them from `host`.
    pub host_addresses: Vec<Addr>,
    /// Number of identity classes.
    pub classes: u32,
    /// Number of service classes: of what destination ports and source ports tell apart
    /// together. The class of a connection is `destination class * sources + source class`.
    pub services: u32,
    /// Number of source port classes; 1 where no rule speaks of source ports.
    pub sources: u32,
    /// Service class by number, one table for each of
    /// [`service_table`](portcullis_pipeline::layout::service_table).
    pub service_tables: Vec<ServiceTable>,
    /// Source class by source port, for TCP, UDP and SCTP (the first three of `service_tables`);
    /// empty where `sources` is 1. The other protocols have source class 0.
    pub source_tables: Vec<ServiceTable>,
    /// `rows[src * classes + dst]`: which row of `cells` judges this pair.
    pub rows: Vec<u32>,
    /// `cells[row * services + service]`: a [`portcullis_pipeline::policy::Cell`].
    pub cells: Vec<u32>,
    /// What `cells` would be if the rules that only observe were in force; empty where there are
    /// none. A cell that differs from its twin in `cells` names the observing rule.
    pub shadows: Vec<u32>,
    /// The rules that cells name: rule id `i + 1` is `rules[i]`.
    pub rules: Vec<Rule>,
    /// Most events a second on each CPU that connections are logged with that no rule speaks
    /// about; 0: not logged.
    pub log_denied_per_s: u32,
    /// What is outside and denied before any rule. Shared: it may be large, and seldom changes.
    pub denied: Arc<Denied>,
}

/// A network as the data plane needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// Name in the policy.
    pub name: String,
    /// VLAN id, 1..4094.
    pub vlan: u16,
    /// Subnets: address and prefix length (of the mapped form: an IPv4 /24 is 120).
    pub subnets: Vec<(Addr, u8)>,
    /// The gateway's addresses with the prefix length of their subnet (native: an IPv4 /24 is
    /// 24); empty where the switch does not route for this network.
    pub gateway: Vec<(Addr, u8)>,
    /// MAC of the gateway, derived from the network's name.
    pub gateway_mac: Mac,
    /// Does everything undeclared in its subnets belong to the outside?
    pub external: bool,
    /// Largest L3 packet, bytes.
    pub mtu: u32,
    /// What the switch tells its guests.
    pub offer: Offer,
    /// EtherTypes that its guests may use among themselves besides ARP and IP, at most
    /// [`ETHERTYPES`](portcullis_pipeline::layout::ETHERTYPES).
    pub ethertypes: Vec<u16>,
    /// What its uplink may take; one of several networks may take the most that one of them says.
    pub uplink_limits: Limits,
    /// What the host's leg may take.
    pub host_limits: Limits,
}

/// Most name servers of a network, of each family.
pub const DNS_MAX: usize = 3;
/// Longest domain of a network, bytes.
pub const DOMAIN_MAX: usize = 120;

/// What the switch tells the guests of a network besides what the network is: by DHCP, DHCPv6 and
/// router advertisements.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Offer {
    /// Are they told their addresses by DHCP and DHCPv6?
    pub dhcp: bool,
    /// Name servers, at most [`DNS_MAX`] of each family.
    pub dns: Vec<Addr>,
    /// Domain, at most [`DOMAIN_MAX`] bytes; empty for none.
    pub domain: String,
    /// How long they may use an address before they ask again, seconds.
    pub lease_s: u32,
}

/// A NIC of a guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nic {
    /// The guest's name.
    pub guest: String,
    /// Id of its network.
    pub network: u32,
    /// Its MAC.
    pub mac: Mac,
    /// Its addresses, without the link-local one that follows from the MAC.
    pub addrs: Vec<Addr>,
    /// What its port may take.
    pub limits: Limits,
    /// The trunk that carries it; `None`: it has an interface to itself.
    pub trunk: Option<Trunk>,
}

/// Where a NIC is that shares its interface with others of its guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trunk {
    /// Which of its guest's trunks, from 0.
    pub number: u32,
    /// Do its frames carry the tag of its network? Of each trunk at most one NIC's do not.
    pub tagged: bool,
}

/// Addresses that several guests may have: of each, one of them is the holder at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shared {
    /// Name in the policy.
    pub name: String,
    /// Id of their network.
    pub network: u32,
    /// The MAC that stands for them whoever holds them: of a virtual router (RFC 9568, section
    /// 7.3) or made up.
    pub mac: Mac,
    /// The addresses, without the link-local one that follows from the MAC.
    pub addrs: Vec<Addr>,
    /// Who may have them: indexes into [`Image::nics`], all of that network, ascending.
    pub by: Vec<usize>,
}

/// What a port may take; `None`: as much as it likes. `in` is what the guest, or whoever is behind
/// the port, receives, `out` what it sends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Connections that it has opened, at a time.
    pub flows: Option<u32>,
    /// Of them, TCP connections that are not established.
    pub half_open: Option<u32>,
    /// Packets that want to open a connection, in a second.
    pub new_per_s: Option<u32>,
    /// Broadcasts and multicasts that it sends, in a second.
    pub broadcast_per_s: Option<u32>,
    /// ARP and neighbour discovery that it sends, in a second.
    pub neighbours_per_s: Option<u32>,
    /// Bits that it receives, in a second.
    pub in_bit_per_s: Option<u64>,
    /// Bits that it sends, in a second.
    pub out_bit_per_s: Option<u64>,
}

impl Limits {
    /// Nothing at all.
    pub const LEAST: Self = Self {
        flows: Some(0),
        half_open: Some(0),
        new_per_s: Some(0),
        broadcast_per_s: Some(0),
        neighbours_per_s: Some(0),
        in_bit_per_s: Some(0),
        out_bit_per_s: Some(0),
    };

    /// Of each, the most that one of the two says.
    pub fn most(self, other: Self) -> Self {
        fn most<T: Ord>(one: Option<T>, other: Option<T>) -> Option<T> {
            one.zip(other).map(|(one, other)| one.max(other))
        }
        Self {
            flows: most(self.flows, other.flows),
            half_open: most(self.half_open, other.half_open),
            new_per_s: most(self.new_per_s, other.new_per_s),
            broadcast_per_s: most(self.broadcast_per_s, other.broadcast_per_s),
            neighbours_per_s: most(self.neighbours_per_s, other.neighbours_per_s),
            in_bit_per_s: most(self.in_bit_per_s, other.in_bit_per_s),
            out_bit_per_s: most(self.out_bit_per_s, other.out_bit_per_s),
        }
    }
}

/// Class of one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AddressClass {
    /// The address.
    pub addr: Addr,
    /// 0, or the network id for `fe80::/10`.
    pub scope: u32,
    /// Its class.
    pub class: u32,
}

/// Class of all addresses of a prefix that no longer prefix and no address covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PrefixClass {
    /// First address.
    pub addr: Addr,
    /// Prefix length of the mapped form, 0..=128.
    pub len: u8,
    /// Its class.
    pub class: u32,
    /// The network whose subnet contains it, 0 outside all of them.
    pub network: u32,
}

/// Where a rule stands and what it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Its name; rules without one get `rule-LINE`.
    pub name: String,
    /// File as it was named by the user.
    pub file: String,
    /// Line, from 1.
    pub line: u32,
    /// Column, from 1.
    pub column: u32,
    /// Does it allow (or deny)?
    pub allow: bool,
    /// Does it only count and log what it would do? Then only `shadows` name it.
    pub observe: bool,
    /// Most events a second on each CPU that its connections are logged with; 0: not logged.
    pub log_per_s: u32,
    /// When it ends, seconds of Unix time; 0: never. An allow rule lets nothing more through
    /// from then on, whoever else is still alive.
    pub until_unix_s: u64,
}

impl Image {
    /// An image that allows nothing and knows nobody: what a switch carries before its first
    /// policy.
    pub fn closed() -> Self {
        Self {
            networks: Vec::new(),
            nics: Vec::new(),
            shared: Vec::new(),
            addresses: Vec::new(),
            prefixes: Vec::new(),
            world: 0,
            host: 0,
            host_addresses: Vec::new(),
            classes: 1,
            services: 1,
            sources: 1,
            service_tables: (0..SERVICE_TABLES)
                .map(|_| ServiceTable { class: [0; 65_536] })
                .collect(),
            source_tables: Vec::new(),
            rows: vec![0],
            cells: vec![0],
            shadows: Vec::new(),
            rules: Vec::new(),
            log_denied_per_s: 0,
            denied: Arc::default(),
        }
    }

    /// Are there connections that are logged?
    pub fn logs(&self) -> bool {
        self.log_denied_per_s > 0 || self.rules.iter().any(|rule| rule.log_per_s > 0)
    }

    /// The network with this id.
    pub fn network(&self, id: u32) -> Option<&Network> {
        self.networks.get((id as usize).checked_sub(1)?)
    }

    /// All NICs (indexes) that the interface of one of them carries.
    pub fn together(&self, nic: usize) -> impl Iterator<Item = usize> + Clone + '_ {
        let one = &self.nics[nic];
        let number = |nic: &Nic| nic.trunk.map(|trunk| trunk.number);
        let with = move |(index, other): &(usize, &Nic)| {
            let trunk = other.trunk.is_some() && number(other) == number(one);
            *index == nic || (trunk && other.guest == one.guest)
        };
        self.nics.iter().enumerate().filter(with).map(|(index, _)| index)
    }

    /// The NICs of a guest, one (index) for each interface.
    pub fn interfaces(&self, guest: &str) -> Vec<usize> {
        let of_guest = (0..self.nics.len()).filter(|nic| self.nics[*nic].guest == guest);
        of_guest.filter(|nic| self.together(*nic).next() == Some(*nic)).collect()
    }

    /// The id of the network with this name.
    pub fn network_id(&self, name: &str) -> Option<u32> {
        self.networks.iter().position(|n| n.name == name).map(|i| i as u32 + 1)
    }

    /// The rule that a cell names.
    pub fn rule(&self, id: u32) -> Option<&Rule> {
        self.rules.get((id as usize).checked_sub(1)?)
    }
}
