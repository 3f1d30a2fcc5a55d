//! The command line of what manages a server's tenants.
#![expect(clippy::doc_markdown, reason = "the comments are the text of --help")]

use std::fs;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::str::FromStr;

use bytesize::ByteSize;
use clap::{Args, Subcommand, ValueEnum};
use scorebox_control::resource::{KeySlot, ProbeSpec, QuotaSpec};
use scorebox_control::{DeploymentPath, EndpointPath, Name};

use crate::args::duration;
use crate::failure::Failure;
use crate::scorer::Variable;

/// Which server, and how what it says is shown.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Server")]
pub(crate) struct RemoteArgs {
    /// Address of the server's API: what `scorebox serve --admin` listens on.
    #[arg(long, env = "SCOREBOX_SERVER", value_name = "URL", default_value = "http://127.0.0.1:5003")]
    pub(crate) server: String,
    /// File with the operator's token; else the token is taken from SCOREBOX_ADMIN_TOKEN.
    #[arg(long, env = "SCOREBOX_ADMIN_TOKEN_FILE", value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// File with the certificates of authorities, in PEM format, to be trusted instead of the system's.
    #[arg(long, env = "SCOREBOX_CA_FILE", value_name = "FILE")]
    pub(crate) ca_file: Option<PathBuf>,
    /// Print JSON, as the API gives it.
    #[arg(long)]
    pub(crate) json: bool,
}

/// What a tenant may use.
#[derive(Debug, Args)]
#[command(next_help_heading = "Quotas")]
pub(crate) struct QuotaArgs {
    /// Instances at the same time.
    #[arg(long, value_name = "N")]
    instances: Option<u32>,
    /// Requests that wait; one more is answered with 429.
    #[arg(long, value_name = "N")]
    waiting: Option<u32>,
    /// CPU time for each second: `1500ms` is a core and a half.
    #[arg(long, value_name = "TIME", value_parser = millis)]
    cpu: Option<u32>,
    /// CPU time that can be saved up; by default that of one second.
    #[arg(long, value_name = "TIME", value_parser = millis, requires = "cpu")]
    cpu_burst: Option<u32>,
    /// Its part of the CPU while other tenants have work too, in proportion to their weights; by default 1.
    #[arg(long, value_name = "N")]
    weight: Option<NonZeroU32>,
    /// Requests for each second; one more is answered with 429.
    #[arg(long, value_name = "N")]
    rate: Option<NonZeroU32>,
    /// Requests that may come at once after a pause; by default those of one second.
    #[arg(long, value_name = "N", requires = "rate")]
    burst: Option<NonZeroU32>,
    /// Size of a request body.
    #[arg(long, value_name = "SIZE")]
    max_body: Option<ByteSize>,
    /// Deployments of all its endpoints.
    #[arg(long, value_name = "N")]
    max_deployments: Option<u32>,
    /// Size of a bundle.
    #[arg(long, value_name = "SIZE")]
    max_bundle: Option<ByteSize>,
    /// Memory of all its instances together; a request for which there is none is answered with 429.
    #[arg(long, value_name = "SIZE")]
    memory: Option<ByteSize>,
}

impl QuotaArgs {
    pub(crate) fn spec(&self) -> QuotaSpec {
        let bytes = |size: Option<ByteSize>| size.map(|size| size.as_u64());
        QuotaSpec {
            instances: self.instances,
            waiting: self.waiting,
            cpu_ms_per_second: self.cpu,
            cpu_burst_ms: self.cpu_burst,
            weight: self.weight,
            requests_per_second: self.rate,
            request_burst: self.burst,
            body: bytes(self.max_body),
            deployments: self.max_deployments,
            bundle: bytes(self.max_bundle),
            memory: bytes(self.memory),
        }
    }
}

/// Reads a time in whole milliseconds.
fn millis(text: &str) -> Result<u32, String> {
    u32::try_from(duration(text)?.as_millis()).map_err(|_| format!("{text} is more than there is in a second"))
}

/// `scorebox tenant`
#[derive(Debug, Subcommand)]
pub(crate) enum TenantCommand {
    /// List all tenants.
    List {
        #[command(flatten)]
        remote: RemoteArgs,
    },
    /// Create a tenant, or change its description and quotas: those that are left out have no limit then.
    Create {
        /// The tenant.
        #[arg(value_name = "TENANT")]
        tenant: Name,
        /// What it is.
        #[arg(long, value_name = "TEXT", default_value = "")]
        description: String,
        #[command(flatten)]
        quotas: Box<QuotaArgs>,
        #[command(flatten)]
        remote: RemoteArgs,
    },
    /// Delete a tenant that has no endpoints.
    Delete {
        /// The tenant.
        #[arg(value_name = "TENANT")]
        tenant: Name,
        #[command(flatten)]
        remote: RemoteArgs,
    },
}

