//! `scorebox serve`: check everything, deploy, listen, serve, drain.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use etcetera::BaseStrategy as _;
use scorebox_sandbox::{Cache, Sandbox};
use scorebox_server::connection::{self, Drained};
use scorebox_server::{App, DEFAULT_ENDPOINT, Endpoint, Plan, logging};
use scorebox_telemetry::Telemetry;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tracing::level_filters::LevelFilter;

use crate::args::{CacheArgs, PythonArgs, ServeArgs};
use crate::config::{Config, Environment};
use crate::console::Progress;
use crate::failure::Failure;
use crate::scorer::{self, Places};
use crate::settings::{self, Checked};
use crate::telemetry;
use crate::workers::Workers;

/// How long what waits is tried to be sent at the end.
const TELEMETRY_TIMEOUT: Duration = scorebox_telemetry::DEFAULT_SHUTDOWN;

/// Serves until it is told to end.
pub(crate) fn serve(args: &ServeArgs) -> Result<(), Failure> {
    let config = Config::load(&settings::command_line(args), &Environment::of_process());
    let logging_config = settings::logging_config(&config)?;
    let (path, logging_config) = logging_config.unzip();
    let unused = logging_config.as_ref().map(|config| config.unused_handlers().join(", ")).unwrap_or_default();
    // What logging.json takes is decided there, unless the command line asks for less.
    let level = match (&logging_config, args.log_level) {
        (Some(_), None) => LevelFilter::DEBUG,
        _ => settings::log_level(args, &config),
    };
    let _log = logging::init(args.log_format, level, logging_config).map_err(Failure::start)?;
    if let Some(path) = path {
        tracing::info!(target: "azmlinfsrv", "Loaded logging config from {}", path.display());
    }
    if !unused.is_empty() {
        tracing::warn!("handlers of logging.json that write to something else than a stream are not used: {unused}");
    }
    let scorer = settings::scorer(args, &config)?;
    settings::banner(args, &config)?.log();
    config.check().map_err(|error| {
        error.log();
        Failure::start(error)
    })?;
    let workers = Workers::read(&config)?;
    let checked = settings::check(args, &config, scorer, &workers)?;
    settings::log_settings(&config, checked.settings.cors.as_ref(), &workers);
    let telemetry = telemetry::start(args, &config)?;
    settings::log_model_directory(&config, &telemetry);

    let cache = cache(&args.cache);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .thread_name("http")
        .enable_all()
        .build()
        .map_err(|error| Failure::failed(format!("cannot start the server's threads: {error}")))?;
    let result = runtime.block_on(deploy_and_serve(checked, args.python.clone(), cache, telemetry.clone()));
    telemetry.shutdown(TELEMETRY_TIMEOUT);
    // A deployment that was given up may still be compiling.
    runtime.shutdown_background();
    result
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

/// The signals that change the number of gunicorn's workers, in the numbers of Linux.
const WORKERS_UP_DOWN: [i32; 2] = [21, 22];

/// The signals that the server knows.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
    hang_up: Signal,
    /// Signals of gunicorn that have no object here. Their handlers keep them from ending the process.
    _ignored: Vec<Signal>,
}

/// What a signal asks for.
enum Asked {
    /// To end. The signal's name.
    End(&'static str),
    /// To read the scorer again.
    Reload,
}

impl Signals {
    fn new() -> Result<Self, Failure> {
        let failed = |error| Failure::failed(format!("cannot wait for signals: {error}"));
        let of = |kind| signal(kind).map_err(failed);
        let ignored = [SignalKind::user_defined1(), SignalKind::user_defined2()];
        let ignored = ignored.into_iter().chain(WORKERS_UP_DOWN.map(SignalKind::from_raw));
        Ok(Self {
            terminate: of(SignalKind::terminate())?,
            interrupt: of(SignalKind::interrupt())?,
            quit: of(SignalKind::quit())?,
            hang_up: of(SignalKind::hangup())?,
            _ignored: ignored.map(of).collect::<Result<_, _>>()?,
        })
    }

    async fn next(&mut self) -> Asked {
        tokio::select! {
            _ = self.terminate.recv() => Asked::End("SIGTERM"),
            _ = self.interrupt.recv() => Asked::End("SIGINT"),
            _ = self.quit.recv() => Asked::End("SIGQUIT"),
            _ = self.hang_up.recv() => Asked::Reload,
        }
    }

    /// Waits for one that asks for the end, and returns its name.
    async fn end(&mut self) -> &'static str {
        loop {
            if let Asked::End(name) = self.next().await {
                return name;
            }
        }
    }
}

