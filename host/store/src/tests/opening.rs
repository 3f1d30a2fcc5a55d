//! Who may open a store, and which one.

use std::fs;

use rusqlite::Connection;

use super::*;
use crate::database::{self, Database};
use crate::files::Lock;
use crate::{StoreError, Transaction};

#[test]
fn one_process_at_a_time_has_the_store() {
    if let Some(folder) = given_folder() {
        return println!("second process: {:?}", Store::open(&folder).map(drop).map_err(|error| error.to_string()));
    }
    let folder = folder();
    let second = || {
        let test = "tests::opening::one_process_at_a_time_has_the_store";
        String::from_utf8(again(&[], test, folder.path()).output().unwrap().stdout).unwrap()
    };
    let store = open(&folder);
    let refused = format!(
        "the store in {} is in use; stop the process that has it open, or choose another folder",
        folder.path().canonicalize().unwrap().display()
    );
    assert!(second().contains(&format!("second process: Err({refused:?})")), "{}", second());
    assert!(matches!(Store::open(folder.path()), Err(StoreError::InUse { .. })));

    // It ends with the last that needs it.
    let snapshot = store.snapshot().unwrap();
    drop(store);
    assert!(matches!(Store::open(folder.path()), Err(StoreError::InUse { .. })));
    drop(snapshot);
    assert!(second().contains("second process: Ok(())"), "{}", second());
    open(&folder);
}

#[test]
fn a_lock_ends_also_while_a_new_process_has_inherited_it() {
    let folder = folder();
    let path = folder.path().join("lock");
    let lock = Lock::take(&path).unwrap().unwrap();
    let inherited = lock.0.try_clone().unwrap();
    assert!(Lock::take(&path).unwrap().is_none());
    drop(lock);
    assert!(Lock::take(&path).unwrap().is_some());
    drop(inherited);
}

#[test]
fn a_store_can_be_used_by_all_threads() {
    fn is_shared<T: Send + Sync + Clone + 'static>() {}
    fn is_moved<T: Send + 'static>() {}
    is_shared::<Store>();
    is_moved::<crate::Snapshot>();
    is_moved::<crate::Upload>();
}

#[test]
fn folders_and_files_are_the_owners() {
    let folder = folder();
    let inner = folder.path().join("a/b");
    let store = Store::open(&inner).unwrap();
    store.commit(Transaction::new().put("a", "1")).unwrap();
    let digest = put_blob(&store, b"content");
    for name in ["", "../../a", "blobs", "uploads"] {
        assert_eq!(mode(&inner.join(name)), 0o700, "{name}");
    }
    for name in ["lock", "store.db", "store.db-wal", "store.db-shm"] {
        assert_eq!(mode(&inner.join(name)), 0o600, "{name}");
    }
    assert_eq!(mode(&store.blob(&digest).unwrap().unwrap().path), 0o600);
}

#[test]
fn commits_are_synced_to_a_log() {
    let folder = folder();
    let store = open(&folder);
    let writer = store.database().writer();
    let setting = |name| writer.pragma_query_value(None, name, |row| row.get::<_, rusqlite::types::Value>(0)).unwrap();
    assert_eq!(setting("journal_mode"), "wal".to_owned().into());
    assert_eq!(setting("synchronous"), 2.into(), "full");
}

#[test]
fn a_newer_schema_is_refused_and_left_as_it_is() {
    let folder = folder();
    open(&folder).commit(Transaction::new().put("a", "1")).unwrap();
    let path = folder.path().join(database::FILE);
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 7).unwrap();
    let before = fs::read(&path).unwrap();
    let error = Store::open(folder.path()).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "the store in {} has schema version 7, and this program knows versions up to 1; run the newer program, or \
             restore a backup that is older than it",
            folder.path().canonicalize().unwrap().display()
        )
    );
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[test]
fn an_older_schema_is_migrated_whole_or_not_at_all() {
    let folder = folder();
    open(&folder).commit(Transaction::new().put("a", "1")).unwrap();
    let first = "this one has been made already";
    let second = "ALTER TABLE entries ADD COLUMN note TEXT";
    let version =
        || Connection::open(folder.path().join(database::FILE)).unwrap().pragma_query_one(None, "user_version");

    let error = Database::open_with(folder.path(), &[first, second, "no SQL"]).unwrap_err();
    assert!(error.to_string().contains("syntax error"), "{error}");
    assert_eq!(version(), Ok(1));

    let third = "UPDATE entries SET note = 'noted'";
    drop(Database::open_with(folder.path(), &[first, second, third]).unwrap());
    assert_eq!(version(), Ok(3));
    let database = Database::open_with(folder.path(), &[first, second, third]).unwrap();
    let note: String = database.writer().query_row("SELECT note FROM entries", [], |row| row.get(0)).unwrap();
    assert_eq!(note, "noted");
    assert!(matches!(Store::open(folder.path()), Err(StoreError::NewerSchema { found: 3, supported: 1, .. })));
}

#[test]
fn a_database_of_something_else_is_refused_and_left_as_it_is() {
    let folder = folder();
    let path = folder.path().join(database::FILE);
    Connection::open(&path).unwrap().execute_batch("CREATE TABLE theirs (x)").unwrap();
    let before = fs::read(&path).unwrap();
    assert!(matches!(Store::open(folder.path()), Err(StoreError::Foreign { .. })));
    assert_eq!(fs::read(&path).unwrap(), before);

    fs::write(&path, "no database at all, but a text that is long enough to be taken for its header".repeat(9))
        .unwrap();
    let error = Store::open(folder.path()).unwrap_err();
    assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
    assert!(error.to_string().ends_with("file is not a database; restore a backup to a new folder"), "{error}");
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let folder = folder();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let error = Store::open(&file.join("store")).unwrap_err();
    assert!(error.to_string().contains(&file.display().to_string()), "{error}");
}
