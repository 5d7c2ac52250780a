//! One random network: guests, the host's legs and an uplink on real interfaces, under policies
//! that share them.

use std::net::IpAddr;

use anyhow::{Result, anyhow};
use portcullis_engine::Slot;
use portcullis_image::{Image, Limits, Shared};
use portcullis_pipeline::{
    addr::{Addr, Mac},
    layout::{GenerationEntry, PORTS, RuleEntry, generation_flag},
    subport,
};
use portcullis_policy::{
    Compiled, Sources, compile_unproved_at,
    generate::{Random, Size, moment, policy},
    model::Model,
};
use portcullis_switch::{
    Leg, Place, Subport,
    slot::{self, OpenPort, Tables, build, first_end, shape},
};

use crate::clock;

/// What a port is to the generator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A guest's NIC.
    Guest,
    /// The host's leg.
    Host,
    /// The uplink.
    Uplink,
}

/// A port and who sits there.
#[derive(Clone, Debug)]
pub struct Port {
    /// Interface index; that of the trunk, which several ports share.
    pub ifindex: u32,
    /// Its own number: the interface index, or that of a subport.
    pub number: u32,
    /// VLAN id of the frames of a subport; 0 for none.
    pub vlan: u16,
    /// What it is.
    pub kind: Kind,
    /// Id of its network; for the uplink of the untagged one.
    pub network: u32,
    /// Its MAC.
    pub mac: Mac,
    /// Its addresses.
    pub addrs: Vec<IpAddr>,
}

/// Networks and guests, and policies that differ in their rules only.
pub struct World {
    /// What the policies say.
    pub policies: Vec<Policy>,
    /// Every port.
    pub ports: Vec<Port>,
    /// Every shared address.
    pub shared: Vec<SharedAddress>,
    /// May VLAN tags be hidden from the uplink's gate?
    pub hides_tags: bool,
}

/// An address that several ports may have.
#[derive(Clone, Debug)]
pub struct SharedAddress {
    /// The address.
    pub addr: IpAddr,
    /// Its MAC.
    pub mac: Mac,
    /// Its network.
    pub network: u32,
    /// Indexes of the ports.
    pub ports: Vec<usize>,
}

/// One policy over the world.
pub struct Policy {
    /// As read.
    pub model: Model,
    /// As compiled.
    pub image: Image,
    /// Its tables, ports included.
    pub tables: Tables,
    /// What holds about its rules, the default first.
    pub rules: Vec<RuleEntry>,
}

/// Ports that a world needs at most.
pub const PORTS_MAX: usize = 32;
/// Every so many worlds one whose guests, uplinks and legs run into their limits.
const LIMITED: u64 = 3;
/// And one whose uplink hides tags from its gate.
const HIDING: u64 = 4;
/// At 80 packets in a second of the run's clock.
const TIGHT: Limits = Limits {
    flows: Some(40),
    half_open: Some(12),
    new_per_s: Some(3),
    broadcast_per_s: Some(1),
    neighbours_per_s: Some(1),
    in_bit_per_s: Some(2000),
    out_bit_per_s: Some(4000),
};
const HOST_ADDRS: [&str; 2] = ["192.0.2.1", "2001:db8::1"];

impl World {
    /// A world on these interfaces, from a seed.
    pub fn new(seed: u64, ifindexes: &[u32]) -> Result<Self> {
        let networks = 2 + (seed % 4) as usize;
        let rule_counts = [3, 12, 40];
        let compiled: Vec<Compiled> = rule_counts
            .iter()
            .map(|rules| {
                let size = Size { networks, guests: 6, rules: *rules };
                let text = policy(seed, size);
                let moment = moment(seed, &text);
                let sources = Sources::new([("random.yaml", text)]);
                compile_unproved_at(&sources, &moment).map_err(|e| anyhow!("{e:?}"))
            })
            .collect::<Result<_>>()?;
        Ok(Self::of(compiled, seed, ifindexes))
    }

    /// The world of policies that differ in their rules only.
    pub fn of(mut compiled: Vec<Compiled>, seed: u64, ifindexes: &[u32]) -> Self {
        if seed % LIMITED == 1 {
            for image in compiled.iter_mut().map(|c| &mut c.image) {
                image.nics.iter_mut().for_each(|nic| nic.limits = TIGHT);
                for network in &mut image.networks {
                    (network.uplink_limits, network.host_limits) = (TIGHT, TIGHT);
                }
            }
        }
        let ports = ports(&compiled[0].image, ifindexes);
        let shared = shared(&compiled[0].image);
        let hides_tags = seed % HIDING == 2;
        let mut r = Random::new(seed);
        let policies =
            compiled.into_iter().map(|c| tables(&mut r, c, &ports, hides_tags)).collect();
        Self { policies, ports, shared, hides_tags }
    }

