//! The user's `logging.json`: levels and formats of the log, as Python's `logging.config.dictConfig` takes them.
//!
//! What makes sense here is used: formatters with a format in the style `%` or `{`, handlers that write to a stream with
//! their levels, and loggers with levels, handlers and `propagate`. All streams are standard output. Filters and what
//! classes a user brings act on the records of a Python script, inside the sandbox. Source of the rules:
//! <https://docs.python.org/3/library/logging.config.html#dictionary-schema-details>.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Deserialize;
use time::OffsetDateTime;

/// The root of all loggers.
const ROOT: &str = "";
/// The handler of streams.
const STREAM_HANDLER: &str = "logging.StreamHandler";
/// The format of a formatter that does not say.
const PLAIN_FORMAT: &str = "%(message)s";

/// The formatter of Azure ML's inference server, and the format that it has when nobody says.
const SERVERS_FORMATTER: &str = ".AMLLogFormatter";
const SERVERS_FORMAT: &str = "%(asctime)s %(levelname).1s [%(process)d] %(name)s - %(message)s";

/// Characters that a field may be filled up to.
const MAX_WIDTH: usize = 1024;

/// Why a `logging.json` cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LoggingConfigError {
    /// It is not JSON of that form.
    #[error("it is not a configuration of Python's logging: {0}")]
    Json(#[from] serde_json::Error),
    /// A name is used that is nowhere defined.
    #[error("{what} {name:?} is used, and there is none of that name")]
    Missing {
        /// `handler` or `formatter`.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// There is no such level.
    #[error("level {0:?} is none of DEBUG, INFO, WARNING, ERROR and CRITICAL")]
    Level(String),
    /// A format cannot be read.
    #[error("format {format:?} {why}")]
    Format {
        /// The format.
        format: String,
        /// What is wrong with it.
        why: &'static str,
    },
}

/// Levels, in Python's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PythonLevel(u8);

impl PythonLevel {
    const NOT_SET: Self = Self(0);
    pub(crate) const DEBUG: Self = Self(10);
    pub(crate) const INFO: Self = Self(20);
    pub(crate) const WARNING: Self = Self(30);
    pub(crate) const ERROR: Self = Self(40);
    pub(crate) const CRITICAL: Self = Self(50);

    fn name(self) -> &'static str {
        match self.0 {
            50.. => "CRITICAL",
            40.. => "ERROR",
            30.. => "WARNING",
            20.. => "INFO",
            10.. => "DEBUG",
            _ => "NOTSET",
        }
    }
}

#[derive(Debug, Deserialize)]
struct Schema {
    #[serde(default)]
    formatters: BTreeMap<String, FormatterSchema>,
    #[serde(default)]
    handlers: BTreeMap<String, HandlerSchema>,
    #[serde(default)]
    loggers: BTreeMap<String, LoggerSchema>,
    root: Option<LoggerSchema>,
}

#[derive(Debug, Deserialize)]
struct FormatterSchema {
    class: Option<String>,
    format: Option<String>,
    datefmt: Option<String>,
    style: Option<String>,
}

#[derive(Debug, Deserialize)]
struct HandlerSchema {
    #[serde(default)]
    class: String,
    level: Option<LevelSchema>,
    formatter: Option<String>,
}

#[derive(Debug, Deserialize)]
struct LoggerSchema {
    level: Option<LevelSchema>,
    #[serde(default)]
    handlers: Vec<String>,
    propagate: Option<bool>,
}

/// A level by name or number.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum LevelSchema {
    Name(String),
    Number(u8),
}

impl LevelSchema {
    fn read(&self) -> Result<PythonLevel, LoggingConfigError> {
        Ok(match self {
            Self::Number(number) => PythonLevel(*number),
            Self::Name(name) => match &*name.to_ascii_uppercase() {
                "NOTSET" => PythonLevel::NOT_SET,
                "DEBUG" => PythonLevel::DEBUG,
                "INFO" => PythonLevel::INFO,
                "WARNING" | "WARN" => PythonLevel::WARNING,
                "ERROR" => PythonLevel::ERROR,
                "CRITICAL" | "FATAL" => PythonLevel::CRITICAL,
                _ => return Err(LoggingConfigError::Level(name.clone())),
            },
        })
    }
}

