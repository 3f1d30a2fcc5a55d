//! The frames: section 6.

use scorebox_tests::http2::{
    block, code, data, flag, frame, get, kind, post, request, reset, setting, settings, window_update,
};

use crate::{ANSWERED, Acknowledged, Case, Closed, Data, GoAway, Outcome, Pong, Reset, case};

const PROTOCOL: &[Outcome] = &[GoAway(code::PROTOCOL_ERROR), Closed];
const STREAM_PROTOCOL: &[Outcome] = &[Reset(code::PROTOCOL_ERROR), GoAway(code::PROTOCOL_ERROR), Closed];
const SIZE: &[Outcome] = &[GoAway(code::FRAME_SIZE_ERROR), Closed];
const STREAM_SIZE: &[Outcome] = &[Reset(code::FRAME_SIZE_ERROR), GoAway(code::FRAME_SIZE_ERROR), Closed];
const FLOW: &[Outcome] = &[GoAway(code::FLOW_CONTROL_ERROR), Closed];
const STREAM_FLOW: &[Outcome] = &[Reset(code::FLOW_CONTROL_ERROR), GoAway(code::FLOW_CONTROL_ERROR), Closed];

/// Half of a block, without its end.
fn half(flags: u8) -> (Vec<u8>, Vec<u8>) {
    let block = block(&request("GET", "/livez"));
    let (first, second) = block.split_at(block.len() / 2);
    (frame(kind::HEADERS, flags, 1, first), second.to_vec())
}

/// A window in which nothing can be sent.
const NO_WINDOW: &[(u16, u32)] = &[(setting::INITIAL_WINDOW_SIZE, 0)];
const ONE_BYTE: &[(u16, u32)] = &[(setting::INITIAL_WINDOW_SIZE, 1)];

