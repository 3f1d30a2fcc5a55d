//! What is measured, in the text format of `OpenMetrics`, which Prometheus reads.
//!
//! There are labels for each deployment and each tenant that there is, and for no other: they go with what is deleted.
//! So how many there are is the operator's affair, and never a client's.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Weak;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric as _};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use scorebox_sandbox::{Fault, Outcome};

use crate::app::App;
use crate::error::Error;
use crate::log_tail::LogTail;
use crate::parking::{Measured, Occupancy, Parking};
use crate::tenant;

/// What becomes of a request that a deployment is to answer, as a label.
const OUTCOMES: [&str; 7] = ["answered", "bad_input", "failed", "timed_out", "trapped", "out_of_memory", "refused"];
/// The place of the last of them.
const REFUSED: usize = OUTCOMES.len() - 1;

/// The labels of a deployment.
#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct DeploymentLabels {
    tenant: String,
    endpoint: String,
    deployment: String,
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RequestLabels {
    tenant: String,
    endpoint: String,
    deployment: String,
    outcome: &'static str,
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RefusalLabels {
    tenant: String,
    quota: &'static str,
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OutcomeLabels {
    outcome: &'static str,
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct StageLabels {
    stage: &'static str,
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct SourceLabels {
    source: &'static str,
}

type Durations = Family<DeploymentLabels, Histogram, fn() -> Histogram>;

/// All that is measured.
pub struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    mirrored: Family<RequestLabels, Counter>,
    durations: Durations,
    refusals: Family<RefusalLabels, Counter>,
    unauthorized: Counter,
    revisions: Family<OutcomeLabels, Counter>,
    stages: Family<StageLabels, Histogram, fn() -> Histogram>,
    modules: Family<SourceLabels, Counter>,
    commits: Histogram,
    store_database: Gauge,
    store_blobs: Gauge,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

/// From half a millisecond to about a minute.
fn buckets() -> Histogram {
    Histogram::new(exponential_buckets(0.0005, 2.0, 18))
}

impl Metrics {
    pub(crate) fn new(app: Weak<App>, parking: &Parking) -> Self {
        let mut registry = Registry::with_prefix("scorebox");
        let requests = Family::default();
        let mirrored = Family::default();
        let durations = Durations::new_with_constructor(buckets);
        let refusals = Family::default();
        let unauthorized = Counter::default();
        registry.register("requests", "Requests that a deployment was to answer", requests.clone());
        registry.register("mirrored_requests", "Copies of requests that a deployment got", mirrored.clone());
        registry.register_with_unit(
            "request_duration",
            "From the head of a request to its answer, or to the beginning of a stream",
            Unit::Seconds,
            durations.clone(),
        );
        let help = "Requests that were refused by a quota of their tenant, or by a limit of the server";
        registry.register("refusals", help, refusals.clone());
        registry.register("unauthorized_requests", "Requests without a key that opens anything", unauthorized.clone());
        let revisions = Family::default();
        let stages = Family::new_with_constructor(buckets as fn() -> Histogram);
        let modules = Family::default();
        let commits = buckets();
        registry.register("revisions", "Revisions that were made ready, or failed", revisions.clone());
        registry.register_with_unit(
            "deploy_stage_duration",
            "The stages in which revisions are made ready",
            Unit::Seconds,
            stages.clone(),
        );
        registry.register("sealed_modules", "Scorers that were loaded, by where they come from", modules.clone());
        registry.register_with_unit(
            "store_commit_duration",
            "How long a change takes until it is on the disk",
            Unit::Seconds,
            commits.clone(),
        );
        let (store_database, store_blobs) = (Gauge::default(), Gauge::default());
        for (name, help, gauge) in [
            ("store_database", "Size of the database of tenants, endpoints and deployments", &store_database),
            ("store_blobs", "Size of all bundles, with those that are being uploaded", &store_blobs),
        ] {
            registry.register_with_unit(name, help, Unit::Bytes, gauge.clone());
        }
        let Measured { loads, failures, parks, load_duration } = parking.measured.clone();
        registry.register("deployment_loads", "Deployments that came back into memory", loads);
        registry.register("deployment_load_failures", "Deployments that could not come back into memory", failures);
        registry.register("deployment_parks", "Deployments that were parked", parks);
        registry.register_with_unit(
            "deployment_load_duration",
            "How long it took a deployment to come back into memory",
            Unit::Seconds,
            load_duration,
        );
        registry.register_collector(Box::new(Now(app)));
        Self {
            registry,
            requests,
            mirrored,
            durations,
            refusals,
            unauthorized,
            revisions,
            stages,
            modules,
            commits,
            store_database,
            store_blobs,
        }
    }

    /// All of it, as text.
    pub fn text(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("a text takes all");
        text
    }

    pub(crate) fn unauthorized(&self) {
        self.unauthorized.inc();
    }

    /// Takes note of why a request of a tenant is not answered, if it is refused.
    pub(crate) fn refused(&self, tenant: &str, error: &Error) {
        if let Some(quota) = error.refusal() {
            self.refusals.get_or_create(&RefusalLabels { tenant: tenant.to_owned(), quota }).inc();
        }
    }

    /// Takes note of a revision that was made ready, or failed.
    pub fn revision(&self, is_ready: bool) {
        self.revisions.get_or_create(&OutcomeLabels { outcome: if is_ready { "ready" } else { "failed" } }).inc();
    }

    /// Takes note of a stage of making one ready.
    pub fn stage(&self, stage: &'static str, took: Duration) {
        self.stages.get_or_create(&StageLabels { stage }).observe(took.as_secs_f64());
    }

    /// Takes note of a change that was written.
    pub fn commit(&self, took: Duration) {
        self.commits.observe(took.as_secs_f64());
    }

    /// Takes note of what the store has on the disk, in bytes.
    pub fn store(&self, database: u64, blobs: u64) {
        for (gauge, bytes) in [(&self.store_database, database), (&self.store_blobs, blobs)] {
            gauge.set(i64::try_from(bytes).unwrap_or(i64::MAX));
        }
    }

    pub(crate) fn module(&self, from_cache: bool) {
        self.modules.get_or_create(&SourceLabels { source: if from_cache { "cache" } else { "compiler" } }).inc();
    }

    /// The journal of a deployment.
    pub(crate) fn journal(&self, tenant: &str, endpoint: &str, deployment: &str) -> Journal {
        let labels = DeploymentLabels {
            tenant: tenant.to_owned(),
            endpoint: endpoint.to_owned(),
            deployment: deployment.to_owned(),
        };
        let counters = |family: &Family<RequestLabels, Counter>| {
            OUTCOMES.map(|outcome| family.get_or_create_owned(&labels.with(outcome)))
        };
        Journal {
            log: LogTail::default(),
            requests: counters(&self.requests),
            mirrored: counters(&self.mirrored),
            durations: self.durations.get_or_create_owned(&labels),
        }
    }

    /// Forgets a tenant that there is no more.
    pub fn forget_tenant(&self, tenant: &str) {
        for quota in tenant::REFUSING {
            self.refusals.remove(&RefusalLabels { tenant: tenant.to_owned(), quota });
        }
    }

    /// Forgets a deployment that there is no more.
    pub fn forget(&self, tenant: &str, endpoint: &str, deployment: &str) {
        let labels = DeploymentLabels {
            tenant: tenant.to_owned(),
            endpoint: endpoint.to_owned(),
            deployment: deployment.to_owned(),
        };
        self.durations.remove(&labels);
        for outcome in OUTCOMES {
            self.requests.remove(&labels.with(outcome));
            self.mirrored.remove(&labels.with(outcome));
        }
    }
}

impl DeploymentLabels {
    fn with(&self, outcome: &'static str) -> RequestLabels {
        let Self { tenant, endpoint, deployment } = self.clone();
        RequestLabels { tenant, endpoint, deployment, outcome }
    }
}

/// What is told of a deployment, through all its revisions: the last of its log, and its numbers.
#[derive(Debug)]
pub struct Journal {
    /// The last of what its scorer said.
    pub log: LogTail,
    requests: [Counter; OUTCOMES.len()],
    mirrored: [Counter; OUTCOMES.len()],
    durations: Histogram,
}

impl Default for Journal {
    /// One that nobody reads the numbers of.
    fn default() -> Self {
        Self {
            log: LogTail::default(),
            requests: OUTCOMES.map(|_| Counter::default()),
            mirrored: OUTCOMES.map(|_| Counter::default()),
            durations: buckets(),
        }
    }
}

impl Journal {
    pub(crate) fn ran(&self, outcome: &Outcome, took: Duration) {
        self.requests[index(outcome)].inc();
        self.durations.observe(took.as_secs_f64());
    }

    /// Takes note of a request that was refused before its scorer was asked.
    pub(crate) fn refused(&self) {
        self.requests[REFUSED].inc();
    }

    pub(crate) fn mirrored(&self, outcome: &Outcome) {
        self.mirrored[index(outcome)].inc();
    }
}

/// The place of an outcome among [`OUTCOMES`].
fn index(outcome: &Outcome) -> usize {
    match outcome {
        Outcome::Response(_) | Outcome::Stream(_) => 0,
        Outcome::Fault(Fault::BadInput(_) | Fault::UnsupportedInput(_)) => 1,
        Outcome::Fault(Fault::Failed(_) | Fault::Unencodable(_)) => 2,
        Outcome::Fault(Fault::TimedOut(_)) | Outcome::Deadline(_) => 3,
        Outcome::Trap(_) => 4,
        Outcome::OutOfMemory { .. } => 5,
        Outcome::Refused(_) => REFUSED,
    }
}

/// What is as it is when somebody asks.
struct Now(Weak<App>);

impl fmt::Debug for Now {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Now")
    }
}

impl Collector for Now {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Some(app) = self.0.upgrade() else { return Ok(()) };
        let load = app.sandbox.load();
        let mut gauge = |name, help, unit: Option<&Unit>, value: u64| {
            let gauge = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
            gauge.encode(encoder.encode_descriptor(name, help, unit, gauge.metric_type())?)
        };
        gauge("instances", "Instances that there are", None, load.running as u64)?;
        gauge("waiting_requests", "Requests that wait for an instance", None, load.waiting as u64)?;
        if let Some(cache) = app.sandbox.cache_usage() {
            gauge("cache_entries", "Entries of the cache of compiled code", None, cache.entries)?;
            gauge("cache", "Size of the cache of compiled code", Some(&Unit::Bytes), cache.bytes)?;
        }
        let Occupancy { resident, parked, bytes } = app.parking().occupancy();
        let (in_memory, budget) = (Some(&Unit::Bytes), app.parking().budget());
        gauge("deployments_resident", "Deployments of tenants that are in memory", None, resident)?;
        let help = "Deployments of tenants that come back into memory with the next request";
        gauge("deployments_parked", help, None, parked)?;
        let help = "Memory that deployments of tenants are reckoned to take";
        gauge("deployments_resident", help, in_memory, bytes)?;
        gauge("deployments_budget", "Memory that deployments of tenants may take", in_memory, budget)?;
        let created = ConstCounter::new(app.sandbox.instances().created);
        let help = "Instances that were made, each for one request";
        created.encode(encoder.encode_descriptor("instances_created", help, None, created.metric_type())?)?;
        let dirtied = ConstCounter::new(app.sandbox.pages_dirtied());
        let help = "Pages of 4 KiB of their memory that requests of scripts have changed";
        dirtied.encode(encoder.encode_descriptor("pages_dirtied", help, None, dirtied.metric_type())?)?;
        let tenants: BTreeMap<_, _> =
            app.directory().all().into_iter().map(|endpoint| (endpoint.tenant.name().to_owned(), endpoint)).collect();
        let kind = ConstCounter::new(0.0).metric_type();
        let help = "CPU time of a tenant's requests";
        let mut cpu = encoder.encode_descriptor("tenant_cpu", help, Some(&Unit::Seconds), kind)?;
        for (name, endpoint) in &tenants {
            let seconds = ConstCounter::new(endpoint.tenant.lane().usage().cpu.as_secs_f64());
            seconds.encode(cpu.encode_family(&[("tenant", name.as_str())])?)?;
        }
        let kind = ConstGauge::new(0_i64).metric_type();
        let help = "Memory of all instances of a tenant together";
        let mut memory = encoder.encode_descriptor("tenant_memory", help, Some(&Unit::Bytes), kind)?;
        for (name, endpoint) in &tenants {
            let bytes = endpoint.tenant.lane().memory_used();
            let bytes = ConstGauge::new(i64::try_from(bytes).unwrap_or(i64::MAX));
            bytes.encode(memory.encode_family(&[("tenant", name.as_str())])?)?;
        }
        Ok(())
    }
}
