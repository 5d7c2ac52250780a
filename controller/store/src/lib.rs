//! What a host must remember over a reboot.
//!
//! [`Store`] is a small, ordered key-value store with revisions and compare-and-swap
//! transactions: what an embedded file and etcd have in common. [`Embedded`] keeps it in one
//! file; [`Memory`] and [`Flaky`] are its peers for tests. [`record`] puts versioned values into
//! any of them.

mod embedded;
mod error;
mod flaky;
mod memory;
pub mod record;

pub use embedded::Embedded;
pub use error::Error;
pub use flaky::Flaky;
pub use memory::Memory;

/// Longest key, bytes.
pub const KEY_MAX: usize = 256;
/// Largest value, bytes: a policy of 100,000 rules is about a tenth of it.
pub const VALUE_MAX: usize = 64 << 20;
/// Most conditions, and most writes, of one transaction (etcd's default limit).
pub const TRANSACTION_MAX: usize = 128;

/// A moment of the store: every transaction that writes gets the next one. 0 is the empty store.
pub type Revision = u64;

/// A stored value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its key.
    pub key: String,
    /// Its value.
    pub value: Vec<u8>,
    /// The transaction that wrote it last.
    pub revision: Revision,
}

/// All entries of a prefix at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// The store's revision at that moment.
    pub revision: Revision,
    /// The entries, sorted by key.
    pub entries: Vec<Entry>,
}

/// What must hold of a key for a transaction to happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// The key does not exist.
    Absent(String),
    /// The key exists and was last written by this transaction.
    At(String, Revision),
}

impl Condition {
    /// The key that it speaks about.
    pub fn key(&self) -> &str {
        match self {
            Self::Absent(key) | Self::At(key, _) => key,
        }
    }

    /// Does it hold for a key last written at `found`?
    fn holds(&self, found: Option<Revision>) -> bool {
        match self {
            Self::Absent(_) => found.is_none(),
            Self::At(_, revision) => found == Some(*revision),
        }
    }

    /// The error for a condition that does not hold.
    fn conflict(&self, found: Option<Revision>) -> Error {
        let expected = match self {
            Self::Absent(_) => None,
            Self::At(_, revision) => Some(*revision),
        };
        Error::Conflict { key: self.key().to_owned(), expected, found }
    }
}

/// One change of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// Set the key.
    Put(String, Vec<u8>),
    /// Remove the key; nothing happens if it does not exist.
    Delete(String),
}

impl Write {
    /// The key that it changes.
    pub fn key(&self) -> &str {
        match self {
            Self::Put(key, _) | Self::Delete(key) => key,
        }
    }
}

/// Several writes that happen together, or not at all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transaction {
    /// What must hold before.
    pub conditions: Vec<Condition>,
    /// What is then changed; every key at most once.
    pub writes: Vec<Write>,
}

impl Transaction {
    /// A transaction that does nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a condition.
    #[must_use]
    pub fn when(mut self, condition: Condition) -> Self {
        self.conditions.push(condition);
        self
    }

    /// Sets a key.
    #[must_use]
    pub fn put(mut self, key: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        self.writes.push(Write::Put(key.into(), value.into()));
        self
    }

    /// Removes a key.
    #[must_use]
    pub fn delete(mut self, key: impl Into<String>) -> Self {
        self.writes.push(Write::Delete(key.into()));
        self
    }

    /// Is it within the limits that every store keeps?
    fn check(&self) -> Result<(), Error> {
        let most = self.conditions.len().max(self.writes.len());
        if most > TRANSACTION_MAX {
            return Err(Error::TransactionTooLarge { got: most, max: TRANSACTION_MAX });
        }
        self.conditions.iter().try_for_each(|condition| check_key(condition.key()))?;
        let mut keys = std::collections::BTreeSet::new();
        for write in &self.writes {
            check_key(write.key())?;
            if !keys.insert(write.key()) {
                return Err(Error::TwoWrites { key: write.key().to_owned() });
            }
            if let Write::Put(key, value) = write
                && value.len() > VALUE_MAX
            {
                return Err(Error::ValueTooLarge {
                    key: key.clone(),
                    got: value.len(),
                    max: VALUE_MAX,
                });
            }
        }
        Ok(())
    }
}

/// Is this a key that every store takes?
fn check_key(key: &str) -> Result<(), Error> {
    if key.is_empty() || key.len() > KEY_MAX {
        return Err(Error::Key { key: key.to_owned(), got: key.len(), max: KEY_MAX });
    }
    Ok(())
}

/// An ordered key-value store. Every call sees everything committed before it. An `Err` of a
/// reading call says nothing about the content; for [`Store::commit`] see there.
pub trait Store: Send {
    /// The entry with this key.
    fn get(&self, key: &str) -> Result<Option<Entry>, Error>;

    /// All entries whose key begins with `prefix`, at one moment.
    fn list(&self, prefix: &str) -> Result<Listing, Error>;

    /// Makes all writes of a transaction together if all its conditions hold, and returns the
    /// new revision, or the present one if there is nothing to write. When it returns, they are
    /// durable.
    ///
    /// # Errors
    /// [`Error::Conflict`] with the first condition that does not hold; nothing was written.
    /// [`Error::Unavailable`]: the writes happened or did not (never a part of them); read to
    /// find out. Any other error: nothing was written.
    fn commit(&mut self, transaction: &Transaction) -> Result<Revision, Error>;

    /// Sets one key whatever it holds.
    fn put(&mut self, key: &str, value: &[u8]) -> Result<Revision, Error> {
        self.commit(&Transaction::new().put(key, value))
    }

    /// Removes one key.
    fn delete(&mut self, key: &str) -> Result<Revision, Error> {
        self.commit(&Transaction::new().delete(key))
    }
}

impl<S: Store + ?Sized> Store for Box<S> {
    fn get(&self, key: &str) -> Result<Option<Entry>, Error> {
        (**self).get(key)
    }

    fn list(&self, prefix: &str) -> Result<Listing, Error> {
        (**self).list(prefix)
    }

    fn commit(&mut self, transaction: &Transaction) -> Result<Revision, Error> {
        (**self).commit(transaction)
    }
}
