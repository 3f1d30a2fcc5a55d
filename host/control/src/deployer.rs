//! From a revision that is pending to one that answers.
//!
//! One is made ready at a time, in the order in which they were asked for, on a thread of its own: requests need the cores.
//! What answers before goes on until the new revision has taken its place, and for good where that fails. A revision that was
//! pending when the server ended is made ready when it starts again, unless that may be what ends the server.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use scorebox_sandbox::{Bundle, Stage};
use scorebox_server::{Deployed, Journal, Load, LogLine, Plan, Residence};
use scorebox_store::{Store, StoreError, Transaction};
use time::OffsetDateTime;

use crate::control::{Control, Loaded};
use crate::error::ControlError;
use crate::name::{DeploymentPath, EndpointPath};
use crate::resource::{Deployment, Revision, RevisionState, Tenant};
use crate::state::{self, Begun, StoredEndpoint};

/// How long to wait before an outcome is written again that could not be written: when the disk is full, for instance.
const RETRY: Duration = Duration::from_secs(5);
/// What the traceback of a script begins with.
const TRACEBACK: &str = "Traceback (most recent call last):";
/// Bytes that are kept of why a deployment failed.
const MAX_REASON: usize = 16 * 1024;
/// How long a bundle may lie that nobody has deployed.
const UNUSED: Duration = Duration::from_hours(24);
/// How often it is looked for such bundles while nothing is deployed.
const LOOK: Duration = Duration::from_hours(1);
/// How often a revision is begun to be made ready while the server ends each time. Twice may be by chance: operators restart the
/// server, or kill it, as they like, and the first script on a machine takes a minute. What only waits is not counted. A
/// supervisor that gives up after five ends in a row, as systemd does, still sees the server start.
const MOST_BEGINNINGS: u32 = 3;

/// Reads bundles that were uploaded. What kinds there are is not known here.
pub trait ReadBundle: Debug + Send + Sync {
    /// Reads the bundle at `path`, whose files may have `limit` bytes, with these environment variables; and the OpenAPI
    /// documents in it, by file name.
    fn read(
        &self,
        path: &Path,
        environment: &BTreeMap<String, String>,
        limit: u64,
    ) -> Result<(Bundle, BTreeMap<String, Bytes>), String>;
}

/// What is to be made ready, and how far that has got.
#[derive(Debug, Default)]
pub(crate) struct Deployer {
    queue: Mutex<Option<Sender<DeploymentPath>>>,
    /// With when they began.
    stages: Mutex<HashMap<DeploymentPath, (DeployStage, Instant)>>,
}

/// Where a revision has got to that is made ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeployStage {
    /// It is sealed.
    Sealing(Stage),
    /// It is tried.
    Probing,
}

impl DeployStage {
    /// What it is called.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sealing(Stage::Loading) => "loading",
            Self::Sealing(Stage::CompilingRuntime) => "compiling-runtime",
            Self::Sealing(Stage::Compiling) => "compiling",
            Self::Sealing(Stage::Initialising) => "initialising",
            Self::Sealing(Stage::Sealing) => "sealing",
            Self::Probing => "probing",
        }
    }
}

impl Deployer {
    /// Has the last revision of a deployment made ready.
    pub(crate) fn ask(&self, control: &Arc<Control>, path: &DeploymentPath) {
        // The thread ends with the last owner, which asks no more.
        let _ = self.start(control).send(path.clone());
    }

    /// Starts the thread, unless it runs. Returns the way to it.
    fn start(&self, control: &Arc<Control>) -> Sender<DeploymentPath> {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let sender = queue.get_or_insert_with(|| {
            let (sender, receiver) = channel();
            let control = Arc::downgrade(control);
            thread::Builder::new()
                .name("deployer".to_owned())
                .spawn(move || work(&control, &receiver))
                .expect("the system can start a thread");
            sender
        });
        sender.clone()
    }

    /// Where sealing has got to, while it goes on.
    pub(crate) fn stage(&self, path: &DeploymentPath) -> Option<DeployStage> {
        self.stages.lock().unwrap_or_else(PoisonError::into_inner).get(path).map(|(stage, _)| *stage)
    }

