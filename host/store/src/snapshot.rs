//! Reading entries.

use rusqlite::{Connection, OptionalExtension, Row};

use crate::transaction::current_revision;
use crate::{Store, StoreError};

/// What is stored under a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its key.
    pub key: String,
    /// Its value.
    pub value: Vec<u8>,
    /// The revision that changed it last.
    pub revision: u64,
}

/// All entries as they were at one revision. It holds up nobody, but while it is there the database's log grows with each
/// commit: drop it soon.
#[derive(Debug)]
pub struct Snapshot {
    store: Store,
    /// In a transaction; taken by the end of the snapshot.
    connection: Option<Connection>,
    revision: u64,
}

impl Snapshot {
    pub(crate) fn new(store: &Store) -> Result<Self, StoreError> {
        let database = store.database();
        let connection = database.reader()?;
        // The first read is what begins the transaction.
        let begun = connection.execute_batch("BEGIN").and_then(|()| current_revision(&connection));
        let revision = begun.map_err(|source| database.error("read", source))?;
        Ok(Self { store: store.clone(), connection: Some(connection), revision })
    }

    pub(crate) fn connection(&self) -> &Connection {
        self.connection.as_ref().expect("the connection is there until the snapshot's end")
    }

    /// The revision of the last transaction that is seen; 0 where there was none.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// The entry, if there is one.
    pub fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        let get = || {
            let mut statement =
                self.connection().prepare_cached("SELECT key, value, revision FROM entries WHERE key = ?1")?;
            statement.query_row([key], entry).optional()
        };
        get().map_err(|source| self.store.database().error("read", source))
    }

    /// The entries whose keys begin with the prefix, in the order of their keys' bytes. The prefix is no pattern.
    pub fn scan(&self, prefix: &str) -> Result<Vec<Entry>, StoreError> {
        let scan = || {
            let mut statement = self
                .connection()
                .prepare_cached("SELECT key, value, revision FROM entries WHERE key >= ?1 ORDER BY key")?;
            let mut rows = statement.query([prefix])?;
            let mut entries = Vec::new();
            while let Some(row) = rows.next()?
                && row.get_ref(0)?.as_str()?.starts_with(prefix)
            {
                entries.push(entry(row)?);
            }
            Ok(entries)
        };
        scan().map_err(|source| self.store.database().error("read", source))
    }
}

impl Drop for Snapshot {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take()
            && connection.execute_batch("ROLLBACK").is_ok()
        {
            self.store.database().give_back(connection);
        }
    }
}

fn entry(row: &Row<'_>) -> rusqlite::Result<Entry> {
    Ok(Entry { key: row.get(0)?, value: row.get(1)?, revision: row.get::<_, i64>(2)?.cast_unsigned() })
}
