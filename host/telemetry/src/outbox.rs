//! What is on its way to one endpoint: batches in memory and on disk, and the thread that sends them.
//!
//! A batch stays in its place until the endpoint has taken or refused it. While the endpoint is away, that is after a
//! failure that may pass, batches go to the disk, when there is one, and the oldest is tried again after a delay that
//! doubles, or that the endpoint asks for when that is longer. Delivery is at least once: what was sent but not confirmed
//! is sent again.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use http::StatusCode;

use crate::batch::Batch;
use crate::client::{Answer, Client};
use crate::disk::Disk;
use crate::own::Warnings;

/// Bytes of batches that wait in memory, for one endpoint.
const MEMORY_BYTES: usize = 8 << 20;

/// The longest delay that an endpoint may ask for.
const RETRY_AFTER_MAX: Duration = Duration::from_hours(1);

/// When what cannot be delivered is tried again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Backoff {
    /// After the first failure; it doubles with each.
    pub(crate) first: Duration,
    /// The longest.
    pub(crate) longest: Duration,
}

impl Backoff {
    /// The delay after so many failures, which is varied by a fifth so that servers do not come back all at once.
    fn delay(&self, failures: u32) -> Duration {
        let delay = self.first.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(self.longest);
        let random = uuid::Uuid::new_v4().as_u64_pair().0 % 400;
        delay * (800 + random as u32) / 1000
    }
}

/// What the answer to a batch means.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It was taken, but for so many of its items.
    Taken {
        /// Items that will never be taken.
        refused: usize,
    },
    /// Some items are to be sent again.
    Partly {
        /// Their places in the batch.
        again: Vec<usize>,
        /// Items that will never be taken.
        refused: usize,
    },
    /// It is to be sent again.
    Later,
    /// It will never be taken.
    Refused,
}

/// What answers mean, which differs between services.
pub(crate) trait Protocol: Send + 'static {
    fn verdict(&self, answer: &Answer) -> Verdict;
}

/// Where batches for one endpoint are put.
#[derive(Clone, Debug)]
pub(crate) struct Outbox {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// What the endpoint is, for the log.
    name: String,
    backoff: Backoff,
    dropped: Arc<AtomicU64>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Oldest first; the number tells them apart.
    memory: VecDeque<(u64, Batch)>,
    memory_bytes: usize,
    count: u64,
    /// Whether the first in memory is being sent.
    first_is_sent: bool,
    disk: Option<Disk>,
    /// Failures since the endpoint last answered.
    failures: u32,
    retry: Option<Retry>,
    /// When sending has to end.
    deadline: Option<Instant>,
    /// No batch will be put in any more.
    closed: bool,
    /// Nothing is sent any more.
    ended: bool,
    warnings: Warnings,
    /// Of the disk: that an endpoint is away must not hide that nothing can be kept for it.
    disk_warnings: Warnings,
}

#[derive(Clone, Copy, Debug)]
struct Retry {
    at: Instant,
    /// When it may be tried at the earliest, where the endpoint asked for a delay.
    asked: Option<Instant>,
}

/// Where a batch that is being sent is kept.
#[derive(Clone, Copy, Debug)]
enum Place {
    Memory(u64),
    Disk(u64),
}

