//! Disks without room.

use std::os::unix::fs::symlink;
use std::time::Duration;

use super::*;
use crate::{CommitError, StoreError, Transaction};

/// More than there is room for.
const LARGE: usize = 2 << 20;

#[track_caller]
fn assert_full(result: Result<(), StoreError>, what: &str) {
    let error = result.unwrap_err();
    assert!(matches!(error, StoreError::Full { .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.starts_with(&format!("there is no room to {what} ")), "{text}");
    assert!(text.ends_with("; make room on the disk and try again"), "{text}");
}

fn commit(store: &Store, transaction: Transaction) -> Result<(), StoreError> {
    store.commit(transaction).map(drop).map_err(|error| match error {
        CommitError::Store(error) => error,
        conflict @ CommitError::Conflict { .. } => panic!("{conflict}"),
    })
}

fn upload(store: &Store, content: &[u8]) -> Result<(), StoreError> {
    let digest = Digest::of(content);
    let mut upload = store.upload(&digest, store.upload_offset(&digest)?)?;
    let rest = &content[upload.offset() as usize..];
    let result = upload.append(rest);
    assert_eq!(store.upload_offset(&digest).unwrap(), upload.offset());
    result.and_then(|()| upload.finish())
}

#[test]
fn a_commit_without_room_changes_nothing_and_later_ones_succeed() {
    let folder = folder();
    let store = open(&folder);
    store.commit(Transaction::new().put("a", "1")).unwrap();
    let set_limit = |pages: i64| {
        store.database().writer().pragma_update_and_check(None, "max_page_count", pages, |_| Ok(())).unwrap();
    };
    set_limit(20);
    for _ in 0..3 {
        assert_full(commit(&store, Transaction::new().put("a", "2").put("b", vec![7; LARGE]).delete("a")), "write");
        assert_eq!(store.scan("").unwrap().len(), 1);
        assert_eq!(store.get("a").unwrap().unwrap().value, b"1");
    }
    commit(&store, Transaction::new().put("a", "what is small still fits")).unwrap();
    set_limit(1 << 30);
    assert_eq!(store.commit(Transaction::new().put("b", vec![7; LARGE])).unwrap(), 3);
    assert_eq!(check_unused(&store).database, Vec::<String>::new());
}

#[test]
fn an_upload_without_room_is_kept_and_goes_on_when_there_is() {
    let folder = folder();
    let store = open(&folder);
    let digest = Digest::of(b"content");
    // Writing to this device always fails for want of room.
    let partial = folder.path().join(format!("uploads/{digest}.part"));
    symlink("/dev/full", &partial).unwrap();
    assert_full(upload(&store, b"content"), "write");
    assert_eq!(store.blob(&digest).unwrap(), None);
    std::fs::remove_file(&partial).unwrap();
    upload(&store, b"content").unwrap();
    assert!(store.blob(&digest).unwrap().is_some());
}

/// A command line that runs what follows it with a tmpfs of 1 MiB at the folder.
fn with_tmpfs(namespace: &[&str], folder: &Path) -> Vec<OsString> {
    let script = r#"mount -t tmpfs -o size=1m tmpfs "$1" && shift && exec "$@""#;
    let mut line: Vec<OsString> = namespace.iter().map(OsString::from).collect();
    line.extend(["sh", "-c", script, "sh"].map(OsString::from));
    line.push(folder.into());
    line
}

#[test]
fn a_store_on_a_disk_that_fills_up_works_on_when_there_is_room() {
    if let Some(folder) = given_folder() {
        return fill_up_and_go_on(&folder);
    }
    let folder = folder();
    // As root, or as a user where users may mount in a namespace of their own.
    let wrapper = [&["unshare", "--mount"][..], &["unshare", "--mount", "--map-root-user"]]
        .map(|namespace| with_tmpfs(namespace, folder.path()))
        .into_iter()
        .find(|line| {
            Command::new(&line[0]).args(&line[1..]).arg("true").output().is_ok_and(|output| output.status.success())
        });
    let Some(wrapper) = wrapper else {
        return println!("no file system can be mounted here: the limit of pages and /dev/full stand in for it");
    };
    let test = "tests::full_disk::a_store_on_a_disk_that_fills_up_works_on_when_there_is_room";
    let output = again(&wrapper, test, folder.path()).output().unwrap();
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

fn fill_up_and_go_on(folder: &Path) {
    let path = folder.join("store");
    let store = Store::open(&path).unwrap();
    let kept = put_blob(&store, b"kept");
    store.commit(Transaction::new().put("a", kept.to_string())).unwrap();
    let is_as_it_was = |store: &Store| {
        assert!(check(store).is_whole());
        assert_eq!(store.get("a").unwrap().unwrap().revision, 1);
        assert_eq!(store.scan("").unwrap().len(), 1);
    };
    assert_full(commit(&store, Transaction::new().delete("a").put("b", vec![7; LARGE])), "write");
    is_as_it_was(&store);

    let large = vec![7; LARGE];
    assert_full(upload(&store, &large), "write");
    assert!(store.upload_offset(&Digest::of(&large)).unwrap() > 0, "what fits is kept");
    // The disk is full now for what is small, too; what the log has left is used up by the first ones.
    let grown = (0..1000).map(|_| commit(&store, Transaction::new().put("a", "x".repeat(5000)))).find(Result::is_err);
    assert_full(grown.unwrap(), "write");
    let revision = store.get("a").unwrap().unwrap().revision;
    let backup = store.backup(&folder.join("backup"));
    assert!(matches!(backup, Err(StoreError::Full { .. })), "{backup:?}");
    assert_eq!(names(folder), ["store"], "nothing is left of a backup that failed");

    assert_eq!(store.remove_stale_uploads(Duration::ZERO).unwrap(), [Digest::of(&large)]);
    commit(&store, Transaction::new().expect("a", Some(revision)).put("a", kept.to_string())).unwrap();
    upload(&store, b"small").unwrap();
    drop(store);
    let store = Store::open(&path).unwrap();
    assert!(check(&store).is_whole());
    assert_eq!(store.get("a").unwrap().unwrap().revision, revision + 1);
    assert_eq!(store.blobs().unwrap().len(), 2);
}
