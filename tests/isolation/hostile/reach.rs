//! Guests that look for what is outside, or for what was before, and that hold what the host has to keep.

use std::fs;
use std::time::{Duration, Instant};

use scorebox_tests::wait::eventually;
use scorebox_tests::{Request, Response, Serve, Server};
use serde_json::Value;
use tempfile::TempDir;

use crate::component::Guest;
use crate::memory::{assert_takes_at_most, peak};
use crate::{assert_script_failed, assert_timed_out, assert_well};

const TIMEOUT: Duration = Duration::from_millis(500);

/// A server of the guest that uses WASI, with a model directory.
fn serve(timeout: &str) -> (TempDir, Server) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::write(folder.path().join("weights.json"), "[1, 2]").expect("a file");
    let server = Serve::guest("hostile").args("--timeout").arg(timeout).arg("--model_dir").arg(folder.path()).start();
    (folder, server)
}

fn ask(server: &Server, what: &str) -> Response {
    server.send(&Request::score(what))
}

#[test]
fn an_instance_serves_one_request_so_a_scorer_that_counts_never_gets_past_one() {
    let (_folder, server) = serve("30s");
    let mut client = server.connect();
    for _ in 0..200 {
        assert_eq!(client.send(&Request::score("count")).expect("an answer").text(), "1");
    }
    let (_written, serve) = Guest::new()
        .field("(global $runs (mut i32) (i32.const 0))")
        // The length of the answer is the number of runs.
        .run("(global.set $runs (i32.add (global.get $runs) (i32.const 1))) (i32.store (i32.const 212) (global.get $runs))")
        .serve();
    let server = serve.start();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..50 {
                    assert_eq!(ask(&server, "w").text(), "o");
                }
            });
        }
    });
}

#[test]
fn handles_without_end_end_the_request_and_take_little_memory() {
    let (_folder, server) = serve("30s");
    assert_eq!(ask(&server, "1000 streams").text(), "ok");
    assert_script_failed(&ask(&server, "1100 streams"));
    assert_takes_at_most(&server, 64 << 20, || {
        for what in ["pollables", "streams", "directories", "files"] {
            for _ in 0..3 {
                let begin = Instant::now();
                assert_script_failed(&ask(&server, what));
                println!("{what}: {:?}", begin.elapsed());
                assert_well(&server);
            }
        }
    });
    let open = || fs::read_dir(format!("/proc/{}/fd", server.process().id())).expect("it runs").count();
    eventually(Duration::from_secs(10), "the files that it opened are closed", || open() < 100);
}

#[test]
fn waiting_for_ever_and_calling_the_host_for_ever_end_with_the_deadline() {
    let (_folder, server) = serve("500ms");
    assert_takes_at_most(&server, 128 << 20, || {
        for what in ["wait", "poll", "randomness", "records"] {
            let begin = Instant::now();
            assert_timed_out(&ask(&server, what), TIMEOUT);
            println!("{what}: stopped after {:?}", begin.elapsed());
            assert!(begin.elapsed() < TIMEOUT + Duration::from_secs(2), "{what}: {:?}", begin.elapsed());
            assert_well(&server);
        }
    });
}

#[test]
fn what_the_host_would_have_to_make_room_for_is_refused() {
    let (_folder, server) = serve("30s");
    assert_takes_at_most(&server, 64 << 20, || {
        for what in ["too much randomness", "too many zeroes", "exit"] {
            assert_script_failed(&ask(&server, what));
            println!("{}", server.logged("run() was stopped"));
            assert_well(&server);
        }
        // There is no standard input.
        let response = ask(&server, "input");
        assert!(matches!(response.status, 200 | 500), "{response:?}");
        assert_well(&server);
    });
}

#[test]
fn a_record_that_the_host_will_not_take_over_ends_the_request() {
    // All of it could be logged.
    let server = Serve::guest("flood").args("--max-response 1MiB --max-host-call 2MiB --max-log 64MiB").start();
    assert_script_failed(&server.score(r#"{"records": 1, "record_bytes": 3145728}"#));
    server.logged("run() was stopped: ");
    // Three together have more than one may have.
    assert_eq!(server.score(r#"{"records": 1, "record_bytes": 1048576}"#).status, 200);
}

#[test]
fn a_line_of_a_gibibyte_is_cut_at_the_limit_of_the_log() {
    let server = Serve::guest("hostile").args("--timeout 60s").start();
    assert_takes_at_most(&server, 64 << 20, || {
        let begin = Instant::now();
        let response = ask(&server, "line");
        println!("a gibibyte without an end of line: {} after {:?}", response.status, begin.elapsed());
        assert_eq!(response.status, 200);
    });
    server.logged("log limit reached: ");
    let logged: usize = server.log().iter().filter(|line| line.contains("xxx")).map(String::len).sum();
    assert!(logged <= (1 << 20) + 8192, "{logged} bytes");
}

#[test]
fn messages_of_panics_and_faults_are_cut_at_the_limit_of_the_log() {
    let (_folder, server) = serve("30s");
    for what in ["panic", "fault"] {
        let logged = || server.log().iter().map(String::len).sum::<usize>();
        let before = logged();
        assert_script_failed(&ask(&server, what));
        println!("{what}: peak {} MiB", peak(&server) >> 20);
        assert!(server.logged("bytes were left out").len() <= (1 << 20) + 1024);
        // The line of this request comes after all that the one before has logged.
        assert_eq!(server.get(&format!("/after-{what}")).status, 404);
        server.logged(&format!("/after-{what}"));
        // The records of the scorer, and the exception, have the limit each; a newline becomes a line.
        assert!(logged() - before <= (2 << 20) + 8192, "{what}: {} bytes are in the log", logged() - before);
        assert_well(&server);
    }
}

/// What a guest can tell the time by. The host's clocks are finer.
#[test]
fn clocks_are_coarse() {
    let (_folder, server) = serve("30s");
    let found: Value = ask(&server, "clocks").json();
    println!("{found}");
    for clock in ["monotonic", "wall"] {
        assert_eq!(found[clock]["resolution"], 100_000, "{found}");
        // Nothing finer shows, whatever they say.
        assert_eq!(found[clock]["steps"]["smallest"].as_u64().map(|step| step % 100_000), Some(0), "{found}");
    }
}
