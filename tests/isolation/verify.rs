//! `scorebox verify-isolation` finds nothing of an earlier request, and finds it in the control; and says so by its exit code.

use std::ffi::OsStr;
use std::fs;
use std::time::Duration;

use scorebox_tests::process::{Process, run, scorebox};
use scorebox_tests::{Ended, fixtures, python};
use serde_json::Value;

/// Requests of the long run.
const MANY: u64 = 100_000;
/// How long that may take on a machine that has other things to do.
const LONG: Duration = Duration::from_mins(10);

/// Runs the command with a cache of its own.
fn verify(arguments: &[&OsStr]) -> Ended {
    let cache = tempfile::tempdir().expect("a temporary folder can be made");
    let start = ["verify-isolation".as_ref(), "--cache-dir".as_ref(), cache.path().as_os_str()];
    Process::start(scorebox().args(start).args(arguments)).wait(LONG)
}

fn words(arguments: &str) -> Vec<&OsStr> {
    arguments.split(' ').map(OsStr::new).collect()
}

/// The report that a run printed which is to have passed.
#[track_caller]
fn passed(ended: &Ended) -> Value {
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let report: Value = serde_json::from_str(&ended.stdout).expect("a report in JSON");
    assert_eq!(report["passed"], true, "{report:#}");
    assert_eq!(report["reasons"], serde_json::json!([]), "{report:#}");
    assert_eq!(report["secrets_found"], 0, "{report:#}");
    assert_eq!(report["stale_values"], 0, "{report:#}");
    assert_eq!(report["instances_created"], report["requests"], "{report:#}");
    report
}

#[track_caller]
fn number(report: &Value, path: &str) -> u64 {
    report.pointer(path).and_then(Value::as_u64).unwrap_or_else(|| panic!("no number {path} in {report:#}"))
}

#[track_caller]
fn assert_at_least(report: &Value, path: &str, least: u64) {
    let found = number(report, path);
    assert!(found >= least, "{path} is {found}, less than {least}, in {report:#}");
}

#[test]
fn nothing_of_100000_requests_is_found_by_a_later_one_or_by_the_host_and_the_control_is_found_by_both() {
    let many = MANY.to_string();
    let report = passed(&verify(&words(&format!("--json --python-requests 0 --requests {many}"))));
    println!("{report:#}");
    // On a machine that is too busy a few are stopped before they have an instance.
    assert_at_least(&report, "/requests", MANY - 100);
    assert_at_least(&report, "/slots_reused", MANY - 100);
    // In each 4 KiB of at least six pages, by all that answered.
    assert_at_least(&report, "/secrets_planted", MANY * 6 * 16 / 2);
    assert_eq!(report["scanners"].as_array().map(Vec::len), Some(1));
    let scanner = &report["scanners"][0];
    assert_eq!(scanner["name"], "built-in");
    assert_eq!(number(scanner, "/deployments"), 7);
    for end in ["answered", "trapped", "failed", "out of memory", "stopped at its deadline", "aborted"] {
        // Some of these are one in 400, and of those that take long nearly all are stopped at their deadline where other
        // work has the cores: the promise is about what is found, and this that none of the ends is left out.
        assert_at_least(scanner, &format!("/ends/{end}"), 1);
    }
    assert_at_least(scanner, "/searches_of_pool", 25);
    // How many depends on how many guests are there at the same time: each deployment goes to the place it had last.
    assert_at_least(scanner, "/slots_given_to_another_deployment", 1);
    assert_at_least(scanner, "/secrets_of_live_instances_found", 25);
    assert_at_least(scanner, "/control/secrets_found_by_guests", 7);
    assert_at_least(scanner, "/control/secrets_found_by_host", 7);
}

#[test]
fn nothing_is_found_by_the_scanner_in_python_and_its_control_is() {
    let cache = python::compiled_cache();
    // The number of a request decides how it ends, and in Python one in 200 is to run into its deadline: after so many of
    // the first scanner, some of these do.
    let arguments = "verify-isolation --json --requests 2700 --python-requests 200 --cache-dir";
    let report = passed(&Process::start(scorebox().args(arguments.split(' ')).arg(cache)).wait(LONG));
    let scanner = &report["scanners"][1];
    assert_eq!(scanner["name"], "python");
    assert_at_least(scanner, "/requests", 200);
    for end in ["answered", "failed", "stopped at its deadline", "aborted"] {
        assert_at_least(scanner, &format!("/ends/{end}"), 1);
    }
    assert_at_least(scanner, "/secrets_of_live_instances_found", 1);
    assert_at_least(scanner, "/control/secrets_found_by_guests", 7);
    assert_at_least(scanner, "/control/secrets_found_by_host", 7);
}

