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
use http::header::{self, ACCESS_CONTROL_REQUEST_METHOD, ALLOW, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use scorebox_sandbox::{Bundle, Sandbox, Stage};
use scorebox_telemetry::Telemetry;
use time::OffsetDateTime;
use tracing::Instrument as _;

use crate::access_log::{self, ACCESS_LOGGER, Access};
use crate::body::BodyBudget;
use crate::deployed::{DeployError, Deployed, Plan};
use crate::directory::{Address, Directory};
use crate::endpoint::{DEFAULT, Endpoint, MODEL_DEPLOYMENT};
use crate::error::{Error, RUN_FUNCTION_FAILED, python_bool};
use crate::ids::{self, RequestIds};
use crate::metrics::{Journal, Metrics};
use crate::parking::Parking;
use crate::recorder::Recorder;
use crate::score;
use crate::settings::Settings;
use crate::swagger::Swagger;
use crate::tenant::{Quotas, Tenant};
use crate::{http_rules, managed, path, query};

/// `x-ms-server-version`
static SERVER_VERSION: HeaderName = HeaderName::from_static("x-ms-server-version");

/// All that requests share.
#[derive(Debug)]
pub struct App {
    pub(crate) sandbox: Arc<Sandbox>,
    directory: Directory,
    parking: Arc<Parking>,
    metrics: Metrics,
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
        let body_budget = BodyBudget::new(settings.body.total, settings.tenants);
        let draining = AtomicBool::new(false);
        let parking = Parking::new(settings.parking);
        Arc::new_cyclic(|app| {
            let (directory, metrics) = (Directory::default(), Metrics::new(app.clone(), &parking));
            Self { sandbox, directory, parking, metrics, settings, telemetry, body_budget, draining }
        })
    }

    /// What is served, and to whom.
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// Serves a deployment at the root to all who ask, in the place of the one before, whose endpoint is returned.
    pub fn put_single(&self, deployed: Deployed) -> Option<Arc<Endpoint>> {
        let nobody = || Tenant::nobody(&self.sandbox, &self.body_budget);
        let tenant = self.directory.single().map_or_else(nobody, |single| Arc::clone(&single.tenant));
        self.directory.put_single(Endpoint::single(tenant, deployed))
    }

    /// What is measured.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Where it is written down what becomes of a deployment.
    pub fn journal(&self, tenant: &str, endpoint: &str, deployment: &str) -> Arc<Journal> {
        Arc::new(self.metrics.journal(tenant, endpoint, deployment))
    }

    /// A tenant whose requests run in this app's sandbox.
    pub fn tenant(&self, name: &str, quotas: Quotas) -> Arc<Tenant> {
        Tenant::new(&self.sandbox, &self.body_budget, name, quotas)
    }

    /// Deploys a bundle for an endpoint whose path begins with `path_prefix`. Blocks while it is sealed; `progress` is told
    /// before each stage.
    pub fn deploy(
        &self,
        bundle: &Bundle,
        plan: Plan,
        path_prefix: &str,
        progress: &dyn Fn(Stage),
    ) -> Result<Deployed, DeployError> {
        let settings = self.settings_below(path_prefix);
        let deployed = Deployed::deploy(&self.sandbox, &settings, &self.telemetry, bundle, plan, progress)?;
        self.metrics.module(deployed.deployment.module.from_cache);
        Ok(deployed)
    }

    /// Loads what was deployed before for such an endpoint out of the cache; `None` where that does not have it. Blocks for
    /// some milliseconds.
    pub fn find(&self, bundle: &Bundle, plan: Plan, path_prefix: &str) -> Result<Option<Deployed>, DeployError> {
        Deployed::find(&self.sandbox, &self.settings_below(path_prefix), bundle, plan)
    }

    /// The settings of an endpoint whose path begins so.
    fn settings_below(&self, path_prefix: &str) -> Settings {
        let path_prefix = format!("{}{path_prefix}", self.settings.path_prefix);
        Settings { path_prefix, ..self.settings.clone() }
    }

    /// Which deployments are in memory.
    pub fn parking(&self) -> &Arc<Parking> {
        &self.parking
    }

    /// Says on `/readyz` from now on that no more requests should come.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Whether it says so.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// The service that answers requests.
    pub fn router(self: &Arc<Self>) -> Router {
        let contract = |route: Route| {
            any(move |State(app): State<Arc<App>>, request: Request| async move {
                app.respond(route, Address::Root, request).await
            })
        };
        Router::new()
            .route("/", contract(Route::Health))
            .route("/score", contract(Route::Score))
            .route("/swagger.json", contract(Route::Swagger))
            .route("/livez", any(live))
            .route("/readyz", any(ready))
            .fallback(async |State(app): State<Arc<App>>, request: Request| app.elsewhere(request).await)
            .with_state(Arc::clone(self))
    }

    /// Answers a request whose path is no route of the contract: below the path of an endpoint there are the same again.
    async fn elsewhere(self: &Arc<Self>, mut request: Request) -> Response {
        if self.settings.tenants
            && let Some((route, tenant, endpoint)) = below_endpoint(&mut request)
        {
            return self.respond(route, Address::Path { tenant: &tenant, endpoint: &endpoint }, request).await;
        }
        let time = OffsetDateTime::now_utc();
        self.logged(&request.into_parts().0, Error::NotFound.into_response(), time)
    }

    /// Answers a request of the server's operator, who needs no key: as one of a client's, within the same limits and
    /// quotas. Its path is that of an endpoint, with one of the contract below it; none where there is no such endpoint.
    pub async fn ask(self: &Arc<Self>, mut request: Request) -> Option<Response> {
        let (route, tenant, endpoint) = below_endpoint(&mut request)?;
        self.directory.get(&tenant, &endpoint)?;
        Some(self.respond(route, Address::Operator { tenant: &tenant, endpoint: &endpoint }, request).await)
    }

    /// Answers a request on a route of the contract.
    async fn respond(self: &Arc<Self>, route: Route, address: Address<'_>, request: Request) -> Response {
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
        // Of the highest level, so that records have the ids whatever level the log has.
        let span = tracing::error_span!("request", request_id = %ids.request_id(), client_request_id = ids.client_request_id().as_deref());
        let answered = async {
            if ids.deprecated_header_used() {
                tracing::warn!(target: "azmlinfsrv", "{}", ids::DEPRECATION_WARNING);
            }
            let refused = accepted.is_err();
            let answer = match accepted {
                Ok(()) => self.answer(route, address, &ids, &parts, body, recorder.as_ref()).await,
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
        self: &Arc<Self>,
        route: Route,
        address: Address<'_>,
        ids: &RequestIds,
        parts: &Parts,
        body: Body,
        recorder: Option<&Arc<Recorder>>,
    ) -> Result<Response, Error> {
        let is_root = matches!(address, Address::Root);
        let is_preflight = parts.method == Method::OPTIONS && parts.headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD);
        // What has nothing to do with any endpoint.
        match route {
            Route::Health | Route::Swagger if is_root && parts.method == Method::OPTIONS => return Ok(options()),
            Route::Health if is_root => return Ok(text("Healthy")),
            _ if is_preflight && (!is_root || self.directory.is_by_host(parts)) => return Ok(options()),
            _ => {}
        }
        let tokens = self.settings.tokens.as_deref();
        let endpoint = self.directory.find(address, parts, tokens).inspect_err(|error| match error {
            Error::Unauthorized => self.metrics.unauthorized(),
            // It is for no endpoint.
            error => self.metrics.refused(DEFAULT, error),
        })?;
        let chosen = endpoint.choose(&parts.headers).ok_or(Error::NoDeployment);
        let answered_by = chosen.as_ref().ok().and_then(|chosen| HeaderValue::from_str(&chosen.name).ok());
        let mut answer = match route {
            Route::Score => score::score(self, chosen?, ids, parts, body, recorder).await,
            _ if parts.method == Method::OPTIONS => Ok(options()),
            Route::Health => Ok(text("Healthy")),
            Route::Swagger => {
                let documents = chosen?.slot.swagger().await;
                documents.and_then(|documents| swagger(&documents, parts.uri.query()))
            }
        };
        if let Err(error) = &answer {
            self.metrics.refused(endpoint.tenant.name(), error);
        }
        if let (false, Ok(response), Some(name)) = (endpoint.is_single(), &mut answer, answered_by) {
            response.headers_mut().insert(&MODEL_DEPLOYMENT, name);
        }
        answer
    }

    fn ready(&self) -> bool {
        !self.is_draining() && (self.settings.tenants || self.directory.single().is_some())
    }
}

impl Route {
    /// The route of a path below that of an endpoint.
    fn of(path: &str) -> Option<Self> {
        match path {
            "/" => Some(Self::Health),
            "/score" => Some(Self::Score),
            "/swagger.json" => Some(Self::Swagger),
            _ => None,
        }
    }

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

fn swagger(swagger: &Swagger, query: Option<&str>) -> Result<Response, Error> {
    let version = query::first_value(query, "version");
    let document = swagger.document(version.as_deref()).map_err(Error::Swagger)?;
    let mut response = ([(CONTENT_TYPE, "application/json")], document).into_response();
    response.headers_mut().insert(&RUN_FUNCTION_FAILED, python_bool(false));
    Ok(response)
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

/// Where a request below the path of an endpoint goes: the route, the tenant and the endpoint. Its path is that of the route
/// from then on.
fn below_endpoint(request: &mut Request) -> Option<(Route, String, String)> {
    let (tenant, endpoint, path) = path::of_endpoint(request.uri().path())?;
    let (route, tenant, endpoint) = (Route::of(path)?, tenant.to_owned(), endpoint.to_owned());
    let path = path.to_owned();
    set_path(request, &path);
    Some((route, tenant, endpoint))
}

/// Makes the path of a request another one. Its target as it was sent is kept.
fn set_path(request: &mut Request, path: &str) {
    let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
    if let Ok(uri) = format!("{path}{query}").parse() {
        let before = std::mem::replace(request.uri_mut(), uri);
        let sent = request.extensions().get::<SentUri>().map_or(before, |sent| sent.0.clone());
        request.extensions_mut().insert(SentUri(sent));
        request.extensions_mut().insert(BelowEndpoint);
    }
}

/// The target of a request as it was sent, where it was changed.
#[derive(Debug, Clone)]
struct SentUri(Uri);

/// The path of a request begins where that of its endpoint ends.
#[derive(Debug, Clone, Copy)]
struct BelowEndpoint;

/// The target of a request as its scorer sees it: it is not told where its endpoint is.
pub(crate) fn scorers_uri(parts: &Parts) -> &Uri {
    if parts.extensions.get::<BelowEndpoint>().is_some() { &parts.uri } else { sent_uri(parts) }
}

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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use scorebox_sandbox::SandboxConfig;
    use tower::ServiceExt as _;

    use super::*;

    /// The routes, with the answers to GET and POST while nothing is served, and whether these have ids.
    const ROUTES: [(&str, u16, u16, bool); 5] = [
        ("/", 200, 405, true),
        ("/score", 503, 503, true),
        ("/swagger.json", 503, 405, true),
        ("/livez", 200, 200, false),
        ("/readyz", 503, 503, false),
    ];

    /// What a path stands for, one character after the other; none when it is not well encoded.
    fn meant(path: &str) -> Option<String> {
        let mut meant = String::new();
        let mut chars = path.chars();
        while let Some(char) = chars.next() {
            let char = if char == '%' {
                let digits: String = chars.by_ref().take(2).filter(char::is_ascii_hexdigit).collect();
                char::from(u8::from_str_radix(&digits, 16).ok().filter(|_| digits.len() == 2)?)
            } else {
                char
            };
            if char != '/' || !meant.ends_with('/') {
                meant.push(char);
            }
        }
        Some(meant)
    }

    /// A path: pieces of those that there are, and of such as could be taken for them.
    fn path() -> impl Strategy<Value = String> {
        let pieces = prop_oneof![
            Just("/"),
            Just("/score"),
            Just("/swagger.json"),
            Just("/livez"),
            Just("/readyz"),
            Just("score"),
            Just("livez"),
            Just("%73core"),
            Just("%2f"),
            Just("%2F"),
            Just("%2e"),
            Just("%00"),
            Just("%25"),
            Just("%"),
            Just("."),
            Just(".."),
            Just("%6Civez"),
            Just("SCORE"),
            Just("%C3%A9"),
            Just(";"),
            Just("a")
        ];
        prop::collection::vec(pieces, 0..4).prop_map(|pieces| format!("/{}", pieces.concat()))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1024))]
        #[test]
        fn every_path_leads_to_its_route_and_to_no_other(path in path(), query in "(\\?[a-z=&%2/]{0,8})?") {
            static APP: std::sync::OnceLock<Arc<App>> = std::sync::OnceLock::new();
            let app = APP.get_or_init(|| {
                let sandbox = Sandbox::new(&SandboxConfig::default(), None).unwrap();
                App::new(Arc::new(sandbox), Settings::default(), Telemetry::off())
            });
            let meant = meant(&path);
            let route = ROUTES.iter().find(|(route, ..)| meant.as_deref() == Some(route));
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            for (is_post, method) in [(false, Method::GET), (true, Method::POST)] {
                let request = http::Request::builder().method(method).uri(format!("{path}{query}"));
                let Ok(request) = request.body(Body::empty()) else { continue };
                let response = runtime.block_on(app.router().oneshot(normalize(request))).unwrap();
                let found = (response.status().as_u16(), response.headers().contains_key("x-request-id"));
                let expected = match route {
                    Some((_, _, post, ids)) if is_post => (*post, *ids && *post != 405),
                    Some((_, get, _, ids)) => (*get, *ids),
                    None => (404, false),
                };
                prop_assert_eq!(found, expected, "{} {}", path, is_post);
            }
        }
    }
}
