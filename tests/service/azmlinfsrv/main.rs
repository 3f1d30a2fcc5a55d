//! The program under its second name, `azmlinfsrv`: the command line, the settings, the log and the signals of Azure ML's
//! inference server.

mod app_folder;
mod command_line;
mod config;
mod http_rules;
mod managed;
mod scripts;
mod settings;
mod signals;
mod start_up;
mod workers;

use std::fs;
use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;
use scorebox_tests::fixtures::{self, folder};
use scorebox_tests::process::{Process, hermetic, scorebox};
use scorebox_tests::server::free_port;
use scorebox_tests::wait::{PATIENCE, eventually};
use scorebox_tests::{Client, Ended, Request, Response, Serve, Server, python};
use serde_json::{Value, json};

const KEY: &str = "0a1b2c3d-2222-4333-8444-555566667777";

/// A server of a component of tests/guests.
fn guest(name: &str) -> Serve {
    Serve::azmlinfsrv().arg("--entry_script").arg(fixtures::guest(name))
}

/// A server that is started in the folder of its scripts.
fn in_python(folder: &Path) -> Serve {
    let serve = Serve::azmlinfsrv().in_folder(folder).cache(python::compiled_cache());
    // What all tests with scripts share is not to be trimmed by this one.
    serve.env("SCOREBOX_CACHE_SIZE", "3GiB")
}

/// A line of the log without its time and process: `I azmlinfsrv - Invoking user's init function`. Others are as they are.
fn record(line: &str) -> String {
    let parts = line.split_at_checked(24).and_then(|(_, rest)| {
        let (level, rest) = rest.split_once(" [")?;
        let (_, rest) = rest.split_once("] ")?;
        (level.len() == 1).then(|| format!("{level} {rest}"))
    });
    parts.unwrap_or_else(|| line.to_owned())
}

fn records(ended: &Ended) -> Vec<String> {
    ended.stdout.lines().map(record).collect()
}

/// Checks that the server did not start, and ended in this way.
#[track_caller]
fn assert_refused(ended: &Ended, code: i32) {
    assert_eq!(ended.code, Some(code), "{ended:?}");
    assert!(!ended.stdout.contains("listening on") && !ended.stderr.contains("panicked"), "{ended:?}");
}

/// The name of the service, as the OpenAPI document has it.
#[track_caller]
fn title(server: &Server) -> String {
    server.get("/swagger.json").json()["info"]["title"].as_str().expect("a document has a title").to_owned()
}

/// Does as it is told.
const PROBE: &str = r#"import json
import os
import sys
import time


def init():
    print("init", "ran")


def run(data):
    asked = json.loads(data)
    if "names" in asked:
        return {name: os.environ.get(name) for name in asked["names"]}
    if "text" in asked:
        print(asked["text"])
    if "raise" in asked:
        raise ValueError(asked["raise"])
    if "exit" in asked:
        sys.exit(asked["exit"])
    return "done"
"#;

/// Checks that a response is a page as gunicorn writes it, which has none of the headers of the server behind it.
#[track_caller]
fn assert_page(response: &Response, status: u16, reason: &str, message: &str) {
    assert_eq!(response.status, status, "{response:?}");
    assert_eq!(response.header("content-type"), Some("text/html"));
    assert_eq!(
        response.text(),
        format!(
            "<html>\n  <head>\n    <title>{reason}</title>\n  </head>\n  <body>\n    <h1><p>{reason}</p></h1>\n    \
             {message}\n  </body>\n</html>\n"
        )
    );
    for name in ["x-request-id", "x-ms-request-id", "x-ms-client-request-id", "x-ms-server-version", "traceid"] {
        assert_eq!(response.header(name), None);
    }
}
