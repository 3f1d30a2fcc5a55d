//! Section 7 of the contract: which ids a response carries.

use scorebox_tests::{Request, Response, Serve, Server};
use uuid::Uuid;

const REQUEST: &str = "x-request-id";
const LEGACY: &str = "x-ms-request-id";
const CLIENT: &str = "x-ms-client-request-id";
const TRACE: &str = "traceid";

/// One request on each route of the contract, with each of its methods.
const ROUTES: [(&str, &str); 8] = [
    ("GET", "/"),
    ("HEAD", "/"),
    ("OPTIONS", "/"),
    ("POST", "/score"),
    ("GET", "/score?data=%5B%5D"),
    ("OPTIONS", "/score"),
    ("GET", "/swagger.json"),
    ("OPTIONS", "/swagger.json"),
];

fn ask(server: &Server, (method, target): (&str, &str), headers: &[(&str, &str)]) -> Response {
    let request =
        headers.iter().fold(Request::new(method, target), |request, (name, value)| request.header(name, value));
    server.send(&request)
}

fn ids(response: &Response) -> [Option<&str>; 3] {
    [response.header(REQUEST), response.header(LEGACY), response.header(CLIENT)]
}

/// Asks with the headers of a row of the table. `G` in what is expected is a fresh id, the same in the whole row.
#[track_caller]
fn check_row(sent: &[(&str, &str)], expected: [Option<&str>; 3]) {
    let server = Serve::example("iris-rust").start();
    for route in ROUTES {
        let response = ask(&server, route, sent);
        let actual = ids(&response);
        let fresh = response.header(REQUEST).expect("every answer has an id");
        if expected[0] == Some("G") {
            let uuid = Uuid::parse_str(fresh).unwrap_or_else(|error| panic!("{fresh}: {error}"));
            assert_eq!((uuid.get_version_num(), uuid.to_string().as_str()), (4, fresh));
            let again = ask(&server, route, sent);
            assert_ne!(again.header(REQUEST), Some(fresh), "an id is of one request");
        }
        let expected = expected.map(|id| if id == Some("G") { Some(fresh) } else { id });
        assert_eq!(actual, expected, "{route:?} {sent:?}");
    }
}

#[test]
fn no_id_is_answered_with_a_fresh_one() {
    check_row(&[], [Some("G"), Some("G"), None]);
}

#[test]
fn a_request_id_is_answered_with_itself() {
    check_row(&[(REQUEST, "A")], [Some("A"), Some("A"), None]);
}

#[test]
fn a_legacy_client_id_is_answered_with_itself_under_both_names() {
    check_row(&[(LEGACY, "B")], [Some("G"), Some("B"), Some("B")]);
}

#[test]
fn a_client_id_is_answered_with_itself_under_both_names() {
    check_row(&[(CLIENT, "C")], [Some("G"), Some("C"), Some("C")]);
}

#[test]
fn a_request_id_and_a_legacy_client_id_are_answered_with_themselves() {
    check_row(&[(REQUEST, "A"), (LEGACY, "B")], [Some("A"), Some("B"), Some("B")]);
}

#[test]
fn both_client_ids_are_answered_each_under_its_name() {
    check_row(&[(LEGACY, "B"), (CLIENT, "C")], [Some("G"), Some("B"), Some("C")]);
}

#[test]
fn a_request_id_and_a_client_id_are_answered_with_themselves() {
    check_row(&[(REQUEST, "A"), (CLIENT, "C")], [Some("A"), Some("C"), Some("C")]);
}

#[test]
fn all_three_ids_are_answered_with_themselves() {
    check_row(&[(REQUEST, "A"), (LEGACY, "B"), (CLIENT, "C")], [Some("A"), Some("B"), Some("C")]);
}

#[test]
fn an_id_of_a_hundred_characters_is_taken_and_a_longer_one_is_refused_on_every_route() {
    let server = Serve::example("iris-rust").start();
    let (most, more) = ("i".repeat(100), "i".repeat(101));
    for route in ROUTES {
        for name in [REQUEST, LEGACY, CLIENT] {
            let response = ask(&server, route, &[(name, &most)]);
            assert_ne!(response.status, 431, "{route:?} {name}");
            assert_eq!(response.header(name), Some(&*most), "{route:?} {name}");
            let response = ask(&server, route, &[(name, &more), ("TraceId", "t")]);
            assert_eq!(response.status, 431, "{route:?} {name}");
            assert_eq!(response.header("x-ms-run-function-failed"), Some("False"));
            assert_eq!(response.header(TRACE), Some("t"));
            assert!(response.header("x-ms-server-version").is_some());
            let [request, legacy, client] = ids(&response);
            assert_eq!(request.is_some(), name != REQUEST, "{route:?} {name}");
            assert_eq!((legacy, client), (None, None), "{route:?} {name}");
            if route.0 != "HEAD" {
                response.assert_error(
                    431,
                    &if name == REQUEST {
                        "x-request-id must not exceed 100 characters".to_owned()
                    } else {
                        "x-ms-request-id and x-ms-client-request-id must not exceed 100 characters".to_owned()
                    },
                );
            }
        }
    }
}

