//! The two lines that the log has for a request.
//!
//! Both are those of the contract of Azure ML's inference server 1.5.1. What a client sent appears in them escaped: no
//! header and no path can end a line, close a quote or reach a terminal.

use std::fmt::{self, Write};
use std::net::IpAddr;
use std::time::Duration;

use http::header::{HeaderMap, HeaderName, HeaderValue, REFERER, USER_AGENT};
use http::{Method, StatusCode, Version};
use time::OffsetDateTime;

/// The logger, that is the `target` of the event, of [`access_line`].
pub const ACCESS_LOGGER: &str = "gunicorn.access";

/// The request line of the log: `POST /score?x=1 200 0.795ms 2`.
///
/// It is logged by `azmlinfsrv` for `/score` and `/swagger.json`, once the request's ids have been accepted. `query` is
/// what follows the `?`, as sent. `length` is that of the body in bytes; a response of unknown length is `N/A`.
#[must_use]
pub fn request_line(
    method: &Method,
    path: &str,
    query: Option<&str>,
    status: StatusCode,
    duration: Duration,
    length: Option<u64>,
) -> String {
    let mut line = String::with_capacity(64 + path.len() + query.map_or(0, str::len));
    push(&mut line, format_args!("{} {}", Text(method.as_str().as_bytes()), Text(path.as_bytes())));
    if let Some(query) = query.filter(|query| !query.is_empty()) {
        push(&mut line, format_args!("?{}", Text(query.as_bytes())));
    }
    push(&mut line, format_args!(" {} {:.3}ms ", status.as_u16(), duration.as_secs_f64() * 1e3));
    match length {
        Some(length) => push(&mut line, format_args!("{length}")),
        None => line.push_str("N/A"),
    }
    line
}

/// What [`access_line`] says about a request and its response.
#[derive(Clone, Copy, Debug)]
pub struct Access<'a> {
    /// Address of the client.
    pub client: IpAddr,
    /// When the request came, in UTC.
    pub time: OffsetDateTime,
    /// Its method.
    pub method: &'a Method,
    /// Its target as sent, `/score?x=1`.
    pub target: &'a str,
    /// Its version.
    pub version: Version,
    /// Its headers, of which `referer` and `user-agent` are logged.
    pub headers: &'a HeaderMap,
    /// Status of the response.
    pub status: StatusCode,
    /// Bytes of the response's body that were sent.
    pub length: u64,
}

/// The access line of the log:
/// `127.0.0.1 - - [21/Nov/2026:23:18:46 +0000] "POST /score HTTP/1.1" 200 2 "-" "curl/7.88.1"`.
///
/// It is logged by [`ACCESS_LOGGER`] when the response has been sent. None for `GET / HTTP/1.1`: health checks would
/// fill the log.
#[must_use]
pub fn access_line(access: &Access<'_>) -> Option<String> {
    let Access { client, time, method, target, version, headers, status, length } = *access;
    if method == Method::GET && target == "/" && version == Version::HTTP_11 {
        return None;
    }
    let mut line = String::with_capacity(128 + target.len());
    let (year, month, day) = (time.year(), MONTHS[usize::from(u8::from(time.month())) - 1], time.day());
    let (hour, minute, second) = (time.hour(), time.minute(), time.second());
    push(
        &mut line,
        format_args!("{client} - - [{day:02}/{month}/{year:04}:{hour:02}:{minute:02}:{second:02} +0000] \""),
    );
    push(&mut line, format_args!("{} {} {version:?}\" ", Text(method.as_str().as_bytes()), Text(target.as_bytes())));
    push(&mut line, format_args!("{} {length} ", status.as_u16()));
    push(&mut line, format_args!("\"{}\" \"{}\"", header(headers, &REFERER), header(headers, &USER_AGENT)));
    Some(line)
}

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

fn header<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Text<'a> {
    Text(headers.get(name).map(HeaderValue::as_bytes).filter(|value| !value.is_empty()).unwrap_or(b"-"))
}

/// Writing to a string does not fail.
fn push(line: &mut String, text: fmt::Arguments<'_>) {
    let _ = line.write_fmt(text);
}

