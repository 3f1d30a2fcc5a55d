//! Whether what is stored is whole.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::PoisonError;

use crate::{Blob, Digest, Snapshot, Store, StoreError, database, files};

/// What [`Store::check`] has found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// What is wrong with the database, in SQLite's words.
    pub database: Vec<String>,
    /// Blobs whose content is not what their name says.
    pub damaged: Vec<Blob>,
    /// Blobs that entries refer to and that are not there.
    pub missing: Vec<Digest>,
    /// Blobs that no entry refers to. The entry may be yet to come.
    pub unused: Vec<Blob>,
    /// What is in the folder of blobs and is none.
    pub foreign: Vec<PathBuf>,
}

impl Report {
    /// Whether nothing is damaged or missing.
    pub fn is_whole(&self) -> bool {
        self.database.is_empty() && self.damaged.is_empty() && self.missing.is_empty()
    }
}

impl Store {
    /// Reads all there is and says what is not as it should be: an operator's tool. `used` says which blobs the entries of
    /// the snapshot refer to. The store can be used meanwhile, but no blob be removed.
    ///
    /// # Errors
    ///
    /// What the system refused, and those of `used`. That something is damaged is no error, unless the database cannot be
    /// read at all: [`Damaged`](StoreError::Damaged).
    pub fn check(
        &self,
        used: impl FnOnce(&Snapshot) -> Result<BTreeSet<Digest>, StoreError>,
    ) -> Result<Report, StoreError> {
        let _no_removal = self.0.removal.write().unwrap_or_else(PoisonError::into_inner);
        let snapshot = self.snapshot()?;
        let used = used(&snapshot)?;
        let database = database::problems(snapshot.connection());
        let database = database.map_err(|source| self.database().error("check", source))?;
        drop(snapshot);

        let (blobs, foreign) = self.list()?;
        let mut report = Report { database, foreign, ..Report::default() };
        let there: BTreeSet<_> = blobs.iter().map(|blob| blob.digest).collect();
        report.missing = used.difference(&there).copied().collect();
        for blob in blobs {
            if files::hash(&blob.path)? != blob.digest {
                report.damaged.push(blob.clone());
            }
            if !used.contains(&blob.digest) {
                report.unused.push(blob);
            }
        }
        Ok(report)
    }
}
