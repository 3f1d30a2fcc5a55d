//! However a request ends, the next one is fine.

use std::time::{Duration, Instant};

use scorebox_tests::wait::eventually;
use scorebox_tests::{Request, Response, Server, fixtures};
use serde_json::json;

use crate::{answer, assert_script_failed, folder, serve, start};

/// More than what a run may take that does nothing.
const LIMIT: &str = "2s";

fn start_ends() -> Server {
    serve(&folder("ends")).args("--timeout").arg(LIMIT).start()
}

fn end(server: &Server, end: &str) -> Response {
    server.score(&json!({ "end": end }).to_string())
}

#[track_caller]
fn assert_well(server: &Server) {
    assert_eq!(answer(server, &json!({"end": "well"})), "as after init()");
}

#[test]
fn a_script_that_ends_badly_fails_its_request_and_no_other() {
    let server = start_ends();
    assert_well(&server);
    let exits = ["exit", "interrupt", "own exit", "cancelled"];
    for bad in ["recursion", "deep repr", "quit", "abort", "sigabrt", "segfault", "kill"].iter().chain(&exits) {
        let response = end(&server, bad);
        assert_eq!(response.status, 500, "{bad}: {response:?}; {}", server.process().said());
        // What asks for the end of Python, and all else that is no `Exception`, is answered with a page, as there.
        if exits.contains(bad) {
            assert_eq!(response.header("content-type"), Some("text/html"), "{bad}: {response:?}");
        } else {
            assert!(response.json()["message"].is_string(), "{bad}: {response:?}");
        }
        assert_well(&server);
    }
    server.logged("RecursionError: ");
    server.logged("CancelledError");
}

#[test]
fn memory_that_is_used_up_is_an_exception() {
    let server = start("ends");
    for bad in ["memory", "array"] {
        assert_script_failed(&end(&server, bad));
        assert_well(&server);
    }
    server.logged("MemoryError");
}

#[test]
fn a_body_that_does_not_fit_into_the_memory_fails_its_request_and_no_other() {
    let server = serve(&folder("ends")).args("--memory 160MiB").start();
    assert_well(&server);
    let padding = " ".repeat(80 << 20);
    assert_script_failed(&server.score(&format!(r#"{{"end": "well"{padding}}}"#)));
    server.logged("it needed more memory than the limit of 167772160 bytes");
    assert_well(&server);
}

#[test]
fn a_body_of_which_there_is_room_for_one_copy_and_not_for_two_is_scored() {
    let folder = fixtures::folder(&[("score.py", LEFT)]);
    let server = serve(folder.path()).args("--memory 192MiB --max-body 192MiB").start();
    let score = |length: usize| {
        let response = server.send(&Request::score(vec![b'x'; length]));
        assert_eq!(response.status, 200, "{length}: {response:?}; {}", server.process().said());
        response.json()
    };
    let left = score(1)["left"].as_u64().and_then(|left| usize::try_from(left).ok()).expect("a number of MiB");
    let length = (left << 20) / 3 * 2;
    assert!(left >= 40, "there is too little memory for the test: {left} MiB");
    assert_eq!(score(length)["length"], length);
}

/// A script that takes bodies as they are, and says how many bytes there were and how many MiB of memory are left then.
const LEFT: &str = "
from azureml_inference_server_http.api.aml_request import rawhttp


def init():
    pass


@rawhttp
def run(request):
    length, blocks = len(request.get_data()), []
    try:
        while True:
            blocks.append(bytearray(1 << 20))
    except MemoryError:
        left = len(blocks)
        blocks.clear()
    return {'length': length, 'left': left}
";

#[test]
fn a_script_that_does_not_end_is_stopped_whatever_it_does() {
    let server = start_ends();
    for bad in ["spin", "c loop", "sleep"] {
        let start = Instant::now();
        end(&server, bad).assert_error(500, "Scoring timeout after 2000 ms");
        assert!(start.elapsed() < Duration::from_millis(2500), "{bad}: {:?}", start.elapsed());
        assert_well(&server);
    }
}

#[test]
fn an_exception_in_a_finalizer_is_in_the_log_only() {
    let server = start_ends();
    assert_eq!(end(&server, "finalizer").json(), "finalized");
    server.logged("ValueError: in a finalizer");
}

#[test]
fn a_script_that_raises_a_timeout_is_answered_as_one() {
    let server = start_ends();
    end(&server, "timeout").assert_error(500, "Scoring timeout after 2000 ms");
    assert_well(&server);
}

#[test]
fn json_of_any_depth_is_answered() {
    let server = start_ends();
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    assert_script_failed(&server.score(&deep));
    server.logged("RecursionError: ");
    assert_well(&server);
}

#[test]
fn a_body_of_50_mb_is_scored() {
    const NUMBERS: usize = 5_000_000;
    let server = start("ends");
    let large = format!("[{}0.5]", "1234567.5,".repeat(NUMBERS));
    assert!(large.len() > 50_000_000);
    let response = server.score(&large);
    assert_eq!(response.status, 200, "{response:?}; {}", server.process().said());
    assert_eq!(response.json(), json!(1_234_567.5 * NUMBERS as f64 + 0.5));
    assert_well(&server);
}

#[test]
fn what_a_thousand_requests_leave_behind_is_given_back_to_the_system() {
    const REQUESTS: usize = 1000;
    const CLIENTS: usize = 4;
    // What is kept for the next instances, and what an allocator is late to give back.
    const SLACK: u64 = 64 << 20;
    let server = start("fills");
    let fill = |requests: usize| {
        let mut client = server.connect();
        for _ in 0..requests {
            let response = client.send(&Request::json("{}")).expect("an answer");
            assert_eq!(response.status, 200, "{response:?}; {}", server.process().said());
            assert_eq!(response.json(), json!({"kept": 0, "temporary": 0}));
        }
    };
    std::thread::scope(|scope| (0..CLIENTS).for_each(|_| drop(scope.spawn(|| fill(10)))));
    let before = resident(&server);
    std::thread::scope(|scope| (0..CLIENTS).for_each(|_| drop(scope.spawn(|| fill(REQUESTS / CLIENTS)))));
    println!("resident: {} MiB before, {} MiB after", before >> 20, resident(&server) >> 20);
    eventually(Duration::from_secs(5), "memory is given back", || resident(&server) < before + SLACK);
}

/// Bytes of memory that the server has.
fn resident(server: &Server) -> u64 {
    let statm = std::fs::read_to_string(format!("/proc/{}/statm", server.process().id())).expect("it runs");
    let pages: u64 = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).expect("a number of pages");
    pages * 4096
}
