//! Backups of a store in use, and of damaged ones.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use proptest::prelude::*;
use rusqlite::Connection;

use super::*;
use crate::{Entry, StoreError, Transaction, backup, blobs, database};

/// A store with some entries, each of which refers to a blob.
fn filled(folder: &Path) -> Store {
    let store = Store::open(folder).unwrap();
    for content in ["one", "two", "three"] {
        let digest = put_blob(&store, content.as_bytes());
        store.commit(Transaction::new().put(content, digest.to_string())).unwrap();
    }
    store
}

#[test]
fn a_backup_of_a_store_in_use_is_one_of_its_states() {
    const BACKUPS: usize = 5;
    let folder = folder();
    let path = |name: String| folder.path().join(name);
    let store = filled(&path("store".to_owned()));
    let stopped = AtomicBool::new(false);
    // What there was at each revision, as the one who commits knows it.
    let mut states = BTreeMap::from([(3, store.scan("").unwrap())]);
    thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0_u64.. {
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                let digest = put_blob(&store, format!("blob {round}").as_bytes()).to_string();
                let transaction = Transaction::new().put("last", &*digest).put(format!("many/{}", round % 50), digest);
                let transaction = transaction.delete(format!("many/{}", (round + 7) % 50));
                let revision = store.commit(transaction).unwrap();
                states.insert(revision, store.scan("").unwrap());
            }
        });
        for at in 0..BACKUPS {
            store.backup(&path(format!("backup-{at}"))).unwrap();
        }
        stopped.store(true, Ordering::Relaxed);
    });

    let mut revisions = BTreeSet::new();
    for at in 0..BACKUPS {
        Store::restore(&path(format!("backup-{at}")), &path(format!("restored-{at}"))).unwrap();
        let restored = Store::open(&path(format!("restored-{at}"))).unwrap();
        let report = check(&restored);
        assert!(report.is_whole(), "{report:?}");
        let snapshot = restored.snapshot().unwrap();
        let revision = snapshot.revision() - 1_000_000_000;
        assert!(snapshot.scan("").unwrap() == states[&revision], "revision {revision}");
        revisions.insert(revision);
    }
    assert!(revisions.len() > 1, "the store was in use: {revisions:?}");
}

#[test]
fn a_restored_store_gives_no_revision_again() {
    let folder = folder();
    let (first, backup, second) =
        (folder.path().join("first"), folder.path().join("backup"), folder.path().join("second"));
    let store = filled(&first);
    store.backup(&backup).unwrap();
    let remembered = store.commit(Transaction::new().put("after", "the backup")).unwrap();
    Store::restore(&backup, &second).unwrap();
    let restored = Store::open(&second).unwrap();
    let entry = |revision| restored.get("one").unwrap().map(|Entry { revision: found, .. }| found) == Some(revision);
    assert!(entry(1), "entries are as they were");
    assert!(restored.commit(Transaction::new().put("one", "other")).unwrap() > remembered);
}

#[test]
fn a_backup_can_be_checked_with_sha256sum() {
    let folder = folder();
    let store = filled(&folder.path().join("store"));
    let backup = folder.path().join("backup");
    store.backup(&backup).unwrap();
    assert_eq!(names(&backup), ["SHA256SUMS", "blobs", "store.db"]);
    assert_eq!(
        (mode(&backup), mode(&backup.join("store.db")), mode(&backup.join("SHA256SUMS"))),
        (0o700, 0o600, 0o600)
    );
    let output = Command::new("sha256sum").args(["--check", "--strict", "SHA256SUMS"]).current_dir(&backup).output();
    let text = String::from_utf8(output.unwrap().stdout).unwrap();
    assert_eq!(text.lines().filter(|line| line.ends_with(": OK")).count(), 4, "{text}");
    assert!(text.ends_with("store.db: OK\n"), "{text}");
    // By the file format's header: to be read without a log beside it.
    assert_eq!(fs::read(backup.join("store.db")).unwrap()[18..20], [1, 1]);
}

