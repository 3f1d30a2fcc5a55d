//! Sealing: from a component to a module that starts one instant after `init`.
//!
//! check the names → instrument → compile → `init` → snapshot → compile → ask for the schema → store in the cache. With
//! an entry in the cache, only its MAC is checked and it is loaded.

use std::hash::{Hash as _, Hasher};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use wasmtime::component::{Component, Instance, Lift, Linker, WasmList};
use wasmtime::{Engine, Store};
use wasmtime_wizer::{ComponentInstanceState, Wizer};

use crate::bindings::exports::scorebox::scoring::scoring as wit;
use crate::bindings::{Scorer, ScorerPre};
use crate::bundle::Bundle;
use crate::cache::EntryName;
use crate::executor::End;
use crate::instance::{self, Environment, HostState, WasiEnvironment};
use crate::interface::{Interface, InterfaceError};
use crate::limits::Limits;
use crate::log::LogSink;
use crate::outcome::Outcome;
use crate::sandbox::Sandbox;

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
    fn new(schema: &Schema, snapshot_bytes: u64) -> Self {
        Self {
            mode: schema.mode as u8,
            input: schema.input.clone(),
            output: schema.output.clone(),
            versions: schema.versions.iter().map(|version| *version as u8).collect(),
            snapshot_bytes,
        }
    }

    fn schema(self) -> Option<Schema> {
        Some(Schema {
            mode: *MODES.get(usize::from(self.mode))?,
            input: self.input,
            output: self.output,
            versions: self
                .versions
                .into_iter()
                .map(|version| VERSIONS.get(usize::from(version)).copied())
                .collect::<Option<_>>()?,
        })
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
        digest.part(&self.bundle.component);
        for file in &self.bundle.files {
            digest.part(file.path.as_bytes());
            digest.part(&file.contents);
        }
        // What init() was allowed to do.
        digest.part(&self.limits.memory.to_le_bytes());
        EntryName(digest.0.finalize())
    }

    fn context(&self, interface: &Interface) -> wit::Deployment {
        let files = if interface.imports_files() { &[][..] } else { &self.bundle.files };
        wit::Deployment {
            name: self.name.to_owned(),
            version: self.version.to_owned(),
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
    let interface = Interface::read(&candidate.bundle.component)?;
    interface.check()?;
    let wasi = interface.imports_wasi().then(|| WasiEnvironment {
        model_dir: candidate.bundle.model_dir.clone().filter(|_| interface.imports_files()),
    });
    let linker = sandbox.linker(wasi.is_some());
    let name = candidate.entry_name(sandbox.engine());

    progress(Stage::Loading);
    if let Some((scorer, header)) = sandbox.cache().and_then(|cache| load(sandbox, linker, &cache.get(name)?))
        && let snapshot_bytes = header.snapshot_bytes
        && let Some(schema) = header.schema()
    {
        return Ok(SealedModule { scorer, wasi, interface, schema, snapshot_bytes, from_cache: true });
    }

    let environment = Environment {
        limits: Limits { deadline: candidate.limits.init_deadline, ..candidate.limits.clone() },
        sink: Arc::clone(&candidate.sink),
        wasi: wasi.clone(),
    };
    let (snapshot, snapshot_bytes) = initialise(sandbox, candidate, &interface, linker, &environment, progress)?;
    progress(Stage::Sealing);
    let component = compile(sandbox.engine(), &snapshot)?;
    let scorer = link(linker, &component)?;
    let schema = ask_for_schema(sandbox, &scorer, &environment)?;
    if let Some(cache) = sandbox.cache() {
        let stored = store(&component, &Header::new(&schema, snapshot_bytes))
            .and_then(|entry| cache.put(name, &entry).map_err(|error| error.to_string()));
        if let Err(error) = stored {
            tracing::warn!("the sealed module is not in the cache, so the next start will take longer: {error}");
        }
    }
    Ok(SealedModule { scorer, wasi, interface, schema, snapshot_bytes, from_cache: false })
}

/// Runs `init`, and makes a component of the state after it.
fn initialise(
    sandbox: &Sandbox,
    candidate: &Candidate<'_>,
    interface: &Interface,
    linker: &Linker<HostState>,
    environment: &Environment,
    progress: &dyn Fn(Stage),
) -> Result<(Vec<u8>, u64), SealError> {
    let snapshot_error = |error: wasmtime::Error| SealError::Snapshot(format!("{error:#}"));
    let mut wizer = Wizer::new();
    wizer.keep_init_func(true);
    progress(Stage::Compiling);
    let (context, instrumented) = wizer.instrument_component(&candidate.bundle.component).map_err(snapshot_error)?;
    let component = compile(sandbox.engine(), &instrumented)?;
    let scorer = link(linker, &component)?;

    progress(Stage::Initialising);
    let call = {
        let environment = environment.clone();
        let deployment = candidate.context(interface);
        let scorer = scorer.clone();
        move |control| async move {
            let mut store = match environment.store(scorer.engine(), control) {
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
    let (mut store, instance) = call_guest(sandbox, environment, "init", call)?.map_err(SealError::Init)?;
    let snapshot_bytes = instance::memory_used(&store);
    let mut reader = StateReader { store: &mut store, instance, error: None };
    let snapshot = sandbox.wait(wizer.snapshot_component(&context, &mut reader)).map_err(snapshot_error)?;
    match reader.error {
        None => Ok((snapshot, snapshot_bytes)),
        Some(error) => Err(snapshot_error(error)),
    }
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
            let mut store = match environment.store(scorer.engine(), control) {
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

/// Writes a cache entry: length of the header, header, compiled component.
fn store(component: &Component, header: &Header) -> Result<Vec<u8>, String> {
    let header = serde_json::to_vec(header).map_err(|error| error.to_string())?;
    let compiled = component.serialize().map_err(|error| format!("{error:#}"))?;
    let mut entry = Vec::with_capacity(4 + header.len() + compiled.len());
    entry.extend_from_slice(&(header.len() as u32).to_le_bytes());
    entry.extend_from_slice(&header);
    entry.extend_from_slice(&compiled);
    Ok(entry)
}

/// Loads what [`store`] wrote. The caller has it from [`crate::cache::Cache::get`], which checked who wrote it.
fn load(sandbox: &Sandbox, linker: &Linker<HostState>, entry: &[u8]) -> Option<(ScorerPre<HostState>, Header)> {
    let (length, rest) = entry.split_first_chunk::<4>()?;
    let (header, compiled) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    let header = serde_json::from_slice(header).ok()?;
    // SAFETY: `deserialize` is sound for what `Component::serialize` returned. These bytes are that: they carried a MAC,
    // made with a key that only this host's user can read, over this name and content, and the name covers the version of
    // the engine, its settings and the CPU.
    #[expect(unsafe_code, clippy::disallowed_methods, reason = "the one place that loads compiled modules")]
    let component = unsafe { Component::deserialize(sandbox.engine(), compiled) };
    let scorer = component.map_err(|error| SealError::Compile(error.to_string())).and_then(|c| link(linker, &c));
    match scorer {
        Ok(scorer) => Some((scorer, header)),
        Err(error) => {
            tracing::warn!("an entry of the cache cannot be loaded and is built anew: {error}");
            None
        }
    }
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
