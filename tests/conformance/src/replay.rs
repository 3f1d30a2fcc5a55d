//! A server, and all that it is asked.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::time::{Duration, Instant};

use scorebox_tests::process::Process;
use scorebox_tests::server::free_port;
use scorebox_tests::wait::holds_within;

use crate::cases::{Case, Group, Setup};
use crate::compare::compare;
use crate::exchange::{exchange, is_healthy};
use crate::log;
use crate::places::Places;
use crate::servers::Server;

/// How long a start may take, and an end without one.
const START: Duration = Duration::from_mins(2);
/// How long a server is watched that goes on trying to start.
const TRYING: Duration = Duration::from_secs(6);
/// How long an answer to a health check may take.
const HEALTH: Duration = Duration::from_secs(5);
/// How long a server is given to end when it is asked to.
const END: Duration = Duration::from_secs(10);
/// How long after a response its lines may come to the log.
const LOG: Duration = Duration::from_secs(2);
/// How long a line is waited for that may not come.
const QUIET: Duration = Duration::from_millis(50);

/// What became of a case.
#[derive(Debug)]
pub struct Outcome {
    /// The name of the case.
    pub name: String,
    /// How it differs from what was recorded.
    pub differences: Vec<String>,
}

/// Starts a server as a setup says, and sends it all of its requests.
pub fn replay(server: &Server, group: &Group, setup: &Setup) -> Vec<Outcome> {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let (port, second_port) = ports(server, &setup.name);
    let places = Places::new(folder.path(), port, second_port);
    let mut running = Running { process: start(server, folder.path(), setup, &places), port, second_port, places };
    let ready = running.is_ready(setup);

    let mut outcomes = Vec::new();
    if setup.starts.is_some() {
        let differences = running.compare_start(setup, ready);
        outcomes.push(Outcome { name: setup.start_name().to_owned(), differences });
    }
    if ready {
        running.has_started();
        std::thread::sleep(Duration::from_secs_f64(setup.settle));
    }
    for case in &setup.cases {
        let differences = if ready {
            running.compare_case(group, case)
        } else {
            vec![format!("the server does not start: {}", running.process.said())]
        };
        outcomes.push(Outcome { name: setup.case_name(case), differences });
    }
    running.process.end(END);
    outcomes
}

/// Two ports that nobody has. They are the same ones each time, if possible: Scorebox finds a script that it has started
/// before, and a script may ask for the port.
fn ports(server: &Server, name: &str) -> (u16, u16) {
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    let pairs = u64::try_from(server.ports.len() / 2).unwrap_or(1);
    let first = server.ports.start + u16::try_from(hasher.finish() % pairs * 2).unwrap_or_default();
    let free = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
    if free(first) && free(first + 1) { (first, first + 1) } else { (free_port(), free_port()) }
}

fn start(server: &Server, folder: &Path, setup: &Setup, places: &Places) -> Process {
    let script = setup.entry_script.as_ref();
    if let (Some(script), Some(lines)) = (script, &setup.script) {
        write(folder, script, lines);
    }
    for (name, lines) in &setup.files {
        write(folder, name, lines);
    }
    let mut arguments = Vec::new();
    if let Some(script) = script {
        arguments.extend(["--entry_script".into(), script.clone()]);
    }
    arguments.extend(["--port".into(), "<port>".into()]);
    arguments.extend(setup.arguments.iter().cloned());
    let environment = setup.environment.iter().map(|(name, value)| (&**name, places.fill(value)));
    server.start(folder, arguments.iter().map(|argument| places.fill(argument)), environment)
}

fn write(folder: &Path, name: &str, lines: &[String]) {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().expect("a file is in a folder")).expect("a temporary folder can be written to");
    let text: String = lines.iter().flat_map(|line| [line, "\n"]).collect();
    fs::write(path, text).expect("a temporary folder can be written to");
}

/// A server that was started.
struct Running {
    process: Process,
    port: u16,
    second_port: u16,
    places: Places,
}

impl Running {
    /// Waits until it answers health checks, or until it is clear that it will not.
    fn is_ready(&mut self, setup: &Setup) -> bool {
        let goes_on_trying = setup.starts == Some(false) && setup.exit_code.is_none();
        let limit = if goes_on_trying { TRYING } else { START };
        let begin = Instant::now();
        while begin.elapsed() < limit && self.process.runs() {
            if is_healthy(address(self.port), HEALTH.min(limit.saturating_sub(begin.elapsed()))) {
                return true;
            }
            std::thread::sleep(QUIET);
        }
        false
    }

    /// Waits for the last line of a start, which may come after its first answer.
    fn has_started(&self) {
        let is_last = |line: &String| line.ends_with("ready for serving traffic");
        holds_within(LOG, || self.process.stdout().iter().any(is_last));
    }

    /// How a start differs from what was recorded.
    fn compare_start(&mut self, setup: &Setup, ready: bool) -> Vec<String> {
        let mut differences = Vec::new();
        if setup.starts != Some(ready) {
            differences.push(if ready { "it starts".into() } else { "it does not start".to_owned() });
        }
        // The last lines may be under way.
        let mut missing = Vec::new();
        holds_within(LOG, || {
            missing = self.missing(setup);
            missing.is_empty()
        });
        let code = self.process.exit_code();
        if code != setup.exit_code {
            differences.push(format!("exit code {code:?} instead of {:?}", setup.exit_code));
        }
        differences.extend(missing);
        if !differences.is_empty() {
            differences.push(self.process.said());
        }
        differences
    }

    /// What a start should have said.
    fn missing(&self, setup: &Setup) -> Vec<String> {
        let (stdout, stderr) = (self.process.stdout(), self.process.stderr());
        let (stdout_text, stderr_text) = (self.places.name(&stdout.join("\n")), self.places.name(&stderr.join("\n")));
        let log = log::lines(&stdout, &self.places);
        let lacks = |what: &str, text: &String| format!("{what} lacks {text:?}");
        let stdout = setup.stdout.iter().filter(|text| !stdout_text.contains(&***text));
        let stderr = setup.stderr.iter().filter(|text| !stderr_text.contains(&***text));
        let lines = setup.log.iter().filter(|line| !log.contains(line));
        stdout
            .map(|text| lacks("standard output", text))
            .chain(stderr.map(|text| lacks("standard error", text)))
            .chain(lines.map(|line| lacks("the log", line)))
            .collect()
    }

    /// How an answer differs from what was recorded.
    fn compare_case(&self, group: &Group, case: &Case) -> Vec<String> {
        let before = self.process.stdout().len();
        let port = if case.request.second_port { self.second_port } else { self.port };
        let mut differences = match (exchange(address(port), &case.request), &case.response) {
            (Ok(response), Some(expected)) => compare(group, expected, &response),
            (Ok(response), None) => vec![format!("status {} instead of no response", response.status)],
            (Err(error), Some(_)) => vec![format!("no response: {error}")],
            (Err(_), None) => Vec::new(),
        };
        let expected = log::expected(group, case);
        let log = || log::of_request(&self.process.stdout()[before..], &self.places);
        holds_within(LOG, || log().len() >= expected.len());
        std::thread::sleep(QUIET);
        let log = log();
        if log != expected {
            differences.push(format!("log {log:?} instead of {expected:?}"));
        }
        std::thread::sleep(Duration::from_secs_f64(case.settle));
        differences
    }
}

fn address(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}
