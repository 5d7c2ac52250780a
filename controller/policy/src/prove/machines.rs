//! Who stands for a class: between which addresses could a packet go at all?
//!
//! A class keeps a few addresses that stand for all of it: of each family some of different
//! machines, so that whoever is ruled out (the same machine, a relay of the chain) leaves another.
//! Link-local addresses count: a NIC without an IPv6 address has one all the same, and rules see
//! it as the NIC's first address.

use crate::{
    Compiled,
    compile::{
        block::number,
        space::{Atom, Owner, Zone},
    },
    model::{Kind, Model},
};
use portcullis_pipeline::addr::Addr;

/// Where an address is, as far as wires and gateways are concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Place {
    /// On a network.
    Network(usize),
    /// The hypervisor.
    Host,
    /// Outside all networks.
    Outside,
    /// A link-local address that nobody declared: on some network.
    Somewhere,
}

/// Which kind of address it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// Written in the policy.
    Declared,
    /// Any address of a region.
    Undeclared,
    /// Follows from a MAC.
    LinkLocal,
    /// Of the hypervisor, which the policy does not know.
    Unknown,
}

/// One address of one machine.
#[derive(Clone, Copy, Debug)]
pub struct Machine {
    /// Its atom, which rules see.
    pub atom: usize,
    /// The address. Of no meaning where its origin is unknown.
    pub addr: u128,
    /// Is it an IPv6 address?
    pub v6: bool,
    /// Whose it is: of a shared address that is looked at as held, the holder.
    pub owner: Owner,
    /// Whose it is as declared.
    pub declared: Owner,
    /// Where it is.
    pub place: Place,
    /// How the policy knows it.
    pub origin: Origin,
    /// Could it be several machines?
    many: bool,
}

impl Machine {
    /// Could a packet go from one to the other over a wire?
    pub fn apart(&self, other: &Self) -> bool {
        if self.owner != Owner::Region || other.owner != Owner::Region {
            // Shared addresses have one holder.
            return self.owner != other.owner && self.declared != other.declared;
        }
        self.atom != other.atom || self.addr != other.addr || self.many
    }

    /// Could they be two machines? NICs of one guest are not.
    pub fn is_other_machine(&self, other: &Self) -> bool {
        match (self.owner, other.owner) {
            (Owner::Guest(a, _), Owner::Guest(b, _)) => a != b,
            _ => self.apart(other),
        }
    }

    /// The guest, if it is one.
    pub fn guest(&self) -> Option<usize> {
        self.nic().map(|(guest, _)| guest)
    }

    /// The NIC, if it is a guest's: indexes of the guest and of the NIC in it.
    pub fn nic(&self) -> Option<(usize, usize)> {
        match self.owner {
            Owner::Guest(guest, nic) => Some((guest, nic)),
            Owner::Host | Owner::Region => None,
        }
    }

    /// How well it reads in a message: the smaller the better.
    pub fn rank(&self) -> u8 {
        let who = match (self.origin, self.owner, self.place) {
            (Origin::Declared, Owner::Guest(..), _) => 0,
            (Origin::Declared, ..) => 1,
            (Origin::Undeclared, _, Place::Outside) => 2,
            (Origin::Undeclared, _, Place::Network(_)) => 3,
            (Origin::LinkLocal, ..) => 4,
            (Origin::Undeclared, ..) => 5,
            // No address to show: only if there is nobody else.
            (Origin::Unknown, ..) => 100,
        };
        2 * who + u8::from(self.v6)
    }
}

/// Bits of the address families.
pub mod family {
    /// IPv4.
    pub const V4: u8 = 1;
    /// IPv6.
    pub const V6: u8 = 2;
    /// Both.
    pub const BOTH: u8 = V4 | V6;
}

/// The machines of one class.
#[derive(Default)]
pub struct Machines {
    v4: Vec<Machine>,
    v6: Vec<Machine>,
    /// Link-local addresses of NICs and gateways, by network: they are reached from there only.
    link: Vec<Machine>,
    /// IPv6 addresses on each network, by network: who can reach link-local ones there.
    neighbours: Vec<Machine>,
    /// Where there are declared addresses, once for each family: for `always`.
    pub places: Vec<Machine>,
    /// The smallest rank among them.
    pub best_rank: u8,
}

/// Machines kept of one kind: more than a chain can rule out.
const KEPT: usize = 6;

