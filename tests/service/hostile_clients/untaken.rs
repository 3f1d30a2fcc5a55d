//! Clients that ask, and do not take the answer.

use std::time::{Duration, Instant};

use scorebox_tests::http2::{Connection, code, data, flag, frame, get, kind, post, setting, window_update};
use scorebox_tests::wait::{PATIENCE, eventually};
use scorebox_tests::{Client, Request, Serve, Server};

use crate::health::{answers_throughout, memory};

const LARGE: usize = 12_000_000;

/// A client that has asked for a large answer, and has taken no more of it than its head.
fn greedy(server: &Server) -> Client {
    let mut client = server.connect();
    client.take_little().expect("a connection");
    client.write(&Request::score(vec![b'b'; LARGE]).to_bytes()).expect("the server listens");
    assert_eq!(client.read_head().expect("a head").status, 200);
    client
}

/// Reads frames up to the end of the connection, or until nothing comes any more.
fn frames(connection: &mut Connection) -> Vec<(u8, u32, Option<u32>)> {
    std::iter::from_fn(|| connection.read(Duration::from_secs(5)).ok().flatten())
        .filter(|frame| !matches!(frame.kind, kind::SETTINGS | kind::WINDOW_UPDATE | kind::PING))
        .map(|frame| (frame.kind, frame.stream, frame.code()))
        .collect()
}

#[test]
fn an_answer_that_is_not_taken_is_given_up_and_its_memory_given_back() {
    let server = Serve::guest("echo").args("--write-timeout 2s --max-bodies 60MB --log-level debug").start();
    answers_throughout(&server, "answers in HTTP/1 that are not taken", || {
        let start = Instant::now();
        let mut greedy: Vec<_> = (0..3).map(|_| greedy(&server)).collect();
        // 36 MB are held, and one more needs 12 MB for what it asks and 12 MB for its answer, beside each other or not.
        let fourth = (0..4).map(|_| server.send(&Request::score(vec![b'b'; 2 * LARGE])).status).collect::<Vec<_>>();
        assert_eq!(fourth, [429; 4], "no memory is left for it");
        let closed = "connection closed: its client did not take what it asked for";
        eventually(PATIENCE, "all of them are closed", || {
            server.log().iter().filter(|line| line.contains(closed)).count() == 3
        });
        assert!(start.elapsed() < Duration::from_secs(15), "{:?}", start.elapsed());
        // The system keeps nothing for them either.
        for client in &mut greedy {
            let taken = client.read_to_end().expect("an end").len();
            assert!(taken < LARGE / 4, "{taken} bytes");
        }
    });
    assert_eq!(server.send(&Request::score(vec![b'b'; 2 * LARGE])).status, 200, "the memory is given back");
}

