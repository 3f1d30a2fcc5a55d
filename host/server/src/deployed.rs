//! A deployment, with what HTTP needs of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use scorebox_sandbox::{Bundle, Deployment, Limits, Sandbox, Schema, SealError, SealedModule, Stage};
use scorebox_telemetry::{Context, Exception, ExceptionKind, Telemetry};

use crate::input::InputMode;
use crate::metrics::Journal;
use crate::scorer_log::ScorerLog;
use crate::settings::Settings;
use crate::swagger::{self, ScorerSchema, Service, Swagger, SwaggerVersion};

/// A deployment that answers HTTP requests: a value that never changes.
#[derive(Debug)]
pub struct Deployed {
    pub(crate) deployment: Deployment,
    pub(crate) mode: InputMode,
    pub(crate) swagger: Swagger,
    pub(crate) journal: Arc<Journal>,
}

/// Why a bundle is not deployed. Nothing has changed.
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
    /// Where it is written down what becomes of it.
    pub journal: Arc<Journal>,
}

impl Deployed {
    /// Deploys a bundle. Blocks while it is sealed; `progress` is told before each stage. What the scorer
    /// prints meanwhile goes to the log and to `telemetry`, and so does the reason when it fails.
    pub fn deploy(
        sandbox: &Sandbox,
        settings: &Settings,
        telemetry: &Telemetry,
        bundle: &Bundle,
        plan: Plan,
        progress: &dyn Fn(Stage),
    ) -> Result<Self, DeployError> {
        let log = Arc::new(ScorerLog::for_deployment(settings, &plan.name, telemetry, &plan.journal));
        let module = sandbox
            .seal(&plan.name, &plan.version, bundle, &plan.limits, log, progress)
            .inspect_err(|error| report(telemetry, error))?;
        let deployed = Self::of(module, settings, plan)?;
        tracing::info!(target: "azmlinfsrv.swagger", "{}", deployed.swagger.summary());
        Ok(deployed)
    }

    /// Loads what was deployed before out of the cache; `None` where that does not have it. Blocks for some milliseconds.
    pub fn find(
        sandbox: &Sandbox,
        settings: &Settings,
        bundle: &Bundle,
        plan: Plan,
    ) -> Result<Option<Self>, DeployError> {
        let found = sandbox.find_sealed(&plan.name, &plan.version, bundle, &plan.limits)?;
        Ok(found.map(|module| Self::of(module, settings, plan)).transpose()?)
    }

    fn of(module: SealedModule, settings: &Settings, plan: Plan) -> Result<Self, swagger::BuildError> {
        let Plan { name, version, limits, swagger_files, journal } = plan;
        let schema = scorer_schema(&module.schema);
        let service = Service {
            name: &settings.service_name,
            version: &settings.service_version,
            path_prefix: &settings.path_prefix,
        };
        let swagger = Swagger::build(&service, &schema, &swagger_files)?;
        Ok(Self { deployment: Deployment { name, version, limits, module }, mode: schema.mode, swagger, journal })
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
