//! Tenants: whose requests share quotas.

use std::num::NonZeroU32;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use scorebox_sandbox::{CpuQuota, Lane, LaneLimits, Refused, Sandbox, Scope};

use crate::body::{Account, BodyBudget};
use crate::endpoint::DEFAULT;
use crate::error::Error;

// What requests are refused for, as labels have it. First the quotas, which clients are told.
const RATE: &str = "requests per second";
const REQUESTS: &str = "requests at the same time";
const MEMORY: &str = "memory";
const CPU: &str = "CPU time";
pub(crate) const BODIES: &str = "memory for bodies";
// Then the limits of the server.
pub(crate) const ALL_REQUESTS: &str = "all requests at the same time";
pub(crate) const WAITING: &str = "time to wait";
pub(crate) const BODY_SIZE: &str = "size of a body";
pub(crate) const BODY_TIME: &str = "time for a body";
// Then what it cannot do, or not now.
pub(crate) const LOADING: &str = "loading";
pub(crate) const NOTHING: &str = "nothing to serve";
pub(crate) const STOPPING: &str = "stopping";
/// All of them.
pub(crate) const REFUSING: [&str; 12] =
    [RATE, REQUESTS, MEMORY, CPU, BODIES, ALL_REQUESTS, WAITING, BODY_SIZE, BODY_TIME, LOADING, NOTHING, STOPPING];

/// What the requests of a tenant may use together. The limits of the server hold as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quotas {
    /// Instances at the same time. More requests wait.
    pub instances: usize,
    /// Requests that wait. One more is refused.
    pub waiting: usize,
    /// Bytes of memory of all its instances together.
    pub memory: u64,
    /// CPU time; `None` for as much as the machine has.
    pub cpu: Option<CpuQuota>,
    /// The tenant's part of the CPU while others have work too, in proportion to their weights.
    pub weight: NonZeroU32,
    /// How many requests may come; `None` for as many as come.
    pub rate: Option<RateQuota>,
    /// Bytes of one body.
    pub body: u64,
}

/// How many requests may come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateQuota {
    /// Requests for each second.
    pub per_second: NonZeroU32,
    /// Requests that may come at once, after a pause.
    pub burst: NonZeroU32,
}

impl Default for Quotas {
    /// No quotas, and weight 1.
    fn default() -> Self {
        let LaneLimits { running, waiting, memory, cpu, weight } = LaneLimits::default();
        Self { instances: running, waiting, memory, cpu, weight, rate: None, body: u64::MAX }
    }
}

impl Quotas {
    fn lane(&self) -> LaneLimits {
        LaneLimits {
            running: self.instances,
            waiting: self.waiting,
            memory: self.memory,
            cpu: self.cpu,
            weight: self.weight,
        }
    }

    fn limiter(&self) -> Option<Arc<DefaultDirectRateLimiter>> {
        let RateQuota { per_second, burst } = self.rate?;
        Some(Arc::new(RateLimiter::direct(Quota::per_second(per_second).allow_burst(burst))))
    }
}

/// A tenant, as requests see it.
#[derive(Debug)]
pub struct Tenant {
    name: String,
    lane: Lane,
    bodies: Arc<Account>,
    quotas: RwLock<(Quotas, Option<Arc<DefaultDirectRateLimiter>>)>,
}

impl Tenant {
    pub(crate) fn new(sandbox: &Sandbox, budget: &Arc<BodyBudget>, name: &str, quotas: Quotas) -> Arc<Self> {
        Self::of(sandbox.lane(quotas.lane()), budget, name, quotas)
    }

    /// Whose the endpoint at the root is: nobody's, without quotas. Its lane is the one that there always is, so that a
    /// server with no other endpoint keeps no places free for others.
    pub(crate) fn nobody(sandbox: &Sandbox, budget: &Arc<BodyBudget>) -> Arc<Self> {
        Self::of(sandbox.default_lane().clone(), budget, DEFAULT, Quotas::default())
    }

    fn of(lane: Lane, budget: &Arc<BodyBudget>, name: &str, quotas: Quotas) -> Arc<Self> {
        let (bodies, limiter) = (Account::new(budget), quotas.limiter());
        Arc::new(Self { name: name.to_owned(), lane, bodies, quotas: RwLock::new((quotas, limiter)) })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Changes its quotas, at once. What runs or waits already stays.
    pub fn set_quotas(&self, quotas: Quotas) {
        let mut current = self.quotas.write().unwrap_or_else(PoisonError::into_inner);
        if current.0.rate != quotas.rate {
            current.1 = quotas.limiter();
        }
        current.0 = quotas;
        self.lane.set_limits(quotas.lane());
    }

    /// Where its requests run.
    pub(crate) fn lane(&self) -> &Lane {
        &self.lane
    }

    /// What its requests' bodies and their answers have of the memory for all of them.
    pub(crate) fn bodies(&self) -> &Arc<Account> {
        &self.bodies
    }

    /// Bytes that a body may have.
    pub(crate) fn max_body(&self) -> u64 {
        self.quotas.read().unwrap_or_else(PoisonError::into_inner).0.body
    }

    /// Takes note of a request, and refuses it where it would be one too many.
    pub(crate) fn admits(&self, sandbox: &Sandbox) -> Result<(), Error> {
        let limiter = self.quotas.read().unwrap_or_else(PoisonError::into_inner).1.clone();
        if let Some(Err(early)) = limiter.map(|limiter| limiter.check()) {
            let after = early.wait_time_from(DefaultClock::default().now());
            return Err(Error::Quota { quota: RATE, after });
        }
        sandbox.admits_in(&self.lane).map_err(refused)
    }
}

/// A request that the sandbox has refused.
pub(crate) fn refused(refused: Refused) -> Error {
    match refused {
        Refused::Busy { scope: Scope::Lane, .. } => Error::Quota { quota: REQUESTS, after: Duration::from_secs(1) },
        // When an instance ends is known to nobody.
        Refused::MemorySpent { .. } => Error::Quota { quota: MEMORY, after: Duration::from_secs(1) },
        Refused::CpuSpent { after } => Error::Quota { quota: CPU, after },
        other => Error::Refused(other),
    }
}
