//! Requests per second, latency and CPU time over HTTP, against a plain axum server.
//!
//! All servers run for the whole time and are loaded in turns, so that what else happens on the machine hits them
//! alike. Ratios are taken within a round.

use std::env;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::Path;
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::process::{self, Server};
use crate::stats::{median, range};
use crate::{BODY, Result};

/// How often each server is loaded.
const ROUNDS: usize = 5;
/// Connections, and the seconds of load in each round.
const LOADS: [(u32, u32); 2] = [(32, 3), (1, 2)];
/// Seconds of load before the first round.
const WARM_UP: u32 = 1;
/// Share of the plain server's throughput at 32 connections that is to be reached.
const TARGET: f64 = 0.7;
/// Largest difference between the servers' probabilities.
const TOLERANCE: f64 = 1e-9;

/// What one run of wrk measured.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Run {
    requests: f64,
    seconds: f64,
    failed: u64,
    p50_ms: f64,
    p99_ms: f64,
    /// CPU of the server per request.
    #[serde(default)]
    cpu_ms: f64,
}

impl Run {
    fn per_second(&self) -> f64 {
        self.requests / self.seconds
    }
}

/// Measures, prints a table, and returns the raw figures.
pub(crate) fn measure(program: &Path) -> Result<Value> {
    let folder = tempfile::tempdir()?;
    let script = folder.path().join("post.lua");
    fs::write(&script, lua()?)?;
    let cache = folder.path().join("cache");
    let log = File::create(folder.path().join("log"))?;
    let own = env::current_exe()?;
    let mut servers = [
        (
            "plain axum",
            Server::start("the plain server", Stdio::null(), |port| {
                let mut command = Command::new(own);
                command.args(["plain", &port.to_string()]);
                command
            })?,
        ),
        (
            "scorebox --no-request-log",
            Server::start("scorebox", Stdio::null(), |port| {
                let mut command = process::scorebox(program, port, &cache);
                command.arg("--no-request-log");
                command
            })?,
        ),
        (
            "scorebox, log to a file",
            Server::start("scorebox", log.into(), |port| process::scorebox(program, port, &cache))?,
        ),
    ];
    check_answers(&mut servers)?;

    println!(
        "\nHTTP, examples/iris-rust, one row a request; median of {ROUNDS} alternating rounds (lowest to highest)"
    );
    let mut raw = Vec::new();
    for (connections, seconds) in LOADS {
        let runs = rounds(&servers, &script, connections, seconds)?;
        print(connections, &servers, &runs);
        raw.push(json!({
            "connections": connections,
            "seconds": seconds,
            "servers": servers.each_ref().map(|(name, _)| name),
            "rounds": runs,
        }));
    }
    Ok(Value::Array(raw))
}

/// The servers have to compute the same.
fn check_answers(servers: &mut [(&str, Server); 3]) -> Result {
    let mut answers = Vec::new();
    for (_, server) in servers.iter_mut() {
        answers.push(server.first_answer()?);
    }
    for (index, answer) in answers.iter().enumerate() {
        let numbers = |answer: &Value| -> Vec<f64> {
            answer["probability"][0].as_array().into_iter().flatten().filter_map(Value::as_f64).collect()
        };
        let (own, first) = (numbers(answer), numbers(&answers[0]));
        let close = own.iter().zip(&first).all(|(a, b)| (a - b).abs() <= TOLERANCE);
        if answer["prediction"] != answers[0]["prediction"] || own.len() != 3 || first.len() != 3 || !close {
            return Err(format!("{} answers {answer}, and {} {}", servers[index].0, servers[0].0, answers[0]).into());
        }
    }
    Ok(())
}

