//! A store that fails at random, and in the worst way: a commit that failed may have happened.

use std::cell::Cell;

use crate::{Entry, Error, Listing, Revision, Store, Transaction};

/// Wraps a store and makes some of its calls fail, reproducibly.
#[derive(Debug)]
pub struct Flaky<S> {
    inner: S,
    random: Cell<u64>,
    percent: u64,
}

/// What happens to one call.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Work,
    FailBefore,
    FailAfter,
}

impl<S> Flaky<S> {
    /// Lets `percent` of 100 calls fail, chosen by `seed`.
    pub fn new(inner: S, seed: u64, percent: u64) -> Self {
        Self { inner, random: Cell::new(seed.wrapping_mul(2).wrapping_add(1)), percent }
    }

    /// The store inside, which never fails.
    pub fn inner(&self) -> &S {
        &self.inner
    }

    /// xorshift64* (Vigna 2014): short, seedable, and no dependency.
    fn random(&self) -> u64 {
        let mut x = self.random.get();
        x ^= x >> 12;
        x ^= x << 25;
        x ^= x >> 27;
        self.random.set(x);
        x.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32
    }

    fn fate(&self) -> Fate {
        let roll = self.random();
        match (roll % 100 < self.percent, roll >> 16 & 1) {
            (false, _) => Fate::Work,
            (true, 0) => Fate::FailBefore,
            (true, _) => Fate::FailAfter,
        }
    }

    fn read<T>(&self, read: impl FnOnce(&S) -> Result<T, Error>) -> Result<T, Error> {
        if self.fate() == Fate::Work { read(&self.inner) } else { Err(unavailable()) }
    }
}

impl<S: Store> Store for Flaky<S> {
    fn get(&self, key: &str) -> Result<Option<Entry>, Error> {
        self.read(|inner| inner.get(key))
    }

    fn list(&self, prefix: &str) -> Result<Listing, Error> {
        self.read(|inner| inner.list(prefix))
    }

    fn commit(&mut self, transaction: &Transaction) -> Result<Revision, Error> {
        match self.fate() {
            Fate::Work => self.inner.commit(transaction),
            Fate::FailBefore => Err(unavailable()),
            // A conflict is still a conflict; only the news of a success gets lost.
            Fate::FailAfter => self.inner.commit(transaction).and(Err(unavailable())),
        }
    }
}

fn unavailable() -> Error {
    Error::Unavailable { reason: "made to fail".to_owned() }
}
