//! Parking: deployments that nobody asks make room for those that somebody does.
//!
//! A [`Slot`] is the place of a deployment. It is **resident**, and answers at once, or **parked**: then there is nothing of it
//! but its name and its OpenAPI documents, and the next request has it loaded from the cache. All requests that come meanwhile
//! wait for the same load, which goes on when they go away. What the cache does not have any more is sealed again from its bundle,
//! one at a time, while others are loaded.
//!
//! Of those that are resident, [`Parking`] takes the one that was used the longest time ago, when all together are over the
//! budget, or when its last use is long enough ago. Requests that it is answering keep it until they end.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use tokio::sync::{Mutex as AsyncMutex, Semaphore, watch};
use tokio::task::spawn_blocking;
use tokio::time::{interval, timeout};

use crate::deployed::Deployed;
use crate::error::Error;
use crate::metrics::Journal;
use crate::swagger::Swagger;

/// How long a request waits for its deployment. Loading goes on without it.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long after a load that failed the next one is begun: twice as long each time, up to the longest.
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LONGEST_RETRY: Duration = Duration::from_mins(1);
/// How often it is looked for deployments that nobody uses: so many times in [`ParkingSettings::after`], between these.
const LOOKS: u32 = 10;
const LOOK: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));

/// When deployments are parked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParkingSettings {
    /// Bytes that all that are resident may take, as [`SealedModule::resident_bytes`](scorebox_sandbox::SealedModule) says;
    /// the one that was used last stays. Default: as many as they take.
    pub budget: u64,
    /// How many may be resident: each takes a descriptor and some mappings of the process. Default: as many as there are.
    pub most: usize,
    /// How long after its last use a deployment is parked. Default: never.
    pub after: Option<Duration>,
}

impl Default for ParkingSettings {
    fn default() -> Self {
        Self { budget: u64::MAX, most: usize::MAX, after: None }
    }
}

/// Loads a deployment. All of these block.
pub trait Load: fmt::Debug + Send + Sync {
    /// Loads it from the cache; `None` where that does not have it.
    fn find(&self) -> Result<Option<Deployed>, String>;
    /// Seals it again.
    fn seal(&self) -> Result<Deployed, String>;
    /// What is counted of it while it is not there; `None` where that cannot be found for the moment.
    fn journal(&self) -> Option<Arc<Journal>>;
}

/// Whether a deployment is in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Residence {
    /// It is.
    Resident,
    /// It comes back with the next request.
    Parked,
    /// It is coming back.
    Loading,
    /// It did not come back the last time.
    Unloadable {
        /// Why.
        reason: String,
    },
}

/// The place of a deployment.
#[derive(Debug)]
pub struct Slot {
    name: String,
    /// Who parks it, and how it comes back; none for what is never parked.
    parkable: Option<(Weak<Parking>, Box<dyn Load>)>,
    state: Mutex<State>,
    /// Known from the first load on.
    swagger: OnceLock<Swagger>,
    /// Looked for when a request is refused for the first time while it is not resident.
    journal: OnceLock<Arc<Journal>>,
    /// When it was used last, in microseconds since there is a [`Parking`].
    used: AtomicU64,
}

#[derive(Debug)]
enum State {
    Resident(Arc<Deployed>),
    Parked,
    Loading(Awaited),
    Failed { reason: String, times: u32, until: Instant },
}

/// What a load comes to; none while it goes on.
type Awaited = watch::Receiver<Option<Result<Arc<Deployed>, NotLoaded>>>;

/// It has not been loaded.
#[derive(Debug, Clone, Copy)]
struct NotLoaded {
    /// When it is tried again.
    retry: Duration,
}

impl Slot {
    /// The place of a deployment that is never parked.
    pub(crate) fn fixed(name: &str, deployed: Deployed) -> Arc<Self> {
        Arc::new(Self {
            name: name.to_owned(),
            parkable: None,
            state: Mutex::new(State::Resident(Arc::new(deployed))),
            swagger: OnceLock::new(),
            journal: OnceLock::new(),
            used: AtomicU64::new(0),
        })
    }

    /// Whether it is in memory.
    pub fn residence(&self) -> Residence {
        match &*self.state() {
            State::Resident(_) => Residence::Resident,
            State::Parked => Residence::Parked,
            State::Loading(_) => Residence::Loading,
            State::Failed { reason, .. } => Residence::Unloadable { reason: reason.clone() },
        }
    }

