//! `scorebox apply`: makes a server be what a file says.
//!
//! All that can be known to be wrong is found before the first change: the file is read whole, and each scorer is packed. Then
//! the file is compared with the server, and the differences are shown and made, in an order in which nothing that answers
//! goes away before something else has taken its place: a host moves from one endpoint to another when all else is done. A
//! tenant, an endpoint or traffic that somebody else has changed since is left as it is, and the command fails.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Display};
use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::time::Duration;

use scorebox_control::api::DeploymentStatus;
use scorebox_control::resource::{
    CreatedEndpoint, Deployment, DeploymentSpec, Endpoint, EndpointSpec, LimitsSpec, ProbeSpec, QuotaSpec, Revision,
    RevisionState, Tenant, TenantSpec, TrafficSpec,
};
use scorebox_control::{DeploymentPath, EndpointPath, Name};
use scorebox_sandbox::Limits;
use scorebox_server::Traffic;
use scorebox_store::Digest;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::args::ApplyArgs;
use super::remote::Remote;
use super::{
    List, deployment_address, endpoint_address, pack, pretty, tenant_address, traffic_address, wait_until_ready,
};
use crate::console;
use crate::failure::Failure;

/// Characters of a value that are shown.
const MAX_SHOWN: usize = 60;
/// Hexadecimal digits of a bundle's digest that are shown.
const DIGITS: usize = 12;
/// What the server gives is not known here. What nobody can have is.
const NO_LIMITS: Limits = Limits {
    memory: u64::MAX,
    deadline: Duration::MAX,
    init_deadline: Duration::MAX,
    log: u64::MAX,
    output: u64::MAX,
    host_call: u64::MAX,
};

/// What the file says: the tenants that there are to be, by name. Others are left alone.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    tenants: BTreeMap<Name, TenantEntry>,
}

/// A tenant.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TenantEntry {
    #[serde(default)]
    description: String,
    #[serde(default)]
    quotas: QuotaSpec,
    #[serde(default)]
    endpoints: BTreeMap<Name, EndpointEntry>,
}

/// An endpoint.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct EndpointEntry {
    #[serde(default)]
    description: String,
    #[serde(default)]
    hosts: Vec<String>,
    /// Left out, the traffic is left alone.
    traffic: Option<BTreeMap<Name, u8>>,
    #[serde(default)]
    mirror: BTreeMap<Name, u8>,
    #[serde(default)]
    deployments: BTreeMap<Name, DeploymentEntry>,
}

/// A deployment. Paths are relative to the file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct DeploymentEntry {
    scorer: PathBuf,
    model_dir: Option<PathBuf>,
    version: Option<String>,
    #[serde(default)]
    environment: BTreeMap<String, String>,
    #[serde(default)]
    limits: LimitsSpec,
    probe: Option<ProbeSpec>,
}

/// `scorebox apply`
pub(crate) fn apply(args: &ApplyArgs) -> Result<(), Failure> {
    let file = read(&args.file)?;
    let folder = args.file.parent().unwrap_or(Path::new(""));
    let server = Remote::new(&args.remote)?;
    let mut plan = Plan::new(&server, args.prune, &file)?;
    for (name, tenant) in file.tenants {
        plan.tenant(&name, tenant, folder)?;
    }
    let mut changes = plan.end()?;
    if !args.remote.json {
        for change in &changes {
            console::said(change);
        }
        if changes.is_empty() {
            console::note("the server is as the file says");
        }
    }
    let (mut keys, mut made) = (Vec::new(), Ok(0));
    if !args.dry_run {
        made = make(&server, &mut changes, |created| {
            if !args.remote.json {
                let Endpoint { tenant, name, .. } = &created.endpoint;
                console::result(format_args!("primary key of {tenant}/{name}    {}", created.primary_key));
                console::result(format_args!("secondary key of {tenant}/{name}  {}", created.secondary_key));
            }
            keys.push(created);
        });
    }
    if args.remote.json {
        let changes: Vec<_> = changes.iter().map(Change::document).collect();
        let applied = !args.dry_run && made.is_ok();
        // Also where a change has failed: keys are not shown again.
        console::result(pretty(&json!({"applied": applied, "changes": changes, "created_endpoints": keys})));
    }
    let made = made?;
    if made > 0 && !args.remote.json {
        console::note(format_args!("{made} changes are made"));
    }
    Ok(())
}

