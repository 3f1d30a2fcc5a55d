//! Values that a scorer hands to the host, byte by byte as they lie in its memory, and what becomes of them in HTTP.

use std::sync::OnceLock;
use std::time::Duration;

use axum::body::Body;
use http::{HeaderName, HeaderValue, Request, StatusCode, header};
use http_body_util::BodyExt as _;
use scorebox_sandbox::Limits;
use tower::ServiceExt as _;

use crate::scorer::Serving;

/// Where the guest puts the body of the request, as it says itself.
const ARENA: usize = 0x20_0000;
const ARENA_BYTES: usize = 0x1_0000;
/// Bytes before what `run` returns.
const HEAD: usize = 48;
/// Bytes that a response may have.
const OUTPUT: usize = 256 * 1024;
/// Headers that a response may have.
const MAX_HEADERS: usize = 1000;
/// What a client is told when something went wrong inside.
const FIXED: [&str; 2] = ["An unexpected error occurred in scoring script.", "An unexpected internal error occurred."];
/// Headers that belong to the connection.
const CONNECTION: [HeaderName; 8] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::DATE,
    header::SERVER,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// What is at the end of the guest's memory: twelve words that say what it calls, and what it returns.
pub fn check(data: &[u8]) {
    static SERVING: OnceLock<Serving> = OnceLock::new();
    let serving = SERVING.get_or_init(|| {
        let limits = Limits {
            memory: 16 << 20,
            deadline: Duration::from_secs(10),
            log: 4096,
            output: OUTPUT as u64,
            host_call: 1 << 20,
            ..Limits::default()
        };
        Serving::new("raw", limits)
    });
    let mut arena = data[..data.len().min(ARENA_BYTES)].to_vec();
    let request = Request::post("/score").body(Body::from(arena.clone())).expect("a request");
    arena.resize(ARENA_BYTES, 0);
    let router = serving.app.router();
    let (head, body) = serving.runtime.block_on(async {
        let Ok(response) = router.oneshot(request).await;
        let (head, body) = response.into_parts();
        (head, body.collect().await.map(http_body_util::Collected::to_bytes))
    });
    assert!(head.status.as_u16() >= 200);
    assert!(!head.headers.contains_key(header::CONNECTION) && !head.headers.contains_key(header::TRANSFER_ENCODING));
    // A stream that ends otherwise than it should is cut.
    let is_stream = arena[0] & 6 != 0;
    let Ok(body) = body else {
        assert!(is_stream);
        return;
    };
    // A message becomes JSON, in which a byte has up to six.
    let most = if head.status.is_client_error() { 6 * OUTPUT } else { OUTPUT } + 1024;
    assert!(
        body.len() <= most
            && head.headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum::<usize>() <= most
    );
    if arena[0] & 7 != 0 {
        return;
    }
    match Memory(&arena).result() {
        // It lies elsewhere in the memory.
        None => {}
        Some(Lifted::Trap) => assert_failed(head.status, &body, ""),
        Some(Lifted::Failed(message)) => assert_failed(head.status, &body, &message),
        Some(Lifted::Refused(status, message)) => {
            assert_eq!(head.status, status);
            let answer: serde_json::Value = serde_json::from_slice(&body).expect("it is JSON");
            assert_eq!(answer["message"], *message);
        }
        Some(Lifted::Response(status, headers, expected)) => {
            if !(200..1000).contains(&status) || headers.len() > MAX_HEADERS {
                return assert_failed(head.status, &body, "");
            }
            assert_eq!(head.status.as_u16(), status);
            let has_body = !matches!(status, 204 | 304);
            assert_eq!(body, if has_body { expected } else { Vec::new() });
            assert_headers(&head.headers, &headers);
        }
    }
}

fn assert_failed(status: StatusCode, body: &[u8], message: &str) {
    assert_eq!(status, 500);
    let body = String::from_utf8_lossy(body);
    let is_told = message.len() > 8 && body.contains(message) && !FIXED.iter().any(|text| text.contains(message));
    assert!(!is_told || body.starts_with("<html>"), "the client is told {message:?}");
}

