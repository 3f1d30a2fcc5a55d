//! Where telemetry goes, and which models it speaks of.

use std::env;
use std::fs;
use std::path::Path;

use scorebox_telemetry::{AppInsights, Buffer, Config as TelemetryConfig, Otlp, StartError, Telemetry};

use crate::args::ServeArgs;
use crate::config::Config;
use crate::failure::Failure;
use crate::second_wall;
use crate::settings;

/// The folder in the user's cache folder in which telemetry waits for an endpoint that is away.
const BUFFER_FOLDER: &str = "scorebox-telemetry";

/// Starts telemetry. It is off unless the settings name a place for it.
pub(crate) fn start(args: &ServeArgs, config: &Config) -> Result<Telemetry, Failure> {
    let app_insights = settings::app_insights(config).is_on().then(|| {
        AppInsights::new(
            config.text_or_default("AML_APP_INSIGHTS_KEY"),
            config.text("AML_APP_INSIGHTS_ENDPOINT"),
            config.text("APPLICATIONINSIGHTS_CONNECTION_STRING"),
        )
    });
    let app_insights = app_insights.transpose().map_err(Failure::start)?;
    let otlp = Otlp::from_env(|name| env::var(name).ok()).map_err(Failure::start)?;
    if let Some(app_insights) = &app_insights {
        tracing::info!("telemetry goes to Application Insights at {}", app_insights.endpoint());
    }
    if otlp.is_some() {
        tracing::info!("telemetry is exported by OTLP");
    }
    let is_on = app_insights.is_some() || otlp.is_some();
    let mut telemetry_config = TelemetryConfig {
        app_insights,
        otlp,
        service_name: config.text_or_default("SERVICE_NAME").to_owned(),
        workspace_name: config.text_or_default("WORKSPACE_NAME").to_owned(),
        container_id: config.text_or_default("HOSTNAME").to_owned(),
        buffer: is_on.then(|| buffer(args)).flatten(),
    };
    let started = match Telemetry::start(telemetry_config.clone()) {
        // A folder that nobody has asked for is no reason not to serve.
        Err(error @ StartError::Buffer { .. }) if args.telemetry_buffer.is_none() => {
            tracing::warn!("telemetry that cannot be sent is not kept on disk: {error}");
            telemetry_config.buffer = None;
            Telemetry::start(telemetry_config)
        }
        started => started,
    };
    started.map_err(Failure::start)
}

/// The folder of each port is its own: one process at a time uses a folder.
pub(crate) fn buffer(args: &ServeArgs) -> Option<Buffer> {
    let folder = match &args.telemetry_buffer {
        Some(folder) => folder.clone(),
        None => second_wall::user_cache_folder()?.join(BUFFER_FOLDER).join(args.port.to_string()),
    };
    Some(Buffer { folder, bytes: args.telemetry_buffer_size.as_u64() })
}

/// The models that are said to have made a prediction, as `name:version`, by the rule of the contract: a model directory
/// that ends in a number is a version of its parent; else each `name/number` below it is one.
pub(crate) fn models(model_dir: &Path) -> Vec<String> {
    let name_of = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let is_version = |name: &str| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit());
    let own = name_of(model_dir);
    if is_version(&own) {
        return vec![format!("{}:{own}", model_dir.parent().map(name_of).unwrap_or_default())];
    }
    let mut models = Vec::new();
    for (name, folder) in folders(model_dir) {
        let versions = folders(&folder).map(|(version, _)| version).filter(|version| is_version(version));
        models.extend(versions.map(|version| format!("{name}:{version}")));
    }
    models.sort_unstable();
    models
}

/// The folders in a folder, with their names.
fn folders(folder: &Path) -> impl Iterator<Item = (String, std::path::PathBuf)> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.path().is_dir())
        .map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.path()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_are_folders_with_versions() {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        for path in ["m1/1", "m1/2", "m2/7", "m3/latest"] {
            fs::create_dir_all(folder.path().join(path)).expect("it can be written to");
        }
        assert_eq!(models(folder.path()), ["m1:1", "m1:2", "m2:7"]);
        assert_eq!(models(&folder.path().join("m2/7")), ["m2:7"]);
        assert!(models(&folder.path().join("absent")).is_empty());
    }
}
