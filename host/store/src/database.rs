//! The SQLite database: its settings, its schema, and its connections.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::backup::NO_PROGRESS;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, MAIN_DB, OpenFlags, TransactionBehavior, ffi};

use crate::{StoreError, files};

/// File name of the database.
pub(crate) const FILE: &str = "store.db";

/// Marks a database as a store's.
const APPLICATION_ID: i32 = i32::from_be_bytes(*b"SBOX");

/// What makes each version of the schema of the one before; the first makes version 1 of nothing. A published one is never
/// changed.
const MIGRATIONS: &[&str] = &["
    CREATE TABLE entries (
        key      TEXT PRIMARY KEY NOT NULL,
        value    BLOB NOT NULL,
        revision INTEGER NOT NULL -- that changed it last
    ) STRICT;
    CREATE TABLE store (
        only     INTEGER PRIMARY KEY CHECK (only = 1),
        revision INTEGER NOT NULL -- of the last transaction
    ) STRICT;
    INSERT INTO store (only, revision) VALUES (1, 0);
"];

/// How long a connection waits for another one, such as that of an operator who looks into the database.
const BUSY: Duration = Duration::from_secs(5);

/// Bytes that the log keeps when a long snapshot or a large transaction has made it longer: what it has between two
/// checkpoints, which come every 1000 pages.
const LOG_SIZE: u32 = 4 << 20;

/// Connections for reading that are kept open while nobody uses them.
const IDLE_READERS: usize = 8;

/// An open database: one connection that writes, and some that read beside it.
#[derive(Debug)]
pub(crate) struct Database {
    path: PathBuf,
    readers: Mutex<Vec<Connection>>,
    writer: Mutex<Connection>,
}

impl Database {
    /// Opens the database in the folder, whose path is absolute. It is made if it is not there, and migrated if it is old.
    pub(crate) fn open(folder: &Path) -> Result<Self, StoreError> {
        Self::open_with(folder, MIGRATIONS)
    }

    pub(crate) fn open_with(folder: &Path, migrations: &[&str]) -> Result<Self, StoreError> {
        let path = folder.join(FILE);
        // SQLite takes the mode of its other files from this one.
        files::open_private(&path)?;
        let failed = |source| StoreError::database("open", &path, source);
        let mut writer = connect(&path, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(failed)?;
        let version = version(&writer, &path)?;
        let Some(steps) = migrations.get(version as usize..) else {
            let supported = migrations.len() as u32;
            return Err(StoreError::NewerSchema { folder: folder.to_owned(), found: version, supported });
        };
        configure(&writer).map_err(failed)?;
        migrate(&mut writer, steps, migrations.len() as u32).map_err(failed)?;
        empty_log(&writer);
        Ok(Self { path, readers: Mutex::default(), writer: Mutex::new(writer) })
    }

    pub(crate) fn error(&self, what: &'static str, source: rusqlite::Error) -> StoreError {
        StoreError::database(what, &self.path, source)
    }

    pub(crate) fn writer(&self) -> MutexGuard<'_, Connection> {
        // A panic elsewhere has dropped its transaction, which undid it.
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection that can only read.
    pub(crate) fn reader(&self) -> Result<Connection, StoreError> {
        let idle = self.readers().pop();
        idle.map_or_else(|| connect(&self.path, OpenFlags::SQLITE_OPEN_READ_ONLY), Ok)
            .map_err(|source| self.error("open", source))
    }

    /// Takes back a connection that reads nothing any more.
    pub(crate) fn give_back(&self, reader: Connection) {
        let mut readers = self.readers();
        if readers.len() < IDLE_READERS {
            readers.push(reader);
        }
    }

    fn readers(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.readers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Opens a connection with what holds for each of them.
fn connect(path: &Path, access: OpenFlags) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(BUSY)?;
    // A restored file may come from anywhere: what is in it is not run, and not believed.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW, false)?;
    connection.pragma_update(None, "cell_size_check", true)?;
    Ok(connection)
}

/// The version of the schema: 0 where there is none yet. Changes nothing.
fn version(connection: &Connection, path: &Path) -> Result<u32, StoreError> {
    let read = || -> rusqlite::Result<(i32, u32, bool)> {
        Ok((
            connection.pragma_query_one(None, "application_id")?,
            connection.pragma_query_one(None, "user_version")?,
            connection.query_row("SELECT NOT EXISTS (SELECT 1 FROM sqlite_schema)", [], |row| row.get(0))?,
        ))
    };
    match read().map_err(|source| StoreError::database("open", path, source))? {
        (0, 0, true) => Ok(0),
        (APPLICATION_ID, version @ 1.., _) => Ok(version),
        _ => Err(StoreError::Foreign { path: path.to_owned() }),
    }
}

/// Makes commits durable. The crate's documentation says why so.
fn configure(writer: &Connection) -> rusqlite::Result<()> {
    let mode: String = writer.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0))?;
    if mode != "wal" {
        let message = format!("a write-ahead log is not possible here, the journal is {mode}: use a local file system");
        return Err(rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_CANTOPEN), Some(message)));
    }
    writer.pragma_update(None, "synchronous", "full")?;
    writer.pragma_update_and_check(None, "journal_size_limit", LOG_SIZE, |_| Ok(()))?;
    // On macOS, `fsync` alone does not reach the disk.
    writer.pragma_update(None, "fullfsync", true)?;
    writer.pragma_update(None, "checkpoint_fullfsync", true)
}

/// Takes the steps to the version in one transaction.
fn migrate(writer: &mut Connection, steps: &[&str], version: u32) -> rusqlite::Result<()> {
    if steps.is_empty() {
        return Ok(());
    }
    let transaction = writer.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for step in steps {
        transaction.execute_batch(step)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", version)?;
    transaction.commit()
}

/// Brings what is in the log to the database, and makes the log a short file. Not while a snapshot needs it, nor where the
/// database needs more room than there is: then the log is as good as before.
pub(crate) fn empty_log(writer: &Connection) {
    let _ = writer.busy_timeout(Duration::ZERO);
    let _ = writer.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
    let _ = writer.busy_timeout(BUSY);
}

/// What is wrong with the database; nothing, if it is whole.
pub(crate) fn problems(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut problems = Vec::new();
    connection.pragma_query(None, "integrity_check", |row| {
        problems.push(row.get(0)?);
        Ok(())
    })?;
    if problems == ["ok"] {
        problems.clear();
    }
    let mut model = Connection::open_in_memory()?;
    migrate(&mut model, MIGRATIONS, MIGRATIONS.len() as u32)?;
    if schema(connection)? != schema(&model)? {
        problems.push(format!("its tables are not those of schema version {}", MIGRATIONS.len()));
    }
    Ok(problems)
}

fn schema(connection: &Connection) -> rusqlite::Result<Vec<(String, Option<String>)>> {
    let mut statement = connection.prepare("SELECT name, sql FROM sqlite_schema ORDER BY name")?;
    statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
}

/// Copies the database, as the connection sees it, to a file of its own.
pub(crate) fn copy(reader: &Connection, to: &Path) -> Result<(), StoreError> {
    files::open_private(to)?;
    let write = || {
        reader.backup(MAIN_DB, to, NO_PROGRESS)?;
        // Without a log beside it.
        Connection::open(to)?.pragma_update_and_check(None, "journal_mode", "delete", |_| Ok(()))
    };
    write().map_err(|source| StoreError::database("write", to, source))
}
