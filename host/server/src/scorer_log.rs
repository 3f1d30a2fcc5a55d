//! What scorers say, in the log of the server.

use std::borrow::Cow;
use std::sync::Arc;

use scorebox_sandbox::{LogLevel, LogSink, LogStream};
use scorebox_telemetry::Telemetry;
use tracing::Span;

use crate::metrics::Journal;
use crate::recorder::Recorder;
use crate::settings::Settings;

/// Takes what a scorer says into the log, within the span of the request that it says it for.
#[derive(Debug)]
pub(crate) struct ScorerLog {
    span: Span,
    /// What a line that is printed begins with.
    prefix: Option<String>,
    recorder: Option<Arc<Recorder>>,
    journal: Arc<Journal>,
    /// The request that it says it for.
    id: Option<String>,
}

/// Stands for the id of a request where there is none.
pub(crate) const NO_REQUEST: &str = "00000000-0000-0000-0000-000000000000";
/// The logger of what Python scripts print.
const PRINT_LOGGER: &str = "azmlinfsrv.print";
/// Names of loggers that begin so are the host's. Those of `azmlinfsrv` are the scripts' too, as the contract has it.
const HOST_LOGGERS: [&str; 2] = ["scorebox", "gunicorn"];

/// The name of a scorer's logger as the log has it, where no record of a scorer can pass for one of the host's, nor look like
/// one: many characters cannot be seen, or look like others.
fn shown_name(logger: &str) -> Cow<'_, str> {
    let can_be_seen = !logger.starts_with(' ') && logger.chars().all(|char| matches!(char, ' '..='~'));
    if !can_be_seen || HOST_LOGGERS.iter().any(|name| logger.starts_with(name)) {
        Cow::Owned(format!("azmlinfsrv.scorer.{logger}"))
    } else {
        Cow::Borrowed(logger)
    }
}

impl ScorerLog {
    /// For a request, whose span is the current one.
    pub(crate) fn for_request(
        settings: &Settings,
        id: &str,
        recorder: Option<Arc<Recorder>>,
        journal: &Arc<Journal>,
    ) -> Self {
        let prefix = settings.log.print_request_id.then(|| format!("{id},"));
        Self { span: Span::current(), prefix, recorder, journal: Arc::clone(journal), id: Some(id.to_owned()) }
    }

    /// For a scorer that is being deployed, which serves no request.
    pub(crate) fn for_deployment(
        settings: &Settings,
        name: &str,
        telemetry: &Telemetry,
        journal: &Arc<Journal>,
    ) -> Self {
        let prefix = settings.log.print_request_id.then(|| format!("{NO_REQUEST},"));
        let recorder = Recorder::of_deployment(telemetry);
        // Of the highest level, so that whatever is logged is in it.
        let span = tracing::error_span!("deploy", deployment = name);
        Self { span, prefix, recorder, journal: Arc::clone(journal), id: None }
    }

    /// Says why the scorer failed, on the part of the server.
    pub(crate) fn failed(&self, text: &str) {
        tracing::error!(target: "azmlinfsrv", parent: &self.span, "{text}");
        self.journal.log.write(self.id.as_deref(), LogLevel::Error, text);
    }

    /// Who is told for telemetry.
    pub(crate) fn recorder(&self) -> Option<&Arc<Recorder>> {
        self.recorder.as_ref()
    }
}

impl LogSink for ScorerLog {
    fn write(&self, stream: LogStream, level: LogLevel, logger: &str, text: &str) {
        if let Some(recorder) = &self.recorder {
            recorder.log(stream, level, logger, text);
        }
        self.journal.log.write(self.id.as_deref(), level, text);
        let shown_name = shown_name(logger);
        let scorer_logger = (!logger.is_empty()).then_some(&*shown_name);
        let is_printed = stream != LogStream::Logger || logger == PRINT_LOGGER;
        let prefix = self.prefix.as_deref().filter(|_| is_printed).unwrap_or_default();
        // The target and the level of an event have to be known when it is compiled.
        macro_rules! event {
            ($target:literal) => {
                match level {
                    LogLevel::Debug => tracing::debug!(target: $target, parent: &self.span, scorer_logger, "{prefix}{text}"),
                    LogLevel::Info => tracing::info!(target: $target, parent: &self.span, scorer_logger, "{prefix}{text}"),
                    LogLevel::Warning => tracing::warn!(target: $target, parent: &self.span, scorer_logger, "{prefix}{text}"),
                    LogLevel::Error => tracing::error!(target: $target, parent: &self.span, scorer_logger, "{prefix}{text}"),
                    LogLevel::Critical => {
                        tracing::error!(target: $target, parent: &self.span, scorer_logger, critical = true, "{prefix}{text}");
                    }
                }
            };
        }
        match stream {
            // Python prints by a logger of this name.
            LogStream::Logger if logger == "azmlinfsrv.print" => event!("azmlinfsrv.print"),
            LogStream::Logger => event!("azmlinfsrv.scorer"),
            LogStream::Stdout => event!("azmlinfsrv.print"),
            LogStream::Stderr => event!("azmlinfsrv.stderr"),
        }
    }
}
