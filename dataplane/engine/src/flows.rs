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

type Place = OnceCell<(FlowKey, FlowEntry)>;

/// Connections by key.
pub struct Flows {
    places: Box<[Place]>,
    hasher: DefaultHashBuilder,
    count: Cell<usize>,
    capacity: usize,
}

impl Flows {
    /// Room for `capacity` connections; twice as many places, so that chains stay short.
    pub fn new(capacity: usize) -> Self {
        let places = (2 * capacity.max(1)).next_power_of_two();
        Self {
            places: (0..places).map(|_| OnceCell::new()).collect(),
            hasher: DefaultHashBuilder::default(),
            count: Cell::new(0),
            capacity,
        }
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
        for place in self.chain(&key) {
            match place.get() {
                None => return None,
                Some((k, entry)) if *k == key => return Some(entry),
                Some(_) => {}
            }
        }
        None
    }

    /// Adds an entry unless the key is there. The words of `entry` are copied.
    pub fn insert(&self, key: &FlowKey, entry: FlowEntry) -> Inserted {
        for place in self.chain(key) {
            match place.get() {
                Some((k, _)) if k == key => return Inserted::Exists,
                Some(_) => {}
                None if self.count.get() == self.capacity => return Inserted::Full,
                None => {
                    let _ = place.set((*key, entry));
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
            while self.places[at].get().is_some_and(|(key, entry)| !keep(key, entry)) {
                self.take(at);
            }
        }
        from.wrapping_add(count) & mask
    }

    /// Empties a place, and moves what follows in its chain up, so that no chain has a hole (Knuth,
    /// The Art of Computer Programming, volume 3, section 6.4, algorithm R).
    fn take(&mut self, at: usize) {
        let mask = self.places.len() - 1;
        self.places[at].take();
        self.count.set(self.count.get() - 1);
        let mut hole = at;
        let mut next = (at + 1) & mask;
        while let Some((key, _)) = self.places[next].get() {
            let home = self.home(key) & mask;
            // Is the hole on the way from its home to where it is?
            if next.wrapping_sub(home) & mask >= next.wrapping_sub(hole) & mask {
                if let Some(moved) = self.places[next].take() {
                    let _ = self.places[hole].set(moved);
                }
                hole = next;
            }
            next = (next + 1) & mask;
        }
    }

    /// Keeps the entries that `keep` wants. Rebuilds the table: for the sweeper, between packets.
    pub fn retain(&mut self, mut keep: impl FnMut(&FlowKey, &FlowEntry) -> bool) {
        let fresh = (0..self.places.len()).map(|_| OnceCell::new()).collect();
        let old = std::mem::replace(&mut self.places, fresh);
        self.count.set(0);
        for (key, entry) in old.into_iter().filter_map(OnceCell::into_inner) {
            if keep(&key, &entry) {
                self.insert(&key, entry);
            }
        }
    }

    /// All entries, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&FlowKey, &FlowEntry)> {
        self.places.iter().filter_map(|p| p.get()).map(|(k, e)| (k, e))
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
    use portcullis_pipeline::{addr::Addr, layout::FlowSide, word::Word};

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

    #[test]
    fn what_is_not_kept_is_gone_and_the_rest_is_found() {
        let mut flows = Flows::new(64);
        for port in 0..64 {
            flows.insert(&key(port), entry(port.into()));
        }
        flows.retain(|_, e| e.judged.get() % 2 == 0);
        assert_eq!(flows.len(), 32);
        assert_eq!(flows.iter().count(), 32);
        for port in 0..64 {
            assert_eq!(flows.get(&key(port)).is_some(), port % 2 == 0);
        }
        assert_eq!(flows.insert(&key(1), entry(5)), Inserted::New);
    }
}
