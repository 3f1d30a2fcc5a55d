//! The engine of the process: how WebAssembly is compiled and where instances live.
//!
//! Instances of components live in the engine's own pool, those of runtimes in [places](crate::memory) of ours. The engine
//! takes one of the two, so there is one of it for each; both compile the same, and a clock drives them together.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use wasmtime::{
    Config, Enabled, Engine, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig, WasmBacktraceDetails,
};

use crate::inspect::Pool;
use crate::limits::{MAX_CORE_INSTANCES, MAX_MEMORIES, MAX_TABLES};
use crate::memory::{Arena, GUARD, Memories, RESERVATION, Stacks};

/// Bytes of a guest's native stack that are set aside for the host functions that it calls.
const HOST_STACK: usize = 512 * 1024;
/// Bytes of a stack, from its top, that are cleared in place after use; the rest is given back to the system.
const STACK_KEEP_RESIDENT: usize = 16 * 1024;
/// Elements that a table may have.
const TABLE_ELEMENTS: usize = 128 * 1024;
/// Bytes of the engine's own bookkeeping that an instance may need. It grows with the number of its functions.
const INSTANCE_BYTES: usize = 16 * 1024 * 1024;
/// The largest linear memory of a 32-bit guest, in bytes.
const MAX_MEMORY: usize = 4 << 30;
/// Places of instances that keep the image of the deployment they were last used for. Each takes memory.
const WARM_SLOTS: u32 = 16;
/// Fewest instances with which it makes sense to go on.
const MIN_INSTANCES: usize = 4;
/// Instances beside those of requests: `init` and `schema` of deployments.
const SPARE_INSTANCES: usize = 4;

/// Memories of its own that an instance of a runtime has at most: two of its state, and the heap that exceptions are
/// allocated on.
const MEMORIES_OF_RUNTIME: usize = 3;

/// How many times [`SandboxConfig::keep_resident`] a memory of a runtime's instance keeps: only what has been written to, of
/// a memory that is large.
const RUNTIME_KEEPS: usize = 4;

/// How the sandbox is set up. One for the whole process.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SandboxConfig {
    /// Threads that run guests. Default: one per core that the process may use.
    pub threads: NonZeroUsize,
    /// Requests that run at the same time, each in its own instance. Default 64. Where the address space does not
    /// suffice, fewer are chosen, and a warning says so.
    pub max_running: usize,
    /// Requests that wait to be run. One more is refused. Default 1,024.
    pub max_waiting: usize,
    /// How long a request may wait, if not for twice as long as it may then run. What has waited longer is refused.
    pub queue_timeout: Option<Duration>,
    /// How long a guest runs before it lets others run, and how far a deadline can be exceeded. Default 5 ms.
    pub tick: Duration,
    /// What is added to the niceness of the threads that run guests, on Linux: the more, the more the system prefers the other
    /// threads of the process, and other processes. Default 0.
    pub nice: u8,
    /// Bytes of stack that a guest may use. Default 8 MiB: Python recurses deeply, and what is not used takes no memory.
    pub stack: usize,
    /// Bytes of each linear memory that are restored in place, rather than given back to the system, when an instance is
    /// destroyed. It is fastest where it covers all memory that a guest has, and takes that much for each instance that
    /// has run at the same time. Of a runtime's memories only what was written to is restored, up to four times as much.
    /// Default 2 MiB.
    pub keep_resident: usize,
    /// Whether to take note of where instances are, for an auditor: see [`crate::Sandbox::pool`]. Default no.
    pub note_pool: bool,
}

impl Default for SandboxConfig {
    fn default() -> Self {
        Self {
            threads: available_parallelism().unwrap_or(NonZeroUsize::MIN),
            max_running: 64,
            max_waiting: 1024,
            queue_timeout: None,
            tick: Duration::from_millis(5),
            nice: 0,
            stack: 8 * 1024 * 1024,
            keep_resident: 2 * 1024 * 1024,
            note_pool: false,
        }
    }
}

/// The engine, for both kinds of scorers.
#[derive(Clone)]
pub(crate) struct Engines {
    /// Components.
    pub(crate) components: Engine,
    /// Runtimes.
    pub(crate) runtimes: Engine,
    /// Where the memories of runtimes' instances are.
    pub(crate) arena: Arc<Arena>,
}

impl Engines {
    /// Makes it, and says how many requests it can run at the same time, and where instances are if that is to be noted.
    pub(crate) fn new(config: &SandboxConfig) -> wasmtime::Result<(Self, usize, Option<Pool>)> {
        let mut running = config.max_running.max(1);
        loop {
            let engines = || Self::for_running(config, running);
            let (engines, pool) =
                if config.note_pool { Pool::note(memory_slots(running), engines) } else { (engines(), None) };
            match engines {
                Ok(engines) => {
                    if running < config.max_running {
                        tracing::warn!(
                            asked = config.max_running,
                            chosen = running,
                            "address space for fewer instances than asked for: at most {running} requests run at the same time"
                        );
                    }
                    return Ok((engines, running, pool));
                }
                Err(error) if running <= MIN_INSTANCES => return Err(error),
                Err(error) => {
                    tracing::debug!("a pool of {running} instances does not fit: {error}");
                    running /= 2;
                }
            }
        }
    }