#[test]
fn an_answer_that_is_taken_slowly_is_sent_to_its_end() {
    let server = Serve::guest("echo").args("--write-timeout 2s").start();
    let start = Instant::now();
    let mut client = greedy(&server);
    let (mut taken, mut buffer) = (0, vec![0; 64 * 1024]);
    while taken < LARGE {
        let count = client.read_some(&mut buffer).expect("the connection stays open");
        assert!(count > 0, "it ended after {taken} bytes and {:?}", start.elapsed());
        taken += count;
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(start.elapsed() > Duration::from_secs(2), "{:?}", start.elapsed());
}

#[test]
fn a_stream_whose_window_is_never_opened_is_reset_and_the_others_are_answered() {
    let server = Serve::guest("echo").args("--write-timeout 1s").start();
    answers_throughout(&server, "windows of HTTP/2 that are never opened", || {
        let mut connection =
            Connection::open(server.address(), &[(setting::INITIAL_WINDOW_SIZE, 0)]).expect("the server listens");
        connection
            .send(&[get(1, "/livez"), post(3, "/score"), window_update(3, 100_000)].concat())
            .expect("a connection");
        let start = Instant::now();
        // What was asked before is answered after the other one was given up.
        let mut seen = Vec::new();
        loop {
            let frame = connection.read(PATIENCE).expect("a frame").expect("the connection is open");
            if frame.kind == kind::RST_STREAM {
                assert_eq!((frame.stream, frame.code()), (1, Some(code::CANCEL)), "{seen:?}");
                break;
            }
            seen.push((frame.kind, frame.stream));
        }
        let took = start.elapsed();
        assert!(took >= Duration::from_millis(900) && took < Duration::from_secs(3), "{took:?}");
        connection.send(&data(3, flag::END_STREAM, b"test")).expect("a connection");
        let rest = frames(&mut connection);
        assert!(rest.contains(&(kind::GOAWAY, 0, Some(code::NO_ERROR))), "no more is taken: {rest:?}");
        assert!(rest.contains(&(kind::DATA, 3, None)), "{rest:?}");
    });
}

#[test]
fn a_window_that_is_opened_by_little_and_little_is_enough() {
    let server = Serve::guest("echo").args("--write-timeout 1s").start();
    let mut connection =
        Connection::open(server.address(), &[(setting::INITIAL_WINDOW_SIZE, 1)]).expect("the server listens");
    let body: Vec<_> = (0..4).map(|_| data(1, flag::NONE, &[b'b'; 16_000])).collect();
    connection
        .send(&[post(1, "/score"), body.concat(), data(1, flag::END_STREAM, b"")].concat())
        .expect("the server listens");
    let start = Instant::now();
    let mut taken = 0;
    loop {
        let frame = connection.read(PATIENCE).expect("a frame").expect("the connection is open");
        assert!(!matches!(frame.kind, kind::RST_STREAM | kind::GOAWAY), "{frame:?} after {:?}", start.elapsed());
        if frame.kind == kind::DATA {
            taken += frame.payload.len();
            if frame.flags & flag::END_STREAM != 0 {
                break;
            }
            std::thread::sleep(Duration::from_millis(100));
            connection.send(&window_update(1, 2_500)).expect("a connection");
        }
    }
    assert!(taken > 64_000 && start.elapsed() > Duration::from_secs(2), "{taken} bytes in {:?}", start.elapsed());
}

#[test]
fn a_scorer_that_streams_to_a_client_that_takes_nothing_is_stopped_long_before_its_deadline() {
    let server = Serve::guest("streams").args("--max-running 1 --timeout 60s --write-timeout 1s").start();
    let endless = r#"{"count": null, "piece_bytes": 100000}"#;
    let assert_free = || {
        let start = Instant::now();
        server.score(r#"{"end": "early"}"#).assert_error(400, "nothing is sent");
        assert!(start.elapsed() < Duration::from_secs(6), "{:?}", start.elapsed());
    };
    answers_throughout(&server, "streams that are not taken", || {
        let mut client = server.connect();
        client.take_little().expect("a connection");
        client.write(&Request::json(endless).to_bytes()).expect("the server listens");
        assert_eq!(client.read_head().expect("a head").status, 200);
        assert_free();
        let mut connection =
            Connection::open(server.address(), &[(setting::INITIAL_WINDOW_SIZE, 0)]).expect("the server listens");
        let mut headers = scorebox_tests::http2::request("POST", "/score");
        headers.push(("content-type", "application/json"));
        let head = frame(kind::HEADERS, flag::END_HEADERS, 1, &scorebox_tests::http2::block(&headers));
        connection.send(&[head, data(1, flag::END_STREAM, endless.as_bytes())].concat()).expect("a connection");
        // It runs when the head of its answer has come.
        while connection.read(PATIENCE).expect("a frame").expect("the connection is open").kind != kind::HEADERS {}
        assert_free();
    });
}

#[test]
fn streams_that_are_not_taken_keep_little_of_scorers_that_have_gone() {
    const WRITE_TIMEOUT: Duration = Duration::from_mins(1);
    const CLIENTS: usize = 20;
    // One scorer after the other: what each of them leaves is added to what those before it have left.
    let limits = "--max-running 1 --timeout 500ms --queue-timeout 30s --max-bodies 60MB --write-timeout 60s";
    let server = Serve::guest("streams").args(limits).start();
    let assert_free = || server.score(r#"{"end": "early"}"#).assert_error(400, "nothing is sent");
    assert_free();
    let before = memory(&server);
    let start = Instant::now();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let mut client = server.connect();
            client.take_little().expect("a connection");
            let request = Request::json(r#"{"count": 4, "piece_bytes": 20000000}"#);
            client.write(&request.to_bytes()).expect("the server listens");
            assert_eq!(client.read_head().expect("a head").status, 200);
            client
        })
        .collect();
    assert_free();
    // All of it would be 1.6 GB.
    let grown = || memory(&server).saturating_sub(before);
    eventually(Duration::from_secs(10), "there is little left", || grown() < 150 << 20);
    assert!(start.elapsed() < WRITE_TIMEOUT, "{:?}: they may have been given up", start.elapsed());
    drop(clients);
}

#[test]
fn a_stream_that_pauses_for_longer_than_a_client_may_is_not_the_clients_fault() {
    let server = Serve::guest("streams").args("--timeout 3s --write-timeout 500ms --idle-timeout 500ms").start();
    let mut client = server.connect();
    client.write(&Request::json(r#"{"pieces": ["first"], "end": "spin"}"#).to_bytes()).expect("the server listens");
    assert_eq!(client.read_head().expect("a head").status, 200);
    assert_eq!(client.read_chunk().expect("a piece"), b"first");
    let start = Instant::now();
    client.read_to_end().expect("an end");
    assert!(start.elapsed() > Duration::from_secs(2), "it was cut after {:?}", start.elapsed());
    server.logged("run() was stopped: Scoring timeout after 3000 ms");
}
