//! What is managed, as the API shows it: tenants, their endpoints, and the deployments of these.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::time::Duration;

use http::{HeaderValue, StatusCode};
use scorebox_sandbox::{CpuQuota, Limits};
use scorebox_server::{DEFAULT, Probe, Quotas, RateQuota, Traffic};
use scorebox_store::Digest;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::ToSchema;

use crate::name::{DeploymentPath, EndpointPath, Name};

/// Revisions of a deployment that are kept, besides the one that answers; and as many that are pending.
const KEPT_REVISIONS: usize = 10;

/// Host names of an endpoint.
const MAX_HOSTS: usize = 16;
/// Characters of a description, and of a version.
const MAX_TEXT: usize = 1000;
/// Bytes of all environment variables of a deployment.
const MAX_ENVIRONMENT: usize = 64 * 1024;
/// Bytes of the body of a probe.
const MAX_PROBE: usize = 1024 * 1024;
/// Characters of a host name, as DNS has it.
const MAX_HOST: usize = 253;

/// A tenant: whoever has endpoints, and shares nothing with others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Tenant {
    /// Its name.
    pub name: Name,
    /// What its operator says about it.
    pub description: String,
    /// What it may use.
    #[serde(default)]
    pub quotas: QuotaSpec,
    /// When it was created.
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub created: OffsetDateTime,
}

/// What can be said about a tenant.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TenantSpec {
    /// What its operator says about it.
    pub description: String,
    /// What it may use.
    pub quotas: QuotaSpec,
}

impl TenantSpec {
    /// Whether it makes sense.
    ///
    /// # Errors
    ///
    /// What is wrong, and what to do.
    pub fn check(&self) -> Result<(), String> {
        check_text("description", &self.description)?;
        self.quotas.quotas().map(drop).map_err(|error| error.to_string())
    }

    /// Whether a tenant that is not there yet can have this name.
    ///
    /// # Errors
    ///
    /// Why not.
    pub fn check_name(name: &Name) -> Result<(), String> {
        if name.as_str() == DEFAULT {
            return Err(format!(
                "a tenant cannot be named {DEFAULT}: in metrics and the log that is the scorer at the root of the server"
            ));
        }
        Ok(())
    }
}

/// What a tenant may use. What is left out has no limit but the server's.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct QuotaSpec {
    /// Instances at the same time. More requests wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instances: Option<u32>,
    /// Requests that wait; one more is answered with 429.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiting: Option<u32>,
    /// CPU time for each second, in milliseconds: 1,500 is a core and a half.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_ms_per_second: Option<u32>,
    /// CPU time that can be saved up, in milliseconds; left out, that of one second. Only with `cpu_ms_per_second`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_burst_ms: Option<u32>,
    /// Its part of the CPU while other tenants have work too, in proportion to their weights; left out, 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u32>, minimum = 1)]
    pub weight: Option<NonZeroU32>,
    /// Requests for each second; one more is answered with 429.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u32>, minimum = 1)]
    pub requests_per_second: Option<NonZeroU32>,
    /// Requests that may come at once after a pause; left out, those of one second. Only with `requests_per_second`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u32>, minimum = 1)]
    pub request_burst: Option<NonZeroU32>,
    /// Bytes of a request body; a larger one is answered with 413.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<u64>,
    /// Deployments, of all its endpoints.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deployments: Option<u32>,
    /// Bytes of a bundle.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bundle: Option<u64>,
    /// Bytes of memory of all its instances together. A request whose instance could not start is answered with 429; an instance
    /// that asks for more gets none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
}

impl QuotaSpec {
    /// The most that one of its deployments may have, where the server gives these limits.
    pub fn limits(&self, server: &Limits) -> Limits {
        Limits { memory: self.memory.map_or(server.memory, |memory| memory.min(server.memory)), ..server.clone() }
    }

    /// Whether a deployment of the tenant that has these quotas may be of a bundle with so many bytes.
    ///
    /// # Errors
    ///
    /// How many it may have, and what to do.
    pub fn check_bundle(&self, tenant: &Name, size: u64) -> Result<(), String> {
        match self.bundle.filter(|most| size > *most) {
            None => Ok(()),
            Some(most) => Err(format!(
                "the bundle has {size} bytes, and those of tenant {tenant} may have {most}; take out what is not needed"
            )),
        }
    }

