//! Responses whose body is sent while it is made: the import `stream`.
//!
//! The guest starts a stream, and [`crate::Sandbox::run`] returns at once with its head; the pieces of the body follow
//! in small parts, through a channel that holds few of them: so a slow client slows the guest, and little is left when that
//! has gone, and its limits with it. When the guest is done, or stopped, the stream ends with its outcome, from which
//! whoever sends the body knows whether all of it was there.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::sync::{mpsc, oneshot};

use crate::bindings::scorebox::scoring::stream::Error;
use crate::outcome::Run;

/// Parts of pieces that wait to be sent.
const PARTS: usize = 4;
/// Bytes of each of them.
const PART_BYTES: usize = 64 * 1024;

/// A response that has been started.
pub struct Streamed {
    /// HTTP status, as the guest said it.
    pub status: u16,
    /// Headers, as the guest said them.
    pub headers: Vec<(String, Vec<u8>)>,
    pieces: mpsc::Receiver<Vec<u8>>,
    end: Pin<Box<dyn Future<Output = Run> + Send>>,
}

/// What comes next of a stream.
#[derive(Debug)]
pub enum Piece {
    /// A piece of the body, or a part of a long one.
    Body(Vec<u8>),
    /// Nothing more: how the guest ended. The body is whole if that is [`crate::Outcome::Response`].
    End(Run),
}

impl Streamed {
    /// Waits for what comes next. Not to be called again after [`Piece::End`]. Dropping the stream stops the guest.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Piece> {
        match ready!(self.pieces.poll_recv(cx)) {
            Some(piece) => Poll::Ready(Piece::Body(piece)),
            None => self.end.as_mut().poll(cx).map(Piece::End),
        }
    }
}

impl fmt::Debug for Streamed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Streamed").field("status", &self.status).finish_non_exhaustive()
    }
}

/// What a guest hands over when it starts a stream.
#[derive(Debug)]
pub(crate) struct Start {
    status: u16,
    headers: Vec<(String, Vec<u8>)>,
    pieces: mpsc::Receiver<Vec<u8>>,
}

impl Start {
    /// The response, which ends with `end`.
    pub(crate) fn respond(self, end: Pin<Box<dyn Future<Output = Run> + Send>>) -> Streamed {
        Streamed { status: self.status, headers: self.headers, pieces: self.pieces, end }
    }
}

/// The guest's side of a stream.
#[derive(Debug)]
pub(crate) struct Outlet {
    /// There until the stream is started.
    start: Option<oneshot::Sender<Start>>,
    /// There from then on.
    pieces: Option<mpsc::Sender<Vec<u8>>>,
    /// Bytes that may still be sent.
    left: u64,
}

impl Outlet {
    /// An outlet for at most `limit` bytes, and what says that the stream has been started.
    pub(crate) fn new(limit: u64) -> (Self, oneshot::Receiver<Start>) {
        let (start, started) = oneshot::channel();
        (Self { start: Some(start), pieces: None, left: limit }, started)
    }

    /// An outlet where there is nobody to stream to.
    pub(crate) fn closed() -> Self {
        Self { start: None, pieces: None, left: 0 }
    }

    /// Starts the stream. False when the headers are over the limit, and then nothing has been started.
    pub(crate) fn start(&mut self, status: u16, headers: Vec<(String, Vec<u8>)>) -> Result<bool, Error> {
        let start = self.start.take().ok_or(Error::Misused)?;
        let bytes: usize = headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        let Some(left) = self.left.checked_sub(bytes as u64) else { return Ok(false) };
        self.left = left;
        let (sender, pieces) = mpsc::channel(PARTS);
        self.pieces = Some(sender);
        start.send(Start { status, headers, pieces }).map(|()| true).map_err(|_| Error::Closed)
    }

    /// The channel for a piece of so many bytes. `None` in the place of the channel when they are over the limit.
    pub(crate) fn piece(&mut self, bytes: usize) -> Result<Option<mpsc::Sender<Vec<u8>>>, Error> {
        let pieces = self.pieces.clone().ok_or(Error::Misused)?;
        match self.left.checked_sub(bytes as u64) {
            Some(left) => {
                self.left = left;
                Ok(Some(pieces))
            }
            None => Ok(None),
        }
    }
}

/// Hands over a piece, part by part, and waits while as many wait as may. The parts are copies: what shared the memory of
/// the piece would keep all of it. An empty piece has none, and only tells whether anybody is there.
pub(crate) async fn hand_over(pieces: &mpsc::Sender<Vec<u8>>, piece: &[u8]) -> Result<(), Error> {
    if piece.is_empty() && pieces.is_closed() {
        return Err(Error::Closed);
    }
    for part in piece.chunks(PART_BYTES) {
        pieces.send(part.to_vec()).await.map_err(|_| Error::Closed)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_sequence_of_pieces_is_over_the_limit(
            limit in 0..2000_u64,
            header in 0..500_usize,
            pieces in prop::collection::vec(prop_oneof![0..400_usize, usize::MAX - 1..=usize::MAX], 0..20),
        ) {
            let (mut outlet, _started) = Outlet::new(limit);
            let fits = header as u64 <= limit;
            prop_assert_eq!(outlet.start(200, vec![(String::new(), vec![0; header])]), Ok(fits));
            let mut sent = header as u64;
            for piece in pieces {
                let next = sent.checked_add(piece as u64).filter(|next| fits && *next <= limit);
                match outlet.piece(piece) {
                    Ok(channel) => prop_assert_eq!(channel.is_some(), next.is_some()),
                    Err(error) => prop_assert!(!fits && error == Error::Misused),
                }
                sent = next.unwrap_or(sent);
            }
        }
    }
}
