//! What a connection is doing, and when it has to be closed.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until, timeout};

use super::ConnectionLimits;
use crate::framing::{Framing, Heads};
use crate::sending::Wait;

/// How many more requests than it has let be answered a client may take back on one connection of HTTP/2. Each has cost
/// next to what a request costs that is answered, and counts against no other limit.
const MAX_RESETS: u64 = 128;
/// Bytes of HTTP/2 that are read at once: a frame. The library reads all that has come before it hands over the first request,
/// and a header of one byte may stand for 70 in memory.
const TURN: usize = 16 * 1024;
/// How often a client is looked after while its request is being answered.
const HANG_UP_CHECK: Duration = Duration::from_millis(250);
/// Why a connection is closed whose client does not read.
pub(super) const UNTAKEN: &str = "its client did not take what it asked for";
/// How long a connection may stay silent when the server is stopping: a request may be on its way.
pub(super) const STOPPING_TIMEOUT: Duration = Duration::from_millis(500);
/// How long a connection of HTTP/2 may stay silent then. After the time above its client is told that no more is answered, and
/// the library waits until it has confirmed that it knows (RFC 9113, 6.8), which not every client does.
const UNCONFIRMED_TIMEOUT: Duration = Duration::from_millis(1500);

/// What a connection is doing. Times are milliseconds since it was accepted.
#[derive(Debug)]
pub(super) struct Activity {
    pub(super) accepted: Instant,
    /// Requests that are being answered, until the last byte of the answer has been given to the HTTP library.
    requests: AtomicU64,
    /// When the first byte of the next request came; zero when none has come.
    head: AtomicU64,
    /// When something was read last while no request was being answered.
    last: AtomicU64,
    /// When something of an answer was written last, or a request ended.
    sent: AtomicU64,
    /// Whether the client began with HTTP/2. Its frames are no heads of requests, nor a sign that the connection is used:
    /// they may be all PINGs.
    pub(super) http2: AtomicBool,
    /// Bytes of HTTP/2 that may still be read before what has come is looked at.
    turn: AtomicUsize,
    /// Whether any byte has come.
    pub(super) used: AtomicBool,
    /// Whether any request has come.
    asked: AtomicBool,
    /// When the server was told to stop; zero while it is not.
    stopping: AtomicU64,
    /// The heads of requests in HTTP/1.
    heads: Mutex<Heads>,
    /// The wait for the client to read from the connection.
    wait: Mutex<Wait>,
    /// Whether there is such a wait, or has been.
    waited: AtomicBool,
    /// Requests that have been answered, and that have been taken back.
    answered: AtomicU64,
    taken_back: AtomicU64,
    /// Whether the body of the last request was not wanted to its end.
    pub(super) left_unread: AtomicBool,
    /// Told when the first request begins.
    pub(super) first_request: Notify,
    /// Told when a stream was reset because the client did not take what was sent.
    pub(super) stalled: Notify,
    /// Told when the client has taken back too much.
    pub(super) abused: Notify,
}

/// A request that is being answered.
pub(super) struct Answering {
    activity: Arc<Activity>,
    done: bool,
}

impl Answering {
    /// All of the answer has been given to the HTTP library.
    pub(super) fn done(&mut self) {
        self.done = true;
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        let activity = &self.activity;
        activity.sent.store(activity.now(), Ordering::Relaxed);
        activity.requests.fetch_sub(1, Ordering::Relaxed);
        if self.done {
            activity.answered.fetch_add(1, Ordering::Relaxed);
        } else {
            // In HTTP/1 the connection ends with it.
            let taken_back = activity.taken_back.fetch_add(1, Ordering::Relaxed) + 1;
            if taken_back > activity.answered.load(Ordering::Relaxed) + MAX_RESETS {
                activity.abused.notify_one();
            }
        }
    }
}

impl Activity {
    pub(super) fn new() -> Self {
        Self {
            accepted: Instant::now(),
            requests: AtomicU64::new(0),
            head: AtomicU64::new(0),
            last: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            http2: AtomicBool::new(false),
            turn: AtomicUsize::new(TURN),
            used: AtomicBool::new(false),
            asked: AtomicBool::new(false),
            stopping: AtomicU64::new(0),
            heads: Mutex::new(Heads::new()),
            wait: Mutex::new(Wait::default()),
            waited: AtomicBool::new(false),
            answered: AtomicU64::new(0),
            taken_back: AtomicU64::new(0),
            left_unread: AtomicBool::new(false),
            first_request: Notify::new(),
            stalled: Notify::new(),
            abused: Notify::new(),
        }
    }

    fn now(&self) -> u64 {
        self.accepted.elapsed().as_millis() as u64 + 1
    }

    pub(super) fn unused(&self) -> bool {
        !self.used.load(Ordering::Relaxed)
    }

    pub(super) fn shorten(&self) {
        self.stopping.store(self.now(), Ordering::Relaxed);
    }

