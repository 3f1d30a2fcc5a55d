//! Tests of who runs when: of the schedule alone, whose time is made up, and of guests on threads.

use std::num::NonZeroU32;
use std::time::Duration;

use super::Capacity;
use crate::lane::{CpuQuota, LaneLimits};

mod schedule;
mod threads;

const MS: Duration = Duration::from_millis(1);
const TURN: Duration = Duration::from_millis(5);

fn capacity(running: usize, waiting: usize) -> Capacity {
    Capacity { threads: 1, running, waiting, turn: TURN, nice: 0 }
}

fn weighing(weight: u32) -> LaneLimits {
    LaneLimits { weight: NonZeroU32::new(weight).expect("a weight"), ..LaneLimits::default() }
}

fn with_quota(per_second: Duration, burst: Duration) -> LaneLimits {
    LaneLimits { cpu: Some(CpuQuota { per_second, burst }), ..LaneLimits::default() }
}
