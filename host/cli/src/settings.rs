//! What `serve` needs to know: the command line, the environment and the configuration file put together and checked.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use scorebox_sandbox::SandboxConfig;
use scorebox_server::connection::ConnectionLimits;
use scorebox_server::cors::Cors;
use scorebox_server::logging_config::LoggingConfig;
use scorebox_server::{BodyLimits, CONTRACT_VERSION, LogSettings, ParkingSettings, Plan, Settings};
use scorebox_telemetry::{Level, Telemetry};
use tracing::level_filters::LevelFilter;

use crate::args::ServeArgs;
use crate::banner::{AppInsightsState, Banner};
use crate::config::{Config, folder_of};
use crate::failure::Failure;
use crate::scorer::Scorer;
use crate::telemetry;
use crate::workers::Workers;

/// Requests that are scored at the same time, in turns, where nobody says.
const MAX_RUNNING: NonZeroUsize = NonZeroUsize::new(64).unwrap();
/// Requests that wait, where nobody says.
const MAX_WAITING: usize = 1024;
/// The user's configuration of the log.
const LOGGING_FILE: &str = "logging.json";
/// The setting with the level of the log, and what it can be.
const LOG_LEVEL: &str = "AZUREML_LOG_LEVEL";
const LOG_LEVELS: [&str; 8] = ["CRITICAL", "DEBUG", "ERROR", "FATAL", "INFO", "NOTSET", "WARN", "WARNING"];
/// Longer than any server runs.
const NO_LIMIT: Duration = Duration::from_hours(365 * 24);

/// Everything that `serve` needs to know, checked.
pub(crate) struct Checked {
    /// None where only endpoints of tenants are served.
    pub(crate) scorer: Option<Scorer>,
    pub(crate) model_dir: Option<PathBuf>,
    pub(crate) app_root: Option<PathBuf>,
    pub(crate) source_dir: Option<String>,
    pub(crate) environment: Vec<(String, String)>,
    pub(crate) plan: Plan,
    pub(crate) settings: Settings,
    pub(crate) connections: ConnectionLimits,
    pub(crate) sandbox: SandboxConfig,
    pub(crate) addresses: Vec<SocketAddr>,
}

/// The settings of the contract that the command line gives.
pub(crate) fn command_line(args: &ServeArgs) -> BTreeMap<&'static str, String> {
    let mut settings = BTreeMap::new();
    let mut set = |name, value: Option<String>| {
        if let Some(value) = value {
            settings.insert(name, value);
        }
    };
    let text = |path: &Path| path.to_string_lossy().into_owned();
    set("AZUREML_ENTRY_SCRIPT", args.scorer.as_ref().or(args.entry_script.as_ref()).map(|path| text(&real_path(path))));
    set("AZUREML_CONFIG_FILE", args.config_file.as_ref().map(|path| text(&real_path(path))));
    set("AZUREML_MODEL_DIR", args.model_dir.as_deref().map(text));
    set("AML_CORS_ORIGINS", args.access_control_allow_origins.clone());
    set("WORKER_COUNT", args.worker_count.map(|count| count.to_string()));
    if let Some(key) = &args.appinsights_instrumentation_key {
        set("AML_APP_INSIGHTS_KEY", Some(key.clone()));
        set("AML_APP_INSIGHTS_ENABLED", Some("true".to_owned()));
    }
    settings
}

/// The absolute path without links, as far as there is anything.
fn real_path(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    absolute.canonicalize().unwrap_or_else(|_| match (absolute.parent(), absolute.file_name()) {
        (Some(folder), Some(name)) => real_path(folder).join(name),
        _ => absolute,
    })
}

/// The level of the log: what the command line says, else `AZUREML_LOG_LEVEL` in Python's words. That there is no such
/// level is no reason not to start: the real server does not look at it.
pub(crate) fn log_level(args: &ServeArgs, config: &Config) -> LevelFilter {
    if let Some(level) = args.log_level {
        return level;
    }
    match &*config.text_or_default(LOG_LEVEL).to_ascii_uppercase() {
        "DEBUG" | "NOTSET" => LevelFilter::DEBUG,
        "WARNING" | "WARN" => LevelFilter::WARN,
        "ERROR" | "CRITICAL" | "FATAL" => LevelFilter::ERROR,
        _ => LevelFilter::INFO,
    }
}

