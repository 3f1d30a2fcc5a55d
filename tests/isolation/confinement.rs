//! The second wall: what the server has given up, as the kernel and attempts show it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use rustix::process::Signal;
use scorebox_tests::fixtures::{self, IRIS};
use scorebox_tests::process::{Process, hermetic, run, scorebox};
use scorebox_tests::server::{Serve, Server};
use scorebox_tests::wait::{PATIENCE, eventually};
use serde_json::Value;

/// The threads of a process, each as what the kernel says about it.
fn statuses(pid: u32) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("a process has threads");
    tasks.flatten().filter_map(|task| fs::read_to_string(task.path().join("status")).ok()).collect()
}

fn field<'a>(status: &'a str, name: &str) -> &'a str {
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("no {name}: {status}"));
    line.trim()
}

fn sealer_of(server: &Server) -> u32 {
    let pid = server.process().id();
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).expect("the server's children");
    children.trim().parse().unwrap_or_else(|_| panic!("the server has one child, not {children:?}"))
}

#[track_caller]
fn assert_confined(pid: u32) {
    let statuses = statuses(pid);
    assert!(!statuses.is_empty());
    for status in statuses {
        assert_eq!(field(&status, "NoNewPrivs:"), "1", "{status}");
        assert_eq!(field(&status, "Seccomp:"), "2", "{status}");
    }
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).expect("the limits of a process");
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).expect("one is that of core files");
    // The limit that holds, and the one up to which it could be raised.
    assert_eq!(core.split_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["0", "0"], "{core}");
}

/// Starts what follows with core files allowed, so that it is the program that does away with them.
const WITH_CORE_FILES: [&str; 4] = ["sh", "-c", "ulimit -c unlimited && exec \"$@\"", "sh"];

#[test]
fn each_thread_of_the_server_and_the_sealer_are_confined() {
    let server = Serve::example("iris-rust").under(WITH_CORE_FILES).start();
    assert_eq!(server.score(IRIS).status, 200);
    assert_confined(server.process().id());
    assert_confined(sealer_of(&server));
}

#[test]
fn without_confinement_there_is_none_and_the_log_says_so() {
    let server = Serve::example("iris-rust").args("--no-confinement").start();
    server.logged("--no-confinement: what breaks out of the sandbox has all the rights of this user");
    for status in statuses(server.process().id()) {
        assert_eq!(field(&status, "Seccomp:"), "0", "{status}");
    }
}

/// The processes that are confined, and what none of them may do. Only the sealer may start a program, which is this one.
const PROCESSES: [&str; 3] = ["server", "sealer", "worker"];
const ATTEMPTS: [&str; 12] = [
    "read-outside",
    "list-root",
    "write-temporary",
    "write-readable",
    "create-in-readable",
    "remove-readable",
    "connect",
    "fast-open",
    "listen",
    "multipath",
    "datagram",
    "execute",
];
/// Those that seccomp refuses; it is in all kernels that Scorebox runs on. The rest is Landlock's.
const SECCOMP: [&str; 5] = ["connect", "fast-open", "multipath", "datagram", "execute"];

#[test]
fn the_doctor_tries_what_a_confined_process_must_not_be_able_to_do() {
    let ended = run(["doctor", "--json"]);
    let report: Value = serde_json::from_str(&ended.stdout).expect("the report is JSON");
    let findings = report["findings"].as_array().expect("the findings");
    let missing = findings.iter().filter(|finding| finding["health"] == "missing").count();
    assert_eq!(ended.code, Some(i32::from(missing > 0)), "{}", ended.stdout);
    let finding = |what: &str| {
        let found = findings.iter().find(|finding| finding["what"] == what);
        found.unwrap_or_else(|| panic!("no {what:?} in {}", ended.stdout))
    };
    let is_ok = |what: &str| finding(what)["health"] == "ok";
    for what in ["no-new-privileges", "no-core-dumps", "system-calls"] {
        assert!(is_ok(&format!("second wall: {what}")), "{}", ended.stdout);
    }
    let (files, ports) = ("second wall: files", "second wall: ports");
    for what in [files, ports] {
        assert!(is_ok(what) || finding(what)["detail"] != "", "the doctor says what a kernel lacks: {}", ended.stdout);
    }
    let mut tried = 0;
    for process in PROCESSES {
        for attempt in ATTEMPTS.iter().filter(|attempt| (process, **attempt) != ("sealer", "execute")) {
            tried += 1;
            let is_promised = SECCOMP.contains(attempt)
                || match *attempt {
                    "listen" => is_ok(ports) || process != "server",
                    // Landlock of any age refuses these.
                    _ => finding(files)["health"] != "missing",
                };
            let what = format!("attempt: {attempt} ({process})");
            assert!(is_ok(&what) || !is_promised, "{what}: {}", ended.stdout);
        }
    }
    let attempts = findings.iter().filter(|finding| finding["what"].as_str().unwrap_or("").starts_with("attempt"));
    assert_eq!(attempts.count(), tried, "{}", ended.stdout);
}

