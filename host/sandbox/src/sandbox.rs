//! The sandbox: seals deployments and runs requests in them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use wasmtime::Engine;
use wasmtime::component::Linker;

use crate::bundle::Bundle;
use crate::cache::{Cache, CacheUsage};
use crate::deployment::Deployment;
use crate::engine::{Engines, SandboxConfig};
use crate::executor::{Capacity, Control, End, Executor, Queues, Terms};
use crate::inspect::{InstanceCounters, Instances, Pool};
use crate::instance::{self, Environment, HostState};
use crate::lane::{Lane, LaneLimits, Priority};
use crate::limits::Limits;
use crate::log::{LogSink, NoLog};
use crate::outcome::{Outcome, Refused, Request, Run, Timing, Trap};
use crate::runtime::{Compiled, Runtime};
use crate::seal::{self, Caching, SealError, SealedModule, Stage};
use crate::sealer::Sealer;
use crate::steps::{self, Candidate};
use crate::stream::{Outlet, Start};
use crate::wasi;

/// How many times its deadline a request waits where nobody says: those before it may need as long, and then it may be its turn.
const DEADLINES_TO_WAIT: u32 = 2;

/// Why there is no sandbox.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The engine refused its settings, or the machine is too small for it.
    #[error("the WebAssembly engine cannot be set up: {0}")]
    Engine(String),
    /// A thread could not be started.
    #[error("cannot start a thread: {0}")]
    Thread(#[from] std::io::Error),
}

/// How much the sandbox has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    /// Instances that are there.
    pub running: usize,
    /// Requests that wait for one.
    pub waiting: usize,
}

/// What one request took in a benchmark.
#[doc(hidden)]
#[derive(Debug, Clone, Copy)]
pub struct Phases {
    /// Making the instance.
    pub instantiate: Duration,
    /// Calling `run`.
    pub run: Duration,
    /// Destroying the instance.
    pub drop: Duration,
    /// Page faults in all three.
    pub faults: u64,
    /// Pages of 4 KiB whose contents `run` changed. Only known of runtimes.
    pub pages_dirtied: u64,
}

impl Phases {
    /// All three.
    pub fn total(&self) -> Duration {
        self.instantiate + self.run + self.drop
    }
}

/// Seals deployments, and runs each request in an instance of its own. One for a process.
pub struct Sandbox {
    // Dropped first: guests need what follows.
    executor: Executor,
    _ticker: Ticker,
    timers: Timers,
    queue_timeout: Option<Duration>,
    engines: Engines,
    plain: Linker<HostState>,
    with_wasi: Linker<HostState>,
    for_runtimes: Linker<HostState>,
    cache: Option<Cache>,
    sealer: Sealer,
    instances: Arc<InstanceCounters>,
    pool: Option<Pool>,
    /// Runtimes that have been compiled, or loaded, by the digests of their code and their library.
    runtimes: Mutex<HashMap<[blake3::Hash; 2], Compiled>>,
    /// Held while a deployment is sealed: the memory and the cores are needed for requests.
    sealing: Mutex<()>,
}

impl std::fmt::Debug for Sandbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sandbox").field("cache", &self.cache).finish_non_exhaustive()
    }
}

impl Sandbox {
    /// Sets up the engine and the threads, and seals in this process: for scorers that are trusted. Without a cache every
    /// deployment is compiled.
    pub fn new(config: &SandboxConfig, cache: Option<Cache>) -> Result<Self, SandboxError> {
        Self::with_sealer(config, cache, Sealer::in_process())
    }

