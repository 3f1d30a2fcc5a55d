//! The HTTP contract: routes, ids, input modes, errors, OpenAPI documents, logs, and the connections they come by.
//!
//! The contract is that of Azure ML's inference server 1.5.1 (`azureml-inference-server-http`), as observed. What runs is
//! an [`App`] with an [`Endpoint`] for each deployment; [`connection::serve`] gives it the connections of a listener.

pub mod access_log;
mod app;
mod body;
pub mod connection;
pub mod cors;
mod endpoint;
mod error;
mod http_rules;
pub mod ids;
pub mod input;
pub mod logging;
pub mod logging_config;
mod managed;
mod path;
pub mod python_json;
pub mod query;
mod recorder;
mod score;
mod scorer_log;
mod settings;
pub mod swagger;

pub use app::{App, ClientAddress, DEFAULT_ENDPOINT, normalize};
pub use endpoint::{DeployError, Endpoint, Plan};
pub use settings::{BodyLimits, CONTRACT_NAME, CONTRACT_VERSION, LogSettings, Settings};
