//! Compiling a module, and running its `init`, in processes with limits of the system.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use scorebox_tests::fixtures::{self, IRIS};
use scorebox_tests::process::{Ended, Process, descendants};
use scorebox_tests::server::{Serve, Server, free_port};
use scorebox_tests::wait::{PATIENCE, eventually};
use tempfile::TempDir;

/// How long a request may take while a deployment is made.
const ANSWERED: Duration = Duration::from_millis(500);
/// Sockets of a worker: a pair with which its runtime wakes itself up.
const SOCKETS: usize = 2;

/// The guest `says`, with a file that tells its `init` what to do.
fn says(file: &str) -> (TempDir, Serve) {
    let model = tempfile::tempdir().expect("a folder");
    fs::write(model.path().join(file), "").expect("a file");
    let serve = Serve::guest("says").arg("--model_dir").arg(model.path()).args("--no-cache");
    (model, serve)
}

#[track_caller]
fn assert_refused(ended: &Ended, texts: &[&str]) {
    assert_eq!(ended.code, Some(3), "{ended:?}");
    for text in texts {
        assert!(ended.stderr.contains(text), "no {text:?} in {}", ended.stderr);
    }
}

/// The worker that a server has, once it has limited itself.
fn worker(process: &Process) -> u32 {
    let mut found = None;
    eventually(PATIENCE, "a worker is started", || {
        found = descendants(process.id()).into_iter().find(|pid| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            line.windows(13).any(|part| part == b"sealer-worker") && limit(*pid, "Max open files") == "256"
        });
        found.is_some()
    });
    found.expect("it has been found")
}

/// A limit of a process, as the kernel says it.
fn limit(pid: u32, name: &str) -> String {
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap_or_default();
    let line = limits.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    line.split_whitespace().next().unwrap_or_default().to_owned()
}

fn kill(pid: u32) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a process has an id");
    kill_process(pid, Signal::KILL).expect("the process is there");
}

#[test]
fn a_scorer_that_takes_too_much_memory_to_compile_is_refused_with_the_limit() {
    let serve = Serve::example("house-price-rust").args("--no-cache --memory 64MiB --seal-memory 1MiB");
    assert_refused(&serve.refused(), &["cannot be served", "needed more memory than the limit of", "--seal-memory"]);
}

#[test]
fn a_scorer_that_takes_too_long_to_compile_is_refused_with_the_limit() {
    let serve = Serve::example("house-price-rust").args("--no-cache --seal-timeout 1ms");
    assert_refused(&serve.refused(), &["initialising the scorer did not end within 0.001 s", "--seal-timeout"]);
}

#[test]
fn a_worker_has_limits_few_descriptors_and_no_rights() {
    let (_model, serve) = says("spin-in-init");
    let (process, _shared) = serve.args("--init-timeout 60s --memory 1GiB --seal-memory 1GiB").spawn(free_port());
    let worker = worker(&process);
    assert_eq!(limit(worker, "Max data size"), (4_u64 << 30).to_string());
    assert_eq!(limit(worker, "Max core file size"), "0");
    assert_ne!(limit(worker, "Max cpu time"), "unlimited");
    eventually(PATIENCE, "it is confined", || {
        let status = fs::read_to_string(format!("/proc/{worker}/status")).unwrap_or_default();
        status.contains("NoNewPrivs:\t1") && status.contains("Seccomp:\t2")
    });
    let environment = fs::read(format!("/proc/{worker}/environ")).expect("its environment");
    let names: Vec<_> = environment.split(|byte| *byte == 0).filter(|part| !part.is_empty()).collect();
    assert_eq!(names.len(), 1, "{:?}", String::from_utf8_lossy(&environment));
    let descriptors = fs::read_dir(format!("/proc/{worker}/fd")).expect("its descriptors");
    let targets = descriptors.flatten().filter_map(|fd| fs::read_link(fd.path()).ok());
    // It may have several descriptors of one.
    let targets: BTreeSet<_> = targets.map(|target| target.to_string_lossy().into_owned()).collect();
    let of = |kind: &str| targets.iter().filter(|target| target.starts_with(kind)).count();
    // Its own are no way to anybody else.
    let own = of("anon_inode:") + of("/memfd:");
    assert_eq!(of("pipe:"), 3, "{targets:?}");
    assert!(of("socket:") <= SOCKETS, "{targets:?}");
    assert_eq!(own + of("pipe:") + of("socket:"), targets.len(), "{targets:?}");
}

