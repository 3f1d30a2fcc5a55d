//! The cache of compiled code on disk.
//!
//! An entry is native code, and whoever can write it can run code in the host. So each entry carries a MAC (BLAKE3,
//! keyed with a key file that only the host's user can read) over the name it was stored under and its content. An entry
//! that is damaged, that belongs under another name, or that somebody else made is removed and built anew; it is never
//! given to the engine.
//!
//! The engine maps an entry's file into memory, so that all who use it share its pages. Therefore the compiled code stands
//! at the beginning of the file, followed by the header and its length, and the MAC is part of the file's name. The folder
//! and its files can be written by the host's user alone, before the MAC is checked as well as after it.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::sparse;

/// What a MAC is made over first. The number is the version of the format.
const FORMAT: &[u8; 8] = b"SCOREBX3";
/// Bytes of a file that are read at once: a multiple of a block.
const PIECE: usize = 64 * sparse::BLOCK;
/// File name of the key.
const KEY_FILE: &str = "key";
/// Marks a folder as a cache: <https://bford.info/cachedir>.
const TAG_FILE: &str = "CACHEDIR.TAG";
const TAG: &str = "Signature: 8a477f597d28d172789f06886806bc55\n# Scorebox makes again what is not here.\n";
/// Ending of the file names of entries.
const ENTRY: &str = "sealed";
/// The same of those that only make others faster to make.
const SPARE: &str = "preloaded";
/// Beginning of the names of files that are being written.
const TEMPORARY: &str = ".writing-";
/// Age after which a file that was being written is known to be left over.
const LEFT_OVER: Duration = Duration::from_hours(1);
/// The user who can do everything anyway.
const ROOT: u32 = 0;

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
    /// Others could put their files in the place of its own.
    #[error(
        "the cache's folder {} {why}, who could put files in the place of its own; take that right away (`chmod go-w`), or \
         give a folder that is yours alone, such as one in it that is not there yet",
        path.display()
    )]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
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

/// What a cache has on the disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CacheUsage {
    /// Entries.
    pub entries: u64,
    /// Bytes that they take.
    pub bytes: u64,
}

/// Names an entry: a digest of all that it was made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EntryName {
    digest: blake3::Hash,
    ending: &'static str,
}

impl EntryName {
    pub(crate) fn new(digest: blake3::Hash) -> Self {
        Self { digest, ending: ENTRY }
    }

    /// Of an entry that only makes others faster to make: where there is no room for all, it goes first.
    pub(crate) fn spare(digest: blake3::Hash) -> Self {
        Self { digest, ending: SPARE }
    }
}

fn is_entry(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending == ENTRY || ending == SPARE)
}

/// An entry that can be trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// What was stored with the content.
    pub(crate) header: Vec<u8>,
    /// The file that begins with the content.
    pub(crate) path: PathBuf,
}

/// A folder of compiled code.
#[derive(Debug)]
pub struct Cache {
    folder: PathBuf,
    key: [u8; blake3::KEY_LEN],
    limit: u64,
}

impl Cache {
    /// Opens the cache in `folder`, which is made if it is not there, with mode 0700. It is kept to `limit` bytes by
    /// removing entries: those first that only make others faster to make, and those that have not been used for the longest
    /// time.
    pub fn open(folder: impl Into<PathBuf>, limit: u64) -> Result<Self, CacheError> {
        let folder = folder.into();
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(on("make the folder", &folder))?;
        check_folder(&folder)?;
        let key = read_or_make_key(&folder)?;
        let cache = Self { folder, key, limit };
        cache.remove_left_over();
        cache.tag();
        Ok(cache)
    }

    /// Opens a cache that has been filled before, to read from it; `None` where there is none that can be used.
    pub(crate) fn filled(folder: PathBuf) -> Option<Self> {
        if !folder.is_dir() {
            return None;
        }
        let path = folder.join(KEY_FILE);
        let open = || File::open(&path).map_err(on("open the cache key", &path)).and_then(|file| read_key(&path, file));
        let key = check_folder(&folder).and_then(|()| open());
        key.inspect_err(|error| tracing::warn!("{} is not used: {error}", folder.display())).ok().map(|key| Self {
            folder,
            key,
            limit: u64::MAX,
        })
    }

