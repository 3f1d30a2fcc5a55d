//! What a tenant may use, and what that is to others.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use scorebox_tests::fixtures;
use scorebox_tests::wait::{PATIENCE, SetOnFailure, eventually};
use scorebox_tests::{Client, Request, Response};
use serde_json::{Value, json};

use super::metrics::metrics;
use super::{Host, address, last, score_request};

/// A request that the scorer `says` does not end.
const SPIN: &str = r#"{"text": "", "spin": true}"#;
/// One that it answers at once.
const SAY: &str = r#"{"text": ""}"#;

/// Two tenants, `acme` with these quotas and `umbrella` with none, each with an endpoint `iris`; their keys.
fn host(quotas: &Value, timeout_ms: u64) -> (Host, String, String) {
    host_as("--threads 1", quotas, timeout_ms)
}

/// The same with this on its command line.
fn host_as(arguments: &str, quotas: &Value, timeout_ms: u64) -> (Host, String, String) {
    let host = Host::start_as(|serve| serve.args(arguments));
    let bundle = host.upload(&std::fs::read(fixtures::guest("says")).expect("a component"));
    let mut keys = ["acme/iris", "umbrella/iris"].map(|path| {
        let key = host.endpoint(path);
        let spec = json!({"bundle": bundle, "limits": {"timeout_ms": timeout_ms}});
        assert_eq!(host.put(&address(&format!("{path}/blue")), &spec).status, 202);
        assert_eq!(last(&host.deployed(&format!("{path}/blue")))["state"]["state"], "ready");
        host.give_all_traffic(&format!("{path}/blue"));
        key
    });
    limit(&host, quotas);
    let [acme, umbrella] = keys.each_mut().map(std::mem::take);
    (host, acme, umbrella)
}

#[track_caller]
fn limit(host: &Host, quotas: &Value) {
    let response = host.put("/tenants/acme", &json!({ "quotas": quotas }));
    assert_eq!(response.status, 200, "{}", response.text());
}

/// Checks that a quota refused a request, and returns after how many seconds it may be tried again.
#[track_caller]
fn refused(response: &Response, quota: &str) -> u64 {
    let after = response.header("retry-after").and_then(|after| after.parse().ok()).expect("when to try again");
    response.assert_error(429, &format!("The quota of {quota} is used up. Try again in {after} s."));
    after
}

#[test]
fn requests_beyond_the_rate_are_refused_with_the_time_to_wait_and_others_are_not() {
    let (host, acme, umbrella) = host(&json!({"requests_per_second": 2, "request_burst": 4}), 10_000);
    let start = Instant::now();
    let answers: Vec<_> = (0..20).map(|_| host.score("acme/iris", &acme, SAY)).collect();
    let others: Vec<_> = (0..20).map(|_| host.score("umbrella/iris", &umbrella, SAY).status).collect();
    let at_most = 4 + usize::try_from(start.elapsed().as_millis() / 500).unwrap() + 1;
    let served = answers.iter().filter(|answer| answer.status == 200).count();
    assert!((4..=at_most).contains(&served), "{served} of at most {at_most}");
    for answer in answers.iter().filter(|answer| answer.status != 200) {
        assert_eq!(refused(answer, "requests per second"), 1);
    }
    assert_eq!(others, [200; 20]);
    // From one instant to the next there is no limit any more.
    limit(&host, &json!({}));
    assert!((0..20).all(|_| host.score("acme/iris", &acme, SAY).status == 200));
}

#[test]
fn requests_beyond_those_that_may_run_and_wait_are_refused_and_others_are_served() {
    let (host, acme, umbrella) = host(&json!({"instances": 1, "waiting": 1}), 3_000);
    thread::scope(|scope| {
        let spinning: Vec<_> = (0..2).map(|_| scope.spawn(|| host.score("acme/iris", &acme, SPIN))).collect();
        eventually(PATIENCE, "one runs and one waits", || {
            let measured = metrics(&host);
            (measured["scorebox_instances"], measured["scorebox_waiting_requests"]) == (1.0, 1.0)
        });
        refused(&host.score("acme/iris", &acme, SAY), "requests at the same time");
        for _ in 0..20 {
            let start = Instant::now();
            assert_eq!(host.score("umbrella/iris", &umbrella, SAY).status, 200);
            assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
        }
        for spun in spinning {
            spun.join().unwrap().assert_error(500, "Scoring timeout after 3000 ms");
        }
    });
    assert_eq!(host.score("acme/iris", &acme, SAY).status, 200);
}

