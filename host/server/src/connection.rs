//! Connections: accepting them, the limits on them, and their end.
//!
//! HTTP/1.1 with keep-alive, and HTTP/2 for clients that begin with it (h2c, prior knowledge). A connection on which no
//! request is being answered is watched: it is closed when the head of a request does not come in time, and when nothing
//! comes for long. So is one whose client does not take what it has asked for, or asks only to take that back.
//!
//! With TLS a connection begins with a handshake, which has to be over in the time for a head. Until then nothing of HTTP
//! is there, and a place is taken like any other.

use std::convert::Infallible;
use std::future::pending;
use std::io::{self, ErrorKind};
use std::net::{Shutdown, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use http::Version;
use http::header::{CONNECTION, HeaderValue};
use http::uri::Scheme;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use socket2::{SockFilter, SockRef};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tower::ServiceExt as _;

use crate::app::{ClientAddress, normalize};
use crate::framing::{Framing, Heads};
use crate::http_rules;
use crate::sending::{Sending, Streams, Wait};
use crate::tls::Tls;

/// How long to wait before accepting again when the system has no descriptors or no memory for another connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How often it is said that connections cannot be accepted.
const ACCEPT_WARNINGS: Duration = Duration::from_secs(10);
/// How long a client that the system has begun to connect may take to end that, when the server is stopping.
const HANDSHAKE: Duration = Duration::from_millis(50);
/// Headers that the head of a request may have to be read at all; how many are too many is a rule of the contract.
const MAX_HEADERS: usize = 256;
/// Bytes that the head of a request may have, and that are kept of a body that is not read.
const MAX_HEAD: usize = 64 * 1024;
/// Requests at the same time on one connection of HTTP/2. One more is refused, by the library.
const MAX_STREAMS: u32 = 128;
/// Bytes of all bodies on one connection that HTTP/2 takes before they are read: enough for a fast network.
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// The same of one body. Less would slow down who sends but one; more is never there to be taken.
const STREAM_WINDOW: u32 = CONNECTION_WINDOW;
/// Bytes of a frame of HTTP/2: the least that there may be.
const MAX_FRAME: u32 = 16 * 1024;
/// Bytes of a response that HTTP/2 keeps until the client takes them.
const SEND_BUFFER: usize = 128 * 1024;
/// Requests that a client has taken back before they were looked at, on one connection of HTTP/2; with one more it is closed.
const MAX_UNSEEN_RESETS: usize = 20;
/// Streams of HTTP/2 that had to be reset because of errors of the client's; with one more the connection is closed.
const MAX_ERRORS: usize = 128;
/// How many more requests than it has let be answered a client may take back on one connection of HTTP/2. Each has cost
/// next to what a request costs that is answered, and counts against no other limit.
const MAX_RESETS: u64 = 128;

/// Limits on connections.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionLimits {
    /// Connections at the same time. More wait in the queue of the system. Default 4,096.
    pub max: usize,
    /// How long the head of a request may take, from its first byte. Default 10 s.
    pub head_timeout: Duration,
    /// How long a connection may be without a request. Default 75 s.
    pub idle_timeout: Duration,
    /// How long a client may keep the server waiting that has to take an answer, and besides a second for each 16 KiB of
    /// it that have been taken. Default 30 s.
    pub write_timeout: Duration,
    /// How long requests are given to end when the server is told to. Default 30 s.
    pub grace: Duration,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self {
            max: 4096,
            head_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(75),
            write_timeout: Duration::from_secs(30),
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

/// Serves the connections of `listener`, encrypted if there is `tls`, until `stop` is true; then takes no more, ends those
/// that are idle, and gives the others the grace period.
pub async fn serve(
    listener: TcpListener,
    tls: Option<Arc<Tls>>,
    router: Router,
    limits: ConnectionLimits,
    mut stop: watch::Receiver<bool>,
) -> Drained {
    let places = Arc::new(Semaphore::new(limits.max));
    let server = Server { tls, router, limits, stop: stop.clone() };
    let mut warned: Option<Instant> = None;
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
                    if warned.is_none_or(|at| at.elapsed() >= ACCEPT_WARNINGS) {
                        warned = Some(Instant::now());
                        tracing::warn!("cannot accept a connection: {error}");
                    }
                    if needs_pause(&error) {
                        sleep(ACCEPT_PAUSE).await;
                    }
                }
            },
        }
    }
    let end = Instant::now() + limits.grace;
    match timeout_at(end, server.take_what_waits(listener, &places)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!("connections that were waiting are cut: {error}"),
        Err(_) => tracing::warn!("connections that were waiting are cut: there was no place for them in time"),
    }
    drain(&places, &limits, end).await
}

