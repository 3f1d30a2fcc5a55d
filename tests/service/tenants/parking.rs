//! Deployments that are parked, and come back.
#![expect(clippy::float_cmp, reason = "what is counted are whole numbers")]

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;

use scorebox_tests::fixtures::{self, IRIS};
use scorebox_tests::wait::{PATIENCE, eventually};
use scorebox_tests::{Request, Response, Serve, python};
use serde_json::{Value, json};

use super::metrics::metrics;
use super::{Host, TOKEN, address, score_request};

/// With this budget only the deployment that was used last is in memory.
const ONE: &str = "--memory-budget 0";

/// A host with a cache of its own, in its folder.
fn host(arguments: &str) -> Host {
    started(fixtures::folder(&[("token", TOKEN)]), arguments)
}

/// Started with the folder of another.
fn started(folder: tempfile::TempDir, arguments: &str) -> Host {
    let cache = cache(folder.path());
    let (server, admin) = super::serve(folder.path(), |serve: Serve| serve.cache(&cache).args(arguments));
    Host { server, admin, folder }
}

fn cache(folder: &Path) -> PathBuf {
    folder.join("cache")
}

/// Whether a deployment is in memory.
#[track_caller]
fn residence(host: &Host, path: &str) -> String {
    let status = host.read(&address(path)).json();
    status["residence"].as_str().unwrap_or_else(|| panic!("{status}")).to_owned()
}

/// Which of these endpoints have their deployment `blue` in memory.
fn resident<'a>(host: &Host, endpoints: &[&'a str]) -> Vec<&'a str> {
    endpoints.iter().copied().filter(|path| residence(host, &format!("{path}/blue")) == "resident").collect()
}

#[track_caller]
fn told_version(response: &Response) -> Value {
    assert_eq!(response.status, 200, "{response:?}");
    response.json()["deployment"]["version"].clone()
}

/// Deploys the scorer `echo` with a version, as `blue` with all traffic. Returns the key.
#[track_caller]
fn versioned(host: &Host, path: &str, version: &str) -> String {
    let key = host.endpoint(path);
    let bundle = host.upload(&fs::read(fixtures::guest("echo")).expect("a component"));
    let blue = format!("{path}/blue");
    assert_eq!(host.put(&address(&blue), &json!({"bundle": bundle, "version": version})).status, 202);
    host.deployed(&blue);
    host.give_all_traffic(&blue);
    key
}

fn loads(host: &Host) -> f64 {
    metrics(host)["scorebox_deployment_loads_total"]
}

#[test]
fn a_parked_deployment_answers_again_as_itself() {
    let host = host(ONE);
    let first = versioned(&host, "acme/first", "one");
    let second = versioned(&host, "acme/second", "two");
    for _ in 0..3 {
        assert_eq!(resident(&host, &["acme/first", "acme/second"]), ["acme/second"]);
        assert_eq!(told_version(&host.score("acme/first", &first, "{}")), "one");
        eventually(PATIENCE, "the other is parked", || resident(&host, &["acme/second"]).is_empty());
        assert_eq!(resident(&host, &["acme/first"]), ["acme/first"]);
        assert_eq!(told_version(&host.score("acme/second", &second, "{}")), "two");
        eventually(PATIENCE, "the other is parked", || resident(&host, &["acme/first"]).is_empty());
    }
    let measured = metrics(&host);
    assert_eq!(measured["scorebox_deployments_resident"], 1.0, "{measured:?}");
    assert_eq!(measured["scorebox_deployments_parked"], 1.0);
    assert_eq!(measured["scorebox_deployments_budget_bytes"], 0.0);
    assert_eq!(measured["scorebox_deployment_loads_total"], 6.0);
    assert_eq!(measured["scorebox_deployment_load_duration_seconds_count"], 6.0);
    // The first one made room for the second when that was deployed.
    assert_eq!(measured["scorebox_deployment_parks_total"], 7.0);
    let shown = host.scorebox(&["endpoint", "show", "acme/first"]);
    assert!(shown.stdout.contains("parked"), "{shown:?}");
}