    /// Takes note that a stage begins, or with `None` that the last one is over. Returns the one before, and how long it took.
    fn set_stage(&self, path: &DeploymentPath, stage: Option<DeployStage>) -> Option<(DeployStage, Duration)> {
        let mut stages = self.stages.lock().unwrap_or_else(PoisonError::into_inner);
        let before = match stage {
            Some(stage) => stages.insert(path.clone(), (stage, Instant::now())),
            None => stages.remove(path),
        };
        before.map(|(stage, since)| (stage, since.elapsed()))
    }
}

/// A reason as it is kept.
fn cut(reason: &str) -> String {
    let kept = reason.floor_char_boundary(MAX_REASON);
    if kept == reason.len() { reason.to_owned() } else { format!("{}... (it goes on in the log)", &reason[..kept]) }
}

/// A reason with the traceback of its script, which that has logged while it was made ready.
fn with_traceback(reason: String, said: &[LogLine]) -> String {
    let is_traceback = |line: &&LogLine| line.request_id.is_none() && line.text.contains(TRACEBACK);
    match said.iter().rfind(is_traceback) {
        Some(line) if !reason.contains(TRACEBACK) => format!("{reason}\n{}", line.text.trim()),
        _ => reason,
    }
}

fn work(control: &Weak<Control>, queue: &Receiver<DeploymentPath>) {
    loop {
        let asked = queue.recv_timeout(LOOK);
        let Some(control) = control.upgrade() else { return };
        match asked {
            Ok(path) => {
                let mut is_counted = false;
                while let Err(error) = control.deploy_pending(&path, &mut is_counted) {
                    tracing::error!(
                        "what becomes of deploying {path} cannot be written, which is tried again: {error}"
                    );
                    thread::sleep(RETRY);
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        let _change = control.change();
        control.remove_unused_bundles();
    }
}

/// A revision that comes back from its bundle, and from what the cache has of that.
#[derive(Debug)]
struct Parked {
    control: Weak<Control>,
    path: DeploymentPath,
    revision: u64,
    /// When the revision was created: there may be another deployment of the name by now.
    created: OffsetDateTime,
}

impl Parked {
    fn new(control: &Arc<Control>, path: &DeploymentPath, revision: &Revision) -> Self {
        let Revision { number, created, .. } = *revision;
        Self { control: Arc::downgrade(control), path: path.clone(), revision: number, created }
    }

    fn revision(&self) -> Result<(Arc<Control>, Revision), String> {
        let control = self.control.upgrade().ok_or("the server is about to end")?;
        let found = state::find::<Deployment>(&control.store, &self.path).map_err(|error| error.to_string())?;
        let revision = found.and_then(|found| found.value.revision(self.revision).cloned());
        let revision = revision.filter(|revision| revision.created == self.created);
        Ok((control, revision.ok_or_else(|| format!("revision {} of it is deleted", self.revision))?))
    }
}

impl Load for Parked {
    fn find(&self) -> Result<Option<Deployed>, String> {
        let (control, revision) = self.revision()?;
        let (bundle, plan) = control.read(&self.path, &revision)?;
        control.app.find(&bundle, plan, &prefix(&self.path)).map_err(|error| error.to_string())
    }

    fn seal(&self) -> Result<Deployed, String> {
        let (control, revision) = self.revision()?;
        let (bundle, plan) = control.read(&self.path, &revision)?;
        control.app.deploy(&bundle, plan, &prefix(&self.path), &|_| {}).map_err(|error| error.to_string())
    }

    fn journal(&self) -> Option<Arc<Journal>> {
        self.control.upgrade()?.find_journal(&self.path)
    }
}

/// What the paths of an endpoint begin with.
fn prefix(path: &DeploymentPath) -> String {
    format!("/{}", path.endpoint)
}

impl Control {
    /// Serves what the store has. What is ready is parked at first, and comes back when it is asked for; see
    /// [`Control::bring_back`]. What is pending follows.
    pub fn start(self: &Arc<Self>) -> Result<(), ControlError> {
        let start = Instant::now();
        let deployments = state::list::<Deployment>(&self.store, "")?;
        let mut endpoints = Vec::new();
        for endpoint in state::list::<StoredEndpoint>(&self.store, "")? {
            let endpoint = endpoint.value.endpoint;
            endpoints.push(EndpointPath { tenant: endpoint.tenant, endpoint: endpoint.name });
        }
        for deployment in deployments.iter().map(|deployment| &deployment.value) {
            if let Some(revision) = deployment.current.and_then(|current| deployment.revision(current)) {
                let path = deployment.path();
                let parked = Parked::new(self, &path, revision);
                let slot = self.app.parking().parked(&path.to_string(), Box::new(parked));
                self.loaded().insert(path, Loaded { revision: revision.number, slot });
            }
        }
        for endpoint in &endpoints {
            self.publish(endpoint)?;
        }
        for deployment in deployments.iter().map(|deployment| &deployment.value) {
            if deployment.latest().is_some_and(|latest| latest.state == RevisionState::Pending) {
                self.deployer.ask(self, &deployment.path());
            }
        }
        self.remove_unused_bundles();
        // It goes on with that, also where nothing is deployed.
        self.deployer.start(self);
        tracing::info!(
            "{} endpoints with {} deployments are served, after {:.0} ms",
            endpoints.len(),
            self.loaded().len(),
            start.elapsed().as_secs_f64() * 1e3
        );
        Ok(())
    }

    /// Brings back into memory what is parked and has traffic, as far as the budget goes.
    pub async fn bring_back(&self) {
        let slots = self.app.directory().all().into_iter().flat_map(|endpoint| {
            let has_traffic = |name: &str| endpoint.traffic.traffic.get(name).is_some_and(|share| *share > 0);
            let slots = endpoint.deployments.iter().filter(|(name, _)| has_traffic(name));
            slots.map(|(_, slot)| Arc::downgrade(slot)).collect::<Vec<_>>()
        });
        self.app.parking().bring_back(slots.collect()).await;
    }

    /// Where the last revision of a deployment has got to, while it is made ready.
    pub fn stage(&self, path: &DeploymentPath) -> Option<DeployStage> {
        self.deployer.stage(path)
    }

    /// Whether a deployment can answer, and with which revision.
    pub fn answering(&self, path: &DeploymentPath) -> Option<u64> {
        self.loaded().get(path).map(|loaded| loaded.revision)
    }

    /// Whether that is in memory.
    pub fn residence(&self, path: &DeploymentPath) -> Option<Residence> {
        self.loaded().get(path).map(|loaded| loaded.slot.residence())
    }

    /// Has a deployment answer with a revision from the next [`Control::publish`] on.
    pub(crate) fn answer_with(self: &Arc<Self>, path: &DeploymentPath, revision: &Revision, deployed: Deployed) {
        let parked = Parked::new(self, path, revision);
        let slot = self.app.parking().resident(&path.to_string(), deployed, Box::new(parked));
        self.loaded().insert(path.clone(), Loaded { revision: revision.number, slot });
    }

    /// Makes the last revision of a deployment ready, if it is pending. That it is begun is counted once.
    fn deploy_pending(self: &Arc<Self>, path: &DeploymentPath, is_counted: &mut bool) -> Result<(), ControlError> {
        let pending = |deployment: &Deployment| {
            deployment.latest().filter(|latest| latest.state == RevisionState::Pending).cloned()
        };
        let Some(revision) = state::find::<Deployment>(&self.store, path)?.and_then(|found| pending(&found.value))
        else {
            return Ok(());
        };
        let log = self.journal(path);
        let said = log.log.after(0, 1).first().map_or(0, |line| line.number);
        if !*is_counted {
            self.count_beginning(path, &revision)?;
            *is_counted = true;
        }
        // A defect of the host in one deployment must not keep others from being made ready.
        let made = catch_unwind(AssertUnwindSafe(|| {
            self.check_beginnings(path, &revision)?;
            self.make(path, &revision).and_then(|deployed| self.tried(path, &revision, deployed))
        }))
        .unwrap_or_else(|_| Err("the server failed to deploy it; its log says why".to_owned()))
        .map_err(|reason| cut(&with_traceback(reason, &log.log.after(said, usize::MAX))));
        self.set_stage(path, None);
        let _change = self.change();
        // It may have been given up meanwhile, or deleted, and be another of the same name now.
        let Some(found) = state::find::<Deployment>(&self.store, path)? else {
            self.commit(Transaction::new().delete(state::key::<Begun>(path)))?;
            return Ok(());
        };
        let mut deployment = found.value.clone();
        let last = deployment.latest().map(|latest| latest.number);
        let Some(current) = deployment.revisions.iter_mut().find(|other| **other == revision) else {
            return Ok(());
        };
        current.state = match &made {
            Ok(_) => RevisionState::Ready,
            Err(reason) => RevisionState::Failed { reason: reason.clone() },
        };
        for older in deployment.revisions.iter_mut().filter(|other| other.number < revision.number) {
            if older.state == RevisionState::Pending {
                let reason = format!("it was given up for revision {}", revision.number);
                older.state = RevisionState::Failed { reason };
            }
        }
        // What answered until now is kept, however many have failed since.
        deployment.forget_old_revisions();
        if made.is_ok() {
            deployment.current = Some(revision.number);
        }
        self.write(path, Some(found), deployment)?;
        self.app.metrics().revision(made.is_ok());
        match made {
            Ok(deployed) => {
                self.answer_with(path, &revision, deployed);
                self.publish(&path.endpoint)?;
                tracing::info!("revision {} of deployment {path} answers", revision.number);
            }
            Err(reason) => tracing::error!("revision {} of deployment {path} failed: {reason}", revision.number),
        }
        if last != Some(revision.number) {
            tracing::info!("deployment {path} has a newer revision, which is next");
        }
        self.commit(Transaction::new().delete(state::key::<Begun>(path)))?;
        Ok(())
    }

    /// Writes down that a revision is begun to be made ready.
    fn count_beginning(&self, path: &DeploymentPath, revision: &Revision) -> Result<(), ControlError> {
        let found = state::find::<Begun>(&self.store, path)?;
        let before = found.as_ref().map(|found| &found.value).filter(|begun| begun.is_of(revision));
        let times = before.map_or(0, |begun| begun.times).saturating_add(1);
        let begun = Begun { number: revision.number, created: revision.created, times };
        self.write(path, found, begun)?;
        Ok(())
    }

    /// Refuses a revision whose deployment has ended the server too often.
    fn check_beginnings(&self, path: &DeploymentPath, revision: &Revision) -> Result<(), String> {
        let begun = state::find::<Begun>(&self.store, path).map_err(|error| error.to_string())?;
        let begun = begun.filter(|begun| begun.value.is_of(revision));
        let before = begun.map_or(0, |begun| begun.value.times.saturating_sub(1));
        if before < MOST_BEGINNINGS {
            return Ok(());
        }
        Err(format!(
            "the server ended {before} times while it was deployed; does it take more memory than the machine has? \
             Deploy it again to have it tried again"
        ))
    }

    fn set_stage(&self, path: &DeploymentPath, stage: Option<DeployStage>) {
        if let Some((ended, took)) = self.deployer.set_stage(path, stage) {
            self.app.metrics().stage(ended.as_str(), took);
        }
    }

    /// Makes a revision that can answer, or says why not.
    pub(crate) fn make(&self, path: &DeploymentPath, revision: &Revision) -> Result<Deployed, String> {
        let (bundle, plan) = self.read(path, revision)?;
        let progress = |stage| self.set_stage(path, Some(DeployStage::Sealing(stage)));
        let deployed = self.app.deploy(&bundle, plan, &prefix(path), &progress);
        self.set_stage(path, None);
        let deployed = deployed.map_err(|error| error.to_string())?;
        self.check_memory(path, &deployed)?;
        Ok(deployed)
    }

    /// Refuses what could never answer, for want of the memory that its instances start with.
    fn check_memory(&self, path: &DeploymentPath, deployed: &Deployed) -> Result<(), String> {
        let tenant = &path.endpoint.tenant;
        let quotas = state::get::<Tenant>(&self.store, tenant).map_err(|error| error.to_string())?.value.quotas;
        let needed = deployed.deployment().module.snapshot_bytes;
        match quotas.memory.filter(|most| needed > *most) {
            None => Ok(()),
            Some(most) => Err(format!(
                "each instance starts with the {needed} bytes of memory that there are after init(), and all instances of \
                 tenant {tenant} together may have {most}; make the model smaller, or raise the quota"
            )),
        }
    }

    /// Reads what a revision is made of.
    fn read(&self, path: &DeploymentPath, revision: &Revision) -> Result<(Bundle, Plan), String> {
        let spec = &revision.spec;
        let limits = spec.limits.within(&self.limits).map_err(|error| error.to_string())?;
        let blob = self.store.blob(&spec.bundle).map_err(|error| error.to_string())?;
        let blob = blob.ok_or_else(|| format!("its bundle {} is gone; upload it again", spec.bundle))?;
        let (mut bundle, swagger_files) = self.bundles.read(&blob.path, &spec.environment, limits.memory)?;
        // Another tenant that is given the name of one that is deleted has nothing of what that has left in the cache.
        let tenant = state::get::<Tenant>(&self.store, &path.endpoint.tenant).map_err(|error| error.to_string())?;
        bundle.owner = format!("{path} since {}", tenant.value.created);
        let version = spec.version.clone().unwrap_or_else(|| revision.number.to_string());
        let plan =
            Plan { name: path.deployment.to_string(), version, limits, swagger_files, journal: self.journal(path) };
        Ok((bundle, plan))
    }

    /// Has a revision answer its probe. Without one it is given the example of its schema, which only warms it: nobody has
    /// said that it is an input.
    fn tried(&self, path: &DeploymentPath, revision: &Revision, deployed: Deployed) -> Result<Deployed, String> {
        self.set_stage(path, Some(DeployStage::Probing));
        if let Some(probe) = &revision.spec.probe {
            self.app.probe(&deployed, &probe.probe()?).map_err(|reason| format!("its probe failed: {reason}"))?;
        } else if let Some(sample) = deployed.sample()
            && let Err(reason) = self.app.probe(&deployed, &sample)
        {
            let number = revision.number;
            tracing::warn!(
                "revision {number} of deployment {path} does not answer the example of its schema: {reason}"
            );
        }
        Ok(deployed)
    }

    /// Removes bundles that no revision is of. Those that are new are kept: they may be about to be deployed.
    pub(crate) fn remove_unused_bundles(&self) {
        if let Err(error) = remove_unused_bundles(&self.store) {
            tracing::warn!("bundles that nobody needs are not removed: {error}");
        }
    }
}

fn remove_unused_bundles(store: &Store) -> Result<(), ControlError> {
    let mut used = HashSet::new();
    for deployment in state::list::<Deployment>(store, "")? {
        used.extend(deployment.value.revisions.into_iter().map(|revision| revision.spec.bundle));
    }
    for blob in store.blobs()? {
        let age = blob.path.metadata().and_then(|metadata| metadata.modified()).ok();
        let age = age.and_then(|written| SystemTime::now().duration_since(written).ok());
        if used.contains(&blob.digest) || age.is_none_or(|age| age <= UNUSED) {
            continue;
        }
        match store.remove_blob(&blob.digest) {
            // It goes the next time.
            Ok(_) | Err(StoreError::Busy { .. } | StoreError::Held { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    store.remove_stale_uploads(UNUSED)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use scorebox_store::Digest;

    use super::*;

    #[test]
    fn old_bundles_that_nobody_deploys_are_removed_though_others_are_busy() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let upload = |content: &[u8]| {
            let digest = Digest::of(content);
            let mut upload = store.upload(&digest, 0).unwrap();
            upload.append(content).unwrap();
            upload.finish().unwrap();
            digest
        };
        let mut bundles: Vec<_> = (0..5_u8).map(|number| upload(&[number])).collect();
        bundles.sort_unstable();
        let [busy, unused, used, new, last] = bundles[..] else { panic!("five of them") };
        for digest in [busy, unused, used, last] {
            let file = File::options().append(true).open(store.blob(&digest).unwrap().unwrap().path).unwrap();
            file.set_modified(SystemTime::now() - 2 * UNUSED).unwrap();
        }
        let deployment: Deployment = serde_json::from_value(serde_json::json!({
            "tenant": "acme", "endpoint": "iris", "name": "blue", "current": 1,
            "revisions": [
                {"number": 1, "spec": {"bundle": used.to_string()}, "created": "2026-11-01T00:00:00Z", "state": {"state": "ready"}}
            ],
        }))
        .unwrap();
        store.commit(state::put(Transaction::new(), &deployment.path(), &deployment)).unwrap();
        let _busy = store.upload(&busy, 0).unwrap();
        remove_unused_bundles(&store).unwrap();
        let left: Vec<_> = store.blobs().unwrap().iter().map(|blob| blob.digest).collect();
        assert_eq!(left, [busy, used, new]);
    }
}
