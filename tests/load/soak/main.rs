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

use crate::sample::{QUANTITIES, Quantity, Sample};
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
        let (trend, complaints) = judge_quantity(args, quantity, &after, &one.rest);
        judged.complaints.extend(complaints.iter().map(|complaint| format!("{name}: {complaint}")));
        judged.trends.push((quantity.name, trend));
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

/// How a quantity goes while there is traffic, and what is wrong with that, or with what is left of it at rest.
fn judge_quantity(
    args: &Args,
    quantity: &Quantity,
    samples: &[&Sample],
    [before, afterwards]: &[Sample; 2],
) -> (Trend, Vec<String>) {
    let (name, mut complaints) = (quantity.name, Vec::new());
    let series: Vec<Measured> = samples.iter().map(|sample| (sample.seconds, (quantity.of)(sample))).collect();
    let trend = Trend::of(&series);
    let (tolerance, noise) = if quantity.is_memory {
        (args.tolerance, args.noise)
    } else {
        // Counts have no slow drift: a leak of one in a thousand requests is hundreds in an hour.
        (quantity.per_hour, quantity.noise)
    };
    if trend.grows(tolerance, noise) {
        let Trend { first, last, per_hour, .. } = trend;
        complaints.push(format!("{name} grows by {per_hour:.1} an hour, from {first:.1} to {last:.1}"));
    }
    if !quantity.is_given_back(before, afterwards) {
        let [before, afterwards] = [before, afterwards].map(quantity.of);
        complaints.push(format!("{name} is {afterwards} after the traffic, and was {before} before it"));
    }
    (trend, complaints)
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A sample in which there is so much of everything.
    fn sample(seconds: f64, of_all: f64) -> Sample {
        let [rss, pss, private, descriptors, threads, mappings] = [of_all; 6];
        Sample { seconds, rss, pss, private, descriptors, threads, mappings }
    }

    /// Samples of an hour, one in five seconds, in which there is so much more of everything at its end.
    fn hour(more: f64) -> Vec<Sample> {
        (0..720).map(f64::from).map(|at| sample(at * 5.0, 100.0 + more * at / 720.0)).collect()
    }

    /// The complaints about a quantity of which there is so much more at the end of an hour, and after the traffic.
    fn complaints(quantity: &Quantity, in_an_hour: f64, at_rest: f64) -> Vec<String> {
        let samples = hour(in_an_hour);
        let rest = [sample(0.0, 50.0), sample(0.0, 50.0 + at_rest)];
        judge_quantity(&Args::parse_from(["soak"]), quantity, &samples.iter().collect::<Vec<_>>(), &rest).1
    }

    #[test]
    fn what_grows_by_more_than_it_may_is_a_complaint() {
        for quantity in &QUANTITIES {
            let noise = if quantity.is_memory { 16.0 } else { quantity.noise };
            // What is seen of it, from the first to the last fifth, is four fifths.
            let most = noise / 0.8;
            let found = complaints(quantity, 1.1 * most, 0.0);
            assert!(found.len() == 1 && found[0].contains(" grows by "), "{}: {found:?}", quantity.name);
            assert_eq!(complaints(quantity, 0.9 * most, 0.0), [""; 0], "{}", quantity.name);
        }
    }

    #[test]
    fn what_is_not_given_back_is_a_complaint_but_for_memory() {
        for (name, kept) in [("descriptors", 16.0), ("threads", 8.0), ("mappings", 256.0)] {
            let quantity = QUANTITIES.iter().find(|quantity| quantity.name == name).expect("it is looked at");
            let found = complaints(quantity, 0.0, kept + 1.0);
            assert_eq!(found, [format!("{name} is {} after the traffic, and was 50 before it", 51.0 + kept)]);
            assert_eq!(complaints(quantity, 0.0, kept), [""; 0], "{name}");
        }
        for quantity in QUANTITIES.iter().filter(|quantity| quantity.is_memory) {
            assert_eq!(complaints(quantity, 0.0, 1000.0), [""; 0], "{}", quantity.name);
        }
    }
}