    /// Whether the tenant that has these quotas may have so many deployments once one more is there.
    ///
    /// # Errors
    ///
    /// How many it may have, and what to do.
    pub fn check_deployments(&self, tenant: &Name, count: usize) -> Result<(), String> {
        match self.deployments.filter(|most| count > usize::try_from(*most).unwrap_or(usize::MAX)) {
            None => Ok(()),
            Some(most) => {
                Err(format!("tenant {tenant} would have {count} deployments, and may have {most}; delete one first"))
            }
        }
    }

    /// Those of them that are about requests.
    pub(crate) fn quotas(&self) -> Result<Quotas, QuotaError> {
        let none = Quotas::default();
        let limit = |asked: Option<u32>, none| asked.map_or(none, |asked| usize::try_from(asked).unwrap_or(usize::MAX));
        if self.instances == Some(0) {
            return Err(QuotaError::Nothing("instances"));
        }
        if self.memory == Some(0) {
            return Err(QuotaError::Nothing("memory"));
        }
        if self.cpu_ms_per_second == Some(0) {
            return Err(QuotaError::Nothing("cpu_ms_per_second"));
        }
        let cpu = self.cpu_ms_per_second.map(|per_second| CpuQuota {
            per_second: Duration::from_millis(per_second.into()),
            burst: Duration::from_millis(self.cpu_burst_ms.unwrap_or(per_second).into()),
        });
        let rate = self
            .requests_per_second
            .map(|per_second| RateQuota { per_second, burst: self.request_burst.unwrap_or(per_second) });
        if cpu.is_none() && self.cpu_burst_ms.is_some() {
            return Err(QuotaError::Burst("cpu_burst_ms", "cpu_ms_per_second"));
        }
        if rate.is_none() && self.request_burst.is_some() {
            return Err(QuotaError::Burst("request_burst", "requests_per_second"));
        }
        Ok(Quotas {
            instances: limit(self.instances, none.instances),
            waiting: limit(self.waiting, none.waiting),
            memory: self.memory.unwrap_or(none.memory),
            cpu,
            weight: self.weight.unwrap_or(none.weight),
            rate,
            body: self.body.unwrap_or(none.body),
        })
    }
}

/// Quotas that make no sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum QuotaError {
    /// With nothing at all, nothing is scored.
    #[error(
        "the quota `{0}` is 0, with which nothing can be scored; delete the tenant's endpoints, or leave it out for no limit"
    )]
    Nothing(&'static str),
    /// A burst of what has no limit.
    #[error("the quota `{0}` means nothing without `{1}`; give both, or neither")]
    Burst(&'static str, &'static str),
}

/// An endpoint: an address at which one of its deployments answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Endpoint {
    /// Its tenant.
    pub tenant: Name,
    /// Its name.
    pub name: Name,
    /// What its operator says about it.
    pub description: String,
    /// Host names whose root it is.
    pub hosts: Vec<String>,
    /// Percent of the requests by deployment: 100 in all, or 0.
    pub traffic: BTreeMap<Name, u8>,
    /// Percent of the requests that a deployment gets a copy of: one deployment, at most 50.
    pub mirror: BTreeMap<Name, u8>,
    /// When its keys were made.
    pub keys: KeyAges,
    /// When it was created.
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub created: OffsetDateTime,
}

/// When the keys of an endpoint were made. The keys themselves are not kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KeyAges {
    /// The primary key.
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub primary: OffsetDateTime,
    /// The secondary key, with which clients go on while the primary is replaced.
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub secondary: OffsetDateTime,
}

/// What can be said about an endpoint.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct EndpointSpec {
    /// What its operator says about it.
    pub description: String,
    /// Host names whose root it is: `/score` of such a host is that of the endpoint. No two endpoints may have the same.
    pub hosts: Vec<String>,
}

impl EndpointSpec {
    /// Its host names as they are kept and compared: in lower case, in order, each once.
    pub fn normal_hosts(&self) -> Vec<String> {
        let hosts: BTreeSet<_> = self.hosts.iter().map(|host| host.to_ascii_lowercase()).collect();
        hosts.into_iter().collect()
    }

