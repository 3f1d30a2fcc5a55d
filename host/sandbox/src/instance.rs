//! One instance: its store, what the host keeps for it, and the calls into it.

use std::mem;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use wasmtime::component::Linker;
use wasmtime::{Engine, Store, StoreContextMut, UpdateDeadline};
use wasmtime_wasi::{WasiCtxView, WasiView};

use crate::bindings::Scorer;
use crate::bindings::exports::scorebox::scoring::scoring::{Request, Response};
use crate::bindings::scorebox::scoring::log as wit;
use crate::executor::{Control, Turn};
use crate::inspect::{Counted, InstanceCounters};
use crate::interface::Interface;
use crate::limits::{Limits, MemoryBudget, MemoryRefused};
use crate::linked::Linked;
use crate::log::{LogLevel, LogSink, LogStream, LogWriter};
use crate::outcome::{self, Fault, GuestPanic, Outcome, Refused, Timing, Trap};
use crate::runtime;
use crate::stream::{Outlet, hand_over};
use crate::wasi::Wasi;

/// What the host keeps for one instance.
#[derive(Debug)]
pub(crate) struct HostState {
    log: Arc<Mutex<LogWriter>>,
    memory: MemoryBudget,
    control: Arc<Control>,
    outlet: Outlet,
    /// There for a guest that imports WASI.
    wasi: Option<Wasi>,
    /// There for the instance of a request.
    counted: Option<Counted>,
    /// The body of the request, until a runtime takes it.
    body: Vec<u8>,
}

impl HostState {
    fn log(&mut self, stream: LogStream, level: LogLevel, logger: &str, text: &str) {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).write(stream, level, logger, text);
    }
}

impl WasiView for HostState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        self.wasi.as_mut().expect("a guest that imports WASI has it").view()
    }
}

/// What the instances of a guest that imports WASI are given.
#[derive(Debug, Clone)]
pub(crate) struct WasiEnvironment {
    /// The folder that they can read, if there is one.
    pub(crate) model_dir: Option<Arc<Path>>,
}

impl WasiEnvironment {
    /// What a scorer with this interface is given, if it asks for WASI at all.
    pub(crate) fn of(interface: &Interface, model_dir: Option<&Arc<Path>>) -> Option<Self> {
        let model_dir = model_dir.filter(|_| interface.imports_files()).cloned();
        interface.imports_wasi().then_some(Self { model_dir })
    }
}

/// What a guest's instances are given, one after the other.
#[derive(Clone)]
pub(crate) struct Environment {
    pub(crate) limits: Limits,
    pub(crate) sink: Arc<dyn LogSink>,
    /// There for a guest that imports WASI.
    pub(crate) wasi: Option<WasiEnvironment>,
}

impl Environment {
    /// Makes the store of a new instance, which streams its response into `outlet`.
    pub(crate) fn store(
        &self,
        engine: &Engine,
        control: Arc<Control>,
        outlet: Outlet,
    ) -> wasmtime::Result<Store<HostState>> {
        let log = Arc::new(Mutex::new(LogWriter::new(Arc::clone(&self.sink), self.limits.log)));
        let wasi = match &self.wasi {
            Some(wasi) => Some(Wasi::new(wasi.model_dir.as_deref(), &log)?),
            None => None,
        };
        let memory = MemoryBudget::new(self.limits.memory, control.lane().clone(), control.priority());
        let mut store =
            Store::new(engine, HostState { log, memory, control, outlet, wasi, counted: None, body: Vec::new() });
        store.limiter(|state| &mut state.memory);
        store.set_hostcall_fuel(usize::try_from(self.limits.host_call).unwrap_or(usize::MAX));
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(|store| {
            Ok(match store.data().control.turn_over() {
                Turn::Continue => UpdateDeadline::Continue(1),
                Turn::Yield => UpdateDeadline::Yield(1),
            })
        });
        Ok(store)
    }
}

impl std::fmt::Debug for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Environment").field("limits", &self.limits).field("wasi", &self.wasi).finish_non_exhaustive()
    }
}

/// Sorts the error with which a call into the guest ended.
pub(crate) fn outcome(store: &Store<HostState>, error: &wasmtime::Error) -> Outcome {
    outcome::from_error(error, store.data().memory.refused())
}

/// Bytes of linear memories and tables that an instance uses.
pub(crate) fn memory_used(store: &Store<HostState>) -> u64 {
    store.data().memory.used()
}

/// Whether the system had no memory for an instance that may have more.
pub(crate) fn lacked_memory(store: &Store<HostState>) -> bool {
    store.data().memory.unavailable()
}

