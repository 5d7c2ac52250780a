//! The connection table: open addressing in one block of memory that never moves, so that an
//! entry can be added while others are referred to, without a lock and without allocating.

use std::{
    cell::{Cell, OnceCell},
    hash::{BuildHasher, Hasher},
    hint::black_box,
};

use hashbrown::DefaultHashBuilder;
use portcullis_pipeline::{
    layout::{FlowEntry, FlowKey},
    tables::Inserted,
};

use crate::memory;

/// Room for a connection: two lines of the cache, which the processor fetches as a pair.
#[derive(Default)]
#[repr(align(128))]
struct Place(OnceCell<Flow>);
const _: () = assert!(size_of::<Place>() == 128);

/// A connection. All that tells whose it is, is in the first line.
#[repr(C)]
struct Flow {
    key: FlowKey,
    entry: FlowEntry,
}

/// Connections by key.
pub struct Flows {
    places: Box<[Place]>,
    hasher: DefaultHashBuilder,
    count: Cell<usize>,
    capacity: usize,
    /// Where the next one to be looked up probably is.
    expected: Cell<Expected>,
}

/// A place in the table.
#[derive(Clone, Copy, Debug, Default)]
pub struct Expected(usize);

impl Flows {
    /// Room for `capacity` connections; twice as many places, so that chains stay short.
    pub fn new(capacity: usize) -> Self {
        let places = (2 * capacity.max(1)).next_power_of_two();
        Self {
            places: memory::row(places, Place::default),
            hasher: DefaultHashBuilder::default(),
            count: Cell::new(0),
            capacity,
            expected: Cell::default(),
        }
    }

    /// Has what is known of a connection fetched; where it probably is.
    #[inline(always)]
    pub fn fetch(&self, key: &FlowKey) -> Expected {
        let at = self.home(key) & (self.places.len() - 1);
        memory::fetch((&raw const self.places[at]).cast(), size_of::<Place>());
        Expected(at)
    }

    /// The next one that is looked up is probably there.
    #[inline(always)]
    pub fn expect(&self, expected: Expected) {
        self.expected.set(expected);
    }

    /// Where a key belongs, before the table's size is known.
    #[inline(always)]
    fn home(&self, key: &FlowKey) -> usize {
        let mut hasher = self.hasher.build_hasher();
        for word in [key.a.hi, key.a.lo, key.b.hi, key.b.lo] {
            hasher.write_u64(word);
        }
        let ports = u64::from(key.a_port) << 48 | u64::from(key.b_port) << 32;
        hasher.write_u64(ports | u64::from(key.protocol) << 16 | u64::from(key.scope));
        hasher.finish() as usize
    }

    /// Places from where `key` belongs, each once.
    #[inline(always)]
    fn chain(&self, key: &FlowKey) -> impl Iterator<Item = &Place> {
        let mask = self.places.len() - 1;
        let start = self.home(key);
        (0..=mask).map(move |step| &self.places[start.wrapping_add(step) & mask])
    }

    /// The entry of a key.
    #[inline(always)]
    pub fn get(&self, key: &FlowKey) -> Option<&FlowEntry> {
        // Stored one by one a moment ago. Loaded as one word, which the compiler would do, they had
        // to wait until all that was stored before, other guests' frames too, has left for the cache.
        let key = FlowKey {
            a_port: black_box(key.a_port),
            b_port: black_box(key.b_port),
            protocol: black_box(key.protocol),
            scope: black_box(key.scope),
            ..*key
        };
        let expected = self.places.get(self.expected.get().0).and_then(|place| place.0.get());
        match expected {
            Some(flow) if flow.key == key => Some(&flow.entry),
            _ => self.find(&key),
        }
    }

    /// The entry of a key, wherever it is.
    fn find(&self, key: &FlowKey) -> Option<&FlowEntry> {
        for place in self.chain(key) {
            match place.0.get() {
                None => return None,
                Some(flow) if flow.key == *key => return Some(&flow.entry),
                Some(_) => {}
            }
        }
        None
    }

    /// Adds an entry unless the key is there. The words of `entry` are copied.
    pub fn insert(&self, key: &FlowKey, entry: FlowEntry) -> Inserted {
        for place in self.chain(key) {
            match place.0.get() {
                Some(flow) if flow.key == *key => return Inserted::Exists,
                Some(_) => {}
                None if self.count.get() == self.capacity => return Inserted::Full,
                None => {
                    let _ = place.0.set(Flow { key: *key, entry });
                    self.count.set(self.count.get() + 1);
                    return Inserted::New;
                }
            }
        }
        Inserted::Full
    }

    /// Looks at `count` places from `from` on, takes out what `keep` does not want, and says where
    /// to go on. Moves a few entries and allocates nothing: for the sweeper, between packets. What
    /// it moves may be looked at twice, and none is left out.
    pub fn sweep(
        &mut self,
        from: usize,
        count: usize,
        mut keep: impl FnMut(&FlowKey, &FlowEntry) -> bool,
    ) -> usize {
        let mask = self.places.len() - 1;
        for step in 0..count {
            let at = from.wrapping_add(step) & mask;
            let mut goes = |flow: &Flow| !keep(&flow.key, &flow.entry);
            while self.places[at].0.get().is_some_and(&mut goes) {
                self.take(at);
            }
        }
        from.wrapping_add(count) & mask
    }