    /// Whether it makes sense by itself: whose its hosts are is not looked at.
    ///
    /// # Errors
    ///
    /// What is wrong, and what to do.
    pub fn check(&self) -> Result<(), String> {
        check_text("description", &self.description)?;
        if self.hosts.len() > MAX_HOSTS {
            return Err(format!("an endpoint can have {MAX_HOSTS} hosts, not {}", self.hosts.len()));
        }
        let is_host = |host: &str| host.len() <= MAX_HOST && host.split('.').all(|label| label.parse::<Name>().is_ok());
        match self.normal_hosts().into_iter().find(|host| !is_host(host)) {
            Some(host) => Err(format!("{host:?} is no host name; write it like iris.example.com")),
            None => Ok(()),
        }
    }
}

/// An endpoint that has just been created, with its keys, which are not shown again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CreatedEndpoint {
    /// The endpoint.
    #[serde(flatten)]
    pub endpoint: Endpoint,
    /// The primary key.
    pub primary_key: String,
    /// The secondary key.
    pub secondary_key: String,
}

/// Which of the two keys of an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum KeySlot {
    /// The one that clients use.
    Primary,
    /// The one that they use while the other is replaced.
    Secondary,
}

/// A key that is to take the place of another.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct KeySpec {
    /// The new key: 32 to 512 visible characters of ASCII. Left out, one is made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

/// A key, as it is shown once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ShownKey {
    /// The key.
    pub key: String,
}

/// How the requests of an endpoint are shared out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TrafficSpec {
    /// Percent of the requests by deployment: 100 in all, or 0.
    pub traffic: BTreeMap<Name, u8>,
    /// Percent of the requests that a deployment gets a copy of: one deployment, at most 50.
    pub mirror: BTreeMap<Name, u8>,
}

impl TrafficSpec {
    /// The same for the server.
    pub(crate) fn traffic(&self) -> Traffic {
        let shares = |shares: &BTreeMap<Name, u8>| {
            shares.iter().map(|(name, share)| (name.to_string(), *share)).collect::<BTreeMap<_, _>>()
        };
        Traffic { traffic: shares(&self.traffic), mirror: shares(&self.mirror) }
    }
}

/// A deployment: a scorer in all its revisions, of which one answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Deployment {
    /// Its tenant.
    pub tenant: Name,
    /// Its endpoint.
    pub endpoint: Name,
    /// Its name.
    pub name: Name,
    /// The revision that answers; none before one has become ready.
    pub current: Option<u64>,
    /// All revisions, oldest first.
    pub revisions: Vec<Revision>,
}

impl Deployment {
    /// Where it is.
    pub fn path(&self) -> DeploymentPath {
        EndpointPath { tenant: self.tenant.clone(), endpoint: self.endpoint.clone() }.deployment(&self.name)
    }

    /// A revision by its number.
    pub fn revision(&self, number: u64) -> Option<&Revision> {
        self.revisions.iter().find(|revision| revision.number == number)
    }

    /// The last revision.
    pub fn latest(&self) -> Option<&Revision> {
        self.revisions.last()
    }

    /// Leaves out the oldest revisions that are too many.
    pub(crate) fn forget_old_revisions(&mut self) {
        let (mut ended, mut pending) = (0, 0);
        let is_kept = |revision: &Revision| {
            if Some(revision.number) == self.current {
                return true;
            }
            let count = if revision.state == RevisionState::Pending { &mut pending } else { &mut ended };
            *count += 1;
            *count <= KEPT_REVISIONS
        };
        self.revisions.reverse();
        self.revisions.retain(is_kept);
        self.revisions.reverse();
    }
}

/// One thing that has been deployed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Revision {
    /// Its number, from 1 on.
    pub number: u64,
    /// What was asked for.
    pub spec: DeploymentSpec,
    /// When.
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub created: OffsetDateTime,
    /// What has become of it.
    pub state: RevisionState,
}

/// What has become of a revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "state", rename_all = "lowercase")]
pub enum RevisionState {
    /// It is being made ready.
    Pending,
    /// It can answer.
    Ready,
    /// It cannot, and what answered before goes on.
    Failed {
        /// Where and why, with the traceback of the script where there is one.
        reason: String,
    },
}

