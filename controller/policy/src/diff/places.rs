//! All addresses, cut into pieces that none of several policies tells apart: places.
//!
//! Each place lies in one atom of each policy. Places with the same class in every policy make one
//! joint class.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use std::net::IpAddr;

use portcullis_pipeline::addr::{Addr, Mac};

use crate::{
    Compiled,
    compile::{
        block::{Block, addr, number},
        space::{self, Atom},
    },
    model::{Endpoint, Model},
};

/// Who has the addresses of a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Owner {
    /// A guest.
    Guest(usize),
    /// The hypervisor.
    Host,
    /// Nobody declared them.
    Nobody,
}

/// A place as one of the policies sees it.
#[derive(Clone, Copy, Debug)]
pub struct View {
    /// The atom that it lies in.
    pub atom: usize,
    /// Its identity class.
    pub class: u32,
    /// Whose it is.
    pub owner: Owner,
    /// The network that its addresses lie in.
    pub network: Option<usize>,
    /// An address of it that a packet could carry; nothing if there is none.
    pub example: Option<u128>,
    /// Another such address.
    pub other: Option<u128>,
    /// The address that rules see: of a guest's link-local address the first one of its NIC.
    pub seen: u128,
}

/// What addresses a place has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// One address that some policy declares.
    Point(u128),
    /// The link-local address of a NIC or a gateway, in the network with this joint number.
    Local(usize, u128),
    /// A prefix without everything longer and without declared addresses.
    Region(Block),
    /// The addresses that only the hypervisor knows it has.
    HostItself,
}

/// A piece of the address space.
#[derive(Clone, Debug)]
pub struct Place<const N: usize> {
    /// Which addresses.
    pub extent: Extent,
    /// As each of the policies sees it.
    pub views: [View; N],
}

impl<const N: usize> Place<N> {
    /// Of which families are its addresses?
    pub fn families(&self) -> (bool, bool) {
        let v4 = match self.extent {
            Extent::Point(a) => addr(a).is_v4(),
            Extent::Region(b) => b.is_v4(),
            Extent::Local(..) => false,
            Extent::HostItself => return (true, true),
        };
        (v4, !v4)
    }

    /// Is it the undeclared part of `fe80::/10`?
    pub fn is_stray(&self) -> bool {
        matches!(self.extent, Extent::Region(b) if b.len >= LINK_LOCAL.len && LINK_LOCAL.holds(b.first))
    }
}

/// The division of the address space by several policies.
pub struct Places<const N: usize> {
    /// Points, then link-local addresses, then regions, then the host itself.
    pub all: Vec<Place<N>>,
    /// The joint class of each.
    pub class_of: Vec<u32>,
    /// The places of each joint class, ascending.
    pub members: Vec<Vec<u32>>,
    networks: Networks<N>,
}

const LINK_LOCAL: Block = Block { first: 0xfe80 << 112, len: 10 };
/// Addresses that read well where the world is meant (RFC 5737, RFC 3849).
const NICE: &[u128] = &[0xffff_c633_6407, 0xffff_c000_0207, 0x2001_0db8 << 96 | 7];

/// The networks of several policies, by name.
struct Networks<const N: usize> {
    /// Of each policy, the joint numbers of its networks.
    joint: [Vec<usize>; N],
}

impl<const N: usize> Networks<N> {
    fn new(policies: [&Compiled; N]) -> Self {
        let mut ids: HashMap<&str, usize> = HashMap::new();
        let mut id = |name| {
            let next = ids.len();
            *ids.entry(name).or_insert(next)
        };
        let joint =
            policies.map(|p| p.model.networks.iter().map(|n| id(n.name.as_str())).collect());
        Self { joint }
    }
}

impl<const N: usize> Places<N> {
    /// Cuts the address space along everything that some policy tells apart.
    pub fn new(policies: [&Compiled; N]) -> Self {
        let maps = policies.map(Map::new);
        let networks = Networks::new(policies);
        let (mut all, regions) = on_the_line(&maps);
        all.extend(locals(&maps, &networks));
        all.extend(regions);
        all.push(host_itself(&maps));
        let (class_of, members) = numbered(all.iter().map(|p| p.views.map(|v| v.class)));
        Self { all, class_of, members, networks }
    }

    /// The places that a packet could come from, by the atoms of one of the policies.
    pub fn by_atom(&self, side: usize, compiled: &Compiled) -> ByAtom {
        let mut by_atom = vec![Vec::new(); compiled.build.space.atoms().len()];
        for (i, place) in (0..).zip(&self.all) {
            if place.views[side].example.is_some() {
                by_atom[place.views[side].atom].push(i);
            }
        }
        ByAtom(by_atom)
    }

    /// Tells the places of each of these lists apart from all others.
    pub fn split(&mut self, lists: &[Vec<u32>]) {
        let mut keys: Vec<(u32, Vec<usize>)> =
            self.class_of.iter().map(|&class| (class, Vec::new())).collect();
        for (l, list) in lists.iter().enumerate() {
            list.iter().for_each(|&p| keys[p as usize].1.push(l));
        }
        let (class_of, members) = numbered(keys.into_iter());
        (self.class_of, self.members) = (class_of, members);
    }

