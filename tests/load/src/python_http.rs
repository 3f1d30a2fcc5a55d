//! Scripts in Python over HTTP: Scorebox against Azure ML's inference server, each with the same script on the same cores.
//!
//! The real server comes from PyPI, pinned, into an environment of its own below `target`. It runs as it is installed, with
//! one worker and with two. No server has anything of this program's environment but the path: settings for this machine
//! (`OPENBLAS_CORETYPE`) can make a recent `NumPy` slow. Each writes its log, as it does by default, to a file.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use scorebox_tests::process::hermetic;
use scorebox_tests::{Client, Request, python};
use serde_json::{Value, json};

use crate::process::Server;
use crate::python::{cache, script};
use crate::stats::median;
use crate::wrk::{self, Load, Measured, Named, Run, with_range};
use crate::{BODY, Result, root};

/// In the order in which they are printed; the first and the last have targets.
const LOADS: [Load; 3] =
    [Load { connections: 32, seconds: 3 }, Load { connections: 8, seconds: 2 }, Load { connections: 1, seconds: 2 }];
/// Of large bodies.
const LARGE: Load = Load { connections: 8, seconds: 4 };
/// Numbers in a large body, 1 MB of JSON.
const NUMBERS: u32 = 50_000;
/// MiB of a body in raw mode.
const RAW: usize = 50;
/// Times that it is sent.
const RAW_TIMES: usize = 5;
/// Times its size that the server may grow by.
const RAW_TARGET: f64 = 3.0;

/// The servers: the first ones are the real one's settings, the last is Scorebox.
const REAL: [(&str, &str); 2] = [("real server, 1 worker", "1"), ("real server, 2 workers", "2")];
const SCOREBOX: usize = REAL.len();

struct Case {
    name: &'static str,
    script: &'static str,
    /// Times the throughput of the real server's best setting that is to be reached.
    throughput: f64,
}

const CASES: [Case; 4] = [
    Case { name: "json.loads, sum", script: "sum", throughput: 1.5 },
    Case { name: "NumPy", script: "numpy_dot", throughput: 1.5 },
    Case { name: "@input_schema(NumPy)", script: "schema", throughput: 1.5 },
    Case { name: "scikit-learn pipeline", script: "pipeline", throughput: 1.2 },
];
/// Of the real server's best, the median at one connection that may be reached.
const P50: f64 = 0.7;
/// The same for the 99th percentile at 32 connections.
const P99: f64 = 0.5;

/// Measures, prints tables, and returns the raw figures.
pub(crate) fn measure(program: &Path, rounds: usize) -> Result<Value> {
    let peers = Peers::new(program)?;
    let mut measured = Vec::new();
    for case in &CASES {
        println!("\nHTTP, {}, one row a request; median of {rounds} alternating rounds (lowest to highest)", case.name);
        let folder = tempfile::tempdir()?;
        let mut servers = peers.start(case.script, folder.path())?;
        wrk::check_answers(&mut servers)?;
        let body = wrk::script(folder.path(), BODY)?;
        measured.push(loads(&servers, &body, &LOADS, rounds)?);
    }
    let large = large(&peers, rounds)?;
    let raw = raw(&peers)?;
    print(&measured, &large);
    println!(
        "A body of {RAW} MiB in raw mode: the server grows by {:.1} times its size at most. Target: {RAW_TARGET}.",
        raw.iter().copied().fold(0.0, f64::max)
    );
    let cases = CASES.iter().zip(&measured).map(|(case, measured)| {
        json!({"script": case.script, "loads": measured.iter().map(Measured::raw).collect::<Vec<_>>()})
    });
    Ok(json!({
        "scripts": cases.collect::<Vec<_>>(), "large": large.raw(), "raw_mib": RAW, "raw_growth_in_bodies": raw,
    }))
}

/// Loads servers in several ways, and prints what each does.
fn loads(servers: &[Named], body: &Path, loads: &[Load], rounds: usize) -> Result<Vec<Measured>> {
    let measured = loads.iter().map(|&load| {
        let measured = Measured::of(servers, body, load, rounds)?;
        measured.print(best(&measured, Run::per_second));
        Ok(measured)
    });
    measured.collect()
}

/// The real server's setting with the highest median of a value.
fn best(measured: &Measured, value: fn(&Run) -> f64) -> usize {
    let of = |server: &usize| median(measured.values(*server, value));
    (0..SCOREBOX).max_by(|one, other| of(one).total_cmp(&of(other))).unwrap_or_default()
}

/// JSON of 1 MB, of which the script makes numbers.
fn large(peers: &Peers<'_>, rounds: usize) -> Result<Measured> {
    let folder = tempfile::tempdir()?;
    let mut servers = peers.start("sum", folder.path())?;
    wrk::check_answers(&mut servers)?;
    // Digits as random numbers have them, the same each time: multiples of the golden ratio, without their whole part.
    let numbers = (1..=NUMBERS).map(|number| (f64::from(number) * 0.618_033_988_749_895).fract());
    let body = json!({"data": [numbers.collect::<Vec<_>>()]}).to_string();
    println!("\nHTTP, JSON of {:.2} MB, {NUMBERS} numbers, their sum; {rounds} rounds", body.len() as f64 / 1e6);
    let body = wrk::script(folder.path(), &body)?;
    loads(&servers, &body, &[LARGE], rounds)?.pop().ok_or_else(|| "nothing was measured".into())
}

