//! What Application Insights and an OpenTelemetry collector are told, through the socket of an endpoint.

mod delivery;
mod exceptions;
mod logs;
mod model_data;
mod otlp;
mod requests;

use std::fs;
use std::path::Path;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use scorebox_tests::fixtures::folder;
use scorebox_tests::server::free_port;
use scorebox_tests::sink::{Answer, Post, Sink};
use scorebox_tests::wait::{PATIENCE, median};
use scorebox_tests::{Ended, Request, Serve, Server, python};
use serde_json::{Value, json};
use tempfile::TempDir;

const KEY: &str = "22222222-2222-4222-8222-222222222222";
/// That of the connection string, which the other wins over.
const OTHER_KEY: &str = "11111111-1111-4111-8111-111111111111";
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";
/// Items that are sent at once: others wait for some seconds.
const BATCH: usize = 100;

/// A sink, and the folder in which telemetry waits for it.
struct Watched {
    sink: Sink,
    buffer: TempDir,
}

impl Watched {
    fn new() -> Self {
        Self { sink: Sink::start(), buffer: tempfile::tempdir().expect("a temporary folder can be made") }
    }

    /// The server, with its telemetry on and for the sink.
    fn serve(&self, serve: Serve) -> Serve {
        to_app_insights(serve, &self.sink.url(), self.buffer.path())
    }

    /// Starts the server, has it do something, ends it, and returns the items that have come by then.
    #[track_caller]
    fn record(&self, serve: Serve, work: impl FnOnce(&Server)) -> Vec<Value> {
        let server = self.serve(serve).start();
        work(&server);
        assert_eq!(server.stop().code, Some(0));
        self.sink.items()
    }
}

fn to_app_insights(serve: Serve, url: &str, buffer: &Path) -> Serve {
    let connection = format!("InstrumentationKey={OTHER_KEY};IngestionEndpoint={url}/;LiveEndpoint={url}/");
    serve
        .env("AML_APP_INSIGHTS_ENABLED", "true")
        .env("AML_APP_INSIGHTS_KEY", KEY)
        .env("APPLICATIONINSIGHTS_CONNECTION_STRING", connection)
        .env("WORKSPACE_NAME", "myws")
        .env("SERVICE_NAME", "mysvc")
        .env("HOSTNAME", "testhost")
        .env("SCOREBOX_TELEMETRY_BUFFER", buffer)
}

fn data(item: &Value) -> &Value {
    &item["data"]["baseData"]
}

fn properties(item: &Value) -> &Value {
    &data(item)["properties"]
}

/// The items of a kind that belong to the request with this id.
fn of_request<'a>(items: &'a [Value], kind: &str, id: &str) -> Vec<&'a Value> {
    let of_kind = items.iter().filter(|item| item["data"]["baseType"] == kind);
    of_kind.filter(|item| properties(item)["Request Id"] == id).collect()
}

/// The only item of a kind that belongs to the request with this id.
#[track_caller]
fn the<'a>(items: &'a [Value], kind: &str, id: &str) -> &'a Value {
    let found = of_request(items, kind, id);
    assert_eq!(found.len(), 1, "{kind} of {id}: {found:#?}");
    found[0]
}

/// The items that are logs, by their message.
fn logged<'a>(items: &'a [Value], message: &str) -> Vec<&'a Value> {
    items.iter().filter(|item| data(item)["message"] == message).collect()
}

fn is_hex(value: &Value, digits: usize) -> bool {
    value.as_str().is_some_and(|text| {
        text.len() == digits
            && text.bytes().all(|byte| byte.is_ascii_hexdigit())
            && text.bytes().any(|byte| byte != b'0')
    })
}

/// The shape of a text: every digit is a zero.
fn shape(value: &Value) -> String {
    let text = value.as_str().unwrap_or_default();
    text.chars().map(|char| if char.is_ascii_digit() { '0' } else { char }).collect()
}

/// A script that does each thing that telemetry has something to say about.
const SCRIPT: &str = r#"import json
import logging
import sys
import time

from azureml_inference_server_http.api.aml_response import AMLResponse


def init():
    print("init", "ran")


def pieces():
    for index in range(3):
        time.sleep(0.3)
        yield f"piece {index}\n"


def broken_off():
    yield "the start"
    raise KeyError("the rest")


