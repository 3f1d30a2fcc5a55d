//! Endpoints: what clients ask, and which deployment answers.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::{HeaderMap, HeaderName};

use crate::credentials::KeyHash;
use crate::deployed::Deployed;
use crate::parking::Slot;
use crate::tenant::Tenant;
use crate::traffic::{self, Traffic};

/// `azureml-model-deployment`: in a request the deployment that is to answer, whatever the traffic; in an answer the one that
/// did. As in Azure ML's managed online endpoints.
pub(crate) static MODEL_DEPLOYMENT: HeaderName = HeaderName::from_static("azureml-model-deployment");

/// Tenant, endpoint and deployment of a server that serves one scorer.
pub const DEFAULT: &str = "default";

/// Who may ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Access {
    /// Everybody.
    Open,
    /// Who shows one of these keys.
    Keys(Vec<KeyHash>),
}

/// An endpoint of a tenant: a value that never changes. A change puts another in its place.
#[derive(Debug)]
pub struct Endpoint {
    /// Its tenant.
    pub tenant: Arc<Tenant>,
    /// Its name, which no other of its tenant has.
    pub name: String,
    /// Who may ask.
    pub access: Access,
    /// Host names, in lower case and without a port, whose root it is.
    pub hosts: Vec<String>,
    /// Deployments that can answer, by name.
    pub deployments: BTreeMap<String, Arc<Slot>>,
    /// Which of them does.
    pub traffic: Traffic,
}

/// Who answers a request.
#[derive(Debug)]
pub(crate) struct Chosen {
    pub(crate) tenant: Arc<Tenant>,
    pub(crate) name: String,
    pub(crate) slot: Arc<Slot>,
    /// Whether a credential was shown, which is not for the scorer.
    pub(crate) is_keyed: bool,
    /// Who gets a copy.
    pub(crate) mirror: Option<Arc<Slot>>,
}

impl Endpoint {
    /// The endpoint of a server that serves one scorer: open to all, all requests to it.
    pub(crate) fn single(tenant: Arc<Tenant>, deployed: Deployed) -> Self {
        Self {
            tenant,
            name: DEFAULT.to_owned(),
            access: Access::Open,
            hosts: Vec::new(),
            deployments: BTreeMap::from([(DEFAULT.to_owned(), Slot::fixed(DEFAULT, deployed))]),
            traffic: Traffic::all_to(DEFAULT),
        }
    }

    /// Chooses who answers a request with these headers; none where there is nobody.
    pub(crate) fn choose(&self, headers: &HeaderMap) -> Option<Chosen> {
        let drawn = traffic::draw();
        // Who names a deployment wants to try that one: the mirror has nothing to do with it.
        let (name, mirror) = match headers.get(&MODEL_DEPLOYMENT).filter(|_| !self.is_single()) {
            Some(named) => (named.to_str().ok()?, None),
            None => (self.traffic.choose(drawn)?, self.traffic.choose_mirror(traffic::draw())),
        };
        let (name, slot) = self.deployments.get_key_value(name)?;
        let mirror = mirror.and_then(|name| self.deployments.get(name)).cloned();
        Some(Chosen {
            tenant: Arc::clone(&self.tenant),
            name: name.clone(),
            slot: Arc::clone(slot),
            is_keyed: !self.is_single(),
            mirror,
        })
    }

    /// Whether it is the endpoint of a server that serves one scorer, whose answers are those of the contract and no more.
    pub(crate) fn is_single(&self) -> bool {
        self.access == Access::Open
    }
}
