//! `/score`: from a request to a scorer's answer.

use std::borrow::Cow;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use axum::body::{Body, HttpBody};
use axum::response::Response;
use bytes::Bytes;
use http::header;
use http::request::Parts;
use http::uri::Scheme;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Frame;
use scorebox_sandbox::{
    Exception, Fault, LogSink, Outcome, Piece, Priority, Request, Response as Scored, Run, Streamed, Trap,
};
use scorebox_telemetry::ExceptionKind;
use tokio::time::{Sleep, sleep};
use tracing::{Instrument as _, Span};

use crate::app::{self, App, client, scorers_uri};
use crate::body;
use crate::credentials;
use crate::endpoint::Chosen;
use crate::error::{Error, RUN_FUNCTION_FAILED, python_bool};
use crate::ids::RequestIds;
use crate::input::{self, InputError, InputMode};
use crate::parking::Slot;
use crate::python_json;
use crate::recorder::Recorder;
use crate::scorer_log::ScorerLog;
use crate::settings::BodyLimits;
use crate::tenant::{self, Tenant};

/// `x-ms-run-fn-exec-ms`: how long `run` took.
static RUN_FN_EXEC_MS: HeaderName = HeaderName::from_static("x-ms-run-fn-exec-ms");

/// Exceptions of Python that ask for the end of the process.
const EXITS: [&str; 3] = ["GeneratorExit", "KeyboardInterrupt", "SystemExit"];

/// Headers that a scorer's response may have.
const MAX_HEADERS: usize = 1000;

/// Bytes that they may have together. Nobody is charged for them while the client takes its time.
const MAX_HEADER_BYTES: usize = 256 * 1024;

/// Bytes that a mirror's copy of a request is charged for besides its body and its headers: as many as its target may have.
const COPY_COST: usize = 4 * 1024;

/// Bytes of the name of a header that the log shows when it is not valid.
const SHOWN_NAME: usize = 200;

/// Bytes of a text that telemetry is given: the start of it that is sent, 8,192 characters of UTF-16, never has more.
const MAX_RECORDED: usize = 32 * 1024;

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
pub(crate) async fn score(
    app: &Arc<App>,
    Chosen { tenant, slot, is_keyed, mirror, .. }: Chosen,
    ids: &RequestIds,
    parts: &Parts,
    body: Body,
    recorder: Option<&Arc<Recorder>>,
) -> Result<Response, Error> {
    let start = Instant::now();
    let resident = slot.resident();
    let is_admitted = resident.is_none();
    let deployed = if let Some(deployed) = resident {
        deployed
    } else {
        let note_refusal = |error: &Error| {
            if error.refusal().is_some() {
                slot.refused();
            }
        };
        // Nothing is loaded for a request that is refused.
        tenant.admits(&app.sandbox).inspect_err(note_refusal)?;
        slot.deployed().await.inspect_err(note_refusal)?
    };
    if deployed.mode != InputMode::Raw {
        match parts.method {
            Method::OPTIONS => {
                let mut response = app::text("");
                response.headers_mut().insert(&RUN_FUNCTION_FAILED, python_bool(false));
                return Ok(response);
            }
            Method::HEAD => return Err(Error::Input(InputError::Method)),
            _ => {}
        }
    }
    let note_refusal = |error: &Error| {
        if error.refusal().is_some() {
            deployed.journal.refused();
        }
    };
    if !is_admitted {
        tenant.admits(&app.sandbox).inspect_err(note_refusal)?;
    }
    // The text of a form is empty in what is recorded, as in what the model gets.
    let is_form = deployed.mode == InputMode::Plain && parts.method == Method::POST && input::is_form(&parts.headers);
    let received = receive(app, &tenant, deployed.mode, ids, parts, body).await;
    let (mut request, share) = received.inspect_err(note_refusal)?;
    if is_keyed {
        request.headers.retain(|(name, value)| !credentials::is_credential(name, value));
    }
    let models = app.settings.model_data.as_ref().filter(|_| recorder.is_some());
    let data = models.and_then(|models| {
        let input = if is_form { "" } else { recorded(str::from_utf8(&request.body).ok()?) };
        Some((models, input.to_owned()))
    });
    let log = Arc::new(ScorerLog::for_request(&app.settings, &request.id, recorder.cloned(), &deployed.journal));
    if let Some(mirror) = mirror {
        copy_to(app, Arc::clone(&tenant), mirror, deployed.mode, &request);
    }
    let run =
        app.sandbox.run_in(tenant.lane(), &deployed.deployment, request, Arc::clone(&log) as Arc<dyn LogSink>).await;
    drop(share);
    deployed.journal.ran(&run.outcome, start.elapsed());
    if let (Some(recorder), Some((models, input)), Outcome::Response(scored)) = (recorder, data, &run.outcome) {
        record_model_data(recorder, models, deployed.mode, &input, scored);
    }
    answer(app, &tenant, &log, run)
}