/// Which records are written, and how.
#[derive(Debug)]
pub struct LoggingConfig {
    /// By their dotted names; the root's is empty.
    loggers: BTreeMap<String, Logger>,
    /// Handlers that write to something else than a stream, by name, with their classes.
    unused: Vec<String>,
    /// Whether all records begin with the time as Python writes it.
    begins_with_time: bool,
}

#[derive(Debug)]
struct Logger {
    level: PythonLevel,
    handlers: Vec<Handler>,
    propagate: bool,
}

#[derive(Debug, Clone)]
struct Handler {
    level: PythonLevel,
    format: Format,
}

/// A record, as formats know it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LogRecord<'a> {
    pub(crate) logger: &'a str,
    pub(crate) level: PythonLevel,
    pub(crate) message: &'a str,
    pub(crate) time: OffsetDateTime,
    pub(crate) process: u32,
}

impl LoggingConfig {
    /// Reads it.
    pub fn parse(json: &[u8]) -> Result<Self, LoggingConfigError> {
        let schema: Schema = serde_json::from_slice(json)?;
        let (mut handlers, mut unused) = (BTreeMap::new(), Vec::new());
        for (name, handler) in &schema.handlers {
            if handler.class != STREAM_HANDLER {
                unused.push(format!("{name} ({})", handler.class));
                handlers.insert(name, None);
                continue;
            }
            let format = match &handler.formatter {
                None => Format::parse(PLAIN_FORMAT, None, None)?,
                Some(name) => {
                    let missing = || LoggingConfigError::Missing { what: "formatter", name: name.clone() };
                    let formatter = schema.formatters.get(name).ok_or_else(missing)?;
                    let of_server = formatter.class.as_deref().is_some_and(|class| class.ends_with(SERVERS_FORMATTER));
                    let default = if of_server { SERVERS_FORMAT } else { PLAIN_FORMAT };
                    let format = formatter.format.as_deref().unwrap_or(default);
                    Format::parse(format, formatter.style.as_deref(), formatter.datefmt.clone())?
                }
            };
            let level = handler.level.as_ref().map_or(Ok(PythonLevel::NOT_SET), LevelSchema::read)?;
            handlers.insert(name, Some(Handler { level, format }));
        }
        let mut loggers = BTreeMap::new();
        let root = schema.root.iter().map(|root| (ROOT, root));
        for (name, logger) in schema.loggers.iter().map(|(name, logger)| (&**name, logger)).chain(root) {
            let of_name = |name: &String| {
                let missing = || LoggingConfigError::Missing { what: "handler", name: name.clone() };
                handlers.get(name).ok_or_else(missing).cloned()
            };
            let own = logger.handlers.iter().map(of_name).collect::<Result<Vec<_>, _>>()?;
            let level = logger.level.as_ref().map_or(Ok(PythonLevel::NOT_SET), LevelSchema::read)?;
            let propagate = logger.propagate.unwrap_or(true);
            loggers.insert(name.to_owned(), Logger { level, handlers: own.into_iter().flatten().collect(), propagate });
        }
        let mut in_use = loggers.values().flat_map(|logger| &logger.handlers);
        let begins_with_time = in_use.all(|handler| handler.format.begins_with_time());
        Ok(Self { loggers, unused, begins_with_time })
    }

    /// Handlers that are not used, because they write to something else than a stream.
    pub fn unused_handlers(&self) -> &[String] {
        &self.unused
    }

