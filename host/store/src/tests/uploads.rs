//! Blobs, and how they come.

use std::fs;
use std::time::{Duration, SystemTime};

use proptest::prelude::*;

use super::*;
use crate::{DigestError, Size, StoreError, Transaction};

fn content() -> Vec<u8> {
    (0..300_000_u32).flat_map(u32::to_le_bytes).collect()
}

#[test]
fn the_size_of_a_store_is_that_of_its_database_and_of_its_blobs_and_uploads() {
    let folder = folder();
    let store = open(&folder);
    let (content, digest) = (content(), Digest::of(&content()));
    let empty = store.size().unwrap();
    assert!(empty.database > 0);
    assert_eq!(empty.blobs, 0);
    let mut upload = store.upload(&digest, 0).unwrap();
    upload.append(&content[..1000]).unwrap();
    assert_eq!(store.size().unwrap().blobs, 1000);
    upload.append(&content[1000..]).unwrap();
    upload.finish().unwrap();
    assert_eq!(store.size().unwrap(), Size { blobs: content.len() as u64, ..empty });
    store.commit(Transaction::new().put("key", content)).unwrap();
    assert!(store.size().unwrap().database > empty.database + 1_000_000);
    assert!(store.remove_blob(&digest).unwrap());
    assert_eq!(store.size().unwrap().blobs, 0);
}

#[test]
fn an_upload_that_was_interrupted_goes_on_where_it_ended() {
    let folder = folder();
    let content = content();
    let digest = Digest::of(&content);
    let mut sent = 0;
    for piece in [1, 500_000, 500_000] {
        // A new process each time, as far as the store can see.
        let store = open(&folder);
        assert_eq!(store.upload_offset(&digest).unwrap(), sent as u64);
        let mut upload = store.upload(&digest, sent as u64).unwrap();
        upload.append(&content[sent..sent + piece]).unwrap();
        sent += piece;
        assert_eq!(upload.offset(), sent as u64);
        assert_eq!(store.blob(&digest).unwrap(), None);
    }
    let store = open(&folder);
    let mut upload = store.upload(&digest, sent as u64).unwrap();
    upload.append(&content[sent..]).unwrap();
    upload.finish().unwrap();
    let blob = store.blob(&digest).unwrap().unwrap();
    let name = digest.to_string();
    let place = folder.path().canonicalize().unwrap().join("blobs").join(&name[..2]).join(&name);
    assert_eq!((blob.digest, blob.size, &blob.path), (digest, content.len() as u64, &place));
    assert!(fs::read(&blob.path).unwrap() == content);
    assert_eq!(store.blobs().unwrap(), [blob]);
    assert_eq!(store.upload_offset(&digest).unwrap(), 0);
    assert!(names(&folder.path().join("uploads")).is_empty());
}

#[test]
fn what_has_another_digest_is_refused_and_removed() {
    let folder = folder();
    let store = open(&folder);
    let (expected, found) = (Digest::of(b"right"), Digest::of(b"wrong"));
    let mut upload = store.upload(&expected, 0).unwrap();
    upload.append(b"wrong").unwrap();
    let error = upload.finish().unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("what was uploaded as {expected} has the SHA-256 {found} and is removed; upload it from its beginning")
    );
    assert_eq!(store.upload_offset(&expected).unwrap(), 0);
    assert!(store.blobs().unwrap().is_empty());
    put_blob(&store, b"right");
}

#[test]
fn a_partial_file_that_was_damaged_meanwhile_is_refused() {
    let folder = folder();
    let store = open(&folder);
    let digest = Digest::of(b"first second");
    store.upload(&digest, 0).unwrap().append(b"first ").unwrap();
    fs::write(folder.path().join(format!("uploads/{digest}.part")), b"f\0rst ").unwrap();
    let mut upload = store.upload(&digest, 6).unwrap();
    upload.append(b"second").unwrap();
    assert!(matches!(upload.finish(), Err(StoreError::Mismatch { .. })));
    assert_eq!(store.blob(&digest).unwrap(), None);
}