/// Makes the changes, and hands on the endpoints that are created. Returns how many are made.
fn make(server: &Remote, changes: &mut [Change], mut created: impl FnMut(CreatedEndpoint)) -> Result<usize, Failure> {
    let count = changes.len();
    let mut tags = BTreeMap::new();
    for (made, change) in changes.iter_mut().enumerate() {
        let endpoint = change.make(server, &mut tags).map_err(|failure| {
            let heading = change.heading();
            Failure::failed(format!("`{heading}` is not made, {made} of {count} changes before it are: {failure}"))
        })?;
        if let Some(endpoint) = endpoint {
            created(endpoint);
        }
    }
    Ok(count)
}

fn read(file: &Path) -> Result<File, Failure> {
    let text = fs::read_to_string(file)
        .map_err(|error| Failure::failed(format!("cannot read {}: {error}", file.display())))?;
    toml::from_str(&text).map_err(|error| Failure::failed(format!("{}: {error}", file.display())))
}

/// The endpoint that the file gives each host to.
fn hosts(file: &File) -> Result<BTreeMap<String, EndpointPath>, Failure> {
    let mut given = BTreeMap::new();
    for (tenant, TenantEntry { endpoints, .. }) in &file.tenants {
        for (endpoint, EndpointEntry { hosts, .. }) in endpoints {
            let path = EndpointPath { tenant: tenant.clone(), endpoint: endpoint.clone() };
            let spec = EndpointSpec { hosts: hosts.clone(), ..EndpointSpec::default() };
            for host in spec.normal_hosts() {
                if let Some(other) = given.insert(host.clone(), path.clone()) {
                    return Err(Failure::failed(format!(
                        "the host {host} is that of {other} and of {path}; give it to one of them"
                    )));
                }
            }
        }
    }
    Ok(given)
}

/// The differences between a file and a server.
struct Plan<'a> {
    server: &'a Remote,
    prune: bool,
    /// Endpoints of the file's tenants that have not been compared yet, with their entity tags.
    there: BTreeMap<EndpointPath, (Endpoint, String)>,
    /// Hosts that one of these has and the file gives to another one, which is named.
    moved: BTreeMap<String, EndpointPath>,
    changes: Vec<Change>,
    /// They follow: what takes the hosts that move off their endpoints, and then what gives them to others.
    takings: Vec<Change>,
    givings: Vec<Change>,
    /// They come last, those of parts before that of the whole.
    deletions: Vec<Change>,
}

impl<'a> Plan<'a> {
    fn new(server: &'a Remote, prune: bool, file: &File) -> Result<Self, Failure> {
        let given = hosts(file)?;
        let mut there = BTreeMap::new();
        for tenant in file.tenants.keys() {
            let list = server.find::<List<Endpoint>>(&format!("{}/endpoints", tenant_address(tenant)))?;
            for endpoint in list.into_iter().flat_map(|(list, _)| list.items) {
                let path = EndpointPath { tenant: tenant.clone(), endpoint: endpoint.name };
                // A list has no entity tags.
                if let Some(found) = server.find::<Endpoint>(&endpoint_address(&path))? {
                    there.insert(path, found);
                }
            }
        }
        let mut moved = BTreeMap::new();
        for (path, (endpoint, _)) in &there {
            let in_file = endpoint.hosts.iter().filter_map(|host| given.get_key_value(host));
            moved.extend(in_file.filter(|(_, to)| *to != path).map(|(host, to)| (host.clone(), to.clone())));
        }
        let (changes, takings, givings, deletions) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Ok(Self { server, prune, there, moved, changes, takings, givings, deletions })
    }

    /// All changes, in order, with those of the endpoints that are not in the file.
    fn end(mut self) -> Result<Vec<Change>, Failure> {
        for (path, there) in std::mem::take(&mut self.there) {
            let Endpoint { description, mut hosts, .. } = there.0.clone();
            if !self.prune
                && let Some((host, to)) = hosts.iter().find_map(|host| self.moved.get_key_value(host))
            {
                return Err(Failure::failed(format!(
                    "the host {host} of {to} is that of {path}, which is not in the file; take it off there, or have \
                     {path} deleted with --prune"
                )));
            }
            hosts.retain(|host| !self.moved.contains_key(host));
            self.endpoint_itself(&path, Some(&there), &EndpointSpec { description, hosts });
            self.delete(format!("endpoint {path}"), endpoint_address(&path));
        }
        let Self { changes, takings, givings, deletions, .. } = self;
        Ok([changes, takings, givings, deletions].into_iter().flatten().collect())
    }

