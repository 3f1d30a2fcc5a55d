//! The HTTP contract: routes, ids, input modes, errors, OpenAPI documents, logs, and the connections they come by.
//!
//! The contract is that of Azure ML's inference server 1.5.1 (`azureml-inference-server-http`), as observed. What runs is
//! an [`App`] with a [`Directory`] of endpoints, each with its deployments; [`connection::serve`] gives it the connections of a listener.

pub mod access_log;
mod app;
mod body;
pub mod connection;
pub mod cors;
pub mod credentials;
mod deployed;
mod directory;
mod endpoint;
mod error;
mod framing;
#[doc(hidden)]
pub mod fuzz;
mod http_rules;
pub mod ids;
pub mod input;
pub mod jwt;
mod log_queue;
mod log_tail;
pub mod logging;
pub mod logging_config;
mod managed;
mod metrics;
mod parking;
mod path;
pub mod probe;
pub mod python_json;
pub mod query;
mod recorder;
mod score;
mod scorer_log;
mod sending;
mod settings;
pub mod swagger;
mod tenant;
pub mod tls;
mod traffic;

pub use app::{App, ClientAddress, normalize};
pub use deployed::{DeployError, Deployed, Plan};
pub use directory::Directory;
pub use endpoint::{Access, DEFAULT, Endpoint};
pub use log_tail::{LogLine, LogTail};
pub use metrics::{Journal, Metrics};
pub use parking::{Load, Parking, ParkingSettings, Residence, Slot};
pub use probe::Probe;
pub use settings::{BodyLimits, CONTRACT_NAME, CONTRACT_VERSION, LogSettings, Settings};
pub use tenant::{Quotas, RateQuota, Tenant};
pub use traffic::{Traffic, TrafficError};