#[test]
fn an_upload_from_a_wrong_offset_is_told_the_right_one() {
    let folder = folder();
    let store = open(&folder);
    let digest = Digest::of(b"content");
    for (has, wrong) in [(0, 1), (3, 0), (3, 2), (3, 4)] {
        if has > store.upload_offset(&digest).unwrap() {
            store.upload(&digest, 0).unwrap().append(b"con").unwrap();
        }
        let error = store.upload(&digest, wrong).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("the upload of {digest} cannot begin at byte {wrong}: it has {has} bytes so far; go on from there")
        );
        assert_eq!(store.upload_offset(&digest).unwrap(), has);
    }
}

#[test]
fn an_upload_that_came_whole_and_was_not_finished_is_finished_later() {
    let folder = folder();
    let digest = Digest::of(b"content");
    open(&folder).upload(&digest, 0).unwrap().append(b"content").unwrap();
    let store = open(&folder);
    assert_eq!(store.upload_offset(&digest).unwrap(), 7);
    store.upload(&digest, 7).unwrap().finish().unwrap();
    assert_eq!(store.blob(&digest).unwrap().unwrap().size, 7);
}

#[test]
fn an_upload_can_begin_anew_and_what_is_given_up_is_removed() {
    let folder = folder();
    let store = open(&folder);
    let digest = Digest::of(b"content");
    store.upload(&digest, 0).unwrap().append(b"longer than the content").unwrap();
    let mut upload = store.upload_anew(&digest).unwrap();
    assert_eq!((upload.offset(), store.upload_offset(&digest).unwrap()), (0, 0));
    assert!(matches!(store.upload_anew(&digest), Err(StoreError::Busy { .. })));
    upload.append(b"cont").unwrap();
    upload.discard().unwrap();
    assert!(names(&folder.path().join("uploads")).is_empty());
    let mut upload = store.upload_anew(&digest).unwrap();
    upload.append(b"content").unwrap();
    upload.finish().unwrap();
    // Of a blob that is there, nothing is removed.
    store.upload_anew(&digest).unwrap().discard().unwrap();
    assert_eq!(store.blob(&digest).unwrap().unwrap().size, 7);
}

#[test]
fn a_blob_is_uploaded_or_removed_by_one_at_a_time() {
    let folder = folder();
    let store = open(&folder);
    let digest = Digest::of(b"content");
    let upload = store.upload(&digest, 0).unwrap();
    assert!(matches!(store.clone().upload(&digest, 0), Err(StoreError::Busy { .. })));
    assert!(matches!(store.remove_blob(&digest), Err(StoreError::Busy { .. })));
    assert!(store.remove_stale_uploads(Duration::ZERO).unwrap().is_empty());
    put_blob(&store, b"another");
    drop(upload);
    put_blob(&store, b"content");
}

#[test]
fn a_blob_that_is_there_is_not_uploaded_again() {
    let folder = folder();
    let store = open(&folder);
    let digest = put_blob(&store, b"content");
    let before = fs::metadata(store.blob(&digest).unwrap().unwrap().path).unwrap().modified().unwrap();
    put_blob(&store, b"content");
    store.upload(&digest, 3).unwrap().finish().unwrap();
    let after = fs::metadata(store.blob(&digest).unwrap().unwrap().path).unwrap().modified().unwrap();
    assert_eq!(before, after);
    assert!(names(&folder.path().join("uploads")).is_empty());
}

#[test]
fn the_empty_blob_is_one() {
    let folder = folder();
    let store = open(&folder);
    let digest = put_blob(&store, b"");
    assert_eq!(store.blob(&digest).unwrap().unwrap().size, 0);
}

#[test]
fn a_removed_blob_is_gone_for_all_but_its_readers() {
    let folder = folder();
    let store = open(&folder);
    let digest = put_blob(&store, b"content");
    let file = fs::File::open(store.blob(&digest).unwrap().unwrap().path).unwrap();
    assert!(store.remove_blob(&digest).unwrap());
    assert!(!store.remove_blob(&digest).unwrap());
    assert_eq!(store.blob(&digest).unwrap(), None);
    assert!(store.blobs().unwrap().is_empty());
    assert_eq!(std::io::read_to_string(file).unwrap(), "content");
    put_blob(&store, b"content");
}

