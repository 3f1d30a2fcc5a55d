//! Many deployments on one server, through its API: what they take while they are resident and when they are parked, and how
//! long it takes them to come back.
//!
//! Each is sealed for itself, because each has a version of its own. The files of the cache are in the memory of the system,
//! where sealing or the start before has left them.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use scorebox_tests::server::free_port;
use scorebox_tests::{Client, Request, Response, Serve, Server, fixtures};
use serde_json::{Value, json};

use crate::stats::{median, percentile};
use crate::{BODY, Result, example, machine, write};

/// The environment variable with the folder in which the deployments are kept.
const STATE: &str = "SCOREBOX_LOAD_STATE";
/// The operator's token.
const TOKEN: &str = "0123456789abcdef0123456789abcdef";
/// A script of the core flavour: CPython, and what Azure ML's contract needs.
const SCRIPT: &str =
    "import json\n\n\ndef init():\n    pass\n\n\ndef run(raw):\n    return sum(json.loads(raw)['data'][0])\n";
/// How long all may take to be sealed, or to come back.
const PATIENCE: Duration = Duration::from_hours(1);
/// How often it is looked whether that is over.
const LOOK: Duration = Duration::from_millis(50);
/// After how long without a request a deployment is parked, in the run that shows what that gives back.
const PARK_AFTER: &str = "60s";
/// How long the allocator is given to return what is free.
const SETTLE: Duration = Duration::from_secs(3);
/// Bytes of a MiB.
const MIB: f64 = 1_048_576.0;

/// A kind of deployments.
struct Kind {
    name: &'static str,
    count: usize,
    /// MiB that all of them may take.
    memory: f64,
    /// Milliseconds in which one that is parked is to answer.
    answer: f64,
}

