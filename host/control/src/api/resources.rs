//! Tenants, endpoints and deployments at their addresses.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, ETAG, IF_MATCH, IF_NONE_MATCH};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use scorebox_server::Residence;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};
use utoipa::{IntoParams, ToSchema};

use super::{Api, Problem};
use crate::control::{Control, EndpointPut, Precondition, Put};
use crate::error::ControlError;
use crate::name::{DeploymentPath, EndpointPath, Name};
use crate::resource::{
    Backup, CreatedEndpoint, CurrentSpec, Deployment, DeploymentSpec, Endpoint, EndpointSpec, KeySlot, KeySpec,
    RevisionState, ShownKey, Tenant, TenantSpec, TrafficSpec,
};
use crate::state::Versioned;

/// The longest that an answer waits for a deployment.
const MAX_WAIT: u64 = 60;
/// Lines of a log where nobody says how many.
const DEFAULT_LINES: u64 = 100;
/// How often it is looked whether that is over.
const LOOK: Duration = Duration::from_millis(50);

type Answer = Result<Response, Problem>;

/// A list of resources.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct List<T> {
    items: Vec<T>,
}

/// A deployment, and what it is doing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeploymentStatus {
    /// The deployment.
    #[serde(flatten)]
    pub deployment: Deployment,
    /// The revision that answers. Another one than the current is an error of the server's, which the log explains.
    pub answering: Option<u64>,
    /// Whether that is in memory: `resident`, `parked` (it comes back with the next request), `loading`, or `unloadable` (it did
    /// not come back the last time, and is tried again).
    pub residence: Option<String>,
    /// Why it is unloadable.
    pub unloadable: Option<String>,
    /// What is done to make the last revision ready: `loading`, `compiling-runtime`, `compiling`, `initialising`,
    /// `sealing` or `probing`.
    pub stage: Option<String>,
}

/// How long an answer may wait.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Wait {
    /// Seconds to wait for the last revision to be ready or to have failed: at most 60.
    #[serde(default)]
    wait: u64,
}

/// Which lines of a log.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Lines {
    /// Only lines after that of this number.
    #[serde(default)]
    after: u64,
    /// At most so many: the last. By default 100.
    limit: Option<u64>,
    /// Seconds to wait for a line where there is none: at most 60.
    #[serde(default)]
    wait: u64,
}

// --- tenants ---

#[utoipa::path(get, path = "/tenants", tag = "tenants", responses((status = 200, body = List<Tenant>)))]
/// List all tenants.
pub(super) async fn tenants(State(api): State<Arc<Api>>) -> Answer {
    let found = blocking(&api, |control| control.tenants()).await?;
    Ok(listed(found))
}

#[utoipa::path(get, path = "/tenants/{tenant}", tag = "tenants", responses((status = 200, body = Tenant), (status = 404, body = Problem)))]
/// Show a tenant.
pub(super) async fn tenant(State(api): State<Arc<Api>>, Path(tenant): Path<String>) -> Answer {
    let name = name(&tenant)?;
    Ok(one(StatusCode::OK, blocking(&api, move |control| control.tenant(&name)).await?))
}

#[utoipa::path(
    put, path = "/tenants/{tenant}", tag = "tenants", request_body = TenantSpec,
    responses((status = 200, body = Tenant), (status = 201, body = Tenant), (status = 412, body = Problem), (status = 422, body = Problem))
)]
/// Create a tenant, or change it.
pub(super) async fn put_tenant(
    State(api): State<Arc<Api>>,
    Path(tenant): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let (name, when, spec) = (name(&tenant)?, precondition(&headers)?, json::<TenantSpec>(&body)?);
    Ok(put(blocking(&api, move |control| control.put_tenant(&name, spec, when)).await?))
}

#[utoipa::path(
    delete, path = "/tenants/{tenant}", tag = "tenants",
    responses((status = 204), (status = 404, body = Problem), (status = 409, body = Problem))
)]
/// Delete a tenant that has no endpoints.
pub(super) async fn delete_tenant(
    State(api): State<Arc<Api>>,
    Path(tenant): Path<String>,
    headers: HeaderMap,
) -> Answer {
    let (name, when) = (name(&tenant)?, precondition(&headers)?);
    blocking(&api, move |control| control.delete_tenant(&name, when)).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

// --- endpoints ---

#[utoipa::path(get, path = "/tenants/{tenant}/endpoints", tag = "endpoints", responses((status = 200, body = List<Endpoint>), (status = 404, body = Problem)))]
/// List the endpoints of a tenant.
pub(super) async fn endpoints(State(api): State<Arc<Api>>, Path(tenant): Path<String>) -> Answer {
    let name = name(&tenant)?;
    Ok(listed(blocking(&api, move |control| control.endpoints(&name)).await?))
}

#[utoipa::path(
    get, path = "/tenants/{tenant}/endpoints/{endpoint}", tag = "endpoints",
    responses((status = 200, body = Endpoint), (status = 404, body = Problem))
)]
/// Show an endpoint.
pub(super) async fn endpoint(State(api): State<Arc<Api>>, Path(path): Path<(String, String)>) -> Answer {
    let path = endpoint_path(&path)?;
    Ok(one(StatusCode::OK, blocking(&api, move |control| control.endpoint(&path)).await?))
}

