//! Items in the form of Application Insights.
//!
//! These envelopes are ours. The crate `opentelemetry-application-insights` (0.46) was weighed against what Azure ML's
//! inference server 1.5.1 sends, and cannot carry it: it writes no `ver` in the envelope, no `sampleRate` on logs, no
//! `hasFullStack` and no `measurements`; it posts to `/v2/track` only; it takes every attribute named `ai.*` for a tag,
//! so that a scorer's log record could write the role and the operation; it copies the resource and all attributes of
//! HTTP into a request's properties; and it cuts texts at a byte, which panics within a character.
//!
//! Field names and limits are those of the schema of the envelopes; property names are the server's. Where that server
//! sends what is wrong, the documented column has the right value and the property stays: see [`request`].

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use serde::Serialize;
use serde::ser::SerializeMap as _;
use time::OffsetDateTime;

use crate::item::{Context, ExceptionKind, Item, Kind, Level, RequestItem};
use crate::limit;
use crate::python::Dictionary;

/// What stands for a response that is not UTF-8, quotes included.
const BINARY_RESPONSE: &str = "\"Scoring request response payload is a non serializable object or raw binary\"";

/// The message under which model data is found.
pub(crate) const MODEL_DATA: &str = "model_data_collection";

/// Who sends, as far as items say it.
#[derive(Debug)]
pub(crate) struct Sender {
    pub(crate) key: String,
    pub(crate) host: String,
    pub(crate) service_name: String,
    pub(crate) workspace_name: String,
    pub(crate) container_id: String,
}