    /// Where a network of one policy stands among those of all.
    pub fn joint_network(&self, side: usize, network: usize) -> usize {
        self.networks.joint[side][network]
    }

    /// How many joint classes there are.
    pub fn classes(&self) -> usize {
        self.members.len()
    }

    /// The class of a joint class in one of the policies.
    pub fn class_in(&self, side: usize, joint: usize) -> u32 {
        self.all[self.members[joint][0] as usize].views[side].class
    }
}

/// A number for each distinct key, and who has it.
fn numbered<K: std::hash::Hash + Eq>(keys: impl Iterator<Item = K>) -> (Vec<u32>, Vec<Vec<u32>>) {
    let mut ids: HashMap<K, u32> = HashMap::new();
    let mut members: Vec<Vec<u32>> = Vec::new();
    let number = |(i, key): (u32, K)| {
        let class = *ids.entry(key).or_insert_with(|| {
            members.push(Vec::new());
            members.len() as u32 - 1
        });
        members[class as usize].push(i);
        class
    };
    let class_of = (0..).zip(keys).map(number).collect();
    (class_of, members)
}

/// Places by the atom of one policy.
pub struct ByAtom(Vec<Vec<u32>>);

impl ByAtom {
    /// The places of an endpoint, ascending.
    pub fn members(&self, compiled: &Compiled, endpoint: Endpoint) -> Vec<u32> {
        let atoms = compiled.build.space.members(endpoint);
        let places = atoms.iter().flat_map(|&a| self.0[a as usize].iter().copied());
        let mut members: Vec<u32> = places.collect();
        members.sort_unstable();
        members
    }
}

/// One policy, with its addresses at hand.
struct Map<'a> {
    compiled: &'a Compiled,
    /// Declared addresses: atom, owner, network.
    declared: HashMap<u128, (usize, Owner, Option<usize>)>,
    /// First and last addresses of subnets that are no host's.
    edges: BTreeSet<u128>,
}

impl<'a> Map<'a> {
    fn new(compiled: &'a Compiled) -> Self {
        let space = &compiled.build.space;
        let point = |i: usize| {
            let atom = &space.atoms()[i];
            let owner = match atom.owner {
                space::Owner::Guest(guest, _) => Owner::Guest(guest),
                space::Owner::Host => Owner::Host,
                space::Owner::Region => Owner::Nobody,
            };
            (atom.example, (i, owner, atom.network))
        };
        let declared: HashMap<_, _> = space.points().map(point).collect();
        let networks = &compiled.model.networks;
        let subnets = networks.iter().flat_map(|n| &n.subnets).map(|s| Block::of(*s));
        let wide = subnets.filter(|s| s.len < 127);
        let edges = wide.flat_map(|s| [Some(s.first), s.is_v4().then(|| s.last())]);
        let edges = edges.flatten().filter(|a| !declared.contains_key(a)).collect();
        Self { compiled, declared, edges }
    }

    /// Could a packet carry this address as the one of a single machine?
    fn is_real(&self, a: u128) -> bool {
        addr(a).is_unicast() && !self.edges.contains(&a)
    }

    /// An address with its atom.
    fn view(&self, atom: usize, seen: u128, example: Option<u128>) -> View {
        let build = &self.compiled.build;
        let class = build.classes.of_atom(atom);
        let declared = self.declared.get(&seen).filter(|d| d.0 == atom);
        let (owner, network) = declared.map_or_else(
            || (Owner::Nobody, build.space.atoms()[atom].network),
            |&(_, owner, network)| (owner, network),
        );
        View { atom, class, owner, network, example, other: None, seen }
    }

    fn at_point(&self, a: u128, around: usize) -> View {
        let atom = self.declared.get(&a).map_or(around, |d| d.0);
        self.view(atom, a, self.is_real(a).then_some(a))
    }

    fn in_region(&self, block: Block, atom: usize, free: &[u128]) -> View {
        let mut real = free.iter().copied().filter(|a| self.is_real(*a));
        let example = real.next();
        let other = real.find(|a| Some(*a) != example);
        View { other, ..self.view(atom, block.first, example) }
    }
}

fn bits(a: Addr) -> u128 {
    u128::from(a.hi) << 64 | u128::from(a.lo)
}

/// A block on the way down, with what is left of it.
struct Open<const N: usize> {
    block: Block,
    /// The atom that it lies in, in each policy.
    atoms: [usize; N],
    /// First address that nothing longer has taken yet; nothing if all are.
    next: Option<u128>,
    gaps: Vec<(u128, u128)>,
}

impl<const N: usize> Open<N> {
    /// Something longer takes these addresses.
    fn take(&mut self, first: u128, last: u128) {
        if let Some(next) = self.next.filter(|n| *n < first) {
            self.gaps.push((next, first - 1));
        }
        self.next = last.checked_add(1);
    }

