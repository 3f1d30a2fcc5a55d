//! Load by wrk, for several servers in turns.
//!
//! All servers run for the whole time and are loaded one after the other, so that what else happens on the machine hits
//! them alike. Ratios are taken within a round.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::Result;
use crate::process::Server;
use crate::stats::{median, range};

/// Seconds of load before the first round.
const WARM_UP: u32 = 2;
/// Largest difference between two numbers in the answers of servers that are compared.
const TOLERANCE: f64 = 1e-9;
/// The end of the script: what it tells.
const DONE: &str = r#"
function done(summary, latency)
    local errors = summary.errors
    io.write(string.format(
        'result {"requests": %d, "seconds": %.6f, "failed": %d, "p50_ms": %.4f, "p99_ms": %.4f}\n',
        summary.requests, summary.duration / 1e6,
        errors.connect + errors.read + errors.write + errors.status + errors.timeout,
        latency:percentile(50) / 1e3, latency:percentile(99) / 1e3))
end
"#;

/// A server, and what it is called in tables.
pub(crate) type Named = (&'static str, Server);

/// How a server is loaded in each round.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    pub(crate) connections: u32,
    pub(crate) seconds: u32,
}

/// What one run of wrk measured.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Run {
    requests: f64,
    seconds: f64,
    failed: u64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    /// CPU of the server per request.
    #[serde(default)]
    pub(crate) cpu_ms: f64,
}

impl Run {
    pub(crate) fn per_second(&self) -> f64 {
        self.requests / self.seconds
    }
}

/// What servers did under the same load.
pub(crate) struct Measured {
    load: Load,
    names: Vec<&'static str>,
    /// One run per server in each.
    rounds: Vec<Vec<Run>>,
}

impl Measured {
    /// Loads each of the servers in each round.
    pub(crate) fn of(servers: &[Named], script: &Path, load: Load, rounds: usize) -> Result<Self> {
        for (_, server) in servers {
            run(server, script, Load { seconds: WARM_UP, ..load })?;
        }
        let mut all = Vec::new();
        for round in 1..=rounds {
            eprintln!("  {} connections: round {round} of {rounds}", load.connections);
            all.push(servers.iter().map(|(_, server)| run(server, script, load)).collect::<Result<_>>()?);
        }
        Ok(Self { load, names: servers.iter().map(|(name, _)| *name).collect(), rounds: all })
    }

    /// The values of a server, one a round.
    pub(crate) fn values(&self, server: usize, value: fn(&Run) -> f64) -> impl Iterator<Item = f64> + Clone + '_ {
        self.rounds.iter().map(move |runs| value(&runs[server]))
    }

    /// What a server has of another, one ratio a round.
    pub(crate) fn ratios(
        &self,
        server: usize,
        other: usize,
        value: fn(&Run) -> f64,
    ) -> impl Iterator<Item = f64> + Clone + '_ {
        self.values(server, value).zip(self.values(other, value)).map(|(own, other)| own / other)
    }

    /// A table, with ratios to the throughput of the server `base`.
    pub(crate) fn print(&self, base: usize) {
        let connections = self.load.connections;
        println!("\n{connections} {}", if connections == 1 { "connection" } else { "connections" });
        println!(
            "| {:26} | {:>23} | {:>25} | {:>8} | {:>8} | {:>14} | {:>6} |",
            "server",
            "requests/s",
            format!("of {}", self.names[base]),
            "p50 ms",
            "p99 ms",
            "CPU ms/request",
            "errors"
        );
        println!("| {0:-<26} | {0:->22}: | {0:->24}: | {0:->7}: | {0:->7}: | {0:->13}: | {0:->5}: |", "");
        for (server, name) in self.names.iter().enumerate() {
            let of = |value| median(self.values(server, value));
            println!(
                "| {name:26} | {:>23} | {:>25} | {:>8.2} | {:>8.2} | {:>14.4} | {:>6} |",
                with_range(self.values(server, Run::per_second), 0),
                with_range(self.ratios(server, base, Run::per_second), 2),
                of(|run| run.p50_ms),
                of(|run| run.p99_ms),
                of(|run| run.cpu_ms),
                self.rounds.iter().map(|runs| runs[server].failed).sum::<u64>(),
            );
        }
    }

    pub(crate) fn raw(&self) -> Value {
        let Load { connections, seconds } = self.load;
        json!({"connections": connections, "seconds": seconds, "servers": self.names, "rounds": self.rounds})
    }
}

/// The median, and the lowest and the highest in parentheses.
pub(crate) fn with_range(values: impl Iterator<Item = f64> + Clone, digits: usize) -> String {
    let (low, high) = range(values.clone());
    format!("{:.digits$} ({low:.digits$} to {high:.digits$})", median(values))
}

/// The servers have to compute the same. Waits for their first answers.
pub(crate) fn check_answers(servers: &mut [Named]) -> Result {
    let mut first: Option<(&str, Value)> = None;
    for (name, server) in servers {
        let answer = server.first_answer()?;
        match &first {
            Some((other, expected)) if !same(&answer, expected) => {
                return Err(format!("{name} answers {answer}, and {other} {expected}").into());
            }
            Some(_) => {}
            None => first = Some((name, answer)),
        }
    }
    Ok(())
}

fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => {
            one.as_f64().zip(other.as_f64()).is_some_and(|(one, other)| (one - other).abs() <= TOLERANCE)
        }
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            let known = |(name, value): (&String, &Value)| other.get(name).is_some_and(|other| same(value, other));
            one.len() == other.len() && one.iter().all(known)
        }
        _ => one == other,
    }
}

/// Loads a server.
fn run(server: &Server, script: &Path, load: Load) -> Result<Run> {
    let (connections, duration) = (load.connections.to_string(), format!("{}s", load.seconds));
    let mut command = Command::new("wrk");
    command.args(["-t1", "-c", &connections, "-d", &duration, "--timeout", "10s", "-s"]).arg(script).arg(server.url());
    let cpu_before = server.cpu_millis()?;
    let output = command.stdin(Stdio::null()).output().map_err(|error| match error.kind() {
        ErrorKind::NotFound => "wrk is not installed: `make bench` installs it (Debian's package `wrk`)".to_owned(),
        _ => format!("cannot start wrk: {error}"),
    })?;
    let cpu = server.cpu_millis()? - cpu_before;
    let text = String::from_utf8_lossy(&output.stdout);
    let result = text.lines().find_map(|line| line.strip_prefix("result "));
    match result {
        Some(result) if output.status.success() => {
            let run: Run = serde_json::from_str(result)?;
            Ok(Run { cpu_ms: cpu / run.requests, ..run })
        }
        _ => Err(format!("wrk failed ({}): {text}{}", output.status, String::from_utf8_lossy(&output.stderr)).into()),
    }
}

/// What wrk sends, and what it tells at the end: times are in microseconds there.
pub(crate) fn script(folder: &Path, body: &str) -> Result<PathBuf> {
    fs::write(folder.join("body"), body)?;
    let script = format!(
        "wrk.method = 'POST'\nwrk.headers['content-type'] = 'application/json'\nwrk.body = io.open('{}'):read('*a')\n{DONE}",
        folder.join("body").display()
    );
    let file = folder.join("post.lua");
    fs::write(&file, script)?;
    Ok(file)
}
