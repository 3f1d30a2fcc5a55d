//! Bytes on a connection, and the requests that a scorer gets of them.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::sync::OnceLock;
use std::time::Duration;

use scorebox_sandbox::Limits;
use scorebox_server::connection::{self, ConnectionLimits};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::scorer::Serving;

/// Longer than any answer takes, also on a machine with much to do.
const PATIENCE: Duration = Duration::from_mins(1);

struct Server {
    address: SocketAddr,
    _serving: Serving,
    _stop: watch::Sender<bool>,
}

impl Server {
    /// The scorer `echo`, which answers with all that it was told.
    fn start() -> Self {
        let serving = Serving::new("echo", Limits::default());
        let listener = serving.runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).expect("a port");
        let address = listener.local_addr().expect("it is bound");
        let (stop, stopped) = watch::channel(false);
        serving.runtime.spawn(connection::serve(
            listener,
            None,
            serving.app.router(),
            ConnectionLimits::default(),
            stopped,
        ));
        Self { address, _serving: serving, _stop: stop }
    }

    /// All that comes back.
    fn exchange(&self, data: &[u8]) -> Vec<u8> {
        let mut stream = TcpStream::connect(self.address).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        // It may have answered and closed before all has been sent.
        let _ = stream.write_all(data).and_then(|()| stream.shutdown(Shutdown::Write));
        let mut answer = Vec::new();
        match stream.read_to_end(&mut answer) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
            Err(error) => panic!("the connection does not end: {error}"),
        }
        answer
    }
}

/// What a client sends before it says that it has no more.
pub fn check(data: &[u8]) {
    static SERVER: OnceLock<Server> = OnceLock::new();
    let answer = SERVER.get_or_init(Server::start).exchange(data);
    // Frames of HTTP/2 are their library's affair.
    if data.starts_with(b"PRI") || data.starts_with(b"HEAD") {
        return;
    }
    let mut rest = &*answer;
    let mut answers = Vec::new();
    while !rest.is_empty() {
        let Some((response, after)) = response(rest) else { break };
        // No body comes with it, whatever its length.
        let is_last = data.windows(4).any(|window| window == b"HEAD");
        // That the body may be sent is no answer yet.
        if response.status >= 200 {
            answers.push(response);
        }
        if is_last {
            break;
        }
        rest = after;
    }
    // Each request has a version, and what is no request is answered at most once.
    let requests = data.windows(5).filter(|window| window == b"HTTP/").count();
    assert!(answers.len() <= requests + 1, "{requests} requests have {} answers", answers.len());
    if let (Some(sent), Some(first)) = (Sent::parse(data), answers.first())
        && first.status == 200
        && let Ok(echo) = serde_json::from_slice::<Value>(first.body)
        && echo.get("body_bytes").is_some()
    {
        sent.assert_echoed(&echo);
    }
}

struct Response<'a> {
    status: u16,
    body: &'a [u8],
}

/// The next answer, and what comes after it; none when it was cut off.
fn response(bytes: &[u8]) -> Option<(Response<'_>, &[u8])> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head: String = bytes[..end].iter().copied().map(char::from).collect();
    let mut lines = head.split("\r\n");
    let status_line = lines.next().unwrap_or_default();
    let status = status_line.strip_prefix("HTTP/1.1 ").or_else(|| status_line.strip_prefix("HTTP/1.0 "));
    let status = status.and_then(|rest| rest.get(..3)?.parse().ok());
    let status: u16 = status.unwrap_or_else(|| panic!("{status_line:?} begins no answer"));
    assert!(status < 500 || status == 505, "{head}");
    let mut length = 0;
    for line in lines {
        let (name, value) = line.split_once(':').unwrap_or_else(|| panic!("{line:?} is no header"));
        let is_name =
            !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
        assert!(is_name && !value.contains(|char: char| char.is_ascii_control() && char != '\t'), "{line:?}");
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().expect("a length");
        }
        if name.eq_ignore_ascii_case("x-request-id") {
            assert!(value.trim().chars().count() <= 100, "{line:?}");
        }
    }
    let rest = &bytes[end + 4..];
    if (100..200).contains(&status) {
        return Some((Response { status, body: &[] }, rest));
    }
    Some((Response { status, body: rest.get(..length)? }, &rest[length..]))
}

/// A request that can be read in one way only.
struct Sent<'a> {
    method: &'a str,
    target: &'a str,
    headers: Vec<(String, &'a str)>,
    body: &'a [u8],
}

impl<'a> Sent<'a> {
    /// Reads the plainest form of a request: none where there is more to it.
    fn parse(data: &'a [u8]) -> Option<Self> {
        let end = data.windows(4).position(|window| window == b"\r\n\r\n")?;
        let head = std::str::from_utf8(&data[..end]).ok()?;
        // A line may also end with one of the two, and empty lines may come before the first.
        let mut lines = head.split("\r\n").map(|line| Some(line).filter(|line| !line.contains(['\r', '\n'])));
        let mut words = lines.next()??.split(' ');
        let (method, target, version) = (words.next()?, words.next()?, words.next()?);
        if version != "HTTP/1.1" || words.next().is_some() || !target.starts_with('/') {
            return None;
        }
        let mut headers = Vec::new();
        for line in lines {
            let (name, value) = line?.split_once(':')?;
            headers.push((name.to_ascii_lowercase(), value.trim_matches([' ', '\t'])));
        }
        let values = |name: &str| -> Vec<&str> {
            headers.iter().filter(|(other, _)| other == name).map(|(_, value)| *value).collect()
        };
        let (lengths, codings) = (values("content-length"), values("transfer-encoding"));
        let length = match (lengths.as_slice(), codings.as_slice()) {
            ([], []) => 0,
            ([length], []) if length.bytes().all(|byte| byte.is_ascii_digit()) => length.parse().ok()?,
            _ => return None,
        };
        Some(Self { method, target, headers, body: data.get(end + 4..)?.get(..length)? })
    }

    /// The scorer was told of it as it was sent.
    fn assert_echoed(&self, echo: &Value) {
        let (path, query) =
            self.target.split_once('?').map_or((self.target, None), |(path, query)| (path, Some(query)));
        // A fragment is no part of what is asked for.
        let part = |text: &str| text.split('#').next().unwrap_or_default().to_owned();
        assert_eq!(echo["method"], *self.method);
        assert_eq!(echo["path"], part(path));
        if !path.contains('#') {
            assert_eq!(echo["query"].as_str(), query.map(part).as_deref());
        }
        assert_eq!(echo["body_bytes"], self.body.len());
        assert_eq!(echo["body"], *String::from_utf8_lossy(self.body));
        // Those of one name are told together.
        let told: Vec<_> = echo["headers"].as_array().expect("a list").iter().collect();
        assert_eq!(told.len(), self.headers.len());
        for (name, _) in &self.headers {
            let told = told.iter().filter(|header| header[0] == **name).map(|header| header[1].as_str());
            let sent = self.headers.iter().filter(|(other, _)| other == name).map(|(_, value)| Some(*value));
            assert!(told.eq(sent), "{name}");
        }
    }
}