#[test]
fn an_attempt_outside_of_the_wall_succeeds_so_that_the_doctor_can_fail() {
    let folder = tempfile::tempdir().unwrap();
    let has_multipath = fs::read_to_string("/proc/sys/net/mptcp/enabled").is_ok_and(|enabled| enabled.trim() == "1");
    for attempt in ATTEMPTS.into_iter().filter(|attempt| has_multipath || *attempt != "multipath") {
        let readable = folder.path().join("readable");
        fs::write(&readable, "readable").unwrap();
        let file = readable.to_str().expect("the name of a temporary folder is text");
        let ended = run(["doctor-attempt", attempt, "--as", "server", "--readable", file, "--unconfined"]);
        assert_eq!(ended.code, Some(0), "{attempt}: {ended:?}");
        let confined = run(["doctor-attempt", attempt, "--as", "server", "--readable", file]);
        assert_ne!(confined.code, Some(0), "{attempt}: {confined:?}");
    }
}

#[test]
fn a_confined_server_can_ask_for_its_pages_whoever_runs_it() {
    let is_root = rustix::process::geteuid().is_root();
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    // Where nobody can start it.
    let program = folder.path().join("scorebox");
    fs::copy(fixtures::binary(), &program).unwrap();
    let mut command = hermetic(if is_root { "setpriv" } else { "env" });
    if is_root {
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"]);
    }
    let ended = Process::start(command.arg(&program).args(["doctor", "--json"])).wait(PATIENCE);
    let report: Value = serde_json::from_str(&ended.stdout).unwrap_or_else(|_| panic!("{ended:?}"));
    let findings = report["findings"].as_array().expect("the findings");
    let of = |what: &str| findings.iter().find(|finding| finding["what"] == what).expect("it is looked at");
    assert_eq!(of("user")["detail"], "not root");
    // Linux 6.7 has it.
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split(['.', '-']).map_while(|number| number.parse::<u32>().ok());
    let is_new = (numbers.next(), numbers.next()) >= (Some(6), Some(7));
    assert_eq!(of("pages written to")["health"], if is_new { "ok" } else { "note" }, "{}", ended.stdout);
}

#[test]
fn root_is_refused_unless_it_is_allowed() {
    let is_root = rustix::process::geteuid().is_root();
    let serve = Serve::example("iris-rust").env("SCOREBOX_ALLOW_ROOT", "false");
    if is_root {
        let ended = serve.refused();
        assert_eq!(ended.code, Some(3), "{ended:?}");
        assert!(
            ended.stderr.contains("the server would run as root") && ended.stderr.contains("--allow-root"),
            "{ended:?}"
        );
        let allowed = Serve::example("iris-rust").env("SCOREBOX_ALLOW_ROOT", "false").args("--allow-root").start();
        assert_eq!(allowed.score(IRIS).status, 200);
    } else {
        fixtures::not_tested_here("that root is refused: these tests do not run as root");
        assert_eq!(serve.start().score(IRIS).status, 200);
    }
}

#[test]
fn a_server_that_crashes_writes_no_core_file() {
    let folder = tempfile::tempdir().unwrap();
    let server = Serve::example("iris-rust").under(WITH_CORE_FILES).in_folder(folder.path()).start();
    server.process().signal(Signal::ABORT);
    assert_eq!(server.wait(PATIENCE).code, None);
    let files: Vec<_> = fs::read_dir(folder.path()).unwrap().flatten().map(|entry| entry.path()).collect();
    assert_eq!(files, Vec::<PathBuf>::new());
}

#[test]
fn a_descriptor_that_whoever_started_the_server_left_open_goes_no_further() {
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    fs::write(&secret, "secret").unwrap();
    let script = format!("exec 9<{}; exec \"$@\"", secret.display());
    let server = Serve::example("iris-rust").under(["sh", "-c", &script, "sh"]).start();
    let leads_to = |pid: u32| {
        let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).expect("the descriptors of a process");
        descriptors.flatten().filter_map(|fd| fs::read_link(fd.path()).ok()).any(|target| target == secret)
    };
    assert!(leads_to(server.process().id()), "the server itself has it: the test can fail");
    assert!(!leads_to(sealer_of(&server)));
}

#[test]
fn the_sealer_ends_with_a_server_that_is_killed() {
    let server = Serve::example("iris-rust").start();
    let sealer = sealer_of(&server);
    server.kill();
    eventually(PATIENCE, "the sealer ends", || {
        // A zombie whose parent is gone may wait to be reaped.
        fs::read_to_string(format!("/proc/{sealer}/stat")).is_ok_and(|stat| stat.contains(") Z "))
            || !PathBuf::from(format!("/proc/{sealer}")).exists()
    });
}

#[test]
fn the_commands_of_the_processes_are_not_for_users() {
    let help = run(["--help"]).stdout;
    assert!(!help.contains("sealer") && !help.contains("doctor-attempt"), "{help}");
    // With nothing to do they end.
    let mut process = Process::start(scorebox().arg("sealer").stdin(std::process::Stdio::null()));
    eventually(PATIENCE, "it ends", || !process.runs());
    assert_eq!(process.exit_code(), Some(0));
}
