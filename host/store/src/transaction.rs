//! Changing entries.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, TransactionBehavior};

use crate::database::{Database, empty_log};
use crate::{CommitError, StoreError};

/// Changes of entries that are made together or not at all, and what the entries must be like before:
/// [`Store::commit`](crate::Store::commit).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transaction {
    expectations: Vec<(String, Option<u64>)>,
    /// The new values; `None` for what is deleted.
    changes: BTreeMap<String, Option<Vec<u8>>>,
}

impl Transaction {
    /// A transaction that expects and changes nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Expects that this revision was the last to change the entry; `None`: that there is no such entry.
    #[must_use]
    pub fn expect(mut self, key: impl Into<String>, revision: Option<u64>) -> Self {
        self.expectations.push((key.into(), revision));
        self
    }

    /// Expects that there is no such entry.
    #[must_use]
    pub fn expect_absent(self, key: impl Into<String>) -> Self {
        self.expect(key, None)
    }

    /// Makes the entry or replaces its value, also where that stays the same. Of several changes of an entry the last
    /// counts. Value and key have at most 10⁹ bytes together; what is large should be a blob.
    #[must_use]
    pub fn put(mut self, key: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        self.changes.insert(key.into(), Some(value.into()));
        self
    }

    /// Deletes the entry if there is one.
    #[must_use]
    pub fn delete(mut self, key: impl Into<String>) -> Self {
        self.changes.insert(key.into(), None);
        self
    }
}

impl Database {
    /// Commits the transaction. Returns its revision.
    pub(crate) fn commit(&self, transaction: Transaction) -> Result<u64, CommitError> {
        let mut writer = self.writer();
        let result = self.try_commit(&mut writer, transaction);
        if let Err(CommitError::Store(StoreError::Full { .. })) = result {
            // The log has taken the last of the room for what was not committed.
            empty_log(&writer);
        }
        result
    }

    fn try_commit(&self, writer: &mut Connection, transaction: Transaction) -> Result<u64, CommitError> {
        let failed = |source| self.error("write", source);
        // Dropped, it is rolled back.
        let sql = writer.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
        for (key, expected) in transaction.expectations {
            let found = revision_of(&sql, &key).map_err(failed)?;
            if found != expected {
                return Err(CommitError::Conflict { key, found });
            }
        }
        let revision = apply(&sql, &transaction.changes).map_err(failed)?;
        sql.commit().map_err(failed)?;
        Ok(revision)
    }
}

fn revision_of(sql: &Connection, key: &str) -> rusqlite::Result<Option<u64>> {
    let mut statement = sql.prepare_cached("SELECT revision FROM entries WHERE key = ?1")?;
    statement.query_row([key], |row| row.get(0)).optional().map(|revision| revision.map(i64::cast_unsigned))
}

fn apply(sql: &Connection, changes: &BTreeMap<String, Option<Vec<u8>>>) -> rusqlite::Result<u64> {
    let revision = raise_revision(sql, 1)?;
    let mut put = sql.prepare_cached(
        "INSERT INTO entries (key, value, revision) VALUES (?1, ?2, ?3)
         ON CONFLICT (key) DO UPDATE SET value = excluded.value, revision = excluded.revision",
    )?;
    let mut delete = sql.prepare_cached("DELETE FROM entries WHERE key = ?1")?;
    for (key, change) in changes {
        match change {
            Some(value) => put.execute((key, value, revision.cast_signed()))?,
            None => delete.execute([key])?,
        };
    }
    Ok(revision)
}

/// Raises the store's revision. Returns the new one.
pub(crate) fn raise_revision(sql: &Connection, by: i64) -> rusqlite::Result<u64> {
    sql.prepare_cached("UPDATE store SET revision = revision + ?1")?.execute([by])?;
    current_revision(sql)
}

/// The revision of the last transaction that the connection sees.
pub(crate) fn current_revision(sql: &Connection) -> rusqlite::Result<u64> {
    sql.prepare_cached("SELECT revision FROM store")?.query_row([], |row| row.get(0)).map(i64::cast_unsigned)
}
