//! A client of HTTP/1.1 that sends what it is told to, however wrong, and shows all that comes back.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

use crate::wait::PATIENCE;

/// A request.
#[derive(Debug, Clone)]
pub struct Request {
    method: String,
    target: String,
    headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
    /// Length of the chunks that the body is sent in, where it is not sent in one piece.
    chunk: Option<usize>,
}

impl Request {
    /// A request without a body.
    pub fn new(method: &str, target: &str) -> Self {
        Self { method: method.into(), target: target.into(), headers: Vec::new(), body: Vec::new(), chunk: None }
    }

    /// A GET request.
    pub fn get(target: &str) -> Self {
        Self::new("GET", target)
    }

    /// A POST request to `/score` without a content type.
    pub fn score(body: impl Into<Vec<u8>>) -> Self {
        Self { body: body.into(), ..Self::new("POST", "/score") }
    }

    /// A POST request to `/score` with JSON.
    pub fn json(body: impl Into<Vec<u8>>) -> Self {
        Self::score(body).header("content-type", "application/json")
    }

    /// To another target.
    #[must_use]
    pub fn to(mut self, target: &str) -> Self {
        target.clone_into(&mut self.target);
        self
    }

    /// With this body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// With one more line in its head.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.headers.push((name.into(), value.as_ref().into()));
        self
    }

    /// With its body in chunks of this length.
    #[must_use]
    pub fn chunked(mut self, length: usize) -> Self {
        self.chunk = Some(length);
        self
    }

    /// The bytes that are sent.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = format!("{} {} HTTP/1.1\r\nhost: scorebox.test\r\n", self.method, self.target).into_bytes();
        let line = |bytes: &mut Vec<u8>, name: &str, value: &[u8]| {
            bytes.extend_from_slice(name.as_bytes());
            bytes.extend_from_slice(b": ");
            bytes.extend_from_slice(value);
            bytes.extend_from_slice(b"\r\n");
        };
        for (name, value) in &self.headers {
            line(&mut bytes, name, value);
        }
        if let Some(length) = self.chunk {
            line(&mut bytes, "transfer-encoding", b"chunked");
            bytes.extend_from_slice(b"\r\n");
            for chunk in self.body.chunks(length) {
                bytes.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                bytes.extend_from_slice(chunk);
                bytes.extend_from_slice(b"\r\n");
            }
            bytes.extend_from_slice(b"0\r\n\r\n");
        } else {
            if !self.body.is_empty() || self.method == "POST" {
                line(&mut bytes, "content-length", self.body.len().to_string().as_bytes());
            }
            bytes.extend_from_slice(b"\r\n");
            bytes.extend_from_slice(&self.body);
        }
        bytes
    }
}

/// A response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// Its status.
    pub status: u16,
    /// The lines of its head in their order: names in lower case, values as Latin-1.
    pub headers: Vec<(String, String)>,
    /// Its body.
    pub body: Vec<u8>,
}

impl Response {
    /// The value of a header. Fails when there are several.
    #[track_caller]
    pub fn header(&self, name: &str) -> Option<&str> {
        let values: Vec<_> =
            self.headers.iter().filter(|(other, _)| other == name).map(|(_, value)| &**value).collect();
        assert!(values.len() <= 1, "{name} is there {} times: {values:?}", values.len());
        values.first().copied()
    }

    /// The body as text.
    #[track_caller]
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("the body is text")
    }

    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("no JSON ({error}): {self:?}"))
    }

    /// Checks that it is an error of the contract, with this status and message.
    #[track_caller]
    pub fn assert_error(&self, status: u16, message: &str) {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.json(), serde_json::json!({ "message": message }));
        assert!(self.body.is_ascii() && self.body.starts_with(b"{\"message\": \""), "{}", self.text());
        assert_eq!(self.header("content-type"), Some("application/json"));
    }
}

