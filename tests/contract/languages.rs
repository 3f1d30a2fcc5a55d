//! The contract does not depend on the language of the scorer: a guest in Rust and a script in Python that do the same are
//! asked the same, and are to answer, and to be logged, as the contract has it.

use scorebox_tests::server::Server;
use scorebox_tests::{Request, Response, Serve, python};
use serde_json::{Value, json};
use uuid::Uuid;

const REQUEST: &str = "x-request-id";
const LEGACY: &str = "x-ms-request-id";
const CLIENT: &str = "x-ms-client-request-id";
const FAILED: &str = "x-ms-run-function-failed";
const TOOK: &str = "x-ms-run-fn-exec-ms";

const SCRIPT: &str = "An unexpected error occurred in scoring script. Check the logs for more info.";
/// What both are sent: `"said"` comes back.
const TEXT: &str = r#"{"text": "A-1"}"#;

/// The two scorers that say what they are told to: with their names.
fn says() -> [(&'static str, Serve); 2] {
    [("Rust", Serve::guest("says")), ("Python", python::serve_source("languages/says.py"))]
}

/// The two scorers that answer piece by piece.
fn streams() -> [(&'static str, Serve); 2] {
    [("Rust", Serve::guest("streams")), ("Python", python::serve_source("languages/streams.py"))]
}

/// One request on each route of the contract, with each of its methods.
fn routes() -> Vec<Request> {
    let routes = [("GET", "/"), ("HEAD", "/"), ("OPTIONS", "/"), ("GET", "/score?text=a"), ("HEAD", "/score")];
    let more = [("OPTIONS", "/score"), ("GET", "/swagger.json"), ("GET", "/swagger.json?version=9")];
    let without_body = routes.into_iter().chain(more).map(|(method, target)| Request::new(method, target));
    without_body.chain([Request::json(TEXT), Request::json(r#"{"text": "a", "fail": true}"#)]).collect()
}

fn with(request: Request, headers: &[(&str, &str)]) -> Request {
    headers.iter().fold(request, |request, (name, value)| request.header(name, value))
}

fn ids(response: &Response) -> [Option<&str>; 3] {
    [response.header(REQUEST), response.header(LEGACY), response.header(CLIENT)]
}

#[test]
fn ids_are_made_and_echoed_as_the_table_says() {
    for (language, serve) in says() {
        let server = serve.start();
        for (sent, expected) in [
            (&[][..], [Some("G"), Some("G"), None]),
            (&[(REQUEST, "A")], [Some("A"), Some("A"), None]),
            (&[(LEGACY, "B")], [Some("G"), Some("B"), Some("B")]),
            (&[(CLIENT, "C")], [Some("G"), Some("C"), Some("C")]),
            (&[(REQUEST, "A"), (LEGACY, "B")], [Some("A"), Some("B"), Some("B")]),
            (&[(LEGACY, "B"), (CLIENT, "C")], [Some("G"), Some("B"), Some("C")]),
            (&[(REQUEST, "A"), (CLIENT, "C")], [Some("A"), Some("C"), Some("C")]),
            (&[(REQUEST, "A"), (LEGACY, "B"), (CLIENT, "C")], [Some("A"), Some("B"), Some("C")]),
            (&[(REQUEST, "")], [None, None, None]),
            (&[(REQUEST, "A"), (CLIENT, "")], [Some("A"), Some("A"), None]),
        ] {
            for request in routes() {
                let response = server.send(&with(request.clone(), sent));
                let fresh = response.header(REQUEST);
                if expected[0] == Some("G") {
                    let uuid = fresh.and_then(|id| Uuid::parse_str(id).ok()).map(|id| id.to_string());
                    assert!(uuid.is_some() && uuid.as_deref() == fresh, "{language}: {fresh:?}");
                }
                let expected = expected.map(|id| if id == Some("G") { fresh } else { id });
                assert_eq!(ids(&response), expected, "{language}: {sent:?} {request:?}");
            }
        }
        server.logged(" W [");
        server.logged("azmlinfsrv - x-ms-request-id header has been deprecated and will be removed");
    }
}

#[test]
fn an_id_that_is_too_long_is_refused_before_the_scorer_is_asked() {
    let long = "i".repeat(101);
    for (language, serve) in says() {
        let server = serve.start();
        for request in routes() {
            let refused = server.send(&with(request.clone(), &[(CLIENT, &long), ("TraceId", "t")]));
            assert_eq!((refused.status, refused.header(FAILED)), (431, Some("False")), "{language}: {request:?}");
            assert!(refused.header(REQUEST).is_some() && refused.header("traceid") == Some("t"));
            assert_eq!((refused.header(LEGACY), refused.header(CLIENT)), (None, None), "{language}: {request:?}");
        }
        assert!(!server.log().iter().any(|line| line.contains("printed A-1")), "{language}");
    }
}

#[test]
fn the_trace_id_is_echoed() {
    for (language, serve) in says() {
        let server = serve.start();
        for request in routes() {
            for value in ["", "trace-1"] {
                let response = server.send(&request.clone().header("tRaCeId", value));
                assert_eq!(response.header("traceid"), Some(value), "{language}: {request:?}");
            }
            assert_eq!(server.send(&request).header("traceid"), None, "{language}: {request:?}");
        }
    }
}

#[test]
fn origins_are_allowed_and_refused() {
    const ALLOW: &str = "access-control-allow-origin";
    for (language, serve) in says() {
        let server = serve.args("--access_control_allow_origins https://b.com,https://a.com").start();
        for request in routes() {
            let ask = |origin: &str| server.send(&request.clone().header("origin", origin));
            let allowed = ask("https://b.com");
            assert_eq!((allowed.header(ALLOW), allowed.header("vary")), (Some("https://b.com"), Some("Origin")));
            assert_eq!(ask("https://evil.com").header(ALLOW), None, "{language}: {request:?}");
            assert_eq!(server.send(&request).header(ALLOW), Some("https://a.com"), "{language}: {request:?}");
        }
        let preflight = Request::new("OPTIONS", "/score").header("origin", "https://a.com");
        let preflight = preflight.header("access-control-request-method", "POST");
        let preflight = server.send(&preflight.header("access-control-request-headers", "x-foo,content-type"));
        assert_eq!((preflight.status, preflight.text()), (200, ""), "{language}");
        assert_eq!(preflight.header("access-control-allow-methods"), Some("GET, POST"), "{language}");
        assert_eq!(preflight.header("access-control-allow-headers"), Some("content-type, x-foo"), "{language}");
    }
}

#[test]
fn results_and_failures_have_the_statuses_texts_and_headers_of_the_contract() {
    for (language, serve) in says() {
        let server = serve.args("--timeout 500ms").start();
        let json = "application/json";
        let missing = "A value is not provided for the 'text' parameter.";
        for (request, status, message, failed, took) in [
            (Request::json(TEXT), 200, None, Some("False"), true),
            (Request::get("/score?text=A-1"), 200, None, Some("False"), true),
            (Request::json("\u{feff}{\"text\": \"A-1\", \"more\": 1}"), 200, None, Some("False"), true),
            (Request::score(TEXT).header("content-type", "application/x+JSON; a=b"), 200, None, Some("False"), true),
            (Request::json("{}"), 400, Some(missing), Some("False"), false),
            (Request::get("/score"), 400, Some(missing), Some("False"), false),
            (Request::json(""), 400, Some("POST body is empty. Expecting a JSON dictionary."), Some("False"), false),
            (Request::json("[1]"), 400, Some("POST body should be a JSON dictionary."), Some("False"), false),
            (Request::score(TEXT), 415, Some("Expects Content-Type to be application/json"), Some("False"), false),
            (Request::json(r#"{"text": "a", "fail": true}"#), 500, Some(SCRIPT), Some("True"), false),
            (
                Request::json(r#"{"text": "a", "spin": true}"#),
                500,
                Some("Scoring timeout after 500 ms"),
                Some("True"),
                false,
            ),
        ] {
            let response = server.send(&request);
            assert_eq!(response.status, status, "{language}: {request:?} {response:?}");
            match message {
                Some(message) => response.assert_error(status, message),
                None => assert_eq!(response.json(), json!({"said": "A-1"}), "{language}: {request:?}"),
            }
            assert_eq!(response.header("content-type"), Some(json), "{language}: {request:?}");
            assert_eq!(response.header(FAILED), failed, "{language}: {request:?}");
            assert_eq!(response.header(TOOK).is_some(), took, "{language}: {request:?}");
            assert_eq!(response.header("x-ms-server-version"), Some("azmlinfsrv/1.5.1"), "{language}: {request:?}");
        }
        // What is no JSON is refused with the parser's words, which are each language's own.
        let response = server.score("{\"text\"");
        let text = response.json()["message"].as_str().map(str::to_owned).expect("a message");
        assert_eq!((response.status, response.header(FAILED)), (400, Some("False")), "{language}");
        assert!(text.starts_with("POST body could not be decoded as JSON: "), "{language}: {text}");
    }
}

#[test]
fn the_swagger_documents_differ_in_the_schemas_only() {
    let servers = says().map(|(_, serve)| serve.env("SERVICE_NAME", "says").env("SERVICE_VERSION", "3").start());
    for (version, schemas) in [("2", "/definitions"), ("3", "/components/schemas"), ("3.1", "/components/schemas")] {
        let [rust, python] = servers.each_ref().map(|server| {
            let mut document = server.get(&format!("/swagger.json?version={version}")).json();
            let schemas = document.pointer_mut(schemas).and_then(Value::as_object_mut).expect("schemas");
            for (schema, parameter) in [("ServiceInput", "text"), ("ServiceOutput", "said")] {
                let schema = schemas.remove(schema).expect("a schema");
                assert_eq!(schema["properties"][parameter]["type"], "string", "{schema}");
            }
            document
        });
        assert_eq!(rust, python, "version {version}");
    }
    let [rust, python] = servers.each_ref().map(|server| {
        let response = server.get("/swagger.json?version=4");
        (response.status, response.header(FAILED).map(str::to_owned), response.text().to_owned())
    });
    assert_eq!(rust, python);
}

/// The records of the log from the first that has this text, without what differs from run to run: time, process, duration
/// and length.
fn records_from(server: &Server, text: &str) -> Vec<String> {
    let lines = server.log();
    let first = lines.iter().position(|line| line.contains(text)).expect("a line with the text");
    let records = lines[first..].iter().map(|line| {
        let (head, message) = line.split_once(" - ").expect("a record");
        let [_, _, level, _, logger] = head.split(' ').collect::<Vec<_>>()[..] else { panic!("no record: {line}") };
        let mut words: Vec<_> = message.split(' ').collect();
        match (logger, &mut words[..]) {
            ("gunicorn.access", [_, _, _, date, _, .., length, _, _]) => (*date, *length) = ("[DATE", "LENGTH"),
            ("azmlinfsrv", [.., time, length]) if time.ends_with("ms") => (*time, *length) = ("TIME", "LENGTH"),
            _ => {}
        }
        format!("{level} {logger} - {}", words.join(" "))
    });
    records.collect()
}

#[test]
fn lines_of_requests_and_what_scorers_say_are_in_the_log_with_the_same_loggers_and_levels() {
    let logs = says().map(|(language, serve)| {
        // A variable that no run before had: what is not in the cache runs `init`.
        let server = serve.arg("--env").arg(format!("RUN={}", Uuid::new_v4())).start();
        for text in ["printed in init()", "logged in init()"] {
            let line = server.logged(text);
            let logger = if text.starts_with("printed") { "azmlinfsrv.print" } else { "azmlinfsrv.model" };
            assert!(line.contains(&format!(" {logger} - ")) && line.contains(" I ["), "{language}: {line}");
        }
        // It serves before it has said so.
        server.logged("ready for serving traffic");
        server.send(&Request::get("/score?text=begin"));
        server.send(&Request::json(TEXT).header("user-agent", "test").header("referer", "there"));
        server.send(&Request::get("/swagger.json?version=9"));
        server.send(&Request::new("OPTIONS", "/score"));
        server.send(&Request::new("HEAD", "/score"));
        server.send(&Request::json("{}"));
        server.get("/");
        server.get("/nothing");
        server.send(&Request::get("/score?text=end&x=%20"));
        server.logged("GET /score?text=end&x=%20 HTTP/1.1");
        records_from(&server, "printed begin")
    });
    let expected = [
        "I azmlinfsrv.print - printed begin",
        "I azmlinfsrv - logged begin",
        "W azmlinfsrv.model - warned begin",
        "E azmlinfsrv.model.deeper - an error begin",
        "I azmlinfsrv - GET /score?text=begin 200 TIME LENGTH",
        "I gunicorn.access - 127.0.0.1 - - [DATE +0000] \"GET /score?text=begin HTTP/1.1\" 200 LENGTH \"-\" \"-\"",
        "I azmlinfsrv.print - printed A-1",
        "I azmlinfsrv - logged A-1",
        "W azmlinfsrv.model - warned A-1",
        "E azmlinfsrv.model.deeper - an error A-1",
        "I azmlinfsrv - POST /score 200 TIME LENGTH",
        "I gunicorn.access - 127.0.0.1 - - [DATE +0000] \"POST /score HTTP/1.1\" 200 LENGTH \"there\" \"test\"",
    ];
    let [rust, python] = logs;
    assert_eq!(rust, python);
    assert_eq!(rust[..expected.len()], expected);
}

#[test]
fn records_of_scorers_have_the_id_of_their_request_in_json() {
    for (language, serve) in says() {
        let server = serve.args("--log-format json").start();
        for id in ["id-one", "id-two"] {
            let request = Request::json(json!({"text": id}).to_string()).header(REQUEST, id).header(CLIENT, "C");
            assert_eq!(server.send(&request).status, 200);
        }
        for id in ["id-one", "id-two"] {
            for (text, logger, own_logger, level) in [
                ("printed", "azmlinfsrv.print", None, "INFO"),
                ("logged", "azmlinfsrv.scorer", Some("azmlinfsrv"), "INFO"),
                ("warned", "azmlinfsrv.scorer", Some("azmlinfsrv.model"), "WARNING"),
                ("an error", "azmlinfsrv.scorer", Some("azmlinfsrv.model.deeper"), "ERROR"),
            ] {
                let line = server.logged(&format!("\"{text} {id}\""));
                let record: Value = serde_json::from_str(&line).expect("a record is JSON");
                for (name, value) in
                    [("logger", logger), ("level", level), ("request_id", id), ("client_request_id", "C")]
                {
                    assert_eq!(record[name], value, "{language}: {record}");
                }
                if let Some(own_logger) = own_logger {
                    assert_eq!(record["scorer_logger"], own_logger, "{language}: {record}");
                }
            }
        }
    }
}

#[test]
fn streams_are_sent_piece_by_piece_with_ids_and_cross_origin_headers_and_end_or_are_cut() {
    for (language, serve) in streams() {
        let server = serve.args("--access_control_allow_origins * --timeout 2s").start();
        let ask = |wanted: &Value| {
            let mut client = server.connect();
            let request = Request::json(wanted.to_string()).header(REQUEST, "A").header("traceid", "t");
            client.write(&request.header("origin", "https://a.com").to_bytes()).expect("the server listens");
            let head = client.read_head().unwrap_or_else(|error| panic!("{error}; {}", server.process().said()));
            assert_eq!(head.header("transfer-encoding"), Some("chunked"), "{language}: {head:?}");
            assert_eq!(ids(&head), [Some("A"), Some("A"), None], "{language}");
            assert_eq!(head.header("access-control-allow-origin"), Some("https://a.com"), "{language}");
            assert_eq!((head.header("traceid"), head.header("x-own")), (Some("t"), Some("v")), "{language}");
            assert!(head.header(TOOK).is_some() && head.header("x-ms-server-version").is_some(), "{language}");
            (client, head)
        };
        let wanted = |status: u16, end: &str| json!({"status": status, "headers": [["x-own", "v"], [LEGACY, "forged"]], "pieces": ["a", "b"], "end": end});
        let whole = |language: &str, client: &mut scorebox_tests::Client| {
            for piece in ["a", "b", ""] {
                assert_eq!(client.read_chunk().expect("a piece"), piece.as_bytes(), "{language}");
            }
        };
        let (mut client, head) = ask(&wanted(206, "well"));
        assert_eq!((head.status, head.header(FAILED)), (206, None), "{language}");
        whole(language, &mut client);
        let (mut client, head) = ask(&wanted(503, "well"));
        assert_eq!((head.status, head.header(FAILED)), (503, Some("True")), "{language}");
        whole(language, &mut client);
        for (end, reason) in [("error", "no more pieces"), ("spin", "run() was stopped: Scoring timeout after 2000 ms")]
        {
            let (mut client, head) = ask(&wanted(200, end));
            assert_eq!(head.status, 200, "{language}");
            assert_eq!(client.read_to_end().expect("an end"), b"1\r\na\r\n1\r\nb\r\n", "{language}: it is cut");
            server.logged(reason);
        }
        assert!(server.logged(" azmlinfsrv - POST /score 206 ").ends_with("ms N/A"), "{language}");
        assert!(server.logged("sends \"a\"").contains(" I ["), "{language}");
    }
}