/// What was measured of a kind.
struct Measured {
    deploying_seconds: Option<f64>,
    memory: Vec<(&'static str, Taken)>,
    /// MiB that the server reckons all of them to take.
    reckoned: f64,
    listening: f64,
    first_answer: f64,
    /// Milliseconds from a request to its answer by a deployment that was parked; the first of them apart, which loads what all
    /// share.
    first_return: f64,
    returns: Vec<f64>,
}

/// Measures, prints tables, and writes the raw figures down.
pub(crate) fn measure(rust: usize, python: usize) -> Result {
    machine::describe();
    let temporary = tempfile::tempdir()?;
    let folder = env::var_os(STATE).map_or_else(|| temporary.path().to_owned(), PathBuf::from);
    let kinds = [
        Kind { name: "Rust", count: rust, memory: 1024.0, answer: 50.0 },
        Kind { name: "Python", count: python, memory: 4096.0, answer: 500.0 },
    ];
    let mut raw = Vec::new();
    for kind in kinds.iter().filter(|kind| kind.count > 0) {
        let measured = measure_kind(kind, &folder.join(kind.name.to_lowercase()))?;
        measured.print(kind);
        raw.push(measured.raw(kind));
    }
    write("density.json", &json!({ "machine": machine::raw(), "kinds": raw }))
}

fn measure_kind(kind: &Kind, folder: &Path) -> Result<Measured> {
    fs::create_dir_all(folder)?;
    fs::write(folder.join("token"), TOKEN)?;
    let deploying_seconds = deploy(kind, folder)?;
    let empty = tempfile::tempdir()?;
    fs::write(empty.path().join("token"), TOKEN)?;
    let mut memory = vec![("nothing deployed", Host::start(empty.path(), &[]).taken()?)];

    eprintln!("  {} deployments of {}: all resident, then all parked", kind.count, kind.name);
    let start = Instant::now();
    let host = Host::start(folder, &["--memory-budget", "1TiB", "--park-after", PARK_AFTER]);
    let listening = millis(start);
    host.score(kind, kind.count - 1)?;
    let first_answer = millis(start);
    host.wait_for("scorebox_deployments_resident", kind.count)?;
    thread::sleep(SETTLE);
    memory.push(("all resident, idle", host.taken()?));
    let reckoned = host.metric("scorebox_deployments_resident_bytes")? / MIB;
    for number in 0..kind.count {
        host.score(kind, number)?;
    }
    thread::sleep(SETTLE);
    memory.push(("after a request to each", host.taken()?));
    host.wait_for("scorebox_deployments_parked", kind.count)?;
    thread::sleep(SETTLE);
    memory.push(("all parked", host.taken()?));
    drop(host);

    eprintln!("  {} deployments of {}: each request to one that is parked", kind.count, kind.name);
    let host = Host::start(folder, &["--memory-budget", "0B"]);
    let first_return = host.score(kind, 0)?;
    let returns = (1..kind.count).map(|number| host.score(kind, number)).collect::<Result<_>>()?;
    let loads = host.metric("scorebox_deployment_loads_total")?;
    if loads < kind.count as f64 {
        return Err(format!("{loads} loads for {} requests: not all were parked", kind.count).into());
    }
    Ok(Measured { deploying_seconds, memory, reckoned, listening, first_answer, first_return, returns })
}

/// Deploys what is not there yet, and says how long that took if all of it was new.
fn deploy(kind: &Kind, folder: &Path) -> Result<Option<f64>> {
    let host = Host::start(folder, &["--memory-budget", "1TiB"]);
    let start = Instant::now();
    let exists = |number: usize| {
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>(host.read(&deployment(number))?.status == 200)
    };
    let there = if exists(kind.count - 1)? { kind.count } else { 0 };
    if there == kind.count {
        return Ok(None);
    }
    eprintln!("  deploying {} times {}, which takes its time", kind.count, kind.name);
    host.put("/tenants/load", &json!({}))?;
    let scorer = if kind.name == "Rust" { example() } else { folder.join("score.py") };
    if kind.name == "Python" {
        fs::write(&scorer, SCRIPT)?;
    }
    for number in 0..kind.count {
        host.put(&endpoint(number), &json!({}))?;
        host.put(&format!("{}/keys/primary", endpoint(number)), &json!({ "key": key(number) }))?;
        if number == 0 {
            host.pack(&scorer)?;
            continue;
        }
        let first = host.read(&deployment(0))?.json();
        let bundle = &first["revisions"][0]["spec"]["bundle"];
        host.put(&deployment(number), &json!({ "bundle": bundle, "version": number.to_string() }))?;
    }
    for number in 0..kind.count {
        let end = Instant::now() + PATIENCE;
        loop {
            let status = host.read(&format!("{}?wait=30", deployment(number)))?.json();
            match status["revisions"][0]["state"]["state"].as_str() {
                Some("ready") => break,
                Some("pending") if Instant::now() < end => {}
                _ => return Err(format!("deployment {number} is not ready: {status}").into()),
            }
        }
        host.put(&format!("{}/traffic", endpoint(number)), &json!({"traffic": {"blue": 100}}))?;
    }
    Ok(Some(start.elapsed().as_secs_f64()))
}

fn endpoint(number: usize) -> String {
    format!("/tenants/load/endpoints/e{number}")
}

fn deployment(number: usize) -> String {
    format!("{}/deployments/blue", endpoint(number))
}

fn key(number: usize) -> String {
    format!("{number:032}")
}

fn millis(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1e3
}

/// A server with deployments.
struct Host {
    server: Server,
    admin: SocketAddr,
}

impl Host {
    fn start(folder: &Path, arguments: &[&str]) -> Self {
        let admin = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let serve = Serve::nothing().arg("--state-dir").arg(folder.join("state")).cache(folder.join("cache"));
        let serve = serve.arg("--admin").arg(admin.to_string()).arg("--admin-token-file").arg(folder.join("token"));
        let server = arguments.iter().fold(serve, Serve::arg).arg("--no-request-log").start();
        server.logged("tenants are managed on");
        Self { server, admin }
    }

    fn ask(&self, request: Request) -> Result<Response> {
        let request = request.header("authorization", format!("Bearer {TOKEN}"));
        Ok(Client::connect(self.admin)?.send(&request)?)
    }

    fn read(&self, path: &str) -> Result<Response> {
        self.ask(Request::get(&format!("/admin/v1{path}")))
    }

    fn put(&self, path: &str, body: &Value) -> Result {
        let request = Request::new("PUT", &format!("/admin/v1{path}")).header("content-type", "application/json");
        let response = self.ask(request.body(body.to_string()))?;
        if response.status >= 300 {
            return Err(format!("PUT {path}: {} {}", response.status, response.text()).into());
        }
        Ok(())
    }

