//! Bundles, by their content: uploaded once, and gone on with where an upload broke off.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};
use http::header::{CONTENT_LENGTH, CONTENT_RANGE, LOCATION};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use http_body_util::BodyExt as _;
use scorebox_store::{Digest, Store, StoreError};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::resources::{blocking, document};
use super::{Api, Problem};
use crate::error::ControlError;
use crate::resource::Bundle;

/// `upload-offset`: how many bytes of a bundle are there.
static UPLOAD_OFFSET: HeaderName = HeaderName::from_static("upload-offset");
/// Pieces of a body that wait to be written.
const PIECES: usize = 16;

#[utoipa::path(get, path = "/bundles", tag = "bundles", responses((status = 200, body = [Bundle])))]
/// List all bundles.
pub(super) async fn list(State(api): State<Arc<Api>>) -> Result<Response, Problem> {
    let blobs = blocking(&api, |control| Ok(control.store().blobs()?)).await?;
    let bundles: Vec<_> = blobs.into_iter().map(|blob| Bundle { digest: blob.digest, size: blob.size }).collect();
    Ok(document(StatusCode::OK, &serde_json::json!({ "items": bundles })))
}

#[utoipa::path(
    get, path = "/bundles/{digest}", tag = "bundles",
    responses((status = 200, body = Bundle), (status = 404, body = Problem, description = "Not all of it is there; `Upload-Offset` says how many bytes are"))
)]
/// Show whether a bundle is there.
pub(super) async fn show(State(api): State<Arc<Api>>, Path(digest): Path<String>) -> Result<Response, Problem> {
    let digest = parse(&digest)?;
    let (blob, offset) =
        blocking(&api, move |control| Ok((control.store().blob(&digest)?, control.store().upload_offset(&digest)?)))
            .await?;
    Ok(match blob {
        Some(blob) => document(StatusCode::OK, &Bundle { digest, size: blob.size }),
        None => with_offset(Problem::not_found(format!("there is no bundle {digest}; upload it")), offset),
    })
}

#[utoipa::path(
    put, path = "/bundles/{digest}", tag = "bundles",
    request_body(content_type = "application/octet-stream", description = "The bundle; or, with `Content-Range: bytes FIRST-LAST/SIZE`, what is missing of it; or, with `Content-Range: bytes */SIZE`, nothing, where all of it has come and was not made a bundle"),
    responses(
        (status = 201, body = Bundle), (status = 200, body = Bundle, description = "It was there already"),
        (status = 408, body = Problem, description = "Nothing came for too long: `Upload-Offset` says how many bytes are there"),
        (status = 409, body = Problem, description = "It has to begin elsewhere, or somebody else uploads it: `Upload-Offset` says how many bytes are there"),
        (status = 413, body = Problem), (status = 422, body = Problem, description = "It has another digest, and is removed")
    )
)]
/// Upload a bundle.
pub(super) async fn upload(
    State(api): State<Arc<Api>>,
    Path(digest): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let digest = parse(&digest)?;
    let range = Range::of(&headers)?;
    let store = api.control.store().clone();
    let there = blocking(&api, move |control| Ok(control.store().blob(&digest)?)).await?;
    if let Some(blob) = there {
        return Ok(document(StatusCode::OK, &Bundle { digest, size: blob.size }));
    }
    let max = api.max_bundle;
    let declared = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if declared.unwrap_or(0).max(range.size.unwrap_or(0)) > max {
        return Err(too_large(max));
    }
    let (pieces, received) = mpsc::channel(PIECES);
    let writing = tokio::task::spawn_blocking(move || write(&store, digest, range, declared, max, received));
    let came_in_time = send(body, pieces, api.body_timeout).await;
    match writing.await.map_err(|error| Problem::internal(&error))? {
        Ok(Written::Whole(size)) => {
            let mut response = document(StatusCode::CREATED, &Bundle { digest, size });
            let place = HeaderValue::try_from(format!("/admin/v1/bundles/{digest}")).expect("digits fit into a header");
            response.headers_mut().insert(LOCATION, place);
            Ok(response)
        }
        Ok(Written::Part(offset)) if !came_in_time => {
            let seconds = api.body_timeout.as_secs_f64();
            let detail = format!("nothing more came for {seconds} s; {offset} bytes are there, go on from them");
            Ok(with_offset(Problem::new(StatusCode::REQUEST_TIMEOUT, detail), offset))
        }
        Ok(Written::Part(offset)) => {
            let detail = format!("{offset} bytes are there, which is not all; go on from them");
            Ok(with_offset(Problem::bad_request(detail), offset))
        }
        Ok(Written::TooLarge) => Err(too_large(max)),
        Err(StoreError::Offset { expected, .. }) => {
            let detail = format!("{expected} bytes are there; go on from them");
            Ok(with_offset(Problem::new(StatusCode::CONFLICT, detail), expected))
        }
        Err(error @ StoreError::Mismatch { .. }) => Ok(with_offset(Problem::invalid(error.to_string()), 0)),
        Err(error @ StoreError::Busy { .. }) => {
            let problem = Problem::new(StatusCode::CONFLICT, error.to_string());
            match blocking(&api, move |control| Ok(control.store().upload_offset(&digest)?)).await {
                Ok(offset) => Ok(with_offset(problem, offset)),
                Err(_) => Err(problem),
            }
        }
        Err(error) => Err(ControlError::Store(error).into()),
    }
}

