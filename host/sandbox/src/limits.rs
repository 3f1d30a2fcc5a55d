//! What a scorer may use, and the counting of it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use wasmtime::{ResourceLimiter, Result};

use crate::lane::{Lane, Priority};

/// One mebibyte in bytes.
const MIB: u64 = 1024 * 1024;

/// What the system says when there is no memory left.
pub(crate) const NO_MEMORY: &str = "Cannot allocate memory";

/// Bytes that one element of a WebAssembly table takes in the host.
const TABLE_ELEMENT_BYTES: usize = size_of::<usize>();

/// What one instance of a scorer may use.
///
/// All of them hold for one request; `init` and `schema` run under the same limits with a deadline of their own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Bytes of all linear memories and tables of an instance together. Default 1 GiB.
    pub memory: u64,
    /// Wall-clock time of `run`, from the moment its instance starts. Default 300 s.
    pub deadline: Duration,
    /// Wall-clock time of `init` and of `schema`, each. Default 300 s.
    pub init_deadline: Duration,
    /// Bytes of text that an instance may log. What is over it is counted and left out. Default 1 MiB.
    pub log: u64,
    /// Bytes of a response: body and headers. Default 100 MiB.
    pub output: u64,
    /// Bytes that a single call may hand over from the guest to the host, the response included: so it is never less
    /// than `output`. Default 128 MiB.
    pub host_call: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory: 1024 * MIB,
            deadline: Duration::from_mins(5),
            init_deadline: Duration::from_mins(5),
            log: MIB,
            output: 100 * MIB,
            host_call: 128 * MIB,
        }
    }
}

/// The memory that all instances of a lane have together.
#[derive(Debug)]
pub(crate) struct SharedMemory {
    limit: AtomicU64,
    used: AtomicU64,
}

impl SharedMemory {
    pub(crate) fn new(limit: u64) -> Self {
        Self { limit: AtomicU64::new(limit), used: AtomicU64::new(0) }
    }

    /// Changes the limit. Who has more than that already keeps it.
    pub(crate) fn set_limit(&self, limit: u64) {
        self.limit.store(limit, Ordering::Relaxed);
    }

    /// Bytes in use now.
    pub(crate) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Takes so many bytes, or none where that is over the limit. What can be left out has half of it, so that there is always
    /// some for what somebody waits for.
    fn take(&self, bytes: u64, priority: Priority) -> Result<(), MemoryRefused> {
        let limit = self.limit.load(Ordering::Relaxed);
        let most = if priority == Priority::Background { limit / 2 } else { limit };
        let grown = |used: u64| used.checked_add(bytes).filter(|total| *total <= most);
        let taken = self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, grown);
        taken.map(|_| ()).map_err(|_| MemoryRefused { limit, of_lane: true })
    }

    fn give_back(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// A limit on memory that an instance came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MemoryRefused {
    pub(crate) limit: u64,
    /// Whether it is that of all instances of the lane together, and not the instance's own.
    pub(crate) of_lane: bool,
}

/// Counts the memory of one instance against its limit, and against that of its lane: the sum over all linear memories and
/// tables. The lane has it back when this is dropped, with the instance.
#[derive(Debug)]
pub(crate) struct MemoryBudget {
    limit: u64,
    used: u64,
    lane: Lane,
    priority: Priority,
    /// What was granted last, until it is known that the system has it.
    last: u64,
    refused: Option<MemoryRefused>,
    /// Whether the system had no memory for what the limit allows.
    unavailable: bool,
}

/// Core instances that one component may consist of.
pub(crate) const MAX_CORE_INSTANCES: u32 = 16;
/// Linear memories that one component may have.
pub(crate) const MAX_MEMORIES: u32 = 4;
/// Tables that one component may have.
pub(crate) const MAX_TABLES: u32 = 4;

impl MemoryBudget {
    pub(crate) fn new(limit: u64, lane: Lane, priority: Priority) -> Self {
        Self { limit, used: 0, lane, priority, last: 0, refused: None, unavailable: false }
    }

    /// Bytes in use now. Memories never shrink, so this is the peak as well.
    pub(crate) fn used(&self) -> u64 {
        self.used
    }

    /// The limit that the guest came to last, if it came to any.
    pub(crate) fn refused(&self) -> Option<MemoryRefused> {
        self.refused
    }

    /// Whether the guest asked for memory within the limit, and the system had none.
    pub(crate) fn unavailable(&self) -> bool {
        self.unavailable
    }