/// Has the system drop the first packet of each new connection. Its client sends it again after a second, and is refused
/// then; connections that have been begun are made.
fn connect_no_more(listener: &TcpListener) -> io::Result<()> {
    /// Where the flags are in the head of a TCP segment, and two of them.
    const FLAGS: u32 = 13;
    const SYN: u32 = 0x02;
    const ACK: u32 = 0x10;
    // Instructions of the classic packet filter.
    const LOAD_BYTE: u16 = 0x30;
    const AND: u16 = 0x54;
    const SKIP_UNLESS_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    SockRef::from(listener).attach_filter(&[
        SockFilter::new(LOAD_BYTE, 0, 0, FLAGS),
        SockFilter::new(AND, 0, 0, SYN | ACK),
        SockFilter::new(SKIP_UNLESS_EQUAL, 0, 1, SYN),
        SockFilter::new(RETURN, 0, 0, 0),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
    ])
}

/// Waits until the server is told to stop. Who could tell it being gone counts as well.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Errors that come from the host's lack of something, not from the connection.
fn needs_pause(error: &io::Error) -> bool {
    !matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset | ErrorKind::ConnectionRefused)
}

/// Waits for all connections to end, until the grace period does.
async fn drain(places: &Arc<Semaphore>, limits: &ConnectionLimits, end: Instant) -> Drained {
    let all = u32::try_from(limits.max).unwrap_or(u32::MAX);
    match timeout_at(end, places.acquire_many(all)).await {
        Ok(_) => Drained::Completely,
        Err(_) => Drained::Cut(limits.max.saturating_sub(places.available_permits())),
    }
}

/// What all connections have in common.
struct Server {
    tls: Option<Arc<Tls>>,
    router: Router,
    limits: ConnectionLimits,
    stop: watch::Receiver<bool>,
}