/// The user's configuration of the log, with its path: `logging.json` in the app folder, else beside the script.
pub(crate) fn logging_config(config: &Config) -> Result<Option<(PathBuf, LoggingConfig)>, Failure> {
    let scorer = config.text("AZUREML_ENTRY_SCRIPT").map(Path::new);
    // A folder that is served is its own app folder.
    let served = scorer.filter(|scorer| scorer.is_dir());
    let app_root = config.text("AML_APP_ROOT").map(Path::new).or(served).unwrap_or(Path::new("."));
    let places = [Some(app_root), scorer.map(folder_of)];
    let Some(path) = places.into_iter().flatten().map(|folder| folder.join(LOGGING_FILE)).find(|path| path.is_file())
    else {
        return Ok(None);
    };
    let cannot = |error: &dyn std::fmt::Display| Failure::start(format!("{} cannot be used: {error}", path.display()));
    let json = std::fs::read(&path).map_err(|error| cannot(&error))?;
    let parsed = LoggingConfig::parse(&json).map_err(|error| cannot(&error))?;
    Ok(Some((path, parsed)))
}

/// What is to be served at the root; none where there are endpoints of tenants, and nothing else.
pub(crate) fn scorer(args: &ServeArgs, config: &Config) -> Result<Option<Scorer>, Failure> {
    if let Some(path) = config.text("AZUREML_ENTRY_SCRIPT") {
        return Ok(Some(Scorer::Path(PathBuf::from(path))));
    }
    if serves_main(args, config) {
        return Ok(Some(Scorer::Main));
    }
    if args.manage.state_dir.is_some() {
        return Ok(None);
    }
    tracing::error!(target: "azmlinfsrv", "Error!");
    tracing::error!(
        target: "azmlinfsrv",
        "Either provide an entry_script using --entry_script or provide a path to the configuration file using --config_file"
    );
    Err(Failure::failed("nothing to serve: give a script, a component or a folder, `scorebox serve SCORER`"))
}

/// Whether the module `main` of the app folder is served, which the contract takes where a configuration names no script.
pub(crate) fn serves_main(args: &ServeArgs, config: &Config) -> bool {
    args.config_file.is_some() && config.text("AZUREML_ENTRY_SCRIPT").is_none()
}

fn has_separate_health_endpoint(config: &Config) -> bool {
    config.text("SEPERATE_HEALTH_ENDPOINT") == Some("true")
}

fn health_port(args: &ServeArgs, config: &Config) -> u16 {
    if has_separate_health_endpoint(config) { args.health_port } else { args.port }
}

/// Where the server listens.
pub(crate) fn addresses(args: &ServeArgs, config: &Config) -> Vec<SocketAddr> {
    let mut addresses = vec![SocketAddr::new(args.address, args.port)];
    if health_port(args, config) != args.port {
        addresses.push(SocketAddr::new(args.address, args.health_port));
    }
    addresses
}

pub(crate) fn app_insights(config: &Config) -> AppInsightsState {
    AppInsightsState::of(config.text("AML_APP_INSIGHTS_ENABLED"), config.text("AML_APP_INSIGHTS_KEY"))
}

pub(crate) fn banner(args: &ServeArgs, config: &Config) -> Result<Banner, Failure> {
    // As in the contract, what the file says is not in it.
    let text = |name| config.text_outside_file(name).map(str::to_owned);
    let version = server_version(config)?;
    Ok(Banner {
        entry_script: text("AZUREML_ENTRY_SCRIPT"),
        model_dir: text("AZUREML_MODEL_DIR"),
        config_file: text("AZUREML_CONFIG_FILE"),
        worker_count: text("WORKER_COUNT").unwrap_or_else(|| "1".to_owned()),
        worker_timeout: text("WORKER_TIMEOUT"),
        port: args.port,
        health_port: health_port(args, config),
        app_insights: app_insights(config),
        server_version: version.as_ref().and_then(|version| version.to_str().ok()).map(str::to_owned),
        cors_origins: text("AML_CORS_ORIGINS"),
        separate_health_endpoint: text("SEPERATE_HEALTH_ENDPOINT"),
    })
}

