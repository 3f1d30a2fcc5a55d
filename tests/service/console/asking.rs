//! The operator asks an endpoint, as the console does.

use scorebox_tests::Request;
use scorebox_tests::host::{API, Host, TOKEN, address};
use serde_json::{Value, json};

fn test(host: &Host, path: &str, body: &str) -> (u16, Value) {
    let request = Request::json(body).to(&format!("{API}{path}")).header("x-ms-client-request-id", "of-the-operator");
    let response = host.ask(&request);
    (response.status, response.json())
}

#[test]
fn the_operator_asks_an_endpoint_as_a_client_would_and_shows_it_no_token() {
    let host = Host::start();
    host.serving("acme/iris", "echo");
    let (status, answer) = test(&host, &format!("{}/test", address("acme/iris")), r#"{"a": 1}"#);
    assert_eq!((status, &answer["status"], &answer["truncated"]), (200, &json!(200), &json!(false)), "{answer}");
    let header = |name: &str| {
        answer["headers"]
            .as_array()
            .and_then(|all| all.iter().find(|one| one["name"] == name))
            .map(|one| one["value"].clone())
    };
    assert_eq!(header("azureml-model-deployment"), Some(json!("blue")));
    assert_eq!(header("x-ms-client-request-id"), Some(json!("of-the-operator")));
    assert!(header("x-ms-run-fn-exec-ms").is_some() && answer["took_ms"].as_f64() > Some(0.0), "{answer}");
    let echoed = answer["body"].as_str().expect("text");
    assert!(!echoed.contains(TOKEN) && !echoed.to_lowercase().contains("bearer"), "{echoed}");
    assert_eq!(serde_json::from_str::<Value>(echoed).expect("JSON")["path"], "/score");
}

#[test]
fn what_cannot_be_asked_is_said_and_quotas_hold_for_the_operator_too() {
    let host = Host::start();
    host.serving("acme/iris", "echo");
    let path = format!("{}/test", address("acme/iris"));
    let (status, answer) = test(&host, &format!("{path}?deployment=green"), "{}");
    assert_eq!((status, &answer["status"]), (200, &json!(404)));
    assert_eq!(test(&host, &format!("{}/test", address("acme/other")), "{}").0, 404);
    assert_eq!(test(&host, &format!("{path}?deployment=No%20Name"), "{}").0, 422);
    assert_eq!(host.ask(&Request::get(&format!("{API}{path}"))).status, 405);
    let stranger = Request::json("{}").to(&format!("{API}{path}"));
    let response = scorebox_tests::Client::connect(host.admin).and_then(|mut client| client.send(&stranger));
    assert_eq!(response.expect("an answer").status, 401);

    let quotas = json!({ "quotas": { "requests_per_second": 1, "body": 100 } });
    assert_eq!(host.put(&address("acme"), &quotas).status, 200);
    assert_eq!(test(&host, &path, &format!("{{\"a\": \"{}\"}}", "a".repeat(200))).1["status"], 413);
    let statuses: Vec<_> = (0..20).map(|_| test(&host, &path, "{}").1["status"].clone()).collect();
    assert!(statuses.contains(&json!(429)), "{statuses:?}");
}

#[test]
fn a_long_answer_is_shown_as_far_as_a_person_would_read() {
    let host = Host::start();
    host.serving("acme/iris", "echo");
    let text = "\u{e9}".repeat(700_000);
    let (status, answer) = test(&host, &format!("{}/test", address("acme/iris")), &json!({ "a": text }).to_string());
    assert_eq!((status, &answer["truncated"], &answer["size"]), (200, &json!(true), &json!(1024 * 1024)));
    assert!(answer["body"].as_str().is_some_and(|body| body.len() > 1024 * 1024 - 4 && body.len() <= 1024 * 1024));
}

#[test]
fn the_schema_of_a_scorer_is_what_clients_see_of_it() {
    let host = Host::start();
    let key = host.serving("acme/iris", "typed");
    let path = format!("{}/swagger.json", address("acme/iris"));
    let seen = host.server.send(&Request::get("/acme/iris/swagger.json?version=3").header("api-key", &key));
    let shown = host.read(&path);
    assert_eq!((shown.status, shown.header("content-type")), (200, Some("application/json")));
    assert_eq!(shown.json(), seen.json());
    assert_eq!(host.read(&format!("{path}?deployment=blue")).json(), seen.json());
    assert_eq!(host.read(&format!("{path}?deployment=green")).status, 404);
    assert_eq!(host.read(&format!("{}/swagger.json", address("acme/other"))).status, 404);
}
