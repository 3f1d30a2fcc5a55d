//! A response that is sent while it is made.

use std::error::Error;
use std::fmt::{self, Display};
use std::io;

use crate::Response;
use crate::bindings::scorebox::scoring::stream as wit;

/// A response whose head is sent, and whose body is sent piece by piece. [`Response::stream`] begins one.
///
/// [`send`](Self::send) sends a piece at once. As it is a [`Write`](io::Write), it can be handed to whatever writes:
/// each write is a piece of its own, so put an [`io::BufWriter`] around it where those are small.
///
/// What `run` returns no longer decides the answer, but how it ends: [`end`](Self::end) as it should end; a
/// [`Fault`](crate::Fault), a panic or the deadline cut the connection, so that the client sees that something is
/// missing. The reason is in the log. The pieces together have the limit of a response, and the deadline of `run` holds
/// for the whole.
///
/// ```
/// use scorebox_guest::{Deployment, RawScorer, Request, Response, Result};
/// use serde::Deserialize;
///
/// /// Scores rows, and answers with a line for each as soon as it is known.
/// struct Sums;
///
/// #[derive(Deserialize)]
/// struct Input {
///     rows: Vec<Vec<f64>>,
/// }
///
/// impl RawScorer for Sums {
///     fn init(_: &Deployment) -> Result<Self> {
///         Ok(Self)
///     }
///
///     fn run(&self, request: Request) -> Result<Response> {
///         let input: Input = request.json()?; // Nothing is sent yet: a fault is answered as ever.
///         let mut stream = Response::new("application/x-ndjson", "").with_header("x-model", "sums").stream()?;
///         for row in input.rows {
///             stream.send(format!("{}\n", row.iter().sum::<f64>()))?;
///         }
///         Ok(stream.end())
///     }
/// }
///
/// scorebox_guest::export!(Sums);
/// #
/// # fn main() {
/// # let request = Request {
/// #     id: String::new(),
/// #     client_request_id: None,
/// #     method: "POST".into(),
/// #     scheme: "http".into(),
/// #     path: "/score".into(),
/// #     query: None,
/// #     headers: vec![],
/// #     client_address: String::new(),
/// #     body: br#"{"rows": [[1, 2], [3.5]]}"#.to_vec(),
/// # };
/// # let response = Sums.run(request).unwrap();
/// # assert!(response.headers.contains(&("x-model".to_owned(), b"sums".to_vec())));
/// # assert_eq!(response.body, b"3\n3.5\n");
/// # }
/// ```
///
/// Away from WebAssembly nothing is sent: [`end`](Self::end) returns the response with the body in one, so that a test
/// of `run` can look at it.
#[derive(Debug)]
#[must_use = "`end` makes what `run` is to return"]
pub struct ResponseStream {
    /// On WebAssembly empty: what it has held is sent.
    response: Response,
}

/// Why a stream does not go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StreamError {
    /// The client is gone, or the request has run out of time: there is nobody to send to.
    Closed,
    /// A request has one response, and this is the second one that was begun.
    Misused,
}

impl Display for StreamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Closed => "The response cannot be sent on: the client is gone, or the request has run out of time.",
            Self::Misused => "A response has been begun already. Begin one stream for a request.",
        })
    }
}

impl Error for StreamError {}

impl From<wit::Error> for StreamError {
    fn from(error: wit::Error) -> Self {
        match error {
            wit::Error::Closed => Self::Closed,
            wit::Error::Misused => Self::Misused,
        }
    }
}

impl Response {
    /// Begins to send this response: its status and headers, and its body as the first piece, unless it is empty.
    ///
    /// # Errors
    ///
    /// [`StreamError`]; with `?` it becomes a [`Fault`](crate::Fault).
    pub fn stream(self) -> Result<ResponseStream, StreamError> {
        #[cfg(target_family = "wasm")]
        {
            wit::start(self.status, &self.headers)?;
            let mut stream =
                ResponseStream { response: Response { status: 200, headers: Vec::new(), body: Vec::new() } };
            stream.send(self.body)?;
            Ok(stream)
        }
        #[cfg(not(target_family = "wasm"))]
        Ok(ResponseStream { response: self })
    }
}

impl ResponseStream {
    /// Sends a piece of the body. Returns when the host has taken it, which waits for a slow client.
    ///
    /// # Errors
    ///
    /// [`StreamError::Closed`]: there is no use in going on.
    pub fn send(&mut self, piece: impl AsRef<[u8]>) -> Result<(), StreamError> {
        let piece = piece.as_ref();
        #[cfg(target_family = "wasm")]
        if !piece.is_empty() {
            wit::write(piece)?;
        }
        #[cfg(not(target_family = "wasm"))]
        self.response.body.extend_from_slice(piece);
        Ok(())
    }

    /// What `run` is to return, so that the response ends as it should.
    pub fn end(self) -> Response {
        self.response
    }
}

/// Each write is a piece.
impl io::Write for ResponseStream {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        match self.send(piece) {
            Ok(()) => Ok(piece.len()),
            Err(error @ StreamError::Closed) => Err(io::Error::new(io::ErrorKind::BrokenPipe, error)),
            Err(error) => Err(io::Error::other(error)),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::Fault;

    #[test]
    fn a_stream_ends_as_the_response_with_all_its_pieces_where_there_is_no_host() {
        let mut stream = Response::new("text/plain", "a").with_status(206).stream().expect("nothing refuses it");
        stream.send("b").expect("it is sent");
        stream.send([b'c', b'd']).expect("it is sent");
        write!(stream, "{}", 5).expect("it is written");
        assert_eq!(stream.end(), Response::new("text/plain", "abcd5").with_status(206));
    }

    #[test]
    fn an_error_of_a_stream_is_a_failure_with_its_name() {
        let Fault::Failed(exception) = Fault::from(StreamError::Closed) else { panic!("it is no failure") };
        assert!(exception.kind.ends_with("::StreamError") && exception.message.contains("the client is gone"));
    }
}
