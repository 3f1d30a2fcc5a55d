//! What is measured.

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use scorebox_tests::wait::{PATIENCE, eventually};
use scorebox_tests::{Request, fixtures};
use serde_json::{Value, json};

use super::{Host, address, score_request};

/// The lines of `/metrics` that are no comments: names with labels, and values.
pub(crate) fn metrics(host: &Host) -> BTreeMap<String, f64> {
    let response = host.ask(&Request::get("/metrics"));
    assert_eq!(response.status, 200);
    assert!(response.header("content-type").is_some_and(|kind| kind.starts_with("application/openmetrics-text")));
    let text = response.text();
    assert!(text.ends_with("# EOF\n"), "{text}");
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let (name, value) = line.rsplit_once(' ').expect("a name and a value");
            (name.to_owned(), value.parse().expect("a number"))
        })
        .collect()
}

#[test]
fn requests_are_counted_by_deployment_and_by_what_became_of_them() {
    let host = Host::start();
    let key = host.serving("acme/iris", "panic");
    let send = |end: &str| host.score("acme/iris", &key, &json!({"end": end}).to_string()).status;
    assert_eq!([send("well"), send("well"), send("panic"), send("bad_input")], [200, 200, 500, 400]);
    host.score("acme/iris", "", "{}");
    let request = |outcome: &str| {
        format!(
            "scorebox_requests_total{{tenant=\"acme\",endpoint=\"iris\",deployment=\"blue\",outcome=\"{outcome}\"}}"
        )
    };
    let measured = metrics(&host);
    for (outcome, count) in [("answered", 2.0), ("failed", 1.0), ("bad_input", 1.0), ("timed_out", 0.0)] {
        assert_eq!(measured.get(&request(outcome)), Some(&count), "{outcome}: {measured:?}");
    }
    let count = "scorebox_request_duration_seconds_count{tenant=\"acme\",endpoint=\"iris\",deployment=\"blue\"}";
    assert_eq!(measured.get(count), Some(&4.0), "{measured:?}");
    assert_eq!(measured.get("scorebox_unauthorized_requests_total"), Some(&1.0));
    assert!(measured["scorebox_instances_created_total"] >= 4.0);
    assert!(measured["scorebox_tenant_cpu_seconds_total{tenant=\"acme\"}"] > 0.0);
    eventually(PATIENCE, "no instance is left", || metrics(&host)["scorebox_instances"] == 0.0);
    // What is deleted is forgotten, and what never was is not there.
    host.score("nobody/nothing", &key, "{}");
    host.server.send(&score_request("acme/iris", &key, "{}").header("azureml-model-deployment", "nothing"));
    assert_eq!(host.delete(&address("acme/iris")).status, 204);
    let labels: Vec<_> = metrics(&host).into_keys().filter(|name| name.contains("deployment=")).collect();
    assert_eq!(labels, Vec::<String>::new());
}

#[test]
fn refusals_are_counted_by_quota_and_copies_apart() {
    let host = Host::start();
    let key = host.serving("acme/iris", "echo");
    host.deploy("acme/iris/shadow", "echo");
    let mirrored = json!({"traffic": {"blue": 100}, "mirror": {"shadow": 50}});
    assert_eq!(host.put(&format!("{}/traffic", address("acme/iris")), &mirrored).status, 200);
    for _ in 0..100 {
        assert_eq!(host.score("acme/iris", &key, "{}").status, 200);
    }
    let copies = "scorebox_mirrored_requests_total{tenant=\"acme\",endpoint=\"iris\",deployment=\"shadow\",outcome=\"answered\"}";
    eventually(PATIENCE, "copies are counted", || metrics(&host)[copies] > 10.0);
    let live = "scorebox_requests_total{tenant=\"acme\",endpoint=\"iris\",deployment=\"shadow\",outcome=\"answered\"}";
    assert_eq!(metrics(&host).get(live), Some(&0.0));
    assert_eq!(host.put("/tenants/acme", &json!({"quotas": {"requests_per_second": 1}})).status, 200);
    let refused = (0..5).filter(|_| host.score("acme/iris", &key, "{}").status == 429).count();
    let counted = "scorebox_refusals_total{tenant=\"acme\",quota=\"requests per second\"}";
    let of_deployment =
        "scorebox_requests_total{tenant=\"acme\",endpoint=\"iris\",deployment=\"blue\",outcome=\"refused\"}";
    for name in [counted, of_deployment] {
        assert_eq!(metrics(&host).get(name), Some(&(refused as f64)), "{name}");
    }
    // They go with the tenant.
    for path in ["acme/iris", "acme"] {
        assert_eq!(host.delete(&address(path)).status, 204, "{path}");
    }
    let labels: Vec<_> = metrics(&host).into_keys().filter(|name| name.contains("tenant=")).collect();
    assert_eq!(labels, Vec::<String>::new());
}

