//! A response that a scorer in Rust sends while it makes it.

use std::time::{Duration, Instant};

use scorebox_tests::{Client, Request, Response, Serve, Server};
use serde_json::{Value, json};

/// How long a piece may take that is sent at once, on a busy machine.
const AT_ONCE: Duration = Duration::from_millis(500);

fn serve(arguments: &str) -> Server {
    Serve::guest("streams").args("--max-running 1").args(arguments).start()
}

/// Asks on a new connection, and reads no more than the head of the answer.
#[track_caller]
fn begin(server: &Server, request: &Value) -> (Client, Response) {
    let mut client = server.connect();
    client.write(&Request::json(request.to_string()).to_bytes()).expect("the server listens");
    let head = client.read_head().unwrap_or_else(|error| panic!("{error}; {}", server.process().said()));
    assert_eq!(head.header("content-length"), None);
    assert_eq!(head.header("transfer-encoding"), Some("chunked"), "{head:?}");
    (client, head)
}

/// All pieces up to the end, which has to come.
#[track_caller]
fn pieces(client: &mut Client) -> Vec<String> {
    let mut pieces = Vec::new();
    loop {
        let piece = client.read_chunk().expect("a piece, or the end");
        if piece.is_empty() {
            return pieces;
        }
        pieces.push(String::from_utf8(piece).expect("text"));
    }
}

/// Checks that the connection ends before the response does, and returns what came of its body.
#[track_caller]
fn assert_cut(client: &mut Client) -> String {
    let rest = client.read_to_end().expect("the connection ends");
    let rest = String::from_utf8(rest).expect("text");
    assert!(!rest.ends_with("0\r\n\r\n"), "{rest:?}");
    rest
}