#[test]
fn a_request_whose_id_is_too_long_is_not_scored_and_leaves_no_line_of_the_request_log() {
    let server = Serve::guest("flood").start();
    let long = "i".repeat(101);
    let refused = Request::json(r#"{"records": 1, "record_bytes": 7}"#).header(REQUEST, &long);
    assert_eq!(server.send(&refused).status, 431);
    assert_eq!(server.score("{}").status, 200);
    server.logged(" azmlinfsrv - POST /score 200 ");
    let lines = server.log();
    assert!(!lines.iter().any(|line| line.contains("xxxxxxx")), "{lines:?}");
    assert!(!lines.iter().any(|line| line.contains(" azmlinfsrv - POST /score 431")), "{lines:?}");
}

#[test]
fn an_empty_request_id_counts_as_given_and_an_empty_client_id_as_absent() {
    let server = Serve::example("iris-rust").start();
    for route in ROUTES {
        assert_eq!(ids(&ask(&server, route, &[(REQUEST, "")])), [None, None, None], "{route:?}");
        assert_eq!(ids(&ask(&server, route, &[(REQUEST, ""), (CLIENT, "C")])), [None, Some("C"), Some("C")]);
        let response = ask(&server, route, &[(REQUEST, "A"), (LEGACY, ""), (CLIENT, "")]);
        assert_eq!(ids(&response), [Some("A"), Some("A"), None], "{route:?}");
    }
}

#[test]
fn lines_of_the_same_id_are_joined() {
    let server = Serve::example("iris-rust").start();
    let response =
        ask(&server, ("POST", "/score"), &[(REQUEST, "A1"), (REQUEST, "A2"), (CLIENT, "C1"), (CLIENT, "C2")]);
    assert_eq!(ids(&response), [Some("A1,A2"), Some("C1,C2"), Some("C1,C2")]);
}

#[test]
fn bytes_of_an_id_that_are_not_ascii_come_back_as_they_are() {
    let server = Serve::guest("echo").start();
    let response = server.send(&Request::get("/score").header(REQUEST, b"caf\xe9"));
    assert_eq!(response.header(REQUEST), Some("caf\u{e9}"));
    assert_eq!(response.json()["id"], "caf\u{e9}");
}

#[test]
fn trace_id_alone_is_echoed_even_when_it_is_empty_or_long() {
    let server = Serve::example("iris-rust").start();
    let long = "t".repeat(5000);
    for route in ROUTES {
        for value in ["", "trace-1", &long] {
            assert_eq!(ask(&server, route, &[("tRaCeId", value)]).header(TRACE), Some(value), "{route:?}");
        }
        let response = ask(&server, route, &[("trace-id", "t"), ("traceparent", "t")]);
        for name in [TRACE, "trace-id", "traceparent"] {
            assert_eq!(response.header(name), None, "{route:?}");
        }
    }
}

#[test]
fn a_legacy_client_id_is_warned_about_in_the_log() {
    let server = Serve::example("iris-rust").start();
    ask(&server, ("GET", "/"), &[(LEGACY, "B")]);
    let warning = server.logged(
        "x-ms-request-id header has been deprecated and will be removed from future versions of the server. Please use \
         x-ms-client-request-id.",
    );
    assert!(warning.contains(" W [") && warning.contains(" azmlinfsrv - "), "{warning}");
}

#[test]
fn the_scorer_is_told_the_ids() {
    let server = Serve::guest("echo").start();
    let told = server.send(&Request::score("").header(REQUEST, "A").header(CLIENT, "C")).json();
    assert_eq!((&told["id"], &told["client_request_id"]), (&"A".into(), &"C".into()));
    let response = server.send(&Request::score(""));
    assert_eq!(response.json()["id"].as_str(), response.header(REQUEST));
    assert!(response.json()["client_request_id"].is_null());
}