impl Outbox {
    pub(crate) fn new(name: String, disk: Option<Disk>, backoff: Backoff, dropped: Arc<AtomicU64>) -> Self {
        let state = Mutex::new(State { disk, ..State::default() });
        Self { shared: Arc::new(Shared { name, backoff, dropped, state, changed: Condvar::new() }) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn drop_items(&self, items: usize) {
        self.shared.dropped.fetch_add(items as u64, Ordering::Relaxed);
    }

    /// Puts in a batch. It may wait for the disk, never for the endpoint.
    pub(crate) fn push(&self, batch: Batch) {
        let mut state = self.state();
        if state.failures > 0 || state.ended {
            self.keep(&mut state, batch);
        } else {
            self.push_memory(&mut state, batch);
        }
        drop(state);
        self.shared.changed.notify_all();
    }

    /// Keeps a batch where it outlives the process, if that is possible.
    fn keep(&self, state: &mut State, batch: Batch) {
        let Some(disk) = &mut state.disk else {
            return if state.ended { self.drop_items(batch.items) } else { self.push_memory(state, batch) };
        };
        if let Err(error) = disk.push(&batch) {
            let name = &self.shared.name;
            state.disk_warnings.warn(|| format!("Telemetry for {name} cannot be kept on disk: {error}"));
            if state.ended { self.drop_items(batch.items) } else { self.push_memory(state, batch) }
        }
    }

    fn push_memory(&self, state: &mut State, batch: Batch) {
        state.count += 1;
        state.memory_bytes += batch.body.len();
        let count = state.count;
        state.memory.push_back((count, batch));
        while state.memory_bytes > MEMORY_BYTES {
            // What is being sent stays.
            let Some((_, oldest)) = state.memory.remove(usize::from(state.first_is_sent)) else {
                break;
            };
            state.memory_bytes -= oldest.body.len();
            let is_kept = state.disk.as_mut().is_some_and(|disk| disk.push(&oldest).is_ok());
            if !is_kept {
                self.drop_items(oldest.items);
            }
        }
    }

    /// Says that sending has to end at the deadline.
    pub(crate) fn stop(&self, deadline: Instant) {
        let mut state = self.state();
        state.deadline = Some(deadline);
        // One last attempt, unless the endpoint asked not to.
        state.retry = state.retry.and_then(|retry| Some(Retry { at: retry.asked?, ..retry }));
        drop(state);
        self.shared.changed.notify_all();
    }

    /// Says that no batch will be put in any more: the thread ends when all is sent.
    pub(crate) fn close(&self) {
        self.state().closed = true;
        self.shared.changed.notify_all();
    }

    /// Ends sending: what is left goes to the disk, or is dropped when there is none.
    pub(crate) fn end(&self) {
        let mut state = self.state();
        state.ended = true;
        while let Some((_, batch)) = state.memory.pop_front() {
            self.keep(&mut state, batch);
        }
        state.memory_bytes = 0;
        // The folder is free for whoever starts next.
        state.disk = None;
        drop(state);
        self.shared.changed.notify_all();
    }

    /// Sends what is put in, until the outbox is closed and empty or its deadline has come.
    pub(crate) fn run(&self, client: &Client, protocol: &impl Protocol) {
        while let Some((place, batch, within)) = self.next() {
            let result = client.post(&batch, within);
            self.done(place, &batch, result, protocol);
        }
        self.end();
    }

    /// Waits for a batch and for the time to send it.
    fn next(&self) -> Option<(Place, Batch, Option<Duration>)> {
        let mut state = self.state();
        loop {
            let now = Instant::now();
            let within = state.deadline.map(|deadline| deadline.saturating_duration_since(now));
            if state.ended || within == Some(Duration::ZERO) {
                return None;
            }
            let has_disk = state.disk.as_ref().is_some_and(|disk| !disk.is_empty());
            if state.memory.is_empty() && !has_disk {
                if state.closed {
                    return None;
                }
                state = self.shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            if let Some(retry) = state.retry.filter(|retry| retry.at > now) {
                // What is safe on the disk does not hold up the end.
                let is_safe = state.memory.is_empty() && has_disk && state.closed;
                let is_late = state.deadline.is_some_and(|deadline| retry.at >= deadline);
                if state.deadline.is_some() && (is_safe || is_late && state.closed) {
                    return None;
                }
                let wait = state.deadline.map_or(retry.at, |deadline| retry.at.min(deadline)) - now;
                state = self.shared.changed.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0;
                continue;
            }
            if let Some(disk) = &mut state.disk {
                match disk.first() {
                    Ok(Some((count, batch))) => return Some((Place::Disk(count), batch, within)),
                    Ok(None) => (),
                    // What is in memory does not wait for that.
                    Err(error) => self.read_later(&mut state, &error),
                }
            }
            if let Some((count, batch)) = state.memory.front().cloned() {
                state.first_is_sent = true;
                return Some((Place::Memory(count), batch, within));
            }
        }
    }

    /// Deals with a disk of which nothing can be read for the moment. It is tried again; the endpoint has not failed.
    fn read_later(&self, state: &mut State, error: &io::Error) {
        let name = &self.shared.name;
        state.disk_warnings.warn(|| {
            format!("Telemetry for {name} cannot be read from the disk ({error}). It stays there and is tried again.")
        });
        let at = Instant::now() + self.shared.backoff.delay(state.failures.max(1));
        state.retry = Some(Retry { at, asked: None });
    }

    /// Deals with what came of a batch.
    fn done(&self, place: Place, batch: &Batch, result: Result<Answer, ureq::Error>, protocol: &impl Protocol) {
        let mut state = self.state();
        state.first_is_sent = false;
        let name = &self.shared.name;
        let (verdict, reason, retry_after) = match result {
            Ok(answer) => (protocol.verdict(&answer), format!("status {}", answer.status), answer.retry_after),
            Err(error) => (Verdict::Later, error.to_string(), None),
        };
        match verdict {
            Verdict::Taken { refused } => {
                state.remove(place);
                self.refused(&mut state, refused, &reason);
                if state.failures > 0 {
                    tracing::info!(target: "azmlinfsrv", "Telemetry for {name} is sent again.");
                }
                state.failures = 0;
                state.retry = None;
            }
            Verdict::Partly { again, refused } => {
                state.remove(place);
                self.refused(&mut state, refused, &reason);
                if let Some(rest) = batch.only(&again) {
                    self.keep(&mut state, rest);
                } else {
                    self.drop_items(again.len());
                }
                self.delay(&mut state, retry_after.as_deref());
            }
            Verdict::Refused => {
                state.remove(place);
                self.refused(&mut state, batch.items, &reason);
                // It answers, and the next batch may be another matter.
                state.failures = 0;
                state.retry = None;
            }
            Verdict::Later => {
                self.delay(&mut state, retry_after.as_deref());
                if state.disk.is_some() {
                    for (_, batch) in std::mem::take(&mut state.memory) {
                        state.memory_bytes -= batch.body.len();
                        self.keep(&mut state, batch);
                    }
                }
                let is_on_disk = state.disk.is_some() && state.memory.is_empty();
                let kept = if is_on_disk { "on disk" } else { "in memory" };
                state.warnings.warn(|| {
                    format!("Telemetry for {name} cannot be sent ({reason}). It is kept {kept} and tried again.")
                });
            }
        }
    }

    fn refused(&self, state: &mut State, items: usize, reason: &str) {
        if items == 0 {
            return;
        }
        self.drop_items(items);
        let total = self.shared.dropped.load(Ordering::Relaxed);
        let name = &self.shared.name;
        state.warnings.warn(|| {
            format!(
                "Telemetry was refused by {name} ({reason}): {items} items are dropped, {total} so far. Check the \
                 endpoint and the key or credentials."
            )
        });
    }

    fn delay(&self, state: &mut State, retry_after: Option<&str>) {
        state.failures = state.failures.saturating_add(1);
        let step = self.shared.backoff.delay(state.failures);
        let asked = retry_after.and_then(retry_after_delay);
        // An endpoint can ask for more time, and not to be asked without a pause.
        let delay = asked.map_or(step, |asked| asked.max(step));
        let now = Instant::now();
        state.retry = Some(Retry { at: now + delay, asked: asked.map(|asked| now + asked) });
    }
}

impl State {
    /// Removes a batch that has been dealt with, unless it has gone already.
    fn remove(&mut self, place: Place) {
        match place {
            Place::Memory(count) => {
                if let Some((_, batch)) = self.memory.pop_front_if(|(first, _)| *first == count) {
                    self.memory_bytes -= batch.body.len();
                }
            }
            Place::Disk(count) => {
                if let Some(disk) = &mut self.disk {
                    disk.remove(count);
                }
            }
        }
    }
}

/// The delay that a `Retry-After` asks for, in seconds or as a date. None when that is none.
fn retry_after_delay(value: &str) -> Option<Duration> {
    let delay = match value.trim().parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => httpdate::parse_http_date(value).ok()?.duration_since(SystemTime::now()).unwrap_or_default(),
    };
    Some(delay.min(RETRY_AFTER_MAX)).filter(|delay| !delay.is_zero())
}

/// Whether a status says that the endpoint may take the same request later.
pub(crate) fn may_pass(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 429 | 500..=599)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delay_doubles_up_to_the_longest() {
        let backoff = Backoff { first: Duration::from_secs(1), longest: Duration::from_mins(1) };
        for (failures, seconds) in [(1, 1.0), (2, 2.0), (3, 4.0), (7, 60.0), (u32::MAX, 60.0)] {
            let delay = backoff.delay(failures).as_secs_f64();
            assert!((0.8 * seconds..1.2 * seconds).contains(&delay), "{failures}: {delay}");
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        assert_eq!(retry_after_delay("3"), Some(Duration::from_secs(3)));
        assert_eq!(retry_after_delay("999999999"), Some(RETRY_AFTER_MAX));
        assert_eq!(retry_after_delay("0"), None);
        assert_eq!(retry_after_delay("Thu, 01 Jan 1970 00:00:00 GMT"), None);
        let soon = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(10));
        assert!(retry_after_delay(&soon).unwrap() > Duration::from_secs(5));
        assert_eq!(retry_after_delay("soon"), None);
        assert_eq!(retry_after_delay("-1"), None);
    }

    #[test]
    fn an_endpoint_cannot_ask_for_less_than_the_next_delay() {
        let backoff = Backoff { first: Duration::from_secs(10), longest: Duration::from_mins(1) };
        let outbox = Outbox::new("x".to_owned(), None, backoff, Arc::default());
        for (asked, seconds) in [("0", 10), ("1", 10), ("Thu, 01 Jan 1970 00:00:00 GMT", 10), ("100", 100)] {
            let mut state = State::default();
            outbox.delay(&mut state, Some(asked));
            let delay = state.retry.unwrap().at - Instant::now();
            assert!(delay > Duration::from_secs(seconds * 7 / 10), "{asked}: {delay:?}");
            assert!(delay < Duration::from_secs(seconds * 13 / 10), "{asked}: {delay:?}");
        }
    }
}