    /// Says to programs that copy folders that nothing here has to be kept. Not to be able to is no reason to fail.
    fn tag(&self) {
        if let Ok(mut file) = File::create_new(self.folder.join(TAG_FILE)) {
            let _ = file.write_all(TAG.as_bytes());
        }
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn usage(&self) -> CacheUsage {
        let sizes = self.files().filter(|(path, _)| is_entry(path));
        sizes.fold(CacheUsage::default(), |usage, (_, data)| CacheUsage {
            entries: usage.entries + 1,
            bytes: usage.bytes + bytes_on_disk(&data),
        })
    }

    /// Finds an entry. `None` when there is none that can be trusted; those that cannot are removed.
    pub(crate) fn get(&self, name: EntryName) -> Option<Entry> {
        let prefix = format!("{}.", name.digest.to_hex());
        let ending = format!(".{}", name.ending);
        let named = |file: &[u8]| file.starts_with(prefix.as_bytes()) && file.ends_with(ending.as_bytes());
        self.files_named(named).find_map(|(path, _)| self.open_entry(name, path))
    }

    fn open_entry(&self, name: EntryName, path: PathBuf) -> Option<Entry> {
        let entry = match self.mac(name, &path) {
            Ok(mac) if path == self.path(name, mac) => read_header(&path),
            Ok(_) => Err(io::Error::new(io::ErrorKind::InvalidData, "it is damaged or not ours")),
            Err(error) => Err(error),
        };
        match entry {
            Ok(header) => {
                // The time of the last use decides what is removed first. Not to have it is no reason to fail.
                let _ = File::open(&path).and_then(|file| file.set_modified(SystemTime::now()));
                Some(Entry { header, path })
            }
            // Another host has just replaced or removed it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                tracing::warn!(
                    "the cache entry {} cannot be used: {error}; it is removed and built anew",
                    path.display()
                );
                match fs::remove_file(&path) {
                    // A process that may only read leaves that to the one that builds it anew.
                    Err(error) if error.kind() != io::ErrorKind::PermissionDenied => {
                        tracing::warn!("cannot remove {}: {error}", path.display());
                    }
                    _ => {}
                }
                None
            }
        }
    }

    /// Stores an entry. Either all of it is there afterwards, or nothing. It is not waited for until it is on the disk: after
    /// a crash of the system it may be damaged, which is seen when it is used.
    pub(crate) fn put(&self, name: EntryName, header: &[u8], content: &[u8]) -> Result<Entry, CacheError> {
        let io = |what| on(what, &self.folder);
        let mut file = tempfile::Builder::new()
            .prefix(TEMPORARY)
            .permissions(fs::Permissions::from_mode(0o600))
            .tempfile_in(&self.folder)
            .map_err(io("write into"))?;
        sparse::write(file.as_file_mut(), content)
            .and_then(|()| file.write_all(header))
            .and_then(|()| file.write_all(&(header.len() as u64).to_le_bytes()))
            .map_err(io("write into"))?;
        let path = self.path(name, self.mac(name, file.path()).map_err(io("read from"))?);
        file.persist(&path).map_err(|error| on("put in place", &path)(error.error))?;
        self.evict(&path);
        Ok(Entry { header: header.to_vec(), path })
    }

    /// Waits until no other process makes this entry. Freed when the returned file is dropped; `None` where the system has no
    /// locks, and then work is done twice.
    pub(crate) fn lock(&self, name: EntryName) -> Option<File> {
        let path = self.folder.join(format!("{}.lock", name.digest.to_hex()));
        let file = File::options().create(true).truncate(false).write(true).mode(0o600).open(path).ok()?;
        file.lock().ok()?;
        Some(file)
    }

    fn path(&self, name: EntryName, mac: blake3::Hash) -> PathBuf {
        self.folder.join(format!("{}.{}.{}", name.digest.to_hex(), mac.to_hex(), name.ending))
    }

    /// The MAC of a file under a name: of its size, its blocks that are not zero, their numbers, and how many they are. What
    /// the file has no blocks for is not read, and where its holes are makes no difference.
    ///
    /// All cores compute that of a large file; a small one takes less than to wake them. The file is read, and not mapped:
    /// where the disk cannot read it any more, that is an error and not the end of the process.
    fn mac(&self, name: EntryName, file: &Path) -> io::Result<blake3::Hash> {
        let mut file = File::open(file)?;
        let size = file.metadata()?.len();
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(FORMAT).update(name.digest.as_bytes()).update(&size.to_le_bytes());
        let mut piece = Vec::with_capacity(PIECE.min(size as usize));
        let (mut from, mut numbers) = (0, Vec::new());
        while let Some(start) = sparse::next_data(&file, from)? {
            file.seek(SeekFrom::Start(start))?;
            piece.clear();
            Read::by_ref(&mut file).take(PIECE as u64).read_to_end(&mut piece)?;
            for (offset, part) in sparse::parts(&piece) {
                if size < PIECE as u64 {
                    hasher.update(part);
                } else {
                    hasher.update_rayon(part);
                }
                let first = start / sparse::BLOCK as u64 + (offset / sparse::BLOCK) as u64;
                numbers.extend(first..first + part.len().div_ceil(sparse::BLOCK) as u64);
            }
            from = start + piece.len() as u64;
        }
        for number in numbers.iter().chain([&(numbers.len() as u64)]) {
            hasher.update(&number.to_le_bytes());
        }
        Ok(hasher.finalize())
    }

    /// Removes what has not been used for the longest time until the limit is kept; never `keep`.
    fn evict(&self, keep: &Path) {
        let mut entries: Vec<_> = self
            .files()
            .filter(|(path, _)| is_entry(path))
            // Holes take no room.
            .filter_map(|(path, data)| Some((data.modified().ok()?, bytes_on_disk(&data), path)))
            .collect();
        // The time of a use that is still to come was taken by a clock that was wrong: nobody knows how long ago it was.
        let now = SystemTime::now();
        entries.sort_unstable_by_key(|(used, _, path)| {
            let is_spare = path.extension().is_some_and(|ending| ending == SPARE);
            (!is_spare, Some(*used).filter(|used| *used <= now))
        });
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
            // By a clock that has been set back since then, it is younger than nothing.
            let age = data.modified().ok().map(|time| time.elapsed().unwrap_or_else(|ahead| ahead.duration()));
            if ours && age.is_some_and(|age| age >= LEFT_OVER) {
                let _ = fs::remove_file(path);
            }
        }
    }

    fn files(&self) -> impl Iterator<Item = (PathBuf, fs::Metadata)> {
        self.files_named(|_| true)
    }

    /// Those with a name that is looked for. Of the others there may be thousands, and to ask about each takes its time.
    fn files_named(&self, is_named: impl Fn(&[u8]) -> bool) -> impl Iterator<Item = (PathBuf, fs::Metadata)> {
        fs::read_dir(&self.folder)
            .into_iter()
            .flatten()
            .filter_map(Result::ok)
            .filter(move |entry| is_named(entry.file_name().as_bytes()))
            .filter_map(|entry| Some((entry.path(), entry.metadata().ok()?)))
            // The cache makes nothing but files. To read a pipe, or a link to a device, may take for ever.
            .filter(|(_, data)| data.is_file())
    }
}