#[test]
fn uploads_that_nobody_goes_on_with_are_removed() {
    let folder = folder();
    let store = open(&folder);
    let uploads = folder.path().join("uploads");
    let [old, young, future] = [b"old", b"yng", b"fut"].map(|content| {
        let digest = Digest::of(content);
        store.upload(&digest, 0).unwrap().append(&content[..2]).unwrap();
        digest
    });
    let hour = Duration::from_hours(1);
    let now = SystemTime::now();
    for (digest, time) in [(old, now - 2 * hour), (young, now - hour / 2), (future, now + hour)] {
        let file = fs::File::options().append(true).open(uploads.join(format!("{digest}.part"))).unwrap();
        file.set_modified(time).unwrap();
    }
    fs::write(uploads.join("notes.part"), "somebody's").unwrap();
    assert_eq!(store.remove_stale_uploads(hour).unwrap(), [old]);
    let mut left = [young, future].map(|digest| format!("{digest}.part")).to_vec();
    left.push("notes.part".to_owned());
    left.sort();
    assert_eq!(names(&uploads), left);
}

#[test]
fn a_check_finds_what_is_damaged_missing_unused_or_foreign() {
    let folder = folder();
    let store = open(&folder);
    let [whole, damaged, unused] = [&b"whole"[..], b"damaged", b"unused"].map(|content| put_blob(&store, content));
    let missing = Digest::of(b"missing");
    let used = BTreeSet::from([whole, damaged, missing]);
    let path = store.blob(&damaged).unwrap().unwrap().path;
    fs::write(&path, b"dAmaged").unwrap();
    let root = folder.path().canonicalize().unwrap();
    let foreign = ["blobs/file", "blobs/zz/odd", &format!("blobs/zz/{whole}")].map(|name| root.join(name));
    fs::create_dir(root.join("blobs/zz")).unwrap();
    for path in &foreign {
        fs::write(path, "").unwrap();
    }

    let report = store.check(|_| Ok(used)).unwrap();
    assert!(!report.is_whole());
    assert_eq!(report.database, Vec::<String>::new());
    assert_eq!(report.damaged.iter().map(|blob| blob.digest).collect::<Vec<_>>(), [damaged]);
    assert_eq!(report.missing, [missing]);
    assert_eq!(report.unused.iter().map(|blob| blob.digest).collect::<Vec<_>>(), [unused]);
    let mut sorted = foreign.to_vec();
    sorted.sort();
    assert_eq!(report.foreign, sorted);

    store.remove_blob(&damaged).unwrap();
    put_blob(&store, b"damaged");
    let report = store.check(|_| Ok(BTreeSet::from([damaged]))).unwrap();
    assert!(report.is_whole(), "{report:?}");
}

#[test]
fn a_digest_is_64_lower_case_digits() {
    let digest = Digest::of(b"");
    let text = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    assert_eq!(digest.to_string(), text);
    assert_eq!(text.parse(), Ok(digest));
    for (text, error, message) in [
        ("", DigestError::Length(0), "a SHA-256 has 64 hexadecimal digits, and this has 0 characters"),
        (&text[1..], DigestError::Length(63), "a SHA-256 has 64 hexadecimal digits, and this has 63 characters"),
        (
            &text.to_uppercase(),
            DigestError::Character { at: 1, found: 'E' },
            "a SHA-256 is written with 0-9 and a-f, and character 1 is 'E'",
        ),
        (
            &text.replacen('5', "é", 1),
            DigestError::Character { at: 52, found: 'é' },
            "a SHA-256 is written with 0-9 and a-f, and character 52 is 'é'",
        ),
    ] {
        assert_eq!(text.parse::<Digest>(), Err(error));
        assert_eq!(error.to_string(), message);
    }
    for found in ['/', ':', '`', 'g'] {
        assert_eq!(
            text.replacen('e', &found.to_string(), 1).parse::<Digest>(),
            Err(DigestError::Character { at: 1, found })
        );
    }
}

proptest! {
    #[test]
    fn only_a_digest_is_read_as_one(text in "[0-9a-fA-F/. g\u{e9}]{62,66}", bytes: Vec<u8>) {
        if let Ok(digest) = text.parse::<Digest>() {
            prop_assert_eq!(digest.to_string(), text);
        }
        let digest = Digest::of(&bytes);
        prop_assert_eq!(digest.to_string().parse(), Ok(digest));
    }
}