#[test]
fn nothing_is_overwritten_by_a_backup_or_restored_over() {
    let folder = folder();
    let store = filled(&folder.path().join("store"));
    let (backup, there) = (folder.path().join("backup"), folder.path().join("there"));
    store.backup(&backup).unwrap();
    fs::create_dir(&there).unwrap();
    for result in [store.backup(&backup), store.backup(&there), Store::restore(&backup, &there)] {
        assert!(matches!(result, Err(StoreError::Exists { .. })), "{result:?}");
    }
    assert!(names(&there).is_empty());
    let nowhere = folder.path().join("no/where");
    assert!(store.backup(&nowhere).unwrap_err().to_string().contains(&nowhere.display().to_string()));
    assert_eq!(names(folder.path()), ["backup", "store", "there"]);
}

#[test]
fn a_damaged_blob_is_not_backed_up_as_a_whole_one() {
    let folder = folder();
    let store = filled(&folder.path().join("store"));
    let blob = store.blobs().unwrap().remove(1);
    fs::write(&blob.path, "damaged").unwrap();
    let error = store.backup(&folder.path().join("backup")).unwrap_err();
    assert!(matches!(&error, StoreError::DamagedBlob { path, .. } if *path == blob.path), "{error}");
    assert_eq!(names(folder.path()), ["store"]);
}

#[test]
fn during_a_backup_or_a_check_all_can_be_done_but_removing_blobs() {
    let folder = folder();
    let store = filled(&folder.path().join("store"));
    let other = Digest::of(b"one");
    // Whoever reads this blob waits until it is written.
    let pipe = store.blob(&Digest::of(b"two")).unwrap().unwrap().path;
    fs::remove_file(&pipe).unwrap();
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let backup = || store.backup(&folder.path().join("backup"));
    let check = || store.check(|_| Ok(BTreeSet::new())).map(|report| assert!(report.is_whole()));
    for (read_all, content) in [(&backup as &(dyn Fn() -> _ + Sync), "new"), (&check, "newer")] {
        thread::scope(|scope| {
            let reader = scope.spawn(read_all);
            let mut pipe = fs::File::options().write(true).open(&pipe).unwrap();
            assert!(matches!(store.remove_blob(&other), Err(StoreError::Held { .. })));
            let digest = put_blob(&store, content.as_bytes());
            store.commit(Transaction::new().put("new", digest.to_string())).unwrap();
            pipe.write_all(b"two").unwrap();
            drop(pipe);
            reader.join().unwrap().unwrap();
        });
    }
    assert!(store.remove_blob(&other).unwrap());
    let restored = folder.path().join("restored");
    Store::restore(&folder.path().join("backup"), &restored).unwrap();
    let restored = Store::open(&restored).unwrap();
    assert_eq!(restored.get("new").unwrap(), None, "it was committed after the backup had begun");
    assert_eq!(restored.blobs().unwrap().len(), 3);
}

/// Runs SQL on the database of a backup, and writes the digest that it has then to the list.
fn change_database(backup: &Path, sql: &str) {
    let path = backup.join(database::FILE);
    let connection = Connection::open(&path).unwrap();
    connection.execute_batch(sql).unwrap();
    drop(connection);
    relist_database(backup);
}

fn relist_database(backup: &Path) {
    let sums = backup.join("SHA256SUMS");
    let text = fs::read_to_string(&sums).unwrap();
    let (blobs, _database) = text.trim_end().rsplit_once('\n').unwrap();
    let digest = Digest::of(&fs::read(backup.join(database::FILE)).unwrap());
    fs::write(&sums, format!("{blobs}\n{digest}  {}\n", database::FILE)).unwrap();
}

