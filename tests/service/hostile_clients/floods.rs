//! Clients that send more than anybody needs.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use scorebox_tests::http2::{
    Connection, block, code, data, flag, frame, get, kind, post, request, reset, settings, window_update,
};
use scorebox_tests::wait::PATIENCE;
use scorebox_tests::{Request, Serve, Server};

use crate::health::{answers_throughout, memory, most_memory};

/// How much more memory the server may use for an attack, whatever it sends.
const GROWTH: u64 = 64 << 20;

/// Attacks, and checks that health is answered and that memory does not grow meanwhile.
#[track_caller]
#[expect(clippy::print_stdout, reason = "what was measured is quoted")]
fn flood<T>(server: &Server, name: &str, attack: impl FnOnce() -> T) -> T {
    assert_eq!(server.send(&Request::score("warm")).status, 200);
    let before = memory(server);
    let result = answers_throughout(server, name, attack);
    let most = scorebox_tests::process::memory(server.process().id(), "VmHWM").expect("the server runs");
    let grown = most.saturating_sub(before);
    println!("{name}: {} KiB more memory at most", grown >> 10);
    assert!(grown < GROWTH, "{grown} bytes more");
    result
}

/// How a connection ended.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// With this code.
    GoAway(u32),
    Closed,
    /// Not at all: a PING was answered.
    Alive,
}

/// Sends again and again until the server has closed the connection, or nothing more is left to send; reads all the while.
fn send_all(server: &Server, first: &[u8], more: &[u8], times: usize) -> (End, usize) {
    let mut connection = Connection::open(server.address(), &[]).expect("the server listens");
    let mut sent = 0;
    let mut alive = connection.send(first).is_ok();
    while alive && sent < times {
        alive = connection.send(more).is_ok();
        sent += 1;
        // What has come so far is read only to make room.
        while let Ok(Some(frame)) = connection.read(Duration::ZERO) {
            if let (kind::GOAWAY, Some(code)) = (frame.kind, frame.code()) {
                return (End::GoAway(code), sent);
            }
        }
    }
    let _ = connection.send(&frame(kind::PING, flag::NONE, 0, b"the end!"));
    loop {
        match connection.read(PATIENCE) {
            Ok(Some(frame)) if frame.kind == kind::GOAWAY => return (End::GoAway(frame.code().expect("a code")), sent),
            Ok(Some(frame)) if frame.is(kind::PING, flag::ACK) && frame.payload == b"the end!" => {
                return (End::Alive, sent);
            }
            Ok(Some(_)) => {}
            Ok(None) => return (End::Closed, sent),
            Err(error) => panic!("the connection does not end: {error}"),
        }
    }
}

/// Sends for as long as the server takes anything, and reads nothing. Returns how much it took, and when it closed.
fn send_without_reading(server: &Server, first: &[u8], more: &[u8]) -> (usize, Duration) {
    let mut stream = std::net::TcpStream::connect(server.address()).expect("the server listens");
    rustix::net::sockopt::set_socket_recv_buffer_size(&stream, 64 * 1024).expect("a connection");
    stream.set_write_timeout(Some(Duration::from_millis(100))).expect("a connection");
    std::io::Write::write_all(&mut stream, first).expect("the server listens");
    let start = Instant::now();
    let mut taken = 0;
    loop {
        assert!(start.elapsed() < PATIENCE, "the server takes it all: {taken} bytes");
        match std::io::Write::write(&mut stream, more) {
            Ok(count) => taken += count,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => return (taken, start.elapsed()),
        }
    }
}

