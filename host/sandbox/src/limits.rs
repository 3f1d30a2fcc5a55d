//! What a scorer may use, and the counting of it.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use wasmtime::{ResourceLimiter, Result};

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

/// Counts the memory of one instance against its limit: the sum over all linear memories and tables.
#[derive(Debug)]
pub(crate) struct MemoryBudget {
    limit: u64,
    used: u64,
    refused: bool,
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
    pub(crate) fn new(limit: u64) -> Self {
        Self { limit, used: 0, refused: false, unavailable: false }
    }

    /// Bytes in use now. Memories never shrink, so this is the peak as well.
    pub(crate) fn used(&self) -> u64 {
        self.used
    }

    /// Whether the guest asked for more than the limit.
    pub(crate) fn refused(&self) -> bool {
        self.refused
    }

    /// Whether the guest asked for memory within the limit, and the system had none.
    pub(crate) fn unavailable(&self) -> bool {
        self.unavailable
    }

    fn grow(&mut self, current: usize, desired: usize) -> bool {
        let more = desired.saturating_sub(current) as u64;
        match self.used.checked_add(more) {
            Some(total) if total <= self.limit => {
                self.used = total;
                true
            }
            _ => {
                self.refused = true;
                false
            }
        }
    }
}

impl ResourceLimiter for MemoryBudget {
    fn memory_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> Result<bool> {
        Ok(self.grow(current, desired))
    }

    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> Result<()> {
        // A module's own maximum ends here as well.
        self.unavailable |= format!("{error:#}").contains(NO_MEMORY);
        Ok(())
    }

    fn table_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> Result<bool> {
        Ok(self.grow(current.saturating_mul(TABLE_ELEMENT_BYTES), desired.saturating_mul(TABLE_ELEMENT_BYTES)))
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

    #[test]
    fn memories_and_tables_count_against_one_limit() {
        let mut budget = MemoryBudget::new(3 * 65536);
        assert!(budget.memory_growing(0, 65536, None).unwrap());
        assert!(budget.memory_growing(0, 65536, None).unwrap(), "a second memory");
        assert!(budget.table_growing(0, 65536 / 8, None).unwrap());
        assert_eq!(budget.used(), 3 * 65536);
        assert!(!budget.refused());
        assert!(!budget.table_growing(0, 1, None).unwrap());
        assert!(budget.refused());
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
            let mut budget = MemoryBudget::new(limit);
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
                prop_assert_eq!(budget.refused(), refused);
            }
        }
    }

    #[test]
    fn sizes_that_overflow_are_refused() {
        let mut budget = MemoryBudget::new(u64::MAX);
        assert!(budget.memory_growing(0, usize::MAX, None).unwrap());
        assert!(!budget.memory_growing(0, usize::MAX, None).unwrap());
        assert!(!budget.table_growing(0, usize::MAX, None).unwrap());
    }
}
