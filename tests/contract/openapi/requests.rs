//! The server does what its documents say: schemathesis makes requests of the documents, good and bad ones, and looks at
//! the answers.
//!
//! All its checks run but one: a request without a valid token is answered, because checking it is the business of what
//! stands before the server, and the document speaks of the whole (`ignored_auth`; nor are there requests that differ in
//! their token only). What the checks find is compared with tables: each row is a place in which the contract has it
//! otherwise than its own document, or in which a document can say less than a scorer checks. Anything else fails the test,
//! and so does a row that is not found any more.

use std::fs;
use std::time::Duration;

use scorebox_tests::process::Process;
use scorebox_tests::{Serve, Server};
use serde::Deserialize;

use super::{VERSIONS, document, output_of, program, script};

/// Requests of each kind for each operation.
const EXAMPLES: &str = "40";
/// How long a run may take.
const LIMIT: Duration = Duration::from_mins(3);

const NOT_ALLOWED: &str = "The method is not allowed for the requested URL.";
const SCRIPT: &str = "An unexpected error occurred in scoring script. Check the logs for more info.";
const INTERNAL: &str = "An unexpected internal error occurred. Check the logs for more info.";

/// What a run of schemathesis has found.
#[derive(Debug, Deserialize)]
struct Report {
    requests: usize,
    findings: Vec<Finding>,
    errors: Vec<String>,
    failures: Vec<Failure>,
}

/// The check, whether the request was to be `positive` or `negative`, the operation, the answer's status and message.
#[derive(Debug, Deserialize)]
struct Finding(String, String, String, u16, Option<String>);

/// An answer with a status of 500 and more: kind of request, operation, status, message, `x-ms-run-function-failed`.
#[derive(Debug, PartialEq, Eq, Deserialize)]
struct Failure(String, String, u16, Option<String>, Option<String>);

/// A finding that is to be.
#[derive(Debug, Clone, Copy)]
struct Known {
    /// Versions of the document that it is of.
    versions: &'static [&'static str],
    check: &'static str,
    /// Kind of request; any where it is empty.
    kind: &'static str,
    /// What the operation ends with.
    operation: &'static str,
    status: u16,
    /// What the message begins with; it may be none where this is empty.
    message: &'static str,
}

const fn known(
    versions: &'static [&'static str],
    check: &'static str,
    kind: &'static str,
    operation: &'static str,
    status: u16,
    message: &'static str,
) -> Known {
    Known { versions, check, kind, operation, status, message }
}

/// What is found with every scorer.
const ALWAYS: [Known; 6] = [
    // `Healthy` is sent as `text/html; charset=utf-8`; the documents say `application/json` and `text/plain`.
    known(&VERSIONS, "content_type_conformance", "", "GET /", 200, ""),
    // The document itself is an object. Version 2 says that it is a text, the others that it is `text/plain`.
    known(&["2"], "response_schema_conformance", "", "GET /swagger.json", 200, ""),
    known(&["3", "3.1"], "content_type_conformance", "", "GET /swagger.json", 200, ""),
    // A method that a route does not take is answered without `Allow`.
    known(&VERSIONS, "unsupported_method", "negative", " /", 405, NOT_ALLOWED),
    known(&VERSIONS, "unsupported_method", "negative", " /score", 405, NOT_ALLOWED),
    known(&VERSIONS, "unsupported_method", "negative", " /swagger.json", 405, NOT_ALLOWED),
];

/// What is found with every scorer of JSON: the documents do not say that a request needs a body.
const NO_BODY: Known =
    known(&VERSIONS, "positive_data_acceptance", "positive", "POST /score", 415, "Expects Content-Type to be");

impl Known {
    fn is(&self, version: &str, Finding(check, kind, operation, status, message): &Finding) -> bool {
        self.versions.contains(&version)
            && self.check == check
            && kind.starts_with(self.kind)
            && operation.ends_with(self.operation)
            && self.status == *status
            && message.as_deref().unwrap_or_default().starts_with(self.message)
    }
}

/// Has schemathesis make requests of one version of the document.
fn exercise(server: &Server, version: &str) -> Report {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let file = folder.path().join("document.json");
    let report = folder.path().join("report.ndjson");
    fs::write(&file, document(server, version).expect("a document").to_string()).expect("it can be written to");
    let mut command = program("schemathesis");
    command.args(["run", "--no-color", "--generation-deterministic", "--continue-on-failure"]);
    command.args(["--max-examples", EXAMPLES, "--phases", "examples,coverage,fuzzing", "--request-timeout", "30"]);
    command.args(["--exclude-checks", "ignored_auth", "--generation-with-security-parameters", "false"]);
    command.args(["--report", "ndjson", "--report-ndjson-path"]).arg(&report);
    command.arg("--url").arg(format!("http://{}", server.address())).arg(&file).current_dir(&folder);
    let ended = Process::start(&mut command).wait(LIMIT);
    // 1 says that there are findings.
    assert_eq!(ended.code, Some(1), "{}\n{}", ended.stdout, ended.stderr);
    serde_json::from_value(output_of("findings.py", report, "")).expect("a report")
}

