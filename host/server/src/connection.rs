//! Connections: accepting them, the limits on them, and their end.
//!
//! HTTP/1.1 with keep-alive, and HTTP/2 for clients that begin with it (h2c, prior knowledge). A connection on which no
//! request is being answered is watched: it is closed when the head of a request does not come in time, and when nothing
//! comes for long.

use std::io::{self, ErrorKind};
use std::net::{Shutdown, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::response::Response;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tower::ServiceExt as _;

use crate::app::{ClientAddress, normalize};
use crate::http_rules::{self, Framing};

/// How long to wait before accepting again when the system has no descriptors or no memory for another connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Headers that the head of a request may have to be read at all; how many are too many is a rule of the contract.
const MAX_HEADERS: usize = 256;
/// Bytes that the head of a request may have, and that are kept of a body that is not read.
const MAX_HEAD: usize = 64 * 1024;
/// Requests at the same time on one connection of HTTP/2.
const MAX_STREAMS: u32 = 128;

/// Limits on connections.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionLimits {
    /// Connections at the same time. More wait in the queue of the system. Default 4,096.
    pub max: usize,
    /// How long the head of a request may take, from its first byte. Default 10 s.
    pub head_timeout: Duration,
    /// How long a connection may be without a request. Default 75 s.
    pub idle_timeout: Duration,
    /// How long requests are given to end when the server is told to. Default 30 s.
    pub grace: Duration,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self {
            max: 4096,
            head_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(75),
            grace: Duration::from_secs(30),
        }
    }
}

/// How serving ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drained {
    /// Every request was answered.
    Completely,
    /// This many connections were cut because their requests took longer than the grace period.
    Cut(usize),
}

/// Serves the connections of `listener` until `stop` is true; then takes no more, ends those that are idle, and gives the
/// others the grace period.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    limits: ConnectionLimits,
    mut stop: watch::Receiver<bool>,
) -> Drained {
    let places = Arc::new(Semaphore::new(limits.max));
    let server = Server { router, limits, stop: stop.clone() };
    loop {
        let place = tokio::select! {
            biased;
            () = stopped(&mut stop) => break,
            place = Arc::clone(&places).acquire_owned() => place,
        };
        // The semaphore is never closed.
        let Ok(place) = place else { break };
        tokio::select! {
            biased;
            () = stopped(&mut stop) => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, client)) => server.spawn(stream, client, place),
                Err(error) => {
                    tracing::warn!("cannot accept a connection: {error}");
                    if needs_pause(&error) {
                        sleep(ACCEPT_PAUSE).await;
                    }
                }
            },
        }
    }
    if let Err(error) = server.take_what_waits(listener, &places) {
        tracing::warn!("connections that were waiting are cut: {error}");
    }
    drain(&places, &limits).await
}

/// Waits until the server is told to stop. Who could tell it being gone counts as well.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Errors that come from the host's lack of something, not from the connection.
fn needs_pause(error: &io::Error) -> bool {
    !matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset | ErrorKind::ConnectionRefused)
}

/// Waits for all connections to end, within the grace period.
async fn drain(places: &Arc<Semaphore>, limits: &ConnectionLimits) -> Drained {
    let all = u32::try_from(limits.max).unwrap_or(u32::MAX);
    match timeout(limits.grace, places.acquire_many(all)).await {
        Ok(_) => Drained::Completely,
        Err(_) => Drained::Cut(limits.max.saturating_sub(places.available_permits())),
    }
}

/// What all connections have in common.
struct Server {
    router: Router,
    limits: ConnectionLimits,
    stop: watch::Receiver<bool>,
}

impl Server {
    /// Takes the connections that clients have made already: they have been told that they are connected. The system is
    /// asked itself, because tokio may not have heard of the last ones yet.
    fn take_what_waits(&self, listener: TcpListener, places: &Arc<Semaphore>) -> io::Result<()> {
        let listener = listener.into_std()?;
        while let Ok(place) = Arc::clone(places).try_acquire_owned() {
            let (stream, client) = match listener.accept() {
                Ok(accepted) => accepted,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            };
            stream.set_nonblocking(true)?;
            self.spawn(TcpStream::from_std(stream)?, client, place);
        }
        Ok(())
    }