impl Machines {
    fn add(&mut self, machine: Machine) {
        let list = match (machine.origin, machine.v6) {
            (Origin::LinkLocal, _) => &mut self.link,
            (_, true) => &mut self.v6,
            (_, false) => &mut self.v4,
        };
        let network = (machine.origin == Origin::LinkLocal).then_some(machine.place);
        keep(list, machine, network);
        if let (true, Place::Network(_)) = (machine.v6, machine.place) {
            keep(&mut self.neighbours, machine, Some(machine.place));
        }
        let declared = matches!(machine.origin, Origin::Declared | Origin::Undeclared);
        let same = |m: &Machine| (m.place, m.v6) == (machine.place, machine.v6);
        if declared && machine.place != Place::Somewhere {
            match self.places.iter_mut().find(|m| same(m)) {
                Some(known) if known.rank() <= machine.rank() => {}
                Some(known) => *known = machine,
                None => self.places.push(machine),
            }
        }
        self.best_rank = self.best_rank.min(machine.rank());
    }

    /// Two machines between which a packet of these families can go; `fits` rules out more.
    pub fn meet(
        &self,
        to: &Self,
        families: u8,
        model: &Model,
        fits: impl Fn(&Machine, &Machine) -> bool,
    ) -> Option<(Machine, Machine)> {
        let pair = |from: &[Machine], to: &[Machine], same_link: bool| {
            let all = from.iter().flat_map(|a| to.iter().map(move |b| (*a, *b)));
            let ok = |(a, b): &(Machine, Machine)| {
                a.apart(b) && (!same_link || reaches_link(a, b, model)) && fits(a, b)
            };
            all.into_iter().find(ok)
        };
        let v4 = || pair(&self.v4, &to.v4, false);
        let v6 = || {
            let ways = [
                pair(&self.v6, &to.v6, false),
                pair(&self.link, &to.v6, false),
                pair(&self.neighbours, &to.link, true),
                pair(&self.v6, &to.link, true),
            ];
            let rank = |(a, b): &(Machine, Machine)| u16::from(a.rank()) + u16::from(b.rank());
            ways.into_iter().flatten().min_by_key(rank)
        };
        let first = if families & family::V4 != 0 { v4() } else { None };
        first.or_else(|| if families & family::V6 != 0 { v6() } else { None })
    }

    /// Declared addresses between which a packet of these families can go.
    pub fn meet_declared(&self, to: &Self, families: u8) -> Option<(Machine, Machine)> {
        let known = |m: &&Machine| m.origin != Origin::Unknown && m.place != Place::Somewhere;
        let pair = |from: &[Machine], to: &[Machine]| {
            let all = from.iter().filter(known);
            let mut all = all.flat_map(|a| to.iter().filter(known).map(move |b| (*a, *b)));
            all.find(|(a, b)| a.apart(b))
        };
        let v4 = if families & family::V4 != 0 { pair(&self.v4, &to.v4) } else { None };
        v4.or_else(|| if families & family::V6 != 0 { pair(&self.v6, &to.v6) } else { None })
    }

    /// Those that are not link-local.
    pub fn anywhere(&self) -> impl Iterator<Item = &Machine> {
        self.v4.iter().chain(&self.v6).chain(&self.places)
    }

    /// One machine as if it were a class.
    pub fn of(machine: Machine) -> Self {
        let mut machines = Self { best_rank: u8::MAX, ..Self::default() };
        machines.add(machine);
        machines
    }
}

/// Keeps a machine unless enough stand for it already, in its network where that matters.
fn keep(list: &mut Vec<Machine>, machine: Machine, network: Option<Place>) {
    let (mut known, mut nics) = (0, 0);
    for other in list.iter().filter(|m| network.is_none_or(|n| m.place == n)) {
        known += 1;
        nics += usize::from(machine.guest().is_some() && other.guest() == machine.guest());
        if !other.apart(&machine) {
            return;
        }
    }
    if known < KEPT && nics < 2 {
        list.push(machine);
    }
}

/// Link-local addresses are reached on their own link only: from its members and its gateway, and
/// on an external network from whoever is behind the uplink.
fn reaches_link(from: &Machine, to: &Machine, model: &Model) -> bool {
    match (from.place, to.place) {
        (Place::Network(a), Place::Network(b)) => a == b,
        (Place::Outside, Place::Network(b)) => model.networks[b].kind == Kind::External,
        (Place::Host, Place::Network(b)) => !model.networks[b].gateway.is_empty(),
        (Place::Somewhere, _) => true,
        _ => false,
    }
}