    /// The same with another to seal, who was started with the same settings and the same cache.
    pub fn with_sealer(config: &SandboxConfig, cache: Option<Cache>, sealer: Sealer) -> Result<Self, SandboxError> {
        let engine_error = |error: wasmtime::Error| SandboxError::Engine(format!("{error:#}"));
        let (engines, running, pool) = Engines::new(config).map_err(engine_error)?;
        let mut plain = Linker::new(&engines.components);
        instance::add_to_linker(&mut plain).map_err(engine_error)?;
        let mut with_wasi = plain.clone();
        wasi::add_to_linker(&mut with_wasi).map_err(engine_error)?;
        let mut for_runtimes = Linker::new(&engines.runtimes);
        instance::add_to_linker(&mut for_runtimes).map_err(engine_error)?;
        instance::add_body_to_linker(&mut for_runtimes).map_err(engine_error)?;
        wasi::add_to_linker(&mut for_runtimes).map_err(engine_error)?;
        let timers = Timers::start()?;
        let capacity = Capacity {
            threads: config.threads.get(),
            running,
            waiting: config.max_waiting,
            turn: config.tick,
            nice: config.nice,
        };
        let executor = Executor::start(capacity, &timers.handle, {
            let engines = engines.clone();
            move || engines.increment_epoch()
        })?;
        let ticker = Ticker::start(engines.clone(), Arc::clone(executor.queues()), config.tick)?;
        Ok(Self {
            executor,
            _ticker: ticker,
            timers,
            queue_timeout: config.queue_timeout,
            engines,
            plain,
            with_wasi,
            for_runtimes,
            cache,
            sealer,
            instances: Arc::default(),
            pool,
            runtimes: Mutex::default(),
            sealing: Mutex::new(()),
        })
    }

    /// Makes a scorer ready to be deployed: checks it, runs its `init`, and compiles the state after it, or loads that from
    /// the cache. What the scorer logs meanwhile goes to `sink`; `progress` is told before each stage.
    ///
    /// Blocks for as long as that takes: do not call it on a thread that drives asynchronous tasks.
    #[expect(clippy::needless_pass_by_value, reason = "the sink is taken as by `run`")]
    pub fn seal(
        &self,
        name: &str,
        version: &str,
        bundle: &Bundle,
        limits: &Limits,
        sink: Arc<dyn LogSink>,
        progress: &dyn Fn(Stage),
    ) -> Result<SealedModule, SealError> {
        self.seal_with(Caching::Yes, &Candidate { name, version, bundle, limits }, &sink, progress)
    }

    /// The same, whether the cache has it or not, and without keeping it: for whoever wants to know what `init` says.
    #[expect(clippy::needless_pass_by_value, reason = "the sink is taken as by `run`")]
    pub fn seal_anew(
        &self,
        name: &str,
        version: &str,
        bundle: &Bundle,
        limits: &Limits,
        sink: Arc<dyn LogSink>,
        progress: &dyn Fn(Stage),
    ) -> Result<SealedModule, SealError> {
        self.seal_with(Caching::No, &Candidate { name, version, bundle, limits }, &sink, progress)
    }

    /// Loads what [`Self::seal`] has made before out of the cache; `None` where that does not have it, or it cannot be trusted.
    /// Nothing is sealed, and it does not wait for what is; but where the cache does not have the code of a runtime any more, that
    /// is compiled.
    ///
    /// Blocks for as long as it takes to read it.
    pub fn find_sealed(
        &self,
        name: &str,
        version: &str,
        bundle: &Bundle,
        limits: &Limits,
    ) -> Result<Option<SealedModule>, SealError> {
        seal::find(self, &Candidate { name, version, bundle, limits })
    }

    fn seal_with(
        &self,
        caching: Caching,
        candidate: &Candidate<'_>,
        sink: &Arc<dyn LogSink>,
        progress: &dyn Fn(Stage),
    ) -> Result<SealedModule, SealError> {
        progress(Stage::Loading);
        // What is in the cache does not wait for what is not.
        if caching == Caching::Yes
            && let Some(found) = seal::find(self, candidate)?
        {
            return Ok(found);
        }
        let _one_at_a_time = self.sealing.lock().unwrap_or_else(PoisonError::into_inner);
        seal::seal(self, candidate, caching, sink, progress)
    }

