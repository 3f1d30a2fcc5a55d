//! Transactions, snapshots and scans.

use std::collections::BTreeMap;
use std::thread;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::{CommitError, Entry, Transaction};

fn keys(store: &Store, prefix: &str) -> Vec<String> {
    store.scan(prefix).unwrap().into_iter().map(|entry| entry.key).collect()
}

#[test]
fn a_transaction_raises_the_revision_by_one_and_marks_what_it_has_changed() {
    let folder = folder();
    let store = open(&folder);
    assert_eq!(store.snapshot().unwrap().revision(), 0);
    assert_eq!(store.commit(Transaction::new().put("a", "1").put("b", "1")).unwrap(), 1);
    assert_eq!(store.commit(Transaction::new().put("a", "2").delete("none")).unwrap(), 2);
    assert_eq!(store.commit(Transaction::new()).unwrap(), 3);
    let entry = |key: &str, value: &str, revision| Entry { key: key.to_owned(), value: value.into(), revision };
    assert_eq!(store.scan("").unwrap(), [entry("a", "2", 2), entry("b", "1", 1)]);
    assert_eq!(store.get("a").unwrap(), Some(entry("a", "2", 2)));
    assert_eq!(store.commit(Transaction::new().delete("a")).unwrap(), 4);
    assert_eq!(store.get("a").unwrap(), None);
    drop(store);
    assert_eq!(open(&folder).snapshot().unwrap().revision(), 4);
}

#[test]
fn a_conflict_says_what_it_found_and_changes_nothing() {
    let folder = folder();
    let store = open(&folder);
    store.commit(Transaction::new().put("a", "1")).unwrap();
    for (transaction, conflict, text) in [
        (Transaction::new().expect_absent("a"), ("a", Some(1)), "a has changed: it is at revision 1; read it again"),
        (Transaction::new().expect("a", Some(2)), ("a", Some(1)), "a has changed: it is at revision 1; read it again"),
        (Transaction::new().expect("b", Some(1)), ("b", None), "b has changed: it is not there; read it again"),
        (
            Transaction::new().expect("a", Some(1)).expect("a", None),
            ("a", Some(1)),
            "a has changed: it is at revision 1; read it again",
        ),
    ] {
        let error = store.commit(transaction.put("a", "2").put("b", "2").delete("a")).unwrap_err();
        assert_eq!(error.to_string(), text);
        let CommitError::Conflict { key, found } = error else { panic!("{error}") };
        assert_eq!((key.as_str(), found), conflict);
        assert_eq!(keys(&store, ""), ["a"]);
        assert_eq!(store.snapshot().unwrap().revision(), 1);
    }
    store.commit(Transaction::new().expect("a", Some(1)).expect_absent("b").put("a", "2")).unwrap();
}

#[test]
fn a_transaction_that_fails_halfway_changes_nothing() {
    let folder = folder();
    let store = open(&folder);
    store.commit(Transaction::new().put("a", "1").put("z", "1")).unwrap();
    // Over SQLite's limit for a value, after `a` has been written.
    let error = store.commit(Transaction::new().put("a", "2").put("b", vec![0; 1_000_000_001])).unwrap_err();
    assert!(error.to_string().contains("too big"), "{error}");
    assert_eq!(store.get("a").unwrap().unwrap().value, b"1");
    assert_eq!(store.commit(Transaction::new().put("a", "2")).unwrap(), 2);
}

#[test]
fn a_snapshot_sees_one_revision_whatever_is_committed() {
    let folder = folder();
    let store = open(&folder);
    store.commit(Transaction::new().put("a", "1").put("b", "1")).unwrap();
    let snapshot = store.snapshot().unwrap();
    store.commit(Transaction::new().put("a", "2").delete("b").put("c", "2")).unwrap();
    assert_eq!(snapshot.revision(), 1);
    assert_eq!(snapshot.get("a").unwrap().unwrap().value, b"1");
    assert_eq!(snapshot.scan("").unwrap().len(), 2);
    assert_eq!(store.snapshot().unwrap().revision(), 2);
    assert_eq!(keys(&store, ""), ["a", "c"]);
}

#[test]
fn of_many_threads_that_change_the_same_entry_each_sees_the_change_before() {
    const THREADS: u64 = 4;
    const CHANGES: u64 = 25;
    let folder = folder();
    let store = open(&folder);
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                let mut changes = 0;
                while changes < CHANGES {
                    let entry = store.get("count").unwrap();
                    let count: u64 =
                        entry.as_ref().map_or(0, |entry| str::from_utf8(&entry.value).unwrap().parse().unwrap());
                    let transaction = Transaction::new().expect("count", entry.map(|entry| entry.revision));
                    match store.commit(transaction.put("count", (count + 1).to_string())) {
                        Ok(_) => changes += 1,
                        Err(CommitError::Conflict { .. }) => (),
                        Err(error) => panic!("{error}"),
                    }
                }
            });
        }
    });
    let entry = store.get("count").unwrap().unwrap();
    assert_eq!(entry.value, (THREADS * CHANGES).to_string().into_bytes());
    assert_eq!(entry.revision, THREADS * CHANGES);
}