/// What is to be deployed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DeploymentSpec {
    /// SHA-256 of the bundle, in hexadecimal: a component, or an archive that `scorebox build` made. It has to be uploaded
    /// before.
    #[serde(with = "crate::text")]
    #[schema(value_type = String, pattern = "^[0-9a-f]{64}$")]
    pub bundle: Digest,
    /// A version in the operator's words, which the scorer is told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Environment variables of the scorer.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<String, String>,
    /// What each of its instances may use.
    #[serde(default, skip_serializing_if = "LimitsSpec::is_default")]
    pub limits: LimitsSpec,
    /// A request that a revision has to answer before it takes the place of the one before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe: Option<ProbeSpec>,
}

impl DeploymentSpec {
    /// Whether it makes sense by itself: its bundle and its limits are not looked at.
    ///
    /// # Errors
    ///
    /// What is wrong, and what to do.
    pub fn check(&self) -> Result<(), String> {
        check_text("version", self.version.as_deref().unwrap_or_default())?;
        check_environment(&self.environment)?;
        self.probe.as_ref().map_or(Ok(()), ProbeSpec::check)
    }
}

/// A request, and how it has to be answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ProbeSpec {
    /// Its body, which is posted to `/score`.
    pub body: String,
    /// The type of its body; left out, `application/json`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// The status of the answer; left out, any from 200 to 299.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 200, maximum = 999)]
    pub status: Option<u16>,
}

impl ProbeSpec {
    fn check(&self) -> Result<(), String> {
        if self.body.len() > MAX_PROBE {
            return Err(format!("the probe's body has {} bytes, more than {MAX_PROBE}", self.body.len()));
        }
        self.probe().map(drop)
    }

    /// The same for the server.
    pub(crate) fn probe(&self) -> Result<Probe, String> {
        let content_type = self.content_type.as_deref().unwrap_or("application/json");
        let content_type = HeaderValue::from_str(content_type)
            .map_err(|_| format!("the probe's content type {content_type:?} can be in no header"))?;
        let status = self.status.map(StatusCode::from_u16).transpose();
        let status = status.ok().filter(|status| status.is_none_or(|status| !status.is_informational()));
        let status = status.ok_or("the probe's status is none of 200 to 999; leave it out for 200 to 299")?;
        Ok(Probe { content_type, body: self.body.clone().into_bytes(), status })
    }
}

/// What an instance may use; what is left out is as on the server's command line.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LimitsSpec {
    /// Memory, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
    /// Time for `run()`, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// Time for `init()`, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub init_timeout_ms: Option<u64>,
    /// Text that it may log, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log: Option<u64>,
    /// Size of a response, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response: Option<u64>,
}

impl LimitsSpec {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// These limits, and the server's where there are none. Nobody gets more than the server's.
    pub fn within(&self, server: &Limits) -> Result<Limits, OverLimit> {
        let checked = |name: &'static str, asked: Option<u64>, most: u64| match asked {
            Some(0) => Err(OverLimit::Zero(name)),
            Some(asked) if asked > most => Err(OverLimit::Over { name, asked, most }),
            asked => Ok(asked.unwrap_or(most)),
        };
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let time = |name, asked: Option<u64>, most: Duration| {
            let checked = checked(name, asked, millis(most))?;
            Ok(if asked.is_some() { Duration::from_millis(checked) } else { most })
        };
        Ok(Limits {
            memory: checked("memory", self.memory, server.memory)?,
            deadline: time("timeout_ms", self.timeout_ms, server.deadline)?,
            init_deadline: time("init_timeout_ms", self.init_timeout_ms, server.init_deadline)?,
            log: checked("log", self.log, server.log)?,
            output: checked("response", self.response, server.output)?,
            host_call: server.host_call,
        })
    }
}

/// A limit that a deployment cannot have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OverLimit {
    /// More than the server gives.
    #[error("the limit `{name}` of {asked} is more than the {most} that there are for it; ask for less")]
    Over {
        /// Which limit.
        name: &'static str,
        /// What was asked for.
        asked: u64,
        /// The most there is.
        most: u64,
    },
    /// Nothing at all.
    #[error("the limit `{0}` is 0, with which nothing can be scored; leave it out for the server's")]
    Zero(&'static str),
}

/// Which of its revisions a deployment is to answer with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CurrentSpec {
    /// The number of the revision.
    pub revision: u64,
}

/// A bundle that has been uploaded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Bundle {
    /// SHA-256 of it, in hexadecimal.
    #[serde(with = "crate::text")]
    #[schema(value_type = String)]
    pub digest: Digest,
    /// Bytes.
    pub size: u64,
}