/// Runs one request in a new instance. Returns the instance with the outcome, for the caller to drop.
pub(crate) async fn run(
    scorer: Linked,
    environment: Environment,
    control: Arc<Control>,
    submitted: Instant,
    request: Request,
    outlet: Outlet,
    counters: Arc<InstanceCounters>,
) -> ((Outcome, Timing), Option<Store<HostState>>) {
    let started = Instant::now();
    let mut timing = Timing { queued: started - submitted, ..Timing::default() };
    let mut store = match environment.store(scorer.engine(), control, outlet) {
        Ok(store) => store,
        Err(error) => {
            let trap = Trap { reason: format!("no instance could be made: {error:#}"), backtrace: String::new() };
            return ((Outcome::Trap(trap), timing), None);
        }
    };
    let instance = scorer.instantiate(&mut store).await;
    if instance.is_ok() {
        store.data_mut().counted = Some(counters.count());
    }
    let ready = Instant::now();
    timing.instantiate = ready - started;
    if let (Err(_), Some(MemoryRefused { limit, of_lane: true })) = (&instance, store.data().memory.refused()) {
        return ((Outcome::Refused(Refused::MemorySpent { limit }), timing), Some(store));
    }
    let result = match instance {
        Ok(instance) => call_run(&scorer, &instance, &mut store, request).await,
        Err(error) => Err(error),
    };
    timing.run = ready.elapsed();
    let outcome = match result {
        Ok(Ok(response)) => {
            let headers: usize = response.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
            match too_large(response.body.len() + headers, &environment.limits) {
                Some(trap) => Outcome::Trap(trap),
                None => Outcome::Response(response),
            }
        }
        Ok(Err(fault)) => match too_large(fault_size(&fault), &environment.limits) {
            Some(trap) => Outcome::Trap(trap),
            None => Outcome::Fault(fault),
        },
        Err(error) => outcome(&store, &error),
    };
    if let (Outcome::Fault(_), Some(MemoryRefused { limit, of_lane: true })) = (&outcome, store.data().memory.refused())
    {
        // The guest cannot know that it was not its own limit.
        let text = format!("memory was refused: all instances together may have the quota of {limit} bytes");
        store.data_mut().log(LogStream::Logger, LogLevel::Warning, "", &text);
    }
    let outcome = outcome.with_exceptions_cut(environment.limits.log);
    ((outcome, timing), Some(store))
}

/// Calls `run`, without the body for a runtime that takes it itself.
pub(crate) async fn call_run(
    scorer: &Linked,
    instance: &Scorer,
    store: &mut Store<HostState>,
    mut request: Request,
) -> wasmtime::Result<Result<Response, Fault>> {
    if scorer.takes_body {
        store.data_mut().body = mem::take(&mut request.body);
    }
    instance.scorebox_scoring_scoring().call_run(store, &request).await
}

fn fault_size(fault: &Fault) -> usize {
    match fault {
        Fault::BadInput(message) | Fault::UnsupportedInput(message) => message.len(),
        Fault::Failed(exception) | Fault::TimedOut(exception) | Fault::Unencodable(exception) => {
            exception.kind.len() + exception.message.len() + exception.traceback.len()
        }
    }
}

/// Why an answer of `size` bytes is not passed on, if it is over the limit.
fn too_large(size: usize, limits: &Limits) -> Option<Trap> {
    let limit = limits.output;
    (size as u64 > limit).then(|| Trap {
        reason: format!("the response has {size} bytes, more than the limit of {limit} bytes"),
        backtrace: String::new(),
    })
}

/// Gives guests the interfaces of the world `scorer`.
pub(crate) fn add_to_linker(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    type Record = (wit::Stream, wit::Level, String, String);
    let mut log = linker.instance("scorebox:scoring/log@0.1.0")?;
    log.func_wrap("write", |mut store: StoreContextMut<'_, HostState>, (stream, level, logger, text): Record| {
        store.data_mut().log(stream.into(), level.into(), &logger, &text);
        Ok(())
    })?;
    log.func_wrap(
        "panic",
        |mut store: StoreContextMut<'_, HostState>, (message,): (String,)| -> wasmtime::Result<()> {
            store.data_mut().log(LogStream::Logger, LogLevel::Critical, "", &message);
            Err(GuestPanic(message).into())
        },
    )?;
    let mut stream = linker.instance("scorebox:scoring/stream@0.1.0")?;
    stream.func_wrap(
        "start",
        |mut store: StoreContextMut<'_, HostState>, (status, headers): (u16, Vec<(String, Vec<u8>)>)| {
            Ok((match store.data_mut().outlet.start(status, headers) {
                Ok(true) => Ok(()),
                Ok(false) => return Err(StreamTooLong.into()),
                Err(error) => Err(error),
            },))
        },
    )?;
    stream.func_wrap_async("write", |mut store: StoreContextMut<'_, HostState>, (chunk,): (Vec<u8>,)| {
        Box::new(async move {
            Ok((match store.data_mut().outlet.piece(chunk.len()) {
                Ok(Some(pieces)) => hand_over(&pieces, &chunk).await,
                Ok(None) => return Err(StreamTooLong.into()),
                Err(error) => Err(error),
            },))
        })
    })?;
    Ok(())
}

/// Gives a runtime the body of its request, which is copied once, to where the interpreter has it.
pub(crate) fn add_body_to_linker(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    linker.instance(runtime::BODY)?.func_wrap("take", |mut store: StoreContextMut<'_, HostState>, (): ()| {
        Ok((mem::take(&mut store.data_mut().body),))
    })
}

/// A guest streams more than it may send.
#[derive(Debug, thiserror::Error)]
#[error("the response has more bytes than the limit; raise the limit")]
struct StreamTooLong;

impl From<wit::Stream> for LogStream {
    fn from(stream: wit::Stream) -> Self {
        match stream {
            wit::Stream::Logger => Self::Logger,
            wit::Stream::Stdout => Self::Stdout,
            wit::Stream::Stderr => Self::Stderr,
        }
    }
}

impl From<wit::Level> for LogLevel {
    fn from(level: wit::Level) -> Self {
        match level {
            wit::Level::Debug => Self::Debug,
            wit::Level::Info => Self::Info,
            wit::Level::Warning => Self::Warning,
            wit::Level::Error => Self::Error,
            wit::Level::Critical => Self::Critical,
        }
    }
}
