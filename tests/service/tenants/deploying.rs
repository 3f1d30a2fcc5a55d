//! Deployments and their revisions.

use std::fs;

use scorebox_tests::fixtures::{self, IRIS};
use scorebox_tests::wait::{PATIENCE, SetOnFailure, eventually};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use super::{Host, address, last, score_request};

/// The version that the scorer `echo` was told.
fn version(host: &Host, key: &str) -> Value {
    let response = host.score("acme/iris", key, "{}");
    assert_eq!(response.status, 200, "{response:?}");
    response.json()["deployment"]["version"].clone()
}

#[test]
fn a_new_revision_answers_when_it_is_ready_and_can_be_taken_back() {
    let host = Host::start();
    let key = host.serving("acme/iris", "echo");
    assert_eq!(version(&host, &key), "1");
    let bundle = host.upload(&fs::read(fixtures::guest("echo")).unwrap());
    let path = address("acme/iris/blue");
    let named = json!({"bundle": bundle, "version": "2026-11-a"});
    let accepted = host.put(&path, &named);
    assert_eq!((accepted.status, last(&accepted.json())["number"].clone()), (202, json!(2)), "{}", accepted.text());
    let status = host.deployed("acme/iris/blue");
    assert_eq!((&status["current"], &status["answering"]), (&json!(2), &json!(2)), "{status}");
    assert_eq!(version(&host, &key), "2026-11-a");
    // The same again changes nothing.
    let again = host.put(&path, &named);
    assert_eq!((again.status, again.header("etag")), (200, host.read(&path).header("etag")));
    // Back, and forth.
    for (revision, told) in [(1, "1"), (2, "2026-11-a"), (1, "1")] {
        let current = host.put(&format!("{path}/current"), &json!({ "revision": revision }));
        assert_eq!(current.status, 200, "{}", current.text());
        assert_eq!(version(&host, &key), told);
    }
    assert_eq!(host.put(&format!("{path}/current"), &json!({"revision": 3})).status, 404);
    // What is asked for is a new revision again, since another one answers.
    assert_eq!(last(&host.put(&path, &named).json())["number"], 3);
}

#[test]
fn a_deployment_that_fails_leaves_the_one_before_and_says_where_and_why() {
    let host = Host::start();
    let key = host.serving("acme/iris", "echo");
    let path = address("acme/iris/blue");
    let script = fixtures::folder(&[(
        "score.py",
        "import not_there\n\n\ndef init():\n    pass\n\n\ndef run(data):\n    return data\n",
    )]);
    let fails = |bundle: &[u8], limits: Value, why: &str| {
        let bundle = host.upload(bundle);
        assert_eq!(host.put(&path, &json!({"bundle": bundle, "limits": limits})).status, 202);
        let status = host.deployed("acme/iris/blue");
        assert_eq!(last(&status)["state"]["state"], "failed", "{status}");
        let reason = last(&status)["state"]["reason"].as_str().expect("a reason").to_owned();
        assert!(reason.contains(why), "{reason}");
        assert_eq!((&status["current"], &status["answering"]), (&json!(1), &json!(1)));
        assert_eq!(version(&host, &key), "1");
    };
    fails(b"nothing that can be run", json!({}), "neither a component nor an archive");
    fails(b"\0asm\x01\0\0\0", json!({}), "component");
    fails(b"PK\x03\x04", json!({}), "it is not an archive");
    let echo = fs::read(fixtures::guest("echo")).unwrap();
    fails(&echo, json!({"memory": 65536}), "memory");
    let packed = host.scorebox(&["deploy", "acme/iris/blue", script.path().join("score.py").to_str().unwrap()]);
    assert_eq!(packed.code, Some(1), "{packed:?}");
    for why in [
        "revision 6 of acme/iris/blue failed, revision 1 goes on",
        "ModuleNotFoundError: No module named 'not_there'",
        "Traceback (most recent call last):",
        "score.py\", line 1, in <module>",
    ] {
        assert!(packed.stderr.contains(why), "{packed:?}");
    }
    assert_eq!(version(&host, &key), "1");
    // What has never been ready cannot be rolled back to.
    assert_eq!(host.put(&format!("{path}/current"), &json!({"revision": 2})).status, 409);
}

