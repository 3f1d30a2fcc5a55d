//! Mixed traffic for a long time, and what it leaves behind.
//!
//! Three servers run all the while: a scorer in Rust, a script in Python, and a scorer that does harm in each way that it
//! can. Their clients are of all kinds as well: some are slow, some go away, some send what is no HTTP, and now and then
//! the operator has the scorer read again. Memory, descriptors, threads and mappings of each server are sampled. When
//! they grow over time, or are not given back when the traffic has ended, or when an answer is none of those that its
//! request may have, the program fails.
//!
//! `make soak` runs it for 15 minutes, `make soak MINUTES=240` for four hours. Everything stays on the loopback interface.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "the table is the output of this program")]

#[path = "../src/machine.rs"]
mod machine;
mod sample;
mod server;
mod traffic;
mod verdict;

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;
use scorebox_tests::{fixtures, python};
use serde_json::{Value, json};

use crate::sample::{QUANTITIES, Sample};
use crate::server::Server;
use crate::traffic::{Count, Kind, Mix};
use crate::verdict::{Measured, Trend};

/// What went wrong, in words.
type Result<T = ()> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// Mixed traffic for a long time, and what it leaves behind.
#[derive(Debug, Parser)]
struct Args {
    /// How long the traffic lasts, the warm-up included.
    #[arg(long, value_name = "N", default_value_t = 15.0)]
    minutes: f64,
    /// How long after its begin nothing is judged: caches and places for instances fill. By default a fifth of the time,
    /// and five minutes at most.
    #[arg(long, value_name = "N")]
    warm_up_minutes: Option<f64>,
    /// Times the usual rate, which is 150 requests a second for all servers together.
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0)]
    rate: f64,
    /// MiB by which resident memory may seem to grow in an hour.
    #[arg(long, value_name = "MIB", default_value_t = 16.0)]
    tolerance: f64,
    /// MiB by which it may rise and fall: less than this, from the first fifth of the run to the last, is no growth.
    #[arg(long, value_name = "MIB", default_value_t = 16.0)]
    noise: f64,
    /// What the order of the traffic is drawn from.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Leaves out the script in Python, which needs the Python runtime.
    #[arg(long)]
    no_python: bool,
    /// Where all figures are written to, as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

