//! CPU time of threads.

use std::cell::Cell;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

thread_local! {
    static LAST: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

/// CPU time of this thread.
pub(super) fn now() -> Duration {
    // It counts from the start of the thread, so it is never negative.
    clock_gettime(ClockId::ThreadCPUTime).try_into().unwrap_or_default()
}

/// CPU time of this thread since it asked last.
pub(super) fn lap() -> Duration {
    let now = now();
    now.saturating_sub(LAST.replace(now))
}
