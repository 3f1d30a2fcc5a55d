//! Items as Application Insights gets them, compared with those that Azure ML's inference server 1.5.1 sent.
//!
//! `recorded.json` has what it sent, with times, ids, paths and names of machines replaced. Each test says in what an
//! item differs from the recorded one; in all else, and in which fields it has, it is the same.

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::sink::Sink;
use super::{CALLER, ENOUGH, TRACE, config, context, request, start};
use crate::{Context, Exception, ExceptionKind, Level, RequestItem, Telemetry};

const FIXTURES: &str = include_str!("recorded.json");
const ZEROS: &str = "00000000000000000000000000000000";

fn recorded(name: &str) -> Value {
    let mut items: Map<String, Value> = serde_json::from_str(FIXTURES).unwrap();
    items.remove(name).unwrap()
}

/// What is sent for what `tell` hands over: one item.
fn sent(tell: impl FnOnce(&Telemetry)) -> Value {
    let sink = Sink::new();
    let telemetry = start(&config(&sink.url()));
    tell(&telemetry);
    telemetry.shutdown(ENOUGH);
    assert_eq!(telemetry.dropped(), 0);
    let [received] = &sink.received()[..] else { panic!("more than one request") };
    assert_eq!(received.path, "/v2.1/track");
    assert_eq!(received.headers["content-type"], "application/json");
    assert!(!received.headers.contains_key("content-encoding"));
    let [item] = &received.items()[..] else { panic!("more than one item") };
    item.clone()
}

/// Replaces what differs from one run to the next, and checks its form.
fn normalised(mut item: Value) -> Value {
    let host = gethostname::gethostname().to_string_lossy().into_owned();
    assert_eq!(item["tags"]["ai.device.id"], host);
    assert_eq!(item["tags"]["ai.internal.nodeName"], host);
    assert_eq!(item["tags"]["ai.cloud.roleInstance"], "testhost");
    for name in ["ai.device.id", "ai.internal.nodeName", "ai.cloud.roleInstance"] {
        item["tags"][name] = json!("<host>");
    }
    let version = item["tags"]["ai.internal.sdkVersion"].as_str().unwrap();
    assert!(version.starts_with("scorebox:"), "{version}");
    item["tags"]["ai.internal.sdkVersion"] = json!("<sdk>");
    assert_time(&item["time"]);
    item["time"] = json!("<time>");
    let properties = item["data"]["baseData"]["properties"].as_object_mut().unwrap();
    for (name, value) in properties {
        if name == "start_time" {
            assert_time(value);
            *value = json!("<time>");
        } else if name.starts_with("code.") {
            *value = json!("<source>");
        }
    }
    item
}

/// `2026-11-21T23:21:07.644753Z`
fn assert_time(time: &Value) {
    let digits = time.as_str().unwrap().replace(|character: char| character.is_ascii_digit(), "0");
    assert_eq!(digits, "0000-00-00T00:00:00.000000Z");
}

/// Checks that what is sent is what was recorded but for the differences, by JSON pointer: other values, or more
/// fields.
fn check(name: &str, item: Value, differences: &[(impl AsRef<str>, Value)]) {
    let mut expected = recorded(name);
    for (pointer, value) in differences {
        let (parent, field) = pointer.as_ref().rsplit_once('/').unwrap();
        expected.pointer_mut(parent).unwrap()[field] = value.clone();
    }
    let item = normalised(item);
    let pretty = |value: &Value| serde_json::to_string_pretty(value).unwrap();
    assert!(item == expected, "{name}: sent\n{}\ninstead of\n{}", pretty(&item), pretty(&expected));
}

/// What is as recorded.
const NOTHING: &[(&str, Value)] = &[];

const OPERATION: &str = "/tags/ai.operation.id";
const PARENT: &str = "/tags/ai.operation.parentId";

fn properties(name: &str) -> String {
    format!("/data/baseData/properties/{name}")
}

#[test]
fn a_print_is_sent_as_recorded() {
    for (name, text) in [("print", "user run log"), ("print_of_lines", "multi\nline 5 {'a': 1}")] {
        let item = sent(|telemetry| telemetry.log(None, "azmlinfsrv.print", Level::Info, text, &[]));
        check(name, item, NOTHING);
        assert_eq!(recorded(name)["tags"]["ai.operation.id"], ZEROS);
    }
}

#[test]
fn a_log_record_has_its_level_and_attributes() {
    let attributes = [("k1".to_owned(), "v1".to_owned()), ("n".to_owned(), "5".to_owned())];
    let item = sent(|telemetry| {
        telemetry.log(None, "azmlinfsrv.print", Level::Warning, "print logger warning", &attributes);
    });
    check("warning_with_attributes", item, NOTHING);
    let item = sent(|telemetry| telemetry.log(None, "azmlinfsrv.trace", Level::Error, "trace logger error", &[]));
    check("trace_error", item, NOTHING);
    for (level, number) in [(Level::Debug, "0"), (Level::Critical, "4")] {
        let item = sent(|telemetry| telemetry.log(None, "azmlinfsrv.print", level, "text", &[]));
        assert_eq!(item["data"]["baseData"]["severityLevel"], number);
    }
    let item = sent(|telemetry| telemetry.log(None, "azmlinfsrv.print", Level::Info, "", &[]));
    assert_eq!(item["data"]["baseData"]["message"], "n/a");
}

