//! Section 7 and 8 of the contract: the other headers of responses.

use scorebox_tests::fixtures::IRIS;
use scorebox_tests::{Request, Serve};

#[test]
fn a_result_says_how_long_the_scorer_took_and_that_it_did_not_fail() {
    let server = Serve::example("iris-rust").start();
    let response = server.score(IRIS);
    assert_eq!(response.header("x-ms-run-function-failed"), Some("False"));
    let time = response.header("x-ms-run-fn-exec-ms").expect("a time");
    let (whole, decimals) = time.split_once('.').expect("three decimals");
    assert!(whole.parse::<u32>().is_ok_and(|ms| ms < 1000) && decimals.len() == 3, "{time}");
}

#[test]
fn a_raw_scorer_says_itself_whether_it_failed_except_when_its_status_says_so() {
    let server = Serve::guest("flood").start();
    for (body, failed) in [
        ("{}", None),
        (r#"{"status": 503}"#, Some("True")),
        (r#"{"status": 200, "header": ["x-ms-run-function-failed", "True"]}"#, Some("True")),
        (r#"{"status": 500, "header": ["x-ms-run-function-failed", "False"]}"#, Some("True")),
    ] {
        assert_eq!(server.score(body).header("x-ms-run-function-failed"), failed, "{body}");
    }
    let raw = Serve::guest("echo").start().get("/score");
    assert_eq!(raw.header("x-ms-run-function-failed"), None);
    assert!(raw.header("x-ms-run-fn-exec-ms").is_some());
}

#[test]
fn the_ids_of_the_server_replace_those_that_a_scorer_sets() {
    let server = Serve::guest("flood").start();
    for name in ["x-request-id", "x-ms-request-id"] {
        let body = format!(r#"{{"header": ["{name}", "forged"]}}"#);
        let response = server.send(&Request::json(body).header("x-request-id", "A"));
        assert_eq!((response.status, response.header(name)), (200, Some("A")));
    }
    let response = server.score(r#"{"header": ["x-ms-client-request-id", "own"]}"#);
    assert_eq!(response.header("x-ms-client-request-id"), Some("own"), "it stays where the request has none");
}

#[test]
fn a_scorer_cannot_set_the_headers_that_are_the_connections() {
    let server = Serve::guest("flood").start();
    let mut client = server.connect();
    for (name, value) in [
        ("connection", "close"),
        ("content-length", "1000"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "websocket"),
        ("keep-alive", "timeout=1"),
    ] {
        let body = format!(r#"{{"body_bytes": 5, "header": ["{name}", "{value}"]}}"#);
        let response = client.send(&Request::json(body)).unwrap();
        assert_eq!((response.status, response.text()), (200, "xxxxx"), "{name}");
        assert_ne!(response.header(name), Some(value), "{name}");
    }
}

#[test]
fn the_version_of_the_contract_is_sent_unless_it_is_switched_off() {
    let version = "x-ms-server-version";
    let server = Serve::example("iris-rust").start();
    for response in [server.get("/"), server.score(IRIS), server.score("{}"), server.get("/swagger.json?version=9")] {
        assert_eq!(response.header(version), Some("azmlinfsrv/1.5.1"));
    }
    let off = Serve::example("iris-rust").env("SERVER_VERSION_LOG_RESPONSE_ENABLED", "false");
    assert_eq!(off.start().score(IRIS).header(version), None);
    assert_eq!(off.env("HTTP_X_MS_SERVER_VERSION", "mine/1").start().score(IRIS).header(version), Some("mine/1"));
}

#[test]
fn an_origin_that_is_allowed_is_told_so_and_another_one_is_not() {
    let origin = "access-control-allow-origin";
    let server = Serve::example("iris-rust").args("--access_control_allow_origins https://a.com,https://b.com").start();
    for (method, target) in [("GET", "/"), ("POST", "/score"), ("GET", "/swagger.json")] {
        let ask = |from: &str| server.send(&Request::new(method, target).header("origin", from));
        let allowed = ask("https://b.com");
        assert_eq!(allowed.header(origin), Some("https://b.com"), "{method} {target}");
        assert_eq!(allowed.header("vary"), Some("Origin"));
        assert_eq!(ask("https://evil.com").header(origin), None);
    }
    let preflight = server.send(
        &Request::new("OPTIONS", "/score")
            .header("origin", "https://a.com")
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "x-foo,content-type"),
    );
    assert_eq!((preflight.status, preflight.text()), (200, ""));
    assert_eq!(preflight.header("access-control-allow-methods"), Some("GET, POST"));
    assert_eq!(preflight.header("access-control-allow-headers"), Some("content-type, x-foo"));
    assert_eq!(server.send(&Request::get("/nothing").header("origin", "https://a.com")).header(origin), None);
    let off = Serve::example("iris-rust").start();
    assert_eq!(off.send(&Request::get("/").header("origin", "https://a.com")).header(origin), None);
}
