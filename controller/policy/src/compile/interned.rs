//! Lists that are used in several places, each kept once.

use std::hash::{BuildHasher, Hash};

use hashbrown::{DefaultHashBuilder, HashTable};

use crate::source::Span;

/// Lists without order, numbered as they are met.
pub struct Interned<T> {
    lists: Vec<Vec<T>>,
    /// Where each is used first.
    users: Vec<Span>,
    known: HashTable<u32>,
    hasher: DefaultHashBuilder,
    /// The list at hand.
    scratch: Vec<T>,
}

impl<T> Default for Interned<T> {
    fn default() -> Self {
        Self {
            lists: Vec::new(),
            users: Vec::new(),
            known: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
            scratch: Vec::new(),
        }
    }
}

impl<T: Copy + Ord + Hash> Interned<T> {
    /// The number of a list.
    pub fn intern(&mut self, list: impl IntoIterator<Item = T>, user: Span) -> u32 {
        self.scratch.clear();
        self.scratch.extend(list);
        self.scratch.sort_unstable();
        self.scratch.dedup();
        let Self { lists, users, known, hasher, scratch } = self;
        let hash = |list: &Vec<T>| hasher.hash_one(list);
        let next = lists.len() as u32;
        let same = |&other: &u32| lists[other as usize] == *scratch;
        let entry = known.entry(hash(scratch), same, |&other| hash(&lists[other as usize]));
        let id = *entry.or_insert(next).get();
        if id == next {
            lists.push(scratch.clone());
            users.push(user);
        }
        id
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.lists.len()
    }

    /// All of them, in the order of their numbers.
    pub fn iter(&self) -> impl Iterator<Item = &Vec<T>> {
        self.lists.iter()
    }

    /// Where a list is used first.
    pub fn user(&self, list: u32) -> Span {
        self.users[list as usize]
    }
}