    /// The network with this id, of the first policy.
    pub fn network(&self, id: u32) -> Option<&portcullis_image::Network> {
        self.policies[0].image.network(id)
    }

    /// The guest port that owns an address.
    pub fn guest_of(&self, addr: IpAddr) -> Option<&Port> {
        self.ports.iter().find(|p| p.kind == Kind::Guest && p.addrs.contains(&addr))
    }

    /// Does this interface carry tagged networks of a guest?
    pub fn is_trunk(&self, ifindex: u32) -> bool {
        self.ports.iter().any(|port| port.ifindex == ifindex && port.vlan != 0)
    }

    /// The shared address, if it is one.
    pub fn shared(&self, addr: IpAddr) -> Option<&SharedAddress> {
        self.shared.iter().find(|s| s.addr == addr)
    }

    /// Is it an address of the host?
    pub fn is_host(&self, addr: IpAddr) -> bool {
        self.ports.iter().any(|p| p.kind == Kind::Host && p.addrs.contains(&addr))
            || self.policies[0]
                .image
                .networks
                .iter()
                .any(|n| n.gateway.iter().any(|(a, _)| IpAddr::from(*a) == addr))
            || HOST_ADDRS.iter().any(|h| h.parse() == Ok(addr))
    }
}

fn ports(image: &Image, ifindexes: &[u32]) -> Vec<Port> {
    let mut free = ifindexes.iter().copied();
    let mut ports: Vec<Port> = Vec::new();
    for (index, nic) in image.nics.iter().enumerate() {
        let with = image.together(index).find(|first| *first < index);
        let shared = with.map(|first: usize| ports[first].ifindex);
        let Some(ifindex) = shared.or_else(|| free.next()) else { break };
        let tagged = nic.trunk.is_some_and(|trunk| trunk.tagged);
        let vlan = if tagged { image.network(nic.network).map_or(0, |n| n.vlan) } else { 0 };
        // Places beyond those of the interfaces.
        let number = if tagged { subport::number(PORTS - 1 - index as u32) } else { ifindex };
        let addrs = nic.addrs.iter().map(|a| IpAddr::from(*a)).collect();
        let (kind, network, mac) = (Kind::Guest, nic.network, nic.mac);
        ports.push(Port { ifindex, number, vlan, kind, network, mac, addrs });
    }
    for (network, id) in image.networks.iter().zip(1..) {
        if network.gateway.is_empty() {
            continue;
        }
        let Some(ifindex) = free.next() else { break };
        let mut addrs: Vec<IpAddr> =
            network.gateway.iter().map(|(a, _)| IpAddr::from(*a)).collect();
        addrs.extend(HOST_ADDRS.iter().filter_map(|h| h.parse::<IpAddr>().ok()));
        let mac = network.gateway_mac;
        let (number, vlan, kind) = (ifindex, 0, Kind::Host);
        ports.push(Port { ifindex, number, vlan, kind, network: id, mac, addrs });
    }
    if let Some(ifindex) = free.next() {
        let mac = Mac(0x0202_0304_0506);
        let (number, vlan, kind, addrs) = (ifindex, 0, Kind::Uplink, Vec::new());
        ports.push(Port { ifindex, number, vlan, kind, network: 1, mac, addrs });
    }
    ports
}

/// The ports of NICs stand in the order of the image's.
fn shared(image: &Image) -> Vec<SharedAddress> {
    let of = |s: &Shared| {
        let one = |addr: &Addr| SharedAddress {
            addr: (*addr).into(),
            mac: s.mac,
            network: s.network,
            ports: s.by.clone(),
        };
        s.addrs.iter().map(one).collect::<Vec<_>>()
    };
    image.shared.iter().flat_map(of).collect()
}

