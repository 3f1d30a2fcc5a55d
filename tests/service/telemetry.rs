//! What Application Insights and an OpenTelemetry collector are told, through the socket of an endpoint.

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

mod requests {
    use super::*;

    #[test]
    fn a_request_has_every_column_and_property_with_the_values_of_its_response() {
        let Recorded { items, .. } = recorded();
        let item = the(items, "RequestData", "R-ok");
        let host = rustix_host();
        assert_eq!(
            json!([item["ver"], item["name"], item["sampleRate"], item["iKey"], data(item)["ver"]]),
            json!([1, "Microsoft.ApplicationInsights.Request", 100.0, KEY, 2])
        );
        assert_eq!(shape(&item["time"]), "0000-00-00T00:00:00.000000Z");
        let tags = item["tags"].as_object().unwrap();
        for (name, value) in [
            ("ai.device.id", &*host),
            ("ai.device.locale", "en_US"),
            ("ai.device.type", "Other"),
            ("ai.cloud.role", "mysvc"),
            ("ai.cloud.roleInstance", "testhost"),
            ("ai.internal.nodeName", &*host),
            ("ai.operation.name", "/score"),
        ] {
            assert_eq!(tags[name], value, "{name}");
        }
        assert!(tags["ai.internal.sdkVersion"].as_str().unwrap().starts_with("scorebox:"));
        assert!(is_hex(&tags["ai.operation.id"], 32), "{tags:?}");
        assert!(!tags.contains_key("ai.operation.parentId"), "nobody asked for it: {tags:?}");

        let (data, properties) = (data(item), properties(item));
        assert!(is_hex(&data["id"], 16));
        assert_eq!(shape(&data["duration"]), "0.00:00:00.000000");
        assert_ne!(data["duration"], "0.00:00:00.000000");
        assert_eq!(shape(&properties["duration"]), "00:00:00.000");
        assert_eq!(shape(&properties["start_time"]), "0000-00-00T00:00:00.000000Z");
        assert_eq!(properties["start_time"], item["time"]);
        let mut rest = data.clone();
        for name in ["id", "duration"] {
            rest.as_object_mut().unwrap().remove(name);
        }
        for name in ["duration", "start_time"] {
            rest["properties"].as_object_mut().unwrap().remove(name);
        }
        assert_eq!(
            rest,
            json!({
                "ver": 2,
                "name": "/score",
                "success": true,
                "responseCode": "200",
                "url": "http://scorebox.test/score",
                "properties": {
                    "Container Id": "testhost",
                    "Request Id": "R-ok",
                    "Client Request Id": "C-ok",
                    "Response Value": "{\"done\": \"ok\"}",
                    "name": "/score",
                    "url": "http://scorebox.test/score",
                    "resultCode": "200",
                    "success": "True",
                    "http_method": "POST",
                    "Workspace Name": "myws",
                    "Service Name": "mysvc",
                },
                "measurements": {},
            })
        );
    }

    fn rustix_host() -> String {
        let name = fs::read_to_string("/proc/sys/kernel/hostname").expect("the machine has a name");
        name.trim().to_owned()
    }

