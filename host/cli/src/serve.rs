//! `scorebox serve`: check everything, deploy, listen, serve, drain.

use std::mem;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use scorebox_sandbox::Sandbox;
use scorebox_server::connection::{self, Drained};
use scorebox_server::tls::Tls;
use scorebox_server::{App, DEFAULT, Deployed, Plan, logging};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tracing::level_filters::LevelFilter;

use crate::args::{PythonArgs, ServeArgs};
use crate::config::{Config, Environment};
use crate::console::Progress;
use crate::failure::Failure;
use crate::renewal::Renewals;
use crate::scorer::{self, Places, Scorer};
use crate::second_wall;
use crate::settings::{self, Checked};
use crate::telemetry;
use crate::tenants::{self, Tenants};
use crate::workers::Workers;

/// How long what waits is tried to be sent at the end.
const TELEMETRY_TIMEOUT: Duration = scorebox_telemetry::DEFAULT_SHUTDOWN;

/// Serves until it is told to end.
pub(crate) fn serve(args: &ServeArgs) -> Result<(), Failure> {
    second_wall::refuse_root(args)?;
    let config = Config::load(&settings::command_line(args), &Environment::of_process());
    let logging_config = settings::logging_config(&config)?;
    let (path, logging_config) = logging_config.unzip();
    let unused = logging_config.as_ref().map(|config| config.unused_handlers().join(", ")).unwrap_or_default();
    // What logging.json takes is decided there, unless the command line asks for less.
    let level = match (&logging_config, args.log_level) {
        (Some(_), None) => LevelFilter::DEBUG,
        _ => settings::log_level(args, &config),
    };
    let admin = tenants::admin(args)?;
    let parking = tenants::parking(args);
    // Before there is a second thread, since each gives up its rights for itself and those that it starts.
    let prepared = second_wall::prepare(args, &config)?;
    let _log = logging::init(args.log_format, level, logging_config).map_err(Failure::start)?;
    prepared.log();
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
    let mut checked = settings::check(args, &config, scorer, &workers)?;
    checked.settings.parking = parking;
    settings::log_settings(&config, checked.settings.cors.as_ref(), &workers);
    let mut renewals = Renewals::default();
    let (tls, admin_tls) = (args.tls.scoring(&mut renewals)?, args.tls.admin(&mut renewals)?);
    checked.settings.tokens = args.tokens.tokens(&mut renewals)?;
    let secured = Secured { tls, admin_tls, renewals };
    let telemetry = telemetry::start(args, &config)?;
    settings::log_model_directory(&config, &telemetry);

    let (cache, sealer) = prepared.set_up(&checked.sandbox, args)?;
    let sandbox = Sandbox::with_sealer(&checked.sandbox, cache, sealer).map_err(Failure::start)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .thread_name("http")
        .enable_all()
        .build()
        .map_err(|error| Failure::failed(format!("cannot start the server's threads: {error}")))?;
    let app = App::new(Arc::new(sandbox), checked.settings.clone(), telemetry.clone());
    let tenants = tenants::open(args, admin, &app, &checked.plan.limits)?;
    let deployer = Deployer {
        checked,
        python: args.python.clone(),
        app: Arc::clone(&app),
        reloading: tokio::sync::Mutex::default(),
    };
    let result = runtime.block_on(deploy_and_serve(Arc::new(deployer), tenants, &secured));
    telemetry.shutdown(TELEMETRY_TIMEOUT);
    // A deployment that was given up may still be compiling.
    runtime.shutdown_background();
    result
}

/// The signals that change the number of gunicorn's workers, in the numbers of Linux.
const WORKERS_UP_DOWN: [i32; 2] = [21, 22];

/// The signals that the server knows.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
    hang_up: Signal,
    /// Whether a reload was asked for while nothing could be reloaded yet.
    reload_is_due: bool,
    /// Signals of gunicorn that have no object here. Their handlers keep them from ending the process.
    _ignored: Vec<Signal>,
}

/// What a signal asks for.
enum Asked {
    /// To end. The signal's name.
    End(&'static str),
    /// To read the scorer again, and certificates and keys.
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
            reload_is_due: false,
            _ignored: ignored.map(of).collect::<Result<_, _>>()?,
        })
    }

    async fn next(&mut self) -> Asked {
        if mem::take(&mut self.reload_is_due) { Asked::Reload } else { self.receive().await }
    }

    async fn receive(&mut self) -> Asked {
        tokio::select! {
            _ = self.terminate.recv() => Asked::End("SIGTERM"),
            _ = self.interrupt.recv() => Asked::End("SIGINT"),
            _ = self.quit.recv() => Asked::End("SIGQUIT"),
            _ = self.hang_up.recv() => Asked::Reload,
        }
    }

    /// Waits for one that asks for the end, and returns its name. What else is asked for comes later, from [`Self::next`].
    async fn end(&mut self) -> &'static str {
        loop {
            match self.receive().await {
                Asked::End(name) => return name,
                Asked::Reload => self.reload_is_due = true,
            }
        }
    }
}

/// What the server shows its clients, and what is read again besides the scorer.
struct Secured {
    tls: Option<Arc<Tls>>,
    admin_tls: Option<Arc<Tls>>,
    renewals: Renewals,
}