fn main() -> ExitCode {
    match soak(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// A server with its traffic, and what has been seen of it.
struct Soaked {
    mix: Mix,
    server: Server,
    samples: Vec<Sample>,
    counts: Vec<(Kind, Count)>,
    /// Before any traffic, and some time after it.
    rest: [Sample; 2],
}

fn soak(args: &Args) -> Result {
    let length = Duration::from_secs_f64(args.minutes * 60.0);
    let warm_up = args
        .warm_up_minutes
        .map_or((length / 5).min(Duration::from_mins(5)), |minutes| Duration::from_secs_f64(minutes * 60.0));
    machine::describe();
    let machine = machine::raw();
    let folder = tempfile::tempdir()?;
    let mut soaked = start(args, folder.path())?;
    for one in &mut soaked {
        one.rest[0] = one.server.sample(Instant::now())?;
    }
    eprintln!("soaking for {:.1} minutes, of which {:.1} are warm-up", args.minutes, warm_up.as_secs_f64() / 60.0);
    let start = Instant::now();
    run(args, &mut soaked, start, length)?;
    for one in &mut soaked {
        let before = one.rest[0];
        one.rest[1] = one.server.at_rest(|sample| QUANTITIES.iter().all(|one| one.is_given_back(&before, sample)))?;
    }
    let judged: Vec<_> = soaked.iter().map(|one| judge(args, one, warm_up.as_secs_f64())).collect();
    print(&soaked, &judged);
    let mut complaints: Vec<String> = judged.iter().flat_map(|judged| judged.complaints.clone()).collect();
    let mut servers = Vec::new();
    for (one, judged) in soaked.into_iter().zip(&judged) {
        servers.push(raw(&one, judged));
        let name = one.mix.name;
        if let Err(error) = one.server.stop() {
            complaints.push(format!("{name}: {error}"));
        }
    }
    if let Some(file) = &args.json {
        let raw = json!({
            "machine": machine,
            "minutes": args.minutes,
            "warm_up_seconds": warm_up.as_secs_f64(),
            "rate": args.rate,
            "seed": args.seed,
            "tolerance_mib_per_hour": args.tolerance,
            "noise_mib": args.noise,
            "servers": servers,
            "complaints": complaints,
        });
        fs::write(file, serde_json::to_vec_pretty(&raw)?)?;
        println!("\nAll figures: {}", fs::canonicalize(file)?.display());
    }
    if complaints.is_empty() {
        let least = verdict::least_growth(args.tolerance, args.noise, length.saturating_sub(warm_up));
        println!("\nNo memory grows by {least:.0} MiB an hour or more; less cannot be told in so short a time.");
        println!("Descriptors, threads and mappings are given back.");
        Ok(())
    } else {
        Err(complaints.join("\nerror: ").into())
    }
}

/// Starts the servers, one after the other.
fn start(args: &Args, folder: &Path) -> Result<Vec<Soaked>> {
    let cache = folder.join("cache");
    let rust = fixtures::example("iris-rust");
    let hostile = fixtures::guest("mixed");
    let script = fixtures::workspace().join("examples/iris-python/score.py");
    let mut scorers = vec![(Mix::rust(), rust, cache.clone()), (Mix::hostile(), hostile, cache)];
    if !args.no_python {
        scorers.push((Mix::python(), script, python::compiled_cache()));
    }
    let mut soaked = Vec::new();
    for (mix, scorer, cache) in scorers {
        let server = Server::start(mix.name, &scorer, &cache, mix.arguments)?;
        soaked.push(Soaked { mix, server, samples: Vec::new(), counts: Vec::new(), rest: [Sample::default(); 2] });
    }
    Ok(soaked)
}

/// Sends the traffic of all servers until time is up, and takes samples meanwhile.
fn run(args: &Args, soaked: &mut [Soaked], start: Instant, length: Duration) -> Result {
    let step = (length / 100).clamp(Duration::from_millis(500), Duration::from_secs(5));
    let over = AtomicBool::new(false);
    thread::scope(|scope| -> Result {
        let running: Vec<_> = soaked
            .iter_mut()
            .map(|one| {
                let (mix, server, over) = (&one.mix, &one.server, &over);
                let counts = scope.spawn(move || traffic::run(mix, server, args.seed, args.rate, over));
                (counts, &mut one.samples, &mut one.counts, server)
            })
            .collect();
        let mut running = running;
        let sampled = (|| -> Result {
            let mut next = start;
            while start.elapsed() < length {
                next += step;
                thread::sleep(next.saturating_duration_since(Instant::now()));
                for (_, samples, _, server) in &mut running {
                    samples.push(server.sample(start)?);
                }
            }
            Ok(())
        })();
        // Also where a server is gone.
        over.store(true, Relaxed);
        for (thread, _, counts, _) in running {
            *counts = thread.join().map_err(|_| "a thread of the traffic has failed")?;
        }
        sampled
    })
}

/// What one server's samples say.
struct Judged {
    trends: Vec<(&'static str, Trend)>,
    complaints: Vec<String>,
}

fn judge(args: &Args, one: &Soaked, warm_up: f64) -> Judged {
    let name = one.mix.name;
    let after: Vec<&Sample> = one.samples.iter().filter(|sample| sample.seconds >= warm_up).collect();
    let mut judged = Judged { trends: Vec::new(), complaints: Vec::new() };
    for quantity in &QUANTITIES {
        let series: Vec<Measured> = after.iter().map(|sample| (sample.seconds, (quantity.of)(sample))).collect();
        let trend = Trend::of(&series);
        let (tolerance, noise) = if quantity.is_memory {
            (args.tolerance, args.noise)
        } else {
            // Counts have no slow drift: a leak of one in a thousand requests is hundreds in an hour.
            (quantity.per_hour, quantity.noise)
        };
        if trend.grows(tolerance, noise) {
            judged.complaints.push(format!(
                "{name}: {} grows by {:.1} an hour, from {:.1} to {:.1}",
                quantity.name, trend.per_hour, trend.first, trend.last
            ));
        }
        judged.trends.push((quantity.name, trend));
        let [before, afterwards] = &one.rest;
        if !quantity.is_given_back(before, afterwards) {
            let [before, afterwards] = [before, afterwards].map(quantity.of);
            let name = format!("{name}: {}", quantity.name);
            judged.complaints.push(format!("{name} is {afterwards} after the traffic, and was {before} before it"));
        }
    }
    for (kind, count) in &one.counts {
        if count.sent == 0 {
            judged.complaints.push(format!("{name}: no request of the kind {:?} was sent", kind.name));
        }
        if let Some(example) = &count.unexpected_example {
            judged.complaints.push(format!(
                "{name}: {} of {} of the kind {:?} had an end that they should not have, such as {example}",
                count.unexpected, count.sent, kind.name
            ));
        }
    }
    judged
}

fn print(soaked: &[Soaked], judged: &[Judged]) {
    println!(
        "\n| {:8} | {:12} | {:>9} | {:>9} | {:>9} | {:>12} |",
        "server", "", "first", "last", "highest", "an hour"
    );
    println!("| {0:-<8} | {0:-<12} | {0:->8}: | {0:->8}: | {0:->8}: | {0:->11}: |", "");
    for (one, judged) in soaked.iter().zip(judged) {
        for (quantity, trend) in &judged.trends {
            let Trend { first, last, highest, per_hour } = trend;
            println!(
                "| {:8} | {quantity:12} | {first:>9.1} | {last:>9.1} | {highest:>9.1} | {per_hour:>+12.2} |",
                one.mix.name
            );
        }
    }
    println!("First and last are medians of a fifth of the samples after the warm-up; the slope is Theil's and Sen's.");
    println!("\n| {:8} | {:22} | {:>9} | {:>10} |", "server", "requests", "sent", "unexpected");
    println!("| {0:-<8} | {0:-<22} | {0:->8}: | {0:->9}: |", "");
    for one in soaked {
        for (kind, count) in &one.counts {
            println!("| {:8} | {:22} | {:>9} | {:>10} |", one.mix.name, kind.name, count.sent, count.unexpected);
        }
    }
}

fn raw(one: &Soaked, judged: &Judged) -> Value {
    let trends = judged.trends.iter().map(|(name, trend)| ((*name).to_owned(), json!(trend)));
    let requests = one.counts.iter().map(|(kind, count)| (kind.name.to_owned(), json!(count)));
    json!({
        "server": one.mix.name,
        "trends": trends.collect::<serde_json::Map<_, _>>(),
        "requests": requests.collect::<serde_json::Map<_, _>>(),
        "before": one.rest[0],
        "after": one.rest[1],
        "log_lines": one.server.log_lines(),
        "samples": one.samples,
    })
}