/// Deploys, then serves, until a signal comes.
async fn deploy_and_serve(
    checked: Checked,
    python: PythonArgs,
    cache: Option<Cache>,
    telemetry: Telemetry,
) -> Result<(), Failure> {
    let mut signals = Signals::new()?;
    let sandbox = Arc::new(Sandbox::new(&checked.sandbox, cache).map_err(Failure::start)?);
    let deployer = Arc::new(Deployer {
        checked,
        python,
        sandbox: Arc::clone(&sandbox),
        telemetry: telemetry.clone(),
        reloading: tokio::sync::Mutex::default(),
    });
    let endpoint = tokio::select! {
        endpoint = deployer.deploy() => endpoint?,
        signal = signals.end() => {
            tracing::info!("{signal} before the scorer was deployed");
            return Ok(());
        }
    };
    let app = App::new(sandbox, deployer.checked.settings.clone(), telemetry);
    app.endpoints().put(DEFAULT_ENDPOINT, endpoint);
    listen_and_serve(&app, &deployer, &mut signals).await
}

/// Where the user's programs keep what they can make again: `$XDG_CACHE_HOME`, else `~/.cache`.
pub(crate) fn user_cache_folder() -> Option<PathBuf> {
    Some(etcetera::choose_base_strategy().ok()?.cache_dir())
}

/// Deploys what is to be served, as often as it is asked to.
struct Deployer {
    checked: Checked,
    python: PythonArgs,
    sandbox: Arc<Sandbox>,
    telemetry: Telemetry,
    /// Held while the scorer is read again: what was asked for last is what is served in the end.
    reloading: tokio::sync::Mutex<()>,
}

impl Deployer {
    /// Reads, checks and seals the scorer, on a thread of its own.
    async fn deploy(self: &Arc<Self>) -> Result<Endpoint, Failure> {
        let this = Arc::clone(self);
        let deployed = tokio::task::spawn_blocking(move || this.deploy_blocking()).await;
        deployed.map_err(|error| Failure::failed(format!("the deployment broke off: {error}")))?
    }

    fn deploy_blocking(&self) -> Result<Endpoint, Failure> {
        let Checked { scorer, plan, settings, .. } = &self.checked;
        let start = Instant::now();
        let places = Places {
            scorer,
            model_dir: self.checked.model_dir.as_deref(),
            app_root: self.checked.app_root.as_deref(),
            source_dir: self.checked.source_dir.as_deref(),
        };
        let environment = self.checked.environment.clone();
        let bundle = scorer::read(&places, &self.python, environment, plan.limits.memory).map_err(Failure::start)?;
        let plan = Plan { swagger_files: scorer::swagger_files(&places, &bundle), ..plan.clone() };
        let progress = Progress::new();
        let endpoint =
            Endpoint::deploy(&self.sandbox, settings, &self.telemetry, &bundle, plan, &|stage| progress.stage(stage))
                .map_err(|error| Failure::start(format!("{scorer} cannot be served: {error}")))?;
        drop(progress);
        let deployment = endpoint.deployment();
        tracing::info!(
            "{scorer} is deployed as {} version {}, {} in {:.0} ms; instances start with {} bytes of memory",
            deployment.name,
            deployment.version,
            if deployment.module.from_cache { "loaded from the cache" } else { "compiled" },
            start.elapsed().as_secs_f64() * 1e3,
            deployment.module.snapshot_bytes
        );
        Ok(endpoint)
    }

    /// Deploys again, while what has been deployed goes on serving: for good, if this fails.
    async fn reload(self: Arc<Self>, app: Arc<App>) {
        let _one_at_a_time = self.reloading.lock().await;
        tracing::info!("SIGHUP: the scorer is read again");
        match self.deploy().await {
            Ok(endpoint) => drop(app.endpoints().put(DEFAULT_ENDPOINT, endpoint)),
            Err(failure) => tracing::error!("what is deployed goes on serving: {failure}"),
        }
    }
}

async fn listen_and_serve(app: &Arc<App>, deployer: &Arc<Deployer>, signals: &mut Signals) -> Result<(), Failure> {
    let Checked { addresses, connections, settings, .. } = &deployer.checked;
    let (stop, stopped) = watch::channel(false);
    let mut serving = Vec::new();
    for address in addresses {
        let listener = TcpListener::bind(address).await.map_err(|error| {
            Failure::failed(format!(
                "cannot listen on {address}: {error}; is another server running? choose another --port"
            ))
        })?;
        tracing::info!("listening on http://{address}");
        serving.push(tokio::spawn(connection::serve(listener, app.router(), *connections, stopped.clone())));
    }
    tracing::info!(target: "azmlinfsrv", "Scoring timeout is set to {}", settings.scoring_timeout.as_millis());
    tracing::info!(target: "azmlinfsrv", "Worker with pid {} ready for serving traffic", std::process::id());
    let signal = loop {
        match signals.next().await {
            Asked::End(signal) => break signal,
            Asked::Reload => drop(tokio::spawn(Arc::clone(deployer).reload(Arc::clone(app)))),
        }
    };
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