#[test]
fn a_tenant_uses_no_more_cpu_time_than_it_may_and_others_are_served() {
    const SECONDS: u64 = 4;
    let (host, acme, umbrella) = host(&json!({"cpu_ms_per_second": 200, "cpu_burst_ms": 200}), 30_000);
    let before = host.server.process().cpu_time();
    let spinning = score_request("acme/iris", &acme, SPIN);
    let clients: Vec<_> = (0..4).map(|_| host.server.connect()).collect();
    let mut clients: Vec<_> = clients
        .into_iter()
        .map(|mut client| {
            client.write(&spinning.to_bytes()).unwrap();
            client
        })
        .collect();
    let start = Instant::now();
    let mut served = 0;
    while start.elapsed() < Duration::from_secs(SECONDS) {
        assert_eq!(host.score("umbrella/iris", &umbrella, SAY).status, 200);
        served += 1;
        thread::sleep(Duration::from_millis(20));
    }
    let used = host.server.process().cpu_time().saturating_sub(before);
    // What the server itself needs for the other tenant is little; without the quota it would be all of the time.
    assert!(used < Duration::from_millis(SECONDS * 200 + 200) + start.elapsed() / 4, "{used:?} for {served} others");
    assert!(used > Duration::from_millis(SECONDS * 100), "{used:?}");
    clients.clear();
}

/// Clients that have asked this, and wait for the answer.
fn four_that_wait(host: &Host, request: &Request) -> [Client; 4] {
    std::array::from_fn(|_| {
        let mut client = host.server.connect();
        client.write(&request.to_bytes()).expect("it listens");
        client
    })
}

#[test]
fn a_request_interrupts_the_turns_of_another_tenants_scorers() {
    // Whoever waited for a turn or a tick would wait for a minute.
    let (host, acme, umbrella) = host_as("--threads 2 --tick 1m", &json!({}), 120_000);
    let clients = four_that_wait(&host, &score_request("acme/iris", &acme, SPIN));
    eventually(PATIENCE, "both threads have one", || metrics(&host)["scorebox_instances"] >= 2.0);
    let start = Instant::now();
    for _ in 0..20 {
        assert_eq!(host.score("umbrella/iris", &umbrella, SAY).status, 200);
    }
    assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
    assert!(metrics(&host)["scorebox_instances"] >= 2.0, "they spin on");
    drop(clients);
}