/// The scorer's headers are there, as they were, but for those that are not its own to set.
fn assert_headers(found: &http::HeaderMap, set: &[(String, Vec<u8>)]) {
    let valid: Vec<_> = set
        .iter()
        .filter_map(|(name, value)| Some((HeaderName::try_from(name).ok()?, HeaderValue::from_bytes(value).ok()?)))
        .filter(|(name, _)| !CONNECTION.contains(name) && name != "keep-alive" && !name.as_str().starts_with("proxy-"))
        .collect();
    for (name, _) in &valid {
        // The server has a say in these.
        if name.as_str().starts_with("x-") || name == "traceid" {
            continue;
        }
        let of_name = valid.iter().filter(|(other, _)| other == name).map(|(_, value)| value);
        assert!(found.get_all(name).iter().eq(of_name), "{name}");
    }
}

/// What a value is, by the rules of the component model.
enum Lifted {
    /// None of the type.
    Trap,
    Response(u16, Vec<(String, Vec<u8>)>, Vec<u8>),
    /// A fault that the client is told of.
    Refused(u16, String),
    /// A fault that it is not told of, with its message.
    Failed(String),
}

/// The end of a guest's memory.
struct Memory<'a>(&'a [u8]);

/// A value, or why there is none: it is not of its type, or it lies where nobody knows what is.
type Found<T> = Result<T, Option<Lifted>>;

impl Memory<'_> {
    fn result(&self) -> Option<Lifted> {
        self.lift().map_or_else(|error| error, Some)
    }

    fn lift(&self) -> Found<Lifted> {
        let at = |offset: usize| HEAD + offset;
        match self.0[at(0)] {
            0 => {
                let status = u16::from_le_bytes([self.0[at(4)], self.0[at(5)]]);
                let list = self.bytes(at(8), 16)?;
                if !self.word(at(8)).is_multiple_of(4) {
                    return Err(Some(Lifted::Trap));
                }
                let mut headers = Vec::new();
                let mut size = 0;
                for place in list.step_by(16) {
                    let (name, value) = (self.text(place)?, self.0[self.bytes(place + 8, 1)?].to_vec());
                    size += name.len() + value.len();
                    if size > OUTPUT {
                        return Err(Some(Lifted::Trap));
                    }
                    headers.push((name, value));
                }
                let body = self.0[self.bytes(at(16), 1)?].to_vec();
                let fits = size + body.len() <= OUTPUT;
                Ok(if fits { Lifted::Response(status, headers, body) } else { Lifted::Trap })
            }
            1 => match self.0[at(4)] {
                0 => Ok(Lifted::Refused(400, self.text(at(8))?)),
                1 => Ok(Lifted::Refused(415, self.text(at(8))?)),
                2..=4 => {
                    let (_, message, _) = (self.text(at(8))?, self.text(at(16))?, self.text(at(24))?);
                    Ok(Lifted::Failed(message))
                }
                _ => Err(Some(Lifted::Trap)),
            },
            _ => Err(Some(Lifted::Trap)),
        }
    }

    fn word(&self, at: usize) -> usize {
        let bytes = self.0[at..at + 4].try_into().expect("four bytes");
        u32::from_le_bytes(bytes) as usize
    }

    /// Where the elements of a list are.
    fn bytes(&self, at: usize, size: usize) -> Found<std::ops::Range<usize>> {
        let (start, length) = (self.word(at), self.word(at + 4) * size);
        let start = start.checked_sub(ARENA).ok_or(None)?;
        if start + length <= ARENA_BYTES { Ok(start..start + length) } else { Err(None) }
    }

    fn text(&self, at: usize) -> Found<String> {
        let bytes = &self.0[self.bytes(at, 1)?];
        String::from_utf8(bytes.to_vec()).map_err(|_| Some(Lifted::Trap))
    }
}
