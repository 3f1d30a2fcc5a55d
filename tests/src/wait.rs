//! Waiting for a condition, for as long as it may take and no longer.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How long anything may take that has no limit of its own.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// How often a condition is looked at.
const STEP: Duration = Duration::from_millis(2);

/// Waits until the condition holds. Fails after `limit`, saying what was waited for.
#[track_caller]
pub fn eventually(limit: Duration, what: &str, condition: impl FnMut() -> bool) {
    assert!(holds_within(limit, condition), "{what}: not within {limit:?}");
}

/// Waits until the condition holds, and says whether it did within `limit`.
pub fn holds_within(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    loop {
        if condition() {
            return true;
        }
        if start.elapsed() >= limit {
            return false;
        }
        std::thread::sleep(STEP);
    }
}

/// Sets a flag when the test fails that holds it: so threads that go on until they are told otherwise end then, too.
#[derive(Debug)]
pub struct SetOnFailure<'a>(pub &'a AtomicBool);

impl Drop for SetOnFailure<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.store(true, Ordering::Relaxed);
        }
    }
}

/// The median of some times.
pub fn median(times: &[Duration]) -> Duration {
    let mut times = times.to_vec();
    times.sort_unstable();
    times[times.len() / 2]
}
