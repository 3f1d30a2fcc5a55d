//! Batches that wait in files until their endpoint answers again.
//!
//! One file is one batch: a line that says what it is, then the body. A file appears whole, by being renamed, and what
//! is not whole all the same (its length or checksum differ) is removed; what cannot be read for the moment stays. Files
//! are only the owner's to read. When there is no room for a new one, the oldest go. One process at a time uses a folder:
//! it holds a lock on the file `lock`.

use std::collections::VecDeque;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::batch::{self, Batch};

const EXTENSION: &str = "batch";
const TEMPORARY: &str = "new";
const LOCK: &str = "lock";

/// How long a batch is kept, in microseconds: Application Insights takes no item that is older than 48 hours.
const MAX_AGE: u64 = 48 * 3600 * 1_000_000;

/// The first line of a file, as JSON.
#[derive(Serialize, Deserialize)]
struct Head {
    /// Where the batch is to go: it is sent nowhere else.
    destination: u32,
    items: usize,
    content_type: String,
    content_encoding: Option<String>,
    length: usize,
    crc32: u32,
}

/// A file of the folder. Its name is `<microseconds since 1970>-<count>-<items>.batch`, so names sort by age.
#[derive(Debug)]
struct Entry {
    created: u64,
    count: u64,
    items: usize,
    bytes: u64,
}

impl Entry {
    fn name(&self) -> String {
        format!("{:020}-{:06}-{}.{EXTENSION}", self.created, self.count, self.items)
    }

    fn parse(name: &str, bytes: u64) -> Option<Self> {
        let mut parts = name.strip_suffix(EXTENSION)?.strip_suffix('.')?.split('-');
        let entry = Self {
            created: parts.next()?.parse().ok()?,
            count: parts.next()?.parse().ok()?,
            items: parts.next()?.parse().ok()?,
            bytes,
        };
        parts.next().is_none().then_some(entry)
    }
}

/// A folder of batches for one destination.
#[derive(Debug)]
pub(crate) struct Disk {
    folder: PathBuf,
    destination: u32,
    limit: u64,
    bytes: u64,
    count: u64,
    entries: VecDeque<Entry>,
    /// Counts the items that had to go.
    dropped: Arc<AtomicU64>,
    /// Holds the folder for this process.
    _lock: File,
}

