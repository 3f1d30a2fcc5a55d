//! A scorer that wants too much of something gets an error for its own request, and nobody else notices.

use std::time::Duration;

use scorebox_tests::wait::eventually;
use scorebox_tests::{Request, Response, Serve, Server};

const SCRIPT: &str = "An unexpected error occurred in scoring script. Check the logs for more info.";
const INTERNAL: &str = "An unexpected internal error occurred. Check the logs for more info.";

/// Checks that the server is the same as before, and that it scores.
#[track_caller]
fn assert_well(server: &Server, body: &str) {
    let response = server.score(body);
    assert_eq!(response.status, 200, "{response:?}; {}", server.process().said());
    assert_eq!(server.get("/livez").status, 200);
}

#[track_caller]
fn assert_script_failed(response: &Response) {
    response.assert_error(500, SCRIPT);
    assert_eq!(response.header("x-ms-run-function-failed"), Some("True"));
}

mod memory {
    use super::*;

    #[test]
    fn a_scorer_that_is_refused_memory_can_say_so_and_the_next_request_has_all_of_it_again() {
        let server = Serve::guest("alloc").args("--memory 64MiB").start();
        for _ in 0..3 {
            assert_script_failed(&server.score(r#"{"mib": 100}"#));
            let response = server.score(r#"{"mib": 50}"#);
            assert_eq!(response.status, 200, "{response:?}");
            assert_eq!(response.json()["pages"], 50 * 256);
        }
        assert!(server.logged("Encountered Exception: ").contains("memory allocation failed"));
    }

    #[test]
    fn a_scorer_that_ends_because_it_is_refused_memory_is_said_to_have_reached_its_limit() {
        let server = Serve::guest("flood").args("--memory 16MiB").start();
        assert_script_failed(&server.score(r#"{"body_bytes": 50000000}"#));
        server.logged("run() was stopped: it needed more memory than the limit of 16777216 bytes");
        assert_well(&server, r#"{"body_bytes": 1000000}"#);
    }

    #[test]
    fn requests_at_the_same_time_have_a_limit_each() {
        let server = Serve::guest("alloc").args("--memory 64MiB").start();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| assert_eq!(server.score(r#"{"mib": 50}"#).status, 200));
            }
        });
    }

    #[test]
    fn memory_of_requests_is_given_back_to_the_system() {
        let server = Serve::guest("alloc").args("--memory 512MiB --timeout 20s").start();
        assert_well(&server, r#"{"mib": 1}"#);
        let before = resident(&server);
        for _ in 0..5 {
            assert_well(&server, r#"{"mib": 400}"#);
        }
        // An instance is destroyed after its answer has been handed over. Allow for what is kept to be quick: 1 MiB each.
        eventually(Duration::from_secs(5), "memory is given back", || resident(&server) < before + (32 << 20));
    }

    /// Bytes of memory that the server has.
    fn resident(server: &Server) -> u64 {
        let statm = std::fs::read_to_string(format!("/proc/{}/statm", server.process().id())).expect("it runs");
        let pages: u64 = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).expect("a number of pages");
        pages * 4096
    }
}

mod log {
    use super::*;

    /// Bytes and records that the scorer logged, by the log.
    fn written(server: &Server) -> (usize, usize) {
        server.logged("log limit reached");
        // What is left in the queue of the log comes before the line of this request.
        assert_eq!(server.score(r#"{"status": 299}"#).status, 299);
        server.logged(" azmlinfsrv - POST /score 299 ");
        let log = server.log();
        let own = ["azmlinfsrv.scorer - ", "azmlinfsrv.print - ", "azmlinfsrv.stderr - "];
        let texts = log.iter().filter_map(|line| own.iter().find_map(|own| Some(line.split_once(own)?.1)));
        let texts: Vec<_> = texts.filter(|text| !text.starts_with("log limit reached")).collect();
        (texts.iter().map(|text| text.len()).sum(), texts.len())
    }

    #[track_caller]
    fn assert_bounded(limit: &str, bytes: usize, flood: &str) {
        let server = Serve::guest("flood").arg("--max-log").arg(limit).start();
        assert_eq!(server.score(flood).status, 200, "the request itself is answered");
        let (written, records) = written(&server);
        assert!(written <= bytes, "{written} bytes in {records} records");
        assert!(records <= bytes / 32 + 1, "{records} records");
        assert!(written + records * 32 >= bytes / 2, "only {written} bytes in {records} records");
        assert_eq!(server.score(flood).status, 200);
    }

    #[test]
    fn long_records_are_cut_at_the_limit() {
        assert_bounded("100KiB", 100 << 10, r#"{"records": 50, "record_bytes": 1000000}"#);
    }

    #[test]
    fn many_records_are_left_out_beyond_the_limit() {
        assert_bounded("100KiB", 100 << 10, r#"{"records": 100000, "record_bytes": 10}"#);
    }

    #[test]
    fn empty_records_cost_something_too() {
        assert_bounded("100KiB", 100 << 10, r#"{"records": 100000, "record_bytes": 0}"#);
    }

    #[test]
    fn the_limit_that_nobody_set_holds_too() {
        assert_bounded("1MiB", 1 << 20, r#"{"records": 20000, "record_bytes": 200}"#);
    }

    #[test]
    fn names_of_loggers_and_what_control_characters_become_count_too() {
        let server = Serve::guest("flood").args("--max-log 100KiB").start();
        assert_eq!(server.score(r#"{"records": 100000, "record_bytes": 0, "logger_bytes": 255}"#).status, 200);
        server.logged("log limit reached");
        assert_eq!(server.score(r#"{"status": 299}"#).status, 299);
        server.logged(" azmlinfsrv - POST /score 299 ");
        let names: Vec<_> = server.log().into_iter().filter(|line| line.contains(r"\x01")).collect();
        let bytes: usize = names.iter().map(String::len).sum();
        // Each has 255 * 4 bytes of its name. What the host puts before it is in the 32 of a record, and a little more.
        assert!((1..=100).contains(&names.len()), "{}", names.len());
        assert!(bytes <= (100 << 10) * 11 / 10, "{bytes}");
    }

    #[test]
    fn records_of_a_scorer_appear_under_their_streams_and_levels() {
        let server = Serve::guest("flood").start();
        assert_well(&server, r#"{"records": 1, "record_bytes": 5}"#);
        assert!(server.logged(" azmlinfsrv.scorer - xxxxx").contains(" I ["));
        assert!(server.logged(" azmlinfsrv.print - xxxxx").contains(" I ["));
        assert!(server.logged(" azmlinfsrv.stderr - xxxxx").contains(" C ["));
    }
}

mod response {
    use std::net::{Ipv4Addr, SocketAddr};

    use scorebox_tests::Client;
    use scorebox_tests::server::free_port;
    use scorebox_tests::wait::PATIENCE;

    use super::*;

    #[test]
    fn a_response_over_the_limit_is_an_error_and_the_log_says_why() {
        let server = Serve::guest("flood").args("--max-response 1MiB").start();
        assert_script_failed(&server.score(r#"{"body_bytes": 1048577}"#));
        server.logged("more than the limit of 1048576 bytes");
        assert_well(&server, r#"{"body_bytes": 1000000}"#);
    }

    #[test]
    fn a_response_that_the_host_will_not_take_over_is_an_error() {
        let server = Serve::guest("flood").args("--max-response 1MiB --max-host-call 2MiB").start();
        assert_script_failed(&server.score(r#"{"body_bytes": 4000000}"#));
        server.logged("run() was stopped: ");
        assert_well(&server, r#"{"body_bytes": 1000000}"#);
    }

    #[test]
    fn headers_count_as_part_of_the_response() {
        let server = Serve::guest("flood").args("--max-response 1MiB").start();
        assert_script_failed(&server.score(r#"{"headers": 2, "header_bytes": 700000}"#));
        assert_well(&server, r#"{"headers": 2, "header_bytes": 5000}"#);
    }

    #[test]
    fn more_than_a_thousand_headers_are_an_error_and_the_log_says_how_many() {
        let server = Serve::guest("flood").start();
        let answer = |headers: usize| server.score(&format!(r#"{{"headers": {headers}, "header_bytes": 1}}"#));
        // With the type of its content a response has one more.
        for headers in [100, 999] {
            let response = answer(headers);
            assert_eq!(response.status, 200, "{headers} headers");
            assert_eq!(response.header(&format!("x-flood-{}", headers - 1)), Some("x"), "{headers} headers");
        }
        for headers in [1_000, 10_000, 24_000, 30_000, 40_000, 100_000] {
            answer(headers).assert_error(500, INTERNAL);
            server.logged(&format!("run() set {} headers, more than the 1000 that", headers + 1));
            assert_well(&server, "{}");
        }
    }

    #[test]
    fn more_than_256_kib_of_headers_are_an_error_and_the_log_says_how_many() {
        let server = Serve::guest("flood").start();
        let answer = |headers: usize, bytes: usize| {
            server.score(&format!(r#"{{"headers": {headers}, "header_bytes": {bytes}}}"#))
        };
        for (headers, bytes) in [(1, 250_000), (100, 2_500)] {
            assert_eq!(answer(headers, bytes).status, 200, "{headers} headers of {bytes} bytes");
        }
        // Their names count as well, and so does the type of the content.
        for (headers, bytes, together) in [(1, 256 * 1024, 262_189), (2, 20_000_000, 40_000_054)] {
            answer(headers, bytes).assert_error(500, INTERNAL);
            server.logged(&format!("run() set headers of {together} bytes, more than the 262144 that"));
            assert_well(&server, "{}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_response_is_logged_with_the_id_of_its_request_at_every_level() {
        for level in ["info", "warn", "error"] {
            let port = free_port();
            let serve = Serve::guest("flood").args("--log-format json --log-level").arg(level);
            let (process, _shared) = serve.spawn(port);
            let mut client = None;
            // At the higher levels the log does not say so.
            eventually(PATIENCE, "it listens", || {
                client = Client::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).ok();
                client.is_some()
            });
            let request = Request::json(r#"{"status": 42}"#).header("x-request-id", "id-of-42");
            client.expect("a connection").send(&request).expect("an answer").assert_error(500, INTERNAL);
            let record = process.line(PATIENCE, |line| line.contains("run() answered with status 42"));
            let record = record.unwrap_or_else(|| panic!("{level}: {}", process.said()));
            assert!(record.contains(r#""request_id": "id-of-42""#), "{level}: {record}");
        }
    }

    #[test]
    fn a_header_cannot_begin_another_one_or_a_body() {
        let server = Serve::guest("flood").start();
        for (name, value) in [
            ("x-a", r"b\r\nset-cookie: stolen"),
            ("x-a", r"b\nset-cookie: stolen"),
            ("x-a", r"b\r\n\r\nset-cookie: stolen"),
            ("x-a", r"b\u0000set-cookie: stolen"),
            (r"x-a: b\r\nset-cookie", "stolen"),
            ("x a", "set-cookie: stolen"),
            ("", "set-cookie: stolen"),
        ] {
            let mut client = server.connect();
            let body = format!(r#"{{"header": ["{name}", "{value}"], "body_bytes": 3}}"#);
            client.write(&Request::json(body).header("connection", "close").to_bytes()).unwrap();
            let answer = client.read_to_end().unwrap();
            let answer = answer.escape_ascii().to_string();
            assert!(answer.starts_with("HTTP/1.1 200 OK") || answer.starts_with("HTTP/1.1 500 "), "{answer}");
            assert!(!answer.contains("stolen"), "{answer}");
            assert_eq!(answer.matches(r"\r\n\r\n").count(), 1, "{answer}");
            server.logged("run() set a header that is not valid HTTP");
        }
        assert_well(&server, "{}");
    }

    #[test]
    fn a_status_that_is_none_is_an_internal_error_and_any_other_one_is_sent() {
        let server = Serve::guest("flood").start();
        for status in [0, 42, 99, 100, 101, 199, 1000, 65535] {
            let response = server.score(&format!(r#"{{"status": {status}}}"#));
            response.assert_error(500, INTERNAL);
            assert_eq!(response.header("x-ms-run-function-failed"), Some("False"), "{status}");
            server.logged(&format!("run() answered with status {status}, which is none of 200 to 999"));
        }
        for status in [200, 201, 299, 302, 404, 444, 555, 999] {
            let response = server.score(&format!(r#"{{"status": {status}, "body_bytes": 2}}"#));
            assert_eq!((response.status, response.text()), (status, "xx"));
        }
    }

    #[test]
    fn a_status_that_has_no_body_is_sent_without_the_scorers() {
        let server = Serve::guest("flood").start();
        let mut client = server.connect();
        for status in [204, 304] {
            let body = format!(r#"{{"status": {status}, "body_bytes": 10}}"#);
            assert_eq!(client.send(&Request::json(body)).unwrap().status, status);
            let next = client.send(&Request::json(r#"{"body_bytes": 2}"#)).unwrap();
            assert_eq!((next.status, next.text()), (200, "xx"), "after {status}");
        }
    }

    #[test]
    fn the_message_of_a_fault_is_limited_like_a_response() {
        let server = Serve::guest("flood").args("--max-response 1MiB --max-host-call 8MiB").start();
        server.score(r#"{"fault_bytes": 10000}"#).assert_error(400, &"x".repeat(10_000));
        let response = server.score(r#"{"fault_bytes": 2000000}"#);
        assert!(response.body.len() <= 1 << 20, "status {} with {} bytes", response.status, response.body.len());
        assert!(matches!(response.status, 400 | 500), "{}", response.status);
        assert_script_failed(&server.score(r#"{"fault_bytes": 10000000}"#));
        assert_well(&server, "{}");
    }

    #[test]
    fn the_message_of_a_fault_is_cut_at_64_kib_before_json_makes_it_longer() {
        let server = Serve::guest("panic").args("--max-response 1MiB").start();
        // A character that has one byte, and six in JSON.
        let message = r"\u0001".repeat(1_000_000);
        for (end, status) in [("bad_input", 400), ("unsupported_input", 415)] {
            let response = server.score(&format!(r#"{{"end": "{end}", "secret": "{message}"}}"#));
            assert_eq!(response.status, status, "{} bytes", response.body.len());
            let text = response.text();
            assert_eq!(text.matches(r"\u0001").count(), 64 * 1024);
            assert!(text.ends_with(r#"... (934464 bytes were left out)"}"#), "{}", &text[text.len() - 100..]);
            assert_well(&server, r#"{"end": "well"}"#);
        }
    }
}

mod ends {
    use super::*;

    const WELL: &str = r#"{"end": "well"}"#;

    #[test]
    fn a_panic_is_in_the_log_with_its_place_and_not_in_the_response() {
        let server = Serve::guest("panic").start();
        let response =
            server.send(&Request::json(r#"{"end": "panic", "secret": "p-5a1e"}"#).header("x-request-id", "A"));
        assert_script_failed(&response);
        assert!(!format!("{response:?}").contains("p-5a1e"), "{response:?}");
        let place = server.logged("panicked at ");
        assert!(place.contains(" azmlinfsrv.scorer - ") && place.contains("lib.rs"), "{place}");
        server.logged("the secret is p-5a1e");
        assert_well(&server, WELL);
    }

    #[test]
    fn a_trap_is_in_the_log_with_the_names_of_the_functions() {
        let server = Serve::guest("panic").start();
        assert_script_failed(&server.score(r#"{"end": "trap"}"#));
        server.logged("run() was stopped: wasm trap: wasm `unreachable` instruction executed");
        assert_well(&server, WELL);
        assert!(server.logged("::trap").contains("guest_panic.wasm!"));
    }

    #[test]
    fn a_stack_that_is_used_up_ends_the_request_and_not_the_server() {
        // Little enough to be used up before the stack in the scorer's own memory is.
        let server = Serve::guest("panic").args("--stack 32KiB").start();
        for _ in 0..5 {
            assert_script_failed(&server.score(r#"{"end": "overflow"}"#));
            assert_well(&server, WELL);
        }
        server.logged("run() was stopped: wasm trap: call stack exhausted");
        assert!(server.logged("::overflow").contains("guest_panic.wasm!"));
    }

    #[test]
    fn a_scorer_that_runs_out_of_the_stack_in_its_own_memory_is_stopped_too() {
        let server = Serve::guest("panic").start();
        assert_script_failed(&server.score(r#"{"end": "overflow"}"#));
        server.logged("run() was stopped: wasm trap: ");
        assert_well(&server, WELL);
    }

    #[test]
    fn all_ends_at_the_same_time_are_each_told_their_own() {
        let server = Serve::guest("panic").start();
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let server = &server;
                scope.spawn(move || {
                    let mut client = server.connect();
                    for index in 0..50 {
                        let end = ["well", "panic", "error", "overflow", "trap", "bad_input"][(thread + index) % 6];
                        let secret = format!("s-{thread}-{index}");
                        let body = format!(r#"{{"end": "{end}", "secret": "{secret}"}}"#);
                        let response = client.send(&Request::json(body)).expect("an answer");
                        match end {
                            "well" => assert_eq!(response.status, 200),
                            "bad_input" => response.assert_error(400, &secret),
                            _ => assert_script_failed(&response),
                        }
                    }
                });
            }
        });
    }
}