    /// The deployment, if it is resident.
    pub fn resident(&self) -> Option<Arc<Deployed>> {
        let State::Resident(deployed) = &*self.state() else { return None };
        let deployed = Arc::clone(deployed);
        if let Some(parking) = self.parking() {
            self.used.store(parking.now(), Ordering::Relaxed);
        }
        Some(deployed)
    }

    /// The deployment, which is loaded if it is parked.
    pub(crate) async fn deployed(self: &Arc<Self>) -> Result<Arc<Deployed>, Error> {
        if let Some(deployed) = self.resident() {
            return Ok(deployed);
        }
        let mut awaited = self.awaited().map_err(NotLoaded::error)?;
        let loaded = match timeout(PATIENCE, awaited.wait_for(Option::is_some)).await {
            Ok(Ok(loaded)) => loaded.clone(),
            // It takes too long, or the server is about to end.
            Ok(Err(_)) | Err(_) => None,
        };
        loaded.unwrap_or(Err(NotLoaded { retry: FIRST_RETRY })).map_err(NotLoaded::error)
    }

    /// Takes note of a request that was refused while it was not resident.
    pub(crate) fn refused(self: &Arc<Self>) {
        if let Some(journal) = self.journal.get() {
            journal.refused();
            return;
        }
        let this = Arc::clone(self);
        spawn_blocking(move || {
            if let Some(journal) = this.parkable.as_ref().and_then(|(_, load)| load.journal()) {
                this.journal.get_or_init(|| journal).refused();
            }
        });
    }

    /// Its OpenAPI documents. It is loaded for them if it never was.
    pub(crate) async fn swagger(self: &Arc<Self>) -> Result<Swagger, Error> {
        if let Some(swagger) = self.swagger.get() {
            return Ok(swagger.clone());
        }
        Ok(self.deployed().await?.swagger.clone())
    }

    /// What the load comes to that goes on, or is begun.
    fn awaited(self: &Arc<Self>) -> Result<Awaited, NotLoaded> {
        let mut state = self.state();
        let times = match &*state {
            State::Resident(deployed) => return Ok(watch::Sender::new(Some(Ok(Arc::clone(deployed)))).subscribe()),
            State::Loading(awaited) => return Ok(awaited.clone()),
            State::Failed { until, .. } if *until > Instant::now() => {
                return Err(NotLoaded { retry: until.saturating_duration_since(Instant::now()) });
            }
            State::Failed { times, .. } => *times,
            State::Parked => 0,
        };
        let (sender, awaited) = watch::channel(None);
        *state = State::Loading(awaited.clone());
        drop(state);
        // Apart from who asks: whoever else waits is not to suffer when that one goes away.
        tokio::spawn(Arc::clone(self).load(sender, times));
        Ok(awaited)
    }

    /// Loads it, and tells who waits. `failed` is how often that has failed, one time after the other.
    async fn load(self: Arc<Self>, sender: watch::Sender<Option<Result<Arc<Deployed>, NotLoaded>>>, failed: u32) {
        let Some(parking) = self.parking() else { return };
        let start = Instant::now();
        let loaded = self.find_or_seal(&parking).await;
        let settled = match loaded {
            Ok(deployed) => {
                let deployed = Arc::new(deployed);
                self.has(&parking, &deployed);
                parking.measured.loads.inc();
                parking.measured.load_duration.observe(start.elapsed().as_secs_f64());
                tracing::debug!(
                    "deployment {} is back, after {:.1} ms",
                    self.name,
                    start.elapsed().as_secs_f64() * 1e3
                );
                Ok(deployed)
            }
            Err(reason) => {
                let retry = FIRST_RETRY.saturating_mul(2_u32.saturating_pow(failed)).min(LONGEST_RETRY);
                tracing::error!("deployment {} cannot answer: {reason}", self.name);
                parking.measured.failures.inc();
                *self.state() = State::Failed { reason, times: failed + 1, until: Instant::now() + retry };
                Err(NotLoaded { retry })
            }
        };
        sender.send_replace(Some(settled));
        // What makes room gives memory back to the system, which takes its time.
        let _ = spawn_blocking(move || parking.make_room()).await;
    }

