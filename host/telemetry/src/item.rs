//! What is told: requests, exceptions, model data and logs, as they are handed over.
//!
//! Texts are cut to their limits here, on the caller's thread, so that what waits is bounded; all else is done later.

use std::time::{Duration, SystemTime};

use bytes::Bytes;

use crate::limit;
use crate::trace::Trace;

/// Bytes of a response that are looked at: enough for a property's value in any script.
const RESPONSE_BYTES: usize = 4 * limit::VALUE;

/// What an item counts for in the queue besides its texts, in bytes.
const ITEM_BYTES: usize = 512;

/// The request that an item belongs to.
#[derive(Clone, Debug)]
pub struct Context {
    /// Its place in a trace.
    pub trace: Trace,
    /// Its id: the header `x-request-id`, or what stands for it.
    pub request_id: String,
    /// The client's id for it, if the client gave one.
    pub client_request_id: Option<String>,
}

impl Context {
    /// What happens while the scorer is initialised: there is no request, and its id is `Unknown`.
    #[must_use]
    pub fn init() -> Self {
        Self { trace: Trace::none(), request_id: "Unknown".to_owned(), client_request_id: None }
    }
}

/// A request that has been answered.
#[derive(Clone, Debug)]
pub struct RequestItem {
    /// The method, as it was sent.
    pub method: String,
    /// The path of the route: `/score`.
    pub route: String,
    /// The URL in full: `http://host:5001/score?x=1`.
    pub url: String,
    /// The status of the response.
    pub status: u16,
    /// When the request came.
    pub start: SystemTime,
    /// How long it took until the response had been sent.
    pub duration: Duration,
    /// The body of the response, when it is to be recorded; the start of it is enough for a long one. It goes to
    /// Application Insights only. A body that is not UTF-8 is recorded as a fixed text that says so.
    pub response: Option<Bytes>,
}

/// An exception.
#[derive(Clone, Copy, Debug)]
pub struct Exception<'a> {
    /// What it means for the server.
    pub kind: ExceptionKind,
    /// The type of the exception that the scorer raised: `ValueError`. May be empty.
    pub type_name: &'a str,
    /// The exception's own text: `boom message`.
    pub message: &'a str,
    /// The traceback, empty when there is none.
    pub traceback: &'a str,
}

/// What an exception means for the server. It is the type under which Application Insights shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExceptionKind {
    /// The scorer failed at a request: `UserScriptException`.
    Script,
    /// The scorer did not end in time: `UserScriptTimeout`.
    Timeout,
    /// The scorer failed to initialise: `UserScriptException`.
    Init,
}

impl ExceptionKind {
    pub(crate) fn type_name(self) -> &'static str {
        match self {
            Self::Script | Self::Init => "UserScriptException",
            Self::Timeout => "UserScriptTimeout",
        }
    }
}

/// How severe a log record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// For debugging.
    Debug,
    /// As it should be.
    Info,
    /// Worth a look.
    Warning,
    /// Something failed.
    Error,
    /// The server cannot go on.
    Critical,
}

/// An item that waits to be exported.
#[derive(Debug)]
pub(crate) struct Item {
    /// When it happened; for a request, when it came.
    pub(crate) time: SystemTime,
    /// None for what belongs to no request.
    pub(crate) context: Option<Context>,
    pub(crate) kind: Kind,
}

#[derive(Debug)]
pub(crate) enum Kind {
    Request(RequestItem),
    Exception { kind: ExceptionKind, type_name: String, message: String, traceback: String },
    ModelData { models: Vec<String>, input: String, prediction: String },
    Log { logger: String, level: Level, message: String, attributes: Vec<(String, String)> },
}

impl Item {
    pub(crate) fn request(context: &Context, mut request: RequestItem) -> Self {
        truncate(&mut request.method, limit::TITLE);
        truncate(&mut request.route, limit::TITLE);
        truncate(&mut request.url, limit::VALUE);
        // A slice would keep all of a long body in memory.
        request.response = request.response.map(|body| match body.get(..RESPONSE_BYTES) {
            Some(start) => Bytes::copy_from_slice(start),
            None => body,
        });
        Self { time: request.start, context: Some(limited(context)), kind: Kind::Request(request) }
    }

