//! The command line. Names with an underscore are those of Azure ML's inference server; either form is taken.
#![expect(clippy::doc_markdown, reason = "the comments are the text of --help")]

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use bytesize::ByteSize;
use clap::builder::{BoolishValueParser, OsStringValueParser, TypedValueParser as _};
use clap::{Parser, Subcommand};
use scorebox_confinement::{Attempt, Profile};
use scorebox_sandbox::{Limits, SealLimits};
use scorebox_server::logging::LogFormat;
use tracing::level_filters::LevelFilter;

use crate::build::BuildArgs;
use crate::failure::Failure;
use crate::jwks::TokenArgs;
use crate::manage::args::{
    ApplyArgs, DeployArgs, DeploymentCommand, EndpointCommand, KeysCommand, LogsArgs, StateCommand, TenantCommand,
    TrafficArgs,
};
use crate::manual::ManualArgs;
use crate::scorer::Variable;
use crate::tls::TlsArgs;

/// Scores requests, each in a WebAssembly instance of its own.
#[derive(Debug, Parser)]
#[command(version, after_help = EXIT_CODES)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXIT_CODES: &str = "Exit codes: 0 success, 1 the command failed, 2 wrong usage, 3 the server did not start because \
                          of its configuration or of the scorer.";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve a scorer over HTTP.
    Serve(Box<ServeArgs>),
    /// Print the configuration with which `serve` would start, and where each value comes from.
    Config(Box<ConfigArgs>),
    /// Say what a scorer needs and offers, and whether it can be served.
    Check(CheckArgs),
    /// Score one request, without a server. The answer goes to standard output.
    Run(RunArgs),
    /// Say what this machine has of that on which safety depends, and try whether it holds.
    Doctor(DoctorArgs),
    /// Try one thing that a confined process must not be able to do: `doctor` starts itself with it.
    #[command(hide = true)]
    DoctorAttempt(DoctorAttemptArgs),
    /// Compile the Python runtime for this machine, so that no start has to.
    CompileRuntime(CompileRuntimeArgs),
    /// Create, list and delete the tenants of a server.
    #[command(subcommand)]
    Tenant(TenantCommand),
    /// Create, list, show and delete endpoints.
    #[command(subcommand)]
    Endpoint(EndpointCommand),
    /// Deploy a scorer to an endpoint of a server. What answers there goes on until the new one is ready, or for good if
    /// that fails.
    Deploy(Box<DeployArgs>),
    /// Make a server be what a file says: its tenants, endpoints, deployments and traffic. The differences are shown first.
    Apply(ApplyArgs),
    /// Show, roll back and delete deployments.
    #[command(subcommand)]
    Deployment(DeploymentCommand),
    /// Share the requests of an endpoint out among its deployments.
    Traffic(TrafficArgs),
    /// Replace the keys of an endpoint.
    #[command(subcommand)]
    Keys(KeysCommand),
    /// Show the last of what the scorer of a deployment said, and of why it failed.
    Logs(LogsArgs),
    /// Back up, restore and check what a server keeps.
    #[command(subcommand)]
    State(StateCommand),
    /// Build a Rust project into a component, or a Python app into an archive with the packages that it needs.
    Build(BuildArgs),
    /// Write the manual: a page for each command, for `man`.
    Manual(ManualArgs),
    /// Show that nothing of a request is left for a later one: plant secrets in every request, and look for them in all that
    /// come after it, in all memory that instances are made of, and in a control that is known to leak. Fails if any is
    /// found, or if the control's are not.
    VerifyIsolation(Box<VerifyIsolationArgs>),
}

/// The limits on a scorer.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Limits on the scorer")]
pub(crate) struct LimitArgs {
    /// Memory of each instance: all its linear memories and tables.
    #[arg(long, env = "SCOREBOX_MEMORY", value_name = "SIZE", default_value = "1GiB")]
    pub(crate) memory: ByteSize,
    /// Time for init().
    #[arg(long, env = "SCOREBOX_INIT_TIMEOUT", value_name = "TIME", value_parser = duration, default_value = "300s")]
    pub(crate) init_timeout: Duration,
    /// What an instance may log: texts, names of loggers, and 32 bytes for each record.
    #[arg(long, env = "SCOREBOX_MAX_LOG", value_name = "SIZE", default_value = "1MiB")]
    pub(crate) max_log: ByteSize,
    /// Size of a response.
    #[arg(long, env = "SCOREBOX_MAX_RESPONSE", value_name = "SIZE", default_value = "100MiB")]
    pub(crate) max_response: ByteSize,
    /// What a single call may hand over from the guest to the host; never less than --max-response.
    #[arg(long, env = "SCOREBOX_MAX_HOST_CALL", value_name = "SIZE", default_value = "128MiB")]
    pub(crate) max_host_call: ByteSize,
}