#[test]
fn the_death_of_a_worker_is_an_error_message() {
    let (_model, serve) = says("spin-in-init");
    let (process, _shared) = serve.args("--init-timeout 60s").spawn(free_port());
    kill(worker(&process));
    assert_refused(&process.wait(PATIENCE), &["initialising the scorer was killed"]);
}

#[test]
fn a_worker_ends_with_a_server_that_is_killed() {
    let (_model, serve) = says("spin-in-init");
    let (process, _shared) = serve.args("--init-timeout 60s").spawn(free_port());
    let worker = worker(&process);
    process.kill();
    eventually(PATIENCE, "the worker ends", || {
        fs::read_to_string(format!("/proc/{worker}/stat")).map_or(true, |stat| stat.contains(") Z "))
    });
}

/// A server of the iris example in a folder in which its component can be replaced.
fn replaceable() -> (TempDir, Server) {
    let folder = tempfile::tempdir().expect("the folder is ours");
    let iris = fixtures::example("iris-rust");
    fs::create_dir(folder.path().join("model")).expect("the folder is ours");
    fs::copy(iris.join("model/iris.json"), folder.path().join("model/iris.json")).expect("the folder is ours");
    fs::copy(iris.join("model.wasm"), folder.path().join("model.wasm")).expect("the folder is ours");
    let server = Serve::new(folder.path()).args("--no-cache --init-timeout 60s").start();
    (folder, server)
}

/// Puts the guest `says`, with what its `init` is to do, in the place of the component.
fn replace(folder: &Path, file: &str) {
    fs::copy(fixtures::guest("says"), folder.join("new.wasm")).expect("the folder is ours");
    fs::rename(folder.join("new.wasm"), folder.join("model.wasm")).expect("the folder is ours");
    fs::write(folder.join("model").join(file), "").expect("the folder is ours");
}

#[test]
fn requests_are_scored_while_a_deployment_is_made_and_after_its_worker_died() {
    let (folder, server) = replaceable();
    assert_eq!(server.score(IRIS).status, 200);
    replace(folder.path(), "spin-in-init");
    server.process().signal(Signal::HUP);
    let worker = worker(server.process());
    for _ in 0..20 {
        let begin = Instant::now();
        assert_eq!(server.score(IRIS).status, 200);
        assert!(begin.elapsed() <= ANSWERED, "answered after {:?}", begin.elapsed());
    }
    kill(worker);
    server.logged("what is deployed goes on serving");
    assert_eq!(server.score(IRIS).status, 200);
}

#[test]
fn a_server_whose_sealer_has_died_goes_on_serving_and_says_that_it_cannot_deploy() {
    let (folder, server) = replaceable();
    kill(descendants(server.process().id())[0]);
    replace(folder.path(), "fine");
    server.process().signal(Signal::HUP);
    server.logged("nothing can be deployed any more, because the process that seals has ended");
    assert_eq!(server.score(IRIS).status, 200);
}

#[test]
fn a_deployment_that_is_replaced_by_renaming_is_read_again_from_behind_the_wall() {
    let (folder, server) = replaceable();
    replace(folder.path(), "fine");
    server.process().signal(Signal::HUP);
    let deployed = |line: &str| line.contains("is deployed as");
    eventually(PATIENCE, "it is deployed again", || server.log().iter().filter(|line| deployed(line)).count() == 2);
}

#[test]
fn a_server_without_a_cache_seals_and_scores() {
    let server = Serve::example("iris-rust").args("--no-cache").start();
    assert_eq!(server.score(IRIS).status, 200);
    let ended = server.stop();
    assert_eq!(ended.code, Some(0));
}
