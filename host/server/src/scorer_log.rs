//! What scorers say, in the log of the server.

use scorebox_sandbox::{LogLevel, LogSink, LogStream};
use tracing::Span;

/// Takes what a scorer says into the log, within the span of the request that it says it for.
#[derive(Debug)]
pub(crate) struct ScorerLog {
    span: Span,
}

impl ScorerLog {
    /// For a request, whose span is the current one.
    pub(crate) fn for_request() -> Self {
        Self { span: Span::current() }
    }

    /// For a scorer that is being deployed, which serves no request.
    pub(crate) fn for_deployment(name: &str) -> Self {
        Self { span: tracing::info_span!("deploy", deployment = name) }
    }
}

impl LogSink for ScorerLog {
    fn write(&self, stream: LogStream, level: LogLevel, logger: &str, text: &str) {
        let scorer_logger = (!logger.is_empty()).then_some(logger);
        // The target and the level of an event have to be known when it is compiled.
        macro_rules! event {
            ($target:literal) => {
                match level {
                    LogLevel::Debug => tracing::debug!(target: $target, parent: &self.span, scorer_logger, "{text}"),
                    LogLevel::Info => tracing::info!(target: $target, parent: &self.span, scorer_logger, "{text}"),
                    LogLevel::Warning => tracing::warn!(target: $target, parent: &self.span, scorer_logger, "{text}"),
                    LogLevel::Error => tracing::error!(target: $target, parent: &self.span, scorer_logger, "{text}"),
                    LogLevel::Critical => {
                        tracing::error!(target: $target, parent: &self.span, scorer_logger, critical = true, "{text}");
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