#[test]
fn a_component_can_be_given() {
    let scorer = fixtures::example("iris-rust");
    let body = fixtures::folder(&[("body", r#"{"data": [[5.1,3.5,1.4,0.2]], "note": "CANARY"}"#)]);
    let body = body.path().join("body");
    let mut arguments = words("--json --requests 1000 --data");
    arguments.extend([body.as_os_str(), scorer.as_os_str()]);
    let report = passed(&verify(&arguments));
    assert_eq!(report["scanners"][0]["name"], scorer.to_str().expect("a path of letters"));
    assert_at_least(&report, "/requests", 1000);
    assert_at_least(&report, "/scanners/0/control/secrets_found_by_host", 1);
}

/// It answers with what the request before has left in its memory.
#[test]
fn a_scorer_that_would_leak_does_not_in_fresh_instances_and_does_in_the_control() {
    let module = fixtures::guest("leak");
    let mut arguments = words("--json --requests 1000");
    arguments.push(module.as_os_str());
    let report = passed(&verify(&arguments));
    // Each but the first of eight.
    assert_eq!(number(&report, "/scanners/0/control/secrets_found_by_guests"), 7);
}

#[test]
fn a_script_can_be_given() {
    let (cache, script) = (python::compiled_cache(), python::source("leaks/state.py"));
    let body = fixtures::folder(&[("body", r#"{"tenant": "CANARY"}"#)]);
    let mut command = scorebox();
    command.args("verify-isolation --json --requests 200 --cache-dir".split(' ')).arg(cache);
    command.arg("--data").arg(body.path().join("body")).arg(&script);
    // A script's app folder is the current one.
    command.current_dir(script.parent().expect("a script is in a folder"));
    let report = passed(&Process::start(&mut command).wait(LONG));
    assert_eq!(number(&report, "/scanners/0/control/secrets_found_by_guests"), 7, "{report:#}");
    assert_at_least(&report, "/scanners/0/control/secrets_found_by_host", 7);
}

/// Its first request ends the control's instance, so there is nothing that a second one could find.
#[test]
fn a_control_that_finds_nothing_is_a_failure() {
    let module = fixtures::guest("panic");
    let body = fixtures::folder(&[("body", r#"{"end": "trap", "secret": "CANARY"}"#)]);
    let body = body.path().join("body");
    let mut arguments = words("--json --requests 100 --data");
    arguments.extend([body.as_os_str(), module.as_os_str()]);
    let ended = verify(&arguments);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains("the control's secrets were not found in the pool"), "{ended:?}");
    let report: Value = serde_json::from_str(&ended.stdout).expect("a report in JSON");
    assert_eq!((&report["passed"], &report["secrets_found"]), (&false.into(), &0.into()), "{report:#}");
    assert_at_least(&report, "/scanners/0/ends/trapped", 90);
}

#[test]
fn the_report_is_printed_for_people_too() {
    let ended = verify(&words("--requests 300 --python-requests 0"));
    assert_eq!(ended.code, Some(0), "{ended:?}");
    for text in ["requests", "instances created", "places used again", "secrets of earlier requests found", "control"] {
        assert!(ended.stdout.contains(text), "no {text:?} in {}", ended.stdout);
    }
    assert!(ended.stdout.ends_with("passed\n") || ended.stdout.ends_with("passed"), "{}", ended.stdout);
}

#[test]
fn a_scorer_that_is_not_there_is_a_failure_and_no_requests_are_wrong_usage() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let nothing = folder.path().join("nothing.wasm");
    assert!(fs::metadata(&nothing).is_err());
    let ended = run(["verify-isolation".as_ref(), "--no-cache".as_ref(), nothing.as_os_str()]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains("nothing.wasm"), "{ended:?}");
    assert_eq!(run(["verify-isolation", "--requests", "0"]).code, Some(2));
}