/// The machines of every class, in the order of the classes; and those of each relay, with their
/// classes: a guest with several NICs that does not say `forwards: false`.
pub fn by_class(compiled: &Compiled) -> (Vec<Machines>, Vec<(u32, Machine)>) {
    let build = &compiled.build;
    let new = || Machines { best_rank: u8::MAX, ..Machines::default() };
    let mut classes: Vec<Machines> = (0..build.classes.len()).map(|_| new()).collect();
    let mut relays = Vec::new();
    let is_relay = |m: &Machine| {
        let guest = m.guest().map(|g| &compiled.model.guests[g]);
        guest.is_some_and(|g| g.forwards && g.nics.len() > 1)
    };
    for machine in declared_and_regions(compiled).chain(link_local(compiled)) {
        let class = build.classes.of_atom(machine.atom);
        classes[class as usize].add(machine);
        if is_relay(&machine) {
            relays.push((class, machine));
        }
        let shared = machine.guest().into_iter().flat_map(|g| compiled.model.sharers(g));
        // Whoever holds a shared address is reached by it, and sends from it.
        let as_held = shared.map(|(g, n)| Machine { owner: Owner::Guest(g, n), ..machine });
        relays.extend(as_held.filter(is_relay).map(|held| (class, held)));
    }
    (classes, relays)
}

/// An address of every atom that a packet could carry, of both families where it has both.
fn declared_and_regions(compiled: &Compiled) -> impl Iterator<Item = Machine> {
    let space = &compiled.build.space;
    let real = space.atoms().iter().enumerate().filter(|(_, a)| a.real);
    real.flat_map(move |(i, atom)| {
        let place = place(space.zone(i), atom);
        let families = [(false, atom.families.v4), (true, atom.families.v6)];
        let has = families.into_iter().filter(|(_, has)| *has);
        has.map(move |(v6, _)| machine(i, atom, v6, place, i == space.host_atom()))
    })
}

fn machine(i: usize, atom: &Atom, v6: bool, place: Place, unknown: bool) -> Machine {
    let origin = match atom.owner {
        _ if unknown => Origin::Unknown,
        Owner::Region => Origin::Undeclared,
        Owner::Guest(..) | Owner::Host => Origin::Declared,
    };
    let (addr, owner, many) = (atom.example, atom.owner, atom.many);
    Machine { atom: i, addr, v6, owner, declared: owner, place, origin, many }
}

fn place(zone: Zone, atom: &Atom) -> Place {
    match (atom.owner, atom.network, zone) {
        (Owner::Host, ..) => Place::Host,
        (_, Some(network), _) => Place::Network(network),
        (_, None, Zone::Nowhere) => Place::Somewhere,
        (_, None, _) => Place::Outside,
    }
}

/// The link-local addresses that follow from MACs. They count as the first address of their NIC
/// or gateway.
fn link_local(compiled: &Compiled) -> impl Iterator<Item = Machine> {
    let model = &compiled.model;
    let guests = model.guests.iter().enumerate();
    let nics = guests.flat_map(|(g, guest)| {
        let nics = guest.nics.iter().enumerate();
        nics.filter_map(move |(n, nic)| {
            Some((Owner::Guest(g, n), nic.network, nic.mac, *nic.addrs.first()?))
        })
    });
    let gateways = model.networks.iter().enumerate();
    let gateways =
        gateways.filter_map(|(i, n)| Some((Owner::Host, i, n.gateway_mac, n.gateway.first()?.0)));
    nics.chain(gateways).filter_map(|(owner, network, mac, first)| {
        let atom = declared_atom(compiled, first)?;
        let addr = Addr::link_local_of(mac);
        let addr = u128::from(addr.hi) << 64 | u128::from(addr.lo);
        let (place, origin) = (Place::Network(network), Origin::LinkLocal);
        let declared = owner;
        Some(Machine { atom, addr, v6: true, owner, declared, place, origin, many: false })
    })
}

/// The atom of a declared address.
pub fn declared_atom(compiled: &Compiled, addr: std::net::IpAddr) -> Option<usize> {
    let space = &compiled.build.space;
    let points = &space.atoms()[space.points()];
    points.binary_search_by_key(&number(addr), |a| a.example).ok()
}