/// What a client sent: `"` and `\` with a backslash, what is not printable ASCII as `\xNN`.
struct Text<'a>(&'a [u8]);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_plain = |byte: &u8| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\');
        let mut rest = self.0;
        while !rest.is_empty() {
            let plain = rest.iter().position(|byte| !is_plain(byte)).unwrap_or(rest.len());
            let (head, tail) = rest.split_at(plain);
            f.write_str(str::from_utf8(head).unwrap_or_default())?;
            rest = tail;
            if let [byte, tail @ ..] = rest {
                match byte {
                    b'"' => f.write_str("\\\"")?,
                    b'\\' => f.write_str("\\\\")?,
                    _ => write!(f, "\\x{byte:02x}")?,
                }
                rest = tail;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::{Date, Month, Time, UtcOffset};

    #[test]
    fn the_request_line_is_that_of_the_contract() {
        for (method, path, query, status, micros, length, expected) in [
            (Method::POST, "/score", Some("x=1"), 200, 795, Some(2), "POST /score?x=1 200 0.795ms 2"),
            (Method::POST, "/score", None, 500, 12_345_678, Some(92), "POST /score 500 12345.678ms 92"),
            (Method::GET, "/score", Some(""), 200, 1, None, "GET /score 200 0.001ms N/A"),
            (Method::OPTIONS, "/score", None, 200, 0, Some(0), "OPTIONS /score 200 0.000ms 0"),
            (
                Method::GET,
                "/swagger.json",
                Some("version=3.0a"),
                404,
                1000,
                Some(84),
                "GET /swagger.json?version=3.0a 404 1.000ms 84",
            ),
            (
                Method::GET,
                "/a\r\nb",
                Some("\"\u{1b}é\\"),
                404,
                0,
                Some(1),
                r#"GET /a\x0d\x0ab?\"\x1b\xc3\xa9\\ 404 0.000ms 1"#,
            ),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(request_line(&method, path, query, status, Duration::from_micros(micros), length), expected);
        }
    }

    fn line(
        method: &Method,
        target: &str,
        version: Version,
        referer: Option<&[u8]>,
        agent: Option<&[u8]>,
    ) -> Option<String> {
        let mut headers = HeaderMap::new();
        for (name, value) in [(REFERER, referer), (USER_AGENT, agent)] {
            if let Some(value) = value {
                headers.insert(name, HeaderValue::from_bytes(value).unwrap());
            }
        }
        let date = Date::from_calendar_date(2026, Month::November, 1).unwrap();
        let time = Time::from_hms(3, 8, 6).unwrap();
        access_line(&Access {
            client: [127, 0, 0, 1].into(),
            time: OffsetDateTime::new_in_offset(date, time, UtcOffset::UTC),
            method,
            target,
            version,
            headers: &headers,
            status: StatusCode::OK,
            length: 2,
        })
    }

    #[test]
    fn the_access_line_is_that_of_the_contract() {
        assert_eq!(
            line(&Method::POST, "/score", Version::HTTP_11, None, Some(b"curl/7.88.1")).unwrap(),
            r#"127.0.0.1 - - [01/Nov/2026:03:08:06 +0000] "POST /score HTTP/1.1" 200 2 "-" "curl/7.88.1""#
        );
        assert_eq!(
            line(&Method::GET, "/?a=1", Version::HTTP_2, Some(b"http://a.com"), None).unwrap(),
            r#"127.0.0.1 - - [01/Nov/2026:03:08:06 +0000] "GET /?a=1 HTTP/2.0" 200 2 "http://a.com" "-""#
        );
    }

    #[test]
    fn headers_cannot_forge_a_line() {
        assert_eq!(
            line(&Method::GET, "/score", Version::HTTP_10, Some(b"x\" 200 \"\t\\"), Some(b"\xe9\x9b")).unwrap(),
            r#"127.0.0.1 - - [01/Nov/2026:03:08:06 +0000] "GET /score HTTP/1.0" 200 2 "x\" 200 \"\x09\\" "\xe9\x9b""#
        );
    }

    #[test]
    fn health_checks_have_no_line() {
        assert_eq!(line(&Method::GET, "/", Version::HTTP_11, None, None), None);
        assert!(line(&Method::GET, "/", Version::HTTP_10, None, None).is_some());
        assert!(line(&Method::HEAD, "/", Version::HTTP_11, None, None).is_some());
    }
}
