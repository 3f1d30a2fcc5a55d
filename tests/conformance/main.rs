//! Exchanges with Azure ML's inference server 1.5.1 that were recorded, replayed: `README.md` says what the files hold.

mod cases;
mod compare;
mod differences;
mod exchange;
mod replay;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use cases::Group;
use differences::Differences;
use replay::Outcome;

/// How many servers run at the same time.
const SERVERS: usize = 2;
/// How many of a hundred cases are to be answered as they were recorded, whatever the reasons for the others.
const ENOUGH: usize = 97;

#[test]
fn every_recorded_request_is_answered_as_by_the_real_server_or_the_difference_is_explained() {
    let groups = cases::read();
    let differences = Differences::read();
    let outcomes = replay_all(&groups);

    let mut wrong = Vec::new();
    let mut table = BTreeMap::new();
    for outcome in &outcomes {
        let (cases, same, explained): &mut (usize, usize, usize) = table.entry(outcome.group).or_default();
        *cases += 1;
        match (outcome.differences.is_empty(), differences.explain(&outcome.name)) {
            (true, None) => *same += 1,
            (false, Some(_)) => *explained += 1,
            (true, Some(reason)) => {
                *same += 1;
                wrong.push(format!("{}: there is no difference any more, but one is listed: {reason}", outcome.name));
            }
            (false, None) => wrong.push(format!("{}:\n    {}", outcome.name, outcome.differences.join("\n    "))),
        }
    }
    for name in differences.names() {
        if !outcomes.iter().any(|outcome| outcome.name == name) {
            wrong.push(format!("{name}: a difference of this name is listed, and there is no such case"));
        }
    }

    println!("{:<16}{:>7}{:>7}{:>12}{:>8}", "group", "cases", "same", "explained", "other");
    for (group, (cases, same, explained)) in &table {
        println!("{group:<16}{cases:>7}{same:>7}{explained:>12}{:>8}", cases - same - explained);
    }
    let same: usize = table.values().map(|(_, same, _)| same).sum();
    println!("{:<16}{:>7}{same:>7}", "all", outcomes.len());
    assert!(wrong.is_empty(), "{} cases are not as expected:\n{}", wrong.len(), wrong.join("\n"));
    assert!(same * 100 >= outcomes.len() * ENOUGH, "{same} of {} are the same", outcomes.len());
}

/// Replays all groups, each on servers of its own.
fn replay_all(groups: &[Group]) -> Vec<Outcome<'_>> {
    let setups: Vec<_> =
        groups.iter().flat_map(|group| group.servers.iter().map(move |setup| (group, setup))).collect();
    let (next, outcomes) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..SERVERS {
            scope.spawn(|| {
                while let Some((group, setup)) = setups.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let replayed = replay::replay(group, setup);
                    outcomes.lock().expect("nobody panics with it").extend(replayed);
                }
            });
        }
    });
    outcomes.into_inner().expect("nobody panics with it")
}