    /// Makes a lane, for requests that share limits.
    pub fn lane(&self, limits: LaneLimits) -> Lane {
        self.executor.lane(limits)
    }

    /// The lane of requests that name none.
    pub fn default_lane(&self) -> &Lane {
        self.executor.default_lane()
    }

    /// Scores one request in a new instance. What the scorer logs goes to `sink`.
    ///
    /// Such requests are a lane together, which has no limits of its own. Dropping the returned future stops the scorer.
    pub async fn run(&self, deployment: &Deployment, request: Request, sink: Arc<dyn LogSink>) -> Run {
        self.run_in(self.default_lane(), deployment, request, sink).await
    }

    /// The same in a lane of this sandbox.
    ///
    /// # Panics
    ///
    /// Panics if the lane is another sandbox's.
    pub async fn run_in(&self, lane: &Lane, deployment: &Deployment, request: Request, sink: Arc<dyn LogSink>) -> Run {
        self.run_with_priority(lane, Priority::Live, deployment, request, sink).await
    }

    /// The same with a priority.
    ///
    /// # Panics
    ///
    /// Panics if the lane is another sandbox's.
    pub async fn run_with_priority(
        &self,
        lane: &Lane,
        priority: Priority,
        deployment: &Deployment,
        request: Request,
        sink: Arc<dyn LogSink>,
    ) -> Run {
        let submitted = Instant::now();
        let environment = Environment { limits: deployment.limits.clone(), sink, wasi: deployment.module.wasi.clone() };
        let scorer = deployment.module.scorer.clone();
        let (outlet, mut started) = Outlet::new(deployment.limits.output);
        let counters = Arc::clone(&self.instances);
        let guest = move |control| instance::run(scorer, environment, control, submitted, request, outlet, counters);
        let limit = deployment.limits.deadline;
        let patience = patience(self.queue_timeout, limit);
        let ended = match self.executor.run_request(Terms { lane, priority, limit, patience }, guest) {
            Ok(ended) => ended,
            Err(refused) => return Run { outcome: Outcome::Refused(refused), timing: Timing::default() },
        };
        let mut run = Box::pin(async move { ended_run(ended.await, submitted) });
        let stream = |start: Start, end| {
            let timing = Timing { run: submitted.elapsed(), ..Timing::default() };
            Run { outcome: Outcome::Stream(start.respond(end)), timing }
        };
        tokio::select! {
            biased;
            Ok(start) = &mut started => stream(start, run),
            run = &mut run => match started.try_recv() {
                // It has started a stream and ended since.
                Ok(start) => stream(start, Box::pin(std::future::ready(run))),
                Err(_) => run,
            },
        }
    }

    /// The same as [`Self::run`]. Blocks until there is an outcome: do not call it on a thread that drives asynchronous tasks.
    pub fn run_blocking(&self, deployment: &Deployment, request: Request, sink: Arc<dyn LogSink>) -> Run {
        self.wait(self.run(deployment, request, sink))
    }

    /// Runs one request `times` times on a guest's thread, each in a new instance, and returns what each took: for
    /// benchmarks, which want to see the instance without the way to it. `faults` counts the thread's page faults so far.
    #[doc(hidden)]
    pub fn measure(
        &self,
        deployment: &Deployment,
        request: &Request,
        times: u64,
        faults: fn() -> u64,
    ) -> Option<Vec<Phases>> {
        let environment = Environment {
            limits: deployment.limits.clone(),
            sink: Arc::new(NoLog),
            wasi: deployment.module.wasi.clone(),
        };
        let scorer = deployment.module.scorer.clone();
        let request = request.clone();
        let counters = Arc::clone(&self.instances);
        let arena = Arc::clone(&self.engines.arena);
        let guest = move |control: Arc<Control>| async move {
            let mut phases = Vec::new();
            for _ in 0..times {
                let (control, counters) = (Arc::clone(&control), Arc::clone(&counters));
                let (request, outlet) = (request.clone(), Outlet::closed());
                let faults_before = faults();
                let start = Instant::now();
                let ((outcome, Timing { instantiate, run, .. }), instance) =
                    instance::run(scorer.clone(), environment.clone(), control, start, request, outlet, counters).await;
                if !matches!(outcome, Outcome::Response(_)) {
                    return (None, ());
                }
                let dirtied_before = arena.pages_dirtied();
                let start = Instant::now();
                drop(instance);
                let drop = start.elapsed();
                let pages_dirtied = arena.pages_dirtied() - dirtied_before;
                phases.push(Phases { instantiate, run, drop, faults: faults() - faults_before, pages_dirtied });
            }
            (Some(phases), ())
        };
        match self.wait(self.executor.run(Duration::from_hours(1), guest)) {
            End::Done(phases) => phases,
            End::Deadline { .. } | End::Refused(_) | End::Failed => None,
        }
    }