    fn grow(&mut self, current: usize, desired: usize) -> bool {
        let more = desired.saturating_sub(current) as u64;
        let granted = match self.used.checked_add(more) {
            Some(total) if total <= self.limit => self.lane.memory().take(more, self.priority),
            _ => Err(MemoryRefused { limit: self.limit, of_lane: false }),
        };
        self.last = if granted.is_ok() { more } else { 0 };
        self.used += self.last;
        self.refused = granted.err().or(self.refused);
        granted.is_ok()
    }

    /// What was granted last could not be had.
    fn give_back_last(&mut self) {
        self.lane.memory().give_back(self.last);
        self.used -= self.last;
        self.last = 0;
    }
}

impl Drop for MemoryBudget {
    fn drop(&mut self) {
        self.lane.memory().give_back(self.used);
    }
}

impl ResourceLimiter for MemoryBudget {
    fn memory_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> Result<bool> {
        Ok(self.grow(current, desired))
    }

    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> Result<()> {
        // A module's own maximum ends here as well.
        self.unavailable |= format!("{error:#}").contains(NO_MEMORY);
        self.give_back_last();
        Ok(())
    }

    fn table_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> Result<bool> {
        Ok(self.grow(current.saturating_mul(TABLE_ELEMENT_BYTES), desired.saturating_mul(TABLE_ELEMENT_BYTES)))
    }

    fn table_grow_failed(&mut self, _error: wasmtime::Error) -> Result<()> {
        self.give_back_last();
        Ok(())
    }

    fn instances(&self) -> usize {
        MAX_CORE_INSTANCES as usize
    }

    fn tables(&self) -> usize {
        MAX_TABLES as usize
    }