impl Sender {
    /// The container, or the machine when the container has no name.
    pub(crate) fn instance(&self) -> &str {
        match self.container_id.as_str() {
            "" | "Unknown" => &self.host,
            id => id,
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Envelope<'a> {
    ver: u8,
    name: &'static str,
    time: String,
    sample_rate: f64,
    i_key: &'a str,
    tags: Tags<'a>,
    data: Data<'a>,
}

#[derive(Serialize)]
#[serde(tag = "baseType", content = "baseData")]
enum Data<'a> {
    #[serde(rename = "RequestData")]
    Request(RequestData<'a>),
    #[serde(rename = "ExceptionData")]
    Exception(ExceptionData<'a>),
    #[serde(rename = "MessageData")]
    Message(MessageData<'a>),
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RequestData<'a> {
    ver: u8,
    id: String,
    name: &'a str,
    duration: String,
    success: bool,
    response_code: String,
    url: &'a str,
    properties: Properties<'a>,
    measurements: BTreeMap<&'static str, f64>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct MessageData<'a> {
    ver: u8,
    message: &'a str,
    severity_level: &'static str,
    properties: Properties<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ExceptionData<'a> {
    ver: u8,
    exceptions: [ExceptionDetails<'a>; 1],
    severity_level: &'static str,
    properties: Properties<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ExceptionDetails<'a> {
    type_name: &'static str,
    message: Cow<'a, str>,
    has_full_stack: bool,
    stack: &'a str,
}

/// Tags, whose names are ours and whose values are cut.
#[derive(Default)]
struct Tags<'a>(Vec<(&'static str, Cow<'a, str>)>);

impl<'a> Tags<'a> {
    fn set(&mut self, name: &'static str, value: impl Into<Cow<'a, str>>, limit: usize) {
        self.0.push((name, limit::cut_cow(value.into(), limit)));
    }
}

impl Serialize for Tags<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

/// Properties, of which the last with a name counts. Their values have their share of the item.
struct Properties<'a>(BTreeMap<Cow<'a, str>, Cow<'a, str>>, Share);

impl<'a> Properties<'a> {
    fn new(share: Share) -> Self {
        Self(BTreeMap::new(), share)
    }

    fn set(&mut self, name: &'a str, value: impl Into<Cow<'a, str>>) {
        let value = limit::cut_cow(value.into(), limit::VALUE / self.1.0);
        self.0.insert(Cow::Borrowed(limit::cut(name, limit::NAME)), value);
    }

    /// Where the record comes from, which is here unless an attribute says better.
    fn source(&mut self, function: &'static str, line: u32) {
        self.set("code.file.path", file!());
        self.set("code.function.name", function);
        self.set("code.line.number", line.to_string());
    }

    fn ids(&mut self, sender: &'a Sender, context: &'a Context) {
        self.set("Container Id", &*sender.container_id);
        self.set("Request Id", &*context.request_id);
        self.set("Client Request Id", client_request_id(context));
    }

    fn service(&mut self, sender: &'a Sender) {
        self.set("Workspace Name", &*sender.workspace_name);
        self.set("Service Name", &*sender.service_name);
    }
}

impl Serialize for Properties<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

/// How long the texts of an item may be, as a divisor of their limits.
#[derive(Clone, Copy)]
struct Share(usize);

impl Share {
    fn of(self, text: &str, limit: usize) -> &str {
        limit::cut(text, limit / self.0)
    }
}

/// An item as JSON of [`limit::ITEM_BYTES`] at most: where its texts are together too long, each is cut again.
pub(crate) fn encode(sender: &Sender, item: &Item) -> Vec<u8> {
    let mut share = Share(1);
    loop {
        let json = serde_json::to_vec(&envelope(sender, item, share)).unwrap_or_default();
        if json.len() <= limit::ITEM_BYTES || share.0 >= 1024 {
            return json;
        }
        share = Share(share.0 * 2);
    }
}

fn envelope<'a>(sender: &'a Sender, item: &'a Item, share: Share) -> Envelope<'a> {
    let context = item.context.as_ref();
    let mut tags = Tags::default();
    tags.set("ai.device.id", &*sender.host, limit::TITLE);
    tags.set("ai.device.locale", "en_US", 64);
    tags.set("ai.device.type", "Other", 64);
    tags.set("ai.internal.sdkVersion", concat!("scorebox:", env!("CARGO_PKG_VERSION")), limit::SDK_VERSION);
    tags.set("ai.cloud.role", &*sender.service_name, limit::ROLE);
    tags.set("ai.cloud.roleInstance", sender.instance(), limit::ROLE);
    tags.set("ai.internal.nodeName", &*sender.host, limit::ROLE);
    let none = crate::trace::Trace::none();
    let trace = context.map_or(&none, |context| &context.trace);
    tags.set("ai.operation.id", trace.trace_id(), 128);
    if let Kind::Request(request) = &item.kind {
        if trace.parent != opentelemetry::SpanId::INVALID {
            tags.set("ai.operation.parentId", trace.parent.to_string(), 128);
        }
        tags.set("ai.operation.name", &*request.route, limit::TITLE);
    } else {
        tags.set("ai.operation.parentId", trace.span_id(), 128);
    }
    let (name, data) = match &item.kind {
        Kind::Request(data) => {
            ("Microsoft.ApplicationInsights.Request", Data::Request(request(sender, context, data, share)))
        }
        Kind::Exception { kind, type_name, message, traceback } => (
            "Microsoft.ApplicationInsights.Exception",
            Data::Exception(exception(sender, context, (*kind, type_name, message, traceback), share)),
        ),
        Kind::ModelData { models, input, prediction } => (
            "Microsoft.ApplicationInsights.Message",
            Data::Message(model_data(sender, context, (models, input, prediction), share)),
        ),
        Kind::Log { level, message, attributes, .. } => (
            "Microsoft.ApplicationInsights.Message",
            Data::Message(log(sender, context, (*level, message, attributes), share)),
        ),
    };
    Envelope { ver: 1, name, time: microseconds(item.time), sample_rate: 100.0, i_key: &sender.key, tags, data }
}

/// A request. The columns `duration`, `success`, `responseCode` and `url` have the values of the response, where Azure
/// ML's server has `0.00:00:00.000`, true, `0` and nothing; the properties of the same meaning are as that server
/// writes them.
fn request<'a>(
    sender: &'a Sender,
    context: Option<&'a Context>,
    item: &'a RequestItem,
    share: Share,
) -> RequestData<'a> {
    let mut properties = Properties::new(share);
    let success = item.status < 400;
    if let Some(context) = context {
        properties.ids(sender, context);
    }
    if let Some(body) = &item.response {
        properties.set("Response Value", response_text(body));
    }
    properties.set("name", &*item.route);
    properties.set("url", &*item.url);
    properties.set("start_time", microseconds(item.start));
    properties.set("duration", clock(item.duration, 3));
    properties.set("resultCode", item.status.to_string());
    properties.set("success", if success { "True" } else { "False" });
    properties.set("http_method", &*item.method);
    properties.service(sender);
    let id = context.map_or_else(|| "0".repeat(16), |context| context.trace.span_id());
    RequestData {
        ver: 2,
        id,
        name: limit::cut(&item.route, limit::TITLE),
        duration: format!("{}.{}", item.duration.as_secs() / 86_400, clock(days_cut(item.duration), 6)),
        success,
        response_code: item.status.to_string(),
        url: limit::cut(&item.url, limit::URL),
        properties,
        measurements: BTreeMap::new(),
    }
}

fn exception<'a>(
    sender: &'a Sender,
    context: Option<&'a Context>,
    (kind, type_name, message, traceback): (ExceptionKind, &'a str, &'a str, &'a str),
    share: Share,
) -> ExceptionData<'a> {
    let mut properties = Properties::new(share);
    properties.source("exception", line!());
    if let Some(context) = context {
        let dimensions = Dictionary::new()
            .text("Container Id", &sender.container_id)
            .text("Request Id", &context.request_id)
            .text("Client Request Id", client_request_id(context));
        properties.set("custom_dimensions", dimensions.finish());
        properties.ids(sender, context);
    }
    let has_stack = !traceback.is_empty();
    let text = exception_text(kind, type_name, message);
    let details = ExceptionDetails {
        type_name: kind.type_name(),
        message: limit::cut_cow(text, limit::MESSAGE / share.0),
        has_full_stack: has_stack,
        // Without one the server sends Python's None.
        stack: if has_stack { share.of(traceback, limit::MESSAGE) } else { "None" },
    };
    ExceptionData { ver: 2, exceptions: [details], severity_level: severity(Level::Error), properties }
}

/// The exception's text with its type before it, since the item's type is the server's: `ValueError: boom message`.
fn exception_text<'a>(kind: ExceptionKind, type_name: &str, message: &'a str) -> Cow<'a, str> {
    if type_name.is_empty() || type_name == kind.type_name() {
        return Cow::Borrowed(message);
    }
    if message.is_empty() { Cow::Owned(type_name.to_owned()) } else { Cow::Owned(format!("{type_name}: {message}")) }
}

fn model_data<'a>(
    sender: &'a Sender,
    context: Option<&'a Context>,
    (models, input, prediction): (&'a [String], &'a str, &'a str),
    share: Share,
) -> MessageData<'a> {
    let (input, prediction) = (share.of(input, limit::VALUE), share.of(prediction, limit::VALUE));
    let mut properties = Properties::new(share);
    properties.source("model_data", line!());
    if let Some(context) = context {
        let dimensions = Dictionary::new()
            .text("Container Id", &sender.container_id)
            .text("Request Id", &context.request_id)
            .text("Client Request Id", client_request_id(context))
            .text("Workspace Name", &sender.workspace_name)
            .text("Service Name", &sender.service_name)
            .tuple("Models", models)
            .text("Input", input)
            .text("Prediction", prediction);
        properties.set("custom_dimensions", dimensions.finish());
        properties.ids(sender, context);
    }
    properties.service(sender);
    properties.set("Models", serde_json::to_string(models).unwrap_or_default());
    properties.set("Input", input);
    properties.set("Prediction", prediction);
    MessageData { ver: 2, message: MODEL_DATA, severity_level: severity(Level::Info), properties }
}

