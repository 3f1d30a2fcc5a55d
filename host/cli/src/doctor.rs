//! `scorebox doctor`: what this machine has of that on which safety and speed depend.

use std::fs;
use std::num::NonZeroUsize;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, Output};
use std::thread::available_parallelism;

use scorebox_confinement::{Attempt, attempt, is_root};
use serde::Serialize;

use crate::args::{DoctorArgs, DoctorAttemptArgs};
use crate::console;
use crate::failure::Failure;
use crate::scorer;
use crate::second_wall;

/// Exit code of an attempt that the system has refused.
const REFUSED: u8 = 10;
/// The signal with which a system call ends a process that only an intruder makes.
const BAD_SYSTEM_CALL: i32 = 31;
/// What is asked for in place of an attempt, to get the report.
const REPORT: &str = "report";

/// How well something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Health {
    Ok,
    /// Works, with a disadvantage.
    Note,
    /// A promise does not hold on this machine.
    Missing,
}

#[derive(Debug, Serialize)]
struct Finding {
    what: String,
    health: Health,
    detail: String,
}

impl Finding {
    fn new(what: &str, health: Health, detail: impl Into<String>) -> Self {
        Self { what: what.to_owned(), health, detail: detail.into() }
    }
}

/// Looks at the machine, and tries whether the second wall holds.
pub(crate) fn doctor(args: &DoctorArgs) -> Result<(), Failure> {
    let mut findings = vec![system(), user(), cores(), swap(), runtime()];
    findings.extend(protections()?);
    for what in Attempt::ALL {
        findings.push(tried(what)?);
    }
    if args.json {
        let json = serde_json::json!({ "version": env!("CARGO_PKG_VERSION"), "findings": findings });
        console::result(format_args!("{json:#}"));
    } else {
        for Finding { what, health, detail } in &findings {
            let sign = match health {
                Health::Ok => "ok      ",
                Health::Note => "note    ",
                Health::Missing => "MISSING ",
            };
            console::result(format_args!("{sign}{what:<28} {detail}"));
        }
    }
    let missing = findings.iter().filter(|finding| finding.health == Health::Missing).count();
    if missing > 0 {
        return Err(Failure::failed(format!("{missing} of {} are missing on this machine", findings.len())));
    }
    Ok(())
}

/// One attempt, in a process of its own that has given up what a server gives up.
pub(crate) fn doctor_attempt(args: &DoctorAttemptArgs) -> Result<(), Failure> {
    let what = (args.what != REPORT).then(|| args.what.parse::<Attempt>()).transpose().map_err(Failure::usage)?;
    let report = second_wall::bare();
    match what {
        None => {
            console::result(serde_json::to_string(&report).map_err(Failure::failed)?);
            Ok(())
        }
        Some(what) => attempt(what).map_err(|error| Failure::with_code(REFUSED, error)),
    }
}

fn run(what: &str) -> Result<Output, Failure> {
    Command::new("/proc/self/exe")
        .args(["doctor-attempt", what])
        .output()
        .map_err(|error| Failure::failed(format!("cannot start a process: {error}")))
}

fn protections() -> Result<Vec<Finding>, Failure> {
    let output = run(REPORT)?;
    let report: Vec<(String, serde_json::Value)> = serde_json::from_slice(&output.stdout)
        .map_err(|error| Failure::failed(format!("a confined process does not work here ({error}): {output:?}")))?;
    let finding = |(what, state): (String, serde_json::Value)| {
        let detail = state["why"].as_str().unwrap_or("enforced").to_owned();
        let health = match state["state"].as_str() {
            Some("enforced") => Health::Ok,
            Some("partly") => Health::Note,
            _ => Health::Missing,
        };
        Finding { what: format!("second wall: {what}"), health, detail }
    };
    Ok(report.into_iter().map(finding).collect())
}

fn tried(what: Attempt) -> Result<Finding, Failure> {
    let output = run(what.name())?;
    let (health, detail) = match (output.status.code(), output.status.signal()) {
        (Some(code), _) if code == i32::from(REFUSED) => {
            (Health::Ok, format!("refused: {}", String::from_utf8_lossy(&output.stderr).trim()))
        }
        (_, Some(BAD_SYSTEM_CALL)) => (Health::Ok, "refused: the process was ended".to_owned()),
        (Some(0), _) => (Health::Missing, "a confined process can do it".to_owned()),
        _ => (Health::Missing, format!("cannot be told: {}", output.status)),
    };
    Ok(Finding { what: format!("attempt: {}", what.name()), health, detail })
}

fn system() -> Finding {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    Finding::new("system", Health::Ok, format!("Linux {} on {}", release.trim(), std::env::consts::ARCH))
}

fn user() -> Finding {
    if is_root() {
        Finding::new("user", Health::Note, "root, as whom `scorebox serve` only runs with --allow-root")
    } else {
        Finding::new("user", Health::Ok, "not root")
    }
}

fn cores() -> Finding {
    let cores = available_parallelism().map_or(1, NonZeroUsize::get);
    let health = if cores == 1 { Health::Note } else { Health::Ok };
    Finding::new("cores", health, format!("{cores} that this process may use"))
}

fn swap() -> Finding {
    let swaps = fs::read_to_string("/proc/swaps").unwrap_or_default().lines().skip(1).count();
    if swaps == 0 {
        Finding::new("swap", Health::Ok, "none")
    } else {
        // Instances are safe all the same: see `pagemap_scan` in the sandbox.
        Finding::new("swap", Health::Note, "there is some: memory of scorers can be written to the disk")
    }
}

fn runtime() -> Finding {
    match scorer::find_runtime(None) {
        Ok(folder) if folder.join("compiled").is_dir() => {
            Finding::new("Python runtime", Health::Ok, format!("{}, compiled", folder.display()))
        }
        Ok(folder) => Finding::new(
            "Python runtime",
            Health::Note,
            format!(
                "{}, not compiled: the first start takes a minute longer; `scorebox compile-runtime`",
                folder.display()
            ),
        ),
        Err(why) => Finding::new("Python runtime", Health::Note, why),
    }
}