#[test]
fn a_damaged_backup_is_refused_and_nothing_is_restored() {
    type Damage = fn(&Path);
    let cases: [(Damage, &str); 12] = [
        (|backup| fs::remove_file(backup.join("SHA256SUMS")).unwrap(), "it has no SHA256SUMS, so it is not complete"),
        (
            |backup| {
                let text = fs::read_to_string(backup.join("SHA256SUMS")).unwrap();
                let (whole_lines, _database) = text.trim_end().rsplit_once('\n').unwrap();
                fs::write(backup.join("SHA256SUMS"), whole_lines).unwrap();
            },
            "its SHA256SUMS does not end with the database: it is not complete",
        ),
        (
            |backup| {
                let text = fs::read_to_string(backup.join("SHA256SUMS")).unwrap();
                let (first, others) = text.split_once('\n').unwrap();
                fs::write(backup.join("SHA256SUMS"), format!("{others}{first}\n")).unwrap();
            },
            "its SHA256SUMS does not end with the database: it is not complete",
        ),
        (|backup| fs::write(backup.join("SHA256SUMS"), "").unwrap(), "does not end with the database"),
        (
            |backup| {
                let text = fs::read_to_string(backup.join("SHA256SUMS")).unwrap();
                let line = format!("{}  ../../outside\n{text}", Digest::of(b""));
                fs::write(backup.join("SHA256SUMS"), line).unwrap();
            },
            "line 1 of its SHA256SUMS names no file of a backup",
        ),
        (|backup| fs::remove_file(blob(backup)).unwrap(), " is missing"),
        (|backup| fs::write(blob(backup), "damaged").unwrap(), " is damaged: its SHA-256 is "),
        (
            |backup| {
                let path = backup.join(database::FILE);
                let mut content = fs::read(&path).unwrap();
                // SQLite would not notice it in a value.
                *content.last_mut().unwrap() ^= 1;
                fs::write(path, content).unwrap();
            },
            "store.db is damaged: its SHA-256 is ",
        ),
        // From here on the list is right, and the database is not.
        (
            |backup| {
                let path = backup.join(database::FILE);
                let mut content = fs::read(&path).unwrap();
                // The pages of tables and indexes lose their cells.
                content[4096..].chunks_mut(4096).for_each(|page| page[5..8].fill(0xee));
                fs::write(path, content).unwrap();
                relist_database(backup);
            },
            "its database is damaged: ",
        ),
        (|backup| change_database(backup, "PRAGMA application_id = 1"), "is not that of a Scorebox store"),
        (
            |backup| change_database(backup, "CREATE TRIGGER evil AFTER INSERT ON entries BEGIN SELECT 1; END"),
            "its tables are not those of schema version 1",
        ),
        (|backup| change_database(backup, "PRAGMA user_version = 9"), "has schema version 9, and this program knows"),
    ];
    let folder = folder();
    let [whole, damaged, restored] = ["whole", "damaged", "restored"].map(|name| folder.path().join(name));
    filled(&folder.path().join("store")).backup(&whole).unwrap();
    for (damage, expected) in cases {
        assert!(Command::new("cp").arg("-r").args([&whole, &damaged]).status().unwrap().success());
        damage(&damaged);
        let error = Store::restore(&damaged, &restored).unwrap_err().to_string();
        assert!(error.contains(expected), "{error:?} does not say {expected:?}");
        assert!(error.contains(&damaged.display().to_string()), "{error}");
        fs::remove_dir_all(&damaged).unwrap();
        assert_eq!(names(folder.path()), ["store", "whole"], "{expected}");
    }
    Store::restore(&whole, &restored).unwrap();
}

fn blob(backup: &Path) -> PathBuf {
    backup.join(blobs::path(&Digest::of(b"two")))
}

proptest! {
    #[test]
    fn a_list_names_nothing_outside_of_a_backup(
        mut lines in proptest::collection::vec("[0-9a-f]{64} {0,3}(blobs/)?([0-9a-f./]{0,70}|store.db)", 0..4),
        end: bool,
        text: String,
    ) {
        if end {
            lines.push(format!("{}  store.db", Digest::of(b"")));
        }
        for sums in [lines.join("\n"), text] {
            for file in backup::parse(&sums).unwrap_or_default() {
                prop_assert!(file.path == blobs::path(&file.digest) || file.path == Path::new("store.db"));
            }
        }
    }
}
