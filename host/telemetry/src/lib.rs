//! Telemetry of the scoring host: requests, exceptions, model data and logs, for Application Insights and
//! OpenTelemetry.
//!
//! Items are handed over without waiting and exported in the background:
//!
//! * to **Application Insights**, as Azure ML's inference server 1.5.1 sends them: `RequestData`, `MessageData` and
//!   `ExceptionData`, in JSON to `/v2.1/track`;
//! * by **OTLP** over HTTP, as the variables `OTEL_*` say: requests as server spans, all else as log records.
//!
//! Both continue the trace of the request's `traceparent`: the operation is the trace, the request is a span of it
//! whose parent is the caller's, and what is logged during the request belongs to that span.
//!
//! # Delivery
//!
//! | what | how much |
//! | --- | --- |
//! | items that wait to be encoded | 8192, and 16 MiB; what is over is dropped and counted |
//! | a batch | 100 items and 1 MiB at most, one item excepted that has more; 5 s after its first |
//! | batches in memory, for each endpoint | 8 MiB |
//! | batches on disk, when there is a [`Buffer`] | its `bytes`, in equal shares for the endpoints; the oldest go |
//! | age of a batch on disk | 48 h |
//! | a post to Application Insights | 10 s; for OTLP as its variable says |
//!
//! A post that fails for the moment (no connection, 408, 429, 439, 5xx; for OTLP 429, 502, 503, 504) is repeated after
//! 1 s, 2 s … 60 s, or later when `Retry-After` says so; of a batch that is taken in part (206) only the items that may
//! be taken later are sent again. What is refused for good is dropped and counted. Delivery is at least once.
//!
//! One warning a minute and endpoint says what is wrong with it, and one what is wrong with the disk, to the target
//! `azmlinfsrv`. What telemetry logs about itself
//! is never telemetry: [`Telemetry::log`] takes nothing from its threads, and the OpenTelemetry crates are built
//! without logs of their own.
//!
//! # What is whose
//!
//! * `traceparent` and `tracestate` are read by `opentelemetry_sdk`'s propagator (the module `trace`), ids are made by
//!   its generator.
//! * Spans, log records, messages, encodings and compression of OTLP are those of `opentelemetry_sdk` and
//!   `opentelemetry-otlp`; which attributes they have is ours (`signals`).
//! * Envelopes of Application Insights are ours, because `opentelemetry-application-insights` cannot carry what the
//!   server sends (`envelope` says what).
//! * Queue, retries and disk buffer are ours for both (`pipeline`, `outbox`, `disk`): the SDK's batch processors and
//!   the exporters' retries keep nothing on disk, and Application Insights' does not heed `Retry-After`.
//! * HTTP is `ureq` with `rustls`, on threads of its own. It trusts the system's certificates, or those that
//!   `SSL_CERT_FILE` names; where there are none, an endpoint of `https` counts as one that cannot be reached.
//!
//! # Example
//!
//! ```
//! use std::time::{Duration, SystemTime};
//!
//! use scorebox_telemetry::{AppInsights, Config, Context, Otlp, RequestItem, Telemetry};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let telemetry = Telemetry::start(Config {
//!     app_insights: Some(AppInsights::new("22222222-2222-2222-2222-222222222222", Some("http://127.0.0.1:9"), None)?),
//!     otlp: Otlp::from_env(|name| std::env::var(name).ok())?,
//!     service_name: "ML service".to_owned(),
//!     ..Config::default()
//! })?;
//! let headers = http::HeaderMap::new();
//! let context =
//!     Context { trace: telemetry.trace(&headers), request_id: "R-1".to_owned(), client_request_id: None };
//! telemetry.request(&context, RequestItem {
//!     method: "POST".to_owned(),
//!     route: "/score".to_owned(),
//!     url: "http://127.0.0.1:5001/score".to_owned(),
//!     status: 200,
//!     start: SystemTime::now(),
//!     duration: Duration::from_millis(1),
//!     response: None,
//! });
//! telemetry.shutdown(Duration::from_millis(100));
//! # Ok(())
//! # }
//! ```

mod app_insights;
mod batch;
mod breeze;
mod client;
mod disk;
mod envelope;
mod error;
#[doc(hidden)]
pub mod fuzz;
mod item;
mod limit;
mod otlp;
mod outbox;
mod own;
mod pipeline;
mod python;
mod signals;
mod trace;

#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;

pub use crate::app_insights::AppInsights;
pub use crate::error::{ConfigError, StartError};
use crate::item::Item;
pub use crate::item::{Context, Exception, ExceptionKind, Level, RequestItem};
pub use crate::otlp::Otlp;
use crate::pipeline::{Pipeline, Timing};
pub use crate::trace::Trace;

