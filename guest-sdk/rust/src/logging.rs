//! What a scorer has to say, and how it gets to the host's log.
//!
//! Scorers use the `log` or `tracing` crate; this module is what those end in. Use it directly to write to another
//! stream than the logger's, or at the level `critical`, which those crates do not have. `println!` and `eprintln!`
//! go nowhere on `wasm32-unknown-unknown`, a target without standard streams.
//!
//! Away from WebAssembly, records go to the standard error.

pub use crate::bindings::scorebox::scoring::log::{Level, Stream};

/// Writes one record to the host's log, where it appears with the id of the request.
///
/// The bytes of all records of a request are limited; what is over the limit is counted and left out.
///
/// ```
/// use scorebox_guest::logging::{self, Level, Stream};
///
/// logging::write(Stream::Stdout, Level::Info, "loaded 3 trees");
/// ```
pub fn write(stream: Stream, level: Level, text: &str) {
    write_as("", stream, level, text);
}

/// Writes one record of the logger of this name.
fn write_as(logger: &str, stream: Stream, level: Level, text: &str) {
    #[cfg(target_family = "wasm")]
    crate::bindings::scorebox::scoring::log::write(stream, level, logger, text);
    #[cfg(not(target_family = "wasm"))]
    {
        use std::io::Write;
        // A closed standard error is no reason to stop scoring.
        let _ = writeln!(std::io::stderr(), "{stream:?} {level:?} {logger} {text}");
    }
}

/// Sends panics, `log` and `tracing` to the host. What is installed is part of the snapshot.
pub(crate) fn install() {
    #[cfg(target_family = "wasm")]
    std::panic::set_hook(Box::new(|panic| crate::bindings::scorebox::scoring::log::panic(&panic.to_string())));
    #[cfg(feature = "log")]
    log_crate::install();
    #[cfg(feature = "tracing")]
    tracing_crate::install();
}

#[cfg(feature = "log")]
mod log_crate {
    use super::{Level, Stream, write_as};

    struct Host;

    /// A logger that the scorer installed before is left in place.
    pub(super) fn install() {
        if log::set_logger(&Host).is_ok() {
            log::set_max_level(log::LevelFilter::Debug);
        }
    }

    impl log::Log for Host {
        fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
            metadata.level() <= log::Level::Debug
        }

        fn log(&self, record: &log::Record<'_>) {
            let level = match record.level() {
                log::Level::Error => Level::Error,
                log::Level::Warn => Level::Warning,
                log::Level::Info => Level::Info,
                log::Level::Debug | log::Level::Trace => Level::Debug,
            };
            match record.args().as_str() {
                Some(text) => write_as(record.target(), Stream::Logger, level, text),
                None => write_as(record.target(), Stream::Logger, level, &record.args().to_string()),
            }
        }

        fn flush(&self) {}
    }
}

#[cfg(feature = "tracing")]
mod tracing_crate {
    use std::fmt::{Debug, Write};

    use tracing_core::field::{Field, Visit};
    use tracing_core::span::{Attributes, Current, Id, Record};
    use tracing_core::{Dispatch, Event, LevelFilter, Metadata, Subscriber, dispatcher};

    use super::{Level, Stream, write_as};

    struct Host;

    /// A subscriber that the scorer installed before is left in place.
    pub(super) fn install() {
        let _ = dispatcher::set_global_default(Dispatch::new(Host));
    }

    impl Subscriber for Host {
        fn enabled(&self, metadata: &Metadata<'_>) -> bool {
            metadata.is_event() && *metadata.level() <= tracing_core::Level::DEBUG
        }

        fn max_level_hint(&self) -> Option<LevelFilter> {
            Some(LevelFilter::DEBUG)
        }

        fn event(&self, event: &Event<'_>) {
            let level = match *event.metadata().level() {
                tracing_core::Level::ERROR => Level::Error,
                tracing_core::Level::WARN => Level::Warning,
                tracing_core::Level::INFO => Level::Info,
                _ => Level::Debug,
            };
            let mut text = Text::default();
            event.record(&mut text);
            write_as(event.metadata().target(), Stream::Logger, level, &text.finish());
        }

        // Spans are not enabled, so nothing below is called but by those who ignore that.
        fn new_span(&self, _: &Attributes<'_>) -> Id {
            Id::from_u64(1)
        }

        fn record(&self, _: &Id, _: &Record<'_>) {}

        fn record_follows_from(&self, _: &Id, _: &Id) {}

        fn enter(&self, _: &Id) {}

        fn exit(&self, _: &Id) {}

        fn current_span(&self) -> Current {
            Current::none()
        }
    }

    /// An event as text: its message, then its fields as ` name=value`.
    #[derive(Default)]
    pub(super) struct Text {
        message: String,
        fields: String,
    }

    impl Text {
        pub(super) fn finish(mut self) -> String {
            self.message.push_str(if self.message.is_empty() { self.fields.trim_start() } else { &self.fields });
            self.message
        }
    }

    impl Visit for Text {
        fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
            // Writing to a String fails only when the value's own Debug does.
            let _ = match field.name() {
                "message" => write!(self.message, "{value:?}"),
                name => write!(self.fields, " {name}={value:?}"),
            };
        }
    }
}

#[cfg(all(test, feature = "tracing"))]
mod tests {
    use std::sync::{Arc, Mutex, PoisonError};

    use tracing_core::span::{Attributes, Current, Id, Record};
    use tracing_core::{Event, Metadata, Subscriber};

    use super::tracing_crate::Text;

    /// Keeps the text of every event.
    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<String>>>);

    impl Subscriber for Kept {
        fn enabled(&self, _: &Metadata<'_>) -> bool {
            true
        }
        fn event(&self, event: &Event<'_>) {
            let mut text = Text::default();
            event.record(&mut text);
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push(text.finish());
        }
        fn new_span(&self, _: &Attributes<'_>) -> Id {
            Id::from_u64(1)
        }
        fn record(&self, _: &Id, _: &Record<'_>) {}
        fn record_follows_from(&self, _: &Id, _: &Id) {}
        fn enter(&self, _: &Id) {}
        fn exit(&self, _: &Id) {}
        fn current_span(&self) -> Current {
            Current::none()
        }
    }

    #[test]
    fn an_event_is_its_message_and_its_fields() {
        let kept = Kept::default();
        tracing::subscriber::with_default(kept.clone(), || {
            tracing::info!(trees = 500, depth = 3, "loaded {}", "the model");
            tracing::debug!(name = "a b");
        });
        let texts = kept.0.lock().unwrap_or_else(PoisonError::into_inner);
        assert_eq!(*texts, ["loaded the model trees=500 depth=3", "name=\"a b\""]);
    }
}