#[test]
fn a_component_comes_back_with_its_files_and_a_script_with_its_environment_and_nothing_of_a_request() {
    let folder = fixtures::folder(&[
        ("greeting.txt", "hello"),
        (
            "score.py",
            "import os\n\nCALLS = []\n\n\ndef init():\n    pass\n\n\ndef run(data):\n    CALLS.append(data)\n    \
             with open(os.path.join(os.environ['AML_APP_ROOT'], 'greeting.txt')) as file:\n        \
             return [os.environ.get('WHO'), file.read(), len(CALLS)]\n",
        ),
    ]);
    let compiled = python::compiled_cache();
    let host = Host::start_as(|serve| serve.cache(&compiled).args(ONE));
    let (rust, script) = (host.endpoint("acme/rust"), host.endpoint("acme/script"));
    let (iris, path) = (fixtures::example("iris-rust"), folder.path().join("score.py"));
    for arguments in [
        &["deploy", "acme/rust/blue", iris.to_str().unwrap(), "--all-traffic"][..],
        &["deploy", "acme/script/blue", path.to_str().unwrap(), "--all-traffic", "--env", "WHO=me"][..],
    ] {
        let deployed = host.scorebox(arguments);
        assert_eq!(deployed.code, Some(0), "{deployed:?}");
    }
    for _ in 0..2 {
        let response = host.score("acme/rust", &rust, IRIS);
        assert_eq!(response.json()["prediction"], json!(["setosa"]), "{response:?}");
        eventually(PATIENCE, "the script is parked", || residence(&host, "acme/script/blue") == "parked");
        for _ in 0..2 {
            let response = host.score("acme/script", &script, "{}");
            assert_eq!(response.json(), json!(["me", "hello", 1]), "{response:?}");
        }
        eventually(PATIENCE, "the component is parked", || residence(&host, "acme/rust/blue") == "parked");
    }
}

#[test]
fn the_one_that_was_used_the_longest_time_ago_is_parked_when_the_budget_is_reached() {
    let Host { server, folder, .. } = {
        let host = host("--memory-budget 1GiB");
        let endpoints = ["acme/a", "acme/b", "acme/c"];
        for path in endpoints {
            host.endpoint(path);
            host.deploy(&format!("{path}/blue"), "echo");
            let key = json!({"key": format!("{path}-{}", "k".repeat(32))});
            assert_eq!(host.put(&format!("{}/keys/primary", address(path)), &key).status, 200);
            host.give_all_traffic(&format!("{path}/blue"));
        }
        assert_eq!(resident(&host, &endpoints), endpoints);
        host
    };
    server.kill();
    // What all three take.
    let host = started(folder, "--memory-budget 1GiB");
    eventually(PATIENCE, "all are back", || metrics(&host)["scorebox_deployments_resident"] == 3.0);
    let all = metrics(&host)["scorebox_deployments_resident_bytes"];
    assert!(all > 3.0 * 65536.0, "{all}");
    let Host { server, folder, .. } = host;
    server.kill();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is a number of bytes")]
    let two = (all * 2.5 / 3.0) as u64;
    let host = started(folder, &format!("--memory-budget {two}"));
    let score = |path: &str| {
        assert_eq!(host.score(path, &format!("{path}-{}", "k".repeat(32)), "{}").status, 200);
    };
    let are_resident = |expected: [&str; 2]| {
        eventually(PATIENCE, &format!("{expected:?} are resident"), || {
            resident(&host, &["acme/a", "acme/b", "acme/c"]) == expected
        });
        assert!(metrics(&host)["scorebox_deployments_resident_bytes"] <= two as f64);
    };
    // What there is room for comes back on its own; after that, what is asked for.
    eventually(PATIENCE, "some are back", || metrics(&host)["scorebox_deployment_parks_total"] >= 1.0);
    score("acme/a");
    score("acme/b");
    are_resident(["acme/a", "acme/b"]);
    score("acme/a");
    score("acme/c");
    are_resident(["acme/a", "acme/c"]);
    score("acme/b");
    are_resident(["acme/b", "acme/c"]);
}

