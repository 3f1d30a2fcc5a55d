//! What the server is told: values that have been checked.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;

use crate::cors::Cors;
use crate::jwt::Tokens;
use crate::parking::ParkingSettings;

/// How the server answers.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Name of the service in its OpenAPI documents.
    pub service_name: String,
    /// Version of the service in its OpenAPI documents.
    pub service_version: String,
    /// What the paths in the OpenAPI documents begin with; the routes themselves have no prefix.
    pub path_prefix: String,
    /// Value of the header `x-ms-server-version`; `None` leaves it out.
    pub server_version: Option<HeaderValue>,
    /// Who else's web pages may ask, if anybody.
    pub cors: Option<Cors>,
    /// Limits on request bodies.
    pub body: BodyLimits,
    /// The time for `run` that is named when a scorer itself gives up waiting: `SCORING_TIMEOUT_MS`. Default 1 h, as in the
    /// contract; zero where there is no limit.
    pub scoring_timeout: Duration,
    /// What the log has of requests.
    pub log: LogSettings,
    /// Whether there are endpoints of tenants, below `/TENANT/ENDPOINT`.
    pub tenants: bool,
    /// What checks tokens, where tenants may show them instead of keys.
    pub tokens: Option<Arc<Tokens>>,
    /// When their deployments are parked.
    pub parking: ParkingSettings,
    /// Whether answers are those of a managed online endpoint.
    pub managed: bool,
    /// Whether telemetry gets the bodies of responses.
    pub record_responses: bool,
    /// Whether telemetry gets inputs and predictions, and of which models they are said to be, as `name:version`.
    pub model_data: Option<Vec<String>>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            service_name: "ML service".to_owned(),
            service_version: "1.0".to_owned(),
            path_prefix: String::new(),
            server_version: Some(HeaderValue::from_static(CONTRACT_VERSION)),
            cors: None,
            body: BodyLimits::default(),
            scoring_timeout: Duration::from_hours(1),
            log: LogSettings::default(),
            tenants: false,
            tokens: None,
            parking: ParkingSettings::default(),
            managed: false,
            record_responses: true,
            model_data: None,
        }
    }
}

/// The server whose contract is kept, as it names itself in `x-ms-server-version`.
pub const CONTRACT_VERSION: &str = "azmlinfsrv/1.5.1";

/// The name of that server, with its version.
pub const CONTRACT_NAME: &str = "Azure ML Inferencing HTTP server v1.5.1";

/// What the log has of requests.
#[derive(Debug, Clone, Copy)]
pub struct LogSettings {
    /// Whether it has lines for each of them.
    pub requests: bool,
    /// Whether what a scorer prints begins with the id of its request and a comma, as documented for Azure ML's inference
    /// server, which does not do so itself.
    pub print_request_id: bool,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self { requests: true, print_request_id: false }
    }
}

/// Limits on the bodies of requests.
#[derive(Debug, Clone, Copy)]
pub struct BodyLimits {
    /// Bytes of one body. Default 100 MiB.
    pub max: u64,
    /// Bytes of all bodies that are being read or scored at the same time, and of all answers that are not taken yet. With
    /// tenants, none of them takes more than it leaves free. Default 1 GiB.
    pub total: u64,
    /// How long a client may keep the server waiting for a body; 16 KiB that come make up for a second of it. Default 30 s.
    pub timeout: Duration,
}

impl Default for BodyLimits {
    fn default() -> Self {
        Self { max: 100 * 1024 * 1024, total: 1024 * 1024 * 1024, timeout: Duration::from_secs(30) }
    }
}
