//! Bodies that are answered before they have come.

use std::io::ErrorKind;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::HttpBody;
use bytes::Bytes;
use hyper::body::{Frame, Incoming, SizeHint};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::activity::Activity;

/// Bytes of a body that nobody wanted which are taken before its connection is closed, and how long: a client that sends all of
/// it before it reads would lose the answer, because the system resets a connection that is closed with bytes unread.
const LINGER_BYTES: usize = 64 * 1024 * 1024;
const LINGER: Duration = Duration::from_secs(5);

/// The body of a request; notes when it is dropped before all of it has come.
pub(super) struct Taken {
    body: Incoming,
    activity: Arc<Activity>,
    /// Whether it has been read to its end: of a body in chunks the library does not say so afterwards.
    ended: bool,
}

impl Taken {
    pub(super) fn new(body: Incoming, activity: Arc<Activity>) -> Self {
        Self { body, activity, ended: false }
    }
}

impl HttpBody for Taken {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        self.ended = frame.is_none();
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let is_left = !self.ended && !self.body.is_end_stream() && !self.activity.http2.load(Ordering::Relaxed);
        self.activity.left_unread.store(is_left, Ordering::Relaxed);
    }
}

/// Takes what a client still sends whose answer has been given, until it has read that and closes its side.
pub(super) async fn linger(stream: &TcpStream) {
    let _ = timeout(LINGER, take(stream)).await;
}

async fn take(stream: &TcpStream) {
    let mut buffer = vec![0; 64 * 1024];
    let mut taken = 0;
    while taken < LINGER_BYTES && stream.readable().await.is_ok() {
        match stream.try_read(&mut buffer) {
            Ok(0) => return,
            Ok(bytes) => taken += bytes,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use socket2::SockRef;
    use tokio::time::Instant;

    use super::super::tests::connected;
    use super::*;

    #[tokio::test]
    async fn of_a_body_that_nobody_wants_64_mib_are_taken() {
        let (client, stream) = connected().await;
        // What the system keeps of it is little then.
        SockRef::from(&client).set_send_buffer_size(256 * 1024).unwrap();
        SockRef::from(&stream).set_recv_buffer_size(256 * 1024).unwrap();
        let sending = tokio::spawn(async move {
            let piece = vec![0; 64 * 1024];
            let mut sent = 0;
            while client.writable().await.is_ok() {
                match client.try_write(&piece) {
                    Ok(bytes) => sent += bytes,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    Err(_) => break,
                }
            }
            sent
        });
        take(&stream).await;
        drop(stream);
        let sent = sending.await.unwrap();
        assert!((64 << 20..66 << 20).contains(&sent), "{sent}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_sends_nothing_more_of_a_body_that_nobody_wants_is_waited_for_5_s() {
        let (_client, stream) = connected().await;
        let start = Instant::now();
        linger(&stream).await;
        assert!((5000..5010).contains(&start.elapsed().as_millis()), "{:?}", start.elapsed());
    }
}
