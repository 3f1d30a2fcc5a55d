//! Lanes: requests that share limits, and share the machine fairly with those of other lanes.

use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use crate::executor::{LaneId, Queues};
use crate::limits::SharedMemory;

/// Requests that belong together: they share limits, and lanes share the machine.
///
/// What one lane offers is no burden to the others:
/// - While they have work, lanes get CPU time in proportion to their weights. A request of one that
///   uses less than its part interrupts those of others.
/// - No request is refused for want of room in the machine's queue while its lane waits with less than its equal part of
///   it. When the queue is full, the youngest request of the lane that waits with most has to go instead, even if what it
///   waits for is a limit of its own lane.
/// - Of the places to run, the last eighth, at least one, is for lanes of which nothing runs: so others can start while a
///   lane's guests keep their places for long. Not where there is only one lane, or one place.
///
/// It is made by [`Sandbox::lane`](crate::Sandbox::lane). Clones are the same lane, which is gone with the last of them
/// and of its requests.
#[derive(Clone)]
pub struct Lane(Arc<Registered>);

/// A lane's place in the executor.
struct Registered {
    queues: Arc<Queues>,
    id: LaneId,
    memory: SharedMemory,
}

impl Lane {
    pub(crate) fn register(queues: &Arc<Queues>, limits: LaneLimits) -> Self {
        let id = queues.add_lane(limits);
        Self(Arc::new(Registered { queues: Arc::clone(queues), id, memory: SharedMemory::new(limits.memory) }))
    }

    /// A lane that no other shares a machine with.
    #[cfg(test)]
    pub(crate) fn alone(limits: LaneLimits) -> Self {
        Self::register(&Queues::for_tests(), limits)
    }

    /// What its requests use now, and have used.
    pub fn usage(&self) -> LaneUsage {
        self.0.queues.usage(self.0.id)
    }

    /// Bytes of linear memories and tables that its instances have together.
    pub fn memory_used(&self) -> u64 {
        self.0.memory.used()
    }

    /// Changes its limits, at once. What runs or waits already stays, even where it is more than is now allowed; CPU time
    /// over the quota is still owed to the new one.
    pub fn set_limits(&self, limits: LaneLimits) {
        self.0.queues.set_limits(self.0.id, limits);
        self.0.memory.set_limit(limits.memory);
    }

    /// What its instances count their memory against.
    pub(crate) fn memory(&self) -> &SharedMemory {
        &self.0.memory
    }

    pub(crate) fn queues(&self) -> &Arc<Queues> {
        &self.0.queues
    }

    pub(crate) fn id(&self) -> LaneId {
        self.0.id
    }
}

impl fmt::Debug for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Lane").field(&self.0.id).finish()
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.queues.remove_lane(self.id);
    }
}

/// What the requests of one lane may use together. The limits of the machine hold as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LaneLimits {
    /// Instances at the same time. More requests wait.
    pub running: usize,
    /// Requests that wait beyond those that `running` would let start. One more is refused.
    pub waiting: usize,
    /// Bytes of all linear memories and tables of its instances together. A guest that asks for more does not get it, and
    /// one that could not even start is refused. Requests in the background have half of it.
    pub memory: u64,
    /// CPU time; `None` for as much as the machine has.
    pub cpu: Option<CpuQuota>,
    /// The lane's part of the CPU while others have work too, in proportion to their weights.
    pub weight: NonZeroU32,
}

impl Default for LaneLimits {
    /// No limits of its own, and weight 1.
    fn default() -> Self {
        Self { running: usize::MAX, waiting: usize::MAX, memory: u64::MAX, cpu: None, weight: NonZeroU32::MIN }
    }
}

/// How much CPU time a lane may use: a token bucket.
///
/// While it is overdrawn, none of the lane's requests runs, and their deadlines count on. It is overdrawn by at most a turn
/// for each thread that runs guests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CpuQuota {
    /// CPU time for each second of wall-clock time; more than a second where more than one core is meant. With zero the
    /// lane runs until `burst` is used up, and then no more.
    pub per_second: Duration,
    /// CPU time that can be saved up. A new lane has it.
    pub burst: Duration,
}

/// What the requests of a lane use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LaneUsage {
    /// Instances that are there.
    pub running: usize,
    /// Requests that wait for one.
    pub waiting: usize,
    /// CPU time of all its requests so far: making their instances, running them, destroying them. It never shrinks. What
    /// a request uses is added at each tick of the epoch, and when its instance is destroyed.
    pub cpu: Duration,
    /// How long nothing of it runs, because its CPU quota is overdrawn; `None` where it is not.
    pub throttled: Option<Duration>,
}

/// Which requests go first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Priority {
    /// Somebody waits for the answer.
    #[default]
    Live,
    /// It can be left out. It runs only when no live request of any lane can, is refused unless it could start at once,
    /// and is stopped with [`Refused::Busy`](crate::Refused::Busy) when a live request needs its place.
    Background,
}
