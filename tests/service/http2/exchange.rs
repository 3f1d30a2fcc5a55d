//! Connections, frames and the states of streams: sections 3 to 5.

use scorebox_tests::http2::{
    PREFACE, block, code, data, flag, frame, get, kind, post, request, reset, setting, settings, window_update,
};

use crate::{ANSWERED, Case, Closed, GoAway, Pong, REFUSED, Reset, case};

const PROTOCOL: &[crate::Outcome] = &[GoAway(code::PROTOCOL_ERROR), Closed];
const STREAM_PROTOCOL: &[crate::Outcome] = &[Reset(code::PROTOCOL_ERROR), GoAway(code::PROTOCOL_ERROR), Closed];
const SIZE: &[crate::Outcome] = &[GoAway(code::FRAME_SIZE_ERROR), Closed];
const STREAM_SIZE: &[crate::Outcome] = &[Reset(code::FRAME_SIZE_ERROR), GoAway(code::FRAME_SIZE_ERROR), Closed];
const STREAM_CLOSED: &[crate::Outcome] = &[Reset(code::STREAM_CLOSED), GoAway(code::STREAM_CLOSED), Closed];
const CLOSED_CONNECTION: &[crate::Outcome] = &[GoAway(code::STREAM_CLOSED), GoAway(code::PROTOCOL_ERROR), Closed];
const COMPRESSION: &[crate::Outcome] = &[GoAway(code::COMPRESSION_ERROR), Closed];

/// Asks, and waits for the answer: so the stream is closed.
fn close_with_answer(peer: &mut crate::Peer) {
    peer.send(&get(1, "/livez"));
    peer.expect(&[ANSWERED]);
}

/// Opens a stream, and resets it.
fn close_with_reset(peer: &mut crate::Peer) {
    peer.send(&[post(1, "/score"), reset(1, code::CANCEL)].concat());
    peer.ping(9);
    peer.expect(&[Pong(9)]);
}

fn headers(flags: u8, stream: u32) -> Vec<u8> {
    frame(kind::HEADERS, flags, stream, &block(&request("GET", "/livez")))
}

fn trailers(stream: u32) -> Vec<u8> {
    frame(kind::HEADERS, flag::END_STREAM | flag::END_HEADERS, stream, &block(&[("x-test", "1")]))
}