/// A connection.
#[derive(Debug)]
pub struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    /// Connects. Reading and writing fail where they take unreasonably long.
    pub fn connect(server: SocketAddr) -> io::Result<Self> {
        Self::connect_within(server, PATIENCE)
    }

    /// Connects, unless that takes longer than the limit.
    pub fn connect_within(server: SocketAddr, limit: Duration) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&server, limit)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { stream: BufReader::with_capacity(64 * 1024, stream) })
    }

    /// Sends a request and reads the response to it.
    pub fn send(&mut self, request: &Request) -> io::Result<Response> {
        self.write(&request.to_bytes())?;
        if request.method == "HEAD" { self.read_head() } else { self.read() }
    }

    /// Sends bytes as they are.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes)
    }

    /// Reads a response.
    pub fn read(&mut self) -> io::Result<Response> {
        let mut response = self.read_head()?;
        if response.status >= 200 && !matches!(response.status, 204 | 304) {
            let length = response.header("content-length").and_then(|length| length.parse().ok());
            response.body = vec![0; length.ok_or_else(|| invalid("a response without content-length"))?];
            self.stream.read_exact(&mut response.body)?;
        }
        Ok(response)
    }

    /// Reads a response that has no body: what it says about one applies to another method.
    pub fn read_head(&mut self) -> io::Result<Response> {
        let status = self.line()?;
        let status = status.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
        let status = status.ok_or_else(|| invalid("no status line"))?;
        let mut headers = Vec::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Ok(Response { status, headers, body: Vec::new() });
            }
            let (name, value) = line.split_once(':').ok_or_else(|| invalid("a header without a colon"))?;
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }

    /// Reads a chunk of a body that is sent in chunks: an empty one is the last.
    pub fn read_chunk(&mut self) -> io::Result<Vec<u8>> {
        let length = usize::from_str_radix(&self.line()?, 16).map_err(|_| invalid("a chunk without a length"))?;
        let mut chunk = vec![0; length];
        self.stream.read_exact(&mut chunk)?;
        if !self.line()?.is_empty() {
            return Err(invalid("a chunk without an end"));
        }
        Ok(chunk)
    }

    /// A line as Latin-1, without its end.
    fn line(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        self.stream.read_until(b'\n', &mut line)?;
        let line = line.strip_suffix(b"\r\n").ok_or(ErrorKind::UnexpectedEof)?;
        Ok(line.iter().copied().map(char::from).collect())
    }

    /// Waits for something to read, for at most `limit`: true when there is, also when that is the connection's end.
    pub fn readable_within(&mut self, limit: Duration) -> io::Result<bool> {
        self.stream.get_ref().set_read_timeout(Some(limit))?;
        let result = match self.stream.fill_buf() {
            Ok(_) => Ok(true),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Ok(false),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(true),
            Err(error) => Err(error),
        };
        self.stream.get_ref().set_read_timeout(Some(PATIENCE))?;
        result
    }

    /// Lets the system take next to nothing that the client has not read.
    pub fn take_little(&self) -> io::Result<()> {
        Ok(rustix::net::sockopt::set_socket_recv_buffer_size(self.stream.get_ref(), 64 * 1024)?)
    }

    /// Reads what is there, up to the length of the buffer.
    pub fn read_some(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.read(buffer)
    }

    /// Whether the server has closed the connection, or sent something that nobody has asked for.
    pub fn is_over(&self) -> io::Result<bool> {
        let stream = self.stream.get_ref();
        stream.set_nonblocking(true)?;
        let peeked = stream.peek(&mut [0]);
        stream.set_nonblocking(false)?;
        Ok(!peeked.is_err_and(|error| error.kind() == ErrorKind::WouldBlock))
    }

    /// Ends the connection with a reset instead of a close.
    pub fn reset(self) -> io::Result<()> {
        Ok(rustix::net::sockopt::set_socket_linger(self.stream.get_ref(), Some(Duration::ZERO))?)
    }

    /// The address of this end of the connection.
    pub fn address(&self) -> SocketAddr {
        self.stream.get_ref().local_addr().expect("a connection has two ends")
    }

    /// All that comes until the server closes the connection.
    pub fn read_to_end(&mut self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        match self.stream.read_to_end(&mut bytes) {
            Err(error) if error.kind() != ErrorKind::ConnectionReset => Err(error),
            _ => Ok(bytes),
        }
    }
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, what)
}