    /// Whether a request would be refused now. For a host that wants to know before it reads a large body.
    pub fn admits(&self) -> Result<(), Refused> {
        self.admits_in(self.default_lane())
    }

    /// Whether a live request in this lane would be refused now. CPU time that the lane owes is a reason where it cannot be
    /// made up for within [`SandboxConfig::queue_timeout`]. Without one, a deployment's deadline decides, and only
    /// [`Self::run_in`] knows it.
    pub fn admits_in(&self, lane: &Lane) -> Result<(), Refused> {
        self.executor.admits(lane, self.queue_timeout.unwrap_or(Duration::MAX))
    }

    /// How much there is to do.
    pub fn load(&self) -> Load {
        let (running, waiting) = self.executor.load();
        Load { running, waiting }
    }

    /// How many instances there have been.
    pub fn instances(&self) -> Instances {
        self.instances.read()
    }

    /// How many pages of 4 KiB the requests of runtimes have changed. Of other scorers it is not known.
    pub fn pages_dirtied(&self) -> u64 {
        self.engines.arena.pages_dirtied()
    }

    /// Where instances are; `None` unless [`SandboxConfig::note_pool`] is set and the system says it.
    pub fn pool(&self) -> Option<&Pool> {
        self.pool.as_ref()
    }

    /// Takes no more requests. Those that run or wait are finished.
    pub fn stop(&self) {
        self.executor.stop();
    }

    /// Compiles a runtime into the cache, unless it is there. Deployments do that on their own; this is to do it in advance.
    ///
    /// Blocks for as long as that takes: about a minute.
    pub fn compile_runtime(&self, runtime: &Runtime, progress: &dyn Fn(Stage)) -> Result<(), SealError> {
        self.runtime(runtime, progress).map(|_| ())
    }

    /// A runtime that is ready to be used, which all its deployments share.
    pub(crate) fn runtime(&self, runtime: &Runtime, progress: &dyn Fn(Stage)) -> Result<Compiled, SealError> {
        let mut runtimes = self.runtimes.lock().unwrap_or_else(PoisonError::into_inner);
        let name = [runtime.code, runtime.library];
        if let Some(compiled) = runtimes.get(&name) {
            return Ok(compiled.clone());
        }
        let code = match seal::runtime_code(self.engine(), self.cache(), runtime) {
            Some(code) => code,
            None => self.sealer.runtime(self, runtime, progress)?,
        };
        let compiled = steps::load_runtime(self, &code)?;
        runtimes.insert(name, compiled.clone());
        Ok(compiled)
    }

    /// The engine of components, which compiles for both.
    pub(crate) fn engine(&self) -> &Engine {
        &self.engines.components
    }

    pub(crate) fn runtime_engine(&self) -> &Engine {
        &self.engines.runtimes
    }

    /// What runtimes are joined to.
    pub(crate) fn runtime_linker(&self) -> &Linker<HostState> {
        &self.for_runtimes
    }

    pub(crate) fn executor(&self) -> &Executor {
        &self.executor
    }

