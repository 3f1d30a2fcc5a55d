//! How a server starts, and how long that takes.

use std::fs;
use std::time::{Duration, Instant};

use scorebox_tests::server::free_port;
use scorebox_tests::wait::{PATIENCE, median};
use scorebox_tests::{Serve, Server};

const LIMIT: Duration = Duration::from_millis(50);
const STARTS: usize = 11;

/// The niceness of a server's threads that run scorers, and of its others.
fn niceness(server: &Server) -> (Vec<i32>, Vec<i32>) {
    let (mut scorers, mut others) = (Vec::new(), Vec::new());
    for thread in fs::read_dir(format!("/proc/{}/task", server.process().id())).expect("it runs") {
        let stat = fs::read_to_string(thread.expect("a thread").path().join("stat")).expect("it is there");
        let (head, rest) = stat.rsplit_once(") ").expect("the name is in brackets");
        // The state is the third field, the niceness the nineteenth.
        let nice = rest.split(' ').nth(16).and_then(|nice| nice.parse().ok()).expect("a number");
        let runs_scorers = head.contains("(guest-") && !head.contains("timers");
        if runs_scorers { scorers.push(nice) } else { others.push(nice) }
    }
    (scorers, others)
}

#[test]
fn threads_that_run_scorers_are_as_nice_as_is_said_and_others_are_not() {
    for (arguments, more) in [("--threads 3", 0), ("--threads 3 --nice 7", 7)] {
        let server = Serve::guest("says").args(arguments).start();
        let (scorers, others) = niceness(&server);
        assert!(others.iter().all(|nice| *nice == others[0]), "{arguments}: {others:?}");
        assert_eq!(scorers, [others[0] + more; 3], "{arguments}");
    }
}

#[test]
fn from_a_warm_cache_the_iris_example_listens_within_50_ms() {
    let cache = tempfile::tempdir().unwrap();
    let serve = Serve::example("iris-rust").cache(cache.path());
    drop(serve.start());
    let mut times = Vec::new();
    for _ in 0..STARTS {
        let start = Instant::now();
        let (process, _) = serve.spawn(free_port());
        assert!(process.line(PATIENCE, |line| line.contains("listening on")).is_some(), "{}", process.said());
        times.push(start.elapsed());
        assert!(process.stdout().iter().any(|line| line.contains("loaded from the cache")));
    }
    println!("from the start of the process until it listens: {:?} (median)", median(&times));
    assert!(median(&times) < LIMIT, "{times:?}");
}
