//! All addresses, cut into the pieces that a policy can tell apart at all: its atoms.
//!
//! An atom is a declared address, a region (what is left of a prefix when everything longer is
//! taken out), or the addresses of the hypervisor that nobody declared.

use std::{collections::BTreeSet, ops::Range};

use ipnet::IpNet;

use super::{
    block::{Block, number},
    limits::TooMuch,
};
use crate::model::{Endpoint, Kind, Model};

/// Whose an atom is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Owner {
    /// A NIC of a guest: indexes of the guest and of the NIC in it.
    Guest(usize, usize),
    /// The hypervisor.
    Host,
    /// Nobody declared: an undeclared member of a network, the world, or nobody at all.
    Region,
}

/// The place that an atom lies in, as kinds see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Zone {
    /// The hypervisor.
    Host,
    /// Outside.
    World,
    /// A network (declared members, and undeclared ones unless it is external).
    Network(usize),
    /// Undeclared link-local addresses: in some network, but nobody's.
    Nowhere,
}

/// A piece of the address space.
#[derive(Clone, Debug)]
pub struct Atom {
    /// Whose it is.
    pub owner: Owner,
    /// An address of it. For the undeclared addresses of the host: a declared one, or 0.
    pub example: u128,
    /// Is it of one family, and of which? The undeclared addresses of the host are of both.
    pub families: Families,
    /// The network whose member it is or whose subnet it lies in.
    pub network: Option<usize>,
    /// Has it two addresses that could talk to each other?
    pub many: bool,
    /// Could a packet carry one of its addresses? Not loopback, network addresses, ...
    pub real: bool,
}

/// Address families.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Families {
    pub v4: bool,
    pub v6: bool,
}

/// A region's block and what kinds know of it.
#[derive(Clone)]
struct Region {
    block: Block,
    link_local: bool,
}

/// The atoms: declared addresses (ascending), then regions (ascending, a prefix before what is
/// inside it), then the host's undeclared addresses.
#[derive(Clone)]
pub struct Space {
    atoms: Vec<Atom>,
    points: usize,
    regions: Vec<Region>,
    /// Of each network: is it external?
    external: Vec<bool>,
    by_guest: Vec<Vec<u32>>,
    by_network: Vec<Vec<u32>>,
    host: Vec<u32>,
    world: Vec<u32>,
    pub(super) sets: Vec<Vec<u32>>,
    pub(super) selectors: Vec<Vec<u32>>,
    labels: Vec<Vec<usize>>,
}

/// Blocks that no packet's source or single destination lies in.
const UNREAL: &[Block] = &[
    Block { first: 0xffff_0000_0000, len: 104 }, // 0.0.0.0/8
    Block { first: 0xffff_7f00_0000, len: 104 }, // 127.0.0.0/8
    Block { first: 0xffff_e000_0000, len: 99 },  // 224.0.0.0/3
    Block { first: 0, len: 96 },                 // ::/96
    Block { first: 0xff << 120, len: 8 },        // ff00::/8
];
const LINK_LOCAL: Block = Block { first: 0xfe80 << 112, len: 10 };
/// Addresses that read well in a message, where the world is meant (RFC 5737, RFC 3849).
const NICE: &[u128] = &[0xffff_c633_6407, 0xffff_c000_0207, 0x2001_0db8 << 96 | 7];

impl Space {
    /// Cuts the address space along everything that the policy mentions. `limit` is for the
    /// members of all sets and selectors together.
    pub fn new(
        model: &Model,
        mentioned: impl Iterator<Item = IpNet>,
        limit: u64,
    ) -> Result<Self, TooMuch> {
        let mut space = Self {
            atoms: declared(model),
            points: 0,
            regions: Vec::new(),
            external: model.networks.iter().map(|n| n.kind == Kind::External).collect(),
            by_guest: vec![Vec::new(); model.guests.len()],
            by_network: vec![Vec::new(); model.networks.len()],
            host: Vec::new(),
            world: Vec::new(),
            sets: Vec::new(),
            selectors: Vec::new(),
            labels: model.labels.iter().map(|l| l.guests.clone()).collect(),
        };
        space.points = space.atoms.len();
        space.add_regions(model, mentioned);
        space.atoms.push(undeclared_host(model));
        space.index();
        space.add_named(model, limit)?;
        Ok(space)
    }

    /// Every atom.
    pub fn atoms(&self) -> &[Atom] {
        &self.atoms
    }

    /// Declared addresses: the atoms 0..points.
    pub fn points(&self) -> Range<usize> {
        0..self.points
    }