    pub(crate) fn sealer(&self) -> &Sealer {
        &self.sealer
    }

    /// What the cache has on the disk; `None` without one.
    pub fn cache_usage(&self) -> Option<CacheUsage> {
        self.cache().map(Cache::usage)
    }

    pub(crate) fn cache(&self) -> Option<&Cache> {
        self.cache.as_ref()
    }

    pub(crate) fn linker(&self, wasi: bool) -> &Linker<HostState> {
        if wasi { &self.with_wasi } else { &self.plain }
    }

    /// Waits on this thread.
    pub(crate) fn wait<F: Future>(&self, future: F) -> F::Output {
        self.timers.handle.block_on(future)
    }
}

/// How long a request with this deadline waits: as long as is said, if it is.
fn patience(said: Option<Duration>, deadline: Duration) -> Duration {
    said.unwrap_or(deadline.saturating_mul(DEADLINES_TO_WAIT))
}

/// The outcome of a guest that the executor has seen to its end.
fn ended_run(end: End<(Outcome, Timing)>, submitted: Instant) -> Run {
    match end {
        End::Done((outcome, timing)) => Run { outcome, timing },
        End::Deadline { limit, started } => {
            let timing = Timing { queued: started - submitted, run: started.elapsed(), ..Timing::default() };
            Run { outcome: Outcome::Deadline(limit), timing }
        }
        End::Refused(refused) => {
            let timing = Timing { queued: submitted.elapsed(), ..Timing::default() };
            Run { outcome: Outcome::Refused(refused), timing }
        }
        End::Failed => {
            let trap = Trap { reason: "the host failed to run it".to_owned(), backtrace: String::new() };
            Run { outcome: Outcome::Trap(trap), timing: Timing::default() }
        }
    }
}

/// Drives the clocks that guests wait for, on a thread of its own.
struct Timers {
    handle: tokio::runtime::Handle,
    runtime: Option<tokio::runtime::Runtime>,
}

impl Timers {
    fn start() -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("guest-timers")
            .enable_time()
            .build()?;
        Ok(Self { handle: runtime.handle().clone(), runtime: Some(runtime) })
    }
}

impl Drop for Timers {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Nothing runs on it any more, and the last owner of a sandbox may be an asynchronous task, which must not wait.
            runtime.shutdown_background();
        }
    }
}

/// How long the epoch's thread sleeps at most.
const SLEEP: Duration = Duration::from_millis(5);
/// The same while a guest is kept waiting that may go before others.
const SHORT_SLEEP: Duration = Duration::from_millis(1);

/// Advances the epoch of the engine: at each tick, and between them while a guest is kept waiting that may go before others.
/// A thread of the system, because a busy executor would not run a task.
struct Ticker {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Ticker {
    fn start(engines: Engines, queues: Arc<Queues>, tick: Duration) -> std::io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let thread = std::thread::Builder::new().name("epoch".to_owned()).spawn({
            let stop = Arc::clone(&stop);
            move || {
                let mut next = Instant::now() + tick;
                let mut sleep = SLEEP;
                while !stop.load(Ordering::Relaxed) {
                    std::thread::sleep(next.saturating_duration_since(Instant::now()).min(sleep));
                    let is_tick = Instant::now() >= next;
                    let in_between = queues.is_anybody_kept_waiting();
                    if is_tick || in_between {
                        engines.increment_epoch();
                    }
                    if is_tick {
                        next = Instant::now() + tick;
                    }
                    sleep = if in_between { SHORT_SLEEP } else { SLEEP };
                }
            }
        })?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_waits_for_twice_its_deadline_unless_something_else_is_said() {
        assert_eq!(patience(None, Duration::from_secs(3)), Duration::from_secs(6));
        assert_eq!(patience(None, Duration::MAX), Duration::MAX);
        assert_eq!(patience(Some(Duration::ZERO), Duration::from_secs(3)), Duration::ZERO);
    }
}