/// Puts the command line, the environment and the configuration file together.
pub(crate) fn check(
    args: &ServeArgs,
    config: &Config,
    scorer: Option<Scorer>,
    workers: &Workers,
) -> Result<Checked, Failure> {
    let defaults = Settings::default();
    // Zero is no limit.
    let scoring_timeout = match config.integer("SCORING_TIMEOUT_MS") {
        None => defaults.scoring_timeout,
        Some(millis) => Duration::from_millis(u64::try_from(millis).map_err(|_| {
            Failure::start(format!(
                "SCORING_TIMEOUT_MS is {millis}, with which no request could be scored; give milliseconds, or 0 for no limit"
            ))
        })?),
    };
    let worker_timeout = workers.timeout.unwrap_or(Duration::MAX);
    let of_script = if scoring_timeout.is_zero() { Duration::MAX } else { scoring_timeout };
    let timeout = args.timeout.unwrap_or(of_script.min(worker_timeout)).min(NO_LIMIT);
    if config.text("AZUREML_DEBUG_PORT").is_some_and(|port| port != "0") {
        return Err(Failure::start(
            "AZUREML_DEBUG_PORT is set, and scorers run in a sandbox that no debugger can be attached to; unset it, and debug \
             the script in Python itself",
        ));
    }
    let cors = Cors::parse(config.text_or_default("AML_CORS_ORIGINS")).map_err(Failure::start)?;
    let settings = Settings {
        service_name: config.text_or_default("SERVICE_NAME").to_owned(),
        service_version: config.text_or_default("SERVICE_VERSION").to_owned(),
        path_prefix: config.text_or_default("SERVICE_PATH_PREFIX").to_owned(),
        server_version: server_version(config)?,
        cors,
        body: BodyLimits { max: args.max_body.as_u64(), total: args.max_bodies.as_u64(), timeout: args.body_timeout },
        scoring_timeout: args.timeout.unwrap_or(scoring_timeout),
        log: LogSettings { requests: !args.no_request_log, print_request_id: args.print_request_id },
        tenants: args.manage.state_dir.is_some(),
        tokens: None,
        // Said by the memory that there is, which is found out apart.
        parking: ParkingSettings::default(),
        managed: args.managed,
        record_responses: config.flag("APP_INSIGHTS_LOG_RESPONSE_ENABLED"),
        model_data: config
            .flag("AML_MDC_STORAGE_ENABLED")
            .then(|| telemetry::models(Path::new(config.text_or_default("AZUREML_MODEL_DIR")))),
    };
    let threads = args.threads.or(workers.concurrency).unwrap_or(SandboxConfig::default().threads);
    let max_running = args.max_running.unwrap_or(if args.managed { threads } else { MAX_RUNNING }).get();
    // A managed endpoint takes twice as many requests as are scored at the same time.
    let max_waiting = args.max_waiting.unwrap_or(if args.managed { max_running } else { MAX_WAITING });
    let connections = ConnectionLimits::default();
    Ok(Checked {
        // An empty one is none.
        model_dir: config.text("AZUREML_MODEL_DIR").filter(|folder| !folder.is_empty()).map(PathBuf::from),
        app_root: config.text("AML_APP_ROOT").map(PathBuf::from),
        source_dir: config.text("AZUREML_SOURCE_DIRECTORY").map(str::to_owned),
        environment: environment(args, config, &settings),
        plan: Plan {
            name: args.name.clone(),
            version: args.deployment_version.clone(),
            limits: args.limits.limits(timeout)?,
            swagger_files: BTreeMap::new(),
            journal: Arc::default(),
        },
        connections: ConnectionLimits {
            max: args.max_connections.get(),
            head_timeout: args.head_timeout,
            idle_timeout: args.idle_timeout.or(workers.keep_alive).unwrap_or(connections.idle_timeout),
            write_timeout: args.write_timeout,
            grace: args.grace.or(workers.grace).unwrap_or(connections.grace),
        },
        sandbox: SandboxConfig {
            threads,
            max_running,
            max_waiting,
            queue_timeout: args.queue_timeout,
            tick: args.tick,
            nice: args.nice,
            stack: usize::try_from(args.stack.as_u64()).unwrap_or(usize::MAX),
            keep_resident: usize::try_from(args.keep_resident.as_u64()).unwrap_or(usize::MAX),
            ..SandboxConfig::default()
        },
        scorer,
        settings,
        addresses: addresses(args, config),
    })
}

