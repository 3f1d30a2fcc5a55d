//! From an HTTP request to the bytes that a scorer's `run` gets.
//!
//! The rules are those of the contract of Azure ML's inference server 1.5.1. What it checks of a JSON body after the
//! content type is left to the scorer, which parses the body anyway.

use std::borrow::Cow;

use http::header::HeaderMap;
use http::{Method, StatusCode, header};

use crate::query::query_to_json;

/// How a scorer wants its input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum InputMode {
    /// UTF-8 text: the body of a POST request as it is, the parameters of a GET request as a JSON object. A form is no text.
    Plain,
    /// A JSON object: the body of a POST request, unparsed, or the parameters of a GET request.
    Json,
    /// The body as it is, for every method of the route.
    Raw,
}

/// Why a request is no input. `Display` is the message of the answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InputError {
    /// The body is no UTF-8 (400). The description is Python's: `'utf-8' codec can't decode byte 0xff in position 0:
    /// invalid start byte`, with positions in bytes.
    #[error("Input cannot be decoded as UTF-8: {0}")]
    NotUtf8(String),
    /// The content type is not JSON's (415).
    #[error("Expects Content-Type to be application/json")]
    NotJson,
    /// Neither a GET nor a POST request (405). `OPTIONS` is answered with 200 and no body by who calls.
    #[error("Method not allowed")]
    Method,
}

impl InputError {
    /// The status of the answer: 400, 405 or 415.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self {
            Self::NotUtf8(_) => StatusCode::BAD_REQUEST,
            Self::NotJson => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
        }
    }
}

/// The input of a scorer in this mode. The body is passed on without a copy.
///
/// `query` is what follows the `?` of the request's target, as sent. In plain mode a body of a form content type need not be
/// UTF-8: the real server has consumed it by then, and its text is empty, so it is for those who ask for the form. An empty
/// body is an empty input; `curl -d` without a content type sends a form.
///
/// # Errors
///
/// [`InputError`] as the mode says; none in [`InputMode::Raw`].
pub fn prepare(
    mode: InputMode,
    method: &Method,
    headers: &HeaderMap,
    query: Option<&str>,
    body: Vec<u8>,
) -> Result<Vec<u8>, InputError> {
    if mode == InputMode::Raw {
        return Ok(body);
    }
    if method == Method::GET {
        return Ok(query_to_json(query).into());
    }
    if method != Method::POST {
        return Err(InputError::Method);
    }
    if mode == InputMode::Json {
        return if is_json(&media_type(headers)) { Ok(body) } else { Err(InputError::NotJson) };
    }
    if is_form(headers) {
        return Ok(body);
    }
    // The standard library takes seven times as long for text that is not ASCII, and twice as long for ASCII.
    if simdutf8::basic::from_utf8(&body).is_ok() {
        return Ok(body);
    }
    // Says where.
    match std::str::from_utf8(&body) {
        Ok(_) => Ok(body),
        Err(error) => Err(InputError::NotUtf8(python_utf8_error(&body, error))),
    }
}

/// The content type as it was sent; empty where there is none that can be read.
fn content_type(headers: &HeaderMap) -> &str {
    // Of several lines the last one counts.
    let line = headers.get_all(header::CONTENT_TYPE).iter().next_back();
    line.and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// The media type of the content in lower case, without its parameters; empty when there is none that can be read.
fn media_type(headers: &HeaderMap) -> Cow<'_, str> {
    let line = content_type(headers);
    let name = line.split(';').next().unwrap_or_default().trim_matches([' ', '\t']);
    if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(name.to_ascii_lowercase())
    } else {
        Cow::Borrowed(name)
    }
}

fn is_json(media_type: &str) -> bool {
    media_type == "application/json" || media_type.starts_with("application/") && media_type.ends_with("+json")
}

/// Whether the real server takes the body for a form. One of several parts needs to say what is between them.
pub(crate) fn is_form(headers: &HeaderMap) -> bool {
    match &*media_type(headers) {
        "application/x-www-form-urlencoded" => true,
        "multipart/form-data" => content_type(headers).to_ascii_lowercase().contains("boundary="),
        _ => false,
    }
}

