//! A client of HTTP/2 that sends the frames that it is told to, however wrong, and shows all that come back.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::wait::PATIENCE;

/// What a connection begins with.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Types of frames.
pub mod kind {
    #![expect(missing_docs, reason = "they are the names of the standard")]
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const PRIORITY: u8 = 2;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PUSH_PROMISE: u8 = 5;
    pub const PING: u8 = 6;
    pub const GOAWAY: u8 = 7;
    pub const WINDOW_UPDATE: u8 = 8;
    pub const CONTINUATION: u8 = 9;
}

/// Flags of frames.
pub mod flag {
    #![expect(missing_docs, reason = "they are the names of the standard")]
    pub const NONE: u8 = 0;
    pub const ACK: u8 = 1;
    pub const END_STREAM: u8 = 1;
    pub const END_HEADERS: u8 = 4;
    pub const PADDED: u8 = 8;
    pub const PRIORITY: u8 = 32;
}

/// Codes of errors.
pub mod code {
    #![expect(missing_docs, reason = "they are the names of the standard")]
    pub const NO_ERROR: u32 = 0;
    pub const PROTOCOL_ERROR: u32 = 1;
    pub const FLOW_CONTROL_ERROR: u32 = 3;
    pub const STREAM_CLOSED: u32 = 5;
    pub const FRAME_SIZE_ERROR: u32 = 6;
    pub const REFUSED_STREAM: u32 = 7;
    pub const CANCEL: u32 = 8;
    pub const COMPRESSION_ERROR: u32 = 9;
    pub const ENHANCE_YOUR_CALM: u32 = 11;
}

/// Settings.
pub mod setting {
    #![expect(missing_docs, reason = "they are the names of the standard")]
    pub const HEADER_TABLE_SIZE: u16 = 1;
    pub const ENABLE_PUSH: u16 = 2;
    pub const MAX_CONCURRENT_STREAMS: u16 = 3;
    pub const INITIAL_WINDOW_SIZE: u16 = 4;
    pub const MAX_FRAME_SIZE: u16 = 5;
    pub const MAX_HEADER_LIST_SIZE: u16 = 6;
}

/// A frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Its type, of [`kind`].
    pub kind: u8,
    /// Its flags, of [`flag`].
    pub flags: u8,
    /// Its stream.
    pub stream: u32,
    /// All that comes after the head.
    pub payload: Vec<u8>,
}

impl Frame {
    /// Whether it is of this kind and has this flag.
    pub fn is(&self, kind: u8, flag: u8) -> bool {
        self.kind == kind && self.flags & flag == flag
    }

    /// The code of an error that ends a stream or the connection.
    pub fn code(&self) -> Option<u32> {
        let at = match self.kind {
            kind::RST_STREAM => 0,
            kind::GOAWAY => 4,
            _ => return None,
        };
        self.payload.get(at..at + 4).map(|bytes| u32::from_be_bytes(bytes.try_into().expect("four bytes")))
    }
}

/// The bytes of a frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a length of 24 bits").to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// A frame of settings.
pub fn settings(settings: &[(u16, u32)]) -> Vec<u8> {
    let mut payload = Vec::new();
    for (name, value) in settings {
        payload.extend_from_slice(&name.to_be_bytes());
        payload.extend_from_slice(&value.to_be_bytes());
    }
    frame(kind::SETTINGS, flag::NONE, 0, &payload)
}

/// A block of headers: literals that no table is to keep, without Huffman's code.
pub fn block(headers: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in headers {
        bytes.push(0);
        for text in [name, value] {
            string(&mut bytes, text.as_bytes());
        }
    }
    bytes
}

/// A string of a block of headers.
pub fn string(bytes: &mut Vec<u8>, text: &[u8]) {
    // An integer with a prefix of seven bits.
    match text.len() {
        short @ ..127 => bytes.push(u8::try_from(short).expect("less than 127")),
        mut long => {
            bytes.push(127);
            long -= 127;
            while long >= 128 {
                bytes.push(u8::try_from(long % 128).expect("less than 128") | 128);
                long /= 128;
            }
            bytes.push(u8::try_from(long).expect("less than 128"));
        }
    }
    bytes.extend_from_slice(text);
}

/// The headers of a request, to which more can be added.
pub fn request<'a>(method: &'a str, path: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![(":method", method), (":scheme", "http"), (":path", path), (":authority", "scorebox.test")]
}

