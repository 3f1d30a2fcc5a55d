//! The log: records on standard output, as text or as JSON.
//!
//! The text format is that of the contract of Azure ML's inference server 1.5.1, with times in UTC:
//!
//! ```text
//! 2026-11-21 23:18:46,123 I [10121] azmlinfsrv - POST /score 200 0.795ms 2
//! ```
//!
//! The letter is the level: D, I, W, E or C. The logger is the event's `target`; what this program's own modules log
//! is the logger `scorebox`. A message of several lines has one prefix, and its other lines are bare. The JSON
//! format has an object per line, with the fields of the event and of the spans around it; text has the message only.
//!
//! tracing has no level critical: an event of level error with the field `critical = true` is one.
//!
//! Messages come from scorers and clients, too. They cannot pass for records of somebody else: control characters other
//! than newline and tab are escaped, and a continuation line that begins like a record is indented by a tab. Where records
//! begin otherwise, as the user's configuration may have it, each continuation line is.
//!
//! Nothing waits for standard output: `log_queue.rs` says what becomes of records that are not taken.

use std::cell::Cell;
use std::fmt::{self, Write as _};
use std::io::{self, BufWriter};
use std::str::FromStr;

use time::OffsetDateTime;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;

pub use crate::log_queue::LogGuard;
use crate::logging_config::{LogRecord, LoggingConfig, PythonLevel};
use crate::{log_queue, python_json};

/// The logger of this program's own records.
const LOGGER: &str = "scorebox";

/// The logger of records that the contract has.
const CONTRACT_LOGGER: &str = "azmlinfsrv";

/// The target of what the text format writes as it is, without time, level and logger: what the contract prints before it
/// logs.
pub const PLAIN: &str = "azmlinfsrv.banner";

/// Targets that begin so are this program's modules.
const OWN_TARGETS: &str = "scorebox";

/// How the log is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// Lines as the contract has them.
    #[default]
    Text,
    /// A JSON object per line: `timestamp` (RFC 3339, UTC, microseconds), `level` (`DEBUG`, `INFO`, `WARNING`, `ERROR`,
    /// `CRITICAL`), `logger`, `message`, then the fields of the spans and of the event, `request_id` among them.
    Json,
}

impl FromStr for LogFormat {
    type Err = LogError;

    /// Reads `text` or `json`.
    fn from_str(name: &str) -> Result<Self, LogError> {
        match name {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(LogError::Format(name.to_owned())),
        }
    }
}

/// The log cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// There is no such format.
    #[error("log format {0:?} is not known: use text or json")]
    Format(String),
    /// The process has a log already.
    #[error("the log has been set up already")]
    Twice(#[source] tracing::subscriber::SetGlobalDefaultError),
}

/// Sends the events of the whole process to standard output. Records of this program and of scorers are written from
/// `level` on, those of the libraries in it from warning on, or from `level` when that is less. Where the user has a
/// `config`, it decides on levels, and on the format of text.
///
/// # Errors
///
/// [`LogError::Twice`] when the process has a subscriber already.
///
/// # Panics
///
/// When the thread that writes cannot be started.
pub fn init(format: LogFormat, level: LevelFilter, config: Option<LoggingConfig>) -> Result<LogGuard, LogError> {
    // The worker flushes when it has nothing to do, so the buffer joins the records of a busy moment.
    let output = BufWriter::with_capacity(64 << 10, io::stdout());
    let (queue, guard) = log_queue::start(output);
    let layer = LogLayer::new(format, config, move |record: &[u8]| queue.push(record)).with_filter(targets(level));
    tracing::subscriber::set_global_default(tracing_subscriber::registry().with(layer)).map_err(LogError::Twice)?;
    Ok(guard)
}

/// Which events are written.
fn targets(level: LevelFilter) -> Targets {
    let libraries = level.min(LevelFilter::WARN);
    let own = [OWN_TARGETS, CONTRACT_LOGGER, "gunicorn"].map(|target| (target, level));
    Targets::new().with_default(libraries).with_targets(own)
}

