//! The examples predict what scikit-learn does.

use scorebox_tests::fixtures::{self, IRIS};
use scorebox_tests::{Request, Serve, Server};
use serde_json::{Value, json};

/// How far a number may be from scikit-learn's.
const TOLERANCE: f64 = 1e-9;

fn numbers(value: &Value) -> Vec<f64> {
    match value {
        Value::Array(items) => items.iter().flat_map(numbers).collect(),
        number => vec![number.as_f64().unwrap_or_else(|| panic!("{number} is no number"))],
    }
}

#[track_caller]
fn assert_close(actual: &Value, expected: &Value) {
    let (actual, expected) = (numbers(actual), numbers(expected));
    assert_eq!(actual.len(), expected.len());
    for (index, (actual, expected)) in actual.iter().zip(expected).enumerate() {
        assert!((actual - expected).abs() <= TOLERANCE, "number {index}: {actual} instead of {expected}");
    }
}

#[track_caller]
fn scored(server: &Server, body: &Value) -> Value {
    let response = server.score(&body.to_string());
    assert_eq!(response.status, 200, "{response:?}");
    response.json()
}

#[test]
fn the_request_of_the_readme_gets_the_prediction_that_scikit_learn_gives() {
    let server = Serve::example("iris-rust").start();
    let curl = Request::json(IRIS).header("user-agent", "curl/8.14.1").header("accept", "*/*");
    let response = server.send(&curl);
    assert_eq!(response.status, 200);
    assert_eq!(response.header("content-type"), Some("application/json"));
    assert_eq!(response.header("x-ms-run-function-failed"), Some("False"));
    let expected = fixtures::example_json("iris-rust", "expected.json");
    assert_eq!(expected["data"][0], json!([5.1, 3.5, 1.4, 0.2]));
    assert_eq!(response.json()["prediction"], json!(["setosa"]));
    assert_close(&response.json()["probability"], &expected["probability"][0]);
}

#[test]
fn all_irises_are_classified_as_by_scikit_learn_together_and_one_by_one() {
    let server = Serve::example("iris-rust").start();
    let expected = fixtures::example_json("iris-rust", "expected.json");
    let together = scored(&server, &json!({"data": expected["data"]}));
    assert_eq!(together["prediction"], expected["prediction"]);
    assert_close(&together["probability"], &expected["probability"]);
    let rows = expected["data"].as_array().expect("rows");
    assert_eq!(rows.len(), 150);
    let mut client = server.connect();
    for (index, row) in rows.iter().enumerate() {
        let response = client.send(&Request::json(json!({"data": [row]}).to_string())).unwrap();
        assert_eq!(response.status, 200, "row {index}");
        assert_eq!(response.json()["prediction"], json!([expected["prediction"][index]]), "row {index}");
        assert_close(&response.json()["probability"], &expected["probability"][index]);
    }
}

#[test]
fn all_houses_are_priced_as_by_scikit_learn_together_and_one_by_one() {
    let server = Serve::example("house-price-rust").start();
    let expected = fixtures::example_json("house-price-rust", "expected.json");
    assert_close(&scored(&server, &json!({"houses": expected["houses"]}))["price"], &expected["price"]);
    let houses = expected["houses"].as_array().expect("houses");
    assert_eq!(houses.len(), 500);
    let mut client = server.connect();
    for (index, house) in houses.iter().enumerate() {
        let response = client.send(&Request::json(json!({"houses": [house]}).to_string())).unwrap();
        assert_eq!(response.status, 200, "house {index}: {response:?}");
        assert_close(&response.json()["price"], &expected["price"][index]);
    }
}
