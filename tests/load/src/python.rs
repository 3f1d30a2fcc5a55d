//! Scripts in Python: what a fresh instance costs, the memory of many deployments, and the time to the first answer.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{env, fs};

use scorebox_sandbox::{
    Bundle, BundleFile, Cache, Code, Deployment, Limits, NoLog, Outcome, Phases, Runtime, Sandbox, SandboxConfig, Stage,
};
use serde_json::{Value, json};

use crate::memory::{CACHE, Report, Resident, request};
use crate::process::Server;
use crate::stats::{median, range};
use crate::{Result, python_http, root};

/// The scripts, and the milliseconds that a fresh instance of each may take.
const SCRIPTS: [(&str, Option<f64>); 3] = [("sum", Some(0.3)), ("numpy_dot", Some(0.45)), ("forest", None)];
/// Pages that a request may write to.
const PAGES: u32 = 80;
/// Requests that are measured, after as many that are not.
const REQUESTS: u64 = 300;
/// Deployments in one process.
const MANY: usize = 200;
/// MiB that each beyond the first may take.
const EACH: f64 = 16.0;
/// Starts of which the median is taken.
const STARTS: usize = 5;
/// The scripts that are started: with a name, and the milliseconds that the first start of a changed one may take.
const STARTED: [(&str, &str, f64); 2] = [("numpy_dot", "NumPy", 1000.0), ("pipeline", "scikit-learn pipeline", 2000.0)];
/// Milliseconds that the next start of it may take.
const CACHED: f64 = 500.0;

/// Measures, prints tables, and returns the raw figures.
pub(crate) fn measure(program: &Path) -> Result<Value> {
    let folder = cache();
    let sandbox = Sandbox::new(&SandboxConfig::default(), Some(Cache::open(&folder, u64::MAX)?))?;
    let compiling = compile(&sandbox)?;
    let instances = instances(&sandbox)?;
    drop(sandbox);
    // In a cache of its own: all are sealed, and their gigabytes go away afterwards.
    let empty = tempfile::tempdir_in(root().join("target/load"))?;
    let memory = memory(empty.path())?;
    drop(empty);
    let starts = starts(program, &folder)?;
    Ok(json!({"compile_seconds": compiling, "instances": instances, "memory": memory, "start": starts}))
}

/// The folder of the cache, which keeps the compiled runtime between runs.
pub(crate) fn cache() -> PathBuf {
    root().join("target/load/cache")
}

/// The runtime beside the binary.
fn runtime() -> Result<Runtime> {
    Ok(Runtime::open(&root().join("target/release/python-runtime"))?)
}

pub(crate) fn script(name: &str) -> PathBuf {
    root().join("tests/load/scripts").join(name).with_extension("py")
}

fn bundle(name: &str, runtime: Runtime) -> Result<Bundle> {
    let contents = fs::read(script(name))?;
    let environment = [("AML_APP_ROOT", "/var/azureml-app"), ("AZUREML_ENTRY_SCRIPT", "/var/azureml-app/score.py")];
    Ok(Bundle {
        owner: String::new(),
        code: Code::Runtime(runtime),
        environment: environment.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec(),
        files: vec![BundleFile { path: "app/score.py".to_owned(), contents }],
        model_dir: None,
        preload: None,
    })
}

pub(crate) fn deploy(sandbox: &Sandbox, name: &str, script: &str) -> Result<Deployment> {
    let limits = Limits::default();
    let module = sandbox.seal(name, "1", &bundle(script, runtime()?)?, &limits, Arc::new(NoLog), &|_| {})?;
    Ok(Deployment { name: name.to_owned(), version: "1".to_owned(), limits, module })
}