#[test]
fn what_the_limits_of_the_server_refuse_is_counted_by_reason_and_for_the_deployment() {
    let limits = "--max-running 1 --max-waiting 1 --timeout 5s --max-body 1KiB --body-timeout 300ms";
    let host = Host::start_as(|serve| serve.arg(fixtures::guest("spin")).args(limits));
    assert_eq!(host.server.score(&" ".repeat(2_000)).status, 413);
    let request = Request::json(r#"{"spin": true}"#).to_bytes();
    let mut slow = host.server.connect();
    slow.write(&request[..request.len() - 1]).unwrap();
    assert_eq!(slow.read().unwrap().status, 408);
    let clients: Vec<_> = (0..2)
        .map(|_| {
            let mut client = host.server.connect();
            client.write(&request).unwrap();
            client
        })
        .collect();
    eventually(PATIENCE, "one runs and one waits", || {
        let measured = metrics(&host);
        (measured["scorebox_instances"], measured["scorebox_waiting_requests"]) == (1.0, 1.0)
    });
    assert_eq!(host.server.score(r#"{"spin": false}"#).status, 429);
    let measured = metrics(&host);
    drop(clients);
    for reason in ["size of a body", "time for a body", "all requests at the same time"] {
        let name = format!("scorebox_refusals_total{{tenant=\"default\",quota=\"{reason}\"}}");
        assert_eq!(measured.get(&name), Some(&1.0), "{reason}: {measured:?}");
    }
    let of_deployment =
        "scorebox_requests_total{tenant=\"default\",endpoint=\"default\",deployment=\"default\",outcome=\"refused\"}";
    assert_eq!(measured.get(of_deployment), Some(&3.0), "{measured:?}");
}

#[test]
fn what_deploying_takes_is_measured() {
    let host = Host::start();
    host.endpoint("acme/iris");
    // No version that was sealed before: the cache outlives the server.
    let version = format!("{:?}", SystemTime::now());
    for bundle in [std::fs::read(fixtures::guest("echo")).unwrap(), b"nothing that can be run".to_vec()] {
        let bundle = host.upload(&bundle);
        let spec = json!({"bundle": bundle, "version": version});
        assert_eq!(host.put(&address("acme/iris/blue"), &spec).status, 202);
        host.deployed("acme/iris/blue");
    }
    let measured = metrics(&host);
    for (name, value) in [
        ("scorebox_revisions_total{outcome=\"ready\"}", 1.0),
        ("scorebox_revisions_total{outcome=\"failed\"}", 1.0),
        ("scorebox_sealed_modules_total{source=\"compiler\"}", 1.0),
        ("scorebox_deploy_stage_duration_seconds_count{stage=\"initialising\"}", 1.0),
    ] {
        assert_eq!(measured.get(name), Some(&value), "{name}: {measured:?}");
    }
    assert!(measured["scorebox_cache_entries"] >= 1.0);
    assert!(measured["scorebox_cache_bytes"] > 100_000.0);
    let bundle = std::fs::metadata(fixtures::guest("echo")).unwrap().len();
    let nothing = b"nothing that can be run".len() as u64;
    assert_eq!(measured.get("scorebox_store_blobs_bytes"), Some(&((bundle + nothing) as f64)));
    assert!(measured["scorebox_store_database_bytes"] > 4096.0);
    assert!(measured["scorebox_store_commit_duration_seconds_count"] >= 5.0);
}

/// All that a document asks for of what begins with `scorebox_`.
fn names(document: &str) -> BTreeSet<String> {
    let is_of_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let starts = document.match_indices("scorebox_").map(|(at, _)| &document[at..]);
    starts.map(|text| text[..text.find(|c| !is_of_name(c)).unwrap_or(text.len())].to_owned()).collect()
}

#[test]
fn the_dashboard_and_the_alerts_ask_for_what_there_is() {
    let host = Host::start();
    let key = host.serving("acme/iris", "echo");
    host.score("acme/iris", &key, "{}");
    assert_eq!(host.put("/tenants/acme", &json!({"quotas": {"requests_per_second": 1}})).status, 200);
    eventually(PATIENCE, "a request is refused", || host.score("acme/iris", &key, "{}").status == 429);
    let there: BTreeSet<_> =
        metrics(&host).into_keys().map(|name| name.split('{').next().unwrap_or_default().to_owned()).collect();
    for document in ["grafana-dashboard.json", "alerts.yml"] {
        let text = std::fs::read_to_string(fixtures::workspace().join("docs/monitoring").join(document)).unwrap();
        let asked = names(&text);
        assert!(asked.len() >= 6, "{asked:?}");
        let missing: Vec<_> = asked.difference(&there).collect();
        assert!(missing.is_empty(), "{document} asks for {missing:?}; there is {there:?}");
    }
    let dashboard = fixtures::workspace().join("docs/monitoring/grafana-dashboard.json");
    let dashboard: Value = serde_json::from_slice(&std::fs::read(dashboard).unwrap()).expect("JSON");
    assert!(dashboard["panels"].as_array().is_some_and(|panels| panels.len() > 10));
}

#[test]
fn only_who_shows_the_token_reads_them() {
    let host = Host::start();
    let mut client = scorebox_tests::Client::connect(host.admin).unwrap();
    assert_eq!(client.send(&Request::get("/metrics")).unwrap().status, 401);
    assert_eq!(host.server.get("/metrics").status, 404);
}