/// Logs what the settings mean, where the contract does or where they are not what they seem.
pub(crate) fn log_settings(config: &Config, cors: Option<&Cors>, workers: &Workers) {
    if !config.extra_keys.is_empty() {
        tracing::warn!(
            target: "azmlinfsrv",
            "Found extra keys in the config file that are not supported by the server.\nExtra keys = [{}]",
            config.extra_keys.iter().map(|key| format!("'{key}'")).collect::<Vec<_>>().join(", ")
        );
    }
    if !config.ignored_keys.is_empty() {
        tracing::warn!(
            "{} of a configuration file that nobody names have no effect; name it with --config_file if they are meant",
            config.ignored_keys.join(", ")
        );
    }
    let level = config.text(LOG_LEVEL).filter(|level| !LOG_LEVELS.contains(&&*level.to_ascii_uppercase()));
    if let Some(level) = level {
        tracing::warn!("{LOG_LEVEL} is {level:?}, which is no level; it is taken for INFO");
    }
    if !workers.without_effect.is_empty() {
        tracing::info!("has no effect here: {}", workers.without_effect.join(", "));
    }
    tracing::info!(target: "azmlinfsrv", "Starting up app insights client");
    if let Some(cors) = cors {
        let origins = cors.origins().join(", ");
        tracing::info!(target: "azmlinfsrv", "Enabling CORS for the following origins: {origins}");
    }
    if ["AML_DBG_MODEL_INFO", "AML_DBG_RESOURCE_INFO"].iter().any(|name| config.text(name).is_some()) {
        tracing::warn!(
            target: "azmlinfsrv",
            "The debuggability features have been removed. If you have a use case for them please reach out to us."
        );
    }
}

/// Logs, and tells telemetry, that there is no model directory.
pub(crate) fn log_model_directory(config: &Config, telemetry: &Telemetry) {
    const LOGGER: &str = "azmlinfsrv.trace";
    let model_dir = config.text_or_default("AZUREML_MODEL_DIR");
    if model_dir.is_empty() || !Path::new(model_dir).exists() {
        let message = format!("Model directory is not set or does not exist: {model_dir}");
        tracing::warn!(target: LOGGER, "{message}");
        telemetry.log(None, LOGGER, Level::Warning, &message, &[]);
    }
}

/// What is sent as `x-ms-server-version`, by the rule of the contract: nothing unless it is switched on, which it is by
/// default; a value in `HTTP_X_MS_SERVER_VERSION` is sent when it is switched off.
fn server_version(config: &Config) -> Result<Option<HeaderValue>, Failure> {
    if config.text("SERVER_VERSION_LOG_RESPONSE_ENABLED").is_none_or(|on| on.eq_ignore_ascii_case("true")) {
        return Ok(Some(HeaderValue::from_static(CONTRACT_VERSION)));
    }
    config
        .text("HTTP_X_MS_SERVER_VERSION")
        .map(|value| {
            HeaderValue::from_str(value).map_err(|_| {
                Failure::start(format!("HTTP_X_MS_SERVER_VERSION is {value:?}, which no header can carry"))
            })
        })
        .transpose()
}

