//! The steps of sealing: from a component to a module that starts one instant after `init`.
//!
//! Each step takes bytes and gives bytes, so that it can be done here or in a process of its own. Of a component,
//! [`initialise_component`] runs `init` and gives the state after it as WebAssembly, of which [`compile`] makes native code,
//! and [`describe`] asks that for its schema. Of a runtime, whose state has no code in it, [`initialise_runtime`] does it all.
//! Untrusted code runs in these, but for [`compile`]: its result is native code.

use std::borrow::Cow;
use std::mem;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use wasmtime::component::{Component, Instance, Lift, Linker, WasmList};
use wasmtime::{Engine, Store};
use wasmtime_wizer::{ComponentInstanceState, Wizer};

use crate::bindings::exports::scorebox::scoring::scoring as wit;
use crate::bindings::{Scorer, ScorerPre};
use crate::bundle::{Bundle, BundleFile, Preload};
use crate::executor::{Control, End};
use crate::instance::{self, Environment, HostState, WasiEnvironment};
use crate::interface::Interface;
use crate::limits::Limits;
use crate::linked::Linked;
use crate::log::{LogLevel, LogSink, LogStream};
use crate::memory::{Image, Written};
use crate::native::{self, Native};
use crate::outcome::{self, Outcome};
use crate::runtime::{Compiled, PRELOAD, WITHHELD};
use crate::sandbox::Sandbox;
use crate::seal::{Schema, SealError, Stage};
use crate::stream::Outlet;

/// The parts of a runtime: its compiled code, and the image of its library.
#[derive(Debug, Clone)]
pub(crate) struct RuntimeCode {
    pub(crate) code: Native,
    pub(crate) library: Native,
}

/// A runtime's state after what a bundle has it preload.
pub(crate) struct Preloaded<'a> {
    /// Where it has been made before.
    pub(crate) found: Option<Native>,
    /// Told the state where it had to be made, before anything of the rest of the bundle runs; nothing where it is not to be
    /// shared.
    pub(crate) keep: &'a dyn Fn(Option<Vec<u8>>),
}

/// What a scorer is made from.
pub(crate) struct Candidate<'a> {
    pub(crate) name: &'a str,
    pub(crate) version: &'a str,
    pub(crate) bundle: &'a Bundle,
    pub(crate) limits: &'a Limits,
}

/// A scorer's state after `init`.
#[derive(Debug)]
pub(crate) struct Snapshot {
    /// What it imports and exports.
    pub(crate) interface: Interface,
    /// Bytes of linear memory and tables.
    pub(crate) bytes: u64,
    pub(crate) state: State,
}

/// A state, written down.
#[derive(Debug)]
pub(crate) enum State {
    /// A component that is to be compiled.
    Component(Vec<u8>),
    /// An image of a runtime's memories, and what the runtime says that it takes and gives.
    Image(Vec<u8>, Schema),
}

/// Checks a component against the world, instruments and compiles it, runs `init`, and reads the state after it. `progress`
/// is told before code of the component runs.
pub(crate) fn initialise_component(
    sandbox: &Sandbox,
    candidate: &Candidate<'_>,
    component: &[u8],
    sink: Arc<dyn LogSink>,
    progress: &dyn Fn(Stage),
) -> Result<Snapshot, SealError> {
    let interface = Interface::read(component)?;
    interface.check()?;
    let snapshot_error = |error: wasmtime::Error| SealError::Snapshot(format!("{error:#}"));
    let mut wizer = Wizer::new();
    wizer.keep_init_func(true);
    let (context, instrumented) = wizer.instrument_component(component).map_err(snapshot_error)?;
    let instrumented = Component::new(sandbox.engine(), &instrumented).map_err(compile_error)?;
    let scorer = link_component(sandbox, &interface, &instrumented)?;
    let environment = environment(candidate.limits, sink, &interface, candidate.bundle.model_dir.as_ref());
    // A guest that can read its model directory itself does. An archive has none.
    let reads_itself = interface.imports_files() && candidate.bundle.model_dir.is_some();
    let files = if reads_itself { &[][..] } else { &candidate.bundle.files };
    let files = files.iter().map(file).collect();
    progress(Stage::Initialising);
    let (mut store, instance) = call_init(sandbox, deployment(candidate, files), &scorer, &environment)?;
    let bytes = instance::memory_used(&store);
    // What is read from here on is the memory itself, which has a limit of its own and is not copied.
    store.set_hostcall_fuel(usize::MAX);
    let mut reader = StateReader { store: &mut store, instance, error: None };
    let state = sandbox.wait(wizer.snapshot_component(&context, &mut reader)).map_err(snapshot_error)?;
    match reader.error {
        Some(error) => Err(snapshot_error(error)),
        None => Ok(Snapshot { interface, bytes, state: State::Component(state) }),
    }
}

