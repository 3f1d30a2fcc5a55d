//! What any client may send.

use scorebox_tests::http2::{
    PREFACE, block, code, data, flag, frame, get, kind, post, request, reset, setting, settings, window_update,
};

use crate::{ANSWERED, Acknowledged, Case, Pong, case};

/// A dependency: on stream `on`, or exclusively.
fn priority(stream: u32, on: u32, weight: u8) -> Vec<u8> {
    let [a, b, c, d] = on.to_be_bytes();
    frame(kind::PRIORITY, flag::NONE, stream, &[a, b, c, d, weight])
}

const EXCLUSIVE: u32 = 1 << 31;

/// A block cut in two.
fn halves(block: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let (first, second) = block.split_at(block.len() / 2);
    (first.to_vec(), second.to_vec())
}

pub(crate) const CASES: &[Case] = &[
    Case {
        section: "3.4",
        name: "the preface",
        settings: None,
        send: |peer| peer.send(&[PREFACE, &settings(&[])].concat()),
        expected: &[Acknowledged],
    },
    case(
        "5.1",
        "PRIORITY on an idle stream",
        |peer| {
            peer.send(&priority(1, 0, 15));
            peer.ping(1);
        },
        &[Pong(1)],
    ),
    case(
        "5.1",
        "WINDOW_UPDATE on a half-closed stream",
        |peer| {
            peer.send(&[get(1, "/score"), window_update(1, 100)].concat());
        },
        &[ANSWERED],
    ),
    case(
        "5.1",
        "PRIORITY on a half-closed stream",
        |peer| {
            peer.send(&[get(1, "/score"), priority(1, 0, 15)].concat());
        },
        &[ANSWERED],
    ),
    case(
        "5.1",
        "RST_STREAM on a half-closed stream",
        |peer| {
            peer.send(&[get(1, "/score"), reset(1, code::CANCEL)].concat());
            peer.ping(1);
        },
        &[Pong(1)],
    ),
    case(
        "5.1",
        "PRIORITY on a closed stream",
        |peer| {
            peer.send(&get(1, "/livez"));
            peer.expect(&[ANSWERED]);
            peer.send(&priority(1, 0, 15));
            peer.ping(1);
        },
        &[Pong(1)],
    ),
    case(
        "6.1",
        "DATA",
        |peer| {
            peer.send(&[post(1, "/score"), data(1, flag::END_STREAM, b"test")].concat());
        },
        &[ANSWERED],
    ),
    case(
        "6.1",
        "several frames of DATA",
        |peer| {
            peer.send(&[post(1, "/score"), data(1, flag::NONE, b"test"), data(1, flag::END_STREAM, b"test")].concat());
        },
        &[ANSWERED],
    ),
    case(
        "6.1",
        "DATA with padding",
        |peer| {
            let padded = b"\x06test\0\0\0\0\0\0";
            peer.send(&[post(1, "/score"), data(1, flag::END_STREAM | flag::PADDED, padded)].concat());
        },
        &[ANSWERED],
    ),
    case("6.2", "HEADERS", |peer| peer.send(&get(1, "/livez")), &[ANSWERED]),
    case(
        "6.2",
        "HEADERS with padding",
        |peer| {
            let block = [&[4][..], &block(&request("GET", "/livez")), &[0; 4]].concat();
            peer.send(&frame(kind::HEADERS, flag::END_STREAM | flag::END_HEADERS | flag::PADDED, 1, &block));
        },
        &[ANSWERED],
    ),
    case(
        "6.2",
        "HEADERS with a priority",
        |peer| {
            let block = [&[0, 0, 0, 0, 15][..], &block(&request("GET", "/livez"))].concat();
            peer.send(&frame(kind::HEADERS, flag::END_STREAM | flag::END_HEADERS | flag::PRIORITY, 1, &block));
        },
        &[ANSWERED],
    ),
    case(
        "6.2",
        "HEADERS with padding and a priority",
        |peer| {
            let block = [&[4, 0, 0, 0, 0, 15][..], &block(&request("GET", "/livez")), &[0; 4]].concat();
            let flags = flag::END_STREAM | flag::END_HEADERS | flag::PADDED | flag::PRIORITY;
            peer.send(&frame(kind::HEADERS, flags, 1, &block));
        },
        &[ANSWERED],
    ),
    case(
        "6.3",
        "PRIORITY with the least weight",
        |peer| {
            peer.send(&[priority(1, 0, 0), get(1, "/livez")].concat());
        },
        &[ANSWERED],
    ),
    case(
        "6.3",
        "PRIORITY with the greatest weight",
        |peer| {
            peer.send(&[priority(1, 0, 255), get(1, "/livez")].concat());
        },
        &[ANSWERED],
    ),
    case(
        "6.3",
        "PRIORITY with a dependency",
        |peer| {
            peer.send(&[priority(1, 0, 15), priority(3, 1, 15), get(3, "/livez")].concat());
        },
        &[ANSWERED],
    ),
    case(
        "6.3",
        "PRIORITY with an exclusive dependency",
        |peer| {
            peer.send(&[priority(1, 0, 15), priority(3, 1 | EXCLUSIVE, 15), get(3, "/livez")].concat());
        },
        &[ANSWERED],
    ),
    case(
        "6.3",
        "PRIORITY for a stream that is opened later",
        |peer| {
            peer.send(&[priority(5, 3, 15), get(3, "/livez")].concat());
        },
        &[ANSWERED],
    ),
    case(
        "6.4",
        "RST_STREAM",
        |peer| {
            peer.send(&[post(1, "/score"), reset(1, code::CANCEL)].concat());
            peer.ping(1);
        },
        &[Pong(1)],
    ),
    case(
        "6.5",
        "SETTINGS",
        |peer| {
            peer.send(&settings(&[(setting::HEADER_TABLE_SIZE, 8192), (setting::MAX_CONCURRENT_STREAMS, 10)]));
        },
        &[Acknowledged],
    ),
    case("6.5", "SETTINGS without any", |peer| peer.send(&settings(&[])), &[Acknowledged]),
    case("6.7", "PING", |peer| peer.ping(7), &[Pong(7)]),
    case(
        "6.8",
        "GOAWAY while a request is answered",
        |peer| {
            peer.send(&[get(1, "/livez"), frame(kind::GOAWAY, flag::NONE, 0, &[0; 8])].concat());
        },
        &[ANSWERED],
    ),
    case(
        "6.9",
        "WINDOW_UPDATE of the connection",
        |peer| {
            peer.send(&[window_update(0, 1), get(1, "/livez")].concat());
        },
        &[ANSWERED],
    ),
    case(
        "6.9",
        "WINDOW_UPDATE of a stream",
        |peer| {
            peer.send(&[post(1, "/score"), window_update(1, 1), data(1, flag::END_STREAM, b"")].concat());
        },
        &[ANSWERED],
    ),
    case(
        "6.9",
        "WINDOW_UPDATE up to the greatest window",
        |peer| {
            peer.send(&[window_update(0, (1 << 31) - 1 - 65_535), get(1, "/livez")].concat());
        },
        &[ANSWERED],
    ),
    case(
        "6.10",
        "CONTINUATION",
        |peer| {
            let (first, second) = halves(&block(&request("GET", "/livez")));
            peer.send(&frame(kind::HEADERS, flag::END_STREAM, 1, &first));
            peer.send(&frame(kind::CONTINUATION, flag::END_HEADERS, 1, &second));
        },
        &[ANSWERED],
    ),
    case(
        "6.10",
        "several frames of CONTINUATION",
        |peer| {
            let (first, second) = halves(&block(&request("GET", "/livez")));
            let (second, third) = halves(&second);
            peer.send(&frame(kind::HEADERS, flag::END_STREAM, 1, &first));
            peer.send(&frame(kind::CONTINUATION, flag::NONE, 1, &second));
            peer.send(&frame(kind::CONTINUATION, flag::END_HEADERS, 1, &third));
        },
        &[ANSWERED],
    ),
];
