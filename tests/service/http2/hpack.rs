//! Blocks of headers: RFC 7541.

use scorebox_tests::http2::{block, code, flag, frame, kind, request, string};

use crate::{ANSWERED, Case, Closed, GoAway, Outcome, case};

const COMPRESSION: &[Outcome] = &[GoAway(code::COMPRESSION_ERROR), Closed];

/// A GET request of `/livez` with more at the end of its block.
fn send_with(peer: &mut crate::Peer, more: &[u8]) {
    send(peer, &[&block(&request("GET", "/livez")), more].concat());
}

fn send(peer: &mut crate::Peer, block: &[u8]) {
    peer.send(&frame(kind::HEADERS, flag::END_STREAM | flag::END_HEADERS, 1, block));
}

/// A literal with this first byte, whose name is in the static table.
fn literal(first: u8, value: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    string(&mut bytes, value);
    bytes
}

/// A literal with this first byte and a name of its own.
fn named(first: u8, name: &[u8], value: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    string(&mut bytes, name);
    string(&mut bytes, value);
    bytes
}

/// A literal with this first byte, whose name and value are in Huffman's code: `www.example.com`.
fn coded(first: u8) -> Vec<u8> {
    const CODED: [u8; 13] = [0x8c, 0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff];
    // `custom-key`, of which the name may consist.
    const NAME: [u8; 9] = [0x88, 0x25, 0xa8, 0x49, 0xe9, 0x5b, 0xa9, 0x7d, 0x7f];
    [&[first][..], &NAME, &CODED].concat()
}

pub(crate) const CASES: &[Case] = &[
    case(
        "HPACK 6.1",
        "headers of the static table",
        |peer| {
            // GET, http, a path, and an authority.
            send(peer, &[vec![0x82, 0x86], literal(0x04, b"/livez"), literal(0x01, b"scorebox.test")].concat());
        },
        &[ANSWERED],
    ),
    case(
        "HPACK 6.1",
        "headers of the dynamic table",
        |peer| {
            send_with(peer, &named(0x40, b"x-test", b"1"));
            peer.expect(&[ANSWERED]);
            let block = [&block(&request("GET", "/livez"))[..], &[0xbe]].concat();
            peer.send(&frame(kind::HEADERS, flag::END_STREAM | flag::END_HEADERS, 3, &block));
        },
        &[ANSWERED],
    ),
    case(
        "HPACK 6.2.1",
        "a literal to be kept, with a name of the table",
        |peer| {
            send_with(peer, &literal(0x7a, b"test"));
        },
        &[ANSWERED],
    ),
    case(
        "HPACK 6.2.1",
        "a literal to be kept, with a name in Huffman's code",
        |peer| {
            send_with(peer, &coded(0x40));
        },
        &[ANSWERED],
    ),
    case(
        "HPACK 6.2.1",
        "a literal to be kept, with a name of its own",
        |peer| {
            send_with(peer, &named(0x40, b"x-test", b"1"));
        },
        &[ANSWERED],
    ),
    case(
        "HPACK 6.2.2",
        "a literal not to be kept, with a name of the table",
        |peer| {
            // user-agent: place 58, in a prefix of four bits.
            send_with(peer, &[&[0x0f, 0x2b][..], &literal(0, b"test")[1..]].concat());
        },
        &[ANSWERED],
    ),
    case(
        "HPACK 6.2.2",
        "a literal not to be kept, with a name in Huffman's code",
        |peer| {
            send_with(peer, &coded(0x00));
        },
        &[ANSWERED],
    ),
    case(
        "HPACK 6.2.2",
        "a literal not to be kept, with a name of its own",
        |peer| {
            send_with(peer, &named(0x00, b"x-test", b"1"));
        },
        &[ANSWERED],
    ),
    case(
        "HPACK 6.2.3",
        "a literal never to be kept, with a name of the table",
        |peer| {
            send_with(peer, &[&[0x1f, 0x2b][..], &literal(0, b"test")[1..]].concat());
        },
        &[ANSWERED],
    ),
    case(
        "HPACK 6.2.3",
        "a literal never to be kept, with a name in Huffman's code",
        |peer| {
            send_with(peer, &coded(0x10));
        },
        &[ANSWERED],
    ),
    case(
        "HPACK 6.2.3",
        "a literal never to be kept, with a name of its own",
        |peer| {
            send_with(peer, &named(0x10, b"x-test", b"1"));
        },
        &[ANSWERED],
    ),
    case(
        "HPACK 6.3",
        "a table that is made smaller",
        |peer| {
            send(peer, &[&[0x20][..], &block(&request("GET", "/livez"))].concat());
        },
        &[ANSWERED],
    ),
    case(
        "HPACK 6.3",
        "a table that is made smaller and then larger",
        |peer| {
            send(peer, &[&[0x20, 0x3f, 0xe1, 0x1f][..], &block(&request("GET", "/livez"))].concat());
        },
        &[ANSWERED],
    ),
    case("HPACK 5.2", "an empty value", |peer| send_with(peer, &named(0x00, b"x-test", b"")), &[ANSWERED]),
    case("HPACK 2.3.3", "a place that no table has", |peer| send_with(peer, &[0xc7]), COMPRESSION),
    case(
        "HPACK 2.3.3",
        "a name at a place that no table has",
        |peer| {
            send_with(peer, &literal(0x7e, b"test"));
        },
        COMPRESSION,
    ),
    case(
        "HPACK 4.2",
        "a table that is made smaller at the end of a block",
        |peer| {
            send_with(peer, &[0x21]);
        },
        COMPRESSION,
    ),
    case(
        "HPACK 5.2",
        "padding of a coded string that is longer than seven bits",
        |peer| {
            send_with(peer, b"\x00\x85\xf2\xb2\x4a\x84\xff\x84\x49\x50\x9f\xff");
        },
        COMPRESSION,
    ),
    case(
        "HPACK 5.2",
        "padding of a coded string that is not all ones",
        |peer| {
            send_with(peer, b"\x00\x85\xf2\xb2\x4a\x87\xff\xfe\x83\x49\x50\x90");
        },
        COMPRESSION,
    ),
    case(
        "HPACK 5.2",
        "the end of strings in a coded string",
        |peer| {
            send_with(peer, b"\x00\x85\xf2\xb2\x4a\x84\xff\x87\x49\x51\xff\xff\xff\xfa\x7f");
        },
        COMPRESSION,
    ),
    case("HPACK 6.1", "place 0", |peer| send_with(peer, &[0x80]), COMPRESSION),
    case(
        "HPACK 6.3",
        "a table that is larger than it may be",
        |peer| {
            send(peer, &[&[0x3f, 0xe2, 0xff, 0x03][..], &block(&request("GET", "/livez"))].concat());
        },
        COMPRESSION,
    ),
    case(
        "HPACK 5.1",
        "a number that is too large",
        |peer| {
            send_with(peer, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]);
        },
        COMPRESSION,
    ),
];