    #[test]
    fn the_status_the_success_the_url_and_the_body_are_those_of_each_response() {
        let Recorded { items, .. } = recorded();
        let script_failed =
            r#"{"message": "An unexpected error occurred in scoring script. Check the logs for more info."}"#;
        for (id, method, target, status, body) in [
            ("R-query", "POST", "/score?x=1&y=%20", 500, script_failed),
            ("R-fail", "POST", "/score", 500, script_failed),
            ("R-sleep", "POST", "/score", 500, r#"{"message": "Scoring timeout after 3000 ms"}"#),
            ("R-response", "POST", "/score", 201, r#"{"status": "created"}"#),
            (
                "R-set",
                "POST",
                "/score",
                500,
                r#"{"message": "An unexpected internal error occurred. Check the logs for more info."}"#,
            ),
            ("R-options", "OPTIONS", "/score", 200, ""),
            (
                "R-swagger-9",
                "GET",
                "/swagger.json?version=9",
                404,
                r#"{"message": "Swagger version [9] is not valid. Supported versions: [2, 3, 3.1]."}"#,
            ),
            // An id that is too long is none.
            ("", "POST", "/score", 431, r#"{"message": "x-request-id must not exceed 100 characters"}"#),
        ] {
            let item = the(items, "RequestData", id);
            let (data, properties) = (data(item), properties(item));
            let (url, is_ok) = (format!("http://scorebox.test{target}"), status < 400);
            assert_eq!(
                json!([data["responseCode"], data["success"], data["url"], data["name"]]),
                json!([status.to_string(), is_ok, url, target.split('?').next()]),
                "{id}"
            );
            let success = if is_ok { "True" } else { "False" };
            assert_eq!(
                json!([
                    properties["resultCode"],
                    properties["success"],
                    properties["url"],
                    properties["http_method"],
                    properties["Response Value"],
                ]),
                json!([status.to_string(), success, url, method, body]),
                "{id}"
            );
        }
        let took = data(the(items, "RequestData", "R-sleep"))["duration"].as_str().unwrap();
        assert!(took.starts_with("0.00:00:03."), "{took}");
    }

    #[test]
    fn health_checks_and_what_no_route_takes_are_not_reported() {
        let Recorded { items, .. } = recorded();
        let requests = items.iter().filter(|item| item["data"]["baseType"] == "RequestData");
        let ids: Vec<_> = requests.map(|item| properties(item)["Request Id"].as_str().unwrap()).collect();
        let mut sorted = ids.clone();
        sorted.sort_unstable();
        assert_eq!(
            sorted,
            [
                "",
                "R-bytes",
                "R-cut",
                "R-fail",
                "R-log",
                "R-ok",
                "R-options",
                "R-query",
                "R-response",
                "R-set",
                "R-sleep",
                "R-stream",
                "R-swagger",
                "R-swagger-9",
            ]
        );
    }

    #[test]
    fn a_response_that_is_no_text_is_recorded_as_a_sentence_that_says_so() {
        let Recorded { items, .. } = recorded();
        assert_eq!(
            properties(the(items, "RequestData", "R-bytes"))["Response Value"],
            "\"Scoring request response payload is a non serializable object or raw binary\""
        );
    }

    #[test]
    fn a_stream_is_sent_as_it_is_made_and_recorded_as_a_whole() {
        let Recorded { items, stream: (first, last), .. } = recorded();
        assert!(*last >= *first + Duration::from_millis(450), "the first came at {first:?}, the last at {last:?}");
        let item = the(items, "RequestData", "R-stream");
        assert_eq!(properties(item)["Response Value"], "piece 0\npiece 1\npiece 2\n");
        let took = properties(item)["duration"].as_str().unwrap();
        assert!(("00:00:00.850".."00:00:03.000").contains(&took), "it ends with its last piece: {took}");
    }

    #[test]
    fn a_stream_that_breaks_off_is_recorded_as_far_as_it_came_with_what_ended_it() {
        let Recorded { items, .. } = recorded();
        let item = the(items, "RequestData", "R-cut");
        assert_eq!(data(item)["responseCode"], "200", "which had been sent by then");
        assert_eq!(properties(item)["Response Value"], "the start");
        let exception = the(items, "ExceptionData", "R-cut");
        assert_eq!(data(exception)["exceptions"][0]["message"], "KeyError: 'the rest'");
    }

    #[test]
    fn responses_are_left_out_when_they_are_not_to_be_logged() {
        let watched = Watched::new();
        let serve = Serve::guest("echo").env("APP_INSIGHTS_LOG_RESPONSE_ENABLED", "false");
        let items = watched.record(serve, |server| {
            server.send(&Request::score("private").header("x-request-id", "R-1"));
        });
        let item = the(&items, "RequestData", "R-1");
        assert_eq!(properties(item)["resultCode"], "200");
        assert_eq!(properties(item).get("Response Value"), None);
        assert!(!items.iter().any(|item| item.to_string().contains("private")), "{items:#?}");
    }

    #[test]
    fn the_ids_are_those_of_the_response_whichever_the_client_gave() {
        const IDS: [&str; 3] = ["x-request-id", "x-ms-request-id", "x-ms-client-request-id"];
        let watched = Watched::new();
        let mut expected = Vec::new();
        let items = watched.record(Serve::guest("echo"), |server| {
            for row in 0..8 {
                let given = (0..3).filter(|column| row >> column & 1 == 1);
                let given: Vec<_> =
                    given.map(|column| (IDS[column], format!("{}{row}", ["A", "B", "C"][column]))).collect();
                let request = Request::get(&format!("/score?row={row}"));
                let request = given.iter().fold(request, |request, (name, id)| request.header(name, id));
                let response = server.send(&request);
                let of_client = |name: &str| given.iter().find(|(other, _)| *other == name).map(|(_, id)| id.clone());
                // What the client calls its own wins over the name that it had before.
                let client = of_client(IDS[2]).or_else(|| of_client(IDS[1])).unwrap_or_default();
                let own = of_client(IDS[0]).unwrap_or_else(|| response.header(IDS[0]).unwrap().to_owned());
                assert_eq!(response.header(IDS[0]), Some(&*own));
                expected.push((format!("http://scorebox.test/score?row={row}"), own, client));
            }
        });
        for (url, own, client) in expected {
            let item = items.iter().find(|item| data(item)["url"] == *url).unwrap_or_else(|| panic!("no {url}"));
            let properties = properties(item);
            assert_eq!(
                json!([properties["Request Id"], properties["Client Request Id"]]),
                json!([own, client]),
                "{url}"
            );
        }
    }

    #[test]
    fn the_trace_of_the_caller_is_continued() {
        let Recorded { items, .. } = recorded();
        let item = the(items, "RequestData", "R-query");
        assert_eq!(item["tags"]["ai.operation.id"], TRACE);
        assert_eq!(item["tags"]["ai.operation.parentId"], CALLER);
        let exception = the(items, "ExceptionData", "R-query");
        assert_eq!(exception["tags"]["ai.operation.id"], TRACE);
        assert_eq!(exception["tags"]["ai.operation.parentId"], data(item)["id"]);
        assert_ne!(data(item)["id"], CALLER);
        let other = the(items, "RequestData", "R-ok");
        assert_ne!(other["tags"]["ai.operation.id"], the(items, "RequestData", "R-log")["tags"]["ai.operation.id"]);
    }
}

mod logs {
    use super::*;

    #[test]
    fn prints_and_the_loggers_that_are_exported_belong_to_their_request() {
        let Recorded { items, .. } = recorded();
        let request = the(items, "RequestData", "R-log");
        for (message, level) in [
            ("asked for log", "1"),
            ("two\nlines 5 {'a': 1}", "1"),
            ("of the print logger", "2"),
            ("of the trace logger", "3"),
        ] {
            let found = logged(items, message);
            assert_eq!(found.len(), 1, "{message}: {found:#?}");
            let item = found[0];
            assert_eq!(item["name"], "Microsoft.ApplicationInsights.Message");
            assert_eq!(item["data"]["baseType"], "MessageData");
            assert_eq!(data(item)["severityLevel"], level, "{message}");
            assert_eq!(item["tags"]["ai.operation.id"], request["tags"]["ai.operation.id"]);
            assert_eq!(item["tags"]["ai.operation.parentId"], data(request)["id"]);
            assert_eq!(properties(item)["Request Id"], "R-log");
            assert_eq!(properties(item)["Client Request Id"], "C-log");
            for name in ["code.file.path", "code.function.name", "code.line.number"] {
                assert!(properties(item)[name].is_string(), "no {name} in {item}");
            }
        }
    }

    #[test]
    fn what_is_said_before_any_request_belongs_to_none() {
        let Recorded { items, .. } = recorded();
        for message in ["init ran", "Model directory is not set or does not exist: "] {
            let found = logged(items, message);
            assert_eq!(found.len(), 1, "{message}: {found:#?}");
            assert_eq!(found[0]["tags"]["ai.operation.id"], "0".repeat(32));
            assert_eq!(properties(found[0]).get("Request Id"), None);
        }
    }

    #[test]
    fn other_loggers_and_standard_error_are_not_exported() {
        let Recorded { items, ended, .. } = recorded();
        for text in ["of the server's logger", "of another logger", "of standard error"] {
            assert!(ended.stdout.contains(text), "no {text:?} in {}", ended.stdout);
            assert!(!items.iter().any(|item| item.to_string().contains(text)), "{text}");
        }
    }
}

mod exceptions {
    use super::*;

    #[test]
    fn what_a_script_raises_is_an_exception_of_its_request_with_its_traceback() {
        let Recorded { items, .. } = recorded();
        let item = the(items, "ExceptionData", "R-fail");
        assert_eq!(item["name"], "Microsoft.ApplicationInsights.Exception");
        assert_eq!(data(item)["severityLevel"], "3");
        let exceptions = data(item)["exceptions"].as_array().unwrap();
        assert_eq!(exceptions.len(), 1);
        assert_eq!(exceptions[0]["typeName"], "UserScriptException");
        assert_eq!(exceptions[0]["message"], "ValueError: the model's weights are wrong");
        assert_eq!(exceptions[0]["hasFullStack"], true);
        let stack = exceptions[0]["stack"].as_str().unwrap();
        assert!(stack.starts_with("Traceback (most recent call last):\n"), "{stack}");
        assert!(stack.contains("score.py\", line 28, in run\n"), "{stack}");
        assert!(stack.contains("ValueError: the model's weights are wrong"), "{stack}");
        assert_eq!(
            properties(item)["custom_dimensions"],
            "{'Container Id': 'testhost', 'Request Id': 'R-fail', 'Client Request Id': 'C-fail'}"
        );
        let request = the(items, "RequestData", "R-fail");
        assert_eq!(item["tags"]["ai.operation.parentId"], data(request)["id"]);
    }

    #[test]
    fn a_timeout_is_an_exception_of_a_type_of_its_own() {
        let Recorded { items, .. } = recorded();
        let item = the(items, "ExceptionData", "R-sleep");
        assert_eq!(data(item)["exceptions"][0]["typeName"], "UserScriptTimeout");
        let message = data(item)["exceptions"][0]["message"].as_str().unwrap();
        assert!(message.contains("3000"), "{message}");
    }

    #[test]
    fn what_is_no_fault_of_run_is_no_exception() {
        let Recorded { items, .. } = recorded();
        let exceptions = items.iter().filter(|item| item["data"]["baseType"] == "ExceptionData");
        let mut ids: Vec<_> = exceptions.map(|item| properties(item)["Request Id"].as_str().unwrap()).collect();
        ids.sort_unstable();
        assert_eq!(ids, ["R-cut", "R-fail", "R-query", "R-sleep"]);
    }

    #[test]
    fn what_ends_a_component_is_an_exception_of_its_request() {
        let watched = Watched::new();
        let items = watched.record(Serve::guest("panic"), |server| {
            for end in ["well", "panic", "error", "trap", "overflow", "bad_input"] {
                let body = json!({"end": end, "secret": "for the log"}).to_string();
                server.send(&Request::json(body).header("x-request-id", format!("R-{end}")));
            }
        });
        let text = |id: &str| {
            let item = the(&items, "ExceptionData", id);
            assert_eq!(data(item)["exceptions"][0]["typeName"], "UserScriptException", "{id}");
            data(item)["exceptions"][0].to_string()
        };
        for id in ["R-panic", "R-error"] {
            assert!(text(id).contains("the secret is for the log"), "{}", text(id));
        }
        assert!(text("R-trap").contains("wasm trap: "), "{}", text("R-trap"));
        assert!(text("R-overflow").contains("stack"), "{}", text("R-overflow"));
        for id in ["R-well", "R-bad_input"] {
            assert!(of_request(&items, "ExceptionData", id).is_empty(), "{id}");
            the(&items, "RequestData", id);
        }

        let items = watched.record(Serve::guest("spin").args("--timeout 200ms"), |server| {
            server.send(&Request::json(r#"{"spin": true}"#).header("x-request-id", "R-spin"));
        });
        let item = the(&items, "ExceptionData", "R-spin");
        assert_eq!(data(item)["exceptions"][0]["typeName"], "UserScriptTimeout");
    }

    #[test]
    fn an_init_that_fails_is_an_exception_without_a_request_and_the_server_ends_when_it_is_sent() {
        let watched = Watched::new();
        let app = script(
            "def init():\n    print('before it fails')\n    raise RuntimeError('no weights')\n\n\ndef run(data):\n    pass\n",
        );
        let begin = Instant::now();
        let ended = watched.serve(serve_script(&app)).refused();
        assert_eq!(ended.code, Some(3), "{ended:?}");
        assert!(begin.elapsed() < Duration::from_secs(20), "{:?}", begin.elapsed());
        let items = watched.sink.items();
        assert_eq!(logged(&items, "before it fails").len(), 1, "{items:#?}");
        let item = the(&items, "ExceptionData", "Unknown");
        let exception = &data(item)["exceptions"][0];
        assert_eq!(exception["typeName"], "UserScriptException");
        assert!(exception.to_string().contains("RuntimeError: no weights"), "{exception}");
        assert_eq!(
            properties(item)["custom_dimensions"],
            "{'Container Id': 'testhost', 'Request Id': 'Unknown', 'Client Request Id': ''}"
        );
    }
}

mod model_data {
    use super::*;

    #[test]
    fn what_goes_into_a_model_and_comes_out_is_collected_when_it_is_asked_for() {
        let watched = Watched::new();
        let app = script(SCRIPT);
        let serve = serve_script(&app).args("--model_dir models").env("AML_MDC_STORAGE_ENABLED", "true");
        let items = watched.record(serve, |server| {
            assert_eq!(server.send(&task("it's")).status, 200);
            assert_eq!(server.send(&task("fail")).status, 500);
            assert_eq!(server.send(&task("exit")).status, 500);
        });
        let exit = data(the(&items, "ExceptionData", "R-exit"));
        assert_eq!(exit["exceptions"][0]["message"], "SystemExit: no more");
        let found = logged(&items, "model_data_collection");
        assert_eq!(found.len(), 1, "{found:#?}");
        let (input, prediction) = (r#""{\"task\":\"it's\"}""#, r#"{"done": "it's"}"#);
        // As Python would write it: a text with a single quote is in double ones, unless it has both.
        let quoted = |text: &str| format!("'{}'", text.replace('\\', r"\\").replace('\'', r"\'"));
        assert_eq!(
            properties(found[0])["custom_dimensions"],
            format!(
                "{{'Container Id': 'testhost', 'Request Id': \"R-it's\", 'Client Request Id': \"C-it's\", \
                 'Workspace Name': 'myws', 'Service Name': 'mysvc', 'Models': ('m1:1', 'm2:7'), 'Input': {}, \
                 'Prediction': {}}}",
                quoted(input),
                quoted(prediction)
            )
        );
        for (name, value) in [("Input", input), ("Prediction", prediction), ("Models", r#"["m1:1","m2:7"]"#)] {
            assert_eq!(properties(found[0])[name], value);
        }
        assert_eq!(data(found[0])["severityLevel"], "1");
        let request = the(&items, "RequestData", "R-it's");
        assert_eq!(found[0]["tags"]["ai.operation.parentId"], data(request)["id"]);
    }

    #[test]
    fn the_documented_variable_works_and_without_either_nothing_is_collected() {
        let watched = Watched::new();
        let model = folder(&[("weights", "")]);
        let serve = || Serve::guest("spin").arg("--model_dir").arg(model.path());
        let score = |server: &Server| {
            server.score(r#"{"spin": false}"#);
        };
        let items = watched.record(serve().env("AML_MODEL_DC_STORAGE_ENABLED", "true"), score);
        let found = logged(&items, "model_data_collection");
        assert_eq!(found.len(), 1, "{items:#?}");
        assert_eq!(properties(found[0])["Input"], r#"{"spin": false}"#);
        assert_eq!(properties(found[0])["Prediction"].as_str().unwrap().replace(' ', ""), r#"{"spun":false}"#);
        let items = watched.record(serve().env("AML_MODEL_DC_STORAGE_ENABLED", "false"), score);
        assert_eq!(logged(&items, "model_data_collection").len(), 1, "no more than before");
    }
}

mod delivery {
    use super::*;

    #[test]
    fn items_are_posted_as_arrays_of_json_to_the_path_of_the_service() {
        let Recorded { posts, .. } = recorded();
        assert!(!posts.is_empty());
        for post in posts {
            assert_eq!(post.path, "/v2.1/track");
            assert_eq!(post.header("content-type"), Some("application/json"));
            assert_eq!(post.header("content-encoding"), None);
            assert!((1..=BATCH).contains(&post.items().len()));
        }
    }

    #[test]
    fn keys_are_never_in_the_log() {
        let Recorded { ended, .. } = recorded();
        assert!(
            ended.stdout.contains("telemetry goes to Application Insights at http://127.0.0.1:"),
            "{}",
            ended.stdout
        );
        for key in [KEY, OTHER_KEY, "InstrumentationKey"] {
            assert!(!ended.stdout.contains(key) && !ended.stderr.contains(key), "{ended:?}");
        }
    }

    #[test]
    fn what_waits_is_sent_when_the_server_is_told_to_end() {
        let watched = Watched::new();
        let server = watched.serve(Serve::guest("echo")).start();
        let begin = Instant::now();
        server.send(&Request::score("x").header("x-request-id", "R-last"));
        assert_eq!(server.stop().code, Some(0));
        let took = begin.elapsed();
        assert!(took < Duration::from_secs(4), "what waits for others is not waited for: {took:?}");
        the(&watched.sink.items(), "RequestData", "R-last");
    }

    #[test]
    fn what_waits_is_sent_after_some_seconds_and_a_full_batch_at_once() {
        let watched = Watched::new();
        let server = watched.serve(Serve::guest("echo")).start();
        let begin = Instant::now();
        let mut client = server.connect();
        for _ in 0..BATCH {
            client.send(&Request::score("x")).unwrap();
        }
        let posts = watched.sink.wait("a full batch", |posts| !posts.is_empty());
        assert!(begin.elapsed() < Duration::from_secs(4), "{:?}", begin.elapsed());
        assert_eq!(posts[0].items().len(), BATCH);
        watched.sink.wait("the rest", |posts| posts.iter().map(|post| post.items().len()).sum::<usize>() > BATCH);
    }

    #[test]
    fn a_key_in_capitals_and_the_endpoint_of_the_platform_are_taken() {
        let watched = Watched::new();
        let key = "ABCDEF00-2222-4222-8222-22222222ABCD";
        let endpoint = format!("{}/v2/track", watched.sink.url());
        let serve = Serve::guest("echo")
            .env("AML_APP_INSIGHTS_ENDPOINT", endpoint)
            .env("SCOREBOX_TELEMETRY_BUFFER", watched.buffer.path())
            .arg("--appinsights_instrumentation_key")
            .arg(key);
        let server = serve.start();
        server.send(&Request::score("x").header("x-request-id", "R-1"));
        assert_eq!(server.stop().code, Some(0));
        let items = watched.sink.items();
        let item = the(&items, "RequestData", "R-1");
        assert_eq!(item["iKey"], key.to_lowercase());
        assert_eq!(properties(item)["Container Id"], "Unknown");
    }

    #[test]
    fn nothing_is_sent_when_it_is_not_switched_on() {
        let watched = Watched::new();
        for enabled in ["false", "True", "1"] {
            let serve = watched.serve(Serve::guest("echo")).env("AML_APP_INSIGHTS_ENABLED", enabled);
            let server = serve.start();
            assert_eq!(server.score("x").status, 200);
            assert_eq!(server.stop().code, Some(0));
        }
        assert_eq!(watched.sink.posts().len(), 0);
    }

    /// Has as many requests scored as make a full batch.
    fn full_batch(server: &Server) {
        let mut client = server.connect();
        for _ in 0..BATCH {
            assert_eq!(client.send(&Request::score("x")).expect("a response").status, 200);
        }
    }

    #[test]
    fn what_the_endpoint_cannot_take_now_is_sent_again() {
        let watched = Watched::new();
        watched.sink.answer([Answer::status(500), Answer::status(429), Answer::status(200)]);
        let server = watched.serve(Serve::guest("echo")).start();
        full_batch(&server);
        let posts = watched.sink.wait("a third attempt", |posts| posts.len() >= 3);
        assert_eq!(posts[0].body, posts[1].body);
        assert_eq!(posts[1].body, posts[2].body);
        server.logged("Telemetry for");
        assert_eq!(server.stop().code, Some(0));
        let requests = watched.sink.items().iter().filter(|item| item["data"]["baseType"] == "RequestData").count();
        assert_eq!(requests, BATCH, "each is taken once");
    }

    #[test]
    fn of_a_batch_that_is_taken_in_part_only_what_may_be_taken_later_is_sent_again() {
        let watched = Watched::new();
        let partly = json!({
            "itemsReceived": BATCH,
            "itemsAccepted": BATCH - 2,
            "errors": [
                {"index": 3, "statusCode": 503, "message": "busy"},
                {"index": 5, "statusCode": 400, "message": "wrong"},
            ],
        });
        watched.sink.answer([Answer::Status(206, partly.to_string()), Answer::status(200)]);
        let server = watched.serve(Serve::guest("echo")).start();
        full_batch(&server);
        let posts = watched.sink.wait("the rest", |posts| posts.len() >= 2);
        let (all, again) = (posts[0].items(), posts[1].items());
        assert_eq!(all.len(), BATCH);
        assert_eq!(again[0], all[3]);
        assert!(!again.contains(&all[5]));
        assert_eq!(server.stop().code, Some(0));
        assert!(!watched.sink.items().contains(&all[5]));
    }

    #[test]
    fn what_the_endpoint_refuses_is_not_sent_again_and_said_in_the_log() {
        let watched = Watched::new();
        watched.sink.answer([Answer::status(400), Answer::status(200)]);
        let server = watched.serve(Serve::guest("echo")).start();
        full_batch(&server);
        let line = server.logged("Telemetry was refused by");
        assert!(line.contains(" W [") && line.contains("100 items are dropped"), "{line}");
        assert_eq!(server.stop().code, Some(0));
        let posts = watched.sink.posts();
        let refused = posts[0].items();
        assert!(!watched.sink.items().iter().any(|item| refused.contains(item)));
    }

    /// The median time of a request.
    fn time(server: &Server) -> Duration {
        let mut client = server.connect();
        let times: Vec<_> = (0..3 * BATCH)
            .map(|_| {
                let begin = Instant::now();
                assert_eq!(client.send(&Request::score("x")).expect("a response").status, 200);
                begin.elapsed()
            })
            .collect();
        median(&times)
    }

    #[test]
    fn requests_are_as_fast_while_the_endpoint_does_not_answer_or_is_not_there() {
        let without = time(&Serve::guest("echo").start());
        let watched = Watched::new();
        watched.sink.answer([Answer::Nothing]);
        let silent = watched.serve(Serve::guest("echo")).start();
        let with_silence = time(&silent);
        watched.sink.wait("a post is waiting for its answer", |posts| !posts.is_empty());
        let with_silence = with_silence.max(time(&silent));
        let buffer = tempfile::tempdir().unwrap();
        let url = format!("http://127.0.0.1:{}", free_port());
        let away = to_app_insights(Serve::guest("echo"), &url, buffer.path()).start();
        let with_none = time(&away);
        println!("without telemetry {without:?}, endpoint silent {with_silence:?}, endpoint away {with_none:?}");
        // Far less than any attempt takes, and room for a machine that does other things.
        let limit = 4 * without + Duration::from_millis(5);
        assert!(with_silence < limit && with_none < limit, "{without:?}, {with_silence:?}, {with_none:?}");
        let begin = Instant::now();
        silent.terminate();
        assert_eq!(silent.wait(PATIENCE).code, Some(0));
        assert!(
            begin.elapsed() < Duration::from_secs(12),
            "an endpoint that is silent holds up the end for some seconds"
        );
    }

    #[test]
    fn what_could_not_be_sent_is_kept_on_disk_and_sent_by_the_next_server() {
        let buffer = tempfile::tempdir().unwrap();
        let port = free_port();
        let serve = to_app_insights(Serve::guest("echo"), &format!("http://127.0.0.1:{port}"), buffer.path());
        let server = serve.start();
        for number in 0..3 {
            server.send(&Request::score("x").header("x-request-id", format!("R-{number}")));
        }
        let ended = server.stop();
        assert_eq!(ended.code, Some(0));
        assert!(ended.stdout.contains("It is kept on disk and tried again."), "{}", ended.stdout);

        let sink = Sink::on(port);
        let server = serve.start();
        let posts = sink.wait("what was kept", |posts| !posts.is_empty());
        let kept = posts[0].items();
        for number in 0..3 {
            the(&kept, "RequestData", &format!("R-{number}"));
        }
        assert_eq!(server.stop().code, Some(0));
        let all = sink.items();
        for number in 0..3 {
            the(&all, "RequestData", &format!("R-{number}"));
        }
        // Nothing waits any more.
        let server = serve.start();
        assert_eq!(server.stop().code, Some(0));
        assert_eq!(of_request(&sink.items(), "RequestData", "R-0").len(), 1);
    }

    #[test]
    fn of_two_servers_with_one_buffer_the_second_says_that_it_does_without() {
        let watched = Watched::new();
        let serve = watched.serve(Serve::guest("echo"));
        let (first, second) = (serve.start(), serve.start());
        let line = second.logged("is used by another process");
        assert!(line.contains(" W [") && line.contains("kept in memory only"), "{line}");
        for (server, id) in [(first, "R-first"), (second, "R-second")] {
            server.send(&Request::score("x").header("x-request-id", id));
            assert_eq!(server.stop().code, Some(0));
            the(&watched.sink.items(), "RequestData", id);
        }
    }

    #[test]
    fn a_buffer_that_cannot_be_written_to_is_an_error_where_it_is_named_and_else_a_warning() {
        let home = folder(&[(".cache", "a file where a folder should be")]);
        let watched = Watched::new();
        let serve = Serve::guest("echo")
            .env("AML_APP_INSIGHTS_ENABLED", "true")
            .env("AML_APP_INSIGHTS_KEY", KEY)
            .env("AML_APP_INSIGHTS_ENDPOINT", watched.sink.url())
            .env("HOME", home.path());
        let server = serve.start();
        let line = server.logged("telemetry that cannot be sent is not kept on disk");
        assert!(line.contains(" W [") && line.contains("scorebox-telemetry"), "{line}");
        server.send(&Request::score("x").header("x-request-id", "R-1"));
        assert_eq!(server.stop().code, Some(0));
        the(&watched.sink.items(), "RequestData", "R-1");

        let buffer = home.path().join(".cache/buffer");
        let ended = serve.arg("--telemetry-buffer").arg(&buffer).refused();
        assert_eq!(ended.code, Some(3), "{ended:?}");
        assert!(ended.stderr.contains(&buffer.display().to_string()), "{}", ended.stderr);
    }

    #[test]
    fn what_waits_on_disk_is_for_nobody_else_to_read() {
        use std::os::unix::fs::PermissionsExt as _;

        let folder = tempfile::tempdir().unwrap();
        let buffer = folder.path().join("buffer");
        let url = format!("http://127.0.0.1:{}", free_port());
        let server = to_app_insights(Serve::guest("echo"), &url, &buffer).start();
        server.score("private");
        assert_eq!(server.stop().code, Some(0));
        let (mut folders, mut files) = (vec![buffer], Vec::new());
        while let Some(folder) = folders.pop() {
            let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
            assert_eq!(mode(&folder), 0o700, "{}", folder.display());
            for entry in folder.read_dir().unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    assert_eq!(mode(&path), 0o600, "{}", path.display());
                    files.push(path);
                }
            }
        }
        assert!(files.iter().any(|path| path.extension().is_some_and(|extension| extension == "batch")), "{files:?}");
    }
}

mod otlp {
    use super::*;

    /// The value of an attribute, whatever its kind.
    fn attribute<'a>(of: &'a Value, name: &str) -> &'a Value {
        let found = of["attributes"].as_array().and_then(|all| all.iter().find(|attribute| attribute["key"] == name));
        let found = found.unwrap_or_else(|| panic!("no {name} in {of:#}"));
        found["value"].as_object().and_then(|value| value.values().next()).expect("an attribute has a value")
    }

    fn posted<'a>(posts: &'a [Post], path: &'a str) -> impl Iterator<Item = &'a Post> {
        posts.iter().filter(move |post| post.path == path)
    }

    /// All spans, or all records, with the name of their scope.
    fn signals(posts: &[Post], path: &str, [resources, scopes, signals]: [&str; 3]) -> Vec<(String, Value)> {
        let mut all = Vec::new();
        for post in posted(posts, path) {
            for resource in post.json()[resources].as_array().expect("resources") {
                assert_eq!(attribute(&resource["resource"], "service.name"), "mysvc");
                for scope in resource[scopes].as_array().expect("scopes") {
                    let name = scope["scope"]["name"].as_str().unwrap_or_default();
                    all.extend(
                        scope[signals]
                            .as_array()
                            .expect("signals")
                            .iter()
                            .map(|signal| (name.to_owned(), signal.clone())),
                    );
                }
            }
        }
        all
    }

    fn to_collector(serve: Serve, watched: &Watched) -> Serve {
        serve
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", watched.sink.url())
            .env("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20hidden-token")
            .env("SERVICE_NAME", "mysvc")
            .env("SCOREBOX_TELEMETRY_BUFFER", watched.buffer.path())
    }

    fn traced(request: Request) -> Request {
        request.header("traceparent", format!("00-{TRACE}-{CALLER}-01"))
    }

    #[test]
    fn requests_are_spans_and_all_else_is_records_of_the_callers_trace() {
        let watched = Watched::new();
        let app = script(SCRIPT);
        let serve = to_collector(serve_script(&app), &watched).env("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json");
        let server = serve.start();
        assert_eq!(server.send(&traced(task("log"))).status, 200);
        assert_eq!(server.send(&traced(task("fail"))).status, 500);
        assert_eq!(server.send(&task("ok")).status, 200);
        let ended = server.stop();
        assert_eq!(ended.code, Some(0));
        assert!(!ended.stdout.contains("hidden-token") && !ended.stderr.contains("hidden-token"), "{ended:?}");
        let posts = watched.sink.posts();
        assert!(posts.iter().all(|post| post.header("content-type") == Some("application/json")), "{posts:?}");
        assert!(posts.iter().all(|post| post.header("authorization") == Some("Bearer hidden-token")));

        let spans = signals(&posts, "/v1/traces", ["resourceSpans", "scopeSpans", "spans"]);
        let span = |id: &str| {
            let found = spans.iter().find(|(_, span)| attribute(span, "azureml.request_id") == id);
            &found.unwrap_or_else(|| panic!("no {id} in {spans:#?}")).1
        };
        assert_eq!(spans.len(), 3);
        let (log, fail, ok) = (span("R-log"), span("R-fail"), span("R-ok"));
        assert_eq!((&log["name"], &log["kind"]), (&json!("POST /score"), &json!(2)));
        for span in [log, fail] {
            assert_eq!((&span["traceId"], &span["parentSpanId"]), (&json!(TRACE), &json!(CALLER)));
        }
        assert!(is_hex(&ok["traceId"], 32) && ok["traceId"] != TRACE);
        assert_ne!(log["spanId"], fail["spanId"]);
        for (name, value) in [
            ("http.request.method", "POST"),
            ("http.route", "/score"),
            ("url.path", "/score"),
            ("url.scheme", "http"),
            ("server.address", "scorebox.test"),
            ("azureml.client_request_id", "C-log"),
        ] {
            assert_eq!(attribute(log, name), value, "{name}");
        }
        let status = |span| attribute(span, "http.response.status_code").to_string().replace('"', "");
        assert_eq!((status(log), status(fail)), ("200".to_owned(), "500".to_owned()));
        assert_eq!(fail["status"]["code"], 2, "an error: {fail}");

        let records = signals(&posts, "/v1/logs", ["resourceLogs", "scopeLogs", "logRecords"]);
        let record = |text: &str| {
            let found = records.iter().find(|(_, record)| record["body"]["stringValue"] == text);
            found.unwrap_or_else(|| panic!("no {text:?} in {records:#?}"))
        };
        for (text, scope, severity) in [
            ("asked for log", "azmlinfsrv.print", "INFO"),
            ("of the print logger", "azmlinfsrv.print", "WARNING"),
            ("of the trace logger", "azmlinfsrv.trace", "ERROR"),
        ] {
            let (of, record) = record(text);
            assert_eq!((&**of, &record["severityText"]), (scope, &json!(severity)), "{text}");
            assert_eq!((&record["traceId"], &record["spanId"]), (&json!(TRACE), &log["spanId"]), "{text}");
        }
        assert!(!is_hex(&record("init ran").1["traceId"], 32), "it belongs to no trace");
        let exception = records.iter().find(|(_, record)| record["eventName"] == "exception");
        let exception = &exception.unwrap_or_else(|| panic!("no exception in {records:#?}")).1;
        assert_eq!(attribute(exception, "exception.type"), "ValueError");
        assert_eq!(attribute(exception, "exception.message"), "the model's weights are wrong");
        let stack = attribute(exception, "exception.stacktrace").as_str().unwrap();
        assert!(stack.starts_with("Traceback (most recent call last):"), "{stack}");
        assert_eq!(exception["spanId"], fail["spanId"]);
    }

    #[test]
    fn both_kinds_of_endpoint_are_told_at_the_same_time_and_the_one_does_not_wait_for_the_other() {
        let watched = Watched::new();
        let away = format!("http://127.0.0.1:{}", free_port());
        let serve =
            watched.serve(to_collector(Serve::guest("echo"), &watched)).env("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", away);
        let server = serve.start();
        server.send(&traced(Request::score("x")).header("x-request-id", "R-both"));
        assert_eq!(server.stop().code, Some(0));
        let item = watched.sink.items();
        let item = the(&item, "RequestData", "R-both");
        assert_eq!(item["tags"]["ai.operation.id"], TRACE);
        let posts = watched.sink.posts();
        let spans: Vec<_> = posted(&posts, "/v1/traces").collect();
        assert_eq!(spans.len(), 1);
        assert_eq!(spans[0].header("content-type"), Some("application/x-protobuf"));
        let trace: Vec<_> = (0..16).map(|at| u8::from_str_radix(&TRACE[2 * at..2 * at + 2], 16).unwrap()).collect();
        for part in [&trace[..], b"POST /score", b"R-both", b"mysvc"] {
            let found = spans[0].body.windows(part.len()).any(|window| window == part);
            assert!(found, "no {} in {}", part.escape_ascii(), spans[0].body.escape_ascii());
        }
        assert!(!spans[0].body.windows(KEY.len()).any(|window| window == KEY.as_bytes()));
    }

    #[test]
    fn what_the_variables_of_opentelemetry_get_wrong_ends_the_start_with_3_and_no_secret_is_shown() {
        for (name, value) in [
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "hidden-token"),
        ] {
            let serve = Serve::guest("echo").env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9").env(name, value);
            let ended = serve.refused();
            assert_eq!(ended.code, Some(3), "{name}: {ended:?}");
            assert!(ended.stderr.contains(name), "{}", ended.stderr);
            assert!(!ended.stderr.contains("hidden-token"), "{}", ended.stderr);
        }
    }

    #[test]
    fn nothing_is_exported_when_the_sdk_is_disabled() {
        let watched = Watched::new();
        let server = to_collector(Serve::guest("echo"), &watched).env("OTEL_SDK_DISABLED", "true").start();
        assert_eq!(server.score("x").status, 200);
        assert_eq!(server.stop().code, Some(0));
        assert_eq!(watched.sink.posts().len(), 0);
    }
}
