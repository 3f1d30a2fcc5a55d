//! Files and folders that are the owner's alone, and that are on the disk when they have to be.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use crate::error::on;
use crate::{Digest, StoreError};

/// Bytes of a file that are read at once.
const PIECE: usize = 128 << 10;

/// Makes a folder and those above it where they are not there, with mode 0700, and syncs that.
pub(crate) fn make_folder(folder: &Path) -> Result<(), StoreError> {
    if folder.is_dir() {
        return Ok(());
    }
    let parent = parent(folder);
    make_folder(parent)?;
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && folder.is_dir() => (),
        made => made.map_err(on("make the folder", folder))?,
    }
    sync_folder(parent)
}

/// The folder in which something is.
pub(crate) fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Waits until the names in the folder are on the disk.
pub(crate) fn sync_folder(folder: &Path) -> Result<(), StoreError> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(on("sync the folder", folder))
}

/// What is in the folder.
pub(crate) fn names(folder: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let names = || -> io::Result<_> { fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path())).collect() };
    names().map_err(on("list", folder))
}

/// Bytes of all files in the folder and those below it. What is removed meanwhile has none.
pub(crate) fn size(folder: &Path) -> Result<u64, StoreError> {
    let mut bytes = 0;
    for path in names(folder)? {
        bytes += match fs::symlink_metadata(&path) {
            Ok(file) if file.is_dir() => size(&path)?,
            Ok(file) => file.len(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            Err(error) => return Err(StoreError::io("read", &path, error)),
        };
    }
    Ok(bytes)
}

/// Syncs the folder and those below it.
fn sync_folders(folder: &Path) -> Result<(), StoreError> {
    names(folder)?.iter().filter(|path| path.is_dir()).try_for_each(|path| sync_folders(path))?;
    sync_folder(folder)
}

/// Opens a file for appending, which is made with mode 0600 if it is not there.
pub(crate) fn open_private(path: &Path) -> Result<File, StoreError> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path).map_err(on("open", path))
}

/// Reads the file piece by piece.
pub(crate) fn read(path: &Path, mut take: impl FnMut(&[u8]) -> Result<(), StoreError>) -> Result<(), StoreError> {
    let mut file = File::open(path).map_err(on("open", path))?;
    let mut piece = vec![0; PIECE];
    loop {
        match file.read(&mut piece) {
            Ok(0) => return Ok(()),
            Ok(length) => take(&piece[..length])?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => (),
            Err(error) => return Err(StoreError::io("read", path, error)),
        }
    }
}

/// The digest of the file's content.
pub(crate) fn hash(path: &Path) -> Result<Digest, StoreError> {
    let mut hasher = Sha256::new();
    read(path, |piece| {
        hasher.update(piece);
        Ok(())
    })?;
    Ok(hasher.finalize().into())
}

/// Copies a file to one that is not there yet, in a folder that need not be, and syncs it. Returns the digest of the
/// content.
pub(crate) fn copy(from: &Path, to: &Path) -> Result<Digest, StoreError> {
    make_folder(parent(to))?;
    let mut target = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to).map_err(on("make", to))?;
    let mut hasher = Sha256::new();
    read(from, |piece| {
        hasher.update(piece);
        target.write_all(piece).map_err(on("write", to))
    })?;
    target.sync_all().map_err(on("sync", to))?;
    Ok(hasher.finalize().into())
}

/// A locked file.
#[derive(Debug)]
pub(crate) struct Lock(pub(crate) File);

impl Lock {
    /// Locks the file, which is made if it is not there. `None` when somebody else has locked it.
    pub(crate) fn take(path: &Path) -> Result<Option<Self>, StoreError> {
        let file = open_private(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(StoreError::io("lock", path, error)),
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // A process that is just being started has the file open, too, and would keep it locked.
        let _ = self.0.unlock();
    }
}

/// A folder that is made beside its final place and removed unless it gets there.
pub(crate) struct Staging {
    folder: TempDir,
    place: PathBuf,
}

impl Staging {
    /// For a place that must not be there yet, in a folder that is.
    pub(crate) fn new(place: &Path) -> Result<Self, StoreError> {
        if place.symlink_metadata().is_ok() {
            return Err(StoreError::Exists { path: place.to_owned() });
        }
        let parent = fs::canonicalize(parent(place)).map_err(on("find the folder of", place))?;
        let folder = tempfile::Builder::new()
            .prefix(".scorebox-")
            .permissions(Permissions::from_mode(0o700))
            .tempdir_in(&parent)
            .map_err(on("make a folder in", &parent))?;
        let name = place.file_name().ok_or(io::ErrorKind::InvalidFilename);
        let name = name.map_err(|kind| StoreError::io("make", place, kind.into()))?;
        Ok(Self { place: parent.join(name), folder })
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Puts the folder, whose files are on the disk, to its place.
    pub(crate) fn publish(self) -> Result<(), StoreError> {
        sync_folders(self.folder())?;
        fs::rename(self.folder(), &self.place).map_err(on("make", &self.place))?;
        // It is no temporary folder any more.
        let _ = self.folder.keep();
        sync_folder(parent(&self.place))
    }
}
