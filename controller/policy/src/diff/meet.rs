//! Between which joint classes could a packet go at all?

use std::{cell::RefCell, collections::BTreeMap};

use super::{
    bits::Bits,
    numbers::Numbers,
    places::{Extent, Owner, Place, Places},
};

/// Of each joint class, machines that stand for it in one of the policies.
pub struct Meeting<'a, const N: usize> {
    places: &'a Places<N>,
    side: usize,
    actors: Vec<Actors>,
    /// By pair of classes: may IPv4 and IPv6 packets go? Filled as it is asked.
    known: RefCell<Vec<u8>>,
    /// Services by what is known.
    services: [Bits; 4],
}

const ASKED: u8 = 4;

/// Places that stand for a class: of each kind two with different owners are enough.
#[derive(Default)]
struct Actors {
    v4: Vec<u32>,
    v6: Vec<u32>,
    /// IPv6 addresses that reach link-local ones, by network.
    on_link: BTreeMap<usize, Vec<u32>>,
    local: BTreeMap<usize, Vec<u32>>,
    /// IPv6 addresses that reach link-local ones of any network: the host's, and undeclared
    /// link-local ones.
    anywhere: Vec<u32>,
}

impl<'a, const N: usize> Meeting<'a, N> {
    /// As one of the policies has it.
    pub fn new(places: &'a Places<N>, numbers: &Numbers<N>, side: usize) -> Self {
        let n = places.classes();
        let mut actors: Vec<Actors> = (0..n).map(|_| Actors::default()).collect();
        for (i, (place, &class)) in (0..).zip(places.all.iter().zip(&places.class_of)) {
            if place.views[side].example.is_some() {
                actors[class as usize].add(places, side, i, place);
            }
        }
        let with = |v4: bool, v6: bool| {
            let mut all = numbers.none();
            let kinds = [(v4 || v6, &numbers.either), (v4, &numbers.v4), (v6, &numbers.v6)];
            kinds.iter().filter(|k| k.0).for_each(|k| all.add(k.1));
            all
        };
        let services = [with(false, false), with(true, false), with(false, true), with(true, true)];
        Self { places, side, actors, known: RefCell::new(vec![0; n * n]), services }
    }

    /// The services for which a connection between two joint classes could be.
    pub fn services(&self, src: usize, dst: usize) -> &Bits {
        let at = src * self.actors.len() + dst;
        let known = self.known.borrow()[at];
        let known = if known & ASKED != 0 {
            known
        } else {
            let v4 = self.pair(src, dst, true).is_some();
            let v6 = self.pair(src, dst, false).is_some();
            let found = ASKED | u8::from(v4) | u8::from(v6) << 1;
            self.known.borrow_mut()[at] = found;
            found
        };
        &self.services[usize::from(known & 3)]
    }

    /// Two places of these classes between which a packet of this family can go.
    pub fn pair(&self, src: usize, dst: usize, v4: bool) -> Option<(usize, usize)> {
        let (from, to) = (&self.actors[src], &self.actors[dst]);
        if v4 {
            return self.first(&from.v4, &to.v4);
        }
        let near = |a: &Actors, n: &usize| {
            [a.local.get(n), a.on_link.get(n), Some(&a.anywhere)]
                .into_iter()
                .flatten()
                .flatten()
                .copied()
                .collect::<Vec<_>>()
        };
        let out = || {
            let networks = from.local.iter();
            networks.clone().find_map(|(n, local)| self.first(local, &near(to, n)))
        };
        let back = || to.local.iter().find_map(|(n, local)| self.first(&near(from, n), local));
        self.first(&from.v6, &to.v6).or_else(out).or_else(back)
    }

    fn first(&self, from: &[u32], to: &[u32]) -> Option<(usize, usize)> {
        let pairs = from.iter().flat_map(|&a| to.iter().map(move |&b| (a as usize, b as usize)));
        pairs.clone().find(|&(a, b)| self.can_meet(a, b))
    }

    fn can_meet(&self, a: usize, b: usize) -> bool {
        let (from, to) = (&self.places.all[a], &self.places.all[b]);
        if a == b {
            from.views[self.side].other.is_some()
        } else {
            !same_machine(self.side, from, to)
        }
    }
}

impl Actors {
    fn add<const N: usize>(&mut self, places: &Places<N>, side: usize, i: u32, place: &Place<N>) {
        let add = |list: &mut Vec<u32>| {
            let known = |&k: &u32| same_machine(side, &places.all[k as usize], place);
            if list.len() < 2 && !list.iter().any(known) {
                list.push(i);
            }
        };
        if let Extent::Local(network, _) = place.extent {
            return add(self.local.entry(network).or_default());
        }
        let (v4, v6) = place.families();
        if v6 && (place.is_stray() || place.views[side].owner == Owner::Host) {
            add(&mut self.anywhere);
        }
        if v4 {
            add(&mut self.v4);
        }
        if v6 {
            add(&mut self.v6);
            let joint = place.views[side].network.map(|n| places.joint_network(side, n));
            joint.into_iter().for_each(|n| add(self.on_link.entry(n).or_default()));
        }
    }
}

/// Is there no wire between these two? What nobody declared is many machines.
fn same_machine<const N: usize>(side: usize, a: &Place<N>, b: &Place<N>) -> bool {
    let owner = a.views[side].owner;
    owner == b.views[side].owner && owner != Owner::Nobody
}
