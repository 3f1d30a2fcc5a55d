//! Sealing: from a component to a module that starts one instant after `init`.
//!
//! A component: check the names → instrument → compile → `init` → snapshot → compile → ask for the schema → store in the
//! cache. A runtime: load its code, which is compiled once → `init` → snapshot of the state → ask for the schema → store
//! in the cache. With an entry in the cache, only its MAC is checked and it is loaded.

use std::hash::{Hash as _, Hasher};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use wasmtime::component::{Component, Instance, Lift, Linker, WasmList};
use wasmtime::{Engine, Module, Store};
use wasmtime_wizer::{ComponentInstanceState, Wizer};

use crate::bindings::exports::scorebox::scoring::scoring as wit;
use crate::bindings::{Scorer, ScorerPre};
use crate::bundle::{Bundle, Code};
use crate::cache::{Cache, Entry, EntryName};
use crate::executor::End;
use crate::instance::{self, Environment, HostState, WasiEnvironment};
use crate::interface::{Interface, InterfaceError};
use crate::limits::Limits;
use crate::log::LogSink;
use crate::outcome::Outcome;
use crate::runtime::{self, Compiled, Runtime};
use crate::sandbox::Sandbox;
use crate::stream::Outlet;

pub use wit::{InputMode, SwaggerVersion};

/// Why a component cannot be deployed.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// It is not of the world `scorer`.
    #[error(transparent)]
    Interface(#[from] InterfaceError),
    /// Its functions do not have the types of the world.
    #[error("the component does not fit the world `scorer` of scorebox:scoring@0.1.0: {0}")]
    Types(String),
    /// The engine does not take it.
    #[error("the component cannot be compiled: {0}")]
    Compile(String),
    /// It cannot be snapshotted.
    #[error("no snapshot can be made of the component: {0}")]
    Snapshot(String),
    /// `init` returned an error.
    #[error("init() failed: {0}")]
    Init(String),
    /// The runtime cannot be used.
    #[error("the runtime in {} cannot be used: {why}", folder.display())]
    Runtime {
        /// Its folder.
        folder: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A call into the component did not come back.
    #[error("{function}() {how}")]
    Call {
        /// `init` or `schema`.
        function: &'static str,
        /// What happened, and where.
        how: String,
    },
}

/// Where sealing has got to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Loading from the cache.
    Loading,
    /// Compiling a runtime, which is done once for a machine.
    CompilingRuntime,
    /// Compiling what `init` runs in.
    Compiling,
    /// Running `init`.
    Initialising,
    /// Compiling the snapshot.
    Sealing,
}

/// What a scorer takes and gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schema {
    /// How it wants its input.
    pub mode: InputMode,
    /// JSON Schema of the input: the text of a JSON object; `None` when undeclared.
    pub input: Option<String>,
    /// JSON Schema of the output, in the same form; `None` when undeclared.
    pub output: Option<String>,
    /// Versions of Swagger in which the two can be written down; empty means all.
    pub versions: Vec<SwaggerVersion>,
}

/// A scorer one instant after `init`, compiled. Each request starts from it in an instance of its own.
pub struct SealedModule {
    pub(crate) scorer: ScorerPre<HostState>,
    pub(crate) wasi: Option<WasiEnvironment>,
    /// What it imports and exports.
    pub interface: Interface,
    /// What it takes and gives.
    pub schema: Schema,
    /// Bytes of linear memory and tables after `init`: what each instance starts with.
    pub snapshot_bytes: u64,
    /// Whether it came out of the cache.
    pub from_cache: bool,
}

impl std::fmt::Debug for SealedModule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SealedModule")
            .field("interface", &self.interface)
            .field("schema", &self.schema)
            .field("snapshot_bytes", &self.snapshot_bytes)
            .field("from_cache", &self.from_cache)
            .finish_non_exhaustive()
    }
}

/// What a cache entry says before the compiled component.
#[derive(Serialize, Deserialize)]
struct Header {
    mode: u8,
    input: Option<String>,
    output: Option<String>,
    versions: Vec<u8>,
    snapshot_bytes: u64,
}

const MODES: [InputMode; 3] = [InputMode::Plain, InputMode::Json, InputMode::Raw];
const VERSIONS: [SwaggerVersion; 3] = [SwaggerVersion::V2, SwaggerVersion::V3, SwaggerVersion::V31];

impl Header {
    /// Writes it.
    fn write(schema: &Schema, snapshot_bytes: u64) -> Vec<u8> {
        let header = Self {
            mode: schema.mode as u8,
            input: schema.input.clone(),
            output: schema.output.clone(),
            versions: schema.versions.iter().map(|version| *version as u8).collect(),
            snapshot_bytes,
        };
        serde_json::to_vec(&header).expect("numbers and texts can be written as JSON")
    }

