//! Backups, and restoring them.
//!
//! `SHA256SUMS` lists the files of a backup in the format of `sha256sum`. It is the last file that is written, and the
//! database is the last that it lists: one that was cut short is not taken for a whole one.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::PoisonError;

use crate::database::{self, Database};
use crate::error::on;
use crate::files::{self, Staging};
use crate::transaction::raise_revision;
use crate::{Digest, Store, StoreError, blobs};

/// File name of the list.
const SUMS: &str = "SHA256SUMS";

/// What a restored store's revision is raised by, so that it gives no revision again that was given after the backup.
const RESTORED: i64 = 1_000_000_000;

impl Store {
    /// Makes a backup in a new folder, of the entries at one revision and of all blobs that were there then. The store can be
    /// used meanwhile, but no blob be removed. Nothing is there until all is; what a killed process leaves is a folder
    /// beside it whose name begins with `.scorebox-`. Every blob's digest is checked. Backups and checks are made one after
    /// the other.
    ///
    /// # Errors
    ///
    /// [`Exists`](StoreError::Exists), [`DamagedBlob`](StoreError::DamagedBlob), or what the system refused.
    pub fn backup(&self, to: &Path) -> Result<(), StoreError> {
        let _no_removal = self.0.removal.write().unwrap_or_else(PoisonError::into_inner);
        let staging = Staging::new(to)?;
        let database = staging.folder().join(database::FILE);
        database::copy(self.snapshot()?.connection(), &database)?;

        let mut sums = String::new();
        // A blob that has come since the snapshot does no harm.
        for blob in self.blobs()? {
            let path = blobs::path(&blob.digest);
            let found = files::copy(&blob.path, &staging.folder().join(&path))?;
            if found != blob.digest {
                return Err(StoreError::DamagedBlob { path: blob.path, found });
            }
            push_line(&mut sums, &found, &path);
        }
        push_line(&mut sums, &files::hash(&database)?, Path::new(database::FILE));

        let path = staging.folder().join(SUMS);
        let mut file = files::open_private(&path)?;
        file.write_all(sums.as_bytes()).and_then(|()| file.sync_all()).map_err(on("write", &path))?;
        staging.publish()
    }

    /// Makes a store of a backup, in a new folder; [`Store::open`] opens it. Nothing is there until all has been copied and
    /// checked: the digests of all files, and the database. Its revision is raised by 10⁹, so that no revision that
    /// somebody remembers from after the backup is given again.
    ///
    /// # Errors
    ///
    /// [`Backup`](StoreError::Backup) when the backup is not whole, [`NewerSchema`](StoreError::NewerSchema),
    /// [`Exists`](StoreError::Exists), or what the system refused.
    pub fn restore(from: &Path, to: &Path) -> Result<(), StoreError> {
        let refused = |reason: String| StoreError::Backup { folder: from.to_owned(), reason };
        let path = from.join(SUMS);
        let sums = fs::read_to_string(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => refused(format!("it has no {SUMS}, so it is not complete")),
            io::ErrorKind::InvalidData => refused(format!("its {SUMS} is no text")),
            _ => StoreError::io("read", &path, error),
        })?;
        let files = parse(&sums).map_err(refused)?;

        let staging = Staging::new(to)?;
        for File { digest, path } in &files {
            let source = from.join(path);
            if !source.try_exists().map_err(on("read", &source))? {
                return Err(refused(format!("{} is missing", path.display())));
            }
            let found = files::copy(&source, &staging.folder().join(path))?;
            if found != *digest {
                return Err(refused(format!("{} is damaged: its SHA-256 is {found}", path.display())));
            }
        }

        // Said of the folder that the operator knows.
        let unusable = |error| match error {
            StoreError::NewerSchema { found, supported, .. } => {
                StoreError::NewerSchema { folder: from.to_owned(), found, supported }
            }
            StoreError::Damaged { source, .. } => refused(format!("its database is damaged: {source}")),
            StoreError::Foreign { .. } => refused("its database is not that of a Scorebox store".to_owned()),
            error => error,
        };
        let database = Database::open(staging.folder()).map_err(unusable)?;
        let failed = |source| unusable(database.error("check", source));
        let problems = database::problems(&database.writer()).map_err(failed)?;
        if !problems.is_empty() {
            return Err(refused(format!("its database is damaged: {}", problems.join("; "))));
        }
        raise_revision(&database.writer(), RESTORED).map_err(failed)?;
        drop(database);
        staging.publish()
    }
}

/// A file of a backup.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct File {
    pub(crate) digest: Digest,
    /// Below the backup's folder.
    pub(crate) path: PathBuf,
}

fn push_line(sums: &mut String, digest: &Digest, path: &Path) {
    sums.extend([&digest.to_string(), "  ", &path.to_string_lossy(), "\n"]);
}

/// Reads the list. It can name nothing but blobs, by their own digests, and at its end the database.
pub(crate) fn parse(sums: &str) -> Result<Vec<File>, String> {
    let mut files = Vec::new();
    for (at, line) in sums.lines().enumerate() {
        let wrong = |what: &str| format!("line {} of its {SUMS} {what}", at + 1);
        let (digest, path) = line.split_once("  ").ok_or_else(|| wrong("is not a digest and a name"))?;
        let digest: Digest = digest.parse().map_err(|error| wrong(&format!("has no digest: {error}")))?;
        let path = PathBuf::from(path);
        if path != blobs::path(&digest) && path != Path::new(database::FILE) {
            return Err(wrong("names no file of a backup"));
        }
        files.push(File { digest, path });
    }
    let database = files.iter().position(|file| file.path == Path::new(database::FILE));
    if database.is_none_or(|at| at + 1 != files.len()) {
        return Err(format!("its {SUMS} does not end with the database: it is not complete"));
    }
    Ok(files)
}