impl Disk {
    /// Opens the folder, which is made if need be, for what goes to the destination (a number that tells endpoints
    /// apart). `limit` is in bytes; `dropped` counts the items that have to go. None when another process uses the folder.
    pub(crate) fn open(
        folder: PathBuf,
        destination: &str,
        limit: u64,
        dropped: Arc<AtomicU64>,
    ) -> io::Result<Option<Self>> {
        create_folder(&folder)?;
        let lock = private_file(&folder.join(LOCK))?;
        match lock.try_lock() {
            Ok(()) => (),
            Err(fs::TryLockError::WouldBlock) => return Ok(None),
            Err(fs::TryLockError::Error(error)) => return Err(error),
        }
        let mut entries = Vec::new();
        for file in fs::read_dir(&folder)? {
            let file = file?;
            let name = file.file_name();
            let name = name.to_string_lossy();
            if name.ends_with(&format!(".{TEMPORARY}")) {
                fs::remove_file(file.path())?;
            } else if let Some(entry) = Entry::parse(&name, file.metadata()?.len()) {
                entries.push(entry);
            }
        }
        entries.sort_unstable_by_key(|entry| (entry.created, entry.count));
        let bytes = entries.iter().map(|entry| entry.bytes).sum();
        let count = entries.iter().map(|entry| entry.count + 1).max().unwrap_or_default();
        let destination = crc32fast::hash(destination.as_bytes());
        Ok(Some(Self { folder, destination, limit, bytes, count, entries: entries.into(), dropped, _lock: lock }))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Keeps a batch, for which the oldest may have to go.
    ///
    /// # Errors
    ///
    /// When it cannot be written, or is larger than all that may be kept.
    pub(crate) fn push(&mut self, batch: &Batch) -> io::Result<()> {
        let head = Head {
            destination: self.destination,
            items: batch.items,
            content_type: batch.content_type.clone(),
            content_encoding: batch.content_encoding.clone(),
            length: batch.body.len(),
            crc32: crc32fast::hash(&batch.body),
        };
        let mut content = serde_json::to_vec(&head)?;
        content.push(b'\n');
        content.extend_from_slice(&batch.body);
        let bytes = content.len() as u64;
        if bytes > self.limit {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "the batch is larger than the buffer"));
        }
        while self.bytes + bytes > self.limit {
            self.drop_at(0);
        }
        let entry = Entry { created: batch.created, count: self.count, items: batch.items, bytes };
        let path = self.folder.join(entry.name());
        let temporary = path.with_extension(TEMPORARY);
        let written = private_file(&temporary).and_then(|mut file| {
            file.write_all(&content)?;
            file.sync_data()?;
            fs::rename(&temporary, &path)
        });
        if let Err(error) = written {
            let _ = fs::remove_file(&temporary);
            return Err(error);
        }
        self.count += 1;
        self.bytes += bytes;
        // A batch that is put back is older than those after it.
        let at = self.entries.partition_point(|other| (other.created, other.count) < (entry.created, entry.count));
        self.entries.insert(at, entry);
        Ok(())
    }

    /// The oldest batch that can be read and is whole, for this destination and not too old; those that are not go. The
    /// number in front of the batch is for [`Disk::remove`].
    ///
    /// # Errors
    ///
    /// When there are batches and none of them can be read, which may pass: they stay.
    pub(crate) fn first(&mut self) -> io::Result<Option<(u64, Batch)>> {
        let oldest = batch::now().saturating_sub(MAX_AGE);
        let mut failed = None;
        let mut at = 0;
        while let Some(entry) = self.entries.get(at) {
            let read = if entry.created < oldest { Ok(None) } else { self.read(entry) };
            match read {
                Ok(Some(batch)) => return Ok(Some((entry.count, batch))),
                Ok(None) => self.drop_at(at),
                Err(error) => {
                    failed = Some(error);
                    at += 1;
                }
            }
        }
        failed.map_or(Ok(None), Err)
    }

    /// The batch of a file. None when the file is not there any more, or has no whole batch for this destination.
    fn read(&self, entry: &Entry) -> io::Result<Option<Batch>> {
        match fs::read(self.folder.join(entry.name())) {
            Ok(content) => Ok(self.parse(entry, &Bytes::from(content))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn parse(&self, entry: &Entry, content: &Bytes) -> Option<Batch> {
        let end = content.iter().position(|byte| *byte == b'\n')?;
        let head: Head = serde_json::from_slice(&content[..end]).ok()?;
        let body = content.slice(end + 1..);
        let is_whole = head.length == body.len() && head.crc32 == crc32fast::hash(&body);
        (is_whole && head.destination == self.destination).then_some(Batch {
            created: entry.created,
            items: head.items,
            content_type: head.content_type,
            content_encoding: head.content_encoding,
            body,
        })
    }

    /// Removes the batch that [`Disk::first`] gave, if it is still there.
    pub(crate) fn remove(&mut self, count: u64) {
        if let Some(at) = self.entries.iter().position(|entry| entry.count == count) {
            self.remove_at(at);
        }
    }

    /// Removes a batch that will not be sent.
    fn drop_at(&mut self, at: usize) {
        let items = self.remove_at(at);
        self.dropped.fetch_add(items as u64, Ordering::Relaxed);
    }

    /// Removes a batch. Returns how many items it has.
    fn remove_at(&mut self, at: usize) -> usize {
        let Some(entry) = self.entries.remove(at) else {
            return 0;
        };
        self.bytes = self.bytes.saturating_sub(entry.bytes);
        // Whatever keeps the file from being removed, it has been dealt with; at worst it is sent again.
        let _ = fs::remove_file(self.folder.join(entry.name()));
        entry.items
    }
}

/// Makes a folder and those above it, for the owner alone.
pub(crate) fn create_folder(folder: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::DirBuilderExt as _;
        builder.mode(0o700);
    }
    builder.create(folder)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        fs::set_permissions(folder, fs::Permissions::from_mode(0o700))?;
    }
    Ok(())
}