/// Gives a mirror a copy of a request. Nobody waits for it, and its answer is dropped.
fn copy_to(app: &Arc<App>, tenant: Arc<Tenant>, mirror: Arc<Slot>, mode: InputMode, request: &Request) {
    // What is live comes first: a copy is the first thing that is left out.
    let bytes = request.body.len() + header_bytes(&request.headers) + COPY_COST;
    let Ok(share) = body::charge(bytes as u64, tenant.bodies()) else { return };
    let (app, request) = (Arc::clone(app), request.clone());
    let copied = async move {
        // Why it is not loaded is in the log.
        let Ok(mirror) = mirror.deployed().await else { return };
        if mirror.mode != mode {
            let name = &mirror.deployment.name;
            tracing::warn!(
                "a request is not mirrored to {name}, which takes its input in another way than the deployment that answers"
            );
            return;
        }
        let log = Arc::new(ScorerLog::for_request(&app.settings, &request.id, None, &mirror.journal));
        let sink = Arc::clone(&log) as Arc<dyn LogSink>;
        let (lane, priority) = (tenant.lane(), Priority::Background);
        let run = app.sandbox.run_with_priority(lane, priority, &mirror.deployment, request, sink).await;
        drop(share);
        mirror.journal.mirrored(&run.outcome);
        if let Outcome::Refused(refused) = run.outcome {
            tracing::debug!("a request is not mirrored: {refused}");
            return;
        }
        match answer(&app, &tenant, &log, run) {
            // It runs to its end, as it would for a client.
            Ok(response) => {
                let mut body = response.into_body();
                while let Some(Ok(_)) = body.frame().await {}
            }
            Err(error) => {
                tracing::warn!("{} failed a request that was mirrored to it: {error:?}", mirror.deployment.name);
            }
        }
    };
    tokio::spawn(copied.in_current_span());
}

/// The request as the scorer gets it, once all of it has come. Its body is charged for until its share is dropped.
async fn receive(
    app: &App,
    tenant: &Tenant,
    mode: InputMode,
    ids: &RequestIds,
    parts: &Parts,
    body: Body,
) -> Result<(Request, body::Share), Error> {
    let limits = BodyLimits { max: app.settings.body.max.min(tenant.max_body()), ..app.settings.body };
    let (body, share) = body::read(body, &parts.headers, &limits, tenant.bodies()).await?;
    let query = parts.uri.query();
    let input = input::prepare(mode, &parts.method, &parts.headers, query, body).map_err(Error::Input)?;
    Ok((request(ids, parts, input), share))
}

impl App {
    /// What a scorer gets of a request: for benchmarks, which want to see the host's part without the scorer's. None where
    /// the request is refused.
    #[doc(hidden)]
    pub async fn scorers_request(&self, mode: InputMode, request: http::Request<Body>) -> Option<Request> {
        let (parts, body) = request.into_parts();
        let ids = RequestIds::from_headers(&parts.headers).ok()?;
        let tenant = Tenant::nobody(&self.sandbox, &self.body_budget);
        let received = receive(self, &tenant, mode, &ids, &parts, body).await.ok()?;
        Some(received.0)
    }
}

