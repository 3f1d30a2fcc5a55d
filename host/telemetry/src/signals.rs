//! Items as spans and log records of OpenTelemetry, and as messages of OTLP.
//!
//! What a span and a record hold is ours, by OpenTelemetry's semantic conventions for HTTP servers and exceptions.
//! Their types, the messages, the encodings and compression are those of the crates `opentelemetry_sdk` and
//! `opentelemetry-otlp`. The exporters get an HTTP client that keeps the message rather than sending it: batches of
//! OTLP go the way of all batches, with its retries and its buffer.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{Request, Response, Uri};
use opentelemetry::logs::{AnyValue, LogRecord as _, Logger as _, LoggerProvider as _, Severity};
use opentelemetry::trace::{SpanKind, Status};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{
    Compression, LogExporter, Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _,
};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceResponse;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::logs::{LogBatch, LogExporter as _, SdkLogRecord, SdkLogger, SdkLoggerProvider};
use opentelemetry_sdk::resource::TelemetryResourceDetector;
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanExporter as _, SpanLinks};
use opentelemetry_semantic_conventions::attribute as name;
use prost::Message;

use crate::batch::{self, Batch};
use crate::client::Answer;
use crate::envelope::{self, Sender};
use crate::error::StartError;
use crate::item::{Context, Item, Kind, Level, RequestItem};
use crate::otlp::{Encoding, Otlp, Signal};
use crate::outbox::{self, Verdict};

/// The scope of what is the server's own.
const SCOPE: &str = "scorebox";

/// The ids of a request. There is no convention for them.
const REQUEST_ID: &str = "azureml.request_id";
const CLIENT_REQUEST_ID: &str = "azureml.client_request_id";

/// The resource: what the environment says, and what is known besides.
fn resource(otlp: &Otlp, sender: &Sender) -> Resource {
    let known = [
        (name::SERVICE_NAME, &*sender.service_name),
        ("service.instance.id", sender.instance()),
        ("host.name", &*sender.host),
        ("azureml.workspace_name", &*sender.workspace_name),
    ];
    let known = known.into_iter().filter(|(_, value)| !value.is_empty());
    Resource::builder_empty()
        .with_attributes(known.map(|(name, value)| KeyValue::new(name, value.to_owned())))
        .with_detector(Box::new(TelemetryResourceDetector) as Box<_>)
        .with_attributes(otlp.resource.iter().map(|(name, value)| KeyValue::new(name.clone(), value.clone())))
        .build()
}

/// Keeps what an exporter would send.
#[derive(Clone, Debug, Default)]
struct Tray(Arc<Mutex<Vec<Request<Bytes>>>>);

#[async_trait]
impl HttpClient for Tray {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(request);
        Ok(Response::new(Bytes::new()))
    }
}

impl Tray {
    /// What has been kept, as batches. An exporter sends one message for all items that it is given.
    fn take(&self, items: usize) -> Vec<Batch> {
        let requests = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        let batch = |request: Request<Bytes>| {
            let header = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
            let content_type = header(CONTENT_TYPE).unwrap_or("application/x-protobuf");
            Batch::new(items, content_type, header(CONTENT_ENCODING), request.body().clone())
        };
        requests.into_iter().map(batch).collect()
    }
}

/// Sets an exporter's builder up for a signal.
macro_rules! exporter {
    ($exporter:ident, $signal:expr, $tray:expr) => {{
        let signal: &Signal = $signal;
        let mut builder = $exporter::builder()
            .with_http()
            .with_http_client($tray.clone())
            .with_endpoint(signal.url.to_string())
            .with_timeout(signal.timeout)
            .with_protocol(match signal.encoding {
                Encoding::Protobuf => Protocol::HttpBinary,
                Encoding::Json => Protocol::HttpJson,
            });
        if signal.gzip {
            builder = builder.with_compression(Compression::Gzip);
        }
        builder.build().map_err(|error| StartError::Otlp(error.to_string()))
    }};
}

/// Makes messages of spans.
#[derive(Debug)]
pub(crate) struct Spans {
    exporter: SpanExporter,
    tray: Tray,
    scope: InstrumentationScope,
}

impl Spans {
    pub(crate) fn new(otlp: &Otlp, signal: &Signal, sender: &Sender) -> Result<Self, StartError> {
        let tray = Tray::default();
        let mut exporter = exporter!(SpanExporter, signal, tray)?;
        exporter.set_resource(&resource(otlp, sender));
        Ok(Self { exporter, tray, scope: scope(SCOPE) })
    }

