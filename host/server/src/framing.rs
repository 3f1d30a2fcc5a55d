//! Where requests end in a connection of HTTP/1, as it was sent.
//!
//! The HTTP library decides what a request is, and keeps of its head only what counts: of two lengths one, and of a length
//! and chunks the chunks. A proxy in front may decide otherwise, and then what is one request to one of the two is two to
//! the other: request smuggling. So the bytes are followed here as well, by a parser that knows no more than lines, lengths
//! and chunks, wherever they are cut and however many requests come at once. What could be read in two ways is refused,
//! and so is a request that this parser has not seen.

use std::collections::VecDeque;

/// How HTTP/2 begins, where a client knows that it is spoken.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Whether such a line ends is a matter of opinion.
const BARE_LF: &str = "a line that ends without CR";
/// Bytes of a line that are kept while the rest of it has not come. A header that is longer is refused anyway.
const MAX_LINE: usize = 8190;

/// What the head of a request says about where its body ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Framing {
    content_length: Option<u64>,
    transfer_encoding: bool,
    /// What can be read in two ways, if anything.
    ambiguous: Option<&'static str>,
}

impl Framing {
    /// That of a request whose head was not seen, which is as good as one that can be read in two ways.
    const UNSEEN: Self =
        Self { content_length: None, transfer_encoding: false, ambiguous: Some("a head that cannot be followed") };

    /// What can be read in two ways, if anything.
    pub(crate) fn ambiguous(self) -> Option<&'static str> {
        self.ambiguous
    }

    /// Takes note of a line of the head. What is no valid length or coding the HTTP library refuses.
    fn note(&mut self, line: &[u8]) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { return };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if name.eq_ignore_ascii_case(b"content-length") {
            if self.content_length.is_some() || self.transfer_encoding {
                self.ambiguous = Some("CONTENT-LENGTH");
            }
            let length = std::str::from_utf8(value).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
            match length.and_then(|text| text.parse().ok()) {
                Some(length) => self.content_length = Some(length),
                None => self.ambiguous = Some("CONTENT-LENGTH"),
            }
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            if self.transfer_encoding || !value.eq_ignore_ascii_case(b"chunked") {
                self.ambiguous = Some("TRANSFER-ENCODING");
            } else if self.content_length.is_some() {
                self.ambiguous = Some("CONTENT-LENGTH");
            }
            self.transfer_encoding = true;
        }
    }
}

/// Which protocol a connection carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Protocol {
    /// So many bytes have come, all of them as HTTP/2 begins.
    Unknown(usize),
    Http1,
    Http2,
}

/// What comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    RequestLine,
    Header,
    /// So many bytes of a body.
    Body(u64),
    ChunkSize,
    /// So many bytes of a chunk.
    Chunk(u64),
    ChunkEnd,
    Trailer,
    /// What cannot be followed: the HTTP library ends such a connection.
    Lost,
}

/// The requests of a connection that have been seen.
#[derive(Debug)]
pub(crate) struct Heads {
    protocol: Protocol,
    place: Place,
    /// Whether any byte has come since the last request, were it an empty line.
    begun: bool,
    /// The head that is being read.
    framing: Framing,
    /// What has come of a line that has not ended.
    line: Vec<u8>,
    /// Heads that have been read and whose requests have not begun.
    complete: VecDeque<Framing>,
}

impl Heads {
    pub(crate) fn new() -> Self {
        Self {
            protocol: Protocol::Unknown(0),
            place: Place::RequestLine,
            begun: false,
            framing: Framing::default(),
            line: Vec::new(),
            complete: VecDeque::new(),
        }
    }

    pub(crate) fn is_http2(&self) -> bool {
        self.protocol == Protocol::Http2
    }

    /// Whether a request has begun to come that has not been begun to be answered. What cannot be followed is taken for one:
    /// no more time is given to it than to a head.
    pub(crate) fn request_is_coming(&self) -> bool {
        match self.protocol {
            Protocol::Unknown(bytes) => bytes > 0,
            Protocol::Http1 => {
                !self.complete.is_empty()
                    || matches!(self.place, Place::Header | Place::Lost)
                    || (self.place == Place::RequestLine && self.begun)
            }
            Protocol::Http2 => false,
        }
    }

