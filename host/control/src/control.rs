//! Changes: each is checked against what there is, written to the store, and then seen by requests.
//!
//! Everything here blocks for as long as a disk takes. What is deployed takes longer, and has a thread of its own
//! (`deployer.rs`).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use scorebox_sandbox::Limits;
use scorebox_server::credentials::{Key, KeyHash};
use scorebox_server::{Access, App, Endpoint as Served, Journal, LogLine, Slot, Tenant as ServedTenant};
use scorebox_store::{CommitError, Store, StoreError, Transaction};
use time::OffsetDateTime;

use crate::deployer::{Deployer, ReadBundle};
use crate::error::ControlError;
use crate::name::{DeploymentPath, EndpointPath, Name};
use crate::resource::{
    CreatedEndpoint, CurrentSpec, Deployment, DeploymentSpec, Endpoint, EndpointSpec, KeyAges, KeySlot, QuotaError,
    QuotaSpec, Revision, RevisionState, Tenant, TenantSpec, TrafficSpec,
};
use crate::state::{self, Record, StoredEndpoint, Versioned};

/// How something has to be for a change to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precondition {
    /// As it may be.
    None,
    /// Not there: `If-None-Match: *`.
    Absent,
    /// There, as of this revision: `If-Match`.
    Revision(u64),
    /// There, as it may be: `If-Match: *`.
    Present,
}

impl Precondition {
    fn check<T: Record>(self, path: &T::Path, found: Option<&Versioned<T>>) -> Result<(), ControlError> {
        let what = || state::described::<T>(path);
        match (self, found.map(|found| found.revision)) {
            (Self::None, _) | (Self::Absent, None) | (Self::Present, Some(_)) => Ok(()),
            (Self::Revision(expected), Some(found)) if expected == found => Ok(()),
            (Self::Absent, Some(_)) => Err(ControlError::Exists(what())),
            (Self::Revision(_), Some(found)) => Err(ControlError::Changed { what: what(), found }),
            (Self::Revision(_) | Self::Present, None) => Err(ControlError::NotFound(what())),
        }
    }
}

/// What has been put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Put<T> {
    /// How it is now.
    pub now: Versioned<T>,
    /// Whether it was not there before.
    pub created: bool,
}

/// What is deployed, and what can be done about it.
#[derive(Debug)]
pub struct Control {
    pub(crate) store: Store,
    pub(crate) app: Arc<App>,
    /// The most that a deployment may have.
    pub(crate) limits: Limits,
    pub(crate) bundles: Box<dyn ReadBundle>,
    pub(crate) deployer: Deployer,
    /// The folder in which backups are made.
    backups: PathBuf,
    /// Held from reading what there is to having written and published what there is then.
    changes: Mutex<()>,
    /// What can answer: of each deployment the revision, which may be parked.
    loaded: Mutex<HashMap<DeploymentPath, Loaded>>,
    /// Those that have endpoints, as requests see them.
    tenants: Mutex<HashMap<Name, Arc<ServedTenant>>>,
    /// What became of deployments, through all their revisions.
    journals: Mutex<HashMap<DeploymentPath, Arc<Journal>>>,
}

/// A deployment that can answer.
#[derive(Debug, Clone)]
pub(crate) struct Loaded {
    pub(crate) revision: u64,
    pub(crate) slot: Arc<Slot>,
}

impl Control {
    /// Manages what `store` says there is. Nothing is served before [`Control::start`].
    pub fn new(
        store: Store,
        backups: PathBuf,
        app: Arc<App>,
        limits: Limits,
        bundles: Box<dyn ReadBundle>,
    ) -> Arc<Self> {
        Arc::new(Self {
            store,
            app,
            limits,
            bundles,
            deployer: Deployer::default(),
            backups,
            changes: Mutex::default(),
            loaded: Mutex::default(),
            tenants: Mutex::default(),
            journals: Mutex::default(),
        })
    }

    /// The store.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Makes a backup of all that is kept, under a name that no other has. Changes can be made meanwhile.
    pub fn backup(&self, name: &Name) -> Result<PathBuf, ControlError> {
        let folder = self.backups.join(name.as_str());
        match self.store.backup(&folder) {
            Ok(()) => Ok(folder),
            Err(StoreError::Exists { .. }) => Err(ControlError::Exists(format!("a backup {name}"))),
            Err(error) => Err(error.into()),
        }
    }