#[test]
fn a_pipelining_flood_is_not_read_ahead_of_the_answers_and_ends_when_those_are_not_taken() {
    let server = Serve::guest("echo").args("--write-timeout 1s").start();
    let requests = Request::get("/livez").to_bytes().repeat(1_000);
    flood(&server, "pipelining", || {
        let (taken, took) = send_without_reading(&server, b"", &requests);
        println!("pipelining: {taken} bytes were taken in {took:?}");
        assert!(taken < 64 << 20, "{taken} bytes");
        // Whoever takes the answers gets all of them.
        let mut client = server.connect();
        for _ in 0..5 {
            client.write(&requests).expect("the server listens");
            for _ in 0..1_000 {
                assert_eq!(client.read().expect("an answer").status, 200);
            }
        }
    });
}

#[test]
fn settings_and_pings_are_not_answered_to_a_client_that_does_not_read() {
    let server = Serve::guest("echo").args("--write-timeout 1s").start();
    let begin = [scorebox_tests::http2::PREFACE, &settings(&[])].concat();
    flood(&server, "SETTINGS and PINGs", || {
        for more in [settings(&[]), frame(kind::PING, flag::NONE, 0, &[0; 8])] {
            let (taken, took) = send_without_reading(&server, &begin, &more.repeat(1_000));
            println!("SETTINGS or PINGs: {taken} bytes were taken in {took:?}");
            assert!(taken < 64 << 20, "{taken} bytes");
        }
    });
}

#[test]
fn requests_that_are_taken_back_at_once_end_the_connection() {
    let server = Serve::guest("echo").start();
    flood(&server, "rapid reset", || {
        let mut most = 0;
        for _ in 0..300 {
            let mut connection = Connection::open(server.address(), &[]).expect("the server listens");
            let mut streams = (0..).map(|number| 2 * number + 1);
            let mut sent = 0;
            let end = loop {
                assert!(sent < 200, "as many were taken");
                let batch: Vec<_> = streams
                    .by_ref()
                    .take(50)
                    .flat_map(|stream| [get(stream, "/score"), reset(stream, code::CANCEL)].concat())
                    .collect();
                sent += 50;
                if connection.send(&batch).is_err() {
                    break None;
                }
                let mut end = None;
                while let Ok(Some(frame)) = connection.read(Duration::from_millis(1)) {
                    if frame.kind == kind::GOAWAY {
                        end = frame.code();
                    }
                }
                if end.is_some() {
                    break end;
                }
            };
            assert!(matches!(end, None | Some(code::ENHANCE_YOUR_CALM)), "{end:?}");
            most = most.max(sent);
        }
        println!("rapid reset: a connection ended after {most} requests at the latest");
    });
}

#[test]
fn requests_that_are_taken_back_when_they_have_begun_end_the_connection_too() {
    let server = Serve::guest("echo").start();
    let begun = |connection: &mut Connection, stream: u32| {
        connection.send(&post(stream, "/score"))?;
        // It has been begun when a PING behind it is answered.
        connection.send(&frame(kind::PING, flag::NONE, 0, &[0; 8]))?;
        loop {
            match connection.read(PATIENCE)? {
                None => return Err(std::io::Error::from(ErrorKind::UnexpectedEof)),
                Some(frame) if frame.kind == kind::PING => return Ok(()),
                Some(_) => {}
            }
        }
    };
    flood(&server, "slow reset", || {
        let mut connection = Connection::open(server.address(), &[]).expect("the server listens");
        let mut taken_back = 0;
        for stream in (0..2_000).map(|number| 2 * number + 1) {
            let sent = begun(&mut connection, stream);
            if sent.and_then(|()| connection.send(&reset(stream, code::CANCEL))).is_err() {
                break;
            }
            taken_back += 1;
        }
        println!("slow reset: a connection ended after {taken_back} requests");
        assert!((128..=140).contains(&taken_back), "{taken_back}");
    });
    // Whoever lets most of its requests be answered may take back some.
    let mut connection = Connection::open(server.address(), &[]).expect("the server listens");
    for number in 0..400 {
        let (first, second) = (4 * number + 1, 4 * number + 3);
        begun(&mut connection, first).expect("the connection stays open");
        connection.send(&[reset(first, code::CANCEL), get(second, "/livez")].concat()).expect("it stays open");
        loop {
            let frame = connection.read(PATIENCE).expect("a frame").expect("the connection stays open");
            if frame.stream == second && frame.flags & flag::END_STREAM != 0 {
                break;
            }
        }
    }
}