    async fn find_or_seal(self: &Arc<Self>, parking: &Parking) -> Result<Deployed, String> {
        let blocking = async |what: fn(&dyn Load) -> Result<Option<Deployed>, String>| {
            let this = Arc::clone(self);
            let done = spawn_blocking(move || this.parkable.as_ref().map_or(Ok(None), |(_, load)| what(&**load))).await;
            done.unwrap_or_else(|_| Err("the server failed to load it; its log says why".to_owned()))
        };
        let found = {
            let _permit = parking.loading.acquire().await;
            blocking(|load| load.find()).await?
        };
        if let Some(found) = found {
            return Ok(found);
        }
        let _one_at_a_time = parking.sealing.lock().await;
        tracing::warn!("deployment {} is not in the cache any more: it is sealed again", self.name);
        blocking(|load| load.seal().map(Some)).await?.ok_or_else(|| "it is gone".to_owned())
    }

    /// It is resident from now on.
    fn has(&self, parking: &Parking, deployed: &Arc<Deployed>) {
        let _ = self.swagger.set(deployed.swagger.clone());
        self.used.store(parking.now(), Ordering::Relaxed);
        *self.state() = State::Resident(Arc::clone(deployed));
    }

    /// Parks it, if it is resident and can be.
    fn park(&self) -> bool {
        let mut state = self.state();
        // What the cache does not have would be sealed again for the next request.
        let can_come_back = |deployed: &Deployed| self.parkable.is_some() && deployed.deployment.module.is_kept;
        if !matches!(&*state, State::Resident(deployed) if can_come_back(deployed)) {
            return false;
        }
        let before = std::mem::replace(&mut *state, State::Parked);
        drop(state);
        // Unless a request keeps it, its memory is given back here.
        drop(before);
        tracing::debug!("deployment {} is parked", self.name);
        true
    }

    /// Bytes that it takes; none if it is not resident.
    fn resident_bytes(&self) -> Option<u64> {
        let State::Resident(deployed) = &*self.state() else { return None };
        Some(deployed.deployment.module.resident_bytes)
    }

    fn parking(&self) -> Option<Arc<Parking>> {
        self.parkable.as_ref()?.0.upgrade()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl NotLoaded {
    fn error(self) -> Error {
        Error::NotLoaded { after: self.retry }
    }
}

/// What there is of all slots.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Occupancy {
    /// Deployments that are resident.
    pub(crate) resident: u64,
    /// Those that are not.
    pub(crate) parked: u64,
    /// Bytes that the resident ones take.
    pub(crate) bytes: u64,
}

/// What is measured about parking.
#[derive(Debug, Clone)]
pub(crate) struct Measured {
    /// Deployments that came back.
    pub(crate) loads: Counter,
    /// Those that did not.
    pub(crate) failures: Counter,
    /// Those that were parked.
    pub(crate) parks: Counter,
    /// How long it took them to come back.
    pub(crate) load_duration: Histogram,
}

/// Decides which deployments are in memory.
#[derive(Debug)]
pub struct Parking {
    settings: ParkingSettings,
    start: Instant,
    slots: Mutex<Vec<Weak<Slot>>>,
    /// Held by those that are being loaded from the cache: more at the same time would only take the cores from requests.
    loading: Semaphore,
    /// Held by the one that is being sealed.
    sealing: AsyncMutex<()>,
    /// Held while room is made: else several would make too much.
    making_room: Mutex<()>,
    pub(crate) measured: Measured,
}

impl Parking {
    pub(crate) fn new(settings: ParkingSettings) -> Arc<Self> {
        Arc::new(Self {
            settings,
            start: Instant::now(),
            slots: Mutex::default(),
            loading: Semaphore::new(available_parallelism().map_or(1, Into::into)),
            sealing: AsyncMutex::default(),
            making_room: Mutex::default(),
            measured: Measured {
                loads: Counter::default(),
                failures: Counter::default(),
                parks: Counter::default(),
                // From a millisecond to about half a minute.
                load_duration: Histogram::new(exponential_buckets(0.001, 2.0, 16)),
            },
        })
    }

    /// A place for a deployment that is resident, which may be parked from then on. `name` is what the log calls it.
    pub fn resident(self: &Arc<Self>, name: &str, deployed: Deployed, load: Box<dyn Load>) -> Arc<Slot> {
        let slot = self.parked(name, load);
        slot.has(self, &Arc::new(deployed));
        self.make_room();
        slot
    }

    /// A place for a deployment that is loaded when it is asked for.
    pub fn parked(self: &Arc<Self>, name: &str, load: Box<dyn Load>) -> Arc<Slot> {
        let slot = Arc::new(Slot {
            name: name.to_owned(),
            parkable: Some((Arc::downgrade(self), load)),
            state: Mutex::new(State::Parked),
            swagger: OnceLock::new(),
            journal: OnceLock::new(),
            used: AtomicU64::new(0),
        });
        self.all().push(Arc::downgrade(&slot));
        slot
    }