    // --- tenants ---

    /// All tenants.
    pub fn tenants(&self) -> Result<Vec<Versioned<Tenant>>, ControlError> {
        state::list(&self.store, "")
    }

    /// A tenant.
    pub fn tenant(&self, name: &Name) -> Result<Versioned<Tenant>, ControlError> {
        state::get(&self.store, name)
    }

    /// Creates a tenant, or changes it.
    pub fn put_tenant(&self, name: &Name, spec: TenantSpec, when: Precondition) -> Result<Put<Tenant>, ControlError> {
        spec.check().map_err(ControlError::Invalid)?;
        let TenantSpec { description, quotas } = spec;
        let checked = quotas.quotas().map_err(|error| ControlError::Invalid(error.to_string()))?;
        let _change = self.change();
        let found = state::find::<Tenant>(&self.store, name)?;
        when.check(name, found.as_ref())?;
        if found.is_none() {
            TenantSpec::check_name(name).map_err(ControlError::Invalid)?;
        }
        let created = found.as_ref().map_or_else(now, |found| found.value.created);
        let put = self.write(name, found, Tenant { name: name.clone(), description, quotas, created })?;
        if let Some(tenant) = self.tenants_served().get(name) {
            tenant.set_quotas(checked);
        }
        Ok(put)
    }

    /// Deletes a tenant that has no endpoints.
    pub fn delete_tenant(&self, name: &Name, when: Precondition) -> Result<(), ControlError> {
        let _change = self.change();
        let found = state::get::<Tenant>(&self.store, name)?;
        when.check(name, Some(&found))?;
        if !self.endpoints(name)?.is_empty() {
            return Err(ControlError::Conflict(format!("tenant {name} has endpoints; delete these first")));
        }
        self.commit(Transaction::new().delete(state::key::<Tenant>(name)))?;
        self.tenants_served().remove(name);
        self.app.metrics().forget_tenant(name.as_str());
        Ok(())
    }

    // --- endpoints ---

    /// All endpoints of a tenant.
    pub fn endpoints(&self, tenant: &Name) -> Result<Vec<Versioned<Endpoint>>, ControlError> {
        state::get::<Tenant>(&self.store, tenant)?;
        let stored = state::list::<StoredEndpoint>(&self.store, &format!("{tenant}/"))?;
        Ok(stored.into_iter().map(shown).collect())
    }

    /// An endpoint.
    pub fn endpoint(&self, path: &EndpointPath) -> Result<Versioned<Endpoint>, ControlError> {
        state::get(&self.store, path).map(shown)
    }

    /// Creates an endpoint, with two new keys, or changes it.
    pub fn put_endpoint(
        &self,
        path: &EndpointPath,
        spec: EndpointSpec,
        when: Precondition,
    ) -> Result<Put<EndpointPut>, ControlError> {
        spec.check().map_err(ControlError::Invalid)?;
        let hosts = spec.normal_hosts();
        let _change = self.change();
        state::get::<Tenant>(&self.store, &path.tenant)?;
        let found = state::find::<StoredEndpoint>(&self.store, path)?;
        when.check(path, found.as_ref())?;
        self.check_hosts_are_free(path, &hosts)?;
        let (keys, stored) = if let Some(found) = &found {
            let endpoint = Endpoint { description: spec.description, hosts, ..found.value.endpoint.clone() };
            (None, StoredEndpoint { endpoint, ..found.value.clone() })
        } else {
            let (primary, secondary, created) = (Key::random(), Key::random(), now());
            let endpoint = Endpoint {
                tenant: path.tenant.clone(),
                name: path.endpoint.clone(),
                description: spec.description,
                hosts,
                traffic: BTreeMap::new(),
                mirror: BTreeMap::new(),
                keys: KeyAges { primary: created, secondary: created },
                created,
            };
            let hashes = (primary.hash(), secondary.hash());
            (Some((primary, secondary)), StoredEndpoint { endpoint, primary: hashes.0, secondary: hashes.1 })
        };
        let put = self.write(path, found, stored)?;
        self.publish(path)?;
        let Put { now: Versioned { value, revision }, created } = put;
        let value = match keys {
            Some((primary, secondary)) => EndpointPut::Created(CreatedEndpoint {
                endpoint: value.endpoint,
                primary_key: primary.reveal().to_owned(),
                secondary_key: secondary.reveal().to_owned(),
            }),
            None => EndpointPut::Changed(value.endpoint),
        };
        Ok(Put { now: Versioned { value, revision }, created })
    }

