//! One request on a connection of its own, sent as the recorder sent it.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use scorebox_tests::Response;

use crate::cases::{Sent, bytes_of_latin1};

/// How long a response may take.
const LIMIT: Duration = Duration::from_secs(30);
/// Length of the chunks that a body is sent in where the request has it so.
const CHUNK: usize = 7;

/// Sends a request and reads the response to it, in any of the ways in which its end can be told.
pub(crate) fn exchange(server: SocketAddr, request: &Sent) -> io::Result<Response> {
    let mut stream = send(server, &request.raw().unwrap_or_else(|| bytes(request)), LIMIT)?;
    let mut response = head(&mut stream)?;
    while response.status == 100 {
        response = head(&mut stream)?;
    }
    if request.method == "HEAD" || matches!(response.status, 204 | 304) {
        return Ok(response);
    }
    let header = |name: &str| response.headers.iter().find(|(other, _)| other == name).map(|(_, value)| &**value);
    if header("transfer-encoding") == Some("chunked") {
        loop {
            let length = usize::from_str_radix(&line(&mut stream)?, 16).map_err(|_| ErrorKind::InvalidData)?;
            let start = response.body.len();
            response.body.resize(start + length, 0);
            stream.read_exact(&mut response.body[start..])?;
            line(&mut stream)?;
            if length == 0 {
                return Ok(response);
            }
        }
    }
    if let Some(length) = header("content-length") {
        response.body = vec![0; length.parse().map_err(|_| ErrorKind::InvalidData)?];
        stream.read_exact(&mut response.body)?;
    } else {
        stream.read_to_end(&mut response.body)?;
    }
    Ok(response)
}

/// Whether a server says within `limit` that it is well.
pub(crate) fn is_healthy(server: SocketAddr, limit: Duration) -> bool {
    send(server, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", limit)
        .and_then(|mut stream| head(&mut stream))
        .is_ok_and(|response| response.status == 200)
}

fn send(server: SocketAddr, request: &[u8], limit: Duration) -> io::Result<BufReader<TcpStream>> {
    let mut stream = TcpStream::connect_timeout(&server, limit)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(limit))?;
    stream.set_write_timeout(Some(limit))?;
    stream.write_all(request)?;
    Ok(BufReader::new(stream))
}

/// A response without its body.
fn head(stream: &mut impl BufRead) -> io::Result<Response> {
    let status = line(stream)?;
    let status = status.split(' ').nth(1).and_then(|status| status.parse().ok());
    let mut response =
        Response { status: status.ok_or(ErrorKind::InvalidData)?, headers: Vec::new(), body: Vec::new() };
    loop {
        let line = line(stream)?;
        if line.is_empty() {
            return Ok(response);
        }
        let (name, value) = line.split_once(':').ok_or(ErrorKind::InvalidData)?;
        response.headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
}

/// The request with the headers that the recorder added.
fn bytes(request: &Sent) -> Vec<u8> {
    let has = |name: &str| request.headers.iter().any(|(other, _)| other.eq_ignore_ascii_case(name));
    let body = request.body();
    let chunked = has("transfer-encoding");
    let mut lines = vec![format!("{} {} HTTP/1.1", request.method, request.path)];
    if !has("host") {
        lines.push("Host: localhost".into());
    }
    if !has("user-agent") {
        lines.push("User-Agent: azsrv-cases/1".into());
    }
    lines.extend(request.headers.iter().map(|(name, value)| format!("{name}: {value}")));
    let has_body = !body.is_empty() || matches!(&*request.method, "POST" | "PUT" | "PATCH");
    if has_body && !chunked && !has("content-length") {
        lines.push(format!("Content-Length: {}", body.len()));
    }
    let mut bytes = bytes_of_latin1(&(lines.join("\r\n") + "\r\n\r\n"));
    if chunked {
        for chunk in body.chunks(CHUNK) {
            bytes.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
            bytes.extend(chunk);
            bytes.extend(b"\r\n");
        }
        bytes.extend(b"0\r\n\r\n");
    } else {
        bytes.extend(body);
    }
    bytes
}

/// A line as Latin-1, without its end.
fn line(stream: &mut impl BufRead) -> io::Result<String> {
    let mut line = Vec::new();
    stream.read_until(b'\n', &mut line)?;
    let line = line.strip_suffix(b"\r\n").ok_or(ErrorKind::UnexpectedEof)?;
    Ok(line.iter().copied().map(char::from).collect())
}
