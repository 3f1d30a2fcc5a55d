//! Changes, what they are called, and making them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Display};
use std::io::Cursor;

use scorebox_control::api::DeploymentStatus;
use scorebox_control::resource::{CreatedEndpoint, Deployment, EndpointSpec, RevisionState};
use scorebox_control::{DeploymentPath, EndpointPath};
use scorebox_store::Digest;
use serde::Serialize;
use serde_json::{Value, json};

use super::deployments_of;
use crate::failure::Failure;
use crate::manage::remote::Remote;
use crate::manage::{deployment_address, endpoint_address, wait_until_ready};

/// Characters of a value that are shown.
const MAX_SHOWN: usize = 60;
/// Hexadecimal digits of a bundle's digest that are shown.
const DIGITS: usize = 12;

/// Makes the changes, and hands on the endpoints that are created. Returns how many are made. Where one fails, hosts go back to
/// the endpoints off which they have been taken, unless others have been given them.
pub(super) fn make(
    server: &Remote,
    changes: &mut [Change],
    mut created: impl FnMut(CreatedEndpoint),
) -> Result<usize, Failure> {
    let count = changes.len();
    let receivers = changes.iter().filter_map(Change::receiver).collect();
    let mut done = Done { tags: BTreeMap::new(), receivers, taken: Vec::new() };
    for (made, change) in changes.iter_mut().enumerate() {
        let endpoint = change.make(server, &mut done).map_err(|failure| {
            let (heading, back) = (change.heading(), done.put_back(server));
            Failure::failed(format!(
                "`{heading}` is not made, {made} of {count} changes before it are: {failure}{back}"
            ))
        })?;
        if let Some(endpoint) = endpoint {
            created(endpoint);
        }
    }
    Ok(count)
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
pub(super) enum What {
    Tenant,
    Endpoint(EndpointPath),
    Deployment {
        path: DeploymentPath,
        bundle: Vec<u8>,
        /// What was there.
        seen: Option<Deployment>,
    },
    Traffic(EndpointPath),
    /// Hosts are taken off an endpoint, to be given to others.
    Taking(Taken),
    /// An endpoint gets the hosts of the file: what it is then.
    Giving(EndpointPath, EndpointSpec),
    /// An endpoint is deleted, with the deployments that were seen.
    EndpointDeletion(EndpointPath, Vec<Deployment>),
    /// A deployment is deleted.
    DeploymentDeletion(Deployment),
}

/// An endpoint off which hosts are taken.
#[derive(Debug, Clone)]
pub(super) struct Taken {
    pub(super) path: EndpointPath,
    /// What it is then.
    pub(super) spec: EndpointSpec,
    /// The hosts, as long as no other endpoint has been given them.
    pub(super) hosts: Vec<String>,
}

/// What has been done, as far as what follows has to know it.
struct Done {
    /// The entity tags of endpoints that have been changed, or whose traffic has been.
    tags: BTreeMap<EndpointPath, String>,
    /// The endpoints that get hosts at the end, with the entity tags that were seen of those that were there.
    receivers: Vec<(EndpointPath, Option<String>)>,
    taken: Vec<Taken>,
}

impl Done {
    /// Fails if somebody has changed an endpoint that is to get hosts: then none is taken off another one.
    fn check_receivers(&self, server: &Remote) -> Result<(), Failure> {
        for (path, seen) in &self.receivers {
            let found = server.find::<Value>(&endpoint_address(path))?.map(|(_, tag)| tag);
            if found.as_ref() != self.tags.get(path).or(seen.as_ref()) {
                return Err(Failure::failed(format!(
                    "endpoint {path} has changed since, and was to get other hosts; look at it, then apply the file again"
                )));
            }
        }
        Ok(())
    }

    /// Takes note of what an endpoint is that has been given its hosts.
    fn given(&mut self, path: &EndpointPath, spec: &EndpointSpec) {
        for taken in &mut self.taken {
            taken.hosts.retain(|host| !spec.hosts.contains(host));
            if taken.path == *path {
                taken.spec = spec.clone();
            }
        }
    }

    /// Puts hosts that no other endpoint has been given back where they were, unless somebody has changed that endpoint since.
    /// Returns what became of them, to be said behind why that is done.
    fn put_back(&self, server: &Remote) -> String {
        let lost = self.taken.iter().filter(|taken| !taken.hosts.is_empty());
        let said = lost.map(|Taken { path, spec, hosts }| {
            let spec = EndpointSpec { hosts: [&spec.hosts[..], &hosts[..]].concat(), ..spec.clone() };
            let tag = self.tags.get(path).expect("an endpoint that has been changed has a tag");
            let what = format!("; {} was taken off {path} before, and", hosts.join(", "));
            match server.put_seen::<Value>(&endpoint_address(path), tag, &spec) {
                Ok(_) => format!("{what} is back there"),
                Err(failure) => format!("{what} cannot be put back there: {failure}"),
            }
        });
        said.collect::<Vec<_>>().concat()
    }
}

/// One change.
pub(super) struct Change {
    action: Action,
    pub(super) heading: String,
    differences: Vec<String>,
    address: String,
    /// The entity tag of what was seen; `None` where nothing was.
    tag: Option<String>,
    spec: Value,
    what: What,
}

impl Change {
    /// The change from what was to what is to be, if it is one.
    pub(super) fn between<T: Serialize + PartialEq>(
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

    /// The deletion of an endpoint that has this entity tag, unless changes that come before give it another one.
    pub(super) fn endpoint_deletion(path: EndpointPath, tag: String, deployments: Vec<Deployment>) -> Self {
        let (heading, address) = (format!("endpoint {path}"), endpoint_address(&path));
        Self::deletion(heading, address, Some(tag), What::EndpointDeletion(path, deployments))
    }

    pub(super) fn deployment_deletion(seen: Deployment) -> Self {
        let path = seen.path();
        let (heading, address) = (format!("deployment {path}"), deployment_address(&path));
        Self::deletion(heading, address, None, What::DeploymentDeletion(seen))
    }

    fn deletion(heading: String, address: String, tag: Option<String>, what: What) -> Self {
        Self { action: Action::Delete, heading, differences: Vec::new(), address, tag, spec: Value::Null, what }
    }

    fn heading(&self) -> String {
        let sign = match self.action {
            Action::Create => '+',
            Action::Change => '~',
            Action::Delete => '-',
        };
        format!("{sign} {}", self.heading)
    }

    pub(super) fn document(&self) -> Value {
        json!({"action": self.action, "what": self.heading, "differences": self.differences})
    }

    /// The endpoint that gets hosts by it, with the entity tag that was seen.
    fn receiver(&self) -> Option<(EndpointPath, Option<String>)> {
        match &self.what {
            What::Giving(path, _) => Some((path.clone(), self.tag.clone())),
            _ => None,
        }
    }

    /// Makes it, and takes note of that. Returns an endpoint that was created.
    fn make(&mut self, server: &Remote, done: &mut Done) -> Result<Option<CreatedEndpoint>, Failure> {
        match &mut self.what {
            What::EndpointDeletion(path, seen) => {
                let now = deployments_of(server, path)?;
                if seen.len() != now.len() || seen.iter().zip(&now).any(|(seen, now)| is_changed(seen, now)) {
                    return Err(changed_since(&format!("a deployment of endpoint {path}")));
                }
                let tag = done.tags.get(path).or(self.tag.as_ref()).expect("what is deleted has been seen");
                server.delete_seen(&self.address, tag)?;
            }
            What::DeploymentDeletion(seen) => server.delete_seen(&self.address, &tag_of(server, seen)?)?,
            What::Deployment { path, bundle, seen } => {
                let bundle = std::mem::take(bundle);
                let (digest, size) = (Digest::of(&bundle), bundle.len() as u64);
                server.upload(&digest, Cursor::new(bundle), size)?;
                let (status, _): (DeploymentStatus, _) = match seen {
                    Some(seen) => server.put_seen(&self.address, &tag_of(server, seen)?, &self.spec)?,
                    None => server.put_new(&self.address, &self.spec)?,
                };
                wait_until_ready(server, path, status)?;
            }
            What::Endpoint(path) if self.action == Action::Create => {
                let (created, tag) = server.put_new(&self.address, &self.spec)?;
                done.tags.insert(path.clone(), tag);
                return Ok(Some(created));
            }
            What::Tenant if self.action == Action::Create => {
                server.put_new::<Value>(&self.address, &self.spec)?;
            }
            What::Endpoint(path) | What::Traffic(path) => {
                let path = path.clone();
                self.put_endpoint(server, done, path)?;
            }
            What::Taking(taken) => {
                let taken = taken.clone();
                if done.taken.is_empty() {
                    done.check_receivers(server)?;
                }
                self.put_endpoint(server, done, taken.path.clone())?;
                done.taken.push(taken);
            }
            What::Giving(path, spec) => {
                let (path, spec) = (path.clone(), spec.clone());
                self.put_endpoint(server, done, path.clone())?;
                done.given(&path, &spec);
            }
            What::Tenant => drop(self.put_seen(server, self.tag.as_ref())?),
        }
        Ok(None)
    }

    /// Puts it in the place of what this endpoint was after the change before.
    fn put_endpoint(&self, server: &Remote, done: &mut Done, path: EndpointPath) -> Result<(), Failure> {
        let tag = self.put_seen(server, done.tags.get(&path).or(self.tag.as_ref()))?;
        done.tags.insert(path, tag);
        Ok(())
    }

    /// Puts it in the place of what had this entity tag. Returns its new one.
    fn put_seen(&self, server: &Remote, tag: Option<&String>) -> Result<String, Failure> {
        let tag = tag.expect("what is changed has been seen");
        server.put_seen::<Value>(&self.address, tag, &self.spec).map(|(_, tag)| tag)
    }
}

/// The entity tag of a deployment, unless somebody has changed it since it was seen. It has another one when a revision has
/// become ready.
fn tag_of(server: &Remote, seen: &Deployment) -> Result<String, Failure> {
    let path = seen.path();
    let now = server.find::<DeploymentStatus>(&deployment_address(&path))?;
    let now = now.filter(|(status, _)| !is_changed(seen, &status.deployment));
    now.map(|(_, tag)| tag).ok_or_else(|| changed_since(&format!("deployment {path}")))
}

/// Whether somebody has changed a deployment, apart from what was being made ready.
fn is_changed(seen: &Deployment, now: &Deployment) -> bool {
    let ids = |deployment: &Deployment| -> Vec<_> {
        deployment.revisions.iter().map(|revision| (revision.number, revision.created)).collect()
    };
    let was_pending = |number| seen.revision(number).is_some_and(|revision| revision.state == RevisionState::Pending);
    let is_current_as_expected = seen.current == now.current || now.current.is_some_and(was_pending);
    seen.name != now.name || ids(seen) != ids(now) || !is_current_as_expected
}

fn changed_since(what: &str) -> Failure {
    Failure::failed(format!("{what} has changed since; look at it, then apply the file again"))
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
}
