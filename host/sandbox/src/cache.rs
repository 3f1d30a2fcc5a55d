//! The cache of sealed modules on disk.
//!
//! An entry is native code, and whoever can write it can run code in the host. So each entry carries a MAC (BLAKE3,
//! keyed with a key file that only the host's user can read) over the name it was stored under and its content. An entry
//! that is damaged, that belongs under another name, or that somebody else made is removed and built anew; it is never
//! given to the engine.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// First bytes of an entry. The number is the version of the format.
const MAGIC: &[u8; 8] = b"SCOREBX1";
/// Length of the MAC in bytes.
const MAC: usize = blake3::OUT_LEN;
/// File name of the key.
const KEY_FILE: &str = "key";
/// Ending of the file names of entries.
const ENTRY: &str = "sealed";
/// Beginning of the names of files that are being written.
const TEMPORARY: &str = ".writing-";
/// Age after which a file that was being written is known to be left over.
const LEFT_OVER: Duration = Duration::from_hours(1);

/// Why the cache cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
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
    /// The key file could have been read or written by others.
    #[error(
        "the cache key {} {why}, so entries of the cache cannot be trusted; delete the folder, or choose another one",
        path.display()
    )]
    Key {
        /// The key file.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
}

/// Names an entry: a digest of all that it was made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EntryName(pub(crate) blake3::Hash);

/// A folder of sealed modules.
#[derive(Debug)]
pub struct Cache {
    folder: PathBuf,
    key: [u8; blake3::KEY_LEN],
    limit: u64,
}

impl Cache {
    /// Opens the cache in `folder`, which is made if it is not there, with mode 0700. It is kept to `limit` bytes by
    /// removing the entries that have not been used for the longest time.
    pub fn open(folder: impl Into<PathBuf>, limit: u64) -> Result<Self, CacheError> {
        let folder = folder.into();
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(on("make the folder", &folder))?;
        let key = read_or_make_key(&folder)?;
        let cache = Self { folder, key, limit };
        cache.remove_left_over();
        Ok(cache)
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Reads an entry. `None` when there is none that can be trusted; one that cannot is removed.
    pub(crate) fn get(&self, name: EntryName) -> Option<Vec<u8>> {
        let path = self.path(name);
        let mut entry = Vec::new();
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                tracing::warn!("cannot read the cache entry {}: {error}; it is built anew", path.display());
                return None;
            }
        };
        if let Err(error) = file.read_to_end(&mut entry) {
            tracing::warn!("cannot read the cache entry {}: {error}; it is built anew", path.display());
            return None;
        }
        let Some(content) = self.authenticated(name, &entry) else {
            tracing::warn!("the cache entry {} is damaged or not ours; it is removed and built anew", path.display());
            if let Err(error) = fs::remove_file(&path) {
                tracing::warn!("cannot remove {}: {error}", path.display());
            }
            return None;
        };
        // The time of the last use decides what is removed first. Not to have it is no reason to fail.
        let _ = file.set_modified(SystemTime::now());
        let head = entry.len() - content;
        entry.drain(..head);
        Some(entry)
    }

    /// Stores an entry. Either all of it is there afterwards, or nothing.
    pub(crate) fn put(&self, name: EntryName, content: &[u8]) -> Result<(), CacheError> {
        let path = self.path(name);
        let io = |what| on(what, &path);
        let mut file = tempfile::Builder::new()
            .prefix(TEMPORARY)
            .permissions(fs::Permissions::from_mode(0o600))
            .tempfile_in(&self.folder)
            .map_err(io("write"))?;
        file.write_all(MAGIC)
            .and_then(|()| file.write_all(self.mac(name, content).as_bytes()))
            .and_then(|()| file.write_all(content))
            .and_then(|()| file.as_file().sync_all())
            .map_err(io("write"))?;
        file.persist(&path).map_err(|error| io("put in place")(error.error))?;
        self.evict(&path);
        Ok(())
    }

    fn path(&self, name: EntryName) -> PathBuf {
        self.folder.join(format!("{}.{ENTRY}", name.0.to_hex()))
    }

    fn mac(&self, name: EntryName, content: &[u8]) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(MAGIC).update(name.0.as_bytes()).update(content);
        hasher.finalize()
    }

    /// The length of the content of an entry that can be trusted.
    fn authenticated(&self, name: EntryName, entry: &[u8]) -> Option<usize> {
        let (mac, content) = entry.strip_prefix(MAGIC)?.split_first_chunk::<MAC>()?;
        // Compares in constant time.
        (self.mac(name, content) == blake3::Hash::from_bytes(*mac)).then_some(content.len())
    }

    /// Removes what has not been used for the longest time until the limit is kept; never `keep`.
    fn evict(&self, keep: &Path) {
        let mut entries: Vec<_> = self
            .files()
            .filter(|(path, _)| path.extension().is_some_and(|ending| ending == ENTRY))
            .filter_map(|(path, data)| Some((data.modified().ok()?, data.len(), path)))
            .collect();
        entries.sort_unstable();
        let mut total: u64 = entries.iter().map(|(_, size, _)| size).sum();
        for (_, size, path) in entries {
            if total <= self.limit {
                return;
            }
            if path != keep && fs::remove_file(&path).is_ok() {
                tracing::debug!("removed {} from the cache to keep its limit", path.display());
                total -= size;
            }
        }
    }

    /// Removes what a host that was killed was writing.
    fn remove_left_over(&self) {
        for (path, data) in self.files() {
            let ours = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(TEMPORARY));
            let age = data.modified().ok().and_then(|time| time.elapsed().ok());
            if ours && age.is_some_and(|age| age >= LEFT_OVER) {
                let _ = fs::remove_file(path);
            }
        }
    }

    fn files(&self) -> impl Iterator<Item = (PathBuf, fs::Metadata)> {
        fs::read_dir(&self.folder)
            .into_iter()
            .flatten()
            .filter_map(|entry| entry.ok().and_then(|entry| Some((entry.path(), entry.metadata().ok()?))))
    }
}

