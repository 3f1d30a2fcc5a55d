//! Clients that are slow, broken or hostile are cut off, and nobody waits for them.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use scorebox_tests::fixtures::IRIS;
use scorebox_tests::wait::{PATIENCE, eventually};
use scorebox_tests::{Client, Request, Serve, Server};

const LIMIT: Duration = Duration::from_millis(400);
/// How long a client is not cut off: a little less than the limit, which begins before the client looks at the clock.
const NOT_BEFORE: Duration = Duration::from_millis(380);
/// How far a limit may be exceeded.
const LATE: Duration = Duration::from_millis(400);

/// Waits until the server closes the connection, and checks when that is.
#[track_caller]
fn assert_closed_in_time(client: &mut Client, since: Instant) {
    assert!(client.readable_within(PATIENCE).expect("a connection"), "it was not closed");
    let took = since.elapsed();
    assert!(took >= NOT_BEFORE, "closed after {took:?}");
    assert!(took <= LIMIT + LATE, "closed after {took:?}");
}

/// Checks that health is answered at once.
#[track_caller]
fn assert_healthy(server: &Server) {
    let start = Instant::now();
    assert_eq!(server.get("/livez").status, 200);
    assert!(start.elapsed() < Duration::from_millis(200), "{:?}", start.elapsed());
}

#[test]
fn the_head_of_a_request_has_to_come_in_time() {
    let server = Serve::example("iris-rust").args("--head-timeout 400ms").start();
    let mut client = server.connect();
    client.write(b"GET /livez HT").unwrap();
    let start = Instant::now();
    assert_healthy(&server);
    assert_closed_in_time(&mut client, start);
}

#[test]
fn a_head_that_comes_byte_by_byte_gets_no_more_time() {
    let server = Serve::example("iris-rust").args("--head-timeout 400ms").start();
    let mut client = server.connect();
    let start = Instant::now();
    let sent = Request::get("/livez").header("x-slow", "s".repeat(500)).to_bytes();
    let mut bytes = sent.iter();
    while !client.readable_within(Duration::from_millis(20)).unwrap() {
        let Some(byte) = bytes.next() else { panic!("all of the head was taken") };
        // The connection may end in between.
        let _ = client.write(&[*byte]);
    }
    assert!(start.elapsed() >= NOT_BEFORE, "{:?}", start.elapsed());
    assert!(start.elapsed() <= LIMIT + LATE, "{:?}", start.elapsed());
}

#[test]
fn the_head_of_a_later_request_has_to_come_in_time_too() {
    let server = Serve::example("iris-rust").args("--head-timeout 400ms").start();
    let mut client = server.connect();
    assert_eq!(client.send(&Request::json(IRIS)).unwrap().status, 200);
    client.write(b"G").unwrap();
    assert_closed_in_time(&mut client, Instant::now());
}

#[test]
fn a_connection_without_a_request_is_closed() {
    let server = Serve::example("iris-rust").args("--idle-timeout 400ms").start();
    let start = Instant::now();
    let mut unused = server.connect();
    assert_closed_in_time(&mut unused, start);
    let mut used = server.connect();
    assert_eq!(used.send(&Request::json(IRIS)).unwrap().status, 200);
    assert_closed_in_time(&mut used, Instant::now());
}

