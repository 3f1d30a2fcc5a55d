//! Section 3 of the contract: routes and methods.

use scorebox_tests::fixtures::IRIS;
use scorebox_tests::{Request, Response, Serve};

const NOT_FOUND: &str = "The requested URL was not found on the server. If you entered the URL manually please check \
                         your spelling and try again.";
const NOT_ALLOWED: &str = "The method is not allowed for the requested URL.";

/// Checks that an answer is one of routing, which is no part of what the service says.
#[track_caller]
fn assert_bare(response: &Response) {
    let mut names: Vec<_> = response.headers.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["content-length", "content-type", "date", "x-ms-run-function-failed"]);
    assert_eq!(response.header("x-ms-run-function-failed"), Some("False"));
}

#[test]
fn the_root_says_healthy_whatever_the_query() {
    let server = Serve::example("iris-rust").start();
    for target in ["/", "/?x=1", "//"] {
        let response = server.get(target);
        assert_eq!((response.status, response.text()), (200, "Healthy"), "{target}");
        assert_eq!(response.header("content-type"), Some("text/html; charset=utf-8"));
        assert_eq!(response.header("x-ms-run-function-failed"), None);
    }
    let head = server.send(&Request::new("HEAD", "/"));
    assert_eq!((head.status, head.header("content-length")), (200, Some("7")));
}

#[test]
fn options_of_the_root_and_of_the_swagger_document_are_answered_with_the_methods() {
    let server = Serve::example("iris-rust").start();
    for target in ["/", "/swagger.json"] {
        let response = server.send(&Request::new("OPTIONS", target));
        assert_eq!((response.status, response.text()), (200, ""), "{target}");
        let mut allowed: Vec<_> = response.header("allow").expect("the methods").split(", ").collect();
        allowed.sort_unstable();
        assert_eq!(allowed, ["GET", "HEAD", "OPTIONS"]);
        assert_eq!(response.header("x-ms-run-function-failed"), None);
        assert!(response.header("x-request-id").is_some());
    }
}

#[test]
fn options_of_the_score_route_is_answered_for_a_scorer_of_json_and_passed_on_to_a_raw_one() {
    let response = Serve::example("iris-rust").start().send(&Request::new("OPTIONS", "/score"));
    assert_eq!((response.status, response.text()), (200, ""));
    assert_eq!(response.header("content-type"), Some("text/html; charset=utf-8"));
    let response = Serve::guest("echo").start().send(&Request::new("OPTIONS", "/score?a=1"));
    assert_eq!((response.status, &response.json()["method"]), (200, &"OPTIONS".into()));
}

#[test]
fn head_of_the_score_route_is_refused_for_a_scorer_of_json_and_passed_on_to_a_raw_one() {
    let response = Serve::example("iris-rust").start().send(&Request::new("HEAD", "/score"));
    assert_eq!((response.status, response.header("content-length")), (405, Some("33")));
    assert!(response.header("x-request-id").is_some());
    let server = Serve::guest("echo").start();
    let head = server.send(&Request::new("HEAD", "/score").header("x-request-id", "A"));
    let get = server.send(&Request::new("GET", "/score").header("x-request-id", "A"));
    assert_eq!((head.status, get.status), (200, 200));
    let length =
        |response: &Response| response.header("content-length").and_then(|length| length.parse::<usize>().ok());
    // What is echoed is the same but for the method, which is a letter longer.
    assert_eq!(length(&head), length(&get).map(|length| length + 1));
    assert!(head.header("x-ms-run-fn-exec-ms").is_some());
}

#[test]
fn other_paths_are_not_found_and_the_answer_has_no_ids() {
    let server = Serve::example("iris-rust").start();
    for target in ["/nothing", "/score/", "/Score", "/SCORE", "/swagger.json/", "/score.", "/score%20", "/%zz", "/*"] {
        for method in ["GET", "POST", "PUT", "OPTIONS"] {
            let response =
                server.send(&Request::new(method, target).header("x-request-id", "A").header("TraceId", "t"));
            response.assert_error(404, NOT_FOUND);
            assert_bare(&response);
        }
    }
}

#[test]
fn other_methods_are_not_allowed_and_the_answer_has_no_ids() {
    let server = Serve::example("iris-rust").start();
    for (method, target) in [
        ("POST", "/"),
        ("PUT", "/"),
        ("POST", "/swagger.json"),
        ("DELETE", "/swagger.json"),
        ("PUT", "/score"),
        ("DELETE", "/score"),
        ("PATCH", "/score"),
        ("TRACE", "/score"),
        ("BREW", "/score"),
    ] {
        let response = server.send(&Request::new(method, target).header("x-request-id", "A"));
        response.assert_error(405, NOT_ALLOWED);
        assert_bare(&response);
    }
}

#[test]
fn slashes_in_a_row_and_encoded_characters_lead_to_the_same_route() {
    let server = Serve::example("iris-rust").start();
    for target in ["//score", "/%73core", "/%73%63%6f%72%65", "///score?x=1"] {
        let request = Request::new("POST", target).header("content-type", "application/json");
        // Without a body the scorer is reached as well: it is the scorer that refuses.
        server.send(&request).assert_error(400, "POST body is empty. Expecting a JSON dictionary.");
    }
    assert_eq!(server.get("/%73wagger.json").status, 200);
    assert_eq!(server.score(IRIS).status, 200);
}

#[test]
fn a_raw_scorer_is_told_the_path_as_it_was_sent() {
    let server = Serve::guest("echo").start();
    let told = server.get("//%73core?a=%20b&a=2").json();
    assert_eq!(told["path"], "//%73core");
    assert_eq!(told["query"], "a=%20b&a=2");
}

#[test]
fn liveness_and_readiness_are_answered() {
    let server = Serve::example("iris-rust").start();
    for target in ["/livez", "/readyz"] {
        let response = server.get(target);
        assert_eq!((response.status, response.text()), (200, "ok"), "{target}");
    }
}