#[test]
fn a_log_record_of_a_request_belongs_to_it() {
    let context = context("R-log", "C-log");
    let item = sent(|telemetry| {
        // What a scorer cannot do: speak for another request, or write tags.
        let attributes =
            ["Request Id", "ai.operation.id", "ai.cloud.role"].map(|name| (name.to_owned(), "mine".to_owned()));
        telemetry.log(Some(&context), "azmlinfsrv.print", Level::Info, "user run log", &attributes);
    });
    let differences = [
        (OPERATION.to_owned(), json!(TRACE)),
        (PARENT.to_owned(), json!(context.trace.span_id())),
        (properties("Container Id"), json!("testhost")),
        (properties("Request Id"), json!("R-log")),
        (properties("Client Request Id"), json!("C-log")),
        (properties("ai.operation.id"), json!("mine")),
        (properties("ai.cloud.role"), json!("mine")),
    ];
    check("print", item, &differences);
}

#[test]
fn a_source_that_the_scorer_names_is_kept() {
    let attributes = [("code.line.number".to_owned(), "21".to_owned())];
    let item = sent(|telemetry| telemetry.log(None, "azmlinfsrv.print", Level::Info, "text", &attributes));
    let properties = &item["data"]["baseData"]["properties"];
    assert_eq!(properties["code.line.number"], "21");
    assert_eq!(properties["code.function.name"], "log");
}

/// What every exception and every model data item has besides what was recorded.
fn dimensions(context: &Context) -> Vec<(String, Value)> {
    let mut differences = vec![
        (properties("Container Id"), json!("testhost")),
        (properties("Request Id"), json!(context.request_id)),
        (properties("Client Request Id"), json!(context.client_request_id.as_deref().unwrap_or_default())),
    ];
    if !context.trace.is_none() {
        differences.push((OPERATION.to_owned(), json!(TRACE)));
        differences.push((PARENT.to_owned(), json!(context.trace.span_id())));
    }
    differences
}

#[test]
fn an_exception_has_the_scorers_own_text() {
    let timeout = "Script failed to finish execution within the allocated time: 300ms";
    for (name, kind, type_name, message, expected, context) in [
        (
            "exception",
            ExceptionKind::Script,
            "ValueError",
            "boom message",
            "ValueError: boom message",
            context("R-boom", "C-boom"),
        ),
        ("timeout", ExceptionKind::Timeout, "UserScriptTimeout", timeout, timeout, context("R-sleep", "C-sleep")),
        (
            "init_exception",
            ExceptionKind::Init,
            "RuntimeError",
            "init failed",
            "RuntimeError: init failed",
            Context::init(),
        ),
    ] {
        let traceback = recorded(name)["data"]["baseData"]["exceptions"][0]["stack"].as_str().unwrap().to_owned();
        let item = sent(|telemetry| {
            telemetry.exception(&context, &Exception { kind, type_name, message, traceback: &traceback });
        });
        let mut differences = dimensions(&context);
        differences.push(("/data/baseData/exceptions/0/message".to_owned(), json!(expected)));
        check(name, item, &differences);
    }
}

#[test]
fn an_exception_without_a_traceback_says_so() {
    let exception = Exception { kind: ExceptionKind::Script, type_name: "", message: "it failed", traceback: "" };
    let item = sent(|telemetry| telemetry.exception(&context("R", ""), &exception));
    let details = &item["data"]["baseData"]["exceptions"][0];
    assert_eq!(
        *details,
        json!({"typeName": "UserScriptException", "message": "it failed", "hasFullStack": false, "stack": "None"})
    );
}

