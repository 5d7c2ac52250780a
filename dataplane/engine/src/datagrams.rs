//! Datagrams in fragments: a table of fixed size, where a new one takes the place of the oldest
//! among a few.

use std::{cell::Cell, hash::BuildHasher};

use hashbrown::DefaultHashBuilder;
use portcullis_pipeline::{
    layout::{COVERED, Datagram, FlowKey},
    word::Word,
};

/// Places among which a key has its own.
const WAYS: usize = 8;
/// As many datagrams as the kernel's table holds.
const SETS: usize = 1024;

struct Place {
    key: Cell<Option<FlowKey>>,
    datagram: Datagram,
}

/// Datagrams by key.
pub struct Datagrams {
    places: Box<[Place]>,
    hasher: DefaultHashBuilder,
}

impl Default for Datagrams {
    fn default() -> Self {
        let word = || Word::new(0);
        let empty = || Datagram {
            born: word(),
            first: word(),
            octets: word(),
            end: word(),
            covered: [const { Word::new(0) }; COVERED],
        };
        let place = |_| Place { key: Cell::new(None), datagram: empty() };
        Self {
            places: (0..SETS * WAYS).map(place).collect(),
            hasher: DefaultHashBuilder::default(),
        }
    }
}

impl Datagrams {
    fn set(&self, key: &FlowKey) -> &[Place] {
        let at = self.hasher.hash_one(key) as usize % SETS * WAYS;
        &self.places[at..at + WAYS]
    }

    /// What is known of a datagram.
    pub fn get(&self, key: &FlowKey) -> Option<&Datagram> {
        self.set(key).iter().find(|p| p.key.get().as_ref() == Some(key)).map(|p| &p.datagram)
    }

    /// Puts an empty one in its place.
    pub fn insert(&self, key: &FlowKey, now: u64) {
        let age = |p: &&Place| match p.key.get() {
            Some(k) if k == *key => (0, 0),
            None => (1, 0),
            Some(_) => (2, p.datagram.born.get()),
        };
        let Some(place) = self.set(key).iter().min_by_key(age) else { return };
        place.key.set(Some(*key));
        let d = &place.datagram;
        d.born.set(now);
        [&d.first, &d.octets, &d.end].into_iter().chain(&d.covered).for_each(|w| w.set(0));
    }
}

#[cfg(test)]
mod tests {
    use portcullis_pipeline::{addr::Addr, flow::fragment_key};

    use super::*;

    #[test]
    fn the_oldest_makes_room() {
        let (a, b) = (Addr::v4([10, 0, 0, 1]), Addr::v4([10, 0, 0, 2]));
        let key = |id| fragment_key(a, b, id, 17, 1);
        let datagrams = Datagrams::default();
        for id in 0..(SETS * WAYS * 4) as u32 {
            datagrams.insert(&key(id), id.into());
            let d = datagrams.get(&key(id)).unwrap();
            assert_eq!((d.born.get(), d.covered[3].get()), (id.into(), 0));
            d.covered[3].set(7);
        }
        let newest = (SETS * WAYS * 4 - 1) as u32;
        assert!(datagrams.get(&key(newest)).is_some() && datagrams.get(&key(0)).is_none());
        // Again: the same place, empty.
        datagrams.insert(&key(newest), 9);
        assert_eq!(datagrams.get(&key(newest)).unwrap().covered[3].get(), 0);
    }
}