/// The request with its input.
fn request(ids: &RequestIds, parts: &Parts, input: Vec<u8>) -> Request {
    let uri = scorers_uri(parts);
    Request {
        id: ids.request_id().into_owned(),
        client_request_id: ids.client_request_id().map(Cow::into_owned),
        method: parts.method.as_str().to_owned(),
        // As it came on its connection.
        scheme: parts.extensions.get().unwrap_or(&Scheme::HTTP).to_string(),
        path: uri.path().to_owned(),
        query: uri.query().map(str::to_owned),
        headers: parts
            .headers
            .iter()
            .map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()))
            .collect(),
        client_address: client(parts).ip().to_string(),
        body: input,
    }
}

/// The answer to the client; what it must not know goes to the log.
fn answer(app: &App, tenant: &Tenant, log: &Arc<ScorerLog>, run: Run) -> Result<Response, Error> {
    let failed = Failed { log };
    let settings = &app.settings;
    tracing::debug!(
        target: "azmlinfsrv",
        queued_us = run.timing.queued.as_micros(),
        instantiate_us = run.timing.instantiate.as_micros(),
        run_us = run.timing.run.as_micros(),
        "run() ended"
    );
    match run.outcome {
        Outcome::Response(Scored { status, headers, body }) => {
            let body = body::answer(body, tenant.bodies())?;
            response(status, headers, run.timing.run, Body::from(body))
        }
        Outcome::Stream(mut streamed) => {
            let headers = std::mem::take(&mut streamed.headers);
            response(streamed.status, headers, run.timing.run, Body::new(StreamBody::new(streamed, Arc::clone(log))))
        }
        Outcome::Fault(Fault::BadInput(message)) => Err(Error::BadInput(message)),
        Outcome::Fault(Fault::UnsupportedInput(message)) => Err(Error::UnsupportedInput(message)),
        Outcome::Fault(Fault::Failed(exception)) => {
            failed.raised(ExceptionKind::Script, &exception);
            Err(if EXITS.contains(&&*exception.kind) { Error::Exit } else { Error::Script })
        }
        Outcome::Fault(Fault::TimedOut(exception)) => {
            failed.raised(ExceptionKind::Timeout, &exception);
            Err(Error::Timeout(settings.scoring_timeout))
        }
        Outcome::Fault(Fault::Unencodable(exception)) => {
            // It is the answer that is wrong, which the contract takes for an error of the server's.
            log.failed(&described(&exception));
            Err(Error::Internal)
        }
        Outcome::Trap(trap) => {
            failed.trapped(trap);
            Err(Error::Script)
        }
        Outcome::OutOfMemory { limit, of_lane } => {
            failed.out_of_memory(limit, of_lane);
            Err(Error::Script)
        }
        Outcome::Deadline(limit) => {
            failed.out_of_time(limit);
            Err(Error::Timeout(limit))
        }
        Outcome::Refused(refused) => Err(tenant::refused(refused)),
    }
}

/// Tells telemetry what went into a scorer, as far as it is recorded, and came out.
fn record_model_data(recorder: &Recorder, models: &[String], mode: InputMode, input: &str, scored: &Scored) {
    let Ok(prediction) = str::from_utf8(&scored.body) else { return };
    let is_json = serde_json::from_str::<serde::de::IgnoredAny>(prediction).is_ok();
    recorder.model_data(models, &as_json(input, mode == InputMode::Json), &as_json(recorded(prediction), is_json));
}

/// The start of a text that telemetry is given, cut between characters.
fn recorded(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_RECORDED)]
}

/// A text as JSON: one that is none is a string of it.
fn as_json(text: &str, is_json: bool) -> Cow<'_, str> {
    if is_json {
        return text.into();
    }
    let mut json = String::with_capacity(text.len() + 2);
    python_json::write_str(text, &mut json);
    json.into()
}

/// Tells the log, and telemetry, how a scorer failed.
struct Failed<'a> {
    log: &'a ScorerLog,
}