impl LimitArgs {
    /// The limits, with the time for run() that is said elsewhere.
    pub(crate) fn limits(&self, deadline: Duration) -> Result<Limits, Failure> {
        if self.max_host_call < self.max_response {
            return Err(Failure::start(format!(
                "--max-host-call is {}, less than --max-response of {}: no response of that size could be handed over",
                self.max_host_call, self.max_response
            )));
        }
        Ok(Limits {
            memory: self.memory.as_u64(),
            deadline,
            init_deadline: self.init_timeout,
            log: self.max_log.as_u64(),
            output: self.max_response.as_u64(),
            host_call: self.max_host_call.as_u64(),
        })
    }
}

/// What sealing may use: compiling a scorer, and running its init(), in processes of their own.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Limits on deploying")]
pub(crate) struct SealArgs {
    /// Memory for compiling a scorer, besides three times --memory for the scorer itself.
    #[arg(long, env = "SCOREBOX_SEAL_MEMORY", value_name = "SIZE", default_value = "2GiB")]
    pub(crate) seal_memory: ByteSize,
    /// Time for each step of compiling a scorer, besides --init-timeout where its code runs.
    #[arg(long, env = "SCOREBOX_SEAL_TIMEOUT", value_name = "TIME", value_parser = duration, default_value = "300s")]
    pub(crate) seal_timeout: Duration,
}

impl SealArgs {
    pub(crate) fn limits(&self) -> SealLimits {
        SealLimits { memory: self.seal_memory.as_u64(), timeout: self.seal_timeout }
    }
}

/// Where compiled scorers are kept.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Cache")]
pub(crate) struct CacheArgs {
    /// Folder of the cache; by default `scorebox` in the user's cache folder.
    #[arg(long, value_name = "DIR", env = "SCOREBOX_CACHE_DIR")]
    pub(crate) cache_dir: Option<PathBuf>,
    /// Size of the cache: what has not been used for the longest time is removed.
    #[arg(long, env = "SCOREBOX_CACHE_SIZE", value_name = "SIZE", default_value = "16GiB")]
    pub(crate) cache_size: ByteSize,
    /// Do without the cache.
    #[arg(long, env = "SCOREBOX_NO_CACHE")]
    pub(crate) no_cache: bool,
}

/// Many endpoints of many tenants.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Tenants")]
pub(crate) struct ManageArgs {
    /// Serve endpoints of tenants, below /TENANT/ENDPOINT, and keep what they are in this folder. With it the cache is by
    /// default in there, too, and SCORER may be left out.
    #[arg(long, value_name = "DIR", env = "SCOREBOX_STATE_DIR")]
    pub(crate) state_dir: Option<PathBuf>,
    /// Address and port on which they are managed: `127.0.0.1:5003`, say. Without it nothing listens for that.
    #[arg(long, value_name = "IP:PORT", env = "SCOREBOX_ADMIN", requires = "state_dir", requires = "admin_token_file")]
    pub(crate) admin: Option<SocketAddr>,
    /// File with the token that whoever manages them shows: 32 to 512 visible characters.
    #[arg(long, value_name = "FILE", env = "SCOREBOX_ADMIN_TOKEN_FILE")]
    pub(crate) admin_token_file: Option<PathBuf>,
    /// Size of a bundle that is uploaded.
    #[arg(long, env = "SCOREBOX_MAX_BUNDLE", value_name = "SIZE", default_value = "4GiB")]
    pub(crate) max_bundle: ByteSize,
    /// Memory for deployments that answer no request at the moment: those that were used the longest time ago are parked, and
    /// come back from the cache with the next request. By default half of the machine's memory, or of the control group's.
    #[arg(long, env = "SCOREBOX_MEMORY_BUDGET", value_name = "SIZE")]
    pub(crate) memory_budget: Option<ByteSize>,
    /// Park a deployment this long after its last request, whatever the memory; without it that is never done.
    #[arg(long, env = "SCOREBOX_PARK_AFTER", value_name = "TIME", value_parser = duration)]
    pub(crate) park_after: Option<Duration>,
}

impl ManageArgs {
    /// The folder of the store, which the server writes.
    pub(crate) fn store(&self) -> Option<PathBuf> {
        self.state_dir.as_deref().map(store_of)
    }

