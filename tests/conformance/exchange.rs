//! One request on a connection of its own, sent as the recorder sent it.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use scorebox_tests::Response;

use crate::cases::Sent;

const LIMIT: Duration = Duration::from_secs(30);

/// Sends a request and reads the response to it, in any of the ways in which its end can be told.
pub(crate) fn exchange(server: SocketAddr, request: &Sent) -> io::Result<Response> {
    let mut stream = TcpStream::connect_timeout(&server, LIMIT)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_write_timeout(Some(LIMIT))?;
    stream.write_all(&bytes(request))?;
    let mut stream = BufReader::new(stream);

    let status = line(&mut stream)?;
    let status = status.split(' ').nth(1).and_then(|status| status.parse().ok());
    let mut response =
        Response { status: status.ok_or(ErrorKind::InvalidData)?, headers: Vec::new(), body: Vec::new() };
    loop {
        let line = line(&mut stream)?;
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(':').ok_or(ErrorKind::InvalidData)?;
        response.headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
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

/// The request with the headers that the recorder added.
fn bytes(request: &Sent) -> Vec<u8> {
    let has = |name: &str| request.headers.iter().any(|(other, _)| other.eq_ignore_ascii_case(name));
    let body = request.body.bytes();
    let mut lines = vec![format!("{} {} HTTP/1.1", request.method, request.path)];
    if !has("host") {
        lines.push("Host: localhost".into());
    }
    if !has("user-agent") {
        lines.push("User-Agent: azsrv-cases/1".into());
    }
    lines.extend(request.headers.iter().map(|(name, value)| format!("{name}: {value}")));
    if !body.is_empty() || matches!(&*request.method, "POST" | "PUT" | "PATCH") {
        lines.push(format!("Content-Length: {}", body.len()));
    }
    // As Latin-1.
    let head = lines.join("\r\n") + "\r\n\r\n";
    let mut bytes: Vec<_> = head.chars().map(|byte| u8::try_from(byte).expect("a head is Latin-1")).collect();
    bytes.extend(body);
    bytes
}

/// A line as Latin-1, without its end.
fn line(stream: &mut impl BufRead) -> io::Result<String> {
    let mut line = Vec::new();
    stream.read_until(b'\n', &mut line)?;
    let line = line.strip_suffix(b"\r\n").ok_or(ErrorKind::UnexpectedEof)?;
    Ok(line.iter().copied().map(char::from).collect())
}
