//! The documents of `/swagger.json` are what the official JSON Schemas of OpenAPI allow, and the server does what they
//! say, but for what the contract of Azure ML's inference server 1.5.1 has otherwise.

mod documents;
mod requests;

use std::path::PathBuf;
use std::process::{Command, Stdio};

use scorebox_tests::{Serve, Server, python};
use serde_json::Value;

/// The versions, as `/swagger.json` is asked for them.
const VERSIONS: [&str; 3] = ["2", "3", "3.1"];

/// A server of a script of tests/python/openapi/scripts.
fn script(name: &str) -> Serve {
    python::serve_source(&format!("openapi/scripts/{name}.py"))
}

/// A version of the document; none where the server has none.
fn document(server: &Server, version: &str) -> Option<Value> {
    let response = server.get(&format!("/swagger.json?version={version}"));
    assert!(matches!(response.status, 200 | 404), "{response:?}");
    (response.status == 200).then(|| response.json())
}

/// A program of the environment that the checks run in.
fn program(name: &str) -> Command {
    Command::new(python::environment("openapi").join(name))
}

/// What a program of tests/python/openapi prints, which is JSON.
fn output_of(name: &str, argument: impl Into<PathBuf>, input: &str) -> Value {
    use std::io::Write as _;

    let mut command = program("python");
    command.arg(python::source(&format!("openapi/{name}"))).arg(argument.into());
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("Python starts");
    // It is dropped, which ends the input.
    child.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("it is read");
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{name} failed: {}", String::from_utf8_lossy(&output.stdout));
    serde_json::from_slice(&output.stdout).expect("it prints JSON")
}
