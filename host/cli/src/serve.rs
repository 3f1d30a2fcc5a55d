//! `scorebox serve`: check everything, deploy, listen, serve, drain.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use etcetera::BaseStrategy as _;
use http::HeaderValue;
use scorebox_sandbox::{Cache, Sandbox, SandboxConfig};
use scorebox_server::connection::{self, ConnectionLimits, Drained};
use scorebox_server::cors::Cors;
use scorebox_server::{App, BodyLimits, CONTRACT_VERSION, DEFAULT_ENDPOINT, Endpoint, Plan, Settings, logging};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::args::{CacheArgs, PythonArgs, ServeArgs};
use crate::config::Config;
use crate::console::Progress;
use crate::failure::Failure;
use crate::scorer::{self, Places};

/// Time for `run` when nobody says: what Azure ML's inference server gives a worker by default.
const DEFAULT_TIMEOUT: Duration = Duration::from_mins(5);

/// Everything that `serve` needs to know, checked.
struct Checked {
    scorer: PathBuf,
    model_dir: Option<PathBuf>,
    app_root: Option<PathBuf>,
    source_dir: Option<String>,
    environment: Vec<(String, String)>,
    plan: Plan,
    settings: Settings,
    connections: ConnectionLimits,
    sandbox: SandboxConfig,
    addresses: Vec<SocketAddr>,
}

/// Serves until it is told to end.
pub(crate) fn serve(args: &ServeArgs) -> Result<(), Failure> {
    let config = Config::load(args.config_file.as_deref())?;
    let checked = check(args, &config)?;
    let _log = logging::init(args.log_format, args.log_level).map_err(Failure::start)?;
    say_what_has_no_effect(args);

    let cache = cache(&args.cache);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .thread_name("http")
        .enable_all()
        .build()
        .map_err(|error| Failure::failed(format!("cannot start the server's threads: {error}")))?;
    let result = runtime.block_on(deploy_and_serve(checked, args.python.clone(), cache));
    // A deployment that was given up may still be compiling.
    runtime.shutdown_background();
    result
}

/// Puts the command line, the environment and the configuration file together.
fn check(args: &ServeArgs, config: &Config) -> Result<Checked, Failure> {
    let scorer = args
        .scorer
        .clone()
        .or_else(|| args.entry_script.clone())
        .or_else(|| config.text("AZUREML_ENTRY_SCRIPT").map(PathBuf::from))
        .ok_or_else(|| {
            Failure::start("nothing to serve: give a script, a component or a folder, `scorebox serve SCORER`")
        })?;
    let scoring_timeout = match config.integer("SCORING_TIMEOUT_MS")? {
        None => None,
        // Zero is no limit, as far as there can be one.
        Some(0) => Some(Duration::from_hours(365 * 24)),
        Some(millis) => Some(Duration::from_millis(u64::try_from(millis).map_err(|_| {
            Failure::start(format!("SCORING_TIMEOUT_MS is {millis}; give milliseconds, or 0 for no limit"))
        })?)),
    };
    let timeout = args.timeout.or(scoring_timeout).unwrap_or(DEFAULT_TIMEOUT);
    let origins = args.access_control_allow_origins.clone().or_else(|| config.text("AML_CORS_ORIGINS"));
    let defaults = Settings::default();
    let settings = Settings {
        service_name: config.text("SERVICE_NAME").unwrap_or(defaults.service_name),
        service_version: config.text("SERVICE_VERSION").unwrap_or(defaults.service_version),
        path_prefix: config.text("SERVICE_PATH_PREFIX").unwrap_or(defaults.path_prefix),
        server_version: server_version(config)?,
        cors: Cors::parse(origins.as_deref().unwrap_or_default()).map_err(Failure::start)?,
        body: BodyLimits { max: args.max_body.as_u64(), total: args.max_bodies.as_u64(), timeout: args.body_timeout },
        scoring_timeout: args.timeout.or(scoring_timeout).unwrap_or(defaults.scoring_timeout),
        request_log: !args.no_request_log,
    };
    let mut addresses = vec![SocketAddr::new(args.address, args.port)];
    let health_listener = config.flag("SEPERATE_HEALTH_ENDPOINT", false) && args.health_port != args.port;
    if health_listener {
        addresses.push(SocketAddr::new(args.address, args.health_port));
    }
    let sandbox = SandboxConfig::default();
    Ok(Checked {
        scorer,
        model_dir: args.model_dir.clone().or_else(|| config.text("AZUREML_MODEL_DIR").map(PathBuf::from)),
        app_root: config.text("AML_APP_ROOT").map(PathBuf::from),
        source_dir: config.text("AZUREML_SOURCE_DIRECTORY"),
        environment: environment(args, health_listener, &settings),
        plan: Plan {
            name: args.name.clone(),
            version: args.deployment_version.clone(),
            limits: args.limits.limits(timeout)?,
            swagger_files: BTreeMap::new(),
        },
        settings,
        connections: ConnectionLimits {
            max: args.max_connections.get(),
            head_timeout: args.head_timeout,
            idle_timeout: args.idle_timeout,
            grace: args.grace,
        },
        sandbox: SandboxConfig {
            threads: args.threads.unwrap_or(sandbox.threads),
            max_running: args.max_running.get(),
            max_waiting: args.max_waiting,
            tick: args.tick,
            stack: usize::try_from(args.stack.as_u64()).unwrap_or(usize::MAX),
            keep_resident: usize::try_from(args.keep_resident.as_u64()).unwrap_or(usize::MAX),
        },
        addresses,
    })
}

