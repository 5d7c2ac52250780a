//! The store of one host: a single file, kept by redb (copy on write, two-phase commit,
//! checksums), so a crash leaves the last committed transaction.

use std::{
    fs::{DirBuilder, OpenOptions},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

use redb::{
    Builder, Database, DatabaseError, ReadableDatabase, ReadableTable, StorageError,
    TableDefinition, TableError,
};

use crate::{Entry, Error, Listing, Revision, Store, Transaction, Write};

/// Format of the tables below; another number is refused.
const FORMAT: u64 = 1;
const FORMAT_KEY: &str = "format";
const REVISION_KEY: &str = "revision";
const NUMBERS: TableDefinition<&str, u64> = TableDefinition::new("numbers");
const ENTRIES: TableDefinition<&str, (u64, &[u8])> = TableDefinition::new("entries");
/// The content is a few policies; redb's default of 1 GiB is for servers.
const CACHE_BYTES: usize = 8 << 20;

/// A store in one file. The file and its folder are made for their owner only.
#[derive(Debug)]
pub struct Embedded {
    path: PathBuf,
    /// Closed by an I/O error, after which redb refuses everything, and opened again by the next
    /// commit: a disk that was full has room again at some time.
    database: Option<Database>,
}

impl Embedded {
    /// Opens the store, or makes an empty one where there is no file. The whole file is checked.
    ///
    /// # Errors
    /// [`Error::Busy`], [`Error::Corrupt`], [`Error::Format`] or [`Error::Open`].
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, Error> {
        let path = path.into();
        prepare(&path)?;
        let database = open_database(&path)?;
        let store = Self { path, database: Some(database) };
        store.check_format()?;
        Ok(store)
    }

    fn database(&self) -> Result<&Database, Error> {
        let closed = || Error::Unavailable { reason: "closed by an I/O error".to_owned() };
        self.database.as_ref().ok_or_else(closed)
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Stamps a new file; refuses the file of another version.
    fn check_format(&self) -> Result<(), Error> {
        let transaction = self.database()?.begin_write().map_err(|e| self.error(e.into()))?;
        {
            let mut numbers = transaction.open_table(NUMBERS).map_err(|e| self.table_error(e))?;
            let found = get_number(&numbers, FORMAT_KEY).map_err(|e| self.storage_error(e))?;
            match found {
                Some(FORMAT) => {}
                Some(found) => {
                    let path = self.path.clone();
                    return Err(Error::Format { path, found, supported: FORMAT });
                }
                None => {
                    numbers.insert(FORMAT_KEY, FORMAT).map_err(|e| self.storage_error(e))?;
                    numbers.insert(REVISION_KEY, 0).map_err(|e| self.storage_error(e))?;
                }
            }
            transaction.open_table(ENTRIES).map_err(|e| self.table_error(e))?;
        }
        transaction.commit().map_err(|e| self.error(e.into()))
    }

    fn error(&self, error: redb::Error) -> Error {
        match error {
            redb::Error::Corrupted(reason) => Error::Corrupt { path: self.path.clone(), reason },
            other => Error::Unavailable { reason: other.to_string() },
        }
    }

    fn storage_error(&self, error: StorageError) -> Error {
        self.error(error.into())
    }

    /// A table of another shape under our name: the file is not ours.
    fn table_error(&self, error: TableError) -> Error {
        match error {
            TableError::Storage(error) => self.storage_error(error),
            other => Error::Corrupt { path: self.path.clone(), reason: other.to_string() },
        }
    }

    fn read<T>(
        &self,
        read: impl FnOnce(
            Revision,
            &redb::ReadOnlyTable<&'static str, (u64, &'static [u8])>,
        ) -> Result<T, StorageError>,
    ) -> Result<T, Error> {
        let transaction = self.database()?.begin_read().map_err(|e| self.error(e.into()))?;
        let numbers = transaction.open_table(NUMBERS).map_err(|e| self.table_error(e))?;
        let entries = transaction.open_table(ENTRIES).map_err(|e| self.table_error(e))?;
        let revision = get_number(&numbers, REVISION_KEY).map_err(|e| self.storage_error(e))?;
        read(revision.unwrap_or(0), &entries).map_err(|e| self.storage_error(e))
    }

    /// Makes the writes in an open transaction; `Ok(Err)` is a conflict.
    fn write(
        &self,
        database: &redb::WriteTransaction,
        transaction: &Transaction,
    ) -> Result<Result<Revision, Error>, Error> {
        let mut numbers = database.open_table(NUMBERS).map_err(|e| self.table_error(e))?;
        let mut entries = database.open_table(ENTRIES).map_err(|e| self.table_error(e))?;
        let io = |e| self.storage_error(e);
        for condition in &transaction.conditions {
            let found = entries.get(condition.key()).map_err(io)?.map(|v| v.value().0);
            if !condition.holds(found) {
                return Ok(Err(condition.conflict(found)));
            }
        }
        let mut revision = get_number(&numbers, REVISION_KEY).map_err(io)?.unwrap_or(0);
        if transaction.writes.is_empty() {
            return Ok(Ok(revision));
        }
        revision += 1;
        numbers.insert(REVISION_KEY, revision).map_err(io)?;
        for write in &transaction.writes {
            match write {
                Write::Put(key, value) => {
                    entries.insert(key.as_str(), (revision, value.as_slice())).map_err(io)?;
                }
                Write::Delete(key) => {
                    entries.remove(key.as_str()).map_err(io)?;
                }
            }
        }
        Ok(Ok(revision))
    }
}

impl Store for Embedded {
    fn get(&self, key: &str) -> Result<Option<Entry>, Error> {
        crate::check_key(key)?;
        self.read(|_, entries| Ok(entries.get(key)?.map(|value| entry(key, value.value()))))
    }

    fn list(&self, prefix: &str) -> Result<Listing, Error> {
        self.read(|revision, entries| {
            let mut found = Vec::new();
            for item in entries.range(prefix..)? {
                let (key, value) = item?;
                if !key.value().starts_with(prefix) {
                    break;
                }
                found.push(entry(key.value(), value.value()));
            }
            Ok(Listing { revision, entries: found })
        })
    }

    fn commit(&mut self, transaction: &Transaction) -> Result<Revision, Error> {
        transaction.check()?;
        if self.database.is_none() {
            self.database = Some(open_database(&self.path)?);
        }
        let done = self.try_commit(transaction);
        if matches!(done, Err(Error::Unavailable { .. })) {
            self.database = None;
        }
        done
    }
}

impl Embedded {
    fn try_commit(&self, transaction: &Transaction) -> Result<Revision, Error> {
        let database = self.database()?.begin_write().map_err(|e| self.error(e.into()))?;
        match self.write(&database, transaction)? {
            Ok(revision) if transaction.writes.is_empty() => Ok(revision),
            Ok(revision) => {
                database.commit().map_err(|e| self.error(e.into()))?;
                Ok(revision)
            }
            Err(conflict) => Err(conflict),
        }
    }
}

/// Makes the folder (0700) and an empty file (0600): redb itself would use the umask.
fn prepare(path: &Path) -> Result<(), Error> {
    let open = |path: &Path| {
        let path = path.to_owned();
        move |source| Error::Open { path, source }
    };
    if let Some(folder) = path.parent().filter(|f| !f.as_os_str().is_empty()) {
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(open(folder))?;
    }
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    options.open(path).map(drop).map_err(open(path))
}

/// redb answers some damaged files with a panic where debug assertions are on; such a file is
/// corrupt like any other.
fn open_database(path: &Path) -> Result<Database, Error> {
    let opened = catch_unwind(AssertUnwindSafe(|| {
        Builder::new().set_cache_size(CACHE_BYTES).set_check_integrity_on_open(true).create(path)
    }));
    let corrupt = |reason: String| Error::Corrupt { path: path.to_owned(), reason };
    match opened {
        Ok(Ok(database)) => Ok(database),
        Err(_) => Err(corrupt("redb panicked while checking it".to_owned())),
        Ok(Err(DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch)) => {
            Err(Error::Busy { path: path.to_owned() })
        }
        Ok(Err(DatabaseError::Storage(StorageError::Io(source))))
            if source.kind() != std::io::ErrorKind::InvalidData
                && source.kind() != std::io::ErrorKind::UnexpectedEof =>
        {
            Err(Error::Open { path: path.to_owned(), source })
        }
        Ok(Err(other)) => Err(corrupt(other.to_string())),
    }
}

fn get_number(
    table: &impl ReadableTable<&'static str, u64>,
    key: &str,
) -> Result<Option<u64>, StorageError> {
    Ok(table.get(key)?.map(|value| value.value()))
}

fn entry(key: &str, (revision, value): (u64, &[u8])) -> Entry {
    Entry { key: key.to_owned(), value: value.to_vec(), revision }
}
