//! The store in memory: the peer of the real ones in tests.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use crate::{Entry, Error, Listing, Revision, Store, Transaction, Write};

/// A store that lives as long as its last handle. Clones are handles of the same store, so a
/// test can "restart" its user.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    revision: Revision,
    entries: BTreeMap<String, (Revision, Vec<u8>)>,
}

impl Memory {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// Every transaction is checked before its first write, so a panic elsewhere in a holder
    /// of the lock leaves a whole state.
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for Memory {
    fn get(&self, key: &str) -> Result<Option<Entry>, Error> {
        crate::check_key(key)?;
        let state = self.state();
        Ok(state.entries.get(key).map(|(revision, value)| entry(key, *revision, value)))
    }

    fn list(&self, prefix: &str) -> Result<Listing, Error> {
        let state = self.state();
        let entries = state
            .entries
            .range(prefix.to_owned()..)
            .take_while(|(key, _)| key.starts_with(prefix))
            .map(|(key, (revision, value))| entry(key, *revision, value))
            .collect();
        Ok(Listing { revision: state.revision, entries })
    }

    fn commit(&mut self, transaction: &Transaction) -> Result<Revision, Error> {
        transaction.check()?;
        let mut state = self.state();
        for condition in &transaction.conditions {
            let found = state.entries.get(condition.key()).map(|(revision, _)| *revision);
            if !condition.holds(found) {
                return Err(condition.conflict(found));
            }
        }
        if transaction.writes.is_empty() {
            return Ok(state.revision);
        }
        state.revision += 1;
        let revision = state.revision;
        for write in &transaction.writes {
            match write {
                Write::Put(key, value) => {
                    state.entries.insert(key.clone(), (revision, value.clone()));
                }
                Write::Delete(key) => {
                    state.entries.remove(key);
                }
            }
        }
        Ok(revision)
    }
}

fn entry(key: &str, revision: Revision, value: &[u8]) -> Entry {
    Entry { key: key.to_owned(), value: value.to_vec(), revision }
}
