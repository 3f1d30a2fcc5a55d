//! Requests: section 8.

use scorebox_tests::http2::{block, code, data, flag, frame, get, kind, post, request};

use crate::{ANSWERED, Case, Closed, GoAway, Outcome, REFUSED, Reset, case};

const STREAM_PROTOCOL: &[Outcome] = &[Reset(code::PROTOCOL_ERROR), GoAway(code::PROTOCOL_ERROR), Closed];

fn send(peer: &mut crate::Peer, headers: &[(&str, &str)]) {
    peer.send(&frame(kind::HEADERS, flag::END_STREAM | flag::END_HEADERS, 1, &block(headers)));
}

/// A request with one more header.
fn send_with(peer: &mut crate::Peer, name: &str, value: &str) {
    send(peer, &[request("GET", "/livez"), vec![(name, value)]].concat());
}

/// A request without one of its first headers.
fn send_without(peer: &mut crate::Peer, name: &str) {
    let mut headers = request("GET", "/livez");
    headers.retain(|(other, _)| *other != name);
    send(peer, &headers);
}

/// A request with a body that says to be so long.
fn send_body(peer: &mut crate::Peer, length: &str, pieces: &[&[u8]]) {
    let headers = [request("POST", "/score"), vec![("content-length", length)]].concat();
    peer.send(&frame(kind::HEADERS, flag::END_HEADERS, 1, &block(&headers)));
    for (number, piece) in pieces.iter().enumerate() {
        let end = if number + 1 == pieces.len() { flag::END_STREAM } else { flag::NONE };
        peer.send(&data(1, end, piece));
    }
}