    /// Empties a place, and moves what follows in its chain up, so that no chain has a hole (Knuth,
    /// The Art of Computer Programming, volume 3, section 6.4, algorithm R).
    fn take(&mut self, at: usize) {
        let mask = self.places.len() - 1;
        self.places[at].0.take();
        self.count.set(self.count.get() - 1);
        let mut hole = at;
        let mut next = (at + 1) & mask;
        while let Some(flow) = self.places[next].0.get() {
            let home = self.home(&flow.key) & mask;
            // Is the hole on the way from its home to where it is?
            if next.wrapping_sub(home) & mask >= next.wrapping_sub(hole) & mask {
                if let Some(moved) = self.places[next].0.take() {
                    let _ = self.places[hole].0.set(moved);
                }
                hole = next;
            }
            next = (next + 1) & mask;
        }
    }

    /// All entries, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&FlowKey, &FlowEntry)> {
        self.places.iter().filter_map(|place| place.0.get()).map(|flow| (&flow.key, &flow.entry))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.count.get()
    }

    /// Is there none?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use portcullis_pipeline::{addr::Addr, layout::FlowSide, word::Word};
    use proptest::prelude::*;

    use super::*;

    fn key(port: u16) -> FlowKey {
        let (a, b) = (Addr::v4([10, 0, 0, 1]), Addr::v4([10, 0, 0, 2]));
        FlowKey { a, b, a_port: port, b_port: 80, protocol: 6, scope: 0 }
    }

    fn entry(judged: u64) -> FlowEntry {
        let side = || FlowSide { way: Word::new(0), half: Word::new(0), sent: Word::new(0) };
        FlowEntry { judged: Word::new(judged), last: Word::new(0), a: side(), b: side() }
    }

    #[test]
    fn the_table_fills_up_and_says_so() {
        let flows = Flows::new(100);
        for port in 0..100 {
            assert_eq!(flows.insert(&key(port), entry(port.into())), Inserted::New);
        }
        assert_eq!(flows.insert(&key(7), entry(9)), Inserted::Exists);
        assert_eq!(flows.insert(&key(100), entry(0)), Inserted::Full);
        for port in 0..100 {
            assert_eq!(flows.get(&key(port)).unwrap().judged.get(), u64::from(port));
        }
        assert!(flows.get(&key(100)).is_none());
    }

    #[test]
    fn what_is_swept_away_leaves_no_hole() {
        // Half full: chains are long and run over the end.
        let mut flows = Flows::new(512);
        for port in 0..512 {
            assert_eq!(flows.insert(&key(port), entry(port.into())), Inserted::New);
        }
        let mut from = 1000;
        for _ in 0..32 {
            from = flows.sweep(from, 32, |_, e| e.judged.get() % 3 != 0);
        }
        assert_eq!(from, 1000, "once around");
        assert_eq!(flows.len(), 512 - 171);
        for port in 0..512 {
            let found = flows.get(&key(port)).map(|e| e.judged.get());
            assert_eq!(found, (port % 3 != 0).then_some(port.into()));
        }
        assert_eq!(flows.insert(&key(3), entry(7)), Inserted::New);
    }

    /// What is done to a table.
    #[derive(Clone, Copy, Debug)]
    enum Deed {
        Insert(u16),
        /// Looks at so many places and takes out what is divisible by the second number.
        Sweep(usize, u64),
    }

    fn deeds() -> impl Strategy<Value = Vec<Deed>> {
        let insert = (0_u16..120).prop_map(Deed::Insert);
        let sweep = (0_usize..40, 2_u64..6).prop_map(|(count, of)| Deed::Sweep(count, of));
        proptest::collection::vec(prop_oneof![8 => insert, 1 => sweep], 1..300)
    }

    proptest! {
        /// Whatever is put in and swept out, however long the chains: all that is there is found,
        /// with what was put in, and nothing else.
        #[test]
        fn it_is_the_map_that_it_stands_for(capacity in 1_usize..100, deeds in deeds()) {
            let mut flows = Flows::new(capacity);
            let (mut model, mut from) = (HashMap::new(), 0);
            for (time, deed) in (0_u64..).zip(deeds) {
                match deed {
                    Deed::Insert(port) => {
                        let expected = match model.len() {
                            _ if model.contains_key(&port) => Inserted::Exists,
                            full if full == capacity => Inserted::Full,
                            _ => Inserted::New,
                        };
                        prop_assert_eq!(flows.insert(&key(port), entry(time)), expected);
                        if expected == Inserted::New {
                            model.insert(port, time);
                        }
                    }
                    Deed::Sweep(count, of) => {
                        from = flows.sweep(from, count, |key, entry| {
                            let goes = entry.judged.get().is_multiple_of(of);
                            if goes {
                                assert_eq!(model.remove(&key.a_port), Some(entry.judged.get()));
                            }
                            !goes
                        });
                    }
                }
                prop_assert_eq!(flows.len(), model.len());
                for port in 0..120 {
                    let found = flows.get(&key(port)).map(|entry| entry.judged.get());
                    prop_assert_eq!(found, model.get(&port).copied());
                }
            }
            let all: HashMap<_, _> = flows.iter().map(|(k, e)| (k.a_port, e.judged.get())).collect();
            prop_assert_eq!(all, model);
        }
    }
}
