//! The threads of telemetry, and what they log.
//!
//! What they log is never telemetry: an endpoint that refuses it would have more to refuse each time.

use std::cell::Cell;
use std::io;
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

thread_local! {
    static IS_OWN: Cell<bool> = const { Cell::new(false) };
}

/// How often a destination's trouble is logged at most.
const WARNING_INTERVAL: Duration = Duration::from_mins(1);

/// Starts a thread of telemetry.
pub(crate) fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    Builder::new().name(name.to_owned()).spawn(move || {
        IS_OWN.set(true);
        run();
    })
}

/// Whether the current thread is one of telemetry's.
pub(crate) fn is_own_thread() -> bool {
    IS_OWN.get()
}

/// Lets one warning a minute through.
#[derive(Debug, Default)]
pub(crate) struct Warnings {
    last: Option<Instant>,
}

impl Warnings {
    /// Logs the message, unless there was one less than a minute ago.
    pub(crate) fn warn(&mut self, message: impl FnOnce() -> String) {
        let now = Instant::now();
        if self.last.is_none_or(|last| now.duration_since(last) >= WARNING_INTERVAL) {
            self.last = Some(now);
            tracing::warn!(target: "azmlinfsrv", "{}", message());
        }
    }
}