pub(crate) const CASES: &[Case] = &[
    case("8.1", "GET", |peer| peer.send(&get(1, "/livez")), &[ANSWERED]),
    case("8.1", "HEAD", |peer| send(peer, &request("HEAD", "/livez")), &[ANSWERED]),
    case(
        "8.1",
        "POST",
        |peer| {
            peer.send(&[post(1, "/score"), data(1, flag::END_STREAM, b"test")].concat());
        },
        &[ANSWERED],
    ),
    case(
        "8.1",
        "POST with trailers",
        |peer| {
            let trailers = frame(kind::HEADERS, flag::END_STREAM | flag::END_HEADERS, 1, &block(&[("x-test", "1")]));
            peer.send(&[post(1, "/score"), data(1, flag::NONE, b"test"), trailers].concat());
        },
        &[ANSWERED],
    ),
    case(
        "8.1",
        "trailers that do not end the stream",
        |peer| {
            let trailers = frame(kind::HEADERS, flag::END_HEADERS, 1, &block(&[("x-test", "1")]));
            peer.send(&[post(1, "/score"), data(1, flag::NONE, b"test"), trailers].concat());
            peer.send(&data(1, flag::END_STREAM, b"test"));
        },
        STREAM_PROTOCOL,
    ),
    case("8.2.1", "a header in upper case", |peer| send_with(peer, "X-TEST", "1"), STREAM_PROTOCOL),
    case("8.2.1", "a header without a name", |peer| send_with(peer, "", "1"), STREAM_PROTOCOL),
    case("8.2.1", "a header with a line end in its name", |peer| send_with(peer, "x\r\ny", "1"), STREAM_PROTOCOL),
    case("8.2.1", "a header with a line end in its value", |peer| send_with(peer, "x", "1\r\ny: 2"), STREAM_PROTOCOL),
    case("8.2.1", "a header with a NUL in its value", |peer| send_with(peer, "x", "1\x002"), STREAM_PROTOCOL),
    case("8.2.1", "a header with a colon in its name", |peer| send_with(peer, "x:y", "1"), STREAM_PROTOCOL),
    case("8.2.1", "a header with a space in its name", |peer| send_with(peer, "x y", "1"), STREAM_PROTOCOL),
    case("8.2.1", "a value that begins with a space", |peer| send_with(peer, "x", " 1"), STREAM_PROTOCOL),
    case(
        "8.3",
        "a first header that there is not",
        |peer| {
            send(peer, &[vec![(":test", "ok")], request("GET", "/livez")].concat());
        },
        STREAM_PROTOCOL,
    ),
    case(
        "8.3",
        "a first header of responses",
        |peer| {
            send(peer, &[request("GET", "/livez"), vec![(":status", "200")]].concat());
        },
        STREAM_PROTOCOL,
    ),
    case(
        "8.3",
        "a first header in trailers",
        |peer| {
            let trailers = frame(kind::HEADERS, flag::END_STREAM | flag::END_HEADERS, 1, &block(&[(":method", "GET")]));
            peer.send(&[post(1, "/score"), data(1, flag::NONE, b"test"), trailers].concat());
        },
        STREAM_PROTOCOL,
    ),
    case(
        "8.3",
        "a first header after another one",
        |peer| {
            send(peer, &[(":method", "GET"), (":scheme", "http"), ("x-test", "1"), (":path", "/livez")]);
        },
        STREAM_PROTOCOL,
    ),
    case("8.2.2", "a header of the connection", |peer| send_with(peer, "connection", "keep-alive"), STREAM_PROTOCOL),
    case("8.2.2", "TE that is not trailers", |peer| send_with(peer, "te", "trailers, deflate"), STREAM_PROTOCOL),
    case("8.2.2", "TE that is trailers", |peer| send_with(peer, "te", "trailers"), &[ANSWERED]),
    case("8.2.2", "a body in chunks", |peer| send_with(peer, "transfer-encoding", "chunked"), STREAM_PROTOCOL),
    case("8.2.2", "an upgrade", |peer| send_with(peer, "upgrade", "h2c"), STREAM_PROTOCOL),
    case("8.3.1", "an empty :path", |peer| send(peer, &request("GET", "")), STREAM_PROTOCOL),
    case("8.3.1", "no :method", |peer| send_without(peer, ":method"), STREAM_PROTOCOL),
    case("8.3.1", "no :scheme", |peer| send_without(peer, ":scheme"), STREAM_PROTOCOL),
    case("8.3.1", "no :path", |peer| send_without(peer, ":path"), STREAM_PROTOCOL),
    case("8.3.1", "no :authority", |peer| send_without(peer, ":authority"), &[ANSWERED]),
    case("8.3.1", "two of :method", |peer| send_with(peer, ":method", "GET"), STREAM_PROTOCOL),
    case("8.3.1", "two of :scheme", |peer| send_with(peer, ":scheme", "http"), STREAM_PROTOCOL),
    case("8.3.1", "two of :path", |peer| send_with(peer, ":path", "/livez"), STREAM_PROTOCOL),
    case("8.3.1", "two of :authority", |peer| send_with(peer, ":authority", "scorebox.test"), STREAM_PROTOCOL),
    case(
        "8.1.1",
        "a length that is not that of one frame of DATA",
        |peer| {
            send_body(peer, "1", &[b"test"]);
        },
        STREAM_PROTOCOL,
    ),
    case(
        "8.1.1",
        "a length that is not that of several frames of DATA",
        |peer| {
            send_body(peer, "1", &[b"test", b"test"]);
        },
        STREAM_PROTOCOL,
    ),
    case("8.1.1", "a length that is more than what comes", |peer| send_body(peer, "9", &[b"test"]), STREAM_PROTOCOL),
    case(
        "8.1.1",
        "a length of a request without a body",
        |peer| send_with(peer, "content-length", "9"),
        STREAM_PROTOCOL,
    ),
    case("8.1.1", "a length that is none", |peer| send_body(peer, "4x", &[b"test"]), STREAM_PROTOCOL),
    case(
        "8.1.1",
        "two lengths",
        |peer| {
            let headers = [request("POST", "/score"), vec![("content-length", "4"), ("content-length", "5")]].concat();
            peer.send(&frame(kind::HEADERS, flag::END_HEADERS, 1, &block(&headers)));
            peer.send(&data(1, flag::END_STREAM, b"test"));
        },
        STREAM_PROTOCOL,
    ),
    case(
        "8.5",
        "CONNECT without an authority",
        |peer| {
            peer.send(&frame(kind::HEADERS, flag::END_HEADERS, 1, &block(&[(":method", "CONNECT")])));
        },
        STREAM_PROTOCOL,
    ),
    case(
        "8.5",
        "CONNECT, which is refused",
        |peer| {
            let headers = [(":method", "CONNECT"), (":authority", "scorebox.test:80")];
            peer.send(&frame(kind::HEADERS, flag::END_HEADERS, 1, &block(&headers)));
        },
        &[REFUSED],
    ),
];
