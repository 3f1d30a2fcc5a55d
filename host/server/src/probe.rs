//! Requests that are made of a deployment before clients make any.

use std::borrow::Cow;
use std::sync::Arc;

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use scorebox_sandbox::{Fault, LogSink, Outcome, Request};
use serde_json::Value;

use crate::app::App;
use crate::deployed::Deployed;
use crate::input::{self, InputError, InputMode};
use crate::score::described;
use crate::scorer_log::{NO_REQUEST, ScorerLog};

/// Bytes of an answer that are quoted.
const MAX_QUOTED: usize = 1024;

/// A request that a deployment has to answer, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// The type of its body.
    pub content_type: HeaderValue,
    /// Its body.
    pub body: Vec<u8>,
    /// The status of the answer; `None` for any from 200 to 299.
    pub status: Option<StatusCode>,
}

impl Probe {
    fn accepts(&self, status: u16) -> bool {
        self.status.map_or((200..300).contains(&status), |expected| expected == status)
    }
}

/// A request that no client has made: `POST /score`.
pub fn request(mode: InputMode, content_type: &HeaderValue, body: Vec<u8>) -> Result<Request, InputError> {
    let headers = HeaderMap::from_iter([(CONTENT_TYPE, content_type.clone())]);
    let body = input::prepare(mode, &Method::POST, &headers, None, body)?;
    Ok(Request {
        id: NO_REQUEST.to_owned(),
        client_request_id: None,
        method: Method::POST.as_str().to_owned(),
        scheme: "http".to_owned(),
        path: "/score".to_owned(),
        query: None,
        headers: vec![(CONTENT_TYPE.as_str().to_owned(), content_type.as_bytes().to_vec())],
        client_address: "127.0.0.1".to_owned(),
        body,
    })
}

impl Deployed {
    /// The input that its schema has as an example; `None` where it has none.
    pub fn sample(&self) -> Option<Probe> {
        let schema: Value = serde_json::from_str(self.deployment.module.schema.input.as_deref()?).ok()?;
        let example = schema.get("example").or_else(|| schema.get("examples")?.get(0))?;
        if example.as_object().is_some_and(serde_json::Map::is_empty) {
            return None;
        }
        let content_type = HeaderValue::from_static("application/json");
        Some(Probe { content_type, body: example.to_string().into_bytes(), status: None })
    }
}

impl App {
    /// Makes a request of a deployment, and says why the answer is none that is accepted. Blocks until there is one. What
    /// the scorer says goes to its log.
    pub fn probe(&self, deployed: &Deployed, probe: &Probe) -> Result<(), String> {
        let request =
            request(deployed.mode, &probe.content_type, probe.body.clone()).map_err(|error| error.to_string())?;
        let name = &deployed.deployment.name;
        let log = Arc::new(ScorerLog::for_deployment(&self.settings, name, &self.telemetry, &deployed.journal));
        let run = self.sandbox.run_blocking(&deployed.deployment, request, log as Arc<dyn LogSink>);
        let (status, body) = match run.outcome {
            Outcome::Response(response) => (response.status, response.body),
            Outcome::Stream(streamed) => (streamed.status, Vec::new()),
            Outcome::Fault(Fault::BadInput(message)) => (400, message.into_bytes()),
            Outcome::Fault(Fault::UnsupportedInput(message)) => (415, message.into_bytes()),
            Outcome::Fault(Fault::Failed(exception) | Fault::TimedOut(exception) | Fault::Unencodable(exception)) => {
                return Err(described(&exception));
            }
            Outcome::Trap(trap) => return Err(format!("run() was stopped: {}\n{}", trap.reason, trap.backtrace)),
            Outcome::OutOfMemory { limit, .. } => {
                return Err(format!("run() needed more memory than the limit of {limit} bytes"));
            }
            Outcome::Deadline(limit) => return Err(format!("run() did not end within {} ms", limit.as_millis())),
            Outcome::Refused(refused) => return Err(refused.to_string()),
        };
        if probe.accepts(status) {
            return Ok(());
        }
        let quoted = &body[..body.len().min(MAX_QUOTED)];
        let expected = probe.status.map_or(Cow::Borrowed("200 to 299"), |status| status.as_str().to_owned().into());
        Err(format!("it answered with status {status}, not {expected}: {}", String::from_utf8_lossy(quoted)))
    }
}