/// The environment that the contract gives a script, apart from what says where its files are.
fn environment(args: &ServeArgs, config: &Config, settings: &Settings) -> Vec<(String, String)> {
    // A script sees these when they have been given, as they were given.
    const AS_GIVEN: [&str; 13] = [
        "AML_APP_INSIGHTS_KEY",
        "AML_CORS_ORIGINS",
        "AML_MDC_STORAGE_ENABLED",
        "AZUREML_CONFIG_FILE",
        "AZUREML_LOG_LEVEL",
        "HOSTNAME",
        "SCORING_TIMEOUT_MS",
        "SEPERATE_HEALTH_ENDPOINT",
        "SERVER_VERSION_LOG_RESPONSE_ENABLED",
        "SERVICE_NAME",
        "SERVICE_VERSION",
        "WORKER_TIMEOUT",
        "WORKSPACE_NAME",
    ];
    let given = |name: &&str| Some(((*name).to_owned(), config.text_outside_file(name)?.to_owned()));
    let mut environment: Vec<(String, String)> = AS_GIVEN.iter().filter_map(given).collect();
    let mut set = |name: &str, value: String| environment.push((name.to_owned(), value));
    set("AML_APP_INSIGHTS_ENABLED", app_insights(config).is_on().to_string());
    set("HEALTH_PORT", health_port(args, config).to_string());
    set("SERVER_PORT", args.port.to_string());
    set("TRANSPORT_PROTOCOL", if args.rest { "rest" } else { "grpc" }.to_owned());
    set("WORKER_COUNT", config.text("WORKER_COUNT").unwrap_or("1").to_owned());
    if let Some(version) = settings.server_version.as_ref().and_then(|version| version.to_str().ok()) {
        set("HTTP_X_MS_SERVER_VERSION", version.to_owned());
    }
    // Where there is no model directory because an empty one was said, a script is told so as it was said.
    if config.text("AZUREML_MODEL_DIR") == Some("") {
        set("AZUREML_MODEL_DIR", String::new());
    }
    environment
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::{Args, Command};
    use crate::config::Environment;

    fn checked(arguments: &[&str], environment: &[(&str, &str)]) -> Checked {
        let line = ["scorebox", "serve"].into_iter().chain(arguments.iter().copied());
        let Command::Serve(args) = Args::try_parse_from(line).unwrap().command else { panic!("it is `serve`") };
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let environment = Environment::from_variables(environment.iter().map(own));
        let config = Config::load(&command_line(&args), &environment);
        check(&args, &config, None, &Workers::read(&config).unwrap()).unwrap()
    }

    #[test]
    fn what_nobody_sets_is_as_the_help_says() {
        let Checked { plan, connections, sandbox, settings, .. } = checked(&[], &[]);
        assert_eq!(plan.limits.deadline, Duration::from_mins(5));
        assert_eq!(settings.scoring_timeout, Duration::from_hours(1));
        assert_eq!((sandbox.max_running, sandbox.max_waiting), (64, 1024));
        // Then it is twice the deadline.
        assert_eq!(sandbox.queue_timeout, None);
        assert_eq!((connections.idle_timeout, connections.grace), (Duration::from_secs(75), Duration::from_secs(30)));
    }

    #[test]
    fn an_empty_model_directory_is_none_and_a_script_is_told_as_it_was_said() {
        for none in [checked(&["--model_dir="], &[]), checked(&[], &[("AZUREML_MODEL_DIR", "")])] {
            let Checked { model_dir, environment, .. } = none;
            assert_eq!(model_dir, None);
            assert!(environment.contains(&("AZUREML_MODEL_DIR".to_owned(), String::new())), "{environment:?}");
        }
        let Checked { model_dir, environment, .. } = checked(&["--model_dir", "m"], &[]);
        assert_eq!(model_dir, Some(PathBuf::from("m")));
        assert!(environment.iter().all(|(name, _)| name != "AZUREML_MODEL_DIR"), "{environment:?}");
    }

    #[test]
    fn run_has_the_lesser_of_the_two_timeouts_of_the_contract_and_none_where_both_are_0() {
        let deadline = |environment: &[(&str, &str)]| checked(&[], environment).plan.limits.deadline;
        assert_eq!(deadline(&[("WORKER_TIMEOUT", "0")]), Duration::from_hours(1));
        assert_eq!(deadline(&[("WORKER_TIMEOUT", "7200")]), Duration::from_hours(1));
        assert_eq!(deadline(&[("WORKER_TIMEOUT", "20")]), Duration::from_secs(20));
        assert_eq!(deadline(&[("SCORING_TIMEOUT_MS", "0")]), Duration::from_mins(5));
        assert_eq!(deadline(&[("SCORING_TIMEOUT_MS", "200")]), Duration::from_millis(200));
        assert_eq!(deadline(&[("SCORING_TIMEOUT_MS", "0"), ("WORKER_TIMEOUT", "0")]), NO_LIMIT);
    }

    #[test]
    fn what_gunicorn_is_told_holds_for_the_server_unless_the_command_line_says_something_else() {
        let environment =
            [("WORKER_COUNT", "2"), ("GUNICORN_CMD_ARGS", "--threads 3 --graceful-timeout 7 --keep-alive=9")];
        let of = |arguments: &[&str]| {
            let Checked { connections, sandbox, .. } = checked(arguments, &environment);
            (sandbox.threads.get(), connections.grace.as_secs(), connections.idle_timeout.as_secs())
        };
        assert_eq!(of(&[]), (6, 7, 9));
        assert_eq!(of(&["--threads", "1", "--grace", "4s", "--idle-timeout", "5s"]), (1, 4, 5));
    }
}