/// Bytes that a file takes, which has holes.
fn bytes_on_disk(data: &fs::Metadata) -> u64 {
    data.len().min(data.blocks() * 512)
}

/// Reads the header of an entry whose MAC has been checked.
fn read_header(path: &Path) -> io::Result<Vec<u8>> {
    let invalid = || io::Error::new(io::ErrorKind::InvalidData, "it has no header");
    let mut file = File::open(path)?;
    let size = file.metadata()?.len();
    let footer = size.checked_sub(8).ok_or_else(invalid)?;
    file.seek(SeekFrom::Start(footer))?;
    let mut length = [0; 8];
    file.read_exact(&mut length)?;
    let start = footer.checked_sub(u64::from_le_bytes(length)).ok_or_else(invalid)?;
    file.seek(SeekFrom::Start(start))?;
    let mut header = Vec::new();
    file.take(footer - start).read_to_end(&mut header)?;
    Ok(header)
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

/// Checks that nobody but this user, and root, can put a file in the place of an entry after its MAC was compared.
fn check_folder(folder: &Path) -> Result<(), CacheError> {
    let wrong = |why| CacheError::Folder { path: folder.to_owned(), why };
    let data = fs::metadata(folder).map_err(on("look at the folder", folder))?;
    if !is_ours(&data) && data.uid() != ROOT {
        return Err(wrong("belongs to another user"));
    }
    if data.mode() & 0o022 != 0 {
        return Err(wrong("can be written to by other users"));
    }
    Ok(())
}

fn is_ours(data: &fs::Metadata) -> bool {
    data.uid() == rustix::process::geteuid().as_raw()
}

fn read_key(path: &Path, mut file: File) -> Result<[u8; blake3::KEY_LEN], CacheError> {
    let wrong = |why| CacheError::Key { path: path.to_owned(), why };
    let data = file.metadata().map_err(on("read the cache key", path))?;
    if !is_ours(&data) {
        return Err(wrong("belongs to another user"));
    }
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
    use std::os::unix::fs::chown;

    use super::*;

    fn name(text: &str) -> EntryName {
        EntryName::new(blake3::hash(text.as_bytes()))
    }

    fn cache(limit: u64) -> (tempfile::TempDir, Cache) {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path().join("cache"), limit).unwrap();
        (folder, cache)
    }

    fn content(entry: &Entry) -> Vec<u8> {
        let mut file = fs::read(&entry.path).unwrap();
        file.truncate(file.len() - 8 - entry.header.len());
        file
    }

    #[test]
    fn an_entry_comes_back_also_after_reopening() {
        let (_folder, cache) = cache(1000);
        let stored = cache.put(name("a"), b"header", b"content").unwrap();
        assert_eq!((stored.header.as_slice(), content(&stored).as_slice()), (&b"header"[..], &b"content"[..]));
        assert_eq!(cache.get(name("a")).unwrap(), stored);
        let again = Cache::open(cache.folder(), 1000).unwrap();
        assert_eq!(again.get(name("a")).unwrap(), stored);
        assert_eq!(again.get(name("b")), None);
    }

    #[test]
    fn what_only_makes_others_faster_to_make_goes_first() {
        let (_folder, cache) = cache(20_000);
        let content = [7; 8000];
        let spare = EntryName::spare(blake3::hash(b"a"));
        let sealed = cache.put(name("a"), b"", &content).unwrap();
        assert!(cache.put(spare, b"", &content).is_ok());
        assert!(cache.get(spare).is_some_and(|entry| entry.path != sealed.path));
        cache.put(name("b"), b"", &content).unwrap();
        assert_eq!(cache.get(spare), None);
        assert!(cache.get(name("a")).is_some() && cache.get(name("b")).is_some());
        assert_eq!(cache.usage().entries, 2);
    }

    #[test]
    fn blocks_of_zeros_come_back_as_such() {
        let (_folder, cache) = cache(10_000_000);
        let mut bytes = vec![0; 5 * sparse::BLOCK + 7];
        bytes[2 * sparse::BLOCK] = 1;
        let stored = cache.put(name("a"), b"", &bytes).unwrap();
        assert!(content(&stored) == bytes);
        assert!(fs::metadata(&stored.path).unwrap().blocks() * 512 <= 3 * sparse::BLOCK as u64);
        // Copied without its holes, it is the same entry; with another byte, or another length, it is none.
        let whole = fs::read(&stored.path).unwrap();
        fs::write(&stored.path, &whole).unwrap();
        assert_eq!(cache.get(name("a")).unwrap(), stored);
        for at in [0, 2 * sparse::BLOCK, 2 * sparse::BLOCK + 1, whole.len() - 1] {
            let mut other = whole.clone();
            other[at] ^= 1;
            fs::write(&stored.path, &other).unwrap();
            assert_eq!(cache.get(name("a")), None, "byte {at}");
        }
        let mut moved = whole.clone();
        moved.rotate_right(sparse::BLOCK);
        let mut longer = whole;
        longer.resize(longer.len() + sparse::BLOCK, 0);
        for other in [moved, longer] {
            fs::write(&stored.path, &other).unwrap();
            assert_eq!(cache.get(name("a")), None);
        }
    }

    #[test]
    fn a_damaged_entry_is_removed_whatever_byte_is_wrong() {
        let (_folder, cache) = cache(1000);
        let path = cache.put(name("a"), b"header", b"content").unwrap().path;
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
        let path = cache.put(name("a"), b"", b"content").unwrap().path;
        let mac = path.file_name().unwrap().to_str().unwrap().split_once('.').unwrap().1.to_owned();
        fs::copy(&path, cache.folder().join(format!("{}.{mac}", name("b").digest.to_hex()))).unwrap();
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
    fn a_folder_that_others_can_write_to_is_refused() {
        let (_folder, cache) = cache(1000);
        for mode in [0o770, 0o707, 0o1777] {
            fs::set_permissions(cache.folder(), fs::Permissions::from_mode(mode)).unwrap();
            let error = Cache::open(cache.folder(), 1000).unwrap_err().to_string();
            assert!(error.contains("can be written to by other users"), "{mode:o}: {error}");
            assert!(Cache::filled(cache.folder().to_owned()).is_none());
        }
        fs::set_permissions(cache.folder(), fs::Permissions::from_mode(0o755)).unwrap();
        assert!(Cache::open(cache.folder(), 1000).is_ok() && Cache::filled(cache.folder().to_owned()).is_some());
    }

    #[test]
    fn a_folder_or_a_key_of_another_user_is_refused() {
        const NOBODY: u32 = 65534;
        let (_folder, cache) = cache(1000);
        if !rustix::process::geteuid().is_root() {
            assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "in CI tests run as root, who can give files away");
            // One of root's is another user's as well.
            let path = Path::new("/etc/passwd");
            let error = read_key(path, File::open(path).unwrap()).unwrap_err().to_string();
            assert!(error.contains("belongs to another user"), "{error}");
            return;
        }
        for path in [cache.folder().to_owned(), cache.folder().join(KEY_FILE)] {
            chown(&path, Some(NOBODY), Some(NOBODY)).unwrap();
            let error = Cache::open(cache.folder(), 1000).unwrap_err().to_string();
            assert!(error.contains(&format!("{} belongs to another user", path.display())), "{error}");
            assert!(Cache::filled(cache.folder().to_owned()).is_none(), "{}", path.display());
            chown(&path, Some(ROOT), Some(ROOT)).unwrap();
        }
        assert!(Cache::open(cache.folder(), 1000).is_ok() && Cache::filled(cache.folder().to_owned()).is_some());
    }

    #[test]
    fn the_limit_is_kept_by_removing_the_least_recently_used() {
        let (_folder, cache) = cache(200);
        let put = |text| cache.put(name(text), b"", &[1; 60]).unwrap().path;
        let old = |path: &Path, seconds| {
            let file = File::options().write(true).open(path).unwrap();
            file.set_modified(SystemTime::now() - Duration::from_secs(seconds)).unwrap();
        };
        old(&put("a"), 100);
        old(&put("b"), 200);
        assert!(cache.get(name("b")).is_some(), "b is used again");
        put("c");
        assert!(cache.get(name("a")).is_none());
        assert!(cache.get(name("b")).is_some());
        assert!(cache.get(name("c")).is_some());
    }

    #[test]
    fn what_was_used_by_a_clock_that_was_ahead_is_removed_first_and_what_was_left_over_too() {
        let (_folder, cache) = cache(150);
        let put = |text| cache.put(name(text), b"", &[1; 60]).unwrap().path;
        let ahead = SystemTime::now() + Duration::from_hours(48);
        let set_ahead = |path: &Path| File::options().write(true).open(path).unwrap().set_modified(ahead).unwrap();
        set_ahead(&put("a"));
        put("b");
        put("c");
        assert!(cache.get(name("a")).is_none());
        assert!(cache.get(name("b")).is_some() && cache.get(name("c")).is_some());
        let left = cache.folder().join(".writing-left");
        fs::write(&left, "").unwrap();
        set_ahead(&left);
        Cache::open(cache.folder(), 150).unwrap();
        assert!(!left.exists());
    }
}
