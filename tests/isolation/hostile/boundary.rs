//! Values that are none, passed to the host.

use scorebox_tests::Request;

use crate::component::Guest;
use crate::{assert_refused, assert_script_failed, assert_well, attack};

/// What is wrong, and how: the result of `run` is at 192 (see [`Guest`]).
const RESULTS: &[(&str, &str)] = &[
    ("a body of 2^32-1 bytes", "(i32.store (i32.const 212) (i32.const -1))"),
    ("a body behind the end of the memory", "(i32.store (i32.const 208) (i32.const -16))"),
    ("a body that begins in the memory and ends behind it", "(i32.store (i32.const 212) (i32.const 70000))"),
    ("2^32-1 headers", "(i32.store (i32.const 204) (i32.const -1))"),
    ("2^28 headers, whose size in bytes is 0 in 32 bits", "(i32.store (i32.const 204) (i32.const 0x10000000))"),
    (
        "headers at an address that is not aligned",
        "(i32.store (i32.const 200) (i32.const 2001)) (i32.store (i32.const 204) (i32.const 1))",
    ),
    (
        "a header's name that is no UTF-8",
        "(i32.store (i32.const 200) (i32.const 2048)) (i32.store (i32.const 204) (i32.const 1))
         (i32.store (i32.const 2048) (i32.const 1040)) (i32.store (i32.const 2052) (i32.const 4))",
    ),
    (
        "a header's value of 2^32-1 bytes",
        "(i32.store (i32.const 200) (i32.const 2048)) (i32.store (i32.const 204) (i32.const 1))
         (i32.store (i32.const 2048) (i32.const 1056)) (i32.store (i32.const 2052) (i32.const 8))
         (i32.store (i32.const 2060) (i32.const -1))",
    ),
    ("neither a response nor a fault", "(i32.store8 (i32.const 192) (i32.const 7))"),
    ("a fault that is none", "(i32.store8 (i32.const 192) (i32.const 1)) (i32.store8 (i32.const 196) (i32.const 99))"),
    (
        "a fault whose message is no UTF-8",
        "(i32.store8 (i32.const 192) (i32.const 1)) (i32.store16 (i32.const 196) (i32.const 0))
         (i32.store (i32.const 200) (i32.const 1040)) (i32.store (i32.const 204) (i32.const 4))",
    ),
    (
        "a fault whose message has 2^32-1 bytes",
        "(i32.store8 (i32.const 192) (i32.const 1)) (i32.store16 (i32.const 196) (i32.const 0))
         (i32.store (i32.const 200) (i32.const 1024)) (i32.store (i32.const 204) (i32.const -1))",
    ),
    ("a result at an address that is not aligned", "(return (i32.const 193))"),
    ("a result behind the end of the memory", "(return (i32.const -8))"),
    (
        "a record of the log that is no UTF-8",
        "(call $log (i32.const 0) (i32.const 1) (i32.const 0) (i32.const 0) (i32.const 1040) (i32.const 4))",
    ),
    (
        "a record of the log of 2^32-1 bytes",
        "(call $log (i32.const 0) (i32.const 1) (i32.const 0) (i32.const 0) (i32.const 1) (i32.const -1))",
    ),
    (
        "a name of a logger that is no UTF-8",
        "(call $log (i32.const 0) (i32.const 1) (i32.const 1040) (i32.const 4) (i32.const 0) (i32.const 0))",
    ),
    (
        "a stream of the log that is none",
        "(call $log (i32.const 3) (i32.const 1) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0))",
    ),
    (
        "a level that is none",
        "(call $log (i32.const 0) (i32.const -1) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0))",
    ),
];

#[test]
fn what_is_no_value_ends_its_request_and_the_server_goes_on() {
    let mut guest = Guest::new();
    for (kind, (_, text)) in (b'A'..).zip(RESULTS) {
        guest = guest.when(kind, text);
    }
    let (_written, serve) = guest.serve();
    let server = serve.start();
    for (kind, (what, _)) in (b'A'..).zip(RESULTS) {
        let before = server.log().len();
        let response = attack(&server, kind);
        assert_eq!(response.status, 500, "{what}: {response:?}");
        assert_script_failed(&response);
        let stopped = || server.log()[before..].iter().find(|line| line.contains("run() was stopped: ")).cloned();
        scorebox_tests::wait::eventually(scorebox_tests::wait::PATIENCE, what, || stopped().is_some());
        println!("{what}: {}", stopped().unwrap_or_default());
        assert_well(&server);
    }
}

