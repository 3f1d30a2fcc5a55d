//! One connection: its handshake, its requests, and its end.

use std::convert::Infallible;
use std::future::{pending, poll_fn};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use http::header::{CONNECTION, CONTENT_LENGTH, COOKIE, HOST, HeaderMap, HeaderValue};
use http::uri::{Authority, Scheme};
use http::{Method, StatusCode, Version};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{sleep, sleep_until};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tower::ServiceExt as _;

use super::ConnectionLimits;
use super::accept::stopped;
use super::activity::{Activity, Answering, STOPPING_TIMEOUT, UNTAKEN};
use super::linger::{Taken, linger};
use super::socket::{Socket, Watched};
use crate::app::{ClientAddress, normalize};
use crate::http_rules;
use crate::sending::{Sending, Streams};

/// Headers that the head of a request may have to be read at all; how many are too many is a rule of the contract.
const MAX_HEADERS: usize = 256;
/// Bytes that the head of a request may have, and that are kept of a body that is not read. HTTP/2 counts 32 more for each
/// header.
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

/// Who is at the other end of a connection.
pub(super) struct Peer {
    /// The connection as the system has it.
    pub(super) stream: Arc<TcpStream>,
    pub(super) client: SocketAddr,
    /// How it is spoken with.
    pub(super) scheme: Scheme,
}

/// Agrees with the client on a key, in the time that the head of a request may take.
pub(super) async fn handshake(
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

/// Serves one connection to its end.
pub(super) async fn connection(
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
        let turn = poll_fn(|cx| {
            activity.begin_turn();
            connection.as_mut().poll(cx)
        });
        tokio::select! {
            biased;
            result = turn => break result,
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
    if activity.leaves_unread() {
        linger(&stream).await;
    }
}

/// Answers a request. What is refused is dropped at once, and not when the answer is asked for: so many may come together,
/// each with a head that HTTP/2 says in next to no bytes.
fn answer(
    router: Router,
    (client, scheme): (SocketAddr, Scheme),
    activity: Arc<Activity>,
    request: hyper::Request<Incoming>,
) -> impl Future<Output = http::Response<Sending<Answering>>> {
    let (answering, framing) = activity.begin();
    let mut request: Request = request.map(|body| Body::new(Taken::new(body, activity)));
    let is_http2 = request.version() > Version::HTTP_11;
    let is_head = request.method() == Method::HEAD;
    if is_http2 {
        join_cookies(request.headers_mut());
    }
    let request = if let Some(refusal) = http_rules::refuse(&request, framing) {
        Err(refusal)
    } else {
        if is_http2 {
            name_host(&mut request);
        }
        request.extensions_mut().insert(ClientAddress(client));
        request.extensions_mut().insert(scheme);
        Ok(normalize(request))
    };
    async move {
        let response = match request {
            Err(refusal) => refusal,
            Ok(request) => {
                let Ok(response) = router.oneshot(request).await;
                response
            }
        };
        let response = if is_http2 { without_body(response, is_head) } else { response };
        response.map(|body| Sending::new(body, answering, Answering::done))
    }
}

/// Leaves out of an answer what has no place in it, where it has no body. In HTTP/1 the library does so.
fn without_body(mut response: Response, is_head: bool) -> Response {
    if is_head {
        *response.body_mut() = Body::empty();
    }
    if matches!(response.status(), StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
        response.headers_mut().remove(CONTENT_LENGTH);
    }
    response
}

/// Makes one cookie of its pieces, which HTTP/2 may send apart (RFC 9113, 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let pieces: Vec<_> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if pieces.len() > 1
        && let Ok(cookie) = HeaderValue::from_bytes(&pieces.join(&b"; "[..]))
    {
        headers.insert(COOKIE, cookie);
    }
}

/// Says in `Host` which host is asked, where HTTP/2 says it in `:authority`; that replaces any other (RFC 9113, 8.3.1).
fn name_host(request: &mut Request) {
    let Some(authority) = request.uri().authority().map(Authority::as_str) else { return };
    // A user's name in it is not the host's.
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    if let Ok(host) = HeaderValue::from_str(host) {
        request.headers_mut().insert(HOST, host);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_is_the_one_that_is_asked() {
        for (uri, host) in [
            ("http://a.test/score", "a.test"),
            ("https://a.test:8443/score", "a.test:8443"),
            ("http://user:secret@a.test/score", "a.test"),
            ("/score", "other.test"),
        ] {
            let request = http::Request::get(uri).header(HOST, "other.test").header(HOST, "third.test");
            let mut request: Request = request.body(Body::empty()).unwrap();
            name_host(&mut request);
            assert_eq!(request.headers()[HOST], host, "{uri}");
        }
    }

    #[test]
    fn the_pieces_of_a_cookie_are_one() {
        for pieces in [&[][..], &["a=1"], &["a=1", "b=2; c=3", "d=\"4\""]] {
            let mut headers = HeaderMap::new();
            for piece in pieces {
                headers.append(COOKIE, HeaderValue::from_static(piece));
            }
            join_cookies(&mut headers);
            let joined: Vec<_> = headers.get_all(COOKIE).iter().collect();
            let together = pieces.join("; ");
            assert_eq!(joined, if pieces.is_empty() { vec![] } else { vec![&*together] });
        }
    }
}
