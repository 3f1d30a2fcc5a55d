//! Benchmarks of whole processes, each against something in the same run:
//!
//! - HTTP throughput, latency and CPU time of `scorebox serve examples/iris-rust` against a plain axum server that
//!   computes the same natively;
//! - resident memory with 1 and with many deployments in one process;
//! - the same of scripts in Python against Azure ML's inference server from PyPI, with one worker and with two;
//! - what a fresh instance for each request costs, against one that is used again;
//! - scripts in Python: a fresh instance, many deployments, the time to the first answer;
//! - what a tenant notices of another that offers a hundred times as much;
//! - the time from the start of the process to its first answer, with a cold and with a warm cache.
//!
//! `make bench` builds what is needed and runs all of them. Everything stays on the loopback interface. The raw figures
//! are in `target/load/results.json`; those of a part that is run by itself in a file of its name.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "the table is the output of this program")]

mod density;
mod existence;
mod fairness;
mod isolation;
mod machine;
mod managed;
mod memory;
mod plain;
mod process;
mod python;
mod python_http;
mod start;
mod stats;
mod throughput;
mod wrk;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{env, fs};

use clap::{Parser, Subcommand};
use serde_json::{Map, Value};

/// The allocator of the binary: so the plain server has the same one, and memory is that of the same one.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What went wrong, in words.
type Result<T = ()> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// A benchmark, the name of its figures, and how it is run.
type Part<'a> = (Command, &'static str, &'a dyn Fn() -> Result<Value>);

/// The request that is sent everywhere.
const BODY: &str = r#"{"data": [[5.1, 3.5, 1.4, 0.2]]}"#;

/// Benchmarks of whole processes. Without a command all of them are run.
#[derive(Debug, Parser)]
struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    /// Alternating rounds of what is compared with something else.
    #[arg(long, global = true, default_value_t = 5)]
    rounds: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Subcommand)]
enum Command {
    /// HTTP throughput, latency and CPU time against a plain axum server.
    Throughput,
    /// The same of scripts in Python against Azure ML's inference server, which it installs from PyPI.
    PythonHttp,
    /// What a fresh instance for each request costs, against one that is used again.
    Isolation,
    /// Resident memory with 1 and with many deployments.
    Memory,
    /// Time to the first answer with a cold and a warm cache.
    Start,
    /// Scripts in Python: a fresh instance, many deployments, the time to the first answer.
    Python,
    /// What a tenant notices of another that offers a hundred times as much.
    Fairness,
    /// Whether time tells another tenant's endpoint from one that is not there.
    Existence,
    /// Many deployments on one server: memory, and how fast they come back when they are parked. Takes as long as sealing all
    /// of them; kept in the folder `SCOREBOX_LOAD_STATE`, if that is set, they are sealed once. Only when it is asked for.
    Density {
        /// Deployments of examples/iris-rust.
        #[arg(long, default_value_t = 1000)]
        rust: usize,
        /// Deployments of a script in Python.
        #[arg(long, default_value_t = 100)]
        python: usize,
    },
    /// The plain server.
    #[command(hide = true)]
    Plain {
        /// Port on the loopback interface.
        port: u16,
    },
    /// The process whose memory is measured, with scripts in Python.
    #[command(hide = true)]
    PythonDeployments {
        /// How many.
        count: usize,
    },
    /// The process whose memory is measured.
    #[command(hide = true)]
    Deployments {
        /// How many.
        count: usize,
    },
}

fn main() -> ExitCode {
    let Args { command, rounds } = Args::parse();
    let result = match command {
        Some(Command::Plain { port }) => plain::serve(port),
        Some(Command::Deployments { count }) => memory::deployments(count),
        Some(Command::PythonDeployments { count }) => python::deployments(count),
        Some(Command::Density { rust, python }) => density::measure(rust, python),
        part => measure(part, rounds),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the benchmarks, or only `part` of them.
fn measure(part: Option<Command>, rounds: usize) -> Result {
    let program = program()?;
    machine::describe();
    let parts: [Part<'_>; 8] = [
        (Command::Throughput, "throughput", &|| throughput::measure(&program, rounds)),
        (Command::PythonHttp, "python-http", &|| python_http::measure(&program, rounds)),
        (Command::Isolation, "isolation", &|| isolation::measure(rounds)),
        (Command::Memory, "memory", &memory::measure),
        (Command::Python, "python", &|| python::measure(&program)),
        (Command::Start, "start", &|| start::measure(&program)),
        (Command::Existence, "existence", &existence::measure),
        (Command::Fairness, "fairness", &fairness::measure),
    ];
    let mut raw = Map::from_iter([("machine".to_owned(), machine::raw())]);
    let mut file = "results";
    for (command, name, measure) in parts {
        if part.is_none_or(|part| part == command) {
            raw.insert(name.to_owned(), measure()?);
        }
        if part == Some(command) {
            file = name;
        }
    }
    write(&format!("{file}.json"), &Value::Object(raw))
}

/// The root of the repository.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The example that is served.
fn example() -> PathBuf {
    root().join("examples/iris-rust")
}

/// The binary that is measured.
fn program() -> Result<PathBuf> {
    let program = env::var_os("SCOREBOX_BIN").map_or_else(|| root().join("target/release/scorebox"), PathBuf::from);
    if !program.is_file() {
        return Err(format!("{} is not there: `make bench` builds it", program.display()).into());
    }
    if !example().join("model.wasm").is_file() {
        return Err(format!("{} has no model.wasm: `make bench` builds it", example().display()).into());
    }
    Ok(program)
}

fn write(name: &str, raw: &Value) -> Result {
    let folder = root().join("target/load");
    fs::create_dir_all(&folder)?;
    let file = folder.join(name);
    fs::write(&file, serde_json::to_vec_pretty(raw)?)?;
    println!("\nRaw figures: {}", fs::canonicalize(file)?.display());
    Ok(())
}