    /// The folder in which the server makes backups.
    pub(crate) fn backups(&self) -> Option<PathBuf> {
        self.state_dir.as_ref().map(|folder| folder.join("backups"))
    }

    /// The folder of the cache where nobody says another: apart from the store, because it is not the server's to write.
    pub(crate) fn cache(&self) -> Option<PathBuf> {
        self.state_dir.as_ref().map(|folder| folder.join("cache"))
    }
}

/// What scripts in Python are given.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Scripts in Python")]
pub(crate) struct PythonArgs {
    /// Environment variable for the scorer; may be given several times. Of the server's own environment it sees only what
    /// the contract names.
    #[arg(long = "env", value_name = "NAME=VALUE", value_parser = Variable::from_str)]
    pub(crate) env: Vec<Variable>,
    /// Variables of the server's environment that the scorer is to see as well, separated by commas.
    #[arg(long = "pass-env", value_name = "NAMES", env = "SCOREBOX_PASS_ENV", value_delimiter = ',')]
    pub(crate) pass_env: Vec<String>,
    /// Folder of the Python runtime; by default `python-runtime` beside the program, or in ../lib/scorebox.
    #[arg(long, value_name = "DIR", env = "SCOREBOX_PYTHON_RUNTIME")]
    pub(crate) python_runtime: Option<PathBuf>,
}

/// `scorebox serve`
#[derive(Debug, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the command line")]
pub(crate) struct ServeArgs {
    /// The scorer: a component, a script `score.py`, an archive that `scorebox build` made, or a folder with `model.wasm`
    /// or `score.py`.
    #[arg(value_name = "SCORER")]
    pub(crate) scorer: Option<PathBuf>,
    /// Another way to name the scorer.
    #[arg(long = "entry_script", alias = "entry-script", value_name = "PATH", conflicts_with = "scorer")]
    pub(crate) entry_script: Option<PathBuf>,
    /// The model directory, which the scorer finds as `model/`.
    // An empty one is none, as for that server.
    #[arg(long = "model_dir", alias = "model-dir", value_name = "DIR", value_parser = OsStringValueParser::new().map(PathBuf::from))]
    pub(crate) model_dir: Option<PathBuf>,
    /// Configuration file with the keys of Azure ML's inference server, in JSON.
    #[arg(long = "config_file", alias = "config-file", value_name = "FILE")]
    pub(crate) config_file: Option<PathBuf>,
    /// Address to listen on.
    #[arg(long, env = "SCOREBOX_ADDRESS", value_name = "IP", default_value = "0.0.0.0")]
    pub(crate) address: IpAddr,
    /// Port to listen on.
    #[arg(long, default_value_t = 5001, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) port: u16,
    /// Port of a second listener for health checks, opened when SEPERATE_HEALTH_ENDPOINT is `true`.
    #[arg(long = "health_port", alias = "health-port", default_value_t = 5000, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) health_port: u16,
    #[command(flatten)]
    pub(crate) python: PythonArgs,
    /// How many scorers compute at the same time: another name for --threads, which counts when both are given.
    #[arg(long = "worker_count", alias = "worker-count", value_name = "N")]
    pub(crate) worker_count: Option<NonZeroUsize>,
    /// Send telemetry to the Application Insights resource with this key.
    #[arg(long = "appinsights_instrumentation_key", alias = "appinsights-instrumentation-key", value_name = "KEY")]
    pub(crate) appinsights_instrumentation_key: Option<String>,
    /// Web origins that may ask, separated by commas.
    #[arg(long = "access_control_allow_origins", alias = "access-control-allow-origins", value_name = "LIST")]
    pub(crate) access_control_allow_origins: Option<String>,
    /// Accepted for Azure ML's inference server: what the scorer reads as TRANSPORT_PROTOCOL.
    #[arg(long, hide = true)]
    pub(crate) rest: bool,
    /// Answer as managed online endpoints of Azure ML do: 424 with the reason when the model fails, 408 when it takes too
    /// long, 429 when more than twice as many requests have come as are scored at the same time.
    #[arg(long, env = "SCOREBOX_MANAGED")]
    pub(crate) managed: bool,
    /// Name of the deployment, for the log and for scorers in Rust.
    #[arg(long, env = "SCOREBOX_NAME", default_value = "default")]
    pub(crate) name: String,
    /// Version of the deployment, for the same.
    #[arg(long, env = "SCOREBOX_DEPLOYMENT_VERSION", default_value = "1", value_name = "VERSION")]
    pub(crate) deployment_version: String,