    fn for_running(config: &SandboxConfig, running: usize) -> wasmtime::Result<Self> {
        let instances = running + SPARE_INSTANCES;
        let arena = Arena::new(instances * MEMORIES_OF_RUNTIME, config.keep_resident.saturating_mul(RUNTIME_KEEPS))?;
        let mut runtimes = common_config(config);
        runtimes
            .allocation_strategy(InstanceAllocationStrategy::OnDemand)
            .with_host_memory(Arc::new(Memories(Arc::clone(&arena))))
            .with_host_stack(Arc::new(Stacks::new(instances, stack_size(config))?));
        let mut components = common_config(config);
        components.allocation_strategy(pool_config(config, running));
        Ok(Self { components: Engine::new(&components)?, runtimes: Engine::new(&runtimes)?, arena })
    }

    /// Lets guests of both see that time has passed.
    pub(crate) fn increment_epoch(&self) {
        self.components.increment_epoch();
        self.runtimes.increment_epoch();
    }
}

/// Instances for which there is place.
fn pool_size(running: usize) -> u32 {
    u32::try_from(running + SPARE_INSTANCES).unwrap_or(u32::MAX)
}

/// Memories for which there is place, of components and of runtimes.
fn memory_slots(running: usize) -> u32 {
    pool_size(running).saturating_mul(MAX_MEMORIES + MEMORIES_OF_RUNTIME as u32)
}

/// Bytes of a native stack: whole pages, of any size that systems have.
fn stack_size(config: &SandboxConfig) -> usize {
    const PAGES: usize = 64 * 1024;
    config.stack.saturating_add(HOST_STACK).checked_next_multiple_of(PAGES).unwrap_or(usize::MAX - (PAGES - 1))
}

fn pool_config(config: &SandboxConfig, running: usize) -> PoolingAllocationConfig {
    let instances = pool_size(running);
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(instances)
        .total_core_instances(instances.saturating_mul(MAX_CORE_INSTANCES))
        .total_memories(instances.saturating_mul(MAX_MEMORIES))
        .total_tables(instances.saturating_mul(MAX_TABLES))
        .total_stacks(instances)
        .max_core_instances_per_component(MAX_CORE_INSTANCES)
        .max_memories_per_component(MAX_MEMORIES)
        .max_tables_per_component(MAX_TABLES)
        .max_memories_per_module(MAX_MEMORIES)
        .max_core_instance_size(INSTANCE_BYTES)
        .max_component_instance_size(INSTANCE_BYTES)
        .max_memory_size(MAX_MEMORY)
        .table_elements(TABLE_ELEMENTS)
        .max_unused_warm_slots(WARM_SLOTS)
        .async_stack_keep_resident(STACK_KEEP_RESIDENT)
        .linear_memory_keep_resident(config.keep_resident)
        .table_keep_resident(config.keep_resident)
        // With swap in use it can leave a page of one guest for the next.
        .pagemap_scan(Enabled::No);
    pool
}

/// What compiled code depends on.
fn common_config(config: &SandboxConfig) -> Config {
    let mut engine = Config::new();
    engine
        .memory_reservation(RESERVATION as u64)
        .memory_guard_size(GUARD as u64)
        .cranelift_opt_level(OptLevel::Speed)
        .epoch_interruption(true)
        .max_wasm_stack(config.stack)
        .async_stack_size(stack_size(config))
        .async_stack_zeroing(true)
        .memory_init_cow(true)
        .wasm_backtrace_details(WasmBacktraceDetails::Disable)
        .wasm_component_model(true)
        .wasm_relaxed_simd(false)
        .wasm_memory64(false)
        // A growth that is not possible would not be asked for before it is said to have failed.
        .wasm_custom_page_sizes(false)
        // Offsets of instructions are half of a compiled module, and say little more than the names of functions.
        .generate_address_map(false)
        // Native unwind tables serve debuggers; guests are unwound by the engine's own.
        .native_unwind_info(false);
    engine
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_native_stack_has_whole_pages_whatever_is_asked_for() {
        for stack in [0, 32 << 10, 8_000_000, 10_000_000, usize::MAX] {
            let config = SandboxConfig { stack, ..SandboxConfig::default() };
            assert_eq!(stack_size(&config) % (64 << 10), 0, "{stack}");
            assert!(stack_size(&config) >= stack.min(usize::MAX / 2), "{stack}");
        }
    }
}
