//! What telemetry is told about requests.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::{Instant, SystemTime};

use axum::body::{Body, HttpBody};
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use http::header::HOST;
use http::request::Parts;
use http::uri::Scheme;
use hyper::body::{Frame, SizeHint};
use scorebox_sandbox::{Exception, LogLevel, LogStream};
use scorebox_telemetry::{self as telemetry, Context, ExceptionKind, RequestItem, Telemetry};

use crate::app::sent_uri;
use crate::ids::RequestIds;

/// Bytes that are kept of a response: more does not fit into a property.
const MAX_RESPONSE: usize = 32 * 1024;
/// Loggers whose records the contract exports.
const EXPORTED: [&str; 2] = ["azmlinfsrv.print", "azmlinfsrv.trace"];
/// The logger of scorers that do not name one.
const SCORER: &str = "azmlinfsrv.scorer";

/// Telemetry of one request, or of a deployment's `init`.
#[derive(Debug)]
pub(crate) struct Recorder {
    telemetry: Telemetry,
    /// None during `init`.
    context: Option<Context>,
}

impl Recorder {
    /// For a request; none where telemetry is off.
    pub(crate) fn of_request(telemetry: &Telemetry, ids: &RequestIds, parts: &Parts) -> Option<Arc<Self>> {
        telemetry.is_on().then(|| {
            let context = Context {
                trace: telemetry.trace(&parts.headers),
                request_id: ids.request_id().into_owned(),
                client_request_id: ids.client_request_id().map(std::borrow::Cow::into_owned),
            };
            Arc::new(Self { telemetry: telemetry.clone(), context: Some(context) })
        })
    }

    /// For a deployment; none where telemetry is off.
    pub(crate) fn of_deployment(telemetry: &Telemetry) -> Option<Arc<Self>> {
        telemetry.is_on().then(|| Arc::new(Self { telemetry: telemetry.clone(), context: None }))
    }

    /// Takes a record of a scorer's log, if it is one that is exported.
    pub(crate) fn log(&self, stream: LogStream, level: LogLevel, logger: &str, text: &str) {
        let logger = match (stream, logger) {
            (LogStream::Stdout, _) => EXPORTED[0],
            (LogStream::Logger, "") => SCORER,
            (LogStream::Logger, name) if EXPORTED.contains(&name) => name,
            _ => return,
        };
        let level = match level {
            LogLevel::Debug => telemetry::Level::Debug,
            LogLevel::Info => telemetry::Level::Info,
            LogLevel::Warning => telemetry::Level::Warning,
            LogLevel::Error => telemetry::Level::Error,
            LogLevel::Critical => telemetry::Level::Critical,
        };
        self.telemetry.log(self.context.as_ref(), logger, level, text, &[]);
    }

    /// Takes what the scorer raised, or what ended it.
    pub(crate) fn exception(&self, kind: ExceptionKind, exception: &Exception) {
        let Some(context) = &self.context else { return };
        let exception = telemetry::Exception {
            kind,
            type_name: &exception.kind,
            message: &exception.message,
            traceback: &exception.traceback,
        };
        self.telemetry.exception(context, &exception);
    }

    /// Takes the input and the prediction of a request, as JSON.
    pub(crate) fn model_data(&self, models: &[String], input: &str, prediction: &str) {
        if let Some(context) = &self.context {
            self.telemetry.model_data(context, models, input, prediction);
        }
    }

    /// Takes the request when its response has been sent. With `keep_body` the body is part of it.
    pub(crate) fn response(
        self: Arc<Self>,
        parts: &Parts,
        (start, time): (Instant, SystemTime),
        response: Response,
        keep_body: bool,
    ) -> Response {
        let uri = sent_uri(parts);
        // As it came on its connection.
        let scheme = parts.extensions.get().unwrap_or(&Scheme::HTTP);
        let host = parts.headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or("localhost");
        let target = uri.path_and_query().map_or("/", |target| target.as_str());
        let item = RequestItem {
            method: parts.method.as_str().to_owned(),
            route: parts.uri.path().to_owned(),
            url: format!("{scheme}://{host}{target}"),
            status: response.status().as_u16(),
            start: time,
            duration: start.elapsed(),
            response: None,
        };
        let kept = keep_body.then(BytesMut::new);
        response.map(|body| Body::new(RecordedBody { body, recorder: self, start, item: Some(item), kept }))
    }
}

/// A body that is sent. When that has ended, however it does, telemetry is told.
#[derive(Debug)]
struct RecordedBody {
    body: Body,
    recorder: Arc<Recorder>,
    start: Instant,
    /// Taken when it has been told.
    item: Option<RequestItem>,
    /// What has been sent, up to its limit; none if nobody wants to know.
    kept: Option<BytesMut>,
}

impl RecordedBody {
    fn tell(&mut self) {
        let (Some(mut item), Some(context)) = (self.item.take(), &self.recorder.context) else { return };
        item.duration = self.start.elapsed();
        item.response = self.kept.take().map(BytesMut::freeze);
        self.recorder.telemetry.request(context, item);
    }
}

impl Drop for RecordedBody {
    fn drop(&mut self) {
        self.tell();
    }
}

impl HttpBody for RecordedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut TaskContext<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => {
                if let (Some(kept), Some(data)) = (&mut self.kept, frame.data_ref()) {
                    let room = MAX_RESPONSE.saturating_sub(kept.len());
                    kept.extend_from_slice(&data[..data.len().min(room)]);
                }
            }
            _ => self.tell(),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