/// The text of Python's `UnicodeDecodeError`.
fn python_utf8_error(bytes: &[u8], error: std::str::Utf8Error) -> String {
    let start = error.valid_up_to();
    let end = error.error_len().map_or(bytes.len(), |len| start + len);
    let first = bytes.get(start).copied().unwrap_or_default();
    let reason = match error.error_len() {
        None => "unexpected end of data",
        // Bytes that no character starts with: continuations, overlong forms, beyond U+10FFFF.
        Some(_) if !(0xc2..=0xf4).contains(&first) => "invalid start byte",
        Some(_) => "invalid continuation byte",
    };
    if end - start == 1 {
        format!("'utf-8' codec can't decode byte 0x{first:02x} in position {start}: {reason}")
    } else {
        format!("'utf-8' codec can't decode bytes in position {start}-{}: {reason}", end - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn input(mode: InputMode, method: &Method, content_type: &str, body: &[u8]) -> Result<Vec<u8>, InputError> {
        let mut headers = HeaderMap::new();
        if !content_type.is_empty() {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_str(content_type).unwrap());
        }
        prepare(mode, method, &headers, Some("a=1"), body.to_vec())
    }

    #[test]
    fn plain_text_is_passed_on_unchanged() {
        for (content_type, body) in [
            ("application/json", &b"{ \"a\" :\n 1 }"[..]),
            ("", b"{\"a\":1}"),
            ("text/plain", b"hello"),
            ("application/json", b"this is not json"),
            ("application/json; charset=iso-8859-1", "é".as_bytes()),
            ("application/json", b"\xef\xbb\xbf{}"),
            ("application/json", b"a\0b"),
            ("application/json", b""),
        ] {
            assert_eq!(input(InputMode::Plain, &Method::POST, content_type, body).unwrap(), body);
        }
    }

    #[test]
    fn the_body_is_not_copied() {
        for mode in [InputMode::Plain, InputMode::Json, InputMode::Raw] {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
            let body = b"{}".to_vec();
            let place = body.as_ptr();
            let prepared = prepare(mode, &Method::POST, &headers, None, body).unwrap();
            assert_eq!(prepared.as_ptr(), place);
        }
    }

    #[test]
    fn forms_are_passed_on_unchanged_whatever_their_bytes_are() {
        for content_type in [
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=XX",
            "Application/X-WWW-Form-UrlEncoded ;a=b",
        ] {
            let body = b"a=1&b=\xff";
            assert_eq!(input(InputMode::Plain, &Method::POST, content_type, body).unwrap(), body);
        }
        let error = input(InputMode::Plain, &Method::POST, "multipart/form-data", b"a=1&b=\xff").unwrap_err();
        assert_eq!(error.status(), 400);
    }

    #[test]
    fn other_bytes_are_refused_with_the_text_of_python() {
        for (body, expected) in [
            (&b"\xff"[..], "byte 0xff in position 0: invalid start byte"),
            (b"{\"a\": \"\xe4\xb8\"}", "bytes in position 7-8: invalid continuation byte"),
            (b"\"caf\xe9\"", "byte 0xe9 in position 4: invalid continuation byte"),
            (b"abc\x80", "byte 0x80 in position 3: invalid start byte"),
            (b"\xc0\x80", "byte 0xc0 in position 0: invalid start byte"),
            (b"\xe4", "byte 0xe4 in position 0: unexpected end of data"),
            (b"a\xf0\x9f\x98", "bytes in position 1-3: unexpected end of data"),
            (b"\xe0\x80\x80", "byte 0xe0 in position 0: invalid continuation byte"),
            (b"\xed\xa0\x80", "byte 0xed in position 0: invalid continuation byte"),
            (b"\xf0\x9f\x98A", "bytes in position 0-2: invalid continuation byte"),
            (b"\xf4\x90\x80\x80", "byte 0xf4 in position 0: invalid continuation byte"),
            (b"\xf5\x80", "byte 0xf5 in position 0: invalid start byte"),
        ] {
            let error = input(InputMode::Plain, &Method::POST, "application/json", body).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("Input cannot be decoded as UTF-8: 'utf-8' codec can't decode {expected}")
            );
            assert_eq!(error.status(), 400);
        }
    }

    #[test]
    fn json_mode_takes_json_content_types_only() {
        for content_type in [
            "application/json",
            "APPLICATION/JSON; charset=utf-16",
            "application/vnd.api+json",
            "application/+JSON",
            " application/json ; x",
        ] {
            assert_eq!(input(InputMode::Json, &Method::POST, content_type.trim(), b"\xff").unwrap(), &b"\xff"[..]);
        }
        for content_type in [
            "",
            "text/plain",
            "text/json",
            "application/x-www-form-urlencoded",
            "application/jsonl",
            "application/json,x",
        ] {
            let error = input(InputMode::Json, &Method::POST, content_type, b"{}").unwrap_err();
            assert_eq!(error.to_string(), "Expects Content-Type to be application/json");
            assert_eq!(error.status(), 415);
        }
    }

    #[test]
    fn the_parameters_of_a_get_request_are_the_input() {
        for mode in [InputMode::Plain, InputMode::Json] {
            assert_eq!(input(mode, &Method::GET, "text/plain", b"{\"b\":2}").unwrap(), b"{\"a\": 1}");
        }
    }

    #[test]
    fn only_raw_mode_takes_other_methods() {
        for method in [Method::HEAD, Method::OPTIONS] {
            assert_eq!(input(InputMode::Raw, &method, "", b"\xff").unwrap(), &b"\xff"[..]);
            for mode in [InputMode::Plain, InputMode::Json] {
                let error = input(mode, &method, "application/json", b"{}").unwrap_err();
                assert_eq!((error.status().as_u16(), &*error.to_string()), (405, "Method not allowed"));
            }
        }
    }
}