/// What is sent as `x-ms-server-version`, by the rule of the contract: nothing unless it is switched on, which it is by
/// default; a value in `HTTP_X_MS_SERVER_VERSION` is sent when it is switched off.
fn server_version(config: &Config) -> Result<Option<HeaderValue>, Failure> {
    if config.flag("SERVER_VERSION_LOG_RESPONSE_ENABLED", true) {
        return Ok(Some(HeaderValue::from_static(CONTRACT_VERSION)));
    }
    config
        .text("HTTP_X_MS_SERVER_VERSION")
        .map(|value| {
            HeaderValue::from_str(&value).map_err(|_| {
                Failure::start(format!("HTTP_X_MS_SERVER_VERSION is {value:?}, which no header can carry"))
            })
        })
        .transpose()
}

/// The environment that the contract gives a script, apart from what says where its files are.
fn environment(args: &ServeArgs, health_listener: bool, settings: &Settings) -> Vec<(String, String)> {
    let health_port = if health_listener { args.health_port } else { args.port };
    let mut environment = vec![
        ("AML_APP_INSIGHTS_ENABLED", "false".to_owned()),
        ("HEALTH_PORT", health_port.to_string()),
        ("SERVER_PORT", args.port.to_string()),
        ("TRANSPORT_PROTOCOL", "grpc".to_owned()),
        ("WORKER_COUNT", args.worker_count.map_or(1, NonZeroUsize::get).to_string()),
    ];
    if let Some(version) = settings.server_version.as_ref().and_then(|version| version.to_str().ok()) {
        environment.push(("HTTP_X_MS_SERVER_VERSION", version.to_owned()));
    }
    environment.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn say_what_has_no_effect(args: &ServeArgs) {
    if let Some(count) = args.worker_count {
        tracing::info!("--worker_count {count} has no effect: scorers run on threads, whose number is --threads");
    }
    if args.appinsights_instrumentation_key.is_some() {
        tracing::warn!("--appinsights_instrumentation_key has no effect: this version sends no telemetry");
    }
}

/// Opens the cache. Without it the server works as well, and starts slower.
pub(crate) fn cache(args: &CacheArgs) -> Option<Cache> {
    if args.no_cache {
        return None;
    }
    let folder = args.cache_dir.clone().or_else(|| user_cache_folder().map(|folder| folder.join("scorebox")));
    let Some(folder) = folder else {
        tracing::warn!("there is no folder for the cache: give one with --cache-dir; every start compiles the scorer");
        return None;
    };
    match Cache::open(folder, args.cache_size.as_u64()) {
        Ok(cache) => Some(cache),
        Err(error) => {
            tracing::warn!("going on without the cache: {error}");
            None
        }
    }
}

/// The signals that end the server.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> Result<Self, Failure> {
        let failed = |error| Failure::failed(format!("cannot wait for signals: {error}"));
        Ok(Self {
            terminate: signal(SignalKind::terminate()).map_err(failed)?,
            interrupt: signal(SignalKind::interrupt()).map_err(failed)?,
        })
    }

    /// Waits for either, and returns its name.
    async fn end(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// Deploys, then serves, until a signal comes.
async fn deploy_and_serve(checked: Checked, python: PythonArgs, cache: Option<Cache>) -> Result<(), Failure> {
    let mut signals = Signals::new()?;
    let connections = checked.connections;
    let addresses = checked.addresses.clone();
    let deployed = tokio::select! {
        deployed = tokio::task::spawn_blocking(move || deploy(checked, &python, cache)) => deployed,
        signal = signals.end() => {
            tracing::info!("{signal} before the scorer was deployed");
            return Ok(());
        }
    };
    let app = deployed.map_err(|error| Failure::failed(format!("the deployment broke off: {error}")))??;
    listen_and_serve(&app, &addresses, connections, &mut signals).await
}

/// Where the user's programs keep what they can make again: `$XDG_CACHE_HOME`, else `~/.cache`.
fn user_cache_folder() -> Option<PathBuf> {
    Some(etcetera::choose_base_strategy().ok()?.cache_dir())
}

/// Reads, checks and seals the scorer.
fn deploy(checked: Checked, python: &PythonArgs, cache: Option<Cache>) -> Result<Arc<App>, Failure> {
    let Checked { scorer, model_dir, app_root, source_dir, environment, plan, settings, sandbox, .. } = checked;
    let start = Instant::now();
    let places = Places {
        scorer: &scorer,
        model_dir: model_dir.as_deref(),
        app_root: app_root.as_deref(),
        source_dir: source_dir.as_deref(),
    };
    let bundle = scorer::read(&places, python, environment, plan.limits.memory).map_err(Failure::start)?;
    let sandbox = Arc::new(Sandbox::new(&sandbox, cache).map_err(Failure::start)?);
    let progress = Progress::new();
    let endpoint = Endpoint::deploy(&sandbox, &settings, &bundle, plan, &|stage| progress.stage(stage))
        .map_err(|error| Failure::start(format!("{} cannot be served: {error}", scorer.display())))?;
    drop(progress);
    let deployment = endpoint.deployment();
    tracing::info!(
        "{} is deployed as {} version {}, {} in {:.0} ms; instances start with {} bytes of memory",
        scorer.display(),
        deployment.name,
        deployment.version,
        if deployment.module.from_cache { "loaded from the cache" } else { "compiled" },
        start.elapsed().as_secs_f64() * 1e3,
        deployment.module.snapshot_bytes
    );
    let app = App::new(sandbox, settings);
    app.endpoints().put(DEFAULT_ENDPOINT, endpoint);
    Ok(app)
}

async fn listen_and_serve(
    app: &Arc<App>,
    addresses: &[SocketAddr],
    connections: ConnectionLimits,
    signals: &mut Signals,
) -> Result<(), Failure> {
    let (stop, stopped) = watch::channel(false);
    let mut serving = Vec::new();
    for address in addresses {
        let listener = TcpListener::bind(address).await.map_err(|error| {
            Failure::failed(format!(
                "cannot listen on {address}: {error}; is another server running? choose another --port"
            ))
        })?;
        tracing::info!("listening on http://{address}");
        serving.push(tokio::spawn(connection::serve(listener, app.router(), connections, stopped.clone())));
    }
    let signal = signals.end().await;
    tracing::info!("{signal}: no more connections are taken, requests are finished");
    app.drain();
    // Whoever waits for it is gone only when serving has ended.
    let _ = stop.send(true);
    for task in serving {
        let drained = tokio::select! {
            drained = task => drained,
            _ = signals.interrupt.recv() => {
                tracing::warn!("SIGINT again: requests are cut");
                return Ok(());
            }
        };
        match drained {
            Ok(Drained::Completely) => {}
            Ok(Drained::Cut(connections)) => {
                tracing::warn!("{connections} connections were cut: their requests took longer than --grace");
            }
            Err(error) => tracing::error!("serving ended badly: {error}"),
        }
    }
    tracing::info!("all requests are answered");
    Ok(())
}
