//! The deployments that a host serves.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use crate::limits::Limits;
use crate::seal::SealedModule;

/// A scorer that can be asked: a value that never changes.
#[derive(Debug)]
pub struct Deployment {
    /// Its name.
    pub name: String,
    /// Its version, as the operator wrote it.
    pub version: String,
    /// What each of its instances may use.
    pub limits: Limits,
    /// The scorer, one instant after `init`.
    pub module: SealedModule,
}

/// What is deployed, by name.
///
/// Whoever has taken an entry out keeps it for as long as it is needed: a request that began on one version ends on it,
/// while those that come later get the new one.
#[derive(Debug)]
pub struct Registry<T = Deployment> {
    entries: RwLock<BTreeMap<String, Arc<T>>>,
}

impl<T> Default for Registry<T> {
    fn default() -> Self {
        Self { entries: RwLock::default() }
    }
}

impl<T> Registry<T> {
    /// The entry of this name.
    pub fn get(&self, name: &str) -> Option<Arc<T>> {
        self.entries.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// Puts an entry in the place of the one of the same name, at once, and returns that one.
    pub fn put(&self, name: impl Into<String>, entry: T) -> Option<Arc<T>> {
        self.entries.write().unwrap_or_else(PoisonError::into_inner).insert(name.into(), Arc::new(entry))
    }

    /// Takes an entry away, and returns it.
    pub fn remove(&self, name: &str) -> Option<Arc<T>> {
        self.entries.write().unwrap_or_else(PoisonError::into_inner).remove(name)
    }

    /// All entries in order of their names.
    pub fn list(&self) -> Vec<Arc<T>> {
        self.entries.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_version_takes_over_at_once_while_the_old_one_is_in_use() {
        let registry = Registry::default();
        assert_eq!(registry.put("iris", "v1"), None);
        let in_flight = registry.get("iris").unwrap();
        assert_eq!(registry.put("iris", "v2").as_deref(), Some(&"v1"));
        assert_eq!(*in_flight, "v1");
        assert_eq!(registry.get("iris").as_deref(), Some(&"v2"));
        assert_eq!(registry.list().len(), 1);
        registry.remove("iris");
        assert_eq!(registry.get("iris"), None);
    }
}