#[test]
fn room_for_a_request_that_is_none_ends_the_request_and_the_server_goes_on() {
    // The host asks for room for bodies of these lengths.
    let room =
        |length: usize, text: &str| format!("(if (i32.eq (local.get $size) (i32.const {length})) (then {text}))\n");
    let rooms = [
        ("behind the end of the memory", "(return (i32.const -8))"),
        ("whose end is behind that of the memory", "(return (i32.const 65530))"),
        ("made by a function that gives up", "unreachable"),
        (
            "made by a function that calls the host, which it must not",
            "(call $log (i32.const 0) (i32.const 1) (i32.const 0) (i32.const 0) (i32.const 1024) (i32.const 2))",
        ),
    ];
    let mut guest = Guest::new();
    for (length, (_, text)) in (7001..).zip(&rooms) {
        guest = guest.realloc(&room(length, text));
    }
    // And records need an address that is a multiple of 4.
    guest = guest.realloc("(if (i32.eq (local.get $size) (i32.const 80)) (then (if (i32.load (i32.const 2040)) (then (return (i32.const 3001))))))");
    let (_written, serve) = guest.serve();
    let server = serve.start();
    for (length, (what, _)) in (7001..).zip(&rooms) {
        let response = server.send(&Request::score(vec![b'w'; length]));
        assert_eq!(response.status, 500, "room {what}: {response:?}");
        assert_script_failed(&response);
        assert_well(&server);
    }
}

#[test]
fn what_is_no_value_of_init_or_schema_is_refused_at_deploy() {
    for (what, guest, why) in [
        ("an error that is no UTF-8", Guest::new().init(
            "(i32.store8 (i32.const 64) (i32.const 1)) (i32.store (i32.const 68) (i32.const 1040)) (i32.store (i32.const 72) (i32.const 4))"), "init() was stopped: invalid utf-8 sequence of 1 bytes from index 0"),
        ("an error of 2^32-1 bytes", Guest::new().init(
            "(i32.store8 (i32.const 64) (i32.const 1)) (i32.store (i32.const 68) (i32.const 1024)) (i32.store (i32.const 72) (i32.const -1))"), "init() was stopped: string pointer/length out of bounds of memory"),
        ("neither success nor an error", Guest::new().init("(i32.store8 (i32.const 64) (i32.const 2))"), "init() was stopped: invalid expected discriminant"),
        ("a mode that is none", Guest::new().schema("(i32.store8 (i32.const 128) (i32.const 3))"), "schema() was stopped: unexpected discriminant: 3"),
        ("a schema of 2^32-1 bytes", Guest::new().schema("(i32.store8 (i32.const 132) (i32.const 1)) (i32.store (i32.const 140) (i32.const -1))"), "schema() was stopped: string pointer/length out of bounds of memory"),
        ("a schema that is no UTF-8", Guest::new().schema(
            "(i32.store8 (i32.const 132) (i32.const 1)) (i32.store (i32.const 136) (i32.const 1040)) (i32.store (i32.const 140) (i32.const 4))"), "schema() was stopped: invalid utf-8 sequence of 1 bytes from index 0"),
        ("2^32-1 versions", Guest::new().schema("(i32.store (i32.const 160) (i32.const -1))"), "schema() was stopped: list pointer/length out of bounds of memory"),
        ("a schema that is no JSON", Guest::new().schema(
            "(i32.store8 (i32.const 132) (i32.const 1)) (i32.store (i32.const 136) (i32.const 1024)) (i32.store (i32.const 140) (i32.const 2))"), "input schema is not valid JSON: Expecting value: line 1 column 1"),
    ] {
        let (_written, serve) = guest.serve();
        let ended = serve.refused();
        println!("{what}: {}", ended.stderr);
        assert_refused(&ended, &[why]);
    }
}