/// Runs `init` on the state that a runtime begins with, or on the one after what it preloads; reads what has become of it,
/// and asks an instance of that for its schema. `progress` is told before code of the runtime runs.
pub(crate) fn initialise_runtime(
    sandbox: &Sandbox,
    candidate: &Candidate<'_>,
    runtime: &RuntimeCode,
    initial: &[u8],
    preloaded: Option<Preloaded<'_>>,
    sink: Arc<dyn LogSink>,
    progress: &dyn Fn(Stage),
) -> Result<Snapshot, SealError> {
    let snapshot_error = |error: wasmtime::Error| SealError::Snapshot(format!("{error:#}"));
    let compiled = load_runtime(sandbox, runtime)?;
    let interface = Interface::of(&compiled.code, compiled.code.engine());
    interface.check_runtime()?;
    let initial = Written::of_module(initial).map_err(compile_error)?.finish();
    let initial = Image::of_bytes(&initial).map_err(|error| snapshot_error(error.into()))?;
    let initial = link_runtime(sandbox, &compiled, &initial)?;
    let environment = environment(candidate.limits, sink, &interface, None);
    progress(Stage::Initialising);
    let Bundle { files, preload, .. } = candidate.bundle;
    let begun = match preload.as_ref().zip(preloaded) {
        None => None,
        Some((_, Preloaded { found: Some(state), .. })) => {
            Some(Image::open(&state).map_err(|error| snapshot_error(error.into()))?)
        }
        Some((preload, Preloaded { found: None, keep })) => {
            let deployment = deployment(candidate, preload_files(files, preload));
            preload_runtime(sandbox, &compiled, deployment, &initial, &environment, keep)?
        }
    };
    let (scorer, files) = match preload.as_ref().zip(begun) {
        None => (initial, files.iter().map(file).collect()),
        Some((preload, state)) => {
            let withheld = files.iter().filter(|file| preload.withholds(file)).map(file).collect();
            (link_runtime(sandbox, &compiled, &state)?, withheld)
        }
    };
    let (mut store, instance) = call_init(sandbox, deployment(candidate, files), &scorer, &environment)?;
    let bytes = instance::memory_used(&store);
    let state = sandbox.wait(compiled.layout.snapshot(&mut store, instance)).map_err(snapshot_error)?;
    drop(store);
    let image = Image::of_bytes(&state).map_err(|error| snapshot_error(error.into()))?;
    let schema = call_schema(sandbox, &link_runtime(sandbox, &compiled, &image)?, &environment)?;
    Ok(Snapshot { interface, bytes, state: State::Image(state, schema) })
}

/// Has a runtime do what comes before the rest of a bundle, and gives the state after it; nothing where the runtime refuses:
/// then `init` says why, or does without.
fn preload_runtime(
    sandbox: &Sandbox,
    compiled: &Compiled,
    deployment: wit::Deployment,
    initial: &Linked,
    environment: &Environment,
    keep: &dyn Fn(Option<Vec<u8>>),
) -> Result<Option<Arc<Image>>, SealError> {
    let snapshot_error = |error: wasmtime::Error| SealError::Snapshot(format!("{error:#}"));
    let notes = Arc::new(Notes::default());
    let before = Environment { sink: Arc::clone(&notes) as Arc<dyn LogSink>, ..environment.clone() };
    let (mut store, instance) = match call_init(sandbox, deployment, initial, &before) {
        Ok(begun) => begun,
        Err(SealError::Init(_)) => {
            keep(None);
            return Ok(None);
        }
        Err(error) => {
            notes.hand_on(&*environment.sink);
            return Err(error);
        }
    };
    let state = sandbox.wait(compiled.layout.snapshot(&mut store, instance)).map_err(snapshot_error)?;
    let image = Image::of_bytes(&state).map_err(|error| snapshot_error(error.into()))?;
    // What it has said, every deployment is to say.
    let is_silent = notes.hand_on(&*environment.sink) == 0;
    keep(is_silent.then_some(state));
    Ok(Some(image))
}