    fn close(mut self, maps: &[Map<'_>; N]) -> Option<Place<N>> {
        let last = self.block.last();
        self.gaps.extend(self.next.filter(|n| *n <= last).map(|n| (n, last)));
        let within = |a: &u128| self.gaps.iter().any(|(f, l)| (f..=l).contains(&a));
        let near = self.gaps.iter().flat_map(|&(first, last)| (first..=last).take(3));
        // The first address of a block looks like the block itself: only if there is no other.
        let (first, near): (Vec<u128>, Vec<u128>) = near.partition(|a| *a == self.block.first);
        let nice = NICE.iter().copied().filter(within);
        let free: Vec<u128> = nice.chain(near).chain(first).collect();
        let at = std::array::from_fn(|k| maps[k].in_region(self.block, self.atoms[k], &free));
        let some = !free.is_empty();
        some.then_some(Place { extent: Extent::Region(self.block), views: at })
    }
}

/// The declared addresses and the regions, in one walk over all prefixes and addresses.
fn on_the_line<const N: usize>(maps: &[Map<'_>; N]) -> (Vec<Place<N>>, Vec<Place<N>>) {
    let (mut points, mut regions) = (Vec::new(), Vec::new());
    let mut open: Vec<Open<N>> = Vec::new();
    for ((first, len), said) in items(maps) {
        while let Some(done) = open.pop_if(|o| o.block.last() < first) {
            regions.extend(done.close(maps));
        }
        // Every policy has a region for everything, the first of all items.
        let around = open.last().map_or([0; N], |o| o.atoms);
        let block = Block { first, len: len.min(128) };
        open.iter_mut().next_back().into_iter().for_each(|o| o.take(first, block.last()));
        if len == POINT {
            let views = std::array::from_fn(|k| maps[k].at_point(first, around[k]));
            points.push(Place { extent: Extent::Point(first), views });
        } else {
            let atoms = std::array::from_fn(|k| said[k].unwrap_or(around[k]));
            open.push(Open { block, atoms, next: Some(first), gaps: Vec::new() });
        }
    }
    while let Some(done) = open.pop() {
        regions.extend(done.close(maps));
    }
    (points, regions)
}

/// Prefixes with their atoms, and declared addresses, in the order in which they contain each
/// other. An address comes behind the prefix of its length: it takes it whole.
fn items<const N: usize>(maps: &[Map<'_>; N]) -> BTreeMap<(u128, u8), [Option<usize>; N]> {
    let mut items: BTreeMap<(u128, u8), [Option<usize>; N]> = BTreeMap::new();
    for (k, map) in maps.iter().enumerate() {
        for (block, atom) in map.compiled.build.space.regions() {
            items.entry((block.first, block.len)).or_insert([None; N])[k] = Some(atom);
        }
        items.extend(map.declared.keys().map(|&a| ((a, POINT), [None; N])));
    }
    items
}

/// Stands for a declared address where prefixes have their length.
const POINT: u8 = 129;

/// Link-local addresses that follow from MACs, where every policy has them: of a NIC that comes
/// or goes, the declared addresses speak.
fn locals<const N: usize>(maps: &[Map<'_>; N], networks: &Networks<N>) -> Vec<Place<N>> {
    let mut found: BTreeMap<(usize, u128), Vec<View>> = BTreeMap::new();
    for (k, map) in maps.iter().enumerate() {
        for (network, mac, first) in of_macs(&map.compiled.model) {
            let (a, first) = (bits(Addr::link_local_of(mac)), number(first));
            if let Some(&(atom, ..)) = map.declared.get(&first) {
                let views = found.entry((networks.joint[k][network], a)).or_default();
                views.push(map.view(atom, first, Some(a)));
            }
        }
    }
    let place = |((joint, a), views): ((usize, u128), Vec<View>)| {
        let views = views.try_into().ok()?;
        Some(Place { extent: Extent::Local(joint, a), views })
    };
    found.into_iter().filter_map(place).collect()
}

/// Network, MAC and first address of every NIC and gateway.
fn of_macs(model: &Model) -> impl Iterator<Item = (usize, Mac, IpAddr)> + '_ {
    let nics = model.guests.iter().flat_map(|g| &g.nics);
    let nics = nics.filter_map(|n| Some((n.network, n.mac, *n.addrs.first()?)));
    let gateways = model.networks.iter().enumerate();
    nics.chain(gateways.filter_map(|(i, n)| Some((i, n.gateway_mac, n.gateway.first()?.0))))
}

fn host_itself<const N: usize>(maps: &[Map<'_>; N]) -> Place<N> {
    let view = |k: usize| {
        let space = &maps[k].compiled.build.space;
        let atom = space.host_atom();
        let class = maps[k].compiled.build.classes.of_atom(atom);
        let Atom { real, example, .. } = space.atoms()[atom];
        let example = real.then_some(example);
        let owner = Owner::Host;
        let (network, other) = (None, None);
        View { atom, class, owner, network, example, other, seen: 0 }
    };
    Place { extent: Extent::HostItself, views: std::array::from_fn(view) }
}
