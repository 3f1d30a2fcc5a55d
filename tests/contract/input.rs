//! Section 4 of the contract: from a request to the scorer's input.

use scorebox_tests::fixtures::IRIS;
use scorebox_tests::{Request, Response, Serve};
use serde_json::json;

#[test]
fn the_parameters_of_a_get_request_are_json_for_a_scorer_of_json() {
    let server = Serve::example("iris-rust").start();
    let posted = server.score(r#"{"data": [[5.1,3.5,1.4,0.2],[6.2,2.9,4.3,1.3]]}"#).json();
    for target in [
        "/score?data=[[5.1,3.5,1.4,0.2],[6.2,2.9,4.3,1.3]]",
        "/score?data=%5B%5B5.1%2C3.5%2C1.4%2C0.2%5D%2C%5B6.2%2C2.9%2C4.3%2C1.3%5D%5D&other=1",
        "/score?data=[5.1,3.5,1.4,0.2]&data=[6.2,2.9,4.3,1.3]",
        "/score?data=[5.1,+3.5,+1.4,+0.2]&data=[6.2,+2.9,+4.3,+1.3]",
    ] {
        let response = server.get(target);
        assert_eq!((response.status, response.json()), (200, posted.clone()), "{target}");
    }
}

#[test]
fn a_parameter_that_is_no_json_is_a_string() {
    let server = Serve::guest("panic").start();
    // `end` is a word and `secret` a string: both would be refused if they were anything else.
    server.get("/score?end=bad_input&secret=%C3%A9+%22quoted%22").assert_error(400, "\u{e9} \"quoted\"");
    server.get("/score?end=bad_input&secret=01").assert_error(400, "01");
    let number = server.get("/score?end=bad_input&secret=1");
    assert!(number.text().contains("The value of the 'secret' parameter cannot be used"), "{number:?}");
}

#[test]
fn a_get_request_without_parameters_is_an_empty_object_and_its_body_is_ignored() {
    let server = Serve::example("iris-rust").start();
    let missing = "A value is not provided for the 'data' parameter.";
    server.get("/score").assert_error(400, missing);
    let with_body = Request::get("/score").header("content-length", IRIS.len().to_string());
    let mut client = server.connect();
    client.write(&[with_body.to_bytes(), IRIS.into()].concat()).unwrap();
    client.read().unwrap().assert_error(400, missing);
    assert_eq!(client.send(&Request::json(IRIS)).unwrap().status, 200, "the body is no part of the next request");
}

#[test]
fn a_raw_scorer_gets_the_request_as_it_was_sent() {
    let server = Serve::guest("echo").start();
    let body = b"a=1\0\xff\r\n";
    let request = Request::score(*body)
        .header("Content-Type", "application/x-www-form-urlencoded")
        .header("X-Twice", "1")
        .header("x-twice", "2");
    let told = server.send(&request).json();
    assert_eq!(told["method"], "POST");
    assert_eq!(told["scheme"], "http");
    assert_eq!((&told["path"], &told["query"]), (&"/score".into(), &json!(null)));
    assert_eq!(told["body_bytes"], body.len());
    assert_eq!(told["client_address"], "127.0.0.1");
    let headers = told["headers"].as_array().expect("headers");
    for header in
        [json!(["content-type", "application/x-www-form-urlencoded"]), json!(["x-twice", "1"]), json!(["x-twice", "2"])]
    {
        assert!(headers.contains(&header), "{header} in {headers:?}");
    }
    let told = server.get("/score?a=1&a=2").json();
    assert_eq!((&told["method"], &told["query"]), (&"GET".into(), &"a=1&a=2".into()));
}

#[test]
fn a_raw_scorer_is_told_what_it_is_deployed_as() {
    let server = Serve::example("iris-rust").arg("--name").arg("irises").start();
    assert!(server.logged("is deployed as").contains("irises version 1"));
    let server = Serve::guest("echo").args("--name echo --deployment-version 2.0").start();
    let told = server.send(&Request::score("")).json();
    assert_eq!(told["deployment"], json!({"name": "echo", "version": "2.0", "files": []}));
}

#[test]
fn a_scorer_of_json_takes_the_content_types_of_json_and_no_other() {
    let server = Serve::example("iris-rust").start();
    let ask =
        |content_type: &str| -> Response { server.send(&Request::score(IRIS).header("content-type", content_type)) };
    for good in
        ["application/json", "APPLICATION/JSON; charset=utf-16", "application/vnd.api+json", "application/json ;x"]
    {
        assert_eq!(ask(good).status, 200, "{good}");
    }
    for bad in
        ["text/plain", "text/json", "application/x-www-form-urlencoded", "application/jsonl", "multipart/form-data"]
    {
        ask(bad).assert_error(415, "Expects Content-Type to be application/json");
    }
    let without = server.send(&Request::score(IRIS));
    without.assert_error(415, "Expects Content-Type to be application/json");
    assert_eq!(without.header("x-ms-run-function-failed"), Some("False"));
    assert_eq!(without.header("x-ms-run-fn-exec-ms"), None);
}

#[test]
fn a_body_that_is_no_json_object_of_the_scorers_form_is_refused_with_the_reason() {
    let server = Serve::example("iris-rust").start();
    for (body, message) in [
        ("", "POST body is empty. Expecting a JSON dictionary."),
        ("[1, 2]", "POST body should be a JSON dictionary."),
        ("\"data\"", "POST body should be a JSON dictionary."),
        ("{}", "A value is not provided for the 'data' parameter."),
        ("{\"Data\": []}", "A value is not provided for the 'data' parameter."),
    ] {
        let response = server.score(body);
        response.assert_error(400, message);
        assert_eq!(response.header("x-ms-run-function-failed"), Some("False"));
        assert_eq!(response.header("x-ms-run-fn-exec-ms"), None);
    }
    for (body, start) in [
        (&b"{\"data\": [[1,2,3,4]}"[..], "POST body could not be decoded as JSON: "),
        (b"{\"data\"", "POST body could not be decoded as JSON: "),
        (b"{} x", "POST body could not be decoded as JSON: "),
        (b"{\"data\": \"\xff\"}", "POST body could not be decoded as JSON: "),
        (b"{\"data\": [[1,2,3]]}", "The value of the 'data[0]' parameter cannot be used: "),
        (b"{\"data\": [[1,2,3,\"4\"]]}", "The value of the 'data[0][3]' parameter cannot be used: "),
    ] {
        let response = server.send(&Request::json(body));
        assert_eq!(response.status, 400, "{response:?}");
        let message = response.json()["message"].as_str().expect("a message").to_owned();
        assert!(message.starts_with(start), "{message}");
    }
}

#[test]
fn a_body_may_begin_with_a_byte_order_mark_and_have_keys_that_the_scorer_does_not_know() {
    let server = Serve::example("iris-rust").start();
    let body = format!("\u{feff} {{\"more\": null, {}", &IRIS[1..]);
    assert_eq!(server.score(&body).json(), server.score(IRIS).json());
}
