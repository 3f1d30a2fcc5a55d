//! What an auditor wants to see of a sandbox, and no request needs: how many instances there were, where in the address
//! space the engine keeps them, and, to show that a search for what is left behind would find it, an instance that is used
//! for more than one request. Nothing here is called while a host serves.

use std::fs;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::deployment::Deployment;
use crate::executor::{Control, End};
use crate::instance::{self, Environment};
use crate::log::LogSink;
use crate::outcome::{Outcome, Request, Trap};
use crate::sandbox::Sandbox;
use crate::stream::Outlet;

/// How many instances have been made for requests, those for `init` and `schema` not counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instances {
    /// Made so far.
    pub created: u64,
    /// Destroyed so far.
    pub destroyed: u64,
}

/// Counts the instances of requests.
#[derive(Debug, Default)]
pub(crate) struct InstanceCounters {
    created: AtomicU64,
    destroyed: AtomicU64,
}

impl InstanceCounters {
    /// Counts an instance, and its end when what is returned is dropped.
    pub(crate) fn count(self: &Arc<Self>) -> Counted {
        self.created.fetch_add(1, Ordering::Relaxed);
        Counted(Arc::clone(self))
    }

    pub(crate) fn read(&self) -> Instances {
        // In this order no more are seen to be destroyed than created.
        let destroyed = self.destroyed.load(Ordering::Relaxed);
        Instances { created: self.created.load(Ordering::Relaxed), destroyed }
    }
}

/// An instance that has been counted.
#[derive(Debug)]
pub(crate) struct Counted(Arc<InstanceCounters>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.destroyed.fetch_add(1, Ordering::Relaxed);
    }
}

/// Where the engine keeps instances.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pool {
    /// Addresses that were taken when the pool was made: the places of linear memories, tables, stacks and garbage-collected
    /// heaps. What is in an instance besides, the values of its globals among it, is in memory of the host.
    pub ranges: Vec<Range<u64>>,
    /// Places for linear memories.
    pub memory_slots: u32,
}

impl Pool {
    /// Runs `make`, and takes the addresses that have come into use meanwhile for those of the pool.
    pub(crate) fn note<T>(memory_slots: u32, make: impl FnOnce() -> T) -> (T, Option<Self>) {
        let before = mapped();
        let result = make();
        let pool = before.and_then(|before| Ok((before, mapped()?))).ok().map(|(before, after)| Self {
            ranges: after.iter().flat_map(|range| without(range, &before)).collect(),
            memory_slots,
        });
        (result, pool)
    }
}

/// The addresses that are in use, in order, neighbours joined.
fn mapped() -> io::Result<Vec<Range<u64>>> {
    let mut ranges: Vec<Range<u64>> = Vec::new();
    for line in fs::read_to_string("/proc/self/maps")?.lines() {
        let Some(range) = line.split(' ').next().and_then(address_range) else { continue };
        match ranges.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ => ranges.push(range),
        }
    }
    Ok(ranges)
}

/// Reads `7f00-7f80`.
fn address_range(text: &str) -> Option<Range<u64>> {
    let (start, end) = text.split_once('-')?;
    Some(u64::from_str_radix(start, 16).ok()?..u64::from_str_radix(end, 16).ok()?)
}

/// What is in `range` and in none of `others`, which are in order.
fn without(range: &Range<u64>, others: &[Range<u64>]) -> Vec<Range<u64>> {
    let mut left = Vec::new();
    let mut start = range.start;
    for other in others.iter().filter(|other| other.start < range.end && other.end > range.start) {
        if other.start > start {
            left.push(start..other.start);
        }
        start = start.max(other.end);
    }
    if start < range.end {
        left.push(start..range.end);
    }
    left
}

impl Sandbox {
    /// Runs requests one after the other **in the same instance**, which is what a sandbox is there to prevent: the control
    /// of a search for what requests leave behind. `after_each` is told each outcome while the instance is still there; the
    /// first one that is neither a response nor a fault is the last.
    #[doc(hidden)]
    pub fn run_all_in_one_instance(
        &self,
        deployment: &Deployment,
        requests: Vec<Request>,
        sink: Arc<dyn LogSink>,
        mut after_each: impl FnMut(Outcome) + Send + 'static,
    ) {
        let environment = Environment { limits: deployment.limits.clone(), sink, wasi: deployment.module.wasi.clone() };
        let scorer = deployment.module.scorer.clone();
        let guest = move |control: Arc<Control>| async move {
            let trap = |error: &wasmtime::Error| {
                Outcome::Trap(Trap {
                    reason: format!("no instance could be made: {error:#}"),
                    backtrace: String::new(),
                })
            };
            let mut store = match environment.store(scorer.engine(), control, Outlet::closed()) {
                Ok(store) => store,
                Err(error) => {
                    after_each(trap(&error));
                    return ((), None);
                }
            };
            match scorer.instantiate(&mut store).await {
                Ok(instance) => {
                    for request in requests {
                        match instance::call_run(&scorer, &instance, &mut store, request).await {
                            Ok(Ok(response)) => after_each(Outcome::Response(response)),
                            Ok(Err(fault)) => after_each(Outcome::Fault(fault)),
                            Err(error) => {
                                after_each(instance::outcome(&store, &error));
                                break;
                            }
                        }
                    }
                }
                Err(error) => after_each(trap(&error)),
            }
            ((), Some(store))
        };
        match self.wait(self.executor().run(Duration::from_hours(1), guest)) {
            End::Done(()) | End::Deadline { .. } | End::Refused(_) | End::Failed => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::single_range_in_vec_init, reason = "lists of ranges are meant")]
    fn what_is_new_is_what_was_not_there() {
        assert_eq!(without(&(10..20), &[]), [10..20]);
        assert_eq!(without(&(10..20), &[0..10, 20..30]), [10..20]);
        assert_eq!(without(&(10..20), &[0..12, 14..16, 18..30]), [12..14, 16..18]);
        assert_eq!(without(&(10..20), &[5..25]), []);
    }

    #[test]
    fn what_is_mapped_meanwhile_is_noted() {
        let (memory, pool) = Pool::note(3, || vec![1_u8; 256 << 20]);
        let pool = pool.unwrap();
        let address = memory.as_ptr().addr() as u64;
        assert!(pool.ranges.iter().any(|range| range.contains(&address)), "{address:x} is not in {pool:?}");
        assert_eq!(pool.memory_slots, 3);
        let ((), none) = Pool::note(0, || ());
        let none = none.unwrap();
        assert!(!none.ranges.iter().any(|range| range.contains(&address)), "{address:x} was there before: {none:?}");
    }
}
