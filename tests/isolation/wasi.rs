//! What a scorer finds that was built against WASI 0.2: clocks, fresh randomness, its own files, and nothing else.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use scorebox_tests::{Request, Serve, Server, fixtures};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A folder with a model directory, and a secret beside it.
fn bundle() -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path();
    fs::create_dir_all(path.join("model/more")).expect("a folder");
    fs::write(path.join("model/weights.json"), "[1, 2]").expect("a file");
    fs::write(path.join("model/more/labels.txt"), "a b").expect("a file");
    fs::write(path.join("secret.txt"), "secret").expect("a file");
    folder
}

fn serve(bundle: &TempDir) -> Server {
    let model = bundle.path().join("model");
    Serve::guest("wasi").arg("--model_dir").arg(model).env("SECRET_OF_THE_HOST", "s-91").start()
}

/// What the scorer finds when it is told to read this file.
#[track_caller]
fn found(server: &Server, path: &str) -> Value {
    let response = server.send(&Request::score(path));
    assert_eq!(response.status, 200, "{response:?}; {}", server.process().said());
    response.json()
}

#[test]
fn randomness_is_new_in_every_request_although_init_ran_once() {
    let bundle = bundle();
    let server = serve(&bundle);
    let mut seen = HashSet::new();
    let init = found(&server, "")["random_at_init"].clone();
    for _ in 0..20 {
        let found = found(&server, "");
        assert_eq!(found["random_at_init"], init, "what init() has drawn is part of the snapshot");
        for source in ["random", "insecure_random", "insecure_seed"] {
            assert!(seen.insert(found[source].to_string()), "{source} twice: {}", found[source]);
        }
    }
}

#[test]
fn clocks_tell_the_time_of_the_request() {
    let bundle = bundle();
    let server = serve(&bundle);
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let before = now();
    let first = found(&server, "");
    let second = found(&server, "");
    let wall = second["wall_seconds"].as_u64().unwrap();
    assert!((before..=now()).contains(&wall), "{wall}, not between {before} and {}", now());
    let monotonic = |found: &Value| Duration::from_nanos(found["monotonic_ns"].as_u64().unwrap());
    assert!(monotonic(&second).abs_diff(monotonic(&first)) < Duration::from_secs(30), "{first} {second}");
}

#[test]
fn there_is_no_environment_and_there_are_no_arguments() {
    let bundle = bundle();
    let found = found(&serve(&bundle), "");
    assert_eq!((&found["environment"], &found["arguments"]), (&json!([]), &json!([])));
    assert!(!found.to_string().contains("s-91"));
}

#[test]
fn the_model_directory_is_all_that_can_be_seen_and_can_be_read() {
    let bundle = bundle();
    let server = serve(&bundle);
    let found = found(&server, "weights.json");
    assert_eq!(found["preopens"], json!(["/model"]));
    assert_eq!(found["model"]["listing"], json!(["more", "weights.json"]));
    assert_eq!(found["model"]["content"], "[1, 2]");
    assert_eq!(self::found(&server, "more/labels.txt")["model"]["content"], "a b");
}

#[test]
fn without_a_model_directory_there_are_no_files() {
    let server = Serve::new(fixtures::guest("wasi")).start();
    let found = found(&server, "");
    assert_eq!((&found["preopens"], &found["model"]), (&json!([]), &json!(null)));
}

#[test]
fn nothing_in_the_model_directory_can_be_changed() {
    let bundle = bundle();
    let found = found(&serve(&bundle), "weights.json");
    for attempt in ["truncate", "create", "create_directory", "remove"] {
        assert_ne!(found["model"][attempt], "done", "{attempt}");
        assert!(found["model"][attempt].is_string(), "{attempt} was tried");
    }
    let model = bundle.path().join("model");
    assert_eq!(fs::read_to_string(model.join("weights.json")).unwrap(), "[1, 2]");
    assert_eq!(fs::read_dir(model).unwrap().count(), 2);
}

#[test]
fn nothing_outside_of_the_model_directory_can_be_reached() {
    let bundle = bundle();
    let server = serve(&bundle);
    // Links that were not there when it was deployed.
    symlink("../secret.txt", bundle.path().join("model/relative")).unwrap();
    symlink(bundle.path().join("secret.txt"), bundle.path().join("model/absolute")).unwrap();
    symlink("..", bundle.path().join("model/parent")).unwrap();
    for path in ["../secret.txt", "more/../../secret.txt", "relative", "absolute", "parent/secret.txt", "/etc/passwd"] {
        let found = found(&server, path);
        assert!(found["model"]["content"]["error"].is_string(), "{path}: {}", found["model"]["content"]);
    }
    let found = found(&server, "");
    for attempt in ["open_parent", "open_outside", "open_absolute", "create_outside"] {
        assert_ne!(found["model"][attempt], "done", "{attempt}");
        assert!(found["model"][attempt].is_string(), "{attempt} was tried");
    }
    assert!(!bundle.path().join("created-by-guest").exists());
}

#[test]
fn standard_output_and_error_are_lines_of_the_log() {
    let bundle = bundle();
    let server = serve(&bundle);
    found(&server, "");
    assert!(server.logged(" azmlinfsrv.print - written to stdout").contains(" I ["));
    assert!(server.logged(" azmlinfsrv.stderr - written to stderr").contains(" W ["));
}
