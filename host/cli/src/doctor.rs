//! `scorebox doctor`: what this machine has of that on which safety and speed depend.

use std::fs;
use std::num::NonZeroUsize;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, Output};
use std::thread::available_parallelism;

use scorebox_confinement::{Attempt, Profile, attempt, is_root};
use scorebox_sandbox::open_page_map;
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use crate::args::{DoctorArgs, DoctorAttemptArgs};
use crate::console;
use crate::failure::Failure;
use crate::scorer;
use crate::second_wall;

/// Exit code of an attempt that the system has refused.
const REFUSED: u8 = 10;
/// The signal with which a system call ends a process that only an intruder makes.
const BAD_SYSTEM_CALL: i32 = 31;

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
    let folder = tempfile::tempdir();
    let readable = folder.as_ref().map_or(Path::new("/"), TempDir::path).join("readable");
    findings.extend(protections(&readable)?);
    if let Err(error) = &folder {
        findings.push(Finding::new(
            "attempts at files",
            Health::Note,
            format!("not made, for want of a file: {error}"),
        ));
    }
    for what in Attempt::ALL.into_iter().filter(|what| folder.is_ok() || !what.is_of_a_file()) {
        for profile in Profile::ALL.into_iter().filter(|profile| what.is_refused_to(*profile)) {
            findings.push(tried(what, profile, &readable)?);
        }
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
            console::result(format_args!("{sign}{what:<38} {detail}"));
        }
    }
    verdict(&findings)
}

/// Whether all is there that is promised.
fn verdict(findings: &[Finding]) -> Result<(), Failure> {
    let missing = findings.iter().filter(|finding| finding.health == Health::Missing).count();
    if missing > 0 {
        return Err(Failure::failed(format!("{missing} of {} are missing on this machine", findings.len())));
    }
    Ok(())
}

/// One attempt, in a process of its own that has given up what a process of this kind gives up.
pub(crate) fn doctor_attempt(args: &DoctorAttemptArgs) -> Result<(), Failure> {
    let folder = args.readable.parent().ok_or_else(|| Failure::usage("--readable is to be a file in a folder"))?;
    let report = (!args.unconfined).then(|| second_wall::bare(args.profile, folder));
    match args.what {
        None => {
            let report = serde_json::json!({ "protections": report, "has_page_map": open_page_map() });
            console::result(report);
            Ok(())
        }
        Some(what) => attempt(what, &args.readable).map_err(|error| Failure::with_code(REFUSED, error)),
    }
}

/// Has a process try something, or report.
fn run(what: Option<Attempt>, profile: Profile, readable: &Path) -> Result<Output, Failure> {
    Command::new("/proc/self/exe")
        .arg("doctor-attempt")
        .args(what.map(Attempt::name))
        .args(["--as", profile.name(), "--readable"])
        .arg(readable)
        .output()
        .map_err(|error| Failure::failed(format!("cannot start a process: {error}")))
}

/// What a confined process says of itself.
#[derive(Debug, Deserialize)]
struct Reported {
    protections: Vec<(String, serde_json::Value)>,
    /// Whether it can ask which pages it has written to.
    has_page_map: bool,
}

fn protections(readable: &Path) -> Result<Vec<Finding>, Failure> {
    let output = run(None, Profile::Server { outgoing: false }, readable)?;
    let Reported { protections, has_page_map } = serde_json::from_slice(&output.stdout)
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
    let (health, detail) =
        if has_page_map { (Health::Ok, "told by the kernel") } else { (Health::Note, second_wall::NO_PAGE_MAP) };
    let pages = Finding::new("pages written to", health, detail);
    Ok(protections.into_iter().map(finding).chain([pages]).collect())
}

fn tried(what: Attempt, profile: Profile, readable: &Path) -> Result<Finding, Failure> {
    if what.is_of_a_file() {
        // Anew for each: one that succeeds may have removed it.
        fs::write(readable, "readable").map_err(|error| Failure::failed(format!("{}: {error}", readable.display())))?;
    }
    let (health, detail) = told(&run(Some(what), profile, readable)?);
    Ok(Finding { what: format!("attempt: {} ({})", what.name(), profile.name()), health, detail })
}

/// What the end of a process tells that has tried something.
fn told(output: &Output) -> (Health, String) {
    match (output.status.code(), output.status.signal()) {
        (Some(code), _) if code == i32::from(REFUSED) => {
            (Health::Ok, format!("refused: {}", String::from_utf8_lossy(&output.stderr).trim()))
        }
        (_, Some(BAD_SYSTEM_CALL)) => (Health::Ok, "refused: the process was ended".to_owned()),
        (Some(0), _) => (Health::Missing, "a confined process can do it".to_owned()),
        _ => (Health::Missing, format!("cannot be told: {}", output.status)),
    }
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

#[cfg(test)]
mod tests {
    use std::process::ExitStatus;

    use super::*;

    /// The end of a process with this status of the system's: an exit code is in its second byte, a signal in its first.
    fn ended(status: i32) -> Output {
        Output { status: ExitStatus::from_raw(status), stdout: Vec::new(), stderr: b"error: not permitted\n".to_vec() }
    }

    #[test]
    fn an_attempt_is_refused_by_an_error_or_by_the_end_of_its_process_and_by_nothing_else() {
        let refused = i32::from(REFUSED) << 8;
        assert_eq!(told(&ended(refused)), (Health::Ok, "refused: error: not permitted".to_owned()));
        assert_eq!(told(&ended(BAD_SYSTEM_CALL)).0, Health::Ok);
        assert_eq!(told(&ended(0)), (Health::Missing, "a confined process can do it".to_owned()));
        // An error, wrong usage, an abort and a kill.
        for status in [1 << 8, 2 << 8, 6, 9] {
            let (health, detail) = told(&ended(status));
            assert!(health == Health::Missing && detail.starts_with("cannot be told: "), "{status}: {detail}");
        }
    }

    #[test]
    fn the_doctor_fails_where_something_is_missing_and_not_for_a_note() {
        let finding = |health| Finding::new("something", health, "");
        assert!(verdict(&[finding(Health::Ok), finding(Health::Note)]).is_ok());
        let failure = verdict(&[finding(Health::Ok), finding(Health::Missing), finding(Health::Missing)]).unwrap_err();
        assert_eq!(failure.to_string(), "2 of 3 are missing on this machine");
    }
}
