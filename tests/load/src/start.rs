//! The time from the start of `scorebox serve` to its first answer, with a cold and with a warm cache.

use std::path::Path;
use std::time::Instant;

use serde_json::{Value, json};

use crate::Result;
use crate::process::{self, Server};
use crate::stats::{median, range};

/// Starts with a cache of their own each.
const COLD: usize = 3;
/// Starts with one cache.
const WARM: usize = 10;

/// Measures, prints a table, and returns the raw figures.
pub(crate) fn measure(program: &Path) -> Result<Value> {
    eprintln!("  starting {} times", COLD + WARM + 1);
    let mut cold = Vec::new();
    for _ in 0..COLD {
        cold.push(start(program, tempfile::tempdir()?.path())?);
    }
    let cache = tempfile::tempdir()?;
    start(program, cache.path())?;
    let warm = (0..WARM).map(|_| start(program, cache.path())).collect::<Result<Vec<_>>>()?;

    println!("\nFrom the start of `scorebox serve examples/iris-rust` to the first 200 on /score");
    println!("| {:5} | {:>6} | {:>9} | {:>18} |", "cache", "starts", "median ms", "lowest to highest");
    println!("| {0:-<5} | {0:->5}: | {0:->8}: | {0:->17}: |", "");
    for (name, times) in [("cold", &cold), ("warm", &warm)] {
        let (low, high) = range(times.iter().copied());
        let (middle, spread) = (median(times.iter().copied()), format!("{low:.1} to {high:.1}"));
        println!("| {name:5} | {:>6} | {middle:>9.1} | {spread:>18} |", times.len());
    }
    Ok(json!({"cold_ms": cold, "warm_ms": warm}))
}

/// Milliseconds until the first answer.
fn start(program: &Path, cache: &Path) -> Result<f64> {
    let start = Instant::now();
    let mut server = Server::start("scorebox", None, |port| process::scorebox(program, port, cache))?;
    server.first_answer()?;
    Ok(start.elapsed().as_secs_f64() * 1e3)
}
