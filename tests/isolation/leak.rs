//! Nothing that one request leaves behind is there for another.

use std::collections::HashSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::routing::post;
use bytes::Bytes;
use scorebox_server::connection::{self, ConnectionLimits};
use scorebox_tests::{Client, Request, Serve};
use tokio::sync::watch;

const REQUESTS: usize = 10_000;
const CONNECTIONS: usize = 32;
/// What the scorer answers when nothing is there.
const NOTHING: &[u8] = b"none";

/// Sends bodies of which there are no two alike, on connections that are kept, and counts the answers that are not
/// "nothing". Each of these has to be the body of another request.
fn count_leaks(server: SocketAddr) -> usize {
    let clients: Vec<_> = (0..CONNECTIONS)
        .map(|client| {
            std::thread::spawn(move || {
                let mut connection = Client::connect(server).expect("the server listens");
                let mut leaked = Vec::new();
                for index in (client..REQUESTS).step_by(CONNECTIONS) {
                    let response = connection.send(&Request::score(secret(index))).expect("an answer");
                    assert_eq!(response.status, 200, "{response:?}");
                    if response.body != NOTHING {
                        leaked.push(response.body);
                    }
                }
                leaked
            })
        })
        .collect();
    let leaked: Vec<_> = clients.into_iter().flat_map(|client| client.join().expect("a client ends")).collect();
    let secrets: HashSet<_> = (0..REQUESTS).map(secret).collect();
    for body in &leaked {
        assert!(secrets.contains(body), "an answer that is neither nothing nor a body: {}", body.escape_ascii());
    }
    leaked.len()
}

/// The body of a request.
fn secret(index: usize) -> Vec<u8> {
    format!("the secret of request {index}").into_bytes()
}

#[test]
fn no_response_contains_the_data_of_another_request() {
    let server = Serve::guest("leak").args("--no-request-log").start();
    assert_eq!(count_leaks(server.address()), 0);
}

/// The same scorer as a function of a server that shares its memory between requests.
#[test]
fn the_same_scorer_outside_of_the_sandbox_leaks() {
    let previous = Arc::new(Mutex::new(None));
    let router = Router::new().route(
        "/score",
        post(async move |body: Bytes| {
            let previous = previous.lock().expect("nobody panics with it").replace(body);
            previous.unwrap_or(Bytes::from_static(NOTHING))
        }),
    );
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let listener = runtime.block_on(tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = watch::channel(false);
    let server = runtime.spawn(connection::serve(listener, None, router, ConnectionLimits::default(), stopped));
    let leaks = count_leaks(address);
    stop.send(true).unwrap();
    runtime.block_on(server).unwrap();
    println!("{leaks} of {REQUESTS} answers leaked");
    assert!(leaks > REQUESTS / 2, "{leaks} of {REQUESTS} answers leaked");
}
