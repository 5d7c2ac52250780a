//! Names for sets of places, as few as there can be, in the words of one policy.

use std::{
    cmp::Reverse,
    collections::{BTreeSet, BinaryHeap, HashSet},
};

use super::{
    bits::Bits,
    group::{Group, GroupKind},
    places::{Extent, Owner, Places},
};
use crate::{
    Compiled,
    compile::block::{Block, addr},
    explain::ip,
    model::Endpoint,
};

/// Finds names in the words of one policy.
pub struct PlaceNames<'a, const N: usize> {
    places: &'a Places<N>,
    side: usize,
    compiled: &'a Compiled,
    names: Vec<Name>,
    /// The names that a place has.
    of_place: Vec<Vec<u32>>,
    /// Places by the address that rules see, ascending.
    by_address: Vec<(u128, u32)>,
}

struct Name {
    kind: GroupKind,
    text: String,
    /// Places that a packet could come from, ascending.
    members: Vec<u32>,
}

/// Most exceptions that a name may have before it says less than a list.
const EXCEPTIONS: usize = 6;

/// What is to be named: places that must be, and those that may be named with them.
struct Task<'t> {
    must: &'t dyn Fn(u32) -> bool,
    may: &'t dyn Fn(u32) -> bool,
    /// May names have exceptions?
    except: bool,
}

/// Names, and the joint classes of which they name something.
pub struct Named {
    pub groups: Vec<Group>,
    pub classes: Bits,
}

/// A name for a task: how many it would name, and what with.
struct Offer {
    id: u32,
    bad: Vec<u32>,
    /// Names that it takes: itself and its exceptions.
    cost: usize,
}

impl<'a, const N: usize> PlaceNames<'a, N> {
    /// The names of one of the policies that the places were made from.
    pub fn new(places: &'a Places<N>, side: usize, compiled: &'a Compiled) -> Self {
        let by_atom = places.by_atom(side, compiled);
        let mut names = Vec::new();
        for (endpoint, kind, text) in endpoints(compiled) {
            let members = by_atom.members(compiled, endpoint);
            names.push(Name { kind, text, members });
        }
        names.extend(undeclared(places, side, compiled));
        let mut of_place = vec![Vec::new(); places.all.len()];
        for (id, name) in (0..).zip(&names) {
            name.members.iter().for_each(|&m| of_place[m as usize].push(id));
        }
        let seen = |(i, p): (u32, &super::places::Place<N>)| (p.views[side].seen, i);
        let mut by_address: Vec<(u128, u32)> = (0..).zip(&places.all).map(seen).collect();
        by_address.sort_unstable();
        Self { places, side, compiled, names, of_place, by_address }
    }

    /// Names for the places of some joint classes. Classes of `may` can be named with them where
    /// that is shorter.
    pub fn of_classes(&self, must: &Bits, may: &Bits) -> Named {
        let class = |p: u32| self.places.class_of[p as usize] as usize;
        let task = Task {
            must: &|p| must.has(class(p)),
            may: &|p| may.has(class(p)) || must.has(class(p)),
            except: true,
        };
        let members = must.iter().flat_map(|c| self.places.members[c].iter().copied());
        let mut named = BTreeSet::new();
        let left = members.filter(|&p| self.is_real(p)).collect();
        let groups = self.cover(left, &mut named, &task);
        let mut classes = must.clone();
        named.into_iter().for_each(|p| classes.insert(class(p)));
        Named { groups, classes }
    }

    fn is_real(&self, place: u32) -> bool {
        self.places.all[place as usize].views[self.side].example.is_some()
    }