#[test]
fn a_scan_takes_its_prefix_as_it_is_and_orders_keys_by_their_bytes() {
    let folder = folder();
    let store = open(&folder);
    let odd = [
        "",
        "%",
        "_",
        "a",
        "a%",
        "a%b",
        "a*",
        "a\0",
        "a\0b",
        "a_",
        "a_b",
        "aB",
        "ab",
        "a\u{10ffff}",
        "é",
        "\u{10ffff}",
    ];
    let transaction = odd.iter().fold(Transaction::new(), |transaction, key| transaction.put(*key, "x"));
    store.commit(transaction).unwrap();
    let mut sorted = odd.map(str::to_owned).to_vec();
    sorted.sort();
    assert_eq!(keys(&store, ""), sorted);
    for prefix in odd {
        let expected: Vec<_> = sorted.iter().filter(|key| key.starts_with(prefix)).cloned().collect();
        assert_eq!(keys(&store, prefix), expected, "{prefix:?}");
        assert_eq!(store.get(prefix).unwrap().unwrap().key, prefix);
    }
    assert_eq!(keys(&store, "b"), Vec::<String>::new());
    assert_eq!(store.get("A").unwrap(), None, "keys that differ in case are two");
}

#[derive(Clone, Debug)]
enum Step {
    Commit { expectations: Vec<(String, Expectation)>, changes: Vec<(String, Option<Vec<u8>>)> },
    Reopen,
}

#[derive(Clone, Copy, Debug)]
enum Expectation {
    AsItIs,
    Absent,
    At(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let key = || "[ab_%/é\u{10ffff}]{0,2}";
    let expectation = prop_oneof![
        6 => Just(Expectation::AsItIs),
        1 => Just(Expectation::Absent),
        1 => (0..20_u64).prop_map(Expectation::At),
    ];
    let change = proptest::option::weighted(0.7, vec(any::<u8>(), 0..6000));
    let commit = (vec((key(), expectation), 0..3), vec((key(), change), 0..5))
        .prop_map(|(expectations, changes)| Step::Commit { expectations, changes });
    prop_oneof![8 => commit, 1 => Just(Step::Reopen)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn the_store_does_what_an_ordered_map_does(steps in vec(step(), 1..25), prefix in "[ab_%/é]{0,2}") {
        let folder = folder();
        let mut store = open(&folder);
        let mut model = BTreeMap::<String, (Vec<u8>, u64)>::new();
        let mut revision = 0;
        for step in steps {
            let Step::Commit { expectations, changes } = step else {
                drop(store);
                store = open(&folder);
                continue;
            };
            let mut transaction = Transaction::new();
            let mut conflict = None;
            for (key, expectation) in expectations {
                let found = model.get(&key).map(|(_, revision)| *revision);
                let expected = match expectation {
                    Expectation::AsItIs => found,
                    Expectation::Absent => None,
                    Expectation::At(revision) => Some(revision),
                };
                if expected != found && conflict.is_none() {
                    conflict = Some((key.clone(), found));
                }
                transaction = transaction.expect(key, expected);
            }
            for (key, change) in &changes {
                transaction = match change {
                    Some(value) => transaction.put(key, value.clone()),
                    None => transaction.delete(key),
                };
            }
            match store.commit(transaction) {
                Ok(committed) => {
                    prop_assert_eq!(conflict, None);
                    revision += 1;
                    prop_assert_eq!(committed, revision);
                    for (key, change) in changes {
                        match change {
                            Some(value) => drop(model.insert(key, (value, revision))),
                            None => drop(model.remove(&key)),
                        }
                    }
                }
                Err(CommitError::Conflict { key, found }) => prop_assert_eq!(conflict, Some((key, found))),
                Err(error) => prop_assert!(false, "{}", error),
            }
            prop_assert_eq!(store.snapshot().unwrap().revision(), revision);
            for prefix in [&prefix, ""] {
                let expected: Vec<_> = model
                    .iter()
                    .filter(|(key, _)| key.starts_with(prefix))
                    .map(|(key, (value, revision))| Entry { key: key.clone(), value: value.clone(), revision: *revision })
                    .collect();
                prop_assert_eq!(store.scan(prefix).unwrap(), expected);
            }
        }
    }
}
