//! What clients see.

use std::collections::BTreeMap;
use std::fs;

use scorebox_tests::fixtures;
use scorebox_tests::wait::{PATIENCE, eventually};
use scorebox_tests::{Request, Serve};
use serde_json::{Value, json};

use super::{Host, address, score_request};

/// The deployment that answered: the scorer says its name.
fn answered_by(answer: &Value) -> &str {
    answer["deployment"]["name"].as_str().expect("the scorer says its name")
}

#[test]
fn requests_are_shared_out_as_the_traffic_says_and_the_answer_names_who_answered() {
    const REQUESTS: usize = 1000;
    let host = Host::start();
    let key = host.endpoint("acme/iris");
    for name in ["blue", "green"] {
        host.deploy(&format!("acme/iris/{name}"), "echo");
    }
    let traffic = |traffic: Value| host.put(&format!("{}/traffic", address("acme/iris")), &json!({"traffic": traffic}));
    assert_eq!(traffic(json!({"blue": 80, "green": 20})).status, 200);
    let mut client = host.server.connect();
    let mut count = |request: &Request| {
        let mut counts = BTreeMap::<String, usize>::new();
        for _ in 0..REQUESTS {
            let response = client.send(request).expect("an answer");
            assert_eq!(response.status, 200, "{response:?}");
            let name = answered_by(&response.json()).to_owned();
            assert_eq!(response.header("azureml-model-deployment"), Some(&*name));
            *counts.entry(name).or_default() += 1;
        }
        counts
    };
    let request = score_request("acme/iris", &key, "{}");
    let counts = count(&request);
    // More than five standard deviations are allowed: one run in a million is further away.
    assert!((130..=270).contains(&counts["green"]), "{counts:?}");
    // Who names a deployment gets it, whatever the traffic.
    let named = count(&request.clone().header("azureml-model-deployment", "green"));
    assert_eq!(named, BTreeMap::from([("green".to_owned(), REQUESTS)]));
    assert_eq!(traffic(json!({"green": 100})).status, 200);
    assert_eq!(count(&request), BTreeMap::from([("green".to_owned(), REQUESTS)]));
}

#[test]
fn without_traffic_and_for_a_deployment_that_is_not_there_the_answer_is_404() {
    const MESSAGE: &str = "The endpoint has no deployment for this request: none of that name, or none with traffic.";
    let host = Host::start();
    let key = host.endpoint("acme/iris");
    host.score("acme/iris", &key, "{}").assert_error(404, MESSAGE);
    host.deploy("acme/iris/blue", "echo");
    host.score("acme/iris", &key, "{}").assert_error(404, MESSAGE);
    host.give_all_traffic("acme/iris/blue");
    assert_eq!(host.score("acme/iris", &key, "{}").status, 200);
    let named = score_request("acme/iris", &key, "{}").header("azureml-model-deployment", "green");
    host.server.send(&named).assert_error(404, MESSAGE);
    let nobody = host.put(&format!("{}/traffic", address("acme/iris")), &json!({"traffic": {"blue": 0}}));
    assert_eq!(nobody.status, 200);
    host.score("acme/iris", &key, "{}").assert_error(404, MESSAGE);
}

#[test]
fn a_mirror_gets_copies_of_requests_and_nobody_gets_its_answers() {
    const REQUESTS: usize = 400;
    let host = Host::start();
    let key = host.serving("acme/iris", "echo");
    // It takes the body for an instruction, and fails.
    host.deploy("acme/iris/shadow", "raw");
    let mirrored = json!({"traffic": {"blue": 100}, "mirror": {"shadow": 50}});
    assert_eq!(host.put(&format!("{}/traffic", address("acme/iris")), &mirrored).status, 200);
    let mut client = host.server.connect();
    let request = score_request("acme/iris", &key, "no instruction");
    for _ in 0..REQUESTS {
        let response = client.send(&request).expect("an answer");
        assert_eq!((response.status, answered_by(&response.json())), (200, "blue"), "{response:?}");
    }
    let failures = || {
        let failed = "shadow failed a request that was mirrored to it";
        host.server.log().iter().filter(|line| line.contains(failed)).count()
    };
    eventually(PATIENCE, "half of the requests are mirrored", || failures() > REQUESTS / 3);
    assert!(failures() < REQUESTS * 2 / 3, "{}", failures());
}