#[test]
fn a_revision_that_does_not_answer_its_probe_leaves_the_one_before() {
    let host = Host::start();
    let key = host.endpoint("acme/iris");
    let bundle = host.upload(&fs::read(fixtures::guest("panic")).unwrap());
    let path = address("acme/iris/blue");
    let probed = |probe: Value| {
        let accepted = host.put(&path, &json!({"bundle": bundle, "probe": probe}));
        assert_eq!(accepted.status, 202, "{}", accepted.text());
        last(&host.deployed("acme/iris/blue"))["state"].clone()
    };
    assert_eq!(probed(json!({"body": r#"{"end": "well"}"#}))["state"], "ready");
    host.give_all_traffic("acme/iris/blue");
    let why = |probe: Value| {
        let state = probed(probe);
        assert_eq!(state["state"], "failed", "{state}");
        assert_eq!(host.score("acme/iris", &key, r#"{"end": "well"}"#).status, 200);
        assert_eq!(host.read(&path).json()["answering"], 1);
        state["reason"].as_str().expect("a reason").to_owned()
    };
    let reason = why(json!({"body": r#"{"end": "panic"}"#}));
    assert!(reason.starts_with("its probe failed: ") && reason.contains("panicked"), "{reason}");
    let reason = why(json!({"body": r#"{"end": "bad_input"}"#}));
    assert!(reason.contains("answered with status 400, not 200 to 299"), "{reason}");
    let reason = why(json!({"body": r#"{"end": "well"}"#, "status": 204}));
    assert!(reason.contains("answered with status 200, not 204"), "{reason}");
    // What is expected may be an error.
    assert_eq!(probed(json!({"body": r#"{"end": "bad_input"}"#, "status": 400}))["state"], "ready");
}

#[test]
fn a_script_is_warmed_with_the_example_of_its_schema_which_it_need_not_answer() {
    let host = Host::start();
    let folder = fixtures::folder(&[
        (
            "score.py",
            "from inference_schema.schema_decorators import input_schema\n\
             from inference_schema.parameter_types.standard_py_parameter_type import StandardPythonParameterType\n\n\n\
             def init():\n    pass\n\n\n\
             @input_schema('data', StandardPythonParameterType({'row': [1, 2]}))\n\
             def run(data):\n    print('warmed with', data['row'])\n    if data['row'] == [1, 2]:\n        \
             raise ValueError('no such row')\n    return data['row']\n",
        ),
        ("probe.json", r#"{"data": {"row": [1, 2]}}"#),
        ("good.json", r#"{"data": {"row": [3]}}"#),
    ]);
    let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let key = host.endpoint("acme/iris");
    let deployed = host.scorebox(&["deploy", "acme/iris/blue", &file("score.py"), "--all-traffic"]);
    assert_eq!(deployed.code, Some(0), "{deployed:?}");
    let said = host.scorebox(&["logs", "acme/iris/blue"]).stdout;
    assert!(said.contains("warmed with [1, 2]"), "{said}");
    host.server.logged("does not answer the example of its schema");
    // It has to answer what it is probed with.
    let probe = |name: &str| host.scorebox(&["deploy", "acme/iris/blue", &file("score.py"), "--probe", &file(name)]);
    let failed = probe("probe.json");
    assert_eq!(failed.code, Some(1), "{failed:?}");
    for why in ["its probe failed", "ValueError: no such row", "score.py\", line 13"] {
        assert!(failed.stderr.contains(why), "{why}: {failed:?}");
    }
    let deployed = probe("good.json");
    assert_eq!(deployed.code, Some(0), "{deployed:?}");
    assert_eq!(host.score("acme/iris", &key, r#"{"data": {"row": [5]}}"#).json(), json!([5]));
}

#[test]
fn what_cannot_be_deployed_is_refused_at_once_and_changes_nothing() {
    let host = Host::start();
    host.serving("acme/iris", "echo");
    let path = address("acme/iris/blue");
    let before = host.read(&path);
    let bundle = host.upload(&fs::read(fixtures::guest("echo")).unwrap());
    for (spec, why) in [
        (json!({"bundle": "0".repeat(64)}), "upload it first"),
        (json!({"bundle": "x"}), "SHA-256"),
        (json!({}), "bundle"),
        (json!({"bundle": bundle, "memory": 1}), "unknown field `memory`"),
        (json!({"bundle": bundle, "limits": {"memory": u64::MAX}}), "more than the"),
        (json!({"bundle": bundle, "limits": {"timeout_ms": 0}}), "`timeout_ms` is 0"),
        (json!({"bundle": bundle, "environment": {"A=B": "c"}}), "no environment variable"),
        (json!({"bundle": bundle, "version": "v".repeat(1001)}), "version"),
        (json!({"bundle": bundle, "probe": {"body": "", "status": 100}}), "none of 200 to 999"),
        (json!({"bundle": bundle, "probe": {"body": "", "content_type": "a\nb"}}), "in no header"),
        (json!({"bundle": bundle, "probe": {"body": "x".repeat(1024 * 1024 + 1)}}), "more than 1048576"),
        (json!([1]), "not what is expected"),
    ] {
        let response = host.put(&path, &spec);
        assert_eq!(response.status, 422, "{spec}: {}", response.text());
        assert_eq!(response.header("content-type"), Some("application/problem+json"));
        let detail = response.json()["detail"].as_str().expect("what is wrong").to_owned();
        assert!(detail.contains(why), "{spec}: {detail}");
    }
    assert_eq!(host.read(&path).json(), before.json());
}

#[test]
fn a_deployment_has_its_own_environment_limits_and_files() {
    let host = Host::start_as(|serve| serve.env("OF_THE_SERVER", "secret"));
    let key = host.endpoint("acme/iris");
    let iris = fixtures::example("iris-rust");
    let deployed = host.scorebox(&["deploy", "acme/iris/rust", iris.to_str().unwrap(), "--all-traffic"]);
    assert_eq!(deployed.code, Some(0), "{deployed:?}");
    let response = host.score("acme/iris", &key, IRIS);
    assert_eq!(response.json()["prediction"], json!(["setosa"]), "{response:?}");
    let script = fixtures::folder(&[(
        "score.py",
        "import os\n\n\ndef init():\n    pass\n\n\ndef run(data):\n    if data == 'spin':\n        while True:\n            pass\n    \
         return {name: os.environ.get(name) for name in ('GREETING', 'PATH', 'HOME', 'OF_THE_SERVER')}\n",
    )]);
    let script = script.path().join("score.py");
    let deploy = ["deploy", "acme/iris/python", script.to_str().unwrap(), "--all-traffic"];
    let deployed = host.scorebox(&[&deploy[..], &["--env", "GREETING=hello", "--timeout", "200ms"]].concat());
    assert_eq!(deployed.code, Some(0), "{deployed:?}");
    let environment = host.score("acme/iris", &key, "{}").json();
    // The interpreter is told of a home of its own.
    assert_eq!(environment, json!({"GREETING": "hello", "PATH": null, "HOME": "/tmp", "OF_THE_SERVER": null}));
    host.score("acme/iris", &key, "spin").assert_error(500, "Scoring timeout after 200 ms");
}

#[test]
fn what_a_scorer_said_and_why_it_failed_can_be_read_while_it_serves() {
    let host = Host::start();
    let key = host.serving("acme/iris", "says");
    host.serving("umbrella/iris", "says");
    let said = host.scorebox(&["logs", "acme/iris/blue"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    for (text, fail) in [("first words", false), ("last words", true)] {
        let request = score_request("acme/iris", &key, &json!({"text": text, "fail": fail}).to_string());
        let response = host.server.send(&request.header("x-request-id", "of-mine"));
        assert_eq!(response.status, if fail { 500 } else { 200 }, "{response:?}");
    }
    let logs = host.read(&format!("{}/logs", address("acme/iris/blue"))).json();
    let lines = logs["items"].as_array().expect("lines");
    let line = |text: &str| lines.iter().find(|line| line["text"].as_str().is_some_and(|found| found.contains(text)));
    assert_eq!(line("first words").expect("what was said")["request_id"], "of-mine", "{logs}");
    assert_eq!(line("Encountered Exception").expect("why it failed")["level"], "error", "{logs}");
    let last = &lines.last().expect("a line")["number"];
    let after = host.read(&format!("{}/logs?after={last}", address("acme/iris/blue"))).json();
    assert_eq!(after["items"], json!([]));
    let other = host.read(&format!("{}/logs", address("umbrella/iris/blue"))).json();
    assert!(!other.to_string().contains("words"), "{other}");
    let shown = host.scorebox(&["logs", "acme/iris/blue", "--tail", "1"]);
    assert_eq!(shown.stdout.lines().filter(|line| line.starts_with("20")).count(), 1, "{shown:?}");
    assert_eq!(host.scorebox(&["logs", "acme/iris/green"]).code, Some(1));
}

#[test]
fn what_a_scorer_says_looks_like_no_other_record_and_is_no_command_to_a_terminal() {
    const FORGED: &str = "2026-11-01T00:00:00Z critical of-another fake";
    let host = Host::start();
    let key = host.serving("acme/iris", "says");
    let text = format!("first\n{FORGED}\u{7f}\u{9b}31m");
    assert_eq!(host.score("acme/iris", &key, &json!({"text": text}).to_string()).status, 200);
    let shown = |arguments: &[&str]| {
        let ended = host.scorebox(arguments);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert!(!ended.stdout.contains(|char: char| matches!(char, '\u{7f}'..='\u{9f}')), "{ended:?}");
        ended.stdout
    };
    let lines = shown(&["logs", "acme/iris/blue"]);
    assert!(lines.lines().any(|line| line == format!("\t{FORGED}31m")), "{lines}");
    assert!(!lines.lines().any(|line| line.starts_with(FORGED)), "{lines}");
    let lines = shown(&["logs", "acme/iris/blue", "--json"]);
    assert!(lines.contains(r"\u007f\u009b31m"), "{lines}");
    let mut said = lines.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON")["text"].clone());
    assert!(said.any(|said| said.as_str().is_some_and(|said| said.contains(&text))), "{lines}");
    // Nor is why it failed.
    let model = fixtures::folder(&[("fail-in-init", "\u{9b}31m")]);
    let (guest, model) = (fixtures::guest("panic"), model.path().to_str().unwrap());
    let failed = host.scorebox(&["deploy", "acme/iris/blue", guest.to_str().unwrap(), "--model_dir", model]);
    assert_eq!(failed.code, Some(1), "{failed:?}");
    for show in [&["endpoint", "show", "acme/iris", "--json"], &["deployment", "show", "acme/iris/blue", "--json"]] {
        let shown = shown(show);
        assert!(shown.contains(r"init() failed: \u009b31m"), "{shown}");
    }
}

#[test]
fn no_request_fails_while_deployments_come_and_go() {
    const CLIENTS: usize = 2;
    const CHANGES: u64 = 30;
    let host = Host::start();
    let key = host.serving("acme/iris", "echo");
    let bundle = host.upload(&fs::read(fixtures::guest("echo")).unwrap());
    let (end, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let mut client = host.server.connect();
                let request = score_request("acme/iris", &key, "{}");
                while !end.load(Ordering::Relaxed) {
                    let response = client.send(&request).expect("an answer");
                    assert_eq!(response.status, 200, "{response:?}");
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let _failure = SetOnFailure(&end);
        for change in 2..CHANGES + 2 {
            let before = answered.load(Ordering::Relaxed);
            let name = ["blue", "green"][usize::try_from(change % 2).unwrap()];
            let spec = json!({"bundle": bundle, "version": change.to_string()});
            assert_eq!(host.put(&address(&format!("acme/iris/{name}")), &spec).status, 202);
            host.deployed(&format!("acme/iris/{name}"));
            host.give_all_traffic(&format!("acme/iris/{name}"));
            // Whoever asks after the change gets the new one.
            assert_eq!(version(&host, &key), change.to_string());
            eventually(PATIENCE, "requests go on", || answered.load(Ordering::Relaxed) > before + 10);
        }
        end.store(true, Ordering::Relaxed);
    });
    println!("{CHANGES} changes, {} answers", answered.into_inner());
}

#[test]
fn old_revisions_are_forgotten_but_never_the_one_that_answers() {
    let host = Host::start();
    let key = host.serving("acme/iris", "echo");
    let bundle = host.upload(&fs::read(fixtures::guest("echo")).unwrap());
    let nothing = host.upload(b"nothing that can be run");
    for number in 2..=14_u64 {
        let spec = json!({"bundle": nothing, "version": number.to_string()});
        assert_eq!(host.put(&address("acme/iris/blue"), &spec).status, 202);
        host.deployed("acme/iris/blue");
    }
    // One, and then all from another one on.
    let numbers = |first: u64, from: u64, to: u64| std::iter::once(first).chain(from..=to).collect::<Vec<_>>();
    let kept = |status: &Value| {
        let revisions = status["revisions"].as_array().unwrap().iter();
        revisions.map(|one| one["number"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    let status = host.deployed("acme/iris/blue");
    assert_eq!(kept(&status), numbers(1, 5, 14), "the last ten, and the one that answers");
    assert_eq!((&status["current"], version(&host, &key)), (&json!(1), json!("1")));
    assert_eq!(host.put(&address("acme/iris/blue"), &json!({ "bundle": bundle })).status, 202);
    let status = host.deployed("acme/iris/blue");
    assert_eq!(status["current"], 15);
    // What answered before it can be taken back, though ten have failed since.
    assert_eq!(kept(&status), numbers(1, 6, 15));
    assert_eq!(host.put(&format!("{}/current", address("acme/iris/blue")), &json!({"revision": 1})).status, 200);
    assert_eq!(version(&host, &key), "1");
}

#[test]
fn what_starts_with_more_memory_than_its_tenant_may_have_leaves_the_one_before() {
    const QUOTA: u64 = 16 << 20;
    let host = Host::start();
    let key = host.serving("acme/iris", "echo");
    assert_eq!(host.put("/tenants/acme", &json!({"quotas": {"memory": QUOTA}})).status, 200);
    let script = fixtures::folder(&[(
        "score.py",
        "def init():\n    global model\n    model = bytearray(1 << 25)\n\n\ndef run(data):\n    return len(model)\n",
    )]);
    let script = script.path().join("score.py");
    let deploy = ["deploy", "acme/iris/blue", script.to_str().unwrap()];
    let refused = host.scorebox(&deploy);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    for why in [
        "revision 2 of acme/iris/blue failed, revision 1 goes on answering: each instance starts with the ",
        &format!("all instances of tenant acme together may have {QUOTA}; make the model smaller, or raise the quota"),
    ] {
        assert!(refused.stderr.contains(why), "{why}: {refused:?}");
    }
    assert_eq!(version(&host, &key), "1");
    // With a larger quota it answers.
    assert_eq!(host.put("/tenants/acme", &json!({"quotas": {"memory": 256 << 20}})).status, 200);
    let deployed = host.scorebox(&deploy);
    assert_eq!(deployed.code, Some(0), "{deployed:?}");
    assert_eq!(host.score("acme/iris", &key, "{}").json(), 1 << 25);
    // Nor is it taken back when it has become too large.
    assert_eq!(host.put(&format!("{}/current", address("acme/iris/blue")), &json!({"revision": 1})).status, 200);
    assert_eq!(host.put("/tenants/acme", &json!({"quotas": {"memory": QUOTA}})).status, 200);
    let back = host.put(&format!("{}/current", address("acme/iris/blue")), &json!({"revision": 3}));
    assert_eq!(back.status, 409, "{}", back.text());
    assert_eq!(version(&host, &key), "1");
}

#[test]
fn a_bundle_that_no_revision_is_of_any_more_is_removed_after_a_day() {
    let host = Host::start();
    host.serving("acme/iris", "echo");
    let [old, new] = [&b"nobody's, and old"[..], b"nobody's, and new"].map(|bundle| host.upload(bundle));
    let store = host.folder.path().join("state/store");
    for (bundle, hours) in [(&old, 25), (&new, 23)] {
        let blob = store.join(format!("blobs/{}/{bundle}", &bundle[..2]));
        let blob = fs::File::options().append(true).open(blob).unwrap();
        blob.set_modified(SystemTime::now() - Duration::from_hours(hours)).unwrap();
    }
    host.deploy("acme/iris/green", "says");
    eventually(PATIENCE, "it is removed", || host.read(&format!("/bundles/{old}")).status == 404);
    assert_eq!(host.read(&format!("/bundles/{new}")).status, 200);
}