/// Deploys, then serves, until a signal comes.
async fn deploy_and_serve(deployer: Arc<Deployer>, tenants: Option<Tenants>, secured: &Secured) -> Result<(), Failure> {
    let mut signals = Signals::new()?;
    let ready = async {
        if let Some(scorer) = &deployer.checked.scorer {
            let single = deployer.deploy(scorer.clone()).await?;
            deployer.app.put_single(single);
        }
        match &tenants {
            Some(tenants) => tenants.start().await,
            None => Ok(()),
        }
    };
    tokio::select! {
        ready = ready => ready?,
        signal = signals.end() => {
            tracing::info!("{signal} before everything was deployed");
            return Ok(());
        }
    }
    listen_and_serve(&deployer, tenants.as_ref(), secured, &mut signals).await
}

/// Deploys what is to be served, as often as it is asked to.
struct Deployer {
    checked: Checked,
    python: PythonArgs,
    app: Arc<App>,
    /// Held while the scorer is read again: what was asked for last is what is served in the end.
    reloading: tokio::sync::Mutex<()>,
}

impl Deployer {
    /// Reads, checks and seals the scorer, on a thread of its own.
    async fn deploy(self: &Arc<Self>, scorer: Scorer) -> Result<Deployed, Failure> {
        let this = Arc::clone(self);
        let deployed = tokio::task::spawn_blocking(move || this.deploy_blocking(&scorer)).await;
        deployed.map_err(|error| Failure::failed(format!("the deployment broke off: {error}")))?
    }

    fn deploy_blocking(&self, scorer: &Scorer) -> Result<Deployed, Failure> {
        let plan = &self.checked.plan;
        let start = Instant::now();
        let places = Places {
            scorer,
            model_dir: self.checked.model_dir.as_deref(),
            app_root: self.checked.app_root.as_deref(),
            source_dir: self.checked.source_dir.as_deref(),
        };
        let environment = self.checked.environment.clone();
        let bundle = scorer::read(&places, &self.python, environment, plan.limits.memory).map_err(Failure::start)?;
        let journal = self.app.journal(DEFAULT, DEFAULT, DEFAULT);
        let plan = Plan { swagger_files: scorer::swagger_files(&places, &bundle), journal, ..plan.clone() };
        let progress = Progress::new();
        let deployed = self
            .app
            .deploy(&bundle, plan, "", &|stage| progress.stage(stage))
            .map_err(|error| Failure::start(format!("{scorer} cannot be served: {error}")))?;
        drop(progress);
        let deployment = deployed.deployment();
        tracing::info!(
            "{scorer} is deployed as {} version {}, {} in {:.0} ms; instances start with {} bytes of memory",
            deployment.name,
            deployment.version,
            if deployment.module.from_cache { "loaded from the cache" } else { "compiled" },
            start.elapsed().as_secs_f64() * 1e3,
            deployment.module.snapshot_bytes
        );
        Ok(deployed)
    }

    /// Deploys again, while what has been deployed goes on serving: for good, if this fails.
    async fn reload(self: Arc<Self>) {
        let Some(scorer) = self.checked.scorer.clone() else { return };
        let _one_at_a_time = self.reloading.lock().await;
        tracing::info!("SIGHUP: the scorer is read again");
        match self.deploy(scorer).await {
            Ok(deployed) => drop(self.app.put_single(deployed)),
            Err(failure) => tracing::error!("what is deployed goes on serving: {failure}"),
        }
    }
}

/// Binds an address. `option` is what another one is chosen with.
async fn bind(address: SocketAddr, option: &str) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).await.map_err(|error| {
        Failure::failed(format!(
            "cannot listen on {address}: {error}; is another server running? choose another {option}"
        ))
    })
}

/// How a listener is spoken with.
fn scheme(tls: Option<&Arc<Tls>>) -> &'static str {
    if tls.is_some() { "https" } else { "http" }
}

async fn listen_and_serve(
    deployer: &Arc<Deployer>,
    tenants: Option<&Tenants>,
    Secured { tls, admin_tls, renewals }: &Secured,
    signals: &mut Signals,
) -> Result<(), Failure> {
    let Checked { addresses, connections, settings, .. } = &deployer.checked;
    let app = &deployer.app;
    let (stop, stopped) = watch::channel(false);
    let mut serving = Vec::new();
    for address in addresses {
        let listener = bind(*address, "--port").await?;
        tracing::info!("listening on {}://{address}", scheme(tls.as_ref()));
        let serve = connection::serve(listener, tls.clone(), app.router(), *connections, stopped.clone());
        serving.push(tokio::spawn(serve));
    }
    if let Some((address, router)) = tenants.and_then(Tenants::admin) {
        let listener = bind(address, "--admin").await?;
        tracing::info!("tenants are managed on {}://{address}/admin/v1", scheme(admin_tls.as_ref()));
        let serve = connection::serve(listener, admin_tls.clone(), router, *connections, stopped.clone());
        serving.push(tokio::spawn(serve));
    }
    tracing::info!(target: "azmlinfsrv", "Scoring timeout is set to {}", settings.scoring_timeout.as_millis());
    tracing::info!(target: "azmlinfsrv", "Worker with pid {} ready for serving traffic", std::process::id());
    let signal = loop {
        match signals.next().await {
            Asked::End(signal) => break signal,
            Asked::Reload => {
                renewals.now();
                drop(tokio::spawn(Arc::clone(deployer).reload()));
            }
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