    fn tenant(&mut self, name: &Name, entry: TenantEntry, folder: &Path) -> Result<(), Failure> {
        let TenantEntry { description, quotas, endpoints } = entry;
        let spec = TenantSpec { description, quotas };
        spec.check().map_err(|error| Failure::failed(format!("tenant {name}: {error}")))?;
        let address = tenant_address(name);
        let there = self.server.find::<Tenant>(&address)?;
        let was = there
            .as_ref()
            .map(|(tenant, _)| TenantSpec { description: tenant.description.clone(), quotas: tenant.quotas.clone() });
        let tag = there.map(|(_, tag)| tag);
        let heading = format!("tenant {name}");
        self.changes.extend(Change::between(heading, &address, tag, was.as_ref(), &spec, What::Tenant));
        for (endpoint, entry) in endpoints {
            self.endpoint(&EndpointPath { tenant: name.clone(), endpoint }, entry, &spec.quotas, folder)?;
        }
        Ok(())
    }

    fn endpoint(
        &mut self,
        path: &EndpointPath,
        entry: EndpointEntry,
        quotas: &QuotaSpec,
        folder: &Path,
    ) -> Result<(), Failure> {
        let EndpointEntry { description, hosts, traffic, mirror, deployments } = entry;
        let there = self.there.remove(path);
        let mut spec = EndpointSpec { description, hosts };
        spec.check().map_err(|error| Failure::failed(format!("endpoint {path}: {error}")))?;
        spec.hosts = spec.normal_hosts();
        self.endpoint_itself(path, there.as_ref(), &spec);
        let mut others: BTreeMap<_, _> = if there.is_none() {
            BTreeMap::new()
        } else {
            let list: List<DeploymentStatus> = self.server.get(&format!("{}/deployments", endpoint_address(path)))?;
            list.items.into_iter().map(|status| (status.deployment.name.clone(), status.deployment)).collect()
        };
        let mut names: BTreeSet<_> = others.keys().cloned().collect();
        for (name, entry) in deployments {
            let path = path.deployment(&name);
            let there = others.remove(&name);
            names.insert(name);
            self.deployment(&path, there.as_ref(), entry, quotas, folder)?;
        }
        let (was, tag) = match there {
            Some((endpoint, tag)) => (TrafficSpec { traffic: endpoint.traffic, mirror: endpoint.mirror }, Some(tag)),
            None => (TrafficSpec::default(), None),
        };
        let spec = match traffic {
            Some(traffic) => TrafficSpec { traffic: without_zeros(traffic), mirror: without_zeros(mirror) },
            None if mirror.is_empty() => was.clone(),
            None => {
                let why = format!("the mirror of {path} means nothing without its traffic; give both");
                return Err(Failure::failed(why));
            }
        };
        let shares = Traffic { traffic: by_text(&spec.traffic), mirror: by_text(&spec.mirror) };
        shares
            .check(|name| names.iter().any(|other| other.as_str() == name))
            .map_err(|error| Failure::failed(format!("the traffic of {path}: {error}")))?;
        if self.prune
            && let Some(name) = spec.traffic.keys().chain(spec.mirror.keys()).find(|name| others.contains_key(*name))
        {
            let path = path.deployment(name);
            return Err(Failure::failed(format!(
                "deployment {path} has traffic, and is not in the file, so that --prune would delete it; give its traffic \
                 to another one"
            )));
        }
        let (heading, what) = (format!("traffic of {path}"), What::Traffic(path.clone()));
        self.changes.extend(Change::between(heading, &traffic_address(path), tag, Some(&was), &spec, what));
        for deployment in others.into_keys() {
            let path = path.deployment(&deployment);
            self.delete(format!("deployment {path}"), deployment_address(&path));
        }
        Ok(())
    }

    /// Notes what changes of an endpoint itself. One that takes part in a move of hosts keeps those that it has until then.
    fn endpoint_itself(&mut self, path: &EndpointPath, there: Option<&(Endpoint, String)>, spec: &EndpointSpec) {
        let was = there.map(|(endpoint, _)| EndpointSpec {
            description: endpoint.description.clone(),
            hosts: endpoint.hosts.clone(),
        });
        let (mut before, mut between) = (spec.clone(), spec.clone());
        let hosts = was.as_ref().map(|was| was.hosts.as_slice()).unwrap_or_default();
        if hosts.iter().chain(&spec.hosts).any(|host| self.moved.contains_key(host)) {
            before.hosts = hosts.to_vec();
            between.hosts = hosts.iter().filter(|host| !self.moved.contains_key(*host)).cloned().collect();
        }
        let change = |was: Option<&EndpointSpec>, spec: &EndpointSpec| {
            let (heading, what) = (format!("endpoint {path}"), What::Endpoint(path.clone()));
            let tag = there.map(|(_, tag)| tag.clone());
            Change::between(heading, &endpoint_address(path), tag, was, spec, what)
        };
        self.changes.extend(change(was.as_ref(), &before));
        self.takings.extend(change(Some(&before), &between));
        self.givings.extend(change(Some(&between), spec));
    }

