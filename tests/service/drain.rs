//! SIGTERM: what has been accepted is answered, nothing else is taken, and there is an end.

use std::collections::HashSet;
use std::io::ErrorKind;
use std::net::TcpStream;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use scorebox_tests::fixtures::IRIS;
use scorebox_tests::wait::{PATIENCE, SetOnFailure, eventually};
use scorebox_tests::{Client, Ended, Request, Response, Serve, Server, http2};
use serde_json::Value;

const DRAINS: usize = 100;
/// How many of them there are at the same time: much of one is waiting.
const AT_ONCE: usize = 4;
const CONNECTIONS: usize = 6;

/// Logs a record and takes some time, of which a part is that of a long answer.
const WORK: &str = r#"{"records": 1, "record_bytes": 10, "body_bytes": 100000}"#;

/// What clients saw of a server.
#[derive(Debug, Default)]
struct Seen {
    answered: HashSet<String>,
    /// Requests that were sent on a connection, and not answered.
    lost: Vec<(String, String)>,
}

/// A connection, unless the server takes none any more. One that the system does not make at once is none either: its client
/// asks again after a second, and is refused.
fn connection(server: &Server) -> Option<Client> {
    Client::connect_within(server.address(), Duration::from_millis(300)).ok()
}

/// Sends requests until the server is gone. Every other client takes a new connection for each request.
fn load(server: &Server, client: usize, seen: &Mutex<Seen>, stop: &AtomicBool) {
    let mut kept = None;
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        // One that has been closed meanwhile, as any is that has been kept for long, cannot have been sent on.
        let kept_open = kept.take().filter(|kept: &Client| !kept.is_over().expect("a connection"));
        let Some(mut connection) = kept_open.or_else(|| connection(server)) else { return };
        let id = format!("request-{client}-{number}");
        let answer = connection.send(&Request::json(WORK).header("x-request-id", &id));
        let mut seen = seen.lock().expect("nobody panics with it");
        match answer {
            Ok(response) if (response.status, response.body.len()) == (200, 100_000) => {
                let closes = response.header("connection") == Some("close");
                seen.answered.insert(id);
                kept = (client.is_multiple_of(2) && !closes).then_some(connection);
            }
            Ok(response) => seen.lost.push((id, format!("status {}", response.status))),
            Err(error) => seen.lost.push((id, error.to_string())),
        }
    }
}

/// The ids of the requests that the scorer has said something about.
fn accepted(ended: &Ended) -> HashSet<String> {
    let records = ended.stdout.lines().map(|line| serde_json::from_str::<Value>(line).expect("a record"));
    records
        .filter(|record| record["logger"] == "azmlinfsrv.scorer")
        .filter_map(|record| Some(record["request_id"].as_str()?.to_owned()))
        .collect()
}

/// Starts a server, has it loaded, and ends it. Returns how many requests were answered.
fn drain(serve: &Serve, drain: usize) -> usize {
    let server = serve.start();
    let (seen, stop) = (Mutex::<Seen>::default(), AtomicBool::new(false));
    let answered = || seen.lock().expect("nobody panics with it").answered.len();
    std::thread::scope(|scope| {
        let _failure = SetOnFailure(&stop);
        for client in 0..CONNECTIONS {
            let (server, seen, stop) = (&server, &seen, &stop);
            scope.spawn(move || load(server, client, seen, stop));
        }
        // Each drain comes at another moment of the load.
        eventually(PATIENCE, "there is load", || answered() >= 10 + drain);
        server.terminate();
    });
    let ended = server.wait(PATIENCE);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stdout.contains("all requests are answered"));
    let Seen { answered, lost } = seen.into_inner().expect("nobody panics with it");
    assert!(lost.is_empty(), "drain {drain}: sent on a connection, and lost: {lost:?}");
    assert_eq!(accepted(&ended), answered, "drain {drain}: what was scored is what was answered");
    answered.len()
}