    /// Regions that are not empty: their blocks, and their atoms.
    pub fn regions(&self) -> impl Iterator<Item = (Block, usize)> + '_ {
        self.regions.iter().enumerate().map(|(i, r)| (r.block, self.points + i))
    }

    /// The host's undeclared addresses.
    pub fn host_atom(&self) -> usize {
        self.atoms.len() - 1
    }

    /// For each atom, the same one in another space, if it is there.
    pub fn in_terms_of(&self, other: &Self) -> Vec<Option<u32>> {
        let points = self.atoms[..self.points].iter().map(|a| {
            let all = &other.atoms[..other.points];
            let at = all.binary_search_by_key(&a.example, |o| o.example).ok()?;
            (all[at].owner == a.owner && all[at].network == a.network).then_some(at as u32)
        });
        let regions = self.regions.iter().map(|r| {
            let at = other.regions.binary_search_by_key(&r.block, |o| o.block).ok()?;
            Some((other.points + at) as u32)
        });
        points.chain(regions).chain([Some(other.host_atom() as u32)]).collect()
    }

    /// Where an atom lies, as kinds see it.
    pub fn zone(&self, atom: usize) -> Zone {
        let a = &self.atoms[atom];
        match (a.owner, a.network) {
            (Owner::Host, _) => Zone::Host,
            (Owner::Guest(..), Some(n)) => Zone::Network(n),
            (Owner::Region, Some(n)) if !self.external[n] => Zone::Network(n),
            _ if self.regions[atom - self.points].link_local => Zone::Nowhere,
            _ => Zone::World,
        }
    }

    /// The atoms of a set or selector, ascending.
    pub fn named(&self, endpoint: Endpoint) -> Option<&[u32]> {
        match endpoint {
            Endpoint::Set(s) => Some(&self.sets[s]),
            Endpoint::Selector(s) => Some(&self.selectors[s]),
            _ => None,
        }
    }

    /// The atoms of an endpoint, ascending.
    pub fn members(&self, endpoint: Endpoint) -> Vec<u32> {
        match endpoint {
            Endpoint::Any => (0..self.atoms.len() as u32).collect(),
            Endpoint::Host => self.host.clone(),
            Endpoint::World => self.world.clone(),
            Endpoint::Guest(g) => self.by_guest[g].clone(),
            Endpoint::Label(l) => {
                union(self.labels[l].iter().map(|&g| self.by_guest[g].as_slice()))
            }
            Endpoint::Network(n) => self.by_network[n].clone(),
            Endpoint::Set(s) => self.sets[s].clone(),
            Endpoint::Selector(s) => self.selectors[s].clone(),
            Endpoint::Prefix(net) => self.inside(Block::of(net)),
        }
    }

    /// Declared addresses and regions of a block. All regions of a mentioned prefix lie wholly
    /// inside or outside of it; other prefixes count the regions that begin in them.
    fn inside(&self, block: Block) -> Vec<u32> {
        let points = &self.atoms[..self.points];
        let points = within(points, block, |a| (a.example, 128));
        let regions = within(&self.regions, block, |r| (r.block.first, r.block.len));
        let regions = regions.map(|i| i + self.points);
        // All of IPv4 lies inside `::/0` as a number, and is still not meant by it.
        let meant = |&i: &usize| self.is_v4(i) == block.is_v4();
        points.chain(regions).filter(meant).map(|i| i as u32).collect()
    }

    fn is_v4(&self, atom: usize) -> bool {
        self.atoms[atom].families.v4
    }

    fn add_regions(&mut self, model: &Model, mentioned: impl Iterator<Item = IpNet>) {
        let subnets = model.networks.iter().flat_map(|n| n.subnets.iter().copied());
        let mut blocks: BTreeSet<Block> = subnets.chain(mentioned).map(Block::of).collect();
        blocks.extend(UNREAL);
        blocks.extend([Block::ALL, Block::V4, LINK_LOCAL]);
        let blocks: Vec<Block> = blocks.into_iter().collect();
        let networks = subnet_index(model);
        let taken: Vec<u128> = self.atoms.iter().map(|a| a.example).collect();
        for (block, gaps) in blocks.iter().zip(gaps(&blocks, &taken)) {
            if gaps.is_empty() {
                continue;
            }
            let subnet = networks.iter().find(|(subnet, _)| subnet.contains(*block));
            let atom = region_atom(*block, &gaps, subnet.copied());
            self.atoms.push(atom);
            let link_local = block.len >= LINK_LOCAL.len && LINK_LOCAL.holds(block.first);
            self.regions.push(Region { block: *block, link_local });
        }
    }

    fn index(&mut self) {
        for i in 0..self.atoms.len() {
            let atom = i as u32;
            let (owner, network) = (self.atoms[i].owner, self.atoms[i].network);
            match owner {
                Owner::Host => self.host.push(atom),
                Owner::Guest(g, _) => self.by_guest[g].push(atom),
                Owner::Region if self.zone(i) == Zone::World => self.world.push(atom),
                Owner::Region => {}
            }
            if let (Some(n), Owner::Guest(..) | Owner::Region) = (network, owner) {
                self.by_network[n].push(atom);
            }
        }
    }
}

/// Every declared address as an atom, ascending.
fn declared(model: &Model) -> Vec<Atom> {
    let mut atoms = Vec::new();
    let mut add = |addr, owner, network| {
        let example = number(addr);
        let v4 = addr.is_ipv4();
        let families = Families { v4, v6: !v4 };
        atoms.push(Atom { owner, example, families, network, many: false, real: true });
    };
    for (g, guest) in model.guests.iter().enumerate() {
        for (n, nic) in guest.nics.iter().enumerate() {
            nic.addrs.iter().for_each(|&a| add(a, Owner::Guest(g, n), Some(nic.network)));
        }
    }
    for (i, network) in model.networks.iter().enumerate() {
        network.gateway.iter().for_each(|&(a, _)| add(a, Owner::Host, Some(i)));
    }
    model.host.iter().for_each(|h| add(h.addr, Owner::Host, None));
    atoms.sort_by_key(|a| a.example);
    atoms
}

