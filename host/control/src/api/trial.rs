//! Trying an endpoint out: the operator asks it, without a key of it, and sees what a client would.

use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::extract::{Path, Query, Request, State};
use axum::response::{IntoResponse as _, Response};
use http::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, StatusCode};
use http_body_util::BodyExt as _;
use scorebox_server::ClientAddress;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::resources::{document, endpoint_path, name};
use super::{Api, Problem};
use crate::name::EndpointPath;

/// Headers of the operator's request that are the endpoint's, too. The operator's token is not among them.
static PASSED: [HeaderName; 7] = [
    ACCEPT,
    CONTENT_LENGTH,
    CONTENT_TYPE,
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("x-ms-client-request-id"),
    HeaderName::from_static("x-ms-request-id"),
    HeaderName::from_static("x-request-id"),
];
/// Picks a deployment.
static MODEL_DEPLOYMENT: HeaderName = HeaderName::from_static("azureml-model-deployment");
/// Bytes of an answer that are shown.
const MAX_SHOWN: usize = 1024 * 1024;

/// Who of an endpoint is asked.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Whom {
    /// The deployment that is to answer; left out, the traffic says which one does.
    deployment: Option<String>,
}

/// What an endpoint answered.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(super) struct Tested {
    /// The status.
    status: u16,
    /// The headers, in order.
    headers: Vec<Header>,
    /// The body, where it is text: at most 1 MiB of it.
    body: Option<String>,
    /// How many bytes the body has, as far as it was read.
    size: usize,
    /// Whether there was to be more than that.
    truncated: bool,
    /// Milliseconds from the request to the end of the answer, inside the server.
    took_ms: f64,
}

/// A header of an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct Header {
    /// Its name, in lower case.
    name: String,
    /// Its value.
    value: String,
}

#[utoipa::path(
    post, path = "/tenants/{tenant}/endpoints/{endpoint}/test", tag = "endpoints", params(Whom),
    request_body(content_type = "application/json", description = "What the scorer is to get; `Content-Type`, `Accept` and the headers with ids are passed on, too"),
    responses(
        (status = 200, body = Tested, description = "The endpoint answered, with whatever status"),
        (status = 404, body = Problem), (status = 422, body = Problem)
    )
)]
/// Ask an endpoint, as a client would who posts to its `/score`. It counts as any other request.
pub(super) async fn test(
    State(api): State<Arc<Api>>,
    Path(path): Path<(String, String)>,
    Query(whom): Query<Whom>,
    request: Request,
) -> Result<Response, Problem> {
    let start = Instant::now();
    let (parts, body) = request.into_parts();
    let answer = ask(&api, &endpoint_path(&path)?, "/score", &whom, Method::POST, &parts, body).await?;
    let (parts, body) = answer.into_parts();
    let (bytes, truncated) = beginning(body).await;
    let size = bytes.len();
    let headers = parts.headers.iter().map(|(name, value)| Header {
        name: name.to_string(),
        value: String::from_utf8_lossy(value.as_bytes()).into_owned(),
    });
    let tested = Tested {
        status: parts.status.as_u16(),
        headers: headers.collect(),
        body: text(bytes, truncated),
        size,
        truncated,
        took_ms: start.elapsed().as_secs_f64() * 1e3,
    };
    Ok(document(StatusCode::OK, &tested))
}

#[utoipa::path(
    get, path = "/tenants/{tenant}/endpoints/{endpoint}/swagger.json", tag = "endpoints", params(Whom),
    responses(
        (status = 200, description = "The OpenAPI document of the deployment's scorer: 3.0, or 2.0 where there is no other"),
        (status = 404, body = Problem, description = "No such endpoint, or no deployment answers"), (status = 422, body = Problem)
    )
)]
/// Show what a scorer takes and gives, as clients see it at `/swagger.json`.
pub(super) async fn swagger(
    State(api): State<Arc<Api>>,
    Path(path): Path<(String, String)>,
    Query(whom): Query<Whom>,
    request: Request,
) -> Result<Response, Problem> {
    let path = endpoint_path(&path)?;
    let (parts, _) = request.into_parts();
    for target in ["/swagger.json?version=3", "/swagger.json"] {
        let answer = ask(&api, &path, target, &whom, Method::GET, &parts, Body::empty()).await?;
        if answer.status() == StatusCode::OK {
            // Not its headers: who may read it elsewhere is nothing to this listener.
            return Ok(([(CONTENT_TYPE, "application/json")], answer.into_body()).into_response());
        }
    }
    Err(Problem::not_found(format!("no deployment of endpoint {path} answers; deploy one, or give it traffic")))
}

/// Asks an endpoint with what of the operator's request is for it.
async fn ask(
    api: &Api,
    path: &EndpointPath,
    target: &str,
    whom: &Whom,
    method: Method,
    parts: &Parts,
    body: Body,
) -> Result<Response, Problem> {
    let mut asked = Request::new(body);
    *asked.method_mut() = method;
    *asked.uri_mut() = format!("/{path}{target}").parse().expect("names are paths");
    for name in &PASSED {
        asked.headers_mut().extend(parts.headers.get_all(name).iter().map(|value| (name.clone(), value.clone())));
    }
    if let Some(deployment) = &whom.deployment {
        let value = HeaderValue::from_str(name(deployment)?.as_str()).expect("names are headers");
        asked.headers_mut().insert(&MODEL_DEPLOYMENT, value);
    }
    if let Some(client) = parts.extensions.get::<ClientAddress>() {
        asked.extensions_mut().insert(*client);
    }
    let answer = api.control.app.ask(asked).await;
    answer.ok_or_else(|| Problem::not_found(format!("there is no endpoint {path}")))
}

/// The beginning of a body, and whether there is more. Who streams for ever is left where that is.
async fn beginning(mut body: Body) -> (Vec<u8>, bool) {
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        // The scorer failed on its way.
        let Ok(frame) = frame else { return (bytes, true) };
        let Ok(data) = frame.into_data() else { continue };
        let taken = data.len().min(MAX_SHOWN - bytes.len());
        bytes.extend_from_slice(&data[..taken]);
        if taken < data.len() {
            return (bytes, true);
        }
    }
    (bytes, false)
}

/// Bytes as text, if that is what they are; of what was cut within a character, what is before it.
fn text(mut bytes: Vec<u8>, truncated: bool) -> Option<String> {
    if let Err(error) = std::str::from_utf8(&bytes)
        && truncated
        && error.error_len().is_none()
    {
        bytes.truncate(error.valid_up_to());
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_cut_within_a_character_is_text_still() {
        assert_eq!(text(b"caf\xc3\xa9".to_vec(), false).as_deref(), Some("caf\u{e9}"));
        assert_eq!(text(b"caf\xc3".to_vec(), true).as_deref(), Some("caf"));
        assert_eq!(text(b"caf\xc3".to_vec(), false), None);
        assert_eq!(text(b"\xff\x00caf".to_vec(), true), None);
    }
}
