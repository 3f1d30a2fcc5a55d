//! `/score`: from a request to a scorer's answer.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::header;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use scorebox_sandbox::{Exception, Fault, Outcome, Request, Response as Scored, Run, Trap};

use crate::app::{self, App, DEFAULT_ENDPOINT, client, sent_uri};
use crate::body;
use crate::endpoint::Endpoint;
use crate::error::{Error, RUN_FUNCTION_FAILED, python_bool};
use crate::ids::RequestIds;
use crate::input::{self, InputError, InputMode};
use crate::scorer_log::ScorerLog;

/// `x-ms-run-fn-exec-ms`: how long `run` took.
static RUN_FN_EXEC_MS: HeaderName = HeaderName::from_static("x-ms-run-fn-exec-ms");

/// Headers that a scorer's response may have.
const MAX_HEADERS: usize = 1000;

/// Headers of a response that are the connection's or the server's to set.
const NOT_THE_SCORERS: [HeaderName; 8] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::DATE,
    header::SERVER,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// Answers a request on `/score`.
pub(crate) async fn score(app: &App, ids: &RequestIds, parts: &Parts, body: Body) -> Result<Response, Error> {
    let endpoint = app.endpoints.get(DEFAULT_ENDPOINT).ok_or(Error::NotReady)?;
    if endpoint.mode != InputMode::Raw {
        match parts.method {
            Method::OPTIONS => return Ok(app::text("")),
            Method::HEAD => return Err(Error::Input(InputError::Method)),
            _ => {}
        }
    }
    app.sandbox.admits().map_err(Error::Refused)?;
    let body = body::read(body, &parts.headers, &app.settings.body, &app.body_budget).await?;
    let query = parts.uri.query();
    let input = input::prepare(endpoint.mode, &parts.method, &parts.headers, query, body.bytes.clone())
        .map_err(Error::Input)?;
    let request = request(ids, parts, input);
    let run = app.sandbox.run(&endpoint.deployment, request, Arc::new(ScorerLog::for_request())).await;
    drop(body);
    answer(&endpoint, run)
}

/// The request as the scorer gets it.
fn request(ids: &RequestIds, parts: &Parts, input: Bytes) -> Request {
    let uri = sent_uri(parts);
    Request {
        id: ids.request_id().into_owned(),
        client_request_id: ids.client_request_id().map(std::borrow::Cow::into_owned),
        method: parts.method.as_str().to_owned(),
        scheme: "http".to_owned(),
        path: uri.path().to_owned(),
        query: uri.query().map(str::to_owned),
        headers: parts
            .headers
            .iter()
            .map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()))
            .collect(),
        client_address: client(parts).ip().to_string(),
        body: input.into(),
    }
}

/// The answer to the client; what it must not know goes to the log.
fn answer(endpoint: &Endpoint, run: Run) -> Result<Response, Error> {
    tracing::debug!(
        target: "azmlinfsrv",
        queued_us = run.timing.queued.as_micros(),
        instantiate_us = run.timing.instantiate.as_micros(),
        run_us = run.timing.run.as_micros(),
        "run() ended"
    );
    match run.outcome {
        Outcome::Response(scored) => response(endpoint.mode, scored, run.timing.run),
        Outcome::Fault(Fault::BadInput(message)) => Err(Error::BadInput(message)),
        Outcome::Fault(Fault::UnsupportedInput(message)) => Err(Error::UnsupportedInput(message)),
        Outcome::Fault(Fault::Failed(Exception { kind, message, traceback })) => {
            let traceback = traceback.trim_end();
            let separator = if traceback.is_empty() { "" } else { "\n" };
            tracing::error!(target: "azmlinfsrv", "Encountered Exception: {kind}: {message}{separator}{traceback}");
            Err(Error::Script)
        }
        Outcome::Trap(Trap { reason, backtrace }) => {
            let separator = if backtrace.is_empty() { "" } else { "\n" };
            tracing::error!(target: "azmlinfsrv", "run() was stopped: {reason}{separator}{backtrace}");
            Err(Error::Script)
        }
        Outcome::OutOfMemory { limit } => {
            tracing::error!(target: "azmlinfsrv", "run() was stopped: it needed more memory than the limit of {limit} bytes");
            Err(Error::Script)
        }
        Outcome::Deadline(limit) => {
            tracing::error!(target: "azmlinfsrv", "run() was stopped: Scoring timeout after {} ms", limit.as_millis());
            Err(Error::Timeout(limit))
        }
        Outcome::Refused(refused) => Err(Error::Refused(refused)),
    }
}

/// A scorer's answer in HTTP.
fn response(mode: InputMode, scored: Scored, took: Duration) -> Result<Response, Error> {
    let status = StatusCode::from_u16(scored.status).ok().filter(|status| status.as_u16() >= 200).ok_or_else(|| {
        tracing::error!(target: "azmlinfsrv", "run() answered with status {}, which is none of 200 to 999", scored.status);
        Error::Internal
    })?;
    if scored.headers.len() > MAX_HEADERS {
        tracing::error!(target: "azmlinfsrv", "run() set {} headers, more than the {MAX_HEADERS} that a response may have", scored.headers.len());
        return Err(Error::Internal);
    }
    let mut headers = HeaderMap::with_capacity(scored.headers.len() + 8);
    // A scorer that builds responses itself says this itself.
    let said = scored.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case(RUN_FUNCTION_FAILED.as_str()));
    if mode != InputMode::Raw && !said {
        headers.insert(&RUN_FUNCTION_FAILED, python_bool(false));
    }
    for (name, value) in scored.headers {
        append(&mut headers, &name, value);
    }
    if status.is_server_error() {
        headers.insert(&RUN_FUNCTION_FAILED, python_bool(true));
    }
    let milliseconds = format!("{:.3}", took.as_secs_f64() * 1e3);
    headers.append(&RUN_FN_EXEC_MS, HeaderValue::try_from(milliseconds).map_err(|_| Error::Internal)?);
    let body = if matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
        Body::empty()
    } else {
        Body::from(scored.body)
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    Ok(response)
}

/// Adds a header of the scorer's, unless it is not the scorer's to set or no header at all.
fn append(headers: &mut HeaderMap, name: &str, value: Vec<u8>) {
    let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) else {
        tracing::warn!(target: "azmlinfsrv", "run() set a header that is not valid HTTP, which is left out: {name:?}");
        return;
    };
    if NOT_THE_SCORERS.contains(&name) || name.as_str() == "keep-alive" || name.as_str().starts_with("proxy-") {
        return;
    }
    headers.append(name, value);
}
