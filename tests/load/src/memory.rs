//! Resident memory of a process with 1 and with many deployments.
//!
//! The deployments are made in a process of their own, through the library. They have names and versions of their own,
//! so each is compiled for itself, and nothing is shared but what is shared by design: the engine and the places for
//! instances. One request is scored on each.

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Instant;
use std::{env, fs};

use scorebox_sandbox::{Bundle, Cache, Deployment, Limits, NoLog, Outcome, Request, Sandbox, SandboxConfig};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{BODY, Result, example};

/// How many deployments are compared with one.
const MANY: usize = 200;
/// MiB that a deployment may take.
const TARGET: f64 = 1.0;
/// The environment variable with the folder of the cache.
pub(crate) const CACHE: &str = "SCOREBOX_LOAD_CACHE";

/// MiB of a process that are in memory.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Resident {
    pub(crate) rss: f64,
    /// Of these, memory that no file backs.
    pub(crate) anonymous: f64,
}

/// What the process with the deployments says.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) seconds: f64,
    pub(crate) from_cache: usize,
    pub(crate) none: Resident,
    pub(crate) one: Resident,
    pub(crate) many: Resident,
}

impl Report {
    fn per_deployment(&self) -> f64 {
        (self.many.rss - self.one.rss) / (MANY - 1) as f64
    }
}

/// Measures, prints a table, and returns the raw figures.
pub(crate) fn measure() -> Result<Value> {
    let cache = tempfile::tempdir()?;
    let mut reports = Vec::new();
    for how in ["compiled", "loaded from the cache"] {
        eprintln!("  {MANY} deployments, {how}");
        let output = Command::new(env::current_exe()?)
            .args(["deployments", &MANY.to_string()])
            .env(CACHE, cache.path())
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()?;
        if !output.status.success() {
            return Err(format!("the process with the deployments ended with {}", output.status).into());
        }
        reports.push((how, serde_json::from_slice::<Report>(&output.stdout)?));
    }
    print(&reports);
    Ok(Value::Array(reports.iter().map(|(how, report)| json!({"deployments": how, "mib": report})).collect()))
}

fn print(reports: &[(&str, Report)]) {
    println!(
        "\nResident memory in MiB of a process with deployments of examples/iris-rust, one request scored on each"
    );
    println!("| {:22} | {:>8} | {:>8} | {:>8} | {:>14} |", "deployments", "none", "1", MANY, "per deployment");
    println!("| {0:-<22} | {0:->7}: | {0:->7}: | {0:->7}: | {0:->13}: |", "");
    for (how, report) in reports {
        let (none, one, many) = (report.none.rss, report.one.rss, report.many.rss);
        println!("| {how:22} | {none:>8.1} | {one:>8.1} | {many:>8.1} | {:>14.2} |", report.per_deployment());
    }
    println!("Target: {TARGET} MiB per deployment.");
}

/// Deploys the example `count` times, scores one request on each, and says what that takes. This is the process that is
/// measured.
pub(crate) fn deployments(count: usize) -> Result {
    let folder = env::var_os(CACHE).ok_or_else(|| format!("{CACHE} is not set"))?;
    let start = Instant::now();
    let sandbox = Sandbox::new(&SandboxConfig::default(), Some(Cache::open(folder, u64::MAX)?))?;
    let bundle = Bundle::read(&example(), None, u64::MAX)?;
    let mut deployments = Vec::new();
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let none = Resident::now()?;
    let mut one = none;
    let mut from_cache = 0;
    for number in 0..count {
        let (name, version) = (format!("iris-{number}"), number.to_string());
        let limits = Limits::default();
        let module = sandbox.seal(&name, &version, &bundle, &limits, Arc::new(NoLog), &|_| {})?;
        from_cache += usize::from(module.from_cache);
        let deployment = Deployment { name, version, limits, module };
        let run = runtime.block_on(sandbox.run(&deployment, request(), Arc::new(NoLog)));
        if !matches!(run.outcome, Outcome::Response(_)) {
            return Err(format!("{}: {:?}", deployment.name, run.outcome).into());
        }
        deployments.push(deployment);
        if number == 0 {
            one = Resident::now()?;
        }
    }
    let many = Resident::now()?;
    let report = Report { seconds: start.elapsed().as_secs_f64(), from_cache, none, one, many };
    println!("{}", serde_json::to_string(&report)?);
    drop(deployments);
    Ok(())
}

pub(crate) fn request() -> Request {
    Request {
        id: "00000000-0000-0000-0000-000000000000".to_owned(),
        client_request_id: None,
        method: "POST".to_owned(),
        scheme: "http".to_owned(),
        path: "/score".to_owned(),
        query: None,
        headers: vec![("content-type".to_owned(), b"application/json".to_vec())],
        client_address: "127.0.0.1".to_owned(),
        body: BODY.into(),
    }
}

impl Resident {
    /// Of this process.
    pub(crate) fn now() -> Result<Self> {
        let rollup = fs::read_to_string("/proc/self/smaps_rollup")?;
        let mib = |name: &str| -> Result<f64> {
            let line = rollup.lines().find_map(|line| line.strip_prefix(name));
            let kib = line
                .and_then(|line| line.split_whitespace().next())
                .ok_or_else(|| format!("no {name} in smaps_rollup"))?;
            Ok(kib.parse::<f64>()? / 1024.0)
        };
        Ok(Self { rss: mib("Rss:")?, anonymous: mib("Anonymous:")? })
    }
}
