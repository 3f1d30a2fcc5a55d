//! What keeps telemetry from being configured or started. No message holds a key or a header's value.

use std::io;
use std::path::PathBuf;

/// A setting cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The instrumentation key is no UUID.
    #[error("AML_APP_INSIGHTS_KEY is not a UUID: take the instrumentation key of the Application Insights resource")]
    Key,
    /// The connection string's key is no UUID.
    #[error(
        "the InstrumentationKey of APPLICATIONINSIGHTS_CONNECTION_STRING is not a UUID: copy the connection string \
         from the overview of the Application Insights resource"
    )]
    ConnectionStringKey,
    /// The connection string is none.
    #[error(
        "APPLICATIONINSIGHTS_CONNECTION_STRING is not of the form name=value;name=value: copy it from the overview of \
         the Application Insights resource"
    )]
    ConnectionString,
    /// The connection string asks for another authorization than by its key.
    #[error("APPLICATIONINSIGHTS_CONNECTION_STRING asks for an Authorization other than ikey, which is not supported")]
    Authorization,
    /// An endpoint is no URL that telemetry can be sent to.
    #[error("the endpoint of {setting} cannot be used: {reason}; write it as https://host")]
    Endpoint {
        /// The setting that it is from.
        setting: &'static str,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// An environment variable of OpenTelemetry has a value that cannot be used.
    #[error("{variable} cannot be used: {reason}")]
    Variable {
        /// The variable's name.
        variable: String,
        /// What is wrong, and what to write.
        reason: String,
    },
}

/// Telemetry cannot be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The folder for what cannot be sent yet cannot be used.
    #[error("the telemetry buffer {} cannot be used: {source}; give a folder that can be written to", path.display())]
    Buffer {
        /// The folder or a file in it.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file with certificates cannot be used.
    #[error("the certificates in {}, named by {variable}, cannot be used: {reason}", path.display())]
    Certificate {
        /// The environment variable that names the file.
        variable: String,
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The OTLP exporter cannot be built.
    #[error("the OTLP exporter cannot be set up: {0}")]
    Otlp(String),
    /// A thread cannot be started.
    #[error("the telemetry threads cannot be started: {0}; raise the limit of processes")]
    Thread(#[source] io::Error),
}