    /// Deletes an endpoint, with its deployments.
    pub fn delete_endpoint(&self, path: &EndpointPath, when: Precondition) -> Result<(), ControlError> {
        let _change = self.change();
        let found = state::get::<StoredEndpoint>(&self.store, path)?;
        when.check(path, Some(&found))?;
        let mut transaction = Transaction::new().delete(state::key::<StoredEndpoint>(path));
        let deployments = state::list::<Deployment>(&self.store, &format!("{path}/"))?;
        for deployment in &deployments {
            transaction = state::delete_deployment(transaction, &path.deployment(&deployment.value.name));
        }
        self.commit(transaction)?;
        self.app.directory().remove(path.tenant.as_str(), path.endpoint.as_str());
        self.loaded().retain(|deployment, _| deployment.endpoint != *path);
        for deployment in &deployments {
            self.forget_journal(&path.deployment(&deployment.value.name));
        }
        self.remove_unused_bundles();
        Ok(())
    }

    /// Puts another key in the place of one of an endpoint's. The one before opens nothing any more.
    pub fn put_key(
        &self,
        path: &EndpointPath,
        slot: KeySlot,
        key: Option<&str>,
        when: Precondition,
    ) -> Result<Versioned<Key>, ControlError> {
        let key = key.map_or_else(|| Ok(Key::random()), Key::parse);
        let key = key.map_err(|error| ControlError::Invalid(error.to_string()))?;
        let _change = self.change();
        let found = state::get::<StoredEndpoint>(&self.store, path)?;
        when.check(path, Some(&found))?;
        self.check_key_is_free(path, slot, key.hash())?;
        let mut stored = found.value.clone();
        let (hash, age) = match slot {
            KeySlot::Primary => (&mut stored.primary, &mut stored.endpoint.keys.primary),
            KeySlot::Secondary => (&mut stored.secondary, &mut stored.endpoint.keys.secondary),
        };
        if *hash != key.hash() {
            (*hash, *age) = (key.hash(), now());
        }
        let put = self.write(path, Some(found), stored)?;
        self.publish(path)?;
        Ok(Versioned { value: key, revision: put.now.revision })
    }

    /// Shares the requests of an endpoint out in another way.
    pub fn put_traffic(
        &self,
        path: &EndpointPath,
        spec: TrafficSpec,
        when: Precondition,
    ) -> Result<Versioned<Endpoint>, ControlError> {
        let _change = self.change();
        let found = state::get::<StoredEndpoint>(&self.store, path)?;
        when.check(path, Some(&found))?;
        let deployments = state::list::<Deployment>(&self.store, &format!("{path}/"))?;
        let is_ready = |name: &str| {
            deployments.iter().any(|other| other.value.name.as_str() == name && other.value.current.is_some())
        };
        let without_zeros = |shares: BTreeMap<Name, u8>| shares.into_iter().filter(|(_, share)| *share > 0).collect();
        spec.traffic().check(is_ready).map_err(|error| ControlError::Invalid(error.to_string()))?;
        let mut stored = found.value.clone();
        stored.endpoint.traffic = without_zeros(spec.traffic);
        stored.endpoint.mirror = without_zeros(spec.mirror);
        let put = self.write(path, Some(found), stored)?;
        self.publish(path)?;
        Ok(shown(put.now))
    }

    // --- deployments ---

    /// All deployments of an endpoint.
    pub fn deployments(&self, path: &EndpointPath) -> Result<Vec<Versioned<Deployment>>, ControlError> {
        state::get::<StoredEndpoint>(&self.store, path)?;
        state::list(&self.store, &format!("{path}/"))
    }

    /// A deployment.
    pub fn deployment(&self, path: &DeploymentPath) -> Result<Versioned<Deployment>, ControlError> {
        state::get(&self.store, path)
    }