/// Checks that the only place for a guest is free again.
#[track_caller]
fn assert_free(server: &Server) {
    let start = Instant::now();
    server.score(r#"{"end": "early"}"#).assert_error(400, "nothing is sent");
    assert!(start.elapsed() < Duration::from_secs(2), "the guest before went on for {:?}", start.elapsed());
}

#[test]
fn status_headers_and_pieces_arrive_as_they_were_said() {
    let server = serve("--timeout 10s");
    let (mut client, head) = begin(
        &server,
        &json!({"status": 206, "headers": [["x-model", "v2"], ["x-request-id", "forged"], ["content-length", "1"]],
            "body": "first", "pieces": ["second", "", "third"], "count": 2, "end": "well"}),
    );
    assert_eq!(head.status, 206);
    assert_eq!((head.header("content-type"), head.header("x-model")), (Some("text/plain"), Some("v2")));
    assert_ne!(head.header("x-request-id"), Some("forged"));
    assert!(head.header("x-ms-run-fn-exec-ms").is_some() && head.header("x-ms-server-version").is_some());
    assert_eq!(pieces(&mut client), ["first", "second", "third"], "one without bytes would be taken for the end");
    // The connection goes on, and so does the next response.
    let again = client.send(&Request::json(r#"{"end": "early"}"#)).expect("a response");
    again.assert_error(400, "nothing is sent");
    server.logged(" azmlinfsrv - POST /score 206 ");
    assert!(server.log().iter().any(|line| line.contains("POST /score 206 ") && line.ends_with("ms N/A")));
}

#[test]
fn the_first_piece_arrives_while_the_scorer_runs_and_the_deadline_cuts_the_rest() {
    const DEADLINE: Duration = Duration::from_secs(2);
    let server = serve("--timeout 2s");
    let start = Instant::now();
    let (mut client, head) = begin(&server, &json!({"pieces": ["first"], "end": "spin"}));
    assert_eq!(head.status, 200);
    assert_eq!(client.read_chunk().expect("a piece"), b"first");
    assert!(start.elapsed() < AT_ONCE, "it came after {:?}", start.elapsed());
    assert_eq!(assert_cut(&mut client), "");
    let cut = start.elapsed();
    assert!(cut + AT_ONCE > DEADLINE && cut < DEADLINE + AT_ONCE, "it was cut after {cut:?}");
    server.logged("run() was stopped: Scoring timeout after 2000 ms");
    assert_free(&server);
}

#[test]
fn a_fault_or_a_panic_after_the_first_piece_cuts_the_response_and_its_reason_is_in_the_log_only() {
    let server = serve("--timeout 10s");
    for (end, reason) in [
        ("error", "Encountered Exception: Error: no more pieces"),
        ("bad_input", "too late to say so"),
        ("panic", "no more pieces"),
        ("twice", "A response has been begun already."),
    ] {
        let (mut client, head) = begin(&server, &json!({"pieces": ["a piece"], "end": end}));
        assert_eq!(head.status, 200);
        assert_eq!(assert_cut(&mut client), "7\r\na piece\r\n", "{end}");
        server.logged(reason);
        assert_free(&server);
    }
}

#[test]
fn a_fault_before_the_stream_is_answered_as_ever() {
    let server = serve("--timeout 10s");
    server.score(r#"{"end": "early"}"#).assert_error(400, "nothing is sent");
    server.score("[]").assert_error(400, "POST body should be a JSON dictionary.");
}

#[test]
fn a_response_that_is_returned_after_the_stream_only_ends_it() {
    let server = serve("--timeout 10s");
    let (mut client, head) = begin(&server, &json!({"pieces": ["a"], "end": "otherwise"}));
    assert_eq!((head.status, head.header("content-type")), (200, Some("text/plain")));
    assert_eq!(pieces(&mut client), ["a"]);
}

#[test]
fn a_stream_that_begins_with_a_status_that_http_does_not_have_is_an_error() {
    let server = serve("--timeout 10s");
    for status in [0, 100, 1000] {
        let response = server.score(&json!({"status": status, "count": null, "piece_bytes": 1000}).to_string());
        response.assert_error(500, "An unexpected internal error occurred. Check the logs for more info.");
        assert_free(&server);
    }
}

#[test]
fn a_stream_that_begins_with_too_many_headers_or_too_long_ones_is_an_error() {
    let server = serve("--timeout 10s");
    let long = "x".repeat(300_000);
    for headers in [json!([["x-long", long]]), json!(vec![["x-many", "1"]; 1000])] {
        let request = json!({"headers": headers, "count": null, "piece_bytes": 1000});
        let response = server.score(&request.to_string());
        response.assert_error(500, "An unexpected internal error occurred. Check the logs for more info.");
        assert_free(&server);
    }
    server.logged("run() set headers of 300028 bytes, more than the 262144 that a response may have");
    server.logged("run() set 1001 headers, more than the 1000 that a response may have");
}

#[test]
fn a_client_that_goes_away_ends_the_scorer_whether_it_sends_or_computes() {
    let server = serve("--timeout 60s");
    for request in [json!({"count": null, "piece_bytes": 10_000}), json!({"pieces": ["first"], "end": "spin"})] {
        let (mut client, _) = begin(&server, &request);
        client.read_chunk().expect("a piece");
        client.reset().expect("a connection can be reset");
        assert_free(&server);
    }
}

#[test]
fn a_client_that_does_not_read_holds_its_scorer_no_longer_than_the_deadline() {
    let server = serve("--timeout 500ms");
    let (mut client, _) = begin(&server, &json!({"count": null, "piece_bytes": 100_000}));
    assert_free(&server);
    assert_cut(&mut client);
    server.logged("run() was stopped: Scoring timeout after 500 ms");
}

#[test]
fn the_pieces_together_are_limited() {
    // Headers count too.
    let server = serve("--timeout 10s --max-response 1001KB");
    let (mut client, _) = begin(&server, &json!({"count": 10, "piece_bytes": 100_000}));
    assert_eq!(pieces(&mut client).iter().map(String::len).sum::<usize>(), 1_000_000);
    let (mut client, _) = begin(&server, &json!({"count": 11, "piece_bytes": 100_000}));
    assert!(assert_cut(&mut client).len() < 1_002_000);
    server.logged("the response has more bytes than the limit");
    assert_free(&server);
}

#[test]
fn a_client_that_asks_for_the_head_only_gets_no_piece() {
    let server = serve("--timeout 10s");
    let body = br#"{"status": 206, "count": null, "piece_bytes": 10}"#;
    let mut request = Request::new("HEAD", "/score").header("content-length", body.len().to_string()).to_bytes();
    request.extend_from_slice(body);
    let mut client = server.connect();
    client.write(&request).expect("the server listens");
    assert_eq!(client.read_head().expect("a head").status, 206);
    assert_free(&server);
}