    fn spawn(&self, stream: TcpStream, client: SocketAddr, place: OwnedSemaphorePermit) {
        // Answers are written at once, in one piece.
        let _ = stream.set_nodelay(true);
        let (router, limits, stop) = (self.router.clone(), self.limits, self.stop.clone());
        tokio::spawn(async move {
            connection(stream, client, router, limits, stop).await;
            drop(place);
        });
    }
}

/// Serves one connection to its end.
async fn connection(
    stream: TcpStream,
    client: SocketAddr,
    router: Router,
    limits: ConnectionLimits,
    mut stop: watch::Receiver<bool>,
) {
    let stream = Arc::new(stream);
    let activity = Arc::new(Activity::new());
    let io = TokioIo::new(Watched { stream: Arc::clone(&stream), activity: Arc::clone(&activity) });
    let service = service_fn(|request| answer(router.clone(), client, Arc::clone(&activity), request));
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(None).max_headers(MAX_HEADERS).max_buf_size(MAX_HEAD);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEAD as u32)
        .keep_alive_interval(limits.idle_timeout / 2)
        .keep_alive_timeout(limits.head_timeout);
    let connection = builder.serve_connection(io, service);
    tokio::pin!(connection);
    let watch = activity.over(&limits, &stream);
    tokio::pin!(watch);
    let (mut stopping, mut finishing) = (false, false);
    let result = loop {
        tokio::select! {
            biased;
            result = connection.as_mut() => break result,
            why = watch.as_mut() => {
                tracing::debug!(%client, "connection closed: {why}");
                return;
            }
            () = stopped(&mut stop), if !stopping => {
                stopping = true;
                // On a connection that is new a request may be on its way: it is answered.
                activity.shorten();
            }
            () = activity.first_request.notified(), if stopping && !finishing => {
                finishing = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    };
    if let Err(error) = result {
        tracing::debug!(%client, "connection ended: {error}");
    }
}

async fn answer(
    router: Router,
    client: SocketAddr,
    activity: Arc<Activity>,
    request: hyper::Request<Incoming>,
) -> Result<Response, std::convert::Infallible> {
    let (_request, framing) = activity.begin();
    let mut request: Request = request.map(axum::body::Body::new);
    if let Some(refusal) = http_rules::refuse(&request, framing) {
        return Ok(refusal);
    }
    request.extensions_mut().insert(ClientAddress(client));
    router.oneshot(normalize(request)).await
}

/// What a connection is doing. Times are milliseconds since it was accepted.
#[derive(Debug)]
struct Activity {
    accepted: Instant,
    /// Requests that are being answered.
    requests: AtomicU64,
    /// When the first byte of the next request came; zero when none has come.
    head: AtomicU64,
    /// When something was read or written last, or a request ended.
    last: AtomicU64,
    /// Whether the client began with HTTP/2, whose frames are no heads of requests.
    http2: AtomicBool,
    /// Whether any byte has come.
    used: AtomicBool,
    /// Whether any request has come.
    asked: AtomicBool,
    /// Set when the server is stopping.
    short: AtomicBool,
    /// What has been seen in the head of the next request, as [`Framing::bits`].
    framing: AtomicU8,
    /// Told when the first request begins.
    first_request: Notify,
}

/// A request that is being answered.
struct Answering(Arc<Activity>);

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.last.store(self.0.now(), Ordering::Relaxed);
        self.0.requests.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How often a client is looked after while its request is being answered.
const HANG_UP_CHECK: Duration = Duration::from_millis(250);

/// How long a connection may stay silent when the server is stopping: a request may be on its way.
const STOPPING_TIMEOUT: Duration = Duration::from_millis(500);

impl Activity {
    fn new() -> Self {
        Self {
            accepted: Instant::now(),
            requests: AtomicU64::new(0),
            head: AtomicU64::new(0),
            last: AtomicU64::new(0),
            http2: AtomicBool::new(false),
            used: AtomicBool::new(false),
            asked: AtomicBool::new(false),
            short: AtomicBool::new(false),
            framing: AtomicU8::new(0),
            first_request: Notify::new(),
        }
    }

    fn now(&self) -> u64 {
        self.accepted.elapsed().as_millis() as u64 + 1
    }

    fn unused(&self) -> bool {
        !self.used.load(Ordering::Relaxed)
    }

    fn shorten(&self) {
        self.short.store(true, Ordering::Relaxed);
    }

    /// A request begins whose head has been read; what says where its body ends comes with it.
    fn begin(self: &Arc<Self>) -> (Answering, Framing) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.head.store(0, Ordering::Relaxed);
        if !self.asked.swap(true, Ordering::Relaxed) {
            // Kept for whoever waits for it later.
            self.first_request.notify_one();
        }
        (Answering(Arc::clone(self)), Framing::from_bits(self.framing.swap(0, Ordering::Relaxed)))
    }

    fn read(&self, bytes: &[u8]) {
        if !self.used.swap(true, Ordering::Relaxed) && bytes.starts_with(b"PRI") {
            self.http2.store(true, Ordering::Relaxed);
        }
        if self.requests.load(Ordering::Relaxed) == 0 && !self.http2.load(Ordering::Relaxed) {
            let now = self.now();
            self.last.store(now, Ordering::Relaxed);
            let _ = self.head.compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed);
            let seen = Framing::from_bits(self.framing.load(Ordering::Relaxed)).and_in(bytes);
            self.framing.store(seen.bits(), Ordering::Relaxed);
        }
    }

    fn wrote(&self) {
        if !self.http2.load(Ordering::Relaxed) {
            self.last.store(self.now(), Ordering::Relaxed);
        }
    }

    /// Waits until the connection has to be closed, and says why.
    async fn over(&self, limits: &ConnectionLimits, stream: &TcpStream) -> &'static str {
        loop {
            // While a request is being answered, what is not read yet of the next one hides from the server that its client
            // is gone.
            if hung_up(stream).await {
                return "its client is gone";
            }
            let idle = if self.short.load(Ordering::Relaxed) && self.unused() {
                STOPPING_TIMEOUT
            } else {
                limits.idle_timeout
            };
            let head = self.head.load(Ordering::Relaxed);
            let at = |millis: u64| self.accepted + Duration::from_millis(millis);
            let (end, why) = if self.requests.load(Ordering::Relaxed) > 0 {
                // Looked at again when there may have been a change; the request has limits of its own.
                (Instant::now() + HANG_UP_CHECK, "")
            } else if head > 0 {
                (at(head) + limits.head_timeout, "the head of a request took too long")
            } else {
                (at(self.last.load(Ordering::Relaxed)) + idle, "it was idle for too long")
            };
            if !why.is_empty() && Instant::now() >= end {
                return why;
            }
            // Not later than the shortest timeout, so that what began meanwhile is seen.
            let step = Instant::now() + limits.head_timeout.min(limits.idle_timeout).min(Duration::from_secs(1));
            sleep_until(end.min(step)).await;
        }
    }
}