#[utoipa::path(
    put, path = "/tenants/{tenant}/endpoints/{endpoint}", tag = "endpoints", request_body = EndpointSpec,
    responses(
        (status = 201, body = CreatedEndpoint, description = "It is new; these are its keys, which are not shown again"),
        (status = 200, body = Endpoint), (status = 404, body = Problem), (status = 409, body = Problem),
        (status = 412, body = Problem), (status = 422, body = Problem)
    )
)]
/// Create an endpoint, with two keys, or change it.
pub(super) async fn put_endpoint(
    State(api): State<Arc<Api>>,
    Path(path): Path<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let (path, when, spec) = (endpoint_path(&path)?, precondition(&headers)?, json::<EndpointSpec>(&body)?);
    let Put { now: Versioned { value, revision }, .. } =
        blocking(&api, move |control| control.put_endpoint(&path, spec, when)).await?;
    Ok(match value {
        EndpointPut::Created(value) => one(StatusCode::CREATED, Versioned { value, revision }),
        EndpointPut::Changed(value) => one(StatusCode::OK, Versioned { value, revision }),
    })
}

#[utoipa::path(
    delete, path = "/tenants/{tenant}/endpoints/{endpoint}", tag = "endpoints",
    responses((status = 204), (status = 404, body = Problem))
)]
/// Delete an endpoint, with its deployments.
pub(super) async fn delete_endpoint(
    State(api): State<Arc<Api>>,
    Path(path): Path<(String, String)>,
    headers: HeaderMap,
) -> Answer {
    let (path, when) = (endpoint_path(&path)?, precondition(&headers)?);
    blocking(&api, move |control| control.delete_endpoint(&path, when)).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

#[utoipa::path(
    put, path = "/tenants/{tenant}/endpoints/{endpoint}/keys/{slot}", tag = "endpoints", request_body = KeySpec,
    params(("slot" = KeySlot, Path, description = "which key")),
    responses(
        (status = 200, body = ShownKey), (status = 404, body = Problem), (status = 409, body = Problem),
        (status = 412, body = Problem), (status = 422, body = Problem)
    )
)]
/// Replace one of the two keys of an endpoint. With a key in the body, a repetition changes nothing.
pub(super) async fn put_key(
    State(api): State<Arc<Api>>,
    Path((tenant, endpoint, slot)): Path<(String, String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let path = endpoint_path(&(tenant, endpoint))?;
    let slot = match &*slot {
        "primary" => KeySlot::Primary,
        "secondary" => KeySlot::Secondary,
        other => return Err(Problem::not_found(format!("there is no key {other:?}; it is `primary` or `secondary`"))),
    };
    let when = precondition(&headers)?;
    let KeySpec { key } = if body.is_empty() { KeySpec::default() } else { json(&body)? };
    let Versioned { value: key, revision } =
        blocking(&api, move |control| control.put_key(&path, slot, key.as_deref(), when)).await?;
    Ok(one(StatusCode::OK, Versioned { value: ShownKey { key: key.reveal().to_owned() }, revision }))
}

#[utoipa::path(
    put, path = "/tenants/{tenant}/endpoints/{endpoint}/traffic", tag = "endpoints", request_body = TrafficSpec,
    responses((status = 200, body = Endpoint), (status = 404, body = Problem), (status = 412, body = Problem), (status = 422, body = Problem))
)]
/// Share the requests of an endpoint out among its deployments.
pub(super) async fn put_traffic(
    State(api): State<Arc<Api>>,
    Path(path): Path<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let (path, when, spec) = (endpoint_path(&path)?, precondition(&headers)?, json::<TrafficSpec>(&body)?);
    Ok(one(StatusCode::OK, blocking(&api, move |control| control.put_traffic(&path, spec, when)).await?))
}

// --- deployments ---

#[utoipa::path(
    get, path = "/tenants/{tenant}/endpoints/{endpoint}/deployments", tag = "deployments",
    responses((status = 200, body = List<DeploymentStatus>), (status = 404, body = Problem))
)]
/// List the deployments of an endpoint.
pub(super) async fn deployments(State(api): State<Arc<Api>>, Path(path): Path<(String, String)>) -> Answer {
    let path = endpoint_path(&path)?;
    let found = blocking(&api, move |control| {
        let found = control.deployments(&path)?;
        Ok(found.into_iter().map(|found| status(control, found)).collect())
    });
    Ok(listed::<DeploymentStatus>(found.await?))
}