    pub(crate) fn exception(context: &Context, exception: &Exception<'_>) -> Self {
        let kind = Kind::Exception {
            kind: exception.kind,
            type_name: limit::cut(exception.type_name, limit::TITLE).to_owned(),
            message: limit::cut(exception.message, limit::MESSAGE).to_owned(),
            traceback: limit::cut(exception.traceback, limit::MESSAGE).to_owned(),
        };
        Self { time: SystemTime::now(), context: Some(limited(context)), kind }
    }

    pub(crate) fn model_data(context: &Context, models: &[String], input: &str, prediction: &str) -> Self {
        let name = |model: &String| limit::cut(model, limit::NAME).to_owned();
        let kind = Kind::ModelData {
            models: models.iter().take(limit::MODELS).map(name).collect(),
            input: limit::cut(input, limit::VALUE).to_owned(),
            prediction: limit::cut(prediction, limit::VALUE).to_owned(),
        };
        Self { time: SystemTime::now(), context: Some(limited(context)), kind }
    }

    pub(crate) fn log(
        context: Option<&Context>,
        logger: &str,
        level: Level,
        message: &str,
        attributes: &[(String, String)],
    ) -> Self {
        let attribute = |(name, value): &(String, String)| {
            (limit::cut(name, limit::NAME).to_owned(), limit::cut(value, limit::VALUE).to_owned())
        };
        let kind = Kind::Log {
            logger: limit::cut(logger, limit::TITLE).to_owned(),
            level,
            message: limit::cut(message, limit::MESSAGE).to_owned(),
            attributes: attributes.iter().take(limit::ATTRIBUTES).map(attribute).collect(),
        };
        Self { time: SystemTime::now(), context: context.map(limited), kind }
    }

    /// What it counts for in the queue, in bytes.
    pub(crate) fn cost(&self) -> usize {
        let context = self.context.as_ref().map_or(0, |context| {
            let client_request_id = context.client_request_id.as_deref().unwrap_or_default();
            context.trace.state_cost() + context.request_id.len() + client_request_id.len()
        });
        let texts: usize = match &self.kind {
            Kind::Request(request) => {
                let response = request.response.as_ref().map_or(0, Bytes::len);
                request.method.len() + request.route.len() + request.url.len() + response
            }
            Kind::Exception { type_name, message, traceback, .. } => type_name.len() + message.len() + traceback.len(),
            Kind::ModelData { models, input, prediction } => {
                models.iter().map(|model| 32 + model.len()).sum::<usize>() + input.len() + prediction.len()
            }
            Kind::Log { logger, message, attributes, .. } => {
                let attributes: usize = attributes.iter().map(|(name, value)| 64 + name.len() + value.len()).sum();
                logger.len() + message.len() + attributes
            }
        };
        ITEM_BYTES + context + texts
    }
}

fn limited(context: &Context) -> Context {
    let id = |id: &String| limit::cut(id, limit::TITLE).to_owned();
    Context {
        trace: context.trace.clone(),
        request_id: id(&context.request_id),
        client_request_id: context.client_request_id.as_ref().map(id),
    }
}

fn truncate(text: &mut String, limit: usize) {
    text.truncate(limit::cut(text, limit).len());
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue};

    use super::*;

    #[test]
    fn what_the_caller_says_of_its_trace_counts_in_the_queue() {
        let cost = |state: &str| {
            let mut headers = HeaderMap::new();
            let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
            headers.insert("traceparent", HeaderValue::from_static(parent));
            headers.insert("tracestate", HeaderValue::from_str(state).unwrap());
            let context = Context { trace: Trace::of_request(&headers), ..Context::init() };
            Item::log(Some(&context), "", Level::Info, "", &[]).cost()
        };
        assert!(cost(&format!("a={}", "x".repeat(200))) >= cost("a=x") + 199);
    }
}
