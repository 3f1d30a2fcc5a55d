//! A deployment, with what HTTP needs of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use scorebox_sandbox::{Bundle, Deployment, Limits, Sandbox, Schema, SealError, Stage};
use scorebox_telemetry::{Context, Exception, ExceptionKind, Telemetry};

use crate::input::InputMode;
use crate::scorer_log::ScorerLog;
use crate::settings::Settings;
use crate::swagger::{self, ScorerSchema, Service, Swagger, SwaggerVersion};

/// A deployment that answers HTTP requests.
#[derive(Debug)]
pub struct Endpoint {
    pub(crate) deployment: Deployment,
    pub(crate) mode: InputMode,
    pub(crate) swagger: Swagger,
}

/// Why there is no endpoint. Nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum DeployError {
    /// The scorer cannot be run.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// Its OpenAPI documents cannot be made.
    #[error(transparent)]
    Swagger(#[from] swagger::BuildError),
}

/// What is to be deployed.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Name of the deployment.
    pub name: String,
    /// Its version, in words of the operator.
    pub version: String,
    /// What each instance may use.
    pub limits: Limits,
    /// OpenAPI documents of the user, by file name.
    pub swagger_files: BTreeMap<String, Bytes>,
}

impl Endpoint {
    /// Makes an endpoint of a bundle. Blocks while it is sealed; `progress` is told before each stage. What the scorer
    /// prints meanwhile goes to the log and to `telemetry`, and so does the reason when it fails.
    pub fn deploy(
        sandbox: &Sandbox,
        settings: &Settings,
        telemetry: &Telemetry,
        bundle: &Bundle,
        plan: Plan,
        progress: &dyn Fn(Stage),
    ) -> Result<Self, DeployError> {
        let Plan { name, version, limits, swagger_files } = plan;
        let log = Arc::new(ScorerLog::for_deployment(settings, &name, telemetry));
        let module = sandbox
            .seal(&name, &version, bundle, &limits, log, progress)
            .inspect_err(|error| report(telemetry, error))?;
        let schema = scorer_schema(&module.schema);
        let service = Service {
            name: &settings.service_name,
            version: &settings.service_version,
            path_prefix: &settings.path_prefix,
        };
        let swagger = Swagger::build(&service, &schema, &swagger_files)?;
        tracing::info!(target: "azmlinfsrv.swagger", "{}", swagger.summary());
        Ok(Self { deployment: Deployment { name, version, limits, module }, mode: schema.mode, swagger })
    }

    /// The deployment.
    pub fn deployment(&self) -> &Deployment {
        &self.deployment
    }
}

/// Tells telemetry why a scorer cannot be deployed, if that is the scorer's doing.
fn report(telemetry: &Telemetry, error: &SealError) {
    if !matches!(error, SealError::Init(_) | SealError::Call { .. }) {
        return;
    }
    let message = error.to_string();
    let exception = Exception { kind: ExceptionKind::Init, type_name: "", message: &message, traceback: "" };
    telemetry.exception(&Context::init(), &exception);
}

fn scorer_schema(schema: &Schema) -> ScorerSchema {
    use scorebox_sandbox::{InputMode as Mode, SwaggerVersion as Version};
    ScorerSchema {
        mode: match schema.mode {
            Mode::Plain => InputMode::Plain,
            Mode::Json => InputMode::Json,
            Mode::Raw => InputMode::Raw,
        },
        input: schema.input.clone(),
        output: schema.output.clone(),
        versions: schema
            .versions
            .iter()
            .map(|version| match version {
                Version::V2 => SwaggerVersion::V2,
                Version::V3 => SwaggerVersion::V3,
                Version::V31 => SwaggerVersion::V3_1,
            })
            .collect(),
    }
}