    /// The requests among the items, but for those of a trace that its caller does not record.
    pub(crate) fn batches(&self, items: &[Item]) -> Vec<Batch> {
        let spans: Vec<SpanData> = items
            .iter()
            .filter_map(|item| match (&item.kind, &item.context) {
                (Kind::Request(request), Some(context)) if context.trace.is_sampled() => {
                    Some(span(request, context, self.scope.clone()))
                }
                _ => None,
            })
            .collect();
        if spans.is_empty() {
            return Vec::new();
        }
        let count = spans.len();
        // The tray takes everything.
        let _ = futures_executor::block_on(self.exporter.export(spans));
        self.tray.take(count)
    }
}

/// A log record, and the scope that has the name of its logger.
type Record = (SdkLogRecord, InstrumentationScope);

/// Makes messages of log records.
#[derive(Debug)]
pub(crate) struct Records {
    exporter: LogExporter,
    tray: Tray,
    logger: SdkLogger,
}

impl Records {
    pub(crate) fn new(otlp: &Otlp, signal: &Signal, sender: &Sender) -> Result<Self, StartError> {
        let tray = Tray::default();
        let mut exporter = exporter!(LogExporter, signal, tray)?;
        exporter.set_resource(&resource(otlp, sender));
        // Records are made by a logger; this one has nowhere to send them.
        let logger =
            SdkLoggerProvider::builder().with_resource(Resource::builder_empty().build()).build().logger(SCOPE);
        Ok(Self { exporter, tray, logger })
    }

    /// Everything among the items but the requests.
    pub(crate) fn batches(&self, items: &[Item]) -> Vec<Batch> {
        let (bytes, records): (Vec<usize>, Vec<Record>) =
            items.iter().filter_map(|item| Some((item.cost(), self.record(item)?))).unzip();
        batch::split(&bytes).into_iter().flat_map(|range| self.messages(&records[range])).collect()
    }

    fn messages(&self, records: &[Record]) -> Vec<Batch> {
        let references: Vec<_> = records.iter().map(|(record, scope)| (record, scope)).collect();
        // The tray takes everything.
        let _ = futures_executor::block_on(self.exporter.export(LogBatch::new(&references)));
        self.tray.take(records.len())
    }

    fn record(&self, item: &Item) -> Option<Record> {
        let mut record = self.logger.create_log_record();
        record.set_timestamp(item.time);
        record.set_observed_timestamp(item.time);
        let mut logger = SCOPE;
        match &item.kind {
            Kind::Request(_) => return None,
            Kind::Log { logger: name, level, message, attributes } => {
                logger = name;
                set_level(&mut record, *level);
                record.set_body(text(message));
                for (name, value) in attributes {
                    record.add_attribute(name.clone(), text(value));
                }
            }
            Kind::Exception { kind, type_name, message, traceback } => {
                set_level(&mut record, Level::Error);
                record.set_event_name("exception");
                record.set_body(text(message));
                let type_name = if type_name.is_empty() { kind.type_name() } else { type_name };
                record.add_attribute(name::EXCEPTION_TYPE, text(type_name));
                record.add_attribute(name::EXCEPTION_MESSAGE, text(message));
                if !traceback.is_empty() {
                    record.add_attribute(name::EXCEPTION_STACKTRACE, text(traceback));
                }
            }
            Kind::ModelData { models, input, prediction } => {
                set_level(&mut record, Level::Info);
                record.set_body(text(envelope::MODEL_DATA));
                let models: Vec<AnyValue> = models.iter().map(|model| text(model)).collect();
                record.add_attribute("azureml.models", AnyValue::ListAny(Box::new(models)));
                record.add_attribute("azureml.input", text(input));
                record.add_attribute("azureml.prediction", text(prediction));
            }
        }
        if let Some(context) = &item.context {
            if !context.trace.is_none() {
                let trace = &context.trace;
                record.set_trace_context(trace.id, trace.span, Some(trace.flags));
            }
            for (name, value) in ids(context) {
                record.add_attribute(name, text(value));
            }
        }
        Some((record, scope(logger)))
    }
}

fn scope(name: &str) -> InstrumentationScope {
    InstrumentationScope::builder(name.to_owned()).with_version(env!("CARGO_PKG_VERSION")).build()
}

fn text(text: &str) -> AnyValue {
    AnyValue::String(text.to_owned().into())
}

fn set_level(record: &mut SdkLogRecord, level: Level) {
    let (number, text) = match level {
        Level::Debug => (Severity::Debug, "DEBUG"),
        Level::Info => (Severity::Info, "INFO"),
        Level::Warning => (Severity::Warn, "WARNING"),
        Level::Error => (Severity::Error, "ERROR"),
        Level::Critical => (Severity::Fatal, "CRITICAL"),
    };
    record.set_severity_number(number);
    record.set_severity_text(text);
}

