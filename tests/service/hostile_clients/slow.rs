//! Clients that send slowly, or nothing.

use std::time::{Duration, Instant};

use scorebox_tests::fixtures::IRIS;
use scorebox_tests::wait::PATIENCE;
use scorebox_tests::{Client, Request, Serve, Server};

use crate::health::answers_throughout;

/// Sends a byte more to each of the clients again and again, until the server has closed or answered all of them. Returns
/// how long that took.
fn drip(clients: &mut Vec<Client>, byte: u8, mut closed: impl FnMut(Client)) -> Duration {
    let start = Instant::now();
    while !clients.is_empty() {
        assert!(start.elapsed() < PATIENCE, "{} connections are still open", clients.len());
        let round = Instant::now();
        let mut left = Vec::new();
        for mut client in clients.drain(..) {
            // It may be closed meanwhile.
            let _ = client.write(&[byte]);
            if client.readable_within(Duration::from_micros(1)).expect("a connection") {
                closed(client);
            } else {
                left.push(client);
            }
        }
        *clients = left;
        std::thread::sleep(Duration::from_millis(50).saturating_sub(round.elapsed()));
    }
    start.elapsed()
}

/// That many clients that have sent this.
fn clients(server: &Server, count: usize, bytes: &[u8]) -> Vec<Client> {
    (0..count)
        .map(|_| {
            let mut client = server.connect();
            client.write(bytes).expect("the server listens");
            client
        })
        .collect()
}

#[test]
fn a_slowloris_of_600_connections_is_closed_in_time() {
    let server = Serve::example("iris-rust").args("--head-timeout 1s --max-connections 1000").start();
    answers_throughout(&server, "slow heads", || {
        let mut slow = clients(&server, 600, b"GET /livez HTTP/1.1\r\nhost: x\r\nx-slow: ");
        let took = drip(&mut slow, b's', |mut client| assert_eq!(client.read_to_end().expect("an end"), b""));
        assert!(took < Duration::from_secs(6), "{took:?}");
    });
}

#[test]
fn heads_that_never_begin_are_closed_in_time_whatever_comes_before_them() {
    let server = Serve::example("iris-rust").args("--head-timeout 1s --idle-timeout 60s").start();
    answers_throughout(&server, "no heads", || {
        // Empty lines, the beginning of HTTP/2, and that after a request.
        let asked = [&Request::get("/livez").to_bytes()[..], b"\r\n"].concat();
        // And trailers whose end the library sees, and nobody else.
        let chunked = Request::json(IRIS).chunked(7).to_bytes();
        let unclear = [chunked.strip_suffix(b"\r\n").expect("the end of a body"), b"x: y\n\r\n\r\n"].concat();
        let beginnings = [(&b"\r\n"[..], b'\n'), (b"PRI * HTTP/2.0\r\n", b'\r'), (&asked, b'\n'), (&unclear, b'\n')];
        for (bytes, byte) in beginnings {
            let mut slow = clients(&server, 10, bytes);
            if bytes.len() > 20 {
                for client in &mut slow {
                    assert_eq!(client.read().expect("an answer").status, 200);
                }
            }
            let mut answers = 0;
            let took = drip(&mut slow, byte, |_| answers += 1);
            assert!(answers == 10 && took < Duration::from_secs(6), "{answers} answers, {took:?}");
        }
    });
}

#[test]
fn four_hundred_slow_bodies_are_answered_with_408_in_time_and_give_their_memory_back() {
    let server = Serve::guest("echo").args("--body-timeout 1s --max-bodies 10MB").start();
    let head = b"POST /score HTTP/1.1\r\nhost: x\r\ncontent-length: 10000000\r\n\r\n";
    answers_throughout(&server, "slow bodies", || {
        let mut slow = clients(&server, 400, head);
        let mut answers = 0;
        let took = drip(&mut slow, b'b', |mut client| {
            assert_eq!(client.read().expect("an answer").status, 408);
            answers += 1;
        });
        assert!(answers == 400 && took < Duration::from_secs(8), "{answers} answers, {took:?}");
    });
    let told = server.send(&Request::score(vec![b'b'; 4_000_000])).json();
    assert_eq!(told["body_bytes"], 4_000_000);
}

#[test]
fn idle_and_half_open_connections_over_the_cap_are_closed_and_whoever_waits_is_served() {
    let server = Serve::example("iris-rust").args("--max-connections 100 --idle-timeout 2s").start();
    let mut silent: Vec<_> = (0..60).map(|_| server.connect()).collect();
    let half_open: Vec<_> = (0..60)
        .map(|_| {
            let client = std::net::TcpStream::connect(server.address()).expect("the system connects");
            client.shutdown(std::net::Shutdown::Write).expect("a connection");
            client
        })
        .collect();
    // Half of them are closed at once, for they cannot ask; the others when they have not asked for long enough.
    let start = Instant::now();
    let mut waiting: Vec<_> = (0..40).map(|_| server.connect()).collect();
    for client in &mut waiting {
        assert_eq!(client.send(&Request::get("/livez")).expect("an answer").status, 200);
    }
    assert!(start.elapsed() < Duration::from_secs(6), "{:?}", start.elapsed());
    for client in &mut silent {
        assert_eq!(client.read_to_end().expect("an end"), b"");
    }
    drop(half_open);
}

#[test]
fn the_health_port_answers_while_all_connections_are_taken() {
    let health_port = scorebox_tests::server::free_port();
    let server = Serve::example("iris-rust")
        .args(&format!("--max-connections 50 --idle-timeout 60s --health_port {health_port}"))
        .env("SEPERATE_HEALTH_ENDPOINT", "true")
        .start();
    let taken: Vec<_> = (0..50).map(|_| server.connect()).collect();
    let mut refused = server.connect();
    refused.write(&Request::get("/livez").to_bytes()).expect("the system connects");
    assert!(!refused.readable_within(Duration::from_millis(300)).expect("a connection"), "there is no place for it");
    let health = (server.address().ip(), health_port).into();
    for _ in 0..20 {
        let mut client = Client::connect(health).expect("the health port is open");
        let start = Instant::now();
        assert_eq!(client.send(&Request::get("/")).expect("an answer").status, 200);
        assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    }
    drop(taken);
    assert_eq!(refused.read().expect("an answer").status, 200);
}