impl Server {
    /// Takes the connections that clients have made already: they have been told that they are connected. Between the last
    /// of them and the end of the listener none is made any more: so nobody is told so, and then cut off.
    async fn take_what_waits(&self, listener: TcpListener, places: &Arc<Semaphore>) -> io::Result<()> {
        match connect_no_more(&listener) {
            Ok(()) => sleep(HANDSHAKE).await,
            // An instant is left then.
            Err(error) => tracing::debug!("connections can be made until the listener is closed: {error}"),
        }
        // The system is asked itself, because tokio may not have heard of the last ones yet.
        let listener = listener.into_std()?;
        // The semaphore is never closed.
        while let Ok(place) = Arc::clone(places).acquire_owned().await {
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
        let tls = self.tls.as_ref().map(|tls| tls.acceptor());
        let (router, limits, mut stop) = (self.router.clone(), self.limits, self.stop.clone());
        tokio::spawn(async move {
            let stream = Arc::new(stream);
            let activity = Arc::new(Activity::new());
            let socket = Socket { stream: Arc::clone(&stream), activity: Arc::clone(&activity) };
            let peer = |scheme| Peer { stream, client, scheme };
            match tls {
                None => connection(socket, peer(Scheme::HTTP), activity, router, limits, stop).await,
                Some(tls) => match handshake(&tls, socket, &activity, &limits, &mut stop).await {
                    Ok(encrypted) => connection(encrypted, peer(Scheme::HTTPS), activity, router, limits, stop).await,
                    Err(why) => tracing::debug!(%client, "connection closed: {why}"),
                },
            }
            drop(place);
        });
    }
}

/// Agrees with the client on a key, in the time that the head of a request may take.
async fn handshake(
    tls: &TlsAcceptor,
    socket: Socket,
    activity: &Activity,
    limits: &ConnectionLimits,
    stop: &mut watch::Receiver<bool>,
) -> Result<TlsStream<Socket>, String> {
    let unused = async {
        stopped(stop).await;
        sleep(STOPPING_TIMEOUT).await;
        if !activity.unused() {
            pending::<()>().await;
        }
    };
    tokio::select! {
        biased;
        encrypted = tls.accept(socket) => encrypted.map_err(|error| format!("its TLS handshake failed: {error}")),
        () = sleep_until(activity.accepted + limits.head_timeout) => Err("its TLS handshake took too long".to_owned()),
        () = unused => Err("it was idle for too long".to_owned()),
    }
}

/// Who is at the other end of a connection.
struct Peer {
    /// The connection as the system has it.
    stream: Arc<TcpStream>,
    client: SocketAddr,
    /// How it is spoken with.
    scheme: Scheme,
}

/// Serves one connection to its end.
async fn connection(
    io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    Peer { stream, client, scheme }: Peer,
    activity: Arc<Activity>,
    router: Router,
    limits: ConnectionLimits,
    mut stop: watch::Receiver<bool>,
) {
    let io = TokioIo::new(Watched { io, activity: Arc::clone(&activity) });
    let told = stop.clone();
    let service = service_fn(|request| {
        let (version, told) = (request.version(), told.clone());
        let response = answer(router.clone(), (client, scheme.clone()), Arc::clone(&activity), request);
        async move {
            let mut response = response.await;
            // The client is told that no other request will be answered on its connection; HTTP/2 has a way of its own.
            if *told.borrow() && version <= Version::HTTP_11 {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, Infallible>(response)
        }
    });
    let streams = Arc::clone(&activity);
    let stalled = move || streams.stalled.notify_one();
    let mut builder = Builder::new(Streams { limit: limits.write_timeout, stalled });
    builder.http1().timer(TokioTimer::new()).header_read_timeout(None).max_headers(MAX_HEADERS).max_buf_size(MAX_HEAD);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEAD as u32)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(MAX_FRAME)
        .max_send_buf_size(SEND_BUFFER)
        .max_pending_accept_reset_streams(MAX_UNSEEN_RESETS)
        .max_local_error_reset_streams(MAX_ERRORS)
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
                if why == UNTAKEN {
                    // The system would keep what it has taken, and offer it for minutes.
                    let _ = SockRef::from(&*stream).set_linger(Some(Duration::ZERO));
                }
                tracing::debug!(%client, "connection closed: {why}");
                return;
            }
            () = stopped(&mut stop), if !stopping => {
                stopping = true;
                // A request may be on its way: it is answered, and the client is told that it is the last.
                activity.shorten();
                watch.set(activity.over(&limits, &stream));
            }
            () = activity.first_request.notified(), if stopping && !finishing => {
                // HTTP/2 can tell its client at once that there will be no more; of HTTP/1 the answer tells it.
                if activity.http2.load(Ordering::Relaxed) {
                    finishing = true;
                    connection.as_mut().graceful_shutdown();
                }
            }
            // What was asked before is still answered, if it is taken.
            () = activity.stalled.notified(), if !finishing => {
                tracing::debug!(%client, "a stream is reset: its client did not take what it asked for");
                finishing = true;
                connection.as_mut().graceful_shutdown();
            }
            () = activity.abused.notified() => {
                tracing::debug!(%client, "connection closed: its client takes back what it asks for");
                return;
            }
            () = activity.quiet(), if stopping && !finishing => {
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
    (client, scheme): (SocketAddr, Scheme),
    activity: Arc<Activity>,
    request: hyper::Request<Incoming>,
) -> http::Response<Sending<Answering>> {
    let (answering, framing) = activity.begin();
    let mut request: Request = request.map(Body::new);
    let response = if let Some(refusal) = http_rules::refuse(&request, framing) {
        refusal
    } else {
        request.extensions_mut().insert(ClientAddress(client));
        request.extensions_mut().insert(scheme);
        let Ok(response) = router.oneshot(normalize(request)).await;
        response
    };
    response.map(|body| Sending::new(body, answering, Answering::done))
}

/// What a connection is doing. Times are milliseconds since it was accepted.
#[derive(Debug)]
struct Activity {
    accepted: Instant,
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
    http2: AtomicBool,
    /// Whether any byte has come.
    used: AtomicBool,
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
    /// Told when the first request begins.
    first_request: Notify,
    /// Told when a stream was reset because the client did not take what was sent.
    stalled: Notify,
    /// Told when the client has taken back too much.
    abused: Notify,
}

/// A request that is being answered.
struct Answering {
    activity: Arc<Activity>,
    done: bool,
}

impl Answering {
    /// All of the answer has been given to the HTTP library.
    fn done(&mut self) {
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

/// How often a client is looked after while its request is being answered.
const HANG_UP_CHECK: Duration = Duration::from_millis(250);

/// Why a connection is closed whose client does not read.
const UNTAKEN: &str = "its client did not take what it asked for";

/// How long a connection may stay silent when the server is stopping: a request may be on its way.
const STOPPING_TIMEOUT: Duration = Duration::from_millis(500);

impl Activity {
    fn new() -> Self {
        Self {
            accepted: Instant::now(),
            requests: AtomicU64::new(0),
            head: AtomicU64::new(0),
            last: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            http2: AtomicBool::new(false),
            used: AtomicBool::new(false),
            asked: AtomicBool::new(false),
            stopping: AtomicU64::new(0),
            heads: Mutex::new(Heads::new()),
            wait: Mutex::new(Wait::default()),
            waited: AtomicBool::new(false),
            answered: AtomicU64::new(0),
            taken_back: AtomicU64::new(0),
            first_request: Notify::new(),
            stalled: Notify::new(),
            abused: Notify::new(),
        }
    }

    fn now(&self) -> u64 {
        self.accepted.elapsed().as_millis() as u64 + 1
    }

    fn unused(&self) -> bool {
        !self.used.load(Ordering::Relaxed)
    }

    fn shorten(&self) {
        self.stopping.store(self.now(), Ordering::Relaxed);
    }

    fn heads(&self) -> MutexGuard<'_, Heads> {
        self.heads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait(&self) -> MutexGuard<'_, Wait> {
        self.wait.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request begins whose head has been read; what says where its body ends comes with it.
    fn begin(self: &Arc<Self>) -> (Answering, Framing) {
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

    fn read(&self, bytes: &[u8]) {
        let mut heads = self.heads();
        heads.read(bytes);
        if heads.is_http2() {
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
    fn blocked(&self) {
        self.waited.store(true, Ordering::Relaxed);
        self.wait().begin(Instant::now());
    }

    /// The system has taken so many bytes.
    fn wrote(&self, bytes: usize) {
        if self.waited.load(Ordering::Relaxed) {
            self.wait().took(Instant::now(), bytes);
        }
        if !self.http2.load(Ordering::Relaxed) {
            self.sent.store(self.now(), Ordering::Relaxed);
        }
    }

    /// Waits until nothing has come or gone for a while since the server was told to stop.
    async fn quiet(&self) {
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
    async fn over(&self, limits: &ConnectionLimits, stream: &TcpStream) -> &'static str {
        loop {
            // While a request is being answered, what is not read yet of the next one hides from the server that its client
            // is gone.
            if hung_up(stream).await {
                return "its client is gone";
            }
            let stopping = self.stopping.load(Ordering::Relaxed);
            let idle = if stopping > 0 && self.unused() { STOPPING_TIMEOUT } else { limits.idle_timeout };
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

/// The connection as the system has it.
#[derive(Debug)]
struct Socket {
    stream: Arc<TcpStream>,
    activity: Arc<Activity>,
}

impl Socket {
    /// Writes as soon as the system takes something.
    fn write(&self, cx: &mut Context<'_>, write: impl Fn(&TcpStream) -> io::Result<usize>) -> Poll<io::Result<usize>> {
        loop {
            if let Poll::Ready(ready) = self.stream.poll_write_ready(cx) {
                ready?;
            } else {
                self.activity.blocked();
                return Poll::Pending;
            }
            match write(&self.stream) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
                Ok(bytes) => {
                    self.activity.wrote(bytes);
                    return Poll::Ready(Ok(bytes));
                }
            }
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.stream.poll_read_ready(cx))?;
            match self.stream.try_read_buf(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
                Ok(bytes) => {
                    if bytes > 0 {
                        self.activity.used.store(true, Ordering::Relaxed);
                    }
                    return Poll::Ready(Ok(()));
                }
            }
        }
    }
}

impl AsyncWrite for Socket {
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

/// A connection whose requests are followed, in clear text: the [`Socket`], or what TLS makes of it.
struct Watched<S> {
    io: S,
    activity: Arc<Activity>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(cx, buffer))?;
        let bytes = &buffer.filled()[before..];
        if !bytes.is_empty() {
            self.activity.read(bytes);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
