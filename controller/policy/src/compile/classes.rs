//! Identity classes: atoms that no rule and no invariant tells apart.

use std::hash::BuildHasher;

use hashbrown::{HashMap, HashTable};

use super::{interned::Interned, partition::Partition, space::Space};
use crate::{
    model::{Endpoint, Term},
    source::Span,
};

/// Which lists of endpoints a policy uses, each once.
#[derive(Clone, Default)]
pub struct EndpointLists {
    lists: Interned<Endpoint>,
}

impl EndpointLists {
    /// The number of a list; `user` is where it is used.
    pub fn intern(&mut self, terms: &[Term], user: Span) -> u32 {
        self.lists.intern(terms.iter().map(|t| t.endpoint), user)
    }

    /// The number of a list that is in use already.
    pub fn use_known(&mut self, terms: &[Term]) -> Option<u32> {
        self.lists.use_known(terms.iter().map(|t| t.endpoint))
    }

    /// Uses a list once less; is it still in use?
    pub fn release(&mut self, list: u32) -> bool {
        self.lists.release(list)
    }

    /// Adds each endpoint of each list as a list of its own.
    pub fn take_apart(&mut self) {
        for list in 0..self.lists.len() as u32 {
            let user = self.user(list);
            let endpoints = self.lists.get(list).to_vec();
            for endpoint in endpoints {
                self.add(endpoint, user);
            }
        }
    }

    /// Adds a list of one endpoint that nobody may use.
    pub fn add(&mut self, endpoint: Endpoint, user: Span) {
        self.lists.add([endpoint], user);
    }

    /// Where a list is used first.
    pub fn user(&self, list: u32) -> Span {
        self.lists.user(list)
    }
}

/// The division of the address space, and the classes of each list.
#[derive(Clone)]
pub struct Classes {
    of_atom: Vec<u32>,
    count: usize,
    lists: Vec<Vec<u32>>,
    /// Of each list, a number that it shares with those of the same classes.
    sets: Vec<u32>,
    /// How many classes there would be fewer without each list and those behind it.
    made: Vec<u32>,
}

/// The lists have too many members.
pub struct TooManyMembers {
    /// How many.
    pub got: u64,
    /// How many each list has, as far as they were counted.
    pub shares: Vec<u32>,
}

impl Classes {
    /// The coarsest division that every list respects.
    ///
    /// Two steps keep this fast: first atoms are divided by single endpoints, then the few
    /// pieces that leaves are divided by whole lists.
    pub fn new(space: &Space, lists: &EndpointLists, limit: u64) -> Result<Self, TooManyMembers> {
        let mut members: HashMap<Endpoint, Vec<u32>> = HashMap::new();
        let mut coarse = Partition::new(space.atoms().len());
        for &endpoint in lists.lists.iter().flatten() {
            members.entry(endpoint).or_insert_with(|| {
                let members = space.members(endpoint);
                coarse.refine(&members);
                members
            });
        }
        let piece = coarse.classes();
        let pieces: HashMap<Endpoint, Vec<u32>> =
            members.into_iter().map(|(e, atoms)| (e, map_to(&piece, &atoms))).collect();
        let (mut unions, mut got) = (Vec::with_capacity(lists.lists.len()), 0);
        for list in lists.lists.iter() {
            let mut union: Vec<u32> = list.iter().flat_map(|e| pieces[e].iter().copied()).collect();
            union.sort_unstable();
            union.dedup();
            got += union.len() as u64;
            unions.push(union);
            if got > limit {
                let shares = unions.iter().map(|u| u.len() as u32).collect();
                return Err(TooManyMembers { got, shares });
            }
        }
        let mut fine = Partition::new(coarse.len());
        let mut refine = |union: &Vec<u32>| {
            let before = fine.len();
            fine.refine(union);
            (fine.len() - before) as u32
        };
        let made = unions.iter().map(&mut refine).collect();
        let class = fine.classes();
        let lists: Vec<Vec<u32>> = unions.iter().map(|u| map_to(&class, u)).collect();
        let of_atom = piece.iter().map(|&p| class[p as usize]).collect();
        let sets = equal_ones(&lists);
        Ok(Self { of_atom, count: fine.len(), lists, sets, made })
    }

    /// How many classes there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// The class of an atom.
    pub fn of_atom(&self, atom: usize) -> u32 {
        self.of_atom[atom]
    }

    /// The class of each atom.
    pub fn of_atoms(&self) -> &[u32] {
        &self.of_atom
    }

    /// The classes of each list, ascending.
    pub fn lists(&self) -> &[Vec<u32>] {
        &self.lists
    }

    /// The classes of a list, ascending.
    pub fn of_list(&self, list: u32) -> &[u32] {
        &self.lists[list as usize]
    }

    /// A number that a list shares with those of the same classes.
    pub fn set_of(&self, list: u32) -> u32 {
        self.sets[list as usize]
    }

    /// How many classes a list adds to those of the lists before it.
    pub fn made_by(&self) -> &[u32] {
        &self.made
    }
}

/// For each list, the number of the first that is equal.
fn equal_ones(lists: &[Vec<u32>]) -> Vec<u32> {
    let hasher = hashbrown::DefaultHashBuilder::default();
    let hash = |i: u32| hasher.hash_one(&lists[i as usize]);
    let mut known: HashTable<u32> = HashTable::with_capacity(lists.len());
    let first = |i: u32| {
        let same = |&other: &u32| lists[other as usize] == lists[i as usize];
        *known.entry(hash(i), same, |&other| hash(other)).or_insert(i).get()
    };
    (0..lists.len() as u32).map(first).collect()
}

/// Where some elements are mapped to, ascending, each once.
fn map_to(to: &[u32], elements: &[u32]) -> Vec<u32> {
    let mut mapped: Vec<u32> = elements.iter().map(|&e| to[e as usize]).collect();
    mapped.sort_unstable();
    mapped.dedup();
    mapped
}
