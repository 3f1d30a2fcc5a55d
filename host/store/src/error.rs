//! What can go wrong, and what to do about it.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;

use crate::Digest;

/// Why the store did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The system refused something.
    #[error("cannot {what} {}: {source}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The disk is full, or a quota is used up. No entry and no blob has changed.
    #[error("there is no room to {what} {}: {source}; make room on the disk and try again", path.display())]
    Full {
        /// What was tried.
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system or the database said.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The database refused something. Nothing has changed.
    #[error("cannot {what} the database {}: {source}", path.display())]
    Database {
        /// What was tried.
        what: &'static str,
        /// The database.
        path: PathBuf,
        /// What the database said.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The database is damaged, or no database.
    #[error("the database {} is damaged: {source}; restore a backup to a new folder", path.display())]
    Damaged {
        /// The database.
        path: PathBuf,
        /// What the database said.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The folder's database belongs to something else.
    #[error("the database {} is not that of a Scorebox store; choose another folder", path.display())]
    Foreign {
        /// The database.
        path: PathBuf,
    },
    /// The database was written by a newer program.
    #[error(
        "the store in {} has schema version {found}, and this program knows versions up to {supported}; run the newer \
         program, or restore a backup that is older than it",
        folder.display()
    )]
    NewerSchema {
        /// The store's folder, or that of a backup.
        folder: PathBuf,
        /// The version of the database.
        found: u32,
        /// The newest version that this program knows.
        supported: u32,
    },
    /// Another process uses the folder, or another [`Store`](crate::Store) of this one.
    #[error("the store in {} is in use; stop the process that has it open, or choose another folder", folder.display())]
    InUse {
        /// The folder.
        folder: PathBuf,
    },
    /// Something is where a backup or a restored store should go.
    #[error("{} is there already; name a folder that is not", path.display())]
    Exists {
        /// The place.
        path: PathBuf,
    },
    /// A backup is not complete, or damaged. Nothing has been restored.
    #[error("the backup {} cannot be restored: {reason}; take another one", folder.display())]
    Backup {
        /// The backup.
        folder: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A blob of the store does not have the content that its name says, so it cannot be backed up.
    #[error("the blob {} is damaged: its SHA-256 is {found}; remove it and upload it again", path.display())]
    DamagedBlob {
        /// Its file.
        path: PathBuf,
        /// The digest of its content.
        found: Digest,
    },
    /// An upload does not begin where the last one ended.
    #[error("the upload of {digest} cannot begin at byte {given}: it has {expected} bytes so far; go on from there")]
    Offset {
        /// The blob.
        digest: Digest,
        /// Bytes that are there.
        expected: u64,
        /// Where the upload was to begin.
        given: u64,
    },
    /// What was uploaded is not the blob. It has been removed.
    #[error("what was uploaded as {expected} has the SHA-256 {found} and is removed; upload it from its beginning")]
    Mismatch {
        /// The blob that it should be.
        expected: Digest,
        /// What it is.
        found: Digest,
    },
    /// Somebody else uploads or removes the blob.
    #[error("the blob {digest} is being uploaded or removed; try again when that has ended")]
    Busy {
        /// The blob.
        digest: Digest,
    },
    /// Blobs stay as they are while all of them are read.
    #[error("the blob {digest} cannot be removed during a backup or a check; try again when that has ended")]
    Held {
        /// The blob.
        digest: Digest,
    },
}

impl StoreError {
    pub(crate) fn io(what: &'static str, path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Self::Full { what, path, source: source.into() }
            }
            _ => Self::Io { what, path, source },
        }
    }

    pub(crate) fn database(what: &'static str, path: &Path, source: rusqlite::Error) -> Self {
        let path = path.to_owned();
        match source.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::Full { what, path, source: source.into() },
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Damaged { path, source: source.into() },
            _ => Self::Database { what, path, source: source.into() },
        }
    }
}

/// Names what was tried on which file, for `map_err`.
pub(crate) fn on(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    move |source| StoreError::io(what, path, source)
}

/// Why a transaction was not committed. Nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// An entry is not as the transaction expects it.
    #[error("{key} has changed: {}; read it again", state(*found))]
    Conflict {
        /// The entry.
        key: String,
        /// The revision that changed it last; `None` where there is no entry.
        found: Option<u64>,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn state(found: Option<u64>) -> String {
    found.map_or_else(|| "it is not there".to_owned(), |revision| format!("it is at revision {revision}"))
}
