//! Blobs that are being uploaded.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use crate::blobs::Claim;
use crate::error::on;
use crate::{Digest, Store, StoreError, files};

/// The folder of uploads.
pub(crate) const UPLOADS: &str = "uploads";
/// Ending of the names of their files.
const PARTIAL: &str = "part";

/// A blob on its way. Dropped unfinished, what has come of it is kept, and a later upload goes on from there.
#[derive(Debug)]
pub struct Upload {
    claim: Claim,
    path: PathBuf,
    /// `None` where the blob is there already.
    file: Option<File>,
    hasher: Sha256,
    offset: u64,
}

impl Store {
    /// How many bytes have come of a blob that is not complete, and so where its upload has to go on; 0 when there are
    /// none, also of a blob that is complete.
    pub fn upload_offset(&self, digest: &Digest) -> Result<u64, StoreError> {
        let path = self.partial_path(digest);
        match fs::metadata(&path) {
            Ok(file) => Ok(file.len()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
            Err(error) => Err(StoreError::io("read", &path, error)),
        }
    }

    /// Begins the upload of a blob, or goes on with it. The offset must be [`Store::upload_offset`]; what has come before is
    /// read once more. If the blob is there already, any offset will do, what is appended is left out, and
    /// [`Upload::finish`] succeeds.
    ///
    /// # Errors
    ///
    /// [`Offset`](StoreError::Offset), [`Busy`](StoreError::Busy), or what the system refused.
    pub fn upload(&self, digest: &Digest, offset: u64) -> Result<Upload, StoreError> {
        self.begin(digest, offset, false)
    }

    /// Begins the upload of a blob, and removes what has come of it before.
    ///
    /// # Errors
    ///
    /// [`Busy`](StoreError::Busy), or what the system refused.
    pub fn upload_anew(&self, digest: &Digest) -> Result<Upload, StoreError> {
        self.begin(digest, 0, true)
    }

    fn begin(&self, digest: &Digest, offset: u64, anew: bool) -> Result<Upload, StoreError> {
        let claim = self.claim(digest)?;
        let path = self.partial_path(digest);
        if anew {
            remove(&path)?;
        }
        let mut hasher = Sha256::new();
        if self.blob(digest)?.is_some() {
            return Ok(Upload { claim, path, file: None, hasher, offset });
        }
        let expected = self.upload_offset(digest)?;
        if offset != expected {
            return Err(StoreError::Offset { digest: *digest, expected, given: offset });
        }
        let file = files::open_private(&path)?;
        if offset > 0 {
            files::read(&path, |piece| {
                hasher.update(piece);
                Ok(())
            })?;
        }
        Ok(Upload { claim, path, file: Some(file), hasher, offset })
    }

    /// Removes what has come of blobs that nobody uploads now and of which nothing has come for so long. Returns which.
    pub fn remove_stale_uploads(&self, older_than: Duration) -> Result<Vec<Digest>, StoreError> {
        let mut removed = Vec::new();
        for path in files::names(&self.0.folder.join(UPLOADS))? {
            let name = path.file_name().and_then(|name| name.to_str()?.strip_suffix(PARTIAL)?.strip_suffix('.'));
            let Some(digest) = name.and_then(|name| name.parse().ok()) else { continue };
            let Ok(_claim) = self.claim(&digest) else { continue };
            let modified = match fs::metadata(&path).and_then(|file| file.modified()) {
                // It has been finished meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                modified => modified.map_err(on("read", &path))?,
            };
            // A file from the future is a young one.
            if modified.elapsed().is_ok_and(|age| age >= older_than) {
                fs::remove_file(&path).map_err(on("remove", &path))?;
                removed.push(digest);
            }
        }
        Ok(removed)
    }

    fn partial_path(&self, digest: &Digest) -> PathBuf {
        self.0.folder.join(UPLOADS).join(format!("{digest}.{PARTIAL}"))
    }
}

impl Upload {
    /// How many bytes have come so far.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Appends bytes. After an error, some of them may have been: [`Upload::offset`] says how many.
    pub fn append(&mut self, mut bytes: &[u8]) -> Result<(), StoreError> {
        let Some(file) = &mut self.file else {
            self.offset += bytes.len() as u64;
            return Ok(());
        };
        while !bytes.is_empty() {
            let written = match file.write(bytes) {
                Ok(0) => Err(io::ErrorKind::WriteZero.into()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                written => written,
            };
            let (done, rest) = bytes.split_at(written.map_err(on("write", &self.path))?);
            self.hasher.update(done);
            self.offset += done.len() as u64;
            bytes = rest;
        }
        Ok(())
    }

    /// Removes what has come.
    pub fn discard(self) -> Result<(), StoreError> {
        if self.file.is_some() { remove(&self.path) } else { Ok(()) }
    }

    /// Makes the blob of what has come. When it returns, the blob is on the disk.
    ///
    /// # Errors
    ///
    /// [`Mismatch`](StoreError::Mismatch) when the digest is another, or what the system refused. What has come is removed if
    /// it has another digest or could not be synced, and else is kept.
    pub fn finish(self) -> Result<(), StoreError> {
        let Some(file) = self.file else { return Ok(()) };
        let Claim { store, digest } = &self.claim;
        let found = self.hasher.finalize().into();
        if found != *digest {
            fs::remove_file(&self.path).map_err(on("remove", &self.path))?;
            return Err(StoreError::Mismatch { expected: *digest, found });
        }
        if let Err(error) = file.sync_all() {
            // From now on, the system may believe that what it could not write has been written.
            let _ = fs::remove_file(&self.path);
            return Err(StoreError::io("sync", &self.path, error));
        }
        let blob = store.blob_path(digest);
        let folder = files::parent(&blob);
        files::make_folder(folder)?;
        fs::rename(&self.path, &blob).map_err(on("make", &blob))?;
        files::sync_folder(folder)?;
        // An upload that was cut short may have made the blob's folder and not synced it.
        files::sync_folder(files::parent(folder))
    }
}

/// Removes what has come of a blob, if anything has.
fn remove(path: &Path) -> Result<(), StoreError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StoreError::io("remove", path, error)),
        _ => Ok(()),
    }
}
