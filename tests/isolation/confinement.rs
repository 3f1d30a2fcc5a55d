//! The second wall: what the server has given up, as the kernel and attempts show it.

use std::fs;
use std::path::PathBuf;

use rustix::process::Signal;
use scorebox_tests::fixtures::IRIS;
use scorebox_tests::process::{Process, run, scorebox};
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
    assert_eq!(core.split_whitespace().nth(4), Some("0"), "{core}");
}

#[test]
fn each_thread_of_the_server_and_the_sealer_are_confined() {
    let server = Serve::example("iris-rust").start();
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

#[test]
fn the_doctor_tries_what_a_confined_process_must_not_be_able_to_do() {
    let ended = run(["doctor", "--json"]);
    let report: Value = serde_json::from_str(&ended.stdout).expect("the report is JSON");
    let findings = report["findings"].as_array().expect("the findings");
    let missing: Vec<_> = findings.iter().filter(|finding| finding["health"] == "missing").collect();
    assert_eq!(ended.code, Some(i32::from(!missing.is_empty())), "{}", ended.stdout);
    let of = |prefix: &str| {
        findings.iter().filter(|finding| finding["what"].as_str().is_some_and(|what| what.starts_with(prefix))).count()
    };
    assert_eq!((of("second wall: "), of("attempt: ")), (5, 7), "{}", ended.stdout);
    // Where the kernel lacks something, the doctor is to say what; where it has all, each attempt is to fail.
    let is_whole =
        findings.iter().filter(|finding| finding["what"].as_str().is_some_and(|what| what.starts_with("second")));
    if is_whole.clone().all(|finding| finding["health"] == "ok") {
        assert!(missing.is_empty(), "{missing:?}");
    } else {
        assert!(is_whole.filter(|finding| finding["health"] != "ok").all(|finding| finding["detail"] != ""));
    }
}

#[test]
fn an_attempt_outside_of_the_wall_succeeds_so_that_the_doctor_can_fail() {
    // The same program, unconfined, can do what the attempts are refused.
    assert!(fs::read("/etc/passwd").is_ok() && fs::read_dir("/").is_ok());
    assert!(std::net::TcpListener::bind(("127.0.0.1", 0)).is_ok());
    assert!(std::process::Command::new("/proc/self/exe").arg("--list").output().is_ok());
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
        assert_eq!(serve.start().score(IRIS).status, 200);
    }
}

#[test]
fn a_server_that_crashes_writes_no_core_file() {
    let folder = tempfile::tempdir().unwrap();
    let server = Serve::example("iris-rust").in_folder(folder.path()).start();
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