    /// Time for run(); by default the lesser of SCORING_TIMEOUT_MS and WORKER_TIMEOUT, which is 300 s.
    #[arg(long, env = "SCOREBOX_TIMEOUT", value_name = "TIME", value_parser = duration, help_heading = "Limits on the scorer")]
    pub(crate) timeout: Option<Duration>,
    #[command(flatten)]
    pub(crate) limits: LimitArgs,

    /// Threads that run scorers, each one at a time; by default one per core.
    #[arg(long, env = "SCOREBOX_THREADS", value_name = "N", help_heading = "Capacity")]
    pub(crate) threads: Option<NonZeroUsize>,
    /// Requests that are scored at the same time, in turns; by default 64, and with --managed one per thread.
    #[arg(long, env = "SCOREBOX_MAX_RUNNING", value_name = "N", help_heading = "Capacity")]
    pub(crate) max_running: Option<NonZeroUsize>,
    /// Requests that wait for it; one more is answered with 429. By default 1024, and with --managed as many as are scored.
    #[arg(long, env = "SCOREBOX_MAX_WAITING", value_name = "N", help_heading = "Capacity")]
    pub(crate) max_waiting: Option<usize>,
    /// Time that a request may wait for it; one that has waited longer is answered with 429. By default twice as
    /// long as it may then run.
    #[arg(long, env = "SCOREBOX_QUEUE_TIMEOUT", value_name = "TIME", value_parser = duration, help_heading = "Capacity")]
    pub(crate) queue_timeout: Option<Duration>,
    /// Length of a turn, and how far a deadline can be exceeded.
    #[arg(long, env = "SCOREBOX_TICK", value_name = "TIME", value_parser = duration, default_value = "5ms", help_heading = "Capacity")]
    pub(crate) tick: Duration,
    /// Niceness of the threads that run scorers, beyond the server's own, up to 19. With 10 a scorer that computes without end
    /// hardly delays short requests, of this server or another, but has a tenth of a core beside a program, or a flood of
    /// requests that are refused, that leaves none idle.
    #[arg(long, env = "SCOREBOX_NICE", value_name = "N", value_parser = clap::value_parser!(u8).range(..=19), default_value_t = 0, help_heading = "Capacity")]
    pub(crate) nice: u8,
    /// Native stack of a scorer. Python recurses deeply; what is not used takes no memory.
    #[arg(long, env = "SCOREBOX_STACK", value_name = "SIZE", default_value = "8MiB", help_heading = "Capacity")]
    pub(crate) stack: ByteSize,
    /// Memory of each instance that is restored in place when it is destroyed. Fastest where it covers all that a scorer
    /// has; it is taken for each instance that has run at the same time.
    #[arg(
        long,
        env = "SCOREBOX_KEEP_RESIDENT",
        value_name = "SIZE",
        default_value = "2MiB",
        help_heading = "Capacity"
    )]
    pub(crate) keep_resident: ByteSize,

    /// Size of a request body; one that is larger is answered with 413.
    #[arg(
        long,
        env = "SCOREBOX_MAX_BODY",
        value_name = "SIZE",
        default_value = "100MiB",
        help_heading = "Limits on clients"
    )]
    pub(crate) max_body: ByteSize,
    /// Memory for all bodies together, of requests and of answers that are not taken yet; when it is used up, requests are
    /// answered with 429. A tenant takes no more than it leaves free.
    #[arg(
        long,
        env = "SCOREBOX_MAX_BODIES",
        value_name = "SIZE",
        default_value = "1GiB",
        help_heading = "Limits on clients"
    )]
    pub(crate) max_bodies: ByteSize,
    /// Time that a client may keep the server waiting for a body; 16 KiB that come make up for a second of that.
    #[arg(long, env = "SCOREBOX_BODY_TIMEOUT", value_name = "TIME", value_parser = duration, default_value = "30s", help_heading = "Limits on clients")]
    pub(crate) body_timeout: Duration,
    /// Time for the head of a request.
    #[arg(long, env = "SCOREBOX_HEAD_TIMEOUT", value_name = "TIME", value_parser = duration, default_value = "10s", help_heading = "Limits on clients")]
    pub(crate) head_timeout: Duration,
    /// Time that a connection may be without a request; by default 75 s.
    #[arg(long, env = "SCOREBOX_IDLE_TIMEOUT", value_name = "TIME", value_parser = duration, help_heading = "Limits on clients")]
    pub(crate) idle_timeout: Option<Duration>,
    /// Time that a client may leave an answer untaken; 16 KiB that it takes make up for a second of that.
    #[arg(long, env = "SCOREBOX_WRITE_TIMEOUT", value_name = "TIME", value_parser = duration, default_value = "30s", help_heading = "Limits on clients")]
    pub(crate) write_timeout: Duration,
    /// Connections at the same time.
    #[arg(
        long,
        env = "SCOREBOX_MAX_CONNECTIONS",
        value_name = "N",
        default_value = "4096",
        help_heading = "Limits on clients"
    )]
    pub(crate) max_connections: NonZeroUsize,
    /// Time that requests are given to end after SIGTERM; by default 30 s.
    #[arg(long, env = "SCOREBOX_GRACE", value_name = "TIME", value_parser = duration, help_heading = "Limits on clients")]
    pub(crate) grace: Option<Duration>,

    #[command(flatten)]
    pub(crate) seal: SealArgs,
    /// Serve as root. What breaks out of the sandbox is root then, too.
    #[arg(long, env = "SCOREBOX_ALLOW_ROOT", value_parser = BoolishValueParser::new(), help_heading = "Second wall")]
    pub(crate) allow_root: bool,
    /// Keep all rights of the user: no Landlock, no seccomp. For looking for a fault.
    #[arg(long, env = "SCOREBOX_NO_CONFINEMENT", value_parser = BoolishValueParser::new(), help_heading = "Second wall")]
    pub(crate) no_confinement: bool,

    #[command(flatten)]
    pub(crate) cache: CacheArgs,
    #[command(flatten)]
    pub(crate) manage: ManageArgs,
    #[command(flatten)]
    pub(crate) tokens: TokenArgs,
    #[command(flatten)]
    pub(crate) tls: TlsArgs,

    /// Folder in which telemetry waits while its endpoint is away; by default `scorebox-telemetry` in the user's cache
    /// folder, and there one for each port.
    #[arg(long, env = "SCOREBOX_TELEMETRY_BUFFER", value_name = "DIR", help_heading = "Telemetry")]
    pub(crate) telemetry_buffer: Option<PathBuf>,
    /// Size of that folder: what has waited for the longest time is removed.
    #[arg(
        long,
        env = "SCOREBOX_TELEMETRY_BUFFER_SIZE",
        value_name = "SIZE",
        default_value = "50MiB",
        help_heading = "Telemetry"
    )]
    pub(crate) telemetry_buffer_size: ByteSize,

    /// Format of the log: text or json.
    #[arg(long, env = "SCOREBOX_LOG_FORMAT", value_name = "FORMAT", value_parser = LogFormat::from_str, default_value = "text", help_heading = "Log")]
    pub(crate) log_format: LogFormat,
    /// Level of the log: error, warn, info, debug or trace; by default that of AZUREML_LOG_LEVEL, else info.
    #[arg(long, env = "SCOREBOX_LOG_LEVEL", value_name = "LEVEL", help_heading = "Log")]
    pub(crate) log_level: Option<LevelFilter>,
    /// Begin what a scorer prints with the id of its request and a comma, zeros during init().
    #[arg(long, env = "SCOREBOX_PRINT_REQUEST_ID", help_heading = "Log")]
    pub(crate) print_request_id: bool,
    /// Log no line per request.
    #[arg(long, env = "SCOREBOX_NO_REQUEST_LOG", help_heading = "Log")]
    pub(crate) no_request_log: bool,
}

