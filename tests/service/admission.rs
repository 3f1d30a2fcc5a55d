//! What is too much is refused at once.

use std::time::{Duration, Instant};

use scorebox_tests::wait::eventually;
use scorebox_tests::{Request, Response, Serve, Server};

const SPIN: &str = r#"{"spin": true}"#;
const WELL: &str = r#"{"spin": false}"#;
const BUSY: &str = "The server is busy: too many requests at the same time. Try again later.";
/// How long a refusal may take.
const AT_ONCE: Duration = Duration::from_millis(100);

/// Sends requests at the same time; returns the answers and how long each took.
fn together(server: &Server, requests: usize, request: &Request) -> Vec<(Response, Duration)> {
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..requests)
            .map(|_| {
                let mut client = server.connect();
                scope.spawn(move || {
                    let start = Instant::now();
                    (client.send(request).expect("an answer"), start.elapsed())
                })
            })
            .collect();
        clients.into_iter().map(|client| client.join().expect("a client ends")).collect()
    })
}

#[test]
fn what_neither_can_run_nor_may_wait_is_refused_at_once() {
    let server = Serve::guest("spin").args("--max-running 1 --max-waiting 1 --timeout 1s --queue-timeout 20s").start();
    assert_eq!(server.score(WELL).status, 200);
    std::thread::scope(|scope| {
        let begin = server.process().cpu_time();
        let running = scope.spawn(|| server.score(SPIN));
        eventually(Duration::from_secs(5), "the first one runs", || {
            server.process().cpu_time() >= begin + Duration::from_millis(50)
        });
        // Of eight more one may wait.
        let answers = together(&server, 8, &Request::json(SPIN));
        let (refused, scored): (Vec<_>, Vec<_>) = answers.iter().partition(|(response, _)| response.status == 429);
        assert_eq!((refused.len(), scored.len()), (7, 1), "{answers:?}");
        for (response, time) in refused {
            response.assert_error(429, BUSY);
            assert_eq!(response.header("retry-after"), Some("1"));
            assert_eq!(response.header("x-ms-run-function-failed"), Some("False"));
            assert!(response.header("x-request-id").is_some());
            assert!(*time < AT_ONCE, "refused after {time:?}");
        }
        // The one that waited began when the other one ended, and had all of its time.
        scored[0].0.assert_error(500, "Scoring timeout after 1000 ms");
        assert!(scored[0].1 > Duration::from_secs(1), "{:?}", scored[0].1);
        running.join().expect("it is answered").assert_error(500, "Scoring timeout after 1000 ms");
    });
    assert_eq!(server.score(WELL).status, 200, "there is room again");
}

#[test]
fn everybody_who_may_run_or_wait_is_answered_and_nobody_else() {
    let server =
        Serve::guest("spin").args("--max-running 3 --max-waiting 5 --timeout 500ms --queue-timeout 20s").start();
    let answers = together(&server, 20, &Request::json(SPIN));
    let refused = answers.iter().filter(|(response, _)| response.status == 429).count();
    let stopped = answers.iter().filter(|(response, _)| response.status == 500).count();
    assert_eq!((refused, stopped), (12, 8), "{answers:?}");
}

#[test]
fn a_request_that_has_waited_for_too_long_is_refused_and_another_one_may_wait() {
    const WAIT: Duration = Duration::from_millis(500);
    let server =
        Serve::guest("spin").args("--max-running 1 --max-waiting 1 --timeout 8s --queue-timeout 500ms").start();
    let begin = server.process().cpu_time();
    let mut running = server.connect();
    running.write(&Request::json(SPIN).to_bytes()).expect("the server listens");
    eventually(Duration::from_secs(5), "the first one runs", || {
        server.process().cpu_time() >= begin + Duration::from_millis(50)
    });
    for _ in 0..2 {
        let start = Instant::now();
        let response = server.score(WELL);
        let took = start.elapsed();
        response.assert_error(429, BUSY);
        assert_eq!(response.header("retry-after"), Some("1"));
        // On a busy machine it may be told late, but never early, and while the first one still runs.
        assert!(took >= WAIT, "refused after {took:?}");
    }
    assert!(!running.readable_within(Duration::from_millis(1)).expect("a connection"), "the first one runs still");
    // Whoever runs has all of its time, and whoever waits for less than that is scored.
    running.read().expect("an answer").assert_error(500, "Scoring timeout after 8000 ms");
    assert_eq!(server.score(WELL).status, 200);
}

#[test]
fn a_place_is_free_again_when_a_client_that_waited_is_gone() {
    let server = Serve::guest("spin").args("--max-running 1 --max-waiting 1 --timeout 20s").start();
    let begin = server.process().cpu_time();
    let mut running = server.connect();
    running.write(&Request::json(SPIN).to_bytes()).unwrap();
    eventually(Duration::from_secs(5), "the first one runs", || {
        server.process().cpu_time() >= begin + Duration::from_millis(50)
    });
    let mut waiting = server.connect();
    waiting.write(&Request::json(SPIN).to_bytes()).unwrap();
    server.reads_all_of(&waiting);
    assert!(!waiting.readable_within(Duration::from_millis(100)).unwrap(), "it waits");
    // Whoever finds a place would wait for the first one to end: so it is given up on.
    let asked = |limit: Duration| {
        let mut client = server.connect();
        client.write(&Request::json(WELL).to_bytes()).expect("the server listens");
        client.readable_within(limit).expect("the connection stays").then(|| client.read().expect("an answer").status)
    };
    assert_eq!(asked(Duration::from_secs(5)), Some(429), "nobody else may wait");
    drop(waiting);
    eventually(Duration::from_secs(5), "somebody else may wait", || asked(Duration::from_millis(50)).is_none());
    drop(running);
    eventually(Duration::from_secs(5), "somebody else runs", || asked(Duration::from_secs(5)) == Some(200));
}

#[test]
fn bodies_together_have_a_limit_and_whoever_is_over_it_is_refused() {
    let server = Serve::guest("echo").args("--max-bodies 1MiB").start();
    let half = Request::score(vec![b'b'; 700_000]).to_bytes();
    let mut slow = server.connect();
    slow.write(&half[..600_000]).unwrap();
    let whole = Request::score(vec![b'b'; 700_000]);
    server.reads_all_of(&slow);
    let response = server.send(&whole);
    response.assert_error(429, BUSY);
    assert_eq!(response.header("retry-after"), Some("1"));
    assert_eq!(server.send(&Request::score("small")).status, 200);
    slow.write(&half[600_000..]).unwrap();
    assert_eq!(slow.read().unwrap().json()["body_bytes"], 700_000);
    // The answer is charged for until the server knows that it has been taken, which may be an instant later.
    eventually(Duration::from_secs(5), "it is given back", || server.send(&whole).status == 200);
}