/// How much the server grows by while it answers a large body in raw mode, in sizes of the body.
fn raw(peers: &Peers<'_>) -> Result<Vec<f64>> {
    let folder = tempfile::tempdir()?;
    let mut server = peers.scorebox("length", folder.path())?;
    server.first_answer()?;
    let request = Request::new("POST", "/score").header("content-type", "application/octet-stream");
    let request = request.body(vec![b'x'; RAW << 20]);
    let [before, _] = server.resident()?;
    let mut grown = Vec::new();
    for _ in 0..RAW_TIMES {
        server.forget_peak()?;
        let answer = Client::connect(server.address())?.send(&request)?;
        if answer.status != 200 || answer.json()["length"] != RAW << 20 {
            return Err(format!("a large body was answered with {} {}", answer.status, answer.text()).into());
        }
        let [_, peak] = server.resident()?;
        grown.push((peak - before) / RAW as f64);
    }
    Ok(grown)
}

/// What was to be reached.
fn print(measured: &[Vec<Measured>], large: &Measured) {
    println!("\nScorebox, a fresh instance for each request, of the real server's best setting, a shared interpreter");
    println!(
        "| {:21} | {:>20} | {:>8} | {:>20} | {:>8} | {:>20} | {:>8} | {:>20} |",
        "script", "throughput, 32", "target", "p50, 1 connection", "target", "p99, 32", "target", "CPU a request, 32"
    );
    println!("| {0:-<21} | {0:->19}: | {0:->7}: | {0:->19}: | {0:->7}: | {0:->19}: | {0:->7}: | {0:->19}: |", "");
    // The best is the one with the highest throughput, and the lowest of what is to be low.
    let ratio = |measured: &Measured, value, best| with_range(measured.ratios(SCOREBOX, best, value), 2);
    let throughput = |measured: &Measured| ratio(measured, Run::per_second, best(measured, Run::per_second));
    let cpu = |measured: &Measured| ratio(measured, |run| run.cpu_ms, best(measured, |run| -run.cpu_ms));
    let row = |name, [throughput, p50, p99, cpu]: [String; 4], [least, p50_target, p99_target]: [String; 3]| {
        println!(
            "| {name:21} | {throughput:>20} | {least:>8} | {p50:>20} | {p50_target:>8} | {p99:>20} | {p99_target:>8} | {cpu:>20} |"
        );
    };
    for (case, measured) in CASES.iter().zip(measured) {
        let [many, .., one] = measured.as_slice() else { continue };
        let p50 = ratio(one, |run| run.p50_ms, best(one, |run| -run.p50_ms));
        let p99 = ratio(many, |run| run.p99_ms, best(many, |run| -run.p99_ms));
        let targets = [format!(">= {:.1}", case.throughput), format!("<= {P50}"), format!("<= {P99}")];
        row(case.name, [throughput(many), p50, p99, cpu(many)], targets);
    }
    let none = String::new;
    row("1 MB of JSON", [throughput(large), none(), none(), cpu(large)], [">= 1.0".to_owned(), none(), none()]);
    println!("1 MB of JSON: {} connections.", LARGE.connections);
}

/// The programs, and the model that both are given.
struct Peers<'a> {
    scorebox: &'a Path,
    real: PathBuf,
    model: PathBuf,
}

impl<'a> Peers<'a> {
    /// Makes the real server's environment and the model, unless they are there.
    fn new(scorebox: &'a Path) -> Result<Self> {
        let model = model()?;
        Ok(Self { scorebox, real: environment().join("azmlinfsrv"), model })
    }

    fn start(&self, script: &str, folder: &Path) -> Result<Vec<Named>> {
        let mut servers = Vec::new();
        for (name, workers) in REAL {
            let log = File::create(folder.join(format!("real-{workers}.log")))?;
            let server = Server::start(name, Some(&log), |port| {
                let mut command = self.options(hermetic(&self.real), script, port);
                command.current_dir(folder).env("HOME", folder).env("WORKER_COUNT", workers);
                command
            })?;
            servers.push((name, server));
        }
        servers.push(("scorebox", self.scorebox(script, folder)?));
        Ok(servers)
    }

    fn scorebox(&self, script: &str, folder: &Path) -> Result<Server> {
        let log = File::create(folder.join("scorebox.log"))?;
        Server::start("scorebox", Some(&log), |port| {
            let mut command = hermetic(self.scorebox);
            command.args(["serve", "--address", "127.0.0.1", "--cache-dir"]).arg(cache());
            let mut command = self.options(command, script, port);
            command.current_dir(folder);
            command
        })
    }

    /// What both servers are given, by the same names.
    fn options(&self, mut command: Command, name: &str, port: u16) -> Command {
        command.arg("--entry_script").arg(script(name)).arg("--model_dir").arg(&self.model);
        command.args(["--port", &port.to_string()]);
        command
    }
}

/// The programs of the real server's environment.
fn environment() -> PathBuf {
    python::environment_of("load", &root().join("tests/load/requirements.lock"))
}

/// The folder with the pipeline, which is trained where the real server runs: it has the scikit-learn of the runtime.
pub(crate) fn model() -> Result<PathBuf> {
    let (folder, train) = (python::kept("load-model"), script("train"));
    let lock = root().join("tests/load/requirements.lock");
    let python = environment().join("python");
    let model = folder.join("model");
    let mut made = Ok(());
    python::make_once(&folder, &[&train, &lock], || {
        made = std::fs::create_dir(&model);
        python::succeed(hermetic(python).arg(&train).arg(&model));
    });
    made?;
    Ok(model)
}