/// `scorebox endpoint`
#[derive(Debug, Subcommand)]
pub(crate) enum EndpointCommand {
    /// List the endpoints of a tenant.
    List {
        /// The tenant.
        #[arg(value_name = "TENANT")]
        tenant: Name,
        #[command(flatten)]
        remote: RemoteArgs,
    },
    /// Create an endpoint, and show its keys, which are not shown again; or change it.
    Create {
        /// The endpoint.
        #[arg(value_name = "TENANT/ENDPOINT")]
        endpoint: EndpointPath,
        /// What it is.
        #[arg(long, value_name = "TEXT", default_value = "")]
        description: String,
        /// Host name whose root it is, besides /TENANT/ENDPOINT; may be given several times.
        #[arg(long = "host", value_name = "NAME")]
        hosts: Vec<String>,
        #[command(flatten)]
        remote: RemoteArgs,
    },
    /// Show an endpoint with its deployments and their traffic.
    Show {
        /// The endpoint.
        #[arg(value_name = "TENANT/ENDPOINT")]
        endpoint: EndpointPath,
        #[command(flatten)]
        remote: RemoteArgs,
    },
    /// Delete an endpoint, with its deployments.
    Delete {
        /// The endpoint.
        #[arg(value_name = "TENANT/ENDPOINT")]
        endpoint: EndpointPath,
        #[command(flatten)]
        remote: RemoteArgs,
    },
}

/// `scorebox deploy`
#[derive(Debug, Args)]
pub(crate) struct DeployArgs {
    /// The deployment. If it is there already, this is its next revision.
    #[arg(value_name = "TENANT/ENDPOINT/DEPLOYMENT")]
    pub(crate) deployment: DeploymentPath,
    /// The scorer: a component, a script `score.py`, an archive that `scorebox build` made, or a folder with `model.wasm`
    /// or `score.py`.
    #[arg(value_name = "SCORER")]
    pub(crate) scorer: PathBuf,
    /// The model directory.
    #[arg(long = "model_dir", alias = "model-dir", value_name = "DIR")]
    pub(crate) model_dir: Option<PathBuf>,
    /// Version that the scorer is told; by default the number of the revision.
    #[arg(long = "deployment-version", value_name = "VERSION")]
    pub(crate) version: Option<String>,
    /// Environment variable for the scorer; may be given several times.
    #[arg(long = "env", value_name = "NAME=VALUE", value_parser = Variable::from_str)]
    pub(crate) env: Vec<Variable>,
    /// Memory of each instance; by default the server's limit.
    #[arg(long, value_name = "SIZE")]
    pub(crate) memory: Option<ByteSize>,
    /// Time for run(); by default the server's limit.
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) timeout: Option<std::time::Duration>,
    /// Give it all the traffic of its endpoint when it is ready, unless somebody else has changed the endpoint meanwhile.
    #[arg(long)]
    pub(crate) all_traffic: bool,
    /// Do not wait until it is ready.
    #[arg(long, conflicts_with = "all_traffic")]
    pub(crate) no_wait: bool,
    #[command(flatten)]
    pub(crate) probe: ProbeArgs,
    #[command(flatten)]
    pub(crate) remote: RemoteArgs,
}

/// A request that a revision has to answer.
#[derive(Debug, Args)]
#[command(next_help_heading = "Probe")]
pub(crate) struct ProbeArgs {
    /// File with the body of a request that it has to answer before it takes the place of what answers now.
    #[arg(long, value_name = "FILE")]
    probe: Option<PathBuf>,
    /// Type of that body.
    #[arg(long, value_name = "TYPE", default_value = "application/json", requires = "probe")]
    probe_content_type: String,
    /// Status that the answer has to have; by default any from 200 to 299.
    #[arg(long, value_name = "STATUS", requires = "probe")]
    probe_status: Option<u16>,
}

impl ProbeArgs {
    pub(crate) fn spec(&self) -> Result<Option<ProbeSpec>, Failure> {
        let Some(file) = &self.probe else { return Ok(None) };
        let body = fs::read_to_string(file)
            .map_err(|error| Failure::failed(format!("cannot read the probe in {}: {error}", file.display())))?;
        let content_type = Some(self.probe_content_type.clone());
        Ok(Some(ProbeSpec { body, content_type, status: self.probe_status }))
    }
}

/// `scorebox apply`
#[derive(Debug, Args)]
pub(crate) struct ApplyArgs {
    /// The file.
    #[arg(short, long, value_name = "FILE", default_value = "scorebox.toml")]
    pub(crate) file: PathBuf,
    /// Show what would be changed, and change nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Delete what the tenants of the file have that is not in it. Tenants that it does not name are left alone.
    #[arg(long)]
    pub(crate) prune: bool,
    #[command(flatten)]
    pub(crate) remote: RemoteArgs,
}