/// Which bytes of a bundle come in a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Range {
    /// The first.
    first: u64,
    /// How many the bundle has in all; none where the end of the body is that of the bundle.
    size: Option<u64>,
}

impl Range {
    /// Of `Content-Range: bytes FIRST-LAST/SIZE` (RFC 9110); all of it without one. With `bytes */SIZE` nothing is missing.
    fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        let Some(text) = headers.get(CONTENT_RANGE) else { return Ok(Self { first: 0, size: None }) };
        let parse = || {
            let (range, size) = text.to_str().ok()?.strip_prefix("bytes ")?.split_once('/')?;
            let size: u64 = size.parse().ok()?;
            if range == "*" {
                return Some(Self { first: size, size: Some(size) });
            }
            let (first, last) = range.split_once('-')?;
            let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
            (first <= last && last < size).then_some(Self { first, size: Some(size) })
        };
        parse().ok_or_else(|| {
            Problem::bad_request(format!(
                "`Content-Range: {text:?}` is not understood; write `bytes FIRST-LAST/SIZE`, or `bytes */SIZE` to finish"
            ))
        })
    }
}

/// What comes of a body, for the thread that writes it.
enum Piece {
    Bytes(Bytes),
    /// All of the body has come.
    End,
}

/// What has become of an upload.
enum Written {
    /// The bundle is there, with so many bytes.
    Whole(u64),
    /// So many bytes of it are.
    Part(u64),
    /// It would have more than it may.
    TooLarge,
}

/// Hands a body over, piece by piece. Returns `false` when no piece has come for so long.
async fn send(mut body: Body, pieces: mpsc::Sender<Piece>, limit: Duration) -> bool {
    loop {
        let Ok(frame) = timeout(limit, body.frame()).await else { return false };
        let piece = match frame {
            None => Piece::End,
            Some(Err(_)) => return true,
            Some(Ok(frame)) => match frame.into_data() {
                Ok(bytes) => Piece::Bytes(bytes),
                Err(_trailers) => continue,
            },
        };
        let is_end = matches!(piece, Piece::End);
        // Who writes may have given up.
        if pieces.send(piece).await.is_err() || is_end {
            return true;
        }
    }
}

/// Writes what comes, of a body that says to have `declared` bytes. What has come stays where the body breaks off. Who sends
/// all of a bundle of which there is as much already begins anew: what is there could not be made the bundle.
fn write(
    store: &Store,
    digest: Digest,
    range: Range,
    declared: Option<u64>,
    max: u64,
    mut received: mpsc::Receiver<Piece>,
) -> Result<Written, StoreError> {
    let all = range.size.or(declared);
    let mut upload = match store.upload(&digest, range.first) {
        Err(StoreError::Offset { expected, .. }) if range.first == 0 && all.is_some_and(|all| expected >= all) => {
            store.upload_anew(&digest)?
        }
        upload => upload?,
    };
    let mut size = range.first;
    let mut has_ended = false;
    while let Some(piece) = received.blocking_recv() {
        match piece {
            Piece::Bytes(bytes) => {
                size += bytes.len() as u64;
                if size > range.size.unwrap_or(max) {
                    upload.discard()?;
                    return Ok(Written::TooLarge);
                }
                upload.append(&bytes)?;
            }
            Piece::End => has_ended = true,
        }
    }
    if has_ended && range.size.is_none_or(|all| all == size) {
        upload.finish()?;
        return Ok(Written::Whole(size));
    }
    Ok(Written::Part(size))
}

fn too_large(max: u64) -> Problem {
    let detail = format!("the bundle has more than {max} bytes; take out what the scorer does not need");
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail)
}

fn parse(digest: &str) -> Result<Digest, Problem> {
    digest.parse().map_err(|error: scorebox_store::DigestError| Problem::invalid(error.to_string()))
}

fn with_offset(problem: Problem, offset: u64) -> Response {
    let mut response = problem.into_response();
    response.headers_mut().insert(&UPLOAD_OFFSET, HeaderValue::from(offset));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_says_where_a_part_begins_and_how_much_there_is() {
        let of = |text: &str| Range::of(&HeaderMap::from_iter([(CONTENT_RANGE, text.parse().unwrap())]));
        assert_eq!(of("bytes 5-9/10").unwrap(), Range { first: 5, size: Some(10) });
        assert_eq!(of("bytes */10").unwrap(), Range { first: 10, size: Some(10) });
        assert_eq!(Range::of(&HeaderMap::new()).unwrap(), Range { first: 0, size: None });
        for wrong in ["bytes 5-10/10", "bytes 6-5/10", "bytes */*", "bytes 5-9/*", "5-9/10", "bytes -1-9/10", ""] {
            assert!(of(wrong).is_err(), "{wrong}");
        }
    }
}