#[test]
fn model_data_is_sent_as_recorded_and_as_properties() {
    let context = context("R-x", "C-x");
    let models = ["m2:7", "m1:2", "m1:1"].map(str::to_owned);
    let (input, prediction) = (r#""{\"op\": \"x\"}""#, r#"{"ok": "x"}"#);
    let item = sent(|telemetry| telemetry.model_data(&context, &models, input, prediction));
    let mut differences = dimensions(&context);
    differences.extend([
        (properties("Workspace Name"), json!("myws")),
        (properties("Service Name"), json!("mysvc")),
        (properties("Models"), json!(r#"["m2:7","m1:2","m1:1"]"#)),
        (properties("Input"), json!(input)),
        (properties("Prediction"), json!(prediction)),
    ]);
    check("model_data", item, &differences);
}

#[test]
fn a_request_has_the_recorded_properties_and_true_columns() {
    let body =
        |name: &str| recorded(name)["data"]["baseData"]["properties"]["Response Value"].as_str().map(str::to_owned);
    for (name, method, path, status, milliseconds, ids) in [
        ("request", "POST", "/score", 200, 0, ("R-x", "C-x")),
        ("request_failed", "POST", "/score", 500, 3, ("R-boom", "C-boom")),
        ("request_timeout", "POST", "/score", 500, 303, ("R-sleep", "C-sleep")),
        ("request_id_too_long", "GET", "/score", 431, 0, ("", "")),
        ("request_options", "OPTIONS", "/score", 200, 0, ("<request>", "")),
        ("request_swagger", "GET", "/swagger.json?version=9", 404, 0, ("<request>", "")),
        ("request_streamed", "POST", "/score", 200, 0, ("R-stream", "C-stream")),
        ("request_binary", "POST", "/score", 200, 0, ("R-bytes", "C-bytes")),
        ("request_without_response", "POST", "/score", 200, 0, ("R-x", "C-x")),
    ] {
        let context = context(ids.0, ids.1);
        let response = match name {
            "request_binary" => Some(Bytes::from_static(b"xd8\xe1\xb7\xeb")),
            _ => body(name).map(Bytes::from),
        };
        let item = RequestItem { method: method.to_owned(), response, ..request(path, status, milliseconds) };
        let url = item.url.clone();
        let item = sent(|telemetry| telemetry.request(&context, item));
        let differences = [
            (OPERATION, json!(TRACE)),
            (PARENT, json!(CALLER)),
            ("/data/baseData/id", json!(context.trace.span_id())),
            ("/data/baseData/url", json!(url)),
            ("/data/baseData/responseCode", json!(status.to_string())),
            ("/data/baseData/success", json!(status < 400)),
            ("/data/baseData/duration", json!(format!("0.00:00:00.{milliseconds:03}234"))),
        ];
        check(name, item, &differences);
    }
}

#[test]
fn a_request_that_starts_a_trace_has_no_parent() {
    let sink = Sink::new();
    let telemetry = start(&config(&sink.url()));
    let trace = telemetry.trace(&http::HeaderMap::new());
    let context = Context { trace: trace.clone(), request_id: "R".to_owned(), client_request_id: None };
    telemetry.request(&context, request("/score", 200, 1));
    telemetry.shutdown(ENOUGH);
    let item = &sink.items()[0];
    assert_eq!(item["tags"]["ai.operation.id"], trace.trace_id());
    assert!(item["tags"].get("ai.operation.parentId").is_none());
    assert_eq!(item["time"], "2026-11-21T23:21:07.644753Z");
}

#[test]
fn a_long_request_counts_its_days() {
    let item = RequestItem { duration: Duration::from_secs(90_061), ..request("/score", 200, 0) };
    let item = sent(|telemetry| telemetry.request(&context("R", ""), item));
    assert_eq!(item["data"]["baseData"]["duration"], "1.01:01:01.000000");
    assert_eq!(item["data"]["baseData"]["properties"]["duration"], "25:01:01.000");
}

#[test]
fn texts_are_cut_to_the_limits_of_the_service() {
    let long = "ä".repeat(70_000);
    let length = |value: &Value| value.as_str().unwrap().encode_utf16().count();
    let context = context(&long, &long);

    let attributes = [(long.clone(), long.clone())];
    let item =
        sent(|telemetry| telemetry.log(None, "azmlinfsrv.print", Level::Info, &"x".repeat(40_000), &attributes[..0]));
    assert_eq!(length(&item["data"]["baseData"]["message"]), 32_768);
    let item = sent(|telemetry| telemetry.log(None, "azmlinfsrv.print", Level::Info, "short", &attributes));
    let properties = item["data"]["baseData"]["properties"].as_object().unwrap();
    let (name, value) = properties.iter().find(|(name, _)| name.starts_with('ä')).unwrap();
    assert_eq!((name.encode_utf16().count(), length(value)), (150, 8_192));

    let body = Bytes::from(long.clone());
    let item = RequestItem { response: Some(body), ..request(&format!("/{long}?{long}"), 200, 1) };
    let item = sent(|telemetry| telemetry.request(&context, item));
    let data = &item["data"]["baseData"];
    assert_eq!(length(&data["name"]), 1_024);
    assert_eq!(length(&data["url"]), 2_048);
    assert!(item.to_string().len() <= 65_536);
    assert!(data["properties"]["Response Value"].as_str().unwrap().starts_with('ä'));

    let exception = Exception { kind: ExceptionKind::Script, type_name: &long, message: &long, traceback: &long };
    let item = sent(|telemetry| telemetry.exception(&context, &exception));
    assert!(item.to_string().len() <= 65_536, "the item as a whole has a limit, too");
    assert!(length(&item["data"]["baseData"]["exceptions"][0]["stack"]) >= 8_192);
    let item = sent(|telemetry| telemetry.model_data(&context, &vec![long.clone(); 300], &long, &long));
    assert!(item.to_string().len() <= 65_536);
}