#[test]
fn a_key_opens_its_endpoint_and_what_it_does_not_open_looks_the_same_as_what_is_not_there() {
    let host = Host::start();
    let key = host.serving("acme/iris", "echo");
    let other = host.serving("umbrella/iris", "echo");
    host.endpoint("acme/second");
    let by_header = Request::json("{}").to("/acme/iris/score").header("api-key", &key);
    for request in [score_request("acme/iris", &key, "{}"), by_header] {
        assert_eq!(host.server.send(&request).status, 200);
    }
    // Without a key, or with one that opens nothing.
    let unknown = "0".repeat(32);
    for path in ["acme/iris", "acme/nothing", "nobody/nothing"] {
        for target in ["score", "", "swagger.json"] {
            let without = Request::get(&format!("/{path}/{target}"));
            let with_unknown = without.clone().header("api-key", &unknown);
            for request in [without, with_unknown] {
                let response = host.server.send(&request);
                response
                    .assert_error(401, "Show a key of the endpoint, as `Authorization: Bearer KEY` or `api-key: KEY`.");
                assert_eq!(response.header("www-authenticate"), Some("Bearer"));
            }
        }
    }
    // With a key that opens something else: all the same, but for what is never the same.
    let plain = |path: &str| {
        let mut response = host.score(path, &other, "{}");
        response.headers.retain(|(name, _)| !["date", "x-request-id", "x-ms-request-id"].contains(&&**name));
        response
    };
    let nothing = plain("nobody/nothing");
    assert_eq!(nothing.status, 404);
    for path in ["acme/iris", "acme/second", "acme/nothing", "umbrella/nothing"] {
        assert_eq!(plain(path), nothing, "{path}");
    }
    // A key that was replaced opens nothing any more; the other goes on.
    let rotated = host.put(&format!("{}/keys/primary", address("acme/iris")), &json!({}));
    assert_eq!(rotated.status, 200, "{}", rotated.text());
    assert_eq!(host.score("acme/iris", &key, "{}").status, 401);
    let new = rotated.json()["key"].as_str().expect("a key").to_owned();
    assert_eq!(host.score("acme/iris", &new, "{}").status, 200);
    let log = host.server.log().join("\n");
    assert!(![&key, &other, &new].iter().any(|key| log.contains(key.as_str())));
}

#[test]
fn a_scorer_sees_neither_the_key_nor_where_its_endpoint_is() {
    let host = Host::start();
    let key = host.serving("acme/iris", "echo");
    let answer = host.score("acme/iris", &key, "{}").json();
    assert_eq!(answer["path"], "/score");
    let by_header = Request::json("{}").to("/acme/iris/score?a=1");
    let with_both = by_header.header("api-key", &key).header("authorization", "Basic of-the-scorers-own");
    let response = host.server.send(&with_both).json();
    // Both are looked at by nobody.
    let shown_twice = score_request("acme/iris", &key, "{}").header("api-key", &key);
    let twice = host.server.send(&shown_twice.header("authorization", format!("bearer {key}"))).json();
    assert_eq!(twice["body"], "{}");
    for answer in [&answer, &response, &twice] {
        assert!(!answer.to_string().contains(&key), "{answer}");
    }
    // What was no credential is the scorer's.
    assert!(response.to_string().contains("of-the-scorers-own"), "{response}");
    assert_eq!(response["query"], "a=1");
}