/// `scorebox deployment`
#[derive(Debug, Subcommand)]
pub(crate) enum DeploymentCommand {
    /// Show a deployment with its revisions, and why one failed.
    Show {
        /// The deployment.
        #[arg(value_name = "TENANT/ENDPOINT/DEPLOYMENT")]
        deployment: DeploymentPath,
        #[command(flatten)]
        remote: RemoteArgs,
    },
    /// Answer with an earlier revision.
    Rollback {
        /// The deployment.
        #[arg(value_name = "TENANT/ENDPOINT/DEPLOYMENT")]
        deployment: DeploymentPath,
        /// The revision; by default the one before that which answers.
        #[arg(long, value_name = "REVISION")]
        to: Option<u64>,
        #[command(flatten)]
        remote: RemoteArgs,
    },
    /// Delete a deployment that has no traffic.
    Delete {
        /// The deployment.
        #[arg(value_name = "TENANT/ENDPOINT/DEPLOYMENT")]
        deployment: DeploymentPath,
        #[command(flatten)]
        remote: RemoteArgs,
    },
}

/// `scorebox traffic`
#[derive(Debug, Args)]
pub(crate) struct TrafficArgs {
    /// The endpoint.
    #[arg(value_name = "TENANT/ENDPOINT")]
    pub(crate) endpoint: EndpointPath,
    /// Percent of the requests by deployment, 100 in all: `blue=90 green=10`. Those that are not named get none.
    #[arg(value_name = "DEPLOYMENT=PERCENT", required = true)]
    pub(crate) shares: Vec<Share>,
    /// Percent of the requests of which a deployment gets a copy, besides; its answers are dropped.
    #[arg(long, value_name = "DEPLOYMENT=PERCENT")]
    pub(crate) mirror: Option<Share>,
    #[command(flatten)]
    pub(crate) remote: RemoteArgs,
}

/// A share of the traffic: `blue=90`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Share {
    pub(crate) deployment: Name,
    pub(crate) percent: u8,
}

impl FromStr for Share {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parsed = || {
            let (name, percent) = text.split_once('=')?;
            let percent = percent.parse().ok().filter(|percent| *percent <= 100)?;
            Some(Self { deployment: name.parse().ok()?, percent })
        };
        parsed().ok_or_else(|| format!("{text:?} is no share of the traffic; write it like blue=90"))
    }
}

/// `scorebox keys`
#[derive(Debug, Subcommand)]
pub(crate) enum KeysCommand {
    /// Put a new key in the place of one of the two, and show it. The one before opens nothing any more.
    Rotate {
        /// The endpoint.
        #[arg(value_name = "TENANT/ENDPOINT")]
        endpoint: EndpointPath,
        /// Which key.
        #[arg(value_enum)]
        slot: Slot,
        #[command(flatten)]
        remote: RemoteArgs,
    },
}

/// `scorebox logs`
#[derive(Debug, Args)]
pub(crate) struct LogsArgs {
    /// The deployment.
    #[arg(value_name = "TENANT/ENDPOINT/DEPLOYMENT")]
    pub(crate) deployment: DeploymentPath,
    /// How many of the last lines.
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub(crate) tail: u64,
    /// Go on with what is said from now on.
    #[arg(long)]
    pub(crate) follow: bool,
    #[command(flatten)]
    pub(crate) remote: RemoteArgs,
}

/// `scorebox state`
#[derive(Debug, Subcommand)]
pub(crate) enum StateCommand {
    /// Have a server that runs make a backup, in the folder `backups` of its --state-dir.
    Backup {
        /// Name of the backup.
        #[arg(value_name = "NAME")]
        name: Name,
        #[command(flatten)]
        remote: RemoteArgs,
    },
    /// Make the folder of a server of a backup. No server may have been started with it.
    Restore {
        /// The backup.
        #[arg(value_name = "BACKUP")]
        backup: PathBuf,
        /// The folder that `scorebox serve --state-dir` is then given.
        #[arg(value_name = "DIR")]
        state_dir: PathBuf,
    },
    /// Read all that is kept by a server that does not run, and say whether it is whole.
    Check {
        /// The folder that `scorebox serve --state-dir` is given.
        #[arg(value_name = "DIR")]
        state_dir: PathBuf,
    },
}

/// One of the two keys.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Slot {
    /// The one that clients use.
    Primary,
    /// The one that they use while the other is replaced.
    Secondary,
}

impl From<Slot> for KeySlot {
    fn from(slot: Slot) -> Self {
        match slot {
            Slot::Primary => Self::Primary,
            Slot::Secondary => Self::Secondary,
        }
    }
}
