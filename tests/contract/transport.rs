//! How requests come: connections that are kept, bodies in chunks, HTTP/2, and the limit on bodies.

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use scorebox_tests::fixtures::IRIS;
use scorebox_tests::{Request, Serve};

#[test]
fn a_connection_carries_one_request_after_the_other() {
    let server = Serve::example("iris-rust").start();
    let mut client = server.connect();
    let first = client.send(&Request::json(IRIS)).unwrap();
    assert_ne!(first.header("connection"), Some("close"));
    assert_eq!(client.send(&Request::json("{")).unwrap().status, 400, "an error does not end it");
    assert_eq!(client.send(&Request::get("/nothing")).unwrap().status, 404);
    assert_eq!(client.send(&Request::json(IRIS)).unwrap().body, first.body);
}

#[test]
fn requests_that_are_sent_without_waiting_are_answered_in_their_order() {
    let server = Serve::guest("echo").start();
    let mut client = server.connect();
    let bytes: Vec<_> = (0..20).flat_map(|index| Request::score(format!("body {index}")).to_bytes()).collect();
    client.write(&bytes).unwrap();
    for index in 0..20 {
        assert_eq!(client.read().unwrap().json()["body"], format!("body {index}"));
    }
}

#[test]
fn a_client_that_asks_for_it_gets_the_connection_closed() {
    let server = Serve::example("iris-rust").start();
    let mut client = server.connect();
    assert_eq!(client.send(&Request::json(IRIS).header("connection", "close")).unwrap().status, 200);
    assert_eq!(client.read_to_end().unwrap(), b"");
}

#[test]
fn a_body_in_chunks_is_one_body() {
    let server = Serve::guest("echo").start();
    let body = "0123456789".repeat(10_000);
    for length in [1_usize, 7, 4096, 1 << 20] {
        let length = if length == 1 { 100 } else { length };
        let told = server.send(&Request::score(body.as_str()).chunked(length)).json();
        assert_eq!(told["body_bytes"], body.len());
        assert_eq!(told["body"], body.as_str(), "chunks of {length}");
    }
}

#[test]
fn a_client_that_waits_for_100_continue_gets_it() {
    let server = Serve::example("iris-rust").start();
    let mut client = server.connect();
    let request = Request::json(IRIS).header("expect", "100-continue").to_bytes();
    let (head, body) = request.split_at(request.len() - IRIS.len());
    client.write(head).unwrap();
    assert_eq!(client.read().unwrap().status, 100);
    client.write(body).unwrap();
    assert_eq!(client.read().unwrap().status, 200);
}

#[test]
fn a_client_of_http_1_0_is_answered_and_the_connection_is_closed() {
    let server = Serve::example("iris-rust").start();
    let mut client = server.connect();
    client.write(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    let answer = String::from_utf8(client.read_to_end().unwrap()).unwrap();
    assert!(answer.starts_with("HTTP/1.0 200 OK\r\n") && answer.ends_with("\r\n\r\nHealthy"), "{answer}");
}

#[test]
fn a_target_may_be_an_absolute_uri() {
    let server = Serve::example("iris-rust").start();
    assert_eq!(server.get("http://somewhere.test/livez").text(), "ok");
}

#[test]
fn http_2_with_prior_knowledge_carries_requests_side_by_side() {
    const REQUESTS: usize = 100;
    let server = Serve::guest("echo").start();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(server.address()).await.unwrap();
        let (sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        let connection = tokio::spawn(connection);
        let mut answers = Vec::new();
        for index in 0..REQUESTS {
            let mut sender = sender.clone();
            answers.push(tokio::spawn(async move {
                sender.ready().await.unwrap();
                let request = hyper::Request::post("http://scorebox.test/score")
                    .header("x-request-id", format!("id-{index}"))
                    .body(Full::new(Bytes::from(format!("body {index}"))))
                    .unwrap();
                let response = sender.send_request(request).await.unwrap();
                assert_eq!(response.status(), 200);
                assert_eq!(response.headers()["x-request-id"], format!("id-{index}"));
                let body = response.into_body().collect().await.unwrap().to_bytes();
                let told: serde_json::Value = serde_json::from_slice(&body).unwrap();
                assert_eq!(told["body"], format!("body {index}"));
            }));
        }
        for answer in answers {
            answer.await.unwrap();
        }
        drop(sender);
        connection.await.unwrap().unwrap();
    });
}

#[test]
fn a_body_over_the_limit_is_refused_with_413_whether_its_length_is_declared_or_not() {
    let server = Serve::guest("echo").args("--max-body 1000B").start();
    let message = "The request body has more than the 1000 bytes that are allowed.";
    let (most, more) = ("b".repeat(1000), "b".repeat(1001));
    for chunk in [None, Some(100), Some(2000)] {
        let request = |body: &str| match chunk {
            None => Request::score(body),
            Some(length) => Request::score(body).chunked(length),
        };
        assert_eq!(server.send(&request(&most)).json()["body_bytes"], 1000, "{chunk:?}");
        let response = server.send(&request(&more));
        response.assert_error(413, message);
        assert_eq!(response.header("x-ms-run-function-failed"), Some("False"));
        assert!(response.header("x-request-id").is_some());
        assert_eq!(response.header("connection"), Some("close"), "the rest of the body is no request");
    }
}

#[test]
fn a_client_that_asks_before_it_sends_too_much_is_refused_before_it_does() {
    let server = Serve::guest("echo").args("--max-body 1000B").start();
    let mut client = server.connect();
    let head = "POST /score HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 1000000000\r\n\r\n";
    client.write(head.as_bytes()).unwrap();
    assert_eq!(client.read().unwrap().status, 413);
}

#[test]
fn a_body_far_over_the_limit_is_refused_while_it_is_sent() {
    let server = Serve::guest("echo").args("--max-body 1000B").start();
    let response = server.send(&Request::score(vec![b'b'; 2 << 20]));
    assert_eq!(response.status, 413, "the client sees the answer though it is still sending");
}