/// Opens a file for writing, which is made for the owner alone and emptied.
fn private_file(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    options.open(path)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn batch(created: u64, text: &str) -> Batch {
        let body = Bytes::copy_from_slice(text.as_bytes());
        Batch { created: batch::now() + created, ..Batch::new(2, "application/json", Some("gzip"), body) }
    }

    fn open(folder: &Path, limit: u64) -> Disk {
        Disk::open(folder.to_owned(), "https://a", limit, Arc::default()).unwrap().unwrap()
    }

    fn dropped(disk: &Disk) -> u64 {
        disk.dropped.load(Ordering::Relaxed)
    }

    fn files(folder: &Path) -> Vec<PathBuf> {
        let files = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
        let mut files: Vec<_> = files.filter(|file| file.file_name().unwrap() != LOCK).collect();
        files.sort();
        files
    }

    #[test]
    fn batches_survive_a_restart_in_their_order() {
        let folder = tempfile::tempdir().unwrap();
        let batches = [batch(1, "first"), batch(2, "second")];
        {
            let mut disk = open(folder.path(), 10_000);
            assert!(disk.is_empty());
            disk.push(&batches[1]).unwrap();
            disk.push(&batches[0]).unwrap();
        }
        let mut disk = open(folder.path(), 10_000);
        for batch in &batches {
            let (count, first) = disk.first().unwrap().unwrap();
            assert_eq!(&first, batch);
            disk.remove(count);
            disk.remove(count);
        }
        assert_eq!((disk.first().unwrap(), dropped(&disk)), (None, 0));
        assert!(files(folder.path()).is_empty());
    }

    #[test]
    fn the_oldest_go_when_there_is_no_room() {
        let folder = tempfile::tempdir().unwrap();
        let mut disk = open(folder.path(), 2_000);
        let text = "x".repeat(400);
        (0..20).for_each(|at| disk.push(&batch(at, &text)).unwrap());
        let bytes: u64 = files(folder.path()).iter().map(|file| fs::metadata(file).unwrap().len()).sum();
        assert!(bytes <= 2_000 && bytes > 1_000, "{bytes}");
        assert_eq!(dropped(&disk), 2 * (20 - files(folder.path()).len() as u64));
        assert!(disk.push(&batch(30, &"x".repeat(2_000))).is_err());
        assert_eq!(bytes, disk.bytes);
    }

    #[test]
    fn what_had_to_go_for_a_batch_that_cannot_be_written_is_counted() {
        let folder = tempfile::tempdir().unwrap();
        let mut disk = open(folder.path(), 1_000);
        let text = "x".repeat(600);
        disk.push(&batch(0, &text)).unwrap();
        let next = batch(1, &text);
        // There is a folder where its file would be written.
        let name = Entry { created: next.created, count: disk.count, items: next.items, bytes: 0 }.name();
        fs::create_dir(folder.path().join(name).with_extension(TEMPORARY)).unwrap();
        assert!(disk.push(&next).is_err());
        assert_eq!((disk.is_empty(), dropped(&disk)), (true, 2));
    }

    #[test]
    fn what_cannot_be_read_for_the_moment_stays_and_does_not_hold_up_the_others() {
        let folder = tempfile::tempdir().unwrap();
        let mut disk = open(folder.path(), 10_000);
        disk.push(&batch(0, "first")).unwrap();
        disk.push(&batch(1, "second")).unwrap();
        let first = files(folder.path()).remove(0);
        let aside = folder.path().join("aside");
        fs::rename(&first, &aside).unwrap();
        // A folder can be opened, and not be read.
        fs::create_dir(&first).unwrap();
        let (count, second) = disk.first().unwrap().unwrap();
        assert_eq!(&second.body[..], b"second");
        disk.remove(count);
        assert!(disk.first().is_err());
        fs::remove_dir(&first).unwrap();
        fs::rename(&aside, &first).unwrap();
        assert_eq!(&disk.first().unwrap().unwrap().1.body[..], b"first");
        assert_eq!(dropped(&disk), 0);
    }

    #[test]
    fn broken_foreign_and_old_files_are_skipped_and_removed() {
        let folder = tempfile::tempdir().unwrap();
        {
            let mut disk = open(folder.path(), 100_000);
            for at in 0..4 {
                disk.push(&batch(at, "text")).unwrap();
            }
            let mut elsewhere = Disk { destination: 1, ..disk };
            elsewhere.push(&batch(4, "foreign")).unwrap();
            elsewhere.push(&Batch { created: 1, ..batch(0, "old") }).unwrap();
        }
        let broken = files(folder.path());
        fs::write(&broken[1], "no batch").unwrap();
        let content = fs::read(&broken[2]).unwrap();
        fs::write(&broken[2], &content[..content.len() - 1]).unwrap();
        fs::write(&broken[3], [&content[..content.len() - 1], b"T"].concat()).unwrap();
        fs::write(folder.path().join("x.new"), "half").unwrap();
        fs::write(folder.path().join("mine.txt"), "kept").unwrap();
        let mut disk = open(folder.path(), 100_000);
        let (count, first) = disk.first().unwrap().unwrap();
        assert_eq!((&first.body[..], dropped(&disk)), (&b"text"[..], 4 * 2));
        disk.remove(count);
        assert_eq!((disk.first().unwrap(), dropped(&disk)), (None, 5 * 2));
        assert_eq!(files(folder.path()), [folder.path().join("mine.txt")]);
    }

    proptest! {
        #[test]
        fn a_file_with_any_bytes_is_removed(content: Vec<u8>, head in r#"[{}":a-z0-9,]{0,60}"#) {
            let folder = tempfile::tempdir().unwrap();
            let name = Entry { created: batch::now(), count: 0, items: 3, bytes: 0 }.name();
            fs::write(folder.path().join(name), [head.as_bytes(), b"\n", &content].concat()).unwrap();
            let mut disk = open(folder.path(), 1_000);
            prop_assert_eq!((disk.first().unwrap(), dropped(&disk)), (None, 3));
            prop_assert!(files(folder.path()).is_empty());
        }

        #[test]
        fn any_file_name_is_understood_or_left_alone(
            name in any::<String>(),
            digits in "[0-9]{0,25}-[0-9]{0,25}-[0-9-]{0,25}.batch",
        ) {
            for name in [name, digits] {
                let read = Entry::parse(&name, 0);
                prop_assert!(read.is_none_or(|entry| Entry::parse(&entry.name(), 0).is_some()), "{}", name);
            }
        }
    }

    #[test]
    fn one_process_at_a_time_has_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let first = open(folder.path(), 1_000);
        let open = || Disk::open(folder.path().to_owned(), "https://a", 1_000, Arc::default()).unwrap();
        assert!(open().is_none());
        drop(first);
        assert!(open().is_some());
    }

    #[cfg(unix)]
    #[test]
    fn files_are_the_owners() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("a/b");
        let mut disk = open(&inner, 1_000);
        disk.push(&batch(0, "text")).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&inner), 0o700);
        assert_eq!(mode(&files(&inner)[0]), 0o600);
        assert_eq!(mode(&inner.join(LOCK)), 0o600);
    }
}
