//! The log of a server: the lines of the loggers that belong to the contract.

use std::sync::LazyLock;

use regex::Regex;

use crate::cases::{Case, Group, Values};
use crate::places::Places;

/// Level, logger and message of a line. Lines that continue a message have none of it.
static LINE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} ([DIWEC]) \[\d+\] (azmlinfsrv(?:\.\S+)?) - (.*)$")
        .expect("a pattern of ours is right")
});

/// How the messages of a start begin. One may come between requests, when the real server replaces a worker.
const START: [&str; 14] = [
    "Found extra keys",
    "Starting up app insights",
    "Model directory is not set",
    "Found user script",
    "run() is ",
    "Invoking user's init",
    "Users's init",
    "Swaggers are",
    "Scoring timeout is",
    "Worker with pid",
    "Enabling CORS",
    "No swagger",
    "Loaded logging",
    "The debuggability features",
];

/// The lines of the log among all lines of standard output, with names for what differs from run to run.
pub(crate) fn lines(stdout: &[String], places: &Places) -> Vec<String> {
    // A message may have line breaks of its own, of either kind.
    let parts = stdout.iter().filter_map(|line| LINE.captures(line.trim_end_matches('\r')));
    parts.map(|parts| format!("{} {} - {}", &parts[1], &parts[2], places.name(&parts[3]))).collect()
}

/// The lines of a request: those that are not of a start.
pub(crate) fn of_request(stdout: &[String], places: &Places) -> Vec<String> {
    let mut lines = lines(stdout, places);
    lines.retain(|line| {
        let message = line.split_once(" - ").map_or("", |(_, message)| message);
        !START.iter().any(|start| message.starts_with(start))
    });
    lines
}

/// What is expected in the log of a case.
pub(crate) fn expected(group: &Group, case: &Case) -> Vec<String> {
    let usual = usual(group, case);
    let Some(log) = &case.log else { return usual.into_iter().collect() };
    log.iter()
        .map(|line| match (&**line, &usual) {
            ("<request>", Some(usual)) => usual.clone(),
            _ => line.clone(),
        })
        .collect()
}

/// The line of a request that the script or the document answered.
fn usual(group: &Group, case: &Case) -> Option<String> {
    let response = case.response.as_ref()?;
    let has_id = matches!(response.headers(group).get("x-request-id"), Some(Values::One(_) | Values::Several(_)));
    let target = case.request.target();
    let logged = ["/score", "/swagger.json"].contains(&target.split('?').next().unwrap_or_default());
    let (method, status) = (&case.request.method, response.status);
    (has_id && logged && status != 431)
        .then(|| format!("I azmlinfsrv - {method} {target} {status} <ms>ms {}", response.body().len()))
}
