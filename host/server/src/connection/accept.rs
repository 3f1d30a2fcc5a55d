//! Accepting connections, and the end of all of them.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use http::uri::Scheme;
use socket2::{SockFilter, SockRef};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, sleep, timeout_at};

use super::ConnectionLimits;
use super::activity::Activity;
use super::http::{Peer, connection, handshake};
use super::socket::Socket;
use crate::tls::Tls;

/// How long to wait before accepting again when the system has no descriptors or no memory for another connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How often it is said that connections cannot be accepted.
const ACCEPT_WARNINGS: Duration = Duration::from_secs(10);
/// How long a client that the system has begun to connect may take to end that, when the server is stopping.
const HANDSHAKE: Duration = Duration::from_millis(50);

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
        Err(_) => tracing::warn!("connections that were waiting are cut: they could not be taken in time"),
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
pub(super) async fn stopped(stop: &mut watch::Receiver<bool>) {
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
        let accept = || -> io::Result<_> {
            let (stream, client) = listener.accept()?;
            stream.set_nonblocking(true)?;
            Ok((TcpStream::from_std(stream)?, client))
        };
        // The semaphore is never closed.
        while let Ok(place) = Arc::clone(places).acquire_owned().await {
            match accept() {
                Ok((stream, client)) => self.spawn(stream, client, place),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                // Connections that end give back what it takes.
                Err(error) if needs_pause(&error) => sleep(ACCEPT_PAUSE).await,
                Err(_) => {}
            }
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
