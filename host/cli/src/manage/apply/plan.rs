//! What differs between a file and a server, as changes in the order in which they are made.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use scorebox_control::resource::{
    Deployment, DeploymentSpec, Endpoint, EndpointSpec, QuotaSpec, Revision, RevisionState, Tenant, TenantSpec,
    TrafficSpec,
};
use scorebox_control::{DeploymentPath, EndpointPath, Name};
use scorebox_sandbox::Limits;
use scorebox_server::Traffic;
use scorebox_store::Digest;

use super::change::{Change, Taken, What};
use super::{DeploymentEntry, EndpointEntry, File, TenantEntry, deployments_of};
use crate::console;
use crate::failure::Failure;
use crate::manage::remote::Remote;
use crate::manage::{List, deployment_address, endpoint_address, pack, tenant_address, traffic_address};

/// What the server gives is not known here. What nobody can have is.
const NO_LIMITS: Limits = Limits {
    memory: u64::MAX,
    deadline: Duration::MAX,
    init_deadline: Duration::MAX,
    log: u64::MAX,
    output: u64::MAX,
    host_call: u64::MAX,
};

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

/// Refuses hosts that are those of tenants that are not in the file, which are left alone: nobody would take them off there.
fn check_other_tenants(server: &Remote, file: &File, given: &BTreeMap<String, EndpointPath>) -> Result<(), Failure> {
    if given.is_empty() {
        return Ok(());
    }
    let tenants: List<Tenant> = server.get("/tenants")?;
    for tenant in tenants.items.iter().filter(|tenant| !file.tenants.contains_key(&tenant.name)) {
        let list = server.find::<List<Endpoint>>(&format!("{}/endpoints", tenant_address(&tenant.name)))?;
        for endpoint in list.into_iter().flat_map(|(list, _)| list.items) {
            if let Some((host, to)) = endpoint.hosts.iter().find_map(|host| given.get_key_value(host)) {
                let Endpoint { tenant, name, .. } = &endpoint;
                return Err(Failure::failed(format!(
                    "the host {host} of {to} is that of {tenant}/{name}, and tenant {tenant} is not in the file; take it off \
                     there first"
                )));
            }
        }
    }
    Ok(())
}