#[utoipa::path(
    get, path = "/tenants/{tenant}/endpoints/{endpoint}/deployments/{deployment}", tag = "deployments", params(Wait),
    responses((status = 200, body = DeploymentStatus), (status = 404, body = Problem))
)]
/// Show a deployment.
pub(super) async fn deployment(
    State(api): State<Arc<Api>>,
    Path(path): Path<(String, String, String)>,
    Query(Wait { wait }): Query<Wait>,
) -> Answer {
    let path = deployment_path(&path)?;
    let until = Instant::now() + Duration::from_secs(wait.min(MAX_WAIT));
    loop {
        let path = path.clone();
        let found = blocking(&api, move |control| Ok(status(control, control.deployment(&path)?))).await?;
        let is_pending = found.value.deployment.latest().is_some_and(|latest| latest.state == RevisionState::Pending);
        if !is_pending || api.is_over(until) {
            return Ok(one(StatusCode::OK, found));
        }
        sleep(LOOK).await;
    }
}

#[utoipa::path(
    put, path = "/tenants/{tenant}/endpoints/{endpoint}/deployments/{deployment}", tag = "deployments", request_body = DeploymentSpec,
    responses(
        (status = 202, body = DeploymentStatus, description = "It is being made ready; what answered before goes on"),
        (status = 200, body = DeploymentStatus, description = "It is as asked for already"),
        (status = 404, body = Problem), (status = 412, body = Problem), (status = 422, body = Problem)
    )
)]
/// Deploy a bundle.
pub(super) async fn put_deployment(
    State(api): State<Arc<Api>>,
    Path(path): Path<(String, String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let (path, when, spec) = (deployment_path(&path)?, precondition(&headers)?, json::<DeploymentSpec>(&body)?);
    let found =
        blocking(&api, move |control| Ok(status(control, control.put_deployment(&path, spec, when)?.now))).await?;
    let is_pending = found.value.deployment.latest().is_some_and(|latest| latest.state == RevisionState::Pending);
    Ok(one(if is_pending { StatusCode::ACCEPTED } else { StatusCode::OK }, found))
}

#[utoipa::path(
    put, path = "/tenants/{tenant}/endpoints/{endpoint}/deployments/{deployment}/current", tag = "deployments", request_body = CurrentSpec,
    responses(
        (status = 200, body = DeploymentStatus), (status = 404, body = Problem), (status = 409, body = Problem),
        (status = 412, body = Problem)
    )
)]
/// Answer with another revision that was ready: roll back.
pub(super) async fn put_current(
    State(api): State<Arc<Api>>,
    Path(path): Path<(String, String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let (path, when, spec) = (deployment_path(&path)?, precondition(&headers)?, json::<CurrentSpec>(&body)?);
    let found = blocking(&api, move |control| Ok(status(control, control.put_current(&path, spec, when)?)));
    Ok(one(StatusCode::OK, found.await?))
}

#[utoipa::path(
    delete, path = "/tenants/{tenant}/endpoints/{endpoint}/deployments/{deployment}", tag = "deployments",
    responses((status = 204), (status = 404, body = Problem), (status = 409, body = Problem))
)]
/// Delete a deployment that has no traffic.
pub(super) async fn delete_deployment(
    State(api): State<Arc<Api>>,
    Path(path): Path<(String, String, String)>,
    headers: HeaderMap,
) -> Answer {
    let (path, when) = (deployment_path(&path)?, precondition(&headers)?);
    blocking(&api, move |control| control.delete_deployment(&path, when)).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

#[utoipa::path(
    get, path = "/tenants/{tenant}/endpoints/{endpoint}/deployments/{deployment}/logs", tag = "deployments", params(Lines),
    responses((status = 200, description = "Lines, oldest first, each with number, time, request_id, level and text"), (status = 404, body = Problem))
)]
/// Show the last of what the scorer of a deployment said since the server started, and of why it failed.
pub(super) async fn logs(
    State(api): State<Arc<Api>>,
    Path(path): Path<(String, String, String)>,
    Query(Lines { after, limit, wait }): Query<Lines>,
) -> Answer {
    let path = deployment_path(&path)?;
    let limit = usize::try_from(limit.unwrap_or(DEFAULT_LINES)).unwrap_or(usize::MAX);
    let until = Instant::now() + Duration::from_secs(wait.min(MAX_WAIT));
    loop {
        let path = path.clone();
        let lines = blocking(&api, move |control| control.logs(&path, after, limit)).await?;
        if !lines.is_empty() || api.is_over(until) {
            return Ok(document(StatusCode::OK, &List { items: lines }));
        }
        sleep(LOOK).await;
    }
}

