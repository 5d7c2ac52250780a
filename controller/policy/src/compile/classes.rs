//! Identity classes: atoms that no rule and no invariant tells apart.

use std::collections::HashMap;

use super::{partition::Partition, space::Space};
use crate::model::{Endpoint, Term};

/// Which lists of endpoints a policy uses, each once.
#[derive(Default)]
pub struct EndpointLists {
    ids: HashMap<Vec<Endpoint>, u32>,
    lists: Vec<Vec<Endpoint>>,
}

impl EndpointLists {
    /// The number of a list.
    pub fn intern(&mut self, terms: &[Term]) -> u32 {
        self.intern_endpoints(terms.iter().map(|t| t.endpoint).collect())
    }

    /// The number of a list.
    pub fn intern_endpoints(&mut self, mut list: Vec<Endpoint>) -> u32 {
        list.sort_unstable();
        list.dedup();
        let next = self.lists.len() as u32;
        *self.ids.entry(list).or_insert_with_key(|list| {
            self.lists.push(list.clone());
            next
        })
    }
}

/// The division of the address space, and the classes of each list.
pub struct Classes {
    of_atom: Vec<u32>,
    count: usize,
    lists: Vec<Vec<u32>>,
}

impl Classes {
    /// The coarsest division that every list respects.
    ///
    /// Two steps keep this fast: first atoms are divided by single endpoints, then the few
    /// pieces that leaves are divided by whole lists.
    pub fn new(space: &Space, lists: &EndpointLists) -> Self {
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
        let union = |list: &Vec<Endpoint>| {
            let mut union: Vec<u32> = list.iter().flat_map(|e| pieces[e].iter().copied()).collect();
            union.sort_unstable();
            union.dedup();
            union
        };
        let unions: Vec<Vec<u32>> = lists.lists.iter().map(union).collect();
        let mut fine = Partition::new(coarse.len());
        unions.iter().for_each(|u| fine.refine(u));
        let class = fine.classes();
        let lists = unions.iter().map(|u| map_to(&class, u)).collect();
        let of_atom = piece.iter().map(|&p| class[p as usize]).collect();
        Self { of_atom, count: fine.len(), lists }
    }

    /// How many classes there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// The class of an atom.
    pub fn of_atom(&self, atom: usize) -> u32 {
        self.of_atom[atom]
    }

    /// The classes of a list, ascending.
    pub fn of_list(&self, list: u32) -> &[u32] {
        &self.lists[list as usize]
    }
}

/// Where some elements are mapped to, ascending, each once.
fn map_to(to: &[u32], elements: &[u32]) -> Vec<u32> {
    let mut mapped: Vec<u32> = elements.iter().map(|&e| to[e as usize]).collect();
    mapped.sort_unstable();
    mapped.dedup();
    mapped
}
