//! No descriptor is left for another connection.

use std::time::Duration;

use rustix::process::Signal;

use super::*;

/// Enough to start with, and for some connections.
const DESCRIPTORS: usize = 64;

#[test]
fn connections_that_wait_for_a_descriptor_when_the_server_is_told_to_end_are_served() {
    let limit = format!("--nofile={DESCRIPTORS}");
    let server = Serve::example("iris-rust").args("--grace 20s").under(["prlimit", &limit]).start();
    let _unused: Vec<_> = (0..2 * DESCRIPTORS).map(|_| server.connect()).collect();
    server.logged("cannot accept a connection: Too many open files");
    let mut waiting = server.connect();
    waiting.write(&Request::json(IRIS).to_bytes()).unwrap();
    server.terminate();
    let response = waiting.read().expect("an answer");
    assert_eq!((response.status, response.header("connection")), (200, Some("close")), "{response:?}");
    let ended = server.wait(PATIENCE);
    assert_eq!(ended.code, Some(0));
    assert!(!ended.stdout.contains("are cut"), "{}", ended.stdout);
}

#[test]
fn a_server_without_descriptors_keeps_its_connections_waits_without_computing_and_goes_on_when_there_are_some() {
    let limit = format!("--nofile={DESCRIPTORS}");
    let server = Serve::example("iris-rust").under(["prlimit", &limit]).start();
    let mut first = server.connect();
    assert_eq!(first.send(&Request::json(IRIS)).unwrap().status, 200);
    let more: Vec<_> = (0..2 * DESCRIPTORS).map(|_| server.connect()).collect();
    server.logged("cannot accept a connection: Too many open files");
    // One more, which waits for its turn.
    let mut waiting = server.connect();
    waiting.write(&Request::get("/livez").to_bytes()).unwrap();

    let before = server.process().cpu_time();
    assert!(!waiting.readable_within(Duration::from_secs(1)).unwrap(), "there is no descriptor for it");
    let computed = server.process().cpu_time().saturating_sub(before);
    assert!(computed <= Duration::from_millis(200), "{computed:?} in a second in which there was nothing to do");

    for _ in 0..20 {
        assert_eq!(first.send(&Request::json(IRIS)).unwrap().status, 200);
    }
    // Nothing can be read to deploy it; what is deployed serves on.
    server.process().signal(Signal::HUP);
    server.logged("SIGHUP: the scorer is read again");
    eventually(PATIENCE, "the new one is refused or deployed", || {
        let log = server.log();
        let deployed = log.iter().filter(|line| line.contains("is deployed as default")).count();
        deployed > 1 || log.iter().any(|line| line.contains("what is deployed goes on serving"))
    });
    assert_eq!(first.send(&Request::json(IRIS)).unwrap().status, 200);

    drop(more);
    assert_eq!(waiting.read().unwrap().status, 200);
    assert_eq!(server.get("/readyz").status, 200);
    assert_eq!(first.send(&Request::json(IRIS)).unwrap().status, 200);
    server.process().signal(Signal::HUP);
    assert_eq!(server.score(IRIS).status, 200);
    drop((first, waiting));
    let ended = server.stop();
    assert_eq!(ended.code, Some(0));
    let warnings = ended.stdout.matches("cannot accept a connection").count();
    assert!(warnings <= 3, "the log is not flooded: {warnings} warnings");
}