/// Gives `sink` each event as one record, with its newline.
struct LogLayer<S> {
    format: LogFormat,
    config: Option<LoggingConfig>,
    pid: u32,
    sink: S,
}

impl<S: Fn(&[u8])> LogLayer<S> {
    fn new(format: LogFormat, config: Option<LoggingConfig>, sink: S) -> Self {
        Self { format, config, pid: std::process::id(), sink }
    }
}

/// Names and JSON texts of a span's fields.
struct SpanFields(Fields);

impl<S, C> Layer<C> for LogLayer<S>
where
    S: Fn(&[u8]) + 'static,
    C: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, C>) {
        if self.format == LogFormat::Text {
            return;
        }
        if let Some(span) = context.span(id) {
            let mut fields = Fields::default();
            attributes.record(&mut fields);
            span.extensions_mut().insert(SpanFields(fields));
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, C>) {
        if self.format == LogFormat::Text {
            return;
        }
        if let Some(span) = context.span(id)
            && let Some(SpanFields(fields)) = span.extensions_mut().get_mut()
        {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, C>) {
        thread_local! {
            // Taken while in use: a value that logs while it is written finds an empty one.
            static RECORD: Cell<String> = const { Cell::new(String::new()) };
        }
        let mut record = RECORD.take();
        record.clear();
        let now = OffsetDateTime::now_utc();
        match self.format {
            LogFormat::Text => match &self.config {
                Some(config) if event.metadata().target() != PLAIN => {
                    write_configured(&mut record, now, self.pid, event, config);
                }
                _ => write_text(&mut record, now, self.pid, event),
            },
            LogFormat::Json if self.config.as_ref().is_some_and(|config| !is_taken(config, event)) => {}
            LogFormat::Json => {
                let mut fields = Fields::default();
                for span in
                    context.event_scope(event).into_iter().flat_map(tracing_subscriber::registry::Scope::from_root)
                {
                    if let Some(SpanFields(outer)) = span.extensions().get() {
                        fields.extend(outer);
                    }
                }
                event.record(&mut fields);
                write_json(&mut record, now, event, fields);
            }
        }
        if !record.is_empty() {
            (self.sink)(record.as_bytes());
        }
        if record.capacity() <= 64 << 10 {
            RECORD.set(record);
        }
    }
}

/// The logger of an event.
fn logger(event: &Event<'_>) -> &'static str {
    let target = event.metadata().target();
    if target.starts_with(OWN_TARGETS) { LOGGER } else { target }
}

/// Writing to a string does not fail.
fn push(record: &mut String, text: fmt::Arguments<'_>) {
    let _ = record.write_fmt(text);
}

fn write_text(record: &mut String, now: OffsetDateTime, pid: u32, event: &Event<'_>) {
    let mut message = Message::default();
    event.record(&mut message);
    let level = match *event.metadata().level() {
        Level::ERROR if message.critical => 'C',
        Level::ERROR => 'E',
        Level::WARN => 'W',
        Level::INFO => 'I',
        _ => 'D',
    };
    if event.metadata().target() == PLAIN {
        write_lines(record, &message.text);
        return;
    }
    write_date_time(record, now, ' ');
    push(record, format_args!(",{:03} {level} [{pid}] ", now.millisecond()));
    match &message.scorer_logger {
        // A scorer's logger: the name is its own.
        Some(name) => write_line(record, name),
        None => record.push_str(logger(event)),
    }
    record.push_str(" - ");
    write_lines(record, &message.text);
}

/// Writes an event as the user's configuration has it: once for each handler that takes it.
fn write_configured(record: &mut String, now: OffsetDateTime, pid: u32, event: &Event<'_>, config: &LoggingConfig) {
    let mut message = Message::default();
    event.record(&mut message);
    config.write(&message.as_record(event, now, pid), |text| write_lines(record, text));
}

/// Whether the user's configuration has a handler that takes an event.
fn is_taken(config: &LoggingConfig, event: &Event<'_>) -> bool {
    let mut message = Message::default();
    event.record(&mut message);
    let mut taken = false;
    config.write(&message.as_record(event, OffsetDateTime::UNIX_EPOCH, 0), |_| taken = true);
    taken
}

/// Appends the lines of a message, and ends the last one.
fn write_lines(record: &mut String, text: &str) {
    for (index, line) in text.split('\n').enumerate() {
        if index > 0 {
            record.push('\n');
            if begins_like_a_record(line) {
                record.push('\t');
            }
        }
        write_line(record, line);
    }
    record.push('\n');
}

/// `2026-11-21`, the separator, `23:18:46`.
fn write_date_time(record: &mut String, time: OffsetDateTime, separator: char) {
    let (year, month, day) = (time.year(), u8::from(time.month()), time.day());
    let (hour, minute, second) = (time.hour(), time.minute(), time.second());
    push(record, format_args!("{year:04}-{month:02}-{day:02}{separator}{hour:02}:{minute:02}:{second:02}"));
}

/// Appends a line of a message, its control characters escaped.
fn write_line(record: &mut String, line: &str) {
    let mut rest = line;
    while let Some(at) = rest.find(|char: char| char.is_control() && char != '\t') {
        record.push_str(&rest[..at]);
        let control = rest[at..].chars().next().unwrap_or_default();
        match control {
            '\r' => record.push_str("\\r"),
            _ => push(record, format_args!("\\x{:02x}", u32::from(control))),
        }
        rest = &rest[at + control.len_utf8()..];
    }
    record.push_str(rest);
}

/// Whether a line begins with the date and time of a record.
fn begins_like_a_record(line: &str) -> bool {
    const SHAPE: &[u8; 19] = b"0000-00-00 00:00:00";
    line.len() >= SHAPE.len()
        && line
            .bytes()
            .zip(SHAPE)
            .all(|(byte, shape)| if *shape == b'0' { byte.is_ascii_digit() } else { byte == *shape })
}

fn write_json(record: &mut String, now: OffsetDateTime, event: &Event<'_>, fields: Fields) {
    let Fields { message, named } = fields;
    let level = match *event.metadata().level() {
        Level::ERROR if message.critical => "CRITICAL",
        Level::ERROR => "ERROR",
        Level::WARN => "WARNING",
        Level::INFO => "INFO",
        _ => "DEBUG",
    };
    record.push_str("{\"timestamp\": \"");
    write_date_time(record, now, 'T');
    push(record, format_args!(".{:06}Z\", \"level\": \"{level}\", \"logger\": ", now.microsecond()));
    python_json::write_str(logger(event), record);
    record.push_str(", \"message\": ");
    python_json::write_str(&message.text, record);
    for (name, value) in &named {
        record.push_str(", ");
        // A field cannot be taken for one of the record's own.
        if matches!(*name, "timestamp" | "level" | "logger") {
            push(record, format_args!("\"{name}_\""));
        } else {
            python_json::write_str(name, record);
        }
        push(record, format_args!(": {value}"));
    }
    record.push_str("}\n");
}

/// What the text format needs of an event.
#[derive(Default)]
struct Message {
    text: String,
    critical: bool,
    /// The scorer's own name for its logger.
    scorer_logger: Option<String>,
}

impl Message {
    /// The event as Python's logging would know it.
    fn as_record<'a>(&'a self, event: &Event<'_>, time: OffsetDateTime, process: u32) -> LogRecord<'a> {
        let level = match *event.metadata().level() {
            Level::ERROR if self.critical => PythonLevel::CRITICAL,
            Level::ERROR => PythonLevel::ERROR,
            Level::WARN => PythonLevel::WARNING,
            Level::INFO => PythonLevel::INFO,
            _ => PythonLevel::DEBUG,
        };
        let logger = self.scorer_logger.as_deref().unwrap_or_else(|| logger(event));
        LogRecord { logger, level, message: &self.text, time, process }
    }
}

const MESSAGE: &str = "message";
const CRITICAL: &str = "critical";
/// The field in which a scorer's records carry the name of its logger.
const SCORER_LOGGER: &str = "scorer_logger";

impl Visit for Message {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            MESSAGE => self.text.push_str(value),
            SCORER_LOGGER => self.scorer_logger = Some(value.to_owned()),
            _ => {}
        }
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        if field.name() == CRITICAL {
            self.critical = value;
        } else {
            self.record_debug(field, &value);
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == MESSAGE {
            let _ = write!(self.text, "{value:?}");
        }
    }
}

/// The fields of an event or span.
#[derive(Default)]
struct Fields {
    message: Message,
    /// Names and JSON texts; the last value of a name counts.
    named: Vec<(&'static str, String)>,
}

impl Fields {
    fn set(&mut self, name: &'static str, json: String) {
        match self.named.iter_mut().find(|(known, _)| *known == name) {
            Some((_, value)) => *value = json,
            None => self.named.push((name, json)),
        }
    }

    fn extend(&mut self, others: &Self) {
        for (name, json) in &others.named {
            self.set(name, json.clone());
        }
    }

    fn set_text(&mut self, field: &Field, text: &str) {
        let mut json = String::with_capacity(text.len() + 2);
        python_json::write_str(text, &mut json);
        self.set(field.name(), json);
    }
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        if value.is_finite() {
            let mut json = String::new();
            python_json::write_float(value, &mut json);
            self.set(field.name(), json);
        } else {
            self.set_text(field, &value.to_string());
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.set(field.name(), value.to_string());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.set(field.name(), value.to_string());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        if field.name() == CRITICAL {
            self.message.critical = value;
        } else {
            self.set(field.name(), value.to_string());
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == MESSAGE {
            self.message.record_str(field, value);
        } else {
            self.set_text(field, value);
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == MESSAGE {
            self.message.record_debug(field, value);
        } else {
            self.set_text(field, &format!("{value:?}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    /// What `log` writes, in a layer of events from `level` on.
    fn logged(format: LogFormat, level: LevelFilter, log: impl FnOnce()) -> String {
        let memory = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&memory);
        let sink = move |record: &[u8]| sink.lock().unwrap().extend_from_slice(record);
        let layer = LogLayer::new(format, None, sink).with_filter(targets(level));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), log);
        String::from_utf8(memory.lock().unwrap().clone()).unwrap()
    }

    /// What `log` writes from level debug on, the time and the process id of text replaced.
    fn written(format: LogFormat, log: impl FnOnce()) -> String {
        let text = logged(format, LevelFilter::DEBUG, log);
        let pid = format!("[{}]", std::process::id());
        let lines = text.lines().map(|line| {
            let is_record = begins_like_a_record(line);
            if is_record { format!("<time>{}", line[23..].replacen(&pid, "[pid]", 1)) } else { line.to_owned() }
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn text_records_are_those_of_the_contract() {
        let text = written(LogFormat::Text, || {
            tracing::debug!(target: "scorebox_server::server", "debug");
            tracing::info!(target: "scorebox", "POST /score 200 {:.3}ms 2", 0.795);
            tracing::warn!(target: "azmlinfsrv", number = 1, "with fields");
            tracing::error!(target: "azmlinfsrv.user_script", "failed");
            tracing::error!(target: "azmlinfsrv", critical = true, "Invalid config file!");
            tracing::info!(target: "azmlinfsrv.print", "");
            tracing::info!(target: "gunicorn.access", message = "a str");
            tracing::info!(target: "hyper", "not for the log");
            tracing::warn!(target: "hyper", "of a library");
        });
        assert_eq!(
            text,
            "<time> D [pid] scorebox - debug\n\
             <time> I [pid] scorebox - POST /score 200 0.795ms 2\n\
             <time> W [pid] azmlinfsrv - with fields\n\
             <time> E [pid] azmlinfsrv.user_script - failed\n\
             <time> C [pid] azmlinfsrv - Invalid config file!\n\
             <time> I [pid] azmlinfsrv.print - \n\
             <time> I [pid] gunicorn.access - a str\n\
             <time> W [pid] hyper - of a library"
        );
    }

    #[test]
    fn the_time_is_utc_with_milliseconds() {
        let before = OffsetDateTime::now_utc();
        let text = logged(LogFormat::Text, LevelFilter::INFO, || tracing::info!(target: LOGGER, "x"));
        let mut minute = String::new();
        write_date_time(&mut minute, before, ' ');
        assert!(begins_like_a_record(&text));
        assert!(text[..16] == minute[..16] || before.second() == 59, "{text}");
        assert_eq!((&text[19..20], text[20..23].parse::<u16>().is_ok(), &text[23..27]), (",", true, " I ["));
    }

    #[test]
    fn lines_after_the_first_are_bare() {
        let text = written(LogFormat::Text, || tracing::info!(target: "azmlinfsrv.print", "one\ntwo\n\n\tfour\n"));
        assert_eq!(text, "<time> I [pid] azmlinfsrv.print - one\ntwo\n\n\tfour\n");
    }

    #[test]
    fn a_message_cannot_forge_a_record() {
        for (message, expected) in [
            ("a\rb\u{1b}[2J\0\u{7f}\u{85}\u{9b}é", "a\\rb\\x1b[2J\\x00\\x7f\\x85\\x9bé"),
            ("a\r\nb", "a\\r\nb"),
            (
                "x\n2026-11-21 23:18:46,123 I [1] azmlinfsrv - forged\n2026-11-21",
                "x\n\t2026-11-21 23:18:46,123 I [1] azmlinfsrv - forged\n2026-11-21",
            ),
        ] {
            let text = written(LogFormat::Text, || tracing::info!(target: "azmlinfsrv.print", "{message}"));
            assert_eq!(text, format!("<time> I [pid] azmlinfsrv.print - {expected}"));
        }
    }

    #[test]
    fn json_records_have_the_fields_of_spans_and_events() {
        let text = written(LogFormat::Json, || {
            let span =
                tracing::info_span!(target: "scorebox", "request", request_id = "id-1", status = tracing::field::Empty);
            let _entered = span.enter();
            span.record("status", 200);
            let inner = tracing::info_span!(target: "scorebox", "run", tenant = "a\"b", status = 500);
            inner.in_scope(|| {
                tracing::error!(target: "azmlinfsrv.print", critical = true, level = 3, ok = false, ms = 1e-7, bad = f64::NAN,
                    debug = ?vec![1], "two\nlines é\u{1b}");
            });
            tracing::info!(target: "scorebox_server", "done");
        });
        let mut lines = text.lines().map(|line| {
            let (head, tail) = line.split_once("Z\", ").unwrap();
            assert_eq!(head.len(), "{\"timestamp\": \"2026-11-21T23:18:46.123456".len());
            assert!(serde_json::from_str::<serde_json::Value>(line).unwrap().is_object());
            tail
        });
        assert_eq!(
            lines.next(),
            Some(
                r#""level": "CRITICAL", "logger": "azmlinfsrv.print", "message": "two\nlines \u00e9\u001b", "request_id": "id-1", "status": 500, "tenant": "a\"b", "level_": 3, "ok": false, "ms": 1e-07, "bad": "NaN", "debug": "[1]"}"#
            )
        );
        let last = r#""level": "INFO", "logger": "scorebox", "message": "done", "request_id": "id-1", "status": 200}"#;
        assert_eq!(lines.next(), Some(last));
        assert_eq!(lines.next(), None);
    }

    #[test]
    fn a_field_that_logs_while_it_is_written_does_no_harm() {
        struct Noisy;
        impl fmt::Debug for Noisy {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                tracing::info!(target: "inner", "inner");
                f.write_str("noisy")
            }
        }
        assert!(written(LogFormat::Text, || tracing::warn!(target: "outer", "{:?}", Noisy)).ends_with("outer - noisy"));
    }

    #[test]
    fn formats_have_names() {
        assert_eq!("text".parse::<LogFormat>().unwrap(), LogFormat::Text);
        assert_eq!("json".parse::<LogFormat>().unwrap(), LogFormat::Json);
        assert_eq!(
            "xml".parse::<LogFormat>().unwrap_err().to_string(),
            "log format \"xml\" is not known: use text or json"
        );
    }
}