/// A backup of all that is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Backup {
    /// The folder that it is in, on the server.
    pub folder: String,
}

fn check_text(what: &str, text: &str) -> Result<(), String> {
    if text.chars().count() > MAX_TEXT || text.chars().any(|char| char.is_control() && char != '\n') {
        return Err(format!("the {what} has more than {MAX_TEXT} characters, or control characters; shorten it"));
    }
    Ok(())
}

fn check_environment(environment: &BTreeMap<String, String>) -> Result<(), String> {
    let is_name = |name: &str| !name.is_empty() && !name.contains(['=', '\0']);
    if let Some((name, _)) = environment.iter().find(|(name, value)| !is_name(name) || value.contains('\0')) {
        return Err(format!("{name:?} is no environment variable"));
    }
    let bytes: usize = environment.iter().map(|(name, value)| name.len() + value.len()).sum();
    if bytes > MAX_ENVIRONMENT {
        return Err(format!(
            "the environment has {bytes} bytes, more than {MAX_ENVIRONMENT}; put what is large into the bundle"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deployment_gets_at_most_what_the_server_gives() {
        let server = Limits::default();
        let of = |spec: LimitsSpec| spec.within(&server);
        assert_eq!(of(LimitsSpec::default()).unwrap(), server);
        let less = of(LimitsSpec { memory: Some(1 << 20), timeout_ms: Some(50), ..LimitsSpec::default() }).unwrap();
        assert_eq!((less.memory, less.deadline), (1 << 20, Duration::from_millis(50)));
        assert!(of(LimitsSpec { memory: Some(server.memory + 1), ..LimitsSpec::default() }).is_err());
        let quota = QuotaSpec { memory: Some(1 << 20), ..QuotaSpec::default() };
        assert_eq!(LimitsSpec::default().within(&quota.limits(&server)).unwrap().memory, 1 << 20);
        assert_eq!(of(LimitsSpec { log: Some(0), ..LimitsSpec::default() }), Err(OverLimit::Zero("log")));
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap();
        for (name, most) in [
            ("memory", server.memory),
            ("timeout_ms", millis(server.deadline)),
            ("init_timeout_ms", millis(server.init_deadline)),
            ("log", server.log),
            ("response", server.output),
        ] {
            let asking = |asked: u64| of(serde_json::from_value(serde_json::json!({ name: asked })).unwrap());
            assert_eq!(asking(most).as_ref(), Ok(&server));
            assert_eq!(asking(most + 1), Err(OverLimit::Over { name, asked: most + 1, most }));
        }
    }

    fn revision(number: u64, state: RevisionState) -> Revision {
        let spec = serde_json::from_value(serde_json::json!({ "bundle": "0".repeat(64) })).unwrap();
        Revision { number, spec, created: OffsetDateTime::UNIX_EPOCH, state }
    }

    /// The numbers of what is kept of revisions, the last `pending` of which are that.
    fn kept(revisions: u64, pending: u64, current: Option<u64>) -> Vec<u64> {
        let state = |number| if number + pending > revisions { RevisionState::Pending } else { RevisionState::Ready };
        let name: Name = "blue".parse().unwrap();
        let mut deployment = Deployment {
            tenant: name.clone(),
            endpoint: name.clone(),
            name,
            current,
            revisions: (1..=revisions).map(|number| revision(number, state(number))).collect(),
        };
        deployment.forget_old_revisions();
        deployment.revisions.iter().map(|revision| revision.number).collect()
    }

    #[test]
    fn ten_revisions_are_kept_besides_the_one_that_answers_and_those_that_are_pending() {
        let numbers =
            |first: &[u64], rest: std::ops::RangeInclusive<u64>| first.iter().copied().chain(rest).collect::<Vec<_>>();
        assert_eq!(kept(11, 0, Some(11)), numbers(&[], 1..=11));
        assert_eq!(kept(12, 0, Some(12)), numbers(&[], 2..=12));
        assert_eq!(kept(14, 0, Some(1)), numbers(&[1], 5..=14));
        assert_eq!(kept(14, 2, Some(1)), numbers(&[1], 3..=14));
        assert_eq!(kept(12, 1, None), numbers(&[], 2..=12));
        // Nor is there an end to what can be asked for.
        assert_eq!(kept(30, 30, None), numbers(&[], 21..=30));
    }
}