    /// Has something deployed: it becomes a revision that is pending, and answers when it is ready. Where the last revision
    /// is the same, and has not failed, nothing changes.
    pub fn put_deployment(
        self: &Arc<Self>,
        path: &DeploymentPath,
        spec: DeploymentSpec,
        when: Precondition,
    ) -> Result<Put<Deployment>, ControlError> {
        let invalid = |error: String| ControlError::Invalid(error);
        spec.check().map_err(ControlError::Invalid)?;
        let _change = self.change();
        state::get::<StoredEndpoint>(&self.store, &path.endpoint)?;
        let found = state::find::<Deployment>(&self.store, path)?;
        when.check(path, found.as_ref())?;
        let quotas = state::get::<Tenant>(&self.store, &path.endpoint.tenant)?.value.quotas;
        spec.limits.within(&quotas.limits(&self.limits)).map_err(|error| invalid(error.to_string()))?;
        let bundle = self.store.blob(&spec.bundle)?;
        let bundle = bundle.ok_or_else(|| invalid(format!("there is no bundle {}; upload it first", spec.bundle)))?;
        self.check_quotas(path, &quotas, bundle.size, found.is_none())?;
        let mut deployment = found.as_ref().map_or_else(
            || Deployment {
                tenant: path.endpoint.tenant.clone(),
                endpoint: path.endpoint.endpoint.clone(),
                name: path.deployment.clone(),
                current: None,
                revisions: Vec::new(),
            },
            |found| found.value.clone(),
        );
        let is_the_same = deployment.latest().is_some_and(|latest| {
            let answers = latest.state == RevisionState::Pending || deployment.current == Some(latest.number);
            latest.spec == spec && answers
        });
        if let (true, Some(found)) = (is_the_same, found.clone()) {
            return Ok(Put { now: found, created: false });
        }
        let number = deployment.latest().map_or(1, |latest| latest.number + 1);
        deployment.revisions.push(Revision { number, spec, created: now(), state: RevisionState::Pending });
        deployment.forget_old_revisions();
        let put = self.write(path, found, deployment)?;
        self.deployer.ask(self, path);
        Ok(put)
    }

    /// Has a deployment answer with another of its revisions that were ready. Blocks until that answers. What is pending is
    /// given up.
    pub fn put_current(
        self: &Arc<Self>,
        path: &DeploymentPath,
        spec: CurrentSpec,
        when: Precondition,
    ) -> Result<Versioned<Deployment>, ControlError> {
        let found = state::get::<Deployment>(&self.store, path)?;
        when.check(path, Some(&found))?;
        let revision = found.value.revision(spec.revision).cloned().ok_or_else(|| {
            ControlError::NotFound(format!("revision {} of deployment {path} any more", spec.revision))
        })?;
        if revision.state != RevisionState::Ready {
            return Err(ControlError::Conflict(format!(
                "revision {} of deployment {path} has never been ready, so it cannot answer",
                spec.revision
            )));
        }
        let deployed = self.make(path, &revision).map_err(|why| {
            ControlError::Conflict(format!("revision {} of deployment {path} cannot answer: {why}", spec.revision))
        })?;
        let _change = self.change();
        let found = state::get::<Deployment>(&self.store, path)?;
        when.check(path, Some(&found))?;
        let mut deployment = found.value.clone();
        if deployment.revision(revision.number) != Some(&revision) {
            return Err(ControlError::Conflict(format!("deployment {path} has changed meanwhile; read it again")));
        }
        deployment.current = Some(revision.number);
        for other in &mut deployment.revisions {
            if other.state == RevisionState::Pending {
                let reason = format!("it was given up for revision {}", revision.number);
                other.state = RevisionState::Failed { reason };
            }
        }
        deployment.forget_old_revisions();
        let put = self.write(path, Some(found), deployment)?;
        self.answer_with(path, &revision, deployed);
        self.publish(&path.endpoint)?;
        Ok(put.now)
    }

    /// The last of what the scorer of a deployment said since the server started, and of why it failed: the lines after that
    /// of a number, oldest first; of more than `limit` the last.
    pub fn logs(&self, path: &DeploymentPath, after: u64, limit: usize) -> Result<Vec<LogLine>, ControlError> {
        state::get::<Deployment>(&self.store, path)?;
        Ok(self.journal(path).log.after(after, limit))
    }