/// `scorebox config`
#[derive(Debug, clap::Args)]
pub(crate) struct ConfigArgs {
    /// Print JSON instead of a table.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) serve: ServeArgs,
}

/// `scorebox check`
#[derive(Debug, clap::Args)]
pub(crate) struct CheckArgs {
    /// The scorer: a component, a script `score.py`, an archive that `scorebox build` made, or a folder with `model.wasm`
    /// or `score.py`.
    #[arg(value_name = "SCORER")]
    pub(crate) scorer: PathBuf,
    /// The model directory.
    #[arg(long = "model_dir", alias = "model-dir", value_name = "DIR")]
    pub(crate) model_dir: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) python: PythonArgs,
    #[command(flatten)]
    pub(crate) limits: LimitArgs,
    #[command(flatten)]
    pub(crate) seal: SealArgs,
    #[command(flatten)]
    pub(crate) cache: CacheArgs,
}

/// `scorebox doctor`
#[derive(Debug, clap::Args)]
pub(crate) struct DoctorArgs {
    /// Print JSON instead of a table.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `scorebox doctor-attempt`
#[derive(Debug, clap::Args)]
pub(crate) struct DoctorAttemptArgs {
    /// What to try; nothing for the report of what the kernel enforces.
    #[arg(value_name = "WHAT")]
    pub(crate) what: Option<Attempt>,
    /// As which process.
    #[arg(long = "as", value_name = "PROCESS")]
    pub(crate) profile: Profile,
    /// A file, in a folder that the process may read.
    #[arg(long, value_name = "FILE")]
    pub(crate) readable: PathBuf,
    /// Give nothing up before, so that it succeeds.
    #[arg(long)]
    pub(crate) unconfined: bool,
}

/// `scorebox compile-runtime`
#[derive(Debug, clap::Args)]
pub(crate) struct CompileRuntimeArgs {
    /// Folder of the Python runtime; by default `python-runtime` beside the program, or in ../lib/scorebox.
    #[arg(long, value_name = "DIR", env = "SCOREBOX_PYTHON_RUNTIME")]
    pub(crate) python_runtime: Option<PathBuf>,
}

/// `scorebox run`
#[derive(Debug, clap::Args)]
pub(crate) struct RunArgs {
    /// The scorer: a component, a script `score.py`, an archive that `scorebox build` made, or a folder with `model.wasm`
    /// or `score.py`.
    #[arg(value_name = "SCORER")]
    pub(crate) scorer: PathBuf,
    /// Body of the request: a file, or `-` for standard input.
    #[arg(long, value_name = "FILE|-")]
    pub(crate) data: PathBuf,
    /// Content type of the request.
    #[arg(long, value_name = "TYPE", default_value = "application/json")]
    pub(crate) content_type: String,
    /// The model directory.
    #[arg(long = "model_dir", alias = "model-dir", value_name = "DIR")]
    pub(crate) model_dir: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) python: PythonArgs,
    /// Time for run().
    #[arg(long, env = "SCOREBOX_TIMEOUT", value_name = "TIME", value_parser = duration, default_value = "300s", help_heading = "Limits on the scorer")]
    pub(crate) timeout: Duration,
    #[command(flatten)]
    pub(crate) limits: LimitArgs,
    #[command(flatten)]
    pub(crate) seal: SealArgs,
    #[command(flatten)]
    pub(crate) cache: CacheArgs,
}

