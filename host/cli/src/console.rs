//! What the user of a terminal sees: results on standard output, everything else on standard error.

use std::fmt::Display;
use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use scorebox_sandbox::{LogLevel, LogSink, LogStream, Stage};

/// How often the sign of progress moves.
const TICK: Duration = Duration::from_millis(100);

/// Writes a result of the host's own. That nobody reads it is no failure.
pub(crate) fn result(text: impl Display) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// Writes a result that a scorer said, which does not reach the terminal as commands to it.
pub(crate) fn said(text: impl Display) {
    result(plain(&text));
}

/// Writes something worth knowing that is not the result. What a scorer says may be part of it, with the same care.
pub(crate) fn note(text: impl Display) {
    let _ = writeln!(std::io::stderr(), "{}", plain(&text));
}

fn plain(text: &impl Display) -> String {
    text.to_string().chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')).collect()
}

/// Writes why something failed.
pub(crate) fn error(text: impl Display) {
    note(format_args!("error: {text}"));
}

/// Writes a table, with its columns one below the other.
pub(crate) fn table<const COLUMNS: usize>(head: [&str; COLUMNS], rows: &[[String; COLUMNS]]) {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([head[column].len()]).max().unwrap_or_default()
    };
    let widths: [usize; COLUMNS] = std::array::from_fn(width);
    let line = |cells: [&str; COLUMNS]| {
        let padded: Vec<_> = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        said(padded.join("  ").trim_end());
    };
    line(head);
    for row in rows {
        line(std::array::from_fn(|column| &*row[column]));
    }
}

/// Shows on a terminal how far a deployment has got; nothing elsewhere.
pub(crate) struct Progress {
    bar: ProgressBar,
}

impl Progress {
    pub(crate) fn new() -> Self {
        let bar = if std::io::stderr().is_terminal() { ProgressBar::new_spinner() } else { ProgressBar::hidden() };
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} ({elapsed})") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(TICK);
        Self { bar }
    }

    /// Says something.
    pub(crate) fn say(&self, text: impl Display) {
        self.bar.set_message(text.to_string());
    }

    /// Says what is being done now.
    pub(crate) fn stage(&self, stage: Stage) {
        self.bar.set_message(match stage {
            Stage::Loading => "looking into the cache",
            Stage::CompilingRuntime => "compiling the Python runtime, once for this machine: about a minute",
            Stage::Compiling => "compiling",
            Stage::Initialising => "running init()",
            Stage::Sealing => "compiling the snapshot",
        });
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// Writes what a scorer logs to standard error.
#[derive(Debug)]
pub(crate) struct StderrLog;

impl LogSink for StderrLog {
    fn write(&self, stream: LogStream, level: LogLevel, _logger: &str, text: &str) {
        let who = match stream {
            LogStream::Logger => match level {
                LogLevel::Debug => "debug",
                LogLevel::Info => "info",
                LogLevel::Warning => "warning",
                LogLevel::Error => "error",
                LogLevel::Critical => "critical",
            },
            LogStream::Stdout => "stdout",
            LogStream::Stderr => "stderr",
        };
        note(format_args!("[{who}] {text}"));
    }
}
