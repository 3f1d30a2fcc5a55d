//! The durable state of a server: small entries by key, and blobs by digest, in one folder.
//!
//! **Entries** are like etcd's. A key is a text such as `tenants/acme/endpoints/iris`, a value is bytes whose meaning is
//! the caller's affair. A [`Transaction`] changes any number of entries or none, and may expect what they were before.
//! Each raises the store's revision by one, and an entry knows the revision that changed it last. A [`Snapshot`] reads at
//! one revision, whatever is committed meanwhile.
//!
//! **Blobs** are files that are named by the SHA-256 of their content. A blob comes by an [`Upload`], which may be
//! interrupted and resumed; it is there when all of it is there and its digest is right. The store does not know which
//! blobs entries refer to. A caller uploads a blob before it commits an entry that refers to it, and removes a blob after
//! it has committed that no entry does; then a backup is consistent too.
//!
//! All calls block, most of them on the disk: asynchronous callers make them with `spawn_blocking`. [`Store`] is `Send` and
//! `Sync`, and its clones are the same store.
//!
//! ```
//! use scorebox_store::{CommitError, Store, Transaction};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let folder = folder.path();
//! let store = Store::open(folder)?;
//! let key = "tenants/acme/endpoints/iris";
//! let first = store.commit(Transaction::new().expect_absent(key).put(key, "blue"))?;
//! store.commit(Transaction::new().expect(key, Some(first)).put(key, "green"))?;
//!
//! // Somebody who has not seen the change:
//! let late = store.commit(Transaction::new().expect(key, Some(first)).put(key, "red"));
//! assert!(matches!(late, Err(CommitError::Conflict { .. })));
//! assert_eq!(store.get(key)?.ok_or("gone")?.value, b"green");
//! # Ok(())
//! # }
//! ```
//!
//! # The folder
//!
//! | name | what it holds |
//! | --- | --- |
//! | `store.db`, `store.db-wal`, `store.db-shm` | the entries: a SQLite database |
//! | `blobs/ab/abcd…` | blobs, by the first two digits of their digest |
//! | `uploads/abcd….part` | what has come of blobs that are not complete |
//! | `lock` | held by the one process that uses the folder |
//!
//! A backup has the database, the blobs and `SHA256SUMS`, which `sha256sum -c` reads; see [`Store::backup`].
//!
//! # Why SQLite
//!
//! Its transactions are tested against power loss and full disks more than any other embedded store's, it makes backups
//! of a database in use, its format is fixed and documented for decades, and an engineer can open the file with a tool
//! that is on every machine. redb and fjall are younger, each with one main author and tools of its own; sled has been
//! without a stable format for years. What they do better, many writes at once and no C, is not needed here: a
//! deployment is written a few times a day.
//!
//! # What survives
//!
//! A commit that has returned, and a blob whose [`Upload::finish`] has returned, survive `kill -9` and loss of power,
//! as far as the disk does what `fsync` asks it to.
//!
//! * The database is in WAL mode with `synchronous=FULL`: each commit is synced to the log before it is acknowledged. A
//!   rollback journal would be as safe, but syncs more often for each commit, and there a reader holds up who writes. With a
//!   WAL a snapshot and a backup hold up nobody, and a commit that was cut short is left out by its checksum. The price is
//!   that the folder must be on a local file system, and that the log is not shortened while a snapshot is held.
//! * A blob is synced, compared with its digest and renamed, and its folders are synced.
//! * A full disk is [`StoreError::Full`]. It changes nothing, reading goes on, and so does writing when there is room.
//! * A bit that flips on the disk is found in a blob ([`Store::check`]) and in a backup ([`Store::restore`]). In a value it
//!   is not: SQLite has checksums for its log, but not for its pages.

mod backup;
mod blobs;
mod check;
mod database;
mod digest;
mod error;
mod files;
mod snapshot;
mod store;
mod transaction;
mod upload;

#[cfg(test)]
mod tests;

pub use crate::blobs::Blob;
pub use crate::check::Report;
pub use crate::digest::{Digest, DigestError};
pub use crate::error::{CommitError, StoreError};
pub use crate::snapshot::{Entry, Snapshot};
pub use crate::store::{Size, Store};
pub use crate::transaction::Transaction;
pub use crate::upload::Upload;