    /// Greedy: the name that says most for its length, until nothing is left.
    fn cover(
        &self,
        mut left: BTreeSet<u32>,
        named: &mut BTreeSet<u32>,
        task: &Task<'_>,
    ) -> Vec<Group> {
        let ids: BTreeSet<u32> =
            left.iter().flat_map(|&p| self.of_place[p as usize].iter().copied()).collect();
        let offers: Vec<Offer> = ids.into_iter().filter_map(|id| self.offer(id, task)).collect();
        let worth = |at: usize, left: &BTreeSet<u32>| {
            let offer: &Offer = &offers[at];
            let gain = self.gain(offer, left);
            // Per name, in hundredths; of equals the one without exceptions, then the first. What
            // says less than a list of what it names is no use.
            (gain >= offer.cost)
                .then(|| (gain * 100 / offer.cost, Reverse(offer.cost), Reverse(at)))
        };
        let mut heap: BinaryHeap<_> = (0..offers.len()).filter_map(|at| worth(at, &left)).collect();
        let mut groups = Vec::new();
        while let Some((was, _, Reverse(at))) = heap.pop() {
            let Some(now) = worth(at, &left) else { continue };
            if now.0 < was {
                // Part of what it would say has been said: it waits again.
                heap.push(now);
                continue;
            }
            let (group, members) = self.accept(&offers[at], task);
            left.retain(|p| members.binary_search(p).is_err());
            named.extend(members);
            groups.push(group);
        }
        while let Some(place) = left.pop_first() {
            let (group, members) = self.literally(place, task);
            left.retain(|p| members.binary_search(p).is_err());
            named.extend(members);
            groups.push(group);
        }
        groups.sort_by(|a, b| (a.kind, &a.name).cmp(&(b.kind, &b.name)));
        groups
    }

    /// A name, if what it covers besides the task can be taken out again.
    fn offer(&self, id: u32, task: &Task<'_>) -> Option<Offer> {
        let mut bad = Vec::new();
        let mut owners = HashSet::new();
        for &m in &self.names[id as usize].members {
            if !(task.may)(m) {
                owners.insert(self.whose(m));
                if !task.except || owners.len() > EXCEPTIONS || self.is_around(m, task) {
                    return None;
                }
                bad.push(m);
            }
        }
        Some(Offer { id, bad, cost: 1 + owners.len() })
    }

    /// Is it a prefix of which a part must be named? That would be an exception to an exception.
    fn is_around(&self, place: u32, task: &Task<'_>) -> bool {
        match self.places.all[place as usize].extent {
            Extent::Region(block) => self.inside(block).into_iter().any(|p| (task.must)(p)),
            _ => false,
        }
    }

    /// How many names it saves.
    fn gain(&self, offer: &Offer, left: &BTreeSet<u32>) -> usize {
        let members = self.names[offer.id as usize].members.iter();
        members.filter(|m| left.contains(m)).map(|&m| self.whose(m)).collect::<HashSet<_>>().len()
    }

    /// What one name says: a guest, the host, the undeclared addresses of a network.
    fn whose(&self, place: u32) -> (Owner, Option<usize>, u32) {
        let view = self.places.all[place as usize].views[self.side];
        let inside = view.network.filter(|_| view.owner == Owner::Nobody);
        let outside = view.owner == Owner::Nobody && inside.is_none();
        (view.owner, inside, if outside { place } else { 0 })
    }

    /// What an offer says, and which places that names.
    fn accept(&self, offer: &Offer, task: &Task<'_>) -> (Group, Vec<u32>) {
        let name = &self.names[offer.id as usize];
        let mut members = name.members.clone();
        members.retain(|m| offer.bad.binary_search(m).is_err());
        let except = self.exceptions(&offer.bad, task);
        (Group { kind: name.kind, name: name.text.clone(), except }, members)
    }

    /// Names for what is taken out: anything that is not needed can go with it.
    fn exceptions(&self, bad: &[u32], task: &Task<'_>) -> Vec<Group> {
        let out = Task {
            must: &|p| bad.binary_search(&p).is_ok(),
            may: &|p| !(task.must)(p),
            except: false,
        };
        self.cover(bad.iter().copied().collect(), &mut BTreeSet::new(), &out)
    }

    /// A place that no name says, by its address or prefix; and the places that names.
    fn literally(&self, place: u32, task: &Task<'_>) -> (Group, Vec<u32>) {
        let block = match self.places.all[place as usize].extent {
            Extent::Region(block) => block,
            Extent::Point(a) => Block { first: a, len: 128 },
            Extent::Local(..) | Extent::HostItself => return (self.alone(place), vec![place]),
        };
        let (members, bad): (Vec<u32>, Vec<u32>) =
            self.inside(block).into_iter().partition(|&m| (task.may)(m));
        if block.len == 128 && !bad.is_empty() {
            return (self.alone(place), vec![place]);
        }
        let except = self.exceptions(&bad, task);
        (Group { kind: GroupKind::Prefix, name: prefix(block), except }, members)
    }

