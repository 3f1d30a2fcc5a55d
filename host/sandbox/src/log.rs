//! What a guest has to say, and the limit on it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// How important a text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum LogLevel {
    /// For those who look for a defect.
    Debug,
    /// Normal events.
    Info,
    /// Something to look at.
    Warning,
    /// Something failed.
    Error,
    /// The scorer cannot go on.
    Critical,
}

/// Where a guest wrote a text to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum LogStream {
    /// The scorer's logger.
    Logger,
    /// Standard output: what `print` writes.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Receives what guests write.
///
/// Called on the thread that runs the guest, while it runs: an implementation must not block.
pub trait LogSink: Send + Sync {
    /// Takes one record. `logger` is the name of the guest's logger, empty where there is none, at most 255 bytes. The text is
    /// the guest's, as is the name: any characters, any number of lines, within the limit on its bytes.
    fn write(&self, stream: LogStream, level: LogLevel, logger: &str, text: &str);
}

/// A sink that forgets everything.
#[derive(Debug, Default, Clone, Copy)]
pub struct NoLog;

impl LogSink for NoLog {
    fn write(&self, _: LogStream, _: LogLevel, _: &str, _: &str) {}
}

/// Bytes that a record costs besides its logger's name and its text, so that a flood of empty records ends as well.
const RECORD_COST: u64 = 32;
/// Bytes that a control character costs, which takes a log an escape sequence; apart from those that text has.
const CONTROL_COST: u64 = 4;
/// Bytes of the name of a logger that are passed on.
const LOGGER_BYTES: usize = 255;

/// The name of a logger as it is passed on.
pub(crate) fn cut_logger(name: &str) -> &str {
    &name[..name.floor_char_boundary(LOGGER_BYTES)]
}

/// What a record counts for against the limit of an instance, in bytes.
pub(crate) fn cost(logger: &str, text: &str) -> u64 {
    let of = |text: &str| text.chars().map(char_cost).sum::<u64>();
    RECORD_COST + of(cut_logger(logger)) + of(text)
}

fn char_cost(char: char) -> u64 {
    if char.is_control() && !matches!(char, '\n' | '\t') { CONTROL_COST } else { char.len_utf8() as u64 }
}

/// The longest beginning of a text that costs no more than `left`, and what it costs.
fn beginning(text: &str, left: u64) -> (&str, u64) {
    let mut cost = 0;
    for (at, char) in text.char_indices() {
        let more = cost + char_cost(char);
        if more > left {
            return (&text[..at], cost);
        }
        cost = more;
    }
    (text, cost)
}

/// Hands records to a sink until the limit of the instance is reached.
pub(crate) struct LogWriter {
    sink: Arc<dyn LogSink>,
    left: u64,
    dropped: u64,
}

impl std::fmt::Debug for LogWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogWriter").field("left", &self.left).field("dropped", &self.dropped).finish_non_exhaustive()
    }
}

impl LogWriter {
    pub(crate) fn new(sink: Arc<dyn LogSink>, limit: u64) -> Self {
        Self { sink, left: limit, dropped: 0 }
    }

    /// Writes `text`, cut to what the name of the logger leaves of the limit.
    pub(crate) fn write(&mut self, stream: LogStream, level: LogLevel, logger: &str, text: &str) {
        let logger = cut_logger(logger);
        self.left = self.left.saturating_sub(cost(logger, ""));
        let (kept, cost) = beginning(text, self.left);
        self.left -= cost;
        self.dropped += (text.len() - kept.len()) as u64;
        if !kept.is_empty() || (text.is_empty() && self.left > 0) {
            self.sink.write(stream, level, logger, kept);
        } else if text.is_empty() {
            self.dropped += 1;
        }
    }
}

impl Drop for LogWriter {
    fn drop(&mut self) {
        if self.dropped > 0 {
            let text = format!("log limit reached: {} bytes were left out", self.dropped);
            self.sink.write(LogStream::Logger, LogLevel::Warning, "", &text);
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::Mutex;

    use proptest::prelude::*;

    use super::*;

    /// Keeps the texts of all records.
    #[derive(Default)]
    pub(crate) struct Records(pub(crate) Mutex<Vec<String>>);

    impl LogSink for Records {
        fn write(&self, _: LogStream, _: LogLevel, _: &str, text: &str) {
            self.0.lock().unwrap().push(text.to_owned());
        }
    }

    /// Bytes of a text in a log that escapes what is no text.
    fn escaped(text: &str) -> u64 {
        let escaped = text.replace('\u{1}', r"\x01").replace('\u{85}', r"\x85").replace('\r', r"\x0d");
        escaped.len() as u64
    }

    proptest! {
        #[test]
        fn no_sequence_of_records_is_over_the_limit(
            limit in 0..600_u64,
            logger in "[a-z\u{1}\u{85}]{0,40}",
            texts in prop::collection::vec("[a-zé😀\n\t\r\u{1}\u{85}]{0,60}", 0..30),
        ) {
            let records = Arc::new(Records::default());
            let mut log = LogWriter::new(Arc::clone(&records) as Arc<dyn LogSink>, limit);
            for text in &texts {
                log.write(LogStream::Stdout, LogLevel::Info, &logger, text);
            }
            drop(log);
            let mut seen = records.0.lock().unwrap().clone();
            let last = seen.pop_if(|last| last.starts_with("log limit reached: "));
            let bytes: u64 = seen.iter().map(|text| 32 + escaped(&logger) + escaped(text)).sum();
            prop_assert!(bytes <= limit);
            // What is there is what was written: whole records, then perhaps the beginnings of some.
            let mut written = texts.iter();
            for record in &seen {
                prop_assert!(written.any(|text| text.starts_with(record.as_str())));
            }
            let all: usize = texts.iter().map(String::len).sum();
            let left_out = all - seen.iter().map(String::len).sum::<usize>();
            let empty = texts.iter().filter(|text| text.is_empty()).count();
            let counted = last.as_deref().map_or(0, |last| {
                let digits = last.strip_prefix("log limit reached: ").and_then(|rest| rest.split(' ').next());
                digits.unwrap().parse::<usize>().unwrap()
            });
            // An empty record that is left out counts as a byte.
            prop_assert!((left_out..=left_out + empty).contains(&counted), "{left_out} {counted}");
        }
    }

    #[test]
    fn a_name_costs_as_much_as_is_passed_on_of_it() {
        let name = "\u{1}".repeat(1000);
        assert_eq!(cost(&name, "é\n"), RECORD_COST + 255 * 4 + 3);
        let records = Arc::new(Records::default());
        let mut log = LogWriter::new(Arc::clone(&records) as Arc<dyn LogSink>, cost(&name, "") + 1);
        log.write(LogStream::Logger, LogLevel::Info, &name, "ab");
        log.write(LogStream::Logger, LogLevel::Info, &name, "c");
        drop(log);
        assert_eq!(*records.0.lock().unwrap(), ["a", "log limit reached: 2 bytes were left out"]);
    }

    #[test]
    fn what_is_over_the_limit_is_counted_and_left_out() {
        let records = Arc::new(Records::default());
        let mut log = LogWriter::new(Arc::clone(&records) as Arc<dyn LogSink>, RECORD_COST + 5);
        log.write(LogStream::Logger, LogLevel::Info, "", "aaaéé");
        log.write(LogStream::Logger, LogLevel::Info, "", "bb");
        log.write(LogStream::Logger, LogLevel::Info, "", "");
        drop(log);
        let seen = records.0.lock().unwrap();
        assert_eq!(*seen, ["aaaé", "log limit reached: 5 bytes were left out"]);
    }
}
