//! What a script is told of its request.

use scorebox_tests::Request;
use scorebox_tests::http2::{Connection, block, data, flag, frame, kind, request};
use serde_json::{Value, json};

use crate::start;

#[test]
fn a_script_is_told_the_same_host_and_cookies_over_http_1_and_http_2() {
    let server = start("asked");
    let expected = json!({
        "host": "scorebox.test", "url": "http://scorebox.test/score?x=1", "cookies": {"a": "1", "b": "2"}
    });
    let asked = Request::json("{}").to("/score?x=1").header("cookie", "a=1; b=2");
    assert_eq!(server.send(&asked).json(), expected);
    // A cookie may come in pieces, and the host is that of `:authority`, whatever else is said.
    let more = [("content-type", "application/json"), ("cookie", "a=1"), ("host", "other.test"), ("cookie", "b=2")];
    let headers = [request("POST", "/score?x=1"), more.to_vec()].concat();
    let mut connection = Connection::open(server.address(), &[]).expect("the server listens");
    let head = frame(kind::HEADERS, flag::END_HEADERS, 1, &block(&headers));
    connection.send(&[head, data(1, flag::END_STREAM, b"{}")].concat()).expect("the server listens");
    let answer: Value = serde_json::from_slice(&connection.body(1).expect("an answer")).expect("JSON");
    assert_eq!(answer, expected);
}