/// What is said until it is known whether it counts.
#[derive(Debug, Default)]
struct Notes(Mutex<Vec<(LogStream, LogLevel, String, String)>>);

impl Notes {
    /// Hands it on, and says how many records there were.
    fn hand_on(&self, sink: &dyn LogSink) -> usize {
        let records = mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        for (stream, level, logger, text) in &records {
            sink.write(*stream, *level, logger, text);
        }
        records.len()
    }
}

impl LogSink for Notes {
    fn write(&self, stream: LogStream, level: LogLevel, logger: &str, text: &str) {
        let record = (stream, level, logger.to_owned(), text.to_owned());
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(record);
    }
}

/// Makes native code of a component. None of it is run.
pub(crate) fn compile(engine: &Engine, component: &[u8]) -> Result<Vec<u8>, SealError> {
    Component::new(engine, component).and_then(|component| component.serialize()).map_err(compile_error)
}

/// Asks a compiled component for its schema, in an instance of its own.
pub(crate) fn describe(
    sandbox: &Sandbox,
    sealed: &Native,
    limits: &Limits,
    model_dir: Option<&Arc<Path>>,
    sink: Arc<dyn LogSink>,
) -> Result<Schema, SealError> {
    let engine = sandbox.engine();
    let component = native::load_component(engine, sealed)
        .map_err(|error| SealError::Compile(format!("what was compiled cannot be loaded: {error:#}")))?;
    let interface = Interface::of(&component, engine);
    let scorer = link_component(sandbox, &interface, &component)?;
    call_schema(sandbox, &scorer, &environment(limits, sink, &interface, model_dir))
}

/// Loads a runtime that has been compiled.
pub(crate) fn load_runtime(sandbox: &Sandbox, runtime: &RuntimeCode) -> Result<Compiled, SealError> {
    let error = |error: wasmtime::Error| SealError::Compile(format!("the compiled runtime cannot be used: {error:#}"));
    let code = native::load_component(sandbox.runtime_engine(), &runtime.code).map_err(error)?;
    let library = Image::open(&runtime.library).map_err(|cause| error(cause.into()))?;
    Compiled::new(code, &library).map_err(error)
}

/// Joins a component to what it imports.
pub(crate) fn link_component(
    sandbox: &Sandbox,
    interface: &Interface,
    component: &Component,
) -> Result<Linked, SealError> {
    link(sandbox.linker(interface.imports_wasi()), component).map(Linked::component)
}

/// Joins a component to what it imports, and checks the types of what it exports.
fn link(linker: &Linker<HostState>, component: &Component) -> Result<ScorerPre<HostState>, SealError> {
    let types = |error: wasmtime::Error| SealError::Types(format!("{error:#}"));
    // The image that instances are copied from is made now, not at the first request.
    component.initialize_copy_on_write_image().map_err(|error| SealError::Snapshot(format!("{error:#}")))?;
    ScorerPre::new(linker.instantiate_pre(component).map_err(types)?).map_err(types)
}

/// Joins a runtime to a deployment's state.
pub(crate) fn link_runtime(sandbox: &Sandbox, compiled: &Compiled, state: &Arc<Image>) -> Result<Linked, SealError> {
    let mut linker = sandbox.runtime_linker().clone();
    let types = |error: wasmtime::Error| SealError::Types(format!("{error:#}"));
    let beginnings = compiled.add_to_linker(&mut linker, state).map_err(types)?;
    Ok(Linked::runtime(link(&linker, &compiled.code)?, beginnings, compiled.takes_body))
}