    /// Whether some of a request is still to come, as far as can be told.
    pub(crate) fn is_within_request(&self) -> bool {
        self.place != Place::RequestLine
    }

    /// The head of the request that begins.
    pub(crate) fn begin(&mut self) -> Framing {
        self.complete.pop_front().unwrap_or(Framing::UNSEEN)
    }

    /// Follows the next bytes of the connection.
    pub(crate) fn read(&mut self, bytes: &[u8]) {
        match self.protocol {
            Protocol::Http1 => self.follow(bytes),
            Protocol::Http2 => {}
            Protocol::Unknown(seen) => {
                let expected = &PREFACE[seen..];
                let compared = expected.len().min(bytes.len());
                if expected[..compared] != bytes[..compared] {
                    self.protocol = Protocol::Http1;
                    self.follow(&PREFACE[..seen]);
                    self.follow(bytes);
                } else if compared == expected.len() {
                    self.protocol = Protocol::Http2;
                } else {
                    self.protocol = Protocol::Unknown(seen + compared);
                }
            }
        }
    }

    fn follow(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            match &mut self.place {
                Place::Lost => return,
                Place::Body(left) | Place::Chunk(left) => {
                    let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                    *left -= taken as u64;
                    bytes = &bytes[taken..];
                    if *left == 0 {
                        self.begun = false;
                        self.place =
                            if matches!(self.place, Place::Body(_)) { Place::RequestLine } else { Place::ChunkEnd };
                    }
                }
                _ => {
                    self.begun = true;
                    let end = bytes.iter().position(|byte| *byte == b'\n');
                    let (part, rest) = bytes.split_at(end.map_or(bytes.len(), |end| end + 1));
                    bytes = rest;
                    if self.line.is_empty() && end.is_some() {
                        self.end_line(part);
                    } else {
                        self.line.extend_from_slice(part);
                        if self.line.len() > MAX_LINE + 2 {
                            // Nothing after it is a request: the answer to this one closes the connection.
                            self.line = Vec::new();
                            self.place = Place::Lost;
                        } else if end.is_some() {
                            let line = std::mem::take(&mut self.line);
                            self.end_line(&line);
                        }
                    }
                }
            }
        }
    }

    /// Takes a line with its end.
    fn end_line(&mut self, line: &[u8]) {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let (line, whole) = line.strip_suffix(b"\r").map_or((line, false), |line| (line, true));
        self.place = match self.place {
            // Empty lines before a request mean nothing.
            Place::RequestLine if line.is_empty() => Place::RequestLine,
            Place::RequestLine => {
                self.framing = Framing::default();
                Place::Header
            }
            Place::Header if line.is_empty() => return self.end_head(whole),
            Place::Header => {
                self.framing.note(line);
                Place::Header
            }
            _ if !whole => Place::Lost,
            Place::ChunkSize => match chunk_size(line) {
                None => Place::Lost,
                Some(0) => Place::Trailer,
                Some(size) => Place::Chunk(size),
            },
            Place::ChunkEnd if line.is_empty() => Place::ChunkSize,
            Place::ChunkEnd => Place::Lost,
            Place::Trailer if line.is_empty() => {
                self.begun = false;
                Place::RequestLine
            }
            other => other,
        };
        if !whole && self.place == Place::Header {
            self.framing.ambiguous = Some(BARE_LF);
        }
    }

    fn end_head(&mut self, whole: bool) {
        if !whole {
            self.framing.ambiguous = Some(BARE_LF);
        }
        self.place = match self.framing {
            Framing { ambiguous: Some(_), .. } => Place::Lost,
            Framing { transfer_encoding: true, .. } => Place::ChunkSize,
            Framing { content_length: Some(length @ 1..), .. } => Place::Body(length),
            _ => Place::RequestLine,
        };
        self.begun = false;
        self.complete.push_back(self.framing);
    }
}