/// The differences between a file and a server.
pub(super) struct Plan<'a> {
    server: &'a Remote,
    prune: bool,
    /// Of the tenant that is compared, if it has a quota of them: deployments that are there, and those that are new so far.
    deployments: usize,
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
    pub(super) fn new(server: &'a Remote, prune: bool, file: &File) -> Result<Self, Failure> {
        let given = hosts(file)?;
        check_other_tenants(server, file, &given)?;
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
        Ok(Self { server, prune, deployments: 0, there, moved, changes, takings, givings, deletions })
    }

    /// All changes, in order, with those of the endpoints that are not in the file.
    pub(super) fn end(mut self) -> Result<Vec<Change>, Failure> {
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
            let deployments = if self.prune { deployments_of(self.server, &path)? } else { Vec::new() };
            self.delete(Change::endpoint_deletion(path, there.1, deployments));
        }
        let Self { changes, takings, givings, deletions, .. } = self;
        Ok([changes, takings, givings, deletions].into_iter().flatten().collect())
    }

    pub(super) fn tenant(&mut self, name: &Name, entry: TenantEntry, folder: &Path) -> Result<(), Failure> {
        let TenantEntry { description, quotas, endpoints } = entry;
        let spec = TenantSpec { description, quotas };
        spec.check().map_err(|error| Failure::failed(format!("tenant {name}: {error}")))?;
        let address = tenant_address(name);
        let there = self.server.find::<Tenant>(&address)?;
        if there.is_none() {
            TenantSpec::check_name(name).map_err(Failure::failed)?;
        }
        let was = there
            .as_ref()
            .map(|(tenant, _)| TenantSpec { description: tenant.description.clone(), quotas: tenant.quotas.clone() });
        let tag = there.map(|(_, tag)| tag);
        let heading = format!("tenant {name}");
        self.changes.extend(Change::between(heading, &address, tag, was.as_ref(), &spec, What::Tenant));
        let mut deployments = 0;
        if spec.quotas.deployments.is_some() {
            // None of its endpoints has been compared yet. What is not in the file counts too: it is deleted last, if at all.
            for path in self.there.keys().filter(|path| path.tenant == *name) {
                deployments += deployments_of(self.server, path)?.len();
            }
        }
        self.deployments = deployments;
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
        let others = if there.is_none() { Vec::new() } else { deployments_of(self.server, path)? };
        let mut others: BTreeMap<_, _> = others.into_iter().map(|other| (other.name.clone(), other)).collect();
        // Those that can have traffic: what is not in the file and has never been ready is not waited for.
        let ready = others.values().filter(|other| other.current.is_some());
        let mut names: BTreeSet<_> = ready.map(|other| other.name.clone()).collect();
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
        for deployment in others.into_values() {
            self.delete(Change::deployment_deletion(deployment));
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
        let change = |was: Option<&EndpointSpec>, spec: &EndpointSpec, what: What| {
            let tag = there.map(|(_, tag)| tag.clone());
            Change::between(format!("endpoint {path}"), &endpoint_address(path), tag, was, spec, what)
        };
        let moving = before.hosts.iter().filter(|host| self.moved.contains_key(*host)).cloned().collect();
        let taken = Taken { path: path.clone(), spec: between.clone(), hosts: moving };
        self.changes.extend(change(was.as_ref(), &before, What::Endpoint(path.clone())));
        self.takings.extend(change(Some(&before), &between, What::Taking(taken)));
        self.givings.extend(change(Some(&between), spec, What::Giving(path.clone(), spec.clone())));
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
        // An empty one is none, and not all that is beside the file.
        let model_dir = model_dir.filter(|model_dir| !model_dir.as_os_str().is_empty());
        let model_dir = model_dir.map(|model_dir| folder.join(model_dir));
        let bundle = pack::pack(&folder.join(scorer), model_dir.as_deref()).map_err(&invalid)?;
        let size = bundle.len() as u64;
        let spec = DeploymentSpec { bundle: Digest::of(&bundle), version, environment, limits, probe };
        // What answers counts, not what failed. What is being made ready counts if it is another than is wanted, since it
        // takes the place of what answers. If it is what is wanted, it may fail still: to ask for it again is to wait for it.
        let was = there.and_then(|there| {
            let is_another = |latest: &&Revision| latest.state == RevisionState::Pending && latest.spec != spec;
            let pending = there.latest().filter(is_another);
            pending.or_else(|| there.revision(there.current?)).map(|revision| &revision.spec)
        });
        let what = What::Deployment { path: path.clone(), bundle, seen: there.cloned() };
        let heading = format!("deployment {path}");
        let change = Change::between(heading, &deployment_address(path), None, was, &spec, what);
        // What is there already is left alone, also where it could not be asked for any more.
        if change.is_some() {
            spec.limits.within(&quotas.limits(&NO_LIMITS)).map_err(|error| invalid(error.to_string()))?;
            spec.check().map_err(invalid)?;
            let tenant = &path.endpoint.tenant;
            quotas.check_bundle(tenant, size).map_err(invalid)?;
            if there.is_none() {
                self.deployments += 1;
                quotas.check_deployments(tenant, self.deployments).map_err(invalid)?;
            }
        }
        self.changes.extend(change);
        Ok(())
    }

    /// Notes the deletion of what is not in the file, if that is to go.
    fn delete(&mut self, deletion: Change) {
        if self.prune {
            self.deletions.push(deletion);
        } else {
            console::note(format_args!(
                "{} is not in the file, and is left alone; --prune deletes it",
                deletion.heading
            ));
        }
    }
}

fn without_zeros(shares: BTreeMap<Name, u8>) -> BTreeMap<Name, u8> {
    shares.into_iter().filter(|(_, share)| *share > 0).collect()
}

fn by_text(shares: &BTreeMap<Name, u8>) -> BTreeMap<String, u8> {
    shares.iter().map(|(name, share)| (name.to_string(), *share)).collect()
}
