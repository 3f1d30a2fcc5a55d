//! Requests that a proxy in front may read otherwise than the server does.
//!
//! Each is sent in one piece, cut in two at many places, and behind another request. However it comes, what a strict proxy
//! takes for a part of the body is never run as a request, and what is ambiguous is refused.

use scorebox_tests::{Client, Serve, Server};

use crate::health::answers_throughout;

const SMUGGLED: &str = "GET /score?smuggled HTTP/1.1\r\nhost: x\r\n\r\n";
const GOOD: &str = "GET /score?good HTTP/1.1\r\nhost: x\r\n\r\n";

/// What came back: statuses of the answers, and whether the request that was hidden was run.
fn answers(client: &mut Client) -> (Vec<u16>, bool) {
    let text = String::from_utf8(client.read_to_end().expect("the connection ends")).expect("text");
    let statuses = text
        .match_indices("HTTP/1.1 ")
        .filter(|(at, _)| *at == 0 || !text[..*at].ends_with(['"', ' ']))
        .filter_map(|(at, line)| text[at + line.len()..].get(..3)?.parse().ok());
    (statuses.collect(), text.contains(r#""query":"smuggled""#))
}

/// Sends it in each way, and checks what comes back: the answer to it, and nothing after that.
fn check(server: &Server, name: &str, request: &str, status: u16) {
    let head = request.find("\r\n\r\n").map_or(request.len(), |end| end + 4);
    let cuts = (1..8).map(|part| head * part / 8).chain([head - 1, head]);
    // Also within the names of headers that matter.
    let cuts: Vec<_> = cuts.chain(request.match_indices("Encoding").map(|(at, _)| at)).collect();
    for before in ["", GOOD] {
        let whole = format!("{before}{request}");
        for cut in std::iter::once(None).chain(cuts.iter().map(|cut| Some(cut + before.len()))) {
            let mut client = server.connect();
            let (first, second) = whole.split_at(cut.unwrap_or(whole.len()));
            client.write(first.as_bytes()).expect("the server listens");
            if cut.is_some() {
                server.reads_all_of(&client);
            }
            // It may have been refused meanwhile.
            let _ = client.write(second.as_bytes());
            let (statuses, smuggled) = answers(&mut client);
            let how = format!("{name}, behind {before:?}, cut at {cut:?}");
            assert!(!smuggled, "{how}: the hidden request was run");
            let expected: Vec<_> = (!before.is_empty()).then_some(200).into_iter().chain([status]).collect();
            assert_eq!(statuses, expected, "{how}");
        }
    }
}

/// A POST request with these headers and this body.
fn post(headers: &str, body: &str) -> String {
    format!("POST /score HTTP/1.1\r\nHost: x\r\n{headers}\r\n{body}")
}

#[test]
fn what_can_be_read_in_two_ways_is_refused_however_it_comes() {
    let server = Serve::guest("echo").start();
    let length = SMUGGLED.len() + 5;
    let chunked = format!("0\r\n\r\n{SMUGGLED}");
    let shapes = [
        ("CL.TE", post(&format!("Content-Length: {length}\r\nTransfer-Encoding: chunked\r\n"), &chunked)),
        ("TE.CL", post(&format!("Transfer-Encoding: chunked\r\nContent-Length: {length}\r\n"), &chunked)),
        ("TE.CL 0", post("Transfer-Encoding: chunked\r\nContent-Length: 0\r\n", &chunked)),
        ("TE.TE identity", post("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", &chunked)),
        ("TE.TE", post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", &chunked)),
        ("TE list", post("Transfer-Encoding: identity, chunked\r\n", &chunked)),
        ("TE x", post("Transfer-Encoding: xchunked\r\n", &chunked)),
        ("TE quoted", post("Transfer-Encoding: \"chunked\"\r\n", &chunked)),
        ("TE with a control character", post("Transfer-Encoding: \x0bchunked\r\n", &chunked)),
        ("TE with a space before its colon", post("Transfer-Encoding : chunked\r\n", &chunked)),
        ("TE on a line of its own", post("Transfer-Encoding:\r\n chunked\r\n", &chunked)),
        ("TE behind LF", post(&format!("Content-Length: {length}\r\nX: y\nTransfer-Encoding: chunked\r\n"), &chunked)),
        ("TE behind CR", post(&format!("Content-Length: {length}\r\nX: y\rTransfer-Encoding: chunked\r\n"), &chunked)),
        ("CL behind LF", post(&format!("X: y\nContent-Length: {}\r\n", SMUGGLED.len()), SMUGGLED)),
        ("CL.CL", post(&format!("Content-Length: 0\r\nContent-Length: {}\r\n", SMUGGLED.len()), SMUGGLED)),
        ("CL.CL the same", post("Content-Length: 5\r\nContent-Length: 5\r\n", &format!("12345{SMUGGLED}"))),
        ("CL list", post("Content-Length: 5, 5\r\n", &format!("12345{SMUGGLED}"))),
        ("CL with a sign", post("Content-Length: +5\r\n", &format!("12345{SMUGGLED}"))),
        ("CL in hexadecimal", post("Content-Length: 0x5\r\n", &format!("12345{SMUGGLED}"))),
        ("CL with a space before its colon", post("Content-Length : 5\r\n", &format!("12345{SMUGGLED}"))),
        ("a head that ends with LF", format!("POST /score HTTP/1.1\r\nHost: x\r\nX: y\r\n\n{SMUGGLED}")),
        ("a request line that ends with LF", format!("GET /score HTTP/1.1\nHost: x\r\n\r\n{SMUGGLED}")),
        (
            "TE in HTTP/1.0",
            format!("POST /score HTTP/1.0\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n{chunked}"),
        ),
        (
            "HTTP/2's beginning",
            format!("PRIX /score HTTP/1.1\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n{chunked}"),
        ),
    ];
    answers_throughout(&server, "smuggling", || {
        for (name, request) in &shapes {
            check(&server, name, request, 400);
        }
    });
}

#[test]
fn a_body_in_chunks_that_are_none_is_the_last_of_its_connection() {
    let server = Serve::guest("echo").start();
    let chunks = |chunks: &str| post("Transfer-Encoding: chunked\r\n", &format!("{chunks}{SMUGGLED}"));
    for (name, body) in [
        ("a size that is too large", "11111111111111111\r\n"),
        ("a size with a sign", "+1\r\na\r\n0\r\n\r\n"),
        ("a size with 0x", "0x1\r\na\r\n0\r\n\r\n"),
        ("no size", "\r\n0\r\n\r\n"),
        ("a size that ends with LF", "1\na\r\n0\r\n\r\n"),
        ("more than the size", "1\r\nab\r\n0\r\n\r\n"),
        ("an extension with LF", "1;x\ny\r\na\r\n0\r\n\r\n"),
    ] {
        check(&server, name, &chunks(body), 400);
    }
}

#[test]
fn a_request_in_a_body_is_a_body_and_the_next_request_is_run() {
    let server = Serve::guest("echo").start();
    let last = "GET /score?last HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let length = post(&format!("Content-Length: {}\r\n", SMUGGLED.len()), SMUGGLED);
    let chunks =
        post("Transfer-Encoding: chunked\r\n", &format!("{:x};x=y\r\n{SMUGGLED}\r\n0\r\nx: y\r\n\r\n", SMUGGLED.len()));
    let whole = format!("{length}{chunks}\r\n{length}{last}");
    for piece in [whole.len(), 1, 7, 50] {
        let mut client = server.connect();
        for piece in whole.as_bytes().chunks(piece) {
            client.write(piece).expect("the server listens");
            if piece.len() > 1 {
                server.reads_all_of(&client);
            }
        }
        let text = String::from_utf8(client.read_to_end().expect("an end")).expect("text");
        assert_eq!(text.matches("HTTP/1.1 200 OK").count(), 4, "{text}");
        assert!(text.contains(r#""query":"last""#) && !text.contains(r#""query":"smuggled""#), "{text}");
    }
}
