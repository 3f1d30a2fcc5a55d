//! Section 6 of the contract: what a client is told when there is no result.

use scorebox_tests::{Response, Serve};

const SCRIPT: &str = "An unexpected error occurred in scoring script. Check the logs for more info.";

#[track_caller]
fn assert_failed(response: &Response, failed: &str) {
    assert_eq!(response.header("x-ms-run-function-failed"), Some(failed));
    assert_eq!(response.header("x-ms-run-fn-exec-ms"), None);
    assert_eq!(response.header("x-ms-server-version"), Some("azmlinfsrv/1.5.1"));
    assert!(response.header("x-request-id").is_some());
}

#[test]
fn a_scorer_that_fails_is_answered_with_500_and_the_reason_is_in_the_log_only() {
    let server = Serve::guest("panic").start();
    let response = server.score(r#"{"end": "error", "secret": "a-7f3c"}"#);
    response.assert_error(500, SCRIPT);
    assert_failed(&response, "True");
    assert!(server.logged("Encountered Exception: ").contains("the secret is a-7f3c"));
}

#[test]
fn a_scorer_can_refuse_its_input_with_400_and_415_and_a_message_for_the_client() {
    let server = Serve::guest("panic").start();
    for (end, status) in [("bad_input", 400), ("unsupported_input", 415)] {
        let response = server.score(&format!(r#"{{"end": "{end}", "secret": "too \"long\"\n"}}"#));
        response.assert_error(status, "too \"long\"\n");
        assert_failed(&response, "False");
    }
}

#[test]
fn a_scorer_that_takes_too_long_is_answered_with_500_and_its_time_limit() {
    let server = Serve::guest("spin").args("--timeout 100ms").start();
    let response = server.score(r#"{"spin": true}"#);
    response.assert_error(500, "Scoring timeout after 100 ms");
    assert_failed(&response, "True");
    server.logged("run() was stopped: Scoring timeout after 100 ms");
}

#[test]
fn the_time_limit_is_also_taken_from_the_environment() {
    let server = Serve::guest("spin").env("SCORING_TIMEOUT_MS", "150").start();
    server.score(r#"{"spin": true}"#).assert_error(500, "Scoring timeout after 150 ms");
}