    fn deployment(
        &mut self,
        path: &DeploymentPath,
        there: Option<&Deployment>,
        entry: DeploymentEntry,
        quotas: &QuotaSpec,
        folder: &Path,
    ) -> Result<(), Failure> {
        let invalid = |error: String| Failure::failed(format!("deployment {path}: {error}"));
        let DeploymentEntry { scorer, model_dir, version, environment, limits, probe } = entry;
        let model_dir = model_dir.map(|model_dir| folder.join(model_dir));
        let bundle = pack::pack(&folder.join(scorer), model_dir.as_deref()).map_err(&invalid)?;
        let spec = DeploymentSpec { bundle: Digest::of(&bundle), version, environment, limits, probe };
        // What answers counts, not what failed. What is being made ready counts if it is another than is wanted, since it
        // takes the place of what answers. If it is what is wanted, it may fail still: to ask for it again is to wait for it.
        let was = there.and_then(|there| {
            let is_another = |latest: &&Revision| latest.state == RevisionState::Pending && latest.spec != spec;
            let pending = there.latest().filter(is_another);
            pending.or_else(|| there.revision(there.current?)).map(|revision| &revision.spec)
        });
        let (what, heading) = (What::Deployment { path: path.clone(), bundle }, format!("deployment {path}"));
        let change = Change::between(heading, &deployment_address(path), None, was, &spec, what);
        // What is there already is left alone, also where it could not be asked for any more.
        if change.is_some() {
            spec.limits.within(&quotas.limits(&NO_LIMITS)).map_err(|error| invalid(error.to_string()))?;
            spec.check().map_err(invalid)?;
        }
        self.changes.extend(change);
        Ok(())
    }

    /// Notes that something is not in the file, if that is to go.
    fn delete(&mut self, heading: String, address: String) {
        if self.prune {
            let (tag, spec, differences) = (None, Value::Null, Vec::new());
            let what = What::Deletion;
            self.deletions.push(Change { action: Action::Delete, heading, differences, address, tag, spec, what });
        } else {
            console::note(format_args!("{heading} is not in the file, and is left alone; --prune deletes it"));
        }
    }
}

/// What becomes of something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Action {
    Create,
    Change,
    Delete,
}

/// What is changed.
enum What {
    Tenant,
    Endpoint(EndpointPath),
    Deployment { path: DeploymentPath, bundle: Vec<u8> },
    Traffic(EndpointPath),
    Deletion,
}

/// One change.
struct Change {
    action: Action,
    heading: String,
    differences: Vec<String>,
    address: String,
    /// The entity tag of what was seen; `None` where nothing was.
    tag: Option<String>,
    spec: Value,
    what: What,
}

impl Change {
    /// The change from what was to what is to be, if it is one.
    fn between<T: Serialize + PartialEq>(
        heading: String,
        address: &str,
        tag: Option<String>,
        was: Option<&T>,
        spec: &T,
        what: What,
    ) -> Option<Self> {
        if was == Some(spec) {
            return None;
        }
        let value = |spec: &T| serde_json::to_value(spec).expect("what the API takes can be written as JSON");
        let spec = value(spec);
        let differences = differences(&was.map_or_else(|| json!({}), value), &spec);
        let action = if was.is_some() { Action::Change } else { Action::Create };
        Some(Self { action, heading, differences, address: address.to_owned(), tag, spec, what })
    }

    fn heading(&self) -> String {
        let sign = match self.action {
            Action::Create => '+',
            Action::Change => '~',
            Action::Delete => '-',
        };
        format!("{sign} {}", self.heading)
    }

    fn document(&self) -> Value {
        json!({"action": self.action, "what": self.heading, "differences": self.differences})
    }