    /// Calls `write` with the text of each handler that takes a record.
    pub(crate) fn write(&self, record: &LogRecord<'_>, mut write: impl FnMut(&str)) {
        // A record of the server's own is one of the server that it stands for.
        let logger = if record.logger == "scorebox" { "azmlinfsrv" } else { record.logger };
        if record.level < self.effective_level(logger) {
            return;
        }
        // No line of a message is to pass for a record. Where all begin with the time, whoever writes the lines sees which
        // ones would.
        let message = if self.begins_with_time {
            Cow::Borrowed(record.message)
        } else {
            Cow::Owned(record.message.replace('\n', "\n\t"))
        };
        let record = LogRecord { message: &message, ..*record };
        let mut text = String::new();
        for logger in self.ancestors(logger) {
            for handler in logger.handlers.iter().filter(|handler| record.level >= handler.level) {
                text.clear();
                handler.format.write(&record, &mut text);
                write(&text);
            }
            if !logger.propagate {
                return;
            }
        }
    }

    /// The level of a logger: its own, or that of the nearest one above that has one.
    fn effective_level(&self, name: &str) -> PythonLevel {
        let mut levels = self.ancestors(name).map(|logger| logger.level);
        levels.find(|level| *level != PythonLevel::NOT_SET).unwrap_or(PythonLevel::WARNING)
    }

    /// The loggers that are configured, from one up to the root.
    fn ancestors(&self, name: &str) -> impl Iterator<Item = &Logger> {
        let mut names = vec![name.to_owned()];
        while let Some((above, _)) = names.last().and_then(|name| name.rsplit_once('.')) {
            let above = above.to_owned();
            names.push(above);
        }
        if !name.is_empty() {
            names.push(ROOT.to_owned());
        }
        names.into_iter().filter_map(|name| self.loggers.get(&name))
    }
}

/// A format, taken apart.
#[derive(Debug, Clone)]
struct Format {
    pieces: Vec<Piece>,
    date_format: Option<String>,
}

#[derive(Debug, Clone)]
enum Piece {
    Text(String),
    Field(Field),
}

/// An attribute of a record, with how it is written.
#[derive(Debug, Clone)]
struct Field {
    name: String,
    left: bool,
    zero: bool,
    width: usize,
    precision: Option<usize>,
}

impl Format {
    fn parse(format: &str, style: Option<&str>, date_format: Option<String>) -> Result<Self, LoggingConfigError> {
        let wrong = |why| LoggingConfigError::Format { format: format.to_owned(), why };
        let pieces = match style.unwrap_or("%") {
            "%" => percent_pieces(format).map_err(wrong)?,
            "{" => brace_pieces(format).map_err(wrong)?,
            _ => return Err(wrong("has a style that is not supported; use % or {")),
        };
        Ok(Self { pieces, date_format })
    }

    fn write(&self, record: &LogRecord<'_>, text: &mut String) {
        for piece in &self.pieces {
            match piece {
                Piece::Text(plain) => text.push_str(plain),
                Piece::Field(field) => field.write(record, self.date_format.as_deref(), text),
            }
        }
    }

    /// Whether a record begins with the time as Python writes it.
    fn begins_with_time(&self) -> bool {
        let first = self.pieces.iter().find(|piece| !matches!(piece, Piece::Text(plain) if plain.is_empty()));
        let is_time = |field: &Field| field.name == "asctime" && field.width == 0;
        self.date_format.is_none() && matches!(first, Some(Piece::Field(field)) if is_time(field))
    }
}

impl Field {
    fn write(&self, record: &LogRecord<'_>, date_format: Option<&str>, text: &mut String) {
        let mut value = match &*self.name {
            "message" => record.message.to_owned(),
            // A scorer chooses the names of its loggers.
            "name" => record.logger.replace('\n', "\\x0a"),
            "levelname" => record.level.name().to_owned(),
            "levelno" => record.level.0.to_string(),
            "process" => record.process.to_string(),
            "asctime" => as_time(record.time, date_format),
            "msecs" => record.time.millisecond().to_string(),
            "created" => format!("{:.6}", record.time.unix_timestamp_nanos() as f64 / 1e9),
            "processName" | "threadName" => "MainThread".to_owned(),
            // Where in the code a record comes from is not known outside of the sandbox.
            _ => String::new(),
        };
        if let Some(precision) = self.precision.filter(|_| matches!(&*self.name, "levelname" | "name" | "message")) {
            value = value.chars().take(precision).collect();
        }
        let padding = self.width.saturating_sub(value.chars().count());
        let filler = if self.zero && !self.left { '0' } else { ' ' };
        if !self.left {
            text.extend(std::iter::repeat_n(filler, padding));
        }
        text.push_str(&value);
        if self.left {
            text.extend(std::iter::repeat_n(' ', padding));
        }
    }
}