// --- the state ---

#[utoipa::path(
    put, path = "/backups/{backup}", tag = "state",
    responses((status = 201, body = Backup), (status = 412, body = Problem, description = "There is one of this name"), (status = 507, body = Problem))
)]
/// Make a backup of all that is kept, in a folder of the server's.
pub(super) async fn put_backup(State(api): State<Arc<Api>>, Path(backup): Path<String>) -> Answer {
    let name = name(&backup)?;
    let folder = blocking(&api, move |control| control.backup(&name)).await?;
    Ok(document(StatusCode::CREATED, &Backup { folder: folder.display().to_string() }))
}

// --- parts of the above ---

/// Does what blocks on a thread where that is no harm.
pub(super) async fn blocking<T: Send + 'static>(
    api: &Arc<Api>,
    what: impl FnOnce(&Arc<Control>) -> Result<T, ControlError> + Send + 'static,
) -> Result<T, Problem> {
    let control = Arc::clone(&api.control);
    match tokio::task::spawn_blocking(move || what(&control)).await {
        Ok(done) => Ok(done?),
        Err(error) => Err(Problem::internal(&error)),
    }
}

fn status(control: &Control, Versioned { value, revision }: Versioned<Deployment>) -> Versioned<DeploymentStatus> {
    let path = value.path();
    let stage = control.stage(&path).map(|stage| stage.as_str().to_owned());
    let answering = control.answering(&path);
    let (residence, unloadable) = match control.residence(&path) {
        None => (None, None),
        Some(Residence::Resident) => (Some("resident"), None),
        Some(Residence::Parked) => (Some("parked"), None),
        Some(Residence::Loading) => (Some("loading"), None),
        Some(Residence::Unloadable { reason }) => (Some("unloadable"), Some(reason)),
    };
    let residence = residence.map(str::to_owned);
    let value = DeploymentStatus { deployment: value, answering, residence, unloadable, stage };
    Versioned { value, revision }
}

pub(super) fn name(text: &str) -> Result<Name, Problem> {
    text.parse().map_err(|error: crate::NameError| Problem::invalid(error.to_string()))
}

pub(super) fn endpoint_path((tenant, endpoint): &(String, String)) -> Result<EndpointPath, Problem> {
    Ok(EndpointPath { tenant: name(tenant)?, endpoint: name(endpoint)? })
}

fn deployment_path((tenant, endpoint, deployment): &(String, String, String)) -> Result<DeploymentPath, Problem> {
    let endpoint = EndpointPath { tenant: name(tenant)?, endpoint: name(endpoint)? };
    Ok(DeploymentPath { endpoint, deployment: name(deployment)? })
}

fn json<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(body).map_err(|error| Problem::invalid(format!("the body is not what is expected: {error}")))
}

fn precondition(headers: &HeaderMap) -> Result<Precondition, Problem> {
    let of = |name: &HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or_default().trim());
    match (of(&IF_MATCH), of(&IF_NONE_MATCH)) {
        (None, None) => Ok(Precondition::None),
        (None, Some("*")) => Ok(Precondition::Absent),
        (Some("*"), None) => Ok(Precondition::Present),
        (Some(tag), None) => match tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"')?.parse().ok()) {
            Some(revision) => Ok(Precondition::Revision(revision)),
            None => Err(Problem::bad_request(format!(
                "`If-Match: {tag}` is no entity tag of this server; write it as in its `ETag`"
            ))),
        },
        _ => Err(Problem::bad_request(
            "give `If-Match` with one entity tag, or `If-None-Match: *`, not another nor both",
        )),
    }
}

pub(super) fn document<T: Serialize>(status: StatusCode, value: &T) -> Response {
    let json = serde_json::to_vec(value).expect("resources can be written as JSON");
    (status, [(CONTENT_TYPE, "application/json")], json).into_response()
}

fn one<T: Serialize>(status: StatusCode, Versioned { value, revision }: Versioned<T>) -> Response {
    let mut response = document(status, &value);
    let tag = HeaderValue::try_from(format!("\"{revision}\"")).expect("a number fits into a header");
    response.headers_mut().insert(ETAG, tag);
    response
}

fn put<T: Serialize>(Put { now, created }: Put<T>) -> Response {
    one(if created { StatusCode::CREATED } else { StatusCode::OK }, now)
}

fn listed<T: Serialize>(found: Vec<Versioned<T>>) -> Response {
    document(StatusCode::OK, &List { items: found.into_iter().map(|found| found.value).collect() })
}
