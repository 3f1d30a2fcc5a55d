//! Nothing that a request to a script leaves behind is there for another. The same driver, sent to a server that shares
//! its process between requests, finds that it is.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use scorebox_tests::process::Process;
use scorebox_tests::server::free_port;
use scorebox_tests::wait::holds_within;
use scorebox_tests::{Client, Request, Response, python};
use serde_json::{Value, json};

const REQUESTS: usize = 10_000;
const CONNECTIONS: usize = 32;
/// Requests that are enough for a server that leaks.
const FEW: usize = 400;
/// The limit of the time for `run()`.
const LIMIT_MS: u64 = 1000;
/// One in so many requests exceeds it, where any does.
const EVERY: usize = 25;
/// How long the server that leaks may take to start.
const START: Duration = Duration::from_mins(1);

/// What is sent to a script, and what it would answer if it were alone.
struct Traffic {
    script: &'static str,
    request: fn(usize) -> Value,
    /// None where the time limit is exceeded.
    answer: fn(usize) -> Option<Value>,
}

const STATE: Traffic = Traffic {
    script: "leaks/state.py",
    request: |index| json!({"tenant": format!("tenant {index}")}),
    answer: |_| Some(json!({})),
};

const RACE: Traffic = Traffic {
    script: "leaks/race.py",
    request: |index| json!({"number": index}),
    answer: |index| Some(json!(index * 2)),
};

/// Some take too long, and have left their numbers behind by then.
const TIMEOUT: Traffic = Traffic {
    script: "leaks/timeout.py",
    request: |index| json!({"numbers": [index, 1], "seconds": if index % EVERY == 0 { 3 } else { 0 }}),
    answer: |index| (index % EVERY != 0).then(|| json!(index + 1)),
};

/// How many answers are not what they are to be.
fn wrong_answers(server: SocketAddr, traffic: &'static Traffic, requests: usize, connections: usize) -> usize {
    let next = Arc::new(AtomicUsize::new(0));
    let clients: Vec<_> = (0..connections)
        .map(|_| {
            let next = Arc::clone(&next);
            std::thread::spawn(move || {
                let (mut connection, mut wrong) = (None, 0);
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= requests {
                        return wrong;
                    }
                    let response = send(&mut connection, server, &(traffic.request)(index));
                    match (traffic.answer)(index) {
                        Some(answer) => {
                            assert_eq!(response.status, 200, "{response:?}");
                            wrong += usize::from(response.json() != answer);
                        }
                        None => response.assert_error(500, &format!("Scoring timeout after {LIMIT_MS} ms")),
                    }
                }
            })
        })
        .collect();
    clients.into_iter().map(|client| client.join().expect("a client ends")).sum()
}

/// Sends a request, on the connection of the one before where the server keeps it.
fn send(connection: &mut Option<Client>, server: SocketAddr, body: &Value) -> Response {
    let mut client = connection.take().unwrap_or_else(|| Client::connect(server).expect("the server listens"));
    let response = client.send(&Request::json(body.to_string())).expect("an answer");
    if response.header("connection") != Some("close") {
        *connection = Some(client);
    }
    response
}

mod in_the_sandbox {
    use super::*;

    #[track_caller]
    fn assert_no_leaks(traffic: &'static Traffic) {
        let server = python::serve_source(traffic.script)
            .args("--no-request-log --timeout")
            .arg(format!("{LIMIT_MS}ms"))
            .start();
        assert_eq!(wrong_answers(server.address(), traffic, REQUESTS, CONNECTIONS), 0, "{}", server.process().said());
    }

    #[test]
    fn no_request_sees_what_another_one_kept_in_a_global() {
        assert_no_leaks(&STATE);
    }

    #[test]
    fn no_request_works_with_what_another_one_put_into_the_model() {
        assert_no_leaks(&RACE);
    }

    #[test]
    fn no_request_sees_what_another_one_left_behind_when_its_time_was_over() {
        assert_no_leaks(&TIMEOUT);
    }
}

/// Azure ML's inference server.
mod in_a_shared_process {
    use super::*;

    fn count(traffic: &'static Traffic, gunicorn: &str, requests: usize, connections: usize) -> usize {
        let programs = python::environment("leaks");
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let port = free_port();
        let mut command = Command::new(programs.join("azmlinfsrv"));
        command
            .arg("--entry_script")
            .arg(python::source(traffic.script))
            .args(["--port", &port.to_string()])
            .current_dir(&folder)
            .env("GUNICORN_CMD_ARGS", gunicorn)
            .env("SCORING_TIMEOUT_MS", LIMIT_MS.to_string());
        let server = Process::start(&mut command);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        assert!(
            holds_within(START, || {
                let health = Client::connect(address).and_then(|mut client| client.send(&Request::get("/")));
                health.is_ok_and(|response| response.status == 200)
            }),
            "{}",
            server.said()
        );
        let wrong = wrong_answers(address, traffic, requests, connections);
        // Its workers end with it only where it can tell them.
        server.signal(rustix::process::Signal::TERM);
        server.wait(START);
        wrong
    }

    #[test]
    fn the_same_script_leaks_to_every_request_after_the_first() {
        assert_eq!(count(&STATE, "", FEW, 1), FEW - 1);
    }

    #[test]
    fn the_same_script_mixes_up_most_requests_where_there_are_threads() {
        let wrong = count(&RACE, "--threads 8", FEW, CONNECTIONS);
        assert!(wrong > FEW / 2, "{wrong} of {FEW}");
    }

    #[test]
    fn the_same_script_gives_a_wrong_total_after_every_timeout() {
        const FEW: usize = 100;
        // The first request after each that was stopped: with its answer the numbers are gone.
        assert_eq!(count(&TIMEOUT, "", FEW, 1), FEW / EVERY);
    }
}