/// Turns an error of the system into one that says what was tried on what.
fn on(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> CacheError {
    let path = path.to_owned();
    move |source| CacheError::Io { what, path, source }
}

fn read_or_make_key(folder: &Path) -> Result<[u8; blake3::KEY_LEN], CacheError> {
    let path = folder.join(KEY_FILE);
    match File::open(&path) {
        Ok(file) => read_key(&path, file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => make_key(folder, &path),
        Err(error) => Err(on("open the cache key", &path)(error)),
    }
}

fn read_key(path: &Path, mut file: File) -> Result<[u8; blake3::KEY_LEN], CacheError> {
    let wrong = |why| CacheError::Key { path: path.to_owned(), why };
    let data = file.metadata().map_err(on("read the cache key", path))?;
    if data.mode() & 0o077 != 0 {
        return Err(wrong("can be read or written by other users"));
    }
    let mut key = Vec::new();
    file.read_to_end(&mut key).map_err(on("read the cache key", path))?;
    key.try_into().map_err(|_| wrong("does not have 32 bytes"))
}

/// Makes a key. It appears with all its bytes or not at all, and of two hosts that start at the same time one wins.
fn make_key(folder: &Path, path: &Path) -> Result<[u8; blake3::KEY_LEN], CacheError> {
    let mut key = [0; blake3::KEY_LEN];
    getrandom::fill(&mut key).map_err(|error| on("make", path)(io::Error::other(error)))?;
    let mut file = tempfile::Builder::new()
        .prefix(TEMPORARY)
        .permissions(fs::Permissions::from_mode(0o600))
        .tempfile_in(folder)
        .map_err(on("write", path))?;
    file.write_all(&key).and_then(|()| file.as_file().sync_all()).map_err(on("write", path))?;
    match file.persist_noclobber(path) {
        Ok(_) => Ok(key),
        Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => {
            read_key(path, File::open(path).map_err(on("open the cache key", path))?)
        }
        Err(error) => Err(on("write", path)(error.error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> EntryName {
        EntryName(blake3::hash(text.as_bytes()))
    }

    fn cache(limit: u64) -> (tempfile::TempDir, Cache) {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path().join("cache"), limit).unwrap();
        (folder, cache)
    }

    #[test]
    fn an_entry_comes_back_also_after_reopening() {
        let (_folder, cache) = cache(1000);
        cache.put(name("a"), b"content").unwrap();
        assert_eq!(cache.get(name("a")).unwrap(), b"content");
        let again = Cache::open(cache.folder(), 1000).unwrap();
        assert_eq!(again.get(name("a")).unwrap(), b"content");
        assert_eq!(again.get(name("b")), None);
    }

    #[test]
    fn a_damaged_entry_is_removed_whatever_byte_is_wrong() {
        let (_folder, cache) = cache(1000);
        cache.put(name("a"), b"content").unwrap();
        let path = cache.path(name("a"));
        let good = fs::read(&path).unwrap();
        for position in 0..good.len() {
            let mut bad = good.clone();
            bad[position] ^= 1;
            fs::write(&path, bad).unwrap();
            assert_eq!(cache.get(name("a")), None, "byte {position}");
            assert!(!path.exists());
        }
        for length in 0..good.len() {
            fs::write(&path, &good[..length]).unwrap();
            assert_eq!(cache.get(name("a")), None, "cut to {length}");
        }
    }

    #[test]
    fn an_entry_under_another_name_or_of_another_key_is_not_taken() {
        let (_folder, cache) = cache(1000);
        cache.put(name("a"), b"content").unwrap();
        fs::copy(cache.path(name("a")), cache.path(name("b"))).unwrap();
        assert_eq!(cache.get(name("b")), None);
        fs::remove_file(cache.folder().join(KEY_FILE)).unwrap();
        let other = Cache::open(cache.folder(), 1000).unwrap();
        assert_eq!(other.get(name("a")), None);
    }

    #[test]
    fn a_key_that_others_can_read_is_refused() {
        let (_folder, cache) = cache(1000);
        let key = cache.folder().join(KEY_FILE);
        assert_eq!(fs::metadata(&key).unwrap().mode() & 0o777, 0o600);
        fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
        let error = Cache::open(cache.folder(), 1000).unwrap_err().to_string();
        assert!(error.contains("can be read or written by other users"), "{error}");
    }

    #[test]
    fn the_limit_is_kept_by_removing_the_least_recently_used() {
        let (_folder, cache) = cache(250);
        let old = |text: &str, seconds| {
            let file = File::options().write(true).open(cache.path(name(text))).unwrap();
            file.set_modified(SystemTime::now() - Duration::from_secs(seconds)).unwrap();
        };
        cache.put(name("a"), &[0; 60]).unwrap();
        cache.put(name("b"), &[0; 60]).unwrap();
        old("a", 100);
        old("b", 200);
        assert!(cache.get(name("b")).is_some(), "b is used again");
        cache.put(name("c"), &[0; 60]).unwrap();
        assert!(cache.get(name("a")).is_none());
        assert!(cache.get(name("b")).is_some());
        assert!(cache.get(name("c")).is_some());
    }
}