    /// Reads what [`Header::write`] wrote: the schema, and the bytes of the snapshot.
    fn read(entry: &Entry) -> Option<(Schema, u64)> {
        let header: Self = serde_json::from_slice(&entry.header).ok()?;
        let versions = header
            .versions
            .into_iter()
            .map(|version| VERSIONS.get(usize::from(version)).copied())
            .collect::<Option<_>>()?;
        let schema = Schema {
            mode: *MODES.get(usize::from(header.mode))?,
            input: header.input,
            output: header.output,
            versions,
        };
        Some((schema, header.snapshot_bytes))
    }
}

/// A deployment that is to be made.
pub(crate) struct Candidate<'a> {
    pub(crate) name: &'a str,
    pub(crate) version: &'a str,
    pub(crate) bundle: &'a Bundle,
    pub(crate) limits: &'a Limits,
    pub(crate) sink: Arc<dyn LogSink>,
}

impl Candidate<'_> {
    /// A digest of all that the sealed module depends on.
    fn entry_name(&self, engine: &Engine) -> EntryName {
        let mut digest = Digest(blake3::Hasher::new());
        digest.part(env!("CARGO_PKG_VERSION").as_bytes());
        // The version of the engine, its settings, and the features of the CPU that it compiles for.
        engine.precompile_compatibility_hash().hash(&mut digest);
        digest.part(self.name.as_bytes());
        digest.part(self.version.as_bytes());
        match &self.bundle.code {
            Code::Component(component) => digest.part(component),
            Code::Runtime(runtime) => {
                for part in [runtime.code, runtime.library, runtime.state] {
                    digest.part(part.as_bytes());
                }
            }
        }
        for (name, value) in &self.bundle.environment {
            digest.part(name.as_bytes());
            digest.part(value.as_bytes());
        }
        for file in &self.bundle.files {
            digest.part(file.path.as_bytes());
            digest.part(&file.contents);
        }
        // What init() was allowed to do.
        digest.part(&self.limits.memory.to_le_bytes());
        EntryName(digest.0.finalize())
    }

    /// What the instances that are made to seal it are given.
    fn environment(&self, interface: &Interface) -> Environment {
        let model_dir = self.bundle.model_dir.clone().filter(|_| interface.imports_files());
        Environment {
            limits: Limits { deadline: self.limits.init_deadline, ..self.limits.clone() },
            sink: Arc::clone(&self.sink),
            wasi: interface.imports_wasi().then_some(WasiEnvironment { model_dir }),
        }
    }

    fn context(&self, interface: &Interface) -> wit::Deployment {
        let files = if interface.imports_files() { &[][..] } else { &self.bundle.files };
        wit::Deployment {
            name: self.name.to_owned(),
            version: self.version.to_owned(),
            environment: self.bundle.environment.clone(),
            files: files
                .iter()
                .map(|file| wit::File { path: file.path.clone(), contents: file.contents.clone() })
                .collect(),
        }
    }
}

/// Feeds what is hashed to BLAKE3, each part with its length before it.
struct Digest(blake3::Hasher);