pub(crate) const CASES: &[Case] = &[
    case("6.1", "DATA on stream 0", |peer| peer.send(&data(0, flag::NONE, b"test")), PROTOCOL),
    case(
        "6.1",
        "DATA on a stream that is not open",
        |peer| {
            peer.send(&[get(1, "/score"), data(1, flag::END_STREAM, b"test")].concat());
        },
        &[Reset(code::STREAM_CLOSED), GoAway(code::STREAM_CLOSED), Closed],
    ),
    case(
        "6.1",
        "DATA with more padding than there is",
        |peer| {
            peer.send(&[post(1, "/score"), data(1, flag::END_STREAM | flag::PADDED, b"\x06test")].concat());
        },
        PROTOCOL,
    ),
    case(
        "6.2",
        "HEADERS without an end, and then another frame",
        |peer| {
            let (first, _) = half(flag::END_STREAM);
            peer.send(&[first, frame(kind::PRIORITY, flag::NONE, 3, &[0, 0, 0, 0, 15])].concat());
        },
        PROTOCOL,
    ),
    case(
        "6.2",
        "HEADERS of another stream while a block is sent",
        |peer| {
            let (first, _) = half(flag::END_STREAM);
            peer.send(&[first, get(3, "/livez")].concat());
        },
        PROTOCOL,
    ),
    case("6.2", "HEADERS on stream 0", |peer| peer.send(&get(0, "/livez")), PROTOCOL),
    case(
        "6.2",
        "HEADERS with more padding than there is",
        |peer| {
            let block = [&[255][..], &block(&request("GET", "/livez"))].concat();
            peer.send(&frame(kind::HEADERS, flag::END_STREAM | flag::END_HEADERS | flag::PADDED, 1, &block));
        },
        PROTOCOL,
    ),
    case(
        "6.3",
        "PRIORITY on stream 0",
        |peer| {
            peer.send(&frame(kind::PRIORITY, flag::NONE, 0, &[0, 0, 0, 0, 15]));
        },
        PROTOCOL,
    ),
    case(
        "6.3",
        "PRIORITY of a wrong size",
        |peer| {
            peer.send(&[post(1, "/score"), frame(kind::PRIORITY, flag::NONE, 1, &[0, 0, 0, 0])].concat());
        },
        STREAM_SIZE,
    ),
    case("6.4", "RST_STREAM on stream 0", |peer| peer.send(&reset(0, code::CANCEL)), PROTOCOL),
    case("6.4", "RST_STREAM on an idle stream", |peer| peer.send(&reset(1, code::CANCEL)), PROTOCOL),
    case(
        "6.4",
        "RST_STREAM of a wrong size",
        |peer| {
            peer.send(&[post(1, "/score"), frame(kind::RST_STREAM, flag::NONE, 1, &[0; 3])].concat());
        },
        SIZE,
    ),
    case(
        "6.5",
        "SETTINGS that acknowledge and say something",
        |peer| {
            peer.send(&frame(kind::SETTINGS, flag::ACK, 0, &[0, 3, 0, 0, 0, 1]));
        },
        SIZE,
    ),
    case(
        "6.5",
        "SETTINGS on another stream than 0",
        |peer| {
            peer.send(&frame(kind::SETTINGS, flag::NONE, 1, &[0, 3, 0, 0, 0, 1]));
        },
        PROTOCOL,
    ),
    case(
        "6.5",
        "SETTINGS of a wrong size",
        |peer| {
            peer.send(&frame(kind::SETTINGS, flag::NONE, 0, &[0, 3, 0]));
        },
        SIZE,
    ),
    case(
        "6.5.2",
        "ENABLE_PUSH that is neither 0 nor 1",
        |peer| {
            peer.send(&settings(&[(setting::ENABLE_PUSH, 2)]));
        },
        PROTOCOL,
    ),
    case(
        "6.5.2",
        "INITIAL_WINDOW_SIZE over the greatest",
        |peer| {
            peer.send(&settings(&[(setting::INITIAL_WINDOW_SIZE, 1 << 31)]));
        },
        FLOW,
    ),
    case(
        "6.5.2",
        "MAX_FRAME_SIZE below the least",
        |peer| {
            peer.send(&settings(&[(setting::MAX_FRAME_SIZE, 16_383)]));
        },
        PROTOCOL,
    ),
    case(
        "6.5.2",
        "MAX_FRAME_SIZE over the greatest",
        |peer| {
            peer.send(&settings(&[(setting::MAX_FRAME_SIZE, 1 << 24)]));
        },
        PROTOCOL,
    ),
    case(
        "6.5.2",
        "a setting that there is not",
        |peer| {
            peer.send(&settings(&[(0xff, 1)]));
            peer.ping(1);
        },
        &[Pong(1)],
    ),
    case(
        "6.5.3",
        "a setting twice, of which the last counts",
        |peer| {
            peer.send(&settings(&[(setting::INITIAL_WINDOW_SIZE, 100), (setting::INITIAL_WINDOW_SIZE, 1)]));
            peer.send(&get(1, "/livez"));
        },
        &[Data(1)],
    ),
    case(
        "6.5.3",
        "SETTINGS are acknowledged",
        |peer| peer.send(&settings(&[(setting::ENABLE_PUSH, 0)])),
        &[Acknowledged],
    ),
    case("6.7", "PING is answered with what it said", |peer| peer.ping(0xab), &[Pong(0xab)]),
    case(
        "6.7",
        "PING that is an answer is not answered",
        |peer| {
            peer.send(&frame(kind::PING, flag::ACK, 0, b"\x01invalid"));
            peer.ping(2);
        },
        &[Pong(2)],
    ),
    case(
        "6.7",
        "PING on another stream than 0",
        |peer| {
            peer.send(&frame(kind::PING, flag::NONE, 1, &[0; 8]));
        },
        PROTOCOL,
    ),
    case("6.7", "PING of a wrong size", |peer| peer.send(&frame(kind::PING, flag::NONE, 0, &[0; 6])), SIZE),
    case(
        "6.8",
        "GOAWAY on another stream than 0",
        |peer| {
            peer.send(&frame(kind::GOAWAY, flag::NONE, 1, &[0; 8]));
        },
        PROTOCOL,
    ),
    case(
        "6.6",
        "PUSH_PROMISE of a client",
        |peer| {
            let block = [&[0, 0, 0, 2][..], &block(&request("GET", "/livez"))].concat();
            peer.send(&[post(1, "/score"), frame(kind::PUSH_PROMISE, flag::END_HEADERS, 1, &block)].concat());
        },
        PROTOCOL,
    ),
    case("6.9", "WINDOW_UPDATE of the connection by 0", |peer| peer.send(&window_update(0, 0)), PROTOCOL),
    case(
        "6.9",
        "WINDOW_UPDATE of a stream by 0",
        |peer| {
            peer.send(&[post(1, "/score"), window_update(1, 0)].concat());
        },
        STREAM_PROTOCOL,
    ),
    case(
        "6.9",
        "WINDOW_UPDATE of a wrong size",
        |peer| {
            peer.send(&frame(kind::WINDOW_UPDATE, flag::NONE, 0, &[0, 0, 1]));
        },
        SIZE,
    ),
    Case {
        section: "6.9.1",
        name: "a window of one byte, of which only that is used",
        settings: Some(ONE_BYTE),
        send: |peer| peer.send(&get(1, "/livez")),
        expected: &[Data(1)],
    },
    case(
        "6.9.1",
        "WINDOW_UPDATE of the connection over the greatest window",
        |peer| {
            peer.send(&[window_update(0, (1 << 31) - 1), window_update(0, (1 << 31) - 1)].concat());
        },
        FLOW,
    ),
    case(
        "6.9.1",
        "WINDOW_UPDATE of a stream over the greatest window",
        |peer| {
            let more = window_update(1, (1 << 31) - 1);
            peer.send(&[post(1, "/score"), more.clone(), more].concat());
        },
        STREAM_FLOW,
    ),
    Case {
        section: "6.9.2",
        name: "a window that settings open after the request",
        settings: Some(NO_WINDOW),
        send: |peer| peer.send(&[get(1, "/livez"), settings(&[(setting::INITIAL_WINDOW_SIZE, 1)])].concat()),
        expected: &[Data(1)],
    },
    Case {
        section: "6.9.2",
        name: "a window that settings make negative",
        settings: Some(ONE_BYTE),
        send: |peer| {
            peer.send(&get(1, "/livez"));
            peer.expect(&[Data(1)]);
            // Now it is one below nothing; two more make one.
            peer.send(&[settings(NO_WINDOW), window_update(1, 2)].concat());
        },
        expected: &[Data(1)],
    },
    case(
        "6.9.2",
        "INITIAL_WINDOW_SIZE that makes a window greater than the greatest",
        |peer| {
            peer.send(&[post(1, "/score"), window_update(1, (1 << 31) - 1 - 65_535)].concat());
            peer.send(&settings(&[(setting::INITIAL_WINDOW_SIZE, 65_536)]));
        },
        FLOW,
    ),
    Case {
        section: "6.9.2",
        name: "no window, and the whole answer when it is opened",
        settings: Some(NO_WINDOW),
        send: |peer| {
            peer.send(&get(1, "/livez"));
            peer.ping(1);
            peer.expect(&[Pong(1)]);
            peer.send(&window_update(1, 2));
        },
        expected: &[ANSWERED],
    },
    case(
        "6.10",
        "several frames of CONTINUATION",
        |peer| {
            let (first, rest) = half(flag::END_STREAM);
            peer.send(&[first, frame(kind::CONTINUATION, flag::NONE, 1, &rest[..1])].concat());
            peer.send(&frame(kind::CONTINUATION, flag::END_HEADERS, 1, &rest[1..]));
        },
        &[ANSWERED],
    ),
    case(
        "6.10",
        "another frame than CONTINUATION in a block",
        |peer| {
            let (first, rest) = half(flag::END_STREAM);
            peer.send(&[first, data(1, flag::END_STREAM, b"test")].concat());
            peer.send(&frame(kind::CONTINUATION, flag::END_HEADERS, 1, &rest));
        },
        PROTOCOL,
    ),
    case(
        "6.10",
        "CONTINUATION on stream 0",
        |peer| {
            let (first, rest) = half(flag::END_STREAM);
            peer.send(&[first, frame(kind::CONTINUATION, flag::END_HEADERS, 0, &rest)].concat());
        },
        PROTOCOL,
    ),
    case(
        "6.10",
        "CONTINUATION after HEADERS that had an end",
        |peer| {
            let more = frame(kind::CONTINUATION, flag::END_HEADERS, 1, &block(&[("x-test", "1")]));
            peer.send(&[post(1, "/score"), more].concat());
        },
        PROTOCOL,
    ),
    case(
        "6.10",
        "CONTINUATION after CONTINUATION that had an end",
        |peer| {
            let (first, rest) = half(flag::NONE);
            let more = frame(kind::CONTINUATION, flag::END_HEADERS, 1, &block(&[("x-test", "1")]));
            peer.send(&[first, frame(kind::CONTINUATION, flag::END_HEADERS, 1, &rest), more].concat());
        },
        PROTOCOL,
    ),
    case(
        "6.10",
        "CONTINUATION after DATA",
        |peer| {
            let more = frame(kind::CONTINUATION, flag::END_HEADERS, 1, &block(&[("x-test", "1")]));
            peer.send(&[post(1, "/score"), data(1, flag::NONE, b"test"), more].concat());
        },
        PROTOCOL,
    ),
    case(
        "7",
        "GOAWAY with a code that there is not",
        |peer| {
            peer.send(&frame(kind::GOAWAY, flag::NONE, 0, &[0, 0, 0, 0, 0, 0, 0, 0xff]));
            peer.ping(1);
        },
        &[Pong(1), Closed],
    ),
    case(
        "7",
        "RST_STREAM with a code that there is not",
        |peer| {
            peer.send(&[post(1, "/score"), reset(1, 0xff)].concat());
            peer.ping(1);
        },
        &[Pong(1), Closed],
    ),
];
