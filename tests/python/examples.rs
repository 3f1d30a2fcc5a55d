//! The examples in Python answer what they answer outside of the sandbox.

use std::fs;

use scorebox_tests::fixtures::workspace;
use scorebox_tests::{Request, Server, fixtures, python};
use serde_json::{Value, json};

/// How far a number may be from what was computed natively.
const TOLERANCE: f64 = 1e-9;

fn start(example: &str) -> Server {
    let folder = workspace().join("examples").join(example);
    python::serve(folder.join("score.py")).arg("--model_dir").arg(folder.join("model")).start()
}

fn file(example: &str, name: &str) -> Vec<u8> {
    let path = workspace().join("examples").join(example).join(name);
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[track_caller]
fn assert_close(actual: &Value, expected: &Value) {
    match (actual, expected) {
        (Value::Array(actual), Value::Array(expected)) if actual.len() == expected.len() => {
            for (actual, expected) in actual.iter().zip(expected) {
                assert_close(actual, expected);
            }
        }
        (Value::Object(actual), Value::Object(expected)) if actual.len() == expected.len() => {
            for (name, expected) in expected {
                assert_close(&actual[name], expected);
            }
        }
        (Value::Number(actual), Value::Number(expected)) => {
            let (actual, expected) = (actual.as_f64().unwrap_or_default(), expected.as_f64().unwrap_or_default());
            assert!((actual - expected).abs() <= TOLERANCE, "{actual} instead of {expected}");
        }
        _ => assert_eq!(actual, expected),
    }
}

#[test]
fn applicants_are_judged_as_natively() {
    let server = start("credit-sklearn");
    let response = server.send(&Request::json(file("credit-sklearn", "request.json")));
    assert_eq!(response.status, 200, "{response:?}; {}", server.process().said());
    assert_close(&response.json(), &fixtures::example_json("credit-sklearn", "expected.json"));
}

#[test]
fn all_irises_are_classified_as_natively_together_and_one_by_one() {
    let server = start("iris-python");
    let expected = fixtures::example_json("iris-python", "expected.json");
    let score = |body: Value| {
        let response = server.score(&body.to_string());
        assert_eq!(response.status, 200, "{response:?}; {}", server.process().said());
        response.json()
    };
    let together = score(json!({"data": expected["data"]}));
    assert_eq!(together["prediction"], expected["prediction"]);
    assert_close(&together["probability"], &expected["probability"]);
    for (index, row) in expected["data"].as_array().expect("rows").iter().enumerate() {
        let alone = score(json!({"data": [row]}));
        assert_eq!(alone["prediction"], json!([expected["prediction"][index]]), "row {index}");
        assert_close(&alone["probability"][0], &expected["probability"][index]);
    }
}

#[test]
fn irises_in_another_shape_than_the_schema_says_fail_and_the_swagger_document_has_the_schema() {
    let server = start("iris-python");
    assert_eq!(server.score(r#"{"data": [1, 2, 3, 4]}"#).status, 500);
    assert_eq!(server.score(r#"{"rows": [[1, 2, 3, 4]]}"#).status, 400);
    let document = server.get("/swagger.json").json();
    let input = &document["definitions"]["ServiceInput"];
    assert_eq!(input["example"], json!({"data": [[5.1, 3.5, 1.4, 0.2]]}));
    assert_eq!(input["properties"]["data"]["format"], "numpy.ndarray");
}

#[test]
fn customers_are_judged_as_natively_and_the_swagger_document_has_both_schemas() {
    let server = start("churn-pandas");
    let response = server.send(&Request::json(file("churn-pandas", "request.json")));
    assert_eq!(response.status, 200, "{response:?}; {}", server.process().said());
    assert_close(&response.json(), &fixtures::example_json("churn-pandas", "expected.json"));
    let document = server.get("/swagger.json?version=3").json();
    let schemas = &document["components"]["schemas"];
    assert_eq!(schemas["ServiceInput"]["properties"]["customers"]["format"], "pandas.DataFrame:records");
    assert_eq!(schemas["ServiceOutput"]["example"], json!([{"churn": 0.41, "risk": "medium"}]));
}

#[test]
fn digits_are_recognised_in_pictures_as_natively() {
    let server = start("image-rawhttp");
    let expected = fixtures::example_json("image-rawhttp", "expected.json");
    for (name, expected) in expected.as_object().expect("an answer for each picture") {
        let picture = file("image-rawhttp", &format!("digits/{name}"));
        let response = server.send(&Request::score(picture).header("content-type", "image/png"));
        assert_eq!(response.status, 200, "{name}: {response:?}; {}", server.process().said());
        assert_close(&response.json(), expected);
        assert_eq!(response.header("x-digit"), Some(&*expected["digit"].to_string()), "{name}");
    }
}

#[test]
fn what_is_no_picture_is_refused_by_the_script() {
    let server = start("image-rawhttp");
    let response = server.send(&Request::score("not a picture").header("content-type", "image/png"));
    assert_eq!(response.status, 400, "{response:?}; {}", server.process().said());
    assert_eq!(response.json(), json!({"message": "The body is no picture: UnidentifiedImageError"}));
    assert_eq!(response.header("x-ms-run-function-failed"), Some("False"));
    let response = server.get("/score");
    assert_eq!((response.status, response.header("allow")), (405, Some("POST")));
}