/// `%(name)-8s`, `%(levelname).1s`, `%(msecs)03d`, `%%`.
fn percent_pieces(format: &str) -> Result<Vec<Piece>, &'static str> {
    let (mut pieces, mut rest) = (Vec::new(), format);
    while let Some((before, after)) = rest.split_once('%') {
        pieces.push(Piece::Text(before.to_owned()));
        if let Some(after) = after.strip_prefix('%') {
            pieces.push(Piece::Text("%".to_owned()));
            rest = after;
            continue;
        }
        let after = after.strip_prefix('(').ok_or("has a % that no name in parentheses follows")?;
        let (name, after) = after.split_once(')').ok_or("has a parenthesis that is not closed")?;
        let end = after.find(|char: char| char.is_ascii_alphabetic()).ok_or("has a field without a conversion")?;
        pieces.push(Piece::Field(field(name, &after[..end])?));
        rest = &after[end + 1..];
    }
    pieces.push(Piece::Text(rest.to_owned()));
    Ok(pieces)
}

/// `{name}`, `{levelname:<8}`, `{{`.
fn brace_pieces(format: &str) -> Result<Vec<Piece>, &'static str> {
    let (mut pieces, mut rest) = (Vec::new(), format);
    while let Some(at) = rest.find(['{', '}']) {
        let (before, after) = rest.split_at(at);
        pieces.push(Piece::Text(before.to_owned()));
        let brace = &after[..1];
        if after[1..].starts_with(brace) {
            pieces.push(Piece::Text(brace.to_owned()));
            rest = &after[2..];
            continue;
        }
        let (inside, after) = after[1..].split_once('}').filter(|_| brace == "{").ok_or("has a brace on its own")?;
        let (name, spec) = inside.split_once(':').unwrap_or((inside, ""));
        let spec = spec.trim_end_matches(|char: char| char.is_ascii_alphabetic());
        let spec =
            spec.strip_prefix('<').map_or_else(|| spec.trim_start_matches('>').to_owned(), |rest| format!("-{rest}"));
        pieces.push(Piece::Field(field(name, &spec)?));
        rest = after;
    }
    pieces.push(Piece::Text(rest.to_owned()));
    Ok(pieces)
}

/// A field, from what stands between its name and its conversion: `-8`, `.1`, `03`.
fn field(name: &str, spec: &str) -> Result<Field, &'static str> {
    let flags = spec.chars().take_while(|char| matches!(char, '-' | '0' | '+' | ' ' | '#')).collect::<String>();
    let (width, precision) = spec[flags.len()..].split_once('.').unwrap_or((&spec[flags.len()..], ""));
    // What is no number has no effect; one with more digits than fit is a number all the same.
    let is_number = !width.is_empty() && width.bytes().all(|digit| digit.is_ascii_digit());
    let width = if is_number { width.parse().unwrap_or(usize::MAX) } else { 0 };
    if width > MAX_WIDTH {
        return Err("has a field that is more than 1024 characters wide");
    }
    Ok(Field {
        name: name.to_owned(),
        left: flags.contains('-'),
        zero: flags.contains('0'),
        width,
        precision: precision.parse().ok(),
    })
}

