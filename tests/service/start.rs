//! How long a start takes.

use std::time::{Duration, Instant};

use scorebox_tests::Serve;
use scorebox_tests::server::free_port;
use scorebox_tests::wait::{PATIENCE, median};

const LIMIT: Duration = Duration::from_millis(50);
const STARTS: usize = 11;

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