#[test]
fn a_request_in_flight_keeps_what_it_began_on_while_that_is_parked() {
    const PIECE: usize = 256 * 1024;
    const PIECES: usize = 128;
    let host = host(ONE);
    let key = host.serving("acme/streams", "streams");
    let other = versioned(&host, "acme/other", "other");
    let mut client = host.server.connect();
    let body = json!({"piece_bytes": PIECE, "count": PIECES}).to_string();
    client.write(&score_request("acme/streams", &key, &body).to_bytes()).unwrap();
    let head = client.read_head().unwrap();
    assert_eq!(head.status, 200, "{head:?}");
    // More of it is to come than the connection holds, so the scorer waits.
    assert_eq!(told_version(&host.score("acme/other", &other, "{}")), "other");
    eventually(PATIENCE, "it is parked", || residence(&host, "acme/streams/blue") == "parked");
    assert_eq!(metrics(&host)["scorebox_instances"], 1.0);
    let mut bytes = 0;
    loop {
        let chunk = client.read_chunk().unwrap();
        if chunk.is_empty() {
            break;
        }
        bytes += chunk.len();
    }
    assert_eq!(bytes, PIECES * PIECE);
    assert_eq!(residence(&host, "acme/streams/blue"), "parked");
}

/// Replaces each entry of the cache by another one of its name and size.
fn damage(host: &Host) {
    let entries = fs::read_dir(cache(host.folder.path())).expect("a folder").map(|entry| entry.expect("a file").path());
    let mut damaged = 0;
    for path in entries.filter(|path| path.extension().is_some_and(|ending| ending == "sealed")) {
        let mut bytes = fs::read(&path).expect("an entry");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        let other = path.with_extension("other");
        fs::write(&other, bytes).expect("a file");
        fs::rename(&other, &path).expect("a file");
        damaged += 1;
    }
    assert!(damaged > 0);
}

#[test]
fn many_requests_cause_one_load_which_goes_on_when_clients_go_away_and_a_damaged_entry_is_sealed_again() {
    const CLIENTS: usize = 16;
    let host = host(ONE);
    let first = versioned(&host, "acme/first", "one");
    let second = versioned(&host, "acme/second", "two");
    damage(&host);
    let before = loads(&host);
    // Sealing takes long enough for all of them to come meanwhile.
    let mut gone = host.server.connect();
    gone.write(&score_request("acme/first", &first, "{}").to_bytes()).unwrap();
    host.server.logged("deployment acme/first/blue is not in the cache any more");
    assert_eq!(residence(&host, "acme/first/blue"), "loading");
    drop(gone);
    thread::scope(|scope| {
        let waiting: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(|| host.score("acme/first", &first, "{}"))).collect();
        for answer in waiting {
            assert_eq!(told_version(&answer.join().unwrap()), "one");
        }
    });
    assert_eq!(loads(&host), before + 1.0);
    let sealed: Vec<_> = host.server.log().into_iter().filter(|line| line.contains("first/blue is not in")).collect();
    assert_eq!(sealed.len(), 1, "{sealed:?}");
    // It is in the cache again.
    assert_eq!(told_version(&host.score("acme/second", &second, "{}")), "two");
    eventually(PATIENCE, "it is parked", || residence(&host, "acme/first/blue") == "parked");
    assert_eq!(told_version(&host.score("acme/first", &first, "{}")), "one");
    let sealed: Vec<_> = host.server.log().into_iter().filter(|line| line.contains("first/blue is not in")).collect();
    assert_eq!(sealed.len(), 1, "{sealed:?}");
}

#[test]
fn what_cannot_come_back_is_answered_with_503_and_is_tried_again_later() {
    let host = host(ONE);
    let first = versioned(&host, "acme/first", "one");
    versioned(&host, "acme/second", "two");
    assert_eq!(residence(&host, "acme/first/blue"), "parked");
    let blobs = host.folder.path().join("state/store/blobs");
    let away = host.folder.path().join("away");
    fs::rename(&blobs, &away).unwrap();
    let answers: Vec<_> = (0..20).map(|_| host.score("acme/first", &first, "{}")).collect();
    for response in &answers {
        let after = response.header("retry-after").expect("when to try again");
        response.assert_error(503, &format!("The deployment is not loaded. Try again in {after} s."));
    }
    let refused = r#"scorebox_requests_total{tenant="acme",endpoint="first",deployment="blue",outcome="refused"}"#;
    eventually(PATIENCE, "all are counted", || metrics(&host)[refused] == 20.0);
    // It is not tried with each of them.
    let failures = metrics(&host)["scorebox_deployment_load_failures_total"];
    assert!((1.0..=5.0).contains(&failures), "{failures}");
    let status = host.read(&address("acme/first/blue")).json();
    assert_eq!(status["residence"], "unloadable", "{status}");
    assert!(status["unloadable"].as_str().is_some_and(|why| why.contains("is gone; upload it again")), "{status}");
    host.server.logged("deployment acme/first/blue cannot answer: its bundle");
    fs::rename(&away, &blobs).unwrap();
    eventually(PATIENCE, "it is tried again", || host.score("acme/first", &first, "{}").status == 200);
    assert_eq!(residence(&host, "acme/first/blue"), "resident");
}

