//! The clock of the day is set while the server runs, by hours and years, back and forth. What the server waits for goes by
//! another clock, and what it keeps with a time is not lost.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use scorebox_tests::sink::Sink;
use scorebox_tests::wait::SetOnFailure;

use super::kills::to_app_insights;
use super::*;

const HOUR: i64 = 3600;
const YEAR: i64 = 365 * 24 * HOUR;
/// Where the clock is set to, relative to the right time.
const JUMPS: [i64; 8] = [5 * HOUR, -5 * HOUR, 0, YEAR, -YEAR, 60, -30 * YEAR, 100 * YEAR];

/// A clock that can be set.
struct Clock {
    folder: TempDir,
}

impl Clock {
    fn new(ahead: i64) -> Self {
        let clock = Self { folder: folder() };
        clock.set(ahead);
        clock
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("ahead")
    }

    /// Sets it so many seconds ahead. The server has the file mapped, and sees it at once.
    fn set(&self, ahead: i64) {
        use std::os::unix::fs::FileExt as _;

        let file = fs::File::options().create(true).truncate(false).write(true).open(self.file()).expect("a file");
        file.write_all_at(&ahead.to_ne_bytes(), 0).expect("it can be written to");
    }

    fn for_server(&self, serve: Serve) -> Serve {
        serve.env("LD_PRELOAD", shim()).env("FAULTS_CLOCK", self.file())
    }
}

/// The year that a line of the log begins with.
fn year(line: &str) -> Option<i64> {
    line.get(..4)?.parse().ok()
}

#[test]
fn deadlines_idle_connections_and_the_log_bear_a_clock_that_jumps_while_requests_run() {
    let limit = Duration::from_millis(500);
    let clock = Clock::new(0);
    let serve = clock.for_server(Serve::guest("spin")).args("--timeout 500ms --idle-timeout 20s --head-timeout 5s");
    let server = serve.start();
    let mut idle = server.connect();
    assert_eq!(idle.send(&Request::get("/livez")).unwrap().status, 200);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _failure = SetOnFailure(&over);
        scope.spawn(|| {
            for jump in JUMPS.iter().cycle() {
                if over.load(Ordering::Relaxed) {
                    return;
                }
                clock.set(*jump);
                std::thread::sleep(Duration::from_millis(7));
            }
        });
        for _ in 0..5 {
            let start = Instant::now();
            let mut client = server.connect();
            client.write(&Request::json(r#"{"spin": true}"#).to_bytes()).unwrap();
            for _ in 0..10 {
                assert_eq!(server.score(r#"{"spin": false}"#).status, 200);
                // So that they come at different times of the clock.
                std::thread::sleep(Duration::from_millis(15));
            }
            client.read().unwrap().assert_error(500, "Scoring timeout after 500 ms");
            let took = start.elapsed();
            assert!(took >= limit && took < limit + Duration::from_secs(2), "{took:?}");
        }
        over.store(true, Ordering::Relaxed);
    });
    assert_eq!(idle.send(&Request::get("/livez")).unwrap().status, 200, "it is not idle for long");
    drop(idle);
    let ended = server.stop();
    assert_eq!((ended.code, &*ended.stderr), (Some(0), ""));
    // The clock was set, and the log has its times.
    let years: Vec<_> = ended.stdout.lines().filter_map(year).collect();
    let different = years.iter().collect::<HashSet<_>>();
    assert!(different.len() >= 3, "{years:?}");
    // A time that a request took is that by the other clock.
    let times = ended
        .stdout
        .lines()
        .filter_map(|line| line.split_once("POST /score 200 ")?.1.split_once("ms ")?.0.parse().ok());
    let times: Vec<f64> = times.collect();
    assert_eq!(times.len(), 50, "{times:?}");
    assert!(times.iter().all(|time| (0.0..10_000.0).contains(time)), "{times:?}");
}

#[test]
fn the_cache_bears_a_clock_that_is_wrong() {
    let cache = folder();
    for (number, ahead) in [0, YEAR, 0, -YEAR, 0].into_iter().enumerate() {
        let clock = Clock::new(ahead);
        let server = clock.for_server(Serve::example("iris-rust")).cache(cache.path()).start();
        server.logged(if number == 0 { ", compiled in" } else { "loaded from the cache" });
        assert_eq!(complaints(&server), [""; 0]);
        assert_scores(&server);
    }
    assert_eq!(files(cache.path()).len(), 1);
    // A time of use in a future that has been called off does not keep what is not used.
    let clock = Clock::new(YEAR);
    drop(clock.for_server(Serve::example("iris-rust")).cache(cache.path()).start());
    let size = fs::metadata(cache.path().join(&files(cache.path())[0])).unwrap().len();
    let version = |version: &str| {
        let limit = format!("--cache-size {} --deployment-version {version}", 5 * size / 2);
        let server = Serve::example("iris-rust").args(&limit).cache(cache.path()).start();
        server.logged("is deployed as default")
    };
    version("2");
    version("3");
    assert!(version("2").contains("loaded from the cache"));
    assert!(version("3").contains("loaded from the cache"));
}

#[test]
fn what_telemetry_keeps_on_disk_is_sent_also_when_the_clock_has_been_set_since() {
    for ahead in [-5 * HOUR, 5 * HOUR, -YEAR] {
        let (buffer, port) = (folder(), free_port());
        let serve = to_app_insights(Serve::guest("echo"), port, buffer.path());
        let server = serve.start();
        server.send(&Request::score("x").header("x-request-id", "R-kept"));
        let ended = server.stop();
        assert!(ended.stdout.contains("It is kept on disk"), "{}", ended.stdout);
        let sink = Sink::on(port);
        let clock = Clock::new(ahead);
        let server = clock.for_server(serve).start();
        sink.wait("what was kept", |posts| {
            posts.iter().any(|post| String::from_utf8_lossy(&post.body).contains("R-kept"))
        });
        assert_eq!(server.stop().code, Some(0));
    }
}