    /// Deletes a deployment that gets no traffic.
    pub fn delete_deployment(&self, path: &DeploymentPath, when: Precondition) -> Result<(), ControlError> {
        let _change = self.change();
        let found = state::get::<Deployment>(&self.store, path)?;
        when.check(path, Some(&found))?;
        let endpoint = state::get::<StoredEndpoint>(&self.store, &path.endpoint)?.value.endpoint;
        if endpoint.traffic.contains_key(&path.deployment) || endpoint.mirror.contains_key(&path.deployment) {
            return Err(ControlError::Conflict(format!(
                "deployment {path} has traffic; give that to another deployment first"
            )));
        }
        self.commit(state::delete_deployment(Transaction::new(), path))?;
        self.loaded().remove(path);
        self.forget_journal(path);
        self.publish(&path.endpoint)?;
        self.remove_unused_bundles();
        Ok(())
    }

    // --- parts of the above ---

    /// To be held from reading to publishing.
    pub(crate) fn change(&self) -> MutexGuard<'_, ()> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn loaded(&self) -> MutexGuard<'_, HashMap<DeploymentPath, Loaded>> {
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tenants_served(&self) -> MutexGuard<'_, HashMap<Name, Arc<ServedTenant>>> {
        self.tenants.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The tenant whose quotas the requests of its endpoints share.
    fn tenant_served(&self, name: &Name) -> Result<Arc<ServedTenant>, ControlError> {
        let invalid = |error: QuotaError| ControlError::Invalid(error.to_string());
        let quotas = state::get::<Tenant>(&self.store, name)?.value.quotas.quotas().map_err(invalid)?;
        let mut tenants = self.tenants_served();
        let tenant = tenants.entry(name.clone()).or_insert_with(|| self.app.tenant(name.as_str(), quotas));
        Ok(Arc::clone(tenant))
    }

    fn journals(&self) -> MutexGuard<'_, HashMap<DeploymentPath, Arc<Journal>>> {
        self.journals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is said and counted of a deployment. Of one that is deleted, whoever asks, nothing is kept.
    pub(crate) fn journal(&self, path: &DeploymentPath) -> Arc<Journal> {
        self.find_journal(path).unwrap_or_default()
    }

    /// The same, if the deployment is there and the store can be read.
    pub(crate) fn find_journal(&self, path: &DeploymentPath) -> Option<Arc<Journal>> {
        let mut journals = self.journals();
        // A deletion is written before the journal is forgotten, for which this has to be over.
        if !matches!(state::find::<Deployment>(&self.store, path), Ok(Some(_))) {
            return None;
        }
        let journal = journals.entry(path.clone()).or_insert_with(|| {
            let EndpointPath { tenant, endpoint } = &path.endpoint;
            self.app.journal(tenant.as_str(), endpoint.as_str(), path.deployment.as_str())
        });
        Some(Arc::clone(journal))
    }

    fn forget_journal(&self, path: &DeploymentPath) {
        self.journals().remove(path);
        let EndpointPath { tenant, endpoint } = &path.endpoint;
        self.app.metrics().forget(tenant.as_str(), endpoint.as_str(), path.deployment.as_str());
    }

    /// Writes a record in the place of what was found, unless it is the same.
    pub(crate) fn write<T: Record + PartialEq>(
        &self,
        path: &T::Path,
        found: Option<Versioned<T>>,
        record: T,
    ) -> Result<Put<T>, ControlError> {
        let created = found.is_none();
        let expected = found.as_ref().map(|found| found.revision);
        if let Some(found) = found.filter(|found| found.value == record) {
            return Ok(Put { now: found, created });
        }
        let transaction = Transaction::new().expect(state::key::<T>(path), expected);
        let revision = self.commit(state::put(transaction, path, &record))?;
        Ok(Put { now: Versioned { value: record, revision }, created })
    }

    pub(crate) fn commit(&self, transaction: Transaction) -> Result<u64, CommitError> {
        let start = Instant::now();
        let revision = self.store.commit(transaction)?;
        self.app.metrics().commit(start.elapsed());
        Ok(revision)
    }

    /// Lets requests see an endpoint as the store has it.
    pub(crate) fn publish(&self, path: &EndpointPath) -> Result<(), ControlError> {
        let Versioned { value: stored, .. } = state::get::<StoredEndpoint>(&self.store, path)?;
        let loaded = self.loaded();
        let deployments = loaded
            .iter()
            .filter(|(deployment, _)| deployment.endpoint == *path)
            .map(|(path, loaded)| (path.deployment.to_string(), Arc::clone(&loaded.slot)))
            .collect();
        let Endpoint { traffic, mirror, hosts, .. } = stored.endpoint;
        self.app.directory().put(Served {
            tenant: self.tenant_served(&path.tenant)?,
            name: path.endpoint.to_string(),
            access: Access::Keys(vec![stored.primary, stored.secondary]),
            hosts,
            deployments,
            traffic: TrafficSpec { traffic, mirror }.traffic(),
        });
        Ok(())
    }

    /// Whether a tenant may have a deployment of a bundle with so many bytes.
    fn check_quotas(
        &self,
        path: &DeploymentPath,
        quotas: &QuotaSpec,
        size: u64,
        is_new: bool,
    ) -> Result<(), ControlError> {
        let tenant = &path.endpoint.tenant;
        quotas.check_bundle(tenant, size).map_err(ControlError::Conflict)?;
        if is_new && quotas.deployments.is_some() {
            let there = state::list::<Deployment>(&self.store, &format!("{tenant}/"))?.len();
            quotas.check_deployments(tenant, there + 1).map_err(ControlError::Conflict)?;
        }
        Ok(())
    }

    fn check_hosts_are_free(&self, path: &EndpointPath, hosts: &[String]) -> Result<(), ControlError> {
        if hosts.is_empty() {
            return Ok(());
        }
        for other in state::list::<StoredEndpoint>(&self.store, "")? {
            let other = other.value.endpoint;
            if (&other.tenant, &other.name) == (&path.tenant, &path.endpoint) {
                continue;
            }
            if let Some(host) = other.hosts.iter().find(|host| hosts.contains(host)) {
                return Err(ControlError::Conflict(format!("the host {host} is that of another endpoint")));
            }
        }
        Ok(())
    }

    /// A key says whose a request is, so it stands for one endpoint.
    fn check_key_is_free(&self, path: &EndpointPath, slot: KeySlot, hash: KeyHash) -> Result<(), ControlError> {
        for StoredEndpoint { endpoint, primary, secondary } in
            state::list::<StoredEndpoint>(&self.store, "")?.into_iter().map(|other| other.value)
        {
            let is_this = (&endpoint.tenant, &endpoint.name) == (&path.tenant, &path.endpoint);
            let others = [(KeySlot::Primary, primary), (KeySlot::Secondary, secondary)];
            if others.iter().any(|(other, found)| *found == hash && !(is_this && *other == slot)) {
                return Err(ControlError::Conflict("this key is in use already; give another one".to_owned()));
            }
        }
        Ok(())
    }
}

/// Reads all that is in a store, which nobody serves meanwhile, and says what is wrong with it: nothing where it is whole.
pub fn check_store(store: &Store) -> Result<Vec<String>, ControlError> {
    let mut used = BTreeSet::new();
    for deployment in state::list::<Deployment>(store, "")? {
        used.extend(deployment.value.revisions.into_iter().map(|revision| revision.spec.bundle));
    }
    state::list::<Tenant>(store, "")?;
    state::list::<StoredEndpoint>(store, "")?;
    let report = store.check(|_| Ok(used))?;
    let mut wrong = Vec::new();
    wrong.extend(report.database.into_iter().map(|problem| format!("the database is damaged: {problem}")));
    wrong.extend(report.damaged.into_iter().map(|blob| format!("{} is damaged", blob.path.display())));
    wrong.extend(report.missing.into_iter().map(|digest| format!("the bundle {digest} is missing")));
    wrong.extend(report.foreign.into_iter().map(|path| format!("{} is no bundle", path.display())));
    Ok(wrong)
}

/// An endpoint after it has been put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EndpointPut {
    /// It is new, and these are its keys.
    Created(CreatedEndpoint),
    /// It was there before.
    Changed(Endpoint),
}

fn shown(Versioned { value, revision }: Versioned<StoredEndpoint>) -> Versioned<Endpoint> {
    Versioned { value: value.endpoint, revision }
}

/// In whole seconds, as it is shown.
fn now() -> OffsetDateTime {
    let now = OffsetDateTime::now_utc();
    now.replace_nanosecond(0).unwrap_or(now)
}