/// `scorebox verify-isolation`
#[derive(Debug, clap::Args)]
pub(crate) struct VerifyIsolationArgs {
    /// A scorer of your own: secrets are put into its requests, and the host looks for them. Without one, scorers are used
    /// that come with Scorebox and look for secrets themselves as well, one in WebAssembly and one in Python.
    #[arg(value_name = "SCORER")]
    pub(crate) scorer: Option<PathBuf>,
    /// How many requests to send.
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) requests: u64,
    /// How many to send to the scorer in Python; by default one for 200 of --requests where there is a Python runtime. It
    /// takes much longer for each.
    #[arg(long, value_name = "N", conflicts_with = "scorer")]
    pub(crate) python_requests: Option<u64>,
    /// Print the report as JSON.
    #[arg(long)]
    pub(crate) json: bool,
    /// Body of the requests to SCORER, in which the secret takes the place of each `CANARY`; by default a JSON object with
    /// the secret. A header has it in any case.
    #[arg(long, value_name = "FILE", requires = "scorer")]
    pub(crate) data: Option<PathBuf>,
    /// Content type of the requests to SCORER.
    #[arg(long, value_name = "TYPE", default_value = "application/json")]
    pub(crate) content_type: String,
    /// The model directory of SCORER.
    #[arg(long = "model_dir", alias = "model-dir", value_name = "DIR", requires = "scorer")]
    pub(crate) model_dir: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) python: PythonArgs,
    /// Time for run() of SCORER.
    #[arg(long, env = "SCOREBOX_TIMEOUT", value_name = "TIME", value_parser = duration, default_value = "300s", help_heading = "Limits on the scorer")]
    pub(crate) timeout: Duration,
    #[command(flatten)]
    pub(crate) limits: LimitArgs,
    #[command(flatten)]
    pub(crate) seal: SealArgs,
    #[command(flatten)]
    pub(crate) cache: CacheArgs,
}

/// The folder of the store in that of a server.
pub(crate) fn store_of(state_dir: &Path) -> PathBuf {
    state_dir.join("store")
}

/// Reads `300s`, `5ms`, `1h 30m`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|error| format!("{error}; write it like 300s or 5ms"))
}