    /// Loads these, one after the other, until the first time that one has to go for another.
    pub async fn bring_back(&self, slots: Vec<Weak<Slot>>) {
        let parks = self.measured.parks.get();
        for slot in slots {
            if self.settings.budget == 0 || self.measured.parks.get() > parks {
                return;
            }
            if let Some(slot) = slot.upgrade() {
                // What went wrong is in the log.
                let _ = slot.deployed().await;
            }
        }
    }

    /// Parks what nobody has used for as long as the settings say. Never ends.
    pub async fn park_unused(self: Arc<Self>) {
        let Some(after) = self.settings.after else { return std::future::pending().await };
        let mut look = interval((after / LOOKS).clamp(LOOK.0, LOOK.1));
        loop {
            look.tick().await;
            let this = Arc::clone(&self);
            let parked = spawn_blocking(move || {
                let Some(before) = this.now().checked_sub(micros(after)) else { return };
                for slot in this.slots().iter().filter(|slot| slot.used.load(Ordering::Relaxed) < before) {
                    this.park(slot);
                }
            });
            let _ = parked.await;
        }
    }

    /// Parks what was used the longest time ago until the budget is kept; never what was used last.
    fn make_room(&self) {
        let _one_at_a_time = self.making_room.lock().unwrap_or_else(PoisonError::into_inner);
        let slots = self.slots();
        let mut resident: Vec<_> = slots
            .iter()
            .filter_map(|slot| Some((slot.used.load(Ordering::Relaxed), slot.resident_bytes()?, slot)))
            .collect();
        let ParkingSettings { budget, most, .. } = self.settings;
        let (mut bytes, mut count) = (resident.iter().map(|(_, bytes, _)| bytes).sum::<u64>(), resident.len());
        if bytes <= budget && count <= most {
            return;
        }
        resident.sort_unstable_by_key(|(used, ..)| *used);
        // It may be another than the one that has just come: a request may have come between.
        resident.pop();
        for (_, freed, slot) in resident {
            if bytes <= budget && count <= most {
                return;
            }
            if self.park(slot) {
                bytes -= freed;
                count -= 1;
            }
        }
    }

    fn park(&self, slot: &Slot) -> bool {
        let parked = slot.park();
        if parked {
            self.measured.parks.inc();
        }
        parked
    }

    /// What is resident now.
    pub(crate) fn occupancy(&self) -> Occupancy {
        let mut occupancy = Occupancy::default();
        for slot in self.slots() {
            match slot.resident_bytes() {
                Some(bytes) => {
                    occupancy.resident += 1;
                    occupancy.bytes += bytes;
                }
                None => occupancy.parked += 1,
            }
        }
        occupancy
    }

    /// Bytes that all may take together.
    pub(crate) fn budget(&self) -> u64 {
        self.settings.budget
    }

    /// All slots that there are.
    fn slots(&self) -> Vec<Arc<Slot>> {
        let mut slots = Vec::new();
        self.all().retain(|slot| {
            let slot = slot.upgrade();
            let is_there = slot.is_some();
            slots.extend(slot);
            is_there
        });
        slots
    }

    fn all(&self) -> MutexGuard<'_, Vec<Weak<Slot>>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Microseconds since there is parking.
    fn now(&self) -> u64 {
        micros(self.start.elapsed())
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A deployment that never comes back.
    #[derive(Debug)]
    struct Gone;

    impl Load for Gone {
        fn find(&self) -> Result<Option<Deployed>, String> {
            Err("it is gone".to_owned())
        }

        fn seal(&self) -> Result<Deployed, String> {
            Err("it is gone".to_owned())
        }

        fn journal(&self) -> Option<Arc<Journal>> {
            None
        }
    }

    #[tokio::test]
    async fn what_cannot_come_back_is_tried_again_after_a_second_then_less_often_up_to_once_a_minute() {
        let parking = Parking::new(ParkingSettings::default());
        let slot = parking.parked("acme/iris/blue", Box::new(Gone));
        for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
            let Err(Error::NotLoaded { after }) = slot.deployed().await else { panic!("it came back") };
            assert_eq!(after, Duration::from_secs(seconds));
            // Who asks before that is told when it is.
            let Err(Error::NotLoaded { after }) = slot.deployed().await else { panic!("it came back") };
            assert!(after <= Duration::from_secs(seconds), "{after:?}");
            let State::Failed { until, .. } = &mut *slot.state() else { panic!("it did not fail") };
            *until = Instant::now();
        }
    }
}
