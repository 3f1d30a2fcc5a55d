//! Spans and log records as a collector gets them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use prost::Message;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use serde::de::DeserializeOwned;

use super::sink::{Received, Reply, Sink};
use super::{CALLER, ENOUGH, TRACE, config, context, request, start, start_slowly};
use crate::{Buffer, Config, Context, Exception, ExceptionKind, Level, Otlp, RequestItem, Telemetry};

const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";

/// The server with these variables besides the endpoint's.
fn with_variables(url: &str, variables: &[(&str, &str)]) -> Config {
    let get = |name: &str| match name {
        ENDPOINT => Some(url.to_owned()),
        _ => variables.iter().find(|(variable, _)| *variable == name).map(|(_, value)| (*value).to_owned()),
    };
    Config { app_insights: None, otlp: Otlp::from_env(get).unwrap(), ..config("http://127.0.0.1:9") }
}

fn decode<M: Message + Default + DeserializeOwned>(received: &Received) -> M {
    match received.headers["content-type"].as_str() {
        "application/x-protobuf" => M::decode(&received.body[..]).unwrap(),
        "application/json" => serde_json::from_slice(&received.body).unwrap(),
        other => panic!("{other}"),
    }
}

fn attributes(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    attributes.iter().map(|pair| (pair.key.clone(), text(pair.value.as_ref()))).collect()
}

fn text(value: Option<&AnyValue>) -> String {
    match value.and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::ArrayValue(list)) => {
            list.values.iter().map(|value| text(Some(value))).collect::<Vec<_>>().join(",")
        }
        other => panic!("{other:?}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

fn of_path<'a>(received: &'a [Received], path: &str) -> Vec<&'a Received> {
    received.iter().filter(|request| request.path == path).collect()
}

/// The spans, and the attributes of their resource.
fn spans(received: &[Received]) -> (Vec<Span>, BTreeMap<String, String>) {
    let mut resource = BTreeMap::new();
    let mut spans = Vec::new();
    for request in of_path(received, "/v1/traces") {
        for group in decode::<ExportTraceServiceRequest>(request).resource_spans {
            resource = attributes(&group.resource.unwrap().attributes);
            spans.extend(group.scope_spans.into_iter().flat_map(|scope| scope.spans));
        }
    }
    (spans, resource)
}

/// The records with the names of their scopes.
fn records(received: &[Received]) -> Vec<(String, LogRecord)> {
    let groups = of_path(received, "/v1/logs")
        .into_iter()
        .flat_map(|request| decode::<ExportLogsServiceRequest>(request).resource_logs)
        .flat_map(|group| group.scope_logs);
    groups
        .flat_map(|group| {
            let scope = group.scope.unwrap().name;
            group.log_records.into_iter().map(move |record| (scope.clone(), record))
        })
        .collect()
}

/// What a collector gets for what `tell` hands over.
fn received(variables: &[(&str, &str)], tell: impl FnOnce(&Telemetry)) -> Vec<Received> {
    let sink = Sink::answering(|_, _| Reply(200, "", String::new()));
    let telemetry = start(&with_variables(&sink.url(), variables));
    tell(&telemetry);
    telemetry.shutdown(ENOUGH);
    assert_eq!(telemetry.dropped(), 0);
    sink.received()
}

