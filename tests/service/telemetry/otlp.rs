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
                    scope[signals].as_array().expect("signals").iter().map(|signal| (name.to_owned(), signal.clone())),
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
        ("OTEL_EXPORTER_OTLP_HEADERS", "Authorization: Basic hidden-token="),
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
