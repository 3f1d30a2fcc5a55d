//! How a script fares in the sandbox: what it can do there, what it cannot, and how it is told.

mod asked;
mod ends;
mod files;
mod forbidden;
mod fresh;
mod interpreter;
mod log;
mod older;
mod preload;
mod start;
mod streams;

use std::path::{Path, PathBuf};

use scorebox_tests::{Response, Serve, Server, python};

const SCRIPT: &str = "An unexpected error occurred in scoring script. Check the logs for more info.";

/// The folder of a script, and of the files that are deployed with it.
fn folder(name: &str) -> PathBuf {
    python::source("scripts").join(name)
}

/// A server of the script in a folder.
fn serve(folder: &Path) -> Serve {
    python::serve(folder.join("score.py"))
}

/// A server of the script in a folder of tests/python/scripts.
fn start(name: &str) -> Server {
    serve(&folder(name)).start()
}

#[track_caller]
fn assert_script_failed(response: &Response) {
    response.assert_error(500, SCRIPT);
    assert_eq!(response.header("x-ms-run-function-failed"), Some("True"));
}

/// The answer to a body, which is to be 200.
#[track_caller]
fn answer(server: &Server, body: &serde_json::Value) -> serde_json::Value {
    let response = server.score(&body.to_string());
    assert_eq!(response.status, 200, "{response:?}; {}", server.process().said());
    response.json()
}