/// The frame of a request without a body.
pub fn get(stream: u32, path: &str) -> Vec<u8> {
    frame(kind::HEADERS, flag::END_STREAM | flag::END_HEADERS, stream, &block(&request("GET", path)))
}

/// The first frame of a request with a body.
pub fn post(stream: u32, path: &str) -> Vec<u8> {
    frame(kind::HEADERS, flag::END_HEADERS, stream, &block(&request("POST", path)))
}

/// The frames of a request to `/score` with JSON.
pub fn json(stream: u32, body: &str) -> Vec<u8> {
    let headers = [request("POST", "/score"), vec![("content-type", "application/json")]].concat();
    let head = frame(kind::HEADERS, flag::END_HEADERS, stream, &block(&headers));
    [head, data(stream, flag::END_STREAM, body.as_bytes())].concat()
}

/// A frame of a body.
pub fn data(stream: u32, flags: u8, body: &[u8]) -> Vec<u8> {
    frame(kind::DATA, flags, stream, body)
}

/// A frame that resets a stream.
pub fn reset(stream: u32, code: u32) -> Vec<u8> {
    frame(kind::RST_STREAM, flag::NONE, stream, &code.to_be_bytes())
}

/// A frame that opens a window further.
pub fn window_update(stream: u32, bytes: u32) -> Vec<u8> {
    frame(kind::WINDOW_UPDATE, flag::NONE, stream, &bytes.to_be_bytes())
}

/// A connection.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    /// What has been read and not been looked at.
    buffer: Vec<u8>,
}

impl Connection {
    /// Connects, and sends nothing.
    pub fn connect(server: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&server, PATIENCE)?;
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { stream, buffer: Vec::new() })
    }

    /// Connects, begins with these settings, and acknowledges those of the server.
    pub fn open(server: SocketAddr, own: &[(u16, u32)]) -> io::Result<Self> {
        let mut connection = Self::connect(server)?;
        connection.send(&[PREFACE, &settings(own)].concat())?;
        let mut acknowledged = false;
        let mut told = false;
        while !(acknowledged && told) {
            let frame = connection.read(PATIENCE)?.ok_or(ErrorKind::UnexpectedEof)?;
            if frame.is(kind::SETTINGS, flag::ACK) {
                acknowledged = true;
            } else if frame.kind == kind::SETTINGS {
                told = true;
                connection.send(&self::frame(kind::SETTINGS, flag::ACK, 0, &[]))?;
            }
        }
        Ok(connection)
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Lets the system take next to nothing that the client has not read.
    pub fn take_little(&self) -> io::Result<()> {
        Ok(rustix::net::sockopt::set_socket_recv_buffer_size(&self.stream, 64 * 1024)?)
    }

    /// Reads a frame: none when the server has closed the connection. Fails when none comes within `limit`.
    pub fn read(&mut self, limit: Duration) -> io::Result<Option<Frame>> {
        let end = Instant::now() + limit;
        loop {
            if let Some(frame) = self.take() {
                return Ok(Some(frame));
            }
            let left = end.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            self.stream.set_read_timeout(Some(left))?;
            let mut bytes = [0; 16 * 1024];
            match self.stream.read(&mut bytes) {
                Ok(0) => return Ok(None),
                Ok(count) => self.buffer.extend_from_slice(&bytes[..count]),
                Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => {
                    return Ok(None);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock && Instant::now() < end => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The body of the answer on a stream, once all of it has come. What comes on others is forgotten.
    pub fn body(&mut self, stream: u32) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let frame = self.read(PATIENCE)?.ok_or(ErrorKind::UnexpectedEof)?;
            if frame.stream != stream {
                continue;
            }
            match frame.kind {
                kind::DATA => body.extend_from_slice(&frame.payload),
                kind::RST_STREAM => return Err(ErrorKind::ConnectionReset.into()),
                _ => {}
            }
            if matches!(frame.kind, kind::DATA | kind::HEADERS) && frame.flags & flag::END_STREAM != 0 {
                return Ok(body);
            }
        }
    }

    fn take(&mut self) -> Option<Frame> {
        let head: [u8; 9] = self.buffer.get(..9)?.try_into().expect("nine bytes");
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let payload = self.buffer.get(9..9 + length)?.to_vec();
        self.buffer.drain(..9 + length);
        let stream = u32::from_be_bytes(head[5..].try_into().expect("four bytes"));
        Some(Frame { kind: head[3], flags: head[4], stream, payload })
    }
}