    fn heads(&self) -> MutexGuard<'_, Heads> {
        self.heads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait(&self) -> MutexGuard<'_, Wait> {
        self.wait.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request begins whose head has been read; what says where its body ends comes with it.
    pub(super) fn begin(self: &Arc<Self>) -> (Answering, Framing) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let framing = {
            let mut heads = self.heads();
            let framing = heads.begin();
            // Some of the next one may have come as well.
            self.head.store(if heads.request_is_coming() { self.now() } else { 0 }, Ordering::Relaxed);
            framing
        };
        if !self.asked.swap(true, Ordering::Relaxed) {
            // Kept for whoever waits for it later.
            self.first_request.notify_one();
        }
        (Answering { activity: Arc::clone(self), done: false }, framing)
    }

    /// Whether some of a body that was not wanted is still to come: what has come does no harm.
    pub(super) fn leaves_unread(&self) -> bool {
        self.left_unread.load(Ordering::Relaxed) && self.heads().is_within_request()
    }

    /// All that has come will have been looked at before more is read.
    pub(super) fn begin_turn(&self) {
        self.turn.store(TURN, Ordering::Relaxed);
    }

    /// Whether more may be read before what has come is looked at.
    pub(super) fn may_read(&self) -> bool {
        self.turn.load(Ordering::Relaxed) > 0
    }

    pub(super) fn read(&self, bytes: &[u8]) {
        let mut heads = self.heads();
        heads.read(bytes);
        if heads.is_http2() {
            let left = self.turn.load(Ordering::Relaxed).saturating_sub(bytes.len());
            self.turn.store(left, Ordering::Relaxed);
            if !self.http2.swap(true, Ordering::Relaxed) {
                self.head.store(0, Ordering::Relaxed);
            }
            return;
        }
        let now = self.now();
        if heads.request_is_coming() {
            let _ = self.head.compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed);
        }
        if self.requests.load(Ordering::Relaxed) == 0 {
            self.last.store(now, Ordering::Relaxed);
        }
    }

    /// The system takes no bytes, because the client has not taken those before them.
    pub(super) fn blocked(&self) {
        self.waited.store(true, Ordering::Relaxed);
        self.wait().begin(Instant::now());
    }

    /// The system has taken so many bytes.
    pub(super) fn wrote(&self, bytes: usize) {
        if self.waited.load(Ordering::Relaxed) {
            self.wait().took(Instant::now(), bytes);
        }
        if !self.http2.load(Ordering::Relaxed) {
            self.sent.store(self.now(), Ordering::Relaxed);
        }
    }

    /// Waits until nothing has come or gone for a while since the server was told to stop.
    pub(super) async fn quiet(&self) {
        loop {
            let since = self.last.load(Ordering::Relaxed).max(self.stopping.load(Ordering::Relaxed));
            let end = self.accepted + Duration::from_millis(since) + STOPPING_TIMEOUT;
            let is_asking = self.requests.load(Ordering::Relaxed) > 0 || self.head.load(Ordering::Relaxed) > 0;
            if !is_asking && Instant::now() >= end {
                return;
            }
            sleep_until(end.max(Instant::now() + STOPPING_TIMEOUT / 10)).await;
        }
    }

    /// Waits until the connection has to be closed, and says why.
    pub(super) async fn over(&self, limits: &ConnectionLimits, stream: &TcpStream) -> &'static str {
        loop {
            // While a request is being answered, what is not read yet of the next one hides from the server that its client
            // is gone.
            if hung_up(stream).await {
                return "its client is gone";
            }
            let stopping = self.stopping.load(Ordering::Relaxed);
            let idle = match stopping {
                0 => limits.idle_timeout,
                _ if self.unused() => STOPPING_TIMEOUT,
                _ if self.http2.load(Ordering::Relaxed) => UNCONFIRMED_TIMEOUT,
                _ => limits.idle_timeout,
            };
            let head = self.head.load(Ordering::Relaxed);
            let sent = self.sent.load(Ordering::Relaxed);
            let last = self.last.load(Ordering::Relaxed).max(sent);
            let at = |millis: u64| self.accepted + Duration::from_millis(millis);
            let blocked = self.wait().end(limits.write_timeout);
            let (end, why) = if let Some(end) = blocked {
                (end, UNTAKEN)
            } else if self.requests.load(Ordering::Relaxed) > 0 {
                // Looked at again when there may have been a change; the request has limits of its own.
                (Instant::now() + HANG_UP_CHECK, "")
            } else if head > 0 {
                // What has come of it while the one before was answered has waited for that.
                (at(head.max(sent)) + limits.head_timeout, "the head of a request took too long")
            } else {
                (at(last.max(stopping)) + idle, "it was idle for too long")
            };
            if !why.is_empty() && Instant::now() >= end {
                return why;
            }
            // Not later than the shortest timeout, so that what began meanwhile is seen.
            let shortest = limits.head_timeout.min(limits.idle_timeout).min(limits.write_timeout);
            let step = Instant::now() + shortest.min(Duration::from_secs(1));
            sleep_until(end.min(step)).await;
        }
    }
}

/// Whether the client has closed its side.
async fn hung_up(stream: &TcpStream) -> bool {
    let ready = timeout(Duration::ZERO, stream.ready(Interest::READABLE)).await;
    matches!(ready, Ok(Ok(ready)) if ready.is_read_closed())
}

#[cfg(test)]
mod tests {
    use super::super::tests::connected;
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_is_silent_for_half_a_second_when_the_server_stops_is_over() {
        let (_client, stream) = connected().await;
        // One on which nothing has ever come, and one on which something has.
        for used in [false, true] {
            let activity = Activity::new();
            activity.used.store(used, Ordering::Relaxed);
            activity.shorten();
            let start = Instant::now();
            if used {
                activity.quiet().await;
            } else {
                activity.over(&ConnectionLimits::default(), &stream).await;
            }
            assert!((500..510).contains(&start.elapsed().as_millis()), "used: {used}, {:?}", start.elapsed());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_of_http_2_has_a_second_more_to_confirm_the_end() {
        let (_client, stream) = connected().await;
        let activity = Activity::new();
        activity.used.store(true, Ordering::Relaxed);
        activity.http2.store(true, Ordering::Relaxed);
        activity.shorten();
        let start = Instant::now();
        activity.over(&ConnectionLimits::default(), &stream).await;
        assert!((1500..1510).contains(&start.elapsed().as_millis()), "{:?}", start.elapsed());
    }
}