impl Failed<'_> {
    fn raised(&self, kind: ExceptionKind, exception: &Exception) {
        self.log.failed(&described(exception));
        if let Some(recorder) = self.log.recorder() {
            recorder.exception(kind, exception);
        }
    }

    fn trapped(&self, Trap { reason, backtrace }: Trap) {
        let separator = if backtrace.is_empty() { "" } else { "\n" };
        self.log.failed(&format!("run() was stopped: {reason}{separator}{backtrace}"));
        self.stopped(ExceptionKind::Script, "Trap", reason, backtrace);
    }

    fn out_of_memory(&self, limit: u64, of_tenant: bool) {
        let message = if of_tenant {
            format!("it needed more memory than the quota of {limit} bytes had left for all instances of its tenant")
        } else {
            format!("it needed more memory than the limit of {limit} bytes")
        };
        self.log.failed(&format!("run() was stopped: {message}"));
        self.stopped(ExceptionKind::Script, "MemoryError", message, String::new());
    }

    fn out_of_time(&self, limit: Duration) {
        let message = format!("Scoring timeout after {} ms", limit.as_millis());
        self.log.failed(&format!("run() was stopped: {message}"));
        self.stopped(ExceptionKind::Timeout, "TimeoutError", message, String::new());
    }

    /// Tells telemetry of what the scorer could not raise itself any more.
    fn stopped(&self, kind: ExceptionKind, type_name: &str, message: String, traceback: String) {
        if let Some(recorder) = self.log.recorder() {
            recorder.exception(kind, &Exception { kind: type_name.to_owned(), message, traceback });
        }
    }
}

pub(crate) fn described(Exception { kind, message, traceback }: &Exception) -> String {
    let traceback = traceback.trim_end();
    // That of a group is drawn as a tree.
    if traceback.starts_with("Traceback ") || traceback.starts_with("  + Exception Group Traceback ") {
        // It ends with the kind and the message.
        format!("Encountered Exception: {traceback}")
    } else {
        let separator = if traceback.is_empty() { "" } else { "\n" };
        format!("Encountered Exception: {kind}: {message}{separator}{traceback}")
    }
}

/// A scorer's answer in HTTP.
fn response(status: u16, scored: Vec<(String, Vec<u8>)>, took: Duration, body: Body) -> Result<Response, Error> {
    let status = StatusCode::from_u16(status).ok().filter(|status| status.as_u16() >= 200).ok_or_else(|| {
        tracing::error!(target: "azmlinfsrv", "run() answered with status {status}, which is none of 200 to 999");
        Error::Internal
    })?;
    if scored.len() > MAX_HEADERS {
        tracing::error!(target: "azmlinfsrv", "run() set {} headers, more than the {MAX_HEADERS} that a response may have", scored.len());
        return Err(Error::Internal);
    }
    let bytes = header_bytes(&scored);
    if bytes > MAX_HEADER_BYTES {
        tracing::error!(target: "azmlinfsrv", "run() set headers of {bytes} bytes, more than the {MAX_HEADER_BYTES} that a response may have");
        return Err(Error::Internal);
    }
    let mut headers = HeaderMap::with_capacity(scored.len() + 8);
    for (name, value) in scored {
        append(&mut headers, &name, value);
    }
    if status.as_u16() >= 500 {
        headers.insert(&RUN_FUNCTION_FAILED, python_bool(true));
    }
    let milliseconds = format!("{:.3}", took.as_secs_f64() * 1e3);
    headers.append(&RUN_FN_EXEC_MS, HeaderValue::try_from(milliseconds).map_err(|_| Error::Internal)?);
    let body = if matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) { Body::empty() } else { body };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    Ok(response)
}

/// Bytes of the names and values of headers.
fn header_bytes(headers: &[(String, Vec<u8>)]) -> usize {
    headers.iter().map(|(name, value)| name.len() + value.len()).sum()
}

/// How long a connection stays open that is about to be cut: it forgets what it has not written by then.
const BEFORE_CUT: Duration = Duration::from_millis(5);

