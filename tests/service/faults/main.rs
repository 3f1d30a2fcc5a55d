//! What happens around the server, and not to it: kills, disks that fail, a clock that is set, a log that nobody takes, and a
//! system that has no descriptors left. In each case it serves on, or ends with a reason; and the next start is fine.

mod clock;
mod descriptors;
mod disk;
mod kills;
mod logs;

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use scorebox_tests::fixtures::IRIS;
use scorebox_tests::process::Process;
use scorebox_tests::server::free_port;
use scorebox_tests::wait::{PATIENCE, eventually};
use scorebox_tests::{Client, Request, Serve, Server};
use tempfile::TempDir;

/// The functions of the C library that can be made to fail; the server finds them before its own.
fn shim() -> &'static Path {
    static SHIM: OnceLock<(TempDir, PathBuf)> = OnceLock::new();
    let (_folder, path) = SHIM.get_or_init(|| {
        let folder = folder();
        let path = folder.path().join("shim.so");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("service/faults/shim.c");
        let mut command = Command::new("cc");
        command.args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"]).arg(&path).arg(source);
        let output = command.output().expect("there is a C compiler: the build needs one");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        (folder, path)
    });
    path
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

/// Whether a line of the log says that something is wrong; that there is no model directory is always said.
fn is_complaint(line: &str) -> bool {
    (line.contains(" W [") || line.contains(" E [")) && !line.contains("Model directory is not set")
}

/// The lines of the log that say so.
fn complaints(server: &Server) -> Vec<String> {
    server.log().into_iter().filter(|line| is_complaint(line)).collect()
}

#[track_caller]
fn assert_scores(server: &Server) {
    let response = server.score(IRIS);
    assert_eq!(response.status, 200, "{response:?}");
    assert_eq!(response.json()["prediction"], serde_json::json!(["setosa"]));
}

/// The names of the files in a folder, without those that a cache always has.
fn files(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").file_name());
    let names = entries.map(|name| name.to_string_lossy().into_owned());
    names.filter(|name| name != "key" && name != "CACHEDIR.TAG").collect()
}

/// Whether a file's name has this ending.
fn is(name: &str, ending: &str) -> bool {
    Path::new(name).extension().is_some_and(|other| other == ending)
}

/// A server whose standard output need not say when it listens: it is asked.
fn start_silent(serve: &Serve) -> (Process, SocketAddr) {
    let port = free_port();
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let (mut process, _shared) = serve.spawn(port);
    eventually(PATIENCE, "it is ready", || {
        assert!(process.runs(), "it ended; {}", process.said());
        let answer = Client::connect(address).and_then(|mut client| client.send(&Request::get("/readyz")));
        answer.is_ok_and(|answer| answer.status == 200)
    });
    (process, address)
}