#[test]
fn a_connection_is_not_idle_while_its_request_is_scored() {
    let server = Serve::guest("spin").args("--idle-timeout 300ms --head-timeout 300ms --timeout 1500ms").start();
    server.score(r#"{"spin": true}"#).assert_error(500, "Scoring timeout after 1500 ms");
}

#[test]
fn a_body_that_does_not_come_is_answered_with_408() {
    let server = Serve::guest("echo").args("--body-timeout 400ms").start();
    let mut client = server.connect();
    let request = Request::score("0123456789").to_bytes();
    client.write(&request[..request.len() - 5]).unwrap();
    let start = Instant::now();
    assert_healthy(&server);
    assert_closed_in_time(&mut client, start);
    let response = client.read().unwrap();
    response.assert_error(408, "The request body did not arrive in time.");
    assert_eq!(response.header("connection"), Some("close"));
}

#[test]
fn a_body_that_comes_slower_than_16_kib_a_second_is_answered_with_408() {
    let server = Serve::guest("echo").args("--body-timeout 400ms").start();
    let mut client = server.connect();
    let request = Request::score(vec![b'b'; 100_000]).to_bytes();
    let start = Instant::now();
    let mut pieces = request.chunks(100);
    while !client.readable_within(Duration::from_millis(20)).unwrap() {
        let Some(piece) = pieces.next() else { panic!("all of the body was taken") };
        let _ = client.write(piece);
    }
    assert_eq!(client.read().unwrap().status, 408);
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

#[test]
fn what_came_of_a_body_at_once_saves_up_no_time_for_the_rest() {
    let server = Serve::guest("echo").args("--body-timeout 1s").start();
    let mut client = server.connect();
    // At 16 KiB a second this would have taken two minutes.
    let request = Request::score(vec![b'b'; 4 << 20]).to_bytes();
    client.write(&request[..2 << 20]).unwrap();
    let start = Instant::now();
    assert!(client.readable_within(Duration::from_secs(5)).unwrap(), "it may be silent for 5 s");
    assert_eq!(client.read().unwrap().status, 408);
    assert!(start.elapsed() > Duration::from_millis(900), "{:?}", start.elapsed());
}

#[test]
fn a_body_that_comes_slowly_but_steadily_has_the_time_that_it_takes() {
    let server = Serve::guest("echo").args("--body-timeout 400ms").start();
    let mut client = server.connect();
    let start = Instant::now();
    // 100 kB a second.
    for piece in Request::score(vec![b'b'; 200_000]).to_bytes().chunks(2_000) {
        client.write(piece).unwrap();
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(client.read().unwrap().status, 200);
    assert!(start.elapsed() > Duration::from_secs(1), "{:?}", start.elapsed());
}

#[test]
fn clients_that_go_away_in_the_middle_of_a_body_leave_nothing_behind() {
    let server = Serve::guest("echo").args("--max-bodies 2MiB --max-connections 64").start();
    let request = Request::score(vec![b'b'; 1_500_000]).to_bytes();
    for _ in 0..100 {
        let mut client = server.connect();
        // Some of the body; the rest never comes.
        client.write(&request[..1_000]).unwrap();
    }
    // Their connections are free, and so is the memory of their bodies.
    eventually(PATIENCE, "a large body is taken", || {
        let response = server.send(&Request::score(vec![b'b'; 2_000_000]));
        assert!(matches!(response.status, 200 | 429), "{response:?}");
        response.status == 200
    });
    let log = server.log();
    let scored = log.iter().filter(|line| line.contains(" azmlinfsrv - POST /score 200 ")).count();
    assert!(scored <= 1, "half a body was scored");
}

#[test]
fn more_headers_than_a_hundred_are_answered_with_431() {
    let server = Serve::example("iris-rust").start();
    // Host is one of them.
    for (headers, status) in [(99, 200), (100, 431), (1000, 431)] {
        let request =
            (0..headers).fold(Request::get("/livez"), |request, index| request.header(&format!("x-{index}"), "1"));
        assert_eq!(server.send(&request).status, status, "{headers}");
    }
    assert_healthy(&server);
}

#[test]
fn a_head_that_is_too_long_is_answered_with_431() {
    let server = Serve::example("iris-rust").start();
    assert_eq!(server.send(&Request::get("/livez").header("x-long", "l".repeat(8_000))).status, 200);
    let mut client = server.connect();
    // The server stops reading before all is sent.
    let _ = client.write(&Request::get("/livez").header("x-long", "l".repeat(1_000_000)).to_bytes());
    assert_eq!(client.read_head().unwrap().status, 431);
    assert_healthy(&server);
}

/// A client of HTTP/2.
async fn client_of_http2(server: &Server) -> SendRequest<Full<Bytes>> {
    let stream = tokio::net::TcpStream::connect(server.address()).await.expect("it listens");
    let (sender, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.expect("it speaks HTTP/2");
    tokio::spawn(connection);
    sender
}

#[test]
fn the_head_of_a_request_has_the_same_limits_in_http_2_and_the_connection_goes_on() {
    let server = Serve::example("iris-rust").start();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut sender = client_of_http2(&server).await;
        // The host, the method and the path are no headers in HTTP/2.
        for (path_length, headers, value_length, status) in [
            (0, 100, 1, 200),
            (0, 101, 1, 431),
            (0, 1_000, 1, 431),
            (0, 1, 8_000, 200),
            (0, 1, 8_190, 431),
            (4_000, 0, 0, 404),
            (4_094, 0, 0, 414),
        ] {
            let mut request = hyper::Request::get(format!("http://scorebox.test/livez{}", "a".repeat(path_length)));
            for number in 0..headers {
                request = request.header(format!("x-{number}"), "v".repeat(value_length));
            }
            let response = sender.send_request(request.body(Full::default()).unwrap()).await.unwrap();
            assert_eq!(response.status(), status, "{path_length} {headers} {value_length}");
        }
        // Of a cookie there may be many pieces.
        let request = (0..200).fold(hyper::Request::get("http://scorebox.test/livez"), |request, number| {
            request.header("cookie", format!("c{number}=1"))
        });
        let response = sender.send_request(request.body(Full::default()).unwrap()).await.unwrap();
        assert_eq!(response.status(), 200);
    });
    assert_healthy(&server);
}

#[test]
fn an_answer_in_http_2_that_has_no_body_has_neither_some_of_one_nor_the_length_of_none() {
    let server = Serve::guest("flood").start();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut sender = client_of_http2(&server).await;
        let long = format!("/{}", "a".repeat(4_094));
        for (method, path, body, status) in [
            ("HEAD", &*long, "", 414),
            ("POST", "/score", r#"{"status": 204, "body_bytes": 10}"#, 204),
            ("POST", "/score", r#"{"status": 304, "body_bytes": 10}"#, 304),
        ] {
            let request = hyper::Request::builder().method(method).uri(format!("http://scorebox.test{path}"));
            let request = request.header("content-type", "application/json").body(Full::new(Bytes::from(body)));
            let response = sender.send_request(request.unwrap()).await.unwrap();
            assert_eq!(response.status(), status);
            assert_eq!(response.headers().get("content-length"), None, "{status}");
            let body = response.into_body().collect().await.expect("no error").to_bytes();
            assert!(body.is_empty(), "{status}: {} bytes", body.len());
        }
    });
}

#[test]
fn what_is_no_http_is_answered_with_400() {
    let server = Serve::example("iris-rust").start();
    for bytes in [
        &b"hello\r\n\r\n"[..],
        b"GET /livez\r\n\r\n",
        b"GET /livez HTTP/9.9\r\n\r\n",
        b"G@T /livez HTTP/1.1\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nx y: 1\r\n\r\n",
        b"POST /score HTTP/1.1\r\ncontent-length: x\r\n\r\n",
        b"POST /score HTTP/1.1\r\ncontent-length: -1\r\n\r\n",
        b"POST /score HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    ] {
        let mut client = server.connect();
        client.write(bytes).unwrap();
        let response = client.read_head().unwrap_or_else(|error| panic!("{}: {error}", bytes.escape_ascii()));
        assert_eq!(response.status, 400, "{}", bytes.escape_ascii());
    }
    assert_healthy(&server);
}

#[test]
fn a_request_with_two_lengths_is_not_two_requests() {
    let server = Serve::guest("echo").start();
    let mut client = server.connect();
    // A proxy in front that goes by the length would take the second request for the first one's body.
    let smuggled = "GET /score?smuggled HTTP/1.1\r\nhost: x\r\n\r\n";
    let length = smuggled.len() + 5;
    client
        .write(
            format!(
                "POST /score HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\ntransfer-encoding: chunked\r\n\r\n\
                 0\r\n\r\n{smuggled}"
            )
            .as_bytes(),
        )
        .unwrap();
    let answers = String::from_utf8(client.read_to_end().unwrap()).unwrap();
    assert_eq!(answers.matches("HTTP/1.1 ").count(), 1, "one answer, then the connection ends: {answers}");
    assert!(!answers.contains("smuggled"), "{answers}");
}

#[test]
fn a_body_in_broken_chunks_is_answered_with_400() {
    let server = Serve::guest("echo").start();
    let mut client = server.connect();
    client.write(b"POST /score HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\nabc\r\n").unwrap();
    let response = client.read().unwrap();
    response.assert_error(400, "The request body ended early or is not valid.");
    assert_eq!(response.header("connection"), Some("close"));
    assert_healthy(&server);
}

#[test]
fn more_connections_than_are_allowed_wait_until_one_ends() {
    let server = Serve::example("iris-rust").args("--max-connections 2").start();
    let mut first = server.connect();
    let mut second = server.connect();
    assert_eq!(first.send(&Request::get("/livez")).unwrap().status, 200);
    assert_eq!(second.send(&Request::get("/livez")).unwrap().status, 200);
    let mut third = server.connect();
    third.write(&Request::get("/livez").to_bytes()).unwrap();
    assert!(!third.readable_within(Duration::from_millis(300)).unwrap(), "there is no place for it");
    drop(first);
    assert_eq!(third.read().unwrap().status, 200);
}

#[test]
fn many_clients_that_send_nothing_do_not_keep_others_from_being_served() {
    let server = Serve::example("iris-rust").start();
    let silent: Vec<_> = (0..500).map(|_| server.connect()).collect();
    assert_healthy(&server);
    assert_eq!(server.score(IRIS).status, 200);
    drop(silent);
}
