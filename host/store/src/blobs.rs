//! Finished blobs.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, TryLockError};

use crate::{Digest, Store, StoreError, files};

/// The folder of blobs.
pub(crate) const BLOBS: &str = "blobs";

/// A blob that is complete. Its file must not be written to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blob {
    /// Its name.
    pub digest: Digest,
    /// Its file.
    pub path: PathBuf,
    /// Its size in bytes.
    pub size: u64,
}

/// Where a blob is, below the folder of a store or of a backup.
pub(crate) fn path(digest: &Digest) -> PathBuf {
    let name = digest.to_string();
    Path::new(BLOBS).join(&name[..2]).join(name)
}

impl Store {
    pub(crate) fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.0.folder.join(path(digest))
    }

    /// The blob, if it is there. Its content was right when it was finished; only [`Store::check`] reads it again.
    pub fn blob(&self, digest: &Digest) -> Result<Option<Blob>, StoreError> {
        let path = self.blob_path(digest);
        match fs::metadata(&path) {
            Ok(file) => Ok(Some(Blob { digest: *digest, path, size: file.len() })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StoreError::io("read", &path, error)),
        }
    }

    /// All blobs, in the order of their digests.
    pub fn blobs(&self) -> Result<Vec<Blob>, StoreError> {
        self.list().map(|(blobs, _)| blobs)
    }

    /// All blobs, and what else is in their folder.
    pub(crate) fn list(&self) -> Result<(Vec<Blob>, Vec<PathBuf>), StoreError> {
        let (mut blobs, mut foreign) = (Vec::new(), Vec::new());
        for folder in files::names(&self.0.folder.join(BLOBS))? {
            if !folder.is_dir() {
                foreign.push(folder);
                continue;
            }
            for path in files::names(&folder)? {
                let digest = path.file_name().and_then(|name| name.to_str()?.parse().ok());
                match digest.filter(|digest| path == self.blob_path(digest)) {
                    // It may have been removed meanwhile.
                    Some(digest) => blobs.extend(self.blob(&digest)?),
                    None => foreign.push(path),
                }
            }
        }
        blobs.sort_unstable_by_key(|blob| blob.digest);
        foreign.sort_unstable();
        Ok((blobs, foreign))
    }

    /// Removes the blob. Returns whether there was one. Who has its file open can go on reading.
    ///
    /// # Errors
    ///
    /// [`Busy`](StoreError::Busy) while it is uploaded, [`Held`](StoreError::Held) during a backup or a check.
    pub fn remove_blob(&self, digest: &Digest) -> Result<bool, StoreError> {
        let _removal = match self.0.removal.try_read() {
            Err(TryLockError::WouldBlock) => return Err(StoreError::Held { digest: *digest }),
            Err(TryLockError::Poisoned(error)) => error.into_inner(),
            Ok(guard) => guard,
        };
        let _claim = self.claim(digest)?;
        let path = self.blob_path(digest);
        match fs::remove_file(&path) {
            Ok(()) => files::sync_folder(files::parent(&path)).map(|()| true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(StoreError::io("remove", &path, error)),
        }
    }

    /// Makes the caller the only one who uploads or removes the blob.
    pub(crate) fn claim(&self, digest: &Digest) -> Result<Claim, StoreError> {
        let mut claimed = self.0.claimed.lock().unwrap_or_else(PoisonError::into_inner);
        if !claimed.insert(*digest) {
            return Err(StoreError::Busy { digest: *digest });
        }
        Ok(Claim { store: self.clone(), digest: *digest })
    }
}

/// The right to change a blob.
#[derive(Debug)]
pub(crate) struct Claim {
    pub(crate) store: Store,
    pub(crate) digest: Digest,
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.store.0.claimed.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.digest);
    }
}