/// Whether the client has closed its side.
async fn hung_up(stream: &TcpStream) -> bool {
    let ready = timeout(Duration::ZERO, stream.ready(Interest::READABLE)).await;
    matches!(ready, Ok(Ok(ready)) if ready.is_read_closed())
}

/// A stream whose activity is watched.
struct Watched {
    stream: Arc<TcpStream>,
    activity: Arc<Activity>,
}

impl Watched {
    /// Writes as soon as the system takes something.
    fn write(&self, cx: &mut Context<'_>, write: impl Fn(&TcpStream) -> io::Result<usize>) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.stream.poll_write_ready(cx))?;
            match write(&self.stream) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                result => {
                    self.activity.wrote();
                    return Poll::Ready(result);
                }
            }
        }
    }
}

impl AsyncRead for Watched {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        loop {
            ready!(self.stream.poll_read_ready(cx))?;
            match self.stream.try_read_buf(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
                Ok(_) => {
                    let bytes = &buffer.filled()[before..];
                    if !bytes.is_empty() {
                        self.activity.read(bytes);
                    }
                    return Poll::Ready(Ok(()));
                }
            }
        }
    }
}

impl AsyncWrite for Watched {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.write(cx, |stream| stream.try_write(bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.write(cx, |stream| stream.try_write_vectored(slices))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Nothing is held back.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(SockRef::from(&*self.stream).shutdown(Shutdown::Write))
    }
}
