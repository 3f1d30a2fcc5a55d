//! The routes, and the way of a request through them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use axum::Router;
use axum::body::{Body, HttpBody as _};
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use http::header::{self, ALLOW, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use scorebox_sandbox::{Registry, Sandbox};
use scorebox_telemetry::Telemetry;
use time::OffsetDateTime;
use tracing::Instrument as _;

use crate::access_log::{self, ACCESS_LOGGER, Access};
use crate::body::BodyBudget;
use crate::endpoint::Endpoint;
use crate::error::{Error, RUN_FUNCTION_FAILED, python_bool};
use crate::ids::{self, RequestIds};
use crate::recorder::Recorder;
use crate::score;
use crate::settings::Settings;
use crate::{http_rules, managed, path, query};

/// `x-ms-server-version`
static SERVER_VERSION: HeaderName = HeaderName::from_static("x-ms-server-version");

/// The name under which the only deployment of a server is known.
pub const DEFAULT_ENDPOINT: &str = "default";

/// All that requests share.
#[derive(Debug)]
pub struct App {
    pub(crate) sandbox: Arc<Sandbox>,
    pub(crate) endpoints: Registry<Endpoint>,
    pub(crate) settings: Settings,
    pub(crate) telemetry: Telemetry,
    pub(crate) body_budget: Arc<BodyBudget>,
    draining: AtomicBool,
}

/// Address of the client, put into a request by the connection that it came on.
#[derive(Debug, Clone, Copy)]
pub struct ClientAddress(pub SocketAddr);

/// A route of the contract: its answers carry ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Route {
    Health,
    Score,
    Swagger,
}

impl App {
    /// An app that serves nothing yet.
    pub fn new(sandbox: Arc<Sandbox>, settings: Settings, telemetry: Telemetry) -> Arc<Self> {
        let body_budget = BodyBudget::new(settings.body.total);
        let draining = AtomicBool::new(false);
        Arc::new(Self { sandbox, endpoints: Registry::default(), settings, telemetry, body_budget, draining })
    }

    /// What is served, by name.
    pub fn endpoints(&self) -> &Registry<Endpoint> {
        &self.endpoints
    }

    /// Says on `/readyz` from now on that no more requests should come.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// The service that answers requests.
    pub fn router(self: &Arc<Self>) -> Router {
        let contract = |route: Route| {
            any(move |State(app): State<Arc<App>>, request: Request| async move { app.respond(route, request).await })
        };
        Router::new()
            .route("/", contract(Route::Health))
            .route("/score", contract(Route::Score))
            .route("/swagger.json", contract(Route::Swagger))
            .route("/livez", any(live))
            .route("/readyz", any(ready))
            .fallback(async |State(app): State<Arc<App>>, request: Request| {
                let time = OffsetDateTime::now_utc();
                app.logged(&request.into_parts().0, Error::NotFound.into_response(), time)
            })
            .with_state(Arc::clone(self))
    }

    /// Answers a request on a route of the contract.
    async fn respond(&self, route: Route, request: Request) -> Response {
        let (start, time) = (Instant::now(), OffsetDateTime::now_utc());
        let (parts, body) = request.into_parts();
        // What routing itself refuses has none of the contract's headers.
        let refused = if wants_web_socket(&parts.headers) {
            Some(Error::WebSocket)
        } else if !route.takes(&parts.method) {
            Some(Error::MethodNotAllowed)
        } else {
            None
        };
        if let Some(error) = refused {
            return self.logged(&parts, error.into_response(), time);
        }
        let (ids, accepted) = match RequestIds::from_headers(&parts.headers) {
            Ok(ids) => (ids, Ok(())),
            Err(error) => (error.ids().clone(), Err(Error::Id(error))),
        };
        let recorder = Recorder::of_request(&self.telemetry, &ids, &parts).filter(|_| route != Route::Health);
        let span = tracing::info_span!("request", request_id = %ids.request_id(), client_request_id = ids.client_request_id().as_deref());
        let answered = async {
            if ids.deprecated_header_used() {
                tracing::warn!(target: "azmlinfsrv", "{}", ids::DEPRECATION_WARNING);
            }
            let refused = accepted.is_err();
            let answer = match accepted {
                Ok(()) => self.answer(route, &ids, &parts, body, recorder.as_ref()).await,
                Err(error) => Err(error),
            };
            let response = match answer {
                Err(Error::Exit) if !self.settings.managed => return Err(exit_page()),
                answer if self.settings.managed && route == Route::Score => managed::response(answer),
                answer => answer.unwrap_or_else(Error::into_response),
            };
            if self.settings.log.requests && route.is_logged(&parts.method) && !refused {
                log_request(&parts, &response, start);
            }
            Ok(response)
        };
        let mut response = match answered.instrument(span).await {
            Ok(response) => response,
            // Outside of the contract's own headers.
            Err(page) => return self.logged(&parts, page, time),
        };
        let headers = response.headers_mut();
        if let Some(cors) = &self.settings.cors {
            cors.apply(&parts.method, &parts.headers, headers);
        }
        if let Some(version) = &self.settings.server_version {
            headers.append(&SERVER_VERSION, version.clone());
        }
        ids.write_headers(headers);
        let response = self.logged(&parts, response, time);
        match recorder {
            Some(recorder) => recorder.response(&parts, (start, time.into()), response, self.settings.record_responses),
            None => response,
        }
    }

