//! What a server serves, and to whom.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use http::HeaderMap;
use http::header::HOST;
use http::request::Parts;

use crate::app::sent_uri;
use crate::credentials::{self, KeyHash};
use crate::endpoint::{Access, Endpoint};
use crate::error::Error;
use crate::jwt::Tokens;

/// All endpoints. Who has taken one out keeps it for as long as it is needed: a request that began on one version ends on it,
/// while those that come later get the new one.
#[derive(Debug, Default)]
pub struct Directory {
    listing: RwLock<Listing>,
}

/// Which endpoint a request is for, as far as its target says.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Address<'a> {
    /// That of the host that was asked, else the one at the root.
    Root,
    /// One of a tenant's.
    Path { tenant: &'a str, endpoint: &'a str },
    /// One of a tenant's, which the server's operator asks, who has shown another credential.
    Operator { tenant: &'a str, endpoint: &'a str },
}

/// What a credential opens.
enum Opened {
    /// A key: one endpoint.
    Endpoint(Arc<Endpoint>),
    /// A token: all endpoints of a tenant, which may be none.
    Tenant(String),
}

#[derive(Debug, Default)]
struct Listing {
    single: Option<Arc<Endpoint>>,
    by_name: HashMap<String, HashMap<String, Arc<Endpoint>>>,
    by_host: HashMap<String, Arc<Endpoint>>,
    by_key: HashMap<KeyHash, Arc<Endpoint>>,
}

impl Directory {
    /// Serves an endpoint at the root to all who ask, in the place of the one before, which is returned.
    pub fn put_single(&self, endpoint: Endpoint) -> Option<Arc<Endpoint>> {
        self.write().single.replace(Arc::new(endpoint))
    }

    /// Puts an endpoint in the place of the one of the same name, at once, and returns that one.
    pub fn put(&self, endpoint: Endpoint) -> Option<Arc<Endpoint>> {
        let endpoint = Arc::new(endpoint);
        let mut listing = self.write();
        let before = listing.take(endpoint.tenant.name(), &endpoint.name);
        for host in &endpoint.hosts {
            listing.by_host.insert(host.clone(), Arc::clone(&endpoint));
        }
        if let Access::Keys(keys) = &endpoint.access {
            for key in keys {
                listing.by_key.insert(*key, Arc::clone(&endpoint));
            }
        }
        listing.by_name.entry(endpoint.tenant.name().to_owned()).or_default().insert(endpoint.name.clone(), endpoint);
        before
    }

    /// Takes an endpoint away, and returns it.
    pub fn remove(&self, tenant: &str, endpoint: &str) -> Option<Arc<Endpoint>> {
        self.write().take(tenant, endpoint)
    }

    /// An endpoint by name.
    pub fn get(&self, tenant: &str, endpoint: &str) -> Option<Arc<Endpoint>> {
        self.read().by_name.get(tenant)?.get(endpoint).cloned()
    }

    /// All endpoints, that at the root among them.
    pub fn all(&self) -> Vec<Arc<Endpoint>> {
        let listing = self.read();
        let named = listing.by_name.values().flat_map(HashMap::values);
        listing.single.iter().chain(named).cloned().collect()
    }

    /// The endpoint at the root, which all may ask.
    pub fn single(&self) -> Option<Arc<Endpoint>> {
        self.read().single.clone()
    }

    /// The endpoint that a request is for, if who asks may.
    ///
    /// Whose a request is, its credential says. Only among what that opens is looked for what the target says: so another
    /// tenant's endpoint and one that does not exist cannot be told apart, not by how long it takes either.
    pub(crate) fn find(
        &self,
        address: Address<'_>,
        parts: &Parts,
        tokens: Option<&Tokens>,
    ) -> Result<Arc<Endpoint>, Error> {
        let of_host;
        let (tenant, name) = match address {
            Address::Root => {
                let listing = self.read();
                of_host = listing.by_host(parts).cloned();
                match (&of_host, &listing.single) {
                    (Some(endpoint), _) => (endpoint.tenant.name(), &*endpoint.name),
                    (None, Some(single)) => return Ok(Arc::clone(single)),
                    (None, None) if listing.by_host.is_empty() => return Err(Error::NotReady),
                    // Names that nothing has.
                    (None, None) => ("", ""),
                }
            }
            Address::Path { tenant, endpoint } => (tenant, endpoint),
            Address::Operator { tenant, endpoint } => {
                return self.get(tenant, endpoint).ok_or(Error::NotFound);
            }
        };
        let found = match self.opened(&parts.headers, tokens).ok_or(Error::Unauthorized)? {
            Opened::Endpoint(endpoint) => Some(endpoint),
            Opened::Tenant(opened) => self.get(&opened, name),
        };
        found.filter(|found| (found.tenant.name(), &*found.name) == (tenant, name)).ok_or(Error::NotFound)
    }

    /// Whether a request to the root is for an endpoint that has the host name, or would have it, rather than for all who
    /// ask.
    pub(crate) fn is_by_host(&self, parts: &Parts) -> bool {
        let listing = self.read();
        listing.by_host(parts).is_some() || (listing.single.is_none() && !listing.by_host.is_empty())
    }

    /// What the credential of a request opens.
    fn opened(&self, headers: &HeaderMap, tokens: Option<&Tokens>) -> Option<Opened> {
        let key = credentials::shown(headers)?;
        if let Some(endpoint) = self.read().by_key.get(&key) {
            return Some(Opened::Endpoint(Arc::clone(endpoint)));
        }
        tokens?.tenant(credentials::bearer(headers)?).map(Opened::Tenant)
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Listing> {
        self.listing.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, Listing> {
        self.listing.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Listing {
    /// The endpoint of the host that a request is for.
    fn by_host(&self, parts: &Parts) -> Option<&Arc<Endpoint>> {
        if self.by_host.is_empty() {
            return None;
        }
        let header = || parts.headers.get(HOST)?.to_str().ok().map(host_name);
        let host = sent_uri(parts).host().or_else(header)?;
        self.by_host.get(&*host.to_ascii_lowercase())
    }

    fn take(&mut self, tenant: &str, endpoint: &str) -> Option<Arc<Endpoint>> {
        let of_tenant = self.by_name.get_mut(tenant)?;
        let taken = of_tenant.remove(endpoint)?;
        if of_tenant.is_empty() {
            self.by_name.remove(tenant);
        }
        self.by_host.retain(|_, other| !Arc::ptr_eq(other, &taken));
        self.by_key.retain(|_, other| !Arc::ptr_eq(other, &taken));
        Some(taken)
    }
}

/// A `Host` without its port.
fn host_name(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}