/// Compiles the runtime if the cache does not have it, and says how long that took, in seconds.
fn compile(sandbox: &Sandbox) -> Result<Option<f64>> {
    let began = std::cell::Cell::new(None);
    let took = std::cell::Cell::new(None);
    eprintln!("  deploying a script; compiles the Python runtime if it has not been compiled");
    sandbox.seal("compile", "1", &bundle("sum", runtime()?)?, &Limits::default(), Arc::new(NoLog), &|stage| {
        if stage == Stage::CompilingRuntime {
            began.set(Some(Instant::now()));
        } else if let Some(start) = began.take() {
            took.set(Some(start.elapsed().as_secs_f64()));
        }
    })?;
    if let Some(seconds) = took.get() {
        println!("\nCompiling the Python runtime took {seconds:.1} s.");
    }
    Ok(took.get())
}

/// Page faults of this thread so far that needed no disk.
pub(crate) fn faults() -> u64 {
    let stat = fs::read_to_string("/proc/thread-self/stat").unwrap_or_default();
    stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(7)?.parse().ok()).unwrap_or_default()
}

fn instances(sandbox: &Sandbox) -> Result<Value> {
    println!("\nFresh instance of a script in Python, one row, medians of {REQUESTS} in ms");
    println!("| script    | total | target | make | run   | drop  | page faults | pages dirtied |");
    println!("| --------- | ----: | -----: | ---: | ----: | ----: | ----------: | ------------: |");
    let mut raw = Vec::new();
    for (name, target) in SCRIPTS {
        let deployment = deploy(sandbox, name, name)?;
        let measured = || {
            sandbox.measure(&deployment, &request(), REQUESTS, faults).ok_or_else(|| format!("{name} gave no response"))
        };
        measured()?;
        let phases = measured()?;
        let of = |part: fn(&Phases) -> Duration| median(phases.iter().map(|phases| part(phases).as_secs_f64() * 1e3));
        let (total, make) = (of(Phases::total), of(|phases| phases.instantiate));
        let (run, drop) = (of(|phases| phases.run), of(|phases| phases.drop));
        let faults = median(phases.iter().map(|phases| phases.faults as f64));
        let dirtied = median(phases.iter().map(|phases| phases.pages_dirtied as f64));
        let limit = target.map_or_else(|| "-".to_owned(), |target| format!("{target:.2}"));
        println!(
            "| {name:9} | {total:.3} | {limit:>6} | {make:.3} | {run:.3} | {drop:.3} | {faults:>11} | {dirtied:>13} |"
        );
        raw.push(json!({"script": name, "total_ms": total, "make_ms": make, "run_ms": run, "drop_ms": drop,
            "page_faults": faults, "pages_dirtied": dirtied}));
    }
    println!("Target for the pages dirtied: {PAGES}.");
    Ok(Value::Array(raw))
}

fn memory(cache: &Path) -> Result<Value> {
    println!(
        "\nResident memory in MiB of a process with deployments of a script that imports NumPy, one request scored on each"
    );
    println!("| deployments          | none | 1     | {MANY}    | per deployment | of it anonymous |");
    println!("| -------------------- | ---: | ----: | -----: | -------------: | --------------: |");
    let mut raw = Vec::new();
    for how in ["sealed", "loaded from the cache"] {
        eprintln!("  {MANY} deployments, {how}");
        let output = Command::new(env::current_exe()?)
            .args(["python-deployments", &MANY.to_string()])
            .env(CACHE, cache)
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()?;
        if !output.status.success() {
            return Err(format!("the process with the deployments ended with {}", output.status).into());
        }
        let report: Report = serde_json::from_slice(&output.stdout)?;
        let each = |part: fn(&Resident) -> f64| (part(&report.many) - part(&report.one)) / (MANY - 1) as f64;
        println!(
            "| {how:20} | {:>4.0} | {:>5.0} | {:>6.0} | {:>14.2} | {:>15.2} |",
            report.none.rss,
            report.one.rss,
            report.many.rss,
            each(|resident| resident.rss),
            each(|resident| resident.anonymous)
        );
        raw.push(json!({"deployments": how, "mib": report}));
    }
    println!("Target: {EACH} MiB per deployment.");
    Ok(Value::Array(raw))
}

