//! Every case against Scorebox, and the report against the cases.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use scorebox_conformance::cases::{self, Group, Setup};
use scorebox_conformance::differences::Differences;
use scorebox_conformance::replay::{Outcome, replay};
use scorebox_conformance::report;
use scorebox_conformance::servers::Server;

/// How many servers run at the same time.
const SERVERS: usize = 2;
/// How many of a hundred cases are to go as they were recorded, whatever the reasons for the others.
const ENOUGH: usize = 90;

#[test]
fn every_recorded_request_is_answered_as_by_the_real_server_or_the_difference_is_explained() {
    let groups = cases::read();
    let differences = Differences::read();
    let outcomes = replay_all(&groups);

    let wrong: Vec<_> = outcomes
        .iter()
        .filter_map(|Outcome { name, differences: found }| match (found.is_empty(), differences.of(name)) {
            (true, None) | (false, Some(_)) => None,
            (true, Some(known)) => Some(format!("{name}: it does not differ any more; listed is: {}", known.reason)),
            (false, None) => Some(format!("{name}:\n    {}", found.join("\n    "))),
        })
        .collect();
    assert!(wrong.is_empty(), "{} cases are not as expected:\n{}", wrong.len(), wrong.join("\n"));
    let same = outcomes.iter().filter(|outcome| outcome.differences.is_empty()).count();
    assert!(same * 100 >= outcomes.len() * ENOUGH, "{same} of {} are the same", outcomes.len());
}

#[test]
fn every_case_has_a_name_of_its_own_and_every_difference_is_of_a_case() {
    let groups = cases::read();
    let mut names = BTreeSet::new();
    for name in groups.iter().flat_map(|group| &group.servers).flat_map(Setup::case_names) {
        assert!(names.insert(name.clone()), "there are two cases of the name {name}");
    }
    for (name, _) in Differences::read().iter() {
        assert!(names.contains(name), "there is no case of the name {name}");
    }
}

#[test]
fn the_report_is_what_the_cases_and_the_differences_make_of_it() {
    let path = report::path();
    let written = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let report = report::report(&cases::read(), &Differences::read());
    assert_eq!(written, report, "docs/conformance.md is out of date: run `make conformance`");
}

/// Replays all groups, each on servers of its own.
fn replay_all(groups: &[Group]) -> Vec<Outcome> {
    let scorebox = Server::scorebox();
    let setups: Vec<_> =
        groups.iter().flat_map(|group| group.servers.iter().map(move |setup| (group, setup))).collect();
    let (next, outcomes) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..SERVERS {
            scope.spawn(|| {
                while let Some((group, setup)) = setups.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let replayed = replay(&scorebox, group, setup);
                    outcomes.lock().expect("nobody panics with it").extend(replayed);
                }
            });
        }
    });
    outcomes.into_inner().expect("nobody panics with it")
}
