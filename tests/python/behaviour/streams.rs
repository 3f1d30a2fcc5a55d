//! A response that is made piece by piece is sent piece by piece.

use std::time::{Duration, Instant};

use scorebox_tests::Request;

use crate::start;

#[test]
fn the_pieces_of_a_generator_arrive_as_they_are_made() {
    const PAUSE: Duration = Duration::from_millis(300);
    let server = start("streams");
    let mut client = server.connect();
    client.write(&Request::get("/score?pause=0.3&count=4").to_bytes()).expect("the server listens");
    let begin = Instant::now();
    let head = client.read_head().expect("a head");
    assert_eq!((head.status, head.header("transfer-encoding")), (200, Some("chunked")), "{head:?}");
    assert_eq!(head.header("content-type"), Some("text/plain"));
    for index in 0..4 {
        let piece = client.read_chunk().expect("a piece");
        assert_eq!(piece, format!("piece {index}\n").into_bytes());
        let (earliest, at) = (PAUSE * index, begin.elapsed());
        assert!(at + Duration::from_millis(50) >= earliest && at < earliest + PAUSE, "piece {index} came at {at:?}");
    }
    assert_eq!(client.read_chunk().expect("the end"), b"");
}

#[test]
fn a_generator_that_fails_cuts_the_response_off() {
    let server = start("streams");
    let mut client = server.connect();
    client.write(&Request::get("/score?count=2&fail").to_bytes()).expect("the server listens");
    assert_eq!(client.read_head().expect("a head").status, 200);
    let rest = client.read_to_end().expect("the rest");
    let rest = String::from_utf8_lossy(&rest).into_owned();
    assert!(rest.contains("piece 1\n") && !rest.ends_with("0\r\n\r\n"), "{rest:?}");
    server.logged("ValueError: no more pieces");
    assert_eq!(server.get("/").status, 200);
}

#[test]
fn a_client_that_goes_away_ends_its_generator() {
    let server = start("streams");
    let mut client = server.connect();
    client.write(&Request::get("/score?pause=0.05&count=1000").to_bytes()).expect("the server listens");
    client.read_head().expect("a head");
    server.logged("piece 2");
    drop(client);
    std::thread::sleep(Duration::from_millis(500));
    let said = || server.log().iter().filter(|line| line.contains("piece ")).count();
    let before = said();
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(said(), before, "it goes on");
}
