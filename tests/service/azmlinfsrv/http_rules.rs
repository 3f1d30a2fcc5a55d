use super::*;

/// Sends a request that breaks a rule, and returns the answer. The connection is closed after it.
#[track_caller]
fn refused(server: &Server, request: &[u8]) -> Response {
    let mut client = server.connect();
    client.write(request).expect("the server listens");
    let response = client.read().unwrap_or_else(|error| panic!("{error}: {}", request[..60].escape_ascii()));
    assert_eq!(response.header("connection"), Some("close"), "{response:?}");
    assert_eq!(client.read_to_end().expect("the rest"), b"");
    response
}

fn target(line: usize) -> String {
    format!("/?{}", "a".repeat(line - "GET /? HTTP/1.1".len()))
}

fn headers(request: Request, count: usize) -> Request {
    // One is there already.
    (1..count).fold(request, |request, number| request.header(&format!("x-{number}"), "1"))
}

fn value(line: usize) -> String {
    "a".repeat(line - "x-long: \r\n".len())
}

#[test]
fn what_is_longer_than_gunicorn_reads_is_answered_with_its_pages_on_every_route() {
    let server = guest("echo").start();
    for request in
        [Request::get(&target(4094)), headers(Request::get("/"), 100), Request::get("/").header("x-long", value(8190))]
    {
        assert_eq!(server.send(&request).status, 200);
    }
    let id = |request: Request| request.header("x-request-id", "id").header("traceid", "t").to_bytes();
    let long_line = refused(&server, &id(Request::get(&target(4095))));
    assert_page(&long_line, 414, "URI Too Long", "Request Line is too large (4095 &gt; 4094)");
    for path in ["/", "/score", "/nothing"] {
        let too_many = refused(&server, &headers(Request::get(path), 101).to_bytes());
        assert_page(
            &too_many,
            431,
            "Request Header Fields Too Large",
            "Error parsing headers: &#x27;limit request headers fields&#x27;",
        );
        let too_long = refused(&server, &id(Request::get(path).header("x-long", value(8191))));
        assert_page(
            &too_long,
            431,
            "Request Header Fields Too Large",
            "Error parsing headers: &#x27;limit request headers fields size&#x27;",
        );
    }
    let ended = server.stop();
    assert!(!ended.stdout.contains("/score "), "what is refused is no request: {}", ended.stdout);
}

#[test]
fn what_is_far_longer_than_that_is_refused_as_well() {
    let server = guest("echo").start();
    let line = refused(&server, &Request::get(&target(20_000)).to_bytes());
    assert_eq!(line.status, 414);
    for request in [headers(Request::get("/"), 1000), Request::get("/").header("x-long", value(200_000))] {
        let mut client = server.connect();
        // The server may hang up before it has read all of it.
        let _ = client.write(&request.to_bytes());
        assert_eq!(client.read().map(|response| response.status).ok(), Some(431));
    }
}

const LENGTH: &str = "content-length: 5\r\n";
const CHUNKS: &str = "transfer-encoding: chunked\r\n";

fn with_both(lines: &str) -> String {
    format!("POST /score HTTP/1.1\r\nhost: x\r\n{lines}\r\n5\r\nhello\r\n0\r\n\r\n")
}

#[test]
fn a_length_beside_chunks_is_answered_with_400_in_either_order_and_what_follows_is_not_read() {
    let server = guest("echo").start();
    for lines in [format!("{LENGTH}{CHUNKS}"), format!("{CHUNKS}{LENGTH}")] {
        let both = with_both(&lines) + "GET /score?smuggled HTTP/1.1\r\nhost: x\r\n\r\n";
        let response = refused(&server, both.as_bytes());
        assert_page(&response, 400, "Bad Request", "Invalid HTTP Header: &#x27;CONTENT-LENGTH&#x27;");
    }
    assert_eq!(server.score("still there").json()["body"], "still there");
    let ended = server.stop();
    assert!(!ended.stdout.contains("smuggled"), "{}", ended.stdout);
}