/// A body that a scorer sends while it makes it.
#[derive(Debug)]
struct StreamBody {
    /// There until the end.
    streamed: Option<Streamed>,
    /// There when the scorer has ended otherwise than it should, until the connection is cut.
    cut: Option<Pin<Box<Sleep>>>,
    span: Span,
    log: Arc<ScorerLog>,
}

impl StreamBody {
    fn new(streamed: Streamed, log: Arc<ScorerLog>) -> Self {
        Self { streamed: Some(streamed), cut: None, span: Span::current(), log }
    }
}

impl HttpBody for StreamBody {
    type Data = Bytes;
    type Error = BodyCut;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        if let Some(cut) = &mut self.cut {
            ready!(cut.as_mut().poll(cx));
            self.cut = None;
            return Poll::Ready(Some(Err(BodyCut)));
        }
        let Some(streamed) = self.streamed.as_mut() else { return Poll::Ready(None) };
        let run = match ready!(streamed.poll_next(cx)) {
            Piece::Body(piece) => return Poll::Ready(Some(Ok(Frame::data(piece.into())))),
            Piece::End(run) => run,
        };
        self.streamed = None;
        let span = self.span.clone();
        let _in_request = span.enter();
        let log = Arc::clone(&self.log);
        let failed = Failed { log: &log };
        match run.outcome {
            Outcome::Response(_) => return Poll::Ready(None),
            Outcome::Fault(Fault::TimedOut(exception)) => failed.raised(ExceptionKind::Timeout, &exception),
            Outcome::Fault(Fault::Failed(exception) | Fault::Unencodable(exception)) => {
                failed.raised(ExceptionKind::Script, &exception);
            }
            Outcome::Trap(trap) => failed.trapped(trap),
            Outcome::OutOfMemory { limit, of_lane } => failed.out_of_memory(limit, of_lane),
            Outcome::Deadline(limit) => failed.out_of_time(limit),
            other => tracing::error!(target: "azmlinfsrv", "run() ended its stream with {other:?}"),
        }
        self.cut = Some(Box::pin(sleep(BEFORE_CUT)));
        self.poll_frame(cx)
    }
}

/// The scorer did not come to the end of the body that it was sending. The connection is closed before the last chunk, so
/// that the client sees it.
#[derive(Debug, thiserror::Error)]
#[error("the scorer did not come to the end of its response")]
struct BodyCut;

/// Adds a header of the scorer's, unless it is not the scorer's to set or no header at all.
fn append(headers: &mut HeaderMap, name: &str, value: Vec<u8>) {
    let (Ok(parsed), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) else {
        let shown = &name[..name.floor_char_boundary(SHOWN_NAME)];
        tracing::warn!(target: "azmlinfsrv", "run() set a header that is not valid HTTP, which is left out: {shown:?}");
        return;
    };
    if NOT_THE_SCORERS.contains(&parsed) || parsed.as_str() == "keep-alive" || parsed.as_str().starts_with("proxy-") {
        return;
    }
    headers.append(parsed, value);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What telemetry sends of a text: characters of UTF-16.
    const SENT: usize = 8192;

    #[test]
    fn of_a_long_text_no_more_is_kept_than_is_sent_and_as_much_is_sent_as_of_all_of_it() {
        for character in ["a", "\u{1}", "\u{7f}", "\"", "\\", "é", "模", "😀", "模😀é\u{1}"] {
            for before in ["", "b", "bb", "bbb"] {
                for length in [0, 1, 100, SENT - 2, SENT, 2 * SENT, MAX_RECORDED, 4 * MAX_RECORDED] {
                    let text = format!("{before}{}", character.repeat(length));
                    let start = recorded(&text);
                    assert!(start.len() <= MAX_RECORDED && (start == text || start.len() > MAX_RECORDED - 4));
                    for is_json in [true, false] {
                        let sent = |text: &str| as_json(text, is_json).encode_utf16().take(SENT).collect::<Vec<_>>();
                        assert!(sent(start) == sent(&text), "{length} of {character:?} after {before:?}");
                    }
                }
            }
        }
    }
}