/// What the instances that are made to seal a scorer are given.
fn environment(
    limits: &Limits,
    sink: Arc<dyn LogSink>,
    interface: &Interface,
    model_dir: Option<&Arc<Path>>,
) -> Environment {
    Environment {
        limits: Limits { deadline: limits.init_deadline, ..limits.clone() },
        sink,
        wasi: WasiEnvironment::of(interface, model_dir),
    }
}

fn deployment(candidate: &Candidate<'_>, files: Vec<wit::File>) -> wit::Deployment {
    wit::Deployment {
        name: candidate.name.to_owned(),
        version: candidate.version.to_owned(),
        environment: candidate.bundle.environment.clone(),
        files,
    }
}

fn file(file: &BundleFile) -> wit::File {
    wit::File { path: file.path.clone(), contents: file.contents.clone() }
}

/// The files with which a runtime preloads.
fn preload_files(files: &[BundleFile], preload: &Preload) -> Vec<wit::File> {
    let statements = wit::File { path: PRELOAD.to_owned(), contents: preload.statements.clone().into_bytes() };
    let files = files.iter().map(|known| {
        if preload.withholds(known) {
            wit::File { path: format!("{WITHHELD}{}", known.path), contents: Vec::new() }
        } else {
            file(known)
        }
    });
    files.chain([statements]).collect()
}

#[expect(clippy::needless_pass_by_value, reason = "it is what errors are mapped with")]
fn compile_error(error: wasmtime::Error) -> SealError {
    SealError::Compile(format!("{error:#}"))
}

/// Instantiates a scorer and runs its `init`.
fn call_init(
    sandbox: &Sandbox,
    deployment: wit::Deployment,
    scorer: &Linked,
    environment: &Environment,
) -> Result<(Store<HostState>, Instance), SealError> {
    let call = {
        let environment = environment.clone();
        let scorer = scorer.clone();
        move |control| async move {
            let mut store = match environment.store(scorer.engine(), control, Outlet::closed()) {
                Ok(store) => store,
                Err(error) => return (Err(Failed::How(format!("could not start: {error:#}"))), ()),
            };
            let result = async {
                let instance = scorer.instantiate_raw(&mut store).await?;
                let exports = Scorer::new(&mut store, &instance)?;
                let result = exports.scorebox_scoring_scoring().call_init(&mut store, &deployment).await?;
                Ok((result, instance))
            }
            .await;
            let result = match result {
                Ok((Ok(()), instance)) => Ok(Ok((store, instance))),
                Ok((Err(_), _)) | Err(_) if instance::lacked_memory(&store) => Err(Failed::NoMemory),
                Ok((Err(message), _)) => Ok(Err(outcome::cut(message, environment.limits.log))),
                Err(error) => Err(Failed::How(in_words(instance::outcome(&store, &error), environment.limits.log))),
            };
            (result, ())
        }
    };
    call_guest(sandbox, environment, "init", call)?.map_err(SealError::Init)
}

fn call_schema(sandbox: &Sandbox, scorer: &Linked, environment: &Environment) -> Result<Schema, SealError> {
    let call = {
        let environment = environment.clone();
        let scorer = scorer.clone();
        move |control| async move {
            let mut store = match environment.store(scorer.engine(), control, Outlet::closed()) {
                Ok(store) => store,
                Err(error) => return (Err(Failed::How(format!("could not start: {error:#}"))), None),
            };
            let result = async {
                let exports = scorer.instantiate(&mut store).await?;
                exports.scorebox_scoring_scoring().call_schema(&mut store).await
            }
            .await;
            let failed = |error| {
                if instance::lacked_memory(&store) {
                    Failed::NoMemory
                } else {
                    Failed::How(in_words(instance::outcome(&store, &error), environment.limits.log))
                }
            };
            (result.map_err(failed), Some(store))
        }
    };
    let schema = call_guest(sandbox, environment, "schema", call)?;
    Ok(Schema { mode: schema.mode, input: schema.input, output: schema.output, versions: schema.versions })
}

/// Why a call into a guest has no result.
enum Failed {
    /// The system has no memory for it.
    NoMemory,
    /// In words.
    How(String),
}