    /// Uploads a scorer, and deploys it for the first endpoint.
    fn pack(&self, scorer: &Path) -> Result {
        let mut command = Command::new(fixtures::binary());
        command.args(["deploy", "load/e0/blue"]).arg(scorer).args(["--deployment-version", "0"]);
        command.env("SCOREBOX_SERVER", format!("http://{}", self.admin)).env("SCOREBOX_ADMIN_TOKEN", TOKEN);
        let output = command.output()?;
        if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into()) }
    }

    /// Has something scored, and returns how many milliseconds that took.
    fn score(&self, kind: &Kind, number: usize) -> Result<f64> {
        let request = Request::json(BODY).to(&format!("/load/e{number}/score"));
        let request = request.header("authorization", format!("Bearer {}", key(number)));
        let mut client = self.server.connect();
        let start = Instant::now();
        let response = client.send(&request)?;
        let took = millis(start);
        if response.status != 200 {
            return Err(format!("{} {number}: {} {}", kind.name, response.status, response.text()).into());
        }
        Ok(took)
    }

    fn metric(&self, name: &str) -> Result<f64> {
        let response = self.ask(Request::get("/metrics"))?;
        let value = response.text().lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
        value.ok_or_else(|| format!("there is no {name}").into())
    }

    /// Waits until so many are as a metric counts them.
    fn wait_for(&self, name: &str, count: usize) -> Result {
        let start = Instant::now();
        while self.metric(name)? < count as f64 {
            if start.elapsed() > PATIENCE {
                return Err(format!("{name} is {} and not {count}", self.metric(name)?).into());
            }
            thread::sleep(LOOK);
        }
        Ok(())
    }

    fn taken(&self) -> Result<Taken> {
        Taken::by(self.server.process().id())
    }
}

/// What a process takes.
#[derive(Debug, Clone, Copy)]
struct Taken {
    /// MiB in memory.
    resident: f64,
    /// Of these, what no file backs.
    anonymous: f64,
    /// GiB of address space.
    space: f64,
    mappings: usize,
    descriptors: usize,
    threads: f64,
}

impl Taken {
    fn by(process: u32) -> Result<Self> {
        let folder = PathBuf::from(format!("/proc/{process}"));
        let status = fs::read_to_string(folder.join("status"))?;
        let field = |name: &str| -> Result<f64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let value = line.and_then(|line| line.trim_start_matches(':').split_whitespace().next());
            Ok(value.ok_or_else(|| format!("no {name} in {}", folder.display()))?.parse()?)
        };
        Ok(Self {
            resident: field("VmRSS")? / 1024.0,
            anonymous: field("RssAnon")? / 1024.0,
            space: field("VmSize")? / 1_048_576.0,
            mappings: fs::read_to_string(folder.join("maps"))?.lines().count(),
            descriptors: fs::read_dir(folder.join("fd"))?.count(),
            threads: field("Threads")?,
        })
    }

    fn raw(&self) -> Value {
        let Self { resident, anonymous, space, mappings, descriptors, threads } = self;
        json!({
            "resident_mib": resident, "anonymous_mib": anonymous, "space_gib": space, "mappings": mappings,
            "descriptors": descriptors, "threads": threads,
        })
    }
}

impl Measured {
    fn print(&self, kind: &Kind) {
        let Kind { name, count, memory, answer } = kind;
        println!("\n{count} deployments of {name} on one server");
        println!(
            "| {:23} | {:>12} | {:>13} | {:>9} | {:>8} | {:>11} |",
            "", "resident MiB", "anonymous MiB", "space GiB", "mappings", "descriptors"
        );
        println!("| {0:-<23} | {0:->11}: | {0:->12}: | {0:->8}: | {0:->7}: | {0:->10}: |", "");
        for (when, taken) in &self.memory {
            let Taken { resident, anonymous, space, mappings, descriptors, .. } = taken;
            println!(
                "| {when:23} | {resident:>12.0} | {anonymous:>13.0} | {space:>9.1} | {mappings:>8} | {descriptors:>11} |"
            );
        }
        println!("Target: {memory} MiB resident, idle. The server reckons {:.0} MiB for all of them.", self.reckoned);
        println!(
            "Start: listening after {:.0} ms, the first answer after {:.0} ms.",
            self.listening, self.first_answer
        );
        let (middle, high) = (median(self.returns.iter().copied()), percentile(&self.returns, 99));
        let highest = percentile(&self.returns, 100);
        println!(
            "An answer of one that was parked: median {middle:.1} ms, p99 {high:.1} ms, highest {highest:.1} ms of {}; the very \
             first {:.0} ms. Target: {answer} ms.",
            self.returns.len(),
            self.first_return
        );
    }

    fn raw(&self, kind: &Kind) -> Value {
        let memory: Vec<_> =
            self.memory.iter().map(|(when, taken)| json!({"when": when, "taken": taken.raw()})).collect();
        json!({
            "kind": kind.name, "count": kind.count, "deploying_seconds": self.deploying_seconds, "memory": memory,
            "reckoned_mib": self.reckoned, "listening_ms": self.listening, "first_answer_ms": self.first_answer,
            "first_return_ms": self.first_return, "return_ms": self.returns,
        })
    }
}