def run(data):
    task = json.loads(data)["task"]
    print("asked for", task)
    if task == "fail":
        raise ValueError("the model's weights are wrong")
    if task == "sleep":
        time.sleep(60)
    if task == "bytes":
        return AMLResponse(b"\xff\xfe raw", 200)
    if task == "response":
        return AMLResponse({"status": "created"}, 201, json_str=True)
    if task == "stream":
        return AMLResponse(pieces(), 200)
    if task == "cut":
        return AMLResponse(broken_off(), 200)
    if task == "exit":
        sys.exit("no more")
    if task == "set":
        return {1, 2}
    if task == "log":
        logging.getLogger("azmlinfsrv").error("of the server's logger")
        logging.getLogger("azmlinfsrv.print").warning("of the print logger")
        logging.getLogger("azmlinfsrv.trace").error("of the trace logger")
        logging.getLogger("mine").error("of another logger")
        print("two\nlines", 5, {"a": 1})
        sys.stderr.write("of standard error\n")
    return {"done": task}
"#;

/// A script in a folder, with models beside it.
fn script(text: &str) -> TempDir {
    folder(&[("score.py", text), ("models/m2/7/weights", ""), ("models/m1/1/weights", ""), ("models/m1/x", "")])
}

fn serve_script(folder: &TempDir) -> Serve {
    python::serve(folder.path().join("score.py"))
}

fn task(name: &str) -> Request {
    Request::json(json!({ "task": name }).to_string())
        .header("x-request-id", format!("R-{name}"))
        .header("x-ms-client-request-id", format!("C-{name}"))
}

/// What came of a server that was asked for everything once.
struct Recorded {
    items: Vec<Value>,
    posts: Vec<Post>,
    ended: Ended,
    /// When the first piece of the stream came, and when its last.
    stream: (Duration, Duration),
}

fn recorded() -> &'static Recorded {
    static RECORDED: OnceLock<Recorded> = OnceLock::new();
    RECORDED.get_or_init(|| {
        let watched = Watched::new();
        let app = script(SCRIPT);
        let serve = watched.serve(serve_script(&app)).env("SCORING_TIMEOUT_MS", "3000");
        let server = serve.start();
        let ok = Request::new("POST", "/score?x=1&y=%20");
        let ok = ok.header("x-request-id", "R-query").header("traceparent", format!("00-{TRACE}-{CALLER}-01"));
        // A body would be that of the other; `{}` has no task.
        assert_eq!(server.send(&ok).status, 500);
        for (name, status) in
            [("ok", 200), ("fail", 500), ("sleep", 500), ("bytes", 200), ("response", 201), ("set", 500), ("log", 200)]
        {
            assert_eq!(server.send(&task(name)).status, status, "{name}");
        }
        let stream = read_stream(&server);
        let mut cut = server.connect();
        cut.write(&task("cut").to_bytes()).expect("the server listens");
        let cut = String::from_utf8(cut.read_to_end().expect("a response")).expect("it is text");
        assert!(cut.starts_with("HTTP/1.1 200 ") && !cut.ends_with("0\r\n\r\n"), "{cut:?}");
        let id = |request: Request, id: &str| request.header("x-request-id", id);
        for (request, status) in [
            (id(Request::get("/"), "R-health"), 200),
            (id(Request::new("HEAD", "/"), "R-head"), 200),
            (id(Request::get("/nothing"), "R-nothing"), 404),
            (id(Request::new("DELETE", "/score"), "R-delete"), 405),
            (id(Request::get("/livez"), "R-live"), 200),
            (id(Request::get("/readyz"), "R-ready"), 200),
            (id(Request::get("/swagger.json?version=9"), "R-swagger-9"), 404),
            (id(Request::get("/swagger.json"), "R-swagger"), 200),
            (id(Request::new("OPTIONS", "/score"), "R-options"), 200),
            (Request::score("{}").header("x-request-id", "i".repeat(101)), 431),
        ] {
            assert_eq!(server.send(&request).status, status, "{request:?}");
        }
        let ended = server.stop();
        assert_eq!(ended.code, Some(0), "{ended:?}");
        Recorded { items: watched.sink.items(), posts: watched.sink.posts(), ended, stream }
    })
}

fn read_stream(server: &Server) -> (Duration, Duration) {
    let mut client = server.connect();
    client.write(&task("stream").to_bytes()).expect("the server listens");
    let begin = Instant::now();
    let head = client.read_head().expect("a head");
    assert_eq!((head.status, head.header("transfer-encoding")), (200, Some("chunked")));
    let mut text = client.read_chunk().expect("a piece");
    let first = begin.elapsed();
    loop {
        match client.read_chunk().expect("a piece") {
            piece if piece.is_empty() => break,
            piece => text.extend(piece),
        }
    }
    assert_eq!(text, b"piece 0\npiece 1\npiece 2\n");
    (first, begin.elapsed())
}