/// Runs a guest and waits for it.
fn call_guest<G, T, R>(
    sandbox: &Sandbox,
    environment: &Environment,
    function: &'static str,
    guest: impl FnOnce(Arc<Control>) -> G,
) -> Result<T, SealError>
where
    G: Future<Output = (Result<T, Failed>, R)> + Send + 'static,
    T: Send + 'static,
    R: Send + 'static,
{
    let failed = |how| SealError::Call { function: Cow::Borrowed(function), how };
    match sandbox.wait(sandbox.executor().run(environment.limits.deadline, guest)) {
        End::Done(result) => result.map_err(|error| match error {
            Failed::NoMemory => SealError::NoMemory { function: Cow::Borrowed(function) },
            Failed::How(how) => failed(how),
        }),
        End::Deadline { limit, .. } => Err(failed(format!("did not end within {}", seconds(limit)))),
        End::Failed | End::Refused(_) => Err(failed("was interrupted".to_owned())),
    }
}

fn seconds(time: Duration) -> String {
    format!("{} s", time.as_secs_f64())
}

/// Says in words how a call ended that has no result, in texts of `limit` bytes at most.
fn in_words(outcome: Outcome, limit: u64) -> String {
    match outcome.with_exceptions_cut(limit) {
        Outcome::OutOfMemory { limit, .. } => {
            format!("needs more memory than the limit of {limit} bytes; raise the limit")
        }
        Outcome::Fault(wit::Fault::Failed(exception)) => {
            format!("panicked: {}\n{}", exception.message, exception.traceback)
        }
        Outcome::Trap(trap) => format!("was stopped: {}\n{}", trap.reason, trap.backtrace),
        other => format!("did not end as it should: {other:?}"),
    }
    .trim_end()
    .to_owned()
}

/// Reads the state of an instance through the functions that instrumenting has added to it.
struct StateReader<'a> {
    store: &'a mut Store<HostState>,
    instance: Instance,
    error: Option<wasmtime::Error>,
}

impl StateReader<'_> {
    /// Calls `function` of the exported instance `instance`. The trait has no way to fail, so an error is kept.
    async fn call<R, V>(
        &mut self,
        instance: &str,
        function: &str,
        read: impl FnOnce(&mut Store<HostState>, R) -> V,
    ) -> Option<V>
    where
        R: Lift + Send + Sync + 'static,
    {
        let result = async {
            let store = &mut *self.store;
            let missing = || wasmtime::format_err!("`{instance}` has no `{function}`");
            let (_, instance) = self.instance.get_export(&mut *store, None, instance).ok_or_else(missing)?;
            let (_, function) = self.instance.get_export(&mut *store, Some(&instance), function).ok_or_else(missing)?;
            let function = self.instance.get_typed_func::<(), (R,)>(&mut *store, function)?;
            let (value,) = function.call_async(&mut *store, ()).await?;
            Ok(read(store, value))
        }
        .await;
        result.map_err(|error| self.error = Some(error)).ok()
    }
}

impl ComponentInstanceState for StateReader<'_> {
    async fn call_func_ret_list_u8(&mut self, instance: &str, func: &str, contents: impl FnOnce(&[u8]) + Send) {
        let mut contents = Some(contents);
        let read = |store: &mut Store<HostState>, list: WasmList<u8>| {
            if let Some(contents) = contents.take() {
                contents(list.as_le_slice(&*store));
            }
        };
        self.call(instance, func, read).await;
        // The caller relies on being told something, also where there is an error instead.
        if let Some(contents) = contents {
            contents(&[]);
        }
    }

    async fn call_func_ret_s32(&mut self, instance: &str, func: &str) -> i32 {
        self.call(instance, func, |_, value| value).await.unwrap_or_default()
    }

    async fn call_func_ret_s64(&mut self, instance: &str, func: &str) -> i64 {
        self.call(instance, func, |_, value| value).await.unwrap_or_default()
    }

    async fn call_func_ret_f32(&mut self, instance: &str, func: &str) -> u32 {
        self.call(instance, func, |_, value: f32| value.to_bits()).await.unwrap_or_default()
    }

    async fn call_func_ret_f64(&mut self, instance: &str, func: &str) -> u64 {
        self.call(instance, func, |_, value: f64| value.to_bits()).await.unwrap_or_default()
    }
}
