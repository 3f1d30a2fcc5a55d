//! The last of what the scorer of a deployment said, and of why it failed.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use scorebox_sandbox::LogLevel;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

/// Bytes of text that are kept of a deployment.
const MAX_BYTES: usize = 64 * 1024;
/// Bytes of one line that are kept.
const MAX_LINE: usize = 8 * 1024;
/// What a line counts besides its text.
const LINE: usize = 64;

/// Keeps the last lines: 64 KiB of them.
#[derive(Debug)]
pub struct LogTail {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    lines: VecDeque<LogLine>,
    bytes: usize,
    /// The number of the last line.
    last: u64,
}

/// Something that was said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// Its number, one more than that of the line before. Those of a server that is started again, or of a deployment that is
    /// made anew, are larger than those before.
    pub number: u64,
    /// When.
    #[serde(with = "time::serde::rfc3339")]
    pub time: OffsetDateTime,
    /// For which request; none while it was being deployed.
    pub request_id: Option<String>,
    /// `debug`, `info`, `warning`, `error` or `critical`.
    pub level: String,
    /// What.
    pub text: String,
}

impl Default for LogTail {
    /// Numbers go on from the microseconds since 1970: who has read some of before is told all that comes. Programs that know
    /// floating-point numbers only can tell them apart until 2255.
    fn default() -> Self {
        let micros = OffsetDateTime::now_utc().unix_timestamp_nanos() / 1000;
        let state = State { lines: VecDeque::new(), bytes: 0, last: u64::try_from(micros).unwrap_or_default() };
        Self { state: Mutex::new(state) }
    }
}

impl LogTail {
    /// Adds a line. The oldest make room for it.
    pub(crate) fn write(&self, request_id: Option<&str>, level: LogLevel, text: &str) {
        let kept = text.floor_char_boundary(MAX_LINE);
        let text = if kept == text.len() { text.to_owned() } else { format!("{}...", &text[..kept]) };
        let level = match level {
            LogLevel::Debug => "debug",
            LogLevel::Info => "info",
            LogLevel::Warning => "warning",
            LogLevel::Error => "error",
            LogLevel::Critical => "critical",
        };
        let mut state = self.lock();
        state.last += 1;
        state.bytes += LINE + text.len();
        let (number, time) = (state.last, OffsetDateTime::now_utc());
        let request_id = request_id.map(str::to_owned);
        state.lines.push_back(LogLine { number, time, request_id, level: level.to_owned(), text });
        while state.bytes > MAX_BYTES
            && let Some(oldest) = state.lines.pop_front()
        {
            state.bytes -= LINE + oldest.text.len();
        }
    }

    /// The lines after that of a number, oldest first; of more than `limit` the last. A number beyond the last line's is of
    /// before the clock was set back, and all lines are after that.
    pub fn after(&self, number: u64, limit: usize) -> Vec<LogLine> {
        let state = self.lock();
        let number = if number > state.last { 0 } else { number };
        let newer = state.lines.iter().rev().take_while(|line| line.number > number).take(limit);
        let mut lines: Vec<_> = newer.cloned().collect();
        lines.reverse();
        lines
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_last_lines_are_kept_within_their_bytes() {
        let tail = LogTail::default();
        for number in 1..=5000 {
            tail.write(None, LogLevel::Info, &format!("line {number}"));
        }
        let kept = tail.after(0, usize::MAX);
        let bytes: usize = kept.iter().map(|line| LINE + line.text.len()).sum();
        assert!(bytes <= MAX_BYTES && bytes > MAX_BYTES - 2 * LINE, "{bytes}");
        let last = kept.last().expect("a line");
        assert_eq!(last.text, "line 5000");
        let texts = |lines: Vec<LogLine>| lines.into_iter().map(|line| line.text).collect::<Vec<_>>();
        assert_eq!(texts(tail.after(last.number - 2, 10)), ["line 4999", "line 5000"]);
        assert_eq!(texts(tail.after(0, 1)), ["line 5000"]);
        assert_eq!(tail.after(last.number, 10), []);
        // A long one is cut, and leaves room for itself alone at the most.
        tail.write(Some("id"), LogLevel::Error, &"ä".repeat(MAX_BYTES));
        let last = tail.after(last.number, 10).remove(0);
        assert_eq!((last.text.len(), last.request_id.as_deref(), &*last.level), (MAX_LINE + 3, Some("id"), "error"));
    }

    #[test]
    fn who_has_read_lines_of_an_earlier_log_is_given_all_of_this_one() {
        let earlier = LogTail::default();
        for _ in 0..3 {
            earlier.write(None, LogLevel::Info, "earlier");
        }
        let read = earlier.after(0, 10)[2].number;
        std::thread::sleep(Duration::from_millis(1));
        let tail = LogTail::default();
        assert_eq!(tail.after(read, 10), []);
        for text in ["first", "second", "third", "fourth"] {
            tail.write(None, LogLevel::Info, text);
        }
        let all = tail.after(0, 10);
        assert_eq!(all.len(), 4);
        assert_eq!(tail.after(read, 10), all);
        assert_eq!(tail.after(all[3].number + 1, 10), all, "the clock was set back");
        assert_eq!(tail.after(all[3].number, 10), [], "who has read the last waits for the next");
    }
}