#[test]
fn no_request_that_was_sent_on_a_connection_is_lost_in_a_hundred_drains_under_load() {
    let serve = Serve::guest("flood").args("--log-format json");
    // What the others find in the cache.
    drop(serve.start());
    let (next, answers) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= DRAINS {
                        break;
                    }
                    answers.fetch_add(drain(&serve, number), Ordering::Relaxed);
                }
            });
        }
    });
    println!("{} requests in {DRAINS} drains, none lost", answers.into_inner());
}

#[test]
fn a_client_that_waits_for_a_place_when_the_server_is_told_to_end_is_served() {
    let serve = Serve::guest("spin").args("--timeout 1s --grace 20s --max-connections 1");
    let (server, mut running) = busy(&serve);
    let mut waiting = server.connect();
    waiting.write(&Request::json(r#"{"spin": false}"#).to_bytes()).expect("the system takes it");
    server.terminate();
    server.logged("SIGTERM: no more connections are taken");
    running.read().expect("an answer").assert_error(500, "Scoring timeout after 1000 ms");
    let response = waiting.read().expect("an answer");
    assert_eq!((response.status, response.header("connection")), (200, Some("close")), "{response:?}");
    assert_eq!(server.wait(PATIENCE).code, Some(0));
}

#[test]
fn a_long_answer_is_sent_to_its_end_also_to_a_client_that_pauses() {
    const LENGTH: usize = 30_000_000;
    let server = Serve::guest("flood").args("--grace 20s").start();
    let mut client = server.connect();
    client.write(&Request::json(format!(r#"{{"body_bytes": {LENGTH}}}"#)).to_bytes()).unwrap();
    assert!(client.readable_within(PATIENCE).unwrap());
    server.terminate();
    server.logged("SIGTERM: no more connections are taken");
    // Longer than a connection is kept that is quiet; the system takes only some of the answer meanwhile.
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(client.read().expect("an answer").body.len(), LENGTH);
    assert_eq!(server.wait(PATIENCE).code, Some(0));
}

#[test]
fn the_next_request_on_a_connection_that_is_kept_is_answered_and_is_the_last() {
    let (server, running) = busy(&Serve::guest("spin").args("--timeout 2s --grace 20s"));
    let mut kept = server.connect();
    assert_eq!(kept.send(&Request::get("/readyz")).unwrap().header("connection"), None);
    server.terminate();
    server.logged("SIGTERM: no more connections are taken");
    let response = kept.send(&Request::json(r#"{"spin": false}"#)).expect("an answer");
    assert_eq!((response.status, response.header("connection")), (200, Some("close")), "{response:?}");
    assert_eq!(kept.read_to_end().unwrap(), b"");
    drop(running);
    assert_eq!(server.wait(Duration::from_secs(5)).code, Some(0));
}

/// A server on which a request is running that takes as long as it may, and the connection of that request.
fn busy(serve: &Serve) -> (Server, Client) {
    let server = serve.start();
    let begin = server.process().cpu_time();
    let mut client = server.connect();
    client.write(&Request::json(r#"{"spin": true}"#).to_bytes()).expect("the server listens");
    eventually(PATIENCE, "the request runs", || server.process().cpu_time() >= begin + Duration::from_millis(50));
    (server, client)
}

fn refuses(server: &Server) -> bool {
    TcpStream::connect_timeout(&server.address(), PATIENCE)
        .is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
}

#[test]
fn new_connections_are_refused_while_a_request_that_runs_is_finished() {
    let (server, mut client) = busy(&Serve::guest("spin").args("--timeout 2s --grace 20s"));
    server.terminate();
    eventually(Duration::from_secs(1), "new connections are refused", || refuses(&server));
    assert!(!client.readable_within(Duration::from_millis(50)).unwrap(), "the request still runs");
    let response = client.read().unwrap();
    response.assert_error(500, "Scoring timeout after 2000 ms");
    assert_eq!(response.header("connection"), Some("close"));
    assert_eq!(server.wait(Duration::from_secs(2)).code, Some(0));
}

#[test]
fn a_connection_that_was_there_before_can_ask_whether_the_server_is_ready_and_is_told_no() {
    let (server, running) = busy(&Serve::guest("spin").args("--timeout 2s --grace 20s"));
    let mut waiting = server.connect();
    // The server has taken the connection when it has answered on a later one.
    assert_eq!(server.get("/readyz").status, 200);
    server.terminate();
    server.logged("SIGTERM: no more connections are taken");
    let response = waiting.send(&Request::get("/readyz")).expect("the connection had not been used");
    response.assert_error(503, "The server is not ready.");
    drop(running);
    assert_eq!(server.wait(Duration::from_secs(5)).code, Some(0));
}

#[test]
fn a_connection_that_is_kept_and_idle_does_not_delay_the_end() {
    assert_idle_does_not_delay_the_end(&Request::get("/"), 200);
}

#[test]
fn a_connection_that_is_idle_after_a_body_in_chunks_does_not_delay_the_end() {
    assert_idle_does_not_delay_the_end(&Request::json(IRIS).chunked(7), 200);
}

#[test]
fn a_connection_that_is_idle_after_a_body_that_nobody_wanted_does_not_delay_the_end() {
    assert_idle_does_not_delay_the_end(&Request::json(IRIS).to("/nowhere"), 404);
}

#[test]
fn a_client_of_http_2_that_does_not_confirm_the_end_does_not_delay_it() {
    let server = Serve::example("iris-rust").args("--grace 20s").start();
    let mut client = http2::Connection::open(server.address(), &[]).expect("a connection");
    client.send(&http2::json(1, IRIS)).expect("it is taken");
    assert!(!client.body(1).expect("it is answered").is_empty());
    let start = Instant::now();
    assert_eq!(server.stop().code, Some(0));
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
}

/// Has a server end while a connection is kept on which this was asked, and answered so.
#[track_caller]
fn assert_idle_does_not_delay_the_end(request: &Request, status: u16) {
    let server = Serve::example("iris-rust").args("--grace 20s").start();
    let mut idle = server.connect();
    let answer = idle.send(request).expect("it is answered");
    assert_eq!((answer.status, answer.header("connection")), (status, None), "it is kept");
    let _unused = server.connect();
    let start = Instant::now();
    assert_eq!(server.stop().code, Some(0));
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    assert_eq!(idle.read_to_end().expect("it ends"), b"");
}

#[test]
fn a_request_that_takes_longer_than_the_grace_period_is_cut() {
    let (server, mut client) = busy(&Serve::guest("spin").args("--timeout 60s --grace 500ms"));
    let start = Instant::now();
    server.terminate();
    let ended = server.wait(Duration::from_secs(5));
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(450), "the grace period was given: {took:?}");
    assert!(took < Duration::from_millis(1500), "the end did not wait for the request: {took:?}");
    assert_eq!(ended.code, Some(0));
    assert!(
        ended.stdout.contains("1 connections were cut: their requests took longer than --grace"),
        "{}",
        ended.stdout
    );
    assert!(client.read().is_err(), "there is no answer");
}

#[test]
fn a_client_that_has_sent_half_of_its_request_may_send_the_rest() {
    let server = Serve::guest("echo").args("--grace 20s").start();
    let mut client = server.connect();
    let request = Request::score("0123456789").to_bytes();
    let (head, rest) = request.split_at(request.len() - 5);
    client.write(head).unwrap();
    assert_eq!(server.get("/livez").status, 200);
    server.terminate();
    server.logged("SIGTERM: no more connections are taken");
    client.write(rest).unwrap();
    let response: Response = client.read().unwrap();
    assert_eq!(response.json()["body"], "0123456789");
    assert_eq!(server.wait(Duration::from_secs(5)).code, Some(0));
}

#[test]
fn sigint_ends_the_server_in_the_same_way() {
    let server = Serve::example("iris-rust").start();
    server.process().signal(rustix::process::Signal::INT);
    let ended = server.wait(Duration::from_secs(5));
    assert_eq!(ended.code, Some(0));
    assert!(ended.stdout.contains("all requests are answered"), "{}", ended.stdout);
}