#[test]
fn health_and_documents_of_a_parked_deployment_need_no_load() {
    let host = host(ONE);
    let key = host.serving("acme/first", "typed");
    let get = |path: &str| {
        let request = Request::get(&format!("/acme/first{path}")).header("authorization", format!("Bearer {key}"));
        host.server.send(&request)
    };
    let before = get("/swagger.json?version=3.1");
    assert_eq!(before.status, 200, "{before:?}");
    versioned(&host, "acme/second", "two");
    assert_eq!(residence(&host, "acme/first/blue"), "parked");
    assert_eq!(get("/swagger.json?version=3.1").text(), before.text());
    assert_eq!(get("/").text(), "Healthy");
    assert_eq!((residence(&host, "acme/first/blue").as_str(), loads(&host)), ("parked", 0.0));
}

#[test]
fn after_a_restart_what_is_asked_for_comes_back_and_the_rest_as_far_as_there_is_room() {
    let one = host(ONE);
    let key = versioned(&one, "acme/iris", "blue");
    one.deploy("acme/iris/green", "says");
    let other = versioned(&one, "acme/other", "other");
    let Host { server, folder, .. } = one;
    server.kill();
    let host = started(folder, ONE);
    let all = ["acme/iris/blue", "acme/iris/green", "acme/other/blue"];
    assert_eq!(all.map(|path| residence(&host, path)), ["parked"; 3]);
    // A deployment that a header picks, and no other.
    let picked = score_request("acme/iris", &key, r#"{"text": "hello"}"#).header("azureml-model-deployment", "green");
    assert_eq!(host.server.send(&picked).json()["said"], "hello");
    assert_eq!(all.map(|path| residence(&host, path)), ["parked", "resident", "parked"]);
    // Its documents are known when it has been loaded.
    let document = Request::get("/acme/other/swagger.json").header("api-key", &other);
    assert_eq!(host.server.send(&document).status, 200);
    // A rollback to the revision that is parked, and a revision in its place.
    let current = format!("{}/current", address("acme/iris/blue"));
    assert_eq!(host.put(&current, &json!({"revision": 1})).status, 200);
    assert_eq!(told_version(&host.score("acme/iris", &key, "{}")), "blue");
    let Host { server, folder, .. } = host;
    server.kill();
    let host = started(folder, "--memory-budget 1GiB");
    eventually(PATIENCE, "what has traffic is back", || {
        all.map(|path| residence(&host, path)) == ["resident", "parked", "resident"]
    });
}

#[test]
fn a_mirror_comes_back_for_its_copies() {
    let host = host(ONE);
    let key = versioned(&host, "acme/iris", "blue");
    host.deploy("acme/iris/green", "echo");
    let spec = json!({"traffic": {"blue": 100}, "mirror": {"green": 50}});
    assert_eq!(host.put(&format!("{}/traffic", address("acme/iris")), &spec).status, 200);
    let copies =
        "scorebox_mirrored_requests_total{tenant=\"acme\",endpoint=\"iris\",deployment=\"green\",outcome=\"answered\"}";
    eventually(PATIENCE, "a copy is answered", || {
        assert_eq!(told_version(&host.score("acme/iris", &key, "{}")), "blue");
        metrics(&host)[copies] > 0.0
    });
}

#[test]
fn what_is_not_used_is_parked_after_the_time_that_is_said() {
    let host = host("--park-after 300ms");
    let key = versioned(&host, "acme/iris", "one");
    for _ in 0..2 {
        eventually(PATIENCE, "it is parked", || residence(&host, "acme/iris/blue") == "parked");
        assert_eq!(told_version(&host.score("acme/iris", &key, "{}")), "one");
    }
}
