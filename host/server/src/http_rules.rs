//! What a request may look like, by the rules of the contract, whose HTTP is gunicorn's.
//!
//! What breaks them is answered before the routes are looked at: with a page of HTML, without ids, and in HTTP/1 the
//! connection is closed. Of HTTP/2, which gunicorn does not speak, the sizes have the same limits; the rest is the library's
//! to check.

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use http::header::{CONNECTION, CONTENT_TYPE, EXPECT, HOST, HeaderName, HeaderValue, TRANSFER_ENCODING};
use http::{StatusCode, Version};

use crate::framing::Framing;

/// Bytes of a request line, without its end. In HTTP/2 those of the line that says the same.
const MAX_LINE: usize = 4094;
/// Headers of a request. Those of HTTP/2 whose names begin with a colon are the request line's.
const MAX_HEADERS: usize = 100;
/// Bytes of a header, with its end.
const MAX_HEADER: usize = 8190;
/// Bytes that a method has.
const METHOD: std::ops::RangeInclusive<usize> = 3..=20;

/// The answer to a request that breaks a rule.
pub(crate) fn refuse(request: &Request, framing: Framing) -> Option<Response> {
    let (status, reason, message) = broken_rule(request, framing)?;
    tracing::warn!(target: "gunicorn.error", "Invalid request: {message}");
    let mut response = page(status, reason, &message);
    if !is_http2(request) {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    Some(response)
}

fn is_http2(request: &Request) -> bool {
    request.version() > Version::HTTP_11
}

fn broken_rule(request: &Request, framing: Framing) -> Option<(StatusCode, &'static str, String)> {
    let bad = |message: String| Some((StatusCode::BAD_REQUEST, "Bad Request", message));
    let too_large = |what: &str| {
        let message = format!("Error parsing headers: '{what}'");
        Some((StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "Request Header Fields Too Large", message))
    };
    let (is_http2, headers) = (is_http2(request), request.headers());
    let method = request.method().as_str();
    let line = method.len() + request_target_length(request) + " HTTP/1.1".len() + 1;
    if line > MAX_LINE {
        let message = format!("Request Line is too large ({line} > {MAX_LINE})");
        return Some((StatusCode::URI_TOO_LONG, "URI Too Long", message));
    }
    let is_valid =
        METHOD.contains(&method.len()) && !method.contains(|char: char| char.is_ascii_lowercase() || char == '#');
    if !(is_http2 || is_valid) {
        return bad(format!("Invalid Method 'Invalid HTTP method: '{method}''"));
    }
    if headers.len() > MAX_HEADERS {
        return too_large("limit request headers fields");
    }
    if headers.iter().any(|(name, value)| name.as_str().len() + ": ".len() + value.len() + "\r\n".len() > MAX_HEADER) {
        return too_large("limit request headers fields size");
    }
    if is_http2 {
        return None;
    }
    let invalid = |name: &HeaderName| bad(format!("Invalid HTTP Header: '{}'", name.as_str().to_ascii_uppercase()));
    for name in [&HOST, &CONTENT_TYPE] {
        if headers.get_all(name).iter().nth(1).is_some() {
            return invalid(name);
        }
    }
    if headers.get(TRANSFER_ENCODING).is_some_and(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"chunked")) {
        return invalid(&TRANSFER_ENCODING);
    }
    if let Some(what) = framing.ambiguous() {
        return bad(format!("Invalid HTTP Header: '{what}'"));
    }
    if let Some(expect) = headers.get(EXPECT)
        && !expect.as_bytes().eq_ignore_ascii_case(b"100-continue")
    {
        let expect = String::from_utf8_lossy(expect.as_bytes());
        let message = format!("Unable to comply with expectation: '{expect}'");
        return Some((StatusCode::EXPECTATION_FAILED, "Expectation Failed", message));
    }
    None
}