fn log<'a>(
    sender: &'a Sender,
    context: Option<&'a Context>,
    (level, message, attributes): (Level, &'a str, &'a [(String, String)]),
    share: Share,
) -> MessageData<'a> {
    let mut properties = Properties::new(share);
    properties.source("log", line!());
    for (name, value) in attributes.iter().take(limit::ATTRIBUTES / share.0.min(8)) {
        properties.set(name, &**value);
    }
    // After the attributes: a scorer does not say whose record it is.
    if let Some(context) = context {
        properties.ids(sender, context);
    }
    // The service refuses a trace without a text.
    let message = if message.is_empty() { "n/a" } else { share.of(message, limit::MESSAGE) };
    MessageData { ver: 2, message, severity_level: severity(level), properties }
}

pub(crate) fn client_request_id(context: &Context) -> &str {
    context.client_request_id.as_deref().unwrap_or_default()
}

/// `SeverityLevel` of the schema (0 verbose to 4 critical), as text: so Azure ML's server sends it, whose interface
/// (`/v2.1/track`) declares a string.
fn severity(level: Level) -> &'static str {
    match level {
        Level::Debug => "0",
        Level::Info => "1",
        Level::Warning => "2",
        Level::Error => "3",
        Level::Critical => "4",
    }
}

/// The body of a response as text. One that has been cut may end within a character.
fn response_text(body: &[u8]) -> &str {
    match std::str::from_utf8(body) {
        Ok(text) => text,
        Err(error) if error.error_len().is_none() && body.len() >= limit::VALUE => {
            std::str::from_utf8(&body[..error.valid_up_to()]).unwrap_or(BINARY_RESPONSE)
        }
        Err(_) => BINARY_RESPONSE,
    }
}

/// `2026-11-21T23:21:07.644753Z`
fn microseconds(time: SystemTime) -> String {
    let time = OffsetDateTime::from(time);
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:06}Z",
        time.year(),
        u8::from(time.month()),
        time.day(),
        time.hour(),
        time.minute(),
        time.second(),
        time.microsecond()
    )
}

/// What is left of a duration without its whole days.
fn days_cut(duration: Duration) -> Duration {
    Duration::new(duration.as_secs() % 86_400, duration.subsec_nanos())
}

/// `00:00:00.303`, with three or six decimals.
fn clock(duration: Duration, decimals: usize) -> String {
    let seconds = duration.as_secs();
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match decimals {
        3 => format!("{hours:02}:{minutes:02}:{seconds:02}.{:03}", duration.subsec_millis()),
        _ => format!("{hours:02}:{minutes:02}:{seconds:02}.{:06}", duration.subsec_micros()),
    }
}
