//! The store.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, RwLock};

use crate::blobs::BLOBS;
use crate::database::Database;
use crate::error::on;
use crate::files::{self, Lock};
use crate::snapshot::{Entry, Snapshot};
use crate::upload::UPLOADS;
use crate::{CommitError, Digest, StoreError, Transaction};

/// File name of the lock.
const LOCK: &str = "lock";

/// An open store. Its clones are the same one, and it is closed with the last of them and of its snapshots and uploads.
///
/// All calls block. An error that is not a conflict says what failed, on which file, and what to do.
#[derive(Clone, Debug)]
pub struct Store(pub(crate) Arc<Shared>);

/// What a store has on the disk, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// The database, with its log.
    pub database: u64,
    /// The blobs, with those that are being uploaded.
    pub blobs: u64,
}

/// What the clones of a store share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) folder: PathBuf,
    pub(crate) database: Database,
    /// Blobs that are being uploaded or removed.
    pub(crate) claimed: Mutex<BTreeSet<Digest>>,
    /// Written by who needs that no blob is removed, read by who removes one.
    pub(crate) removal: RwLock<()>,
    /// Holds the folder for this store. Dropped last.
    _lock: Lock,
}

impl Store {
    /// Opens the store in the folder. What is not there is made, folders with mode 0700; an older schema is migrated.
    ///
    /// # Errors
    ///
    /// [`InUse`](StoreError::InUse), [`NewerSchema`](StoreError::NewerSchema), [`Foreign`](StoreError::Foreign),
    /// [`Damaged`](StoreError::Damaged), or what the system refused. Then the database is as it was.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        files::make_folder(folder)?;
        let folder = fs::canonicalize(folder).map_err(on("open the folder", folder))?;
        let Some(lock) = Lock::take(&folder.join(LOCK))? else {
            return Err(StoreError::InUse { folder });
        };
        let database = Database::open(&folder)?;
        files::make_folder(&folder.join(BLOBS))?;
        files::make_folder(&folder.join(UPLOADS))?;
        files::sync_folder(&folder)?;
        let (claimed, removal) = Default::default();
        Ok(Self(Arc::new(Shared { folder, database, claimed, removal, _lock: lock })))
    }

    pub(crate) fn database(&self) -> &Database {
        &self.0.database
    }

    /// What it has on the disk.
    pub fn size(&self) -> Result<Size, StoreError> {
        let folder = &self.0.folder;
        let blobs = files::size(&folder.join(BLOBS))? + files::size(&folder.join(UPLOADS))?;
        // The lock is empty, and there is nothing else.
        Ok(Size { database: files::size(folder)?.saturating_sub(blobs), blobs })
    }

    /// Commits the transaction: all of its changes, or none. When it returns, they are on the disk. Transactions are
    /// committed one after the other. Returns the revision, which is one more than that of the last one.
    pub fn commit(&self, transaction: Transaction) -> Result<u64, CommitError> {
        self.database().commit(transaction)
    }

    /// The entries as they are now, to be read together.
    pub fn snapshot(&self) -> Result<Snapshot, StoreError> {
        Snapshot::new(self)
    }

    /// [`Snapshot::get`] of what there is now.
    pub fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        self.snapshot()?.get(key)
    }

    /// [`Snapshot::scan`] of what there is now.
    pub fn scan(&self, prefix: &str) -> Result<Vec<Entry>, StoreError> {
        self.snapshot()?.scan(prefix)
    }
}
