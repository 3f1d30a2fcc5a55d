//! Requests per second, latency and CPU time over HTTP, against a plain axum server.

use std::env;
use std::fs::File;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::process::{self, Server};
use crate::wrk::{self, Load, Measured};
use crate::{BODY, Result};

const LOADS: [Load; 2] = [Load { connections: 32, seconds: 3 }, Load { connections: 1, seconds: 2 }];
/// Share of the plain server's throughput at 32 connections that is to be reached.
const TARGET: f64 = 0.85;

/// Measures, prints a table, and returns the raw figures.
pub(crate) fn measure(program: &Path, rounds: usize) -> Result<Value> {
    let folder = tempfile::tempdir()?;
    let script = wrk::script(folder.path(), BODY)?;
    let cache = folder.path().join("cache");
    let log = File::create(folder.path().join("log"))?;
    let own = env::current_exe()?;
    let mut servers = [
        (
            "plain axum",
            Server::start("the plain server", None, |port| {
                let mut command = Command::new(own);
                command.args(["plain", &port.to_string()]);
                command
            })?,
        ),
        (
            "scorebox --no-request-log",
            Server::start("scorebox", None, |port| {
                let mut command = process::scorebox(program, port, &cache);
                command.arg("--no-request-log");
                command
            })?,
        ),
        (
            "scorebox, log to a file",
            Server::start("scorebox", Some(&log), |port| process::scorebox(program, port, &cache))?,
        ),
    ];
    wrk::check_answers(&mut servers)?;

    println!(
        "\nHTTP, examples/iris-rust, one row a request; median of {rounds} alternating rounds (lowest to highest)"
    );
    let mut raw = Vec::new();
    for load in LOADS {
        let measured = Measured::of(&servers, &script, load, rounds)?;
        measured.print(0);
        if load.connections == LOADS[0].connections {
            println!("Target: {TARGET} of plain axum.");
        }
        raw.push(measured.raw());
    }
    Ok(Value::Array(raw))
}
