//! Lists that are used in several places, each kept once.

use std::hash::{BuildHasher, Hash};

use hashbrown::{DefaultHashBuilder, HashTable};

use crate::source::Span;

/// Lists without order, numbered as they are met.
#[derive(Clone)]
pub struct Interned<T> {
    lists: Vec<Vec<T>>,
    /// Where each is used first, when it was first asked for.
    users: Vec<Span>,
    /// How often each is used.
    uses: Vec<u32>,
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
            uses: Vec::new(),
            known: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
            scratch: Vec::new(),
        }
    }
}

impl<T: Copy + Ord + Hash> Interned<T> {
    /// The number of a list, which is used once more.
    pub fn intern(&mut self, list: impl IntoIterator<Item = T>, user: Span) -> u32 {
        let id = self.add(list, user);
        self.uses[id as usize] += 1;
        id
    }

    /// The number of a list, which may be there without being used.
    pub fn add(&mut self, list: impl IntoIterator<Item = T>, user: Span) -> u32 {
        self.normalise(list);
        let Self { lists, users, uses, known, hasher, scratch } = self;
        let hash = |list: &Vec<T>| hasher.hash_one(list);
        let next = lists.len() as u32;
        let same = |&other: &u32| lists[other as usize] == *scratch;
        let entry = known.entry(hash(scratch), same, |&other| hash(&lists[other as usize]));
        let id = *entry.or_insert(next).get();
        if id == next {
            lists.push(scratch.clone());
            users.push(user);
            uses.push(0);
        }
        id
    }

    /// The number of a list that is used somewhere, which is then used once more.
    pub fn use_known(&mut self, list: impl IntoIterator<Item = T>) -> Option<u32> {
        self.normalise(list);
        let same = |&other: &u32| self.lists[other as usize] == self.scratch;
        let id = *self.known.find(self.hasher.hash_one(&self.scratch), same)?;
        if self.uses[id as usize] == 0 {
            return None;
        }
        self.uses[id as usize] += 1;
        Some(id)
    }

    /// Uses a list once less; is it still in use?
    pub fn release(&mut self, list: u32) -> bool {
        let uses = &mut self.uses[list as usize];
        *uses -= 1;
        *uses > 0
    }

    fn normalise(&mut self, list: impl IntoIterator<Item = T>) {
        self.scratch.clear();
        self.scratch.extend(list);
        self.scratch.sort_unstable();
        self.scratch.dedup();
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.lists.len()
    }

    /// The list of a number.
    pub fn get(&self, list: u32) -> &[T] {
        &self.lists[list as usize]
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