impl Digest {
    fn part(&mut self, bytes: &[u8]) {
        self.0.update(&(bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
    }
}

impl Hasher for Digest {
    fn write(&mut self, bytes: &[u8]) {
        self.part(bytes);
    }

    /// Not used: the digest is read as a whole.
    fn finish(&self) -> u64 {
        0
    }
}

/// Seals a candidate, or loads it from the cache. Blocks until it is done.
pub(crate) fn seal(
    sandbox: &Sandbox,
    candidate: &Candidate<'_>,
    progress: &dyn Fn(Stage),
) -> Result<SealedModule, SealError> {
    match &candidate.bundle.code {
        Code::Component(component) => seal_component(sandbox, candidate, component, progress),
        Code::Runtime(runtime) => seal_runtime(sandbox, candidate, runtime, progress),
    }
}

fn seal_component(
    sandbox: &Sandbox,
    candidate: &Candidate<'_>,
    component: &[u8],
    progress: &dyn Fn(Stage),
) -> Result<SealedModule, SealError> {
    let interface = Interface::read(component)?;
    interface.check()?;
    let linker = sandbox.linker(interface.imports_wasi());
    let name = candidate.entry_name(sandbox.engine());
    let environment = candidate.environment(&interface);
    let sealed = |scorer, environment: Environment, interface, (schema, snapshot_bytes), from_cache| SealedModule {
        scorer,
        wasi: environment.wasi,
        interface,
        schema,
        snapshot_bytes,
        from_cache,
    };

    progress(Stage::Loading);
    if let Some(entry) = sandbox.cache().and_then(|cache| cache.get(name))
        && let Some(header) = Header::read(&entry)
        && let Some(component) = load_component(sandbox.engine(), &entry)
        && let Ok(scorer) = link(linker, &component)
    {
        return Ok(sealed(scorer, environment, interface, header, true));
    }

    let snapshot_error = |error: wasmtime::Error| SealError::Snapshot(format!("{error:#}"));
    let mut wizer = Wizer::new();
    wizer.keep_init_func(true);
    progress(Stage::Compiling);
    let (context, instrumented) = wizer.instrument_component(component).map_err(snapshot_error)?;
    let scorer = link(linker, &compile(sandbox.engine(), &instrumented)?)?;
    progress(Stage::Initialising);
    let (mut store, instance) = initialise(sandbox, candidate.context(&interface), &scorer, &environment)?;
    let snapshot_bytes = instance::memory_used(&store);
    let mut reader = StateReader { store: &mut store, instance, error: None };
    let snapshot = sandbox.wait(wizer.snapshot_component(&context, &mut reader)).map_err(snapshot_error)?;
    if let Some(error) = reader.error {
        return Err(snapshot_error(error));
    }
    drop(store);

    progress(Stage::Sealing);
    let component = compile(sandbox.engine(), &snapshot)?;
    let scorer = link(linker, &component)?;
    let header = (ask_for_schema(sandbox, &scorer, &environment)?, snapshot_bytes);
    store_in_cache(sandbox, name, &Header::write(&header.0, header.1), || component.serialize());
    Ok(sealed(scorer, environment, interface, header, false))
}

fn seal_runtime(
    sandbox: &Sandbox,
    candidate: &Candidate<'_>,
    runtime: &Runtime,
    progress: &dyn Fn(Stage),
) -> Result<SealedModule, SealError> {
    let engine = sandbox.engine();
    let broken = |error: wasmtime::Error| runtime_error(runtime, format!("{error:#}"));
    progress(Stage::Loading);
    let compiled = sandbox.runtime(runtime, progress)?;
    let interface = Interface::of(&compiled.code, engine);
    interface.check_runtime()?;
    let link = |state: &Module| {
        let mut linker = sandbox.linker(interface.imports_wasi()).clone();
        compiled.add_to_linker(&mut linker, state).map_err(broken)?;
        link(&linker, &compiled.code)
    };
    let environment = candidate.environment(&interface);
    let name = candidate.entry_name(engine);
    let sealed = |scorer, (schema, snapshot_bytes), from_cache| SealedModule {
        scorer,
        wasi: environment.wasi.clone(),
        interface: interface.clone(),
        schema,
        snapshot_bytes,
        from_cache,
    };

    if let Some(entry) = sandbox.cache().and_then(|cache| cache.get(name))
        && let Some(header) = Header::read(&entry)
        && let Some(state) = load_data(engine, &entry)
    {
        return Ok(sealed(link(&state)?, header, true));
    }

    progress(Stage::Initialising);
    let snapshot_error = |error: wasmtime::Error| SealError::Snapshot(format!("{error:#}"));
    let initial = runtime.read_state().map_err(|error| runtime_error(runtime, error.to_string()))?;
    let scorer = link(&runtime::compile_data(engine, &initial).map_err(broken)?)?;
    let (mut store, instance) = initialise(sandbox, candidate.context(&interface), &scorer, &environment)?;
    let snapshot_bytes = instance::memory_used(&store);

    progress(Stage::Sealing);
    let state = sandbox.wait(compiled.layout.snapshot(&mut store, instance)).map_err(snapshot_error)?;
    drop(store);
    let state = runtime::compile_data(engine, &state).map_err(snapshot_error)?;
    let scorer = link(&state)?;
    let header = (ask_for_schema(sandbox, &scorer, &environment)?, snapshot_bytes);
    // From its file the state is mapped, as it will be after the next start, and takes no memory of its own.
    let entry = store_in_cache(sandbox, name, &Header::write(&header.0, header.1), || state.serialize());
    match entry.and_then(|entry| load_data(engine, &entry)) {
        Some(state) => Ok(sealed(link(&state)?, header, false)),
        None => Ok(sealed(scorer, header, false)),
    }
}

fn runtime_error(runtime: &Runtime, why: String) -> SealError {
    SealError::Runtime { folder: runtime.folder().to_owned(), why }
}

/// Compiles a runtime, or loads it: from its own folder, or from the cache.
pub(crate) fn load_runtime(
    sandbox: &Sandbox,
    runtime: &Runtime,
    progress: &dyn Fn(Stage),
) -> Result<Compiled, SealError> {
    let engine = sandbox.engine();
    let broken = |error: wasmtime::Error| runtime_error(runtime, format!("{error:#}"));
    let read = |bytes: io::Result<Vec<u8>>| bytes.map_err(|error| runtime_error(runtime, error.to_string()));
    let filled = Cache::filled(runtime.compiled_folder());
    let library = load_or_make(sandbox, filled.as_ref(), runtime.library, load_data, || {
        let library = runtime::compile_data(engine, &read(runtime.read_library())?).map_err(broken)?;
        let serialized = library.serialize();
        Ok((library, serialized))
    })?;
    let code = load_or_make(sandbox, filled.as_ref(), runtime.code, load_component, || {
        progress(Stage::CompilingRuntime);
        let code = compile(engine, &read(runtime.read_code())?)?;
        let serialized = code.serialize();
        Ok((code, serialized))
    })?;
    Compiled::new(code, library, engine).map_err(broken)
}

/// Loads compiled code from one of the caches, or makes it and puts it into the sandbox's. Of several processes that want the same at the same
/// time, one makes it and the others wait.
fn load_or_make<T>(
    sandbox: &Sandbox,
    filled: Option<&Cache>,
    source: blake3::Hash,
    load: fn(&Engine, &Entry) -> Option<T>,
    make: impl FnOnce() -> Result<(T, wasmtime::Result<Vec<u8>>), SealError>,
) -> Result<T, SealError> {
    let engine = sandbox.engine();
    let mut digest = Digest(blake3::Hasher::new());
    digest.part(env!("CARGO_PKG_VERSION").as_bytes());
    engine.precompile_compatibility_hash().hash(&mut digest);
    digest.part(source.as_bytes());
    let name = EntryName(digest.0.finalize());
    let cached = || load(engine, &sandbox.cache()?.get(name)?);
    if let Some(loaded) = filled.and_then(|filled| load(engine, &filled.get(name)?)) {
        return Ok(loaded);
    }
    if let Some(loaded) = cached() {
        return Ok(loaded);
    }
    let _lock = sandbox.cache().and_then(|cache| cache.lock(name));
    if let Some(loaded) = cached() {
        return Ok(loaded);
    }
    let (compiled, serialized) = make()?;
    // From its file it is mapped, and shared with other processes.
    let entry = store_in_cache(sandbox, name, b"", || serialized);
    Ok(entry.and_then(|entry| load(engine, &entry)).unwrap_or(compiled))
}

/// Instantiates a scorer and runs its `init`.
fn initialise(
    sandbox: &Sandbox,
    deployment: wit::Deployment,
    scorer: &ScorerPre<HostState>,
    environment: &Environment,
) -> Result<(Store<HostState>, Instance), SealError> {
    let call = {
        let environment = environment.clone();
        let scorer = scorer.clone();
        move |control| async move {
            let mut store = match environment.store(scorer.engine(), control, Outlet::closed()) {
                Ok(store) => store,
                Err(error) => return (Err(format!("could not start: {error:#}")), ()),
            };
            let result = async {
                let instance = scorer.instance_pre().instantiate_async(&mut store).await?;
                let exports = Scorer::new(&mut store, &instance)?;
                let result = exports.scorebox_scoring_scoring().call_init(&mut store, &deployment).await?;
                Ok((result, instance))
            }
            .await;
            let result = match result {
                Ok((Ok(()), instance)) => Ok(Ok((store, instance))),
                Ok((Err(message), _)) => Ok(Err(message)),
                Err(error) => Err(describe(environment.outcome(&store, &error))),
            };
            (result, ())
        }
    };
    call_guest(sandbox, environment, "init", call)?.map_err(SealError::Init)
}

fn ask_for_schema(
    sandbox: &Sandbox,
    scorer: &ScorerPre<HostState>,
    environment: &Environment,
) -> Result<Schema, SealError> {
    let call = {
        let environment = environment.clone();
        let scorer = scorer.clone();
        move |control| async move {
            let mut store = match environment.store(scorer.engine(), control, Outlet::closed()) {
                Ok(store) => store,
                Err(error) => return (Err(format!("could not start: {error:#}")), None),
            };
            let result = async {
                let exports = scorer.instantiate_async(&mut store).await?;
                exports.scorebox_scoring_scoring().call_schema(&mut store).await
            }
            .await;
            (result.map_err(|error| describe(environment.outcome(&store, &error))), Some(store))
        }
    };
    let schema = call_guest(sandbox, environment, "schema", call)?;
    Ok(Schema { mode: schema.mode, input: schema.input, output: schema.output, versions: schema.versions })
}

/// Runs a guest and waits for it.
fn call_guest<G, T, R>(
    sandbox: &Sandbox,
    environment: &Environment,
    function: &'static str,
    guest: impl FnOnce(Arc<crate::executor::Control>) -> G,
) -> Result<T, SealError>
where
    G: Future<Output = (Result<T, String>, R)> + Send + 'static,
    T: Send + 'static,
    R: Send + 'static,
{
    let failed = |how| SealError::Call { function, how };
    match sandbox.wait(sandbox.executor().run(environment.limits.deadline, guest)) {
        End::Done(result) => result.map_err(failed),
        End::Deadline(limit) => Err(failed(format!("did not end within {}", seconds(limit)))),
        End::Failed => Err(failed("was interrupted".to_owned())),
    }
}

fn seconds(time: Duration) -> String {
    format!("{} s", time.as_secs_f64())
}

/// Says in words how a call ended that has no result.
fn describe(outcome: Outcome) -> String {
    match outcome {
        Outcome::OutOfMemory { limit } => format!("needs more memory than the limit of {limit} bytes; raise the limit"),
        Outcome::Fault(wit::Fault::Failed(exception)) => {
            format!("panicked: {}\n{}", exception.message, exception.traceback)
        }
        Outcome::Trap(trap) => format!("was stopped: {}\n{}", trap.reason, trap.backtrace),
        other => format!("did not end as it should: {other:?}"),
    }
    .trim_end()
    .to_owned()
}

fn compile(engine: &Engine, component: &[u8]) -> Result<Component, SealError> {
    Component::new(engine, component).map_err(|error| SealError::Compile(format!("{error:#}")))
}

/// Joins a component to what it imports, and checks the types of what it exports.
fn link(linker: &Linker<HostState>, component: &Component) -> Result<ScorerPre<HostState>, SealError> {
    let types = |error: wasmtime::Error| SealError::Types(format!("{error:#}"));
    // The image that instances are copied from is made now, not at the first request.
    component.initialize_copy_on_write_image().map_err(|error| SealError::Snapshot(format!("{error:#}")))?;
    ScorerPre::new(linker.instantiate_pre(component).map_err(types)?).map_err(types)
}

/// Stores compiled code. Without it the next start takes longer, which is no reason to fail.
fn store_in_cache(
    sandbox: &Sandbox,
    name: EntryName,
    header: &[u8],
    compiled: impl FnOnce() -> wasmtime::Result<Vec<u8>>,
) -> Option<Entry> {
    let cache = sandbox.cache()?;
    let stored = compiled()
        .map_err(|error| format!("{error:#}"))
        .and_then(|compiled| cache.put(name, header, &compiled).map_err(|error| error.to_string()));
    stored
        .inspect_err(|error| {
            tracing::warn!("the sealed module is not in the cache, so the next start will take longer: {error}");
        })
        .ok()
}

fn load_component(engine: &Engine, entry: &Entry) -> Option<Component> {
    // SAFETY: see `load`.
    #[expect(unsafe_code, clippy::disallowed_methods, reason = "the one place that loads compiled code")]
    load(entry, |path| unsafe { Component::deserialize_file(engine, path) })
}

fn load_data(engine: &Engine, entry: &Entry) -> Option<Module> {
    // SAFETY: see `load`.
    #[expect(unsafe_code, clippy::disallowed_methods, reason = "the one place that loads compiled code")]
    let data = load(entry, |path| unsafe { Module::deserialize_file(engine, path) })?;
    data.initialize_copy_on_write_image().ok()?;
    Some(data)
}

/// Loads what [`store_in_cache`] wrote.
///
/// `deserialize_file` is sound for a file that holds what `serialize` returned, and that nobody changes while it is mapped.
/// This one does: an [`Entry`] comes from [`crate::cache::Cache`], which has checked a MAC that was made with a key that
/// only this host's user can read, over the whole file and its name; the name covers the version of the engine, its
/// settings and the CPU. Nobody else can write the file or its folder, and the host itself never writes to a file that is
/// there: it replaces files, or removes them, and either leaves the mapped one as it is.
fn load<T>(entry: &Entry, deserialize: impl FnOnce(&Path) -> wasmtime::Result<T>) -> Option<T> {
    deserialize(&entry.path)
        .inspect_err(|error| tracing::warn!("an entry of the cache cannot be loaded and is built anew: {error:#}"))
        .ok()
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
        self.call(instance, func, |store, list: WasmList<u8>| contents(list.as_le_slice(&*store))).await;
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