#[test]
fn frames_without_content_are_a_flood_that_ends_the_connection() {
    let server = Serve::guest("echo").args("--body-timeout 2s").start();
    let calm = End::GoAway(code::ENHANCE_YOUR_CALM);
    flood(&server, "frames without content", || {
        for _ in 0..100 {
            let (end, _) = send_all(&server, &post(1, "/score"), &data(1, flag::NONE, b"").repeat(1_000), 1_000);
            assert_eq!(end, calm);
        }
        let (end, sent) = send_all(&server, &post(1, "/score"), &data(1, flag::NONE, b"").repeat(1_000), 1_000);
        println!("empty DATA: {end:?} after {sent} thousand frames");
        assert!(end == calm && sent < 1_000, "{end:?} after {sent}");
        let begin = frame(kind::HEADERS, flag::END_STREAM, 1, &block(&request("GET", "/livez")));
        let (end, sent) = send_all(&server, &begin, &frame(kind::CONTINUATION, flag::NONE, 1, &[]).repeat(100), 1_000);
        println!("empty CONTINUATION: {end:?} after {sent} hundred frames");
        assert!(end == calm && sent < 100, "{end:?} after {sent}");
    });
}

#[test]
fn frames_that_mean_nothing_to_the_server_cost_it_nothing() {
    let server = Serve::guest("echo").start();
    flood(&server, "frames that mean nothing", || {
        for more in [
            frame(kind::PRIORITY, flag::NONE, 3, &[0, 0, 0, 0, 15]),
            frame(0x20, flag::NONE, 1, b"unknown"),
            window_update(0, 1),
            settings(&[(0x99, 1)]),
            frame(kind::PING, flag::NONE, 0, &[0; 8]),
        ] {
            let (end, sent) = send_all(&server, &[], &more.repeat(500), 100);
            assert_eq!((end, sent), (End::Alive, 100), "frames of type {}", more[3]);
        }
    });
}

/// A block of headers in as many frames as it takes.
fn headers(stream: u32, block: &[u8]) -> Vec<u8> {
    let mut pieces = block.chunks(16_000).peekable();
    let mut bytes = Vec::new();
    let mut next = (kind::HEADERS, flag::END_STREAM);
    while let Some(piece) = pieces.next() {
        let last = if pieces.peek().is_none() { flag::END_HEADERS } else { flag::NONE };
        bytes.extend(frame(next.0, next.1 | last, stream, piece));
        next = (kind::CONTINUATION, flag::NONE);
    }
    bytes
}

/// Sends a block of headers, and returns the first answer to it: the code of an error, or none for a response.
fn refusal(server: &Server, block: &[u8]) -> Option<u32> {
    let mut connection = Connection::open(server.address(), &[]).expect("the server listens");
    // It may end before all is sent.
    let _ = connection.send(&headers(1, block));
    loop {
        match connection.read(PATIENCE).expect("an answer") {
            Some(frame) if matches!(frame.kind, kind::GOAWAY | kind::RST_STREAM) => return frame.code(),
            Some(frame) if frame.kind == kind::HEADERS => {
                // `:status` comes first, and 431 has no place in the table.
                assert_ne!(frame.payload[0], 0x88, "it was answered with 200");
                return None;
            }
            Some(_) => {}
            None => return Some(code::NO_ERROR),
        }
    }
}

