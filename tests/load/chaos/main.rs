//! Many tenants, managed at random while they serve, by a server that is killed now and then.
//!
//! Each tenant has one endpoint with two deployments, and its scorers say whose they are. All the while clients have
//! requests scored, some with the key of another tenant; an operator for each tenant deploys, rolls back, shares traffic out
//! anew and replaces keys; and the server is killed and started again. The program fails when an answer is another
//! tenant's, when a change that was acknowledged is not there after a restart, when an answer is an error of the server's, or
//! when a connection breaks that no kill has cut.
//!
//! `make chaos` runs it for 30 minutes. Everything stays on the loopback interface.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "the report is the output of this program")]

#[path = "../src/machine.rs"]
mod machine;
#[path = "../src/managed.rs"]
mod managed;
mod operator;
mod traffic;

use std::error::Error;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;
use serde_json::json;

use crate::managed::Managed;
use crate::operator::Operator;
use crate::traffic::Count;

/// What went wrong, in words.
type Result<T = ()> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// Many tenants, managed at random while they serve, by a server that is killed now and then.
#[derive(Debug, Parser)]
struct Args {
    /// How long it lasts.
    #[arg(long, value_name = "N", default_value_t = 30.0)]
    minutes: f64,
    /// Seconds from one kill to the next.
    #[arg(long, value_name = "N", default_value_t = 60.0)]
    kill_every: f64,
    /// Tenants.
    #[arg(long, value_name = "N", default_value_t = 10)]
    tenants: usize,
    /// How many of these have scripts in Python.
    #[arg(long, value_name = "N", default_value_t = 2)]
    python: usize,
    /// Requests in a second, of all clients together.
    #[arg(long, value_name = "N", default_value_t = 200.0)]
    rate: f64,
    /// What is drawn from.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Where the figures are written to, as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

fn main() -> ExitCode {
    match chaos(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What goes on in all threads.
#[derive(Debug, Default)]
struct State {
    over: AtomicBool,
    /// Kills so far. It is odd from before a kill until the server answers again.
    epoch: AtomicU64,
    complaints: Mutex<Vec<String>>,
}

impl State {
    fn is_over(&self) -> bool {
        self.over.load(Relaxed)
    }

    /// Notes something that must not be, which ends everything.
    fn complain(&self, what: String) {
        self.complaints.lock().unwrap_or_else(PoisonError::into_inner).push(what);
        self.over.store(true, Relaxed);
    }

    /// Whether a kill may have cut what began in `epoch`.
    fn was_killed_since(&self, epoch: u64) -> bool {
        epoch % 2 == 1 || self.epoch.load(Relaxed) != epoch
    }

    /// Waits until the server is up. Returns the epoch.
    fn up(&self) -> u64 {
        loop {
            let epoch = self.epoch.load(Relaxed);
            if epoch.is_multiple_of(2) || self.is_over() {
                return epoch;
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
}

fn chaos(args: &Args) -> Result {
    machine::describe();
    let length = Duration::from_secs_f64(args.minutes * 60.0);
    let folder = tempfile::tempdir()?;
    let mut server = Managed::start(folder.path())?;
    let addresses = server.addresses();
    let state = State::default();
    let scorers = operator::Scorers::upload(&addresses, args.python > 0)?;
    let mut operators = Vec::new();
    for number in 0..args.tenants {
        operators.push(Operator::set_up(addresses, number, number < args.python, &scorers, args.seed)?);
    }
    eprintln!("{} tenants serve; chaos for {:.1} minutes", args.tenants, args.minutes);
    let boards: Vec<_> = operators.iter().map(Operator::board).collect();
    let start = Instant::now();
    let (mut counts, mut downs) = (Count::default(), Vec::new());
    thread::scope(|scope| {
        let (state, boards) = (&state, &boards);
        let clients: Vec<_> = (0..traffic::CLIENTS)
            .map(|number| {
                let rate = args.rate / f64::from(u32::try_from(traffic::CLIENTS).expect("few clients"));
                scope.spawn(move || traffic::run(number, addresses, boards, rate, args.seed, state))
            })
            .collect();
        let managing: Vec<_> = operators
            .iter_mut()
            .map(|operator| {
                scope.spawn(move || operator.run(state).unwrap_or_else(|error| state.complain(error.to_string())))
            })
            .collect();
        let mut next = start + Duration::from_secs_f64(args.kill_every);
        while start.elapsed() < length && !state.is_over() {
            thread::sleep(Duration::from_millis(20));
            if Instant::now() < next {
                continue;
            }
            next += Duration::from_secs_f64(args.kill_every);
            state.epoch.fetch_add(1, Relaxed);
            let killed = Instant::now();
            match server.kill_and_start() {
                Ok(()) => downs.push(killed.elapsed()),
                Err(error) => state.complain(error.to_string()),
            }
            state.epoch.fetch_add(1, Relaxed);
        }
        state.over.store(true, Relaxed);
        for client in clients {
            match client.join() {
                Ok(count) => counts += count,
                Err(_) => state.complain("a client has failed".to_owned()),
            }
        }
        for operator in managing {
            if operator.join().is_err() {
                state.complain("an operator has failed".to_owned());
            }
        }
    });
    // At last: what is there is what was acknowledged.
    for operator in &mut operators {
        if let Err(error) = operator.check() {
            state.complain(error.to_string());
        }
    }
    let complaints = state.complaints.into_inner().unwrap_or_else(PoisonError::into_inner);
    let mut changes = operator::Changes::default();
    for operator in &operators {
        changes += operator.changes();
    }
    downs.sort_unstable();
    let down = downs.get(downs.len() / 2).copied().unwrap_or_default();
    let report = json!({
        "machine": machine::raw(),
        "minutes": start.elapsed().as_secs_f64() / 60.0,
        "tenants": args.tenants,
        "kills": downs.len(),
        "median_down_ms": down.as_secs_f64() * 1e3,
        "requests": counts,
        "changes": changes,
        "complaints": complaints,
    });
    println!("{report:#}");
    if let Some(file) = &args.json {
        fs::write(file, serde_json::to_vec_pretty(&report)?)?;
    }
    if !complaints.is_empty() {
        eprintln!("the end of the server's log:\n{}", server.said());
        return Err(complaints.join("\nerror: ").into());
    }
    println!("No answer of another tenant's, no change lost, no error of the server's.");
    Ok(())
}