    /// Makes it. Returns an endpoint that was created. `tags` has the entity tags of endpoints that have been changed, or
    /// whose traffic has been.
    fn make(
        &mut self,
        server: &Remote,
        tags: &mut BTreeMap<EndpointPath, String>,
    ) -> Result<Option<CreatedEndpoint>, Failure> {
        match &mut self.what {
            What::Deletion => server.delete(&self.address)?,
            What::Deployment { path, bundle } => {
                let bundle = std::mem::take(bundle);
                let (digest, size) = (Digest::of(&bundle), bundle.len() as u64);
                server.upload(&digest, Cursor::new(bundle), size)?;
                let status: DeploymentStatus = server.put(&self.address, &self.spec)?;
                let asked = status.deployment.latest().map_or(0, |latest| latest.number);
                wait_until_ready(server, path, status, asked)?;
            }
            What::Endpoint(path) if self.action == Action::Create => {
                let (created, tag) = server.put_new(&self.address, &self.spec)?;
                tags.insert(path.clone(), tag);
                return Ok(Some(created));
            }
            What::Tenant if self.action == Action::Create => {
                server.put_new::<Value>(&self.address, &self.spec)?;
            }
            What::Endpoint(path) | What::Traffic(path) => {
                let path = path.clone();
                let tag = self.put_seen(server, tags.get(&path).or(self.tag.as_ref()))?;
                tags.insert(path, tag);
            }
            What::Tenant => drop(self.put_seen(server, self.tag.as_ref())?),
        }
        Ok(None)
    }

    /// Puts it in the place of what had this entity tag. Returns its new one.
    fn put_seen(&self, server: &Remote, tag: Option<&String>) -> Result<String, Failure> {
        let tag = tag.expect("what is changed has been seen");
        server.put_seen::<Value>(&self.address, tag, &self.spec).map(|(_, tag)| tag)
    }
}

impl Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.heading())?;
        self.differences.iter().try_for_each(|difference| write!(f, "\n    {difference}"))
    }
}

/// The leaves of two documents that differ, one a line. What environment variables are is not shown: it may be a secret.
fn differences(was: &Value, is: &Value) -> Vec<String> {
    let (mut before, mut after) = (BTreeMap::new(), BTreeMap::new());
    leaves("", was, &mut before);
    leaves("", is, &mut after);
    let paths: BTreeSet<_> = before.keys().chain(after.keys()).collect();
    let changed = paths.into_iter().filter(|path| before.get(*path) != after.get(*path));
    changed
        .map(|path| {
            let shown = |leaf: Option<&&Value>| leaf.map_or_else(|| "(none)".to_owned(), |leaf| shown(path, leaf));
            match (before.get(path), after.get(path)) {
                (Some(_), Some(_)) if path.starts_with("environment.") => format!("{path}: another value"),
                (None, after) => format!("{path}: {}", shown(after)),
                (before, after) => format!("{path}: {} -> {}", shown(before), shown(after)),
            }
        })
        .collect()
}

fn leaves<'a>(path: &str, value: &'a Value, into: &mut BTreeMap<String, &'a Value>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                leaves(&if path.is_empty() { name.clone() } else { format!("{path}.{name}") }, member, into);
            }
        }
        Value::Null => {}
        Value::String(text) if text.is_empty() => {}
        Value::Array(items) if items.is_empty() => {}
        leaf => drop(into.insert(path.to_owned(), leaf)),
    }
}

fn shown(path: &str, leaf: &Value) -> String {
    let text = leaf.as_str().map_or_else(|| leaf.to_string(), str::to_owned);
    if path.starts_with("environment.") {
        return "(set)".to_owned();
    }
    let most = if path == "bundle" { DIGITS } else { MAX_SHOWN };
    match text.char_indices().nth(most) {
        Some((at, _)) => format!("{}...", &text[..at]),
        None => text,
    }
}

fn without_zeros(shares: BTreeMap<Name, u8>) -> BTreeMap<Name, u8> {
    shares.into_iter().filter(|(_, share)| *share > 0).collect()
}

fn by_text(shares: &BTreeMap<Name, u8>) -> BTreeMap<String, u8> {
    shares.iter().map(|(name, share)| (name.to_string(), *share)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_said_leaf_by_leaf_and_no_secret_is() {
        let was = json!({"bundle": "0123456789abcdef", "environment": {"A": "secret", "B": "x"}, "version": "1"});
        let is =
            json!({"bundle": "fedcba9876543210", "environment": {"A": "secret2", "C": "y"}, "limits": {"memory": 5}});
        assert_eq!(
            differences(&was, &is),
            [
                "bundle: 0123456789ab... -> fedcba987654...",
                "environment.A: another value",
                "environment.B: (set) -> (none)",
                "environment.C: (set)",
                "limits.memory: 5",
                "version: 1 -> (none)",
            ]
        );
    }

    #[test]
    fn a_word_that_means_nothing_is_an_error_that_says_where() {
        let error = toml::from_str::<File>("[tenants.acme]\nqoutas = {}\n").unwrap_err().to_string();
        assert!(error.contains("line 2") && error.contains("qoutas"), "{error}");
    }
}