/// Exercises all versions, and compares what is found with what is known.
#[track_caller]
fn assert_known(server: &Server, of_scorer: &[Known]) -> Vec<Failure> {
    let mut failures = Vec::new();
    let known: Vec<_> = ALWAYS.iter().chain(of_scorer).collect();
    for version in VERSIONS {
        let report = exercise(server, version);
        assert!(report.errors.is_empty(), "version {version}: {:#?}", report.errors);
        assert!(report.requests > 100, "version {version}: only {} requests", report.requests);
        for finding in &report.findings {
            assert!(known.iter().any(|known| known.is(version, finding)), "version {version}: {finding:?}");
        }
        for known in known.iter().filter(|known| known.versions.contains(&version)) {
            let found = report.findings.iter().any(|finding| known.is(version, finding));
            assert!(found, "version {version}: not found any more: {known:?}");
        }
        failures.extend(report.failures);
    }
    failures
}

#[test]
fn a_rust_scorer_takes_what_fits_its_document_and_refuses_what_does_not() {
    let server = Serve::guest("typed").start();
    let failures = assert_known(
        &server,
        &[
            NO_BODY,
            // The contract takes GET as well, and has the parameters of the query for the body.
            known(&VERSIONS, "unsupported_method", "negative", "GET /score", 400, "A value is not provided for the"),
            // In JSON Schema since draft 6 a number such as 38.0 is an integer. In Rust it is none.
            known(&["3.1"], "positive_data_acceptance", "positive", "POST /score", 400, "The value of the "),
        ],
    );
    assert_eq!(failures, []);
}

#[test]
fn a_raw_scorer_takes_everything() {
    let server = Serve::guest("echo").start();
    let failures = assert_known(
        &server,
        &[
            known(&VERSIONS, "unsupported_method", "negative", "GET /score", 200, ""),
            // Its input is not declared, and its document says that it is an object.
            known(&VERSIONS, "negative_data_rejection", "negative", "POST /score", 200, ""),
        ],
    );
    assert_eq!(failures, []);
}

#[test]
fn an_undecorated_script_takes_everything() {
    let server = script("undecorated").start();
    let failures = assert_known(
        &server,
        &[
            known(&VERSIONS, "unsupported_method", "negative", "GET /score", 200, ""),
            known(&VERSIONS, "negative_data_rejection", "negative", "POST /score", 200, ""),
        ],
    );
    assert_eq!(failures, []);
}

/// The contract answers with 500, not with 400, where a value is not of the parameter's type, and where a body is not text.
const NAMED: [(&str, &str); 2] = [(SCRIPT, "True"), (INTERNAL, "False")];

#[track_caller]
fn assert_named(failures: &[Failure], kinds: &[&str]) {
    assert!(!failures.is_empty());
    for failure @ Failure(kind, operation, status, message, failed) in failures {
        assert!(kinds.contains(&&**kind) && operation.ends_with("/score") && *status == 500, "{failure:?}");
        let said = (message.as_deref().unwrap_or_default(), failed.as_deref().unwrap_or_default());
        assert!(NAMED.contains(&said), "{failure:?}");
    }
}

#[test]
fn a_script_whose_types_are_those_of_its_document_takes_all_that_fits_it() {
    let server = script("accepts").start();
    let failures = assert_known(
        &server,
        &[
            NO_BODY,
            known(&VERSIONS, "unsupported_method", "negative", "GET /score", 200, ""),
            // Conversion looks at less than the document says: not at the items of a list or the members of an object.
            known(&VERSIONS, "negative_data_rejection", "negative", "POST /score", 200, ""),
            known(&VERSIONS, "not_a_server_error", "negative", "POST /score", 500, "An unexpected "),
        ],
    );
    assert_named(&failures, &["negative"]);
}

#[test]
fn a_script_that_takes_less_than_its_document_says_answers_with_the_errors_that_the_contract_names() {
    let server = script("refuses").start();
    let failures = assert_known(
        &server,
        &[
            NO_BODY,
            known(&VERSIONS, "unsupported_method", "negative", "GET /score", 400, "A value is not provided for the"),
            // The document does not say that there has to be a value, nor that rows have one length, nor how large the
            // numbers are.
            known(&VERSIONS, "positive_data_acceptance", "positive", "POST /score", 400, "A value is not provided"),
            known(&VERSIONS, "not_a_server_error", "positive", "POST /score", 500, SCRIPT),
            known(&VERSIONS, "not_a_server_error", "negative", "POST /score", 500, "An unexpected "),
        ],
    );
    assert_named(&failures, &["positive", "negative"]);
}