#[test]
fn a_request_is_a_server_span_of_the_callers_trace() {
    let json = [("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json")];
    let gzip = [("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")];
    for (variables, content_type, encoding) in [
        (&[][..], "application/x-protobuf", None),
        (&json, "application/json", None),
        (&gzip, "application/x-protobuf", Some("gzip")),
    ] {
        let context = context("R-x", "C-x");
        let received = received(variables, |telemetry| telemetry.request(&context, request("/score?x=1", 200, 3)));
        let [message] = &received[..] else { panic!("{received:?}") };
        assert_eq!(message.headers["content-type"], content_type);
        assert_eq!(message.headers.get("content-encoding").map(String::as_str), encoding);

        let (spans, resource) = spans(&received);
        let [span] = &spans[..] else { panic!("{spans:?}") };
        assert_eq!(hex(&span.trace_id), TRACE);
        assert_eq!(hex(&span.parent_span_id), CALLER);
        assert_eq!(hex(&span.span_id), context.trace.span_id());
        assert_eq!(span.trace_state, "vendor=value");
        assert_eq!((&*span.name, span.kind()), ("POST /score", SpanKind::Server));
        assert_eq!(span.start_time_unix_nano, 1_795_303_267_644_753_000);
        assert_eq!(span.end_time_unix_nano - span.start_time_unix_nano, 3_234_000);
        assert_eq!(span.status.as_ref().unwrap().code(), StatusCode::Unset);
        let expected = [
            ("azureml.client_request_id", "C-x"),
            ("azureml.request_id", "R-x"),
            ("http.request.method", "POST"),
            ("http.response.status_code", "200"),
            ("http.route", "/score"),
            ("server.address", "127.0.0.1"),
            ("server.port", "5001"),
            ("url.path", "/score"),
            ("url.query", "x=1"),
            ("url.scheme", "http"),
        ];
        let expected = BTreeMap::from(expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert_eq!(attributes(&span.attributes), expected);
        assert_eq!(resource["service.name"], "mysvc");
        assert_eq!(resource["service.instance.id"], "testhost");
        assert_eq!(resource["azureml.workspace_name"], "myws");
        assert_eq!(resource["telemetry.sdk.language"], "rust");
    }
}

#[test]
fn a_server_error_and_an_unknown_method_are_marked() {
    let received = received(&[], |telemetry| {
        telemetry.request(&context("", ""), RequestItem { method: "BREW".to_owned(), ..request("/score", 503, 1) });
        telemetry.request(&context("", ""), request("/score", 404, 1));
    });
    let (spans, _) = spans(&received);
    let own = attributes(&spans[0].attributes);
    assert_eq!(spans[0].name, "HTTP /score");
    assert_eq!((&*own["http.request.method"], &*own["http.request.method_original"]), ("_OTHER", "BREW"));
    assert_eq!(own["error.type"], "503");
    assert!(!own.contains_key("azureml.request_id"));
    assert_eq!(spans[0].status.as_ref().unwrap().code(), StatusCode::Error);
    assert_eq!(spans[1].status.as_ref().unwrap().code(), StatusCode::Unset);
    assert!(!attributes(&spans[1].attributes).contains_key("error.type"));
}

#[test]
fn a_trace_that_its_caller_does_not_record_has_no_span() {
    let mut headers = http::HeaderMap::new();
    headers.insert("traceparent", format!("00-{TRACE}-{CALLER}-00").parse().unwrap());
    let received = received(&[], |telemetry| {
        let context = Context { trace: telemetry.trace(&headers), ..context("R", "C") };
        telemetry.request(&context, request("/score", 200, 1));
        telemetry.log(Some(&context), "azmlinfsrv.print", Level::Info, "text", &[]);
    });
    assert_eq!((spans(&received).0.len(), records(&received).len()), (0, 1));
}

#[test]
fn logs_and_exceptions_are_records_of_the_request() {
    let context = context("R-x", "C-x");
    let received = received(&[], |telemetry| {
        let extra = [("k1".to_owned(), "v1".to_owned())];
        telemetry.log(Some(&context), "azmlinfsrv.print", Level::Warning, "text", &extra);
        telemetry.log(None, "azmlinfsrv.trace", Level::Critical, "", &[]);
        let exception = Exception {
            kind: ExceptionKind::Script,
            type_name: "ValueError",
            message: "boom message",
            traceback: "Traceback …",
        };
        telemetry.exception(&context, &exception);
        telemetry.model_data(&context, &["m1:1".to_owned(), "m2:7".to_owned()], "[1]", "[2]");
    });
    let mut records = records(&received);
    records.sort_by_key(|(_, record)| record.time_unix_nano);
    let shown: Vec<_> = records
        .iter()
        .map(|(scope, record)| (&**scope, &*record.severity_text, record.severity_number, text(record.body.as_ref())))
        .collect();
    assert_eq!(
        shown,
        [
            ("azmlinfsrv.print", "WARNING", 13, "text".to_owned()),
            ("azmlinfsrv.trace", "CRITICAL", 21, String::new()),
            ("scorebox", "ERROR", 17, "boom message".to_owned()),
            ("scorebox", "INFO", 9, "model_data_collection".to_owned()),
        ]
    );
    for (at, (_, record)) in records.iter().enumerate() {
        let (trace, span) =
            if at == 1 { (String::new(), String::new()) } else { (TRACE.to_owned(), context.trace.span_id()) };
        assert_eq!((hex(&record.trace_id), hex(&record.span_id)), (trace, span));
        assert_eq!(
            attributes(&record.attributes).get("azureml.request_id").map(String::as_str),
            (at != 1).then_some("R-x")
        );
    }
    assert_eq!(attributes(&records[0].1.attributes)["k1"], "v1");
    let exception = attributes(&records[2].1.attributes);
    assert_eq!(records[2].1.event_name, "exception");
    assert_eq!(exception["exception.type"], "ValueError");
    assert_eq!(exception["exception.message"], "boom message");
    assert_eq!(exception["exception.stacktrace"], "Traceback …");
    let model_data = attributes(&records[3].1.attributes);
    assert_eq!(model_data["azureml.models"], "m1:1,m2:7");
    assert_eq!((&*model_data["azureml.input"], &*model_data["azureml.prediction"]), ("[1]", "[2]"));
}

#[test]
fn records_of_many_bytes_are_sent_a_mebibyte_at_a_time() {
    let sink = Sink::answering(|_, _| Reply(200, "", String::new()));
    let telemetry = start_slowly(&with_variables(&sink.url(), &[]));
    // Together more than the 8 MiB that may wait in memory for an endpoint: only what is beyond them is dropped.
    let message = "€".repeat(32_768);
    for _ in 0..100 {
        telemetry.log(None, "azmlinfsrv.print", Level::Info, &message, &[]);
    }
    telemetry.shutdown(ENOUGH);
    let received = sink.received();
    let sent = records(&received).len();
    assert!(sent >= 80 && sent as u64 + telemetry.dropped() == 100, "{sent} are sent");
    assert_eq!(received.len(), sent / 10);
    assert!(received.iter().all(|message| message.body.len() < (1 << 20) + 1000));
}

#[test]
fn the_environment_names_the_service_and_gives_headers() {
    let variables = [
        ("OTEL_SERVICE_NAME", "named"),
        ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20secret"),
    ];
    let received = received(&variables, |telemetry| telemetry.request(&context("R", ""), request("/score", 200, 1)));
    assert_eq!(received[0].headers["authorization"], "Bearer secret");
    let (_, resource) = spans(&received);
    assert_eq!((&*resource["service.name"], &*resource["deployment.environment.name"]), ("named", "test"));
}

#[test]
fn a_collector_gets_batches_again_but_not_those_it_rejects() {
    for (status, again) in [(429, true), (502, true), (503, true), (504, true), (400, false), (500, false)] {
        let sink = Sink::answering(move |before, _| Reply(if before == 0 { status } else { 200 }, "", String::new()));
        let telemetry = start(&with_variables(&sink.url(), &[]));
        telemetry.request(&context("R", ""), request("/score", 200, 1));
        sink.wait_for(1);
        telemetry.shutdown(ENOUGH);
        let (requests, dropped) = if again { (2, 0) } else { (1, 1) };
        assert_eq!((sink.received().len(), telemetry.dropped()), (requests, dropped), "{status}");
    }
}

#[test]
fn items_that_a_collector_rejects_are_counted() {
    let partial = ExportTracePartialSuccess { rejected_spans: 2, error_message: "no".to_owned() };
    let response = ExportTraceServiceResponse { partial_success: Some(partial) };
    let bodies = [
        ("http/protobuf", String::from_utf8(response.encode_to_vec()).unwrap()),
        ("http/json", r#"{"partialSuccess":{"rejectedSpans":"2","errorMessage":"no"}}"#.to_owned()),
    ];
    for (protocol, body) in bodies {
        let sink = Sink::answering(move |_, _| Reply(200, "", body.clone()));
        let telemetry = start_slowly(&with_variables(&sink.url(), &[("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)]));
        for _ in 0..3 {
            telemetry.request(&context("R", ""), request("/score", 200, 1));
        }
        telemetry.shutdown(ENOUGH);
        assert_eq!(telemetry.dropped(), 2, "{protocol}");
    }
}

#[test]
fn what_a_collector_does_not_get_waits_on_the_disk_without_its_headers() {
    let folder = tempfile::tempdir().unwrap();
    let away = Sink::answering(|_, _| Reply(503, "", String::new()));
    let address = away.address;
    let variables =
        [("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20secret"), ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")];
    let buffer = Some(Buffer::new(folder.path()));
    let config = Config { buffer, ..with_variables(&away.url(), &variables) };
    let telemetry = start(&config);
    telemetry.request(&context("R", ""), request("/score", 200, 1));
    telemetry.log(None, "azmlinfsrv.print", Level::Info, "text", &[]);
    telemetry.shutdown(ENOUGH);
    assert_eq!(telemetry.dropped(), 0);
    for folder in ["otlp-traces", "otlp-logs"].map(|name| folder.path().join(name)) {
        for file in fs::read_dir(folder).unwrap() {
            let content = fs::read(file.unwrap().path()).unwrap();
            assert!(!content.windows(6).any(|part| part == b"secret"));
        }
    }
    drop(away);
    let sink = back(address);
    let telemetry = start(&config);
    let received = sink.wait_for(2);
    telemetry.shutdown(ENOUGH);
    assert_eq!((spans(&received).0.len(), records(&received).len()), (1, 1));
    assert!(received.iter().all(|request| request.headers["authorization"] == "Bearer secret"));
}

/// An endpoint where another was.
fn back(address: std::net::SocketAddr) -> Sink {
    let began = Instant::now();
    while std::net::TcpStream::connect(address).is_ok() && began.elapsed() < Duration::from_secs(5) {
        std::thread::sleep(Duration::from_millis(10));
    }
    Sink::at(address, |_, _| Reply(200, "", String::new()))
}

#[test]
fn application_insights_and_a_collector_both_get_everything() {
    let (insights, collector) = (Sink::new(), Sink::answering(|_, _| Reply(200, "", String::new())));
    let config = Config { otlp: with_variables(&collector.url(), &[]).otlp, ..config(&insights.url()) };
    let telemetry = start(&config);
    let context = context("R", "C");
    telemetry.request(&context, request("/score", 200, 1));
    telemetry.log(Some(&context), "azmlinfsrv.print", Level::Info, "text", &[]);
    telemetry.shutdown(ENOUGH);
    let items = insights.items();
    let received = collector.received();
    assert_eq!((items.len(), spans(&received).0.len(), records(&received).len()), (2, 1, 1));
    assert_eq!(items[0]["tags"]["ai.operation.id"], hex(&spans(&received).0[0].trace_id));
    assert_eq!(items[0]["data"]["baseData"]["id"], hex(&spans(&received).0[0].span_id));
}

/// A server's side of TLS for `localhost`, and its certificate.
fn tls() -> (ServerConfig, String) {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    (config, cert.pem())
}

#[test]
fn an_endpoint_is_trusted_by_its_certificate_only() {
    let folder = tempfile::tempdir().unwrap();
    let (tls, certificate) = tls();
    let sink = Sink::with_tls(tls);
    let url = format!("https://localhost:{}", sink.address.port());
    let path = folder.path().join("ca.pem");
    fs::write(&path, certificate).unwrap();
    for (variables, trusted) in
        [(&[("OTEL_EXPORTER_OTLP_CERTIFICATE", path.to_str().unwrap())][..], true), (&[], false)]
    {
        let telemetry = start(&with_variables(&url, variables));
        telemetry.log(None, "azmlinfsrv.print", Level::Info, "text", &[]);
        telemetry.shutdown(Duration::from_secs(2));
        assert_eq!(sink.received().len(), 1, "{variables:?}");
        assert_eq!(telemetry.dropped(), u64::from(!trusted));
    }
}

#[test]
fn certificates_that_cannot_be_read_are_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ca.pem");
    let variables = [("OTEL_EXPORTER_OTLP_CERTIFICATE", path.to_str().unwrap())];
    let start = || Telemetry::start(with_variables("http://127.0.0.1:9", &variables)).unwrap_err().to_string();
    for part in ["No such file", "no certificate"] {
        let message = start();
        assert!(message.contains("OTEL_EXPORTER_OTLP_CERTIFICATE") && message.contains(part), "{message}");
        fs::write(&path, "nothing").unwrap();
    }
}