#[test]
fn a_tenant_whose_requests_are_short_takes_no_more_than_its_part() {
    const FLOODING: usize = 16;
    let host = Host::start_as(|serve| serve.args("--threads 2"));
    let [acme, umbrella] = ["acme/iris", "umbrella/iris"].map(|path| host.serving(path, "mixed"));
    let cpu = || {
        let metrics = metrics(&host);
        ["acme", "umbrella"].map(|tenant| metrics[&format!("scorebox_tenant_cpu_seconds_total{{tenant=\"{tenant}\"}}")])
    };
    let clients = four_that_wait(&host, &score_request("umbrella/iris", &umbrella, r#"{"mode": "spin"}"#));
    let end = AtomicBool::new(false);
    thread::scope(|scope| {
        let _failure = SetOnFailure(&end);
        for _ in 0..FLOODING {
            scope.spawn(|| {
                let mut client = host.server.connect();
                // Some milliseconds, less than a turn.
                let request = score_request("acme/iris", &acme, r#"{"mode": "alloc", "amount": 6}"#);
                while !end.load(Ordering::Relaxed) {
                    assert_eq!(client.send(&request).expect("an answer").status, 200);
                }
            });
        }
        let before = cpu();
        eventually(PATIENCE, "both have had some", || cpu().iter().zip(before).all(|(now, before)| now - before > 2.0));
        let [short, long] = std::array::from_fn(|tenant| cpu()[tenant] - before[tenant]);
        end.store(true, Ordering::Relaxed);
        // Who spins wants all that it can get.
        assert!(long > 0.44 * (long + short), "{long} s of {} s", long + short);
    });
    drop(clients);
}

#[test]
fn a_tenant_that_floods_is_refused_and_one_that_does_not_is_not() {
    const FLOODING: usize = 40;
    let host = Host::start_as(|serve| serve.args("--threads 1 --max-running 4 --max-waiting 16"));
    let acme = host.serving("acme/iris", "says");
    let umbrella = host.serving("umbrella/iris", "says");
    let (end, refusals) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..FLOODING {
            scope.spawn(|| {
                let mut client = host.server.connect();
                let request = score_request("acme/iris", &acme, SAY);
                while !end.load(Ordering::Relaxed) {
                    if client.send(&request).expect("an answer").status == 429 {
                        refusals.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
        let _failure = SetOnFailure(&end);
        eventually(PATIENCE, "it floods", || refusals.load(Ordering::Relaxed) > 100);
        let mut client = host.server.connect();
        for _ in 0..300 {
            let response = client.send(&score_request("umbrella/iris", &umbrella, SAY)).expect("an answer");
            assert_eq!(response.status, 200, "{response:?}");
        }
        end.store(true, Ordering::Relaxed);
    });
}

#[test]
fn a_tenant_whose_bodies_take_all_the_memory_that_they_can_leaves_as_much_for_others() {
    const MIB: usize = 1 << 20;
    let host = Host::start_as(|serve| serve.args("--max-bodies 8MiB --body-timeout 300s"));
    let [acme, umbrella] = ["acme/iris", "umbrella/iris"].map(|path| host.serving(path, "echo"));
    let large = "a".repeat(2 * MIB);
    // Of each body one half comes.
    let stalled = score_request("acme/iris", &acme, &large).to_bytes();
    let holders: Vec<_> = (0..20)
        .map(|_| {
            let mut client = host.server.connect();
            // It may be refused meanwhile.
            let _ = client.write(&stalled[..MIB]);
            client
        })
        .collect();
    let mut answer = None;
    eventually(PATIENCE, "it has its part", || answer.insert(host.score("acme/iris", &acme, &large)).status == 429);
    assert_eq!(refused(&answer.unwrap(), "memory for bodies"), 1);
    // More than would be left without parts. The answer is as large, and charged for until the server knows that it is taken.
    assert_eq!(host.score("umbrella/iris", &umbrella, &large[MIB / 2..]).status, 200);
    let measured = metrics(&host);
    let refusals = |tenant: &str| {
        measured.get(&format!("scorebox_refusals_total{{tenant=\"{tenant}\",quota=\"memory for bodies\"}}"))
    };
    assert!(refusals("acme").is_some_and(|count| *count >= 1.0), "{measured:?}");
    assert_eq!(refusals("umbrella"), None);
    drop(holders);
    eventually(PATIENCE, "it is given back", || host.score("acme/iris", &acme, &large).status == 200);
}

#[test]
fn bodies_bundles_memory_and_deployments_have_quotas() {
    let (host, acme, umbrella) = host(&json!({"body": 100, "deployments": 2, "memory": 32 << 20}), 10_000);
    let large = json!({"text": "a".repeat(200)}).to_string();
    host.score("acme/iris", &acme, &large)
        .assert_error(413, "The request body has more than the 100 bytes that are allowed.");
    assert_eq!(host.score("umbrella/iris", &umbrella, &large).status, 200);
    let bundle = host.upload(&std::fs::read(fixtures::guest("says")).unwrap());
    let deploy = |name: &str, memory: Option<u64>| {
        let spec =
            json!({"bundle": bundle, "limits": memory.map_or_else(|| json!({}), |memory| json!({"memory": memory}))});
        host.put(&address(&format!("acme/iris/{name}")), &spec)
    };
    let too_much = deploy("green", Some(64 << 20));
    assert_eq!(too_much.status, 422, "{}", too_much.text());
    assert_eq!(deploy("green", Some(16 << 20)).status, 202);
    let third = deploy("red", None);
    assert_eq!(third.status, 409);
    assert!(third.text().contains("tenant acme would have 3 deployments, and may have 2"), "{}", third.text());
    // Another revision is no other deployment.
    assert_eq!(deploy("green", None).status, 202);
    limit(&host, &json!({"bundle": 10}));
    assert_eq!(deploy("red", None).status, 409);
}

/// Bytes that the instances of a tenant have.
fn memory(host: &Host, tenant: &str) -> i64 {
    metrics(host)[&format!("scorebox_tenant_memory_bytes{{tenant=\"{tenant}\"}}")] as i64
}

#[test]
fn all_instances_of_a_tenant_have_its_memory_together_and_others_are_served() {
    const MIB: i64 = 1 << 20;
    let host = Host::start_as(|serve| serve.args("--threads 1"));
    let [acme, umbrella] = ["acme/iris", "umbrella/iris"].map(|path| host.serving(path, "alloc"));
    limit(&host, &json!({"memory": 64 * MIB}));
    let forty = r#"{"mib": 40}"#;
    assert_eq!(host.score("acme/iris", &acme, forty).status, 200);
    assert_eq!(host.score("acme/iris", &acme, r#"{"mib": 80}"#).status, 500, "one alone");
    let logs = host.read(&format!("{}/logs", address("acme/iris/blue")));
    assert!(logs.text().contains("the quota of 67108864 bytes"), "{}", logs.text());
    // An answer comes before the memory of its instance is given back: what is seen next is to be the holder's.
    eventually(PATIENCE, "those before are gone", || memory(&host, "acme") == 0);
    let mut holder = host.server.connect();
    holder.write(&score_request("acme/iris", &acme, r#"{"mib": 40, "keep_touching": true}"#).to_bytes()).unwrap();
    eventually(PATIENCE, "it has its memory", || memory(&host, "acme") > 40 * MIB);
    assert_eq!(host.score("acme/iris", &acme, forty).status, 500, "both together");
    let only_the_holder = || metrics(&host).get("scorebox_instances") == Some(&1.0);
    eventually(PATIENCE, "the other is gone", only_the_holder);
    assert_eq!(host.score("acme/iris", &acme, r#"{"mib": 1}"#).status, 200, "what is left");
    eventually(PATIENCE, "the other is gone", only_the_holder);
    // There is no room for another one to start.
    limit(&host, &json!({"memory": memory(&host, "acme") + 1000}));
    assert_eq!(refused(&host.score("acme/iris", &acme, r#"{"mib": 0}"#), "memory"), 1);
    assert_eq!(host.score("umbrella/iris", &umbrella, forty).status, 200);
    drop(holder);
    eventually(PATIENCE, "it is given back", || memory(&host, "acme") == 0);
    assert_eq!(host.score("acme/iris", &acme, r#"{"mib": 30}"#).status, 200, "it has been given back");
    let counted = metrics(&host)["scorebox_refusals_total{tenant=\"acme\",quota=\"memory\"}"];
    assert!((counted - 1.0).abs() < f64::EPSILON, "{counted}");
}

#[test]
fn memory_is_given_back_however_an_instance_ends() {
    let host = Host::start_as(|serve| serve.args("--timeout 3s"));
    let acme = host.serving("acme/iris", "alloc");
    limit(&host, &json!({"memory": 32 << 20}));
    assert_eq!(host.score("acme/iris", &acme, r#"{"mib": 8}"#).status, 200, "an answer");
    assert_eq!(host.score("acme/iris", &acme, r#"{"mib": 64}"#).status, 500, "a fault");
    assert_eq!(host.score("acme/iris", &acme, r#"{"mib": 8, "keep_touching": true}"#).status, 500, "a deadline");
    eventually(PATIENCE, "those before are gone", || memory(&host, "acme") == 0);
    let mut client = host.server.connect();
    client.write(&score_request("acme/iris", &acme, r#"{"mib": 8, "keep_touching": true}"#).to_bytes()).unwrap();
    eventually(PATIENCE, "it runs", || memory(&host, "acme") > 8 << 20);
    drop(client);
    eventually(PATIENCE, "nobody has any", || memory(&host, "acme") == 0);
    host.deploy("acme/iris/green", "panic");
    host.give_all_traffic("acme/iris/green");
    let ended = host.score("acme/iris", &acme, r#"{"end": "trap", "secret": ""}"#);
    assert_eq!(ended.status, 500, "{ended:?}");
    eventually(PATIENCE, "nobody has any", || memory(&host, "acme") == 0);
}

#[test]
fn quotas_that_make_no_sense_are_refused() {
    let host = Host::start();
    for (quotas, why) in [
        (json!({"instances": 0}), "`instances` is 0"),
        (json!({"memory": 0}), "`memory` is 0"),
        (json!({"cpu_ms_per_second": 0}), "`cpu_ms_per_second` is 0"),
        (json!({"requests_per_second": 0}), "nonzero"),
        (json!({"cpu_burst_ms": 5}), "means nothing without `cpu_ms_per_second`"),
        (json!({"request_burst": 5}), "means nothing without `requests_per_second`"),
        (json!({"speed": 5}), "unknown field `speed`"),
    ] {
        let response = host.put("/tenants/acme", &json!({ "quotas": quotas }));
        assert_eq!(response.status, 422, "{quotas}");
        assert!(response.json()["detail"].as_str().unwrap().contains(why), "{}", response.text());
    }
    assert_eq!(host.read("/tenants/acme").status, 404);
    let created =
        host.scorebox(&["tenant", "create", "acme", "--cpu", "1500ms", "--rate", "10", "--max-body", "1MiB", "--json"]);
    let quotas = serde_json::from_str::<Value>(&created.stdout).unwrap()["quotas"].clone();
    assert_eq!(quotas, json!({"cpu_ms_per_second": 1500, "requests_per_second": 10, "body": 1 << 20}));
}
