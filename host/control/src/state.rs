//! Where things are in the store, and how they are written: as JSON, each under a key that has its names.

use scorebox_server::credentials::KeyHash;
use scorebox_store::{Entry, Store, Transaction};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::error::ControlError;
use crate::name::{DeploymentPath, EndpointPath, Name};
use crate::resource::{Deployment, Endpoint, Revision, Tenant};

/// A value with the revision of the store that changed it last: its entity tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Versioned<T> {
    /// The value.
    pub value: T,
    /// The revision.
    pub revision: u64,
}

/// An endpoint with what is kept of its keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StoredEndpoint {
    pub(crate) endpoint: Endpoint,
    pub(crate) primary: KeyHash,
    pub(crate) secondary: KeyHash,
}

/// How often a revision has been begun to be made ready whose end nobody has written down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Begun {
    pub(crate) number: u64,
    #[serde(with = "time::serde::rfc3339")]
    pub(crate) created: OffsetDateTime,
    pub(crate) times: u32,
}

impl Begun {
    pub(crate) fn is_of(&self, revision: &Revision) -> bool {
        (self.number, self.created) == (revision.number, revision.created)
    }
}

/// What is in the store.
pub(crate) trait Record: Serialize + DeserializeOwned {
    /// What it is called in errors.
    const KIND: &str;
    /// What its keys begin with.
    const PREFIX: &str;
    /// What names it.
    type Path: std::fmt::Display;
}

impl Record for Tenant {
    const KIND: &str = "tenant";
    const PREFIX: &str = "tenants/";
    type Path = Name;
}

impl Record for StoredEndpoint {
    const KIND: &str = "endpoint";
    const PREFIX: &str = "endpoints/";
    type Path = EndpointPath;
}

impl Record for Deployment {
    const KIND: &str = "deployment";
    const PREFIX: &str = "deployments/";
    type Path = DeploymentPath;
}

impl Record for Begun {
    const KIND: &str = "beginning of deployment";
    const PREFIX: &str = "begun/";
    type Path = DeploymentPath;
}

/// The key of a record.
pub(crate) fn key<T: Record>(path: &T::Path) -> String {
    format!("{}{path}", T::PREFIX)
}

/// What a record is called in errors.
pub(crate) fn described<T: Record>(path: &T::Path) -> String {
    format!("{} {path}", T::KIND)
}

fn read<T: Record>(entry: Entry) -> Result<Versioned<T>, ControlError> {
    let Entry { key, value, revision } = entry;
    match serde_json::from_slice(&value) {
        Ok(value) => Ok(Versioned { value, revision }),
        Err(error) => Err(ControlError::Unreadable { key, why: error.to_string() }),
    }
}

/// A record, if it is there.
pub(crate) fn find<T: Record>(store: &Store, path: &T::Path) -> Result<Option<Versioned<T>>, ControlError> {
    store.get(&key::<T>(path))?.map(read).transpose()
}

/// A record that must be there.
pub(crate) fn get<T: Record>(store: &Store, path: &T::Path) -> Result<Versioned<T>, ControlError> {
    find(store, path)?.ok_or_else(|| ControlError::NotFound(described::<T>(path)))
}

/// All records of a kind, in order of their names. `below` is what their names begin with: all, or those of one parent.
pub(crate) fn list<T: Record>(store: &Store, below: &str) -> Result<Vec<Versioned<T>>, ControlError> {
    store.scan(&format!("{}{below}", T::PREFIX))?.into_iter().map(read).collect()
}

/// Adds the writing of a record to a transaction.
pub(crate) fn put<T: Record>(transaction: Transaction, path: &T::Path, record: &T) -> Transaction {
    let json = serde_json::to_vec(record).expect("records are texts, numbers and lists of them");
    transaction.put(key::<T>(path), json)
}

/// Adds the deletion of a deployment to a transaction, and of the note that it was begun to be made ready, which nobody would
/// delete later.
pub(crate) fn delete_deployment(transaction: Transaction, path: &DeploymentPath) -> Transaction {
    transaction.delete(key::<Deployment>(path)).delete(key::<Begun>(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_left_of_a_deployment_that_is_deleted_before_it_was_made_ready() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let begun = Begun { number: 1, created: OffsetDateTime::UNIX_EPOCH, times: 1 };
        for name in ["blue", "green"] {
            let deployment: Deployment = serde_json::from_value(serde_json::json!({
                "tenant": "acme", "endpoint": "iris", "name": name, "current": null, "revisions": [],
            }))
            .unwrap();
            let path = deployment.path();
            store.commit(put(put(Transaction::new(), &path, &deployment), &path, &begun)).unwrap();
        }
        let blue = "acme/iris/blue".parse().unwrap();
        store.commit(delete_deployment(Transaction::new(), &blue)).unwrap();
        let left: Vec<_> = store.scan("").unwrap().into_iter().map(|entry| entry.key).collect();
        assert_eq!(left, ["begun/acme/iris/green", "deployments/acme/iris/green"]);
    }
}
