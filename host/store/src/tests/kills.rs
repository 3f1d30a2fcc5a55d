//! What a process leaves that was killed.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::Stdio;
use std::thread;
use std::time::{Duration, SystemTime};

use super::*;
use crate::Transaction;

const KILLS: u32 = 20;
const ACKNOWLEDGED: &str = "acknowledged ";

/// Commits until it is killed. Each transaction makes one entry and replaces another; both refer to a blob of its own.
fn commit_for_ever(folder: &Path) {
    let store = Store::open(folder).unwrap();
    for revision in store.snapshot().unwrap().revision() + 1.. {
        let digest = put_blob(&store, content(revision).as_bytes()).to_string();
        let transaction = Transaction::new().put(format!("commits/{revision:08}"), &*digest).put("last", digest);
        let revision = store.commit(transaction).unwrap();
        let mut output = std::io::stdout().lock();
        writeln!(output, "{ACKNOWLEDGED}{revision}").unwrap();
        output.flush().unwrap();
    }
}

fn content(revision: u64) -> String {
    format!("blob of revision {revision}\n").repeat(50)
}

#[test]
fn what_was_acknowledged_survives_kill_9() {
    if let Some(folder) = given_folder() {
        return commit_for_ever(&folder);
    }
    let folder = folder();
    let mut acknowledged = 0;
    for kill in 0..KILLS {
        let mut child = again(&[], "tests::kills::what_was_acknowledged_survives_kill_9", folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut numbers = BufReader::new(child.stdout.take().unwrap()).lines().filter_map(|line| {
            let line = line.unwrap();
            line.split_once(ACKNOWLEDGED).map(|(_, number)| number.parse::<u64>().unwrap())
        });
        // One commit is waited for, so that there is something new each time.
        let first = numbers.next().unwrap();
        let random = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().subsec_nanos() % 150_000;
        thread::sleep(Duration::from_micros(random.into()));
        child.kill().unwrap();
        child.wait().unwrap();
        let last = numbers.last().unwrap_or(first);
        assert!(last > acknowledged, "kill {kill}");
        acknowledged = last;

        let store = open(&folder);
        let snapshot = store.snapshot().unwrap();
        let revision = snapshot.revision();
        assert!(revision == acknowledged || revision == acknowledged + 1, "{revision} after {acknowledged}");
        let entries = snapshot.scan("commits/").unwrap();
        assert!(entries.iter().map(|entry| entry.revision).eq(1..=revision), "kill {kill}: {}", entries.len());
        for entry in &entries {
            assert_eq!(entry.value, Digest::of(content(entry.revision).as_bytes()).to_string().into_bytes());
        }
        let replaced = snapshot.get("last").unwrap().unwrap();
        assert_eq!((&replaced.value, replaced.revision), (&entries.last().unwrap().value, revision));
        drop(snapshot);
        let report = check(&store);
        assert!(report.is_whole(), "kill {kill}: {report:?}");
        assert!(report.unused.len() <= kill as usize + 1, "a blob whose commit was cut short: {:?}", report.unused);
    }
    println!("{acknowledged} commits were acknowledged before {KILLS} kills");
}