    fn alone(&self, place: u32) -> Group {
        let model = &self.compiled.model;
        let place = &self.places.all[place as usize];
        let view = place.views[self.side];
        match place.extent {
            Extent::Local(..) => {
                let network = view.network.map_or("", |n| model.networks[n].name.as_str());
                let a = view.example.map_or_else(String::new, |a| ip(a).to_string());
                Group::whole(GroupKind::LinkLocal, format!("{a}%{network}"))
            }
            Extent::Point(a) => Group::whole(GroupKind::Address, ip(a).to_string()),
            _ => Group::whole(GroupKind::HostItself, "host"),
        }
    }

    /// The places of a prefix as rules see it that a packet could come from.
    fn inside(&self, block: Block) -> Vec<u32> {
        let from = self.by_address.partition_point(|a| a.0 < block.first);
        let to = self.by_address.partition_point(|a| a.0 <= block.last());
        let meant = |&p: &u32| {
            let place = &self.places.all[p as usize];
            let larger = matches!(place.extent, Extent::Region(b) if b.len < block.len);
            let host = place.extent == Extent::HostItself;
            let seen = addr(place.views[self.side].seen);
            !larger && !host && seen.is_v4() == block.is_v4() && self.is_real(p)
        };
        let mut inside: Vec<u32> =
            self.by_address[from..to].iter().map(|a| a.1).filter(meant).collect();
        inside.sort_unstable();
        inside
    }
}

/// Everything that has a name, the widest first.
fn endpoints(compiled: &Compiled) -> Vec<(Endpoint, GroupKind, String)> {
    let model = &compiled.model;
    let mut all = vec![
        (Endpoint::Any, GroupKind::Any, "any".to_owned()),
        (Endpoint::World, GroupKind::World, "world".to_owned()),
        (Endpoint::Host, GroupKind::Host, "host".to_owned()),
    ];
    let networks = model.networks.iter().map(|n| &n.name).enumerate();
    all.extend(networks.map(|(i, n)| (Endpoint::Network(i), GroupKind::Network, n.clone())));
    let labels = model.labels.iter().map(|l| &l.name).enumerate();
    all.extend(labels.map(|(i, n)| (Endpoint::Label(i), GroupKind::Label, n.clone())));
    let sets = model.sets.iter().map(|s| &s.name).enumerate();
    all.extend(sets.map(|(i, n)| (Endpoint::Set(i), GroupKind::Set, n.clone())));
    let guests = model.guests.iter().map(|g| &g.name).enumerate();
    all.extend(guests.map(|(i, n)| (Endpoint::Guest(i), GroupKind::Guest, n.clone())));
    all
}

/// Of each network, the addresses that nobody declares.
fn undeclared<'a, const N: usize>(
    places: &'a Places<N>,
    side: usize,
    compiled: &'a Compiled,
) -> impl Iterator<Item = Name> + 'a {
    let mut members: Vec<Vec<u32>> = vec![Vec::new(); compiled.model.networks.len()];
    for (i, place) in (0..).zip(&places.all) {
        let view = place.views[side];
        let nobody = view.owner == Owner::Nobody && view.example.is_some();
        if let (true, Some(n), false) =
            (nobody, view.network, matches!(place.extent, Extent::Local(..)))
        {
            members[n].push(i);
        }
    }
    let networks = compiled.model.networks.iter().zip(members).filter(|(_, m)| !m.is_empty());
    networks.map(|(network, members)| Name {
        kind: GroupKind::Undeclared,
        text: network.name.clone(),
        members,
    })
}

/// A prefix as a rule would write it.
fn prefix(block: Block) -> String {
    let v4 = block.is_v4();
    let len = if v4 { block.len - 96 } else { block.len };
    let first = ip(block.first);
    if block.len == 128 { first.to_string() } else { format!("{first}/{len}") }
}
