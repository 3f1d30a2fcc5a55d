//! Answers piece by piece, and ends in each of the ways that a stream can end.
#![forbid(unsafe_code)]

use std::io::Write as _;

use scorebox_guest::logging::{self, Level, Stream};
use scorebox_guest::{Deployment, Fault, RawScorer, Request, Response, Result};
use serde::Deserialize;

struct Streams;

#[derive(Deserialize)]
#[serde(default)]
struct Input {
    status: u16,
    headers: Vec<(String, String)>,
    /// The body that the response is begun with.
    body: String,
    /// Pieces to send, each of which is logged before.
    pieces: Vec<String>,
    /// Bytes of each of the pieces that are sent after those.
    piece_bytes: usize,
    /// How many: as many as there is somebody to send to, where it is none.
    count: Option<usize>,
    end: End,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum End {
    #[default]
    Well,
    /// Another response is returned than the one that was begun.
    Otherwise,
    BadInput,
    Error,
    Panic,
    Spin,
    /// A second stream is begun.
    Twice,
    /// A fault before the stream is begun.
    Early,
}

impl Default for Input {
    fn default() -> Self {
        Self {
            status: 200,
            headers: Vec::new(),
            body: String::new(),
            pieces: Vec::new(),
            piece_bytes: 0,
            count: Some(0),
            end: End::Well,
        }
    }
}

impl RawScorer for Streams {
    fn init(_: &Deployment) -> Result<Self> {
        Ok(Self)
    }

    fn run(&self, request: Request) -> Result<Response> {
        let input: Input = request.json()?;
        if let End::Early = input.end {
            return Err(Fault::bad_input("nothing is sent"));
        }
        let head = |response: Response, (name, value): (String, String)| response.with_header(&name, value);
        let response = Response::new("text/plain", input.body).with_status(input.status);
        let mut stream = input.headers.into_iter().fold(response, head).stream()?;
        for piece in input.pieces {
            logging::write(Stream::Stdout, Level::Info, &format!("sends {piece:?}"));
            write!(stream, "{piece}")?;
        }
        let piece = vec![b'x'; input.piece_bytes];
        let mut sent = 0;
        while input.count.is_none_or(|count| sent < count) {
            stream.send(&piece)?;
            sent += 1;
        }
        match input.end {
            End::Well | End::Early => Ok(stream.end()),
            End::Otherwise => Ok(Response::new("text/html", "not looked at").with_status(500)),
            End::BadInput => Err(Fault::bad_input("too late to say so")),
            End::Error => Err(Fault::failed("no more pieces")),
            End::Panic => panic!("no more pieces"),
            End::Spin => loop {
                std::hint::spin_loop();
            },
            End::Twice => Ok(Response::new("text/plain", "").stream()?.end()),
        }
    }
}

scorebox_guest::export!(Streams);