/// The addresses of the hypervisor that only it knows. Guests see it through gateways, so
/// without any address that is declared nothing goes to or from it.
fn undeclared_host(model: &Model) -> Atom {
    let gateways = model.networks.iter().flat_map(|n| n.gateway.iter().map(|g| g.0));
    let example = gateways.chain(model.host.iter().map(|h| h.addr)).next();
    Atom {
        owner: Owner::Host,
        example: example.map_or(0, number),
        families: Families { v4: true, v6: true },
        network: None,
        many: false,
        real: example.is_some(),
    }
}

/// Each subnet and its network.
fn subnet_index(model: &Model) -> Vec<(Block, usize)> {
    let networks = model.networks.iter().enumerate();
    networks.flat_map(|(i, n)| n.subnets.iter().map(move |s| (Block::of(*s), i))).collect()
}

/// For each block, the ranges of it that lie in no longer block and are no taken address.
/// Blocks ascending, a prefix before what is inside it; addresses ascending.
fn gaps(blocks: &[Block], taken: &[u128]) -> Vec<Vec<(u128, u128)>> {
    let mut gaps = vec![Vec::new(); blocks.len()];
    // Open blocks, each with its first address that is not yet spoken for (none: all are).
    let mut open: Vec<(usize, Option<u128>)> = Vec::new();
    let mut close = |(i, free): (usize, Option<u128>)| {
        let last = blocks[i].last();
        gaps[i].extend(free.filter(|f| *f <= last).map(|f| (f, last)));
    };
    let mut found: Vec<(usize, (u128, u128))> = Vec::new();
    let mut taken = taken.iter().copied().peekable();
    let mut take = |open: &mut Vec<(usize, Option<u128>)>, first: u128, last: u128| {
        if let Some((i, free)) = open.last_mut() {
            if let Some(f) = free.filter(|f| *f < first) {
                found.push((*i, (f, first - 1)));
            }
            *free = last.checked_add(1);
        }
    };
    for (i, block) in blocks.iter().enumerate() {
        while let Some(addr) = taken.next_if(|a| *a < block.first) {
            while let Some(top) = open.pop_if(|(o, _)| blocks[*o].last() < addr) {
                close(top);
            }
            take(&mut open, addr, addr);
        }
        while let Some(top) = open.pop_if(|(o, _)| blocks[*o].last() < block.first) {
            close(top);
        }
        take(&mut open, block.first, block.last());
        open.push((i, Some(block.first)));
    }
    for addr in taken {
        while let Some(top) = open.pop_if(|(o, _)| blocks[*o].last() < addr) {
            close(top);
        }
        take(&mut open, addr, addr);
    }
    while let Some(top) = open.pop() {
        close(top);
    }
    for (i, gap) in found {
        gaps[i].push(gap);
    }
    gaps.iter_mut().for_each(|g| g.sort_unstable());
    gaps
}

fn region_atom(block: Block, gaps: &[(u128, u128)], subnet: Option<(Block, usize)>) -> Atom {
    let unreal = |a: u128| {
        UNREAL.iter().any(|u| u.is_v4() == block.is_v4() && u.holds(a))
            || subnet
                .is_some_and(|(s, _)| s.len < 127 && (a == s.first || s.is_v4() && a == s.last()))
    };
    let near = gaps.iter().flat_map(|&(first, last)| (first..=last).take(3));
    let nice = NICE.iter().copied().filter(|n| gaps.iter().any(|(f, l)| (f..=l).contains(&n)));
    // The first address of a block looks like the block itself: only if there is no other.
    let (first, near): (Vec<u128>, Vec<u128>) = near.partition(|a| *a == block.first);
    let mut usable = nice.chain(near).chain(first).filter(|a| !unreal(*a));
    let example = usable.next();
    let v4 = block.is_v4();
    Atom {
        owner: Owner::Region,
        example: example.unwrap_or(gaps[0].0),
        families: Families { v4, v6: !v4 },
        network: subnet.map(|(_, n)| n),
        many: usable.any(|a| Some(a) != example),
        real: example.is_some(),
    }
}

/// Indexes of the items that begin inside a block and are not larger. Items ascending by `key`.
fn within<T>(items: &[T], block: Block, key: impl Fn(&T) -> (u128, u8)) -> Range<usize> {
    let start = items.partition_point(|i| key(i) < (block.first, block.len));
    let end = items.partition_point(|i| key(i).0 <= block.last());
    start..end.max(start)
}

/// Everything in some list, ascending, each once.
pub(super) fn union<'a>(lists: impl Iterator<Item = &'a [u32]>) -> Vec<u32> {
    let mut all: Vec<u32> = lists.flatten().copied().collect();
    all.sort_unstable();
    all.dedup();
    all
}
