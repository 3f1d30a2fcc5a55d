//! Where the log goes cannot take it.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader};
use std::sync::mpsc;

use rustix::process::Signal;

use super::*;

/// What the log says where it has a gap.
const MISSING: &str = " records are missing in the log so far";

/// Started by a shell with other standard streams.
fn with(redirections: &str) -> Serve {
    let script = format!(r#"trap "" XFSZ; exec "$@" {redirections}"#);
    Serve::example("iris-rust").under(["sh", "-c", &script, "sh"])
}

#[test]
fn a_server_whose_log_and_errors_nobody_can_take_serves_and_ends_well() {
    for redirections in [
        ">/dev/full",
        "2>/dev/full",
        ">/dev/full 2>/dev/full",
        ">&-",
        "2>&-",
        ">&- 2>&-",
        "</dev/null >&- 2>&- <&-",
        // A reader that is gone.
        "> >(true)",
    ] {
        let serve = if redirections.contains('(') {
            let script = format!(r#"exec "$@" {redirections}"#);
            Serve::example("iris-rust").under(["bash", "-c", &script, "bash"])
        } else {
            with(redirections)
        };
        let (process, address) = start_silent(&serve);
        let mut client = Client::connect(address).unwrap();
        for _ in 0..50 {
            let response = client.send(&Request::json(IRIS)).unwrap();
            assert_eq!((response.status, response.json()["prediction"][0].as_str()), (200, Some("setosa")));
            assert_eq!(client.send(&Request::json("{")).unwrap().status, 400);
        }
        drop(client);
        process.signal(Signal::TERM);
        let ended = process.wait(PATIENCE);
        assert_eq!(ended.code, Some(0), "{redirections}: {ended:?}");
        assert!(!ended.stderr.contains("panicked"), "{redirections}: {}", ended.stderr);
    }
}

#[test]
fn what_is_refused_has_its_exit_code_also_where_nobody_can_be_told_why() {
    let folder = folder();
    let module = folder.path().join("no.wasm");
    fs::write(&module, "no module").unwrap();
    for redirections in ["2>/dev/full", "2>&-", ">/dev/full 2>/dev/full", ">&- 2>&-"] {
        let script = format!(r#"exec "$@" {redirections}"#);
        let ended = Serve::new(&module).under(["sh", "-c", &script, "sh"]).refused();
        assert_eq!(ended.code, Some(3), "{redirections}: {ended:?}");
    }
}

#[test]
fn a_log_that_could_not_be_written_for_a_while_goes_on_when_it_can_be() {
    let folder = folder();
    let log = folder.path().join("log");
    let (process, address) = start_silent(&with(&format!(">>{}", log.display())));
    let text = || fs::read_to_string(&log).unwrap();
    let limit = |size: &str| {
        let id = process.id().to_string();
        let status = Command::new("prlimit").args(["--pid", &id, &format!("--fsize={size}")]).status().unwrap();
        assert!(status.success());
    };
    let mut client = Client::connect(address).unwrap();
    let mut score = |id: &str| {
        let request = Request::json(IRIS).header("user-agent", id);
        assert_eq!(client.send(&request).unwrap().status, 200);
    };
    score("at-first");
    eventually(PATIENCE, "it is logged", || text().contains("at-first"));
    // The soft limit alone: it can be raised again by anybody.
    limit("0:unlimited");
    let before = text();
    (0..2_000).for_each(|_| score("meanwhile"));
    assert_eq!(text(), before, "nothing could be written");
    limit("unlimited:unlimited");
    score("afterwards");
    eventually(PATIENCE, "the log goes on", || text().contains("afterwards"));
    eventually(PATIENCE, "it says that it has a gap", || text().contains(MISSING));
    process.signal(Signal::TERM);
    assert_eq!(process.wait(PATIENCE).code, Some(0));
    assert!(text().contains("all requests are answered"));
}

/// A server whose standard output is a pipe that nobody reads, made in this place.
fn start_unread(pipe: &Path) -> (Process, SocketAddr) {
    // The server has the other end of the pipe as well, so that it is never without a reader.
    let script = r#"mkfifo "$0" && exec "$@" 1<>"$0""#;
    let line = [OsStr::new("sh"), OsStr::new("-c"), OsStr::new(script), pipe.as_os_str()];
    start_silent(&Serve::guest("flood").under(line))
}

/// Has the server log more records than may wait: few at a time at first, until its writer waits for the pipe.
fn log_too_much(address: SocketAddr) {
    let mut client = Client::connect(address).expect("it listens");
    for (requests, body) in [(1_000, "{}"), (60, r#"{"records": 300, "record_bytes": 1}"#)] {
        for _ in 0..requests {
            assert_eq!(client.send(&Request::json(body)).expect("an answer").status, 200);
        }
    }
}

#[test]
fn a_server_whose_log_nobody_reads_ends_when_it_is_told_to() {
    let folder = folder();
    let (process, address) = start_unread(&folder.path().join("log"));
    log_too_much(address);
    process.signal(Signal::TERM);
    assert_eq!(process.wait(PATIENCE).code, Some(0));
}

#[test]
fn what_a_log_that_nobody_read_has_left_out_is_counted_in_it_when_it_goes_on() {
    let folder = folder();
    let pipe = folder.path().join("log");
    let (process, address) = start_unread(&pipe);
    log_too_much(address);
    let (found, lines) = mpsc::channel();
    let reader = BufReader::new(fs::File::open(&pipe).unwrap());
    std::thread::spawn(move || {
        let mut lines = reader.lines().map_while(Result::ok);
        found.send(lines.find(|line| line.contains(MISSING)))
    });
    let line = lines.recv_timeout(PATIENCE).expect("it is said in time").expect("it is said");
    let (before, _) = line.split_once(MISSING).expect("it is the line");
    let (before, missing) = before.rsplit_once(' ').expect("a number");
    assert!(before.contains(" W [") && before.ends_with("] scorebox -"), "{line}");
    assert!(missing.parse::<u64>().expect("a number") > 0, "{line}");
    process.signal(Signal::TERM);
    assert_eq!(process.wait(PATIENCE).code, Some(0));
}