fn ids(context: &Context) -> impl Iterator<Item = (&'static str, &str)> {
    let ids = [(REQUEST_ID, &*context.request_id), (CLIENT_REQUEST_ID, envelope::client_request_id(context))];
    ids.into_iter().filter(|(_, id)| !id.is_empty())
}

/// A request as a server's span.
fn span(request: &RequestItem, context: &Context, instrumentation_scope: InstrumentationScope) -> SpanData {
    let trace = &context.trace;
    let method = known_method(&request.method);
    let mut attributes = vec![
        KeyValue::new(name::HTTP_REQUEST_METHOD, method.unwrap_or("_OTHER")),
        KeyValue::new(name::HTTP_ROUTE, request.route.clone()),
        KeyValue::new(name::HTTP_RESPONSE_STATUS_CODE, i64::from(request.status)),
    ];
    if method.is_none() {
        attributes.push(KeyValue::new(name::HTTP_REQUEST_METHOD_ORIGINAL, request.method.clone()));
    }
    url_attributes(&request.url, &mut attributes);
    attributes.extend(ids(context).map(|(name, id)| KeyValue::new(name, id.to_owned())));
    let is_error = request.status >= 500;
    if is_error {
        attributes.push(KeyValue::new(name::ERROR_TYPE, request.status.to_string()));
    }
    SpanData {
        span_context: trace.span_context(),
        parent_span_id: trace.parent,
        parent_span_is_remote: trace.parent != opentelemetry::SpanId::INVALID,
        span_kind: SpanKind::Server,
        name: format!("{} {}", method.unwrap_or("HTTP"), request.route).into(),
        start_time: request.start,
        end_time: end(request),
        attributes,
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: if is_error { Status::error("") } else { Status::Unset },
        instrumentation_scope,
    }
}

fn end(request: &RequestItem) -> SystemTime {
    request.start.checked_add(request.duration).unwrap_or(request.start)
}

fn known_method(method: &str) -> Option<&'static str> {
    ["GET", "POST", "HEAD", "OPTIONS", "PUT", "DELETE", "PATCH", "CONNECT", "TRACE", "QUERY"]
        .into_iter()
        .find(|known| *known == method)
}

fn url_attributes(url: &str, attributes: &mut Vec<KeyValue>) {
    let Ok(url) = url.parse::<Uri>() else {
        return;
    };
    attributes.push(KeyValue::new(name::URL_PATH, url.path().to_owned()));
    if let Some(query) = url.query() {
        attributes.push(KeyValue::new(name::URL_QUERY, query.to_owned()));
    }
    if let Some(scheme) = url.scheme_str() {
        attributes.push(KeyValue::new(name::URL_SCHEME, scheme.to_owned()));
    }
    if let Some(host) = url.host() {
        attributes.push(KeyValue::new(name::SERVER_ADDRESS, host.to_owned()));
    }
    if let Some(port) = url.port_u16() {
        attributes.push(KeyValue::new(name::SERVER_PORT, i64::from(port)));
    }
}

/// What a collector's answers mean.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Collector {
    pub(crate) encoding: Encoding,
    /// Whether it is asked to take spans rather than records.
    pub(crate) spans: bool,
}

impl outbox::Protocol for Collector {
    /// The specification of OTLP has a collector take 500 for a failure that stays.
    fn verdict(&self, answer: &Answer) -> Verdict {
        match answer.status.as_u16() {
            200..=299 => Verdict::Taken { refused: self.rejected(&answer.body) },
            429 | 502 | 503 | 504 => Verdict::Later,
            _ => Verdict::Refused,
        }
    }
}

impl Collector {
    /// How many items a collector that took the others rejects.
    fn rejected(self, body: &[u8]) -> usize {
        let rejected = match self.encoding {
            Encoding::Json => serde_json::from_slice(body).map_or(0, |response| self.rejected_json(&response)),
            Encoding::Protobuf if self.spans => ExportTraceServiceResponse::decode(body)
                .ok()
                .and_then(|response| response.partial_success)
                .map_or(0, |partial| partial.rejected_spans),
            Encoding::Protobuf => ExportLogsServiceResponse::decode(body)
                .ok()
                .and_then(|response| response.partial_success)
                .map_or(0, |partial| partial.rejected_log_records),
        };
        usize::try_from(rejected).unwrap_or_default()
    }

    /// In JSON the number is a text, which the crate's types do not read.
    fn rejected_json(self, response: &serde_json::Value) -> i64 {
        let field = if self.spans { "rejectedSpans" } else { "rejectedLogRecords" };
        let rejected = &response["partialSuccess"][field];
        rejected.as_i64().or_else(|| rejected.as_str()?.parse().ok()).unwrap_or_default()
    }
}