/// The size at the beginning of a chunk.
fn chunk_size(line: &[u8]) -> Option<u64> {
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let digits = std::str::from_utf8(&line[..digits]).ok()?;
    u64::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is seen of these bytes when they come in pieces of this length: of each request what is ambiguous in it.
    fn seen(bytes: &str, piece: usize) -> Vec<Option<&'static str>> {
        let mut heads = Heads::new();
        bytes.as_bytes().chunks(piece).for_each(|piece| heads.read(piece));
        heads.complete.iter().map(|framing| framing.ambiguous()).collect()
    }

    #[track_caller]
    fn check(bytes: &str, expected: &[Option<&'static str>]) {
        for piece in 1..=bytes.len() {
            assert_eq!(seen(bytes, piece), expected, "{bytes:?} in pieces of {piece}");
        }
    }

    #[test]
    fn requests_are_told_apart_wherever_they_are_cut() {
        let get = "GET / HTTP/1.1\r\nhost: x\r\n\r\n";
        let length = "POST / HTTP/1.1\r\ncontent-length: 30\r\n\r\nContent-Length: 1\r\n\r\nGET / HT";
        let chunks = "POST / HTTP/1.1\r\nTransfer-Encoding:chunked\r\n\r\n1a;x=y\r\nContent-Length: 1\r\n\r\nGET /\r\n0\r\nt: 1\r\n\r\n";
        assert_eq!(length.len() - length.find("Content").unwrap(), 30 - 1);
        check(&format!("{get}{get}\r\n{length}!{chunks}{get}"), &[None; 5]);
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_seen_in_the_first_request_and_in_a_later_one() {
        for (headers, what) in [
            ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "CONTENT-LENGTH"),
            ("transfer-encoding:chunked\r\ncontent-length:5\r\n", "CONTENT-LENGTH"),
            ("Content-Length: 5\r\nContent-Length: 5\r\n", "CONTENT-LENGTH"),
            ("Content-Length: 5, 5\r\n", "CONTENT-LENGTH"),
            ("Content-Length: +5\r\n", "CONTENT-LENGTH"),
            ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "TRANSFER-ENCODING"),
            ("Transfer-Encoding: xchunked\r\n", "TRANSFER-ENCODING"),
            ("x: y\nz: 1\r\n", BARE_LF),
        ] {
            let request = format!("POST / HTTP/1.1\r\n{headers}\r\nGET / HTTP/1.1\r\n\r\n");
            check(&request, &[Some(what)]);
            check(&format!("GET / HTTP/1.1\r\n\r\n{request}"), &[None, Some(what)]);
        }
    }

    #[test]
    fn what_cannot_be_followed_is_no_request() {
        for chunks in ["x\r\n", "\r\n", "1\r\nab\r\n", "1\na\r\n", "11111111111111111\r\n", "0\r\na: b\n\n"] {
            let request =
                format!("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}GET / HTTP/1.1\r\n\r\n");
            check(&request, &[None]);
        }
        let mut heads = Heads::new();
        assert!(heads.begin().ambiguous().is_some(), "a request that was not seen");
    }

    #[test]
    fn a_line_without_an_end_is_not_kept() {
        let mut heads = Heads::new();
        heads.read(b"GET / HTTP/1.1\r\n");
        for _ in 0..100 {
            heads.read(&[b'a'; 1000]);
        }
        assert!(heads.line.capacity() == 0 && heads.place == Place::Lost);
    }

    #[test]
    fn http_2_is_known_by_all_of_its_preface() {
        for piece in 1..=PREFACE.len() {
            let mut heads = Heads::new();
            PREFACE.chunks(piece).for_each(|piece| heads.read(piece));
            assert!(heads.is_http2() && !heads.request_is_coming());
        }
        check("PRI * HTTP/2.0\r\n\r\nSMS / HTTP/1.1\r\na: b\n\r\n", &[None, Some(BARE_LF)]);
        check("PRINT / HTTP/1.1\r\na: b\n\r\n", &[Some(BARE_LF)]);
    }
}