#[test]
fn an_endpoint_that_is_not_there_is_no_model_that_failed() {
    let host = Host::start_as(|serve: Serve| serve.arg("--managed"));
    let key = host.serving("acme/iris", "panic");
    for (path, status, model) in [("acme/iris", 424, Some("500")), ("acme/nope", 404, None)] {
        let response = host.score(path, &key, r#"{"end": "error"}"#);
        assert_eq!(response.status, status, "{path}");
        assert_eq!(response.header("ms-azureml-model-error-statuscode"), model, "{path}");
        assert_eq!(response.header("ms-azureml-model-error-reason").is_some(), model.is_some(), "{path}");
    }
}

#[test]
fn a_host_name_is_the_root_of_its_endpoint() {
    let host = Host::start();
    let key = host.serving("acme/iris", "echo");
    let other = host.serving("umbrella/iris", "echo");
    assert_eq!(host.put(&address("acme/iris"), &json!({"hosts": ["Iris.Example.com"]})).status, 200);
    let ask = |name: &str, key: &str| {
        host.server.send(&Request::json("{}").to(&format!("http://{name}/score")).header("api-key", key))
    };
    for name in ["iris.example.com", "IRIS.example.com:5001"] {
        assert_eq!(ask(name, &key).json()["path"], "/score");
        assert_eq!(ask(name, &other).status, 404);
    }
    // Another host has nothing at its root here, which is answered as what does not exist: nobody finds out the names.
    let plain = |target: &str, key: &str| {
        let mut response = host.server.send(&Request::get(target).header("api-key", key));
        response.headers.retain(|(name, _)| !["date", "x-request-id", "x-ms-request-id"].contains(&&**name));
        response
    };
    for path in ["/score", "/swagger.json", "/"] {
        for (key, status) in [("", 401), ("0123456789abcdef0123456789abcdef", 401), (&*other, 404)] {
            let [known, unknown] =
                ["iris", "other"].map(|name| plain(&format!("http://{name}.example.com{path}"), key));
            assert_eq!(known, unknown, "{path} {key}");
            assert_eq!(known.status, if path == "/" { 200 } else { status }, "{path} {key}");
        }
    }
    assert_eq!(ask("other.example.com", &key).status, 404);
    let taken = host.put(&address("umbrella/iris"), &json!({"hosts": ["iris.example.com"]}));
    assert_eq!(taken.status, 409, "{}", taken.text());
    // Where no endpoint has a host name, there is nothing to find out.
    assert_eq!(host.put(&address("acme/iris"), &json!({})).status, 200);
    assert_eq!(ask("iris.example.com", &key).status, 503);
}

#[test]
fn browsers_that_ask_before_they_ask_need_no_key_at_either_address() {
    let host = Host::start_as(|serve: Serve| serve.env("AML_CORS_ORIGINS", "https://a.test"));
    host.serving("acme/iris", "echo");
    assert_eq!(host.put(&address("acme/iris"), &json!({"hosts": ["iris.example.com"]})).status, 200);
    let options = |target: &str| Request::new("OPTIONS", target).header("origin", "https://a.test");
    // Nor do they find out what there is.
    for place in ["/acme/iris", "/acme/nothing", "http://iris.example.com", "http://other.example.com"] {
        for path in ["/score", "/swagger.json"] {
            let preflight = options(&format!("{place}{path}")).header("access-control-request-method", "POST");
            let response = host.server.send(&preflight);
            assert_eq!((response.status, response.text()), (200, ""), "{place}{path}");
            assert_eq!(response.header("access-control-allow-origin"), Some("https://a.test"), "{place}{path}");
            assert_eq!(response.header("access-control-allow-methods"), Some("GET, POST"), "{place}{path}");
        }
        assert_eq!(host.server.send(&options(&format!("{place}/score"))).status, 401, "{place}");
    }
}

#[test]
fn a_single_scorer_is_asked_itself_what_browsers_ask_before() {
    let host = Host::start_as(|serve: Serve| serve.arg(scorebox_tests::fixtures::guest("echo")));
    host.serving("acme/iris", "echo");
    assert_eq!(host.put(&address("acme/iris"), &json!({"hosts": ["iris.example.com"]})).status, 200);
    let preflight = Request::new("OPTIONS", "/score").header("origin", "https://a.test");
    let preflight = preflight.header("access-control-request-method", "POST");
    assert_eq!(host.server.send(&preflight).json()["method"], "OPTIONS");
    assert_eq!(host.server.send(&preflight.to("http://iris.example.com/score")).text(), "");
}

#[test]
fn a_single_scorer_is_served_at_the_root_as_without_tenants() {
    let host = Host::start_as(|serve: Serve| serve.arg(scorebox_tests::fixtures::example("iris-rust")));
    let key = host.serving("acme/iris", "echo");
    let at_root = host.server.score(scorebox_tests::fixtures::IRIS);
    assert_eq!((at_root.status, at_root.header("azureml-model-deployment")), (200, None));
    assert_eq!(at_root.json()["prediction"], json!(["setosa"]));
    assert_eq!(host.server.get("/").text(), "Healthy");
    assert_eq!(host.score("acme/iris", &key, "{}").status, 200);
    host.server.get("/acme").assert_error(
        404,
        "The requested URL was not found on the server. If you entered the URL manually please check your spelling and try again.",
    );
}

#[test]
fn below_an_endpoint_there_are_its_health_and_its_documents() {
    let host = Host::start();
    let key = host.serving("acme/iris", "panic");
    let get = |path: &str| host.server.send(&Request::get(path).header("api-key", &key));
    for path in ["/acme/iris", "/acme/iris/", "//acme//iris/", "/acme/%69ris"] {
        assert_eq!(get(path).text(), "Healthy", "{path}");
    }
    let document = get("/acme/iris/swagger.json?version=3").json();
    assert!(document.to_string().contains("/acme/iris"), "{document}");
    for path in ["/acme/iris/other", "/acme/iris/score/", "/acme/iris/livez"] {
        assert_eq!(get(path).status, 404, "{path}");
    }
    assert_eq!(host.server.get("/readyz").text(), "ok");
}

#[test]
fn each_tenant_gets_the_answers_of_its_own_endpoint() {
    const TENANTS: usize = 5;
    const REQUESTS: usize = 200;
    let host = Host::start();
    let tenants: Vec<_> = (0..TENANTS)
        .map(|number| {
            let path = format!("tenant-{number}/iris");
            let key = host.endpoint(&path);
            let name = format!("of-{number}");
            host.deploy(&format!("{path}/{name}"), "echo");
            host.give_all_traffic(&format!("{path}/{name}"));
            (path, key, name)
        })
        .collect();
    std::thread::scope(|scope| {
        for (path, key, name) in &tenants {
            let host = &host;
            scope.spawn(move || {
                let mut client = host.server.connect();
                for number in 0..REQUESTS {
                    let body = format!("{name} {number}");
                    let answer = client.send(&score_request(path, key, &body)).expect("an answer").json();
                    assert_eq!((answered_by(&answer), answer["body"].as_str()), (&**name, Some(&*body)), "{answer}");
                }
            });
        }
    });
}

#[test]
fn a_scorer_that_could_read_its_model_directory_itself_has_that_of_its_archive() {
    let host = Host::start();
    let key = host.endpoint("acme/iris");
    let folder = fixtures::folder(&[("model/weights.json", "{}")]);
    fs::copy(fixtures::guest("wasi"), folder.path().join("model.wasm")).unwrap();
    let deployed = host.scorebox(&["deploy", "acme/iris/blue", folder.path().to_str().unwrap(), "--all-traffic"]);
    assert_eq!(deployed.code, Some(0), "{deployed:?}");
    let answer = host.score("acme/iris", &key, "").json();
    assert_eq!(answer["files_at_init"], json!(["model/weights.json"]));
}
