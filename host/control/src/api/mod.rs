//! The API by which tenants, endpoints and deployments are managed: `/admin/v1`.
//!
//! Each resource is put, read and deleted at its own address. Answers have an entity tag, changes take it in `If-Match`, so
//! that nobody overwrites what they have not seen; `If-None-Match: *` creates only. A change that is made twice is made once.
//! Errors are problem documents (RFC 9457). The document of the API itself is `/admin/v1/openapi.json`.

mod bundles;
mod openapi;
mod problem;
mod resources;
mod trial;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{DefaultBodyLimit, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Redirect, Response};
use axum::routing::{get, post, put};
use axum::{Router, body};
use http::HeaderValue;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use scorebox_server::credentials::{self, Key, KeyHash};
use scorebox_store::Size;
use tokio::time::Instant;

pub use self::problem::Problem;
pub use self::resources::DeploymentStatus;
use self::resources::blocking;
use crate::console;
use crate::control::Control;

/// Bytes that the body of a change may have, JSON. A probe's body of a mebibyte fits in, however it is escaped.
const MAX_DOCUMENT: usize = 8 << 20;

/// What the API needs to know.
#[derive(Debug)]
pub struct ApiConfig {
    /// Who shows this token may do everything.
    pub token: Key,
    /// Bytes that a bundle may have.
    pub max_bundle: u64,
    /// How long nothing may come of a bundle that is uploaded.
    pub body_timeout: Duration,
}

/// What requests share.
#[derive(Debug)]
struct Api {
    control: Arc<Control>,
    token: KeyHash,
    max_bundle: u64,
    body_timeout: Duration,
}

impl Api {
    /// Whether who waits is answered now: the time is over, or the server is about to end.
    fn is_over(&self, until: Instant) -> bool {
        Instant::now() >= until || self.control.app.is_draining()
    }
}

/// The routes.
pub fn router(control: Arc<Control>, config: &ApiConfig) -> Router {
    let ApiConfig { token, max_bundle, body_timeout } = config;
    let api = Arc::new(Api { control, token: token.hash(), max_bundle: *max_bundle, body_timeout: *body_timeout });
    let v1 = Router::new()
        .route("/tenants", get(resources::tenants))
        .route("/tenants/{tenant}", get(resources::tenant).put(resources::put_tenant).delete(resources::delete_tenant))
        .route("/tenants/{tenant}/endpoints", get(resources::endpoints))
        .route(
            "/tenants/{tenant}/endpoints/{endpoint}",
            get(resources::endpoint).put(resources::put_endpoint).delete(resources::delete_endpoint),
        )
        .route("/tenants/{tenant}/endpoints/{endpoint}/keys/{slot}", put(resources::put_key))
        .route("/tenants/{tenant}/endpoints/{endpoint}/traffic", put(resources::put_traffic))
        .route("/tenants/{tenant}/endpoints/{endpoint}/deployments", get(resources::deployments))
        .route(
            "/tenants/{tenant}/endpoints/{endpoint}/deployments/{deployment}",
            get(resources::deployment).put(resources::put_deployment).delete(resources::delete_deployment),
        )
        .route("/tenants/{tenant}/endpoints/{endpoint}/deployments/{deployment}/current", put(resources::put_current))
        .route("/tenants/{tenant}/endpoints/{endpoint}/deployments/{deployment}/logs", get(resources::logs))
        .route("/tenants/{tenant}/endpoints/{endpoint}/test", post(trial::test))
        .route("/tenants/{tenant}/endpoints/{endpoint}/swagger.json", get(trial::swagger))
        .route("/bundles", get(bundles::list))
        .route("/bundles/{digest}", get(bundles::show).put(bundles::upload))
        .route("/backups/{backup}", put(resources::put_backup))
        .route("/openapi.json", get(openapi::document))
        .fallback(async || Problem::not_found("there is no such resource; /admin/v1/openapi.json says which there are"))
        .method_not_allowed_fallback(async || Problem::method_not_allowed())
        .layer(DefaultBodyLimit::max(MAX_DOCUMENT))
        .layer(middleware::map_response(as_problem))
        .layer(middleware::from_fn_with_state(Arc::clone(&api), authorized))
        .route("/docs", get(async || Redirect::permanent("/console/docs.html")))
        .with_state(Arc::clone(&api));
    let metrics = Router::new()
        .route("/metrics", get(metrics))
        .layer(middleware::from_fn_with_state(Arc::clone(&api), authorized))
        .with_state(api);
    Router::new()
        .merge(metrics)
        .merge(console::router())
        .nest("/admin/v1", v1)
        .fallback(async || Problem::not_found("the API is below /admin/v1, and the console at /console/"))
        .layer(middleware::map_response(for_browsers))
}

/// What is refused before a handler sees it is said in plain text: a query or a body that cannot be read.
async fn as_problem(response: Response) -> Response {
    let status = response.status();
    let kind = response.headers().get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    if !(status.is_client_error() && kind.is_some_and(|kind| kind.starts_with(b"text/plain"))) {
        return response;
    }
    match body::to_bytes(response.into_body(), 64 << 10).await {
        Ok(text) => Problem::new(status, String::from_utf8_lossy(&text)).into_response(),
        Err(error) => Problem::internal(&error).into_response(),
    }
}

/// Answers are taken for what they say they are, and nobody keeps them who does not ask again: there are keys among them.
async fn for_browsers(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// What is measured, for Prometheus.
async fn metrics(State(api): State<Arc<Api>>) -> Response {
    match blocking(&api, |control| Ok(control.store().size()?)).await {
        Ok(Size { database, blobs }) => api.control.app.metrics().store(database, blobs),
        // The rest is worth having without.
        Err(problem) => tracing::warn!("the size of the store cannot be measured: {problem:?}"),
    }
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(CONTENT_TYPE, content_type)], api.control.app.metrics().text()).into_response()
}

/// Lets through who shows the token.
async fn authorized(State(api): State<Arc<Api>>, request: Request, next: Next) -> Response {
    let shown = credentials::bearer(request.headers()).map(KeyHash::of);
    if shown == Some(api.token) { next.run(request).await } else { Problem::unauthorized().into_response() }
}