/// Bytes of the request's target. HTTP/2 says apart from it which host is asked, as HTTP/1 does in `Host`.
fn request_target_length(request: &Request) -> usize {
    let uri = request.uri();
    let origin = match (uri.scheme(), uri.authority()) {
        _ if is_http2(request) => 0,
        (Some(scheme), Some(authority)) => scheme.as_str().len() + "://".len() + authority.as_str().len(),
        (None, Some(authority)) => authority.as_str().len(),
        _ => 0,
    };
    origin + uri.path_and_query().map_or(0, |target| target.as_str().len())
}

/// A page as gunicorn writes it.
pub(crate) fn page(status: StatusCode, reason: &str, message: &str) -> Response {
    let message = message
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('\'', "&#x27;");
    let html = format!(
        "<html>\n  <head>\n    <title>{reason}</title>\n  </head>\n  <body>\n    <h1><p>{reason}</p></h1>\n    \
         {message}\n  </body>\n</html>\n"
    );
    let mut response = Response::new(Body::from(html));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/html"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(change: impl FnOnce(http::request::Builder) -> http::request::Builder) -> Option<u16> {
        let request = change(http::Request::builder().method("POST").uri("/score").header("host", "x"));
        refuse(&request.body(Body::empty()).unwrap(), Framing::default()).map(|response| response.status().as_u16())
    }

    #[test]
    fn a_request_line_has_up_to_4094_bytes() {
        let target = |line: usize| format!("/{}", "a".repeat(line - "POST / HTTP/1.1".len()));
        assert_eq!(answer(|request| request.uri(target(4094))), None);
        assert_eq!(answer(|request| request.uri(target(4095))), Some(414));
    }

    #[test]
    fn a_request_has_up_to_100_headers_of_up_to_8190_bytes() {
        let headers = |count: usize| {
            move |request: http::request::Builder| {
                (0..count).fold(request, |request, number| request.header(format!("x-{number}"), "1"))
            }
        };
        assert_eq!(answer(headers(99)), None);
        assert_eq!(answer(headers(100)), Some(431));
        let value = |length: usize| move |request: http::request::Builder| request.header("x", "a".repeat(length));
        assert_eq!(answer(value(8190 - 5)), None);
        assert_eq!(answer(value(8190 - 4)), Some(431));
    }

    #[test]
    fn headers_that_mean_something_are_there_once_and_valid() {
        assert_eq!(answer(|request| request.header("host", "y")), Some(400));
        assert_eq!(answer(|request| request.header("transfer-encoding", "gzip, chunked")), Some(400));
        assert_eq!(answer(|request| request.method("get")), Some(400));
        assert_eq!(answer(|request| request.header("expect", "something")), Some(417));
        assert_eq!(answer(|request| request.header("expect", "100-Continue")), None);
    }

    #[test]
    fn a_request_of_http_2_has_the_same_sizes_and_its_connection_is_not_closed() {
        let request = |target: &str, headers: usize, length: usize| {
            let request = http::Request::get(format!("http://{}{target}", "h".repeat(200))).version(Version::HTTP_2);
            let request = (1..headers).fold(request, |request, number| request.header(format!("x-{number}"), "1"));
            let request = request.header("x", "a".repeat(length)).body(Body::empty()).unwrap();
            refuse(&request, Framing::default()).map(|response| {
                assert!(!response.headers().contains_key(CONNECTION));
                response.status().as_u16()
            })
        };
        assert_eq!(request("/", 100, 1), None);
        assert_eq!(request("/", 101, 1), Some(431));
        assert_eq!(request("/", 1, 8190 - 5), None);
        assert_eq!(request("/", 1, 8190 - 4), Some(431));
        let target = |line: usize| format!("/{}", "a".repeat(line - "GET / HTTP/1.1".len()));
        assert_eq!(request(&target(4094), 1, 1), None);
        assert_eq!(request(&target(4095), 1, 1), Some(414));
    }

    #[test]
    fn other_rules_are_those_of_http_1() {
        for (name, value) in [("host", "y"), ("expect", "something")] {
            let request = |request: http::request::Builder| request.method("get").header(name, value);
            assert_eq!(answer(|builder| request(builder).version(Version::HTTP_2)), None);
            assert_eq!(answer(request), Some(400));
        }
    }
}