pub(crate) const CASES: &[Case] = &[
    Case {
        section: "3.4",
        name: "a preface that is none",
        settings: None,
        send: |peer| peer.send(b"INVALID CONNECTION PREFACE\r\n\r\n"),
        expected: PROTOCOL,
    },
    Case {
        section: "3.4",
        name: "a preface without settings",
        settings: None,
        send: |peer| peer.send(&[PREFACE, &frame(kind::PING, flag::NONE, 0, &[0; 8])].concat()),
        expected: PROTOCOL,
    },
    case(
        "4.1",
        "a frame of a type that there is not",
        |peer| {
            peer.send(&frame(22, flag::NONE, 0, &[0; 8]));
            peer.ping(1);
        },
        &[Pong(1)],
    ),
    case(
        "4.1",
        "flags that there are not",
        |peer| {
            peer.send(&frame(kind::PING, 0b1111_0110, 0, &[5, 0, 0, 0, 0, 0, 0, 0]));
        },
        &[Pong(5)],
    ),
    case(
        "4.1",
        "the reserved bit of a stream's number",
        |peer| {
            peer.send(&frame(kind::PING, flag::NONE, 1 << 31, &[5, 0, 0, 0, 0, 0, 0, 0]));
        },
        &[Pong(5)],
    ),
    case(
        "4.2",
        "DATA of the greatest size",
        |peer| {
            peer.send(&[post(1, "/score"), data(1, flag::END_STREAM, &[b'x'; 16_384])].concat());
        },
        &[ANSWERED],
    ),
    case(
        "4.2",
        "DATA over the greatest size",
        |peer| {
            peer.send(&[post(1, "/score"), data(1, flag::END_STREAM, &[b'x'; 16_385])].concat());
        },
        STREAM_SIZE,
    ),
    case(
        "4.2",
        "HEADERS over the greatest size",
        |peer| {
            let long = "x".repeat(16_385);
            let headers = [request("GET", "/livez"), vec![("x-long", &*long)]].concat();
            peer.send(&frame(kind::HEADERS, flag::END_STREAM | flag::END_HEADERS, 1, &block(&headers)));
        },
        SIZE,
    ),
    case(
        "4.3",
        "a block that cannot be decoded",
        |peer| {
            // A literal whose name is longer than what comes.
            peer.send(&frame(kind::HEADERS, flag::END_STREAM | flag::END_HEADERS, 1, &[0x82, 0x00, 0x7f, 0xff, 0xff]));
        },
        COMPRESSION,
    ),
    case(
        "4.3",
        "PRIORITY between HEADERS and CONTINUATION",
        |peer| {
            peer.send(
                &[headers(flag::END_STREAM, 1), frame(kind::PRIORITY, flag::NONE, 1, &[0, 0, 0, 0, 15])].concat(),
            );
            peer.send(&frame(kind::CONTINUATION, flag::END_HEADERS, 1, &block(&[("x-test", "1")])));
        },
        PROTOCOL,
    ),
    case(
        "4.3",
        "HEADERS of another stream between HEADERS and CONTINUATION",
        |peer| {
            peer.send(&[headers(flag::END_STREAM, 1), headers(flag::END_STREAM | flag::END_HEADERS, 3)].concat());
            peer.send(&frame(kind::CONTINUATION, flag::END_HEADERS, 1, &block(&[("x-test", "1")])));
        },
        PROTOCOL,
    ),
    case("5.1", "DATA on an idle stream", |peer| peer.send(&data(1, flag::END_STREAM, b"test")), PROTOCOL),
    case("5.1", "RST_STREAM on an idle stream", |peer| peer.send(&reset(1, code::CANCEL)), PROTOCOL),
    case("5.1", "WINDOW_UPDATE on an idle stream", |peer| peer.send(&window_update(1, 100)), PROTOCOL),
    case(
        "5.1",
        "CONTINUATION on an idle stream",
        |peer| {
            peer.send(&frame(kind::CONTINUATION, flag::END_HEADERS, 1, &block(&request("GET", "/livez"))));
        },
        PROTOCOL,
    ),
    case(
        "5.1",
        "DATA on a half-closed stream",
        |peer| {
            peer.send(&[get(1, "/score"), data(1, flag::END_STREAM, b"test")].concat());
        },
        STREAM_CLOSED,
    ),
    case(
        "5.1",
        "HEADERS on a half-closed stream",
        |peer| {
            peer.send(&[get(1, "/score"), get(1, "/score")].concat());
        },
        STREAM_CLOSED,
    ),
    case(
        "5.1",
        "CONTINUATION on a half-closed stream",
        |peer| {
            let more = frame(kind::CONTINUATION, flag::END_HEADERS, 1, &block(&[("x-test", "1")]));
            peer.send(&[get(1, "/score"), more].concat());
        },
        &[GoAway(code::STREAM_CLOSED), GoAway(code::PROTOCOL_ERROR), Reset(code::STREAM_CLOSED), Closed],
    ),
    case(
        "5.1",
        "DATA after RST_STREAM",
        |peer| {
            close_with_reset(peer);
            peer.send(&data(1, flag::END_STREAM, b"test"));
        },
        STREAM_CLOSED,
    ),
    case(
        "5.1",
        "HEADERS after RST_STREAM",
        |peer| {
            close_with_reset(peer);
            peer.send(&get(1, "/livez"));
        },
        STREAM_CLOSED,
    ),
    case(
        "5.1",
        "CONTINUATION after RST_STREAM",
        |peer| {
            close_with_reset(peer);
            peer.send(&frame(kind::CONTINUATION, flag::END_HEADERS, 1, &block(&[("x-test", "1")])));
        },
        CLOSED_CONNECTION,
    ),
    case(
        "5.1",
        "DATA on a closed stream",
        |peer| {
            close_with_answer(peer);
            peer.send(&data(1, flag::END_STREAM, b"test"));
        },
        STREAM_CLOSED,
    ),
    case(
        "5.1",
        "HEADERS on a closed stream",
        |peer| {
            close_with_answer(peer);
            peer.send(&get(1, "/livez"));
        },
        &[GoAway(code::STREAM_CLOSED), Closed],
    ),
    case(
        "5.1",
        "CONTINUATION on a closed stream",
        |peer| {
            close_with_answer(peer);
            peer.send(&frame(kind::CONTINUATION, flag::END_HEADERS, 1, &block(&[("x-test", "1")])));
        },
        CLOSED_CONNECTION,
    ),
    case("5.1.1", "a stream with an even number", |peer| peer.send(&get(2, "/livez")), PROTOCOL),
    case(
        "5.1.1",
        "a stream with a lower number than one before",
        |peer| {
            peer.send(&get(5, "/livez"));
            peer.expect(&[ANSWERED]);
            peer.send(&get(3, "/livez"));
        },
        PROTOCOL,
    ),
    case(
        "5.1.2",
        "more streams than there may be",
        |peer| {
            let streams: Vec<_> = (0..129).flat_map(|number| post(2 * number + 1, "/score")).collect();
            peer.send(&streams);
        },
        &[Reset(code::REFUSED_STREAM), Reset(code::PROTOCOL_ERROR), GoAway(code::PROTOCOL_ERROR)],
    ),
    case(
        "5.3.1",
        "HEADERS that depend on their own stream",
        |peer| {
            let block = [&[0, 0, 0, 1, 15][..], &block(&request("GET", "/livez"))].concat();
            peer.send(&frame(kind::HEADERS, flag::END_STREAM | flag::END_HEADERS | flag::PRIORITY, 1, &block));
        },
        STREAM_PROTOCOL,
    ),
    case(
        "5.3.1",
        "PRIORITY that depends on its own stream",
        |peer| {
            peer.send(&frame(kind::PRIORITY, flag::NONE, 1, &[0, 0, 0, 1, 15]));
        },
        STREAM_PROTOCOL,
    ),
    case(
        "5.4.1",
        "a frame of a wrong size, and then the connection is closed",
        |peer| {
            peer.send(&frame(kind::PING, flag::NONE, 0, &[0; 6]));
            peer.expect(&[GoAway(code::FRAME_SIZE_ERROR), GoAway(code::PROTOCOL_ERROR)]);
        },
        &[Closed],
    ),
    case(
        "5.4.1",
        "a frame of a wrong size, and GOAWAY says so",
        |peer| {
            peer.send(&frame(kind::PING, flag::NONE, 0, &[0; 6]));
        },
        &[GoAway(code::FRAME_SIZE_ERROR)],
    ),
    case(
        "5.5",
        "a frame that extends the protocol",
        |peer| {
            peer.send(&[frame(0x16, 0, 0, b"unknown"), get(1, "/livez")].concat());
        },
        &[ANSWERED],
    ),
    case(
        "5.5",
        "a frame that extends the protocol in the middle of a block",
        |peer| {
            peer.send(&[headers(flag::END_STREAM, 1), frame(0x16, 0, 0, b"unknown")].concat());
            peer.send(&frame(kind::CONTINUATION, flag::END_HEADERS, 1, &block(&[("x-test", "1")])));
        },
        PROTOCOL,
    ),
    case(
        "5.1",
        "a stream that is reset is not answered, and the connection goes on",
        |peer| {
            peer.send(&[post(1, "/score"), reset(1, code::CANCEL), get(3, "/livez")].concat());
        },
        &[ANSWERED],
    ),
    case(
        "5.1",
        "trailers on a half-closed stream",
        |peer| {
            peer.send(&[get(1, "/score"), trailers(1)].concat());
        },
        STREAM_CLOSED,
    ),
    case(
        "8.1",
        "headers that are more than there may be",
        |peer| {
            let headers: Vec<_> = (0..400).map(|number| (format!("x-{number}"), "v".repeat(200))).collect();
            let mut all = request("GET", "/livez");
            all.extend(headers.iter().map(|(name, value)| (&**name, &**value)));
            let bytes = block(&all);
            let mut pieces = bytes.chunks(16_384).peekable();
            let mut next = kind::HEADERS;
            while let Some(piece) = pieces.next() {
                let last = if pieces.peek().is_none() { flag::END_HEADERS } else { flag::NONE };
                let end = if next == kind::HEADERS { flag::END_STREAM } else { flag::NONE };
                peer.send(&frame(next, last | end, 1, piece));
                next = kind::CONTINUATION;
            }
        },
        &[REFUSED],
    ),
    Case {
        section: "6.5.2",
        name: "a table of headers that is not wanted",
        settings: Some(&[(setting::HEADER_TABLE_SIZE, 0)]),
        send: |peer| peer.send(&[settings(&[]), get(1, "/livez"), get(3, "/livez")].concat()),
        expected: &[ANSWERED],
    },
];
