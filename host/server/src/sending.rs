//! Responses on their way to a client that may not read them.
//!
//! Whoever has asked has to take the answer: as long as it does not, the answer holds memory, and a scorer that sends while
//! it computes holds an instance. A client keeps the server waiting in two ways. It does not read from its connection: then
//! the system takes no more bytes, which the connection sees. Or it reads, and does not open the window of a stream of
//! HTTP/2: then the library does not ask for more of the body, which is seen here, and the stream is reset.

use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::{Instant, sleep_until};

/// Bytes per second below which a client takes an answer, or sends a body, too slowly.
const MIN_RATE: u32 = 16 * 1024;
/// Bytes of a body that are given to HTTP/2 at once: a frame. What it has been given it keeps until the client takes it, and
/// how much of that has been taken shows only when it asks for the next.
const PIECE: usize = 16 * 1024;
/// Bytes of a body from which on its last byte goes by itself. The library asks for that when the client has taken, or has
/// room for, all before it; of a body in one piece it would keep the rest without anybody seeing it.
const LAST_BYTE_APART: usize = 1024;

/// How long a client has kept the server waiting, to take an answer or to send a body. The bytes that it takes or sends make
/// up for the time that it took, and for none to come.
#[derive(Debug, Default)]
pub(crate) struct Wait {
    since: Option<Instant>,
    spent: Duration,
}

impl Wait {
    /// It is the client's turn to take or to send something.
    pub(crate) fn begin(&mut self, now: Instant) {
        self.since.get_or_insert(now);
    }

    /// The client has taken or sent so many bytes.
    pub(crate) fn took(&mut self, now: Instant, bytes: usize) {
        if let Some(since) = self.since.take() {
            self.spent += now.saturating_duration_since(since);
        }
        let made_up = Duration::from_secs(bytes as u64) / MIN_RATE;
        self.spent = self.spent.saturating_sub(made_up);
    }

    /// When the client, if it takes or sends nothing more, has kept the server waiting for this long.
    pub(crate) fn end(&self, limit: Duration) -> Option<Instant> {
        self.since.map(|since| since + limit.saturating_sub(self.spent))
    }
}

/// The wait for the client of one stream, which its body and the task that sends it share.
pub(crate) type SharedWait = Arc<Mutex<Wait>>;

fn lock(wait: &SharedWait) -> MutexGuard<'_, Wait> {
    wait.lock().unwrap_or_else(PoisonError::into_inner)
}

tokio::task_local! {
    /// The wait for the client of the stream of HTTP/2 that this task sends.
    static STREAM: SharedWait;
}

/// Runs the streams of a connection of HTTP/2, and drops those whose clients do not take what is sent: which resets them.
#[derive(Clone)]
pub(crate) struct Streams<F> {
    /// How long a client may keep the server waiting.
    pub(crate) limit: Duration,
    /// Told when a stream has been dropped.
    pub(crate) stalled: F,
}

impl<F, S> hyper::rt::Executor<S> for Streams<F>
where
    F: Fn() + Clone + Send + 'static,
    S: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, stream: S) {
        let Self { limit, stalled } = self.clone();
        tokio::spawn(async move {
            let wait = SharedWait::default();
            let mut stream = pin!(STREAM.scope(Arc::clone(&wait), stream));
            loop {
                // Again whenever the client's turn has begun or ended meanwhile.
                let end = lock(&wait).end(limit);
                let ended = std::future::poll_fn(|cx| {
                    let ended = stream.as_mut().poll(cx);
                    if ended.is_pending() && lock(&wait).end(limit) != end {
                        Poll::Ready(false)
                    } else {
                        ended.map(|()| true)
                    }
                });
                let is_over = match end {
                    None => ended.await,
                    Some(end) => tokio::select! {
                        biased;
                        ended = ended => ended,
                        () = sleep_until(end) => {
                            stalled();
                            true
                        }
                    },
                };
                if is_over {
                    return;
                }
            }
        });
    }
}

/// A body on its way.
pub(crate) struct Sending<G> {
    body: Body,
    /// Dropped when the response has been given away.
    guard: G,
    /// Called when it has come to its end.
    ended: fn(&mut G),
    /// There on a stream of HTTP/2.
    stream: Option<Stream>,
}

struct Stream {
    wait: SharedWait,
    /// What comes before the rest of the body.
    rest: Bytes,
    /// Bytes of the last piece that the library was given.
    given: usize,
}

impl<G> Sending<G> {
    /// A body that begins to be sent now.
    pub(crate) fn new(body: Body, mut guard: G, ended: fn(&mut G)) -> Self {
        let stream = STREAM.try_with(Arc::clone).ok().map(|wait| {
            lock(&wait).begin(Instant::now());
            Stream { wait, rest: Bytes::new(), given: 0 }
        });
        if body.is_end_stream() {
            ended(&mut guard);
        }
        Self { body, guard, ended, stream }
    }
}

impl<G: Unpin> HttpBody for Sending<G> {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = self.get_mut();
        if let Some(stream) = &mut this.stream {
            lock(&stream.wait).took(Instant::now(), std::mem::take(&mut stream.given));
        }
        let rest = this.stream.as_mut().map(|stream| std::mem::take(&mut stream.rest)).filter(|rest| !rest.is_empty());
        let frame = match rest {
            Some(rest) => Some(Ok(Frame::data(rest))),
            None => ready!(Pin::new(&mut this.body).poll_frame(cx)),
        };
        let frame = match (frame, &mut this.stream) {
            (Some(Ok(frame)), Some(stream)) => Some(Ok(match frame.into_data() {
                Ok(data) => Frame::data(stream.piece(data, this.body.is_end_stream())),
                Err(trailers) => trailers,
            })),
            (frame, _) => frame,
        };
        if frame.is_none() || this.is_end_stream() {
            (this.ended)(&mut this.guard);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.stream.as_ref().is_none_or(|stream| stream.rest.is_empty()) && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        // Asked for before the body is.
        self.body.size_hint()
    }
}

impl Stream {
    /// What of `data` the library is given now; the rest is kept. Then it is the client's turn.
    fn piece(&mut self, mut data: Bytes, last: bool) -> Bytes {
        let length = if last && (LAST_BYTE_APART..=PIECE).contains(&data.len()) { data.len() - 1 } else { PIECE };
        self.rest = data.split_off(length.min(data.len()));
        self.given = data.len();
        lock(&self.wait).begin(Instant::now());
        data
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_may_be_slow_but_not_slower_than_16_kib_a_second() {
        let limit = Duration::from_secs(30);
        let start = Instant::now();
        let second = |number: u32| start + Duration::from_secs(1) * number;
        let mut wait = Wait::default();
        assert_eq!(wait.end(limit), None);
        for number in 0..1000 {
            wait.begin(second(number));
            wait.took(second(number + 1), 16 * 1024);
        }
        wait.begin(second(1000));
        wait.begin(second(1010));
        assert_eq!(wait.end(limit), Some(second(1030)), "it has not been kept waiting so far");
        wait.took(second(1020), 0);
        assert_eq!(wait.end(limit), None, "it is not the client's turn");
        wait.begin(second(1100));
        assert_eq!(wait.end(limit), Some(second(1110)), "20 s are spent");
        wait.took(second(1109), 1);
        wait.begin(second(1109));
        assert!(wait.end(limit).unwrap() < second(1111));
    }
}
