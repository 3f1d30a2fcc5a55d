//! What the log begins with: the settings, in the form of the contract.

use scorebox_server::{CONTRACT_NAME, logging};

/// What is shown.
#[derive(Debug)]
pub(crate) struct Banner {
    pub(crate) entry_script: Option<String>,
    pub(crate) model_dir: Option<String>,
    pub(crate) config_file: Option<String>,
    pub(crate) worker_count: String,
    pub(crate) worker_timeout: Option<String>,
    pub(crate) port: u16,
    pub(crate) health_port: u16,
    pub(crate) app_insights: AppInsightsState,
    pub(crate) server_version: Option<String>,
    pub(crate) cors_origins: Option<String>,
    pub(crate) separate_health_endpoint: Option<String>,
}

/// Whether Application Insights is on, by the rule of the contract: it has to be switched on, and there has to be a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AppInsightsState {
    /// It is off.
    Off {
        /// Whether there is a key all the same.
        key: bool,
    },
    /// It is switched on with a key that is no UUID, and therefore off.
    InvalidKey,
    /// It is on.
    On,
}

impl AppInsightsState {
    /// Decides it. `enabled` has to be exactly `true`.
    pub(crate) fn of(enabled: Option<&str>, key: Option<&str>) -> Self {
        match (enabled, key) {
            (Some("true"), Some(key)) if uuid::Uuid::try_parse(key).is_ok() && key.len() == 36 => Self::On,
            (Some("true"), Some(_)) => Self::InvalidKey,
            (_, key) => Self::Off { key: key.is_some() },
        }
    }

    pub(crate) fn is_on(self) -> bool {
        self == Self::On
    }
}

impl Banner {
    /// Logs it.
    pub(crate) fn log(&self) {
        let mut lines = Vec::new();
        if self.model_dir.is_none() {
            lines.push("The environment variable 'AZUREML_MODEL_DIR' has not been set.".to_owned());
            lines.push("Use the --model_dir command line argument to set it.".to_owned());
        }
        match self.app_insights {
            AppInsightsState::On => lines.push("Valid Application Insights instrumentation key provided.".to_owned()),
            AppInsightsState::InvalidKey => {
                lines.push("Invalid Application Insights instrumentation key provided.".to_owned());
                lines.push("Application Insights has been disabled.".to_owned());
            }
            AppInsightsState::Off { .. } => {}
        }
        let none = |value: &Option<String>| value.clone().unwrap_or_else(|| "None".to_owned());
        let key = match self.app_insights {
            AppInsightsState::Off { key: false } => "None",
            _ => "AppInsights key provided",
        };
        let cors = self.cors_origins.as_ref().map(|origins| format!("Enabling CORS for {origins}"));
        lines.extend(["", CONTRACT_NAME, "", "", "Server Settings", "---------------"].map(str::to_owned));
        lines.extend([
            format!("Entry Script Name: {}", none(&self.entry_script)),
            format!("Model Directory: {}", none(&self.model_dir)),
            format!("Config File: {}", none(&self.config_file)),
            format!("Worker Count: {}", self.worker_count),
            format!("Worker Timeout (seconds): {}", none(&self.worker_timeout)),
            format!("Server Port: {}", self.port),
            format!("Health Port: {}", self.health_port),
            format!("Application Insights Enabled: {}", self.app_insights.is_on()),
            format!("Application Insights Key: {key}"),
            format!("Inferencing HTTP server version: {}", none(&self.server_version)),
            format!("CORS for the specified origins: {}", none(&cors)),
            format!("Create dedicated endpoint for health: {}", none(&self.separate_health_endpoint)),
        ]);
        lines.extend(["", "", "Server Routes", "---------------"].map(str::to_owned));
        lines.extend([
            format!("Liveness Probe: GET   127.0.0.1:{}/", self.health_port),
            format!("Score:          POST  127.0.0.1:{}/score", self.port),
            String::new(),
        ]);
        tracing::info!(target: logging::PLAIN, "{}", lines.join("\n"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn application_insights_is_on_with_exactly_true_and_a_uuid() {
        let key = "22222222-2222-2222-2222-222222222222";
        assert_eq!(AppInsightsState::of(Some("true"), Some(key)), AppInsightsState::On);
        assert_eq!(
            AppInsightsState::of(Some("true"), Some("ABCDEF00-2222-2222-2222-222222222222")),
            AppInsightsState::On
        );
        assert_eq!(AppInsightsState::of(Some("true"), Some("zzz")), AppInsightsState::InvalidKey);
        assert_eq!(AppInsightsState::of(Some("true"), Some(&key.replace('-', ""))), AppInsightsState::InvalidKey);
        assert_eq!(AppInsightsState::of(Some("True"), Some(key)), AppInsightsState::Off { key: true });
        assert_eq!(AppInsightsState::of(Some("true"), None), AppInsightsState::Off { key: false });
    }
}