/// Bytes of the buffer on disk, unless it is set otherwise: 50 MiB.
pub const DEFAULT_BUFFER_BYTES: u64 = 50 << 20;

/// How long a shutdown should be given to send what waits: 5 s.
pub const DEFAULT_SHUTDOWN: Duration = Duration::from_secs(5);

/// Where telemetry goes, and what it says about the server.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// Application Insights, if telemetry goes there.
    pub app_insights: Option<AppInsights>,
    /// OTLP, if telemetry goes there.
    pub otlp: Option<Otlp>,
    /// The setting `SERVICE_NAME`: the role, and the name of the service where `OTEL_SERVICE_NAME` gives none.
    pub service_name: String,
    /// The setting `WORKSPACE_NAME`.
    pub workspace_name: String,
    /// The container's id: the instance of the role. Empty or `Unknown` for the name of the machine.
    pub container_id: String,
    /// Where telemetry is kept while an endpoint is away; None for memory only.
    pub buffer: Option<Buffer>,
}

/// A folder for what cannot be sent yet. It holds items, each with the instrumentation key that it is for, but no
/// headers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Buffer {
    /// The folder, which is made with the mode 0700 if need be. One process at a time uses it.
    pub folder: PathBuf,
    /// How many bytes it may have: [`DEFAULT_BUFFER_BYTES`].
    pub bytes: u64,
}

impl Buffer {
    /// A buffer of the default size.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into(), bytes: DEFAULT_BUFFER_BYTES }
    }
}

/// Takes items and exports them in the background. Cheap to clone; no method but [`Telemetry::shutdown`] waits.
#[derive(Clone, Debug, Default)]
pub struct Telemetry(Option<Arc<Pipeline>>);

impl Telemetry {
    /// Telemetry that does nothing, at no cost.
    #[must_use]
    pub const fn off() -> Self {
        Self(None)
    }

    /// Starts telemetry; it is off when the configuration names no place for it.
    ///
    /// # Errors
    ///
    /// [`StartError`] when the buffer, a file of certificates or a thread cannot be used. That an endpoint cannot be
    /// reached is no error, as it may come back.
    pub fn start(config: Config) -> Result<Self, StartError> {
        Self::start_with(config, Timing::default())
    }

    fn start_with(config: Config, timing: Timing) -> Result<Self, StartError> {
        if config.app_insights.is_none() && config.otlp.is_none() {
            return Ok(Self::off());
        }
        Ok(Self(Some(Arc::new(Pipeline::start(config, timing)?))))
    }

    /// Whether telemetry goes anywhere.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// The place of a request in a trace: [`Trace::of_request`], or [`Trace::none`] when telemetry is off.
    #[must_use]
    pub fn trace(&self, headers: &HeaderMap) -> Trace {
        if self.is_on() { Trace::of_request(headers) } else { Trace::none() }
    }

    /// Takes a request that has been answered.
    pub fn request(&self, context: &Context, item: RequestItem) {
        self.push(|| Item::request(context, item));
    }

    /// Takes an exception.
    pub fn exception(&self, context: &Context, exception: &Exception<'_>) {
        self.push(|| Item::exception(context, exception));
    }

    /// Takes the input and the prediction of a request, both as JSON, and the models that made it (`name:version`).
    pub fn model_data(&self, context: &Context, models: &[String], input: &str, prediction: &str) {
        self.push(|| Item::model_data(context, models, input, prediction));
    }

    /// Takes a log record: of a request, or of none. The logger is the scope of OTLP's record. Attributes become
    /// properties; of Application Insights' own (`Request Id` and the like) none can be given so.
    pub fn log(
        &self,
        context: Option<&Context>,
        logger: &str,
        level: Level,
        message: &str,
        attributes: &[(String, String)],
    ) {
        self.push(|| Item::log(context, logger, level, message, attributes));
    }

    fn push(&self, item: impl FnOnce() -> Item) {
        if let Some(pipeline) = self.0.as_deref().filter(|_| !own::is_own_thread()) {
            pipeline.push(item());
        }
    }

    /// Sends what waits and ends, within the time given: what cannot be sent goes to the buffer on disk, or is lost
    /// without one. Blocks; items that come later are dropped. Call it once: a second call returns at once.
    pub fn shutdown(&self, within: Duration) {
        if let Some(pipeline) = &self.0 {
            pipeline.shutdown(within);
        }
    }

    /// How many items have been dropped so far: for want of room, or because an endpoint refused them. One that two
    /// endpoints refuse counts twice.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.0.as_ref().map_or(0, |pipeline| pipeline.dropped())
    }
}