fn tables(r: &mut Random, compiled: Compiled, ports: &[Port], hides_tags: bool) -> Policy {
    let Compiled { model, image, .. } = compiled;
    let legs: Vec<Leg> = ports
        .iter()
        .filter(|p| p.kind == Kind::Host)
        .map(|p| Leg { network: p.network, ifindex: p.ifindex })
        .collect();
    let open: Vec<OpenPort> = ports
        .iter()
        .enumerate()
        .filter_map(|(index, p)| {
            let place = match p.kind {
                Kind::Guest => guest(&image, ports, index)?,
                Kind::Host => return None,
                Kind::Uplink => Place::Uplink {
                    tagged: (2..=image.networks.len() as u32).collect(),
                    untagged: 1,
                },
            };
            Some(OpenPort { ifindex: p.ifindex, mtu: 1500, place, hides_tags })
        })
        .collect();
    let tables = build(&image, &legs, &open, &[]);
    let rules = rates(r, &image);
    Policy { model, image, tables, rules }
}

/// The place of the interface of a NIC, by the first of its NICs.
fn guest(image: &Image, ports: &[Port], nic: usize) -> Option<Place> {
    if image.nics[nic].trunk.is_none() {
        return Some(Place::Nic(nic));
    }
    let all: Vec<usize> = image.together(nic).filter(|nic| *nic < ports.len()).collect();
    let (tagged, bare): (Vec<usize>, Vec<usize>) =
        all.iter().partition(|nic| ports[**nic].vlan != 0);
    let subport = |nic: usize| Subport { nic, number: ports[nic].number };
    let place = Place::Trunk {
        untagged: bare.first().copied(),
        tagged: tagged.into_iter().map(subport).collect(),
    };
    (all.first() == Some(&nic)).then_some(place)
}

/// Rates low enough for some events to be left out; whoever observes is logged, and the default
/// sometimes.
fn rates(r: &mut Random, image: &Image) -> Vec<RuleEntry> {
    let mut entries = slot::rules(image, clock::end);
    entries[0].log_per_s = if r.once_in(2) { 3 } else { 0 };
    for (entry, rule) in entries[1..].iter_mut().zip(&image.rules) {
        entry.log_per_s = if rule.observe { 5 } else { rule.log_per_s.min(2) };
    }
    entries
}

/// The bank of a generation's denied sets: here one for each slot.
pub fn bank(generation: u32) -> u32 {
    1 + (generation & 1)
}

impl Policy {
    /// Shape of the dense tables.
    pub fn shape(&self, generation: u32) -> GenerationEntry {
        let logs = self.rules.iter().any(|r| r.log_per_s > 0);
        let flags = if logs { generation_flag::LOGS } else { 0 };
        let denied = if self.image.denied.is_empty() { 0 } else { bank(generation) };
        GenerationEntry { flags, ..shape(&self.image, generation, denied) }
    }

    /// Cells, and shadows where the shape says.
    pub fn verdicts(&self) -> Vec<u32> {
        let mut cells = self.image.cells.clone();
        if !self.image.shadows.is_empty() {
            cells.resize(shape(&self.image, 0, 0).shadows as usize, 0);
            cells.extend(&self.image.shadows);
        }
        cells
    }

    /// When the first rule ends, in ticks; 0: none ends.
    pub fn ends(&self) -> u64 {
        first_end(&self.rules)
    }

    /// The tables as the engine takes them.
    pub fn slot(&self, generation: u32) -> Slot {
        let t = &self.tables;
        let mut slot = Slot {
            shape: Some(self.shape(generation)),
            ports: t.ports.values().map(|p| (p.ifindex, *p)).collect(),
            subports: t.subports.clone().into_iter().collect(),
            networks: t.networks.iter().map(|(id, n)| (*id, *n)).collect(),
            vlans: t.vlans.iter().map(|(v, id)| (*v, *id)).collect(),
            members: t.members.iter().map(|(id, m)| (*id, m.clone())).collect(),
            notices: t.notices.iter().map(|(k, n)| (*k, *n)).collect(),
            addresses: t.addresses.iter().map(|(k, a)| (*k, *a)).collect(),
            denied: self.image.denied.chunks(bank(generation)).into_iter().collect(),
            services: self.image.service_tables.clone(),
            sources: self.image.source_tables.clone(),
            rows: self.image.rows.clone(),
            cells: self.verdicts(),
            rules: self.rules.clone(),
            ends: self.ends(),
            ..Slot::default()
        };
        for ((addr, len), entry) in &t.prefixes {
            slot.prefix(*addr, *len, *entry);
        }
        slot
    }

    /// The link-local address of a port.
    pub fn link_local(port: &Port) -> IpAddr {
        Addr::link_local_of(port.mac).into()
    }
}
