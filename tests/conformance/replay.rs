//! A server, and all that it is asked.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use scorebox_tests::process::Process;
use scorebox_tests::python;
use scorebox_tests::server::free_port;

use crate::cases::{Group, Setup};
use crate::compare::compare;
use crate::exchange::exchange;

/// How long a start may take, and an end.
const LIMIT: Duration = Duration::from_mins(2);

/// What became of a case.
#[derive(Debug)]
pub(crate) struct Outcome<'a> {
    /// The group of the case.
    pub(crate) group: &'a str,
    /// The name of the case.
    pub(crate) name: String,
    /// How it differs from what was recorded.
    pub(crate) differences: Vec<String>,
}

/// Starts a server and sends it all of its requests.
pub(crate) fn replay<'a>(group: &'a Group, setup: &Setup) -> Vec<Outcome<'a>> {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    write(folder.path(), "score.py", setup.script.as_deref());
    for (name, lines) in &setup.files {
        write(folder.path(), name, Some(lines));
    }
    let mut serve = python::serve(folder.path().join("score.py"));
    for (name, value) in &setup.environment {
        serve = serve.env(name, value);
    }
    let port = free_port();
    let (process, _cache) = serve.spawn(port);
    let listens = process.line(LIMIT, |line| line.contains("listening on http://127.0.0.1:")).is_some();

    let outcome = |case: &str, differences| {
        let name = if case.is_empty() { setup.name.clone() } else { format!("{}__{case}", setup.name) };
        Outcome { group: &group.name, name, differences }
    };
    let mut outcomes = Vec::new();
    if !listens && setup.starts != Some(false) {
        let reason = format!("the server does not start: {}", process.said());
        outcomes.extend(setup.starts.map(|_| outcome("", vec![reason.clone()])));
        outcomes.extend(setup.cases.iter().map(|case| outcome(&case.name, vec![reason.clone()])));
        return outcomes;
    }
    for case in &setup.cases {
        let differences = match exchange(SocketAddr::from((Ipv4Addr::LOCALHOST, port)), &case.request) {
            Ok(response) => compare(group, &case.response, &response),
            Err(error) => vec![format!("no response: {error}")],
        };
        outcomes.push(outcome(&case.name, differences));
    }
    match setup.starts {
        None => {}
        Some(true) => outcomes.push(outcome("", Vec::new())),
        Some(false) if listens => outcomes.push(outcome("", vec!["the server starts".into()])),
        Some(false) => outcomes.push(outcome("", refusal(setup, process))),
    }
    outcomes
}

fn write(folder: &Path, name: &str, lines: Option<&[String]>) {
    let Some(lines) = lines else { return };
    let path = folder.join(name);
    fs::create_dir_all(path.parent().expect("a file is in a folder")).expect("a temporary folder can be written to");
    fs::write(path, lines.join("\n") + "\n").expect("a temporary folder can be written to");
}

/// How the end of a server that does not start differs from what was recorded.
fn refusal(setup: &Setup, process: Process) -> Vec<String> {
    let ended = process.wait(LIMIT);
    let mut differences = Vec::new();
    if ended.code != setup.exit_code {
        differences.push(format!("exit code {:?} instead of {:?}", ended.code, setup.exit_code));
    }
    for text in &setup.says {
        if !ended.stdout.contains(text) && !ended.stderr.contains(text) {
            differences.push(format!("it does not say {text:?}, but {:?} and {:?}", ended.stdout, ended.stderr));
        }
    }
    differences
}
