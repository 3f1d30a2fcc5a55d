//! Coarse clocks: what a scorer can measure with them is the time of its own work, and not that of a cache.
//!
//! A scorer has no threads and no shared memory, with which it could count time more finely by itself.

use std::time::{Duration, Instant, SystemTime};

use wasmtime_wasi::{HostMonotonicClock, HostWallClock};

/// The step of both clocks in nanoseconds. Telling a hit of a cache from a miss takes some ten of them.
const STEP: u64 = 100_000;

/// The time of day.
pub(crate) struct Wall;

impl HostWallClock for Wall {
    fn resolution(&self) -> Duration {
        Duration::from_nanos(STEP)
    }

    fn now(&self) -> Duration {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Duration::new(now.as_secs(), coarse(now.subsec_nanos().into()) as u32)
    }
}

/// The time since the instance was made.
pub(crate) struct Monotonic(Instant);

impl Monotonic {
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }
}

impl HostMonotonicClock for Monotonic {
    fn resolution(&self) -> u64 {
        STEP
    }

    fn now(&self) -> u64 {
        coarse(u64::try_from(self.0.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }
}

fn coarse(nanoseconds: u64) -> u64 {
    nanoseconds / STEP * STEP
}