    /// Adds a request to the access log.
    fn logged(&self, parts: &Parts, response: Response, time: OffsetDateTime) -> Response {
        if self.settings.log.requests {
            log_access(parts, &response, time);
        }
        response
    }

    async fn answer(
        &self,
        route: Route,
        ids: &RequestIds,
        parts: &Parts,
        body: Body,
        recorder: Option<&Arc<Recorder>>,
    ) -> Result<Response, Error> {
        match route {
            Route::Score => score::score(self, ids, parts, body, recorder).await,
            _ if parts.method == Method::OPTIONS => Ok(options()),
            Route::Health => Ok(text("Healthy")),
            Route::Swagger => self.swagger(parts.uri.query()),
        }
    }

    fn swagger(&self, query: Option<&str>) -> Result<Response, Error> {
        let endpoint = self.endpoints.get(DEFAULT_ENDPOINT).ok_or(Error::NotReady)?;
        let version = query::first_value(query, "version");
        let document = endpoint.swagger.document(version.as_deref()).map_err(Error::Swagger)?;
        let mut response = ([(CONTENT_TYPE, "application/json")], document).into_response();
        response.headers_mut().insert(&RUN_FUNCTION_FAILED, python_bool(false));
        Ok(response)
    }

    fn ready(&self) -> bool {
        !self.draining.load(Ordering::Relaxed) && self.endpoints.get(DEFAULT_ENDPOINT).is_some()
    }
}

impl Route {
    fn takes(self, method: &Method) -> bool {
        matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
            || (self == Self::Score && *method == Method::POST)
    }

    /// Whether the contract has a line in the log for it: not for what is answered automatically.
    fn is_logged(self, method: &Method) -> bool {
        match self {
            Self::Health => false,
            Self::Score => true,
            Self::Swagger => *method != Method::OPTIONS,
        }
    }
}

fn wants_web_socket(headers: &HeaderMap) -> bool {
    let says = |name: HeaderName, word: &str| {
        headers
            .get(name)
            .is_some_and(|value| value.to_str().is_ok_and(|value| value.to_ascii_lowercase().contains(word)))
    };
    says(header::CONNECTION, "upgrade") && says(header::UPGRADE, "websocket")
}

/// What gunicorn answers when a script has ended its worker.
fn exit_page() -> Response {
    http_rules::page(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error", "")
}

/// The process runs: that it answers is all there is to say.
async fn live() -> &'static str {
    "ok"
}

/// Requests can be sent.
async fn ready(State(app): State<Arc<App>>) -> Response {
    if app.ready() { "ok".into_response() } else { Error::NotReady.into_response() }
}

/// Answers as Flask does to a method that it handles itself.
fn options() -> Response {
    let mut response = text("");
    response.headers_mut().insert(ALLOW, HeaderValue::from_static("OPTIONS, GET, HEAD"));
    response
}

/// An answer with the content type of plain answers in the contract.
pub(crate) fn text(body: &'static str) -> Response {
    let mut response = Response::new(Body::from(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    response
}

/// Undoes what the contract allows in paths: `//score` and `/%73core` are `/score`.
pub fn normalize<B>(mut request: http::Request<B>) -> http::Request<B> {
    if let Some(path) = path::normalized(request.uri().path()) {
        let sent = request.uri().clone();
        let query = sent.query().map(|query| format!("?{query}")).unwrap_or_default();
        if let Ok(uri) = format!("{path}{query}").parse() {
            *request.uri_mut() = uri;
            request.extensions_mut().insert(SentUri(sent));
        }
    }
    request
}

/// The target of a request as it was sent, where [`normalize`] changed it.
#[derive(Debug, Clone)]
struct SentUri(Uri);

/// The target of a request as it was sent.
pub(crate) fn sent_uri(parts: &Parts) -> &Uri {
    parts.extensions.get::<SentUri>().map_or(&parts.uri, |sent| &sent.0)
}

/// Address of the client; unspecified where no connection gave one.
pub(crate) fn client(parts: &Parts) -> SocketAddr {
    parts.extensions.get::<ClientAddress>().map_or(([0, 0, 0, 0], 0).into(), |client| client.0)
}

fn log_request(parts: &Parts, response: &Response, start: Instant) {
    let uri = &parts.uri;
    let (status, length) = (response.status(), response.body().size_hint().exact());
    let line = access_log::request_line(&parts.method, uri.path(), uri.query(), status, start.elapsed(), length);
    tracing::info!(target: "azmlinfsrv", status = status.as_u16(), "{line}");
}

fn log_access(parts: &Parts, response: &Response, time: OffsetDateTime) {
    let target = sent_uri(parts).path_and_query().map_or("/", |target| target.as_str());
    let no_body = parts.method == Method::HEAD || response.status() == StatusCode::NO_CONTENT;
    let line = access_log::access_line(&Access {
        client: client(parts).ip(),
        time,
        method: &parts.method,
        target,
        version: parts.version,
        headers: &parts.headers,
        status: response.status(),
        length: if no_body { 0 } else { response.body().size_hint().exact().unwrap_or_default() },
    });
    if let Some(line) = line {
        tracing::info!(target: ACCESS_LOGGER, "{line}");
    }
}