    fn memories(&self) -> usize {
        MAX_MEMORIES as usize
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::lane::LaneLimits;

    /// A lane whose instances may have so much together.
    fn lane(memory: u64) -> Lane {
        Lane::alone(LaneLimits { memory, ..LaneLimits::default() })
    }

    fn budget(limit: u64) -> MemoryBudget {
        MemoryBudget::new(limit, lane(u64::MAX), Priority::Live)
    }

    #[test]
    fn memories_and_tables_count_against_one_limit() {
        let mut budget = budget(3 * 65536);
        assert!(budget.memory_growing(0, 65536, None).unwrap());
        assert!(budget.memory_growing(0, 65536, None).unwrap(), "a second memory");
        assert!(budget.table_growing(0, 65536 / 8, None).unwrap());
        assert_eq!(budget.used(), 3 * 65536);
        assert_eq!(budget.refused(), None);
        assert!(!budget.table_growing(0, 1, None).unwrap());
        assert_eq!(budget.refused(), Some(MemoryRefused { limit: 3 * 65536, of_lane: false }));
        assert_eq!(budget.used(), 3 * 65536, "a refused growth is not counted");
    }

    /// A size in bytes or elements: small, about the limit, or beyond all bounds.
    fn size() -> impl Strategy<Value = usize> {
        prop_oneof![8 => 0..20_000_usize, 3 => 0..1_000_000_usize, 1 => usize::MAX - 8..=usize::MAX]
    }

    proptest! {
        #[test]
        fn no_sequence_of_growths_is_over_the_limit(
            limit in prop_oneof![0..1_000_000_u64, 0..100_000_u64],
            growths in prop::collection::vec((any::<bool>(), 0..4_usize, size()), 0..60),
        ) {
            let mut budget = budget(limit);
            let mut sizes = [[0_usize; 4]; 2];
            let total = |sizes: &[[usize; 4]; 2]| {
                let sum = |sizes: &[usize]| sizes.iter().map(|size| *size as u128).sum::<u128>();
                sum(&sizes[0]) + sum(&sizes[1]) * TABLE_ELEMENT_BYTES as u128
            };
            let mut refused = false;
            for (is_table, index, desired) in growths {
                let current = sizes[usize::from(is_table)][index];
                // Neither memories nor tables shrink.
                let desired = desired.max(current);
                let granted = if is_table {
                    budget.table_growing(current, desired, None).unwrap()
                } else {
                    budget.memory_growing(current, desired, None).unwrap()
                };
                let mut grown = sizes;
                grown[usize::from(is_table)][index] = desired;
                prop_assert_eq!(granted, total(&grown) <= u128::from(limit));
                if granted {
                    sizes = grown;
                }
                refused |= !granted;
                prop_assert_eq!(u128::from(budget.used()), total(&sizes));
                prop_assert!(budget.used() <= limit);
                prop_assert_eq!(budget.refused().is_some(), refused);
            }
        }
    }

    #[test]
    fn sizes_that_overflow_are_refused() {
        let mut budget = budget(u64::MAX);
        assert!(budget.memory_growing(0, usize::MAX, None).unwrap());
        assert!(!budget.memory_growing(0, usize::MAX, None).unwrap());
        assert!(!budget.table_growing(0, usize::MAX, None).unwrap());
    }

    #[test]
    fn what_the_system_does_not_have_is_given_back() {
        let lane = lane(u64::MAX);
        let mut budget = MemoryBudget::new(u64::MAX, lane.clone(), Priority::Live);
        assert!(budget.memory_growing(0, 65536, None).unwrap());
        assert!(budget.memory_growing(65536, 3 * 65536, None).unwrap());
        budget.memory_grow_failed(wasmtime::Error::msg("no memory")).unwrap();
        assert_eq!((budget.used(), lane.memory_used()), (65536, 65536));
        budget.table_grow_failed(wasmtime::Error::msg("no memory")).unwrap();
        assert_eq!((budget.used(), lane.memory_used()), (65536, 65536), "no more than once");
    }

    #[test]
    fn what_can_be_left_out_has_half_of_what_a_lane_may_have() {
        let lane = lane(1000);
        let mut copy = MemoryBudget::new(u64::MAX, lane.clone(), Priority::Background);
        assert!(copy.memory_growing(0, 500, None).unwrap());
        assert!(!copy.memory_growing(500, 501, None).unwrap());
        let mut live = MemoryBudget::new(u64::MAX, lane, Priority::Live);
        assert!(live.memory_growing(0, 500, None).unwrap());
        assert!(!live.memory_growing(500, 501, None).unwrap());
    }

    /// What happens to the instances of a lane: one grows, one ends, or the limit changes.
    #[derive(Debug, Clone)]
    enum Step {
        Grow(usize, usize),
        End(usize),
        Limit(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => (0..4_usize, 0..100_000_usize).prop_map(|(instance, more)| Step::Grow(instance, more)),
            2 => (0..4_usize).prop_map(Step::End),
            1 => (0..300_000_u64).prop_map(Step::Limit),
        ]
    }

    proptest! {
        #[test]
        fn the_instances_of_a_lane_have_no_more_than_it_may_and_give_all_of_it_back(
            own in 0..200_000_u64,
            steps in prop::collection::vec(step(), 0..60),
        ) {
            let lane = lane(300_000);
            let mut limit = 300_000;
            let start = || MemoryBudget::new(own, lane.clone(), Priority::Live);
            let mut instances: [_; 4] = std::array::from_fn(|_| start());
            for step in steps {
                let before = lane.memory_used();
                match step {
                    Step::Grow(instance, more) => {
                        let used = instances[instance].used();
                        let granted = instances[instance].memory_growing(0, more, None).unwrap();
                        let (within_own, within_lane) = (used + more as u64 <= own, before + more as u64 <= limit);
                        prop_assert_eq!(granted, within_own && within_lane);
                        if !granted {
                            let limit = if within_own { limit } else { own };
                            let refused = MemoryRefused { limit, of_lane: within_own };
                            prop_assert_eq!(instances[instance].refused(), Some(refused));
                        }
                    }
                    Step::End(instance) => instances[instance] = start(),
                    Step::Limit(new) => {
                        limit = new;
                        lane.set_limits(LaneLimits { memory: limit, ..LaneLimits::default() });
                    }
                }
                let used = lane.memory_used();
                prop_assert_eq!(used, instances.iter().map(MemoryBudget::used).sum::<u64>());
                prop_assert!(used <= limit.max(before));
            }
            drop(instances);
            prop_assert_eq!(lane.memory_used(), 0);
        }
    }

    #[test]
    fn threads_that_take_at_the_same_time_take_no_more_than_there_is() {
        let lane = lane(1000);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..1000 {
                        let mut budget = MemoryBudget::new(u64::MAX, lane.clone(), Priority::Live);
                        let _ = budget.memory_growing(0, 400, None);
                        assert!(lane.memory_used() <= 1000);
                    }
                });
            }
        });
        assert_eq!(lane.memory_used(), 0);
    }
}