/// One run per server in each round.
fn rounds(
    servers: &[(&'static str, Server); 3],
    script: &Path,
    connections: u32,
    seconds: u32,
) -> Result<Vec<Vec<Run>>> {
    for (_, server) in servers {
        wrk(server, script, connections, WARM_UP)?;
    }
    let mut rounds = Vec::new();
    for round in 1..=ROUNDS {
        eprintln!("  {connections} connections: round {round} of {ROUNDS}");
        let mut runs = Vec::new();
        for (name, server) in servers {
            let before = server.cpu_millis()?;
            let mut run = wrk(server, script, connections, seconds)?;
            run.cpu_ms = (server.cpu_millis()? - before) / run.requests;
            if run.failed > 0 {
                return Err(format!("{name}: {} requests failed", run.failed).into());
            }
            runs.push(run);
        }
        rounds.push(runs);
    }
    Ok(rounds)
}

/// Loads a server.
fn wrk(server: &Server, script: &Path, connections: u32, seconds: u32) -> Result<Run> {
    let (connections, duration) = (connections.to_string(), format!("{seconds}s"));
    let mut command = Command::new("wrk");
    command.args(["-t1", "-c", &connections, "-d", &duration, "--timeout", "10s", "-s"]).arg(script).arg(server.url());
    let output = command.stdin(Stdio::null()).output().map_err(|error| match error.kind() {
        ErrorKind::NotFound => "wrk is not installed: `make bench` installs it (Debian's package `wrk`)".to_owned(),
        _ => format!("cannot start wrk: {error}"),
    })?;
    let text = String::from_utf8_lossy(&output.stdout);
    let result = text.lines().find_map(|line| line.strip_prefix("result "));
    match result {
        Some(result) if output.status.success() => Ok(serde_json::from_str(result)?),
        _ => Err(format!("wrk failed ({}): {text}{}", output.status, String::from_utf8_lossy(&output.stderr)).into()),
    }
}

/// What wrk sends, and what it tells at the end: times are in microseconds there.
fn lua() -> Result<String> {
    let mut script = String::new();
    writeln!(script, "wrk.method = 'POST'")?;
    writeln!(script, "wrk.body = '{BODY}'")?;
    writeln!(script, "wrk.headers['content-type'] = 'application/json'")?;
    script.push_str(
        r#"
function done(summary, latency)
    local errors = summary.errors
    io.write(string.format(
        'result {"requests": %d, "seconds": %.6f, "failed": %d, "p50_ms": %.4f, "p99_ms": %.4f}\n',
        summary.requests, summary.duration / 1e6,
        errors.connect + errors.read + errors.write + errors.status + errors.timeout,
        latency:percentile(50) / 1e3, latency:percentile(99) / 1e3))
end
"#,
    );
    Ok(script)
}

fn print(connections: u32, servers: &[(&str, Server); 3], rounds: &[Vec<Run>]) {
    println!("\n{connections} {}", if connections == 1 { "connection" } else { "connections" });
    println!(
        "| {:26} | {:>23} | {:>20} | {:>8} | {:>8} | {:>14} |",
        "server", "requests/s", "of plain axum", "p50 ms", "p99 ms", "CPU ms/request"
    );
    println!("| {0:-<26} | {0:->22}: | {0:->19}: | {0:->7}: | {0:->7}: | {0:->13}: |", "");
    for (index, (name, _)) in servers.iter().enumerate() {
        let of = |value: fn(&Run) -> f64| median(rounds.iter().map(|runs| value(&runs[index])));
        let per_second = rounds.iter().map(|runs| runs[index].per_second());
        let ratios = rounds.iter().map(|runs| runs[index].per_second() / runs[0].per_second());
        let spread = |(low, high): (f64, f64), digits: usize| format!("({low:.digits$} to {high:.digits$})");
        println!(
            "| {name:26} | {:>23} | {:>20} | {:>8.2} | {:>8.2} | {:>14.4} |",
            format!("{:.0} {}", of(Run::per_second), spread(range(per_second), 0)),
            format!("{:.2} {}", median(ratios.clone()), spread(range(ratios), 2)),
            of(|run| run.p50_ms),
            of(|run| run.p99_ms),
            of(|run| run.cpu_ms),
        );
    }
    if connections == LOADS[0].0 {
        println!("Target: {TARGET} of plain axum.");
    }
}