/// Deploys `count` scripts, scores one request on each, and says what that takes. This is the process that is measured.
pub(crate) fn deployments(count: usize) -> Result {
    let folder = env::var_os(CACHE).ok_or_else(|| format!("{CACHE} is not set"))?;
    let start = Instant::now();
    let sandbox = Sandbox::new(&SandboxConfig::default(), Some(Cache::open(folder, u64::MAX)?))?;
    let mut deployments = Vec::new();
    let client = tokio::runtime::Builder::new_current_thread().build()?;
    let none = Resident::now()?;
    let (mut one, mut from_cache) = (none, 0);
    for number in 0..count {
        let deployment = deploy(&sandbox, &format!("python-{number}"), "numpy_dot")?;
        from_cache += usize::from(deployment.module.from_cache);
        let run = client.block_on(sandbox.run(&deployment, request(), Arc::new(NoLog)));
        if !matches!(run.outcome, Outcome::Response(_)) {
            return Err(format!("{}: {:?}", deployment.name, run.outcome).into());
        }
        deployments.push(deployment);
        if number == 0 {
            one = Resident::now()?;
        }
    }
    let report = Report { seconds: start.elapsed().as_secs_f64(), from_cache, none, one, many: Resident::now()? };
    println!("{}", serde_json::to_string(&report)?);
    Ok(())
}

/// Times to the first answer: of a script whose imports nobody has made before, of one that has been changed below them, and
/// of the same one again.
fn starts(program: &Path, cache: &Path) -> Result<Value> {
    println!("\nFrom the start of `scorebox serve score.py` to the first 200 on /score, runtime compiled");
    println!("| script                                     | starts | median ms | target |  lowest to highest |");
    println!("| ------------------------------------------ | -----: | --------: | -----: | -----------------: |");
    let model = python_http::model()?;
    let mut raw = Vec::new();
    for (name, title, target) in STARTED {
        eprintln!("  starting {} times: {title}", 3 * STARTS);
        let folder = tempfile::tempdir()?;
        let script_file = folder.path().join("score.py");
        let text = fs::read_to_string(script(name))?;
        let change = || fs::write(&script_file, format!("{text}\n# {:?}\n", Instant::now()));
        let start = |port| {
            let began = Instant::now();
            let mut server = Server::start_on("scorebox", None, port, |port| {
                let mut command = Command::new(program);
                let port = port.to_string();
                command.arg("serve").arg(&script_file).args(["--address", "127.0.0.1", "--port", &port]);
                command.arg("--model_dir").arg(&model).arg("--cache-dir").arg(cache).current_dir(folder.path());
                command.env("SCOREBOX_ALLOW_ROOT", "true");
                command
            })?;
            server.first_answer()?;
            Ok::<_, Box<dyn std::error::Error + Send + Sync>>(began.elapsed().as_secs_f64() * 1e3)
        };
        let (mut new, mut changed, mut cached) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..STARTS {
            // The port is part of what the script sees, and so of the names under which things are cached.
            let port = crate::process::free_port()?;
            change()?;
            new.push(start(port)?);
            change()?;
            changed.push(start(port)?);
            cached.push(start(port)?);
        }
        for (how, target, times) in [
            ("imports new", None, &new),
            ("changed", Some(target), &changed),
            ("sealed in the cache", Some(CACHED), &cached),
        ] {
            let target = target.map_or_else(|| "none".to_owned(), |target| format!("{target:.0}"));
            let (low, high) = range(times.iter().copied());
            let (middle, spread) = (median(times.iter().copied()), format!("{low:.0} to {high:.0}"));
            let name = format!("{title}, {how}");
            println!("| {name:42} | {:>6} | {middle:>9.0} | {target:>6} | {spread:>18} |", times.len());
        }
        raw.push(json!({"script": name, "new_ms": new, "changed_ms": changed, "cached_ms": cached}));
    }
    Ok(Value::Array(raw))
}