/// The time in UTC, by the codes of `strftime` that logs use; without a format as Python's logging writes it.
fn as_time(time: OffsetDateTime, format: Option<&str>) -> String {
    let mut text = String::with_capacity(24);
    let mut codes = format.unwrap_or("%Y-%m-%d %H:%M:%S").chars();
    while let Some(char) = codes.next() {
        let code = if char == '%' { codes.next() } else { None };
        // Writing to a string does not fail.
        let _ = match code {
            None => write!(text, "{char}"),
            Some('Y') => write!(text, "{:04}", time.year()),
            Some('y') => write!(text, "{:02}", time.year() % 100),
            Some('m') => write!(text, "{:02}", u8::from(time.month())),
            Some('d') => write!(text, "{:02}", time.day()),
            Some('H') => write!(text, "{:02}", time.hour()),
            Some('M') => write!(text, "{:02}", time.minute()),
            Some('S') => write!(text, "{:02}", time.second()),
            Some('f') => write!(text, "{:06}", time.microsecond()),
            Some('j') => write!(text, "{:03}", time.ordinal()),
            Some('b') => write!(text, "{:.3}", time.month().to_string()),
            Some('B') => write!(text, "{}", time.month()),
            Some('a') => write!(text, "{:.3}", time.weekday().to_string()),
            Some('A') => write!(text, "{}", time.weekday()),
            Some('z') => write!(text, "+0000"),
            Some('Z') => write!(text, "UTC"),
            Some('F') => write!(text, "{:04}-{:02}-{:02}", time.year(), u8::from(time.month()), time.day()),
            Some('T') => write!(text, "{:02}:{:02}:{:02}", time.hour(), time.minute(), time.second()),
            Some(other) => write!(text, "{other}"),
        };
    }
    if format.is_none() {
        let _ = write!(text, ",{:03}", time.millisecond());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = r#"{
        "version": 1,
        "formatters": {
            "long": {"format": "[%(levelname)-8s] [%(process)d] %(name)s %(asctime)s | %(message)s 100%%"},
            "short": {"format": "{levelname:.1} {message}", "style": "{"},
            "dated": {"format": "%(asctime)s.%(msecs)03d %(message)s", "datefmt": "%d %b %Y %H:%M:%S"}
        },
        "handlers": {
            "stdout": {"class": "logging.StreamHandler", "formatter": "long", "stream": "ext://sys.stdout"},
            "errors": {"class": "logging.StreamHandler", "formatter": "short", "level": "ERROR"},
            "dated": {"class": "logging.StreamHandler", "formatter": "dated"},
            "file": {"class": "logging.FileHandler", "filename": "x.log"}
        },
        "loggers": {
            "azmlinfsrv": {"level": "INFO", "handlers": ["stdout"], "propagate": false},
            "azmlinfsrv.print": {"level": "DEBUG", "handlers": ["errors"]},
            "mine": {"handlers": ["file"]}
        },
        "root": {"level": "WARNING", "handlers": ["dated"]}
    }"#;

    fn written(logger: &str, level: PythonLevel) -> Vec<String> {
        let config = LoggingConfig::parse(CONFIG.as_bytes()).unwrap();
        let time = OffsetDateTime::from_unix_timestamp(1_795_303_126).unwrap() + std::time::Duration::from_millis(7);
        let mut lines = Vec::new();
        let record = LogRecord { logger, level, message: "hello", time, process: 42 };
        config.write(&record, |line| lines.push(line.to_owned()));
        lines
    }

    #[test]
    fn records_are_written_in_the_formats_of_their_handlers() {
        let long = |level, logger| format!("[{level:8}] [42] {logger} 2026-11-21 23:18:46,007 | hello 100%");
        assert_eq!(written("azmlinfsrv", PythonLevel::INFO), [long("INFO", "azmlinfsrv")]);
        assert_eq!(written("scorebox", PythonLevel::WARNING), [long("WARNING", "scorebox")]);
        let both = ["E hello".to_owned(), long("ERROR", "azmlinfsrv.print")];
        assert_eq!(written("azmlinfsrv.print", PythonLevel::ERROR), both);
        assert_eq!(written("other.module", PythonLevel::ERROR), ["21 Nov 2026 23:18:46.007 hello"]);
    }

    #[test]
    fn neither_a_message_nor_a_name_can_forge_a_record_whatever_the_format_is() {
        let bare = "x\nCRITICAL:azmlinfsrv:forged";
        let indented = "x\n\tCRITICAL:azmlinfsrv:forged";
        // What handlers with these formatters write.
        let forged = |formatters: &[&serde_json::Value]| {
            let names: Vec<_> = (0..formatters.len()).map(|at| at.to_string()).collect();
            let handler = |name: &String| {
                let handler = serde_json::json!({"class": "logging.StreamHandler", "formatter": name});
                (name.clone(), handler)
            };
            let json = serde_json::json!({
                "formatters": names.iter().zip(formatters).collect::<BTreeMap<_, _>>(),
                "handlers": names.iter().map(handler).collect::<BTreeMap<_, _>>(),
                "root": {"handlers": names},
            });
            let config = LoggingConfig::parse(json.to_string().as_bytes()).unwrap();
            let (level, time) = (PythonLevel::WARNING, OffsetDateTime::UNIX_EPOCH);
            let mut written = Vec::new();
            let record = LogRecord { logger: "a\nb", level, message: bare, time, process: 1 };
            config.write(&record, |text| written.push(text.to_owned()));
            written
        };
        let named = |message| format!(r"WARNING:a\x0ab:{message}");
        let timed = |message| format!("1970-01-01 00:00:00,000 {message}");
        for (formatter, expected) in [
            (serde_json::json!({"format": "%(levelname)s:%(name)s:%(message)s"}), named(indented)),
            (serde_json::json!({"format": "{levelname}:{name}:{message}", "style": "{"}), named(indented)),
            (serde_json::json!({"format": "%(asctime)s %(message)s"}), timed(bare)),
            (serde_json::json!({"format": " %(asctime)s %(message)s"}), format!(" {}", timed(indented))),
            (serde_json::json!({"format": "%(asctime)24s %(message)s"}), format!(" {}", timed(indented))),
            (serde_json::json!({"format": "%(asctime)s %(message)s", "datefmt": "%Y"}), format!("1970 {indented}")),
        ] {
            assert_eq!(forged(&[&formatter]), [expected], "{formatter}");
        }
        let (first, second) = (serde_json::json!({"format": "%(asctime)s %(message)s"}), serde_json::json!({}));
        assert_eq!(forged(&[&first, &second]), [timed(indented), indented.to_owned()], "one may not forge the other's");
    }

    #[test]
    fn levels_are_those_of_the_nearest_logger() {
        assert!(written("azmlinfsrv", PythonLevel::DEBUG).is_empty());
        assert_eq!(written("azmlinfsrv.print", PythonLevel::DEBUG).len(), 1);
        assert!(written("other", PythonLevel::INFO).is_empty());
        assert!(written("azmlinfsrv.user_script", PythonLevel::DEBUG).is_empty());
    }

    #[test]
    fn handlers_of_other_kinds_are_named() {
        let config = LoggingConfig::parse(CONFIG.as_bytes()).unwrap();
        assert_eq!(config.unused_handlers(), ["file (logging.FileHandler)"]);
    }

    #[test]
    fn what_cannot_be_used_is_refused() {
        let error = |json: &str| LoggingConfig::parse(json.as_bytes()).unwrap_err().to_string();
        assert!(error("[]").starts_with("it is not a configuration"));
        assert!(error(r#"{"loggers": {"a": {"handlers": ["x"]}}}"#).contains("handler \"x\""));
        assert!(error(r#"{"loggers": {"a": {"level": "LOUD"}}}"#).contains("\"LOUD\""));
        let format = |format: &str| {
            let json = serde_json::json!({
                "formatters": {"f": {"format": format}},
                "handlers": {"h": {"class": "logging.StreamHandler", "formatter": "f"}},
            });
            LoggingConfig::parse(json.to_string().as_bytes()).is_err()
        };
        assert!(format("%s") && format("%(name") && format("%(name)") && !format("%(name)s"));
    }
}
