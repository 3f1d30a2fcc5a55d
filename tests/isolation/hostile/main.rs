//! Scorers, scripts and bundles that were made to do harm: each ends with the right error, in bounded time and memory, and
//! the server and those beside it go on.
#![allow(clippy::print_stdout, reason = "figures, for whoever asks for them with `--nocapture`")]

mod boundary;
mod bundles;
mod compile;
mod component;
mod memory;
mod python;
mod reach;
mod time;

use std::time::Duration;

use scorebox_tests::{Ended, Response, Server};

const SCRIPT: &str = "An unexpected error occurred in scoring script. Check the logs for more info.";

/// Checks that the server scores and is alive. The guests of this program answer so when the body begins with `w`.
#[track_caller]
fn assert_well(server: &Server) {
    let response = server.send(&scorebox_tests::Request::score("well"));
    assert_eq!((response.status, response.text()), (200, "ok"), "{}", server.process().said());
    assert_eq!(server.get("/livez").status, 200);
}

/// Sends a request whose body begins with this byte.
#[track_caller]
fn attack(server: &Server, kind: u8) -> Response {
    server.send(&scorebox_tests::Request::score([kind]))
}

/// Checks that the scorer was stopped, or gave up, and that the client is told no more.
#[track_caller]
fn assert_script_failed(response: &Response) {
    response.assert_error(500, SCRIPT);
    assert_eq!(response.header("x-ms-run-function-failed"), Some("True"));
}

/// Checks that the answer is that a request took too long.
#[track_caller]
fn assert_timed_out(response: &Response, limit: Duration) {
    response.assert_error(500, &format!("Scoring timeout after {} ms", limit.as_millis()));
}

/// Checks that a server did not start, and why.
#[track_caller]
fn assert_refused(ended: &Ended, texts: &[&str]) {
    assert_eq!(ended.code, Some(3), "{ended:?}");
    assert!(ended.stderr.starts_with("error: "), "{}", ended.stderr);
    for text in texts {
        assert!(ended.stderr.contains(text), "no {text:?} in {:?}", ended.stderr);
    }
    assert!(!ended.stdout.contains("listening on"), "{}", ended.stdout);
}