#[test]
fn a_hundred_thousand_headers_are_refused() {
    const HEADERS: usize = 100_000;
    let server = Serve::guest("echo").start();
    flood(&server, "100,000 headers", || {
        let many = (0..HEADERS).fold(Request::get("/livez"), |request, _| request.header("x", "1"));
        let mut client = server.connect();
        let _ = client.write(&many.to_bytes());
        assert_eq!(client.read_head().expect("an answer").status, 431);
        let begin = block(&request("GET", "/livez"));
        // With names, without, and as one byte each that stands for what was said before.
        let named = block(&[("x", "1")]).repeat(HEADERS);
        let unnamed = [0, 0, 0].repeat(HEADERS);
        let mut said = vec![0x40];
        scorebox_tests::http2::string(&mut said, b"x-bomb");
        scorebox_tests::http2::string(&mut said, &[b'b'; 4_000]);
        said.extend([0xbe].repeat(HEADERS));
        for (name, more) in [("named", named), ("unnamed", unnamed), ("a bomb", said)] {
            let end = refusal(&server, &[&begin[..], &more].concat());
            println!("100,000 headers, {name}: {end:?}");
            assert!(
                matches!(end, None | Some(code::ENHANCE_YOUR_CALM | code::PROTOCOL_ERROR | code::COMPRESSION_ERROR)),
                "{name}: {end:?}"
            );
        }
    });
}

#[test]
fn headers_of_one_byte_each_on_many_streams_are_refused_before_they_take_memory() {
    const CONNECTIONS: usize = 16;
    const STREAMS: u32 = 128;
    /// As many as there may be in 64 KiB, as HTTP/2 counts them.
    const HEADERS: usize = 1_900;
    let server = Serve::guest("echo").start();
    let begin = block(&request("POST", "/score"));
    // What each of the bytes stands for after that.
    let mut said = vec![0x40];
    scorebox_tests::http2::string(&mut said, b"x");
    scorebox_tests::http2::string(&mut said, b"");
    let heads: Vec<_> = (0..STREAMS)
        .flat_map(|number| {
            let said = if number == 0 { &said[..] } else { &[] };
            frame(kind::HEADERS, flag::END_HEADERS, 2 * number + 1, &[&begin, said, &[0xbe; HEADERS]].concat())
        })
        .collect();
    flood(&server, "headers of one byte", || {
        let before = most_memory(&server);
        let attack = || {
            let mut connection = Connection::open(server.address(), &[]).expect("the server listens");
            connection.send(&heads).expect("it is taken");
            let mut answered = 0;
            // The body of none of them ever comes.
            while answered < STREAMS {
                let frame = connection.read(PATIENCE).expect("an answer").expect("the connection stays open");
                if frame.kind == kind::HEADERS {
                    assert_ne!(frame.payload[0], 0x88, "it was answered with 200");
                    answered += 1;
                }
            }
            connection
        };
        let _open: Vec<_> = std::thread::scope(|scope| {
            let attacks: Vec<_> = (0..CONNECTIONS).map(|_| scope.spawn(attack)).collect();
            attacks.into_iter().map(|attack| attack.join().expect("it is refused")).collect()
        });
        let grown = most_memory(&server) - before;
        println!("headers of one byte: {} KiB more memory at most", grown >> 10);
        assert!(grown < GROWTH, "{grown} bytes more");
    });
}

#[test]
fn a_target_that_is_too_long_is_refused() {
    let server = Serve::guest("echo").start();
    flood(&server, "long targets", || {
        for (length, statuses) in [(4_000, &[404][..]), (4_095, &[414]), (60_000, &[414]), (1_000_000, &[414, 431])] {
            let mut client = server.connect();
            let _ = client.write(&Request::get(&format!("/{}", "a".repeat(length))).to_bytes());
            let status = client.read_head().expect("an answer").status;
            assert!(statuses.contains(&status), "{length}: {status}");
        }
        for length in [4_000, 50_000, 1_000_000] {
            let end = refusal(&server, &block(&request("GET", &format!("/{}", "a".repeat(length)))));
            println!("a target of {length} bytes in HTTP/2: {end:?}");
            assert_eq!(end, if length < 64 << 10 { None } else { Some(code::ENHANCE_YOUR_CALM) }, "{length}");
        }
    });
}
